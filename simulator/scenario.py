"""A scenario file: which meters hang where, what their loads do, what goes wrong and when.

Instants are TOML date-times with an offset, or numbers: seconds after the scenario's start. Energies of registers are
in kWh, kvarh or kVAh on the side of the transformers that the meter's profile names. A mistake is a ScenarioMistake
that names the file and the place.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from simulator import shape
from simulator.clock import Ms, ScaledClock, boot_ms, to_ms
from simulator.device import ENERGIES, Event, Exchanged, Fell, Nameplate, RatioChanged, SimMeter
from simulator.faults import NEVER_MS, Fault, FaultKind, Faults
from simulator.modbus import SimUnit
from simulator.profile import ProfileMistake, SimProfile, load_profile, profiles_dir
from simulator.shape import Curve

Instant = datetime | float
UnitId = Annotated[int, Meta(ge=1, le=247)]
PowerFactor = Annotated[float, Meta(ge=-1, le=1)]


class ScenarioMistake(ValueError):
    """A scenario that cannot be played; the text names the file and the place."""


class _Table(Struct, forbid_unknown_fields=True, kw_only=True):
    pass


class ClockTable(_Table):
    start: datetime
    rate: Annotated[float, Meta(gt=0)] = 1.0
    anchor_bt_ms: int | None = None  # absent: the moment at which the simulator starts


class ListenTable(_Table):
    host: str = "127.0.0.1"
    port: int = 1502


class LevelTable(_Table):
    at: Instant
    p_kw: float
    pf: PowerFactor | None = None


class LoadTable(_Table):
    kind: Literal["constant", "factory-day", "steps", "csv"]
    p_kw: float = 0.0
    peak_kw: float = 220.0
    mean_kw: float = 160.0
    pf: PowerFactor = 0.85
    levels: list[LevelTable] = []
    file: str = ""
    hold: bool = False  # csv: each row holds until the next
    scale: float = 1.0  # csv


class FaultTable(_Table, rename={"from_": "from"}):
    kind: FaultKind
    from_: Instant | None = None
    to: Instant | None = None
    quantity: str | None = None
    code: Annotated[int, Meta(ge=1, le=255)] = 4
    delay_ms: Annotated[int, Meta(ge=0)] = 0
    one_in: Annotated[int, Meta(ge=1)] = 1
    value: float = 0.0
    truth: str = ""


class EventTable(_Table):
    kind: Literal["fell", "exchanged", "ratio"]
    at: Instant
    quantity: str = "active_energy_import"
    by: float = 0.0
    serial: str = ""
    registers: dict[str, float] = {}
    ct: str = ""


class MeterTable(_Table):
    id: str
    profile: str
    load: LoadTable
    unit: UnitId = 1
    port: int | None = None
    count: Annotated[int, Meta(ge=1)] = 1
    spread: Literal["unit", "port"] = "unit"  # what grows by one from meter to meter where count > 1
    ct: str = "1/1"
    vt: str = "1/1"
    u_n_v: float = 400.0
    shares: tuple[float, float, float] = (1 / 3, 1 / 3, 1 / 3)
    frequency_hz: float = 50.0
    serial: str = "0000000001"
    registers: dict[str, float] = {}
    gaps: Literal["zero", "refuse"] = "zero"
    refresh_ms: Annotated[int, Meta(ge=0)] = 0
    fault: list[FaultTable] = []
    event: list[EventTable] = []


class ScenarioTable(_Table):
    clock: ClockTable
    meter: list[MeterTable]
    listen: ListenTable = msgspec.field(default_factory=ListenTable)


@dataclass(frozen=True, slots=True)
class MeterPlan:
    """One meter of the scenario and where it hangs; `hang` makes it anew, its faults not yet met."""

    id: str
    port: int
    unit_id: int
    hang: Callable[[], SimUnit]


@dataclass(frozen=True, slots=True)
class Scenario:
    start_ms: Ms
    rate: float
    anchor_bt_ms: Ms | None
    host: str
    meters: tuple[MeterPlan, ...]

    def clock(self) -> ScaledClock:
        """The scenario's own line of time; starts now unless the file names its anchor."""
        anchor = boot_ms() if self.anchor_bt_ms is None else self.anchor_bt_ms
        return ScaledClock(self.start_ms, self.rate, anchor)


def load_scenario(path: Path, *, profiles: Path | None = None) -> Scenario:
    """Read a scenario; `profiles` is a folder to look in before config/profiles."""
    try:
        table = msgspec.convert(tomllib.loads(path.read_text("utf-8")), ScenarioTable)
        return _scenario(table, path.parent, profiles)
    except (OSError, tomllib.TOMLDecodeError, msgspec.ValidationError, ProfileMistake, ValueError) as error:
        raise ScenarioMistake(f"{path}: {error}") from error


def scenarios_dir() -> Path:
    return Path(__file__).resolve().parent / "scenarios"


