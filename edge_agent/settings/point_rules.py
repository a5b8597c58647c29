"""Rules about a point: its devices, its contract, its transformers, and the order of its timelines."""

from __future__ import annotations

from collections.abc import Iterator
from math import sqrt
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

from edge_agent.model import Ms
from edge_agent.settings.locate import KeyPath
from edge_agent.settings.mistake import Report
from edge_agent.settings.rules import choose, listed, once
from edge_agent.settings.shape import Given
from edge_agent.settings.tou_rules import check_tou

# Rated primaries of low-voltage CTs as they are sold in China, A [V]; what follows 5000 is [M].
STANDARD_PRIMARIES = frozenset(
    int(amperes)
    for amperes in (
        "5 10 15 20 30 40 50 75 100 150 200 250 300 400 500 600 750 800 1000 1200 1500 2000 3000 4000 5000 "
        "6000 7500 8000 10000"
    ).split()
)
# The preferred series of IEC 61869-2 and its decades [M]: sold elsewhere, rare in China.
IEC_PRIMARIES = frozenset(
    round(base * decade, 1)
    for base in (10, 12.5, 15, 20, 25, 30, 40, 50, 60, 75)
    for decade in (0.1, 1, 10, 100, 1000)
    if base * decade >= 1
)
SECONDARIES = (5.0, 1.0)
LOW_USE = 0.30  # of the rated primary current: less is outside what DL/T 448 and GB/T 50063 ask for [V]

TIMELINES = ("capacity", "ct", "vt", "meter_serial", "tariff_class", "tou")
UNIT_OF_BASIS = {"capacity": "kva", "contracted-demand": "kw", "actual-demand": "kw"}


def check_points(site: Given, report: Report) -> None:
    points = site.tables("point")
    once(points, report)
    _check_roles(site, points, report)
    _check_subs(points, report)
    calendars = [c.get("id") for c in site.tables("calendar") if c.get("id")]
    for point in points:
        zone = _check_zone(point, report)
        _check_demand(point, report)
        calendar = point.get("holiday_calendar")
        if calendar and calendar not in calendars:
            report.add(
                "unknown_calendar", point.at("holiday_calendar"), written=calendar, right=choose(calendar, calendars)
            )
        for name in TIMELINES:
            _check_order(point.tables(name), name, zone, report)
            for entry in point.tables(name):
                _check_verified(entry, name, report)
        for entry in point.tables("capacity"):
            _check_capacity(entry, report)
        for entry in point.tables("ct"):
            _check_ct(entry, report)
        for entry in point.tables("vt"):
            _check_vt(entry, report)
        _check_transformers(point, report)
        _check_size(point, report)
        _check_work_orders(point, zone, report)
        check_tou(point, report)


def _check_roles(site: Given, points: list[Given], report: Report) -> None:
    """A device that a point names exists and serves in one role; one without a point is probably forgotten."""
    devices = [d.get("id") for d in site.tables("device") if d.get("id")]
    used: dict[str, KeyPath] = {}
    for point in points:
        if not {"meter", "ct_device"} & point.written:
            report.add("no_meter", point.at("meter"), right=choose("", devices))
        for role in ("meter", "ct_device"):
            device = point.get(role)
            if device is None:
                continue
            if device not in devices:
                report.add("unknown_device", point.at(role), written=device, right=choose(device, devices))
            elif device in used:
                report.add("device_twice", point.at(role), device=device, other=report.dotted(used[device]))
            used.setdefault(device, point.at(role))
    for device in site.tables("device"):
        if device.get("id") and device.get("id") not in used:
            report.hint("device_unused", device.at("id"), device=device.get("id"))


