"""The read-only gates of DLMS/COSEM: HDLC and the TCP wrapper.

They parse every outgoing frame themselves, by the standard, down to the service: the data link's own frames (SNRM,
DISC, RR), AARQ and RLRQ, GET, and of all actions only the one that proves an association (class 15, method 1). SET,
every other action, every other service is refused, known or not.

Two things need a memory, and so each voice has a gate of its own:

- A request in several HDLC frames is put together here as the meter will. A frame before the last completes no request;
  the last leaves only if the whole reads. A frame that is said again must be the same to the octet.
- A ciphered request cannot be read. So it is enciphered through the gate: `seal` reads it in the clear first, and only
  then calls what enciphers, and keeps a digest of what that made. A ciphered APDU leaves if its digest is known, and
  once: the same invocation counter cannot be sent twice over a gate, but for an HDLC frame said again.

Source: IEC 62056-46, frame format type 3; IEC 62056-47, wrapper; IEC 62056-5-3 (DLMS UA 1000-2), abstract syntax of
ACSE and COSEM APDUs; IEC 62056-6-2 (DLMS UA 1000-1), data types.
"""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256

from drivers.gate import Gate, GateRefused

_MOST_SEALED = 16
_MOST_STATIONS = 64
_MOST_REQUEST = 32_768

_AARQ, _RLRQ, _GET, _ACTION, _INITIATE = 0x60, 0x62, 0xC0, 0xC3, 0x01
_SEALED = {
    0x21: {_INITIATE},
    0xC8: {_GET},
    0xD0: {_GET},
    0xCB: {_ACTION},
    0xD3: {_ACTION},
    0xDB: {_GET, _ACTION, _INITIATE},
    0xDC: {_GET, _ACTION},
}
"""By the tag of a ciphered APDU, what may be inside it."""

_LONG_NAMES = {bytes.fromhex("060760857405080101"), bytes.fromhex("060760857405080103")}
_PROVING = bytes.fromhex("000F00002800")
"""Class 15, association 0-0:40.0.x.255."""

_SIZES = {
    0: 0, 3: 1, 5: 4, 6: 4, 13: 1, 15: 1, 16: 2, 17: 1, 18: 2, 20: 8, 21: 8, 22: 1, 23: 4, 24: 8, 25: 12, 26: 5, 27: 4,
    255: 0,
}  # fmt: skip
"""Octets of each type of Data whose length is fixed."""
_STRINGS = {9, 10, 12}


class _Torn(Exception):
    """Octets that end too early, or mean nothing."""


class _Reads:
    """What both gates know: which APDUs read."""

    def __init__(self) -> None:
        self._sealed: dict[bytes, int] = {}  # digest of a ciphered APDU -> tag of what is inside

    def seal(self, plain: bytes, encipher: Callable[[bytes], bytes]) -> bytes:
        """What `encipher` makes of a request that reads. Raises GateRefused for any other, and enciphers nothing.

        What comes out is longer than what went in by the length, security control and counter at least.
        """
        inside = {_INITIATE: _initiate, _GET: _get, _ACTION: _proof}.get(plain[0]) if plain else None
        if inside is None:
            raise GateRefused("only what reads is enciphered", plain)
        try:
            inside(plain)
        except _Torn as torn:
            raise GateRefused(f"not a whole request: {torn}", plain) from None
        ciphered = encipher(plain)
        if not ciphered or plain[0] not in _SEALED.get(ciphered[0], ()) or len(ciphered) < len(plain) + 6:
            raise GateRefused("not the ciphered form of what reads", ciphered)
        while len(self._sealed) >= _MOST_SEALED:
            del self._sealed[next(iter(self._sealed))]
        self._sealed[sha256(ciphered).digest()] = plain[0]
        return ciphered

    def _check(self, apdu: bytes, data: bytes) -> None:
        """Return for an APDU that reads, raise GateRefused for anything else."""
        try:
            self._reads(apdu, data)
        except _Torn as torn:
            raise GateRefused(f"not a whole request: {torn}", data) from None

    def _reads(self, apdu: bytes, data: bytes) -> None:
        tag = _octet(apdu, 0)
        if tag in _SEALED:
            self._unseal(apdu, {_GET, _ACTION}, data)
        elif tag == _GET:
            _get(apdu)
        elif tag == _ACTION:
            _proof(apdu)
        elif tag == _AARQ:
            self._associate(apdu, data)
        elif tag == _RLRQ:
            found = _elements(_content(apdu, 0, _RLRQ))
            if not found.keys() <= {0x80, 0xBE}:
                raise GateRefused("a release with more than a reason", data)
            self._information(found.get(0xBE), data)
        else:
            raise GateRefused(f"the service {tag:02X} does not read", data)

    def _associate(self, apdu: bytes, data: bytes) -> None:
        found = _elements(_content(apdu, 0, _AARQ))
        if not found.keys() <= {0xA1, 0xA6, 0x8A, 0x8B, 0xAC, 0xBE} or found.get(0xA1) not in _LONG_NAMES:
            raise GateRefused("not an association by long names", data)
        if 0xBE not in found:
            raise GateRefused("an association without its InitiateRequest", data)
        self._information(found[0xBE], data)

    def _information(self, user: bytes | None, data: bytes) -> None:
        if user is None:
            return
        inside = _content(user, 0, 0x04)
        if _octet(inside, 0) == _INITIATE:
            _initiate(inside)
        elif inside[0] in _SEALED and _INITIATE in _SEALED[inside[0]]:
            self._unseal(inside, {_INITIATE}, data)
        else:
            raise GateRefused("user-information that is no InitiateRequest", data)

    def _unseal(self, ciphered: bytes, wanted: set[int], data: bytes) -> None:
        digest = sha256(ciphered).digest()
        if self._sealed.get(digest) not in wanted:
            raise GateRefused("a ciphered APDU that was not seen in the clear, or was sent before", data)
        del self._sealed[digest]


