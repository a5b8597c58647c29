"""Which profile fits a device: every profile of its protocol is tried, and each says how well it fits and why.

A score is the share of what could be checked and was right, and the more was checked, the nearer it can come to one.
Profiles that come out alike are named together: which of them it is was not measured. Where none fits, the numbers are
read in the other word orders as well, since a maker's clone differs in that first.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from edge_agent.model import Gap, GapCause, Profile
from edge_agent.sighting import Leave, Sighting
from edge_agent.survey.checks import Remark, remarks
from edge_agent.survey.place import Place, Setting
from edge_agent.survey.seekers import seekers
from edge_agent.survey.trial import Reads, Trial, reordered, spec_of
from edge_agent.survey.wiring import Guess, phases, side
from edge_agent.words import Phrase, phrase

FITS = 0.75
"""From here on a profile is said to fit."""

MAY_FIT = 0.5
"""From here on it is named as one that may."""

ALIKE = 0.06
"""Scores nearer than that are no difference."""

SECONDS = 10.0
"""Between the two readings of the energies."""

LIMIT_S = 600.0
"""A device is not tried for longer: so long it takes where it keeps silent at most of what it does not have."""

_UNKNOWN = 2.0
"""Weight of all that was not checked: a profile with one right register is not sure."""

UNPROBED = frozenset({"dlms", "dlt698"})
"""Drivers whose profiles are not tried: objects mean the same in every meter, or a meter lists them itself."""

_MOST_WHOLE = 8
_MOST_TWICE = 4
_ORDERS = ("ABCD", "CDAB", "BADC", "DCBA")
_TIMEOUT_S = 1.0


class Fit(NamedTuple):
    """One profile on one device."""

    profile: Profile
    score: float
    remarks: tuple[Remark, ...]
    reads: Reads
    order: str = ""
    """Another word order than the profile's, in which it was read; "" for its own."""


@dataclass
class Probed:
    """What is known of one device."""

    sighting: Sighting
    setting: Setting | None
    fits: list[Fit] = field(default_factory=list)
    """The best first; the profiles that were read as a whole."""
    passed_over: list[tuple[str, Phrase]] = field(default_factory=list)
    """Profiles that a register or two told against, with the reason."""
    reordered: list[Fit] = field(default_factory=list)
    side: Guess | None = None
    phases: Guess | None = None
    cut_short: bool = False
    """The time was over before everything had been tried."""

    @property
    def best(self) -> Fit | None:
        return self.fits[0] if self.fits and self.fits[0].score >= MAY_FIT else None

    @property
    def alike(self) -> list[Fit]:
        """Those that the best cannot be told from."""
        if self.best is None:
            return []
        return [f for f in self.fits[1:] if f.score >= self.best.score - ALIKE and f.score >= MAY_FIT]

    @property
    def verdict(self) -> Phrase:
        if self.sighting.driver in UNPROBED:
            return phrase(f"survey.unprobed.{self.sighting.driver}")
        best = self.best
        if best is None:
            return phrase("survey.no_fit", best=f"{self.fits[0].score:.2f}" if self.fits else "0")
        fields = {"profile": best.profile.name, "score": f"{best.score:.2f}"}
        if self.alike:
            others = ", ".join(f"{f.profile.name} ({f.score:.2f})" for f in self.alike)
            return phrase("survey.cannot_tell", others=others, **fields)
        return phrase("survey.fits" if best.score >= FITS else "survey.may_fit", **fields)