def _check_subs(points: list[Given], report: Report) -> None:
    """The meters behind a main meter are points of their own, each behind one main meter, and none behind itself."""
    known = [p.get("id") for p in points if p.get("id")]
    behind: dict[str, str] = {}
    for point in points:
        own = point.get("id") or ""
        for sub in point.get("subs") or ():
            if sub not in known:
                report.add("unknown_sub", point.at("subs"), written=sub, right=choose(sub, known))
            elif sub in behind:
                report.add("sub_twice", point.at("subs"), sub=sub, other=behind[sub])
            elif sub in {own, *_mains_of(own, behind)}:
                report.add("sub_of_itself", point.at("subs"), sub=sub)
            else:
                behind[sub] = own


def _mains_of(point: str, behind: dict[str, str]) -> Iterator[str]:
    while point in behind:
        point = behind[point]
        yield point


def _check_zone(point: Given, report: Report) -> ZoneInfo | None:
    name = point.get("time_zone")
    if name is None:
        return None
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):  # "../x" is a ValueError, "Asia" alone is a folder
        zones = available_timezones()
        inside = [zone for zone in zones if zone.startswith(f"{name}/")]
        report.add(
            "unknown_time_zone",
            point.at("time_zone"),
            written=name,
            right=listed(inside) if inside else choose(name, zones),
        )
        return None


def _check_demand(point: Given, report: Report) -> None:
    demand = point.table("demand")
    if demand is None:
        return
    period, slide = demand.get("period_min"), demand.get("slide_min")
    if period and 60 % period:
        report.add("period_divides", demand.at("period_min"), period=period)
    elif period and slide and period % slide:
        at = "slide_min" if "slide_min" in demand.written else "period_min"
        report.add("slide_divides", demand.at(at), period=period, slide=slide)


def _check_order(entries: list[Given], name: str, zone: ZoneInfo | None, report: Report) -> None:
    """Oldest first, and never two from one instant."""
    previous: tuple[Ms, Given] | None = None
    for entry in entries:
        start = entry.get("from")
        if start is None:
            continue
        ms = start.ms(zone or ZoneInfo("UTC"))
        if previous is not None and ms <= previous[0]:
            before = previous[1].get("from")
            code = "from_twice" if ms == previous[0] else "from_order"
            report.add(code, entry.at("from"), timeline=name, start=str(start), before=str(before))
        if previous is None or ms > previous[0]:
            previous = ms, entry


def _check_verified(entry: Given, name: str, report: Report) -> None:
    if entry.get("state") != "verified":
        return
    missing = [key for key in ("verified_at", "verified_by") if key not in entry.written]
    if missing:
        start = entry.get("from")
        fields = {"timeline": name, "start": str(start or "?"), "missing": " and ".join(missing)}
        report.hint("verified_by_nobody", entry.at("state"), **fields)


def _check_capacity(entry: Given, report: Report) -> None:
    start = str(entry.get("from") or "?")
    needed = UNIT_OF_BASIS.get(entry.get("basis") or "")
    if needed:
        other = "kw" if needed == "kva" else "kva"
        for key, instead in ((other, needed), (f"running_{other}", f"running_{needed}")):
            if key in entry.written:
                fields = {"basis": entry.get("basis"), "instead": instead, "start": start}
                report.add("basis_unit", entry.at(key), **fields)
        if needed not in entry.written and other not in entry.written:
            report.add("no_capacity", entry.at(needed), basis=entry.get("basis"), needed=needed, start=start)
    unit = needed or ("kva" if "kva" in entry.written else "kw")
    _check_running(entry, unit, start, report)


def _check_running(entry: Given, unit: str, start: str, report: Report) -> None:
    key = f"running_{unit}"
    contracted, running, status = entry.get(unit), entry.get(key), entry.get("status")
    if status == "reduced" and not {"running_kva", "running_kw"} & entry.written:
        report.add("reduced_to_what", entry.at("status"), needed=key, start=start)
    if running is None or contracted is None:
        return
    if running > contracted:
        report.add("running_above", entry.at(key), running=f"{running:g}", contracted=f"{contracted:g}", unit=unit)
    elif status == "normal" and running != contracted:
        report.add("running_normal", entry.at(key), running=f"{running:g}", contracted=f"{contracted:g}", unit=unit)


