"""The words of the trade that every room shares.

Nothing here computes, waits or knows a protocol. A value that should exist and does not is a `Gap` with its cause,
never a number that stands for "unknown". Times are integer milliseconds: `bt_ms` on the boot clock, `..._ms` without a
prefix in UTC since 1970. Powers are W, var and VA; energies Wh, varh and VAh; all as the meter gave them (its side of
the transformers): only `load` multiplies by K.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date
from enum import StrEnum
from typing import Any, NamedTuple

Ms = int
DeviceId = str
LinkId = str
PointId = str


class Quantity(StrEnum):
    """What is measured: one unit, one direction; the OBIS group C.D.E stands beside each (IEC 62056-6-1)."""

    ACTIVE_ENERGY_IMPORT = "active_energy_import"  # 1.8.0
    ACTIVE_ENERGY_EXPORT = "active_energy_export"  # 2.8.0
    REACTIVE_ENERGY_IMPORT = "reactive_energy_import"  # 3.8.0
    REACTIVE_ENERGY_EXPORT = "reactive_energy_export"  # 4.8.0
    APPARENT_ENERGY_IMPORT = "apparent_energy_import"  # 9.8.0
    ACTIVE_ENERGY_COMBINED = "active_energy_combined"  # 15.8.0 or 16.8.0 as the meter is set: it may fall
    ACTIVE_ENERGY_IMPORT_T1 = "active_energy_import_t1"  # 1.8.1
    ACTIVE_ENERGY_IMPORT_T2 = "active_energy_import_t2"  # 1.8.2
    ACTIVE_ENERGY_IMPORT_T3 = "active_energy_import_t3"  # 1.8.3
    ACTIVE_ENERGY_IMPORT_T4 = "active_energy_import_t4"  # 1.8.4
    ACTIVE_ENERGY_EXPORT_T1 = "active_energy_export_t1"  # 2.8.1
    ACTIVE_ENERGY_EXPORT_T2 = "active_energy_export_t2"  # 2.8.2
    ACTIVE_ENERGY_EXPORT_T3 = "active_energy_export_t3"  # 2.8.3
    ACTIVE_ENERGY_EXPORT_T4 = "active_energy_export_t4"  # 2.8.4
    REACTIVE_ENERGY_Q1 = "reactive_energy_q1"  # 5.8.0
    REACTIVE_ENERGY_Q2 = "reactive_energy_q2"  # 6.8.0
    REACTIVE_ENERGY_Q3 = "reactive_energy_q3"  # 7.8.0
    REACTIVE_ENERGY_Q4 = "reactive_energy_q4"  # 8.8.0
    ACTIVE_POWER = "active_power"  # 16.7.0, import positive
    ACTIVE_POWER_L1 = "active_power_l1"  # 36.7.0
    ACTIVE_POWER_L2 = "active_power_l2"  # 56.7.0
    ACTIVE_POWER_L3 = "active_power_l3"  # 76.7.0
    REACTIVE_POWER = "reactive_power"  # 3.7.0 less 4.7.0
    REACTIVE_POWER_L1 = "reactive_power_l1"
    REACTIVE_POWER_L2 = "reactive_power_l2"
    REACTIVE_POWER_L3 = "reactive_power_l3"
    APPARENT_POWER = "apparent_power"  # 9.7.0
    APPARENT_POWER_L1 = "apparent_power_l1"
    APPARENT_POWER_L2 = "apparent_power_l2"
    APPARENT_POWER_L3 = "apparent_power_l3"
    VOLTAGE_L1 = "voltage_l1"  # 32.7.0
    VOLTAGE_L2 = "voltage_l2"  # 52.7.0
    VOLTAGE_L3 = "voltage_l3"  # 72.7.0
    VOLTAGE_L12 = "voltage_l12"
    VOLTAGE_L23 = "voltage_l23"
    VOLTAGE_L31 = "voltage_l31"
    CURRENT_L1 = "current_l1"  # 31.7.0; a meter may give it the sign of its phase's power
    CURRENT_L2 = "current_l2"  # 51.7.0
    CURRENT_L3 = "current_l3"  # 71.7.0
    CURRENT_N = "current_n"  # 91.7.0
    POWER_FACTOR = "power_factor"  # 13.7.0
    POWER_FACTOR_L1 = "power_factor_l1"
    POWER_FACTOR_L2 = "power_factor_l2"
    POWER_FACTOR_L3 = "power_factor_l3"
    FREQUENCY = "frequency"  # 14.7.0
    RUNNING_DEMAND = "running_demand"  # 1.4.0
    MAXIMUM_DEMAND = "maximum_demand"  # 1.6.0
    MAXIMUM_DEMAND_TIME = "maximum_demand_time"  # 1.6.0, its time, a text in the meter's local time
    MAXIMUM_DEMAND_EXPORT = "maximum_demand_export"  # 2.6.0
    MAXIMUM_DEMAND_EXPORT_TIME = "maximum_demand_export_time"  # 2.6.0
    DEMAND_PERIOD = "demand_period"  # 0.8.0
    DEMAND_SLIDE = "demand_slide"  # 0.8.0, the step of a sliding period
    METER_SERIAL = "meter_serial"  # 0-0:96.1.0, a text
    ASSET_NUMBER = "asset_number"  # 0-0:96.1.x, a text
    METER_CLOCK = "meter_clock"  # 0-0:1.0.0, a text in the meter's local time
    METER_DATE = "meter_date"  # 0.9.2, a text
    METER_TIME = "meter_time"  # 0.9.1, a text
    RATED_VOLTAGE = "rated_voltage"  # 0.6.0, a text
    RATED_CURRENT = "rated_current"  # 0.6.1, a text
    MAXIMUM_CURRENT = "maximum_current"  # 0.6.3, a text
    REACTIVE_COMBINATION_1 = "reactive_combination_1"  # which quadrants add up to import: bits, a text
    REACTIVE_COMBINATION_2 = "reactive_combination_2"  # which add up to export
    METER_STATUS_1 = "meter_status_1"  # 0-0:97.97.0, bits, a text
    METER_STATUS_2 = "meter_status_2"
    METER_STATUS_3 = "meter_status_3"
    METER_STATUS_4 = "meter_status_4"
    METER_STATUS_5 = "meter_status_5"
    METER_STATUS_6 = "meter_status_6"
    METER_STATUS_7 = "meter_status_7"
    EVENTS_PROGRAMMING = "events_programming"  # 0-0:96.2.0; each of these is how often it happened
    EVENTS_METER_RESET = "events_meter_reset"
    EVENTS_DEMAND_RESET = "events_demand_reset"
    EVENTS_EVENT_RESET = "events_event_reset"
    EVENTS_CLOCK_SET = "events_clock_set"
    EVENTS_COVER = "events_cover"
    EVENTS_TERMINAL_COVER = "events_terminal_cover"
    EVENTS_MAGNETIC = "events_magnetic"
    EVENTS_POWER_OFF = "events_power_off"  # 0-0:96.7.0
    EVENTS_VOLTAGE_LOSS_L1 = "events_voltage_loss_l1"
    EVENTS_VOLTAGE_LOSS_L2 = "events_voltage_loss_l2"
    EVENTS_VOLTAGE_LOSS_L3 = "events_voltage_loss_l3"
    EVENTS_PHASE_BREAK_L1 = "events_phase_break_l1"
    EVENTS_PHASE_BREAK_L2 = "events_phase_break_l2"
    EVENTS_PHASE_BREAK_L3 = "events_phase_break_l3"
    EVENTS_CURRENT_LOSS_L1 = "events_current_loss_l1"
    EVENTS_CURRENT_LOSS_L2 = "events_current_loss_l2"
    EVENTS_CURRENT_LOSS_L3 = "events_current_loss_l3"
    CT_RATIO = "ct_ratio"  # 0.4.2
    VT_RATIO = "vt_ratio"  # 0.4.3


UNIT: dict[Quantity, str] = {
    q: unit
    for unit, words in {
        "Wh": (
            *("active_energy_import", "active_energy_export", "active_energy_combined"),
            *(f"active_energy_{way}_t{rate}" for way in ("import", "export") for rate in (1, 2, 3, 4)),
        ),
        "varh": (
            *("reactive_energy_import", "reactive_energy_export"),
            *(f"reactive_energy_q{quadrant}" for quadrant in (1, 2, 3, 4)),
        ),
        "VAh": ("apparent_energy_import",),
        "W": (
            *("active_power", "active_power_l1", "active_power_l2", "active_power_l3"),
            *("running_demand", "maximum_demand", "maximum_demand_export"),
        ),
        "var": ("reactive_power", "reactive_power_l1", "reactive_power_l2", "reactive_power_l3"),
        "VA": ("apparent_power", "apparent_power_l1", "apparent_power_l2", "apparent_power_l3"),
        "V": ("voltage_l1", "voltage_l2", "voltage_l3", "voltage_l12", "voltage_l23", "voltage_l31"),
        "A": ("current_l1", "current_l2", "current_l3", "current_n"),
        "Hz": ("frequency",),
        "min": ("demand_period", "demand_slide"),
        "count": tuple(q for q in Quantity if q.startswith("events_")),
        "1": ("power_factor", "power_factor_l1", "power_factor_l2", "power_factor_l3", "ct_ratio", "vt_ratio"),
        "": (
            *("meter_serial", "asset_number", "meter_clock", "meter_date", "meter_time"),
            *("maximum_demand_time", "maximum_demand_export_time", "rated_voltage", "rated_current", "maximum_current"),
            *("reactive_combination_1", "reactive_combination_2"),
            *(f"meter_status_{word}" for word in range(1, 8)),
        ),
    }.items()
    for q in map(Quantity, words)
}
"""The one unit of each quantity; `""` is a text."""

CUMULATIVE = frozenset(q for q in Quantity if UNIT[q] in {"Wh", "varh", "VAh"}) - {Quantity.ACTIVE_ENERGY_COMBINED}
"""Registers that only grow (until they roll over)."""


EVENTS: dict[str, Quantity] = {
    "programming": Quantity.EVENTS_PROGRAMMING,
    "meter_reset": Quantity.EVENTS_METER_RESET,
    "demand_reset": Quantity.EVENTS_DEMAND_RESET,
    "event_reset": Quantity.EVENTS_EVENT_RESET,
    "clock_set": Quantity.EVENTS_CLOCK_SET,
    "cover_open": Quantity.EVENTS_COVER,
    "terminal_cover_open": Quantity.EVENTS_TERMINAL_COVER,
    "magnetic": Quantity.EVENTS_MAGNETIC,
    "power_off": Quantity.EVENTS_POWER_OFF,
    **{
        f"{what}_l{phase}": Quantity(f"events_{what}_l{phase}")
        for what in ("voltage_loss", "phase_break", "current_loss")
        for phase in (1, 2, 3)
    },
}
"""What can happen to a meter, by its code, and the counter of it."""

COUNTED: dict[Quantity, str] = {quantity: code for code, quantity in EVENTS.items()}


class GapCause(StrEnum):
    """Why a value that should exist does not."""

    NO_REPLY = "no_reply"
    BAD_REPLY = "bad_reply"
    REFUSED = "refused"
    BUSY = "busy"
    LINK_DOWN = "link_down"
    NOT_AVAILABLE = "not_available"  # the meter's own "unsupported" value, or NaN
    IMPLAUSIBLE = "implausible"  # no such value can be: `drivers.plausible`, or digits that are none
    CLOCK_UNSET = "clock_unset"


@dataclass(frozen=True, slots=True)
class Frame:
    """The raw bytes of one round trip: what was asked and what came back."""

    request: bytes
    reply: bytes
    bt_ms: Ms


class Reading(NamedTuple):
    """One value of one quantity, as the device gave it, in the quantity's unit."""

    device: DeviceId
    quantity: Quantity
    value: float
    step: float
    """Resolution in the quantity's unit: the larger of the display step and the float's ulp at this value."""
    bt_ms: Ms
    frame: Frame | None


