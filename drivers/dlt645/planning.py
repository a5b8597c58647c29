"""Which registers share a question, and what a block is made of when a meter does not give it.

A question asks for one identifier. One that ends in a block (FF) brings several items: all phases, all rates. A meter
that refuses a block is asked for its items one by one from then on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import groupby

from drivers.dlt645.frame import OVERHEAD, PREAMBLE, address_of
from drivers.dlt645.items import layout, octets_of, outcomes, place_of
from drivers.dlt645.load_records import Records, records_of
from edge_agent.model import DeviceId, DeviceSpec, Frame, Gap, GapCause, Ms, Outcome, Register, Request


class Question:
    """One identifier of one meter: what its answer means, and what is known of its not being given."""

    def __init__(self, device: DeviceId, registers: Sequence[Register]) -> None:
        self.device = device
        self.registers = tuple(registers)
        self.di = place_of(self.registers[0]).di
        self.refused = ""
        self.refused_until_ms: Ms = 0
        self.silent_ms: Ms | None = None
        """When the meter last kept silent at this question; None: it answered since."""
        self.silent_alone = 0
        """How often it kept silent at this question and answered others."""
        self._items = layout(self.registers)

    def outcomes(self, data: bytes, bt_ms: Ms, frame: Frame | None) -> list[Outcome]:
        """One outcome per register, in order, from the octets of the answer."""
        return outcomes(self._items, self.device, data, bt_ms, frame)

    def gaps(self, cause: GapCause, bt_ms: Ms, detail: str) -> list[Outcome]:
        """The same gap for every register."""
        return [Gap(self.device, r.quantity, cause, bt_ms, detail) for r in self.registers]


class Plan:
    """The driver's form of a request: a meter's address, and questions that grow as it learns.

    `zone`, `records`: in which time the meter writes things down, and where its load records are.
    """

    def __init__(
        self, address: str, questions: Sequence[Question], zone: str = "UTC", records: Records | None = None
    ) -> None:
        self.address = address
        self.questions = list(questions)
        self.zone = zone
        self.records = records


def requests(device: DeviceSpec) -> tuple[Request, ...]:
    """The questions that read a whole device, one identifier and one cadence each.

    `max_registers` of the profile is how many items a question may bring: 1 for a meter that has no blocks.
    Raises ValueError, naming the register, for a profile or an address that cannot be read as it says.
    """
    address = address_of(device.address or device.unit)
    records = records_of(device.profile.load_profile)
    registers = list(device.profile.registers)
    if device.profile.max_registers == 1:
        registers = [single(r) or r for r in registers]

    def sort(register: Register) -> tuple[float, int]:
        return device.every_s or register.every_s, place_of(register).di

    return tuple(
        Request(
            device.id, device.unit, alike, Plan(address, [Question(device.id, alike)], device.zone, records), every_s
        )
        for (every_s, _), group in groupby(sorted(registers, key=sort), key=sort)
        for alike in [tuple(group)]
    )


def wire_bytes(request: Request) -> tuple[int, int]:
    """Characters on the wire: (sent, expected), over all questions of the request. With four octets FE in front each
    way; of a block as far as its last item that is wanted, which is less than what a meter with more rates sends."""
    questions = plan_of(request).questions
    asked = len(PREAMBLE) + OVERHEAD + 4  # an identifier
    items = [max(max(place_of(r).item, 1) * octets_of(r) for r in question.registers) for question in questions]
    return asked * len(items), sum(asked + octets for octets in items)


def plan_of(request: Request) -> Plan:
    """The plan of a request; made on the spot for one that was put together by hand."""
    if isinstance(request.plan, Plan):
        return request.plan
    grouped = groupby(request.registers, key=lambda r: place_of(r).di)
    return Plan(address_of(request.unit), [Question(request.device, tuple(group)) for _, group in grouped])


def split(question: Question) -> list[Question]:
    """The items of a block, each as a question of its own; none: the question is for one item, or nobody knows."""
    singles = [single(r) for r in question.registers]
    if not all(singles):
        return []
    return [Question(question.device, (r,)) for r in singles if r is not None]


def single(register: Register) -> Register | None:
    """The register read by itself and not in a block; None when it is not in one, or in one of no known make.

    Blocks of energies, demands, and powers begin with the total, which is item 0 of its kind; voltages, currents,
    angles, distortions and status words begin with item 1. Event totals with their times are one identifier.
    """
    di, item = place_of(register)
    if not item:
        return None
    kind, block = di >> 16, di & 0xFFFF
    if block == 0xFF00 and (kind >> 8 in {0x00, 0x01} or 0x0203 <= kind <= 0x0206):
        alone = (kind << 16) | (item - 1) << 8
    elif block == 0xFF00 and kind in {0x0201, 0x0202, 0x0207, 0x0208, 0x0209}:
        alone = (kind << 16) | item << 8
    elif di == 0x040005FF:
        alone = 0x04000500 | item
    else:
        return None
    octets_of(register)
    return replace(register, address=f"di:{alone:08X}")
