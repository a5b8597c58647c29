"""One device, read as each profile would read it.

A profile that reads nonsense is found out by one or two registers: those that can be told from nonsense best, such as
the frequency. Only what passes that is read as a whole. What a device has refused once is not asked again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from edge_agent.fieldbus import FieldLine, requests_of
from edge_agent.model import (
    CUMULATIVE,
    DeviceSpec,
    Frame,
    Gap,
    GapCause,
    Hallmark,
    Identity,
    Outcome,
    Profile,
    Quantity,
    Reading,
    Register,
    Request,
)
from edge_agent.ports import BadReply, DriverError, LinkDown, NoReply, Refused
from edge_agent.sighting import Leave

TELLING = (
    Quantity.FREQUENCY, Quantity.VOLTAGE_L1, Quantity.VOLTAGE_L12, Quantity.POWER_FACTOR, Quantity.CURRENT_L1,
    Quantity.ACTIVE_POWER, Quantity.ACTIVE_ENERGY_IMPORT,
)  # fmt: skip
"""Quantities by how well a right value is told from a wrong one."""

_GIVEN_UP = 3
"""After so many silent questions in a row the device is not asked any more for this profile."""

_SPOKEN = "43/14:"
_PAUSE_S = 11.0
"""After a question that was not answered the same shape is not asked again before its answer cannot come any more."""


class Exchanged(NamedTuple):
    """One round trip, and what was read from it."""

    frame: Frame
    outcomes: tuple[Outcome, ...]


@dataclass
class Reads:
    """What a device said when it was read as one profile says."""

    profile: Profile
    telling: list[Outcome] = field(default_factory=list)
    hallmarks: list[tuple[Hallmark, str | None]] = field(default_factory=list)
    """What is told by, and what the device says there; None: nothing."""
    first: list[Outcome] = field(default_factory=list)
    second: list[Outcome] = field(default_factory=list)
    exchanged: list[Exchanged] = field(default_factory=list)

    def value(self, quantity: Quantity, *, again: bool = False) -> Reading | None:
        of = self.second if again else self.first
        return next((o for o in of if isinstance(o, Reading) and o.quantity is quantity), None)

    def number(self, quantity: Quantity) -> float | None:
        found = self.value(quantity)
        return None if found is None else found.value

    @property
    def gaps(self) -> list[Gap]:
        return [o for o in self.first if isinstance(o, Gap)]


def reordered(profile: Profile, order: str) -> Profile:
    """The profile as if the maker had put the words of its numbers in another order."""
    wide = {"u32", "i32", "f32", "u64", "i64", "f64"}
    return replace(
        profile, registers=tuple(replace(r, order=order) if r.type in wide else r for r in profile.registers)
    )


def spec_of(link: str, profile: Profile, driver_address: str) -> DeviceSpec:
    """The device as this profile has it; it is called by the profile's name."""
    if profile.driver == "modbus":
        return DeviceSpec(profile.name, link, int(driver_address), profile)
    return DeviceSpec(profile.name, link, 0, profile, address=driver_address)


