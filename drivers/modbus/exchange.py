"""One question and its answer over Modbus TCP, without a wire; with `rtu` the door to pymodbus, which is a codec here.

The transaction id is what tells an answer from a late one. An id that this agent gave up waiting for may still turn up:
it is thrown away. Any other id, and any byte that is not a frame, means that the stream is not ours to understand any
more. The answer must be the one that was asked for: unit, function and byte count, exactly.
"""

from __future__ import annotations

from pymodbus.framer.socket import FramerSocket
from pymodbus.pdu import DecodePDU
from pymodbus.pdu.register_message import ReadHoldingRegistersRequest, ReadInputRegistersRequest

from edge_agent.model import GapCause
from edge_agent.ports import BadReply, DriverError, NoReply, Refused

_FRAMER = FramerSocket(DecodePDU(False))
_ASK = {3: ReadHoldingRegistersRequest, 4: ReadInputRegistersRequest}

_REMEMBERED = 1024
"""Given-up transaction ids that are still known; the oldest are forgotten."""

_MEANS = {
    1: "illegal function (1)",
    2: "illegal data address (2)",
    3: "illegal data value (3)",
    4: "device failure (4)",
    5: "acknowledge, not ready (5)",
    6: "device busy (6)",
    7: "negative acknowledge (7)",
    8: "memory parity error (8)",
    10: "gateway path unavailable (10)",
    11: "gateway target did not respond (11)",
}


class NoSuchRegister(Refused):
    """The device has no register at an address in the question; which one, it does not say."""


class DeviceBusy(DriverError):
    """The device asks to be asked later. It does not leave the driver: its registers become gaps."""

    cause = GapCause.BUSY


class Session:
    """What outlives a question on a link: the ids that were given up, and the bytes that are not understood yet."""

    gate = "modbus-tcp"

    def __init__(self) -> None:
        self.buffer = bytearray()
        self._last = 0
        self._unanswered: dict[int, None] = {}
        self.came_late: list[tuple[int, float]] = []  # over TCP a late answer is known by its id, and nobody waits

    def ask(self, unit: int, function: int, address: int, count: int, now_s: float = 0.0) -> TcpExchange:
        """A question of its own id. When it is asked does not matter here."""
        return TcpExchange(self, self.next_id(), unit, function, address, count)

    def next_id(self) -> int:
        """An id that no question still unanswered has; an answer with it is awaited from now on."""
        self._last = self._last % 0xFFFF + 1
        while self._last in self._unanswered:
            self._last = self._last % 0xFFFF + 1
        if len(self._unanswered) >= _REMEMBERED:
            del self._unanswered[next(iter(self._unanswered))]
        self._unanswered[self._last] = None
        return self._last

    def settle(self, came: bytes, now_s: float = 0.0) -> bool:
        """Whether everything that came between questions is accounted for: late answers, whole or begun."""
        self.buffer += came
        try:
            while (late := self.take()) is not None:
                self.answered(late[0] << 8 | late[1])
        except BadReply:
            return False
        return True

    def clear(self) -> None:
        """A new connection: the bytes of the old one are gone; its ids stay known."""
        self.buffer.clear()

    def take(self, awaited: int | None = None) -> bytes | None:
        """The next whole frame off the buffer, or None while it is not whole.

        Raises BadReply for bytes that are no frame, or one with an id that is neither awaited nor given up.
        """
        buffer = self.buffer
        if len(buffer) < 2:
            return None
        tid = buffer[0] << 8 | buffer[1]
        if tid != awaited and tid not in self._unanswered:
            raise BadReply(f"transaction {tid} was not asked")
        if len(buffer) < 6:
            return None
        length = buffer[4] << 8 | buffer[5]
        if buffer[2] or buffer[3] or not 3 <= length <= 254:
            raise BadReply("not a Modbus TCP header")
        if len(buffer) < 6 + length:
            return None
        frame = bytes(buffer[: 6 + length])
        del buffer[: 6 + length]
        return frame

    def answered(self, tid: int) -> None:
        self._unanswered.pop(tid, None)


class TcpExchange:
    """One read and its reply: feed it bytes, it answers with the registers' bytes once the reply is whole."""

    def __init__(self, session: Session, tid: int, unit: int, function: int, address: int, count: int) -> None:
        asked = _ASK[function](address=address, count=count, dev_id=unit, transaction_id=tid)
        self.request = _FRAMER.buildFrame(asked)
        self._session = session
        self._tid = tid
        self._unit = unit
        self._function = function
        self._bytes = 2 * count
        self._before = len(session.buffer)  # what lies there already cannot be the answer
        self._received = bytearray(session.buffer)
        self._reply = b""

    @property
    def received(self) -> bytes:
        """The reply; as long as there is none, everything that came."""
        return self._reply or bytes(self._received)

    def feed(self, received: bytes) -> bytes | None:
        """The bytes of the registers, or None while more are needed.

        Raises BadReply, Refused and NoReply as the reply says; `received` holds the bytes.
        """
        self._received += received
        self._session.buffer += received
        while (frame := self._session.take(self._tid)) is not None:
            early = self._before > 0
            self._before -= len(frame)
            _, unit, tid, pdu = _FRAMER.decode(frame)
            if tid != self._tid:
                self._session.answered(tid)  # late: asked, given up, thrown away
                continue
            self._reply = frame
            self._session.answered(tid)
            if early:
                raise BadReply(f"transaction {tid} was answered before it was asked")
            return self._registers(unit, pdu)
        self._impossible()
        return None

    def expired(self) -> DriverError:
        """Silence, or an answer that stopped halfway."""
        if self._session.buffer:
            return BadReply(f"unit {self._unit} stopped after {len(self._session.buffer)} bytes of an answer")
        return NoReply(f"unit {self._unit} kept silent")

    def _registers(self, unit: int, pdu: bytes) -> bytes:
        if unit != self._unit:
            raise BadReply(f"asked unit {self._unit}, {unit} answered")
        if pdu[0] == self._function | 0x80 and len(pdu) == 2:
            raise exception_of(unit, pdu[1])
        if pdu[0] != self._function:
            raise BadReply(f"asked function {self._function}, got {pdu[0]}")
        if pdu[1] != self._bytes or len(pdu) != 2 + self._bytes:
            raise BadReply(f"asked {self._bytes} bytes, got {pdu[1]} in {len(pdu) - 2}")
        return pdu[2:]

    def _impossible(self) -> None:
        """A reply to this question that cannot become right need not be waited for."""
        head = self._session.buffer
        if len(head) < 6 or head[0] << 8 | head[1] != self._tid:
            return
        if (head[4] << 8 | head[5]) not in {3, 3 + self._bytes}:
            raise BadReply(f"asked {self._bytes} bytes, {(head[4] << 8 | head[5]) - 3} are coming")


def exception_of(unit: int, code: int) -> DriverError:
    """What an exception of the device means for whoever asked."""
    message = f"unit {unit}: {_MEANS.get(code, f'exception {code}')}"
    match code:
        case 2:
            return NoSuchRegister(message)
        case 4 | 10 | 11:
            return NoReply(message)
        case 5 | 6:
            return DeviceBusy(message)
        case _:
            return Refused(message)
