"""The site file as types: one Struct per table, and no key that is not written here.

There is no key for a name, an address, a telephone or an identity number, and none that switches a certificate check
off: what has no field cannot leak or be left on by mistake. config/edge-agent.toml explains every key to the person
who fills it in. `Meta(extra={"right": ...})` names the sentence that says what would be right.
"""

from __future__ import annotations

from datetime import date, datetime
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct, field

from edge_agent.settings.instant import Instant

Id = Annotated[str, Meta(pattern=r"\A[a-z0-9-]{1,32}\Z", extra={"right": "id"})]
Code = Annotated[str, Meta(pattern=r"\A[A-Za-z0-9._/-]{1,64}\Z", extra={"right": "code"})]
Host = Annotated[str, Meta(pattern=r"\A[A-Za-z0-9._:-]{1,253}\Z", extra={"right": "host"})]
FilePath = Annotated[str, Meta(pattern=r"\A[^\x00-\x1f]{1,1024}\Z", extra={"right": "path"})]
Login = Annotated[str, Meta(pattern=r"\A[^\x00-\x1f]{1,256}\Z", extra={"right": "text"})]
Ratio = Annotated[
    str, Meta(pattern=r"\A[1-9][0-9]{0,6}(\.[0-9]{1,3})?/[1-9][0-9]{0,6}(\.[0-9]{1,3})?\Z", extra={"right": "ratio"})
]
OBIS = r"[0-9]{1,3}-[0-9]{1,3}:[0-9]{1,3}\.[0-9]{1,3}\.[0-9]{1,3}\*[0-9]{1,3}"
Title = Annotated[str, Meta(pattern=r"\A[0-9A-Fa-f]{16}\Z", extra={"right": "system_title"})]
Key = Annotated[str, Meta(pattern=r"\A[0-9A-Fa-f]{32}\Z", extra={"right": "key", "secret": True})]
Password = Annotated[str, Meta(pattern=r"\A[^\x00-\x1f]{1,256}\Z", extra={"right": "text", "secret": True})]
SECRETS = frozenset({"password", "encryption_key", "authentication_key"})
"""Keys of a site file whose values no message, log or listing ever shows."""

MeterAddress = Annotated[str, Meta(pattern=r"\A[0-9]{12}\Z", extra={"right": "meter_address"})]
WallTime = Annotated[str, Meta(pattern=r"\A(([01][0-9]|2[0-3]):[0-5][0-9]|24:00)\Z", extra={"right": "wall_time"})]
ZoneName = Annotated[str, Meta(pattern=r"\A[A-Za-z0-9_+/-]{1,64}\Z", extra={"right": "time_zone"})]
Port = Annotated[int, Meta(ge=1, le=65535)]
Positive = Annotated[float, Meta(gt=0, le=1e9)]
NotNegative = Annotated[float, Meta(ge=0, le=1e9)]
Seconds = Annotated[float, Meta(ge=0.1, le=86_400)]
Count = Annotated[int, Meta(ge=1, le=65_535)]
Megabytes = Annotated[int, Meta(ge=8, le=65_536)]


