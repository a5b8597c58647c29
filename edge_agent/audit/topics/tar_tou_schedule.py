"""时段表/时区不符: does the meter count in the rate that the archive's schedule has at that local time?

Judged by the registers of the rates alone: while one rate counts by the archive, the energy must go into its register.
Near a switch, by the release's minutes and by what the meter's clock may be off, nothing is said. It is a question of
two tables, the utility's and the meter's; what the customer does has no part in it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from msgspec.structs import replace

from edge_agent.audit.studies.rate_spans import RateSpan, RateSpans
from edge_agent.audit.topic import Answer, AuditTopic, Release, Site, Verdict
from edge_agent.load.views import LoadView
from edge_agent.model import Fact, Ms, PointId

if TYPE_CHECKING:
    from edge_agent.tariff.schedule import Schedule

DAY_MS = 86_400_000
MINUTE_MS = 60_000


def examine(view: LoadView, site: Site, release: Release) -> Iterator[Verdict]:
    for span in view.studied:
        verdict = _verdict(span, site, release)
        if verdict is not None:
            yield verdict


def _verdict(span: RateSpan, site: Site, release: Release) -> Verdict | None:
    """None: a switch of the archive's schedule is too near, or too little has moved to tell."""
    point, start_ms, end_ms = span.point, span.before.at_ms, span.after.at_ms
    plain = Verdict(point, Answer.UNKNOWN, start_ms, end_ms, decided_ms=end_ms, confirmed=True)
    in_force = site.schedule(point, end_ms)
    if in_force is None:
        return replace(plain, reason="no_schedule")
    if span.why:
        return replace(plain, reason=span.why)
    if site.schedule(point, start_ms) != in_force or site.serial(point, start_ms) != site.serial(point, end_ms):
        return replace(plain, reason="fact_changed")
    edge_ms = round(float(release.params["edge_min"]) * MINUTE_MS + span.off_ms)
    rates = _expected(in_force[0], site, point, start_ms - edge_ms, end_ms + edge_ms)
    if isinstance(rates, str):
        return replace(plain, reason=rates)
    if len(rates) != 1:
        return None
    (expected,) = rates
    if expected not in span.before.rates:
        return replace(plain, reason="rate_not_read")
    if not _adds_up(span):
        return replace(plain, reason="rates_do_not_add_up")
    least = float(release.params["least_steps"]) * span.step
    wrong = {n: moved for n, moved in span.moved.items() if n != expected and moved > least}
    if not wrong:
        return replace(plain, answer=Answer.CLEAR) if span.moved[expected] > least else None
    return _breach(plain, span, expected, wrong, in_force, site)


def _expected(schedule: Schedule, site: Site, point: PointId, start_ms: Ms, end_ms: Ms) -> frozenset[int] | str:
    """Every rate that the archive has at some time in between; a code where that cannot be said."""
    rates: frozenset[int] = frozenset()
    at_ms = start_ms
    while at_ms < end_ms and len(rates) < 2:
        day = site.day_span(point, at_ms + 1)
        if day.end_ms - day.start_ms != DAY_MS:
            return "clocks_change"
        if schedule.knows_holidays and not site.holidays_known(point, day.day):
            return "holidays_unknown"
        until_ms = min(end_ms, day.end_ms)
        from_min, to_min = ((ms - day.start_ms) / MINUTE_MS for ms in (at_ms, until_ms))
        rates |= schedule.rates(day.day.month, site.day_class(point, day.day), from_min, to_min)
        at_ms = until_ms
    return rates


def _adds_up(span: RateSpan) -> bool:
    """Whether the rates moved by what the total did, but for dropped digits and what flowed between the readings."""
    total = span.after.total - span.before.total
    apart = (span.before.spread_ms + span.after.spread_ms) / max(1, span.after.at_ms - span.before.at_ms)
    room = (len(span.moved) + 1) * span.step + apart * total + 1e-9 * span.after.total
    return abs(total - sum(span.moved.values())) <= room


def _breach(
    plain: Verdict, span: RateSpan, expected: int, wrong: Mapping[int, float], in_force: tuple[Schedule, Fact],
    site: Site,
) -> Verdict:  # fmt: skip
    schedule, fact = in_force
    point, energy, room = span.point, sum(wrong.values()), len(wrong) * span.step
    low, value, high = (round(wh / 1000, 6) for wh in (energy - room, energy, energy + room))
    day = site.day_span(point, span.after.at_ms).day
    return replace(
        plain, answer=Answer.BREACH, low=low, high=high, facts=(fact,),
        measured={
            "device": span.before.device,
            "expected": str(expected),
            "counted": ", ".join(str(n) for n in sorted(wrong)),
            "wrong_kwh": {"low": low, "value": value, "high": high},
            "right_kwh": round(span.moved[expected] / 1000, 6),
            "table": ", ".join(map(str, schedule.of_day(day.month, site.day_class(point, day)))),
            "local_start": _local(site, point, span.before.at_ms + 1),
            "local_end": _local(site, point, span.after.at_ms),
            "registers_before": _said(span.before.rates),
            "registers_after": _said(span.after.rates),
            "clock_off_s": round(span.off_ms / 1000, 1),
        },
    )  # fmt: skip


def _local(site: Site, point: PointId, ms: Ms) -> str:
    """`"2026-03-10 10:15"`, wall time of the point on a day of 24 hours."""
    day = site.day_span(point, ms)
    minute = (ms - day.start_ms) // MINUTE_MS
    return f"{day.day} {minute // 60:02d}:{minute % 60:02d}"


def _said(rates: Mapping[int, float]) -> str:
    return ", ".join(f"{n}: {round(wh / 1000, 4):.10g}" for n, wh in sorted(rates.items()))


TOPIC = AuditTopic(
    "tar-tou-schedule", examine, needs=("rate_registers", "meter_clock", "schedule"),
    blinded_by=("dat-clock>300", "dat-unknown-meter"), study=RateSpans,
)  # fmt: skip
