"""The HDLC data link of one client to one meter, without a wire: connect, ask, release.

    DOWN --SNRM--> CONNECTING --UA--> UP --DISC--> CLOSING --UA or DM--> DOWN
                                       |  DM, FRMR: DOWN
    in UP:  I (a question, in segments if it must be), RR for each segment but the last of an answer, then the answer

`connect`, `ask`, `disconnect` and `again` give the frame to send; `feed` takes whatever comes and says what happened:
another frame is to be sent (`Say`), the link is up or down, the answer is whole. Frames between other stations are
passed over, pushes (UI) kept aside, a frame that came twice is taken once. The window is one frame outwards; inwards
whatever the meter uses. After silence `again` is the same frame with the same number: a meter that had it already
answers the old question, not a new one.

Source: IEC 62056-46 (DLMS UA 1000-2, chapter 8), HDLC sublayer, state of the connection, and LLC sublayer.
"""

from __future__ import annotations

import re
from collections import deque
from dataclasses import dataclass
from enum import Enum, auto
from typing import NamedTuple

from drivers.dlms import hdlc_frame as wire
from drivers.dlms.hdlc_frame import FINAL, Frame, FrameReader, ServerAddress, client_octet
from drivers.dlms.refused import Desync, LinkRefused, MeterHungUp, NotSupported, Unsupported
from edge_agent.ports import BadReply, DriverError, NoReply

MOST_ROUNDS = 32
"""How often in a row a meter may answer without giving anything."""

MOST_APDU = 70_000
KEPT_ASIDE = 16

_AROUND = 17
"""Octets of a frame beside its information, at most."""

_LLC_ASK, _LLC_ANSWER = b"\xe6\xe6\x00", b"\xe6\xe7\x00"
_MODE_E = re.compile(rb"/[A-Za-z]{3}[0-9A-Za-z]")


class Phase(Enum):
    DOWN = auto()
    CONNECTING = auto()
    UP = auto()
    CLOSING = auto()


STEP: dict[tuple[Phase, int], Phase] = {
    (Phase.CONNECTING, wire.UA): Phase.UP,
    (Phase.CONNECTING, wire.DM): Phase.DOWN,
    (Phase.UP, wire.DM): Phase.DOWN,
    (Phase.UP, wire.FRMR): Phase.DOWN,
    (Phase.CLOSING, wire.UA): Phase.DOWN,
    (Phase.CLOSING, wire.DM): Phase.DOWN,
}
"""Moves that an unnumbered frame of the meter causes; a pair that is absent stays where it is."""


class Parameters(NamedTuple):
    """Octets of information a frame, and frames at a time, as one side sends and takes them."""

    info_transmit: int = 128
    info_receive: int = 128
    window_transmit: int = 1
    window_receive: int = 1

    def to_octets(self) -> bytes:
        """The information field of an SNRM."""
        groups = b""
        for number, value in zip((5, 6), self[:2], strict=True):
            octets = value.to_bytes(1 if value < 256 else 2, "big")
            groups += bytes((number, len(octets))) + octets
        for number, value in zip((7, 8), self[2:], strict=True):
            groups += bytes((number, 4)) + value.to_bytes(4, "big")
        return b"\x81\x80" + bytes((len(groups),)) + groups


class Say(NamedTuple):
    """Send this next. `pause`: the meter has the question and nothing to say yet; give it a moment."""

    frame: bytes
    pause: bool = False


class Up(NamedTuple):
    """The link is up. What the meter sends and takes."""

    parameters: Parameters


@dataclass(frozen=True, slots=True)
class Down:
    """The link is down, as was asked."""


class Whole(NamedTuple):
    """The answer is whole."""

    apdu: bytes


Event = Say | Up | Down | Whole


