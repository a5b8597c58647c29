"""Which attributes share a question, what a question puts on the wire, and a register's own octets in what came.

Registers of one cadence are one request: with lists it is one question, or a few, as the meter allows. The driver finds
out how many attributes a list may have (`session`); a plan only says which belong together.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby

from drivers.dlms import axdr, wrapper, xdlms
from drivers.dlms.hdlc_frame import FrameReader
from drivers.dlms.refused import Said
from drivers.dlms.values import Item, item_of
from drivers.dlms.xdlms import Several
from edge_agent.model import DeviceSpec, DlmsSpec, Frame, Gap, GapCause, Ms, Outcome, Register, Request

_LLC_ASK, _LLC_ANSWER = b"\xe6\xe6\x00", b"\xe6\xe7\x00"
_DATA, _HEADERS = 9, 17
"""Octets of a usual value in an answer, and around an APDU on a line: HDLC and LLC."""

_CIPHERED = 20
"""More of them for an APDU under protection: tag, length, security control, counter, authentication tag."""


class Plan:
    """The driver's form of a request: the meter, its items, and what is known of those that are not given."""

    def __init__(self, device: DeviceSpec, items: tuple[Item, ...], every_s: float) -> None:
        self.device = device
        self.items = items
        self.every_s = every_s
        self.refused: dict[int, tuple[str, Ms]] = {}
        """By place in `items`: why the meter does not give it, and until when it is not asked again."""

    def gap(self, item: Item, cause: GapCause, bt_ms: Ms, detail: str, frame: Frame | None = None) -> Outcome:
        return Gap(self.device.id, item.quantity, cause, bt_ms, f"{item.register.address}: {detail}", frame)


def requests(device: DeviceSpec) -> tuple[Request, ...]:
    """The questions that read a whole device, one for each cadence.

    Raises ValueError, naming the register, for a profile that cannot be read as it says.
    """

    def every(register: Register) -> float:
        return device.every_s or register.every_s

    return tuple(
        Request(device.id, 0, alike, Plan(device, tuple(item_of(r) for r in alike), every_s), every_s)
        for every_s, group in groupby(sorted(device.profile.registers, key=every), key=every)
        for alike in [tuple(group)]
    )


def wire_bytes(request: Request) -> tuple[int, int]:
    """Octets on the wire: (sent, expected), of a request inside an association that is kept open; the opening comes
    on top, with the first question or, where it is not kept, with each."""
    plan = plan_of(request)
    spec = plan.device.dlms or DlmsSpec()
    around = _HEADERS + 2 * spec.address_size + (_CIPHERED if spec.security != "none" else 0)
    sent = expected = 0
    for first in range(0, len(plan.items), spec.with_list_max):
        chunk = plan.items[first : first + spec.with_list_max]
        sent += around + 4 + 10 * len(chunk)
        expected += around + 4 + sum(_DATA if item.scaler else 2 * _DATA for item in chunk)
    return sent, expected


def plan_of(request: Request) -> Plan:
    """The plan of a request. Raises ValueError for one that none was made for."""
    if not isinstance(request.plan, Plan):
        raise ValueError(f"{request.device}: a DLMS meter is read by the requests of its device")
    return request.plan


def raw_of(register: Register, frame: Frame) -> bytes:
    """The register's value as the meter encoded it; `b""` where it has none, or under a key."""
    attribute = item_of(register).attribute
    asked = list(_apdus(frame.request, _LLC_ASK))
    answers = list(_apdus(frame.reply, _LLC_ANSWER))
    try:
        for question in asked:
            wanted = attribute.to_octets()
            if question[:2] == b"\xc0\x01" and question[3:] == wanted:
                return _value(answers, 0, 1)
            if question[:2] == b"\xc0\x03":
                listed = [question[at : at + 10] for at in range(4, len(question), 10)]
                if wanted in listed:
                    return _value(answers, listed.index(wanted), len(listed))
    except Said:
        return b""
    return b""


def _value(answers: list[bytes], place: int, count: int) -> bytes:
    """One result of the answer that begins there, put together from its blocks."""
    content = b""
    for apdu in answers:
        match xdlms.response_of(apdu):
            case xdlms.One(_, axdr.Data() as data):
                return axdr.encode(data)
            case Several(_, results) if len(results) == count:
                result = results[place]
                return axdr.encode(result) if isinstance(result, axdr.Data) else b""
            case xdlms.Block(_, is_last, _, bytes() as piece):
                content += piece
                if is_last:
                    if count == 1:
                        return content
                    found = xdlms.results_of(content, count, axdr.LIMITS)[place]
                    return axdr.encode(found) if isinstance(found, axdr.Data) else b""
            case _:
                return b""
    return b""


def _apdus(octets: bytes, llc: bytes) -> Iterator[bytes]:
    """The APDUs that went one way, off whichever data link it was."""
    if octets[:2] == wrapper.VERSION.to_bytes(2, "big"):
        at = 0
        while at + wrapper.HEADER <= len(octets):
            end = at + wrapper.HEADER + int.from_bytes(octets[at + 6 : at + 8], "big")
            yield octets[at + wrapper.HEADER : end]
            at = end
        return
    reader, apdu = FrameReader(), b""
    reader.feed(octets)
    while (frame := reader.take()) is not None:
        if frame.kind == 0:
            apdu += frame.info
            if not frame.segmented:
                if apdu.startswith(llc):
                    yield apdu[len(llc) :]
                apdu = b""
