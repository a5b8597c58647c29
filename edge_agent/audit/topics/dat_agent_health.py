"""网关自检异常: can the gateway still keep what it finds, deliver it, and say when it was?

One finding for each thing that is short. What is not known of the gateway is not judged.
"""

from __future__ import annotations

from collections.abc import Iterator

from msgspec.structs import replace

from edge_agent.audit.topic import Answer, AuditTopic, Release, Site, Verdict
from edge_agent.load.views import Health, LoadView


def examine(view: LoadView, site: Site, release: Release) -> Iterator[Verdict]:
    if view.health is not None:
        for key, value, limits in _things(view.health, release):
            yield _verdict(view, key, value, limits, view.health, release)


def _things(health: Health, release: Release) -> Iterator[tuple[str, float | None, list[float]]]:
    params = release.params
    yield "backlog", health.backlog, params["backlog"]
    yield "oldest", health.oldest_s, params["oldest_s"]
    yield "clock", health.unsynced_s, params["unsynced_s"]
    # Little is much here: limits go down, and so do both sides.
    free = None if health.disk_free_mib is None else -health.disk_free_mib
    yield "disk", free, [-limit for limit in params["disk_free_mib"]]


def _verdict(
    view: LoadView, key: str, value: float | None, limits: list[float], health: Health, release: Release
) -> Verdict:
    look_ms = round(float(release.params["look_s"]) * 1000)
    plain = Verdict("", Answer.UNKNOWN, view.now_ms - look_ms, view.now_ms, decided_ms=view.now_ms, confirmed=True,
                    block=False, key=key)  # fmt: skip
    if value is None:
        return replace(plain, reason="not_known")
    passed = float(sum(value > limit for limit in limits))
    if not passed:
        return replace(plain, answer=Answer.CLEAR)
    measured = {
        "what": key,
        "amount": f"{float(f'{abs(value):.3g}'):.10g}",  # three digits that count, and no power of ten
        "allowed": f"{abs(limits[int(passed) - 1]):g}",
        "owed": health.owed,
        "oldest_s": round(health.oldest_s or 0),
    }
    return replace(plain, answer=Answer.BREACH, low=passed, high=passed, measured=measured)


TOPIC = AuditTopic("dat-agent-health", examine, needs=("health",))
