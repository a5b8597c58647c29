"""The simulated meter on the wire, as a stranger sees it: registers, refusals and every fault.

The wire is read here with a socket and `struct`, by hand: neither the agent's driver nor the simulator's own encoder
has a say in what a right answer is.
"""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from simulator.clock import DAY_MS, HandClock
from simulator.faults import ON_DLMS, ON_LINE, TRUTH, FaultKind
from simulator.fleet import Fleet
from simulator.loop import LoopThread
from simulator.scenario import load_scenario
from tests.test_simulator import HOUR_MS, METER, PROFILE, T0


@pytest.fixture
def profiles(tmp_path: Path) -> Path:
    (tmp_path / "test-meter.toml").write_text(PROFILE)
    return tmp_path


class Wire:
    """A Modbus client of thirty lines that believes nothing."""

    def __init__(self, port: int) -> None:
        self.sock = socket.create_connection(("127.0.0.1", port), timeout=3)
        self.tid = 0

    def send(self, unit: int, pdu: bytes) -> int:
        self.tid += 1
        self.sock.sendall(struct.pack(">HHHB", self.tid, 0, len(pdu) + 1, unit) + pdu)
        return self.tid

    def receive(self) -> tuple[int, int, bytes]:
        """(transaction, unit, PDU) of the next frame; ConnectionError where it ends early."""
        tid, pid, length, unit = struct.unpack(">HHHB", self._exactly(7))
        assert pid == 0
        return tid, unit, self._exactly(length - 1)

    def ask(self, function: int, address: int, count: int, unit: int = 1) -> bytes:
        tid = self.send(unit, struct.pack(">BHH", function, address, count))
        answered = self.receive()
        assert answered[:2] == (tid, unit)
        return answered[2]

    def silent(self, for_s: float = 0.15) -> bool:
        self.sock.settimeout(for_s)
        try:
            return self.sock.recv(1) is None
        except TimeoutError:
            return True
        finally:
            self.sock.settimeout(3)

    def _exactly(self, n: int) -> bytes:
        received = b""
        while len(received) < n:
            more = self.sock.recv(n - len(received))
            if not more:
                raise ConnectionError(f"closed after {received.hex()}")
            received += more
        return received


@contextmanager
def playing(profiles: Path, text: str, clock: HandClock | None = None) -> Iterator[tuple[Fleet, HandClock]]:
    path = profiles / "scenario.toml"
    path.write_text(text)
    clock = clock or HandClock(T0)
    fleet = Fleet(load_scenario(path), clock, ephemeral=True)
    with LoopThread("fleet") as loop:
        loop.run(fleet.start())
        try:
            yield fleet, clock
        finally:
            loop.run(fleet.stop())


@contextmanager
def wire_to(fleet: Fleet, meter_id: str = "m1") -> Iterator[Wire]:
    wire = Wire(fleet.port_of(meter_id))
    with wire.sock:
        yield wire


def test_a_reader_sees_power_and_energy_at_the_scenarios_time(profiles: Path):
    with playing(profiles, METER) as (fleet, clock), wire_to(fleet) as wire:
        clock.now_ms = T0 + 10 * HOUR_MS
        reply = wire.ask(4, 0x34, 2)
        assert reply[:2] == b"\x04\x04"
        assert struct.unpack(">f", reply[2:])[0] == pytest.approx(220_000 / 80)
        clock.now_ms = T0 + DAY_MS
        block = wire.ask(4, 0x34, 0x1E)  # through a gap between two registers, which reads zero
        power_w, energy_kwh = struct.unpack_from(">f", block, 2)[0], struct.unpack_from(">f", block, 2 + 0x14 * 2)[0]
        assert (power_w, energy_kwh) == (pytest.approx(fleet.truth("m1").power.p_w / 80), 48.0)
        assert block[6:10] == bytes(4)
        half = wire.ask(4, 0x49, 1)  # a value cut in two, as a memory does
        assert half[2:] == struct.pack(">f", 48.0)[2:]


def test_what_is_not_there_is_refused_and_a_write_is_counted(profiles: Path):
    with playing(profiles, METER) as (fleet, _), wire_to(fleet) as wire:
        assert wire.ask(4, 0x0000, 2) == b"\x84\x02"  # below the first register
        assert wire.ask(4, 0x0051, 2) == b"\x84\x02"  # beyond the last
        assert wire.ask(4, 0x0034, 61) == b"\x84\x03"  # more than the model allows
        assert wire.ask(3, 0x0000, 0) == b"\x83\x03"
        assert wire.ask(1, 0x0000, 1) == b"\x81\x01"
        assert fleet.writes_seen == 0
        for write in (
            "05 0000 FF00",
            "06 0034 0001",
            "10 0000 0001 02 0001",
            "16 0000 0000 0000",
            "0F 0000 0001 01 01",
        ):
            pdu = bytes.fromhex(write)
            wire.send(1, pdu)
            assert wire.receive()[2] == bytes((pdu[0] | 0x80, 1))
        assert fleet.writes_seen == 5
        assert fleet.units["m1"].counts.refused == 10
        assert wire.ask(4, 0x34, 2)[:1] == b"\x04"  # and it still answers


