"""Verdicts about what a meter samples: both ends of a round must say so, else nothing is said.

A breach covers the time between two readings only if both are in breach, and so does CLEAR; what changed between is
BETWEEN. Nothing but the next round confirms a breach: where the values of a round were carried along from an earlier
question, it is one reading and no more. What all phases share is said once, of all (`*`), so that a point that is in
order costs little.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from edge_agent.audit.meter_says import measured_of
from edge_agent.audit.phases import End, Seen, seen_in
from edge_agent.audit.topic import Answer, Release, Site, Verdict
from edge_agent.load.views import LoadView, Witnessed
from edge_agent.model import Fact, Ms

Said = tuple[Answer, float, float] | str
"""One phase at one end: an answer with its bounds, or why there is none."""

Look = Callable[[End], Sequence[Said]]
"""What a topic says about every phase (or about the point alone) at one end of a round."""

Ask = Look | Answer | str | None

STAMP_MS: Ms = 300_000
"""A meter's clock that is off by less is believed, so far."""

BREACH, CLEAR, BETWEEN, UNKNOWN = Answer.BREACH, Answer.CLEAR, Answer.BETWEEN, Answer.UNKNOWN


def judge_rounds(
    view: LoadView,
    site: Site,
    ask: Callable[[Seen], Ask],
    *,
    facts: Callable[[Seen], tuple[Fact, ...]] = Seen.facts,
    measure: Callable[[Seen, int | None], Mapping[str, Any]] = Seen.measured,
    whole: bool = False,
) -> Iterator[Verdict]:
    """One topic about all rounds of a view.

    `ask`: how to look at one end of a round; CLEAR where that is seen without; a reason where nobody can; None where
    there is nothing to ask.
    `whole`: the question is about the point, not about its phases.
    """
    for seen in seen_in(view, site):
        look = ask(seen) if seen.places else None
        if look is None:
            continue
        if look is CLEAR:
            yield seen.clear
            continue
        if isinstance(look, str):
            yield _all(seen, UNKNOWN, look, whole)
            continue
        now = look(seen.now)
        pairs = [_both(s, s) for s in now] if seen.before is seen.now else list(map(_both, look(seen.before), now))
        first = pairs[0]
        if first[0] is not BREACH and all(p[0] is first[0] and p[3] == first[3] for p in pairs):
            yield _all(seen, first[0], first[3], whole, min(p[1] for p in pairs), max(p[2] for p in pairs))
            continue
        for place, (answer, low, high, reason) in enumerate(pairs):
            key = "" if whole else f"l{seen.phases[place]}"
            if answer is not BREACH:
                yield Verdict(
                    seen.point, answer, seen.start_ms, seen.end_ms, low, high, block=False, key=key, reason=reason
                )
                continue
            yield Verdict(
                seen.point, BREACH, seen.start_ms, seen.end_ms, low, high, decided_ms=seen.end_ms,
                confirmed=seen.confirmed, block=False, key=key, sampled=True,
                measured=dict(measure(seen, None if whole else place)), facts=facts(seen),
            )  # fmt: skip


def _all(seen: Seen, answer: Answer, reason: str, whole: bool, low: float = 0.0, high: float = 0.0) -> Verdict:
    key = "" if whole else "*"
    return Verdict(seen.point, answer, seen.start_ms, seen.end_ms, low, high, block=False, key=key, reason=reason)


def _both(before: Said, now: Said) -> tuple[Answer, float, float, str]:
    if isinstance(now, str):
        return UNKNOWN, 0.0, 0.0, now
    if isinstance(before, str):
        return UNKNOWN, 0.0, 0.0, before
    low, high = min(before[1], now[1]), max(before[2], now[2])
    return (now[0] if now[0] is before[0] else BETWEEN), low, high, ""


def words_of(view: LoadView, site: Site, release: Release, what: str, *, keyed: bool = True) -> Iterator[Verdict]:
    """What the meters themselves say of it: `what` is the code of the event, without its phase where `keyed`.

    A meter waits before it says so (`meter_hold_s` of the release), which stands for the hold. Of what a finding says
    already it is a witness.
    """
    for said in view.meter_events:
        code, _, phase = said.code.rpartition("_l") if keyed else (said.code, "", "")
        if code != what:
            continue
        start_ms, end_ms = span_of(said)
        serial = site.serial(said.point, said.end_ms)
        reason = "" if said.placed and said.serial_known else "serial_unknown" if said.placed else "meter_clock_off"
        yield Verdict(
            said.point, UNKNOWN if reason else BREACH, start_ms, end_ms, decided_ms=said.told_ms, confirmed=True,
            block=False, key=f"l{phase}" if keyed else "", reason=reason,
            measured={**({"phase": f"L{phase}"} if keyed else {}), **measured_of(said)},
            facts=(serial,) if serial is not None else (), origin="meter",
            held_s=float(release.params["meter_hold_s"]),
        )  # fmt: skip


def span_of(said: Witnessed) -> tuple[Ms, Ms]:
    """When it happened at the earliest and at the latest, UTC."""
    if "counter" in said.sources and said.before_ms is not None and said.after_ms is not None:
        return said.before_ms, said.after_ms
    return said.start_ms - STAMP_MS, said.end_ms + STAMP_MS


def bounds(value: float, share: float, floor: float = 0.0) -> tuple[float, float]:
    """Between what and what a value lies that was measured to `share` of itself and to `floor`."""
    off = abs(value) * share + floor
    return value - off, value + off