class WrapperGate(_Reads):
    """Passes exactly one APDU that reads, in the TCP wrapper."""

    def __call__(self, data: bytes) -> None:
        if len(data) < 9 or data[:2] != b"\0\1":
            raise GateRefused("not the TCP wrapper, version 1", data)
        if data[6] << 8 | data[7] != len(data) - 8:
            raise GateRefused("not exactly one request", data)
        if data[2:4] == b"\0\0":
            raise GateRefused("from no client", data)
        self._check(data[8:], data)


class _Station:
    """What one meter has been sent since its link was opened."""

    def __init__(self) -> None:
        self.ns = -1
        self.info = b""
        self.segmented = False
        self.request = bytearray()


class HdlcGate(_Reads):
    """Passes exactly one HDLC frame: of the link itself, or of a request that reads."""

    def __init__(self) -> None:
        super().__init__()
        self._stations: dict[bytes, _Station] = {}

    def __call__(self, data: bytes) -> None:
        stations, control, info, segmented = _hdlc(data)
        if segmented and control & 1:
            raise GateRefused("segments of a frame that has none", data)
        if control == 0x93:
            _parameters(info, data)
            while len(self._stations) >= _MOST_STATIONS and stations not in self._stations:
                del self._stations[next(iter(self._stations))]
            self._stations[stations] = _Station()
            return
        if control == 0x53 and not info:
            self._stations.pop(stations, None)
        elif control & 0x1F == 0x11 and not info:
            return
        elif control & 0x11 == 0x10 and info:
            self._information_frame(stations, control >> 1 & 7, info, segmented, data)
        else:
            raise GateRefused(f"the control {control:02X} is none that reads", data)

    def _information_frame(self, stations: bytes, ns: int, info: bytes, segmented: bool, data: bytes) -> None:
        station = self._stations.get(stations)
        if station is None:
            raise GateRefused("a request on a link that was not opened", data)
        if (station.ns, station.info, station.segmented) == (ns, info, segmented):
            return  # said again, unchanged
        if ns != (station.ns + 1) & 7:
            raise GateRefused(f"frame {ns} after {station.ns}", data)
        request = bytes(station.request) + info
        if request[:3] != b"\xe6\xe6\x00" or len(request) > _MOST_REQUEST:
            raise GateRefused("not the LLC header of a request, or no end of it", data)
        if not segmented:
            self._check(request[3:], data)
        station.ns, station.info, station.segmented = ns, info, segmented
        station.request[:] = request if segmented else b""


def _hdlc(data: bytes) -> tuple[bytes, int, bytes, bool]:
    """Both addresses, control, information, and whether it goes on."""
    if len(data) < 9 or data[0] != 0x7E or data[-1] != 0x7E or data[1] & 0xF0 != 0xA0:
        raise GateRefused("not an HDLC frame of type 3", data)
    if (data[1] & 7) << 8 | data[2] != len(data) - 2:
        raise GateRefused("not exactly one frame", data)
    if _crc16(data[1:-3]) != data[-3] | data[-2] << 8:
        raise GateRefused("a check sequence that is not the frame's", data)
    size = next((n for n in range(1, 5) if data[2 + n] & 1), 0)
    at = 3 + size
    if size not in {1, 2, 4} or len(data) < at + 5 or not data[at] & 1 or data[at] == 0x01:
        raise GateRefused("not the addresses of a meter and a client", data)
    parts = [data[3]] if size == 1 else [data[3:5], data[5:7]] if size == 4 else [data[3], data[4]]
    if any(part in {0xFE, 0xFF, b"\xfe\xfe", b"\xfe\xff"} for part in parts):
        raise GateRefused("to all stations", data)
    info = b""
    if len(data) != at + 5:
        if len(data) < at + 8 or _crc16(data[1 : at + 2]) != data[at + 2] | data[at + 3] << 8:
            raise GateRefused("a header check that is not the frame's", data)
        info = data[at + 4 : -3]
    return data[3 : at + 1], data[at + 1], info, bool(data[1] & 8)


