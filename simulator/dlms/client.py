"""Who may associate with a meter, how he shows who he is, and what he may read."""

from __future__ import annotations

from dataclasses import dataclass

from simulator.dlms.acse import GMAC, LLS, NONE
from simulator.dlms.codec import name_of
from simulator.dlms.guard import Keys

PUBLIC = 16
OWN_ASSOCIATION = name_of("0-0:40.0.0.255")
PUBLIC_OBJECTS = tuple(
    name_of(text)
    for text in (
        "0-0:1.0.0.255", "0-0:40.0.0.255", "0-0:41.0.0.255", "0-0:42.0.0.255", "0-0:96.1.0.255", "1-0:0.2.0.255",
    )
)  # fmt: skip
"""What anybody may read, beside the invocation counters: clock, own association, logical devices, identity."""


@dataclass(frozen=True, slots=True)
class Client:
    """One client of a meter, by its service access point.

    `control`: the protection that it must use (0x10, 0x20, both or none). `title`: its system title, where it says
    none. `reads` None: everything. `counter`: the object with the last invocation counter that was taken from it.
    """

    sap: int
    mechanism: int = NONE
    password: bytes = b""
    keys: Keys | None = None
    control: int = 0
    title: bytes = b""
    reads: frozenset[bytes] | None = None
    counter: bytes = b""

    def __post_init__(self) -> None:
        if not 0 < self.sap <= 0x7F:
            raise ValueError(f"client {self.sap}: a client has a number from 1 to 127")
        if (self.mechanism == LLS) != bool(self.password):
            raise ValueError(f"client {self.sap}: LLS needs a password, and nothing else does")
        if (self.mechanism == GMAC or self.control) and self.keys is None:
            raise ValueError(f"client {self.sap}: needs an encryption key and an authentication key")

    def may_read(self, name: bytes) -> bool:
        return self.reads is None or name in self.reads or name == OWN_ASSOCIATION
