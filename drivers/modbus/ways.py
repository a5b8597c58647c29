"""Other ways to ask for the same registers: with one more value of the device's map, or in parts."""

from __future__ import annotations

from collections.abc import Iterator

from drivers.modbus.decoding import Block
from drivers.modbus.planning import Plan, block_of


def ways(plan: Plan, block: Block) -> Iterator[list[Block]]:
    """Each way as the questions that it takes: the block as it is, then wider, then in two parts, then one by one."""
    yield [block]
    for start, count in _wider(plan, block):
        yield [Block(block.device, start, count, block.registers)]
    registers = block.registers
    for cut in range(1, len(registers)):
        yield [block_of(block.device, registers[:cut]), block_of(block.device, registers[cut:])]
    if len(registers) > 2:
        yield [block_of(block.device, (register,)) for register in registers]


def probes(plan: Plan, block: Block) -> Iterator[tuple[int, int, int]]:
    """Function, first register and count of what else the device can be asked, of another shape; shortest first."""
    seen: set[tuple[int, int]] = {(plan.function, block.count)}
    for function, start, end in sorted(plan.spans, key=lambda span: span[2] - span[1]):
        if (function, end - start) not in seen:
            seen.add((function, end - start))
            yield function, start, end - start


def _wider(plan: Plan, block: Block) -> Iterator[tuple[int, int]]:
    """The block with the value in front of it or behind it, where the device has one there."""
    first, end = block.start, block.start + block.count
    for function, low, high in plan.spans:
        if function != plan.function:
            continue
        wider = (first, high - first) if low == end else (low, end - low) if high == first else None
        if wider is not None and wider[1] <= plan.most and wider not in plan.refused_wider:
            yield wider
