"""The master's end of a line, as bytes: what a link holds on to instead of a serial port.

`start(on_bytes, on_lost)`, `write(data)`, `close()`: nothing else is asked of it. What arrives comes in the pieces that
`split` says, each at the end of its last character; a whole transmission at once without it.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from random import Random

from simulator.line.uart import Format
from simulator.line.wire import End, PacedLine, Split

OnBytes = Callable[[bytes], None]
OnLost = Callable[[str], None]


class Carrier:
    """One adapter on a line. `form` is what the adapter is set to; it may differ from the line's, and then garbles."""

    def __init__(
        self,
        line: PacedLine,
        *,
        name: str = "master",
        form: Format | None = None,
        echo: bool = False,
        split: Split | None = None,
    ) -> None:
        self.line = line
        self.end: End = line.join(name, self._heard, form=form, strict=False)
        self.end.echo = echo
        self.end.split = split
        self.plugged = True
        self.written = 0
        """Bytes that the master has said."""
        self._on_bytes: OnBytes | None = None
        self._on_lost: OnLost | None = None

    @property
    def loop(self) -> object:
        """The loop whose time paces the line."""
        return self.line.loop

    def start(self, on_bytes: OnBytes, on_lost: OnLost) -> None:
        """Open, or open again. Raises OSError (ENODEV) while the adapter is unplugged."""
        self._there()
        self._on_bytes, self._on_lost = on_bytes, on_lost

    def write(self, data: bytes) -> None:
        """Say it; returns at once. Raises OSError: unplugged (ENODEV) or not open (EBADF)."""
        self._there()
        if self._on_bytes is None:
            raise OSError(errno.EBADF, "the line's end is not open")
        self.written += len(data)
        self.end.say(data)

    def close(self) -> None:
        self._on_bytes = self._on_lost = None

    def unplug(self, why: str = "the adapter was unplugged") -> None:
        """The adapter is gone, as a USB one goes."""
        self.plugged = False
        lost = self._on_lost
        self.close()
        if lost is not None:
            lost(why)

    def plug(self) -> None:
        self.plugged = True

    def _there(self) -> None:
        if not self.plugged:
            raise OSError(errno.ENODEV, "the adapter is unplugged")

    def _heard(self, data: bytes, at_s: float) -> None:
        if self._on_bytes is not None:
            self._on_bytes(data)


def by_characters(count: int = 1) -> Split:
    """Pieces of so many characters."""
    return lambda length: range(count, length, count)


def at_random(chance: Random, pieces: int = 4) -> Split:
    """Up to so many pieces, cut anywhere."""
    return lambda length: sorted({chance.randrange(1, length) for _ in range(pieces - 1)}) if length > 1 else ()
