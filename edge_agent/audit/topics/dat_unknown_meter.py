"""未知/更换电表: is the meter that answers the one that the archive has?

It was exchanged and the archive does not know, or another meter answers at this address. While it is open, the number
in the archive is in conflict for all other topics.
"""

from __future__ import annotations

from collections.abc import Iterator

from msgspec.structs import replace

from edge_agent.audit.topic import Answer, AuditTopic, Release, Site, Verdict
from edge_agent.load.views import Claim, LoadView, Role
from edge_agent.model import Quantity


def examine(view: LoadView, site: Site, release: Release) -> Iterator[Verdict]:
    for claim in view.claims:
        if claim.role is Role.METER and claim.quantity is Quantity.METER_SERIAL:
            yield _verdict(claim, site)


def _verdict(claim: Claim, site: Site) -> Verdict:
    plain = Verdict(claim.point, Answer.UNKNOWN, claim.at_ms, claim.at_ms, decided_ms=claim.at_ms, confirmed=True,
                    block=False)  # fmt: skip
    fact = site.serial(claim.point, claim.at_ms)
    if fact is None:
        return replace(plain, reason="not_in_archive")
    if not plain_number(str(claim.value)):
        return replace(plain, reason="says_nothing")
    same = plain_number(str(claim.value)) == plain_number(str(fact.value))
    if not claim.again:
        return replace(plain, answer=Answer.BETWEEN, reason="read_once")
    if same:
        return replace(plain, answer=Answer.CLEAR)
    return replace(
        plain, answer=Answer.BREACH, low=1.0, high=1.0, facts=(fact,),
        measured={"device": claim.device, "archive": str(fact.value), "shown": str(claim.value),
                  "disputed": fact.name},
    )  # fmt: skip


def plain_number(written: str) -> str:
    """A number as it is compared: leading zeros, blanks and the case of letters say nothing."""
    return "".join(written.split()).strip("\0").lstrip("0").upper()


TOPIC = AuditTopic("dat-unknown-meter", examine, needs=("meter_serial",), disputes=True)
