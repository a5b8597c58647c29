"""The meter of the tests behind HDLC: its own reading of frames, segments and numbers, apart from the driver."""

from __future__ import annotations

from dataclasses import dataclass, field

from tests.dlms_meter import Meter, frame, x25


@dataclass
class HdlcMeter:
    """One meter on a line: whatever is said to it is one frame, and so is each of its answers in the list."""

    meter: Meter
    info: int = 64
    """Octets of information a frame, as it sends them."""
    takes: int = 128
    """Octets of information a frame, as it takes them."""
    window: int = 1
    own: bytes = b"\x03"
    heard: list[bytes] = field(default_factory=list)
    """Frames that came."""

    def __post_init__(self) -> None:
        self._question = b""
        self._pieces: list[bytes] = []
        self._vs = self._vr = self._acknowledged = 0
        self._last: list[bytes] = []

    def answer(self, data: bytes) -> bytes:
        """Frames in answer to a frame, one after the other."""
        self.heard.append(data)
        control, info, more = self._read(data)
        if control == 0x93:
            self.__post_init__()
            return frame(0x73, b"\x81\x80\x04\x06\x02" + self.takes.to_bytes(2, "big"), of=self.own)
        if control == 0x53:
            return frame(0x73, of=self.own)
        if control & 0x1F == 0x11:
            return self._send(control >> 5)
        assert control & 0x11 == 0x10
        if control >> 1 & 7 != self._vr:
            return b"".join(self._last)  # it had this one: the answer was lost
        self._vr = (self._vr + 1) & 7
        self._question += info
        if more:
            return self._keep([frame(self._vr << 5 | 0x11, of=self.own)])
        assert self._question[:3] == b"\xe6\xe6\x00"
        apdu, self._question = self._question[3:], b""
        whole = b"\xe6\xe7\x00" + self.meter.answer(apdu)
        self._pieces = [whole[n : n + self.info] for n in range(0, len(whole), self.info)]
        self._acknowledged = self._vs
        return self._send(self._vs)

    def _send(self, nr: int) -> bytes:
        """As many pieces as the window holds, from the first that was not acknowledged."""
        done = (nr - self._acknowledged) & 7
        del self._pieces[:done]
        self._acknowledged = nr
        frames = []
        for n, piece in enumerate(self._pieces[: self.window]):
            last_of_window = n == min(self.window, len(self._pieces)) - 1
            control = self._vr << 5 | (0x10 if last_of_window else 0) | ((nr + n) & 7) << 1
            frames.append(frame(control, piece, of=self.own, more=n < len(self._pieces) - 1))
        self._vs = (nr + len(frames)) & 7
        return self._keep(frames)

    def _keep(self, frames: list[bytes]) -> bytes:
        self._last = frames
        return b"".join(frames)

    def _read(self, data: bytes) -> tuple[int, bytes, bool]:
        assert data[0] == data[-1] == 0x7E
        assert (data[1] & 7) << 8 | data[2] == len(data) - 2
        assert x25(data[1:-3]).to_bytes(2, "little") == data[-3:-1]
        at = 3 + len(self.own)
        assert (data[3:at], data[at]) == (self.own, 0x21)
        info = data[at + 4 : -3] if len(data) > at + 5 else b""
        if info:
            assert x25(data[1 : at + 2]).to_bytes(2, "little") == data[at + 2 : at + 4]
        return data[at + 1], info, bool(data[1] & 8)
