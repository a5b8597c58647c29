"""Which registers share a question: the cheapest partition of a device's registers, worked out exactly.

Reading a hole costs the characters of its registers; another question costs a frame, two silences and the device's
turnaround. What weighs more is arithmetic on the line at hand, not a setting. A device that refuses a question for an
address in it has said one thing for certain: every question that covers the same addresses will be refused too. So the
span of a refused question is remembered, what is left is partitioned anew around it, and after an hour it is tried
again: a firmware may have changed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from itertools import groupby
from typing import NamedTuple

from drivers.cost import LineCost
from drivers.modbus.decoding import Block, position, words_of
from edge_agent.model import DeviceId, DeviceSpec, LinkSpec, Ms, Register, Request

QUESTION_COST = 16
"""What one more question costs over TCP, in registers read for nothing.

Behind the TCP gateways that most meters hang on, at 9600 baud: 13 characters of frame, two silences of 3.5 characters
and some 12 ms of turnaround are the time of 32 characters, and a register takes two.
"""

MERGED_AGAIN_MS = 3_600_000

_FUNCTION = {"holding": 3, "input": 4}
_MOST_REGISTERS = 125
_RTU = (8, 5)  # unit, function, address, count, CRC; unit, function, byte count, CRC
_TCP = (12, 9)  # seven of MBAP instead of unit and CRC
_NS = 1_000_000_000

Span = tuple[int, int]
"""Registers of one area: the first, and the one after the last."""


def cost_on(link: LinkSpec, turnaround_s: float | None = None) -> LineCost:
    """What Modbus questions cost on a link, to a device that takes `turnaround_s`; None: not measured yet."""
    line = LineCost.on(link, turnaround_s)
    tcp = link.kind == "modbus-tcp"
    head, tail = _TCP if tcp else _RTU
    return LineCost(line.char_s, line.silence_s, line.turnaround_s, head, tail, QUESTION_COST if tcp else None)


OVER_TCP = cost_on(LinkSpec("", "modbus-tcp"))


class Plan:
    """The driver's form of a request: a read function and the blocks that it asks for, which change as it learns.

    `most` is the device's largest read, `cost` what a question costs on its line, `spans` its whole map: function,
    first register and end of each value in it.

    There are several for every device: what they do not need before something is refused, they do not hold.
    """

    __slots__ = (
        "_made",
        "_refused",
        "_registers",
        "_stale",
        "blocks",
        "cost",
        "function",
        "most",
        "refused_wider",
        "spans",
    )

    def __init__(
        self,
        function: int,
        blocks: Sequence[Block],
        *,
        most: int = _MOST_REGISTERS,
        cost: LineCost = OVER_TCP,
        spans: Sequence[tuple[int, int, int]] = (),
    ) -> None:
        self.function = function
        self.blocks = list(blocks)
        self.most = most
        self.cost = cost
        self.spans = tuple(spans)
        self.refused_wider: frozenset[Span] = frozenset()
        """Reads wider than a block that the device refused: first register and count."""
        self._registers = blocks[0].registers if len(blocks) == 1 else tuple(r for b in blocks for r in b.registers)
        self._made: dict[tuple[Register, ...], Block] = {}
        self._refused: dict[Span, Ms] = {}
        self._stale = False

    @property
    def refused_spans(self) -> Mapping[Span, Ms]:
        """What the device refused, the smallest spans only, each until when no question covers it."""
        return self._refused

    def renew(self, now_ms: Ms) -> None:
        """Before a pass over `blocks`: partition anew if something was learned, and merge what was refused long ago."""
        over = [span for span, until_ms in self._refused.items() if until_ms <= now_ms]
        for span in over:
            del self._refused[span]
        if over or self._stale:
            self._stale = False
            self.blocks = self._partitioned(self._registers)

    def refused(self, n: int, now_ms: Ms) -> bool:
        """The device has no register at an address in block `n`: put smaller questions in its place.

        They stand in `blocks[n:]`, with all that was not asked before. False: the block is one register, and it is that
        register which the device does not have.
        """
        block = self.blocks[n]
        span = (block.start, block.start + block.count)
        self._refused = {known: ms for known, ms in self._refused.items() if not _covers(known, span)}
        self._refused[span] = now_ms + MERGED_AGAIN_MS
        self._stale = True
        if len(block.registers) == 1:
            return False
        self.blocks[n:] = self._partitioned([r for later in self.blocks[n:] for r in later.registers])
        return True

    def _partitioned(self, registers: Iterable[Register]) -> list[Block]:
        device = self.blocks[0].device
        if not self._made:
            self._made = {block.registers: block for block in self.blocks}
        runs = partition(registers, self.most, self.cost, self._refused)
        return [self._made.setdefault(tuple(run), block_of(device, run)) for run in runs]


class Asked(NamedTuple):
    """A planned question, for a person: where, how many registers, and how many of them for nothing."""

    address: str
    registers: int
    holes: int


def requests(device: DeviceSpec, cost: LineCost = OVER_TCP) -> tuple[Request, ...]:
    """The questions that read a whole device; each keeps to one function, one cadence and the device's largest read.

    A register that is wanted less often rides along where it lies inside a question that is asked more often: it comes
    for nothing.
    Raises ValueError, naming the register, for a profile that cannot be read as it says.
    """
    most = min(device.profile.max_registers, _MOST_REGISTERS)
    spans, runs = _cut(device.profile.registers, device.every_s, most, cost)
    return tuple(
        Request(
            device.id,
            device.unit,
            run,
            Plan(_FUNCTION[area], [block_of(device.id, run)], most=most, cost=cost, spans=spans),
            every_s,
        )
        for every_s, area, run in runs
    )


@lru_cache(maxsize=16)
def _cut(
    registers: tuple[Register, ...], always_s: float | None, most: int, cost: LineCost
) -> tuple[tuple[tuple[int, int, int], ...], tuple[tuple[float, str, tuple[Register, ...]], ...]]:
    """The spans of a device's map, and its questions: cadence, area and registers. Once for all devices of a model."""

    def cadence(register: Register) -> float:
        return always_s or register.every_s

    ordered = sorted(registers, key=lambda r: (cadence(r), position(r)))
    spans = tuple((_FUNCTION[position(r)[0]], *_span(r)) for r in ordered)
    planned: list[tuple[float, str, list[Register]]] = []
    by_area = sorted(registers, key=lambda r: position(r)[0])
    for area, found in groupby(by_area, key=lambda r: position(r)[0]):
        left = sorted(found, key=lambda r: (cadence(r), position(r)))
        while left:
            every_s = cadence(left[0])
            alike = [r for r in left if cadence(r) == every_s]
            slower = left[len(alike) :]
            for run in partition(alike, most, cost):
                riding = [r for r in slower if _covers(_hull(run), _span(r))]
                slower = [r for r in slower if r not in riding]
                planned.append((every_s, area, sorted([*run, *riding], key=_span)))
            left = slower
    planned.sort(key=lambda p: (p[0], p[1], _hull(p[2])))
    return spans, tuple((every_s, area, tuple(run)) for every_s, area, run in planned)


