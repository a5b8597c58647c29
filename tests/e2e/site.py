"""One site, written twice: as the agent's site file and as the simulator's scenario, in the same scaled time.

Loads are given in kW at the point; the meters show primary values (eastron-sdm630) or, behind a current transformer,
secondary ones (acrel-dtsd1352). Scenario time begins when the stage is made.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from pathlib import Path

from simulator.clock import ScaledClock, boot_ms, iso, to_ms
from tests.broker import HOST, free_port

LOCAL = timezone(timedelta(hours=8))
MONDAY = datetime(2026, 3, 2, tzinfo=LOCAL)
GATEWAY = "gw-1"
BASE = f"ea/v1/demo/{GATEWAY}"
CT = "400/5"


def steady(p_kw: float) -> str:
    return f'{{ kind = "constant", p_kw = {p_kw}, pf = 0.9 }}'


def steps(*levels: tuple[float, float]) -> str:
    """Each level is (minutes after the start, kW) and holds until the next."""
    table = ", ".join(f"{{ at = {float(60 * minute)}, p_kw = {p_kw} }}" for minute, p_kw in levels)
    return f'{{ kind = "steps", pf = 0.9, levels = [{table}] }}'


def rounds(hours: float, *levels: tuple[float, float], shift_h: float = 0.0, days: int = 14) -> str:
    """The same levels (hours after the round's start, kW) again and again; the first round began `shift_h` ago."""
    table: list[tuple[float, float]] = []
    for n in range(int(24 * days / hours) + 2):
        for at_h, p_kw in levels:
            hour = n * hours + at_h - shift_h
            if hour <= 0:
                table[:1] = [(0.0, p_kw)]
            else:
                table.append((60 * hour, p_kw))
    return steps(*table)


@dataclass(frozen=True, slots=True)
class PointPlan:
    """A point, its contract and what it draws. `kva` is the contract, `load` a table of the scenario."""

    id: str
    load: str
    kva: float = 100.0
    accepted: bool = True
    verified: bool = True
    profile: str = "eastron-sdm630"
    registers_kwh: float = 0.0
    faults: Sequence[str] = ()  # tables of the scenario, as are events
    events: Sequence[str] = ()


@dataclass(slots=True)
class Stage:
    """Where and when everything of one test is. `rate`: seconds of the scenario in one second."""

    folder: Path
    points: Sequence[PointPlan]
    rate: float
    broker_port: int
    start: datetime = MONDAY
    every_s: float = 60.0
    period_min: int = 15
    slide_min: int = 15
    mqtt: dict[str, str] = field(default_factory=dict)  # more keys of [mqtt], as TOML values
    tls: dict[str, Path] = field(default_factory=dict)
    delivery: dict[str, str] = field(default_factory=dict)
    broker_host: str = HOST
    meter_port: int = field(default_factory=free_port)
    clock: ScaledClock = field(init=False)

    def __post_init__(self) -> None:
        self.clock = ScaledClock(to_ms(self.start), self.rate, boot_ms())
        for folder in (self.state, self.run):
            folder.mkdir(parents=True)
        self.scenario.write_text(self._scenario(), encoding="utf-8")
        self.site.write_text(self._site(), encoding="utf-8")

    @property
    def site(self) -> Path:
        return self.folder / "site.toml"

    @property
    def scenario(self) -> Path:
        return self.folder / "scenario.toml"

    @property
    def state(self) -> Path:
        return self.folder / "state"

    @property
    def run(self) -> Path:
        return self.folder / "run"

    @property
    def findings_db(self) -> Path:
        return self.state / "findings.db"

    @property
    def minute(self) -> float:
        """Minutes of the scenario since its start."""
        return (self.clock.utc_ms() - self.clock.start_ms) / 60_000

    def real_s(self, minutes: float) -> float:
        """Real seconds that so many minutes of the scenario take."""
        return minutes * 60 / self.rate

    def at(self, minutes: float) -> str:
        """The instant so many minutes after the start, as messages write it."""
        return iso(self.clock.start_ms + round(minutes * 60_000))

    # -- the files ----------------------------------------------------------------------------------------------

    def _scenario(self) -> str:
        lines = ["[clock]", f"start = {self.start.isoformat()}", ""]
        for unit, point in enumerate(self.points, start=1):
            lines += [
                "[[meter]]",
                f'id = "m-{point.id}"',
                f'profile = "{point.profile}"',
                f"unit = {unit}",
                f'serial = "{7000 + unit}"',
                f'ct = "{CT if point.profile == "acrel-dtsd1352" else "1/1"}"',
                f"registers = {{ active_energy_import = {point.registers_kwh} }}",
                f"load = {point.load}",
                *(f"[[meter.fault]]\n{fault}" for fault in point.faults),
                *(f"[[meter.event]]\n{event}" for event in point.events),
                "",
            ]
        return "\n".join(lines)

    def _site(self) -> str:
        delivery = {
            "drain_per_s": "0",
            "telemetry_spread_s": "0",
            "resend_after_s": "5",
            "heartbeat_s": "2",
            **self.delivery,
        }
        lines = [
            f'[site]\nutility = "demo"\ngateway = "{GATEWAY}"',
            f'[paths]\nstate = "{self.state}"\nruntime = "{self.run}"',
            f'[mqtt]\nhost = "{self.broker_host}"\nport = {self.broker_port}',
            *(f"{key} = {value}" for key, value in self.mqtt.items()),
            *(["[mqtt.tls]"] if self.tls else []),
            *(f'{key} = "{path}"' for key, path in self.tls.items()),
            "[delivery]",
            *(f"{key} = {value}" for key, value in delivery.items()),
            f'[clock]\nkind = "scaled"\nrate = {self.rate}\nstart = {self.start.isoformat()}',
            f"anchor_bt_ms = {self.clock.anchor_bt_ms}",
            f'[[link]]\nid = "lan"\nkind = "modbus-tcp"\nhost = "{HOST}"\nport = {self.meter_port}\ntimeout_s = 0.5',
        ]
        for unit, point in enumerate(self.points, start=1):
            lines += [
                f'[[device]]\nid = "m-{point.id}"\nlink = "lan"\nunit = {unit}\nprofile = "{point.profile}"',
                f"every_s = {self.every_s}",
            ]
        return "\n".join([*lines, *map(self._point, self.points)]) + "\n"

    def _point(self, point: PointPlan) -> str:
        state = 'state = "verified"\nverified_at = 2026-01-05\nverified_by = "t-17"'
        lines = [
            f'[[point]]\nid = "{point.id}"\nmeter = "m-{point.id}"\ntime_zone = "Asia/Shanghai"',
            'u_n_v = 400\nwiring = "3p4w"',
            f"[point.demand]\nperiod_min = {self.period_min}\nslide_min = {self.slide_min}",
            '[point.accepted]\nat = 2026-01-05\nby = "t-17"' if point.accepted else "",
            f'[[point.capacity]]\nfrom = 2020-01-01\nkva = {point.kva}\nbasis = "capacity"',
            state if point.verified else "",
            f'[[point.ct]]\nfrom = 2020-01-01\nratio = "{CT}"\n{state}',
        ]
        return "\n".join(line for line in lines if line)
