"""What a point's meter showed at both ends of a round, phase by phase, against what the metering is made for.

Worked out once for all topics that ask about it. Voltages are shares of the rated one. In 3p3w the two elements stand
for phases 1 and 3 and see line voltages; a meter there that shows voltages to an artificial neutral is told by their
size. A direct meter has no rated current in the archive: what counts as "a current" is measured against its maximum
current, what counts as "none" against the smallest basic current that such a meter has, so neither accuses too soon.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

from edge_agent.audit.topic import Answer, Site, Verdict
from edge_agent.load.views import LoadView, Role, Round
from edge_agent.model import Fact, Ms, PointId, Quantity, Ratings

VOLTAGE = (Quantity.VOLTAGE_L1, Quantity.VOLTAGE_L2, Quantity.VOLTAGE_L3)
LINE = (Quantity.VOLTAGE_L12, Quantity.VOLTAGE_L23, Quantity.VOLTAGE_L31)
CURRENT = (Quantity.CURRENT_L1, Quantity.CURRENT_L2, Quantity.CURRENT_L3)
POWER = (Quantity.ACTIVE_POWER_L1, Quantity.ACTIVE_POWER_L2, Quantity.ACTIVE_POWER_L3)
REACTIVE = (Quantity.REACTIVE_POWER_L1, Quantity.REACTIVE_POWER_L2, Quantity.REACTIVE_POWER_L3)
FACTOR = (Quantity.POWER_FACTOR_L1, Quantity.POWER_FACTOR_L2, Quantity.POWER_FACTOR_L3)
_WATCHED = frozenset((*VOLTAGE, *LINE, *CURRENT, *POWER, Quantity.ACTIVE_POWER))

LINE_FROM = 0.8
"""In 3p3w: a voltage above this share of the rated line voltage is one between lines, for the other is 0.58 of it."""

_PLACES = {"1p2w": (0,), "3p4w": (0, 1, 2), "3p3w": (0, 2)}


Row = tuple[float | None, ...]


class End(NamedTuple):
    """One end of a round: an entry for each phase of the point, None where the meter gave none."""

    u: Row  # share of the rated voltage
    i: Row  # A, without the sign that some meters give it
    values: Mapping[Quantity, float]  # as they were read


@dataclass(slots=True)
class Seen:
    """A round of a point's meter: the phases that it is asked for.

    `least_u` and the others are over all phases and both ends, None where one did not come: by these alone most rounds
    of most points are in order. `has_u`, `has_i`: the meter is asked for voltages, for currents; `fresh`: they and the
    powers of `now` were just read.
    """

    point: PointId
    start_ms: Ms
    end_ms: Ms
    phases: tuple[int, ...]
    places: tuple[int, ...]  # where they stand among L1, L2, L3
    before: End
    now: End
    has_u: bool
    has_i: bool
    asked: frozenset[Quantity]
    fresh: bool
    ratings: Ratings
    round: Round
    least_u: float | None
    most_u: float | None
    least_i: float | None
    most_i: float | None
    _clear: Verdict | None = None

    @property
    def clear(self) -> Verdict:
        """That all of it is in order: the same for every topic that says so."""
        if self._clear is None:
            self._clear = Verdict(self.point, Answer.CLEAR, self.start_ms, self.end_ms, block=False, key="*")
        return self._clear

    @property
    def confirmed(self) -> bool:
        """Two readings of their own show it: one at each end."""
        return self.fresh and self.start_ms < self.end_ms

    def amps(self, params: Mapping[str, Any]) -> tuple[float, float] | None:
        """What "a current" and "no current" are measured against, A; None: the archive does not know."""
        if self.ratings.i_rated_a is not None:
            return self.ratings.i_rated_a, self.ratings.i_rated_a
        most = self.ratings.i_max_a
        return None if most is None else (most, most * float(params["basic_of_max"]))

    def facts(self) -> tuple[Fact, ...]:
        """What voltages and currents rest on."""
        return self.ratings.facts

    def voltage_facts(self) -> tuple[Fact, ...]:
        """What a share of the rated voltage rests on: the voltage transformers, where there are any."""
        return tuple(f for f in self.ratings.facts if f.name == "vt")

    def measured(self, place: int | None = None) -> dict[str, Any]:
        """Voltages, currents and powers as they were read, and the phase that is meant."""
        out: dict[str, Any] = {} if place is None else {"phase": f"L{self.phases[place]}"}
        now = self.round.now
        for quantities, unit in ((VOLTAGE, "v"), (LINE, "v"), (CURRENT, "a"), (POWER, "w")):
            out |= {f"{q.value}_{unit}": round(now[q], 3) for q in quantities if q in now}
        if place is not None and (share := self.now.u[place]) is not None:
            out["voltage_share"] = round(share, 4)
        return out


def seen_in(view: LoadView, site: Site) -> Sequence[Seen]:
    """The rounds of the meters that bill, each once for a view."""
    found: Sequence[Seen] | None = view.worked.get("phases")
    if found is None:
        found = view.worked["phases"] = [_seen(r, site) for r in view.rounds if r.role is Role.METER]
    return found


def _seen(round_: Round, site: Site) -> Seen:
    ratings = site.ratings(round_.point, round_.end_ms)
    asked = round_.asked or frozenset(round_.now.keys() | round_.before.keys())
    places, phases, has_u, has_i = _layout(ratings.wiring, asked)
    read = _line_end if ratings.wiring == "3p3w" else _end
    now = read(round_.now, places, ratings)
    before = now if round_.before is round_.now else read(round_.before, places, ratings)
    stale = round_.stale
    return Seen(
        round_.point, round_.start_ms, round_.end_ms, phases, places, before, now, has_u, has_i, asked,
        not stale or stale.isdisjoint(_WATCHED), ratings, round_, *_range(before.u, now.u), *_range(before.i, now.i),
    )  # fmt: skip


def _range(before: Row, now: Row) -> tuple[float | None, float | None]:
    known = [v for v in now if v is not None]
    if before is not now:
        known += [v for v in before if v is not None]
    if not known or len(known) < (len(now) if before is now else 2 * len(now)):
        return None, None
    return min(known), max(known)


@lru_cache(maxsize=256)
def _layout(wiring: str, asked: frozenset[Quantity]) -> tuple[tuple[int, ...], tuple[int, ...], bool, bool]:
    """The places of the phases that a meter so wired is asked for, their numbers, and what of them."""
    lines = LINE[0] in asked and wiring == "3p3w"
    places = tuple(p for p in _PLACES[wiring] if lines or VOLTAGE[p] in asked or CURRENT[p] in asked)
    has_u = bool(places) and (lines or all(VOLTAGE[p] in asked for p in places))
    return places, tuple(p + 1 for p in places), has_u, bool(places) and all(CURRENT[p] in asked for p in places)


def _end(values: Mapping[Quantity, float], places: Sequence[int], ratings: Ratings) -> End:
    rated = ratings.u_phase_v
    get = values.get
    u = tuple([None if (v := get(VOLTAGE[p])) is None else v / rated for p in places])
    return End(u, tuple([None if (v := get(CURRENT[p])) is None else abs(v) for p in places]), values)


def _line_end(values: Mapping[Quantity, float], places: Sequence[int], ratings: Ratings) -> End:
    i = tuple([None if (v := values.get(CURRENT[p])) is None else abs(v) for p in places])
    between = values.get(LINE[0]), values.get(LINE[1])
    if None in between:
        between = values.get(VOLTAGE[0]), values.get(VOLTAGE[2])
    largest = max((v for v in between if v is not None), default=0.0)
    rated = ratings.u_line_v
    if values.get(LINE[0]) is None and largest < LINE_FROM * rated:
        rated /= 3**0.5
    return End(tuple([None if v is None else v / rated for v in between])[: len(places)], i, values)
