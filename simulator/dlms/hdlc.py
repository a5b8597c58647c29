"""The meter's end of HDLC data links, without a wire: frames in, frames out.

    NDM --SNRM--> NRM --DISC--> NDM      (UA; what is said to a link that is not up is answered DM)

A client has a link of its own. The meter speaks when it is polled: an answer goes in frames of the size and the window
that SNRM and UA have agreed on, the last with the final bit; each is kept until the client has counted it, and said
again where it has not. Source: IEC 62056-46 (DLMS UA 1000-2, chapter 8).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from simulator.dlms.codec import FINAL, Frame, hdlc_frame

SNRM, DISC, UA, DM, FRMR = 0x83, 0x43, 0x63, 0x0F, 0x87
RR, RNR, REJ = 0x01, 0x05, 0x09
ASKED, ANSWERED = b"\xe6\xe6\x00", b"\xe6\xe7\x00"
_MOST_APDU = 70_000

Serve = Callable[[bytes], bytes | None]
"""An APDU's answer; empty: nothing is said; None: the meter ends the link."""


@dataclass(frozen=True, slots=True)
class Size:
    """Octets of information in a frame, and frames at a time."""

    info: int = 128
    window: int = 1


@dataclass
class ServerLink:
    """The link of one client. `own`: what the meter can; `bare_ua`: it does not say so."""

    client: bytes  # address octets
    server: bytes
    own: Size
    serve: Serve
    bare_ua: bool = False
    up: bool = False
    heard_s: float = 0.0
    sends: Size = field(default_factory=Size)
    """Agreed for what the meter sends."""

    def __post_init__(self) -> None:
        self._reset()

    def take(self, frame: Frame, now_s: float) -> list[bytes]:
        """The frames that answer one of the client's."""
        self.heard_s = now_s
        if frame.kind == SNRM:
            return [self._connect(frame.info)]
        if not self.up:
            return [self._made(DM | FINAL)]
        if frame.kind == DISC:
            self.down()
            return [self._made(UA | FINAL)]
        if frame.kind == 0:
            return self._information(frame)
        if frame.kind in {RR, RNR, REJ}:
            return self._counted(frame)
        self.down()
        return [self._made(FRMR | FINAL, bytes((frame.control, self._vs << 1 | self._vr << 5, 0x01)))]

    def down(self) -> None:
        self.up = False
        self._reset()

    def _reset(self) -> None:
        self._vs = self._vr = 0
        self._came = bytearray()
        self._left: deque[bytes] = deque()
        self._sent: deque[tuple[int, bytes, bool]] = deque()  # number, information, goes on
        self._said: list[bytes] = []

    def _connect(self, info: bytes) -> bytes:
        self._reset()
        self.up = True
        wants = _parameters(info)
        self.sends = Size(min(self.own.info, wants.get(6, 128)), min(self.own.window, wants.get(8, 1)))
        takes = Size(min(self.own.info, wants.get(5, 128)), min(self.own.window, wants.get(7, 1)))
        return self._made(UA | FINAL, b"" if self.bare_ua else _said(self.sends, takes))

    def _information(self, frame: Frame) -> list[bytes]:
        if frame.ns == (self._vr - 1) & 7 and self._said:  # it came before: what was said then is said again
            return self._said if frame.is_final else []
        if frame.ns != self._vr:
            return [self._made(self._vr << 5 | FINAL | RR)]
        self._vr = (self._vr + 1) & 7
        self._sent.clear()
        self._left.clear()
        self._came += frame.info
        if len(self._came) > _MOST_APDU:
            self._came.clear()
            return self._keep([self._made(self._vr << 5 | FINAL | RR)])
        if frame.segmented:
            return self._keep([self._made(self._vr << 5 | FINAL | RR)] if frame.is_final else [])
        apdu, self._came = bytes(self._came), bytearray()
        if not apdu.startswith(ASKED):
            return self._keep([])
        answer = self.serve(apdu[len(ASKED) :])
        if answer is None:
            self.down()
            return [self._made(DM | FINAL)]
        if answer:
            octets, size = ANSWERED + answer, self.sends.info
            self._left.extend(octets[at : at + size] for at in range(0, len(octets), size))
        return self._keep(self._window() if answer else [self._made(self._vr << 5 | FINAL | RR)])

    def _counted(self, frame: Frame) -> list[bytes]:
        """RR, RNR, REJ: what the client has, and what it wants next."""
        while self._sent and self._sent[0][0] != frame.nr and frame.nr in self._numbers():
            self._sent.popleft()
        if frame.kind == RNR or not frame.is_final:
            return []
        if self._sent:
            return self._keep([self._numbered(*sent, final=sent is self._sent[-1]) for sent in self._sent])
        if self._left:
            return self._keep(self._window())
        return [self._made(self._vr << 5 | FINAL | RR)]

    def _numbers(self) -> set[int]:
        """What N(R) may say: each frame that was sent and not counted, and the one after the last."""
        return {number for number, _, _ in self._sent} | {self._vs}

    def _window(self) -> list[bytes]:
        while self._left and len(self._sent) < self.sends.window:
            info = self._left.popleft()
            self._sent.append((self._vs, info, bool(self._left)))
            self._vs = (self._vs + 1) & 7
        return [self._numbered(*sent, final=sent is self._sent[-1]) for sent in self._sent]

    def _numbered(self, number: int, info: bytes, more: bool, *, final: bool) -> bytes:
        control = self._vr << 5 | (FINAL if final else 0) | number << 1
        return hdlc_frame(self.client, self.server, control, info, segmented=more)

    def _keep(self, frames: list[bytes]) -> list[bytes]:
        self._said = frames
        return frames

    def _made(self, control: int, info: bytes = b"") -> bytes:
        return hdlc_frame(self.client, self.server, control, info)


def address(logical: int, physical: int | None, octets: int) -> bytes:
    """A meter's address: seven bits an octet, the lowest bit ends it. Raises ValueError."""
    most = 0x3FFF if octets == 4 else 0x7F
    if octets not in {1, 2, 4} or not 0 <= logical <= most or not 0 <= (physical or 0) <= most:
        raise ValueError(f"no HDLC address of {octets} octets: logical {logical}, physical {physical}")
    upper = physical or 0
    match octets:
        case 1:
            if physical is not None:
                raise ValueError("an HDLC address of one octet has no physical part")
            parts = [logical]
        case 2:
            parts = [logical, upper]
        case _:
            parts = [logical >> 7, logical & 0x7F, upper >> 7, upper & 0x7F]
    return bytes(part << 1 | (n == len(parts) - 1) for n, part in enumerate(parts))


def _parameters(info: bytes) -> dict[int, int]:
    """The groups of an SNRM; none where there are none, or torn ones."""
    found: dict[int, int] = {}
    if info[:2] != b"\x81\x80" or len(info) < 3:
        return found
    at = 3
    while at + 2 <= len(info) and at + 2 + info[at + 1] <= len(info):
        size = info[at + 1]
        found[info[at]] = int.from_bytes(info[at + 2 : at + 2 + size], "big")
        at += 2 + size
    return found


def _said(sends: Size, takes: Size) -> bytes:
    """The information of a UA: as the meter sends, as it takes."""
    groups = b""
    for number, value in ((5, sends.info), (6, takes.info)):
        octets = value.to_bytes(1 if value < 256 else 2, "big")
        groups += bytes((number, len(octets))) + octets
    for number, value in ((7, sends.window), (8, takes.window)):
        groups += bytes((number, 4)) + value.to_bytes(4, "big")
    return b"\x81\x80" + bytes((len(groups),)) + groups
