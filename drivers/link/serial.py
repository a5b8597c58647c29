"""A serial port, by termios alone: opened for us exclusively, set, and read back to see that it took the settings.

A port that cannot do what is asked is an error: a line read with the wrong parity gives bytes that look like a meter's.
A pseudo-terminal has no parity and no character size to keep, and says so; there it is a warning. A port that is
unplugged is a link that is down; it is opened by its path again, so a name under /dev/serial/by-id finds it wherever
it was plugged in.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import os
import termios
from collections.abc import Callable

import structlog

from drivers.link.base import Link
from drivers.link.framing import Framing
from drivers.link.holder import holder_of
from edge_agent.model import Ms
from edge_agent.ports import LinkDown

log = structlog.get_logger()

_SIZES = {5: termios.CS5, 6: termios.CS6, 7: termios.CS7, 8: termios.CS8}
_PARITIES = {"N": 0, "E": termios.PARENB, "O": termios.PARENB | termios.PARODD}
_FORM = termios.CSIZE | termios.PARENB | termios.PARODD | termios.CSTOPB
_FLOW = getattr(termios, "CRTSCTS", 0)
_PTY_MAJORS = range(136, 144)
_IFLAG, _OFLAG, _CFLAG, _LFLAG, _ISPEED, _OSPEED, _CC = range(7)


class SerialLink(Link):
    """One serial port."""

    def __init__(self, path: str, framing: Framing, *, now_ms: Callable[[], Ms], echo: bool = False) -> None:
        super().__init__(path, "serial", framing, now_ms=now_ms, echo=echo)
        self.path = path
        self._port: int | None = None
        self._warned = False

    @property
    def is_open(self) -> bool:
        return self._port is not None

    async def open(self) -> None:
        await self.close()
        assert self.framing is not None
        loop = asyncio.get_running_loop()
        port: int | None = None
        try:
            # O_NONBLOCK: without it the open itself may wait for a modem's carrier.
            port = os.open(self.path, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK | os.O_CLOEXEC)
            self._take_alone(port)
            self._set(port, self.framing)
            loop.add_reader(port, self._readable, port)
        except (OSError, termios.error) as error:
            if port is not None:
                os.close(port)
            raise LinkDown(f"{self.path}: {_said(error, self.path)}") from error
        except LinkDown:
            if port is not None:
                os.close(port)
            raise
        self._port = port
        self._busy_until_s = loop.time()  # nothing is known of the line yet: it may be in mid-frame

    async def close(self) -> None:
        port, self._port = self._port, None
        self._forget()
        if port is not None:
            _give_back(port)

    def _take_alone(self, port: int) -> None:
        """Nobody else of this machine's may open the port: TIOCEXCL for all but root, the lock for who asks."""
        if not os.isatty(port):
            raise LinkDown(f"{self.path} is not a serial port")
        try:
            fcntl.flock(port, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise LinkDown(f"{self.path} is in use by {holder_of(self.path)}") from None
        fcntl.ioctl(port, termios.TIOCEXCL)

    def _set(self, port: int, framing: Framing) -> None:
        """Raw bytes at the line's speed and form; then read back. Raises `LinkDown` where the port did not take it."""
        speed = getattr(termios, f"B{framing.baud}", None)
        if speed is None:
            raise LinkDown(f"{self.path} cannot be set to {framing.baud} baud")
        form = _SIZES[framing.data_bits] | _PARITIES[framing.parity] | (termios.CSTOPB if framing.stop_bits == 2 else 0)
        asked = termios.tcgetattr(port)
        # A character with the wrong parity reads as zero, and the frame's checksum fails; a break is no character.
        asked[_IFLAG] = termios.IGNBRK | (termios.INPCK if framing.parity != "N" else 0)
        asked[_OFLAG] = asked[_LFLAG] = 0
        asked[_CFLAG] = form | termios.CREAD | termios.CLOCAL
        asked[_ISPEED] = asked[_OSPEED] = speed
        asked[_CC][termios.VMIN], asked[_CC][termios.VTIME] = 1, 0
        try:
            termios.tcsetattr(port, termios.TCSANOW, asked)
        except termios.error as error:
            # The C library's own look at what became of it: parity on a pseudo-terminal. What is read back says more.
            if error.args[0] != errno.EINVAL:
                raise
        termios.tcflush(port, termios.TCIOFLUSH)
        got = termios.tcgetattr(port)
        if (got[_ISPEED], got[_OSPEED]) != (speed, speed) or got[_LFLAG] & (termios.ICANON | termios.ECHO):
            raise LinkDown(f"{self.path} does not take {framing}: it is at another speed, or still a terminal")
        if got[_CFLAG] & (_FORM | _FLOW) == form:
            return
        said = f"asked for {framing}, it is at {_form_of(got[_CFLAG], framing.baud)}"
        if os.major(os.fstat(port).st_rdev) not in _PTY_MAJORS:
            raise LinkDown(f"{self.path} does not take the settings: {said}")
        if not self._warned:
            self._warned = True
            log.warning("a pseudo-terminal has no parity and no character size", path=self.path, detail=said)

    def _send(self, data: bytes) -> None:
        if self._port is None:
            raise LinkDown(f"{self.path} is closed")
        try:
            written = os.write(self._port, data)
        except OSError as error:
            self._broke(_said(error, self.path))
            raise LinkDown(f"{self.path}: {_said(error, self.path)}") from error
        if written != len(data):
            self._broke("takes no more bytes")
            raise LinkDown(f"{self.path} takes no more bytes")

    def _readable(self, port: int) -> None:
        try:
            data = os.read(port, 4096)
        except BlockingIOError:
            return
        except OSError as error:
            self._broke(_said(error, self.path))
            return
        if data:
            self._came(data)
        else:
            self._broke("hung up: is the adapter unplugged?")

    def _broke(self, why: str) -> None:
        port, self._port = self._port, None
        if port is not None:
            _give_back(port)
            self._ended(why)


def _give_back(port: int) -> None:
    with contextlib.suppress(RuntimeError):  # the loop has gone
        asyncio.get_running_loop().remove_reader(port)
    with contextlib.suppress(OSError, termios.error):
        termios.tcflush(port, termios.TCIOFLUSH)  # else closing waits for what an unplugged adapter will never send
        fcntl.ioctl(port, termios.TIOCNXCL)
    os.close(port)


def _form_of(flags: int, baud: int) -> str:
    size = next(bits for bits, flag in _SIZES.items() if flags & termios.CSIZE == flag)
    parity = next(name for name, flag in _PARITIES.items() if flags & (termios.PARENB | termios.PARODD) == flag)
    return f"{Framing(baud, parity, size, 2 if flags & termios.CSTOPB else 1)}"


def _said(error: OSError | termios.error, path: str) -> str:
    number: int = (error.errno if isinstance(error, OSError) else error.args[0]) or errno.EIO
    match number:
        case errno.ENOENT | errno.ENODEV | errno.ENXIO | errno.EIO:
            return f"no such port now ({os.strerror(number)}): is the adapter plugged in?"
        case errno.EBUSY:
            return f"in use by {holder_of(path)}"
        case errno.EACCES | errno.EPERM:
            return "no permission: the user edge-agent's group must own the port"
        case errno.EAGAIN:
            return "takes no more bytes"
    return os.strerror(number)
