"""What questions cost on a line, which of them are asked, and what a plan learns from a refusal."""

from __future__ import annotations

import heapq
import itertools
import math
from typing import Any

import pytest
from hypothesis import event, given
from hypothesis import strategies as st

from drivers.cost import Job, LineCost, Overrun, overrun, utilisation
from drivers.modbus.planning import (
    MERGED_AGAIN_MS,
    OVER_TCP,
    QUESTION_COST,
    Plan,
    asked,
    block_of,
    cost_on,
    partition,
    requests,
    wire_bytes,
)
from edge_agent.model import UNIT, DeviceSpec, LinkSpec, Profile, Quantity, Register, Request

SERIAL = LinkSpec("line", "serial")
HOUR_MS = 3_600_000


def register(quantity: str, at: int, kind: str = "u16", *, every_s: float = 15, area: str = "input") -> Register:
    return Register(Quantity(quantity), f"{area}:{at}", kind, UNIT[Quantity(quantity)], every_s=every_s)


def device(*registers: Register, most: int = 125, every_s: float | None = None) -> DeviceSpec:
    return DeviceSpec("m1", "line", 1, Profile("p", "modbus", "", "", "primary", most, registers), every_s)


# The line


@pytest.mark.parametrize(
    ("line", "char_ms", "silence_ms"),
    [
        ({"baud": 9600}, 1.041667, 3.645833),  # 10 bits; 3.5 characters
        ({"baud": 9600, "parity": "E"}, 1.145833, 4.010417),  # 11 bits
        ({"baud": 9600, "stop_bits": 2}, 1.145833, 4.010417),
        ({"baud": 2400, "parity": "E"}, 4.583333, 16.041667),
        ({"baud": 19_200}, 0.520833, 1.822917),  # the last that still shrinks
        ({"baud": 38_400}, 0.260417, 1.75),
        ({"baud": 115_200, "parity": "O"}, 0.095486, 1.75),
    ],
)
def test_characters_and_silences(line: dict[str, Any], char_ms: float, silence_ms: float):
    cost = LineCost.on(LinkSpec("line", "serial", **line))
    assert (1000 * cost.char_s, 1000 * cost.silence_s) == pytest.approx((char_ms, silence_ms), abs=1e-5)


def test_another_question_costs_what_twenty_registers_cost_at_9600_baud():
    """8 + 5 characters and 7 of silence at 1.0417 ms, and 20 ms of turnaround: 40.83 ms. A register: 2.083 ms."""
    cost = cost_on(SERIAL)
    assert 1000 * cost.per_question_s == pytest.approx(20 * 10 / 9.6 + 20)
    assert 1000 * cost.per_register_s == pytest.approx(20 / 9.6)
    assert cost.per_question_s / cost.per_register_s == pytest.approx(19.6)
    assert cost_on(SERIAL, 0.0).per_question_s / cost.per_register_s == pytest.approx(10)


def test_over_tcp_a_question_is_worth_a_constant_and_a_converter_adds_its_round_trip():
    assert OVER_TCP.per_question_s / OVER_TCP.per_register_s == pytest.approx(QUESTION_COST)
    assert OVER_TCP.round_trip_s(12, 89) == pytest.approx(0.005)
    assert LineCost.on(LinkSpec("x", "tcp-serial")).turnaround_s == pytest.approx(0.025)


def test_a_measured_turnaround_takes_the_place_of_the_usual_one():
    assert cost_on(SERIAL, 0.031).per_question_s - cost_on(SERIAL).per_question_s == pytest.approx(0.011)


# Which questions


def test_a_hole_is_read_where_it_is_cheaper_than_asking_again():
    """At 9600 8N1 with 20 ms a question is worth 19.6 registers: 19 of hole are read, 20 are not."""
    pair = [register("voltage_l1", 0), register("voltage_l2", 20)]
    assert len(partition(pair, 125, cost_on(SERIAL))) == 1
    pair[1] = register("voltage_l2", 21)
    assert len(partition(pair, 125, cost_on(SERIAL))) == 2
    assert len(partition(pair, 125, cost_on(SERIAL, 0.100))) == 1  # a slow device: 58 registers
    assert len(partition(pair, 125, cost_on(LinkSpec("line", "serial", baud=1200)))) == 2  # 12.4


