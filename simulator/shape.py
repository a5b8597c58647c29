"""How a load moves: P and Q as straight lines between vertices, with their energies in closed form.

Because the integral is exact at any instant, nothing has to be stepped: a meter that nobody asks costs nothing, at any
clock rate, and what its registers show can be compared with the truth to the last bit. Primary side, import positive;
W, var, Wh, varh, VAh; times in ms.
"""

from __future__ import annotations

import csv
import io
import math
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from datetime import datetime
from itertools import pairwise
from typing import NamedTuple

from simulator.clock import DAY_MS, Ms, to_ms

MS_PER_H = 3_600_000.0
_SIMPSON_PANELS = 32


class Vertex(NamedTuple):
    """Two vertices at one instant are a step."""

    at_ms: float
    p_w: float
    q_var: float


class Power(NamedTuple):
    p_w: float
    q_var: float

    @property
    def s_va(self) -> float:
        return math.hypot(self.p_w, self.q_var)


class Energies(NamedTuple):
    """What flowed in each direction: every register of a meter counts its own."""

    active_import_wh: float = 0.0
    active_export_wh: float = 0.0
    reactive_import_varh: float = 0.0
    reactive_export_varh: float = 0.0
    apparent_vah: float = 0.0

    def plus(self, other: Energies) -> Energies:
        return Energies(*(a + b for a, b in zip(self, other, strict=True)))

    def minus(self, other: Energies) -> Energies:
        return Energies(*(a - b for a, b in zip(self, other, strict=True)))

    def times(self, factor: float) -> Energies:
        return Energies(*(a * factor for a in self))


class Curve:
    """A load over time, periodic or held at its ends.

    `vertices` ascend in `at_ms`, counted from `origin_ms` (UTC). With `period_ms` they cover [0, period_ms] and repeat
    for ever, backwards too; without it the first and last powers are held. Raises ValueError on anything else.
    """

    def __init__(self, vertices: Iterable[Vertex], *, origin_ms: Ms = 0, period_ms: Ms | None = None) -> None:
        corners = _split_at_zero(list(vertices))
        if not corners:
            raise ValueError("a load needs at least one vertex")
        if any(b.at_ms < a.at_ms for a, b in pairwise(corners)):
            raise ValueError("the times of a load must ascend")
        if period_ms is not None and (corners[0].at_ms != 0 or corners[-1].at_ms != period_ms):
            raise ValueError(f"a periodic load must cover 0 to {period_ms} ms")
        self._vertices = corners
        self._times = [v.at_ms for v in corners]
        self._origin_ms = origin_ms
        self._period_ms = period_ms
        so_far = Energies()
        self._before = [so_far]
        for a, b in pairwise(corners):
            so_far = so_far.plus(_energy(a, b))
            self._before.append(so_far)

    def at(self, utc_ms: float) -> Power:
        """P and Q at an instant; at a step, the power after it."""
        corner, _ = self._corner(self._place(utc_ms)[1])
        return Power(corner.p_w, corner.q_var)

    def energies(self, utc_ms: float) -> Energies:
        """What flowed since the first vertex (negative before it): only differences mean something."""
        rounds, at_ms = self._place(utc_ms)
        corner, index = self._corner(at_ms)
        if index < 0:  # before the first vertex its power is held
            first = self._vertices[0]
            return _energy(corner, first).times(-1.0)
        part = self._before[index].plus(_energy(self._vertices[index], corner))
        return part if rounds == 0 else self._before[-1].times(rounds).plus(part)

    def _place(self, utc_ms: float) -> tuple[int, float]:
        at_ms = utc_ms - self._origin_ms
        if self._period_ms is None:
            return 0, at_ms
        rounds, rest = divmod(at_ms, self._period_ms)
        return int(rounds), rest

    def _corner(self, at_ms: float) -> tuple[Vertex, int]:
        """The vertex that would stand at `at_ms`, and the index of the one at or before it (-1: before the first)."""
        index = bisect_right(self._times, at_ms) - 1
        if index < 0:
            return self._vertices[0]._replace(at_ms=at_ms), -1
        a = self._vertices[index]
        if index == len(self._vertices) - 1:
            return a._replace(at_ms=at_ms), index
        b = self._vertices[index + 1]
        x = (at_ms - a.at_ms) / (b.at_ms - a.at_ms)
        return Vertex(at_ms, a.p_w + (b.p_w - a.p_w) * x, a.q_var + (b.q_var - a.q_var) * x), index


