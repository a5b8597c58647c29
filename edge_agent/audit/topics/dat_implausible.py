"""数据不合理: does a device show what no installation of this size does, or the same to the last digit for too long?

More power than the contract several times over is called so only where the current transformers cannot carry it
either: a load that they can carry may be there. What is no number or has no time is a gap already, with its frame.
Values that stand still are not frozen where the energy register moves by just that power: then the load is steady.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from msgspec.structs import replace

from edge_agent.audit.topic import Answer, AuditTopic, Release, Site, Verdict
from edge_agent.load.views import Interval, LoadView, Role, Round
from edge_agent.model import Ms, PointId, Quantity

CURRENTS = (Quantity.CURRENT_L1, Quantity.CURRENT_L2, Quantity.CURRENT_L3)
MOVING = (
    Quantity.VOLTAGE_L1, Quantity.VOLTAGE_L2, Quantity.VOLTAGE_L3, *CURRENTS, Quantity.ACTIVE_POWER,
)  # fmt: skip
"""What never stands still together, to the last digit, in a network under load."""


@dataclass(frozen=True, slots=True)
class Seen:
    """A round of the point's meter, and how often and since when it has shown just that.

    `steady`: since then, the energy register has moved by the power that is shown, in every interval; None: no whole
    interval lies in that time yet, and one is to come.
    """

    round: Round
    alike: int
    since_ms: Ms
    steady: bool | None


class Repeats:
    """The study: what each meter showed last, how often in a row, and what its energy register did meanwhile."""

    def __init__(self, release: Release) -> None:
        self._steady = float(release.params["steady"])
        self._last: dict[PointId, tuple[dict[str, float], int, Ms, Ms]] = {}
        self._moved: dict[PointId, bool] = {}  # as the power says, in every interval of the run so far?
        self._heard_to: dict[PointId, Ms] = {}  # up to when the next interval of its register may be waited for
        self.changed = False

    def feed(self, view: LoadView, site: Site) -> Sequence[Seen]:
        for interval in view.closed:
            self._move(interval)
        out: list[Seen] = []
        for each in view.rounds:
            if each.role is not Role.METER:
                continue
            shown = {q.value: each.now[q] for q in MOVING if q in each.now and q not in each.stale}
            last, alike, since_ms, taken_to = self._last.get(each.point, ({}, 0, 0, -1))
            if each.end_ms <= taken_to:
                continue
            near = each.start_ms != each.end_ms  # the round before is near enough to vouch for the time between
            if shown == last and near:
                alike += 1
            else:
                alike, since_ms = 1, each.end_ms
                self._moved.pop(each.point, None)
            self._last[each.point] = (shown, alike, since_ms, each.end_ms)
            waits = each.end_ms <= self._heard_to.get(each.point, 0)
            out.append(Seen(each, alike, since_ms, self._moved.get(each.point, None if waits else False)))
        return out

    def _move(self, interval: Interval) -> None:
        shown, alike, since_ms, _ = self._last.get(interval.point, ({}, 0, 0, -1))
        watts = shown.get(Quantity.ACTIVE_POWER.value)
        register = interval.register
        if watts is None or register is None or interval.spans:
            return
        band = register.active if watts >= 0 else register.export
        if band is None:
            return
        self._heard_to[interval.point] = interval.end_ms + 2 * (interval.end_ms - interval.start_ms)
        if alike < 2 or interval.start_ms < since_ms:
            return
        room = self._steady * abs(watts)
        agrees = band.low - room <= abs(watts) <= band.high + room
        self._moved[interval.point] = self._moved.get(interval.point, True) and agrees

    def dump(self) -> Mapping[str, Any]:
        return {p: [*kept, self._moved.get(p), self._heard_to.get(p, 0)] for p, kept in self._last.items()}

    def restore(self, plain: Mapping[str, Any]) -> None:
        for point, (shown, alike, since_ms, taken_to, moved, heard_to) in plain.items():
            known = {str(q): float(v) for q, v in shown.items()}
            self._last[point] = (known, int(alike), int(since_ms), int(taken_to))
            self._heard_to[point] = int(heard_to)
            if moved is not None:
                self._moved[point] = bool(moved)


def examine(view: LoadView, site: Site, release: Release) -> Iterator[Verdict]:
    for seen in view.studied:
        yield _power(seen.round, site, release)
        yield _frozen(seen, site, release)


def _plain(each: Round, key: str) -> Verdict:
    return Verdict(each.point, Answer.UNKNOWN, each.start_ms, each.end_ms, decided_ms=each.end_ms, confirmed=True,
                   block=False, key=key)  # fmt: skip


def _power(each: Round, site: Site, release: Release) -> Verdict:
    plain = _plain(each, "power")
    watts = each.now.get(Quantity.ACTIVE_POWER)
    capacity = site.capacity(each.point, each.end_ms - 1, each.end_ms)
    s_cap = site.ratings(each.point, each.end_ms).s_cap_va
    if watts is None or capacity is None or s_cap is None or capacity.contracted <= 0:
        return replace(plain, reason="no_reading" if watts is None else "capacity_unknown")
    limit = max(float(release.params["times"]) * capacity.contracted, float(release.params["carry"]) * s_cap)
    share = round(abs(watts) / limit, 5)
    if share <= 1:
        return replace(plain, answer=Answer.CLEAR, low=share, high=share)
    return replace(
        plain, answer=Answer.BREACH, low=share, high=share,
        facts=(capacity.fact, *site.k_facts(each.point, each.end_ms)),
        measured={"what": "active power", "shown": f"{watts / 1000:.6g} kW", "largest": f"{limit / 1000:.6g} kW",
                  "device": each.device},
    )  # fmt: skip


def _frozen(seen: Seen, site: Site, release: Release) -> Verdict:
    each, params = seen.round, release.params
    plain = _plain(each, "frozen")
    fresh = [q for q in MOVING if q in each.now and q not in each.stale]
    amperes = max((abs(each.now[q]) for q in CURRENTS if q in fresh), default=None)
    ratings = site.ratings(each.point, each.end_ms)
    rated = ratings.i_rated_a or ratings.i_max_a
    if amperes is None or rated is None or not any(q.startswith("voltage") for q in fresh):
        return replace(plain, reason="no_reading" if rated is not None else "ratio_unknown")
    if amperes <= float(params["least_current"]) * rated:
        return replace(plain, answer=Answer.BETWEEN, reason="too_small")
    if seen.alike == 1 or seen.steady:
        return replace(plain, answer=Answer.CLEAR)
    if seen.steady is None:
        return replace(plain, answer=Answer.BETWEEN, reason="alike_so_far")
    held_s = (each.end_ms - seen.since_ms) / 1000
    share = round(min(seen.alike / float(params["frozen_reads"]), held_s / float(params["frozen_s"])), 5)
    return replace(
        plain, answer=Answer.BREACH if share > 1 else Answer.BETWEEN,
        low=share, high=share,
        measured={"what": "every value alike", "shown": f"{seen.alike} times in {held_s / 60:.0f} min",
                  "largest": f"{params['frozen_s'] / 60:g} min", "device": each.device},
    )  # fmt: skip


TOPIC = AuditTopic("dat-implausible", examine, needs=("active_power", "current"), study=Repeats)