class Identity(NamedTuple):
    """A text that a device gave about itself."""

    device: DeviceId
    quantity: Quantity
    text: str
    bt_ms: Ms
    frame: Frame | None


class Gap(NamedTuple):
    """A value that should exist and does not."""

    device: DeviceId
    quantity: Quantity
    cause: GapCause
    bt_ms: Ms
    detail: str
    frame: Frame | None = None
    """The round trip that brought it, where the device answered and the answer holds no value."""


Outcome = Reading | Identity | Gap


class Recorded(NamedTuple):
    """One value that a meter wrote into its own load profile, in the quantity's unit, by its own clock."""

    device: DeviceId
    quantity: Quantity
    kind: str  # "register": what it showed then; "energy": what flowed in the `period_ms` before; "demand": its mean
    value: float
    step: float
    end_ms: Ms  # UTC, by the meter's clock
    period_ms: Ms
    status: tuple[str, ...]  # what the meter says about the entry: "clock_invalid", "power_down" ...
    frame: Frame | None


class MeterEvent(NamedTuple):
    """An entry of a meter's own log: something that the meter says happened to it."""

    device: DeviceId
    code: str  # a key of `EVENTS`; of what the profile has no word for, log and number: "0-0:99.98.0*255/123"
    when_ms: Ms | None  # UTC, by the meter's clock; None: the entry has no time that can be read
    counter: int | None = None  # what the meter's counter of such events stood at with this entry, where it says so
    until_ms: Ms | None = None  # when it ended, where the entry says so
    operator: str = ""  # the code of who had access, where the entry says so
    frame: Frame | None = None