class Table(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One table of a TOML file; an unknown key is a mistake."""


class Ids(Table, frozen=True, kw_only=True):
    """[site]: the names under which the gateway speaks; each is one level of an MQTT topic."""

    utility: Id
    gateway: Id
    root: Id = "ea"
    release_set: Id = "cn-sg-meter"


class Paths(Table, frozen=True, kw_only=True):
    """[paths]: folders, and the file of pinned signers; relative ones start from the folder of the site file."""

    state: FilePath = "/var/lib/edge-agent"
    runtime: FilePath = "/run/edge-agent"
    signers: FilePath = "/etc/edge-agent/signers.toml"


class Tls(Table, frozen=True, kw_only=True):
    """[mqtt.tls]: files; relative ones start from the folder of the site file."""

    ca: FilePath
    cert: FilePath | None = None
    key: FilePath | None = None


class Mqtt(Table, frozen=True, kw_only=True):
    """[mqtt]: the broker, and who says that a message is done."""

    host: Host
    port: Port = 1883
    version: Literal[5, "5", "3.1.1"] = 5
    ack: Literal["centre", "broker"] = "centre"
    keepalive_s: Annotated[int, Meta(ge=5, le=3600)] = 60
    username: Login | None = None
    password_file: FilePath | None = None
    tls: Tls | None = None

    @property
    def protocol(self) -> Literal["5", "3.1.1"]:
        """The MQTT version as a text, however it was written."""
        return "3.1.1" if self.version == "3.1.1" else "5"


class Delivery(Table, frozen=True, kw_only=True):
    """[delivery]: how fast messages leave, and when they leave again."""

    window: Count = 100
    unacked: Count = 200
    resend_after_s: Seconds = 120
    drain_per_s: Annotated[float, Meta(ge=0, le=10_000)] = 50
    telemetry_spread_s: Annotated[float, Meta(ge=0, le=900)] = 300
    heartbeat_s: Seconds = 300


class Store(Table, frozen=True, kw_only=True):
    """[store]: how much the gateway keeps, and for how long."""

    findings_quota_mb: Megabytes = 64
    telemetry_quota_mb: Megabytes = 512
    telemetry_months: Annotated[int, Meta(ge=1, le=120)] = 13
    retention_days: Annotated[int, Meta(ge=1, le=3650)] = 90


class Log(Table, frozen=True, kw_only=True):
    """[log]"""

    level: Literal["debug", "info", "warning", "error"] = "info"
    json: bool = True


class ClockTable(Table, frozen=True, kw_only=True):
    """[clock]: the gateway's clock, or for demonstrations one that runs `rate` times as fast from `start`."""

    kind: Literal["system", "scaled"] = "system"
    rate: Annotated[float, Meta(gt=0, le=100_000)] | None = None
    start: Annotated[datetime, Meta(tz=True)] | None = None
    anchor_bt_ms: Annotated[int, Meta(ge=0, le=2**53)] | None = None


class Link(Table, frozen=True, kw_only=True):
    """[[link]]: one serialised channel; which keys go with which kind, `link_rules` knows."""

    id: Id
    kind: Literal["modbus-tcp", "dlms-tcp", "serial", "tcp-serial"]
    host: Host | None = None
    port: Port | None = None
    path: FilePath | None = None
    baud: Literal[300, 600, 1200, 2400, 4800, 9600, 19200, 38400, 57600, 115200] = 9600
    parity: Literal["N", "E", "O"] = "N"
    data_bits: Literal[7, 8] = 8
    stop_bits: Literal[1, 2] = 1
    settlement: bool = False
    shared_line: bool = False
    listen_s: Annotated[float, Meta(ge=0, le=7200)] | None = None
    echo: bool = False
    timeout_s: Seconds = 2
    connect_timeout_s: Seconds = 5


class Dlms(Table, frozen=True, kw_only=True):
    """[device.dlms]: how a DLMS/COSEM meter is addressed, and what the association rests on; `dlms_rules` knows what
    goes with what. Secrets stand in files; those that stand here all the same are not shown."""

    client: Annotated[int, Meta(ge=1, le=65_535)] = 16
    server: Annotated[int, Meta(ge=0, le=65_535)] = 1
    physical: Annotated[int, Meta(ge=0, le=16_383)] | None = None
    address_size: Literal[1, 2, 4] = 1
    authentication: Literal["none", "lls", "hls5"] = "none"
    security: Literal["none", "authenticated", "authenticated-encrypted"] = "none"
    wrap: Literal["glo", "ded", "general-glo", "general-ded"] = "glo"
    client_title: Title | None = None
    meter_title: Title | None = None
    password_file: FilePath | None = None
    encryption_key_file: FilePath | None = None
    authentication_key_file: FilePath | None = None
    force_clear_text_keys: bool = False
    password: Password | None = None
    encryption_key: Key | None = None
    authentication_key: Key | None = None
    counter_object: Annotated[str, Meta(pattern=rf"\A({OBIS}|none)\Z", extra={"right": "obis"})] = "0-0:43.1.0*255"
    counter_client: Annotated[int, Meta(ge=1, le=65_535)] = 16
    with_list_max: Annotated[int, Meta(ge=1, le=255)] = 16
    max_pdu: Annotated[int, Meta(ge=0, le=65_535)] = 1200
    inactivity_s: Annotated[float, Meta(ge=0, le=86_400)] | None = None
    release: bool = True
    range_deviation: Literal["unspecified", "real", "zero"] = "unspecified"
    utc_offset_min: Annotated[int, Meta(ge=-840, le=840)] | None = None
    hdlc_max_info: Annotated[int, Meta(ge=32, le=2030)] = 128
    hdlc_window: Annotated[int, Meta(ge=1, le=7)] = 1

    def __repr__(self) -> str:
        shown = ((f, getattr(self, f)) for f in self.__struct_fields__ if f not in SECRETS)
        return f"Dlms({', '.join(f'{name}={value!r}' for name, value in shown)})"


class Device(Table, frozen=True, kw_only=True):
    """[[device]]: a meter or current transformer that answers on a link; `unit` for Modbus, `address` for DL/T,
    `dlms` for DLMS/COSEM."""

    id: Id
    link: Id
    unit: Annotated[int, Meta(ge=1, le=247)] | None = None
    address: MeterAddress | None = None
    profile: Id
    every_s: Annotated[float, Meta(ge=1, le=3600)] | None = None
    dlms: Dlms | None = None


class Entry(Table, frozen=True, kw_only=True):
    """One entry of a timeline: what the archive says from `from` on, and how far that can be relied on."""

    from_: Instant = field(name="from")
    source: Literal["system", "technician", "meter"] = "system"
    state: Literal["verified", "unverified", "conflict"] = "unverified"
    verified_at: Instant | None = None
    verified_by: Code | None = None


class CapacityEntry(Entry, frozen=True, kw_only=True):
    """[[point.capacity]]: contract and running capacity, kVA or kW as the basis asks."""

    basis: Literal["capacity", "contracted-demand", "actual-demand"]
    status: Literal["normal", "suspended", "reduced"] = "normal"
    kva: Positive | None = None
    kw: Positive | None = None
    running_kva: NotNegative | None = None
    running_kw: NotNegative | None = None


class CtEntry(Entry, frozen=True, kw_only=True):
    """[[point.ct]]: current transformer, rated primary over rated secondary, A."""

    ratio: Ratio


class VtEntry(Entry, frozen=True, kw_only=True):
    """[[point.vt]]: voltage transformer, rated primary over rated secondary, V."""

    ratio: Ratio


class SerialEntry(Entry, frozen=True, kw_only=True):
    """[[point.meter_serial]]: the number on the meter's plate."""

    serial: Code


class TariffClassEntry(Entry, frozen=True, kw_only=True):
    """[[point.tariff_class]]: the utility's own code of the class of use."""

    code: Code = field(name="class")


class RatePeriodTable(Table, frozen=True, kw_only=True):
    """[[point.tou.period]]: from when to when a rate counts, in local wall time; no months, no days: in all of them."""

    rate: Annotated[int, Meta(ge=1, le=4)]
    from_: WallTime = field(name="from")
    to: WallTime
    months: tuple[Annotated[int, Meta(ge=1, le=12)], ...] = ()
    days: tuple[Literal["workday", "weekend", "holiday"], ...] = ()


class TouEntry(Entry, frozen=True, kw_only=True):
    """[[point.tou]]: the schedule by which the meter should switch its rates."""

    period: tuple[RatePeriodTable, ...]


class DemandTable(Table, frozen=True, kw_only=True):
    """[point.demand]: integration period and its step, minutes."""

    period_min: Annotated[int, Meta(ge=1, le=60)] = 15
    slide_min: Annotated[int, Meta(ge=1, le=60)] = 1


class Accepted(Table, frozen=True, kw_only=True):
    """[point.accepted]: from when on, and on whose word, the point is no longer on trial."""

    at: Instant
    by: Code


class Transformer(Table, frozen=True, kw_only=True):
    """[point.transformer]: nameplate, and how far it can be relied on."""

    rated_kva: Positive
    uk_percent: Annotated[float, Meta(gt=0, le=30)] | None = None
    source: Literal["system", "technician", "meter"] = "system"
    state: Literal["verified", "unverified", "conflict"] = "unverified"
    verified_at: Instant | None = None
    verified_by: Code | None = None


class WorkOrder(Table, frozen=True, kw_only=True):
    """[[point.work_order]]: announced work; a date in `to` is the last day of it."""

    id: Code
    from_: Instant = field(name="from")
    to: Instant
    topics: tuple[Id, ...] = ()


class PointTable(Table, frozen=True, kw_only=True):
    """[[point]]: a metering point of a customer's contract: opaque codes only."""

    id: Id
    time_zone: ZoneName
    u_n_v: Annotated[float, Meta(ge=50, le=1_000_000)]
    wiring: Literal["3p4w", "3p3w", "1p2w"]
    meter: Id | None = None
    ct_device: Id | None = None
    subs: tuple[Id, ...] = ()
    consumer_no: Code | None = None
    supply_org: Code | None = None
    metering_point: Code | None = None
    asset_no: Code | None = None
    billing_day: Annotated[int, Meta(ge=1, le=28)] = 1
    holiday_calendar: Id | None = None
    generation: bool = False
    joined: date | None = None
    imax_a: Annotated[float, Meta(gt=0, le=10_000)] | None = None
    demand: DemandTable = DemandTable()
    accepted: Accepted | None = None
    capacity: tuple[CapacityEntry, ...] = ()
    ct: tuple[CtEntry, ...] = ()
    vt: tuple[VtEntry, ...] = ()
    meter_serial: tuple[SerialEntry, ...] = ()
    tariff_class: tuple[TariffClassEntry, ...] = ()
    tou: tuple[TouEntry, ...] = ()
    transformer: Transformer | None = None
    work_order: tuple[WorkOrder, ...] = ()


class Calendar(Table, frozen=True, kw_only=True):
    """[[calendar]]: the holidays that a point's tariff knows."""

    id: Id
    days: tuple[date, ...]


class PriceTable(Table, frozen=True, kw_only=True):
    """[[tariff.price]]: what one unit costs; for one class of time only, or for all that have none of their own."""

    of: Literal["demand", "capacity", "energy", "excess", "hour_over"]
    amount: NotNegative
    time_class: Annotated[str, Meta(max_length=16, extra={"right": "text"})] = ""


class TariffTable(Table, frozen=True, kw_only=True):
    """[[tariff]]: which rules of `tariffs/` count for a class of use, and the prices that are known."""

    code: Code = field(name="class")
    rules: tuple[Id, ...]
    new_customers_from: date | None = None
    price: tuple[PriceTable, ...] = ()


class Site(Table, frozen=True, kw_only=True):
    """The whole site file."""

    site: Ids
    mqtt: Mqtt
    paths: Paths = Paths()
    delivery: Delivery = Delivery()
    store: Store = Store()
    log: Log = Log()
    clock: ClockTable = ClockTable()
    link: tuple[Link, ...] = ()
    device: tuple[Device, ...] = ()
    point: tuple[PointTable, ...] = ()
    calendar: tuple[Calendar, ...] = ()
    tariff: tuple[TariffTable, ...] = ()


def as_instant(kind: type, written: Any) -> Any:
    """Tells msgspec how a TOML date or date-time becomes an `Instant`; ValueError where it cannot."""
    if kind is Instant and isinstance(written, date):
        return Instant(written)
    raise ValueError("neither a date nor a date-time with its offset")
