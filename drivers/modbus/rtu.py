"""One question and its answer over Modbus RTU, without a wire; the other door to pymodbus, which is a codec here.

Where an answer ends is known by its length: unit, function and byte count of what was asked. What comes is looked at
from its first byte. An answer that is owed to an older question is thrown away (`owed` says why none is ever taken for
the new one); a whole frame of anybody else means that the line is not in step with us. Noise in front of the answer is
forgiven while nobody owes anything, so that nothing of it can be a late answer; the one or two characters that an
adapter makes of a line turning round, also while another unit owes one.

Source: MODBUS over Serial Line V1.02, 2.5; MODBUS Application Protocol V1.1b3.
"""

from __future__ import annotations

from pymodbus.framer.rtu import FramerRTU
from pymodbus.pdu import DecodePDU
from pymodbus.pdu.register_message import ReadHoldingRegistersRequest, ReadInputRegistersRequest

from drivers.link.checksums import is_modbus_rtu
from drivers.modbus.exchange import exception_of
from drivers.modbus.owed import Owed, Shape
from edge_agent.ports import BadReply, DriverError, NoReply

_FRAMER = FramerRTU(DecodePDU(False))
_ASK = {3: ReadHoldingRegistersRequest, 4: ReadInputRegistersRequest}

_SHORTEST = 5
"""Unit, function with its exception bit, code, checksum."""

_REQUEST = 8
_NOISE = 32
"""Bytes in front of an answer that may be noise; more is somebody speaking."""

_TURNING = 2
"""Bytes in front of an answer that an adapter or a transmitter makes when the line turns round."""


class RtuSession:
    """What outlives a question on a line: the answers that are owed, and those that came late. Times are seconds."""

    gate = "modbus-rtu"

    def __init__(self) -> None:
        self.owed = Owed()
        self.came_late: list[tuple[int, float]] = []
        """Unit, and when it was asked what it has answered by now; for the latency filter to take."""
        self._broken_s = -1.0

    def ask(self, unit: int, function: int, address: int, count: int, now_s: float) -> RtuExchange:
        """A question; its answer is owed from now on."""
        return RtuExchange(self, Shape(unit, function, 2 * count), address, count, now_s)

    def settle(self, came: bytes, now_s: float) -> bool:
        """Look for owed answers in what came between questions; the rest was noise, or said by others. Always in step:
        what came before a question is not an answer to it, since the line was silent in between."""
        at = 0
        while self.owed.owes(now_s) and at + _SHORTEST <= len(came):
            length = _length(came, at)
            if length is not None and at + length <= len(came) and self.is_late(came[at : at + length]):
                at += length
            else:
                at += 1
        return True

    def clear(self) -> None:
        """A new channel to the same line: what is owed is owed still."""

    def is_late(self, frame: bytes) -> bool:
        """Whether a whole frame answers a question that was given up; it is then owed no longer."""
        if not is_modbus_rtu(frame):
            return False
        unit, function = frame[0], frame[1] & 0x7F
        if frame[1] & 0x80:
            asked_s = self.owed.late_refusal(unit, function)
        else:
            asked_s = self.owed.late(Shape(unit, function, frame[2]))
        if asked_s is None:
            return False
        self.came_late.append((unit, asked_s))
        return True


