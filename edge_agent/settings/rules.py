"""Rules between the keys of a site file that are about no point, link or device: broker, limits, clock, calendars."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from edge_agent.settings.mistake import Report
from edge_agent.settings.placed import CREDENTIALS, placed
from edge_agent.settings.shape import Given, nearest
from edge_agent.words import Phrase, phrase


def check_mqtt(site: Given, folder: Path, report: Report) -> None:
    mqtt = site.table("mqtt")
    if mqtt is None:
        return
    if mqtt.get("ack") == "broker" and mqtt.get("version") == "3.1.1":
        report.add("ack_broker_311", mqtt.at("ack"))
    if mqtt.get("password_file") and "username" not in mqtt.written:
        report.add("password_alone", mqtt.at("password_file"))
    check_file(mqtt, "password_file", folder, report)
    tls = mqtt.table("tls")
    if tls is None:
        return
    for one, other in (("cert", "key"), ("key", "cert")):
        if one in tls.written and other not in tls.written:
            report.add("tls_pair", tls.at(one), other=other)
    for key in ("ca", "cert", "key"):
        check_file(tls, key, folder, report)


def check_file(table: Given, key: str, folder: Path, report: Report) -> Path | None:
    """The file's path, if it can be read from here."""
    if table.get(key) is None:
        return None
    path = placed(table.get(key), folder)
    try:
        if path.is_relative_to(CREDENTIALS) and not path.parent.is_dir():
            report.hint("credential_unseen", table.at(key), path=str(path))
            return None
        with path.open("rb"):
            return path
    except FileNotFoundError:
        report.add("no_such_file", table.at(key), path=str(path))
    except (OSError, ValueError) as error:
        if path.is_relative_to(CREDENTIALS):
            report.hint("credential_unseen", table.at(key), path=str(path))
            return None
        cause = getattr(error, "strerror", None) or str(error)
        report.add("closed_file", table.at(key), path=str(path), cause=cause)
    return None


def check_numbers(site: Given, report: Report) -> None:
    """Limits that only make sense together."""
    for table, low, high in (("delivery", "window", "unacked"),):
        given = site.table(table)
        if given is None or given.get(low) is None or given.get(high) is None:
            continue
        if given.get(low) > given.get(high):
            at = low if low in given.written else high
            report.add("above", given.at(at), low=low, high=high, got=given.get(low), limit=given.get(high))


def check_clock(site: Given, report: Report) -> None:
    clock = site.table("clock")
    if clock is None or clock.get("kind") is None:
        return
    if clock.get("kind") == "system":
        for key in ("rate", "start", "anchor_bt_ms"):
            if key in clock.written:
                report.add("clock_system", clock.at(key))
        return
    for key in ("rate", "start"):
        if key not in clock.written:
            report.add("clock_scaled", clock.at(key))


def check_calendars(site: Given, report: Report) -> None:
    once(site.tables("calendar"), report)
    for calendar in site.tables("calendar"):
        days = calendar.get("days") or ()
        for day in sorted({d for d in days if days.count(d) > 1}):
            report.add("day_twice", calendar.at("days"), day=day.isoformat())


def once(tables: Iterable[Given], report: Report) -> None:
    """No two entries of a list have one id."""
    seen: dict[str, int] = {}
    for table in tables:
        name = table.get("id")
        if not name:
            continue
        if name in seen:
            report.add("id_twice", table.at("id"), kind=str(table.path[0]), id=name, line=seen[name])
        seen.setdefault(name, report.line(table.at("id")))


def choose(written: str, known: Iterable[str]) -> Phrase:
    """What would be right instead of a name that nobody knows."""
    names = sorted(known)
    near = nearest(written, names)
    if near:
        return phrase("check.right.near", near=near)
    if not names:
        return phrase("check.right.none_yet")
    return listed(names)


def listed(known: Iterable[str]) -> Phrase:
    """The names there are, or the first of them."""
    names = sorted(known)
    return phrase("check.right.known", known=", ".join(names[:12]) + ("" if len(names) <= 12 else ", …"))
