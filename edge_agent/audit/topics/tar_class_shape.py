"""用电类别与负荷特性不符: does the load of four weeks look like another class of use than the contract's?

Against the shapes that the utility itself has loaded for its classes, into the release; without them nothing is said.
The answer asks for a look at the archive, never more: a bakery works at night.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from math import nan
from typing import Any

from edge_agent.audit.topic import Answer, AuditTopic, Release, Site, Verdict, grade
from edge_agent.load.answers import CannotSay, Why
from edge_agent.load.methods.kept import EachPlain, from_plain
from edge_agent.load.methods.load_shape import ShapeAnswer, ShapeRule, ShapeTrack, add_day, judge
from edge_agent.load.views import Day, LoadView
from edge_agent.model import PointId

DAY_MS = 86_400_000


class Shapes:
    """Weeks of every point; a verdict when one is over."""

    def __init__(self, release: Release) -> None:
        self.changed = False
        self._release = release
        self._rule = ShapeRule(**release.params["shape"])
        self._tracks: dict[PointId, ShapeTrack] = {}

    def feed(self, view: LoadView, site: Site) -> Sequence[Verdict]:
        return [verdict for day in view.days if (verdict := self._day(day, site)) is not None]

    def dump(self) -> Mapping[str, Any]:
        return EachPlain(self._tracks)

    def restore(self, plain: Mapping[str, Any]) -> None:
        tracks: dict[PointId, ShapeTrack] = {}
        for point, kept in plain.items():
            track = from_plain(ShapeTrack, kept)
            if track is None:
                raise ValueError("no track of this version")
            tracks[point] = track
        self._tracks = tracks

    def _day(self, day: Day, site: Site) -> Verdict | None:
        number = day.day.toordinal()
        track = self._tracks.get(day.point, ShapeTrack())
        if track.last_day is not None and number <= track.last_day:
            return None
        if day.end_ms - day.start_ms == DAY_MS and day.expected > 0:  # a day on which the clocks change has no slots
            off = site.day_class(day.point, day.day) != "workday"
            facts = site.facts_version(day.point)
            made = add_day(track, number, _row(day), off=off, archive=facts, rule=self._rule)
            if not isinstance(made, CannotSay):
                track = self._tracks[day.point] = made
                self.changed = True
        # Weeks are counted by the day's number; on the last day of one it is judged.
        return self._judged(day, track, site) if number % 7 == 6 else None

    def _judged(self, day: Day, track: ShapeTrack, site: Site) -> Verdict:
        contracted = site.tariff_class(day.point, day.end_ms)
        shapes: Mapping[str, Sequence[float]] = self._release.params["shapes"]
        said = judge(track, None if contracted is None else str(contracted.value), shapes, self._rule)
        if isinstance(said, CannotSay) or contracted is None:
            reason = _reason(said) if isinstance(said, CannotSay) else "class_unknown"
            return Verdict(day.point, Answer.UNKNOWN, day.start_ms, day.end_ms, block=False, reason=reason)
        margin = said.margin if said.best != said.contracted else 0.0
        return Verdict(
            day.point, grade(self._release, margin, margin), day.start_ms, day.end_ms, low=margin, high=margin,
            decided_ms=day.end_ms, confirmed=True, measured=_measured(said), facts=(contracted,),
        )  # fmt: skip


def _row(day: Day) -> list[float]:
    """The day's slots; what is not known is NaN."""
    row = [nan] * day.expected
    period_ms = (day.end_ms - day.start_ms) // day.expected
    for block in day.blocks:
        at = (block.end_ms - day.start_ms) // period_ms - 1
        if block.active is not None and 0 <= at < len(row):
            row[at] = block.active.value
    return row


def _reason(said: CannotSay) -> str:
    if said.because is Why.FACT_UNKNOWN:
        return "class_shapes_unknown" if said.what == "class_shapes" else "class_unknown"
    return "baseline_too_few" if said.because is Why.TOO_FEW else "shape_unknown"


def _measured(said: ShapeAnswer) -> dict[str, Any]:
    features = said.features
    out: dict[str, Any] = {
        "class_agreed": said.contracted,
        "class_nearest": said.best,
        "similarity": ", ".join(f"{name} {value:.3f}" for name, value in sorted(said.similarity.items())),
        "night_share": round(features.night, 3),
        "evening_share": round(features.evening, 3),
        "load_factor": round(features.load_factor, 3),
        "shape_days": said.days,
    }
    if features.work_by_off is not None:
        out["workday_by_day_off"] = round(features.work_by_off, 3)
    return out


def examine(view: LoadView, site: Site, release: Release) -> Iterator[Verdict]:
    yield from view.studied


TOPIC = AuditTopic(
    "tar-class-shape", examine, needs=("active_demand",), blinded_by=("dat-implausible", "met-fly"), study=Shapes
)