def _parameters(info: bytes, data: bytes) -> None:
    """The information of an SNRM: none, or what a frame may hold and how many frames may be under way."""
    if not info:
        return
    at, end = 3, len(info)
    if info[:2] != b"\x81\x80" or end < 3 or info[2] != end - 3:
        raise GateRefused("not the parameters of a link", data)
    while at < end:
        if info[at] not in {5, 6, 7, 8} or at + 2 > end or not 1 <= info[at + 1] <= 4 or at + 2 + info[at + 1] > end:
            raise GateRefused("not the parameters of a link", data)
        at += 2 + info[at + 1]


def _crc16(data: bytes) -> int:
    crc = 0xFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ 0x8408 if crc & 1 else crc >> 1
    return crc ^ 0xFFFF


# -- APDUs: each returns for what reads, or raises ----------------------------------------------------------------


def _get(apdu: bytes) -> None:
    match _octet(apdu, 1):
        case 1:
            end = _attribute(apdu, 3)
        case 2:
            end = 7
        case 3:
            count, end = _length(apdu, 3)
            for _ in range(count):
                end = _attribute(apdu, end)
        case kind:
            raise _Torn(f"GET has no request {kind}")
    if end != len(apdu):
        raise _Torn("its end is not the end")


def _attribute(apdu: bytes, at: int) -> int:
    """Where an attribute's descriptor ends, with its selection."""
    at += 9
    selects = _octet(apdu, at)
    if selects == 0:
        return at + 1
    if selects != 1 or _octet(apdu, at + 1) not in {1, 2}:
        raise _Torn("a selection by neither range nor entry")
    return _data(apdu, at + 2, 4)


def _proof(apdu: bytes) -> None:
    """ACTION: only reply_to_HLS_authentication of the association, with a string of octets."""
    if apdu[1:2] != b"\x01" or apdu[3:9] != _PROVING or apdu[10:14] != b"\xff\x01\x01\x09":
        raise _Torn("an action that is not the reply to HLS authentication")
    if _data(apdu, 13, 0) != len(apdu):
        raise _Torn("its end is not the end")


def _initiate(apdu: bytes) -> None:
    at = 1
    if _octet(apdu, at):  # a dedicated key
        size, at = _length(apdu, 2)
        at += size
    else:
        at += 1
    at += 2 if _octet(apdu, at) else 1  # response-allowed
    at += 2 if _octet(apdu, at) else 1  # quality of service
    if apdu[at : at + 5] != b"\x06\x5f\x1f\x04\x00" or len(apdu) != at + 10:
        raise _Torn("no InitiateRequest")


def _data(octets: bytes, at: int, depth: int) -> int:
    """Where one value ends."""
    tag = _octet(octets, at)
    if tag in _SIZES:
        return at + 1 + _SIZES[tag]
    size, at = _length(octets, at + 1)
    if tag in _STRINGS:
        return at + size
    if tag == 4:
        return at + (size + 7) // 8
    if tag not in {1, 2} or depth <= 0:
        raise _Torn(f"a value of type {tag}")
    for _ in range(size):
        at = _data(octets, at, depth - 1)
    return at


def _elements(octets: bytes) -> dict[int, bytes]:
    at, found = 0, dict[int, bytes]()
    while at < len(octets):
        tag = octets[at]
        size, start = _length(octets, at + 1)
        at = start + size
        if tag in found or at > len(octets):
            raise _Torn(f"the element {tag:02X}")
        found[tag] = octets[start:at]
    return found


def _content(octets: bytes, at: int, tag: int) -> bytes:
    """Of exactly one element that fills the rest."""
    size, start = _length(octets, at + 1)
    if octets[at] != tag or start + size != len(octets):
        raise _Torn(f"the element {tag:02X}")
    return octets[start:]


def _length(octets: bytes, at: int) -> tuple[int, int]:
    """A length, and where it ends."""
    first = _octet(octets, at)
    if first < 0x80:
        return first, at + 1
    if not 0x81 <= first <= 0x82:
        raise _Torn("a length that no request has")
    end = at + 1 + (first & 0x7F)
    if end > len(octets):
        raise _Torn("a length that does not end")
    return int.from_bytes(octets[at + 1 : end], "big"), end


def _octet(octets: bytes, at: int) -> int:
    if at >= len(octets):
        raise _Torn("it ends too early")
    return octets[at]


GATES: dict[str, Callable[[], Gate]] = {"dlms-hdlc": HdlcGate, "dlms-wrapper": WrapperGate}
"""By protocol: each call makes the gate of one voice."""