def constant(p_w: float, pf: float, *, origin_ms: Ms = 0) -> Curve:
    return Curve([Vertex(0, p_w, reactive(p_w, pf))], origin_ms=origin_ms)


def steps(levels: Sequence[tuple[Ms, float, float]], *, origin_ms: Ms = 0) -> Curve:
    """Each level is (at_ms, p_w, pf) and holds until the next."""
    vertices: list[Vertex] = []
    for at_ms, p_w, pf in levels:
        if vertices:
            vertices.append(vertices[-1]._replace(at_ms=at_ms))
        vertices.append(Vertex(at_ms, p_w, reactive(p_w, pf)))
    return Curve(vertices, origin_ms=origin_ms)


# Hours of the day against distance from the peak (0) to the night (1): three shifts, the morning's peak after the
# 06:00 shift has warmed up, a lunch dip, a lower afternoon.
_FACTORY_DAY = (
    (0.0, 0.88), (3.0, 1.0), (5.5, 0.95), (6.5, 0.62), (8.0, 0.45), (9.0, 0.0), (11.5, 0.0), (12.5, 0.52),
    (14.0, 0.36), (17.0, 0.36), (18.5, 0.58), (22.0, 0.80), (24.0, 0.88),
)  # fmt: skip


def factory_day(*, peak_w: float, mean_w: float, pf: float, midnight_ms: Ms) -> Curve:
    """A day of 24 h production that holds `peak_w` from 09:00 to 11:30 and whose mean is exactly `mean_w`.

    `midnight_ms` is any local midnight: near the scenario's start, so that float64 keeps micro-watt-hours.
    The worked example: 220 kW, 160 kW, power factor 0.85. Raises ValueError where the two leave no day to draw (the
    night would fall below zero).
    """
    vertices_a_day = 24 * 60
    distance = [_smooth(_FACTORY_DAY, minute / 60) for minute in range(vertices_a_day + 1)]
    mean_distance = math.fsum((a + b) / 2 for a, b in pairwise(distance)) / vertices_a_day
    swing_w = (peak_w - mean_w) / mean_distance
    if not 0 <= swing_w <= peak_w:
        raise ValueError(f"no factory day has a peak of {peak_w} W and a mean of {mean_w} W")
    vertices = []
    for minute, d in enumerate(distance):
        p_w = peak_w - swing_w * d
        vertices.append(Vertex(minute * 60_000, p_w, reactive(p_w, pf)))
    return Curve(vertices, origin_ms=midnight_ms, period_ms=DAY_MS)


def from_csv(text: str, *, start_ms: Ms, midnight_ms: Ms, pf: float, hold: bool, p_scale: float = 1.0) -> Curve:
    """A load from a table with the columns `time`, `p_kw` and, if it has them, `q_kvar` or `pf`.

    `time` is "HH:MM" (the day repeats), seconds from the scenario's start, or an ISO instant with its offset; one kind
    a table. `hold`: each row holds until the next, as interval values do; else straight lines between rows.
    """
    rows = list(csv.DictReader(io.StringIO(text)))
    if not rows or "time" not in rows[0] or "p_kw" not in rows[0]:
        raise ValueError("a load table needs the columns time and p_kw")
    daily = ":" in rows[0]["time"] and "-" not in rows[0]["time"]
    vertices: list[Vertex] = []
    for row in rows:
        p_w = float(row["p_kw"]) * 1000 * p_scale
        if row.get("q_kvar"):
            q_var = float(row["q_kvar"]) * 1000 * p_scale
        else:
            q_var = reactive(p_w, float(row.get("pf") or pf))
        vertex = Vertex(_csv_time(row["time"], daily=daily, start_ms=start_ms), p_w, q_var)
        if hold and vertices:
            vertices.append(vertices[-1]._replace(at_ms=vertex.at_ms))
        vertices.append(vertex)
    if not daily:
        return Curve(vertices)
    if vertices[-1].at_ms < DAY_MS:  # the last row runs into the first of the next day
        vertices.append((vertices[-1] if hold else vertices[0])._replace(at_ms=DAY_MS))
    return Curve(vertices, origin_ms=midnight_ms, period_ms=DAY_MS)


