"""The read-only gate: nothing but reads leaves, whatever asks for it."""

from __future__ import annotations

import ast
import asyncio
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import event, given
from hypothesis import strategies as st

from drivers.gate import GATES, GateRefused, modbus_rtu, modbus_tcp
from drivers.link import MemoryLink, TcpLink
from drivers.modbus import ModbusDriver, requests
from edge_agent.model import UNIT, Quantity, Register
from edge_agent.ports import DriverError
from tests.meters import Asked, FakeMeter, mbap, meter

DRIVERS = Path(__file__).parent.parent / "drivers"

WRITES = {
    "write one coil (5)": "05 0001 FF00",
    "write one register (6)": "06 0001 0003",
    "write coils (15)": "0F 0013 000A 02 CD01",
    "write registers (16)": "10 0001 0002 04 000A0102",
    "mask a register (22)": "16 0004 00F2 0025",
    "write and read registers (23)": "17 0003 0006 000E 0003 06 00FF00FF00FF",
}
"""The standard's own examples of each function that writes (V1.1b3, 6.5, 6.6, 6.11, 6.12, 6.16, 6.17)."""

NO_READS = {
    "diagnostics (8)": "08 0000 A537",
    "file record (20)": "14 07 06 0004 0001 0002",
    "encapsulated, not 14 (43)": "2B 0D 01 00",
    "identification, no category": "2B 0E 05 00",
    "identification with a tail": "2B 0E 01 00 00",
    "a read with a tail": "03 0000 0002 00",
    "a read without a count": "03 0000",
    "nothing at all to read": "03 0000 0000",
    "more than a read may ask": "04 0000 007E",
    "past the last register": "03 FFFF 0002",
    "a vendor's function": "64 0000 0001",
    "an answer to a read": "83 02",
}


@pytest.mark.parametrize("pdu", WRITES.values(), ids=WRITES)
def test_every_write_of_the_standard_is_refused(pdu):
    with pytest.raises(GateRefused, match="does not read"):
        modbus_tcp(mbap(1, 1, bytes.fromhex(pdu)))


@pytest.mark.parametrize("pdu", NO_READS.values(), ids=NO_READS)
def test_what_is_not_a_read_is_refused(pdu):
    with pytest.raises(GateRefused):
        modbus_tcp(mbap(1, 1, bytes.fromhex(pdu)))


@pytest.mark.parametrize("pdu", ["01 0013 0013", "02 00C4 0016", "03 006B 0003", "04 0008 0001", "2B 0E 01 00"])
def test_the_reads_of_the_standard_pass(pdu):
    modbus_tcp(mbap(1, 1, bytes.fromhex(pdu)))


@pytest.mark.parametrize(
    "frame",
    [
        "0001 0000 0006 01 04 0048 0002" + "0001 0000 0006 01 06 0001 0003",  # a read with a write behind it
        "0001 0000 000C 01 04 0048 0002 06 0001 0003 0000",
        "0001 0001 0006 01 04 0048 0002",  # not the Modbus protocol
        "0001 0000 0005 01 04 0048 0002",
        "0001 0000 0007 01 04 0048 0002",
        "0001 0000 0002 01",
        "",
    ],
)
def test_exactly_one_framed_request_passes(frame):
    with pytest.raises(GateRefused):
        modbus_tcp(bytes.fromhex(frame))


def allowed(data: bytes) -> bool:
    """The list, said a second time and differently."""
    reads = data[2:6] == b"\0\0\0\x06" and len(data) == 12 and data[7] in (1, 2, 3, 4)
    if reads:
        first, count = int.from_bytes(data[8:10], "big"), int.from_bytes(data[10:12], "big")
        return 0 < count <= (2000 if data[7] < 3 else 125) and first + count <= 65536
    return data[2:6] == b"\0\0\0\x05" and len(data) == 11 and data[7:9] == b"\x2b\x0e" and data[9] in (1, 2, 3, 4)


@given(
    st.one_of(
        st.binary(max_size=20),
        st.builds(
            mbap,
            st.integers(0, 65535),
            st.integers(0, 255),
            st.builds(
                lambda function, rest: bytes((function,)) + rest,
                st.one_of(st.sampled_from([1, 2, 3, 4, 0x2B]), st.integers(0, 255)),
                st.binary(min_size=3, max_size=5),
            ),
        ),
    )
)
def test_any_bytes_pass_only_when_they_are_on_the_list(data):
    try:
        modbus_tcp(data)
    except GateRefused:
        event("refused")
        assert not allowed(data)
    else:
        event("passed")
        assert allowed(data)


