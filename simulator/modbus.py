"""The Modbus TCP face of simulated meters: several units behind one port.

Framing is pymodbus's; what a unit answers is decided here, from the profile and the scenario's faults. A meter here is
read only: anything but a read is refused with ILLEGAL FUNCTION and counted, so that a test can say that nothing ever
tried to write. Source: MODBUS Application Protocol V1.1b3.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field

from pymodbus.framer import FramerSocket
from pymodbus.pdu import DecodePDU

from simulator.clock import Ms, SimClock
from simulator.device import SimMeter
from simulator.faults import Fault, FaultKind, Faults
from simulator.profile import SimRegister

READ = {3: "holding", 4: "input"}
WRITES = frozenset({5, 6, 15, 16, 21, 22, 23})
ILLEGAL_FUNCTION, ILLEGAL_ADDRESS, ILLEGAL_VALUE, BUSY = 1, 2, 3, 6
_MAX_COUNT = 125


@dataclass(frozen=True, slots=True)
class Answer:
    """One reply to a request: the PDU, and how it is spoiled on the way."""

    pdu: bytes
    fault: Fault | None = None


@dataclass(slots=True)
class Counts:
    """What a unit has been asked."""

    requests: int = 0
    writes_seen: int = 0
    refused: int = 0


@dataclass
class SimUnit:
    """A meter as Modbus shows it.

    `gaps`: what an address between two registers reads as: "zero", as most meters do, or "refuse". Addresses outside
    the profile's range are always refused. `refresh_ms`: the display changes on this grid of the scenario's time, as a
    real meter's does a few times a second; 0 computes every millisecond anew.
    """

    meter: SimMeter
    faults: Faults = field(default_factory=Faults)
    gaps: str = "zero"
    refresh_ms: Ms = 0
    counts: Counts = field(default_factory=Counts)

    def __post_init__(self) -> None:
        self._plans: dict[tuple[int, int, int], tuple[tuple[int, SimRegister], ...] | None] = {}
        self._quantities: dict[tuple[int, int, int], tuple[str, ...]] = {}
        self._shown: dict[tuple[int, int, int], tuple[Ms, bytes]] = {}

    def answer(self, pdu: bytes, at_ms: Ms) -> Answer:
        """The reply to a request PDU at an instant of the scenario."""
        counts = self.counts
        counts.requests += 1
        function = pdu[0] if pdu else 0
        if function not in READ:
            counts.refused += 1
            counts.writes_seen += function in WRITES
            return Answer(bytes((function | 0x80, ILLEGAL_FUNCTION)))
        if len(pdu) != 5:
            counts.refused += 1
            return Answer(bytes((function | 0x80, ILLEGAL_VALUE)))
        address, count = struct.unpack_from(">HH", pdu, 1)
        key = (function, address, count)
        try:
            plan = self._plans[key]
        except KeyError:
            plan = self._plans[key] = self._plan(READ[function], address, count)
            self._quantities[key] = tuple(register.quantity for _, register in plan or ())
        if plan is None:
            counts.refused += 1
            too_many = not 1 <= count <= min(self.meter.profile.max_registers, _MAX_COUNT)
            return Answer(bytes((function | 0x80, ILLEGAL_VALUE if too_many else ILLEGAL_ADDRESS)))
        if self.faults.all and self.faults.hole(READ[function], address, count, at_ms) is not None:
            counts.refused += 1
            return Answer(bytes((function | 0x80, ILLEGAL_ADDRESS)))
        fault = self.faults.on_wire(self._quantities[key], at_ms) if self.faults.all else None
        if fault is not None and fault.kind in {FaultKind.EXCEPTION, FaultKind.BUSY}:
            code = BUSY if fault.kind is FaultKind.BUSY else fault.code
            return Answer(bytes((function | 0x80, code)), fault)
        block = self._block(key, plan, at_ms)
        if fault is None:
            return Answer(bytes((function, 2 * count)) + block)
        if fault.kind is FaultKind.SHORT:
            return Answer(bytes((function, 2 * count - 2)) + block[:-2], fault)
        if fault.kind is FaultKind.WRONG_FUNCTION:
            return Answer(bytes((function ^ 0x07, 2 * count)) + block, fault)
        return Answer(bytes((function, 2 * count)) + block, fault)

    def _block(self, key: tuple[int, int, int], plan: tuple[tuple[int, SimRegister], ...], at_ms: Ms) -> bytes:
        shown_ms = at_ms - at_ms % self.refresh_ms if self.refresh_ms else at_ms
        cached = self._shown.get(key)
        if cached is not None and cached[0] == shown_ms:
            return cached[1]
        count = key[2]
        block = bytearray(2 * count)
        for offset, register in plan:
            # A value may be cut by either end of the block, as in a real memory.
            raw = self._raw(register, shown_ms)
            start, end = max(offset, 0), min(offset + len(raw), 2 * count)
            block[start:end] = raw[start - offset : end - offset]
        whole = bytes(block)
        self._shown[key] = (shown_ms, whole)
        return whole

    def _raw(self, register: SimRegister, at_ms: Ms) -> bytes:
        fault = self.faults.on_display(register.quantity, at_ms) if self.faults.all else None
        if fault is None:
            return self.meter.raw(register, at_ms)
        match fault.kind:
            case FaultKind.STUCK:
                return self.meter.raw(register, max(fault.from_ms, self.meter.start_ms))
            case FaultKind.HELD:
                return register.encode(fault.value)
            case FaultKind.SWAPPED:
                right = self.meter.raw(register, at_ms)
                return b"".join(right[i : i + 2] for i in range(len(right) - 2, -1, -2))
        return register.encode_nothing()

    def _plan(self, table: str, address: int, count: int) -> tuple[tuple[int, SimRegister], ...] | None:
        """Byte offset of each register that the block touches; None where the device refuses the block."""
        profile = self.meter.profile
        if not 1 <= count <= min(profile.max_registers, _MAX_COUNT):
            return None
        known = [r for r in profile.registers if r.table == table]
        if not known:
            return None
        low, high = min(r.address for r in known), max(r.address + r.width for r in known)
        if address < low or address + count > high:
            return None
        touched = [r for r in known if r.address < address + count and r.address + r.width > address]
        if self.gaps == "refuse":
            cells = {a for r in touched for a in range(r.address, r.address + r.width)}
            if not cells.issuperset(range(address, address + count)):
                return None
        return tuple((2 * (r.address - address), r) for r in touched)


class ModbusPort:
    """One TCP port with its units. `unknown_units` counts requests to units that are not there: they meet silence."""

    def __init__(
        self, units: Mapping[int, SimUnit], clock: SimClock, *, host: str = "127.0.0.1", port: int = 0
    ) -> None:
        self.units = dict(units)
        self.clock = clock
        self.host = host
        self.port = port
        self.unknown_units = 0
        self.connections: set[_Connection] = set()
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        """Listen; `port` 0 becomes the one that the system gave. Raises OSError where the port is taken."""
        self._server = await asyncio.get_running_loop().create_server(lambda: _Connection(self), self.host, self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
            for connection in list(self.connections):
                connection.drop()
            await self._server.wait_closed()
            self._server = None


class _Connection(asyncio.Protocol):
    """Requests are answered in order of arrival; only a late reply is overtaken."""

    def __init__(self, port: ModbusPort) -> None:
        self._port = port
        self._framer = FramerSocket(DecodePDU(is_server=True))
        self._received = b""
        self._transport: asyncio.Transport | None = None
        self._last_tid = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._port.connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._port.connections.discard(self)

    def data_received(self, data: bytes) -> None:
        received = self._received + data
        while len(received) >= self._framer.MIN_SIZE:
            if received[2:4] != b"\x00\x00":  # not Modbus: a device closes rather than guess where a frame begins
                self.drop()
                return
            used, unit_id, tid, pdu = self._framer.decode(received)
            if not used:
                break
            received = received[used:]
            self._ask(unit_id, tid, pdu)
            if self._transport is None:
                return
        self._received = received

    def drop(self) -> None:
        """Close with a reset: what was written and not yet sent is lost."""
        if self._transport is None:
            return
        sock = self._transport.get_extra_info("socket")
        if sock is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._transport.abort()
        self._transport = None

    def _ask(self, unit_id: int, tid: int, pdu: bytes) -> None:
        unit = self._port.units.get(unit_id)
        if unit is None:
            self._port.unknown_units += 1
            return
        answer = unit.answer(pdu, self._port.clock.utc_ms())
        if answer.fault is None:
            self._send(self._framer.encode(answer.pdu, unit_id, tid))
        else:
            self._spoil(answer.pdu, answer.fault, unit_id, tid)
        self._last_tid = tid

    def _spoil(self, pdu: bytes, fault: Fault, unit_id: int, tid: int) -> None:
        frame = self._framer.encode(pdu, unit_id, tid)
        match fault.kind:
            case FaultKind.SILENCE:
                return
            case FaultKind.LATE:
                asyncio.get_running_loop().call_later(fault.delay_ms / 1000, self._send, frame)
            case FaultKind.WRONG_UNIT:
                self._send(self._framer.encode(pdu, unit_id % 247 + 1, tid))
            case FaultKind.STALE_TRANSACTION:
                self._send(self._framer.encode(pdu, unit_id, self._last_tid or (tid - 1) % 65536))
            case FaultKind.RESET:
                self.drop()
            case FaultKind.HALF_FRAME:
                self._send(frame[: len(frame) // 2])
                # After the bytes have left: a reset at once would take them back.
                asyncio.get_running_loop().call_later(0.02, self.drop)
            case FaultKind.SPLIT:
                for i in range(len(frame)):
                    asyncio.get_running_loop().call_later(0.001 * i, self._send, frame[i : i + 1])
            case _:
                self._send(frame)

    def _send(self, frame: bytes) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(frame)
