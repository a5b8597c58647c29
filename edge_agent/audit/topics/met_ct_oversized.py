"""互感器变比配置偏大: have the currents of a whole billing month been small against the transformers' rated primary?

At a small share of it a transformer measures less well than its class. The archive does not say of which class it is,
so only what is too small for every class is told, and only what is enough for every class is clear.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from edge_agent.audit.phases import CURRENT
from edge_agent.audit.topic import Answer, AuditTopic, Release, Site, Verdict
from edge_agent.load.views import Block, LoadView, Role
from edge_agent.model import Fact, Ms, PointId

BINS = 150
"""Of one hundredth of the rated current each; the last one holds everything above."""


class Month(NamedTuple):
    """A billing month that is over: how many blocks had how many hundredths of the rated current, and on which days."""

    point: PointId
    start_ms: Ms
    end_ms: Ms
    counts: tuple[int, ...]
    days: int
    facts: tuple[Fact, ...]


class Histogram:
    """Block means of the largest phase current, by point and billing month, in hundredths of the rated primary."""

    def __init__(self, release: Release) -> None:
        self.changed = False
        self._least = float(release.params["least_share"])
        self._coverage = float(release.params["coverage"])
        self._months: dict[PointId, dict[str, Any]] = {}

    def feed(self, view: LoadView, site: Site) -> Sequence[Month]:
        out: list[Month] = []
        for block in view.blocks:
            if block.role is Role.METER:
                out += self._take(block, site)
        return out

    def dump(self) -> Mapping[str, Any]:
        return {"months": {p: {**kept, "counts": list(kept["counts"])} for p, kept in self._months.items()}}

    def restore(self, plain: Mapping[str, Any]) -> None:
        months: dict[PointId, dict[str, Any]] = {}
        for point, kept in plain["months"].items():
            months[str(point)] = {
                "month": str(kept["month"]), "facts": str(kept["facts"]), "start": int(kept["start"]),
                "end": int(kept["end"]), "last": int(kept["last"]), "day": str(kept["day"]), "days": int(kept["days"]),
                "counts": [int(n) for n in kept["counts"]],
            }  # fmt: skip
            if len(months[point]["counts"]) != BINS:
                raise ValueError("another number of bins")
        self._months = months

    def _take(self, block: Block, site: Site) -> Iterator[Month]:
        rated = site.ratings(block.point, block.end_ms).i_rated_a
        shown = [block.means[q] for q in CURRENT if q in block.means]
        if rated is None or not shown or min(m.coverage for m in shown) < self._coverage:
            return
        month, version = site.billing_month(block.point, block.end_ms), site.facts_version(block.point)
        kept = self._months.get(block.point)
        if kept is not None and block.end_ms <= kept["last"]:
            return
        if kept is not None and kept["month"] != month and kept["facts"] == version:
            facts = site.ratings(block.point, kept["end"] - 1).facts
            yield Month(block.point, kept["start"], kept["end"], tuple(kept["counts"]), kept["days"], facts)
        if kept is None or kept["month"] != month or kept["facts"] != version:
            end_ms = site.month_end_ms(block.point, block.end_ms)
            kept = self._months[block.point] = {
                "month": month, "facts": version, "start": block.start_ms, "end": end_ms, "last": 0, "day": "",
                "days": 0, "counts": [0] * BINS,
            }  # fmt: skip
            self.changed = True
        kept["last"] = block.end_ms
        share = max(abs(m.value) for m in shown) / rated
        if share > self._least:
            kept["counts"][min(BINS - 1, int(100 * share))] += 1
            if kept["day"] != (day := site.local_day(block.point, block.end_ms).isoformat()):
                kept["day"], kept["days"], self.changed = day, kept["days"] + 1, True


def examine(view: LoadView, site: Site, release: Release) -> Iterator[Verdict]:
    for month in view.studied:
        yield _judge(month, release)


def _judge(month: Month, release: Release) -> Verdict:
    total = sum(month.counts)
    if month.days < release.params["days"]:
        return Verdict(month.point, Answer.UNKNOWN, month.start_ms, month.end_ms, block=False, reason="too_few_days")
    half, at = total / 2, 0
    for at, _ in enumerate(month.counts):
        half -= month.counts[at]
        if half <= 0:
            break
    unused_low, unused_high = 1 - (at + 1) / 100, 1 - at / 100  # the median lies within its hundredth
    breach = unused_low > release.levels[0].above
    return Verdict(
        month.point,
        Answer.BREACH if breach else Answer.CLEAR if unused_high < release.clear.below else Answer.BETWEEN,
        month.start_ms, month.end_ms, unused_low, unused_high, decided_ms=month.end_ms, confirmed=True, block=False,
        measured={
            "median_percent": [at, at + 0.5, at + 1], "days": month.days, "blocks": total,
            "histogram": " ".join(f"{n}:{c}" for n, c in enumerate(month.counts) if c)[:480],
        },
        facts=month.facts,
    )  # fmt: skip


TOPIC = AuditTopic("met-ct-oversized", examine, needs=("current",), blinded_by=("dat-implausible",), study=Histogram)
