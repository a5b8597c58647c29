"""Rules of [device.dlms]: which secret goes with which association, and what the data link knows.

No sentence made here holds a secret, or a part of one.
"""

from __future__ import annotations

from collections.abc import Hashable
from pathlib import Path

from edge_agent.settings.mistake import Report
from edge_agent.settings.rules import check_file
from edge_agent.settings.shape import Given

_HDLC_KEYS = ("physical", "address_size", "hdlc_max_info", "hdlc_window")
_KEYS = ("encryption_key", "authentication_key")
_MOST_SERVER = {1: 0x7F, 2: 0x7F, 4: 0x3FFF}
_MOST_CLIENT = 0x7F


def check_dlms(device: Given, link: Given | None, folder: Path, report: Report) -> None:
    dlms = device.table("dlms")
    if dlms is None:
        return
    _check_secrets(dlms, folder, report)
    _check_protection(dlms, report)
    if link is None or link.get("kind") is None:
        return
    if link.get("kind") == "dlms-tcp":
        for key in sorted(dlms.written & {*_HDLC_KEYS}):
            report.add("dlms_hdlc_key", dlms.at(key))
    else:
        _check_addresses(dlms, report)


def addressed(device: Given, link: Given | None) -> Hashable | None:
    """What tells the meter from others on its link."""
    dlms = device.table("dlms")
    if dlms is None or link is None:
        return None
    return (dlms.get("server"), None if link.get("kind") == "dlms-tcp" else dlms.get("physical"))


def _needed(dlms: Given) -> set[str]:
    """Which secrets the association rests on."""
    needed = {"password"} if dlms.get("authentication") == "lls" else set()
    if dlms.get("authentication") == "hls5" or (dlms.get("security") or "none") != "none":
        needed |= {*_KEYS}
    return needed


def _check_secrets(dlms: Given, folder: Path, report: Report) -> None:
    needed = _needed(dlms)
    for secret in ("password", *_KEYS):
        file = f"{secret}_file"
        given = {secret, file} & dlms.written
        if secret not in needed:
            for key in sorted(given):
                report.add("dlms_secret_unused", dlms.at(key))
            continue
        if not given:
            report.add("dlms_secret_missing", dlms.at(file))
        elif len(given) == 2:
            report.add("dlms_secret_twice", dlms.at(secret), file=file)
        elif secret in given and not dlms.get("force_clear_text_keys"):
            report.add("dlms_clear_text", dlms.at(secret), file=file)
        elif secret in given:
            report.hint("dlms_clear_text_forced", dlms.at(secret), file=file)
        path = check_file(dlms, file, folder, report)
        if path is not None and secret in _KEYS:
            _check_key(dlms, file, path, report)
    if dlms.get("force_clear_text_keys") and not dlms.written & {"password", *_KEYS}:
        report.hint("dlms_forced_nothing", dlms.at("force_clear_text_keys"))


def _check_key(dlms: Given, file: str, path: Path, report: Report) -> None:
    try:
        with path.open("rb") as source:
            octets = bytes.fromhex(source.read(4096).decode("ascii"))
    except (OSError, ValueError):  # a decoding error is one
        octets = b""
    if len(octets) != 16:
        report.add("dlms_key_file", dlms.at(file), path=str(path))
    elif path.stat().st_mode & 0o007:
        report.hint("dlms_key_open", dlms.at(file), path=str(path))


def _check_protection(dlms: Given, report: Report) -> None:
    security, wrap = dlms.get("security") or "none", dlms.get("wrap") or "glo"
    if {*_KEYS} & _needed(dlms) and "client_title" not in dlms.written:
        report.add("dlms_title_missing", dlms.at("client_title"))
    if "wrap" in dlms.written and security == "none":
        report.add("dlms_wrap_alone", dlms.at("wrap"))
    elif wrap.endswith("ded") and security == "authenticated":
        report.add("dlms_dedicated", dlms.at("wrap"), wrap=wrap)


def _check_addresses(dlms: Given, report: Report) -> None:
    size = dlms.get("address_size") or 1
    for key, most in (("client", _MOST_CLIENT), ("server", _MOST_SERVER[size]), ("physical", _MOST_SERVER[size])):
        value = dlms.get(key)
        if value is not None and value > most:
            report.add("dlms_address", dlms.at(key), got=value, most=most, size=size)
    if size == 1 and "physical" in dlms.written:
        report.add("dlms_physical", dlms.at("physical"))
    elif size > 1 and "physical" not in dlms.written:
        report.add("dlms_physical_missing", dlms.at("physical"), size=size)
