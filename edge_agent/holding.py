"""Who has a link: a lock file per link in the runtime folder, so that no two processes of ours share a meter's line.

The lock lasts as long as the process that holds it, however that ends; the file itself stays and means nothing.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType

from edge_agent.model import LinkId


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