def test_bytes_and_holes_of_a_question_counted_by_hand():
    spec = device(register("voltage_l1", 0, "f32"), register("voltage_l2", 6, "f32"))
    (rtu,) = requests(spec, cost_on(SERIAL))
    (tcp,) = requests(spec)
    assert wire_bytes(rtu) == (8, 5 + 16)  # 01 04 0000 0008 CRC; 01 04 10 .. CRC
    assert wire_bytes(tcp) == (12, 9 + 16)
    assert asked(rtu) == ("input:0x0000", 8, 4)


def test_a_slow_register_inside_a_fast_question_rides_along_and_one_beside_it_does_not():
    spec = device(
        register("voltage_l1", 0),
        register("ct_ratio", 2, every_s=3600),
        register("voltage_l2", 4),
        register("vt_ratio", 5, every_s=3600),
        register("frequency", 3, every_s=60, area="holding"),
    )
    assert [(r.every_s, r.quantities) for r in requests(spec)] == [
        (15, ("voltage_l1", "ct_ratio", "voltage_l2")),
        (60, ("frequency",)),  # another function
        (3600, ("vt_ratio",)),
    ]


cadences = st.sampled_from((5.0, 15.0, 60.0, 3600.0))


@given(st.lists(st.tuples(st.integers(0, 150), st.sampled_from(("u16", "f32")), cadences), min_size=1, max_size=14))
def test_each_register_is_asked_once_and_never_less_often_than_it_should_be(drawn):
    quantities = [q for q in Quantity if UNIT[q]]
    registers = [register(q, at, kind, every_s=s) for q, (at, kind, s) in zip(quantities, drawn, strict=False)]
    planned = requests(device(*registers), cost_on(SERIAL))
    assert sorted(q for r in planned for q in r.quantities) == sorted(r.quantity for r in registers)
    riding = [(r, request) for request in planned for r in request.registers if r.every_s != request.every_s]
    assert all(request.every_s < r.every_s for r, request in riding)
    event("some ride along" if riding else "none does")
    apart: list[Request] = []
    for every_s in {r.every_s for r in registers}:
        apart += requests(device(*(r for r in registers if r.every_s == every_s)), cost_on(SERIAL))
    assert busy(planned) <= busy(apart) + 1e-12


def busy(planned) -> float:
    cost = cost_on(SERIAL)
    return utilisation(Job(cost.round_trip_s(*wire_bytes(r)), r.every_s) for r in planned)


# What a refusal teaches


class Meter:
    """Refuses every question for an address that it does not have, as a driver meets it."""

    def __init__(self, *lacks: int) -> None:
        self.lacks = set(lacks)
        self.refusals = 0

    def read(self, plan: Plan, now_ms: int) -> list[str]:
        """One pass over a plan: what was answered."""
        plan.renew(now_ms)
        found: list[str] = []
        n = 0
        while n < len(plan.blocks):
            block = plan.blocks[n]
            if now_ms >= block.refused_until_ms and self.lacks & set(range(block.start, block.start + block.count)):
                self.refusals += 1
                if plan.refused(n, now_ms):
                    continue
                block.refused_until_ms = now_ms + HOUR_MS
            elif now_ms >= block.refused_until_ms:
                found += [r.quantity for r in block.registers]
            n += 1
        return found


def spans(plan: Plan) -> list[tuple[int, int]]:
    return [(b.start, b.count) for b in plan.blocks]


def plan_over(*at: int) -> Plan:
    names = [q for q in Quantity if UNIT[q]]
    (request,) = requests(device(*(register(q, a) for q, a in zip(names, at, strict=False))), cost_on(SERIAL))
    assert isinstance(request.plan, Plan)
    return request.plan


def test_a_hole_that_is_refused_is_cut_and_the_innocent_one_is_read_again():
    """The larger hole is cut first, because that is cheapest; the other was to blame."""
    plan, meter = plan_over(0, 10, 15), Meter(12)
    assert len(meter.read(plan, 0)) == 3
    assert meter.refusals == 2
    assert len(meter.read(plan, 15_000)) == 3
    assert (meter.refusals, spans(plan)) == (2, [(0, 11), (15, 1)])
    assert list(plan.refused_spans) == [(10, 16)]  # it says all that the refusal of 0 to 15 said, and more


def test_after_an_hour_it_is_merged_again_if_the_device_has_learned_to_answer():
    plan, meter = plan_over(0, 10), Meter(5)
    meter.read(plan, 0)
    meter.lacks.clear()
    meter.read(plan, MERGED_AGAIN_MS - 1)
    assert spans(plan) == [(0, 1), (10, 1)]
    assert len(meter.read(plan, MERGED_AGAIN_MS)) == 2
    assert (meter.refusals, spans(plan)) == (1, [(0, 11)])


