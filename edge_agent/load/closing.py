"""Closing: when the readings of a point have passed a boundary, the window that ends there becomes an interval.

Bounds follow from what the readings vouch for; a window that cannot be known is still told, with empty demands and the
reason, because "cannot say" is an answer too.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from math import hypot, isfinite, nan
from typing import Any

import numpy as np

from edge_agent.load.columns import FAR, NEVER, Bools, EnergyColumns, Ints, PowerColumns
from edge_agent.load.points import ENERGIES, POWERS, LoadPoint
from edge_agent.load.views import Band, Demand, Interval, Source
from edge_agent.model import Ms

EXACT_WH = 1e-6
"""A boundary whose bounds lie no further apart was read right there."""
USABLE_COVERAGE = 0.80
"""From this coverage up a mean of samples is reported as a value (domain rule 2.3)."""


class Closing:
    """Turns boundaries that every live row of a point has passed into intervals, each once, in order."""

    def __init__(self, points: Sequence[LoadPoint], energy: EnergyColumns, power: PowerColumns) -> None:
        self._points = points
        self._energy = energy
        self._power = power
        count = len(points)
        self._n = np.array([p.period_ms // p.slide_ms for p in points], np.int64)
        self._period = np.array([p.period_ms for p in points], np.float64)
        self._grace = np.array([max(p.poll_ms * 5 // 2, 90_000) for p in points], np.int64)
        self._done = np.full(count, NEVER, np.int64)
        self._first_t = np.full(count, NEVER, np.int64)
        self._expected_e = np.array([q in p.quantities for p in points for q in ENERGIES]).reshape(count, len(ENERGIES))
        self._expected_p = np.array([q in p.quantities for p in points for q in POWERS]).reshape(count, len(POWERS))
        self._expected = np.concatenate((self._expected_e, self._expected_p), axis=1)
        self._exact: dict[int, list[float]] = {}
        self._broke: dict[int, tuple[Ms, str]] = {}
        self.recorded: dict[int, bool] = {}  # points fed with recorded means; whether S is among them

    def began(self, i: int, t_ms: Ms) -> None:
        """A row of point `i` has its first reading, or its first after a break."""
        if self._first_t[i] == NEVER:
            self._first_t[i] = t_ms
        if self._done[i] == NEVER:
            point = self._points[i]
            # A reading right on a boundary passes it: the register is exact there.
            self._done[i] = -((point.grid_offset_ms - t_ms) // point.slide_ms) - 1

    def broke(self, i: int, t_ms: Ms, reason: str) -> None:
        """Windows that reach across `t_ms` are not judged."""
        self._broke[i] = (t_ms, reason)
        self._exact.pop(i, None)

    def broken(self, i: int) -> tuple[Ms, str] | None:
        return self._broke.get(i)

    def restart(self, i: int) -> None:
        """No row of point `i` continues: each is waited for again as at the first time."""
        self._first_t[i] = NEVER

    def set_back(self, i: int, t_ms: Ms) -> None:
        """The clock was set to `t_ms`; set back, boundaries come again that were passed on the old grid."""
        point = self._points[i]
        if self._done[i] != NEVER:
            self._done[i] = min(int(self._done[i]), (t_ms - point.grid_offset_ms) // point.slide_ms)

    def answering(self) -> Bools:
        """Per point and row, energies first: it has begun and has not fallen behind the point's newest."""
        last = self._last()
        return np.asarray((last != NEVER) & ~self._late(last, last.max(axis=1, initial=NEVER)), np.bool_)

    def run(self, *, gap: bool = False) -> list[Interval]:
        """All intervals that the boundaries known so far close; `gap`: those ahead of a long gap."""
        out: list[Interval] = []
        frontier = self._frontier()
        if not gap:
            for i in np.flatnonzero((frontier - self._done > 2 * self._n) & (self._done != NEVER)):
                out.extend(self.skip(int(i), int(frontier[i])))
        while True:
            due = np.flatnonzero((self._done < frontier) & (self._done != NEVER))
            if not due.size:
                return out
            self._done[due] += 1
            out.extend(self._windows(due, self._done[due]))

    def skip(self, i: int, g1: int) -> list[Interval]:
        """The middle of a long gap is told as one interval that nobody can judge."""
        resume = g1 - int(self._n[i]) - 1
        if resume <= self._done[i]:
            return []
        start, end = self._time(i, int(self._done[i])), self._time(i, resume)
        count = max(1, (resume - int(self._done[i])) // int(self._n[i]))
        self._done[i] = resume
        return [Interval(self._points[i].id, start, end, False, None, None, end, count, "gap")]

    # -- inside -------------------------------------------------------------------------------------------------

    def _time(self, i: int, g: int) -> Ms:
        point = self._points[i]
        return g * point.slide_ms + point.grid_offset_ms

    def _frontier(self) -> Ints:
        """Per point: the last boundary that all its live rows have passed. A row that stopped holds nobody up."""
        last = self._last()
        newest = last.max(axis=1, initial=NEVER)
        edge = self._beside(self._energy.edge, self._power.edge)
        started = last != NEVER
        patient = newest - self._first_t <= self._grace
        live = (started & ~self._late(last, newest)) | (self._expected & ~started & patient[:, None])
        reach = np.where(live, np.where(started, edge, NEVER), FAR).min(axis=1, initial=FAR)
        return np.where(reach == FAR, NEVER, reach)

    def _last(self) -> Ints:
        return self._beside(self._energy.last_t, self._power.last_t)

    def _beside(self, energy: Ints, power: Ints) -> Ints:
        """Per point: its energy rows, then its power rows."""
        count = len(self._points)
        return np.concatenate((energy.reshape(count, -1), power.reshape(count, -1)), axis=1)

    def _late(self, last: Ints, newest: Ints) -> Bools:
        return np.asarray(newest[:, None] - last > self._grace[:, None], np.bool_)

    def _windows(self, due: Ints, g: Ints) -> list[Interval]:
        # Plain numbers from here on: one by one they are quicker than arrays of four.
        e_known, e_lo, e_mid, e_hi, e_step, e_cov = (x.tolist() for x in self._energy_windows(due, g))
        p_known, p_lo, p_hi, p_val, p_cov = (x.tolist() for x in self._power_windows(due, g))
        newest = self._last().max(axis=1).tolist()
        per_period, bounds = self._n.tolist(), g.tolist()
        out: list[Interval] = []
        for j, i in enumerate(due.tolist()):
            end = self._time(i, bounds[j])
            start = end - self._points[i].period_ms
            block = bounds[j] % per_period[i] == 0
            register = None
            if e_known[j][0]:
                register = demand_of(e_known[j], e_lo[j], e_mid[j], e_hi[j], e_step[j], e_cov[j])
            sampled = None
            if p_known[j][0] or p_known[j][2]:
                sampled = self._sampled_demand(i, p_known[j], p_lo[j], p_hi[j], p_val[j], p_cov[j])
            decided = newest[i]
            spans = self._spans(i, start, end, register is None and sampled is None)
            out.append(Interval(self._points[i].id, start, end, block, register, sampled, decided, 1, spans))
            if block:
                out.extend(self._several(i, bounds[j], end, decided))
        return out

    def _energy_windows(self, due: Ints, g: Ints) -> tuple[Any, ...]:
        width = len(ENERGIES)
        if self._energy.last_t.max() == NEVER:  # powers alone, as recorded data are
            return (np.zeros((len(due), width), np.bool_),) * 6
        rows = (due[:, None] * width + np.arange(width)).ravel()
        ends, starts = np.repeat(g, width), np.repeat(g - self._n[due], width)
        known_b, b = self._energy.get(rows, ends)
        known_a, a = self._energy.get(rows, starts)
        step = np.maximum(a["step"], b["step"])
        per = np.repeat(3.6e6 / self._period[due], width)
        shape = (len(due), width)
        low = np.maximum(b["lo"] - a["hi"] - step, 0.0) * per
        high = (b["hi"] - a["lo"] + step) * per
        middle = (b["lo"] + b["hi"] - a["lo"] - a["hi"]) / 2 * per
        cover = (b["vouched"] - a["vouched"]) / np.repeat(self._period[due], width)
        known = known_a & known_b
        return tuple(x.reshape(shape) for x in (known, low, middle, high, step * per, cover))

    def _power_windows(self, due: Ints, g: Ints) -> tuple[Any, ...]:
        width = len(POWERS)
        rows = (due[:, None] * width + np.arange(width)).ravel()
        ends, starts = np.repeat(g, width), np.repeat(g - self._n[due], width)
        known_b, b = self._power.get(rows, ends)
        known_a, a = self._power.get(rows, starts)
        period = np.repeat(self._period[due], width)
        vouched = b["vouched"] - a["vouched"]
        low, high = (b["lo"] - a["lo"]) / period, (b["hi"] - a["hi"]) / period
        with np.errstate(invalid="ignore", divide="ignore"):
            value = np.where(vouched >= USABLE_COVERAGE * period, (b["value"] - a["value"]) / vouched, np.nan)
        shape = (len(due), width)
        return tuple(x.reshape(shape) for x in (known_a & known_b, low, high, value, vouched / period))

    def _sampled_demand(self, i: int, known: Any, low: Any, high: Any, value: Any, cover: Any) -> Demand:
        bands = [Band(low[c], value[c], high[c]) if known[c] else None for c in range(len(POWERS))]
        active, reactive, apparent = bands
        coverage = cover[0] if known[0] else cover[2]
        source = Source.POWER if i not in self.recorded else Source.RECORDED
        if source is Source.RECORDED and not self.recorded[i]:
            apparent = _combined(active, _magnitude(reactive))
        return Demand(source, active, _magnitude(reactive), apparent, coverage, 0.0)

    def _spans(self, i: int, start: Ms, end: Ms, blind: bool) -> str:
        changes = self._points[i].changes_ms
        at = bisect_right(changes, start)
        if at < len(changes) and changes[at] < end:
            return "archive_change"
        broke = self._broke.get(i)
        if broke is not None and start < broke[0] < end:
            return broke[1]
        if blind:
            return broke[1] if broke is not None and start < broke[0] <= end else "no_reading"
        return ""

    def _several(self, i: int, g: int, end: Ms, decided: Ms) -> list[Interval]:
        """Several whole intervals of which only the mean is known: at least one of them reached that mean."""
        width = len(ENERGIES)
        if self._energy.last_t[i * width] == NEVER:
            return []
        found, at = self._energy.get(np.arange(i * width, (i + 1) * width), np.full(width, g, np.int64))
        known, expected = found.tolist(), self._expected_e[i].tolist()
        used = [k and e for k, e in zip(known, expected, strict=True)] if any(expected) else known
        low, high, steps = at["lo"].tolist(), at["hi"].tolist(), at["step"].tolist()
        if not used[0] or any(u and abs(b - a) > EXACT_WH for u, a, b in zip(used, low, high, strict=True)):
            return []
        before = self._exact.get(i)
        self._exact[i] = [g, *low, *(s if u else nan for u, s in zip(used, steps, strict=True))]
        n = int(self._n[i])
        if before is None or g - before[0] <= n:
            return []
        count = int(g - before[0]) // n
        start = end - count * self._points[i].period_ms
        per = 3.6e6 / self._points[i].period_ms
        energy = [b - a for a, b in zip(before[1 : 1 + width], low, strict=True)]
        step = [max(s, b) if u else nan for u, s, b in zip(used, steps, before[1 + width :], strict=True)]
        valid = [u and isfinite(s) for u, s in zip(used, step, strict=True)]
        if not valid[0]:
            return []
        least = [max(e - s, 0.0) * per / count for e, s in zip(energy, step, strict=True)]
        most = [(e + s) * per for e, s in zip(energy, step, strict=True)]
        middle, steps = [e * per / count for e in energy], [s * per / count for s in step]
        demand = demand_of(valid, least, middle, most, steps, [0.0] * width)
        changes = self._points[i].changes_ms
        k = bisect_right(changes, start)
        spans = "archive_change" if k < len(changes) and changes[k] < end else ""
        return [Interval(self._points[i].id, start, end, True, demand, None, decided, count, spans)]

    # -- what survives a restart --------------------------------------------------------------------------------

    def dump(self) -> dict[str, Any]:
        return {
            "done": self._done.tolist(),
            "first": self._first_t.tolist(),
            "exact": [[i, *v] for i, v in self._exact.items()],
            "broke": [[i, t, reason] for i, (t, reason) in self._broke.items()],
        }

    def load(self, state: dict[str, Any], place: dict[int, int]) -> None:
        for old, new in place.items():
            self._done[new], self._first_t[new] = state["done"][old], state["first"][old]
        self._exact = {place[i]: list(v) for i, *v in state["exact"] if i in place}
        self._broke = {place[i]: (t, reason) for i, t, reason in state["broke"] if i in place}


def demand_of(
    known: Sequence[bool], low: Sequence[float], middle: Sequence[float], high: Sequence[float],
    step: Sequence[float], cover: Sequence[float], source: Source = Source.REGISTER,
) -> Demand:  # fmt: skip
    """Columns: active import, active export, reactive import, reactive export; W and var."""
    active = Band(low[0], middle[0], high[0])
    export = Band(low[1], middle[1], high[1]) if known[1] else None
    resolution, coverage = step[0], cover[0]
    if not known[2]:
        return Demand(source, active, None, None, coverage, resolution, export)
    reactive = Band(low[2], middle[2], high[2])
    coverage = min(coverage, cover[2])
    if known[3]:
        # What flows is the difference; no more than the larger of the two can have flowed at once.
        reactive = Band(
            max(0.0, low[2] - high[3], low[3] - high[2]),
            abs(middle[2] - middle[3]),
            max(high[2], high[3]),
        )
    apparent = _combined(active, reactive)
    assert apparent is not None
    if coverage > 0.999 and isfinite(apparent.high):
        resolution = (apparent.high - apparent.low) / 2
    return Demand(
        source, active, reactive, apparent, coverage, resolution, export, _given_out(export, active, reactive)
    )


def _given_out(export: Band | None, active: Band, reactive: Band) -> Band | None:
    """Apparent power of what is given out; the reactive power of an interval in which both happened is nobody's."""
    if export is None:
        return None
    low = hypot(export.low, reactive.low) if active.value == 0 else export.low
    return Band(low, max(low, hypot(export.value, reactive.value)), hypot(export.high, reactive.high))


def _magnitude(band: Band | None) -> Band | None:
    if band is None or band.low >= 0:
        return band
    if band.high <= 0:
        return Band(-band.high, -band.value, -band.low)
    return Band(0.0, abs(band.value), max(-band.low, band.high))


def _combined(active: Band | None, reactive: Band | None) -> Band | None:
    """Apparent power from active and reactive of the same interval."""
    if active is None or reactive is None:
        return None
    return Band(*(hypot(p, q) for p, q in zip(active, reactive, strict=True)))
