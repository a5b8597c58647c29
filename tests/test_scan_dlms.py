"""Scan for DLMS/COSEM meters: found by their addresses, asked what they have, and each refusal explained."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest

from drivers.dlms import catalogue, hdlc_frame
from drivers.dlms.objects import Listed, obis
from drivers.dlms.survey import Place, Seeker, place_of, places
from drivers.link import Framing, MemoryLink
from edge_agent.model import Gap, LinkSpec, Quantity, Reading
from edge_agent.settings.profile import load_profile
from edge_agent.sighting import DlmsCalls, Inventory, Leave, Seen, Sighting
from edge_agent.survey import Report, Wanted, scan
from edge_agent.survey.meter_profile import can_be_profile, profile
from edge_agent.survey.place import Setting
from simulator.line.virtual import run_virtual
from tests.figures import report as figure
from tests.survey_line import SurveyLine, scenario_line
from tests.test_scan import HEAD, scanned, seen
from tests.test_scan_698 import MIXED, freely

HDLC_METER = """
[[meter]]
id = "%s"
line = "a"
protocol = "dlms"
serial = "%s"
registers = { active_energy_import = 1234.56, reactive_energy_import = 765.43, apparent_energy_import = 2000.0 }
load = { kind = "constant", p_kw = 8 }

[meter.dlms]
%s

[[meter.client]]
sap = 1

[[meter.client]]
sap = 2
auth = "lls"
password = "12345678"

