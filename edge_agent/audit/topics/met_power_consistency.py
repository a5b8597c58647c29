"""有功功率与电压电流相位不符（疑似错接线）: is the power a meter shows what its voltages, currents and cos phi make?

One element lost takes a balanced load to 2/3, one current transformer reversed to 1/3, two to -1/3; which of them is
nearest is named, with the phases where that can be told. Where generation is declared a phase may export, and only
sizes are compared. Distorted currents make a small difference by themselves, hence the two levels. For 3p3w it cannot
be said: the elements do not see the phases.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from math import hypot
from typing import Any

from edge_agent.audit.phases import CURRENT, FACTOR, POWER, REACTIVE, VOLTAGE, End, Seen
from edge_agent.audit.sampled import BETWEEN, BREACH, CLEAR, Ask, Said, judge_rounds
from edge_agent.audit.topic import AuditTopic, Release, Site, Verdict
from edge_agent.load.methods.phases import Pattern, PhasePower, PhaseRule, consistency
from edge_agent.load.views import LoadView
from edge_agent.model import Quantity

Values = Mapping[Quantity, float]


def examine(view: LoadView, site: Site, release: Release) -> Iterator[Verdict]:
    yield from judge_rounds(
        view, site, _ask(release), measure=lambda seen, place: _measure(seen, release), whole=True
    )  # fmt: skip


def _ask(release: Release) -> Callable[[Seen], Ask]:
    params, above, below = release.params, release.levels[0].above, release.clear.below
    off, least_pf, silent, spread_ms = (
        params["tolerance"], params["least_pf"], params["silent_share"], params["spread_s"] * 1000,
    )  # fmt: skip

    def ask(seen: Seen) -> Ask:
        asked = seen.asked
        if not (seen.has_u and seen.has_i) or not _tells(asked):
            return None
        if seen.ratings.wiring == "3p3w":
            return "wiring_3p3w"
        if seen.round.spread_ms > spread_ms:
            return "not_at_once"
        amps = seen.amps(params)
        if amps is None:
            return "rating_unknown"
        places, signed, least_a = seen.places, seen.ratings.generation, params["loaded"] * amps[0]

        def look(end: End) -> list[Said]:
            values = end.values
            shown, whole, mute = values.get(Quantity.ACTIVE_POWER), 0.0, 0.0
            summed: float | None = 0.0
            for place, i in zip(places, end.i, strict=True):
                u, cos, p = values.get(VOLTAGE[place]), _cos_phi(values, place), values.get(POWER[place])
                if u is None or i is None or cos is None:
                    return ["no_power"]
                watts = u * i * cos
                if i <= least_a or cos <= least_pf:
                    mute += watts
                whole += -watts if signed and p is not None and p < 0 else watts
                summed = None if summed is None or p is None else summed + p
            shown = summed if shown is None else shown
            if shown is None:
                return ["no_power"]
            if abs(whole) < 1.0 or mute > silent * abs(whole):
                return [(BETWEEN, 0.0, 1.0)]
            apart = abs(shown / whole - 1)
            low, high = apart - off, apart + off
            return [(BREACH if low > above else CLEAR if high < below else BETWEEN, low, high)]

        return look

    return ask


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


def _measure(seen: Seen, release: Release) -> dict[str, Any]:
    """The ratio of the whole and of each phase, and what wiring would look like it."""
    out, values, params = seen.measured(), seen.now.values, release.params
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
