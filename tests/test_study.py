"""What a topic remembers: shown to it alone, kept over a restart, and never taken over from another release."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future
from types import SimpleNamespace
from typing import Any, cast

import pytest

from edge_agent.app.recalling import interval_from, recall
from edge_agent.assembly import core_with
from edge_agent.audit.study import Studies
from edge_agent.audit.topic import Answer, AuditTopic, Release, Site, Verdict
from edge_agent.contract.demand import demand_row
from edge_agent.core import Core
from edge_agent.image import Snapshot
from edge_agent.load.ledger import LoadLedger
from edge_agent.load.points import LoadPoint
from edge_agent.load.rounds import Sampler
from edge_agent.load.views import Band, LoadView, Role
from edge_agent.model import ClockQuality, ClockState, Identity, Quantity, Reading
from edge_agent.store import BoundaryRow, IntervalRow, StoreFull
from tests.on_paper import archive_of, local_ms, published

RELEASES, TOPICS = published()
RELEASE = RELEASES["cap-over-contract"]
U1 = Quantity.VOLTAGE_L1


class Days:
    """Counts days, each once."""

    def __init__(self, release: Release) -> None:
        self.changed = False
        self.seen: list[str] = []

    def feed(self, view: LoadView, site: Site) -> Sequence[int]:
        for day in view.days:
            if str(day.day) not in self.seen:
                self.seen.append(str(day.day))
                self.changed = True
        return [len(self.seen)] if view.days else []

    def dump(self) -> Mapping[str, Any]:
        return {"seen": self.seen}

    def restore(self, plain: Mapping[str, Any]) -> None:
        self.seen = [str(day) for day in plain["seen"]]


SHOWN: list[LoadView] = []


def examine(view: LoadView, site: Site, release: Release) -> Iterator[Verdict]:
    SHOWN.append(view)
    for number in view.studied:
        yield Verdict("p", Answer.BETWEEN, view.now_ms, view.now_ms, float(number))


def topic(id_: str, *, study: bool = True) -> AuditTopic:
    return AuditTopic(id_, examine, study=Days if study else None)


POINT = LoadPoint("p", "m1", 900_000, 60_000, 15_000, ((0, 80.0),), ((0, 277_128.0),))
METER = Sampler("p", "m1", Role.METER, frozenset({U1}), frozenset({U1}), 60_000)
CLOCK = ClockState(ClockQuality.SYNCED, 0, 0)


@pytest.fixture
def core() -> Core:
    SHOWN.clear()
    releases = {"first": RELEASE, "second": RELEASE}
    topics = [topic("first"), topic("second", study=False)]
    return Core(LoadLedger([POINT]), topics, releases, archive_of({}), gateway="gw-1", samplers=[METER])


def tick(core: Core, now_ms: int, *readings: Reading, identity: str = "") -> None:
    identities = [(Identity("m1", Quantity.METER_SERIAL, identity, now_ms, None), now_ms)] if identity else []
    core.tick(Snapshot(now_ms, now_ms, CLOCK, [(r, now_ms) for r in readings], identities))


def interval_row(end: str, kw: float = 100.0) -> IntervalRow:
    end_ms = local_ms(end)
    band = Band(kw * 990, kw * 1000, kw * 1010)
    body = demand_row("p", source="register", coverage=1.0, active_w=band, apparent_va=None)
    return IntervalRow("p", end_ms - 900_000, end_ms, body)


def test_topics_are_shown_rounds_claims_and_days_and_each_its_own_study_alone(core: Core):
    rows = [interval_row("2026-03-10 12:00"), interval_row("2026-03-10 12:15")]
    core.days.restore([i for r in rows if (i := interval_from(r)) is not None])
    now_ms = local_ms("2026-03-11 08:00")
    tick(core, now_ms, Reading("m1", U1, 230.0, 0.1, now_ms, None), identity="0000123456")
    first, second = SHOWN
    assert first.days == second.days
    assert len(first.days[0].blocks) == 2
    assert first.rounds[0].now == {U1: 230.0}
    assert first.claims[0].value == "0000123456"
    assert (first.studied, second.studied) == ([1], ())
    assert core.last["first", "p"].low == 1.0


def test_a_study_goes_on_where_it_was_after_a_restart():
    studies = Studies([topic("first")], {"first": RELEASE})
    day = SimpleNamespace(day="2026-03-10")
    view = LoadView(0, days=cast(Any, [day]))
    assert studies.shown("first", view, cast(Any, None)).studied == [1]
    changed = studies.changed
    kept = studies.dump()
    assert (changed, studies.changed) == (True, False)
    again = Studies([topic("first")], {"first": RELEASE})
    assert again.restore(kept) == []
    assert again.shown("first", view, cast(Any, None)).studied == [1], "a day that is told twice counts once"
    assert not again.changed


@pytest.mark.parametrize(
    "kept",
    [
        {"first": {"release": "another", "kept": {"seen": ["2026-03-10"]}}},
        {"first": {"release": RELEASE.digest, "kept": {}}},
        {"first": {"release": RELEASE.digest, "kept": {"seen": 5}}},
        {"first": {}},
        {"first": "?"},
    ],
)
def test_what_another_release_or_version_wrote_is_not_taken_over(kept: dict[str, Any]):
    studies = Studies([topic("first")], {"first": RELEASE})
    assert studies.restore(kept) == ["first"]
    assert studies.dump()["first"]["kept"] == {"seen": []}


def test_a_topic_that_no_longer_runs_is_passed_over():
    assert Studies([], {}).restore({"gone": {"release": "", "kept": {}}}) == []


# -- the day so far, after a restart ----------------------------------------------------------------------------------


class Shelf:
    def __init__(self, rows: Sequence[IntervalRow], error: Exception | None = None) -> None:
        self.rows, self.error = rows, error

    def intervals(self, start_ms: int, end_ms: int, limit: int) -> Future[list[IntervalRow]]:
        future: Future[list[IntervalRow]] = Future()
        if self.error is not None:
            future.set_exception(self.error)
        else:
            future.set_result([r for r in self.rows if start_ms < r.end_ms <= end_ms][:limit])
        return future

    def boundaries(self, device: str, start_ms: int, end_ms: int) -> Future[list[BoundaryRow]]:
        """No registers of this device were kept."""
        future: Future[list[BoundaryRow]] = Future()
        future.set_result([])
        return future


def recalled(rows: Sequence[IntervalRow], error: Exception | None = None) -> tuple[int, Core]:
    archive = archive_of({})
    core = core_with(archive, [POINT], RELEASES, gateway="gw-1")
    return recall(core, cast(Any, Shelf(rows, error)), archive, local_ms("2026-03-11 10:05")), core


def test_yesterday_and_today_come_back_from_the_store():
    rows = [interval_row(f"2026-03-{d} {h}:00") for d in ("09", "10", "11") for h in ("08", "09", "10")]
    count, core = recalled([*rows, rows[-1]._replace(point="sold")])
    assert count == 6, "the day before yesterday has been told; a point that is gone is nobody's"
    told = core.days.settle(local_ms("2026-03-12 01:00"))
    assert [(str(d.day), len(d.blocks)) for d in told] == [("2026-03-10", 3), ("2026-03-11", 3)]
    assert told[1].blocks[0].active == Band(99_000, 100_000, 101_000)


def test_a_store_that_cannot_say_costs_the_day_so_far_and_nothing_else():
    assert recalled([interval_row("2026-03-11 08:00")], StoreFull(path="/x"))[0] == 0


def test_a_row_that_is_none_is_passed_over():
    assert interval_from(IntervalRow("p", 0, 900_000, b"{}")) is None
    nothing = interval_from(
        IntervalRow("p", 0, 900_000, demand_row("p", source="", coverage=0, active_w=None, apparent_va=None))
    )
    assert nothing is not None
    assert nothing.demands == ()
