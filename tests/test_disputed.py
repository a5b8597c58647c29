"""A fact of the archive that a finding disputes is in conflict for every other topic, for as long as it does."""

from __future__ import annotations

import json
from math import sqrt

import pytest

from edge_agent.assembly import core_with
from edge_agent.audit.disputed import disputed_site
from edge_agent.audit.lifecycle import Lifecycle, lifetime
from edge_agent.audit.topic import Answer, AuditTopic, Verdict
from edge_agent.audit.track import Track
from edge_agent.core import Core
from edge_agent.load.points import LoadPoint
from edge_agent.model import FactState, Identity, Ms, Quantity, Reading
from tests.on_paper import MINUTE_MS, archive_of, local_ms, published
from tests.stories import said

START = local_ms("2026-03-10 10:00")
BLOCK_MS = 15 * MINUTE_MS


def core_at() -> Core:
    archive = archive_of({})
    quantities = frozenset({Quantity.ACTIVE_POWER, Quantity.REACTIVE_POWER})
    cap = archive.s_cap_va("p", START) or 0.0
    point = LoadPoint("p", "m1", BLOCK_MS, BLOCK_MS, BLOCK_MS, ((0, 80.0),), ((0, cap),), quantities=quantities)
    return core_with(archive, [point], published()[0], gateway="gw-1")


def says_ratio(core: Core, value: float, at_ms: Ms) -> list[str]:
    told = []
    for again_ms in (0, 1000):
        core.claims.feed([(Reading("m1", Quantity.CT_RATIO, value, 1.0, at_ms + again_ms, None), at_ms + again_ms)])
        told += [f"{s.topic} {said(s)}" for s in core.settle(at_ms + again_ms).steps]
    return told


def overload(core: Core, from_ms: Ms, kva: float = 270.0) -> list[tuple[str, str, bool]]:
    """Three windows at 108 % of the contract."""
    told = []
    powers = {Quantity.ACTIVE_POWER: 850.0 * kva, Quantity.REACTIVE_POWER: 1000.0 * kva * sqrt(1 - 0.85**2)}
    for i in range(1, 6):
        core.ledger.feed_mean("p", from_ms + i * BLOCK_MS, BLOCK_MS, powers)
        told += [
            (said(s), s.route.value, s.check_archive)
            for s in core.settle(from_ms + i * BLOCK_MS).steps
            if s.topic == "cap-over-contract"
        ]
    return told


def test_while_the_ratio_is_disputed_nothing_that_rests_on_it_is_more_than_a_notice():
    clean = core_at()
    assert overload(clean, START) == [
        ("opened notice", "customer-inspection", False),
        ("updated warning", "customer-inspection", False),
    ]
    disputed = core_at()
    assert says_ratio(disputed, 120.0, START - BLOCK_MS) == ["tar-archive-mismatch opened warning"]
    assert overload(disputed, START) == [("opened notice", "archive", True)]


def test_the_end_of_the_dispute_is_the_end_of_the_conflict_and_a_restart_is_not():
    core = core_at()
    says_ratio(core, 120.0, START - 8 * BLOCK_MS)
    again = core_at()
    again.lifecycle.restore(
        Track.from_plain(json.loads(json.dumps(t.to_plain()))) for t in core.lifecycle.tracks.values()
    )
    assert again.lifecycle.disputed() == {"p": frozenset({"ct"})}
    assert says_ratio(again, 80.0, START - 2 * BLOCK_MS) == ["tar-archive-mismatch cleared hold"]
    assert again.lifecycle.disputed() == {}
    assert ("updated warning", "customer-inspection", False) in overload(again, START)


def test_another_meter_puts_the_number_in_the_archive_in_conflict_and_nothing_else():
    core = core_at()
    for i in range(2):
        core.claims.identify(Identity("m1", Quantity.METER_SERIAL, "0000777777", 0, None), START + i)
        core.settle(START + i)
    site = disputed_site(archive_of({}), core.lifecycle.disputed())
    serial, capacity = site.serial("p", START), site.capacity("p", START, START + 1)
    assert serial is not None
    assert capacity is not None
    assert serial.state is FactState.CONFLICT
    assert capacity.fact.state is FactState.VERIFIED
    assert [f.state for f in site.k_facts("p", START)] == [FactState.VERIFIED]
    assert site.local_day("p", START).isoformat() == "2026-03-10"


def test_every_answer_of_the_archive_is_lowered_where_it_rests_on_the_fact():
    archive = archive_of({}, {"id": "p2", "meter": "m2"})
    site = disputed_site(archive, {"p": frozenset({"ct", "capacity"})})
    capacity = site.capacity("p", START, START + 1)
    assert capacity is not None
    assert capacity.fact.state is FactState.CONFLICT
    assert site.ratings("p", START).facts[0].state is FactState.CONFLICT
    assert site.ratings("p2", START).facts[0].state is FactState.VERIFIED
    assert archive.k_facts("p", START)[0].state is FactState.VERIFIED
    assert disputed_site(archive, {}) is archive


@pytest.mark.parametrize(("off_s", "answered"), [(120.0, True), (400.0, False)])
def test_a_topic_may_be_blinded_from_a_limit_on(off_s: float, answered: bool):
    """What is stamped by the meter's clock says nothing once that is off by five minutes."""
    stamped = AuditTopic("met-cover", lambda *_: iter(()), blinded_by=("dat-clock>300",))
    releases, topics = published()
    life, out = Lifecycle("gw-1", [topics["dat-clock"], stamped], releases, archive_of({})), lifetime()
    for i in range(2):
        breach = Verdict("p", Answer.BREACH, START + i, START + i, low=off_s, high=off_s, confirmed=True, block=False)
        life.judge([breach], "dat-clock", out)
    assert [s.topic for s in out.steps] == ["dat-clock"]
    said_ = Verdict("p", Answer.BREACH, START, START + 10, low=1.0, high=1.0, confirmed=True, block=False, key="x")
    life.judge([said_], "met-cover", out)
    assert [s.topic for s in out.steps] == ["dat-clock", *(["met-cover"] if answered else [])]