@dataclass(frozen=True, slots=True)
class Register:
    """Where one quantity sits in a device (profile data)."""

    quantity: Quantity
    address: str  # driver's own notation: "input:0x0048" for Modbus, "di:0201FF00/1" for DL/T 645,
    # "oad:20000200/1" for DL/T 698.45
    type: (
        str  # Modbus: "u16" "i16" "u32" "i32" "u64" "i64" "f32" "f64" "bcd32" "ascii:<registers>"; others: the driver's
    )
    unit: str  # of the register: "kWh", "Wh", "W", "kW", "V", "A" ...
    scale: float = 1.0  # register x scale = value in `unit`
    order: str = "ABCD"  # ABCD, CDAB, BADC, DCBA
    step: float | None = None  # display resolution in `unit`
    digits: str | None = None  # "6.2": the register rolls over at 10^6
    every_s: float = 60.0
    not_available: tuple[int, ...] = ()  # raw integer values that mean "no value"


@dataclass(frozen=True, slots=True)
class Hallmark:
    """What every device of a model says about itself and no other device does (profile data)."""

    address: str  # of a register, or "43/14:product": an object of the Modbus device identification
    equals: tuple[int | str, ...]  # any of these
    type: str = ""  # of the register
    order: str = "ABCD"


class EventNumber(NamedTuple):
    """What a number in a device's event log means (profile data)."""

    number: int
    code: str  # a key of `EVENTS`
    log: str = ""  # the log that numbers its events so, as `Profile.event_log` names it; "": all of them


