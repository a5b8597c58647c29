"""Customers and points as timelines: what was contracted, installed and agreed at any instant, and how sure that is.

Built once from the settings; pure. Every interval is half-open, (start, end]: it belongs to the day and the billing
month in which it lies, also when it ends at the midnight that ends them. An entry of a timeline is in force from
its `from` on, that instant included. What the archive does not know is None, never a default.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from math import sqrt
from types import MappingProxyType
from typing import TYPE_CHECKING, Generic, TypeVar
from zoneinfo import ZoneInfo

import msgspec

from edge_agent.model import Capacity, DaySpan, DeviceId, Fact, FactSource, FactState, Ms, PointId, PointStatus, Ratings
from edge_agent.settings.instant import local_time, midnight_ms
from edge_agent.settings.point_rules import ratio_of
from edge_agent.settings.site import CapacityEntry, Entry, PointTable, Site, TouEntry, Transformer

if TYPE_CHECKING:
    from edge_agent.tariff import Terms
    from edge_agent.tariff.schedule import Schedule

ALWAYS_MS: Ms = 0
"""The beginning of 1970: before any reading. From here on the K of a direct meter is 1."""

BEFORE_MS: Ms = -(1 << 62)
"""Before any entry of a timeline."""

MOST_SAID = 200
"""As much of a schedule as a fact says; a finding has the table of its own day beside it."""

Steps = tuple[tuple[Ms, float], ...]
"""(from_ms, value), in order: a value holds until the next one starts."""

T = TypeVar("T")
E = TypeVar("E", bound=Entry)


@dataclass(frozen=True, slots=True)
class Nameplate:
    """A customer's power transformer."""

    rated_kva: float
    uk_percent: float | None
    fact: Fact


@dataclass(frozen=True, slots=True)
class Point:
    """What does not change with time: who, where, and how a metering point is measured and billed."""

    id: PointId
    meter: DeviceId | None
    ct: DeviceId | None  # an independent current transformer that answers on a link
    consumer_no: str
    supply_org: str
    metering_point: str
    asset_no: str
    tz: ZoneInfo
    billing_day: int
    u_n_v: float  # line to line; line to neutral where `wiring` is 1p2w
    wiring: str  # "3p4w", "3p3w", "1p2w"
    generation: bool
    joined: date | None  # when the customer's supply began
    period_min: int
    slide_min: int
    accepted_at_ms: Ms | None
    accepted_by: str
    imax_a: float | None  # of a direct meter
    transformer: Nameplate | None
    tariff_class: str | None  # the newest; at an instant: `Archive.tariff_class`
    subs: tuple[PointId, ...] = ()  # the points whose meters lie behind this one's


@dataclass(frozen=True, slots=True)
class Timeline(Generic[T]):
    """Values with the instant from which each is in force, oldest first."""

    starts: tuple[Ms, ...] = ()
    values: tuple[T, ...] = ()

    def at(self, ms: Ms) -> T | None:
        """What is in force at an instant; None before the first entry."""
        index = bisect_right(self.starts, ms)
        return self.values[index - 1] if index else None

    def changes(self, start_ms: Ms, end_ms: Ms) -> bool:
        """Whether an entry begins inside (start, end), both ends excluded."""
        index = bisect_right(self.starts, start_ms)
        return index < len(self.starts) and self.starts[index] < end_ms


@dataclass(frozen=True, slots=True)
class _Ratio:
    primary: float
    k: float
    fact: Fact


@dataclass(frozen=True, slots=True)
class _WorkOrder:
    id: str
    from_ms: Ms
    to_ms: Ms
    topics: frozenset[str]


@dataclass(frozen=True, slots=True)
class _History:
    """Everything about a point that changes with time."""

    capacity: Timeline[Capacity]
    ct: Timeline[_Ratio]
    vt: Timeline[_Ratio]
    serial: Timeline[Fact]
    tariff_class: Timeline[Fact]
    tou: Timeline[tuple[Schedule, Fact]]
    work_orders: tuple[_WorkOrder, ...]
    holidays: frozenset[date]
    k: tuple[tuple[Ms, float], ...]

    @property
    def breaking(self) -> tuple[Timeline[Capacity], Timeline[_Ratio], Timeline[_Ratio], Timeline[Fact]]:
        """The timelines over whose changes no interval may reach."""
        return self.capacity, self.ct, self.vt, self.serial


