"""Energy register against the integral of power: rho = energy / expected, and whether a register stops or flies
(domain rule 4.3; ERC28 to ERC30 of the collection terminal).

The register moves in steps, so of any stretch it says its movement less or plus one step; the integral has bounds of
its own. rho carries both, and nothing is said of a stretch in which too little is expected to tell. Secondary side: Wh
as the meter counts, the integral divided by K.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import msgspec
from msgspec.structs import replace

from edge_agent.load.answers import CannotSay, Figure, Why
from edge_agent.load.methods.given import sane


class Pace(StrEnum):
    """How a register moves against what the powers say."""

    KEEPS = "keeps"
    OFF = "off"  # 超差: by more than the release allows
    FLIES = "flies"  # 飞走
    STOPS = "stops"  # 停走
    BETWEEN = "between"  # the bounds allow more than one of these


@dataclass(frozen=True, slots=True)
class PaceRule:
    """Parameters of a release; energies are secondary Wh."""

    error: float  # abs(rho - 1) above this is off
    error_expected_wh: float  # so much must be expected for that
    fly: float  # rho above this
    fly_expected_wh: float
    stop_expected_wh: float
    stop_least_s: float  # a register that stands for less has not stopped
    least_coverage: float  # share of the stretch in which power was sampled


class Stretch(msgspec.Struct, frozen=True):
    """Between two readings of a register, however far apart. Secondary side, Wh.

    `expected_low`, `expected`, `expected_high`: integral of power; time without samples counts nothing in `low` and the
    most that can flow in `high`.
    """

    seconds: float
    moved_wh: float
    step_wh: float
    expected_low: float
    expected: float
    expected_high: float
    coverage: float


class PaceTrack(msgspec.Struct, frozen=True):
    """Stretches added up since `restart` (for rho), and since the register last moved (for a stop)."""

    archive: str = ""
    seconds: float = 0.0
    seen_s: float = 0.0
    moved_wh: float = 0.0
    step_wh: float = 0.0
    low_wh: float = 0.0
    value_wh: float = 0.0
    high_wh: float = 0.0
    still_s: float = 0.0
    still_low_wh: float = 0.0
    still_wh: float = 0.0
    still_high_wh: float = 0.0
    last_moved_wh: float = 0.0  # of the last stretch alone: what flies does so at once
    last_low_wh: float = 0.0
    last_high_wh: float = 0.0


class PaceAnswer(msgspec.Struct, frozen=True):
    """`rho` of what was added up; of a stop the energy that the register missed, secondary Wh."""

    pace: Pace
    rho: Figure
    expected_wh: Figure
    missed_wh: Figure | None = None
    still_s: float = 0.0


def add(track: PaceTrack, stretch: Stretch, *, archive: str) -> PaceTrack | CannotSay:
    """One more stretch, adjoining the last one; a change of the archive begins anew with it."""
    numbers = (stretch.seconds, stretch.moved_wh, stretch.step_wh, stretch.expected_low, stretch.expected,
               stretch.expected_high, stretch.coverage)  # fmt: skip
    if not sane(*numbers):
        return CannotSay(Why.NOT_A_NUMBER, "stretch")
    if stretch.seconds <= 0 or stretch.moved_wh < 0:
        return CannotSay(Why.NOT_POSSIBLE, "stretch")
    if track.archive != archive:
        track = PaceTrack(archive)
    still = stretch.moved_wh == 0.0
    seen = max(0.0, min(1.0, stretch.coverage)) * stretch.seconds
    return PaceTrack(
        archive, track.seconds + stretch.seconds, track.seen_s + seen, track.moved_wh + stretch.moved_wh,
        max(track.step_wh, stretch.step_wh), track.low_wh + stretch.expected_low, track.value_wh + stretch.expected,
        track.high_wh + stretch.expected_high,
        track.still_s + stretch.seconds if still else 0.0,
        track.still_low_wh + stretch.expected_low if still else 0.0,
        track.still_wh + stretch.expected if still else 0.0,
        track.still_high_wh + stretch.expected_high if still else 0.0,
        stretch.moved_wh, stretch.expected_low, stretch.expected_high,
    )  # fmt: skip


def restart(track: PaceTrack) -> PaceTrack:
    """A day is over: rho begins anew, a register that stands goes on standing."""
    fresh = PaceTrack(track.archive, step_wh=track.step_wh)
    return replace(fresh, still_s=track.still_s, still_low_wh=track.still_low_wh, still_wh=track.still_wh,
                   still_high_wh=track.still_high_wh)  # fmt: skip


def pace(track: PaceTrack, rule: PaceRule) -> PaceAnswer | CannotSay:
    """How the register has moved since `restart`; a stop is said whatever the rest says."""
    if track.seconds <= 0:
        return CannotSay(Why.NO_DATA, "stretch")
    coverage = track.seen_s / track.seconds
    expected = Figure(track.low_wh, track.value_wh, track.high_wh, coverage)
    rho = _rho(track, coverage)
    # A register that stands may have been one step short of its next one.
    missed = Figure(max(0.0, track.still_low_wh - track.step_wh), track.still_wh, track.still_high_wh, coverage)
    if track.still_s >= rule.stop_least_s and missed.low >= rule.stop_expected_wh and rule.stop_expected_wh > 0:
        return PaceAnswer(Pace.STOPS, rho, expected, missed, track.still_s)
    if track.last_low_wh > rule.fly_expected_wh and _least(track) > rule.fly:
        return PaceAnswer(Pace.FLIES, rho, expected)
    if coverage < rule.least_coverage:
        return CannotSay(Why.COVERAGE, "power", coverage, rule.least_coverage)
    if track.low_wh < rule.error_expected_wh:
        return CannotSay(Why.TOO_SMALL, "expected_wh", track.low_wh, rule.error_expected_wh)
    if rho.low > 1 + rule.error or rho.high < 1 - rule.error:
        return PaceAnswer(Pace.OFF, rho, expected)
    keeps = rho.low >= 1 - rule.error and rho.high <= 1 + rule.error
    return PaceAnswer(Pace.KEEPS if keeps else Pace.BETWEEN, rho, expected)


def _least(track: PaceTrack) -> float:
    """The least that rho of the last stretch can be."""
    return (track.last_moved_wh - track.step_wh) / track.last_high_wh if track.last_high_wh > 0 else 0.0


def _rho(track: PaceTrack, coverage: float) -> Figure:
    inf = float("inf")
    return Figure(
        max(0.0, track.moved_wh - track.step_wh) / track.high_wh if track.high_wh > 0 else 0.0,
        track.moved_wh / track.value_wh if track.value_wh > 0 else (1.0 if track.moved_wh == 0 else inf),
        (track.moved_wh + track.step_wh) / track.low_wh if track.low_wh > 0 else inf,
        coverage,
    )
