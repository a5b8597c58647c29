"""Who is on a line, in DL/T 698.45: "whoever is there, say your address", and the walk where several answer.

The question is GET of the communication address (object 4001, attribute 2) to a wildcard address, which every meter
answers without CONNECT. It is put together here: a line is searched without the package `dlt698`, which is needed to
read the meters that are found.

Source: DL/T 698.45-2017, 5 (frames, and the wildcard among the kinds of address) and Annex D.3 (GET of 4001), by way of
the package `dlt698` 1.0.1; the same question and its answer, recorded, in public sources of meters and their testers.
"""

from __future__ import annotations

import sys
from importlib.util import find_spec

from drivers.dlt698.frame import ANSWER, PREAMBLE, WILDCARD, Reader, Telegram, address_of, encode
from drivers.link.rollcall import EVERYBODY, Present, RollCall
from edge_agent.model import LINES

FRAMINGS = ((9600, "E"), (2400, "E"), (115200, "E"), (4800, "E"), (19200, "E"), (9600, "N"))
"""What meters come with: 9600 8E1 is usual."""

LINKS = LINES

QUESTION = bytes.fromhex("05 01 01 40010200 00")
"""GET of one attribute, number 1: the communication address; no time tag."""

PACKAGE = "dlt698"


class Seeker(RollCall):
    """Asks the meters of one line."""

    driver = "dlt698"

    def question(self, address: str) -> bytes:
        if address == EVERYBODY:
            address = WILDCARD
        return PREAMBLE + encode(address if address.startswith("A") else address_of(address), QUESTION)

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
        return [Present(t.address, t.raw) for t in found.values()], stray

    def detail(self, present: Present) -> str:
        return "" if _is_installed() else "a DL/T 698.45 meter; to read it, install the agent with its extra dlt698"


def _is_installed() -> bool:
    if PACKAGE in sys.modules:
        return sys.modules[PACKAGE] is not None
    return find_spec(PACKAGE) is not None
