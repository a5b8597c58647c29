"""The scan: at which speed and parity somebody answers, and then who, in every protocol that is spoken on such a link.

A line has one speed. So each setting gets a glance, the likeliest first and the lowest units first, until somebody
answers; there everybody is looked for, and other settings are not tried any more. Where nobody answers the rest of the
units gets a glance at each setting. How long that takes at most is known beforehand, and it never takes longer: what
was not looked at by then is said.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from edge_agent.model import LINES
from edge_agent.ports import DriverError, LinkDown
from edge_agent.sighting import Seeker, Seen, Sighting
from edge_agent.survey.place import Place, Setting
from edge_agent.survey.seekers import seekers, settings
from edge_agent.survey.watch import Notice, Spent, Stopped, Watch
from edge_agent.words import say

UNITS = range(1, 248)
FIRST_UNITS = 32
"""Units that the first glance asks: meters are numbered from 1 on."""

PER_DEVICE_S = 8.0
"""What describing a device, and looking twice where two answer, takes at most on a usual line."""

DEVICES = 32
"""So many are reckoned with: more than a line of RS-485 carries without a repeater."""


class Wanted(NamedTuple):
    """What is looked for, and for how long at most."""

    units: Sequence[int] = UNITS
    bauds: tuple[int, ...] = ()
    parities: tuple[str, ...] = ()
    thorough: bool = False
    within_s: float | None = None
    asked: Mapping[str, Any] = {}
    """By driver, what is looked for because somebody asks for it: `{"dlms": DlmsCalls()}`."""


class Found(NamedTuple):
    """Somebody, and the setting at which it answered."""

    sighting: Sighting
    setting: Setting


@dataclass
class Report:
    """What a scan has brought."""

    link: str
    kind: str
    where: str
    worst_s: float
    """How long it would have taken at most, without the listening."""
    limit_s: float
    usual_s: float = 0.0
    """How long it takes where somebody answers at the first setting that is tried, and is alone at his address."""
    listened_s: float = 0.0
    spent_s: float = 0.0
    found: list[Found] = field(default_factory=list)
    heard: tuple[str, ...] = ()
    """Other masters."""
    objection: str = ""
    """Why it was given up; "" where it was not."""
    left_out: list[str] = field(default_factory=list)
    """What was not looked at, because the time was over or somebody else has the line."""
    tried: list[Setting] = field(default_factory=list)

    @property
    def devices(self) -> list[Found]:
        return [f for f in self.found if f.sighting.seen is Seen.DEVICE]

    @property
    def setting(self) -> Setting | None:
        """Where somebody answered."""
        return self.found[0].setting if self.found else None

    @property
    def complete(self) -> bool:
        return not self.objection and not self.left_out

    def advice(self) -> list[str]:
        """What a person could look at next."""
        said = [refused(f.sighting) for f in self.found if f.sighting.refusal is not None]
        if self.objection or self.kind not in LINES:
            return said if self.found or self.objection else [say("survey.silent_tcp")]
        if not self.found:
            said.append(say("survey.silent", tried=", ".join(map(str, self.tried))))
        for f in self.found:
            if f.sighting.seen is Seen.GARBLED:
                said.append(say("survey.garbled", who=who(f.sighting), setting=f.setting))
            elif f.sighting.seen is Seen.SEVERAL:
                said.append(say("survey.several", who=who(f.sighting)))
        for driver, protocol in (("dlt645", "DL/T 645"), ("dlt698", "DL/T 698.45")):
            if any(f.sighting.driver == driver for f in self.devices):
                said.append(say("survey.settlement", protocol=protocol))
        return said


def refused(sighting: Sighting) -> str:
    """Why a device does not say who it is, or not all of it, and what to do."""
    error = sighting.refusal
    assert error is not None
    cure = say(error.code, **error.fields) if error.code else ""
    return f"{who(sighting)}: {error}. {cure}".strip()


def who(sighting: Sighting) -> str:
    """A device in words: "unit 3", "meter 123456789012", "server 1, physical 17"."""
    if sighting.driver == "modbus":
        return f"unit {sighting.address}"
    if sighting.driver == "dlms":
        server, *physical = sighting.address.split("/")
        octets = f" in {physical[1]} octets" if len(physical) > 1 else ""
        return f"server {server}" + (f", physical {physical[0]}{octets}" if physical else "")
    if not sighting.address:
        return "the meters together"
    whole = sighting.seen is not Seen.SEVERAL or len(sighting.address) == 12
    return f"meter {sighting.address}" if whole else f"meters ...{sighting.address}"


async def scan(place: Place, wanted: Wanted, notice: Notice) -> Report:
    """Listen, then look. Raises `LinkDown` where there is no channel; everything else is in the report."""
    return await Search(place, wanted, notice).run()


def reckoned_s(place: Place, wanted: Wanted, tries: Sequence[Setting]) -> tuple[float, float]:
    """How long the looking takes at most and usually, seconds, listening aside.

    The links are made for their speed, and not opened.
    """
    first, rest = _parts(wanted)
    glances, looks, usual = 0.0, 0.0, 0.0
    for n, setting in enumerate(tries):
        asks = seekers(place.made(setting), place.spec.kind, wanted.asked)
        glances += sum(s.glance_s(first) + s.glance_s(rest) for s in asks.values())
        looks = max(looks, sum(s.look_s(wanted.units, thorough=wanted.thorough) for s in asks.values()))
        if n == 0:
            usual = sum(s.glance_s(first) + s.usual_s(wanted.units) for s in asks.values())
    return glances + looks + DEVICES * PER_DEVICE_S, usual


def _parts(wanted: Wanted) -> tuple[list[int], list[int]]:
    return list(wanted.units[:FIRST_UNITS]), list(wanted.units[FIRST_UNITS:])


class Search:
    """One scan; its watch outlives it, for whoever goes on asking."""

    def __init__(self, place: Place, wanted: Wanted, notice: Notice) -> None:
        self.place = place
        self.wanted = wanted
        self.notice = notice
        self.tries = settings(place.spec.kind, place.setting, wanted.bauds, wanted.parities, wanted.asked)
        worst_s, usual_s = reckoned_s(place, wanted, self.tries)
        spec = place.spec
        self.report = Report(
            spec.id, spec.kind, spec.path or f"{spec.host}:{spec.port}", worst_s,
            worst_s if wanted.within_s is None else min(worst_s, wanted.within_s), usual_s,
        )  # fmt: skip
        self.watch = Watch(place, [*self.tries, *settings(spec.kind, place.setting, asked=wanted.asked)], notice)

    async def run(self) -> Report:
        report, watch = self.report, self.watch
        listens_s = watch.listens_s()
        times = {"usual": minutes(min(report.usual_s, report.limit_s)), "worst": minutes(report.limit_s)}
        self.notice.says(say("survey.begins", where=report.where, listen_s=f"{listens_s:.0f}", **times))
        first, rest = _parts(self.wanted)
        stages = [f"{setting}" for setting in self.tries] if self.place.is_line else [report.where]
        try:
            await watch.listen()
            watch.begin(report.limit_s)
            await self._search(first, rest, stages)
        except Stopped as objection:
            report.objection = str(objection)
        except Spent:
            report.left_out = report.left_out or stages
        except LinkDown as down:
            if not report.found:
                raise
            report.objection = str(down)
        finally:
            await self.place.close()
        report.listened_s, report.heard = watch.listened_s, watch.heard
        report.spent_s = watch.spent_s
        if report.objection and not report.left_out:
            report.left_out = stages
        return report

    async def _search(self, first: list[int], rest: list[int], stages: list[str]) -> None:
        """Raises `Stopped`, `Spent` and `LinkDown`; `left_out` says at each moment what has not been looked at."""
        report, stage = self.report, dict(zip(self.tries, stages, strict=True))
        for units in filter(None, (first, rest)):
            note = "" if units is first else f", units {units[0]} to {units[-1]}"
            queue, garbled = list(self.tries), None
            while queue or garbled:
                if garbled and not any(s.baud == garbled.baud for s in queue):
                    # No parity of this speed is understood: several who answer at once are not, either.
                    setting, garbled = garbled, None
                    if await self._look(await self._open(setting, "everybody"), setting):
                        return
                    continue
                setting = queue.pop(0)
                report.left_out = [stage[s] + note for s in (setting, *queue)]
                asks = await self._open(setting, f"units {units[0]} to {units[-1]}")
                for seeker in asks.values():
                    await self._take(seeker.glance(units, self.watch.leave), setting)
                if self._seen_at(setting):
                    await self._look(asks, setting)
                    return
                if any(f.setting == setting for f in report.found):  # its parity may be another: those come next
                    garbled = setting
                    queue.sort(key=lambda s: s.baud != setting.baud)
        report.left_out = []

    async def _look(self, asks: dict[str, Seeker], setting: Setting) -> bool:
        """Everybody at one setting; whether anybody could be understood there. What was garbled at others was his."""
        report = self.report
        others = "the other meters" if self.place.spec.kind == "dlms-tcp" else "the other units"
        report.left_out = [f"the rest at {setting}"] if self.place.is_line else [others]
        self.watch.what = f"{setting}: everybody" if self.place.is_line else "everybody"
        for seeker in asks.values():
            await self._take(seeker.look(self.wanted.units, self.watch.leave, thorough=self.wanted.thorough), setting)
        if not self._seen_at(setting):
            return False
        report.found[:] = [f for f in report.found if f.setting == setting]
        report.left_out = []
        return True

    def _seen_at(self, setting: Setting) -> bool:
        return any(f.setting == setting and f.sighting.seen is not Seen.GARBLED for f in self.report.found)

    async def _open(self, setting: Setting, units: str) -> dict[str, Seeker]:
        line = await self.place.at(setting)
        self.watch.line_opened()
        if setting not in self.report.tried:
            self.report.tried.append(setting)
        self.watch.what = f"{setting}: {units}" if self.place.is_line else units
        await line.link.open()
        return seekers(line.link, self.place.spec.kind, self.wanted.asked)

    async def _take(self, sightings: AsyncIterator[Sighting], setting: Setting) -> None:
        try:
            async for sighting in sightings:
                self._add(Found(sighting, setting))
        except LinkDown:
            raise
        except DriverError as error:  # a device that did something unheard of; the others are still there
            self.notice.says(str(error))

    def _add(self, found: Found) -> None:
        """Several meters that were seen together are not listed once they have been told apart."""
        sighting, known = found.sighting, self.report.found
        if sighting.seen is Seen.DEVICE:
            known[:] = [f for f in known if not (f.sighting.driver == sighting.driver and f.sighting.address == "")]
        known[:] = [
            f for f in known
            if (f.sighting.driver, f.sighting.address) != (sighting.driver, sighting.address)
        ]  # fmt: skip
        known.append(found)
        at = found.setting if self.place.is_line else self.report.where
        self.notice.says(say("survey.found", who=who(sighting), setting=at, seen=said(sighting)))


def said(sighting: Sighting) -> str:
    """What was seen, and what it says about itself."""
    texts = ", ".join(text for _, text in sighting.texts)
    what = say(f"survey.seen.{sighting.seen.value}")
    inventory = sighting.inventory
    has = "" if inventory is None else say("survey.lists", objects=len(inventory.objects), ours=len(inventory.matched))
    refusal = "" if sighting.refusal is None else str(sighting.refusal)
    return "; ".join(part for part in (what, sighting.detail, refusal, texts, has) if part)


def minutes(seconds: float) -> str:
    """A time as a person says it."""
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"
