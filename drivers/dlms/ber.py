"""The little of BER that association needs: a tag of one octet, a length, a content.

Source: ITU-T X.690, 8.1; IEC 62056-5-3 (DLMS UA 1000-2), abstract syntax of the ACSE APDUs.
"""

from __future__ import annotations

from drivers.dlms.octets import Octets, string_octets
from drivers.dlms.refused import Malformed


def wrap(tag: int, content: bytes) -> bytes:
    """A content behind its tag and length."""
    return bytes((tag,)) + string_octets(content)


def unwrap(octets: bytes, tag: int, what: str) -> bytes:
    """The content of exactly one element of that tag. Raises Malformed for anything else."""
    source = Octets(octets)
    source.expect(tag, what)
    content = source.string()
    source.end(what)
    return content


def elements(octets: bytes, what: str) -> dict[int, bytes]:
    """The elements of a sequence by tag. Raises Malformed where one comes twice."""
    source, found = Octets(octets), dict[int, bytes]()
    while source.left:
        tag = source.u8()
        if tag in found:
            raise Malformed(f"{what}: the element {tag:02X} comes twice")
        found[tag] = source.string()
    return found
