"""An independent current transformer beside the meter: pairs of block means, phase by phase, judged day by day.

Both means are over the same block by the gateway's clock, interpolated at its ends, so that no other clock is asked; a
block counts when both devices were seen for most of it. A day is judged with the pairs of the days before it that still
lie in the window, and only if enough of its own are there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from edge_agent.audit.topic import Release, Site
from edge_agent.load.answers import CannotSay, Why
from edge_agent.load.methods.kept import from_plain, to_plain
from edge_agent.load.methods.side_by_side import PairAnswer, PairRule, PairTrack, add, compare
from edge_agent.load.views import Block, LoadView, Mean, Role
from edge_agent.model import Fact, Ms, PointId, Quantity

CURRENTS = {1: Quantity.CURRENT_L1, 2: Quantity.CURRENT_L2, 3: Quantity.CURRENT_L3}
HOURS = 4
"""A class of hours is so long: shorter ones are too small a share of the pairs to be told apart."""


@dataclass(frozen=True, slots=True)
class Compared:
    """A day of one phase. `mean_a`: what the meter showed on the mean of the pairs."""

    point: PointId
    phase: int
    start_ms: Ms
    end_ms: Ms
    said: PairAnswer | CannotSay
    rated_a: float | None
    mean_a: float
    ct: Fact | None


@dataclass(slots=True)
class Running:
    """The day of a point that runs, moved on pair by pair."""

    day_start: Ms = 0
    day_end: Ms = 0
    taken_to: Ms = 0
    blocks: int = 0
    period_ms: Ms = 1


class SideBySide:
    """The study. A pair waits for its other half as long as a block; what comes twice is passed over."""

    def __init__(self, release: Release) -> None:
        params = release.params
        self._rule = PairRule(**{name: params[name] for name in PairRule.__slots__})
        self._keep, self._class_sum = int(params["keep_pairs"]), float(params["class_sum"])
        self._coverage, self._day_coverage = float(params["least_coverage"]), float(params["least_day_coverage"])
        self._running: dict[PointId, Running] = {}
        self._tracks: dict[tuple[PointId, int], PairTrack] = {}
        self._halves: dict[tuple[PointId, Role], Block] = {}
        self.changed = False

    def feed(self, view: LoadView, site: Site) -> Sequence[Compared]:
        out: list[Compared] = []
        for block in view.blocks:
            other = self._halves.get((block.point, Role.CT if block.role is Role.METER else Role.METER))
            self._halves[block.point, block.role] = block
            if other is not None and other.end_ms == block.end_ms:
                meter, ct = (block, other) if block.role is Role.METER else (other, block)
                self._pair(meter, ct, site, out)
        return out

    def dump(self) -> Mapping[str, Any]:
        return {
            "running": {p: to_plain(r) for p, r in self._running.items()},
            "tracks": [[p, phase, to_plain(t)] for (p, phase), t in self._tracks.items()],
            "halves": [[b.point, b.role.value, b.start_ms, b.end_ms, _currents(b)] for b in self._halves.values()],
        }

    def restore(self, plain: Mapping[str, Any]) -> None:
        for point, kept in plain["running"].items():
            self._running[point] = _made(Running, kept)
        for point, phase, kept in plain["tracks"]:
            self._tracks[point, int(phase)] = _made(PairTrack, kept)
        for point, role, start_ms, end_ms, currents in plain["halves"]:
            means = {Quantity(q): Mean(*map(float, values)) for q, values in currents.items()}
            self._halves[point, Role(role)] = Block(point, Role(role), int(start_ms), int(end_ms), means)

    # -- inside -------------------------------------------------------------------------------------------------

    def _pair(self, meter: Block, ct: Block, site: Site, out: list[Compared]) -> None:
        point, end_ms = meter.point, meter.end_ms
        running = self._running.get(point)
        if running is None:
            running = self._running[point] = Running()
        if end_ms <= running.taken_to:
            return
        if end_ms > running.day_end:
            if running.day_end:
                out += self._judged(point, running, site)
            span = site.day_span(point, end_ms)
            running = self._running[point] = Running(span.start_ms, span.end_ms)
            self.changed = True
        hour = str((end_ms - 1 - running.day_start) // (HOURS * 3_600_000))
        whole, version = False, site.facts_version(point)
        for phase in site.ratings(point, end_ms).phases:
            quantity = CURRENTS[phase]
            if quantity not in meter.means or quantity not in ct.means:
                continue
            x, y = (_amperes(block, quantity, self._coverage) for block in (meter, ct))
            whole |= x is not None and y is not None
            track = self._tracks.get((point, phase), PairTrack())
            self._tracks[point, phase] = add(track, x, y, hour=hour, archive=version, keep_pairs=self._keep)
        running.taken_to, running.period_ms = end_ms, end_ms - meter.start_ms
        running.blocks += whole

    def _judged(self, point: PointId, running: Running, site: Site) -> list[Compared]:
        ratings = site.ratings(point, running.day_end - 1)
        ct = next((f for f in ratings.facts if f.name == "ct"), None)
        expected = (running.day_end - running.day_start) / running.period_ms
        out = []
        for (owner, phase), track in self._tracks.items():
            if owner != point:
                continue
            said: PairAnswer | CannotSay
            if running.blocks < self._day_coverage * expected:
                said = CannotSay(Why.COVERAGE, "pairs", running.blocks / expected, self._day_coverage)
            elif track.archive != site.facts_version(point):
                said = CannotSay(Why.FACT_CHANGED, "archive")
            else:
                said = compare(
                    track.x, track.y, rated_a=ratings.i_rated_a, ratio=None if ct is None else ratio_of(ct),
                    class_sum=self._class_sum, rule=self._rule, hours=track.hours,
                )  # fmt: skip
            known = [x for x in track.x if x is not None]
            mean_a = sum(known) / len(known) if known else 0.0
            out.append(Compared(point, phase, running.day_start, running.day_end, said, ratings.i_rated_a, mean_a, ct))
        return out


def ratio_of(fact: Fact) -> float | None:
    """`"400/5"` -> 80."""
    primary, _, secondary = str(fact.value).partition("/")
    try:
        return float(primary) / float(secondary or 1)
    except (ValueError, ZeroDivisionError):
        return None


def _amperes(block: Block, quantity: Quantity, least_coverage: float) -> float | None:
    """The mean without its sign; None where too little was seen, or where the current changed its direction."""
    mean = block.means[quantity]
    if mean.coverage < least_coverage or mean.least < 0 < mean.most:
        return None
    return abs(mean.value)


def _currents(block: Block) -> dict[str, list[float]]:
    return {q.value: list(block.means[q]) for q in CURRENTS.values() if q in block.means}


def _made(kind: Any, plain: Any) -> Any:
    made = from_plain(kind, plain)
    if made is None:
        raise ValueError("not written by this version")
    return made