@dataclass(frozen=True, slots=True)
class Profile:
    """What the registers of one device model mean: data, with the source that was read."""

    name: str
    driver: str
    model: str
    source: str
    side: str  # "primary" or "secondary" side of the transformers
    max_registers: int
    registers: tuple[Register, ...]
    identity: tuple[Hallmark, ...] = ()
    load_profile: str = ""  # where the device keeps its load profile, in the driver's notation; "": it is not read
    event_log: str = ""  # the same of its event log; "": only records of a counter that rose are asked for; several
    # with commas between them
    events: tuple[EventNumber, ...] = ()


LINES = frozenset({"serial", "tcp-serial"})
"""Kinds of links with a serial line behind them; on the others there are only packets."""


@dataclass(frozen=True, slots=True)
class LinkSpec:
    """One serialised channel."""

    id: LinkId
    kind: str  # "modbus-tcp", "dlms-tcp", "serial", "tcp-serial" (a TCP converter onto a serial line)
    host: str = ""
    port: int = 502
    timeout_s: float = 2.0
    connect_timeout_s: float = 5.0
    path: str = ""  # of a serial port
    baud: int = 9600
    parity: str = "N"  # "N", "E", "O"
    data_bits: int = 8
    stop_bits: int = 1
    settlement: bool = False  # the line is a settlement meter's own port: a collection terminal may be master on it
    shared_line: bool = False  # sharing the line with another master is allowed explicitly
    listen_s: float | None = None  # before the first question; None: 16 min on a settlement line, 60 s elsewhere
    echo: bool = False  # the adapter hears what it says


