"""Where a file is that a site file names: beside the site file, or among the credentials of the running service.

`%d/name` is the service manager's own way to write the folder of the credentials; what runs without it looks where they
would be.
"""

from __future__ import annotations

import os
from pathlib import Path

CREDENTIALS = Path("/run/credentials")
"""Where systemd puts a service's credentials: there while it runs, and closed to everybody else."""

_SERVICE = CREDENTIALS / "edge-agent.service"


def placed(name: str, folder: Path) -> Path:
    """The path of the file; `folder` is the site file's."""
    if name.startswith("%d/"):
        return Path(os.environ.get("CREDENTIALS_DIRECTORY") or _SERVICE) / name[3:]
    return folder / name