REGISTERS = st.lists(
    st.builds(
        Register,
        st.sampled_from([q for q in Quantity if UNIT[q]]),
        st.builds("{}:{:#06x}".format, st.sampled_from(["input", "holding"]), st.integers(0, 0xFFF0)),
        st.sampled_from(["u16", "i32", "f32", "u64"]),
        st.just("1"),
        every_s=st.sampled_from([5.0, 60.0]),
    ),
    min_size=1,
    max_size=30,
    unique_by=lambda r: r.quantity,
)


@given(REGISTERS, st.integers(0, 255), st.integers(4, 500), st.data())
def test_no_setting_and_no_answer_brings_a_byte_outside_the_list(registers, unit, most, data):
    """Whatever a profile says and a meter answers, also exceptions that make the driver ask again differently."""
    registers = [replace(r, unit=UNIT[r.quantity]) for r in registers]
    device = meter(*registers, unit=unit, most=most)

    def answer(raw: bytes) -> bytes | None:
        asked = Asked(raw, {}, None)  # type: ignore[arg-type]
        answers = [asked.reply(), asked.exception(2), asked.exception(6), b"\xff" * 9, None]
        chosen: bytes | None = data.draw(st.sampled_from(answers))
        return chosen

    async def poll() -> list[bytes]:
        link = MemoryLink(answer)
        driver = ModbusDriver(link, 0.0)
        for request in requests(device):
            try:
                await driver.read(request)
            except DriverError:
                event("failed")
        return link.sent

    sent = asyncio.run(poll())
    assert sent
    event(f"asked {min(len(sent), 20)} times")
    assert [s for s in sent if not allowed(s) or s[7] not in (3, 4)] == []


def test_a_link_lets_no_byte_past_its_gate():
    async def attempt() -> list[Asked]:
        async with FakeMeter() as far_end:
            link = TcpLink("127.0.0.1", far_end.port, now_ms=lambda: 0)
            voice = link.gate("modbus-tcp")
            await voice.open()
            for pdu in WRITES.values():
                with pytest.raises(GateRefused):
                    voice.write(mbap(1, 1, bytes.fromhex(pdu)))
            voice.write(mbap(2, 1, bytes.fromhex("03 0000 0001")))
            await asyncio.sleep(0.05)
            await voice.close()
            return far_end.asked

    arrived = asyncio.run(attempt())
    assert [(a.tid, a.function) for a in arrived] == [(2, 3)]  # the read behind the writes is the first that arrived


def test_no_driver_has_another_way_to_write():
    """What puts bytes on a wire is one call in each kind of link, and one way leads there: past the gate."""
    writing = {
        "write", "writelines", "send", "sendall", "sendto", "sendmsg", "sendfile", "sock_sendall", "sock_sendto",
        "_send", "_say", "_reply",
    }  # fmt: skip
    calls: Counter[tuple[str, str]] = Counter()
    for path in DRIVERS.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in writing:
                calls[path.name, ast.unparse(node.func)] += 1
    assert calls == {
        ("tcp.py", "transport.write"): 1,
        ("serial.py", "os.write"): 1,
        ("carrier.py", "self._carrier.write"): 1,
        ("memory.py", "self._reply"): 1,
        ("base.py", "self._send"): 1,
        ("base.py", "self.link._say"): 1,
        ("base.py", "voice.write"): 1,
        ("counter_file.py", "os.write"): 1,  # a file of the gateway's own: it opens its path itself
    }
    base = ast.parse((DRIVERS / "link/base.py").read_text("utf-8"))
    voice = next(n for n in base.body if isinstance(n, ast.ClassDef) and n.name == "Voice")
    write = next(n for n in voice.body if isinstance(n, ast.FunctionDef) and n.name == "write")
    assert [ast.unparse(line) for line in write.body[1:]] == ["self._gate(data)", "self.link._say(data)"]


def test_the_gate_shares_nothing_with_the_encoders():
    imported = {
        name
        for node in ast.walk(ast.parse((DRIVERS / "gate.py").read_text("utf-8")))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in ([node.module] if isinstance(node, ast.ImportFrom) else [a.name for a in node.names])
    }
    assert imported == {"__future__", "collections.abc", "drivers.gate_dlms"}  # the rest of it, loaded when needed


def test_every_protocol_has_its_own_gate_and_a_driver_that_names_none_says_nothing():
    assert {"modbus-tcp": modbus_tcp, "modbus-rtu": modbus_rtu}.items() <= GATES.items()
    assert len(set(GATES.values())) == len(GATES)
    with pytest.raises(KeyError):
        MemoryLink(lambda raw: None).gate("anything")
