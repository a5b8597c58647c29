"""Where the data of `config/` is: in the checkout, or inside the installed package; /etc/edge-agent goes before both.

The override is file by file: a profile in /etc/edge-agent/profiles replaces the one of that name and leaves the others.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent.parent
OVERRIDES = Path("/etc/edge-agent")


@dataclass(frozen=True, slots=True)
class ConfigFiles:
    """A folder of data with another before it."""

    shipped: Path
    overrides: Path = OVERRIDES

    def path(self, name: str) -> Path | None:
        """The file of that name (`profiles/eastron-sdm630.toml`), the override if there is one."""
        return next((base / name for base in (self.overrides, self.shipped) if _is_file(base / name)), None)

    def named(self, folder: str) -> dict[str, Path]:
        """Every TOML file of a folder by its stem, `_` written as `-`, in the order of the names."""
        found: dict[str, Path] = {}
        for base in (self.shipped, self.overrides):
            # A folder that is absent or closed to us yields nothing.
            found |= {path.stem.replace("_", "-"): path for path in sorted((base / folder).glob("*.toml"))}
        return dict(sorted(found.items()))


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # the folder is closed to this user: for him there is no override
        return False


def config_files(overrides: Path = OVERRIDES) -> ConfigFiles:
    """The data that came with this installation; a wheel carries `config/` as `edge_agent/_config`."""
    inside = _PACKAGE / "_config"
    return ConfigFiles(inside if inside.is_dir() else _PACKAGE.parent / "config", overrides)
