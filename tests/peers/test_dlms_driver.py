"""Our DLMS driver reads the simulator of pydlms: a meter of another maker, over the wrapper and HDLC over TCP.

What its meter shows is known by its own client's word (`read`, `clock`, `profile`), asked over the same port.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from drivers.dlms import channel, selection
from drivers.dlms.axdr import Data, Tag
from drivers.dlms.driver import DlmsDriver
from drivers.dlms.objects import CLOCK, Class, attribute, obis
from drivers.dlms.planning import requests
from drivers.dlms.session import Session
from drivers.dlms.xdlms import Attribute
from drivers.link import open_link
from edge_agent.model import UNIT, DeviceSpec, DlmsSpec, LinkSpec, Profile, Quantity, Register
from tests.dlms_desk import shown
from tests.peers.dlms_matrix import Row, Way
from tests.peers.dlms_sides import BAUD, pydlms_serves, pydlms_version
from tests.peers.test_dlms import READ
from tests.rtu_line import LoopClock
from tests.sim_dlms import AK, CLIENT_TITLE, EK, PASSWORD

PLACES = {
    "active_energy_import": "1-0:1.8.0*255", "active_energy_export": "1-0:2.8.0*255", "active_power": "1-0:1.7.0*255",
    "current_l1": "1-0:31.7.0*255", "voltage_l1": "1-0:32.7.0*255", "meter_clock": "0-0:1.0.0*255",
}  # fmt: skip
PROFILE = Profile(
    "theirs", "dlms", "pydlms", "simulator", "secondary", 16,
    tuple(Register(Quantity(q), place, "", UNIT[Quantity(q)]) for q, place in PLACES.items()),
    load_profile="1-0:99.1.0*255",
)  # fmt: skip
SHOWN: dict[Any, Any] = {
    "active_energy_import": 12_345_678.0, "active_energy_export": 4_321.0, "active_power": 1_520.0,
    "current_l1": 5.23, "voltage_l1": 230.1, "meter_clock": "2024-05-01T12:00:00",
}  # fmt: skip
"""What its meter holds, which its own client says too."""

NOON_MS = 1_714_557_600_000  # 2024-05-01 12:00 at UTC+2, where its clock stands
MIDNIGHT_MS = 1_714_521_600_000  # 2024-05-01 00:00 UTC: the first row of its profile
HOUR_MS, QUARTER_MS, ROWS = 3_600_000, 900_000, 96
BUFFER = attribute(Class.PROFILE_GENERIC, obis("1-0:99.1.0.255"), "buffer")
_REGISTERS = [obis(place.replace("*", ".")) for q, place in PLACES.items() if q != "meter_clock"]
TWELVE = [
    *(attribute(Class.REGISTER, name, part) for name in _REGISTERS for part in ("value", "scaler_unit")),
    attribute(Class.CLOCK, CLOCK, "time"),
    Attribute(Class.DATA, obis("0-0:42.0.0.255"), 2),
]


PROOF = {"glo": (0xCB, 0xCF), "general-glo": (0xDB, 0xDB)}
GET = {"none": (0xC0, 0xC4), "glo": (0xC8, 0xCC), "general-glo": (0xDB, 0xDB)}
"""What question and answer begin with."""


def row_due(n: int) -> int:
    return 1000 + 7 * n


def spec(way: Way, folder: Path, **more: Any) -> DlmsSpec:
    given: dict[str, Any] = {"client": way.sap, "max_pdu": 400, **more}
    if way.kind == "lls":
        given |= {"authentication": "lls", "password": PASSWORD.decode()}
    if way.ciphered:
        given |= {
            "authentication": "hls5", "security": "authenticated-encrypted", "wrap": way.wrap, "state": str(folder),
            "client_title": CLIENT_TITLE.hex(), "encryption_key": EK.hex(), "authentication_key": AK.hex(),
            "counter_object": "",
        }  # fmt: skip
    return DlmsSpec(**given)


class Desk:
    """Our driver on a link to their port, and every APDU with its answer."""

    def __init__(self, way: Way, port: int, dlms: DlmsSpec, monkeypatch: pytest.MonkeyPatch) -> None:
        kind = "tcp-serial" if way.on_line else "dlms-tcp"
        link = LinkSpec("l", kind, host="127.0.0.1", port=port, timeout_s=5.0, baud=BAUD)
        now_ms = LoopClock().now_ms
        self.driver = DlmsDriver(open_link(link, now_ms=now_ms), 5.0, now_ms)
        self.device = DeviceSpec("m1", "l", 0, PROFILE, 15, dlms=dlms)
        self.driver.know([self.device], lambda: NOON_MS)
        self.asked: list[tuple[bytes, bytes]] = []
        for carrier in (channel.WrapperChannel, channel.HdlcChannel):
            monkeypatch.setattr(carrier, "ask", self._overheard(carrier.ask))

    def _overheard(self, ask: Callable[..., Awaitable[channel.Asked]]) -> Callable[..., Awaitable[channel.Asked]]:
        async def asked(self_: object, apdu: bytes, **more: Any) -> channel.Asked:
            answer = await ask(self_, apdu, **more)
            self.asked.append((apdu, answer.apdu))
            return answer

        return asked

    @property
    def session(self) -> Session:
        return self.driver._meters["m1"].session

    async def read(self) -> dict[str, object]:
        return shown([o for request in requests(self.device) for o in await self.driver.read(request)])

    async def rows(self, buffer: Attribute) -> list[tuple[str, int]]:
        """Time as it is written, and the energy."""
        (result,), _ = await self.session.get([buffer])
        assert isinstance(result, Data), result
        found = []
        for row in result.items("buffer", Tag.ARRAY):
            stamp, energy = row.items("row", Tag.STRUCTURE)
            year, month, day, _, hour, minute = int.from_bytes(stamp.octets("")[:2]), *stamp.octets("")[2:7]
            found.append((f"{year}-{month:02}-{day:02} {hour:02}:{minute:02}", energy.integer("energy")))
        return found


@pytest.mark.usefixtures("own_counters")
@READ
def test_our_driver_reads_pydlms(way: Way, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    row = Row("our driver", pydlms_version() + " simulator", way)

    async def story(port: int) -> None:
        desk = Desk(way, port, spec(way, tmp_path, with_list_max=1), monkeypatch)
        found = await desk.read()
        singles = list(desk.asked)
        listed, _ = await desk.session.get(TWELVE)
        of_list = desk.asked[len(singles) :]
        desk.asked.clear()
        day, in_blocks = await desk.rows(BUFFER), len(desk.asked)
        last = await desk.rows(Attribute(*BUFFER[:3], selection.by_entry(ROWS - 3, ROWS)))
        recorded = await desk.driver.recorded("m1", MIDNIGHT_MS + 6 * HOUR_MS, MIDNIGHT_MS + 8 * HOUR_MS)
        await desk.driver.release()
        goodbye = desk.asked[-1]
        await desk.driver.close()

        def associated() -> None:
            opening = 2 if way.ciphered else 1
            assert [(q[0], a[0]) for q, a in singles[:opening]] == [(0x60, 0x61), PROOF[way.wrap]][:opening]
            inside = {(q[0], a[0]) for q, a in singles[opening:]}
            assert inside == {GET[way.wrap if way.ciphered else "none"]}

        def read() -> None:
            assert found == SHOWN
            assert len(singles) > 11, "five values, five scalers and the clock, one by one"

        def in_a_list() -> None:
            assert len(of_list) == 1
            assert len(listed) == 12
            numbers = [result.integer("") for result in listed[:10:2] if isinstance(result, Data)]
            assert numbers == [12_345_678, 4_321, 1_520, 523, 2_301]
            assert listed[11] == Data(Tag.OCTET_STRING, b"PYD1000000000001")

        def whole() -> None:
            assert day == [(f"2024-05-01 {n // 4:02}:{n % 4 * 15:02}", row_due(n)) for n in range(ROWS)]
            assert in_blocks > 4

        def in_range() -> None:
            assert [(r.end_ms, r.value) for r in recorded] == due(6 * HOUR_MS, 8 * HOUR_MS)

        def released() -> None:
            assert (goodbye[0][0], goodbye[1][0]) == (0x62, 0x63)

        row.step("association", associated)
        row.step("single reads", read)
        row.step("list of 12", in_a_list)
        row.step("day in blocks", whole)
        row.step("range", in_range)
        row.step("entries", lambda: last_rows(last, day))
        row.step("release", released)

    with pydlms_serves(way) as port:
        asyncio.run(story(port))
    row.close()


def last_rows(last: list[tuple[str, int]], day: list[tuple[str, int]]) -> None:
    assert last == day[-4:]
    assert len(last) == 4


def due(since_ms: int, until_ms: int) -> list[tuple[int, float]]:
    """Rows at (since, until], counted from midnight."""
    numbers = range(since_ms // QUARTER_MS + 1, until_ms // QUARTER_MS + 1)
    return [(MIDNIGHT_MS + n * QUARTER_MS, float(row_due(n))) for n in numbers]