class RtuExchange:
    """One read and its reply: feed it bytes, it answers with the registers' bytes once the reply is whole."""

    def __init__(self, session: RtuSession, shape: Shape, address: int, count: int, now_s: float) -> None:
        asked = _ASK[shape.function](address=address, count=count, dev_id=shape.unit)
        self.request = _FRAMER.buildFrame(asked)
        self.shape = shape
        self._session = session
        self._now_s = now_s
        self._in_doubt = session.owed.owes(now_s)
        self._unit_in_doubt = session.owed.owes(now_s, shape.unit)
        self._refusal_in_doubt = session.owed.owes_refusal(shape.unit, shape.function)
        self._received = bytearray()
        self._buffer = bytearray()
        self._reply = b""
        session.owed.ask(shape, now_s)

    @property
    def received(self) -> bytes:
        """The reply; as long as there is none, everything that came."""
        return self._reply or bytes(self._received)

    def feed(self, received: bytes) -> bytes | None:
        """The bytes of the registers, or None while more are needed.

        Raises BadReply, Refused and NoReply as the reply says; `received` holds the bytes.
        """
        self._received += received
        buffer = self._buffer
        buffer += received
        while len(buffer) >= _SHORTEST:
            length = _length(buffer, 0)
            whole = length is not None and len(buffer) >= length and is_modbus_rtu(memoryview(buffer)[:length])
            if whole and self._is_answer():
                return self._answer(length or 0)
            if whole and self._throw_away(length or 0):
                continue
            if length is not None and len(buffer) < length and (self._is_answer() or self._may_be_late()):
                return None
            return self._behind_noise(length if whole else None)
        return None

    def expired(self) -> DriverError:
        """Silence, an answer that stopped halfway, or noise."""
        unit, size = self.shape.unit, len(self._buffer)
        if not size:
            return NoReply(f"unit {unit} kept silent")
        if size < _SHORTEST or self._is_answer():
            return BadReply(f"unit {unit} stopped after {size} bytes of an answer")
        return BadReply(f"{size} bytes, and no answer of unit {unit} among them: {_shown(self._buffer)}")

    def _is_answer(self) -> bool:
        """Whether the buffer begins as an answer to this question does."""
        unit, function, size = self.shape
        buffer = self._buffer
        if buffer[0] != unit or buffer[1] & 0x7F != function:
            return False
        return bool(buffer[1] & 0x80) or buffer[2] == size

    def _may_be_late(self) -> bool:
        buffer = self._buffer
        return self._in_doubt and not self._session.owed.is_free(Shape(buffer[0], buffer[1], buffer[2]), self._now_s)

    def _answer(self, length: int) -> bytes | None:
        """A whole answer stands at the head of the buffer. None: a refusal that belongs to an older question."""
        frame = bytes(self._buffer[:length])
        if frame[1] & 0x80 and self._refusal_in_doubt:
            # It says as little as an answer can. Taken for the older one's; if it was ours, that costs a reading.
            self._session.is_late(frame)
            del self._buffer[:length]
            return self.feed(b"")
        surplus = len(self._buffer) - length
        if surplus >= _SHORTEST:
            raise BadReply(f"unit {self.shape.unit}: {surplus} bytes behind a whole answer")
        _, unit, _, pdu = _FRAMER.decode(frame)
        if unit != self.shape.unit or len(pdu) != length - 3:
            raise BadReply(f"unit {self.shape.unit}: the frame is read in two ways: {_shown(frame)}")
        self._reply = frame
        if pdu[0] & 0x80:
            self._session.owed.refused(self.shape)
            raise exception_of(unit, pdu[1])
        self._session.owed.answered(self.shape, self._now_s)
        return pdu[2:]

    def _throw_away(self, length: int) -> bool:
        """Whether the whole frame at the head was owed to an older question."""
        if not self._in_doubt or not self._session.is_late(bytes(self._buffer[:length])):
            return False
        del self._buffer[:length]
        return True

    def _behind_noise(self, whole: int | None) -> bytes | None:
        """The buffer does not begin with an answer, late or not. None: there may be one behind the noise yet."""
        buffer, (unit, function, size) = self._buffer, self.shape
        if buffer[:_REQUEST] == self.request:
            raise BadReply("our own question came back: the adapter echoes, say echo = true for this link")
        if whole is not None:
            raise BadReply(_wrong(self.shape, buffer))
        if self._is_answer():
            raise BadReply(f"unit {unit}: the checksum is wrong: {_shown(buffer)}")
        most = 0 if self._unit_in_doubt else _TURNING if self._in_doubt else _NOISE
        head = bytes((unit, function, size))
        at = buffer.find(head, 0, most + len(head))
        while at >= 0:
            frame = bytes(buffer[at : at + 5 + size])
            if len(frame) < 5 + size:
                return None
            if is_modbus_rtu(frame):
                if _holds_a_frame(buffer, at):
                    raise BadReply(f"asked unit {unit}, others spoke before it answered: {_shown(buffer)}")
                del buffer[:at]
                return self._answer(len(frame))
            at = buffer.find(head, at + 1, most + len(head))
        if len(buffer) >= most + len(head):
            raise BadReply(f"asked unit {unit}, got {_shown(buffer)}")
        return None


def _length(buffer: bytes | bytearray, at: int) -> int | None:
    """How long the reply is that begins there; None: no read is answered like that."""
    function = buffer[at + 1]
    if function & 0x80:
        return _SHORTEST if 1 <= function & 0x7F <= 4 else None
    return _SHORTEST + buffer[at + 2] if 1 <= function <= 4 else None


def _holds_a_frame(buffer: bytearray, end: int) -> bool:
    """Whether a whole frame lies anywhere in front of `end`: a question, a refusal, or another answer."""
    view = memoryview(bytes(buffer[:end]))
    for at in range(end - _SHORTEST + 1):
        lengths = {_length(buffer, at), _REQUEST, _SHORTEST}
        if any(n is not None and at + n <= end and is_modbus_rtu(view[at : at + n]) for n in lengths):
            return True
    return False


def _wrong(shape: Shape, frame: bytearray) -> str:
    if frame[0] != shape.unit:
        return f"asked unit {shape.unit}, {frame[0]} answered"
    if frame[1] & 0x7F != shape.function:
        return f"asked function {shape.function}, got {frame[1]}"
    return f"asked {shape.size} bytes, got {frame[2]}"


def _shown(data: bytes | bytearray) -> str:
    return bytes(data[:16]).hex(" ") + (" ..." if len(data) > 16 else "")
