"""A scenario file: which meters hang where, what their loads do, what goes wrong and when.

Instants are TOML date-times with an offset, or numbers: seconds after the scenario's start. Energies of registers are
in kWh, kvarh or kVAh on the side of the transformers that the meter's profile names. A mistake is a ScenarioMistake
that names the file and the place.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from pathlib import Path

import msgspec

from simulator import shape
from simulator.clock import Ms, ScaledClock, SimClock, boot_ms, to_ms
from simulator.device import ENERGIES, Event, Exchanged, Fell, Nameplate, RatioChanged, SimMeter, Turned
from simulator.dlms.meter import DlmsMeter
from simulator.dlms.plan import DlmsMaking, DlmsPlan, making
from simulator.dlms.registers import PROFILE as DLMS
from simulator.dlms.registers import QUANTITIES as ON_DLMS_METERS
from simulator.dlms.tables import DlmsTable
from simulator.faults import NEVER_MS, NOT_ON_DLMS, ON_DLMS, ON_LINE, ON_TCP, Fault, FaultKind, Faults
from simulator.line.dlt645_records import KINDS, Happened
from simulator.line.dlt645_tables import PROFILE as DLT645
from simulator.line.dlt645_tables import quantities_known
from simulator.line.dlt698_items import PROFILE as DLT698
from simulator.line.dlt698_items import quantities_known as objects_known
from simulator.line.plan import LinePlan, StationPlan, plan_line, plan_station
from simulator.modbus import SimUnit
from simulator.profile import ProfileMistake, SimProfile, load_profile, profiles_dir
from simulator.shape import Curve
from simulator.tables import EventTable, FaultTable, Instant, LoadTable, MeterTable, ScenarioTable

DLMS_PORT = 4059
"""Where DLMS meters listen if they are not told (IANA: dlms-cosem)."""


class ScenarioMistake(ValueError):
    """A scenario that cannot be played; the text names the file and the place."""


@dataclass(frozen=True, slots=True)
class MeterPlan:
    """One meter of the scenario behind a TCP port; `hang` makes it anew, its faults not yet met."""

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
    lines: tuple[LinePlan, ...] = ()
    dlms: tuple[DlmsPlan, ...] = ()

    def clock(self) -> ScaledClock:
        """The scenario's own line of time; starts now unless the file names its anchor."""
        anchor = boot_ms() if self.anchor_bt_ms is None else self.anchor_bt_ms
        return ScaledClock(self.start_ms, self.rate, anchor)


def load_scenario(path: Path, *, profiles: Path | None = None, state: Path | None = None) -> Scenario:
    """Read a scenario; `profiles` is a folder to look in before config/profiles.

    `state` is a folder where DLMS meters keep their invocation counters from one run to the next.
    """
    try:
        table = msgspec.convert(tomllib.loads(path.read_text("utf-8")), ScenarioTable)
        return _scenario(table, path.parent, profiles, state)
    except (OSError, tomllib.TOMLDecodeError, msgspec.ValidationError, ProfileMistake, ValueError) as error:
        raise ScenarioMistake(f"{path}: {error}") from error


def scenarios_dir() -> Path:
    return Path(__file__).resolve().parent / "scenarios"


def _scenario(table: ScenarioTable, folder: Path, profiles: Path | None, state: Path | None) -> Scenario:
    start_ms = to_ms(table.clock.start)
    plans: list[MeterPlan] = []
    dlms: list[DlmsPlan] = []
    stations: dict[str, list[StationPlan]] = {line.id: [] for line in table.line}
    if len(stations) != len(table.line):
        raise ValueError("two lines have one name")
    taken: set[tuple[str, str]] = set()
    for meter in table.meter:
        made = _Made(meter, folder, profiles, table.clock.start, state)
        if meter.line and meter.line not in stations:
            raise ValueError(f"meter {meter.id}: no line {meter.line!r}")
        port = meter.port if meter.port is not None else table.listen.port
        for i in range(meter.count):
            name = meter.id if meter.count == 1 else f"{meter.id}{i + 1}"
            if meter.line:
                station = plan_station(
                    meter,
                    i,
                    name,
                    partial(made.meter, i),
                    made.faults,
                    table.clock.start,
                    dlms=made.dlms,
                    happened=made.happened,
                )
                if (meter.line, station.place) in taken and not meter.twin:
                    raise ValueError(f"meter {name}: two devices at {station.place} of a line; meant: twin = true")
                taken.add((meter.line, station.place))
                stations[meter.line].append(station)
                continue
            if made.dlms is not None:
                dlms.append(_behind_port(made, made.dlms, meter, i, name))
                continue
            plans.append(
                MeterPlan(
                    id=name,
                    port=port + i if meter.spread == "port" else port,
                    unit_id=meter.unit + i if meter.spread == "unit" else meter.unit,
                    hang=partial(made.unit, i),
                )
            )
    places = [(plan.port, plan.unit_id) for plan in plans]
    if len(set(places)) != len(places):
        raise ValueError("two meters share a port and a unit")
    if any(unit_id > 247 for _, unit_id in places):
        raise ValueError('more than 247 units on a port: spread = "port"')
    dlms_places = [(plan.port, plan.sap) for plan in dlms]
    if len(set(dlms_places)) != len(dlms_places):
        raise ValueError("two DLMS meters share a port and a SAP")
    if {port for port, _ in places} & {port for port, _ in dlms_places}:
        raise ValueError("a DLMS meter and a Modbus meter share a port")
    instant = partial(_instant, start_ms=start_ms)
    lines = tuple(plan_line(line, stations[line.id], instant) for line in table.line)
    return Scenario(
        start_ms, table.clock.rate, table.clock.anchor_bt_ms, table.listen.host, tuple(plans), lines, tuple(dlms)
    )


