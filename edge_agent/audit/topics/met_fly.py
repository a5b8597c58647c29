"""飞走: does the register move many times as fast as the powers beside it say?

Within what the transformers carry the block of the demand period says so; beyond it the ledger books no energy and
tells a jump, which is held against the most that can have flowed. Where jump follows upon jump the register moves, and
is held against the powers as a block is. A meter that was exchanged jumps too: without its serial nobody can tell.
"""

from __future__ import annotations

from collections.abc import Iterator

from msgspec.structs import replace

from edge_agent.audit.flight import Flown
from edge_agent.audit.pace import Paced, Paces, reason_of
from edge_agent.audit.topic import Answer, AuditTopic, Release, Site, Verdict
from edge_agent.load.answers import CannotSay
from edge_agent.load.views import LoadView, RegisterEvent


def examine(view: LoadView, site: Site, release: Release) -> Iterator[Verdict]:
    for paced in view.studied:
        if paced.kind == "block":
            yield _block(paced, release)
        elif paced.kind == "jump" and paced.event is not None:
            yield _jump(paced, paced.event, site, release)


def _block(paced: Paced, release: Release) -> Verdict:
    last, said = paced.last, paced.said
    plain = Verdict(paced.point, Answer.UNKNOWN, paced.start_ms, paced.end_ms, decided_ms=paced.decided_ms)
    if last is None:
        return replace(plain, reason=reason_of(said) if isinstance(said, CannotSay) else "")
    if last.expected_low <= float(release.params["fly_expected_wh"]):
        return replace(plain, reason="too_little_expected")
    low = max(0.0, last.moved_wh - last.step_wh) / last.expected_high
    high = (last.moved_wh + last.step_wh) / last.expected_low
    fly = float(release.params["fly"])
    answer = Answer.BREACH if low > fly else Answer.CLEAR if high < fly else Answer.BETWEEN
    return replace(
        plain, answer=answer, low=round(low, 4), high=round(high, 4),
        measured={
            "quantity": "active_energy_import",
            "moved_kwh": round(last.moved_wh / 1000, 4),
            "expected_kwh": {"low": round(last.expected_low / 1000, 4), "high": round(last.expected_high / 1000, 4)},
        },
    )  # fmt: skip


def _jump(paced: Paced, event: RegisterEvent, site: Site, release: Release) -> Verdict:
    last = paced.last
    plain = Verdict(
        paced.point,
        Answer.UNKNOWN,
        paced.start_ms,
        paced.end_ms,
        decided_ms=paced.decided_ms,
        confirmed=True,
        block=False,
    )
    if last is None or last.expected_high <= 0:
        return replace(plain, reason="ratio_unknown")
    if not event.serial_known:
        return replace(plain, reason="serial_unknown")
    most = last.moved_wh / last.expected_high
    if paced.flown is not None and not (event.confirmed and most > float(release.params["fly"])):
        return _flight(plain, paced.flown, last.step_wh, event, site, release)
    if not event.confirmed:
        return replace(plain, reason="read_once")
    serial = site.serial(event.point, event.after_ms)
    return replace(
        plain, answer=Answer.BREACH if most > float(release.params["fly"]) else Answer.BETWEEN,
        low=round(most, 4), high=round(most, 4), facts=(serial,) if serial is not None else (),
        measured={
            "quantity": event.quantity.value,
            "before": event.before,
            "after": event.after,
            "before_at_ms": event.before_ms,
            "after_at_ms": event.after_ms,
            "moved_kwh": round(last.moved_wh / 1000, 4),
            "expected_kwh": {"low": 0.0, "high": round(last.expected_high / 1000, 4)},
        },
    )  # fmt: skip


def _flight(
    plain: Verdict, flown: Flown, step_wh: float, event: RegisterEvent, site: Site, release: Release
) -> Verdict:
    """The register has jumped on from where the last jump ended: each level between was left behind by the next."""
    plain = replace(plain, start_ms=flown.start_ms)
    if not flown.seen or step_wh <= 0 or flown.high_wh <= 0:
        return replace(plain, reason="register_or_power_missing")
    if flown.low_wh <= float(release.params["fly_expected_wh"]):
        return replace(plain, reason="too_little_expected")
    low, high = max(0.0, flown.moved_wh - step_wh) / flown.high_wh, (flown.moved_wh + step_wh) / flown.low_wh
    serial = site.serial(event.point, event.after_ms)
    return replace(
        plain, answer=Answer.BREACH if low > float(release.params["fly"]) else Answer.BETWEEN,
        low=round(low, 4), high=round(high, 4), facts=(serial,) if serial is not None else (),
        measured={
            "quantity": event.quantity.value,
            "before": event.after - flown.moved_wh,
            "after": event.after,
            "before_at_ms": flown.start_ms,
            "after_at_ms": event.after_ms,
            "moved_kwh": round(flown.moved_wh / 1000, 4),
            "expected_kwh": {"low": round(flown.low_wh / 1000, 4), "high": round(flown.high_wh / 1000, 4)},
        },
    )  # fmt: skip


TOPIC = AuditTopic("met-fly", examine, needs=("energy_register", "active_power"), study=Paces)
