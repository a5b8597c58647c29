"""Who is on a line, in DL/T 645-2007: the wildcard, and the walk by addresses where several answer it.

Only the question for an address goes to everybody; the walk reads an item from every meter whose address ends so.

Meters of 1997 know neither question: one that answers in that edition's way is named; that it is silent proves nothing.

Source: DL/T 645-2007, 5.2.1 (wildcards in the higher octets), 7.1 and 7.3.
"""

from __future__ import annotations

from drivers.dlt645.frame import (
    ADDRESS,
    ANSWER,
    FUNCTION,
    PREAMBLE,
    READ,
    WILDCARD,
    Reader,
    Telegram,
    address_of,
    encode,
)
from drivers.link.rollcall import EVERYBODY, Present, RollCall
from edge_agent.model import LINES

FRAMINGS = ((2400, "E"), (9600, "E"), (4800, "E"), (9600, "N"), (1200, "E"), (19200, "E"), (2400, "N"))
"""What meters come with: 2400 8E1 by the standard (5.1.3)."""

LINKS = LINES

TOTAL = bytes.fromhex("00000100")
"""00010000, import active energy: the item that a meter has if it has any. Lowest octet first."""

_OLD = {0x01, 0x02, 0x03}
"""Functions of the edition of 1997 that read."""


class Seeker(RollCall):
    """Asks the meters of one line."""

    driver = "dlt645"

    def question(self, address: str) -> bytes:
        if address == EVERYBODY:
            return PREAMBLE + encode(WILDCARD, ADDRESS, b"")
        return PREAMBLE + encode(address if address.startswith("A") else address_of(address), READ, TOTAL)

    def answers(self, received: bytes, request: bytes) -> tuple[list[Present], int]:
        octets = received.replace(request[len(PREAMBLE) :], b"")
        reader = Reader()
        reader.feed(octets)
        stray = len(octets.replace(b"\xfe", b""))
        found: dict[str, Telegram] = {}
        while (telegram := reader.take()) is not None:
            if telegram.control & ANSWER:
                found.setdefault(telegram.address, telegram)
                stray -= len(telegram.raw.replace(b"\xfe", b""))
        return [Present(t.address, t.raw, _unsupported(t)) for t in found.values()], stray


def _unsupported(telegram: Telegram) -> str:
    return "a DL/T 645-1997 meter, which no driver reads" if telegram.control & FUNCTION in _OLD else ""