class _Made:
    """What a [[meter]] says, checked; it makes the meter as often as it is played."""

    def __init__(
        self, table: MeterTable, folder: Path, profiles: Path | None, start: datetime, state: Path | None
    ) -> None:
        self._table = table
        self._start_ms = to_ms(start)
        self.dlms: DlmsMaking | None = None
        if table.protocol != "dlms" and (table.dlms is not None or table.client or table.log):
            raise ValueError(f'meter {table.id}: dlms, client and log are for protocol = "dlms"')
        if table.protocol in {"dlt645", "dlt698"} and not table.line:
            raise ValueError(f"meter {table.id}: a DL/T 645 or 698.45 meter hangs on a line")
        if table.protocol == "dlt645":
            self._profile, known = DLT645, set(quantities_known())
        elif table.protocol == "dlms":
            self._profile, known = DLMS, set(ON_DLMS_METERS)
        elif table.protocol == "dlt698":
            self._profile, known = DLT698, set(objects_known())
        else:
            self._profile = _find_profile(table.profile, folder, profiles)
            known = {register.quantity for register in self._profile.registers}
        self._curve = _curve(table.load, folder, start)
        self._events = [_event(event, self._start_ms) for event in table.event if event.kind != "happened"]
        self.happened = tuple(_happened(event, self._start_ms) for event in table.event if event.kind == "happened")
        if self.happened and table.protocol != "dlt645":
            raise ValueError(f"meter {table.id}: only a DL/T 645 meter writes down what happens to it")
        foreign = (ON_TCP if table.line else ON_LINE) | (NOT_ON_DLMS if table.protocol == "dlms" else ON_DLMS)
        if table.protocol == "dlt645":
            foreign |= {FaultKind.HOLE, FaultKind.SWAPPED}
        elif table.protocol == "dlt698":
            foreign |= {FaultKind.HOLE, FaultKind.SWAPPED, FaultKind.BUSY}
        for fault in self.faults().all:
            if fault.kind in foreign:
                raise ValueError(f"meter {table.id}: {fault.kind} cannot happen there")
            if fault.quantity is not None and fault.quantity not in known:
                raise ValueError(f"meter {table.id}: {self._profile.name} has no {fault.quantity} to be {fault.kind}")
            if fault.kind in {FaultKind.NAN, FaultKind.NOT_AVAILABLE} and table.protocol == "modbus":
                # A mark that the register cannot show: said now rather than in the first reply.
                for register in self._profile.registers:
                    if fault.quantity in {None, register.quantity}:
                        register.encode_nothing()
        self.meter(0)
        if table.protocol == "dlms":
            self.dlms = making(
                table.dlms or DlmsTable(),
                table.client,
                table.log,
                start=start,
                instant=partial(_instant, start_ms=self._start_ms),
                clock_error_s=table.clock_error_s,
                state=state,
            )
            clock = ScaledClock(self._start_ms, 1.0, 0)
            replace(self.dlms, state=None).make(table.id, 1, 1, self.meter(0), self.faults(), clock)

    def faults(self) -> Faults:
        return Faults([_fault(fault, self._start_ms) for fault in self._table.fault])

    def meter(self, i: int) -> SimMeter:
        table = self._table
        serial = str(int(table.serial) + i).zfill(len(table.serial)) if i else table.serial
        plate = Nameplate(serial, table.u_n_v, _ratio(table.ct), _ratio(table.vt), table.shares, table.frequency_hz)
        registers = _thousand(table.registers)
        return SimMeter(
            self._profile, self._curve, plate, start_ms=self._start_ms, registers=registers, events=self._events
        )

    def unit(self, i: int) -> SimUnit:
        return SimUnit(self.meter(i), self.faults(), gaps=self._table.gaps, refresh_ms=self._table.refresh_ms)


def _behind_port(made: _Made, dlms: DlmsMaking, meter: MeterTable, i: int, name: str) -> DlmsPlan:
    port = (DLMS_PORT if meter.port is None else meter.port) + (i if meter.spread == "port" else 0)
    sap = dlms.table.sap + (i if meter.spread == "unit" else 0)

    def hang(clock: SimClock) -> DlmsMeter:
        return dlms.make(name, sap, port, made.meter(i), made.faults(), clock)

    return DlmsPlan(name, port, sap, hang)


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
        address=table.address,
        count=table.count,
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
        case "turned":
            return Turned(at_ms, table.phases)
    return RatioChanged(at_ms, _ratio(table.ct))


def _happened(table: EventTable, start_ms: Ms) -> Happened:
    if table.what not in KINDS or len(table.operator) != 8 or not set(table.operator) <= set("0123456789ABCDEF"):
        raise ValueError(f"what happened is one of {', '.join(KINDS)}, not {table.what!r}, by eight hex digits")
    until_ms = None if table.until is None else _instant(table.until, start_ms)
    return Happened(table.what, _instant(table.at, start_ms), until_ms, table.operator)


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
