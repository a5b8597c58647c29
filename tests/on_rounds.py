"""What a meter shows of its phases, as a test writes it down: a good day, and in what a moment differs from it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from edge_agent.audit.phases import CURRENT, FACTOR, LINE, POWER, VOLTAGE
from edge_agent.load.views import Block, Claim, LoadView, Mean, Role, Round, Witnessed
from edge_agent.model import EVENTS, Ms, Quantity
from tests.on_paper import MINUTE_MS

VOLTS, AMPS, PF = 230.0, 200.0, 0.9
"""What the factory's meter shows on a good day, per phase: half of the rated current."""

Shown = dict[Quantity, float]

AT_FAULT: dict[str, dict[str, Any]] = {
    "met-volt-loss": {"u2": 12.5},
    "met-curr-loss": {"i3": 0},
    "met-phase-break": {"u1": 0, "i1": 0},
    "met-power-consistency": {"p3": 0},
    "met-reverse": {"p2": -41400},
    "met-unbalance-i": {"i3": 50},
    "met-ct-overrange": {"i1": 500},
    "pq-volt-event": {"u": 160},
    "pq-outage": {"u": 0, "i": 0},
    "pq-volt-deviation": {"u": 200},
    "pq-unbalance-u": {"ul2": 370},
}
"""In what a moment differs in which a topic has something to say."""


def at_fault(topic: str, end_ms: Ms, point: str = "p") -> LoadView:
    """A view in which the topic has something to say about the point."""
    case = {"shape": "lines"} if topic == "pq-unbalance-u" else {}
    now = shown(case, AT_FAULT.get(topic, {}))
    start_ms = end_ms - 15_000
    each = Round(point, "m1", Role.METER, start_ms, end_ms, now, now, frozenset(), 0, asked_of(case))
    block = Block(point, Role.METER, end_ms - 900_000, end_ms, {q: Mean(v, v, v, 1.0) for q, v in now.items()})
    claim = Claim(point, "m1", Role.METER, Quantity.METER_STATUS_7, "0001", end_ms, True)
    return LoadView(end_ms, rounds=[each], blocks=[block], claims=[claim])


def rounds_of(case: Mapping[str, Any], start_ms: Ms) -> Iterator[tuple[Ms, Round | None, list[Witnessed]]]:
    """Each at its time; a round after a gap continues none."""
    every_ms = round(case.get("every_s", 15) * 1000)
    now_ms, last = start_ms - every_ms, None
    for count, changes in case["shows"]:
        now_ms += round(changes.get("gap_s", 0) * 1000)
        says = [word_of(changes, now_ms + every_ms)] if "says" in changes else []
        if not count:
            now_ms += every_ms
            yield now_ms, None, says
        for number in range(count):
            now_ms += every_ms
            now = shown(case, changes)
            follows = last is not None and not (number == 0 and "gap_s" in changes)
            stale = frozenset(q for q in now if any(q.startswith(kind) for kind in changes.get("stale", ())))
            yield (
                now_ms,
                Round(
                    "p", "m1", Role.METER, last.end_ms if follows and last else now_ms, now_ms,
                    last.now if follows and last else now, now, stale, changes.get("spread_s", 0) * 1000,
                    asked_of(case),
                    {q: now_ms - round(0 if q in POWER else changes.get("spread_s", 0) * 1000) for q in now},
                ),
                says if number == 0 else [],
            )  # fmt: skip
            last = Round("p", "m1", Role.METER, now_ms, now_ms, now, now)


ASKED = {
    "": frozenset((*VOLTAGE, *CURRENT, *POWER, *FACTOR, Quantity.ACTIVE_POWER)),
    "total": frozenset((*VOLTAGE, *CURRENT, Quantity.ACTIVE_POWER, Quantity.POWER_FACTOR)),
    "lines": frozenset((*LINE, *CURRENT, Quantity.ACTIVE_POWER)),
    "line": frozenset((*LINE, CURRENT[0], CURRENT[2], Quantity.ACTIVE_POWER)),
    "voltages": frozenset(VOLTAGE),
}


def shown(case: Mapping[str, Any], changes: Mapping[str, Any]) -> Shown:
    """A good day, with the case's and then the row's changes; "none" is a value that did not come."""
    good: dict[str, Any] = {}
    for place in "123":
        good |= {f"u{place}": VOLTS, f"i{place}": AMPS, f"pf{place}": PF, f"ul{place}": 400.0}
    for what in (case.get("day", {}), changes):
        for key, value in what.items():
            good |= {f"{key}{p}": value for p in "123"} if key in {"u", "i", "pf", "ul", "p"} else {key: value}
    out: Shown = {}
    total = 0.0
    for k in range(3):
        u, i, cos = (good[f"{what}{k + 1}"] for what in ("u", "i", "pf"))
        p = good.get(f"p{k + 1}", 0.0 if "none" in (u, i, cos) else u * i * cos)
        named = (VOLTAGE[k], u), (CURRENT[k], i), (FACTOR[k], cos), (LINE[k], good[f"ul{k + 1}"]), (POWER[k], p)
        out |= {q: float(v) for q, v in named if v != "none"}
        total += 0.0 if p == "none" else p
    out[Quantity.ACTIVE_POWER] = float(good.get("ptotal", total))
    out[Quantity.POWER_FACTOR] = float(good.get("pftotal", PF))
    asked = asked_of(case)
    return {q: v for q, v in out.items() if q in asked}


def asked_of(case: Mapping[str, Any]) -> frozenset[Quantity]:
    return frozenset(map(Quantity, case["asked"])) if "asked" in case else ASKED[case.get("shape", "")]


def word_of(changes: Mapping[str, Any], told_ms: Ms) -> Witnessed:
    """The meter's counter rose within the last quarter of an hour, or `ago_min` minutes ago; or its log says when."""
    code = changes["says"]
    assert code in EVENTS
    end_ms = told_ms - round(changes.get("ago_min", 0) * MINUTE_MS)
    start_ms = end_ms - 15 * MINUTE_MS
    known = not changes.get("serial_unknown", False)
    if changes.get("log"):
        return Witnessed("p", "m1", code, f"{end_ms}-0", 1, ("log",), end_ms, end_ms, told_ms, logged_ms=(end_ms,))
    return Witnessed(
        "p", "m1", code, f"b-{end_ms}", 1, ("counter",), start_ms, end_ms, told_ms, 3, 4, start_ms, end_ms,
        serial_known=known,
    )  # fmt: skip
