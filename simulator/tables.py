"""The shapes of a scenario file: which keys there are, and what they are without being said.

Instants are TOML date-times with an offset, or numbers: seconds after the scenario's start. Energies are in kWh, kvarh
or kVAh.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from simulator.dlms.tables import ClientTable, DlmsTable, LogTable
from simulator.faults import FaultKind
from simulator.line.disturbance import LineFaultKind

Instant = datetime | float
UnitId = Annotated[int, Meta(ge=1, le=247)]
PowerFactor = Annotated[float, Meta(ge=-1, le=1)]


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
    address: str = ""
    count: Annotated[int, Meta(ge=1)] = 1
    truth: str = ""


class EventTable(_Table):
    kind: Literal["fell", "exchanged", "ratio", "turned", "happened"]
    at: Instant
    what: str = ""  # happened: "cover_open", "programming" ...; the meter counts it and writes it down (DL/T 645)
    until: Instant | None = None
    operator: str = "00000000"  # eight hex digits
    quantity: str = "active_energy_import"
    by: float = 0.0
    serial: str = ""
    registers: dict[str, float] = {}
    ct: str = ""
    phases: tuple[Literal[1, 2, 3], ...] = ()  # turned: whose current transformers sit the wrong way round


class MeterTable(_Table):
    id: str
    load: LoadTable
    profile: str = ""  # only Modbus meters need one
    unit: UnitId = 1
    line: str = ""  # "": behind a TCP port
    protocol: Literal["modbus", "dlt645", "dlt698", "dlms"] = "modbus"
    address: Annotated[str, Meta(pattern=r"^(\d{12})?$")] = ""  # DL/T 645 and 698.45
    turnaround_ms: Annotated[float, Meta(ge=0)] = 30.0
    jitter_ms: Annotated[float, Meta(ge=0)] = 0.0
    baud: int | None = None  # of the device, where it is not the line's
    parity: Literal["N", "E", "O"] | None = None
    twin: bool = False  # shares its place with another device of the line, as it should not
    identity: list[str] = []  # Modbus: vendor, product code, revision
    preamble: Annotated[int, Meta(ge=0, le=8)] = 4  # DL/T 645 and 698.45: FE octets before a reply
    most_data: Annotated[int, Meta(ge=8, le=200)] = 200  # DL/T 645: octets in one reply
    edition: Literal[2007, 1997] = 2007
    most_apdu: Annotated[int, Meta(ge=64, le=1024)] = 512  # DL/T 698.45: octets of an answer that is not cut in blocks
    lists: bool = True  # DL/T 698.45: whether it is asked for several objects at once
    clock_error_s: float = 0.0
    dlms: DlmsTable | None = None
    client: list[ClientTable] = []  # DLMS
    log: list[LogTable] = []  # DLMS
    counters: dict[str, int] = {}  # DL/T 645 and 698.45: event counts by identifier
    items: dict[str, str] = {}  # DL/T 645 and 698.45: octets as they go out, hex, by identifier
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


class LineFaultTable(_Table, rename={"from_": "from"}):
    kind: LineFaultKind
    from_: Instant | None = None
    to: Instant | None = None
    every_s: Annotated[float, Meta(gt=0)] = 1.0
    truth: str = ""


class AskTable(_Table):
    """A question of a second master: a Modbus one to a unit, or to an address a DL/T 645 one, or with `object` a DL/T
    698.45 one."""

    unit: UnitId = 1
    function: Annotated[int, Meta(ge=1, le=4)] = 4
    register: Annotated[int, Meta(ge=0, le=65535)] = 0
    count: Annotated[int, Meta(ge=1, le=125)] = 2
    address: Annotated[str, Meta(pattern=r"^(\d{12})?$")] = ""
    item: Annotated[str, Meta(pattern=r"^[0-9A-F]{8}$")] = "00010000"
    object: Annotated[str, Meta(pattern=r"^([0-9A-F]{8})?$")] = ""


class MasterTable(_Table):
    ask: list[AskTable]
    id: str = "terminal"
    period_s: Annotated[float, Meta(gt=0)] = 900.0
    first_s: Annotated[float, Meta(ge=0)] = 0.0
    timeout_ms: Annotated[float, Meta(gt=0)] = 500.0
    pause_ms: Annotated[float, Meta(ge=0)] = 50.0


class LineTable(_Table):
    id: str
    baud: int = 9600
    parity: Literal["N", "E", "O"] = "N"
    data_bits: Literal[7, 8] = 8
    stop_bits: Literal[1, 2] = 1
    carrier: Literal["pty"] = "pty"
    seed: int = 1
    fault: list[LineFaultTable] = []
    master: list[MasterTable] = []


class ScenarioTable(_Table):
    clock: ClockTable
    meter: list[MeterTable]
    line: list[LineTable] = []
    listen: ListenTable = msgspec.field(default_factory=ListenTable)
