"""Hot spot and ageing of an oil-filled distribution transformer: IEC 60076-7:2018 (GB/T 1094.7), exponential form, with
the equations of domain rule 2.9.

Each part goes towards what it would reach at this load, by its own time constant: exact for a load that is constant
over the step, and stable for steps of any length (the difference form of the standard diverges above 16 min). What is
not known of the load is carried along: three temperatures, for the least load, the best known one, and the largest.
°C and K; load as a share of the rated power; minutes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from math import exp, isfinite
from typing import Any

import msgspec
from msgspec.structs import replace

from edge_agent.load.answers import CannotSay, Figure, Why
from edge_agent.load.methods.given import column, sane
from edge_agent.load.views import Band


class Paper(StrEnum):
    """Insulation, by which it ages."""

    NORMAL = "normal"
    UPGRADED = "upgraded"


@dataclass(frozen=True, slots=True)
class Transformer:
    """Constants of a transformer, from its nameplate or a release; none is built in.

    `oil_rise_k`: top-oil rise over ambient at rated load; `gradient_k`: hot spot over top oil; `loss_ratio`: load loss
    by no-load loss (R); exponents x, y; k11, k21, k22; time constants of oil and winding, minutes.
    """

    oil_rise_k: float
    gradient_k: float
    loss_ratio: float
    x: float
    y: float
    k11: float
    k21: float
    k22: float
    oil_min: float
    winding_min: float
    paper: Paper
    most_load: float  # share of the rated power that is assumed where nothing bounds the load


LARGEST_LOAD, COLDEST_C, WARMEST_C = 10.0, -100.0, 100.0
"""No transformer and no air is beyond these: what is, is a wrong value."""

ONAN_DISTRIBUTION = {
    "oil_rise_k": 55.0, "gradient_k": 23.0, "loss_ratio": 5.0, "x": 0.8, "y": 1.6, "k11": 1.0, "k21": 1.0, "k22": 2.0,
    "oil_min": 180.0, "winding_min": 4.0,
}  # fmt: skip
"""The standard's constants of small oil-filled transformers, as data: IEC 60076-7:2018 table 4 [V]; rises and R such
that rated load at 20 °C is 98 °C [M, consistent with itself]."""


class HotSpotTrack(msgspec.Struct, frozen=True):
    """Temperatures for the least, the best known and the largest load, in this order; ageing in hours at 98 °C."""

    archive: str = ""
    oil: tuple[float, ...] = ()
    rise_1: tuple[float, ...] = ()
    rise_2: tuple[float, ...] = ()
    rate: tuple[float, ...] = ()  # ageing at the end of the last step
    load: float = 0.0
    aged_h: tuple[float, ...] = (0.0, 0.0, 0.0)
    hours: float = 0.0
    seen_h: float = 0.0
    ambient_assumed: bool = False


class HotSpot(msgspec.Struct, frozen=True):
    """`ageing`: relative rate now; `aged_h`: hours of life used since the track began, by `hours` that passed."""

    oil_c: Figure
    hot_spot_c: Figure
    ageing: Figure
    aged_h: Figure
    hours: float
    ambient_assumed: bool


def begin(load: Band, ambient_c: float, transformer: Transformer, *, archive: str = "") -> HotSpotTrack | CannotSay:
    """Nobody knows how warm it is: anything between standing idle and the largest load for long."""
    if not isfinite(ambient_c):
        return CannotSay(Why.NOT_A_NUMBER, "ambient_c")
    if not COLDEST_C <= ambient_c <= WARMEST_C:
        return CannotSay(Why.NOT_POSSIBLE, "ambient_c", ambient_c)
    _, value, _ = _bounded(load, 0.0, transformer)
    targets = [_targets(k, ambient_c, transformer) for k in (0.0, value, transformer.most_load)]
    rates = tuple(_ageing(o + a - b, transformer.paper) for o, a, b in targets)
    oil, rise_1, rise_2 = (tuple(t[i] for t in targets) for i in range(3))
    return HotSpotTrack(archive, oil, rise_1, rise_2, rates, value)


def step(
    track: HotSpotTrack, load: Band, ambient_c: float, minutes: float, transformer: Transformer, *,
    archive: str = "", ambient_assumed: bool = False,
) -> HotSpotTrack | CannotSay:  # fmt: skip
    """`minutes` at this load; what is no number in it is unknown: `low` nothing, `high` the most that can be."""
    if not (sane(minutes) and minutes > 0):
        return CannotSay(Why.NOT_POSSIBLE, "minutes", minutes)
    if not isfinite(ambient_c):
        return CannotSay(Why.NOT_A_NUMBER, "ambient_c")
    if not COLDEST_C <= ambient_c <= WARMEST_C:
        return CannotSay(Why.NOT_POSSIBLE, "ambient_c", ambient_c)
    if len(track.oil) != 3 or track.archive != archive:
        begun = begin(load, ambient_c, transformer, archive=archive)
        if isinstance(begun, CannotSay):
            return begun
        track = begun
    t = transformer
    stays = _stays(minutes, t)
    loads = _bounded(load, track.load, t)
    to, of = (0.0, 0.0, 0.0), -1.0
    oil, rise_1, rise_2, rates, aged = [], [], [], [], []
    for n, k in enumerate(loads):
        if k != of:
            to, of = _targets(k, ambient_c, t), k
        oil.append(to[0] + (track.oil[n] - to[0]) * stays[0])
        rise_1.append(to[1] + (track.rise_1[n] - to[1]) * stays[1])
        rise_2.append(to[2] + (track.rise_2[n] - to[2]) * stays[2])
        rates.append(_ageing(oil[n] + rise_1[n] - rise_2[n], t.paper))
        # Sum of V dt with V at the step's end; the bounds take the cooler and the warmer of both ends.
        rate = (min, _last, max)[n](track.rate[n], rates[n])
        aged.append(track.aged_h[n] + rate * minutes / 60)
    hours = minutes / 60
    return HotSpotTrack(
        archive, tuple(oil), tuple(rise_1), tuple(rise_2), tuple(rates), loads[1], tuple(aged), track.hours + hours,
        track.seen_h + (hours if isfinite(load.value) else 0.0), track.ambient_assumed or ambient_assumed,
    )  # fmt: skip


def run(
    track: HotSpotTrack, loads: Sequence[Any], ambients_c: Sequence[Any], minutes: float, transformer: Transformer
) -> tuple[HotSpotTrack, list[float]] | CannotSay:
    """Many steps of known loads: the last track, and the hot spot after each. A missing ambient is the last one."""
    row, air = column(loads, "loads"), column(ambients_c, "ambients_c")
    if isinstance(row, CannotSay):
        return row
    if isinstance(air, CannotSay):
        return air
    if len(row) != len(air):
        return CannotSay(Why.WRONG_SHAPE, "ambients_c", float(len(air)), float(len(row)))
    out: list[float] = []
    ambient = next((float(a) for a in air.tolist() if isfinite(a)), float("nan"))
    for load, outside in zip(row.tolist(), air.tolist(), strict=True):
        ambient = outside if isfinite(outside) else ambient
        made = step(track, Band(load, load, load), ambient, minutes, transformer, archive=track.archive)
        if isinstance(made, CannotSay):
            return made
        track = made
        out.append(track.oil[1] + track.rise_1[1] - track.rise_2[1])
    return track, out


def hot_spot(track: HotSpotTrack) -> HotSpot | CannotSay:
    """Where the temperatures stand."""
    if len(track.oil) != 3:
        return CannotSay(Why.NO_DATA, "load")
    coverage = track.seen_h / track.hours if track.hours else 0.0
    hot = [o + a - b for o, a, b in zip(track.oil, track.rise_1, track.rise_2, strict=True)]
    return HotSpot(
        _figure(track.oil, coverage), _figure(hot, coverage), _figure(track.rate, coverage),
        _figure(track.aged_h, coverage), track.hours, track.ambient_assumed,
    )  # fmt: skip


def steady(load: float, ambient_c: float, transformer: Transformer) -> tuple[float, float, float] | CannotSay:
    """Top oil, hot spot and relative ageing once nothing changes any more."""
    if not (0 <= load <= LARGEST_LOAD and COLDEST_C <= ambient_c <= WARMEST_C):
        return CannotSay(Why.NOT_A_NUMBER, "load")
    oil, rise_1, rise_2 = _targets(load, ambient_c, transformer)
    return oil, oil + rise_1 - rise_2, _ageing(oil + rise_1 - rise_2, transformer.paper)


def new_day(track: HotSpotTrack) -> HotSpotTrack:
    """The temperatures go on; ageing is counted from here."""
    return replace(track, aged_h=(0.0, 0.0, 0.0), hours=0.0, seen_h=0.0, ambient_assumed=False)


# -- inside -----------------------------------------------------------------------------------------------------


@lru_cache(maxsize=64)
def _stays(minutes: float, t: Transformer) -> tuple[float, float, float]:
    """What is left of the distance to where oil and both parts of the winding go, after so long."""
    return (
        exp(-minutes / (t.k11 * t.oil_min)), exp(-minutes / (t.k22 * t.winding_min)), exp(-minutes * t.k22 / t.oil_min)
    )  # fmt: skip


def _targets(load: float, ambient_c: float, t: Transformer) -> tuple[float, float, float]:
    oil = ambient_c + t.oil_rise_k * ((1 + t.loss_ratio * load * load) / (1 + t.loss_ratio)) ** t.x
    gradient = t.gradient_k * load**t.y
    return oil, t.k21 * gradient, (t.k21 - 1) * gradient


def _ageing(hot_spot_c: float, paper: Paper) -> float:
    """Relative ageing rate. Normal paper doubles every 6 K; upgraded by Arrhenius, 110 °C being its normal."""
    if paper is Paper.NORMAL:
        return float(2 ** ((hot_spot_c - 98) / 6))
    return exp(15000 / 383 - 15000 / (hot_spot_c + 273))


def _bounded(load: Band, last: float, t: Transformer) -> tuple[float, float, float]:
    low = min(max(0.0, load.low), LARGEST_LOAD) if isfinite(load.low) else 0.0
    high = min(load.high, LARGEST_LOAD) if isfinite(load.high) else t.most_load
    high = max(low, high)
    value = load.value if isfinite(load.value) else last
    return low, min(max(value, low), high), high


def _figure(row: Sequence[float], coverage: float) -> Figure:
    return Figure(min(row), row[1], max(row), coverage)


def _last(_: float, now: float) -> float:
    return now