def test_a_device_that_still_refuses_after_an_hour_is_split_again():
    plan, meter = plan_over(0, 10), Meter(5)
    for now_ms in range(0, 3 * HOUR_MS, 60_000):
        assert len(meter.read(plan, now_ms)) == 2
    assert meter.refusals == 3  # once an hour, no more


def test_a_register_that_the_device_lacks_costs_only_itself():
    plan, meter = plan_over(0, 1, 2), Meter(1)
    assert meter.read(plan, 0) == ["active_energy_import", "reactive_energy_import"]
    meter.read(plan, 60_000)
    asked_before = meter.refusals
    assert meter.read(plan, 120_000) == ["active_energy_import", "reactive_energy_import"]
    assert meter.refusals == asked_before
    assert spans(plan) == [(0, 1), (1, 1), (2, 1)]


@given(
    st.sets(st.integers(0, 60), min_size=1, max_size=10), st.sets(st.integers(0, 60), max_size=4), st.integers(2, 60)
)
def test_a_plan_settles_on_the_cheapest_questions_that_the_device_answers(at, lacks, most):
    """Whatever the device lacks, known only by its refusals."""
    registers = [register("voltage_l1", a) for a in sorted(at)]
    cost = cost_on(SERIAL)
    blocks = [block_of("m1", run) for run in partition(registers, most, cost)]
    plan, meter = Plan(4, blocks, most=most, cost=cost), Meter(*lacks)
    for now_ms in range(40):
        answered = meter.read(plan, now_ms)
        assert len(answered) == len(at - lacks), "a register was lost or read twice"
    before = meter.refusals
    meter.read(plan, 100)
    assert meter.refusals == before
    event(f"{min(meter.refusals, 5)} refusals")
    best = partition(registers, most, cost, [(a, a + 1) for a in lacks])
    assert len(plan.blocks) == len(best)
    assert sum(b.count for b in plan.blocks) == sum(addresses(run) for run in best)


def addresses(run: list[Register]) -> int:
    at = [int(r.address[6:]) for r in run]
    return max(at) + 1 - min(at)


# Does it fit


def test_a_line_by_hand():
    """Two questions of 300 ms every second and one of 500 ms every ten: 65 % of the line, and too late at times.

    When the long one has just begun, 500 + 600 ms are to be done within 1000.
    """
    jobs = [Job(0.3, 1), Job(0.3, 1), Job(0.5, 10)]
    assert utilisation(jobs) == pytest.approx(0.65)
    assert overrun(jobs) == Overrun(1.0, 1.1)
    assert overrun([*jobs[:2], Job(0.4, 10)]) is None
    assert overrun([*jobs[:2], Job(0.4, 10)], blocked_s=0.5) == Overrun(1.0, 1.1)
    assert overrun([]) is None
    assert overrun([Job(0.6, 1), Job(0.6, 1)]) == Overrun(1.0, 1.2)
    assert overrun([Job(0.5, 1), Job(0.76, 1.5)]) is not None


work = st.lists(st.tuples(st.integers(1, 12), st.integers(4, 40), st.integers(0, 39)), min_size=1, max_size=5)


@given(work)
def test_where_no_overrun_is_foreseen_none_happens(drawn):
    """Whatever the phases: questions are played through, the earliest deadline first, none broken off."""
    foreseen = overrun([Job(takes, every) for takes, every, _ in drawn])
    late = misses([(takes, every, phase % every) for takes, every, phase in drawn])
    event(f"foreseen {foreseen is not None}, happened {late}")
    assert foreseen is not None or not late
    if math.fsum(takes / every for takes, every, _ in drawn) > 1:
        assert foreseen is not None


def misses(tasks: list[tuple[int, int, int]]) -> bool:
    end = 2 * math.lcm(*(every for _, every, _ in tasks)) + 40
    slots = itertools.chain.from_iterable(
        ((at, at + every, takes) for at in range(phase, min(end, 4000), every)) for takes, every, phase in tasks
    )
    coming, now = sorted(slots), 0
    waiting: list[tuple[int, int]] = []
    while coming or waiting:
        while coming and coming[0][0] <= now:
            _, deadline, takes = coming.pop(0)
            heapq.heappush(waiting, (deadline, takes))
        if not waiting:
            now = coming[0][0]
            continue
        deadline, takes = heapq.heappop(waiting)
        now += takes
        if now > deadline:
            return True
    return False
