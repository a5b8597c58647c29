"""The process image: readings that wait for true time, a clock that is set, and how devices answer."""

from __future__ import annotations

from itertools import pairwise

import pytest

from edge_agent.core import Core
from edge_agent.image import ProcessImage, Snapshot
from edge_agent.load.ledger import LoadLedger
from edge_agent.load.points import LoadPoint
from edge_agent.load.views import Comm, Interval
from edge_agent.model import ClockQuality, ClockState, Gap, GapCause, Identity, Ms, Outcome, Quantity, Reading
from tests.on_paper import MINUTE_MS, archive_of, local_ms

EP, P = Quantity.ACTIVE_ENERGY_IMPORT, Quantity.ACTIVE_POWER
TEN = local_ms("2026-03-10 10:00")
UNSET = ClockState(ClockQuality.UNSET, None, None)
K = 80.0
POLL_MS = 15_000


def synced(offset_ms: Ms) -> ClockState:
    return ClockState(ClockQuality.SYNCED, offset_ms, 500)


def reading(bt_ms: Ms, kwh: float, quantity: Quantity = EP) -> Reading:
    return Reading("m1", quantity, kwh * 1000, 0.0, bt_ms, None)


def at_160_kw(bt_ms: Ms) -> Reading:
    return reading(bt_ms, 1000 + 2.0 * bt_ms / 3.6e6)


def silence(device: str, bt_ms: Ms, cause: GapCause = GapCause.NO_REPLY) -> Gap:
    return Gap(device, EP, cause, bt_ms, "no answer in 2 s")


def image_of(*devices: str) -> ProcessImage:
    return ProcessImage({d: ("lan", f"p-{d}") for d in devices or ("m1",)})


def core() -> Core:
    point = LoadPoint(
        id="p", device="m1", period_ms=15 * MINUTE_MS, slide_ms=MINUTE_MS, poll_ms=POLL_MS, k=((0, K),),
        s_cap_va=((0, 277_128.0),), quantities=frozenset({EP}),
    )  # fmt: skip
    return Core(LoadLedger([point]), [], {}, archive_of({}), gateway="gw-1")


# -- while the gateway does not know the time -------------------------------------------------------------------


@pytest.mark.parametrize("jitter_ms", [0, 1, 7, 140])
def test_readings_wait_and_intervals_close_on_the_right_grid(jitter_ms: int):
    """Three hours without true time; then it comes, and it is seven minutes and a half past the hour."""
    image, engine = image_of(), core()
    closed: list[Interval] = []
    offset = TEN + 7 * MINUTE_MS + 30_000
    hours = 3 * 60 * MINUTE_MS
    for n, bt in enumerate(range(0, hours + 40 * MINUTE_MS, POLL_MS)):
        late = bt + jitter_ms * (n % 5)
        image.take([at_160_kw(late)])
        clock = UNSET if bt < hours else synced(offset)
        outcome = engine.tick(image.cut(late, clock))
        assert bt >= hours or outcome.closed == (), "no interval closes while the clock is unset"
        closed += outcome.closed
    told = [i for i in closed if i.register is not None]
    first = TEN + 8 * MINUTE_MS + 15 * MINUTE_MS
    last = offset + hours + 40 * MINUTE_MS - POLL_MS
    assert [i.end_ms for i in told] == list(range(first, last + 1, MINUTE_MS))
    for interval in told:
        assert interval.register is not None
        assert interval.register.active == pytest.approx((160_000.0,) * 3, rel=1e-6)
        assert interval.register.coverage == pytest.approx(1.0), "thinned, they still vouch for their time"


def test_what_waits_is_thinned_to_less_than_two_a_minute():
    image = image_of()
    for bt in range(0, 60 * MINUTE_MS, 1_000):
        image.take([at_160_kw(bt)])
        assert image.cut(bt, UNSET).readings == ()
    snapshot = image.cut(60 * MINUTE_MS, synced(TEN))
    times = [r.bt_ms for r, _ in snapshot.readings]
    assert 60 <= len(times) <= 75
    assert times == sorted(times)
    assert max(b - a for a, b in pairwise(times)) <= MINUTE_MS


def test_samples_of_power_do_not_wait_and_identities_do():
    image = image_of()
    identity = Identity("m1", Quantity.METER_SERIAL, "0000123456", 10, None)
    image.take([reading(10, 5.0, P), reading(10, 1000.0), identity])
    assert image.cut(10, UNSET).identities == ()
    snapshot = image.cut(1_000, synced(TEN))
    assert [(r.quantity, t) for r, t in snapshot.readings] == [(EP, TEN + 10)]
    assert snapshot.identities == [(identity, TEN + 10)]


def test_that_the_time_has_become_known_is_said_once():
    image = image_of()
    image.take([at_160_kw(0)])
    assert not image.cut(0, UNSET).fixed
    snapshots = [image.cut(bt, synced(TEN)) for bt in (1_000, 2_000)]
    assert [s.fixed for s in snapshots] == [True, False]
    assert [s.stepped_ms for s in snapshots] == [None, None], "to learn the time is no step"


