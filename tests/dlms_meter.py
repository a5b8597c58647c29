"""A DLMS meter for tests, and its side of the protocol, written apart from the driver: it shares no line with it.

Octets are put together by hand from the standard; AES-GCM is used through another door of `cryptography` than the
driver's.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

EK = bytes(range(16))
AK = bytes(range(0xD0, 0xE0))
CLIENT_TITLE = bytes.fromhex("4D4D4D0000000001")
METER_TITLE = bytes.fromhex("4D4D4D0000BC614E")
RESPONSE = bytes.fromhex("0800065F1F040000501F01F40007")
CLOCK_VALUE = bytes.fromhex("090C07EA0B18020F1E00FFFE2000")  # 2026-11-24 15:30:00, UTC+8


def x25(data: bytes) -> int:
    """CRC-16/X-25, bit by bit."""
    crc = 0xFFFF
    for octet in data:
        for bit in range(8):
            crc = (crc >> 1) ^ (0x8408 if (crc ^ octet >> bit) & 1 else 0)
    return crc ^ 0xFFFF


def frame(control: int, info: bytes = b"", *, to: bytes = b"\x21", of: bytes = b"\x03", more: bool = False) -> bytes:
    """An HDLC frame, by default from meter 1 to client 16."""
    size = 2 + len(to) + len(of) + 1 + (2 + len(info) if info else 0) + 2
    head = bytes((0xA0 | (8 if more else 0) | size >> 8, size & 0xFF)) + to + of + bytes((control,))
    body = head + (x25(head).to_bytes(2, "little") + info if info else b"")
    return b"\x7e" + body + x25(body).to_bytes(2, "little") + b"\x7e"


def sized(length: int) -> bytes:
    return bytes((length,)) if length < 0x80 else b"\x82" + length.to_bytes(2, "big")


def tlv(tag: int, content: bytes) -> bytes:
    assert len(content) < 0x80
    return bytes((tag, len(content))) + content


def tlvs(octets: bytes) -> dict[int, bytes]:
    """Elements by tag, of less than 128 octets each."""
    found, at = {}, 0
    while at < len(octets):
        found[octets[at]] = octets[at + 2 : at + 2 + octets[at + 1]]
        at += 2 + octets[at + 1]
    return found


def aare(
    result: int = 0,
    diagnostic: int = 0,
    information: bytes = RESPONSE,
    *,
    context: int = 1,
    title: bytes = b"",
    challenge: bytes = b"",
    mechanism: int = 5,
    provider: bool = False,
) -> bytes:
    """An AARE; without information, as some meters refuse."""
    parts = tlv(0xA1, bytes.fromhex("0607608574050801") + bytes((context,)))
    parts += tlv(0xA2, bytes((2, 1, result)))
    parts += tlv(0xA3, tlv(0xA2 if provider else 0xA1, bytes((2, 1, diagnostic))))
    if title:
        parts += tlv(0xA4, tlv(4, title))
    if challenge:
        parts += bytes.fromhex("88020780") + tlv(0x89, bytes.fromhex("608574050802") + bytes((mechanism,)))
        parts += tlv(0xAA, tlv(0x80, challenge))
    if information:
        parts += tlv(0xBE, tlv(4, information))
    return bytes((0x61, len(parts))) + parts if len(parts) < 0x80 else bytes((0x61, 0x81, len(parts))) + parts


def guarded(
    control: int, title: bytes, counter: int, plain: bytes, *, key: bytes = EK, authentication: bytes = AK
) -> bytes:
    """Security control, counter, content, tag: suite 0 by the standard's table of additional data."""
    iv, head = title + counter.to_bytes(4, "big"), bytes((control,)) + counter.to_bytes(4, "big")
    match control & 0x30:
        case 0x10:
            return head + plain + gcm(key, iv, b"", bytes((control,)) + authentication + plain)[:12]
        case 0x20:
            return head + gcm(key, iv, plain)[:-16]
        case 0x30:
            return head + gcm(key, iv, plain, bytes((control,)) + authentication)[:-4]
    return head + plain


def gcm(key: bytes, iv: bytes, plain: bytes, known: bytes = b"") -> bytes:
    """Ciphered, and the whole tag of 16 octets."""
    encryptor = Cipher(algorithms.AES(key), modes.GCM(iv)).encryptor()
    encryptor.authenticate_additional_data(known)
    return encryptor.update(plain) + encryptor.finalize() + encryptor.tag


def opened(title: bytes, body: bytes, *, key: bytes = EK, authentication: bytes = AK) -> bytes:
    """The plain form, after sealing it again and comparing."""
    control, counter = body[0], int.from_bytes(body[1:5], "big")
    content = body[5:] if control & 0x30 == 0x20 else body[5:-12]
    plain = content
    if control & 0x20:
        # The key stream: what zeros become.
        stream = gcm(key, title + body[1:5], bytes(len(content)))[: len(content)]
        plain = bytes(a ^ b for a, b in zip(content, stream, strict=True))
    assert guarded(control, title, counter, plain, key=key, authentication=authentication) == body, (
        "not from the client"
    )
    return plain