@dataclass(frozen=True, slots=True)
class Archive:
    """The points of a site. KeyError where a method is asked about a point that is not in `points`."""

    version: str
    """SHA-256 over the archive's facts; comments, wiring, acceptance and work orders do not change it."""
    points: Mapping[PointId, Point]
    _history: Mapping[PointId, _History] = field(repr=False)
    _versions: Mapping[PointId, str] = field(repr=False)
    _terms: Mapping[str, Terms] = field(repr=False, default_factory=lambda: MappingProxyType({}))
    _ratings: dict[PointId, Timeline[Ratings]] = field(init=False, repr=False, compare=False, default_factory=dict)
    """Worked out of the timelines when a point is first asked about."""
    _spans: dict[PointId, DaySpan] = field(init=False, repr=False, compare=False, default_factory=dict)
    """The day that was asked about last: most questions are about the same one."""

    @classmethod
    def of(cls, site: Site, terms: Mapping[str, Terms] | None = None) -> Archive:
        """`terms`: what counts for each class of use (`settings.tariff.terms_of`); none: nobody estimates."""
        holidays = {c.id: frozenset(c.days) for c in site.calendar}
        points = {p.id: _point(p) for p in site.point}
        history = {p.id: _history(p, points[p.id].tz, holidays.get(p.holiday_calendar or "")) for p in site.point}
        versions = {p.id: _digest(_facts(p)) for p in site.point}
        known = MappingProxyType(dict(terms or {}))
        return cls(
            _version(site), MappingProxyType(points), MappingProxyType(history), MappingProxyType(versions), known
        )

    def capacity(self, point: PointId, start_ms: Ms, end_ms: Ms) -> Capacity | None:
        """Contract and running capacity over (start, end]; None: unknown, or it changes inside."""
        timeline = self._history[point].capacity
        return None if timeline.changes(start_ms, end_ms) else timeline.at(start_ms)

    def spans_change(self, point: PointId, start_ms: Ms, end_ms: Ms) -> bool:
        """Whether capacity, CT, VT or meter change strictly inside: one mean over both sides says nothing."""
        return any(timeline.changes(start_ms, end_ms) for timeline in self._history[point].breaking)

    def changes(self, point: PointId) -> tuple[Ms, ...]:
        """The instants at which capacity, CT, VT or meter change, in order."""
        return tuple(sorted({ms for timeline in self._history[point].breaking for ms in timeline.starts}))

    def k_timeline(self, point: PointId) -> tuple[tuple[Ms, float], ...]:
        """(from, K): CT ratio times VT ratio, from the instant on from which both are known; () where none is."""
        return self._history[point].k

    def k_facts(self, point: PointId, at_ms: Ms) -> tuple[Fact, ...]:
        """The facts that K rests on at an instant; none for a direct meter."""
        return self.ratings(point, at_ms).facts

    def meter_facts(self, point: PointId, at_ms: Ms) -> tuple[Fact, ...]:
        """What the meter should say about itself: its number and ratios, and how it is set and made.

        For what has no timeline nobody says whether it was verified.
        """
        known = self.points[point]
        plain = {
            "demand_period": float(known.period_min), "demand_slide": float(known.slide_min),
            "rated_voltage": known.u_n_v, "maximum_current": known.imax_a, "asset_no": known.asset_no or None,
        }  # fmt: skip
        kept = tuple(
            Fact(name, value, ALWAYS_MS, FactState.UNVERIFIED, FactSource.SYSTEM)
            for name, value in plain.items()
            if value is not None
        )
        serial = self.serial(point, at_ms)
        return (*(() if serial is None else (serial,)), *self.k_facts(point, at_ms), *kept)

    def ct_primary_a(self, point: PointId, at_ms: Ms) -> float | None:
        """Rated primary current in force, A."""
        ratio = self._history[point].ct.at(at_ms)
        return None if ratio is None else ratio.primary

    def s_cap_va(self, point: PointId, at_ms: Ms) -> float | None:
        """What the metering can measure at its rated current, VA; never the contract."""
        known = self.points[point]
        amperes = known.imax_a if known.imax_a is not None else self.ct_primary_a(point, at_ms)
        if amperes is None:
            return None
        return (1.0 if known.wiring == "1p2w" else sqrt(3)) * known.u_n_v * amperes

    def serial(self, point: PointId, at_ms: Ms) -> Fact | None:
        """The number on the plate of the meter installed."""
        return self._history[point].serial.at(at_ms)

    def ratings(self, point: PointId, at_ms: Ms) -> Ratings:
        """What the metering is made for at an instant, primary side, with the facts that its currents rest on."""
        timeline = self._ratings.get(point)
        if timeline is None:
            history = self._history[point]
            starts = (BEFORE_MS, *sorted({*history.ct.starts, *history.vt.starts, *(ms for ms, _ in history.k)}))
            timeline = Timeline(starts, tuple(self._rated(point, ms) for ms in starts))
            self._ratings[point] = timeline
        return timeline.values[bisect_right(timeline.starts, at_ms) - 1]

    def _rated(self, point: PointId, at_ms: Ms) -> Ratings:
        history = self._history[point]
        known = self.points[point]
        single = known.wiring == "1p2w"
        return Ratings(
            wiring=known.wiring,
            u_line_v=known.u_n_v,
            u_phase_v=known.u_n_v if single else known.u_n_v / sqrt(3),
            i_rated_a=None if known.imax_a is not None else self.ct_primary_a(point, at_ms),
            i_max_a=known.imax_a,
            generation=known.generation,
            s_cap_va=self.s_cap_va(point, at_ms),
            transformer_va=known.transformer.rated_kva * 1000 if known.transformer is not None else None,
            facts=tuple(r.fact for r in (history.ct.at(at_ms), history.vt.at(at_ms)) if r is not None),
            plate=known.transformer.fact if known.transformer is not None else None,
            k=self._k(point, at_ms),
        )

    def _k(self, point: PointId, at_ms: Ms) -> float | None:
        steps = self._history[point].k
        index = bisect_right(steps, at_ms, key=lambda step: step[0])
        return steps[index - 1][1] if index else None

    def ratio_timelines(self, point: PointId) -> tuple[Steps, Steps]:
        """(from, ratio) of the current and of the voltage transformers: 1 where there are none."""
        history, direct = self._history[point], self.points[point].imax_a is not None
        ct: Steps = tuple((ms, r.k) for ms, r in zip(history.ct.starts, history.ct.values, strict=True))
        if direct:
            ct = ((ALWAYS_MS, 1.0),)
        vt = tuple((ms, r.k) for ms, r in zip(history.vt.starts, history.vt.values, strict=True))
        return ct, vt or ((ALWAYS_MS, 1.0),)

    def subs(self, point: PointId) -> tuple[PointId, ...]:
        """The points whose meters lie behind this one's; () where it is no main meter."""
        return self.points[point].subs

    def facts_version(self, point: PointId) -> str:
        """A digest of the point's own facts: what was learnt of it under another one says nothing any more."""
        return self._versions[point]

    def day_span(self, point: PointId, end_ms: Ms) -> DaySpan:
        """The local day that an interval ending then belongs to; 23 or 25 hours long where the clocks change."""
        span = self._spans.get(point)
        if span is None or not span.start_ms < end_ms <= span.end_ms:
            tz = self.points[point].tz
            day = local_time(end_ms - 1, tz).date()
            span = DaySpan(day, midnight_ms(day, tz), midnight_ms(day + timedelta(days=1), tz))
            self._spans[point] = span
        return span

    def day_class(self, point: PointId, day: date) -> str:
        """ "workday", "weekend" or "holiday", by the point's calendar."""
        if self.is_holiday(point, day):
            return "holiday"
        return "weekend" if day.weekday() >= 5 else "workday"

    def tariff_class(self, point: PointId, at_ms: Ms) -> Fact | None:
        """The utility's code of the class of use."""
        return self._history[point].tariff_class.at(at_ms)

    def schedule(self, point: PointId, at_ms: Ms) -> tuple[Schedule, Fact] | None:
        """By which table the meter should switch its rates, and the fact that says so."""
        return self._history[point].tou.at(at_ms)

    def holidays_known(self, point: PointId, day: date) -> bool:
        """Whether the point's calendar has that year at all."""
        return any(d.year == day.year for d in self._history[point].holidays)

    def terms(self, point: PointId, at_ms: Ms) -> Terms | None:
        """The contract's rules and prices for the point's class of use; None: the site file has none."""
        code = self.tariff_class(point, at_ms)
        return None if code is None else self._terms.get(str(code.value))

    def joined(self, point: PointId) -> date | None:
        """The day on which the customer's supply began; None: nobody has said."""
        return self.points[point].joined

    def accepted(self, point: PointId, at_ms: Ms) -> bool:
        """Whether a person has accepted the point by then; else it is on trial."""
        since = self.points[point].accepted_at_ms
        return since is not None and since <= at_ms

    def work_order(self, point: PointId, start_ms: Ms, end_ms: Ms, topic: str | None = None) -> str | None:
        """A work order that overlaps (start, end]; with `topic`, one that covers that topic (or all)."""
        for order in self._history[point].work_orders:
            covers = topic is None or not order.topics or topic in order.topics
            if covers and order.from_ms < end_ms and start_ms < order.to_ms:
                return order.id
        return None

    def is_holiday(self, point: PointId, day: date) -> bool:
        return day in self._history[point].holidays

    def local_day(self, point: PointId, end_ms: Ms) -> date:
        """The day that an interval ending then belongs to; at 24:00 the day that ends."""
        return self.day_span(point, end_ms).day

    def billing_month(self, point: PointId, end_ms: Ms) -> str:
        """`"2026-03"`: named after the month in which it begins, on the billing day at 00:00 local."""
        year, month = self._month(point, end_ms)
        return f"{year:04d}-{month:02d}"

    def month_end_ms(self, point: PointId, end_ms: Ms) -> Ms:
        """When the billing month of an interval ending then is over, UTC."""
        year, month = self._month(point, end_ms)
        known = self.points[point]
        return midnight_ms(date(year + month // 12, month % 12 + 1, known.billing_day), known.tz)

    def _month(self, point: PointId, end_ms: Ms) -> tuple[int, int]:
        day = self.local_day(point, end_ms)
        if day.day < self.points[point].billing_day:
            day = day.replace(day=1) - timedelta(days=1)
        return day.year, day.month


def _point(table: PointTable) -> Point:
    tz = ZoneInfo(table.time_zone)
    newest = table.tariff_class[-1].code if table.tariff_class else None
    plate = table.transformer
    return Point(
        id=table.id,
        meter=table.meter,
        ct=table.ct_device,
        consumer_no=table.consumer_no or "",
        supply_org=table.supply_org or "",
        metering_point=table.metering_point or "",
        asset_no=table.asset_no or "",
        tz=tz,
        billing_day=table.billing_day,
        u_n_v=table.u_n_v,
        wiring=table.wiring,
        generation=table.generation,
        joined=table.joined,
        period_min=table.demand.period_min,
        slide_min=table.demand.slide_min,
        accepted_at_ms=table.accepted.at.ms(tz) if table.accepted else None,
        accepted_by=table.accepted.by if table.accepted else "",
        imax_a=table.imax_a,
        transformer=Nameplate(plate.rated_kva, plate.uk_percent, _plate_fact(plate)) if plate else None,
        tariff_class=newest,
        subs=table.subs,
    )


def _history(table: PointTable, tz: ZoneInfo, holidays: frozenset[date] | None) -> _History:
    ct = _timeline(table.ct, tz, lambda e: _ratio(e.ratio, _fact("ct", e.ratio, e, tz)))
    vt = _timeline(table.vt, tz, lambda e: _ratio(e.ratio, _fact("vt", e.ratio, e, tz)))
    return _History(
        capacity=_timeline(table.capacity, tz, lambda e: _capacity(e, tz)),
        ct=ct,
        vt=vt,
        serial=_timeline(table.meter_serial, tz, lambda e: _fact("meter_serial", e.serial, e, tz)),
        tariff_class=_timeline(table.tariff_class, tz, lambda e: _fact("tariff_class", e.code, e, tz)),
        tou=_timeline(table.tou, tz, lambda e: _schedule(e, tz)),
        work_orders=tuple(
            _WorkOrder(o.id, o.from_.ms(tz), o.to.end_ms(tz), frozenset(o.topics)) for o in table.work_order
        ),
        holidays=holidays or frozenset(),
        k=((ALWAYS_MS, 1.0),) if table.imax_a is not None else tuple(_k_steps(ct, vt)),
    )


def _timeline(entries: Sequence[E], tz: ZoneInfo, value: Callable[[E], T]) -> Timeline[T]:
    return Timeline(tuple(e.from_.ms(tz) for e in entries), tuple(value(e) for e in entries))


def _k_steps(ct: Timeline[_Ratio], vt: Timeline[_Ratio]) -> Iterable[tuple[Ms, float]]:
    """K at each instant at which either ratio changes; a point without VT has a VT ratio of 1."""
    for ms in sorted({*ct.starts, *vt.starts}):
        current, voltage = ct.at(ms), vt.at(ms)
        if current is not None and (voltage is not None or not vt.starts):
            yield ms, current.k * (voltage.k if voltage is not None else 1.0)


def _ratio(written: str, fact: Fact) -> _Ratio:
    primary, secondary = ratio_of(written)
    return _Ratio(primary, primary / secondary, fact)


def _capacity(entry: CapacityEntry, tz: ZoneInfo) -> Capacity:
    """In VA or W. Suspended: nothing may run unless the entry says how much; reduced: what it says."""
    in_va = entry.kva is not None
    contracted_k = (entry.kva if in_va else entry.kw) or 0.0
    running_k = entry.running_kva if in_va else entry.running_kw
    if running_k is None:
        running_k = 0.0 if entry.status == "suspended" else contracted_k
    fact = _fact("capacity", contracted_k * 1000, entry, tz)
    status = PointStatus(entry.status)
    return Capacity(contracted_k * 1000, running_k * 1000, "VA" if in_va else "W", status, entry.basis, fact)


def _schedule(entry: TouEntry, tz: ZoneInfo) -> tuple[Schedule, Fact]:
    from edge_agent.tariff.schedule import RatePeriod, Schedule, minutes

    periods = tuple(
        RatePeriod(p.rate, minutes(p.from_), minutes(p.to), frozenset(p.months), frozenset(p.days))
        for p in entry.period
    )
    said = ", ".join(map(str, periods))
    return Schedule(periods), _fact("tou", said if len(said) <= MOST_SAID else f"{said[:MOST_SAID]}…", entry, tz)


def _fact(name: str, value: float | str, entry: Entry, tz: ZoneInfo) -> Fact:
    return Fact(
        name,
        value,
        entry.from_.ms(tz),
        FactState(entry.state),
        FactSource(entry.source),
        str(entry.verified_at) if entry.verified_at is not None else "",
        entry.verified_by or "",
    )


def _plate_fact(plate: Transformer) -> Fact:
    return Fact(
        "transformer",
        plate.rated_kva * 1000,
        ALWAYS_MS,
        FactState(plate.state),
        FactSource(plate.source),
        str(plate.verified_at) if plate.verified_at is not None else "",
        plate.verified_by or "",
    )


_NOT_ARCHIVE = frozenset({"meter", "ct_device", "accepted", "work_order"})
"""Keys of a point that are wiring or proceedings: no baseline starts anew when they change."""


def _version(site: Site) -> str:
    points = {p.id: _facts(p) for p in site.point}
    calendars = {c.id: sorted(d.isoformat() for d in c.days) for c in site.calendar}
    return _digest({"point": points, "calendar": calendars})


def _facts(table: PointTable) -> dict[str, object]:
    found: dict[str, object] = msgspec.to_builtins(table, enc_hook=str)
    return {key: value for key, value in found.items() if key not in _NOT_ARCHIVE}


def _digest(plain: object) -> str:
    return hashlib.sha256(msgspec.json.encode(plain, order="deterministic")).hexdigest()