def reactive(p_w: float, pf: float) -> float:
    """Q at a power factor; a negative one is leading (capacitive)."""
    if not 0 < abs(pf) <= 1:
        raise ValueError(f"a power factor lies in (0, 1] or, leading, in [-1, 0): {pf}")
    return math.copysign(abs(p_w) * math.tan(math.acos(abs(pf))), pf)


def _csv_time(text: str, *, daily: bool, start_ms: Ms) -> float:
    if daily:
        hours, minutes = text.split(":")[:2]
        return (int(hours) * 60 + int(minutes)) * 60_000.0
    if "-" in text[1:]:
        return float(to_ms(datetime.fromisoformat(text)))
    return start_ms + float(text) * 1000


def _smooth(table: Sequence[tuple[float, float]], hour: float) -> float:
    """Between two rows of the table along half a cosine: flat at both ends, so the day has no corners."""
    index = min(bisect_right([h for h, _ in table], hour) - 1, len(table) - 2)
    (h0, d0), (h1, d1) = table[index], table[index + 1]
    return d0 + (d1 - d0) * (1 - math.cos(math.pi * (hour - h0) / (h1 - h0))) / 2


def _split_at_zero(vertices: list[Vertex]) -> list[Vertex]:
    """Put a vertex where P or Q changes sign: each register counts one direction only."""
    out: list[Vertex] = vertices[:1]
    for a, b in pairwise(vertices):
        crossings = sorted({u / (u - v) for u, v in ((a.p_w, b.p_w), (a.q_var, b.q_var)) if u * v < 0})
        for x in crossings:
            p_w = a.p_w + (b.p_w - a.p_w) * x
            q_var = a.q_var + (b.q_var - a.q_var) * x
            out.append(
                Vertex(
                    a.at_ms + (b.at_ms - a.at_ms) * x,
                    0.0 if abs(p_w) < 1e-9 * abs(a.p_w) else p_w,  # rounding must not leave a hair on the other side
                    0.0 if abs(q_var) < 1e-9 * abs(a.q_var) else q_var,
                )
            )
        out.append(b)
    return out


def _energy(a: Vertex, b: Vertex) -> Energies:
    """What flows from `a` to `b` along the straight line, P and Q of one sign each."""
    hours = (b.at_ms - a.at_ms) / MS_PER_H
    if hours == 0:
        return Energies()
    p_wh = (a.p_w + b.p_w) / 2 * hours
    q_varh = (a.q_var + b.q_var) / 2 * hours
    return Energies(max(p_wh, 0.0), max(-p_wh, 0.0), max(q_varh, 0.0), max(-q_varh, 0.0), _apparent(a, b) * hours)


def _apparent(a: Vertex, b: Vertex) -> float:
    """Mean of S along the line: exact where the power factor is constant, Simpson's rule where it is not."""
    s_a, s_b = math.hypot(a.p_w, a.q_var), math.hypot(b.p_w, b.q_var)
    if abs(a.p_w * b.q_var - b.p_w * a.q_var) <= 1e-12 * s_a * s_b:
        return (s_a + s_b) / 2
    total = s_a + s_b
    for i in range(1, _SIMPSON_PANELS):
        x = i / _SIMPSON_PANELS
        s = math.hypot(a.p_w + (b.p_w - a.p_w) * x, a.q_var + (b.q_var - a.q_var) * x)
        total += s * (4 if i % 2 else 2)
    return total / (3 * _SIMPSON_PANELS)