class Trial:
    """Reads one device on a line that has a driver for each of the profiles."""

    def __init__(self, line: FieldLine, specs: Sequence[DeviceSpec], leave: Leave) -> None:
        self._line = line
        self._specs = {s.profile.name: s for s in specs}
        self._leave = leave
        self._refused: dict[tuple[str, str], Gap] = {}

    async def told(self, profile: Profile, *, most: int = 2) -> list[Outcome]:
        """The registers that tell most, until one of them is no value."""
        found: list[Outcome] = []
        known = {r.quantity: r for r in profile.registers}
        telling = [known[q] for q in TELLING if q in known][:most] or list(profile.registers[:1])
        for register in telling:
            found.append(await self._one(profile, register))
            if isinstance(found[-1], Gap):
                break
        return found

    async def hallmarks(self, profile: Profile, texts: dict[str, str]) -> list[tuple[Hallmark, str | None]]:
        """What the device says where the model says something of its own; `texts` is what it said of 43/14."""
        found: list[tuple[Hallmark, str | None]] = []
        for mark in profile.identity:
            if mark.address.startswith(_SPOKEN):
                found.append((mark, texts.get(mark.address.removeprefix(_SPOKEN))))
                continue
            register = Register(Quantity.METER_SERIAL, mark.address, mark.type, "", order=mark.order)
            outcome = await self._one(profile, register)
            found.append((mark, outcome.text if isinstance(outcome, Identity) else None))
        return found

    async def whole(self, profile: Profile, *, moving: bool = False) -> tuple[list[Outcome], list[Exchanged]]:
        """Everything once; `moving`: only the questions that bring energies or power. And the round trips of it."""
        outcomes: list[Outcome] = []
        exchanged: list[Exchanged] = []
        frames = self._line.link.frames
        silent = 0
        for request in requests_of(replace(self._specs[profile.name], profile=profile)):
            if moving and not _moves(request):
                continue
            if silent >= _GIVEN_UP:
                outcomes += [_gap(profile, q, GapCause.NO_REPLY, "kept silent before") for q in request.quantities]
                continue
            await self._leave(False)
            before = list(frames)
            try:
                found = list(await self._line.read(request))
                silent = 0
            except LinkDown:
                raise
            except DriverError as error:
                silent += isinstance(error, NoReply)
                found = [_gap(profile, q, error.cause, str(error)) for q in request.quantities]
                if isinstance(error, BadReply):
                    await self._leave(True)
            outcomes += found
            exchanged += _by_frame([f for f in frames if not any(f is b for b in before)], found)
        return outcomes, exchanged

    async def _one(self, profile: Profile, register: Register) -> Outcome:
        key = (register.address, register.type)
        if (known := self._refused.get(key)) is not None:
            return known._replace(quantity=register.quantity)
        outcome = await self._ask(profile, register)
        if isinstance(outcome, Gap) and outcome.cause in {GapCause.REFUSED, GapCause.NO_REPLY}:
            self._refused[key] = outcome
        return outcome

    async def _ask(self, profile: Profile, register: Register) -> Outcome:
        (request,) = requests_of(replace(self._specs[profile.name], profile=replace(profile, registers=(register,))))
        for again in (False, True):
            await self._leave(False)
            try:
                (outcome,) = await self._line.read(request)
                return outcome
            except LinkDown:
                raise
            except NoReply as error:
                if error.sent or again:
                    return _gap(profile, register.quantity, error.cause, str(error))
                await asyncio.sleep(_PAUSE_S)  # it was not asked: an older answer of this shape may still come
            except Refused as error:
                return _gap(profile, register.quantity, error.cause, str(error))
            except DriverError as error:
                await self._leave(True)
                if again:
                    return _gap(profile, register.quantity, error.cause, str(error))
        raise AssertionError("asked twice at most")


def _moves(request: Request) -> bool:
    wanted = CUMULATIVE | {Quantity.ACTIVE_POWER, Quantity.ACTIVE_POWER_L1}
    return any(q in wanted for q in request.quantities)


def _gap(profile: Profile, quantity: Quantity, cause: GapCause, detail: str) -> Gap:
    return Gap(profile.name, quantity, cause, 0, detail)


def _by_frame(frames: Sequence[Frame], outcomes: Sequence[Outcome]) -> list[Exchanged]:
    """The round trips of one request, each with what was read from it; a gap belongs to the first of them."""
    if not frames:
        return []
    found: list[list[Outcome]] = [[] for _ in frames]
    for outcome in outcomes:
        own = None if isinstance(outcome, Gap) else outcome.frame
        at = next((n for n, f in enumerate(frames) if own is not None and f.reply == own.reply), 0)
        found[at].append(outcome)
    return [Exchanged(f, tuple(o)) for f, o in zip(frames, found, strict=True)]