class Hdlc:
    """One data link. `echo`: the line gives back what is said on it (an optical head, RS-485 without a switch)."""

    def __init__(
        self,
        client: int,
        server: ServerAddress,
        *,
        parameters: Parameters | None = None,
        echo: bool = False,
        most_apdu: int = MOST_APDU,
    ) -> None:
        self.phase = Phase.DOWN
        self.agreed = Parameters()
        self.aside: deque[bytes] = deque(maxlen=KEPT_ASIDE)
        """What the meter pushed in between (UI), the newest."""
        self.skipped = 0
        """Frames that were right and not for us, or not for now."""
        self._client, self._server = client_octet(client), server.to_octets()
        self._proposed = parameters
        self._echo = echo
        self._most = most_apdu
        self._reader = FrameReader()
        self._said = b""
        self._echo_due = False
        self._heard = False
        self._asked = False
        self._vs = self._vr = 0
        self._segments: deque[bytes] = deque()
        self._answer = bytearray()
        self._rounds = 0

    # -- what to send --------------------------------------------------------------------------------------------

    def connect(self) -> bytes:
        """SNRM. Whatever was under way is over."""
        self._reader.clear()
        self.phase = Phase.CONNECTING
        self._reset()
        return self._made(wire.SNRM | FINAL, self._proposed.to_octets() if self._proposed else b"")

    def disconnect(self) -> bytes:
        """DISC; also towards a meter that may not know of the end of an older link."""
        self.phase = Phase.CLOSING
        self._reset()
        return self._made(wire.DISC | FINAL)

    @property
    def most_answer(self) -> int:
        """Octets that the meter may send in one go: a window of full frames."""
        own = self._proposed or Parameters()
        info = min(own.info_receive, self.agreed.info_transmit)
        return min(own.window_receive, self.agreed.window_transmit) * (info + _AROUND)

    def ask(self, apdu: bytes) -> bytes:
        """The first frame of a question."""
        if self.phase is not Phase.UP or self._asked:
            raise ValueError("a question needs a link that is up, and waits for the answer to the last")
        own = self._proposed or Parameters()
        size = min(own.info_transmit, self.agreed.info_receive)
        octets = _LLC_ASK + apdu
        self._segments = deque(octets[at : at + size] for at in range(0, len(octets), size))
        self._asked, self._rounds = True, 0
        self._answer.clear()
        return self._segment()

    def again(self) -> bytes:
        """The frame that was sent last, unchanged: after silence."""
        self._heard = False
        self._echo_due = self._echo
        return self._said

    def lost(self) -> None:
        """The channel is gone, and the link with it."""
        self.phase = Phase.DOWN
        self._reader.clear()
        self._reset()

    # -- what comes ----------------------------------------------------------------------------------------------

    def feed(self, received: bytes) -> Event | None:
        """What happened, or None while more is needed. Raises a `DriverError` for what ends the question."""
        self._reader.feed(received)
        while (frame := self._reader.take()) is not None:
            if self._is_ours(frame) and (event := self._take(frame)) is not None:
                return event
        return None

    def expired(self) -> DriverError:
        """What it means that the time is up."""
        if _MODE_E.search(bytes(octet & 0x7F for octet in self._reader.noise)):
            return NotSupported(Unsupported.MODE_E, "the meter opens in mode E of IEC 62056-21, not in HDLC")
        if self._reader.pending:
            return BadReply(f"an HDLC frame stopped after {self._reader.pending} octets")
        if self._reader.noise:
            return BadReply(f"{len(self._reader.noise)} octets and no HDLC frame of this meter among them")
        return BadReply("the answer does not go on") if self._heard else NoReply("the meter kept silent")

    def _is_ours(self, frame: Frame) -> bool:
        if self._echo_due and frame.raw == self._said:
            self._echo_due = False
            return False
        if frame.destination == self._client and frame.source == self._server:
            self._heard = True
            return True
        self.skipped += 1
        return False

    def _take(self, frame: Frame) -> Event | None:
        if frame.kind == wire.UI:
            self.aside.append(frame.info)
            return None
        before, self.phase = self.phase, STEP.get((self.phase, frame.kind), self.phase)
        if before is not self.phase:
            return self._changed(before, frame)
        if self.phase is Phase.UP and self._asked:
            if frame.kind == 0:
                return self._information(frame)
            if frame.kind in {wire.RR, wire.RNR, wire.REJ}:
                return self._supervised(frame)
        self.skipped += 1
        return None

    def _changed(self, before: Phase, frame: Frame) -> Event:
        self._reset()
        if self.phase is Phase.UP:
            self.agreed = parameters_of(frame.info)
            return Up(self.agreed)
        if before is Phase.CLOSING:
            return Down()
        if frame.kind == wire.FRMR:
            raise Desync(f"the meter rejects a frame (FRMR {frame.info.hex()})")
        if before is Phase.CONNECTING:
            raise LinkRefused("the meter answers SNRM with DM: it will not connect")
        raise MeterHungUp("the meter answers with DM: it has ended the link")

    def _information(self, frame: Frame) -> Event | None:
        if frame.nr != self._vs or self._segments:
            self.skipped += 1  # it does not know of our question: an answer to an older one
            return None
        if frame.ns != self._vr:
            self.skipped += 1  # it came twice, or one before it did not come: RR says which is wanted
            return self._poll() if frame.is_final else None
        self._vr = (self._vr + 1) & 7
        self._answer += frame.info
        if len(self._answer) > self._most:
            raise Desync(f"an answer of more than {self._most} octets")
        if frame.segmented:
            self._rounds = self._rounds if not frame.info else 0
            return self._poll() if frame.is_final else None
        answer = bytes(self._answer)
        self._asked = False
        self._answer.clear()
        if not answer.startswith(_LLC_ANSWER):
            raise Desync(f"an answer without its LLC header: {answer[:3].hex()}")
        return Whole(answer[len(_LLC_ANSWER) :])

    def _supervised(self, frame: Frame) -> Event | None:
        if frame.nr == self._vs:
            if self._segments:
                return Say(self._segment())
            return self._poll(pause=True) if frame.is_final else None
        if frame.kind == wire.REJ and frame.nr == (self._vs - 1) & 7:
            self._round()
            return Say(self.again())
        self.skipped += 1
        return None

    def _poll(self, *, pause: bool = False) -> Say:
        self._round()
        return Say(self._made(self._vr << 5 | FINAL | wire.RR), pause)

    def _round(self) -> None:
        self._rounds += 1
        if self._rounds > MOST_ROUNDS:
            raise Desync(f"{MOST_ROUNDS} answers in a row gave nothing")

    def _segment(self) -> bytes:
        info = self._segments.popleft()
        control = self._vr << 5 | FINAL | self._vs << 1
        self._vs = (self._vs + 1) & 7
        return self._made(control, info, segmented=bool(self._segments))

    def _made(self, control: int, info: bytes = b"", *, segmented: bool = False) -> bytes:
        self._said = wire.encode(self._server, self._client, control, info, segmented=segmented)
        self._reader.noise.clear()
        return self.again()

    def _reset(self) -> None:
        self._asked = False
        self._vs = self._vr = self._rounds = 0
        self._segments.clear()
        self._answer.clear()


def parameters_of(info: bytes) -> Parameters:
    """What a UA says; what it leaves out, or says in another way than the standard, is 128 octets and one frame."""
    found: dict[int, int] = {}
    if info[:2] == b"\x81\x80" and len(info) >= 3 and len(info) >= 3 + info[2]:
        at, end = 3, 3 + info[2]
        while at + 2 <= end and at + 2 + info[at + 1] <= end:
            found[info[at]] = int.from_bytes(info[at + 2 : at + 2 + info[at + 1]], "big")
            at += 2 + info[at + 1]
    sizes = (found[n] if 8 <= found.get(n, 0) <= wire.MOST_FRAME else 128 for n in (5, 6))
    windows = (found[n] if 1 <= found.get(n, 0) <= 7 else 1 for n in (7, 8))
    return Parameters(*sizes, *windows)
