"""A customer as a test writes it down: the keys of a point in a site file, and the real archive made of them."""

from __future__ import annotations

from datetime import datetime
from functools import cache
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import tomli

from edge_agent.archive import Archive
from edge_agent.assembly import releases_of, topics_of
from edge_agent.audit.topic import AuditTopic, Release
from edge_agent.model import Ms
from edge_agent.settings import config_files
from edge_agent.settings.site import Site, as_instant

SHANGHAI = ZoneInfo("Asia/Shanghai")
MINUTE_MS = 60_000
DAY_MS = 86_400_000

FACTORY = """
[site]
utility = "demo"
gateway = "gw-1"
[mqtt]
host = "127.0.0.1"
"""

POINT: dict[str, Any] = tomli.loads("""
id = "p"
meter = "m1"
time_zone = "Asia/Shanghai"
u_n_v = 400
wiring = "3p4w"
accepted = { at = 2026-01-05, by = "t-17" }
capacity = [ { from = 2024-01-01, kva = 250, basis = "capacity", state = "verified" } ]
ct = [ { from = 2024-01-01, ratio = "400/5", state = "verified" } ]
meter_serial = [ { from = 2024-01-01, serial = "0000123456", state = "verified" } ]
""")
"""The factory of the paper: 250 kVA behind a CT 400/5, every fact verified, the point accepted."""


def archive_of(*points: dict[str, Any]) -> Archive:
    """Points that differ from the factory in the keys given; None takes a key away."""
    written = [{k: v for k, v in {**POINT, **changes}.items() if v is not None} for changes in points or ({},)]
    return Archive.of(msgspec.convert({**tomli.loads(FACTORY), "point": written}, Site, dec_hook=as_instant))


@cache
def published(release_set: str = "cn-sg-meter") -> tuple[dict[str, Release], dict[str, AuditTopic]]:
    """The releases in config/releases and the code of their topics."""
    releases = releases_of(config_files(), release_set)
    return releases, {t.id: t for t in topics_of(releases)}


def local_ms(written: str, zone: ZoneInfo = SHANGHAI) -> Ms:
    """`"2026-03-10 10:15"`, local, as UTC ms."""
    return round(datetime.fromisoformat(written).replace(tzinfo=zone).timestamp() * 1000)