def partition(
    registers: Iterable[Register], most: int, cost: LineCost = OVER_TCP, refused: Iterable[Span] = ()
) -> list[list[Register]]:
    """Registers of one area cut into the questions that cost least together, in the order of their addresses.

    No question has more than `most` registers or covers a span of `refused`, but that a register which does so by
    itself has a question of its own. Nothing cheaper exists: where two questions overlap, the registers can be told
    apart by their starts at no greater cost, so runs in the order of the addresses are all that need be compared.
    Raises ValueError for a register that is longer than `most`.
    """
    forbidden = tuple(refused)
    # Whole nanoseconds: sums of floats would decide between equals by their rounding.
    word = round(cost.per_register_s * _NS)
    question = round(cost.per_question_s * _NS) if cost.question_registers is None else cost.question_registers * word
    ordered = sorted(registers, key=_span)
    alone = [r for r in ordered if any(_covers(_span(r), span) for span in forbidden)]
    together = [r for r in ordered if r not in alone]
    spans = [_span(r) for r in together]
    best: list[tuple[int, int]] = [(0, 0)]  # of the first n registers: cost, and where the last run starts
    for n in range(1, len(together) + 1):
        options = []
        end = 0
        for i in range(n - 1, -1, -1):
            end = max(end, spans[i][1])
            hull = (spans[i][0], end)
            if end - spans[i][0] > most or any(_covers(hull, span) for span in forbidden):
                break
            options.append((best[i][0] + question + word * (end - spans[i][0]), i))
        if not options:
            raise _too_long(together[n - 1], most)
        best.append(min(options))
    runs: list[list[Register]] = []
    n = len(together)
    while n:
        start = best[n][1]
        runs.append(together[start:n])
        n = start
    for register in alone:
        if words_of(register) > most:
            raise _too_long(register, most)
        runs.append([register])
    return sorted(runs, key=_hull)


def wire_bytes(request: Request) -> tuple[int, int]:
    """Characters on the wire, in the framing that it was planned for: (sent, expected), over all of its blocks."""
    plan = plan_of(request)
    blocks = plan.blocks
    head, tail = plan.cost.request_chars, plan.cost.reply_chars
    return len(blocks) * head, sum(tail + 2 * block.count for block in blocks)


def asked(request: Request) -> Asked:
    """What a planned request asks for."""
    plan = plan_of(request)
    first, count = plan.blocks[0], sum(block.count for block in plan.blocks)
    read = {word for r in request.registers for word in range(*_span(r))}
    return Asked(f"{position(request.registers[0])[0]}:0x{first.start:04X}", count, count - len(read))


def plan_of(request: Request) -> Plan:
    """The plan of a request; made on the spot for one that was put together by hand."""
    if isinstance(request.plan, Plan):
        return request.plan
    return Plan(_FUNCTION[position(request.registers[0])[0]], [block_of(request.device, request.registers)])


def block_of(device: DeviceId, registers: Sequence[Register]) -> Block:
    """The shortest read that holds all of the registers."""
    start, end = _hull(registers)
    return Block(device, start, end - start, registers)


def _hull(registers: Sequence[Register]) -> Span:
    spans = [_span(r) for r in registers]
    return min(first for first, _ in spans), max(end for _, end in spans)


def _span(register: Register) -> Span:
    first = position(register)[1]
    return first, first + words_of(register)


def _covers(outer: Span, inner: Span) -> bool:
    return outer[0] <= inner[0] and inner[1] <= outer[1]


def _too_long(register: Register, most: int) -> ValueError:
    return ValueError(f"{register.quantity} at {register.address} is longer than the device's {most} registers")