def test_a_strict_meter_refuses_what_lies_between_registers(profiles: Path):
    with playing(profiles, METER + 'gaps = "refuse"\n') as (fleet, _), wire_to(fleet) as wire:
        assert wire.ask(4, 0x34, 0x1E) == b"\x84\x02"
        assert wire.ask(4, 0x48, 4)[:2] == b"\x04\x08"


def test_units_share_a_port_and_ports_share_nothing(profiles: Path):
    many = METER.replace("unit = 1", "unit = 1\ncount = 3") + METER.split("\n\n")[1].replace(
        '"m1"', '"p"\nport = 1600\ncount = 2\nspread = "port"'
    )
    with playing(profiles, many) as (fleet, clock):
        clock.now_ms = T0 + 10 * HOUR_MS
        assert len({fleet.port_of(m) for m in ("m11", "m12", "m13")}) == 1
        assert len({fleet.port_of(m) for m in ("m11", "p1", "p2")}) == 3
        with wire_to(fleet, "m11") as wire:
            serials = [wire.ask(3, 0x10, 6, unit)[2:12] for unit in (1, 2, 3)]
            assert serials == [b"0000123456", b"0000123457", b"0000123458"]
            wire.send(9, bytes.fromhex("0400340002"))
            assert wire.silent()
        assert fleet.ports[1502].unknown_units == 1


def test_requests_glued_together_or_torn_apart_are_all_answered(profiles: Path):
    with playing(profiles, METER) as (fleet, _), wire_to(fleet) as wire:
        ask = struct.pack(">HHHBBHH", 7, 0, 6, 1, 4, 0x34, 2)
        wire.sock.sendall(ask * 3)
        assert [wire.receive()[0] for _ in range(3)] == [7, 7, 7]
        for i in range(len(ask)):
            wire.sock.sendall(ask[i : i + 1])
            time.sleep(0.001)
        assert wire.receive()[0] == 7
        wire.sock.sendall(b"GET / HTTP/1.1\r\n\r\n")
        with pytest.raises(ConnectionError):
            wire.receive()


FROM_TO = "from = 2026-03-02T10:00:00+08:00\nto = 36060\n"  # one minute; the end in seconds from the start
ON = T0 + 10 * HOUR_MS


def fault(kind: FaultKind, more: str = "") -> str:
    return f'{METER}\n[[meter.fault]]\nkind = "{kind}"\n{FROM_TO}{more}\n'


GOOD = struct.pack(">BBf", 4, 4, 2750.0)


def spoiled(kind: FaultKind, wire: Wire) -> object:
    """Ask for the power once while the fault is in force, and describe what a stranger sees."""
    tid = wire.send(1, bytes.fromhex("0400340002"))
    match kind:
        case FaultKind.SILENCE:
            return wire.silent()
        case FaultKind.RESET | FaultKind.HALF_FRAME:
            with pytest.raises(ConnectionError) as ended:
                wire.receive()
            return str(ended.value)
    got_tid, unit, pdu = wire.receive()
    return got_tid - tid, unit, pdu


SEEN: dict[FaultKind, tuple[str, object]] = {
    FaultKind.SILENCE: ("", True),
    FaultKind.EXCEPTION: ("code = 6", (0, 1, b"\x84\x06")),
    FaultKind.WRONG_UNIT: ("", (0, 2, GOOD)),
    FaultKind.WRONG_FUNCTION: ("", (0, 1, b"\x03" + GOOD[1:])),
    FaultKind.STALE_TRANSACTION: ("", (-1, 1, GOOD)),
    FaultKind.SHORT: ("", (0, 1, b"\x04\x02" + GOOD[2:4])),
    FaultKind.SPLIT: ("", (0, 1, GOOD)),
    FaultKind.LATE: ("delay_ms = 60", (0, 1, GOOD)),
    FaultKind.RESET: ("", "[Errno 104] Connection reset by peer"),
    FaultKind.NAN: ('quantity = "active_power"', (0, 1, b"\x04\x04\x7f\xc0\x00\x00")),
    FaultKind.HELD: ('quantity = "active_power"\nvalue = 1e9', (0, 1, struct.pack(">BBf", 4, 4, 1e9))),
}