[[meter.client]]
sap = 3
auth = "gmac"
protect = "both"
encryption_key = "000102030405060708090A0B0C0D0E0F"
authentication_key = "D0D1D2D3D4D5D6D7D8D9DADBDCDDDEDF"
%s
"""

MUTATED = int(os.environ.get("EDGE_PROVE_DLMS_SCAN", "60"))
LINK = LinkSpec("bus-1", "serial", path="/dev/ttyUSB0")
UNITS = range(1, 4)


def meter(name: str = "m1", serial: str = "0000000001", dlms: str = "physical = 17", more: str = "") -> str:
    return HDLC_METER % (name, serial, dlms, more)


def called(tmp_path: Path, text: str, calls: DlmsCalls | None = None, **wanted: Any) -> tuple[Report, SurveyLine]:
    return scanned(tmp_path, text, Wanted(units=UNITS, asked={"dlms": calls or DlmsCalls()}, **wanted))


def inventory_of(report: Report) -> Inventory:
    (found,) = [f.sighting.inventory for f in report.devices if f.sighting.driver == "dlms"]
    assert found is not None
    return found


def values(inventory: Inventory) -> dict[str, float]:
    return {m.register.quantity: m.outcome.value for m in inventory.matched if isinstance(m.outcome, Reading)}


# --- who is there --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("dlms", "calls", "address"),
    [
        ("", DlmsCalls(), "1"),
        ("sap = 16", DlmsCalls(), "16"),
        ("physical = 17", DlmsCalls(), "1/17"),
        ("physical = 17\noctets = 4", DlmsCalls(), "1/17/4"),
        ("physical = 2836", DlmsCalls(physicals=(2835, 2836, 2837)), "1/2836/4"),
        ("sap = 3\nphysical = 40", DlmsCalls(servers=(2, 3), physicals=tuple(range(38, 43))), "3/40"),
    ],
)
def test_a_meter_is_found_by_its_address_and_says_who_it_is(tmp_path: Path, dlms: str, calls: DlmsCalls, address: str):
    found, line = called(tmp_path, HEAD + meter(dlms=dlms), calls)
    (sighting,) = [f.sighting for f in found.found]
    assert (sighting.driver, sighting.address, sighting.seen) == ("dlms", address, Seen.DEVICE)
    assert dict(sighting.texts) == {"name": "SIM0000000000001", "serial": "0000000001", "firmware": "SIM 1.0"}
    assert str(place_of(address)) == address
    assert (found.setting, found.complete) == (Setting(9600, "N"), True)
    assert found.spent_s < found.limit_s
    assert line.played.writes_seen == 0


@pytest.mark.parametrize(("baud", "parity"), [(19200, "N"), (2400, "N"), (9600, "E")])
def test_the_lines_speed_is_found_as_well(tmp_path: Path, baud: int, parity: str):
    found, _ = called(tmp_path, HEAD + f'baud = {baud}\nparity = "{parity}"\n' + meter())
    assert seen(found) == ["1/17"]
    assert found.setting == Setting(baud, parity)


def test_on_a_line_of_four_protocols_each_device_is_what_it_is(tmp_path: Path):
    found, line = called(tmp_path, MIXED, DlmsCalls())
    assert {f.sighting.address: f.sighting.driver for f in found.found} == {
        "3": "modbus", "123456789012": "dlt645", "201605190907": "dlt698", "1/17": "dlms",
    }  # fmt: skip
    assert all(f.sighting.seen is Seen.DEVICE for f in found.found)
    assert found.complete
    assert line.played.writes_seen == 0
    figure("scan of a line of four protocols", devices=4, seconds=round(found.spent_s), worst_s=round(found.worst_s))


def test_without_being_asked_for_no_dlms_meter_is_called(tmp_path: Path):
    found, line = scanned(tmp_path, HEAD + meter(), Wanted(units=UNITS, bauds=(9600,), parities=("N",)))
    assert found.found == []
    assert not [s for s in line.tap.by("technician") if s.data.startswith(b"\x7e")]


def test_an_answer_that_comes_late_is_the_meters_own(tmp_path: Path):
    """It answers 1.0 s after it was called, while the next address is being called."""
    found, _ = called(tmp_path, HEAD + meter(dlms="physical = 16") + "\n", DlmsCalls())
    assert seen(found) == ["1/16"]
    slow = meter(dlms="physical = 16").replace("load =", "turnaround_ms = 1000\nload =")
    found, _ = called(tmp_path, HEAD + slow, DlmsCalls())
    assert seen(found) == ["1/16"]
    (sighting,) = [f.sighting for f in found.devices]
    assert dict(sighting.texts)["serial"] == "0000000001"


def test_several_meters_on_a_line_are_each_themselves(tmp_path: Path):
    text = HEAD + "".join(meter(f"m{n}", f"000000000{n}", f"physical = {n}") for n in (16, 17, 18)[:3])
    found, _ = called(tmp_path, text.replace("00000000016", "0000000016"), DlmsCalls())
    assert seen(found) == ["1/16", "1/17", "1/18"]
    assert len({dict(f.sighting.texts)["name"] for f in found.devices}) == 3


def test_a_meter_with_two_addresses_is_one_device():
    """It hears one octet and two, as many do, and is the same behind both."""
    stations = [_station(None, 1), _station(17, 2)]
    found = looked(stations, DlmsCalls())
    assert [(s.address, s.seen) for s in found if s.texts] == [("1", Seen.DEVICE), ("1/17", Seen.ALIAS)]
    assert "the same meter as 1" in found[-1].detail


def test_a_meter_that_will_not_connect_is_there_and_says_what_to_do():
    busy = hdlc_frame.encode(b"\x21", b"\x03", hdlc_frame.DM | hdlc_frame.FINAL)

    async def story() -> list[Sighting]:
        link = MemoryLink(lambda asked: busy if asked[3:4] == b"\x03" else None, framing=Framing(9600, "N"))
        seeker = Seeker(link, DlmsCalls(servers=(1, 2)))
        return [s async for s in seeker.look((), freely)]

    found = run_virtual(story())
    assert {s.address for s in found} == {"1"}
    assert found[-1].refusal is not None
    assert found[-1].refusal.code == "dlms.link_refused"


def saying(octets: bytes) -> Callable[[bytes], bytes]:
    """A far end that says the same to whatever is asked."""
    return lambda asked: octets


def test_noise_and_strangers_are_no_meter():
    for said in (b"\x00\x55\xaa\x7e\x12" * 4, bytes.fromhex("010302123444F3"), b"\x7e\xa0\x07\x21\x03\x73\xff\xff\x7e"):
        link = MemoryLink(saying(said), framing=Framing(9600, "N"))

        async def story(link: MemoryLink = link) -> list[Sighting]:
            return [s async for s in Seeker(link, DlmsCalls(servers=(1,))).glance((), freely)]

        assert {s.seen for s in run_virtual(story())} <= {Seen.GARBLED}


def test_the_usual_addresses_are_few_and_others_can_be_said():
    usual = places(DlmsCalls(), on_line=True)
    assert usual[:4] == [Place(1), Place(16), Place(1, 16, 2), Place(1, 16, 4)]
    assert len(usual) <= 16
    assert places(DlmsCalls(physicals=(2836,)), on_line=True) == [Place(1, 2836, 4)]
    assert places(DlmsCalls(servers=(1, 5)), on_line=True) == [Place(1), Place(5)]
    assert Place(1, 125, 2) in places(DlmsCalls(), on_line=True, thorough=True)
    assert places(DlmsCalls(physicals=(127, 16_383)), on_line=True) == [Place(1, 127, 4)]  # else all stations
    assert places(DlmsCalls(), on_line=False) == [Place(1), Place(16)]
    for place in places(DlmsCalls(), on_line=True, thorough=True):
        assert place_of(str(place)) == place


# --- what it has ---------------------------------------------------------------------------------------------------


def test_what_a_client_may_read_becomes_a_profile_that_has_been_tried(tmp_path: Path):
    found, line = called(tmp_path, HEAD + meter(), DlmsCalls(client=1))
    inventory = inventory_of(found)
    assert len(inventory.objects) > 35
    read = values(inventory)
    assert read["active_energy_import"] == pytest.approx(1234.56e3, rel=0.05)
    assert read["voltage_l1"] == pytest.approx(230, rel=0.2)
    assert len(read) >= 20
    assert [r.name for r in inventory.load_profiles] == ["1-0:99.1.0*255"]
    assert (inventory.load_profiles[0].every_s, inventory.load_profiles[0].flaw) == (900, "")
    assert [r.name for r in inventory.event_logs] == ["0-0:99.98.0*255"]
    assert dict(inventory.near)["1-0:1.7.0*255"].startswith("active power drawn")
    (device,) = found.devices
    path = tmp_path / "found-meter.toml"
    path.write_text(profile("found-meter", device.sighting, inventory, LINK))
    written = load_profile(path)
    assert {r.quantity for r in written.registers} == {m.register.quantity for m in inventory.matched}
    assert (written.load_profile, written.event_log) == ("1-0:99.1.0*255", "0-0:99.98.0*255")
    text = path.read_text()
    assert "# physical = 17" in text
    assert "# it read 12" in text
    assert line.played.writes_seen == 0
    figure(
        "a DLMS meter's list read at 9600 baud", objects=len(inventory.objects), quantities=len(inventory.matched),
        seconds=round(found.spent_s),
    )  # fmt: skip


def test_the_public_client_learns_who_it_is_and_no_more(tmp_path: Path):
    found, _ = called(tmp_path, HEAD + meter(), DlmsCalls())
    inventory = inventory_of(found)
    assert not can_be_profile(inventory)
    assert [m.register.quantity for m in inventory.matched] == [Quantity.METER_SERIAL, Quantity.METER_CLOCK]


def test_what_the_meter_counts_in_another_unit_is_left_out(tmp_path: Path):
    """Its 1-0:1.8.0 is a register of ampere, by a scaler and unit of its own."""
    rescaled = '[[meter.fault]]\nkind = "rescaled"\nquantity = "active_energy_import"\nvalue = 99\nfrom = 0\n'
    found, _ = called(tmp_path, HEAD + meter(more=rescaled), DlmsCalls(client=1))
    inventory = inventory_of(found)
    (energy,) = [m for m in inventory.matched if m.register.quantity is Quantity.ACTIVE_ENERGY_IMPORT]
    assert isinstance(energy.outcome, Gap)
    text = profile("m", found.devices[0].sighting, inventory, LINK)
    assert '# quantity = "active_energy_import"' in text
    assert "left out: the meter gives it the scaler 99" in text


def test_a_list_that_breaks_off_says_so(tmp_path: Path):
    more = '[[meter.fault]]\nkind = "block_abort"\nfrom = 0\n'
    found, _ = called(tmp_path, HEAD + meter(dlms="physical = 17\nmost_pdu = 128", more=more), DlmsCalls(client=1))
    inventory = inventory_of(found)
    assert inventory.objects == ()
    assert inventory.refusal is not None
    assert "long_get_aborted" in str(inventory.refusal)
    assert [f.sighting.address for f in found.devices] == ["1/17"]


def test_an_object_is_a_quantity_only_by_class_code_and_right():
    def listed(name: str, class_id: int = 3, readable: tuple[int, ...] = (1, 2, 3)) -> Listed:
        return Listed(class_id, 0, obis(name), frozenset(readable))

    found = catalogue.registers_of(
        [
            listed("1-1:1.8.0.255"), listed("1-0:1.8.0.255"),  # of two channels the first
            listed("1-0:2.8.0.255", 7), listed("1-0:3.8.0.255", 3, (1,)), listed("1-0:4.8.0.101"),  # class, right, past
            listed("1-0:0.4.2.255", 1), listed("1-0:0.4.5.255", 1), listed("1-0:0.4.3.255", 1),  # a ratio of two
            listed("0-0:96.7.0.255", 1), listed("0-0:96.7.21.255", 1), listed("1-0:32.7.0.255", 3, ()),
        ]
    )  # fmt: skip
    assert {r.quantity: r.address for r in found} == {
        "active_energy_import": "3/1-0:1.8.0*255/2",
        "vt_ratio": "1/1-0:0.4.3*255/2",
        "events_power_off": "1/0-0:96.7.21*255/2",
        "voltage_l1": "3/1-0:32.7.0*255/2",
    }


# --- refusals ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("client", "code", "cure"),
    [
        (2, "dlms.association.authentication_mechanism_name_required", "Set lls with its password"),
        (3, "dlms.association.application_context_name_not_supported", "Give the keys"),
        (5, "dlms.association.no_reason_given", "Check client address"),
    ],
)
def test_a_refused_association_is_said_with_its_cure(tmp_path: Path, client: int, code: str, cure: str):
    found, _ = called(tmp_path, HEAD + meter(), DlmsCalls(client=client))
    (sighting,) = [f.sighting for f in found.devices]
    assert sighting.refusal is not None
    assert sighting.refusal.code == code
    (advice,) = [a for a in found.advice() if a.startswith("server 1, physical 17:")]
    assert cure in advice
    assert sighting.inventory is None


def test_a_meter_that_another_client_has_says_so(tmp_path: Path):
    held = '[[meter.fault]]\nkind = "association_held"\nfrom = 0\n'
    found, _ = called(tmp_path, HEAD + meter(more=held), DlmsCalls())
    assert [f.sighting.refusal.code for f in found.devices if f.sighting.refusal] == ["dlms.association.busy"]


# --- how it goes ---------------------------------------------------------------------------------------------------


def test_each_question_waits_for_leave_and_nothing_is_said_without():
    """Leave is withdrawn after ever more questions; from then on nothing leaves, no farewell either."""

    class Hush(Exception):
        pass

    station = _station(None, 1)
    spoken = 0
    for allowed in (0, 1, 2, 3, 5, 8, 13, 16):
        line = _Line([station])
        link = MemoryLink(line.answer, framing=Framing(9600, "N"))
        left = allowed

        async def leave(unclear: bool) -> None:
            nonlocal left
            if left <= 0:
                raise Hush
            left -= 1

        async def story(link: MemoryLink = link, leave: Leave = leave) -> None:
            async for _ in Seeker(link, DlmsCalls(servers=(1,))).look((), leave):
                pass

        with pytest.raises(Hush):
            run_virtual(story())
        assert line.asked == allowed
        spoken += line.asked
        station.links.clear()
        station.meter.open.clear()
    assert spoken == 48


@pytest.mark.parametrize("seed", range(4))
def test_on_a_bad_line_nobody_is_found_who_is_not_there(tmp_path: Path, seed: int):
    faults = "".join(
        f'[[meter.fault]]\nkind = "{kind}"\none_in = {3 + seed}\nfrom = 0\n'
        for kind in ("wrong_check", "noise", "silence", "cut_frame")
    )
    found, line = called(tmp_path, HEAD + meter(more=faults), DlmsCalls(), bauds=(9600,), parities=("N",))
    assert {f.sighting.address for f in found.found if f.sighting.seen is Seen.DEVICE} <= {"1/17"}
    assert line.played.writes_seen == 0


class _Line:
    """Stations with nothing between them and the one who asks."""

    def __init__(self, stations: list[Any]) -> None:
        self.stations = stations
        self.asked = 0

    def answer(self, asked: bytes) -> bytes | None:
        self.asked += 1
        now_s = asyncio.get_running_loop().time()
        said = b"".join(reply.data for s in self.stations for reply in s.heard(asked, now_s))
        return said or None


def _station(physical: int | None, octets: int) -> Any:
    from simulator.dlms.station import DlmsStation
    from tests.sim_dlms import sim_meter

    return DlmsStation("m", sim_meter(), physical, octets)


def looked(stations: list[Any], calls: DlmsCalls) -> list[Sighting]:
    async def story() -> list[Sighting]:
        link = MemoryLink(_Line(stations).answer, framing=Framing(9600, "N"))
        return [s async for s in Seeker(link, calls).look((), freely)]

    return run_virtual(story())


def test_a_second_master_is_heard_before_any_meter_is_called():
    async def story() -> None:
        line = scenario_line("busy-line", baud=2400, parity="E", settlement=True)
        found = await scan(line.place(), Wanted(asked={"dlms": DlmsCalls()}), line.told)
        assert line.written == 0
        assert found.found == []
        assert "a DL/T 645 master that asks meters" in found.objection

    run_virtual(story())


def test_whatever_a_meter_says_the_search_goes_on():
    """Answers with octets changed, in frames that are right: what cannot be read is said, and nothing else happens."""
    chance, listed, refused = Random(698), 0, 0
    for _ in range(MUTATED):
        station = _station(None, 1)
        answer = station.meter.answer
        share = chance.choice((0.0, 0.05, 0.3, 1.0))

        def spoilt(
            client: int, apdu: bytes, channel: object, now_s: float, answer: Any = answer, share: float = share
        ) -> Any:
            came = answer(client, apdu, channel, now_s)
            if not came.apdu or chance.random() >= share:
                return came
            octets = bytearray(came.apdu)
            for _ in range(chance.choice((1, 1, 2, 8))):
                telling = (0, 1, 2, 9, 19, 0x7F, 0x82, 0xFF, chance.randrange(256))
                octets[chance.randrange(len(octets))] = chance.choice(telling)
            return came._replace(apdu=bytes(octets[: chance.choice((None, None, None, chance.randrange(len(octets))))]))

        station.meter.answer = spoilt
        found = looked([station], DlmsCalls(client=1, servers=(1,)))
        assert {s.address for s in found} == {"1"}
        inventory = found[-1].inventory
        listed += inventory is not None and len(inventory.objects) > 35
        refused += found[-1].refusal is not None or (inventory is not None and inventory.refusal is not None)
    assert listed > MUTATED // 8
    assert refused > MUTATED // 8
    figure("DLMS meters searched with answers changed", meters=MUTATED, listed=listed, refused=refused)
