"""Simulated DLMS meters behind a TCP port, as a stranger with a socket meets them; and the scenarios that ship."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from drivers.dlms.acse import Mechanism
from drivers.dlms.axdr import Tag
from drivers.dlms.objects import Class, attribute, obis
from drivers.dlms.protection import Level, Wrap
from drivers.dlms.xdlms import Attribute
from simulator.clock import HandClock
from simulator.dlms.tcp import DlmsPort
from simulator.faults import FaultKind
from simulator.fleet import Fleet
from simulator.loop import LoopThread
from simulator.scenario import ScenarioMistake, load_scenario, scenarios_dir
from tests.figures import report
from tests.sim_dlms import BUFFER, ENERGY, KEYS, T0, TIME, TWELVE, Client, Say, sim_meter, wrapped_say

TITLES = {2: bytes.fromhex("53494D0000500002"), 3: bytes.fromhex("53494D0000500003")}

METER = f"""
[clock]
start = 2026-03-02T00:00:00+08:00

[[meter]]
id = "m1"
protocol = "dlms"
load = {{ kind = "constant", p_kw = 8 }}
registers = {{ active_energy_import = 1000 }}

[[meter.client]]
sap = 1
[[meter.client]]
sap = 3
auth = "gmac"
protect = "both"
encryption_key = "{KEYS["encryption_key"]}"
authentication_key = "{KEYS["authentication_key"]}"
"""


class Wire:
    def __init__(self, port: int, wait_s: float = 3.0) -> None:
        self.sock = socket.create_connection(("127.0.0.1", port), timeout=wait_s)

    def receive(self) -> bytes:
        """Raises TimeoutError for silence and ConnectionError for an end."""
        came = self.sock.recv(65536)
        if not came:
            raise ConnectionError("closed")
        return came

    def say(self, client: int, sap: int = 1) -> Say:
        return wrapped_say(self.sock.sendall, self.receive, client, sap)

    def silent(self, for_s: float = 0.2) -> bool:
        self.sock.settimeout(for_s)
        try:
            return self.sock.recv(1) is None
        except TimeoutError:
            return True


@contextmanager
def playing(path: Path, clock: HandClock | None = None) -> Iterator[tuple[Fleet, HandClock]]:
    clock = clock or HandClock(T0)
    fleet = Fleet(load_scenario(path), clock, ephemeral=True)
    with LoopThread("fleet") as loop:
        loop.run(fleet.start())
        try:
            yield fleet, clock
        finally:
            loop.run(fleet.stop())


@contextmanager
def wire_to(fleet: Fleet, meter: str = "m1") -> Iterator[Wire]:
    wire = Wire(fleet.port_of(meter))
    with wire.sock:
        yield wire


@pytest.fixture
def scenario(tmp_path: Path) -> Path:
    path = tmp_path / "scenario.toml"
    path.write_text(METER)
    return path


def faulty(path: Path, kind: FaultKind, more: str = "") -> None:
    path.write_text(f'{METER}\n[[meter.fault]]\nkind = "{kind}"\nfrom = 60\nto = 120\n{more}\n')


def test_the_scenario_that_ships_is_read_by_every_way_in():
    with playing(scenarios_dir() / "dlms-wrapper.toml") as (fleet, clock):
        clock.now_ms = T0 + 36_000_000
        with wire_to(fleet, "plain") as wire:
            public = Client(wire.say(16)).open()
            assigned = public.value(attribute(Class(1), obis("0-0:42.0.0.255"), "value"))
            assert assigned.octets("") == b"SIM0000000500001"
            public.release()
            assert len(Client(wire.say(1)).open().read(*TWELVE)) == 12
        with wire_to(fleet, "plain") as wire:
            client = Client(wire.say(2), Mechanism.LLS).open()
            assert len(client.value(BUFFER).items("", Tag.ARRAY)) == 96 + 41
        for wrap in Wrap:
            with wire_to(fleet, "ciphered") as wire:
                client = Client(
                    wire.say(1, 2), Mechanism.HLS_GMAC, level=Level.BOTH, wrap=wrap, meter_title=TITLES[2],
                    counter=None if wrap is Wrap.GLO else client.counter,
                ).open()  # fmt: skip
                assert len(client.read(*TWELVE)) == 12
                assert len(client.value(BUFFER).items("", Tag.ARRAY)) == 96 + 41
                client.release()
        assert not fleet.dlms["ciphered"].ledger.twice
        assert fleet.writes_seen == 0
        assert fleet.requests > 50
        assert fleet.truth("plain").power.p_w == pytest.approx(220_000)


def test_logical_devices_behind_one_port_name_each_other():
    with playing(scenarios_dir() / "dlms-wrapper.toml") as (fleet, _), wire_to(fleet, "plain") as wire:
        listed = Client(wire.say(16, 2)).open().value(Attribute(17, obis("0-0:41.0.0.255"), 2))
        saps = [item.items("sap", Tag.STRUCTURE)[0].integer("") for item in listed.items("list", Tag.ARRAY)]
        assert saps == [1, 2, 3]


def test_apdus_glued_together_or_torn_apart_are_all_answered(scenario: Path):
    with playing(scenario) as (fleet, _), wire_to(fleet) as wire:
        client = Client(wire.say(1)).open()
        asked = bytes.fromhex("0001 0001 0001 000D C001410008 0000010000FF 02 00")
        wire.sock.sendall(asked * 3)
        came = b""
        while len(came) < 3 * 26:
            came += wire.receive()
        assert came.count(bytes.fromhex("000100010001 0012 C4014100 090C")) == 3
        for i in range(len(asked)):
            wire.sock.sendall(asked[i : i + 1])
            time.sleep(0.001)
        assert wire.receive()[:8] == bytes.fromhex("0001000100010012")
        assert client.value(TIME)
        wire.sock.sendall(bytes.fromhex("0001 0001 0063 000D C001410008 0000010000FF 02 00"))
        assert wire.silent()
        assert fleet.dlms_ports[4059].unknown == 1
        wire.sock.settimeout(3)
        wire.sock.sendall(b"GET / HTTP/1.1\r\n\r\n")
        with pytest.raises(ConnectionError):
            wire.receive()


def test_an_association_ends_with_its_connection(scenario: Path):
    with playing(scenario) as (fleet, _):
        for _ in range(3):
            with wire_to(fleet) as wire:
                assert Client(wire.say(1)).open().value(TIME)
            for _ in range(100):
                if not fleet.dlms["m1"].open:
                    break
                time.sleep(0.01)


def test_silence_for_too_long_ends_the_connection(scenario: Path):
    scenario.write_text(METER.replace('protocol = "dlms"', 'protocol = "dlms"\ndlms = { inactivity_s = 1 }'))
    with playing(scenario) as (fleet, _), wire_to(fleet) as wire:
        assert Client(wire.say(1)).open().value(TIME)
        began_s = time.monotonic()
        with pytest.raises(ConnectionError):
            wire.receive()
        assert 0.9 < time.monotonic() - began_s < 2.5
        assert not fleet.dlms["m1"].open


@pytest.mark.parametrize(("limits_s", "port_s"), [((0, 7), 7), ((7, 0), 7), ((9, 7), 7), ((0, 0), 0)])
def test_a_meter_that_never_hangs_up_leaves_its_neighbours_time_out_alone(limits_s: tuple[int, int], port_s: int):
    meters = {sap: sim_meter(sap=sap, inactivity_s=limit_s) for sap, limit_s in enumerate(limits_s, 1)}
    assert DlmsPort(meters).inactivity_s == port_s


@pytest.mark.parametrize("way", ["none", "gmac"])
@pytest.mark.parametrize(
    ("kind", "more", "seen"),
    [
        (FaultKind.SILENCE, "", TimeoutError),
        (FaultKind.LATE, "delay_ms = 60", None),
        (FaultKind.SPLIT, "", None),
        (FaultKind.WRONG_UNIT, "", TimeoutError),
        (FaultKind.RESET, "", ConnectionError),
        (FaultKind.HALF_FRAME, "", ConnectionError),
        (FaultKind.HUNG_UP, "", ConnectionError),
    ],
)
def test_a_fault_on_the_way(scenario: Path, kind: FaultKind, more: str, seen: type[Exception] | None, way: str):
    faulty(scenario, kind, more)
    with playing(scenario) as (fleet, clock):
        with wire_to(fleet) as wire:
            client = opened(wire, way)
            right = client.value(ENERGY)
            clock.now_ms = T0 + 60_000
            wire.sock.settimeout(0.3)
            if seen is None:
                assert client.value(ENERGY).tag is right.tag
            else:
                with pytest.raises(seen):
                    client.value(ENERGY)
        assert fleet.dlms["m1"].faults.all[0].struck == 1
        clock.now_ms = T0 + 120_000
        time.sleep(0.05)
        with wire_to(fleet) as wire:
            assert opened(wire, way, client).value(ENERGY)
        assert not fleet.dlms["m1"].ledger.twice


def opened(wire: Wire, way: str, before: Client | None = None) -> Client:
    if way == "none":
        return Client(wire.say(1)).open()
    counter = None if before is None else before.counter
    return Client(wire.say(3), Mechanism.HLS_GMAC, level=Level.BOTH, counter=counter).open()


MISTAKES = [
    (METER.replace("[[meter.client]]\nsap = 1", "[[meter.client]]\nsap = 3"), "two clients have one number"),
    (METER + '[[meter.client]]\nsap = 4\nauth = "lls"\n', "LLS needs a password"),
    (METER + '[[meter.client]]\nsap = 4\nauth = "gmac"\n', "needs an encryption key"),
    (METER.replace('"dlms"', '"dlms"\ndlms = { quirks = ["odd"] }'), "no such quirk"),
    (METER.replace('"dlms"', '"dlms"\ndlms = { captures = ["1-0:9.9.9.255"] }'), "cannot capture"),
    (METER.replace('"dlms"', '"dlms"\ndlms = { items = { "0-0:96.1.1.255" = "0904" } }'), "is no value"),
    (METER.replace('"dlms"', '"modbus"\nprofile = "acrel-dtsd1352"'), "dlms, client and log are for"),
    (METER + '[[meter.fault]]\nkind = "hole"\naddress = "input:0"\n', "cannot happen there"),
    (METER + '[[meter.fault]]\nkind = "wrong_check"\n', "cannot happen there"),
    (METER + '[[meter.fault]]\nkind = "held"\nquantity = "temperature"\n', "has no temperature"),
    (METER + METER[METER.index("[[meter]]") :].replace('"m1"', '"m2"'), "share a port and a SAP"),
    (
        METER + '[[meter]]\nid = "m2"\nport = 4059\nprofile = "acrel-dtsd1352"\nload = { kind = "constant" }\n',
        "a DLMS meter and a Modbus meter share a port",
    ),
    (
        METER.replace('protocol = "dlms"', 'line = "a"\nprotocol = "dlms"\ncount = 2') + '[[line]]\nid = "a"\n',
        "need a physical address each",
    ),
    (
        METER.replace('"dlms"', '"dlms"\nline = "a"\ndlms = { physical = 300, octets = 2 }') + '[[line]]\nid = "a"\n',
        "no HDLC address",
    ),
]


@pytest.mark.parametrize(("text", "complaint"), MISTAKES, ids=[complaint for _, complaint in MISTAKES])
def test_a_mistake_about_a_dlms_meter_is_named(tmp_path: Path, text: str, complaint: str):
    path = tmp_path / "scenario.toml"
    path.write_text(text)
    with pytest.raises(ScenarioMistake, match=complaint):
        load_scenario(path)


def test_a_modbus_meter_cannot_have_what_only_dlms_has(tmp_path: Path):
    path = tmp_path / "scenario.toml"
    text = '[clock]\nstart = 2026-03-02T00:00:00+08:00\n[[meter]]\nid = "m"\nprofile = "acrel-dtsd1352"\n'
    path.write_text(text + 'load = { kind = "constant" }\n[[meter.fault]]\nkind = "wrong_tag"\n')
    with pytest.raises(ScenarioMistake, match="cannot happen there"):
        load_scenario(path)


@pytest.mark.parametrize("spread", ["unit", "port"])
def test_several_meters_of_a_table(tmp_path: Path, spread: str):
    path = tmp_path / "scenario.toml"
    path.write_text(METER.replace('"dlms"', f'"dlms"\ncount = 3\nspread = "{spread}"\nserial = "0000000007"'))
    plans = load_scenario(path).dlms
    assert [plan.id for plan in plans] == ["m11", "m12", "m13"]
    assert [plan.sap for plan in plans] == ([1, 2, 3] if spread == "unit" else [1, 1, 1])
    assert [plan.port for plan in plans] == ([4059] * 3 if spread == "unit" else [4059, 4060, 4061])
    made = [plan.hang(HandClock(T0)) for plan in plans]
    assert len({meter.holding.title(T0) for meter in made}) == 3


def test_serve_plays_it_and_keeps_the_counters(tmp_path: Path):
    command = [
        sys.executable, "-m", "simulator.cli", "serve", "dlms-wrapper", "--port", "0",
        "--state", str(tmp_path / "state"),
    ]  # fmt: skip
    counter = None
    seen = 0
    for _ in range(2):
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        try:
            assert process.stdout is not None
            said = process.stdout.readline()
            found = re.match(r"plain \(SAP 1\), ciphered \(SAP 2\), bad \(SAP 3\) at 127\.0\.0\.1:(\d+), DLMS$", said)
            assert found, said
            wire = Wire(int(found[1]))
            with wire.sock:
                client = Client(wire.say(1, 2), Mechanism.HLS_GMAC, level=Level.BOTH, counter=counter).open()
                assert client.value(ENERGY)
                counter = client.counter
            process.terminate()
            rest, _ = process.communicate(timeout=10)
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
        assert "3 requests, 0 attempts to write" in rest
        assert re.search(r"^ciphered: \d+ invocation counters of clients, 0 sent twice$", rest, re.MULTILINE)
        kept = (tmp_path / "state/ciphered.counters").read_text().splitlines()
        assert len(kept) > seen
        seen = len(kept)


def test_how_fast_the_meter_answers(scenario: Path):
    with playing(scenario) as (fleet, _):
        for way in ("none", "gmac"):
            with wire_to(fleet) as wire:
                client = opened(wire, way)
                began_s = time.perf_counter()
                rounds = 200
                for _ in range(rounds):
                    client.value(ENERGY)
                took_s = time.perf_counter() - began_s
                report(f"simulator-dlms-{way}", gets_a_second=round(rounds / took_s))
