"""The ledger against the oracle, and both against the truth, over poll histories that nobody chose by hand."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from math import hypot, isnan
from random import Random

import pytest

from edge_agent.load.ledger import LoadLedger
from edge_agent.load.views import Band, Demand, Interval, Source
from edge_agent.model import Quantity, Reading
from tests.models.histories import (
    EP,
    EQ,
    MODULUS_WH,
    S_CAP_VA,
    K,
    P,
    PointHistory,
    Q,
    Truth,
    apparent_samples,
    point_history,
)
from tests.models.oracle import PowerOracle, RegisterOracle, Window, apparent

HISTORIES = int(os.environ.get("EDGE_PROVE_HISTORIES", "100"))
SLACK_W = 1e-3  # sums of floats
pytestmark = pytest.mark.timeout(120 + HISTORIES)


def histories(count: int, seed: str) -> Iterator[tuple[list[PointHistory], list[list[tuple[Reading, int]]]]]:
    """Several points of one ledger, and their readings in ticks."""
    for number in range(count):
        random = Random(f"{seed} {number}")
        points = [point_history(f"p{j}", random) for j in range(random.randrange(1, 4))]
        readings = sorted((r for p in points for r in p.readings()), key=lambda r: r[1])
        yield points, list(ticks(readings, random))


def ticks(readings: list[tuple[Reading, int]], random: Random) -> Iterator[list[tuple[Reading, int]]]:
    """Cut into ticks of a second to minutes; what was read at one instant stays together."""
    tick: list[tuple[Reading, int]] = []
    until = 0
    for reading, t in readings:
        if tick and t > until:
            yield tick
            tick = []
        if not tick:
            until = t + random.choice((1_000, 1_000, 20_000, 60_000, 400_000, 4_000_000))
        tick.append((reading, t))
    if tick:
        yield tick


def closed(ledger: LoadLedger, batches: list[list[tuple[Reading, int]]]) -> list[Interval]:
    out: list[Interval] = []
    for batch in batches:
        ledger.feed(batch)
        out += ledger.close()
    return out


class Oracle:
    """All oracles of one point."""

    def __init__(self, history: PointHistory) -> None:
        poll_ms = history.point.poll_ms
        self.registers = {
            q: RegisterOracle(rows, k=K, poll_ms=poll_ms, modulus=MODULUS_WH) for q, rows in history.registers.items()
        }
        samples = {q: PowerOracle(rows, s_cap_va=S_CAP_VA, poll_ms=poll_ms) for q, rows in history.samples.items()}
        self.sampled = samples.get(P), samples.get(Q)
        both = P in history.samples and Q in history.samples
        self.sampled_s = PowerOracle(apparent_samples(history), s_cap_va=S_CAP_VA, poll_ms=poll_ms) if both else None

    def register_window(self, start_ms: int, end_ms: int) -> tuple[Window | None, Window | None]:
        active, reactive = self.registers.get(EP), self.registers.get(EQ)
        return (
            active.window(start_ms, end_ms) if active else None,
            reactive.window(start_ms, end_ms) if reactive else None,
        )

    def moved_in_every_gap(self) -> bool:
        """A register that stood still in a gap is known within it as well, and some of that need not be told."""
        return all(r.moved_in_every_gap() for r in self.registers.values())

    def means_of_several(self, period_ms: int) -> list[tuple[int, int]]:
        """(start, end) of the whole periods between two neighbouring block ends at which all registers are known."""
        registers = list(self.registers.values())
        if not registers:
            return []
        t = registers[0].t
        ends = range(-(-t[0] // period_ms) * period_ms, t[-1] + 1, period_ms)
        exact = [e for e in ends if all(r.exact(e) is not None for r in registers)]
        return [(a, b) for a, b in pairwise(exact) if b - a > period_ms]

    def tells(self, start_ms: int, end_ms: int) -> bool:
        """Whether the readings say anything of their own about this window."""
        power = self.sampled[0]
        sampled = power.window(start_ms, end_ms) if power is not None else None
        windows = [self.register_window(start_ms, end_ms)[0], sampled]
        return any(w is not None and w.told for w in windows)


def assert_band(band: Band | None, window: Window, what: object) -> None:
    assert band is not None, what
    assert band.low == pytest.approx(window.low, abs=SLACK_W, rel=1e-9), what
    assert band.high == pytest.approx(window.high, abs=SLACK_W, rel=1e-9), what
    assert isnan(band.value) if isnan(window.value) else band.value == pytest.approx(window.value, abs=SLACK_W), what


def compare_register(interval: Interval, oracle: Oracle, seen: Counter[str]) -> None:
    active, reactive = oracle.register_window(interval.start_ms, interval.end_ms)
    demand = interval.register
    if active is None:
        assert demand is None, interval
        return
    if demand is None:
        assert not active.told, (interval, active)
        seen["nothing to tell"] += 1
        return
    assert demand.source is Source.REGISTER
    assert_band(demand.active, active, interval)
    assert demand.coverage == pytest.approx(active.coverage, abs=1e-9), interval
    seen["register"] += 1
    seen["covered in part"] += 0 < active.coverage < 1
    if reactive is None:
        assert demand.reactive is demand.apparent is None
        return
    assert_band(demand.reactive, reactive, interval)
    assert demand.apparent is not None
    low, high = apparent(active, reactive)
    assert (demand.apparent.low, demand.apparent.high) == pytest.approx((low, high), abs=SLACK_W), interval
    seen["register, apparent"] += 1


def compare_sampled(interval: Interval, oracle: Oracle, seen: Counter[str]) -> None:
    names = ("active", "reactive", "apparent")
    for name, samples in zip(names, (*oracle.sampled, oracle.sampled_s), strict=True):
        window = samples.window(interval.start_ms, interval.end_ms) if samples is not None else None
        demand = interval.sampled
        if window is None:
            assert demand is None or getattr(demand, name) is None, interval
            continue
        if demand is None:
            assert not window.told, (interval, window)
            continue
        assert_band(getattr(demand, name), window, (name, interval))
        seen[f"sampled, {name}"] += 1


def compare_several(interval: Interval, oracle: Oracle) -> None:
    """Several whole periods of which only the mean is known: at least one of them reached it."""
    register, demand = oracle.registers[EP], interval.register
    assert demand is not None
    before, after = register.exact(interval.start_ms), register.exact(interval.end_ms)
    assert before is not None, interval
    assert after is not None, interval
    first, last = register.at(interval.start_ms), register.at(interval.end_ms)
    assert first is not None
    assert last is not None
    hours = (interval.end_ms - interval.start_ms) / 3_600_000
    low = max(0.0, after - before - max(first.step_wh, last.step_wh)) / hours
    assert demand.active is not None
    assert demand.active.low == pytest.approx(low, abs=SLACK_W), interval


def test_every_window_has_the_bounds_that_the_rule_gives():
    seen: Counter[str] = Counter()
    for points, batches in histories(HISTORIES, "bounds"):
        intervals = closed(LoadLedger([p.point for p in points]), batches)
        for history in points:
            oracle, point = Oracle(history), history.point
            mine = [i for i in intervals if i.point == point.id]
            single = [i for i in mine if i.count == 1 and i.spans != "gap"]
            ends = [i.end_ms for i in single]
            assert ends == sorted(set(ends)), f"{point.id}: each window once, in order"
            seen["rollovers"] += history.rollovers
            for interval in single:
                assert interval.end_ms - interval.start_ms == point.period_ms
                assert interval.end_ms % point.slide_ms == 0
                assert interval.block == (interval.end_ms % point.period_ms == 0)
                compare_register(interval, oracle, seen)
                compare_sampled(interval, oracle, seen)
                seen["windows"] += 1
            several = [i for i in mine if i.count > 1 and i.spans != "gap"]
            if oracle.moved_in_every_gap():
                assert [(i.start_ms, i.end_ms) for i in several] == oracle.means_of_several(point.period_ms)
                seen["several, all of them"] += len(several)
            for interval in several:
                assert interval.end_ms - interval.start_ms == interval.count * point.period_ms
                compare_several(interval, oracle)
                seen["mean of several"] += 1
            told = set(ends)
            slide = point.slide_ms
            for end in range(-(-history.times[0] // slide) * slide + point.period_ms, history.times[-1] + 1, slide):
                if oracle.tells(end - point.period_ms, end):
                    assert end in told, f"{point.id}: the window ending {end} was not told"
                    seen["had to be told"] += 1
            seen["gaps passed over"] += sum(i.spans == "gap" for i in mine)
    print(dict(seen))
    assert seen["windows"] > 100 * HISTORIES
    assert seen["register"] > 50 * HISTORIES
    assert seen["had to be told"] > 60 * HISTORIES
    for kind in ("register, apparent", "sampled, active", "sampled, reactive", "sampled, apparent", "covered in part"):
        assert seen[kind] > 10 * HISTORIES, kind
    for kind in ("mean of several", "several, all of them", "rollovers", "gaps passed over", "nothing to tell"):
        assert seen[kind] > 0, kind


def test_the_truth_lies_between_the_bounds():
    seen: Counter[str] = Counter()
    for points, batches in histories(HISTORIES, "truth"):
        intervals = closed(LoadLedger([p.point for p in points]), batches)
        known = {p.point.id: p for p in points}
        for interval in intervals:
            truth = known[interval.point].truth
            for demand in interval.demands:
                if interval.count == 1:
                    hold_truth(interval, demand, truth, seen)
                else:
                    hold_some_truth(interval, demand, truth, seen)
    print(dict(seen))
    assert seen["register"] > 50 * HISTORIES
    assert seen["power"] > 20 * HISTORIES
    assert seen["apparent"] > 50 * HISTORIES
    assert seen["several"] > 0


def hold_truth(interval: Interval, demand: Demand, truth: dict[Quantity, Truth], seen: Counter[str]) -> None:
    active = truth[P].mean(interval.start_ms, interval.end_ms)
    reactive = truth[Q].mean(interval.start_ms, interval.end_ms)
    for band, mean in ((demand.active, active), (demand.reactive, reactive)):
        if band is not None:
            assert band.low - SLACK_W <= mean <= band.high + SLACK_W, (interval, mean)
            seen[demand.source.value] += 1
    if demand.apparent is not None and demand.source is Source.REGISTER:
        assert demand.apparent.low - SLACK_W <= hypot(active, reactive) <= demand.apparent.high + SLACK_W
        seen["apparent"] += 1


def hold_some_truth(interval: Interval, demand: Demand, truth: dict[Quantity, Truth], seen: Counter[str]) -> None:
    """At least one of the periods had the mean, and none had more than `high`."""
    period = (interval.end_ms - interval.start_ms) // interval.count
    starts = range(interval.start_ms, interval.end_ms, period)
    means = [truth[P].mean(start, start + period) for start in starts]
    assert len(means) == interval.count
    assert demand.active is not None
    assert demand.active.low - SLACK_W <= max(means) <= demand.active.high + SLACK_W
    seen["several"] += 1


def test_a_restart_changes_nothing():
    """What was written down at any instant goes on as if nothing had happened, and it is plain data."""
    restarts = compared = 0
    for number, (points, batches) in enumerate(histories(max(10, HISTORIES // 2), "restart")):
        random = Random(number)
        load_points = [p.point for p in points]
        whole = LoadLedger(load_points)
        ledger, deltas = LoadLedger(load_points), []
        for batch in batches:
            whole.feed(batch)
            ledger.feed(batch)
            expected, got = whole.close(), ledger.close()
            assert [repr(i) for i in got] == [repr(i) for i in expected]
            compared += len(got)
            if random.random() < 0.2:
                deltas.append(json.loads(json.dumps(ledger.delta())))
                if random.random() < 0.6:
                    ledger = LoadLedger(load_points)
                    ledger.restore(deltas)
                    restarts += 1
    assert restarts > HISTORIES
    assert compared > 50 * HISTORIES
