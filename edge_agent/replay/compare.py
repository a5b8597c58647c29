"""Findings of the same data under two release sets, set side by side: what is new, gone, moved, judged otherwise.

Findings of a month or a day have the same id in both runs. Those of an episode are named after its first interval,
which may be another one: they are paired where they overlap in time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from edge_agent.audit.topic import Step, StepKind
from edge_agent.model import Ms

EVER: Ms = 2**62


class Told(NamedTuple):
    """One finding as its steps told it. `cleared_ms` is None while it is open where the data end."""

    finding: str
    topic: str
    point: str
    key: str
    release: str
    severity: str
    route: str
    opened_ms: Ms
    cleared_ms: Ms | None

    @property
    def span(self) -> tuple[Ms, Ms]:
        return self.opened_ms, EVER if self.cleared_ms is None else self.cleared_ms


class Pair(NamedTuple):
    """The same finding before and after."""

    before: Told
    after: Told


@dataclass(frozen=True, slots=True)
class Comparison:
    """`moved`: opened or cleared at another instant; `regraded`: the same span, another severity."""

    new: list[Told] = field(default_factory=list)
    gone: list[Told] = field(default_factory=list)
    moved: list[Pair] = field(default_factory=list)
    regraded: list[Pair] = field(default_factory=list)
    same: list[Pair] = field(default_factory=list)

    @property
    def differs(self) -> bool:
        return bool(self.new or self.gone or self.moved or self.regraded)

    def plain(self) -> dict[str, Any]:
        """For `--json`: times as UTC ms."""
        return {
            "new": [t._asdict() for t in self.new],
            "gone": [t._asdict() for t in self.gone],
            "moved": [{"before": p.before._asdict(), "after": p.after._asdict()} for p in self.moved],
            "regraded": [{"before": p.before._asdict(), "after": p.after._asdict()} for p in self.regraded],
            "same": len(self.same),
        }


def told(steps: Sequence[Step]) -> Told:
    first, last = steps[0], steps[-1]
    cleared = [s.time_ms for s in steps if s.kind is StepKind.CLEARED]
    return Told(
        first.finding, first.topic, first.point, first.key, first.release, last.severity.value, last.route.value,
        first.opened_ms, cleared[-1] if cleared and not last.active else None,
    )  # fmt: skip


def compare(before: Mapping[str, Sequence[Step]], after: Mapping[str, Sequence[Step]]) -> Comparison:
    """Steps by finding, of two runs over the same data."""
    old = {f: told(steps) for f, steps in before.items() if steps}
    new = {f: told(steps) for f, steps in after.items() if steps}
    pairs = [Pair(old.pop(f), new.pop(f)) for f in sorted(old.keys() & new.keys())]
    for one in sorted(old.values(), key=lambda t: t.opened_ms):
        other = next((t for t in new.values() if _one_episode(one, t)), None)
        if other is not None:
            pairs.append(Pair(old.pop(one.finding), new.pop(other.finding)))
    out = Comparison(sorted(new.values(), key=_order), sorted(old.values(), key=_order))
    for pair in sorted(pairs, key=lambda p: _order(p.before)):
        if pair.before.span != pair.after.span:
            out.moved.append(pair)
        elif pair.before.severity != pair.after.severity:
            out.regraded.append(pair)
        else:
            out.same.append(pair)
    return out


def _one_episode(one: Told, other: Told) -> bool:
    same = (one.topic, one.point, one.key) == (other.topic, other.point, other.key)
    return same and one.span[0] < other.span[1] and other.span[0] < one.span[1]


def _order(told: Told) -> tuple[Ms, str]:
    return told.opened_ms, told.finding
