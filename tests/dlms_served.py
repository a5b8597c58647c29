"""A DLMS meter that somebody can be connected to: associations with their end, HDLC on a line, the wrapper on TCP.

The server's side by the standard, written apart from the driver: it shares no line with it.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from tests.dlms_meter import Meter, aare, frame, tlvs, x25

EXCEPTION_LOST = bytes.fromhex("D80101")  # service not allowed, operation not possible
BUSY = aare(2, 1, b"")


def class_of(descriptor: bytes) -> tuple[int, str, int]:
    c = int.from_bytes(descriptor[:2], "big")
    a, b, x, d, e, f = descriptor[2:8]
    return c, f"{a}-{b}:{x}.{d}.{e}*{f}", descriptor[8]


def place(text: str, class_id: int = 3, attribute: int = 2) -> bytes:
    """`1-0:1.8.0*255` as class, logical name and attribute."""
    name = text.replace("-", ".").replace(":", ".").replace("*", ".").split(".")
    return class_id.to_bytes(2, "big") + bytes(int(n) for n in name) + bytes((attribute,))


def u32(n: int) -> bytes:
    return b"\x06" + n.to_bytes(4, "big")


def i16(n: int) -> bytes:
    return b"\x10" + n.to_bytes(2, "big", signed=True)


def u16(n: int) -> bytes:
    return b"\x12" + n.to_bytes(2, "big")


def octets(data: bytes) -> bytes:
    return b"\x09" + bytes((len(data),)) + data


def scaler(power: int, unit: int) -> bytes:
    return b"\x02\x02\x0f" + power.to_bytes(1, "big", signed=True) + b"\x16" + bytes((unit,))


def size(n: int) -> bytes:
    return bytes((n,)) if n < 0x80 else b"\x82" + n.to_bytes(2, "big")


def capture(text: str, class_id: int, attribute: int) -> bytes:
    where = place(text, class_id, attribute)
    return b"\x02\x04\x12" + where[:2] + octets(where[2:8]) + b"\x0f" + where[8:] + b"\x12\0\0"


@dataclass
class Profile:
    """A load profile: its columns as capture objects, its rows with their times in local minutes since 1970."""

    name: str
    columns: Sequence[bytes]
    rows: list[tuple[int, bytes]]
    """Local time of the stamp in ms (as if UTC), the encoded structure."""
    period_s: int = 900
    sort: int = 1
    ranges: bool = True
    entries: bool = True
    whole: bool = True

    def attributes(self) -> dict[bytes, bytes]:
        return {
            place(self.name, 7, 3): b"\x01" + bytes((len(self.columns),)) + b"".join(self.columns),
            place(self.name, 7, 4): u32(self.period_s),
            place(self.name, 7, 5): b"\x16" + bytes((self.sort,)),
            place(self.name, 7, 7): u32(len(self.rows)),
        }

    def buffer(self, access: bytes) -> bytes | None:
        """The rows that were asked for; None: not so."""
        rows = self.rows if self.sort == 1 else self.rows[::-1]
        if not access:
            if not self.whole:
                return None
        elif access[0] == 1:
            if not self.ranges:
                return None
            # structure of four: restricting object (structure of four), first, last, columns
            at = 3 + 2 + 3 + 8 + 2 + 3
            first, last = access[at + 2 : at + 14], access[at + 16 : at + 28]
            assert access[at : at + 2] == access[at + 14 : at + 16] == b"\x09\x0c"
            rows = [r for r in rows if local_ms(first) <= r[0] <= local_ms(last)]
        else:
            if not self.entries:
                return None
            top, bottom = (int.from_bytes(access[n : n + 4], "big") for n in (4, 9))
            rows = rows[top - 1 : bottom or None]
        return b"\x01" + size(len(rows)) + b"".join(row for _, row in rows)


def local_ms(stamp: bytes) -> int:
    """What the clock shows, as if it were UTC."""
    from datetime import UTC, datetime

    year = int.from_bytes(stamp[:2], "big")
    shown = datetime(year, stamp[2], stamp[3], stamp[5], stamp[6], stamp[7], tzinfo=UTC)
    return int(shown.timestamp() * 1000)


@dataclass
class Served(Meter):
    """A meter with one association at a time, an end to it, counters that must grow, and load profiles."""

    now_s: Callable[[], float] = lambda: 0.0
    inactivity_s: float = 120.0
    public: dict[bytes, bytes] = field(default_factory=dict)
    """What the public client reads in the clear, where other clients are ciphered."""
    profiles: list[Profile] = field(default_factory=list)
    lists: bool = True
    response: bytes = bytes.fromhex("0800065F1F0400001A1D04C80007")
    """InitiateResponse: lists, blocks, GET, selection; PDU 1224."""
    heard: int = -1
    """The last counter of the client's."""
    rejected: str = "exception"
    """How an old counter is met: "exception", "exception with counter", "silence"."""
    says: Callable[[bytes], bytes | None] = lambda answer: answer
    """The last word over every answer on its way out; None: silence."""
    associations: int = 0
    refused: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        self.client: int | None = None
        self.used_s = 0.0

    def serve(self, client: int, apdu: bytes) -> bytes | None:
        answer = self._answered(client, apdu)
        return None if answer is None else self.says(answer)

    def hang_up(self) -> None:
        """The data link has ended, and the association with it."""
        self.client = None

    def _answered(self, client: int, apdu: bytes) -> bytes | None:
        now_s = self.now_s()
        if self.client is not None and now_s - self.used_s > self.inactivity_s:
            self.client = None
        if apdu[0] == 0x60:
            if self.client not in {None, client}:
                self.refused += 1
                return BUSY
            if (rejection := self._old(client, apdu)) is not None:
                return rejection or None
            self.client, self.used_s = client, now_s
            self.associations += 1
            return self._opened(client, apdu)
        if self.client != client:
            return EXCEPTION_LOST
        if (rejection := self._old(client, apdu)) is not None:
            return rejection or None
        self.used_s = now_s
        if apdu[0] == 0x62:
            self.asked.append(apdu)
            self.client = None
            return bytes.fromhex("6303800100")
        if self.ciphers and client == 16:
            self.asked.append(apdu)
            value = self.public.get(apdu[3:12])
            return b"\xc4\x01" + apdu[2:3] + (b"\x01\x03" if value is None else b"\x00" + value)
        return super().answer(apdu)

    def _opened(self, client: int, apdu: bytes) -> bytes:
        if self.ciphers and client == 16:
            return aare(information=self.response)
        return super().answer(apdu)

    def _associate(self, apdu: bytes) -> bytes:
        import tests.dlms_meter as base

        kept, base.RESPONSE = base.RESPONSE, self.response
        try:
            return super()._associate(apdu)
        finally:
            base.RESPONSE = kept

    def _old(self, client: int, apdu: bytes) -> bytes | None:
        """What is said to a counter that is not new; empty: nothing at all; None: it is new."""
        if not self.ciphers or client == 16 or apdu[0] == 0x62:
            return None
        body = tlvs(apdu[2:])[0xBE][2:] if apdu[0] == 0x60 else apdu
        length_at = 2 + body[1] if body[0] in {0xDB, 0xDC} else 1
        at = length_at + 1 + (body[length_at] - 0x80 if body[length_at] > 0x80 else 0)
        assert body[at] == self.control
        if apdu[0] in {0xD0, 0xD3, 0xDC}:
            return None  # the dedicated key has a counter of its own
        number = int.from_bytes(body[at + 1 : at + 5], "big")
        if number > self.heard:
            self.heard = number
            return None
        self.refused += 1
        match self.rejected:
            case "exception":
                return bytes.fromhex("D80205")  # deciphering error
            case "exception with counter":
                return bytes.fromhex("D80206") + self.heard.to_bytes(4, "big")
        return b""

    def _serve(self, plain: bytes) -> bytes:
        if plain[0] == 0xC0 and plain[1] == 3 and not self.lists:
            return bytes.fromhex("D80202")  # service not supported
        if plain[0] == 0xC0 and plain[1] == 1:
            wanted = plain[3:12]
            for profile in self.profiles:
                if wanted == place(profile.name, 7, 2):
                    buffer = profile.buffer(plain[13:] if plain[12] else b"")
                    if buffer is None:
                        return b"\xc4\x01" + plain[2:3] + b"\x01\x03"
                    self.values[wanted] = buffer
                    return super()._serve(plain[:12] + b"\0")
                self.values |= {k: v for k, v in profile.attributes().items() if k not in self.values or k[-1] == 7}
        for profile in self.profiles:
            self.values |= profile.attributes()
        return super()._serve(plain)


