"""Which registers share a question: the cheapest partition of a device's registers, worked out exactly.

Reading a hole costs what its registers cost; another question costs a frame, a turnaround and the device's attention.
When a device refuses a question for an address in it, the question is split where its largest hole is, down to single
registers; the parts stay for as long as the driver lives.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby, pairwise

from drivers.modbus.decoding import Block, position, words_of
from edge_agent.model import DeviceId, DeviceSpec, Register, Request

QUESTION_COST = 16
"""What one more question costs, in registers read for nothing.

Behind the TCP gateways that most meters hang on, at 9600 baud: 13 characters of frame, two silences of 3.5 characters
and some 12 ms of turnaround are the time of 32 characters, and a register takes two.
"""

_FUNCTION = {"holding": 3, "input": 4}
_MOST_REGISTERS = 125


class Plan:
    """The driver's form of a request: a read function and the blocks that it asks for, which grow as it learns.

    `most` is the device's largest read, `spans` its whole map: function, first register and end of each value in it.
    """

    def __init__(
        self,
        function: int,
        blocks: Sequence[Block],
        most: int = _MOST_REGISTERS,
        spans: Sequence[tuple[int, int, int]] = (),
    ) -> None:
        self.function = function
        self.blocks = list(blocks)
        self.most = most
        self.spans = tuple(spans)
        self.refused_wider: set[tuple[int, int]] = set()
        """First register and count of reads wider than a block that the device refused."""


def requests(device: DeviceSpec) -> tuple[Request, ...]:
    """The questions that read a whole device; each keeps to one function, one cadence and the device's largest read.

    Raises ValueError, naming the register, for a profile that cannot be read as it says.
    """
    most = min(device.profile.max_registers, _MOST_REGISTERS)

    def sort(register: Register) -> tuple[float, str, int]:
        area, first = position(register)
        return (device.every_s or register.every_s, area, first)

    planned = []
    ordered = sorted(device.profile.registers, key=sort)
    spans = [(_FUNCTION[position(r)[0]], *_span(r)) for r in ordered]
    for (every_s, area), alike in groupby(ordered, key=lambda r: sort(r)[:2]):
        for registers in _partition(list(alike), most):
            plan = Plan(_FUNCTION[area], [block_of(device.id, registers)], most, spans)
            planned.append(Request(device.id, device.unit, tuple(registers), plan, every_s))
    return tuple(planned)


def plan_of(request: Request) -> Plan:
    """The plan of a request; made on the spot for one that was put together by hand."""
    if isinstance(request.plan, Plan):
        return request.plan
    return Plan(_FUNCTION[position(request.registers[0])[0]], [block_of(request.device, request.registers)])


def split(block: Block) -> list[Block]:
    """The block in parts: at its largest hole, else register by register; one register cannot be split."""
    spans = [_span(r) for r in block.registers]
    holes = [later[0] - earlier[1] for earlier, later in pairwise(spans)]
    if holes and max(holes) > 0:
        at = holes.index(max(holes)) + 1
        parts: list[Sequence[Register]] = [block.registers[:at], block.registers[at:]]
    else:
        parts = [(r,) for r in block.registers]
    return [block_of(block.device, part) for part in parts]


def block_of(device: DeviceId, registers: Sequence[Register]) -> Block:
    """The shortest read that holds all of the registers."""
    spans = [_span(r) for r in registers]
    start = min(first for first, _ in spans)
    return Block(device, start, max(end for _, end in spans) - start, registers)


def _span(register: Register) -> tuple[int, int]:
    first = position(register)[1]
    return first, first + words_of(register)


def _partition(registers: list[Register], most: int) -> list[list[Register]]:
    """Cut registers, sorted by address, into the cheapest runs of at most `most` registers."""
    spans = [_span(r) for r in registers]
    best: list[tuple[int, int]] = [(0, 0)]  # of the first n registers: cost, and where the last run starts
    for n in range(1, len(registers) + 1):
        options = []
        end = 0
        for i in range(n - 1, -1, -1):
            end = max(end, spans[i][1])
            length = end - spans[i][0]
            if length > most:
                break
            options.append((best[i][0] + QUESTION_COST + length, i))
        if not options:
            register = registers[n - 1]
            raise ValueError(f"{register.quantity} at {register.address} is longer than the device's {most} registers")
        best.append(min(options))
    runs: list[list[Register]] = []
    n = len(registers)
    while n:
        start = best[n][1]
        runs.insert(0, registers[start:n])
        n = start
    return runs
