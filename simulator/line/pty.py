"""A line behind a pty, in real time: the agent opens its path as it opens a serial port.

What the agent writes begins to take its time when it arrives; what it gets, it gets when the last character of the
piece has ended on the wire, never sooner. The pace is kept in a thread of its own, with a selector that waits in
microseconds. A pty keeps the speed that the agent sets, and the line goes by it; it drops parity and character size.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import selectors
import termios
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

from simulator.line.carrier import Carrier
from simulator.line.plan import LinePlan, PlayedLine
from simulator.line.station import LineClock
from simulator.loop import LoopThread

_LOOK_AGAIN_S = 0.01
_SPEEDS = {
    getattr(termios, f"B{baud}"): baud
    for baud in (300, 600, 1200, 2400, 4800, 9600, 19200, 38400, 57600, 115200, 230400)
}


class PtyLine:
    """`with PtyLine(plan, clock) as line:` serves the line on `line.path`; `line.played` is what is in play.

    `symlink` is a path that leads there, made anew at the start and removed at the end.
    """

    def __init__(self, plan: LinePlan, clock: LineClock, *, symlink: Path | None = None) -> None:
        self.path = ""
        self.symlink = symlink
        self.overruns = 0
        """Bytes that found no room because nobody read the port."""
        self._plan = plan
        self._clock = clock
        self._ending = contextlib.ExitStack()
        self._played: PlayedLine | None = None
        self._thread: LoopThread | None = None

    @property
    def played(self) -> PlayedLine:
        assert self._played is not None, "the line has not been started"
        return self._played

    def start(self) -> None:
        """Raises OSError where no pty is to be had or the symlink cannot be made."""
        with self._ending as ending:
            master, slave = os.openpty()
            ending.callback(os.close, master)
            self.path = os.ttyname(slave)
            os.close(slave)  # from now on "nobody has it open" can be told, and an exclusive open works twice
            os.set_blocking(master, False)
            if self.symlink is not None:
                self._lead_to(self.symlink)
                ending.callback(self._lead_away, self.symlink)
            loop = asyncio.SelectorEventLoop(selectors.SelectSelector())  # epoll rounds up to whole milliseconds
            self._thread = ending.enter_context(LoopThread(self._plan.id, loop))
            self._thread.run(self._serve(loop, master))
            self._ending = ending.pop_all()

    def stop(self) -> None:
        self._ending.close()

    def on_line(self, work: Callable[[], Any]) -> Any:
        """Call something in the line's own thread, and hand back what it returns."""

        async def do() -> Any:
            return work()

        assert self._thread is not None, "the line has not been started"
        return self._thread.run(do())

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    async def _serve(self, loop: asyncio.AbstractEventLoop, master: int) -> None:
        self._played = self._plan.play(loop, self._clock)
        carrier = self._played.carrier
        pump = _Pump(self, carrier, loop, master)
        carrier.start(pump.to_agent, lambda why: None)
        pump.look()

    def _lead_to(self, symlink: Path) -> None:
        symlink.parent.mkdir(parents=True, exist_ok=True)
        symlink.unlink(missing_ok=True)
        symlink.symlink_to(self.path)

    def _lead_away(self, symlink: Path) -> None:
        if symlink.is_symlink() and str(symlink.readlink()) == self.path:
            symlink.unlink()


class _Pump:
    """Between the pty and the master's end of the line, in the line's own thread."""

    def __init__(self, owner: PtyLine, carrier: Carrier, loop: asyncio.AbstractEventLoop, master: int) -> None:
        self._owner = owner
        self._carrier = carrier
        self._loop = loop
        self._master = master
        self._open = False

    def look(self) -> None:
        """Whether the agent has the port open now; while not, reading it fails at once and is no news."""
        try:
            data = os.read(self._master, 4096)
        except BlockingIOError:
            data = b""
        except OSError:  # EIO: nobody has it open
            self._loop.call_later(_LOOK_AGAIN_S, self.look)
            return
        self._open = True
        self._loop.add_reader(self._master, self._from_agent)
        if data:
            self._say(data)

    def to_agent(self, data: bytes) -> None:
        if not self._open or termios.tcgetattr(self._master)[3] & termios.ECHO:
            return  # closed, or so freshly opened that it would still echo like a terminal: what comes is not heard
        try:
            written = os.write(self._master, data)
        except OSError:
            written = 0
        self._owner.overruns += len(data) - written

    def _from_agent(self) -> None:
        try:
            data = os.read(self._master, 4096)
        except BlockingIOError:
            return
        except OSError:
            self._open = False
            self._loop.remove_reader(self._master)
            self._loop.call_later(_LOOK_AGAIN_S, self.look)
            return
        self._say(data)

    def _say(self, data: bytes) -> None:
        end = self._carrier.end
        baud = _SPEEDS.get(termios.tcgetattr(self._master)[5], end.format.baud)
        if baud != end.format.baud:
            end.format = replace(end.format, baud=baud)
        self._carrier.write(data)
