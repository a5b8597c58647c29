"""The TCP wrapper of one client to one meter, without a wire: eight octets in front of every APDU.

    0001  source wPort  destination wPort  length  APDU

TCP keeps the order, so an answer that is not for us was meant for somebody else on the same connection and is passed
over; what the meter pushes in between is kept aside. A header that is none cannot be found a way back from: the
connection has to be made anew.

Source: IEC 62056-47 (DLMS UA 1000-2, chapter 7), the wrapper protocol data unit.
"""

from __future__ import annotations

from collections import deque

from drivers.dlms.refused import Desync
from edge_agent.ports import BadReply, DriverError, NoReply

VERSION = 1
HEADER = 8
KEPT_ASIDE = 16
_PUSHES = {0x0F, 0xC2}  # data-notification, event-notification


class Wrapper:
    """One client of one meter on a TCP connection."""

    def __init__(self, client: int, server: int, *, most_apdu: int = 65_535) -> None:
        if not (0 < client <= 0xFFFF and 0 <= server <= 0xFFFF):
            raise ValueError(f"{client} and {server} are no pair of wPorts")
        self.aside: deque[bytes] = deque(maxlen=KEPT_ASIDE)
        """What the meter pushed in between, the newest."""
        self.skipped = 0
        """Whole APDUs that were not for us, or that nobody asked for."""
        self._client, self._server = client, server
        self._most = most_apdu
        self._buffer = bytearray()
        self._asked = False
        self._lost = False
        self._heard = False

    @property
    def pending(self) -> int:
        """Octets of an APDU that has not come whole."""
        return len(self._buffer)

    def ask(self, apdu: bytes) -> bytes:
        """A question as it goes on the wire."""
        self._asked, self._heard = True, False
        return encode(self._client, self._server, apdu)

    def feed(self, received: bytes) -> bytes | None:
        """The answer, or None while more is needed. Raises Desync for bytes that are no wrapper."""
        if self._lost:
            raise Desync("what came before was no wrapper: connect anew")
        self._buffer += received
        while (apdu := self._take()) is not None:
            source, destination, octets = apdu
            self._heard = True
            if octets[0] in _PUSHES and source == self._server:
                self.aside.append(octets)
            elif not self._asked or (source, destination) != (self._server, self._client):
                self.skipped += 1
            else:
                self._asked = False
                return octets
        return None

    def lost(self) -> None:
        """The connection is gone; the next one begins with a header."""
        self._buffer.clear()
        self._asked = self._lost = False

    def expired(self) -> DriverError:
        """What it means that the time is up."""
        if self._buffer:
            return BadReply(f"an answer stopped after {len(self._buffer)} octets")
        return BadReply("what came was for somebody else") if self._heard else NoReply("the meter kept silent")

    def _take(self) -> tuple[int, int, bytes] | None:
        buffer = self._buffer
        version = buffer[:2]
        if version != VERSION.to_bytes(2, "big")[: len(version)]:
            raise self._desync(f"{bytes(buffer[:HEADER]).hex()} is no header of the TCP wrapper")
        if len(buffer) < HEADER:
            return None
        source, destination, length = (int.from_bytes(buffer[n : n + 2], "big") for n in (2, 4, 6))
        if not 0 < length <= self._most:
            raise self._desync(f"an APDU of {length} octets")
        if len(buffer) < HEADER + length:
            return None
        octets = bytes(buffer[HEADER : HEADER + length])
        del buffer[: HEADER + length]
        return source, destination, octets

    def _desync(self, why: str) -> Desync:
        self._buffer.clear()
        self._lost = True
        return Desync(why)


def encode(source: int, destination: int, apdu: bytes) -> bytes:
    """An APDU with its header. Raises ValueError for one that is too long or empty."""
    if not 0 < len(apdu) <= 0xFFFF:
        raise ValueError(f"{len(apdu)} octets do not fit the TCP wrapper")
    return b"".join(n.to_bytes(2, "big") for n in (VERSION, source, destination, len(apdu))) + apdu