def _scenario(table: ScenarioTable, folder: Path, profiles: Path | None) -> Scenario:
    start_ms = to_ms(table.clock.start)
    plans: list[MeterPlan] = []
    for meter in table.meter:
        profile = _find_profile(meter.profile, folder, profiles)
        curve = _curve(meter.load, folder, table.clock.start)
        port = meter.port if meter.port is not None else table.listen.port
        for i in range(meter.count):
            plans.append(
                MeterPlan(
                    id=meter.id if meter.count == 1 else f"{meter.id}{i + 1}",
                    port=port + i if meter.spread == "port" else port,
                    unit_id=meter.unit + i if meter.spread == "unit" else meter.unit,
                    hang=_maker(meter, i, profile, curve, start_ms),
                )
            )
    places = [(plan.port, plan.unit_id) for plan in plans]
    if len(set(places)) != len(places):
        raise ValueError("two meters share a port and a unit")
    if any(unit_id > 247 for _, unit_id in places):
        raise ValueError('more than 247 units on a port: spread = "port"')
    return Scenario(start_ms, table.clock.rate, table.clock.anchor_bt_ms, table.listen.host, tuple(plans))


def _maker(meter: MeterTable, i: int, profile: SimProfile, curve: Curve, start_ms: Ms) -> Callable[[], SimUnit]:
    known = {register.quantity for register in profile.registers}
    for fault in meter.fault:
        if fault.quantity is not None and fault.quantity not in known:
            raise ValueError(f"meter {meter.id}: {profile.name} has no {fault.quantity} to be {fault.kind}")
    events = [_event(event, start_ms) for event in meter.event]
    serial = str(int(meter.serial) + i).zfill(len(meter.serial)) if i else meter.serial
    nameplate = Nameplate(serial, meter.u_n_v, _ratio(meter.ct), _ratio(meter.vt), meter.shares, meter.frequency_hz)

    def hang() -> SimUnit:
        sim_meter = SimMeter(
            profile, curve, nameplate, start_ms=start_ms, registers=_thousand(meter.registers), events=events
        )
        faults = Faults([_fault(fault, start_ms) for fault in meter.fault])
        return SimUnit(sim_meter, faults, gaps=meter.gaps, refresh_ms=meter.refresh_ms)

    for fault in meter.fault:  # a mark that the register cannot show: said now rather than in the first reply
        if fault.kind in {FaultKind.NAN, FaultKind.NOT_AVAILABLE}:
            for register in profile.registers:
                if fault.quantity in {None, register.quantity}:
                    register.encode_nothing()
    return hang


def _fault(table: FaultTable, start_ms: Ms) -> Fault:
    return Fault(
        kind=table.kind,
        from_ms=-NEVER_MS if table.from_ is None else _instant(table.from_, start_ms),
        to_ms=NEVER_MS if table.to is None else _instant(table.to, start_ms),
        quantity=table.quantity,
        code=table.code,
        delay_ms=table.delay_ms,
        one_in=table.one_in,
        value=table.value,
        truth=table.truth,
    )


def _event(table: EventTable, start_ms: Ms) -> Event:
    at_ms = _instant(table.at, start_ms)
    match table.kind:
        case "fell":
            if table.quantity not in ENERGIES:
                raise ValueError(f"only an energy register can fall, not {table.quantity}")
            return Fell(at_ms, table.quantity, table.by * 1000)
        case "exchanged":
            if not table.serial:
                raise ValueError("an exchanged meter has a serial number")
            return Exchanged(at_ms, table.serial, _thousand(table.registers))
    return RatioChanged(at_ms, _ratio(table.ct))


def _curve(load: LoadTable, folder: Path, start: datetime) -> Curve:
    start_ms = to_ms(start)
    midnight_ms = to_ms(start.replace(hour=0, minute=0, second=0, microsecond=0))
    match load.kind:
        case "constant":
            return shape.constant(load.p_kw * 1000, load.pf, origin_ms=start_ms)
        case "factory-day":
            return shape.factory_day(
                peak_w=load.peak_kw * 1000, mean_w=load.mean_kw * 1000, pf=load.pf, midnight_ms=midnight_ms
            )
        case "steps":
            levels = [
                (_instant(level.at, start_ms) - start_ms, level.p_kw * 1000, load.pf if level.pf is None else level.pf)
                for level in load.levels
            ]
            return shape.steps(levels, origin_ms=start_ms)
    return shape.from_csv(
        (folder / load.file).read_text("utf-8"),
        start_ms=start_ms,
        midnight_ms=midnight_ms,
        pf=load.pf,
        hold=load.hold,
        p_scale=load.scale,
    )


def _find_profile(name: str, folder: Path, profiles: Path | None) -> SimProfile:
    if name.endswith(".toml"):
        return load_profile(folder / name)
    folders = [f for f in (profiles, folder, profiles_dir()) if f is not None]
    for place in folders:
        for stem in (name, name.replace("-", "_")):
            path = place / f"{stem}.toml"
            if path.is_file():
                return load_profile(path)
    raise ProfileMistake(f"no profile {name!r} in {', '.join(str(f) for f in folders)}")


def _instant(instant: Instant, start_ms: Ms) -> Ms:
    return to_ms(instant) if isinstance(instant, datetime) else start_ms + round(instant * 1000)


def _ratio(text: str) -> float:
    primary, _, secondary = text.partition("/")
    ratio = float(primary) / float(secondary or 1)
    if ratio <= 0:
        raise ValueError(f"not a ratio: {text!r}")
    return ratio


def _thousand(registers: Mapping[str, float]) -> dict[str, float]:
    return {name: value * 1000 for name, value in registers.items()}
