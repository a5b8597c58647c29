"""Rows of cumulative quantities on a grid of boundaries, as numpy columns.

Each row (one quantity of one point) remembers its last reading and, for the last two demand periods, what its
cumulative value was at every boundary of the slide: a demand is then one subtraction, whatever the poll timing, and a
sliding window costs no more than a block. `vouched` is a second register, of time that readings vouch for.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_agent.load.points import LoadPoint
from edge_agent.model import Ms

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
NEVER, FAR = -(1 << 62), (1 << 63) - 1


@dataclass(slots=True)
class Segment:
    """From each row's last reading to a new one. `at(index, g)` gives the columns at boundary `g` inside it."""

    rows: Ints
    g0: Ints
    g1: Ints
    at: Callable[[Any, Ints], dict[str, Floats]]
    end: dict[str, Floats]
    n: Ints

    @property
    def crossed(self) -> Ints:
        return np.asarray(self.g1 - self.g0, np.int64)

    @property
    def long(self) -> Bools:
        """More boundaries than one demand period has: those in the middle are skipped."""
        return np.asarray(self.crossed > self.n, np.bool_)


class Columns:
    """The part that registers and sampled powers share: anchors and the ring of boundaries."""

    FIELDS: tuple[str, ...] = ()
    """Names of the cumulative columns; each has a running array and a ring of the same name."""

    def __init__(self, points: Sequence[LoadPoint], per_point: int) -> None:
        rows = len(points) * per_point
        self.per_point = per_point
        self.slide = np.repeat(np.array([p.slide_ms for p in points], np.int64), per_point)
        self.offset = np.repeat(np.array([p.grid_offset_ms for p in points], np.int64), per_point)
        self.n = np.repeat(np.array([p.period_ms // p.slide_ms for p in points], np.int64), per_point)
        self.limit = np.repeat(np.array([p.vouched_ms for p in points], np.int64), per_point)
        self.width = 2 * self.n + 2
        self.last_t = np.full(rows, NEVER, np.int64)
        self.prev_t = np.full(rows, NEVER, np.int64)
        self.last_g = np.full(rows, NEVER, np.int64)
        self.edge = np.full(rows, NEVER, np.int64)  # last boundary passed and written
        size = int(self.width.max()) if rows else 1
        self._size = size
        self._slot_g = np.full(rows * size, NEVER, np.int64)
        self.slot_g = self._slot_g.reshape(rows, size)
        # One array for all fields, and by name views into it: one look-up reads them all.
        self._now = np.zeros((len(self.FIELDS), rows))
        self._ring = np.zeros((rows * size, len(self.FIELDS)))
        self.now: dict[str, Floats] = dict(zip(self.FIELDS, self._now, strict=True))
        rings = self._ring.T.reshape(len(self.FIELDS), rows, size)
        self.ring: dict[str, Floats] = dict(zip(self.FIELDS, rings, strict=True))
        self._untold = np.full(rows, FAR, np.int64)  # the first boundary that `take_written` has not given yet
        self.dropped: set[int] = set()

    def boundary(self, rows: Ints, t: Ints) -> Ints:
        """Number of the last boundary at or before `t`."""
        return np.asarray((t - self.offset[rows]) // self.slide[rows], np.int64)

    def put(self, rows: Ints, g: Ints, values: dict[str, Floats]) -> None:
        place = self._place(rows, g)
        self._slot_g[place] = g
        for field, name in enumerate(self.FIELDS):
            self._ring[place, field] = values[name]
        self._untold[rows] = np.minimum(self._untold[rows], g)

    def get(self, rows: Ints, g: Ints) -> tuple[Bools, dict[str, Floats]]:
        """Whether each row knows its boundary `g`, and its columns there."""
        place = self._place(rows, g)
        known = np.asarray(self._slot_g[place] == g, np.bool_)
        return known, dict(zip(self.FIELDS, self._ring.take(place, axis=0).T, strict=True))

    def _place(self, rows: Ints, g: Ints) -> Ints:
        return np.asarray(rows * self._size + g % self.width[rows], np.int64)

    def head(self, segment: Segment) -> None:
        """Write the boundaries that a segment crosses: all of them, or one period's worth of a long one."""
        reach = np.minimum(segment.crossed, segment.n)
        for j in range(1, int(reach.max(initial=0)) + 1):
            at = np.flatnonzero(reach >= j)
            g = segment.g0[at] + j
            self.put(segment.rows[at], g, segment.at(at, g))
        self.edge[segment.rows] = segment.g0 + reach

    def tail(self, segment: Segment) -> None:
        """Write the last period's worth of boundaries of a long segment."""
        long = segment.long
        for back in range(int(segment.n[long].max(initial=-1)), -1, -1):
            at = np.flatnonzero(long & (segment.n >= back) & (segment.g1 - back > segment.g0 + segment.n))
            if at.size:
                g = segment.g1[at] - back
                self.put(segment.rows[at], g, segment.at(at, g))

    def advance(self, segment: Segment) -> None:
        for name, column in segment.end.items():
            self.now[name][segment.rows] = column
        self.last_g[segment.rows] = self.edge[segment.rows] = segment.g1

    def drop(self, row: int) -> None:
        """Forget the boundaries of one row: windows that would reach across are not judged."""
        self.slot_g[row, :] = NEVER
        self.dropped.add(row)

    # -- what survives a restart --------------------------------------------------------------------------------

    def anchor(self, row: int) -> list[Any]:
        return [int(self.last_t[row]), int(self.prev_t[row]), *(float(self.now[name][row]) for name in self.FIELDS)]

    def set_anchor(self, row: int, anchor: list[Any]) -> None:
        self.last_t[row], self.prev_t[row] = anchor[0], anchor[1]
        for name, value in zip(self.FIELDS, anchor[2:], strict=False):
            self.now[name][row] = value
        if self.last_t[row] != NEVER:
            self.last_g[row] = self.edge[row] = (self.last_t[row] - self.offset[row]) // self.slide[row]

    def take_dropped(self) -> list[int]:
        """Rows that forgot their boundaries since the last call; what `take_written` gives was written after that."""
        out = sorted(self.dropped)
        self.dropped.clear()
        return out

    def take_written(self) -> list[list[Any]]:
        """Boundaries written since the last call: [row, g, columns...]."""
        rows, slots = np.nonzero(self.slot_g >= self._untold[:, None])
        known = self.slot_g[rows, slots]
        self._untold[:] = FAR
        values = self._ring.take(rows * self._size + slots, axis=0)
        return [[*at, *row] for *at, row in zip(rows.tolist(), known.tolist(), values.tolist(), strict=True)]

    def set_written(self, row: int, g: int, columns: list[float]) -> None:
        slot = g % int(self.width[row])
        self.slot_g[row, slot] = g
        for name, value in zip(self.FIELDS, columns, strict=True):
            self.ring[name][row, slot] = value


class EnergyColumns(Columns):
    """Cumulative registers: exact at readings, interpolated inside a vouched segment, bounded inside any other.

    `lo`, `hi`: least and most that the register can have shown at the boundary, primary side, counted from the row's
    first reading; `step`: its resolution there; `vouched`: ms.
    """

    FIELDS = ("lo", "hi", "step", "vouched")

    def __init__(self, points: Sequence[LoadPoint], per_point: int) -> None:
        super().__init__(points, per_point)
        rows = len(points) * per_point
        self.value = np.zeros(rows)  # last reading as the meter gave it
        self.value_step = np.zeros(rows)
        self.prev_value = np.full(rows, np.nan)
        self.k = np.full(rows, np.nan)
        self.cap_va = np.full(rows, np.inf)

    def bound(self, rows: Ints, dt_ms: Ints, step: Floats) -> Floats:
        """Most that a register can have moved in `dt_ms`: 1.2 of what the transformers carry, and one step."""
        return np.asarray(1.2 * self.cap_va[rows] * dt_ms / 3.6e6 / self.k[rows] + step)

    def start(self, rows: Ints, t: Ints, value: Floats, step: Floats) -> None:
        """First reading of a row, or the first after a break: opens a segment, books no energy."""
        self.last_t[rows] = t
        self.prev_t[rows] = NEVER
        self.prev_value[rows] = np.nan
        self.value[rows] = value
        self.value_step[rows] = step
        self.reopen(rows)

    def reopen(self, rows: Ints) -> None:
        """The last reading begins a segment; where it lies on a boundary, the register is exact there."""
        t = self.last_t[rows]
        g = self.boundary(rows, t)
        self.last_g[rows] = self.edge[rows] = g
        on = g * self.slide[rows] + self.offset[rows] == t
        if on.any():
            there = rows[on]
            self.put(there, g[on], self._exact(there, self.value_step[there]))

    def segment(self, rows: Ints, t: Ints, value: Floats, step: Floats, moved: Floats) -> Segment:
        """One accepted reading per row; `moved` is its increase, secondary side."""
        t0, k = self.last_t[rows], self.k[rows]
        energy = moved * k
        steps = np.maximum(self.value_step[rows], step) * k
        vouched = t - t0 <= self.limit[rows]
        before, vouched_before = self.now["lo"][rows], self.now["vouched"][rows]

        def at(i: Any, g: Ints) -> dict[str, Floats]:
            boundary = g * self.slide[rows[i]] + self.offset[rows[i]]
            known = vouched[i] | (boundary == t[i])
            between = before[i] + (boundary - t0[i]) / (t[i] - t0[i]) * energy[i]
            return {
                "lo": np.where(known, between, before[i]),
                "hi": np.where(known, between, before[i] + energy[i]),
                "step": steps[i],
                "vouched": vouched_before[i] + np.where(vouched[i], boundary - t0[i], 0),
            }

        end = {"lo": before + energy, "hi": before + energy, "step": step * k,
               "vouched": vouched_before + np.where(vouched, t - t0, 0)}  # fmt: skip
        made = Segment(rows, self.last_g[rows], self.boundary(rows, t), at, end, self.n[rows])
        self.prev_t[rows], self.prev_value[rows] = t0, self.value[rows]
        self.last_t[rows], self.value[rows], self.value_step[rows] = t, value, step
        return made

    def _exact(self, rows: Ints, step: Floats) -> dict[str, Floats]:
        now = self.now
        return {"lo": now["lo"][rows], "hi": now["hi"][rows], "step": step * self.k[rows],
                "vouched": now["vouched"][rows]}  # fmt: skip

    def anchor(self, row: int) -> list[Any]:
        tail = [float(a[row]) for a in (self.value, self.value_step, self.prev_value, self.k)]
        return [*super().anchor(row), *tail]

    def set_anchor(self, row: int, anchor: list[Any]) -> None:
        super().set_anchor(row, anchor[: 2 + len(self.FIELDS)])
        self.value[row], self.value_step[row], self.prev_value[row], self.k[row] = anchor[2 + len(self.FIELDS) :]


class PowerColumns(Columns):
    """Sampled powers: between two samples a power lies between them; missing time is zero in `lo`, S_cap in `hi`.

    `lo`, `hi`, `value`: integrals, W x ms (VA, var), primary side; `value` counts vouched time alone.
    """

    FIELDS = ("lo", "hi", "value", "vouched")

    def __init__(self, points: Sequence[LoadPoint], per_point: int) -> None:
        super().__init__(points, per_point)
        rows = len(points) * per_point
        self.power = np.zeros(rows)  # last sample, primary side
        self.cap_va = np.full(rows, np.inf)

    def start(self, rows: Ints, t: Ints, power: Floats) -> None:
        self.last_t[rows], self.power[rows] = t, power
        self.prev_t[rows] = NEVER
        g = self.boundary(rows, t)
        self.last_g[rows] = self.edge[rows] = g
        on = g * self.slide[rows] + self.offset[rows] == t
        if on.any():
            there = rows[on]
            self.put(there, g[on], {name: column[there] for name, column in self.now.items()})

    def segment(self, rows: Ints, t: Ints, power: Floats, *, mean_over_ms: Ms = 0) -> Segment:
        """One sample per row; with `mean_over_ms` the row is a recorded mean over that time up to `t`."""
        t0 = self.last_t[rows]
        if mean_over_ms:
            vouched = t - t0 <= mean_over_ms
            low = high = mean = power
        else:
            vouched = t - t0 <= self.limit[rows]
            low, high = np.minimum(power, self.power[rows]), np.maximum(power, self.power[rows])
            mean = (power + self.power[rows]) / 2
        rate = np.zeros((len(self.FIELDS), len(rows)))  # as FIELDS
        rate[1] = self.cap_va[rows]
        np.copyto(rate, (low, high, mean, np.ones(len(rows))), where=vouched)
        before = self._now.take(rows, axis=1)

        def at(i: Any, g: Ints) -> dict[str, Floats]:
            passed = g * self.slide[rows[i]] + self.offset[rows[i]] - t0[i]
            return dict(zip(self.FIELDS, before[:, i] + rate[:, i] * passed, strict=True))

        end = dict(zip(self.FIELDS, before + rate * (t - t0), strict=True))
        made = Segment(rows, self.last_g[rows], self.boundary(rows, t), at, end, self.n[rows])
        self.prev_t[rows] = t0
        self.last_t[rows], self.power[rows] = t, power
        return made

    def anchor(self, row: int) -> list[Any]:
        return [*super().anchor(row), float(self.power[row])]

    def set_anchor(self, row: int, anchor: list[Any]) -> None:
        super().set_anchor(row, anchor[:-1])
        self.power[row] = anchor[-1]