class Trying:
    """One device being tried; `probed` holds what is known so far."""

    def __init__(
        self, place: Place, setting: Setting, sighting: Sighting, profiles: Sequence[Profile], leave: Leave,
        seconds: float = SECONDS, opened: Callable[[], None] = lambda: None,
    ) -> None:  # fmt: skip
        self.probed = Probed(sighting, setting if place.is_line else None)
        self._place = place
        self._setting = setting
        self._profiles = [p for p in profiles if p.driver == sighting.driver]
        self._leave = leave
        self._seconds = seconds
        self._opened = opened
        self._texts = dict(sighting.texts)
        self._absent: set[str] = set()
        """Profiles whose registers the device does not have."""

    async def run(self) -> Probed:
        address = self.probed.sighting.address
        specs = [spec_of(self._place.spec.id, p, address) for p in self._profiles]
        line = await self._place.at(self._setting, specs, timeout_s=_TIMEOUT_S)
        self._opened()
        trial = Trial(line, specs, self._leave)
        kept = await self._sift(trial)
        for profile, reads in kept[:_MOST_WHOLE]:
            reads.first, reads.exchanged = await trial.whole(profile)
            self._judge(reads)
        for profile, _ in kept[_MOST_WHOLE:]:
            self.probed.passed_over.append((profile.name, phrase("survey.better_ones")))
        twice = [f for f in self.probed.fits[:_MOST_TWICE] if f.score >= MAY_FIT / 2]
        if twice:
            await asyncio.sleep(self._seconds)
            for fit in twice:
                fit.reads.second, _ = await trial.whole(fit.profile, moving=True)
                self._judge(fit.reads)
        await self._other_orders(trial)
        if self.probed.best is not None:
            self.probed.side, self.probed.phases = side(self.probed.best.reads), phases(self.probed.best.reads)
        return self.probed

    async def _sift(self, trial: Trial) -> list[tuple[Profile, Reads]]:
        """The profiles that are worth reading as a whole, the likeliest first."""
        kept: list[tuple[float, Profile, Reads]] = []
        for profile in self._profiles:
            reads = Reads(profile)
            reads.hallmarks = await trial.hallmarks(profile, self._texts)
            reads.telling = await trial.told(profile)
            reads.first = reads.telling
            found = remarks(reads, self._texts)
            refused = next(
                (o for o in reads.telling if isinstance(o, Gap) and o.cause is not GapCause.NOT_AVAILABLE), None
            )
            score = _score(found, unknown=0.0)
            if refused is not None and refused.cause is not GapCause.IMPLAUSIBLE:
                self._absent.add(profile.name)
            if refused is not None and not any(r.weight >= 8 and r.fit for r in found):
                self._pass_over(profile, phrase("survey.telling_gap", quantity=refused.quantity, why=refused.detail))
            elif score < 0.4 and any(r.weight for r in found):
                worst = min((r for r in found if r.fit is not None), key=lambda r: r.fit or 0.0)
                self._pass_over(profile, worst.says)
            else:
                kept.append((sum(r.weight * r.fit for r in found if r.fit is not None), profile, reads))
        kept.sort(key=lambda k: -k[0])
        return [(profile, reads) for _, profile, reads in kept]

    def _pass_over(self, profile: Profile, why: Phrase) -> None:
        self.probed.passed_over.append((profile.name, why))

    def _judge(self, reads: Reads) -> None:
        found = tuple(remarks(reads, self._texts))
        others = [f for f in self.probed.fits if f.profile.name != reads.profile.name]
        others.append(Fit(reads.profile, _score(found), found, reads))
        self.probed.fits = sorted(others, key=lambda f: -f.score)

    async def _other_orders(self, trial: Trial) -> None:
        """Where nothing fits well: the profiles whose registers are there, with their words the other way round."""
        best_score = self.probed.fits[0].score if self.probed.fits else 0.0
        if best_score >= FITS or self.probed.sighting.driver != "modbus":
            return
        left = _MOST_WHOLE
        for profile in self._profiles:
            wide = {r.order for r in profile.registers if r.type not in {"u16", "i16"} and ":" not in r.type}
            if profile.name in self._absent or not wide:
                continue
            for order in (o for o in _ORDERS if {o} != wide):
                reads = Reads(reordered(profile, order))
                reads.first = await trial.told(reads.profile)
                found = [r for r in remarks(reads, {}) if r.says.code != "survey.answered"]
                if not found or _score(found, unknown=0.0) < FITS or not left:
                    continue
                left -= 1
                reads.first, reads.exchanged = await trial.whole(reads.profile)
                whole = tuple(remarks(reads, self._texts))
                if _score(whole) >= max(FITS, best_score + 0.1):
                    self.probed.reordered.append(Fit(profile, _score(whole), whole, reads, order))
        self.probed.reordered.sort(key=lambda f: -f.score)


def _score(found: Sequence[Remark], unknown: float = _UNKNOWN) -> float:
    """Between 0 and 1: the share of what was checked and was right."""
    weighed = [(r.fit, r.weight) for r in found if r.fit is not None]
    total = sum(w for _, w in weighed) + unknown
    return sum(f * w for f, w in weighed) / total if total else 0.0


async def described(
    place: Place, setting: Setting, driver: str, address: str, leave: Leave, opened: Callable[[], None],
    asked: Mapping[str, Any] | None = None,
) -> Sighting | None:  # fmt: skip
    """What one device says about itself; None: nobody answers at that address. `asked`: see `Wanted`."""
    line = await place.at(setting)
    opened()
    await line.link.open()
    return await seekers(line.link, place.spec.kind, asked)[driver].describe(address, leave)
