"""What a site sends to its centre in a month while nothing is found, from the contract's own messages.

MQTT bytes are the packets of both directions. On the network each of them also carries TCP/IP and TLS, which is most of
what a small packet costs, and what a SIM card is billed for.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import msgspec

from edge_agent.archive import Archive, Point
from edge_agent.contract.demand import demand_message, demand_row
from edge_agent.contract.messages import Backlog, ChainNow, ClockNow, DiskNow, Heartbeat, LinkNow, PointState
from edge_agent.contract.shapes import rfc3339
from edge_agent.contract.topics import Topics
from edge_agent.model import Ms
from edge_agent.settings import Site

MONTH_S = 30 * 86_400
STATES_PER_DAY = 24
"""Assumed of every point: its load crosses a step of 10 % once an hour."""

_AT_MS: Ms = 1_767_225_600_000  # 2026-01-01T00:00:00Z; any instant is written with as many characters
_ANY_W = 100_000.0  # where no capacity is known
_TCP_IP = 52  # 20 of IPv4, 32 of TCP with time stamps
_SEGMENT = 1_448
_TLS_RECORD = 22  # TLS 1.3: header 5, type 1, tag 16
_PUBACK = 4
_PING = 2


class Volume(NamedTuple):
    """One kind of message over a month of 30 days; bytes of both directions."""

    kind: str
    messages: int
    message_bytes: int
    """Of one PUBLISH, header and topic included; the average where they differ."""
    mqtt_bytes: int
    network_bytes: int


def month(site: Site, archive: Archive) -> list[Volume]:
    """Demand, heartbeat, states of the points, keepalive; findings and reconnects are not foreseen."""
    topics = Topics(site.site)
    five, tls = site.mqtt.protocol == "5", site.mqtt.tls is not None
    metered = [p for p in archive.points.values() if p.meter is not None]
    found = []
    for period_min in sorted({p.period_min for p in metered}):
        rows = [_row(archive, p) for p in metered if p.period_min == period_min]
        body = demand_message(_AT_MS, _AT_MS + period_min * 60_000, rows)
        sent = publish_bytes(topics.demand, len(body), qos=1, five=five)
        found.append(_kind(f"demand {period_min} min", MONTH_S // (period_min * 60), sent, 1, tls=tls))
    sent = publish_bytes(topics.heartbeat, len(_heartbeat(site, archive)), qos=0, five=five)
    found.append(_kind("heartbeat", round(MONTH_S / site.delivery.heartbeat_s), sent, 0, tls=tls))
    if metered:
        state = len(msgspec.json.encode(PointState(state="accepted", load=0.6, findings=[])))
        each = [publish_bytes(topics.point(p.id), state, qos=1, five=five) for p in metered]
        many = len(each) * STATES_PER_DAY * MONTH_S // 86_400
        found.append(_kind("points", many, round(sum(each) / len(each)), 1, tls=tls))
    found.append(_keepalive(site.mqtt.keepalive_s, tls=tls))
    return found


def publish_bytes(topic: str, payload: int, *, qos: int, five: bool) -> int:
    """A PUBLISH packet with a payload of so many bytes (MQTT 5.0, 3.3; MQTT 3.1.1, 3.3)."""
    rest = 2 + len(topic.encode()) + (2 if qos else 0) + (1 if five else 0) + payload
    length = 1 if rest < 128 else 2 if rest < 16_384 else 3 if rest < 2_097_152 else 4
    return 1 + length + rest


def _kind(kind: str, messages: int, sent: int, qos: int, *, tls: bool) -> Volume:
    mqtt = sent + (_PUBACK if qos else 0)
    records = 2 if qos else 1
    # The message, the broker's PUBACK or bare acknowledgement, and our acknowledgement of the PUBACK.
    segments = math.ceil(sent / _SEGMENT) + (2 if qos else 1)
    network = mqtt + segments * _TCP_IP + (records * _TLS_RECORD if tls else 0)
    return Volume(kind, messages, sent, messages * mqtt, messages * network)


def _keepalive(keepalive_s: int, *, tls: bool) -> Volume:
    """A ping goes whenever nothing came for so long: a heartbeat, which nobody answers, saves none."""
    many = MONTH_S // keepalive_s
    network = 2 * _PING + 3 * _TCP_IP + (2 * _TLS_RECORD if tls else 0)
    return Volume("keepalive", many, _PING, many * 2 * _PING, many * network)


def _row(archive: Archive, point: Point) -> bytes:
    """A row as full as rows get: both powers, at 60 % of the rated capacity."""
    value = 0.6 * (archive.s_cap_va(point.id, _AT_MS) or _ANY_W)
    bounds = (value - 100, value, value + 100)
    return demand_row(point.id, source="register", coverage=0.9987, active_w=bounds, apparent_va=bounds)


def _heartbeat(site: Site, archive: Archive) -> bytes:
    return msgspec.json.encode(
        Heartbeat(
            at=rfc3339(_AT_MS),
            up_s=MONTH_S // 2,
            clock=ClockNow(quality="synced", error_ms=20),
            chain=ChainNow(last=1_000, upto=1_000),
            backlog=Backlog(depth=0),
            disk=DiskNow(free_mib=20_000, used_mib=100),
            memory_mib=50,
            links=[LinkNow(id=link.id, up=True) for link in site.link],
            archive=archive.version,
        )
    )
