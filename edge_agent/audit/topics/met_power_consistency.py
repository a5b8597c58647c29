"""有功功率与电压电流相位不符（疑似错接线）: is the power a meter shows what its voltages, currents and cos phi make?

One element lost takes a balanced load to 2/3, one current transformer reversed to 1/3, two to -1/3; which of them is
nearest is named, with the phases where that can be told. Where generation is declared a phase may export, and only
sizes are compared. Where none is declared, power that flows out may be a reversed transformer or generation that nobody
declared: of single phases it is told in the dark hours, when the sun makes nothing; of all it cannot be said here.
Distorted currents make a small difference by themselves, hence the two levels. For 3p3w it cannot be said: the elements
do not see the phases.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import hypot
from typing import Any

from edge_agent.audit.phases import CURRENT, FACTOR, POWER, REACTIVE, VOLTAGE, Seen, seen_in
from edge_agent.audit.sampled import BETWEEN, BREACH, UNKNOWN
from edge_agent.audit.topic import AuditTopic, Release, Site, Verdict
from edge_agent.load.methods.phases import Pattern, PhasePower, PhaseRule, consistency
from edge_agent.load.views import LoadView
from edge_agent.model import Quantity

Values = Mapping[Quantity, float]
BESIDE = (*VOLTAGE, *CURRENT, *FACTOR, *REACTIVE, Quantity.POWER_FACTOR)


def examine(view: LoadView, site: Site, release: Release) -> Iterator[Verdict]:
    for seen in seen_in(view, site):
        if not (seen.places and seen.has_u and seen.has_i and _tells(seen.asked)):
            continue
        values = _of_one_moment(seen, release.params["spread_s"] * 1000)
        if values is not None:
            yield _judge(seen, values, release, _is_dark(seen, site, release))


def _of_one_moment(seen: Seen, spread_ms: float) -> Values | str | None:
    """What belongs together; None: nothing new to compare; a reason where it was read too far apart.

    A meter may be asked for powers more often than for the rest, and just before it: then the rest belongs to the
    powers of the round before.
    """
    each, now = seen.round, seen.now.values
    if each.stale and not each.stale.isdisjoint((*VOLTAGE, *CURRENT)):
        return None
    times = [each.read_ms[q] for q in BESIDE if q in each.read_ms and q not in each.stale]
    first_ms, last_ms = (min(times), max(times)) if times else (seen.end_ms, seen.end_ms)
    if max(seen.end_ms, last_ms) - min(first_ms, seen.end_ms - each.spread_ms) <= spread_ms:
        return now
    if seen.start_ms < seen.end_ms and max(last_ms, seen.start_ms) - min(first_ms, seen.start_ms) <= spread_ms:
        before = seen.before.values
        return {q: v for q, v in now.items() if q not in _POWERS} | {q: before[q] for q in _POWERS if q in before}
    return "not_at_once"


_POWERS = frozenset((*POWER, *REACTIVE, Quantity.ACTIVE_POWER))


def _is_dark(seen: Seen, site: Site, release: Release) -> bool:
    """Whether generation by the sun is out of the question; clock changes shift it by their hour."""
    first, last = release.params["dark_hours"]
    hour = (seen.end_ms - site.day_span(seen.point, seen.end_ms).start_ms) / 3_600_000
    return bool(hour >= first or hour < last)


def _judge(seen: Seen, values: Values | str, release: Release, dark: bool) -> Verdict:
    """One moment: it is the release that asks for several, and for how long."""
    compared = values if isinstance(values, str) else _apart(seen, values, release, dark)
    if isinstance(compared, str):
        return Verdict(seen.point, UNKNOWN, seen.start_ms, seen.end_ms, block=False, reason=compared)
    if compared is None:
        return Verdict(seen.point, BETWEEN, seen.start_ms, seen.end_ms, 0.0, 1.0, block=False)
    off = release.params["tolerance"]
    low, high = compared - off, compared + off
    if low <= release.levels[0].above:
        if high < release.clear.below:
            return seen.clear
        return Verdict(seen.point, BETWEEN, seen.start_ms, seen.end_ms, low, high, block=False)
    return Verdict(
        seen.point, BREACH, seen.start_ms, seen.end_ms, low, high, decided_ms=seen.end_ms, confirmed=True, block=False,
        sampled=True, measured=_measure(seen, values, release) if not isinstance(values, str) else {},
        facts=seen.facts(),
    )  # fmt: skip


def _apart(seen: Seen, values: Values, release: Release, dark: bool) -> float | str | None:
    """How far the power shown is from what the rest makes, as a share of that; None: too little flows to tell."""
    params = release.params
    if seen.ratings.wiring == "3p3w":
        return "wiring_3p3w"
    amps = seen.amps(params)
    if amps is None:
        return "rating_unknown"
    least_a, least_pf, signed = params["loaded"] * amps[0], params["least_pf"], seen.ratings.generation
    shown, whole, mute, outward = values.get(Quantity.ACTIVE_POWER), 0.0, 0.0, 0.0
    summed: float | None = 0.0
    for place in seen.places:
        u, i = values.get(VOLTAGE[place]), values.get(CURRENT[place])
        cos, p = _cos_phi(values, place), values.get(POWER[place])
        if u is None or i is None or cos is None:
            return "no_power"
        watts = u * abs(i) * cos
        if abs(i) <= least_a or cos <= least_pf:
            mute += watts
        outward += watts if p is not None and p < 0 else 0.0
        whole += -watts if signed and p is not None and p < 0 else watts
        summed = None if summed is None or p is None else summed + p
    shown = summed if shown is None else shown
    if shown is None:
        return "no_power"
    if abs(whole) < 1.0 or mute > params["silent_share"] * abs(whole):
        return None
    near = (release.levels[0].above + params["tolerance"]) * whole
    parts = None if summed is None else outward
    if not signed and _may_be_generation(shown, whole, parts, near, dark=dark, alone=len(seen.places) == 1):
        return "may_be_generation"
    return abs(shown / whole - 1)


def _may_be_generation(
    shown: float, whole: float, outward: float | None, near: float, *, dark: bool, alone: bool
) -> bool:
    """Whether power that flows out explains all of the difference, W. `outward` None: no powers of phases."""
    if outward is None:
        return abs(shown + whole) <= near or (not dark and not alone and shown < whole - near)
    if outward <= 0.0 or abs(shown - (whole - 2 * outward)) > near:
        return False
    return not dark or whole - outward <= near


def _tells(asked: frozenset[Quantity]) -> bool:
    """Whether the meter shows a power, and a cos phi beside it."""
    power = Quantity.ACTIVE_POWER in asked or POWER[0] in asked
    return power and (
        FACTOR[0] in asked or Quantity.POWER_FACTOR in asked or (POWER[0] in asked and REACTIVE[0] in asked)
    )


def _cos_phi(values: Values, place: int) -> float | None:
    """The phase's own, else that of its powers, else the total's; without its sign."""
    own = values.get(FACTOR[place])
    if own is not None:
        return abs(own)
    p, q = values.get(POWER[place]), values.get(REACTIVE[place])
    if p is not None and q is not None:
        return abs(p) / s if (s := hypot(p, q)) > 0 else 0.0
    total = values.get(Quantity.POWER_FACTOR)
    return None if total is None else abs(total)


def _measure(seen: Seen, values: Values, release: Release) -> dict[str, Any]:
    """The ratio of the whole and of each phase, and what wiring would look like it."""
    out, params = seen.measured(), release.params
    out |= {f"{q.value}_w": round(values[q], 3) for q in (*POWER, Quantity.ACTIVE_POWER) if q in values}
    amps = seen.amps(params)
    found = consistency(
        [values.get(q) for q in VOLTAGE], [values.get(q) for q in CURRENT],
        [_cos_phi(values, place) for place in range(3)], [values.get(q) for q in POWER], _shown(values),
        rated_a=None if amps is None else amps[0],
        rule=PhaseRule(
            release.levels[0].above, params["loaded"], params["least_pf"], params["pattern_within"],
            params["silent_share"],
        ),
    )  # fmt: skip
    if isinstance(found, PhasePower):
        pattern, at = _by_phases(found, params["pattern_within"]) or (found.pattern, found.at)
        out |= {"ratio": round(found.total, 4), "pattern": pattern.value}
        out |= {f"ratio_l{n + 1}": round(r, 4) for n, r in enumerate(found.phases) if r is not None}
        if at:
            out["at"] = ", ".join(at)
    else:
        out |= {"pattern": "none", "ratio": round(_ratio(values, seen), 4)}
    return out


def _by_phases(found: PhasePower, within: float) -> tuple[Pattern, tuple[str, ...]] | None:
    """Where every phase shows its own power, they say which is lost or reversed; None: they do not say."""
    near = [None if r is None else next((n for n in (1, 0, -1) if abs(r - n) <= within), None) for r in found.phases]
    if None in near:
        return None
    pattern = _PATTERN.get((near.count(0), near.count(-1)))
    return None if pattern is None else (pattern, tuple(f"L{k + 1}" for k, n in enumerate(near) if n != 1))


_PATTERN = {
    (1, 0): Pattern.ONE_LOST,
    (0, 1): Pattern.ONE_REVERSED,
    (0, 2): Pattern.TWO_REVERSED,
    (0, 3): Pattern.ALL_REVERSED,
}
"""By how many phases are lost, and how many reversed."""


def _shown(values: Values) -> float:
    total = values.get(Quantity.ACTIVE_POWER)
    return sum(values.get(q, 0.0) for q in POWER) if total is None else total


def _ratio(values: Values, seen: Seen) -> float:
    whole = sum(
        values[VOLTAGE[place]] * abs(values[CURRENT[place]]) * (_cos_phi(values, place) or 0.0)
        for place in seen.places
    )  # fmt: skip
    return _shown(values) / whole if whole else 0.0


TOPIC = AuditTopic(
    "met-power-consistency", examine, needs=("voltage", "current", "active_power"), blinded_by=("dat-implausible",)
)
