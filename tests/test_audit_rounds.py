"""Stories of what a meter samples, of its means and its words; and how the arithmetic that topics share comes out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from edge_agent.audit.phases import CURRENT, FACTOR, LINE, POWER, VOLTAGE
from edge_agent.load.views import Block, Claim, LoadView, Mean, Role, Round, Witnessed
from edge_agent.model import EVENTS, Ms, Quantity
from tests.on_paper import MINUTE_MS, local_ms, published
from tests.stories import Office, Played, Player, cases, told_alike_after_restarts, told_as_written

RELEASES, TOPICS = published()
VOLTS, AMPS, PF = 230.0, 200.0, 0.9
"""What the factory's meter shows on a good day, per phase: half of the rated current."""

# -- rounds in, steps out -------------------------------------------------------------------------------------------

Shown = dict[Quantity, float]


def play_rounds(case: Mapping[str, Any], office: Office) -> Played:
    """`shows`: so many rounds, and in what they differ from a good day. Told: "<min>:<s> <step> <key>"."""
    start_ms = local_ms(case["start"])
    told: list[str] = []
    for now_ms, round_, says in rounds_of(case, start_ms):
        before = len(office.steps)
        view = LoadView(now_ms, rounds=[round_] if round_ else [], meter_events=says)
        now = office.look(view) + office.confirm({"p": now_ms}, now_ms)
        at = f"{(now_ms - start_ms) // MINUTE_MS}:{(now_ms - start_ms) // 1000 % 60:02d}"
        keys = [s.key for s in office.steps[before:]]
        told += [f"{at} {step} {key}".rstrip() for step, key in zip(now, [*keys, *[""] * len(now)], strict=False)]
    return Played(told, case["expect"], office)


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
                    frozenset(Quantity(q) for q in case["asked"]) if "asked" in case else ASKED[case.get("shape", "")],
                ),
                says if number == 0 else [],
            )  # fmt: skip
            last = Round("p", "m1", Role.METER, now_ms, now_ms, now, now)


ASKED = {
    "": frozenset((*VOLTAGE, *CURRENT, *POWER, *FACTOR, Quantity.ACTIVE_POWER)),
    "total": frozenset((*VOLTAGE, *CURRENT, Quantity.ACTIVE_POWER, Quantity.POWER_FACTOR)),
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
    for place in range(3):
        u, i, cos = (good[f"{what}{place + 1}"] for what in ("u", "i", "pf"))
        p = good.get(f"p{place + 1}", 0.0 if "none" in (u, i, cos) else u * i * cos)
        named = (VOLTAGE[place], u), (CURRENT[place], i), (FACTOR[place], cos), (LINE[place], good[f"ul{place + 1}"])
        out |= {q: float(v) for q, v in (*named, (POWER[place], p)) if v != "none"}
        total += 0.0 if p == "none" else p
    out[Quantity.ACTIVE_POWER] = float(good.get("ptotal", total))
    out[Quantity.POWER_FACTOR] = float(good.get("pftotal", PF))
    asked = frozenset(map(Quantity, case["asked"])) if "asked" in case else ASKED[case.get("shape", "")]
    return {q: v for q, v in out.items() if q in asked}


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


# -- means over blocks in, steps out ----------------------------------------------------------------------------------


def play_blocks(case: Mapping[str, Any], office: Office) -> Played:
    """`shows`: so many quarter hours, with means of voltages, or currents, and what of it was covered."""
    end_ms, told, start_ms = local_ms(case["start"]), [], local_ms(case["start"])
    for count, changes in case["shows"]:
        end_ms += changes.get("gap_min", 0) * MINUTE_MS
        for _ in range(count):
            end_ms += 15 * MINUTE_MS
            means = {q: Mean(v, v, v, changes.get("coverage", 1.0)) for q, v in shown(case, changes).items()}
            view = LoadView(end_ms, blocks=[Block("p", Role.METER, end_ms - 15 * MINUTE_MS, end_ms, means)])
            now = office.look(view) + office.confirm({"p": end_ms}, end_ms)
            told += [f"{(end_ms - start_ms) // MINUTE_MS} {step}" for step in now]
    return Played(told, case["expect"], office)


# -- status words in, steps out ---------------------------------------------------------------------------------------


def play_status(case: Mapping[str, Any], office: Office) -> Played:
    at_ms, told, start_ms = local_ms(case["start"]), [], local_ms(case["start"])
    word = ""
    for count, value in case["shows"]:
        for _ in range(count):
            at_ms += case.get("every_min", 5) * MINUTE_MS
            claim = Claim("p", "m1", Role.METER, Quantity.METER_STATUS_7, value, at_ms, value == word)
            word = value
            before = len(office.steps)
            now = office.look(LoadView(at_ms, claims=[claim]))
            keys = [s.key for s in office.steps[before:]]
            told += [f"{(at_ms - start_ms) // MINUTE_MS} {step} {k}" for step, k in zip(now, keys, strict=True)]
    return Played(told, case["expect"], office)


PLAYERS: dict[str, Player] = {
    "met-volt-loss": play_rounds,
    "met-curr-loss": play_rounds,
    "met-phase-break": play_rounds,
    "met-power-consistency": play_rounds,
    "met-reverse": play_rounds,
    "met-unbalance-i": play_rounds,
    "met-ct-overrange": play_rounds,
    "met-phase-seq": play_status,
    "met-ct-oversized": play_blocks,
    "pq-volt-event": play_rounds,
    "pq-outage": play_rounds,
    "pq-volt-deviation": play_blocks,
    "pq-unbalance-u": play_blocks,
}


@pytest.mark.parametrize(("topic", "case"), cases(PLAYERS))
def test_story(topic: str, case: dict[str, Any]):
    told_as_written(PLAYERS[topic], topic, case)


@pytest.mark.parametrize(("topic", "case"), cases(PLAYERS))
def test_story_with_a_restart_at_every_instant(topic: str, case: dict[str, Any]):
    told_alike_after_restarts(PLAYERS[topic], case)