@dataclass(frozen=True, slots=True, kw_only=True)
class DlmsSpec:
    """How a DLMS/COSEM meter is addressed, and what an association with it rests on.

    Secrets are named by their files. Those that stand in the site file after all are never shown.
    """

    client: int = 16  # 16: the public client
    server: int = 1  # the logical device
    physical: int | None = None  # HDLC: the physical device, in addresses of two and four octets
    address_size: int = 1  # HDLC: octets of the server's address
    authentication: str = "none"  # "none", "lls", "hls5"
    security: str = "none"  # "none", "authenticated", "authenticated-encrypted"
    wrap: str = "glo"  # "glo", "ded", "general-glo", "general-ded": those with "ded" use a key of the association's own
    client_title: str = ""  # the agent's system title, 16 hexadecimal digits
    meter_title: str = ""  # the meter's; "": whatever it says in its first answer
    password_file: str = ""
    encryption_key_file: str = ""
    authentication_key_file: str = ""
    password: str = field(default="", repr=False)
    encryption_key: str = field(default="", repr=False)
    authentication_key: str = field(default="", repr=False)
    counter_object: str = "0-0:43.1.0*255"  # where the meter shows the last invocation counter; "": nowhere
    counter_client: int = 16  # the client that may read it in the clear
    with_list_max: int = 16  # attributes that one question may name; 1: no lists
    max_pdu: int = 1200  # octets of the largest APDU that we take
    inactivity_s: float | None = None  # after so much silence the meter ends the association; None: it is asked
    release: bool = True  # whether the meter knows RLRQ
    range_deviation: str = "unspecified"  # in the ends of a range: "unspecified" (8000), "real", "zero"
    utc_offset_min: int | None = None  # of a meter that leaves its deviation out: standard time less UTC
    hdlc_max_info: int = 128
    hdlc_window: int = 1
    state: str = ""  # the folder in which invocation counters are kept


@dataclass(frozen=True, slots=True)
class DeviceSpec:
    """A meter or current transformer that answers on a link."""

    id: DeviceId
    link: LinkId
    unit: int  # Modbus; 0 where `address` says who is meant
    profile: Profile
    every_s: float | None = None  # overrides the profile's cadence
    address: str = ""  # DL/T 645 and 698.45: 12 digits
    zone: str = "UTC"  # IANA name of the zone in which the device's local time is: that of its point
    dlms: DlmsSpec | None = None


@dataclass(frozen=True, slots=True)
class Request:
    """One round trip on a link, planned."""

    device: DeviceId
    unit: int
    registers: tuple[Register, ...]
    plan: Any = None  # the driver's own prepared form of this request
    every_s: float = 60.0

    @property
    def quantities(self) -> tuple[Quantity, ...]:
        return tuple(r.quantity for r in self.registers)


class FactState(StrEnum):
    """How far a fact of the archive can be relied on."""

    VERIFIED = "verified"
    UNVERIFIED = "unverified"
    CONFLICT = "conflict"


