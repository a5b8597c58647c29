"""How the gateway itself is, once a minute: store, disk, what is owed to the centre, its clock's source."""

from __future__ import annotations

from edge_agent.image import Snapshot
from edge_agent.load.views import Health
from edge_agent.model import ClockQuality, Ms
from edge_agent.store import Stats

EVERY_MS: Ms = 60_000
SOURCED = frozenset({ClockQuality.SYNCED, ClockQuality.CENTRAL})
MIB = 1 << 20


class SelfCheck:
    """Durations are on the boot clock, so that a clock without a source does not judge itself."""

    def __init__(self) -> None:
        self._looked_bt: Ms | None = None
        self._sourced_bt: Ms | None = None

    def look(self, snapshot: Snapshot, stats: Stats) -> Health | None:
        """None between two looks."""
        if self._sourced_bt is None or snapshot.clock.quality in SOURCED:
            self._sourced_bt = snapshot.bt_ms
        if self._looked_bt is not None and snapshot.bt_ms - self._looked_bt < EVERY_MS:
            return None
        self._looked_bt = snapshot.bt_ms
        oldest_s = 0.0
        if stats.depth and stats.oldest_unsent_ms is not None and snapshot.now_ms is not None:
            oldest_s = max(0.0, (snapshot.now_ms - stats.oldest_unsent_ms) / 1000)
        return Health(
            backlog=stats.findings_share if stats.depth else 0.0,
            oldest_s=oldest_s,
            disk_free_mib=stats.disk_free_bytes / MIB,
            unsynced_s=(snapshot.bt_ms - self._sourced_bt) / 1000,
            owed=stats.depth,
        )
