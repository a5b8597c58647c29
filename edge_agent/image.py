"""The process image: everything that arrived since the last tick, cut once into a frozen snapshot.

Readings come stamped with boot time. While the gateway has no true time they wait here, thinned to one a minute, and
are given UTC all at once when the offset is known: intervals then close on the right grid.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from edge_agent.load.views import Comm
from edge_agent.model import (
    CUMULATIVE,
    ClockState,
    DeviceId,
    Gap,
    GapCause,
    Identity,
    LinkId,
    Ms,
    Outcome,
    PointId,
    Quantity,
    Reading,
)

STEP_MS = 1_000
WAITING_MAX = 200_000
"""Readings that may wait for true time: a day of 64 points with two registers a minute."""
SPACING_MS = 60_000
COMM_EVERY_MS = 10_000


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One tick's picture of the site. `now_ms` None: the gateway does not know the time."""

    bt_ms: Ms
    now_ms: Ms | None
    clock: ClockState
    readings: Sequence[tuple[Reading, Ms]] = ()
    identities: Sequence[tuple[Identity, Ms]] = ()
    comms: Sequence[Comm] = ()
    stepped_ms: Ms | None = None
    """The wall clock was set; the new grid goes on from here."""
    fixed: bool = False
    """True time has become known with this tick."""


@dataclass(slots=True)
class _Health:
    link: LinkId
    point: PointId | None
    failures: int = 0
    good: int = 0
    failing_since_bt: Ms | None = None
    last_good_bt: Ms | None = None
    cause: str = ""
    detail: str = ""
    link_down: bool = False
    ailing: bool = True  # until two good reads have been shown once, also after a restart


class ProcessImage:
    """Takes outcomes as they come; `cut` gives what a tick may see and starts anew."""

    def __init__(self, devices: Mapping[DeviceId, tuple[LinkId, PointId | None]]) -> None:
        self._health = {d: _Health(link, point) for d, (link, point) in devices.items()}
        self._readings: list[Reading] = []
        self._identities: list[Identity] = []
        self._waiting: list[Reading] = []
        self._waiting_last: dict[tuple[DeviceId, Quantity], Ms] = {}
        self._passed: dict[tuple[DeviceId, Quantity], Reading] = {}
        self._unset = False
        self.latest: dict[DeviceId, dict[Quantity, Outcome]] = {d: {} for d in self._health}
        self.shed = 0
        self._offset_ms: Ms | None = None
        self._comm_bt: Ms = -(1 << 62)

    def take(self, outcomes: Iterable[Outcome]) -> None:
        """The outcomes of a read, values and gaps alike; a dead link brings those of all its devices at once."""
        good: dict[DeviceId, Ms] = {}
        gaps: dict[DeviceId, Gap] = {}
        for outcome in outcomes:
            self.latest.setdefault(outcome.device, {})[outcome.quantity] = outcome
            if isinstance(outcome, Gap):
                gaps[outcome.device] = outcome
                continue
            good[outcome.device] = outcome.bt_ms
            if isinstance(outcome, Reading):
                self._readings.append(outcome)
            else:
                self._identities.append(outcome)
        for device, bt_ms in good.items():
            self._answered(device, bt_ms)
        for device, gap in gaps.items():
            if device not in good:
                self._silent(gap)

    def _answered(self, device: DeviceId, bt_ms: Ms) -> None:
        health = self._health.get(device)
        if health is not None:
            health.failures, health.failing_since_bt, health.link_down = 0, None, False
            health.good, health.last_good_bt = health.good + 1, bt_ms

    def _silent(self, gap: Gap) -> None:
        health = self._health.get(gap.device)
        if health is None:
            return
        health.failures, health.good, health.ailing = health.failures + 1, 0, True
        health.failing_since_bt = gap.bt_ms if health.failing_since_bt is None else health.failing_since_bt
        health.cause, health.detail = gap.cause.value, gap.detail
        health.link_down = gap.cause is GapCause.LINK_DOWN

    def cut(self, bt_ms: Ms, clock: ClockState) -> Snapshot:
        readings, self._readings = self._readings, []
        identities, self._identities = self._identities, []
        offset = clock.offset_ms
        if offset is None:
            self._unset = True
            self._wait(readings)
            self._identities = list({(i.device, i.quantity): i for i in identities}.values())
            return Snapshot(bt_ms, None, clock)
        fixed, self._unset = self._unset, False
        if self._waiting:
            readings = sorted([*self._waiting, *self._passed.values(), *readings], key=lambda r: r.bt_ms)
            self._waiting, self._waiting_last, self._passed = [], {}, {}
        before, self._offset_ms = self._offset_ms, offset
        stepped = before is not None and abs(offset - before) > STEP_MS
        return Snapshot(
            bt_ms=bt_ms,
            now_ms=bt_ms + offset,
            clock=clock,
            readings=[(r, r.bt_ms + offset) for r in readings],
            identities=[(i, i.bt_ms + offset) for i in identities],
            comms=self._comms(bt_ms, offset),
            stepped_ms=bt_ms + offset if stepped else None,
            fixed=fixed,
        )

    def health(self) -> dict[DeviceId, dict[str, object]]:
        """How each device answers, for `status`."""
        return {
            d: {
                "link": h.link,
                "point": h.point,
                "failures": h.failures,
                "cause": h.cause if h.failures else "",
                "detail": h.detail if h.failures else "",
                "last_good_bt_ms": h.last_good_bt,
            }
            for d, h in self._health.items()
        }

    def _wait(self, readings: Iterable[Reading]) -> None:
        """Thin them out so that two neighbours still vouch for the time between: no more than `SPACING_MS` apart."""
        for reading in readings:
            key = (reading.device, reading.quantity)
            if reading.quantity not in CUMULATIVE:
                continue  # a power sample an hour old says nothing that a register does not say better
            if self._too_far(key, reading) and key in self._passed:
                self._hold(key, self._passed.pop(key))
            if self._too_far(key, reading):
                self._hold(key, reading)
            else:
                self._passed[key] = reading

    def _too_far(self, key: tuple[DeviceId, Quantity], reading: Reading) -> bool:
        held_bt = self._waiting_last.get(key)
        return held_bt is None or reading.bt_ms - held_bt > SPACING_MS

    def _hold(self, key: tuple[DeviceId, Quantity], reading: Reading) -> None:
        if len(self._waiting) >= WAITING_MAX:
            self.shed += 1
            return
        self._waiting_last[key] = reading.bt_ms
        self._waiting.append(reading)

    def _comms(self, bt_ms: Ms, offset: Ms) -> list[Comm]:
        if bt_ms - self._comm_bt < COMM_EVERY_MS:
            return []
        self._comm_bt = bt_ms
        out: list[Comm] = []
        for device, h in self._health.items():
            if not h.ailing:
                continue
            out.append(
                Comm(
                    device, h.point, h.link, h.failures, h.good,
                    None if h.failing_since_bt is None else h.failing_since_bt + offset,
                    None if h.last_good_bt is None else h.last_good_bt + offset,
                    h.cause, h.detail, h.link_down, bt_ms + offset,
                )
            )  # fmt: skip
            h.ailing = h.failures > 0 or h.good < 2
        return out
