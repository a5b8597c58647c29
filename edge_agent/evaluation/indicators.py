"""The indicators of one topic and month. `DEFINITIONS` is what each of them means, once for help, pages and tests.

All are over the findings that opened in the month on accepted points, exempt ones apart. A rate says how many of how
many, because one of two is not fifty of a hundred.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import date

from edge_agent.evaluation.dockets import ANSWERS, Docket

STEPS = ("received", "dispatched", "on_site", *ANSWERS, "rectified", "closed")

DEFINITIONS = {
    "completion": ("办结率", "closed, of all that opened in the month"),
    "timeliness": (
        "及时率", "answered on or before their due day, of those that were answered or whose due day is past",
    ),
    "confirmation": ("属实率", "confirmed, of those confirmed or not confirmed; `cannot_tell` counts neither way"),
    "rectification": ("整改率", "rectified, of those confirmed"),
    "recurrence": (
        "重复发生率",
        "opened after one of the same point, topic and key was confirmed and rectified or closed, of all that opened",
    ),
    "recovered_kwh": ("追补电量", "energy billed afterwards, kWh: the sum of what feedback says"),
    "blind": ("无法判定时间占比", "share of the time judged in which the topic could not say"),
}  # fmt: skip
"""Indicator -> its name in the trade, and its definition."""


@dataclass(frozen=True, slots=True)
class Rate:
    """So many of so many."""

    count: int
    of: int

    @property
    def share(self) -> float | None:
        """None of none: nothing can be said."""
        return self.count / self.of if self.of else None


@dataclass(frozen=True, slots=True)
class Indicators:
    topic: str
    month: str
    opened: int
    exempted: int
    steps: dict[str, int]
    completion: Rate
    timeliness: Rate
    confirmation: Rate
    rectification: Rate
    recurrence: Rate
    recovered_kwh: float
    recovered_money: float
    blind: float | None
    capped: bool


def indicators(
    dockets: Iterable[Docket], topic: str, month: str, today: date, *, blind: float | None = None, capped: bool = False
) -> Indicators:
    """`dockets`: all that there are, of other topics and months too: what comes again is seen by what was before."""
    counted = [d for d in dockets if d.topic == topic and d.counts]
    of_month = [d for d in counted if d.month == month]
    mine = [d for d in of_month if not d.exempt]
    confirmed = [d for d in mine if d.answer == "confirmed"]
    answered = [d for d in mine if d.answer]
    late = [d for d in mine if not d.answer and d.due is not None and d.due < today]
    in_time = [d for d in answered if d.due is None or d.days[d.answer] <= d.due]
    refuted = sum(d.answer == "not_confirmed" for d in mine)
    said = [f for d in mine for f in d.said.values()]
    return Indicators(
        topic=topic,
        month=month,
        opened=len(of_month),
        exempted=len(of_month) - len(mine),
        steps={step: sum(_went_through(d, step) for d in mine) for step in STEPS},
        completion=Rate(sum("closed" in d.said for d in mine), len(mine)),
        timeliness=Rate(len(in_time), len(answered) + len(late)),
        confirmation=Rate(len(confirmed), len(confirmed) + refuted),
        rectification=Rate(sum("rectified" in d.said for d in confirmed), len(confirmed)),
        recurrence=Rate(sum(_again(d, counted) for d in mine), len(mine)),
        recovered_kwh=sum(f.recovered_kwh for f in said if isinstance(f.recovered_kwh, int | float)),
        recovered_money=sum(f.recovered_money for f in said if isinstance(f.recovered_money, int | float)),
        blind=blind,
        capped=capped,
    )


def _went_through(docket: Docket, step: str) -> bool:
    """Of several answers only the last one counts."""
    return docket.answer == step if step in ANSWERS else step in docket.said


def _again(docket: Docket, others: Collection[Docket]) -> bool:
    return any(
        o.kind == docket.kind
        and o.answer == "confirmed"
        and any(o.said[step].at < docket.opened for step in ("rectified", "closed") if step in o.said)
        for o in others
        if o.opened < docket.opened
    )
