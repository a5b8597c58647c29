"""采集失败: has a device not answered for long enough that data are missing?

A dead link is one finding that names its devices, not one for each of them.
"""

from __future__ import annotations

from collections.abc import Iterator

from edge_agent.audit.topic import Answer, AuditTopic, Release, Site, Verdict
from edge_agent.load.views import Comm, LoadView


def examine(view: LoadView, site: Site, release: Release) -> Iterator[Verdict]:
    least = int(release.params["failures"])
    good = int(release.params["good"])
    down: dict[str, list[Comm]] = {}
    for comm in view.comms:
        if comm.link_down:
            down.setdefault(comm.link, []).append(comm)
        else:
            yield _verdict(comm, comm.point or "", comm.device, [comm], least, good, release)
    # A device that answers, or keeps silent by itself, shows that its link lives.
    up = {c.link: c for c in view.comms if not c.link_down and (c.good >= good or c.failures)}
    for link, comms in down.items():
        longest = min(comms, key=lambda c: c.failing_since_ms if c.failing_since_ms is not None else c.now_ms)
        yield _verdict(longest, "", f"link-{link}", comms, least, good, release)
    for link, comm in up.items():
        if link not in down:
            yield Verdict("", Answer.CLEAR, comm.now_ms, comm.now_ms, key=f"link-{link}", confirmed=True)


def _verdict(comm: Comm, point: str, key: str, devices: list[Comm], least: int, good: int, release: Release) -> Verdict:
    since = comm.failing_since_ms if comm.failing_since_ms is not None else comm.now_ms
    silent_s = (comm.now_ms - since) / 1000
    if comm.failures >= least and silent_s > release.levels[0].above:
        answer = Answer.BREACH
    elif comm.good >= good:
        answer = Answer.CLEAR
    else:
        answer = Answer.BETWEEN
    measured = {
        "silent_s": round(silent_s),
        "failures": comm.failures,
        "cause": comm.cause,
        "detail": comm.detail,
        "link": comm.link,
        "devices": ", ".join(sorted(c.device for c in devices)),
    }
    if comm.last_good_ms is not None:
        measured["last_good_at_ms"] = comm.last_good_ms
    return Verdict(
        point, answer, since, comm.now_ms, low=silent_s, high=silent_s, decided_ms=comm.now_ms, confirmed=True,
        block=False, key=key, measured=measured,
    )  # fmt: skip


TOPIC = AuditTopic("dat-comm", examine, needs=("communication",))