def test_a_clock_that_is_right_from_the_start_is_no_news():
    image = image_of()
    image.take([at_160_kw(0)])
    assert not image.cut(0, synced(TEN)).fixed


# -- a clock that is set ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("moved_ms", "stepped"), [(0, False), (900, False), (-900, False), (1_001, True), (-5_000, True)]
)
def test_more_than_a_second_is_a_step(moved_ms: int, stepped: bool):
    image = image_of()
    image.cut(0, synced(TEN))
    snapshot = image.cut(1_000, synced(TEN + moved_ms))
    assert snapshot.stepped_ms == (1_000 + TEN + moved_ms if stepped else None)
    assert image.cut(2_000, synced(TEN + moved_ms)).stepped_ms is None


@pytest.mark.parametrize("moved_ms", [-3_600_000, 3_600_000, -300 * 86_400_000])
def test_after_a_step_windows_close_on_the_new_grid(moved_ms: int):
    image, engine, closed = image_of(), core(), []
    at = 40 * MINUTE_MS
    for bt in range(0, 2 * at + 1, POLL_MS):
        image.take([at_160_kw(bt)])
        closed.append(list(engine.tick(image.cut(bt, synced(TEN if bt < at else TEN + moved_ms))).closed))
    later: list[Interval] = [i for batch in closed[at // POLL_MS :] for i in batch]
    set_to = TEN + at + moved_ms
    told = [i for i in later if i.register is not None]
    assert len(told) >= 24
    assert all(i.start_ms >= set_to for i in told)
    assert told[-1].end_ms == TEN + moved_ms + 2 * at
    assert {i.spans for i in later if i.start_ms < set_to < i.end_ms and i.spans != "gap"} == {"clock_step"}


# -- how devices answer -----------------------------------------------------------------------------------------


def comms(image: ProcessImage, bt_ms: Ms) -> dict[str, Comm]:
    return {c.device: c for c in image.cut(bt_ms, synced(TEN)).comms}


def test_failures_in_a_row_are_counted_and_one_good_read_ends_them():
    image = image_of()
    image.take([at_160_kw(0)])
    for n in (1, 2, 3):
        image.take([silence("m1", n * MINUTE_MS)])
    comm = comms(image, 4 * MINUTE_MS)["m1"]
    assert (comm.failures, comm.good) == (3, 0)
    assert (comm.failing_since_ms, comm.last_good_ms) == (TEN + MINUTE_MS, TEN)
    assert (comm.cause, comm.detail, comm.link_down) == ("no_reply", "no answer in 2 s", False)
    image.take([at_160_kw(5 * MINUTE_MS)])
    comm = comms(image, 5 * MINUTE_MS)["m1"]
    assert (comm.failures, comm.good, comm.failing_since_ms) == (0, 1, None)


def test_a_read_with_one_value_and_gaps_beside_it_is_a_good_one():
    image = image_of()
    image.take([silence("m1", 0, GapCause.NOT_AVAILABLE), reading(0, 5.0, P)])
    assert comms(image, 0)["m1"].failures == 0


def test_a_dead_link_brings_the_gaps_of_all_its_devices_at_once():
    image = image_of("m1", "m2")
    image.take([silence(d, 0, GapCause.LINK_DOWN) for d in ("m1", "m2") for _ in range(3)])
    seen = comms(image, 0)
    assert {d: (c.failures, c.link_down) for d, c in seen.items()} == {"m1": (1, True), "m2": (1, True)}


def test_a_healthy_device_is_spoken_of_until_two_good_reads_and_then_no_more():
    image = image_of("m1", "m2")
    goods: list[list[Outcome]] = [[at_160_kw(n * MINUTE_MS)] for n in range(4)]
    said = []
    for n, outcomes in enumerate(goods):
        image.take(outcomes)
        said.append(sorted(comms(image, n * MINUTE_MS)))
    assert said == [["m1", "m2"], ["m1", "m2"], ["m2"], ["m2"]], "m2 has not answered yet"


def test_the_latest_outcome_of_each_register_stays():
    image = image_of()
    image.take([at_160_kw(0)])
    gap = silence("m1", MINUTE_MS)
    image.take([gap])
    assert image.latest["m1"][EP] is gap
    health = image.health()["m1"]
    assert (health["failures"], health["cause"], health["last_good_bt_ms"]) == (1, "no_reply", 0)


def test_a_snapshot_holds_what_arrived_since_the_last_and_no_more():
    image = image_of()
    image.take([at_160_kw(0)])
    first = image.cut(0, synced(TEN))
    assert isinstance(first, Snapshot)
    assert (first.now_ms, len(first.readings)) == (TEN, 1)
    assert image.cut(1_000, synced(TEN)).readings == []
