"""Rules between the keys of links and devices: which key goes with which kind of link and which protocol."""

from __future__ import annotations

from collections.abc import Hashable
from importlib.util import find_spec
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from edge_agent.settings.dlms_rules import addressed, check_dlms
from edge_agent.settings.locate import KeyPath
from edge_agent.settings.mistake import Report, SiteError
from edge_agent.settings.profile import Profiles
from edge_agent.settings.rules import choose, once
from edge_agent.settings.shape import Given
from edge_agent.words import phrase

MODBUS_PORT = 502
PORTS = {"modbus-tcp": MODBUS_PORT, "dlms-tcp": 4059}
"""Where a protocol's own service is, if the site file does not say."""

LISTEN_LEAST_S = {False: 60, True: 960}
"""How long a line is listened to before the first question; on a settlement meter's line a collection terminal that
reads it every quarter of an hour must be heard."""

_LINE = ("baud", "parity", "data_bits", "stop_bits", "settlement", "shared_line", "listen_s", "echo")
_EVERY = ("id", "kind", "timeout_s")


class _Kind(NamedTuple):
    """What a kind of link takes, cannot do without, and which drivers speak on it."""

    keys: tuple[str, ...]
    needs: tuple[str, ...]
    drivers: tuple[str, ...]


_ON_LINES = ("modbus", "dlt645", "dlt698", "dlms")

KINDS = {
    "modbus-tcp": _Kind(("host", "port", "connect_timeout_s"), ("host",), ("modbus",)),
    "dlms-tcp": _Kind(("host", "port", "connect_timeout_s"), ("host",), ("dlms",)),
    "serial": _Kind(("path", *_LINE), ("path",), _ON_LINES),
    "tcp-serial": _Kind(("host", "port", "connect_timeout_s", *_LINE), ("host", "port"), _ON_LINES),
}

ADDRESSED_BY = {"modbus": "unit", "dlt645": "address", "dlt698": "address", "dlms": "dlms"}
"""The key that says which device on the link is meant."""

EXTRAS = {"dlt698": "dlt698"}
"""Drivers that need a package which not every gateway has, and its name, which is the extra's as well."""


def check_links(site: Given, report: Report) -> None:
    once(site.tables("link"), report)
    seen: dict[Hashable, KeyPath] = {}
    for link in site.tables("link"):
        kind = KINDS.get(link.get("kind") or "")
        if kind is None:
            continue
        for key in sorted(link.written & set(_all_keys()) - {*_EVERY, *kind.keys}):
            report.add("link_key", link.at(key), kind=link.get("kind"), right=", ".join(kind.keys))
        for key in kind.needs:
            if key not in link.written:
                report.add("link_needs", link.at(key), kind=link.get("kind"), example=_EXAMPLE[key])
        _check_endpoint(link, seen, report)
        if "path" in kind.keys:
            _check_path(link, report)
        if "listen_s" in kind.keys:
            _check_listening(link, report)


_EXAMPLE = {"host": '"192.168.1.50"', "port": "4001", "path": '"/dev/serial/by-id/usb-..."'}


def _all_keys() -> set[str]:
    return {key for kind in KINDS.values() for key in kind.keys}


def _check_endpoint(link: Given, seen: dict[Hashable, KeyPath], report: Report) -> None:
    """No two links lead to one channel."""
    host, path = link.get("host"), link.get("path")
    port = link.get("port") or (PORTS.get(link.get("kind"), MODBUS_PORT) if "port" not in link.written else None)
    place: str | tuple[str, int] | None = None
    if link.get("kind") == "serial":
        place = path and str(PurePosixPath(path))
    elif host is not None and port is not None:
        place = (host.lower(), port)
    if not place:
        return
    first = seen.setdefault(place, link.path)
    if first == link.path:
        return
    if link.get("kind") == "serial":
        report.add("same_port", link.at("path"), path=path, other=report.name(first))
    else:
        report.add("same_endpoint", link.at("host"), host=host, port=port, other=report.name(first))


def _check_path(link: Given, report: Report) -> None:
    path = link.get("path")
    if path is None:
        return
    if not path.startswith("/"):
        report.add("serial_path", link.at("path"), path=path)
    elif PurePosixPath(path).name.startswith(("ttyUSB", "ttyACM")):
        report.hint("serial_name", link.at("path"), path=path)


def _check_listening(link: Given, report: Report) -> None:
    listen_s, shared = link.get("listen_s"), link.get("shared_line")
    least_s = LISTEN_LEAST_S[bool(link.get("settlement"))]
    if listen_s is not None and listen_s < least_s and not shared:
        report.add("listen_short", link.at("listen_s"), got=f"{listen_s:g}", least=least_s)


def check_devices(site: Given, folder: Path, profiles: Profiles, report: Report) -> None:
    once(site.tables("device"), report)
    links = {link.get("id"): link for link in site.tables("link") if link.get("id")}
    seen: dict[Hashable, KeyPath] = {}
    for device in site.tables("device"):
        name = device.get("link")
        if name and name not in links:
            report.add("unknown_link", device.at("link"), written=name, right=choose(name, links))
        for key, code in (("unit", "unit_twice"), ("address", "address_twice")):
            value = device.get(key)
            if not name or value is None:
                continue
            first = seen.setdefault((name, key, value), device.path)
            if first != device.path:
                report.add(code, device.at(key), written=value, link=name, other=report.name(first))
        _check_profile(device, links.get(name), profiles, report)
        check_dlms(device, links.get(name), folder, report)
        if name and (place := addressed(device, links.get(name))) is not None:
            first = seen.setdefault((name, "dlms", place), device.path)
            if first != device.path:
                report.add("dlms_twice", device.at("dlms"), link=name, other=report.name(first))


def _check_profile(device: Given, link: Given | None, profiles: Profiles, report: Report) -> None:
    name = device.get("profile")
    if not name:
        return
    try:
        profile = profiles.get(name)
    except KeyError:
        report.add("unknown_profile", device.at("profile"), written=name, right=choose(name, profiles.names))
        return
    except SiteError as error:
        report.add("broken_profile", device.at("profile"), profile=name, file=error.mistakes[0].file)
        return
    kind = KINDS.get(link.get("kind") or "") if link else None
    if link and kind and profile.driver not in kind.drivers:
        right = phrase(
            "check.right.known", known=", ".join(sorted(k for k in KINDS if profile.driver in KINDS[k].drivers))
        )
        report.add(
            "other_driver",
            device.at("profile"),
            profile=name,
            driver=profile.driver,
            kind=link.get("kind"),
            right=right,
        )
        return
    _check_address(device, profile.driver, report)
    extra = EXTRAS.get(profile.driver)
    if extra and find_spec(extra) is None:
        report.add("extra_missing", device.at("profile"), profile=name, extra=extra)
    if link and kind and link.get("data_bits") == 7 and "data_bits" in kind.keys:
        report.add("seven_bits", link.at("data_bits"), device=device.get("id"), driver=profile.driver)


def _check_address(device: Given, driver: str, report: Report) -> None:
    """The key that the protocol addresses by is there, and the other one is not."""
    needed = ADDRESSED_BY.get(driver)
    if needed is None:
        return
    for other in sorted({*ADDRESSED_BY.values()} & device.written - {needed}):
        report.add("device_key", device.at(other), driver=driver, needed=needed)
    if needed not in device.written:
        report.add("device_needs", device.at(needed), driver=driver, right=phrase(f"check.right.{_ADDRESS[needed]}"))


_ADDRESS = {"unit": "unit", "address": "meter_address", "dlms": "dlms_table"}
