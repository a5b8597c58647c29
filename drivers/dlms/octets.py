"""Octets read front to back: every step says how many it takes, and whoever takes more than there are is told so."""

from __future__ import annotations

from drivers.dlms.refused import Malformed


class Octets:
    """A place in a run of octets. All numbers are big-endian."""

    __slots__ = ("_at", "_octets")

    def __init__(self, octets: bytes) -> None:
        self._octets = octets
        self._at = 0

    @property
    def left(self) -> int:
        return len(self._octets) - self._at

    def take(self, count: int) -> bytes:
        """The next `count` octets. Raises Malformed when there are fewer."""
        end = self._at + count
        if end > len(self._octets):
            raise Malformed(f"{count} octets wanted, {self.left} left")
        taken = self._octets[self._at : end]
        self._at = end
        return taken

    def u8(self) -> int:
        at = self._at
        if at >= len(self._octets):
            raise Malformed("an octet wanted, none left")
        self._at = at + 1
        return self._octets[at]

    def u16(self) -> int:
        return int.from_bytes(self.take(2), "big")

    def u32(self) -> int:
        return int.from_bytes(self.take(4), "big")

    def i8(self) -> int:
        return int.from_bytes(self.take(1), "big", signed=True)

    def length(self) -> int:
        """A length as A-XDR and BER have it: below 128 one octet, else how many octets it takes, at most four."""
        first = self.u8()
        if first < 0x80:
            return first
        if not 0x81 <= first <= 0x84:
            raise Malformed(f"a length cannot begin with {first:02X}")
        return int.from_bytes(self.take(first & 0x7F), "big")

    def string(self) -> bytes:
        """An octet string with its length in front."""
        return self.take(self.length())

    def rest(self) -> bytes:
        return self.take(self.left)

    def flag(self) -> bool:
        """Whether an optional part follows: 00 or 01, nothing else."""
        octet = self.u8()
        if octet > 1:
            raise Malformed(f"{octet:02X} is neither absent (00) nor present (01)")
        return bool(octet)

    def expect(self, octet: int, what: str) -> None:
        if (found := self.u8()) != octet:
            raise Malformed(f"{what} wanted ({octet:02X}), found {found:02X}")

    def end(self, what: str) -> None:
        """Nothing may follow."""
        if self.left:
            raise Malformed(f"{self.left} octets behind the end of {what}")


def length_octets(length: int) -> bytes:
    """The shortest form of a length."""
    if length < 0x80:
        return bytes((length,))
    octets = length.to_bytes((length.bit_length() + 7) // 8, "big")
    return bytes((0x80 | len(octets),)) + octets


def string_octets(octets: bytes) -> bytes:
    """An octet string with its length in front."""
    return length_octets(len(octets)) + octets
