"""A scenario's lines: which stations hang on which pair, who else is master there, and what goes wrong on the wire.

A plan is played as often as one likes, each time anew: `play` inside the loop that paces it, with virtual or real time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from random import Random

from msgspec import structs

from simulator.clock import Ms
from simulator.device import SimMeter
from simulator.dlms.plan import DlmsMaking, hdlc_octets
from simulator.dlms.station import DlmsStation
from simulator.faults import NEVER_MS, Faults
from simulator.line import dlt645, dlt698, modbus_rtu
from simulator.line.carrier import Carrier
from simulator.line.disturbance import LineFault, disturb
from simulator.line.dlt645 import Dlt645Station
from simulator.line.dlt645_items import Items
from simulator.line.dlt645_records import Happened
from simulator.line.dlt698 import Dlt698Station
from simulator.line.dlt698_items import Objects
from simulator.line.modbus_rtu import RtuStation
from simulator.line.second_master import Question, SecondMaster
from simulator.line.station import LineClock, Turnaround, seat
from simulator.line.uart import Format
from simulator.line.wire import PacedLine
from simulator.modbus import SimUnit
from simulator.tables import AskTable, Instant, LineTable, MasterTable, MeterTable

AnyStation = RtuStation | Dlt645Station | Dlt698Station | DlmsStation


@dataclass(frozen=True, slots=True)
class StationPlan:
    """One device of a line; `hang(clock, seed)` makes it anew, its faults not yet met."""

    id: str
    place: str  # "unit 3", "address 123456789012"
    hang: Callable[[LineClock, int], AnyStation]
    baud: int | None = None
    parity: str | None = None

    def format(self, line: Format) -> Format:
        return replace(line, baud=self.baud or line.baud, parity=self.parity or line.parity)


@dataclass(slots=True)
class PlayedLine:
    """A line in play; `carrier` is the master's end."""

    id: str
    line: PacedLine
    carrier: Carrier
    stations: dict[str, AnyStation]
    masters: dict[str, SecondMaster]
    faults: tuple[LineFault, ...]

    @property
    def writes_seen(self) -> int:
        return sum(station.writes_seen for station in self.stations.values())

    @property
    def requests(self) -> int:
        return sum(_requests(station) for station in self.stations.values())


@dataclass(frozen=True, slots=True)
class LinePlan:
    id: str
    form: Format
    seed: int
    stations: tuple[StationPlan, ...]
    masters: tuple[MasterTable, ...]
    faults: Callable[[], Sequence[LineFault]]

    def play(self, loop: asyncio.AbstractEventLoop, clock: LineClock) -> PlayedLine:
        line = PacedLine(self.form, loop=loop)
        carrier = Carrier(line)
        stations = {}
        ends = []
        for number, plan in enumerate(self.stations):
            station = plan.hang(clock, self.seed * 1000 + number)
            stations[plan.id] = station
            ends.append(seat(station, line, clock, form=plan.format(self.form)))
        masters = {
            master.id: SecondMaster(
                line,
                [_question(ask) for ask in master.ask],
                own=[end for end, plan in zip(ends, self.stations, strict=True) if plan.place in _places(master)],
                name=master.id,
                period_s=master.period_s,
                first_s=master.first_s,
                timeout_s=master.timeout_ms / 1000,
                pause_s=master.pause_ms / 1000,
            )
            for master in self.masters
        }
        faults = tuple(self.faults())
        disturb(line, clock, faults, master=carrier.end, stations=ends, seed=self.seed)
        return PlayedLine(self.id, line, carrier, stations, masters, faults)


def plan_line(table: LineTable, stations: Sequence[StationPlan], instant: Callable[[Instant], Ms]) -> LinePlan:
    """Raises ValueError for a format that there is not and for a line without devices."""
    if not stations:
        raise ValueError(f"line {table.id}: no meter hangs on it")
    form = Format(table.baud, table.parity, table.data_bits, table.stop_bits)
    for station in stations:
        station.format(form)
    names = [station.id for station in stations] + [master.id for master in table.master]
    if len(set(names)) != len(names):
        raise ValueError(f"line {table.id}: two of its devices and masters have one name")

    def faults() -> list[LineFault]:
        return [
            LineFault(
                fault.kind,
                -NEVER_MS if fault.from_ is None else instant(fault.from_),
                NEVER_MS if fault.to is None else instant(fault.to),
                every_s=fault.every_s,
                truth=fault.truth,
            )
            for fault in table.fault
        ]

    faults()  # an instant without an offset is said now
    return LinePlan(table.id, form, table.seed, tuple(stations), tuple(table.master), faults)


def plan_station(
    meter: MeterTable,
    i: int,
    name: str,
    sim_meter: Callable[[], SimMeter],
    faults: Callable[[], Faults],
    start: datetime,
    dlms: DlmsMaking | None = None,
    happened: Sequence[Happened] = (),
) -> StationPlan:
    """The i-th device of a meter's table. Raises ValueError where it does not say who is meant."""
    if meter.protocol in {"dlt645", "dlt698"}:
        if not meter.address:
            raise ValueError(f"meter {name}: a DL/T 645 or 698.45 meter has an address of twelve digits")
        address = f"{int(meter.address) + i:012d}"
        place = f"address {address}"
        if meter.protocol == "dlt645":
            hang = _dlt645(meter, name, address, sim_meter, faults, start, happened)
        else:
            hang = _dlt698(meter, name, address, sim_meter, faults, start)
    elif dlms is not None:
        place, hang = _dlms(meter, i, name, sim_meter, faults, dlms)
    else:
        unit_id = meter.unit + i
        if unit_id > 247:
            raise ValueError(f"meter {name}: no unit above 247")
        place, hang = f"unit {unit_id}", _rtu(meter, name, unit_id, sim_meter, faults)
    return StationPlan(name, place, hang, meter.baud, meter.parity)


