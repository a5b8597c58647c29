"""A DLMS meter on a serial line: HDLC frames off the pair and onto it, beside stations of other protocols.

It answers what bears its address and a right checksum; everything else, noise and other protocols too, meets silence. A
link that says nothing for longer than the inactivity time-out is gone, and its association with it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random

from simulator.dlms.codec import Frame, FrameReader, hdlc_frame
from simulator.dlms.hdlc import ServerLink, Size, address
from simulator.dlms.meter import Answer, DlmsMeter
from simulator.faults import Fault, FaultKind, Faults
from simulator.line.station import Turnaround, spoil
from simulator.line.wire import Reply

_OCTET_GAP_S = 0.5
_ON_A_FRAME = frozenset({
    FaultKind.SILENCE, FaultKind.LATE, FaultKind.SPLIT, FaultKind.WRONG_CHECK, FaultKind.CUT_FRAME, FaultKind.NOISE,
})  # fmt: skip


@dataclass
class DlmsStation:
    """One meter on a line. `physical` None: its address has one octet, and it should be alone."""

    name: str
    meter: DlmsMeter
    physical: int | None = None
    octets: int = 1
    turnaround: Turnaround = field(default_factory=Turnaround)
    seed: int = 0

    def __post_init__(self) -> None:
        self.address = address(self.meter.holding.plate.sap, self.physical, self.octets)
        self.links: dict[bytes, ServerLink] = {}
        self._reader = FrameReader()
        self._chance = Random(self.seed)
        self._came_s = 0.0
        self._answers: list[Answer] = []

    @property
    def faults(self) -> Faults:
        return self.meter.faults

    @property
    def writes_seen(self) -> int:
        return self.meter.counts.writes_seen

    def heard(self, data: bytes, at_s: float) -> Sequence[Reply]:
        if at_s - self._came_s > _OCTET_GAP_S + len(data) * 0.01:
            self._reader.clear()
        self._came_s = at_s
        self._reader.feed(data)
        replies: list[Reply] = []
        while (frame := self._reader.take()) is not None:
            if frame.destination == self.address and len(frame.source) == 1:
                replies += self._answer(frame, at_s)
        return replies

    def quiet(self, at_s: float) -> Sequence[Reply]:
        return ()

    def _answer(self, frame: Frame, at_s: float) -> list[Reply]:
        link = self._link(frame.source)
        limit_s = self.meter.holding.plate.inactivity_s
        if link.up and limit_s and at_s - link.heard_s > limit_s:
            link.down()
            self.meter.closed(link)
        self._answers.clear()
        was_up = link.up
        frames = link.take(frame, at_s)
        if was_up and (not link.up or frame.kind == 0x83):
            self.meter.closed(link)
        if not frames:
            return []
        if self._answers:  # what was served has met its faults
            return self._said(frames, self._answers[-1].fault)
        fault = self.faults.on_wire((), self.meter.clock.utc_ms(), among=_ON_A_FRAME)
        return self._said(frames, fault)

    def _said(self, frames: Sequence[bytes], fault: Fault | None) -> list[Reply]:
        """Frames one behind the other; the fault spoils the last."""
        after_s = self.turnaround.next_s()
        before, last = b"".join(frames[:-1]), frames[-1]
        if fault is None:
            return [Reply(before + last, after_s)]
        if fault.kind is FaultKind.WRONG_UNIT:
            last = _from_another(last)
        first, *rest = spoil(last, fault, after_s, check=-3, chance=self._chance) or [Reply(b"", after_s)]
        if first.after_s > after_s:
            return [Reply(before, after_s), first, *rest]
        return [Reply(before + first.data, after_s), *rest]

    def _link(self, client: bytes) -> ServerLink:
        if client not in self.links:
            plate = self.meter.holding.plate

            def serve(apdu: bytes) -> bytes | None:
                answer = self.meter.answer(client[0] >> 1, apdu, link, self._came_s)
                self._answers.append(answer)
                return None if answer.hangs_up else answer.apdu

            link = ServerLink(
                client, self.address, Size(plate.most_info, plate.window), serve, "bare_ua" in self.meter.quirks
            )
            self.links[client] = link
        return self.links[client]


def _from_another(frame: bytes) -> bytes:
    """The same frame from the next meter's address, its checksums right."""
    reader = FrameReader()
    reader.feed(frame)
    found = reader.take()
    assert found is not None
    source = bytearray(found.source)
    source[-1] ^= 0x02
    return hdlc_frame(found.destination, bytes(source), found.control, found.info, segmented=found.segmented)
