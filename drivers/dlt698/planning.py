"""Which registers share a question, and what a question for several becomes when a meter does not answer it.

A question lists attributes; an attribute is asked once, however many registers lie in it. A meter that refuses a list,
or keeps silent at it while it answers others, is asked for one attribute at a time from then on.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby

from drivers.dlt698.codec import Dar, Value
from drivers.dlt698.exchange import dar_words
from drivers.dlt698.frame import OVERHEAD, PREAMBLE, address_of
from drivers.dlt698.items import OCTETS, layout, outcome, place_of
from edge_agent.model import DeviceId, DeviceSpec, Frame, Gap, GapCause, Ms, Outcome, Register, Request

MOST_ANSWER = 400
"""Octets of an answer that is asked for: a meter that was not told otherwise sends no more than some 500 at once."""

REFUSED_FOR_MS = 3_600_000
"""An attribute that a meter does not have is asked for again after an hour: a setting may have changed."""


class Question:
    """Attributes of one meter that are asked together: what their answers mean, and which of them are refused."""

    def __init__(self, device: DeviceId, registers: Sequence[Register]) -> None:
        self.device = device
        self.registers = tuple(registers)
        self.oads = tuple(dict.fromkeys(place_of(r).oad for r in self.registers))
        self.refused: dict[int, tuple[Ms, str]] = {}  # by attribute: until when it is not asked for, and why
        self.silent_ms: Ms | None = None
        """When the meter last kept silent at this question; None: it answered since."""
        self.silent_alone = 0
        """How often it kept silent at this question and answered others."""
        self.illegible = 0
        """How often in a row its answer could not be read."""
        self._items = layout(self.registers)

    def asked(self, now_ms: Ms) -> tuple[int, ...]:
        """The attributes that are worth asking for now."""
        return tuple(oad for oad in self.oads if now_ms >= self.refused.get(oad, (now_ms, ""))[0])

    def refuse(self, oads: Sequence[int], why: str, now_ms: Ms) -> None:
        for oad in oads:
            self.refused[oad] = (now_ms + REFUSED_FOR_MS, f"{oad:08X}: {why}")

    def outcomes(self, found: dict[int, Value | Dar], bt_ms: Ms, frame: Frame | None) -> list[Outcome]:
        """One outcome per register, in order; an attribute that is missing in `found` was not asked for."""
        for oad, result in found.items():
            if isinstance(result, Dar):
                self.refuse((oad,), dar_words(result.code), bt_ms)
            else:
                self.refused.pop(oad, None)
        return [
            outcome(item, self.device, found[item.place.oad], bt_ms, frame)
            if item.place.oad in found
            else Gap(self.device, item.quantity, GapCause.REFUSED, bt_ms, self.refused[item.place.oad][1])
            for item in self._items
        ]

    def gaps(self, cause: GapCause, bt_ms: Ms, detail: str) -> list[Outcome]:
        """The same gap for every register."""
        return [Gap(self.device, r.quantity, cause, bt_ms, detail) for r in self.registers]


class Plan:
    """The driver's form of a request: a meter's address, and questions that grow as it learns."""

    def __init__(self, address: str, questions: Sequence[Question]) -> None:
        self.address = address
        self.questions = list(questions)


def requests(device: DeviceSpec) -> tuple[Request, ...]:
    """The questions that read a whole device, each of one cadence.

    `max_registers` of the profile is how many attributes a question may list: 1 for a meter that knows no lists.
    Raises ValueError, naming the register, for a profile or an address that cannot be read as it says.
    """
    address = address_of(device.address or device.unit)
    layout(device.profile.registers)  # says what is wrong with them, if anything is

    def every_s(register: Register) -> float:
        return device.every_s or register.every_s

    ordered = sorted(device.profile.registers, key=lambda r: (every_s(r), place_of(r).oad))
    return tuple(
        Request(device.id, device.unit, alike, Plan(address, [Question(device.id, alike)]), cadence)
        for cadence, group in groupby(ordered, key=every_s)
        for alike in _shared(tuple(group), device.profile.max_registers)
    )


def wire_bytes(request: Request) -> tuple[int, int]:
    """Characters on the wire: (sent, expected), over all questions of the request, as far as types tell. With four
    octets FE in front each way; of an array as far as its last value that is wanted, which is the least of it."""
    sent = expected = 0
    for question in plan_of(request).questions:
        around = len(PREAMBLE) + OVERHEAD
        sent += around + 4 + (len(question.oads) > 1) + 4 * len(question.oads)
        expected += around + 5 + (len(question.oads) > 1) + sum(_answers(question.registers).values())
    return sent, expected


def plan_of(request: Request) -> Plan:
    """The plan of a request; made on the spot for one that was put together by hand."""
    if isinstance(request.plan, Plan):
        return request.plan
    return Plan(address_of(request.unit), [Question(request.device, request.registers)])


def split(question: Question) -> list[Question]:
    """The attributes of a list, each as a question of its own; none: it asks for one already."""
    if len(question.oads) < 2:
        return []
    parts = [Question(question.device, tuple(g)) for _, g in groupby(question.registers, key=lambda r: place_of(r).oad)]
    for part in parts:
        part.refused = {oad: why for oad, why in question.refused.items() if oad in part.oads}
    return parts


def _shared(registers: tuple[Register, ...], most: int) -> Iterator[tuple[Register, ...]]:
    """Registers that fit into one question, in order; those of one attribute stay together."""
    together: list[Register] = []
    octets = oads = 0
    for _, group in groupby(registers, key=lambda r: place_of(r).oad):
        alike = tuple(group)
        (more,) = _answers(alike).values()
        if together and (oads == most or octets + more > MOST_ANSWER):
            yield tuple(together)
            together, octets, oads = [], 0, 0
        together += alike
        octets, oads = octets + more, oads + 1
    if together:
        yield tuple(together)


def _answers(registers: Sequence[Register]) -> dict[int, int]:
    """Octets of the answer for each attribute: itself, whether there is a value, and values up to the last wanted."""
    found: dict[int, int] = {}
    for register in registers:
        oad, path = place_of(register)
        value = OCTETS[register.type]
        if len(path) > 1:
            value = 2 + 2 * value + 2 * (len(path) - 2)  # a structure, mostly of two
        found[oad] = max(found.get(oad, 0), 5 + (2 + path[0] * value if path else value))
    return found
