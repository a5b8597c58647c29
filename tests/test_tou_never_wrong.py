"""A meter that switches by the archive's schedule is never said to have another one, whatever its clock, load and line
do; and what is said of one that has another is so of the very span that is named.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from random import Random
from typing import Any, NamedTuple

from edge_agent.audit.studies.rate_spans import RateSpans
from edge_agent.audit.topic import Answer, Verdict
from edge_agent.load.standings import RATES, TOTAL
from edge_agent.load.views import Claim, LoadView, Role, Standing
from edge_agent.model import ClockQuality, ClockState, Ms, Quantity
from edge_agent.tariff.schedule import DAY_MIN, wall
from tests import figures
from tests.on_paper import archive_of, local_ms, published

METERS = int(os.environ.get("EDGE_PROVE_TOU", "60"))
TICK_S = 20
HOURS = 30
TOPIC = "tar-tou-schedule"


class Table(NamedTuple):
    """From each minute on, its rate; the last one until midnight."""

    starts: Sequence[int]
    rates: Sequence[int]

    def at(self, of_day_s: float) -> int:
        minute = of_day_s % 86_400 / 60
        return next(r for s, r in zip(reversed(self.starts), reversed(self.rates), strict=True) if s <= minute)

    def written(self) -> dict[str, Any]:
        ends = [*self.starts[1:], DAY_MIN]
        periods = zip(self.rates, self.starts, ends, strict=True)
        return {
            "from": date(2024, 1, 1),
            "state": "verified",
            "period": [{"rate": r, "from": wall(a), "to": wall(b)} for r, a, b in periods],
        }


def drawn(chance: Random) -> Table:
    starts = sorted({0, *(15 * chance.randrange(1, 96) for _ in range(chance.randint(1, 6)))})
    return Table(starts, [chance.randint(1, 4) for _ in starts])


@dataclass
class Said:
    """What was said of one meter, and whether it was so."""

    answers: dict[Answer, int]
    breaches: int = 0
    untrue: int = 0


def watched(chance: Random, archive: Table, meter: Table) -> Said:
    """The meter's clock is off by up to 285 s, another time after each look at it; polls come when they come, some
    not at all; loads change and stop; registers drop up to a kWh; the agent starts anew now and then."""
    site, release = archive_of({"tou": [archive.written()]}), published()[0][TOPIC]
    topic, study = published()[1][TOPIC], RateSpans(release)
    start_ms, said = local_ms("2026-03-10 00:00"), Said(dict.fromkeys(Answer, 0))
    step = chance.choice([1.0, 10.0, 10.0, 100.0, 1000.0])
    every_s, asked_s = chance.choice([20, 60, 300, 900, 3600]), chance.randrange(0, 3600, TICK_S)
    held, differs = dict.fromkeys(RATES, 5e5), [False]
    watts, off_s = 1000.0, chance.uniform(-285, 285)
    for tick in range(1, HOURS * 3600 // TICK_S):
        at_s = tick * TICK_S
        if at_s % 600 == 0 and chance.random() < 0.2:
            watts = chance.choice([0.0, 20.0, 300.0, 3000.0])
        counting = meter.at(at_s - TICK_S / 2 + off_s)
        held[RATES[counting - 1]] += watts * TICK_S / 3600
        differs.append(watts > 0 and counting != archive.at(at_s - TICK_S / 2))
        now_ms, shown = start_ms + at_s * 1000, []
        if at_s % every_s == 0 and chance.random() < 0.9:
            values = {q: wh // step * step for q, wh in held.items()} | {TOTAL: sum(held.values()) // step * step}
            shown = [Standing("p", "m1", now_ms, 400, values, step)]
        claims = [asked(now_ms, off_s)] if (at_s - asked_s) % 3600 == 0 and chance.random() < 0.9 else []
        if claims:
            off_s = chance.uniform(-285, 285)
        if not (shown or claims):
            continue
        view = LoadView(now_ms, claims=claims, standings=shown, clock=ClockState(ClockQuality.SYNCED, now_ms, 500))
        for verdict in topic.examine(view.beside(study.feed(view, site)), site, release):
            said.answers[verdict.answer] += 1
            if verdict.answer is Answer.BREACH:
                said.breaches += 1
                said.untrue += not any(differs[n] for n in ticks(verdict, start_ms))
        if chance.random() < 0.02:
            kept, study = json.loads(json.dumps(study.dump())), RateSpans(release)
            study.restore(kept)
    return said


def asked(now_ms: Ms, off_s: float) -> Claim:
    return Claim("p", "m1", Role.METER, Quantity.METER_CLOCK, "", now_ms, again=False, ahead_ms=round(off_s * 1000))


def ticks(verdict: Verdict, start_ms: Ms) -> Iterator[int]:
    """The ticks of a span."""
    first, last = ((ms - start_ms) // 1000 // TICK_S for ms in (verdict.start_ms, verdict.end_ms))
    yield from range(first + 1, last + 1)


def test_a_meter_with_the_archives_schedule_is_never_said_to_have_another():
    total = dict.fromkeys(Answer, 0)
    for seed in range(METERS):
        table = drawn(Random(seed))
        said = watched(Random(seed + 1_000_000), table, table)
        assert said.breaches == 0, seed
        total = {answer: total[answer] + n for answer, n in said.answers.items()}
    figures.report("rates by the archive's schedule", meters=METERS, breaches=0, clear=total[Answer.CLEAR])
    assert total[Answer.CLEAR] > 20 * METERS, total


def test_what_is_said_of_a_meter_with_another_schedule_is_so_of_that_span():
    found = judged = breaches = 0
    for seed in range(METERS):
        archive, meter = drawn(Random(seed)), drawn(Random(seed + 2_000_000))
        said = watched(Random(seed + 3_000_000), archive, meter)
        assert said.untrue == 0, seed
        breaches += said.breaches
        judged += said.answers[Answer.CLEAR] + said.breaches > 0
        found += said.breaches > 1
    figures.report("rates by another schedule", meters=METERS, found=found, spans=breaches, untrue=0)
    assert judged > 0.8 * METERS
    assert found > 0.7 * METERS, (found, judged)
