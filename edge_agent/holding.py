"""Who has a link: a lock file per link in the runtime folder, so that no two processes of ours share a meter's line.

The lock lasts as long as the process that holds it, however that ends; the file itself stays and means nothing. Beside
it lies a stamp of the last question asked there: a restart within ten minutes need not listen to the line anew. The
boot clock tells how long ago that was, so the stamp counts only in the boot that wrote it.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType

from edge_agent.model import LinkId, Ms

FRESH_MS: Ms = 600_000
_MARK_EVERY_MS: Ms = 30_000
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class LinkHeld(Exception):
    """Another process of ours has the link: wait for it, or ask it."""

    def __init__(self, link: LinkId, holder: str) -> None:
        super().__init__(f"link {link} is in use by {holder}")
        self.link = link
        self.holder = holder


class HeldLinks:
    """The links that this process holds. Closing lets them go; so does the end of the process."""

    def __init__(self, runtime: Path, links: Iterable[LinkId]) -> None:
        """All of them or none. Raises `LinkHeld`, and OSError where the runtime folder cannot be used."""
        with ExitStack() as taken:
            runtime.mkdir(parents=True, exist_ok=True)
            for link in links:
                taken.callback(os.close, _hold(runtime / f"link-{link}.lock", link))
            self._taken = taken.pop_all()

    def close(self) -> None:
        self._taken.close()

    def __enter__(self) -> HeldLinks:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()


class AskedStamp:
    """The stamp of one link. A runtime folder that cannot be used means listening again, nothing worse."""

    def __init__(self, runtime: Path, link: LinkId, now_ms: Callable[[], Ms], *, boot: str | None = None) -> None:
        self._path = runtime / f"link-{link}.asked"
        self._now_ms = now_ms
        self._boot = boot if boot is not None else machine_boot()
        self._marked_ms: Ms | None = None

    def is_fresh(self) -> bool:
        """Whether the last question on the line is less than ten minutes old."""
        try:
            boot, _, asked_ms = self._path.read_text("ascii").strip().partition(" ")
            return bool(boot) and boot == self._boot and 0 <= self._now_ms() - int(asked_ms) < FRESH_MS
        except (OSError, ValueError):
            return False

    def mark(self) -> None:
        """A question leaves now; written down at most twice a minute."""
        now_ms = self._now_ms()
        if not self._boot or (self._marked_ms is not None and now_ms - self._marked_ms < _MARK_EVERY_MS):
            return
        self._marked_ms = now_ms
        with contextlib.suppress(OSError):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            beside = self._path.with_suffix(".new")
            beside.write_text(f"{self._boot} {now_ms}\n", "ascii")
            beside.replace(self._path)

    def forget(self) -> None:
        self._marked_ms = None
        with contextlib.suppress(OSError):
            self._path.unlink(missing_ok=True)


def machine_boot() -> str:
    """The boot of this machine; "": it cannot be told, and no stamp counts."""
    if boot := os.environ.get("EDGE_BOOT_ID", ""):
        return boot.replace("-", "")
    try:
        return _BOOT_ID.read_text("ascii").strip().replace("-", "")
    except OSError:
        return ""


def _hold(path: Path, link: LinkId) -> int:
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o660)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        said = os.pread(handle, 32, 0).decode("ascii", "replace").strip()
        os.close(handle)
        raise LinkHeld(link, f"process {said}" if said.isdigit() else "another process") from None
    except BaseException:
        os.close(handle)
        raise
    os.ftruncate(handle, 0)
    os.pwrite(handle, f"{os.getpid()}\n".encode(), 0)
    return handle