@dataclass
class Meter:
    """Answers AARQ, GET, the proof of HLS-5 and RLRQ, in the clear or ciphered; keeps what it was asked."""

    values: dict[bytes, bytes] = field(default_factory=lambda: {bytes.fromhex("00080000010000FF02"): CLOCK_VALUE})
    """By class, instance and attribute: the encoded value."""
    ciphers: bool = False
    control: int = 0x30
    stoc: bytes = b""
    block: int = 0
    """Octets a block; 0: no blocks."""
    general: bool = False
    dedicated: bool = False
    counter: int = 0x100
    title: bytes = METER_TITLE
    said_title: bytes | None = None
    """In general-glo; None: its title."""
    asked: list[bytes] = field(default_factory=list)
    """Every APDU that came, in the clear."""
    counters: list[tuple[str, int]] = field(default_factory=list)
    """Key and counter of every ciphered APDU and proof that came."""
    change: Callable[[bytes], bytes] = lambda plain: plain
    """What happens to its answers before they are ciphered."""

    def __post_init__(self) -> None:
        self._ctos = b""
        self._ded = b""
        self._left = b""
        self._number = 0

    def answer(self, apdu: bytes) -> bytes:
        if apdu[0] == 0x60:
            return self._associate(apdu)
        if apdu[0] == 0x62:
            self.asked.append(apdu)
            if len(apdu) > 5:
                self.asked.append(self._plain(apdu[9:]))
            return bytes.fromhex("6303800100")
        plain = self._plain(apdu) if self.ciphers else apdu
        self.asked.append(plain)
        return self._dressed(self.change(self._serve(plain)))

    def _associate(self, apdu: bytes) -> bytes:
        self.asked.append(apdu)
        parts = tlvs(apdu[2:])
        self._ctos = parts.get(0xAC, b"")[2:]
        information = RESPONSE
        if self.ciphers:
            plain = self._plain(parts[0xBE][2:])
            self._ded = plain[3:19] if plain[1] else b""
            information = self._glo(0x28, RESPONSE)
        return aare(
            0, 14 if self.stoc else 0, information, context=3 if self.ciphers else 1,
            title=self.title if self.ciphers or self.stoc else b"", challenge=self.stoc,
        )  # fmt: skip

    def _plain(self, apdu: bytes) -> bytes:
        key, at = EK, 2 + apdu[1] if apdu[0] in {0xDB, 0xDC} else 1
        size = apdu[at] - 0x80 if apdu[at] > 0x80 else 0
        body = apdu[at + 1 + size :]
        assert len(body) == int.from_bytes(apdu[at + 1 : at + 1 + size], "big") if size else apdu[at]
        if apdu[0] in {0xD0, 0xD3, 0xDC}:
            key = self._ded
        self.counters.append(("ded" if key == self._ded and self._ded else "glo", int.from_bytes(body[1:5], "big")))
        assert body[0] == self.control
        return opened(CLIENT_TITLE, body, key=key)

    def _glo(self, tag: int, plain: bytes, key: bytes = EK) -> bytes:
        self.counter += 1
        body = guarded(self.control, self.title, self.counter, plain, key=key)
        size = sized(len(body))
        if tag in {0xDB, 0xDC}:
            said = self.title if self.said_title is None else self.said_title
            return bytes((tag, len(said))) + said + size + body
        return bytes((tag,)) + size + body

    def _dressed(self, plain: bytes) -> bytes:
        if not self.ciphers or plain[0] in {0xD8, 0x0E}:
            return plain
        key = self._ded if self.dedicated else EK
        if self.general:
            return self._glo(0xDC if self.dedicated else 0xDB, plain, key)
        return self._glo({0xC4: 0xCC, 0xC7: 0xCF}[plain[0]] + (8 if self.dedicated else 0), plain, key)

    def _serve(self, plain: bytes) -> bytes:
        kind, invoke = plain[1], plain[2:3]
        if plain[0] == 0xC3:
            return self._proof(plain, invoke)
        if kind == 2:
            return self._next(invoke)
        if kind == 1:
            value = self.values.get(plain[3:12])
            whole = b"\x01\x04" if value is None else b"\x00" + value
            if self.block and value is not None and len(value) > self.block:
                self._left, self._number = value, 0
                return self._next(invoke)
            return b"\xc4\x01" + invoke + whole
        results, at = plain[3:4], 4
        for _ in range(plain[3]):
            value = self.values.get(plain[at : at + 9])
            results += b"\x01\x04" if value is None else b"\x00" + value
            assert plain[at + 9] == 0
            at += 10
        assert at == len(plain)
        if self.block and len(results) > self.block:
            self._left, self._number = results, 0
            return self._next(invoke)
        return b"\xc4\x03" + invoke + results

    def _next(self, invoke: bytes) -> bytes:
        piece, self._left = self._left[: self.block], self._left[self.block :]
        self._number += 1
        size = sized(len(piece))
        last = b"\x00" if self._left else b"\x01"
        return b"\xc4\x02" + invoke + last + self._number.to_bytes(4, "big") + b"\x00" + size + piece

    def _proof(self, plain: bytes, invoke: bytes) -> bytes:
        assert plain[3:15] == bytes.fromhex("000F0000280000FF01010911")
        token = plain[15:]
        number = int.from_bytes(token[1:5], "big")
        self.counters.append(("glo", number))
        if token != proof(CLIENT_TITLE, number, self.stoc):
            return b"\xc7\x01" + invoke + b"\x03\x00"
        self.counter += 1
        return b"\xc7\x01" + invoke + b"\x00\x01\x00\x09\x11" + proof(self.title, self.counter, self._ctos)


def proof(title: bytes, counter: int, challenge: bytes, *, key: bytes = EK, authentication: bytes = AK) -> bytes:
    """f(challenge) of HLS-5."""
    whole = guarded(0x10, title, counter, challenge, key=key, authentication=authentication)
    return whole[:5] + whole[-12:]