@pytest.mark.parametrize("kind", SEEN)
def test_a_fault_is_seen_on_the_wire_while_it_lasts_and_not_a_moment_longer(profiles: Path, kind: FaultKind):
    more, expected = SEEN[kind]
    with playing(profiles, fault(kind, more)) as (fleet, clock):
        clock.now_ms = ON - 1
        with wire_to(fleet) as wire:
            assert wire.ask(4, 0x34, 2) == GOOD
            clock.now_ms = ON
            assert spoiled(kind, wire) == expected
            assert [f.kind for f in fleet.units["m1"].faults.truth(ON)] == [kind]
        clock.now_ms = ON + 60_000
        with wire_to(fleet) as wire:
            assert wire.ask(4, 0x34, 2) == GOOD
        assert fleet.truth("m1", ON).power.p_w == pytest.approx(220_000)  # the truth knows nothing of it


def test_half_a_frame_arrives_before_the_connection_breaks(profiles: Path):
    with playing(profiles, fault(FaultKind.HALF_FRAME)) as (fleet, clock), wire_to(fleet) as wire:
        clock.now_ms = ON
        wire.send(1, bytes.fromhex("0400340002"))
        assert wire.sock.recv(100) == struct.pack(">HHHBB", 1, 0, 7, 1, 4)[:6]
        with pytest.raises(ConnectionError):
            wire.receive()


def test_a_late_reply_is_overtaken_by_the_next_one(profiles: Path):
    with (
        playing(profiles, fault(FaultKind.LATE, "delay_ms = 80\none_in = 2")) as (fleet, clock),
        wire_to(fleet) as wire,
    ):
        clock.now_ms = ON
        asked = [wire.send(1, bytes.fromhex("0400340002")) for _ in range(3)]
        answered = [wire.receive()[0] for _ in range(3)]
        assert answered == [asked[0], asked[2], asked[1]]
        assert (fleet.units["m1"].faults.all[0].met, fleet.units["m1"].faults.all[0].struck) == (3, 1)


def test_a_stuck_register_stands_still_and_its_neighbour_does_not(profiles: Path):
    stuck = fault(FaultKind.STUCK, 'quantity = "active_energy_import"')
    with playing(profiles, stuck) as (fleet, clock), wire_to(fleet) as wire:
        seen = []
        for clock.now_ms in (ON, ON + 30_000, ON + 59_999, ON + 60_000):
            block = wire.ask(4, 0x48, 4)[2:]
            seen.append((block[:4], block[4:]))
        assert len({energy for energy, _ in seen[:3]}) == 1
        assert seen[3][0] != seen[0][0]
        assert len({reactive for _, reactive in seen}) == 3  # the last two are a millisecond apart


def test_a_devices_own_mark_for_no_value(profiles: Path):
    text = fault(FaultKind.NOT_AVAILABLE, 'quantity = "current_l1"')
    with playing(profiles, text) as (fleet, clock), wire_to(fleet) as wire:
        clock.now_ms = ON
        assert wire.ask(3, 0, 1)[2:] == b"\xff\xff"
        assert wire.ask(3, 1, 2)[2:] != b"\xff\xff\xff\xff"


def test_events_of_a_scenario_reach_the_wire(profiles: Path):
    text = METER + (
        '[[meter.event]]\nkind = "exchanged"\nat = 36000\nserial = "0000999999"\n'
        "registers = { active_energy_import = 12.34 }\n"
        '[[meter.event]]\nkind = "fell"\nat = 72000\nquantity = "active_energy_import"\nby = 10.0\n'
    )
    with playing(profiles, text) as (fleet, clock), wire_to(fleet) as wire:
        clock.now_ms = ON
        assert wire.ask(3, 0x10, 6)[2:12] == b"0000999999"
        assert struct.unpack(">f", wire.ask(4, 0x48, 2)[2:])[0] == pytest.approx(12.34)
        clock.now_ms = T0 + 20 * HOUR_MS - 1
        before = struct.unpack(">f", wire.ask(4, 0x48, 2)[2:])[0]
        clock.now_ms += 1
        assert before - struct.unpack(">f", wire.ask(4, 0x48, 2)[2:])[0] == pytest.approx(10, abs=0.02)


def test_a_display_that_refreshes_now_and_then_shows_one_value_until_it_does(profiles: Path):
    with playing(profiles, METER + "refresh_ms = 1000\n") as (fleet, clock), wire_to(fleet) as wire:
        seen = []
        for clock.now_ms in (ON - 2 * HOUR_MS, ON - 2 * HOUR_MS + 999, ON - 2 * HOUR_MS + 1000):
            seen.append(wire.ask(4, 0x34, 2))
        assert seen[0] == seen[1] != seen[2]


def test_every_kind_of_fault_has_its_truth_and_its_test():
    assert set(TRUTH) == set(FaultKind)
    tested_alone = {FaultKind.HALF_FRAME, FaultKind.STUCK, FaultKind.NOT_AVAILABLE}
    on_lines = ON_LINE | {FaultKind.BUSY, FaultKind.HOLE, FaultKind.SWAPPED}  # tests/test_line_stations.py
    assert set(SEEN) | tested_alone | on_lines | ON_DLMS == set(FaultKind)  # tests/test_sim_dlms_faults.py