def _rtu(
    meter: MeterTable, name: str, unit_id: int, sim_meter: Callable[[], SimMeter], faults: Callable[[], Faults]
) -> Callable[[LineClock, int], AnyStation]:
    def hang(clock: LineClock, seed: int) -> RtuStation:
        unit = SimUnit(sim_meter(), faults(), gaps=meter.gaps, refresh_ms=meter.refresh_ms)
        return RtuStation(name, unit_id, unit, clock, _turnaround(meter, seed), tuple(meter.identity), seed=seed)

    return hang


def _dlt645(
    meter: MeterTable,
    name: str,
    address: str,
    sim_meter: Callable[[], SimMeter],
    faults: Callable[[], Faults],
    start: datetime,
    happened: Sequence[Happened],
) -> Callable[[LineClock, int], AnyStation]:
    offset = start.utcoffset()
    assert offset is not None, "a scenario's start names its offset"
    fixed = {di: bytes.fromhex(octets) for di, octets in meter.items.items()}

    def hang(clock: LineClock, seed: int) -> Dlt645Station:
        items = Items(
            sim_meter(),
            address,
            faults(),
            utc_offset_min=int(offset.total_seconds() // 60),
            clock_error_s=meter.clock_error_s,
            counters=meter.counters,
            fixed=fixed,
            happened=happened,
        )
        return Dlt645Station(
            name, address, items, clock, _turnaround(meter, seed), meter.preamble, meter.most_data, meter.edition, seed
        )

    return hang


def _dlms(
    meter: MeterTable,
    i: int,
    name: str,
    sim_meter: Callable[[], SimMeter],
    faults: Callable[[], Faults],
    dlms: DlmsMaking,
) -> tuple[str, Callable[[LineClock, int], AnyStation]]:
    """Several of a table differ in their physical address."""
    table = dlms.table
    if table.physical is None and i:
        raise ValueError(f"meter {name}: several DLMS meters on a line need a physical address each")
    physical = None if table.physical is None else table.physical + i
    own = replace(dlms, table=structs.replace(table, physical=physical))
    octets = hdlc_octets(own.table)

    def hang(clock: LineClock, seed: int) -> DlmsStation:
        made = own.make(name, table.sap, 4059, sim_meter(), faults(), clock)
        return DlmsStation(name, made, physical, octets, _turnaround(meter, seed), seed)

    return f"hdlc {table.sap}" + ("" if physical is None else f"/{physical}"), hang


def _dlt698(
    meter: MeterTable,
    name: str,
    address: str,
    sim_meter: Callable[[], SimMeter],
    faults: Callable[[], Faults],
    start: datetime,
) -> Callable[[LineClock, int], AnyStation]:
    offset = start.utcoffset()
    assert offset is not None, "a scenario's start names its offset"
    fixed = {oad: bytes.fromhex(octets) for oad, octets in meter.items.items()}

    def hang(clock: LineClock, seed: int) -> Dlt698Station:
        objects = Objects(
            sim_meter(),
            address,
            faults(),
            utc_offset_min=int(offset.total_seconds() // 60),
            clock_error_s=meter.clock_error_s,
            counters=meter.counters,
            fixed=fixed,
        )
        return Dlt698Station(
            name, address, objects, clock, _turnaround(meter, seed), meter.preamble, meter.most_apdu,
            lists=meter.lists, seed=seed,
        )  # fmt: skip

    return hang


def _turnaround(meter: MeterTable, seed: int) -> Turnaround:
    return Turnaround(meter.turnaround_ms / 1000, meter.jitter_ms / 1000, Random(seed))


def _question(ask: AskTable) -> Question:
    if ask.address and ask.object:
        question = dlt698.asking(ask.address, (int(ask.object, 16),))
        return Question(b"\xfe" * 4 + question, lambda came: dlt698.answers(question, came))
    if ask.address:
        asked = dlt645.to_bytes(
            dlt645.address_octets(ask.address), dlt645.READ, int(ask.item, 16).to_bytes(4, "little")
        )
        return Question(b"\xfe" * 4 + asked, lambda came: dlt645.answers(asked, came))
    pdu = bytes((ask.function,)) + ask.register.to_bytes(2, "big") + ask.count.to_bytes(2, "big")
    request = modbus_rtu.rtu(ask.unit, pdu)
    return Question(request, lambda came: modbus_rtu.answers(request, came))


def _places(master: MasterTable) -> set[str]:
    return {f"address {ask.address}" if ask.address else f"unit {ask.unit}" for ask in master.ask}


def _requests(station: AnyStation) -> int:
    match station:
        case RtuStation():
            return station.unit.counts.requests
        case DlmsStation():
            return station.meter.counts.requests
    return station.counts.requests
