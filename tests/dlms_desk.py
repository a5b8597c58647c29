"""A driver and a DLMS meter on one desk: registers with their scalers, and the ways to tie the two together."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from drivers.dlms import counter_file
from drivers.dlms.driver import DlmsDriver
from drivers.dlms.planning import requests
from drivers.link import Framing, MemoryLink
from edge_agent.model import DeviceSpec, DlmsSpec, Identity, Outcome, Profile, Quantity, Reading, Register
from tests.dlms_meter import CLIENT_TITLE, CLOCK_VALUE, METER_TITLE
from tests.dlms_served import HdlcServer, Served, i16, octets, place, scaler, u32

EK_HEX, AK_HEX = bytes(range(16)).hex(), bytes(range(0xD0, 0xE0)).hex()

REGISTERS = (
    ("active_energy_import", "1-0:1.8.0*255/2", u32(123_456), scaler(1, 30), 1_234_560.0),
    ("active_energy_export", "1-0:2.8.0*255", u32(77), scaler(0, 30), 77.0),
    ("active_power", "1-0:16.7.0*255/2", i16(-1234), scaler(0, 27), -1234.0),
    ("voltage_l1", "1-0:32.7.0*255/2", b"\x12" + (2305).to_bytes(2, "big"), scaler(-1, 35), 230.5),
    ("current_l1", "1-0:31.7.0*255/2", b"\x12" + (512).to_bytes(2, "big"), scaler(-2, 33), 5.12),
    ("frequency", "1-0:14.7.0*255/2", b"\x12" + (4998).to_bytes(2, "big"), scaler(-2, 44), 49.98),
    ("power_factor", "1-0:13.7.0*255/2", i16(972), scaler(-3, 255), 0.972),
    ("running_demand", "5/1-0:1.4.0*255", u32(1500), scaler(0, 27), 1500.0),
    ("maximum_demand", "4/1-0:1.6.0*255/2", u32(2600), scaler(0, 27), 2600.0),
    ("maximum_demand_time", "4/1-0:1.6.0*255/5", CLOCK_VALUE, None, "2026-11-24T15:30:00"),
    ("meter_serial", "0-0:96.1.0*255/2", octets(b"00012345"), None, "00012345"),
    ("meter_clock", "0-0:1.0.0*255/2", CLOCK_VALUE, None, "2026-11-24T15:30:00"),
    ("events_power_off", "1/0-0:96.7.21*255/2", u32(7), None, 7.0),
)  # fmt: skip
EXPECTED = {name: value for name, _, _, _, value in REGISTERS}


def registers(*names: str) -> tuple[Register, ...]:
    from edge_agent.model import UNIT

    return tuple(
        Register(Quantity(name), address, "", UNIT[Quantity(name)])
        for name, address, *_ in REGISTERS
        if not names or name in names
    )


def values() -> dict[bytes, bytes]:
    """What the meter of this desk holds."""
    found: dict[bytes, bytes] = {}
    for name, address, value, unit, _ in REGISTERS:
        class_id, rest = (int(address.split("/")[0]), address.split("/", 1)[1]) if address[1] == "/" else (0, address)
        usual = 8 if name == "meter_clock" else 1 if name == "meter_serial" else 3
        where, _, number = rest.partition("/")
        class_id = class_id or usual
        found[place(where, class_id, int(number or (3 if class_id == 5 else 2)))] = value
        if unit is not None:
            found[place(where, class_id, 4 if class_id == 5 else 3)] = unit
    found[place("0-0:42.0.0*255", 1)] = octets(b"ABC0000000000001")
    found[place("1-0:0.2.0*255", 1)] = octets(b"FW 1.0")
    return found


def meter(**settings: Any) -> Served:
    return Served(values(), **settings)


def device(spec: DlmsSpec | None = None, *names: str, id_: str = "m1", every_s: float = 15, load_profile: str = ""):
    profile = Profile("desk", "dlms", "desk", "desk", "secondary", 16, registers(*names), load_profile=load_profile)
    return DeviceSpec(id_, "lan", 0, profile, every_s, dlms=spec or DlmsSpec())


def under_keys(folder: Path, **more: Any) -> DlmsSpec:
    """HLS-5 GMAC, authenticated and encrypted, unless it says otherwise; nothing in the public client's reach."""
    given: dict[str, Any] = {
        "client": 1,
        "authentication": "hls5",
        "security": "authenticated-encrypted",
        "client_title": CLIENT_TITLE.hex(),
        "meter_title": METER_TITLE.hex(),
        "encryption_key": EK_HEX,
        "authentication_key": AK_HEX,
        "state": str(folder),
        "counter_object": "",
    }
    return DlmsSpec(**(given | more))


class Desk:
    """One driver, one device, and the far end as a function of bytes."""

    def __init__(self, far_end: Callable[[bytes], bytes | None], spec: DeviceSpec, *, line: bool) -> None:
        self.spec = spec
        self.link = MemoryLink(far_end, framing=Framing(9600) if line else None, now_ms=self.now_ms)
        self.driver = DlmsDriver(self.link, 1.0, self.now_ms)
        self.requests = requests(spec)
        self.shift_ms = 0

    def now_ms(self) -> int:
        return round(asyncio.get_running_loop().time() * 1000) + self.shift_ms

    async def read(self) -> dict[str, object]:
        return shown([o for request in self.requests for o in await self.driver.read(request)])


def shown(outcomes: list[Outcome]) -> dict[str, object]:
    found: dict[str, object] = {}
    for outcome in outcomes:
        match outcome:
            case Reading():
                found[outcome.quantity] = outcome.value
            case Identity():
                found[outcome.quantity] = outcome.text
            case _:
                found[outcome.quantity] = f"gap: {outcome.cause}"
    return found


def over_tcp(served: Served, spec: DeviceSpec | None = None) -> Desk:
    """In the wrapper, without a network."""

    def far_end(data: bytes) -> bytes | None:
        assert data[:2] == b"\0\1"
        assert int.from_bytes(data[6:8], "big") == len(data) - 8
        answer = served.serve(int.from_bytes(data[2:4], "big"), data[8:])
        if answer is None:
            return None
        return b"\0\1" + data[4:6] + data[2:4] + len(answer).to_bytes(2, "big") + answer

    desk = Desk(far_end, spec or device(), line=False)
    served.now_s = lambda: desk.now_ms() / 1000
    return desk


def over_hdlc(served: Served, spec: DeviceSpec | None = None, **server: Any) -> tuple[Desk, HdlcServer]:
    """On a line, without a port."""
    end = HdlcServer(served, **server)
    desk = Desk(end.feed, spec or device(), line=True)
    served.now_s = lambda: desk.now_ms() / 1000
    return desk, end


def forget_counters() -> None:
    """As a new process would."""
    counter_file.let_go()


__all__ = ["EXPECTED", "Desk", "device", "forget_counters", "meter", "over_hdlc", "over_tcp", "replace", "under_keys"]
