"""逆相序: does the meter say that its voltages or its currents follow one another in the wrong order?

Only the meter sees the angles: bits 0 and 1 of its status word 7 (DL/T 645-2007 [M]). One word is no word: the release
says how many of an hour are.
"""

from __future__ import annotations

from collections.abc import Iterator

from edge_agent.audit.topic import Answer, AuditTopic, Release, Site, Verdict
from edge_agent.load.views import Claim, LoadView, Role
from edge_agent.model import Quantity

OF = ("voltage", "current")


def examine(view: LoadView, site: Site, release: Release) -> Iterator[Verdict]:
    for claim in view.claims:
        if claim.quantity is Quantity.METER_STATUS_7 and claim.role is Role.METER:
            yield from _judge(claim, site)


def _judge(claim: Claim, site: Site) -> Iterator[Verdict]:
    bits = _bits(claim.value)
    serial = site.serial(claim.point, claim.at_ms)
    for place, what in enumerate(OF):
        answer = Answer.UNKNOWN if bits is None else Answer.BREACH if bits >> place & 1 else Answer.CLEAR
        share = float(answer is Answer.BREACH)
        yield Verdict(
            claim.point, answer, claim.at_ms, claim.at_ms, share, share, decided_ms=claim.at_ms, confirmed=True,
            block=False, key=what, reason="" if bits is not None else "status_word_unclear",
            measured={"sequence_of": what, "status_word": str(claim.value), "device": claim.device},
            facts=(serial,) if serial is not None else (), origin="meter",
        )  # fmt: skip


def _bits(word: str | float) -> int | None:
    """The eight bits that the word defines, the lowest first.

    A meter sends them as a number, or as a string of bits that begins with the first of them; the other half is zero.
    """
    try:
        number = int(str(word), 16)
    except ValueError:
        return None
    upper, lower = number >> 8, number & 0xFF
    if upper > 0xFF or (upper and lower):
        return None
    return lower if lower or not upper else int(f"{upper:08b}"[::-1], 2)


TOPIC = AuditTopic("met-phase-seq", examine, needs=("meter_status",))
