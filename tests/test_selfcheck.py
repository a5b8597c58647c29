"""How the gateway looks at itself: once a minute, on the boot clock."""

from __future__ import annotations

from dataclasses import replace

from edge_agent.app.selfcheck import SelfCheck
from edge_agent.image import Snapshot
from edge_agent.model import ClockQuality, ClockState
from edge_agent.store import Stats

STATS = Stats(
    epoch="e", head_seq=5, kept_upto=5, depth=0, dead=0, oldest_unsent_ms=None, pending=0, findings_used_bytes=0,
    findings_file_bytes=0, findings_share=0.5, findings_near_quota=False, telemetry_used_bytes=0,
    telemetry_file_bytes=0, telemetry_share=0.0, telemetry_days=0, telemetry_damaged=0, disk_free_bytes=300 << 20,
    reserve_held=True, commits=0, failing="", beat_s=0.0,
)  # fmt: skip
T = 1_800_000_000_000


def snapshot(bt_ms: int, quality: ClockQuality) -> Snapshot:
    return Snapshot(bt_ms, T + bt_ms, ClockState(quality, T, 500))


def test_it_looks_once_a_minute():
    check = SelfCheck()
    looks = [check.look(snapshot(s * 1000, ClockQuality.SYNCED), STATS) for s in range(130)]
    assert [i for i, look in enumerate(looks) if look is not None] == [0, 60, 120]
    assert looks[0] is not None
    assert (looks[0].disk_free_mib, looks[0].backlog, looks[0].oldest_s) == (300.0, 0.0, 0.0)


def test_what_is_owed_has_an_age_and_a_share():
    owing = replace(STATS, depth=3, oldest_unsent_ms=T - 7_200_000)
    look = SelfCheck().look(snapshot(0, ClockQuality.SYNCED), owing)
    assert look is not None
    assert (look.backlog, look.oldest_s, look.owed) == (0.5, 7200.0, 3)


def test_a_clock_without_a_source_is_counted_from_its_last_one():
    check = SelfCheck()
    check.look(snapshot(0, ClockQuality.SYNCED), STATS)
    check.look(snapshot(60_000, ClockQuality.CENTRAL), STATS)
    look = check.look(snapshot(4_000_000, ClockQuality.HOLDOVER), STATS)
    assert look is not None
    assert look.unsynced_s == 3940.0
