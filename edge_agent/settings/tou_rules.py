"""Rules about a point's schedule of rates: every day is filled once, and a holiday can be told."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from edge_agent.settings.mistake import Report
from edge_agent.settings.shape import Given

if TYPE_CHECKING:
    from edge_agent.tariff.schedule import RatePeriod

KEYS = frozenset({"rate", "from", "to", "months", "days"})


def check_tou(point: Given, report: Report) -> None:
    entries = point.tables("tou")
    if not entries:
        return
    from edge_agent.tariff.schedule import Schedule, wall

    for entry in entries:
        written, periods = entry.get("period"), entry.tables("period")
        backward = [p for p in periods if _is_backward(p)]
        for period in backward:
            report.add("tou_backward", period.at("to"), start=period.get("from"), end=period.get("to"))
        whole = isinstance(written, list) and len(periods) == len(written)
        if backward or not whole or not all(p.values.keys() >= KEYS for p in periods):
            continue  # said already
        schedule = Schedule(tuple(_rate_periods(periods)))
        if fault := next(schedule.faults(), None):
            kind, month, day_class, start, end = fault
            fields = {"month": month, "day": day_class, "start": wall(start), "end": wall(end)}
            report.add(f"tou_{kind}", entry.at("period"), **fields)
        elif schedule.knows_holidays and not point.get("holiday_calendar"):
            report.add("tou_no_calendar", entry.at("period"))


def _rate_periods(periods: list[Given]) -> Iterator[RatePeriod]:
    from edge_agent.tariff.schedule import RatePeriod, minutes

    for p in periods:
        months, days = p.get("months") or (), p.get("days") or ()
        yield RatePeriod(
            p.get("rate"), minutes(p.get("from")), minutes(p.get("to")), frozenset(months), frozenset(days)
        )


def _is_backward(period: Given) -> bool:
    start, end = period.get("from"), period.get("to")
    return start is not None and end is not None and end <= start  # both are hh:mm