class HdlcServer:
    """One meter's end of HDLC: bytes in, bytes out. Frames to other addresses are not its business."""

    def __init__(self, meter: Served, address: bytes = b"\x03", *, info: int = 128, own_ua: bool = True) -> None:
        self.meter = meter
        self.address = address
        self.up: bytes | None = None
        self.heard: list[bytes] = []
        """Frames that were for this meter."""
        self._info = info
        self._buffer = bytearray()
        self._vs = self._vr = 0
        self._left: list[bytes] = []
        self._said = b""
        self._asked = b""
        self._own_ua = own_ua

    def feed(self, data: bytes) -> bytes:
        self._buffer += data
        out = b""
        while (found := self._take()) is not None:
            out += self._frame(*found)
        return out

    def _take(self) -> tuple[bytes, int, bytes, bool] | None:
        buffer = self._buffer
        while (start := buffer.find(0x7E)) >= 0:
            del buffer[:start]
            if len(buffer) < 3:
                return None
            if buffer[1] & 0xF0 != 0xA0:
                del buffer[0]
                continue
            length = (buffer[1] & 7) << 8 | buffer[2]
            if len(buffer) < length + 2:
                if length > 1000:
                    del buffer[0]
                    continue
                return None
            whole = bytes(buffer[: length + 2])
            if whole[-1] != 0x7E or x25(whole[1:-3]).to_bytes(2, "little") != whole[-3:-1]:
                del buffer[0]
                continue
            del buffer[: length + 1]
            n = len(self.address)
            if whole[3 : 3 + n] != self.address or not whole[3 + n] & 1:
                continue
            self.heard.append(whole)
            info = whole[3 + n + 4 : -3] if len(whole) > 3 + n + 2 + 3 else b""
            return whole[3 + n : 4 + n], whole[4 + n], info, bool(whole[1] & 8)
        buffer.clear()
        return None

    def _frame(self, client: bytes, control: int, info: bytes, segmented: bool) -> bytes:
        if control == 0x93:
            self._asked = b""
            self.up, self._vs, self._vr, self._left = client, 0, 0, []
            size = self._info.to_bytes(1, "big")
            ua = b"\x81\x80\x0c\x05\x01" + size + b"\x06\x01" + size + b"\x07\x01\x01\x08\x01\x01"
            return self._say(client, 0x73, ua if self._own_ua else b"")
        if control == 0x53:
            was, self.up = self.up, None
            if was == client:
                self.meter.hang_up()
            return self._say(client, 0x73 if was == client else 0x1F)
        if self.up != client:
            return self._say(client, 0x1F)
        if control & 0x0F == 0x01:
            if control >> 5 == self._vs:
                return self._next(client) if self._left else b""
            return self._said  # not arrived: once more
        ns = control >> 1 & 7
        if ns != self._vr:
            return self._say(client, self._vr << 5 | 0x11, kept=False)
        self._vr = (self._vr + 1) & 7
        self._asked += info
        if segmented:
            return self._say(client, self._vr << 5 | 0x11)
        asked, self._asked = self._asked, b""
        assert asked[:3] == b"\xe6\xe6\x00"
        answer = self.meter.serve(client[0] >> 1, asked[3:])
        if answer is None:
            return b""
        whole = b"\xe6\xe7\x00" + answer
        self._left = [whole[at : at + self._info] for at in range(0, len(whole), self._info)]
        return self._next(client)

    def _next(self, client: bytes) -> bytes:
        info = self._left.pop(0)
        control = self._vr << 5 | 0x10 | self._vs << 1
        self._vs = (self._vs + 1) & 7
        return self._say(client, control, info, more=bool(self._left))

    def _say(self, client: bytes, control: int, info: bytes = b"", *, more: bool = False, kept: bool = True) -> bytes:
        said = frame(control, info, to=client, of=self.address, more=more)
        if kept:
            self._said = said
        return said


class WrapperServer:
    """Meters behind one TCP port, by their wPort."""

    def __init__(self, meters: dict[int, Served]) -> None:
        self.meters = meters
        self.port = 0
        self.connections = 0
        self.wires: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> WrapperServer:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        self.cut()
        await asyncio.sleep(0.01)

    def cut(self) -> None:
        for wire in list(self.wires):
            wire.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, wire: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.wires.add(wire)
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = await reader.readexactly(8)
                apdu = await reader.readexactly(int.from_bytes(head[6:8], "big"))
                meter = self.meters.get(int.from_bytes(head[4:6], "big"))
                answer = None if meter is None else meter.serve(int.from_bytes(head[2:4], "big"), apdu)
                if answer is not None:
                    wire.write(b"\0\1" + head[4:6] + head[2:4] + len(answer).to_bytes(2, "big") + answer)
        for meter in self.meters.values():
            meter.hang_up()
        self.wires.discard(wire)
        with contextlib.suppress(ConnectionError):
            wire.transport.abort()