def ratio_of(written: str) -> tuple[float, float]:
    """Rated primary and rated secondary of `"400/5"`."""
    primary, secondary = written.split("/")
    return float(primary), float(secondary)


def _check_ct(entry: Given, report: Report) -> None:
    written = entry.get("ratio")
    if written is None:
        return
    primary, secondary = ratio_of(written)
    if secondary not in SECONDARIES:
        report.add("ct_secondary", entry.at("ratio"), ratio=written)
    if primary in STANDARD_PRIMARIES:
        return
    near = sorted(sorted(STANDARD_PRIMARIES, key=lambda p: abs(p - primary))[:2])
    fields = {"ratio": written, "primary": f"{primary:g}", "near": ", ".join(map(str, near))}
    if primary in IEC_PRIMARIES:
        report.hint("ct_rare", entry.at("ratio"), **fields)
    else:
        report.add("ct_primary", entry.at("ratio"), **fields)


def _check_vt(entry: Given, report: Report) -> None:
    written = entry.get("ratio")
    if written is None:
        return
    primary, secondary = ratio_of(written)
    if primary < secondary:
        report.add("vt_turned", entry.at("ratio"), ratio=written)


def _check_transformers(point: Given, report: Report) -> None:
    """A point has transformers or a direct meter; with neither, no value of it can be computed."""
    if "imax_a" in point.written:
        for name in ("ct", "vt"):
            if name in point.written:
                report.add("direct_and_ct", point.at("imax_a"), timeline=name)
    elif "ct" not in point.written and "meter" in point.written:
        report.hint("no_k", point.path)


def _check_size(point: Given, report: Report) -> None:
    """Contract and measuring range are of one size; what is not may be a slip of the pen in either."""
    voltage_v, wiring = point.get("u_n_v"), point.get("wiring")
    if voltage_v is None or wiring is None:
        return
    factor = 1.0 if wiring == "1p2w" else sqrt(3)
    for entry, rated_a in _in_force(point):
        unit = "kva" if entry.get("kva") else "kw"
        contracted = entry.get(unit)
        s_cap_kva = factor * voltage_v * rated_a / 1000
        if contracted is None or LOW_USE * s_cap_kva <= contracted <= s_cap_kva:
            continue
        code = "ct_small" if contracted > s_cap_kva else "ct_large"
        fields = {"contracted": f"{contracted:g}", "unit": unit, "rated": f"{rated_a:g}", "s_cap": f"{s_cap_kva:.0f}"}
        report.hint(code, entry.at(unit), **fields)


def _in_force(point: Given) -> Iterator[tuple[Given, float]]:
    """Each capacity entry with the rated primary in force when it begins, or the first one after."""
    direct = point.get("imax_a")
    rated = [
        (ct.get("from"), ratio_of(ct.get("ratio"))[0])
        for ct in point.tables("ct")
        if ct.get("ratio") and ct.get("from")
    ]
    utc = ZoneInfo("UTC")
    for entry in point.tables("capacity"):
        start = entry.get("from")
        if direct is not None:
            yield entry, direct
        elif rated and start is not None:
            before = [amperes for since, amperes in rated if since.ms(utc) <= start.ms(utc)]
            yield entry, before[-1] if before else rated[0][1]


def _check_work_orders(point: Given, zone: ZoneInfo | None, report: Report) -> None:
    orders = point.tables("work_order")
    once(orders, report)
    for order in orders:
        start, end = order.get("from"), order.get("to")
        if start and end and end.end_ms(zone or ZoneInfo("UTC")) <= start.ms(zone or ZoneInfo("UTC")):
            report.add("ends_first", order.at("to"), order=order.get("id") or "?", start=str(start), end=str(end))