class FactSource(StrEnum):
    SYSTEM = "system"
    TECHNICIAN = "technician"
    METER = "meter"


@dataclass(frozen=True, slots=True)
class Fact:
    """What the archive says about one thing from one instant on, and how far that can be relied on."""

    name: str  # "capacity", "ct", "vt", "meter_serial", ...
    value: float | str
    from_ms: Ms
    state: FactState
    source: FactSource
    verified_at: str = ""
    verified_by: str = ""


@dataclass(frozen=True, slots=True)
class Ratings:
    """What a point's metering is made for, primary side, as the archive has it.

    `u_line_v` between lines, `u_phase_v` between line and neutral (the same for 1p2w; of no use for 3p3w). `i_rated_a`:
    rated primary current of the current transformers in force; None for a direct meter, whose `i_max_a` stands beside
    it. `facts`: what this rests on.
    """

    wiring: str  # "3p4w", "3p3w", "1p2w"
    u_line_v: float
    u_phase_v: float
    i_rated_a: float | None
    i_max_a: float | None
    generation: bool
    s_cap_va: float | None
    transformer_va: float | None
    facts: tuple[Fact, ...] = ()
    plate: Fact | None = None  # the nameplate of the transformer, and how far it can be relied on
    k: float | None = None  # CT times VT ratio in force; 1 for a direct meter

    @property
    def phases(self) -> tuple[int, ...]:
        """The phases that have a voltage against neutral and a current of their own."""
        return (1,) if self.wiring == "1p2w" else (1, 2, 3)


class DaySpan(NamedTuple):
    """A local day and the instants between which it lies, UTC."""

    day: date
    start_ms: Ms
    end_ms: Ms


class PointStatus(StrEnum):
    NORMAL = "normal"
    SUSPENDED = "suspended"
    REDUCED = "reduced"


@dataclass(frozen=True, slots=True)
class Capacity:
    """Contracted and running capacity in force over an interval."""

    contracted: float
    running: float
    unit: str  # "VA" or "W"
    status: PointStatus
    basis: str  # "capacity", "contracted-demand", "actual-demand"
    fact: Fact


class Severity(StrEnum):
    """提示 一般 较重 重大 紧急"""

    INFO = "info"
    NOTICE = "notice"
    WARNING = "warning"
    MAJOR = "major"
    CRITICAL = "critical"

    @property
    def rank(self) -> int:
        return _RANK[self]


_RANK = {s: i for i, s in enumerate(Severity, start=1)}


class ClockQuality(StrEnum):
    SYNCED = "synced"
    CENTRAL = "central"
    HOLDOVER = "holdover"
    METER = "meter"
    RTC = "rtc"
    RESTORED = "restored"
    UNSET = "unset"


class ClockState(NamedTuple):
    """How boot time maps to UTC, and how well that is known."""

    quality: ClockQuality
    offset_ms: Ms | None  # UTC = bt_ms + offset_ms; None while UNSET
    error_ms: Ms | None

    def utc_ms(self, bt_ms: Ms) -> Ms | None:
        return None if self.offset_ms is None else bt_ms + self.offset_ms


@dataclass(frozen=True, slots=True)
class Letter:
    """A message of the chain before it has its number: content fixed, place in the chain not yet."""

    id: str  # event id, deterministic: "<finding>/<step>/<n>"
    kind: str  # last topic level: "finding", "record", "case", "evaluation"
    type: str  # "edge-agent.finding.opened.v1"
    source: str  # "/<utility>/<gateway>/<point>"
    subject: str  # audit topic id, or the record's kind
    time_ms: Ms | None
    severity: Severity
    data: dict[str, Any] = field(default_factory=dict)
    clock: ClockState = ClockState(ClockQuality.UNSET, None, None)
    boot_id: str = ""
    bt_ms: Ms = 0


@dataclass(frozen=True, slots=True)
class Sealed:
    """A message of the chain with its number; its bytes never change again."""

    seq: int
    kind: str
    body: bytes
    hash_hex: str
