"""The words of finding out who is on a line: who answered, what he says that he has, and who looks for him.

The running agent knows its devices and loads none of this.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple, Protocol

from edge_agent.model import DeviceSpec, DlmsSpec, Frame, Outcome, Register
from edge_agent.ports import DriverError


class Seen(StrEnum):
    """What was seen of somebody on a line."""

    DEVICE = "device"  # it answered, and said who it is
    SEVERAL = "several"  # several devices answer at this address at once
    GARBLED = "garbled"  # bytes came each time it was asked, and no frame among them
    UNSUPPORTED = "unsupported"  # it answered in a way that no driver reads
    ALIAS = "alias"  # another address of a device that was found


class Listed(NamedTuple):
    """An object in the list that a device gives of itself."""

    class_id: int
    version: int
    name: str
    readable: frozenset[int]
    """Attributes that may be read; empty where the device says nothing of rights."""


class Matched(NamedTuple):
    """A listed object that holds a quantity of ours, and what it said when it was read; None: it was not read."""

    register: Register
    outcome: Outcome | None


class Record(NamedTuple):
    """A load profile or an event log: where it is, how many seconds apart it is written (0: as things happen, None: not
    known), and why it cannot be used, if it cannot."""

    name: str
    every_s: int | None = None
    flaw: str = ""


@dataclass(frozen=True, slots=True)
class Inventory:
    """What a device says that it has, to one client: a DLMS meter's list of objects.

    `refusal`: why there is no list, or why it was not read to its end.
    """

    spec: DlmsSpec
    objects: tuple[Listed, ...] = ()
    matched: tuple[Matched, ...] = ()
    near: tuple[tuple[str, str], ...] = ()
    """Objects that come near a quantity and are none, and what they are."""
    load_profiles: tuple[Record, ...] = ()
    event_logs: tuple[Record, ...] = ()
    refusal: DriverError | None = None


class DlmsCalls(NamedTuple):
    """Which DLMS meters are called, and as whom; empty: the usual addresses.

    `device`: a meter of the site, which is asked alone, in the association that the site file says.
    """

    client: int = 16
    servers: tuple[int, ...] = ()
    physicals: tuple[int, ...] = ()
    device: DeviceSpec | None = None


class Sighting(NamedTuple):
    """Somebody who answered while it was asked who is on a line."""

    driver: str
    address: str
    """As a person writes it: "3", "123456789012"; of several, what they have in common; "" where that is unknown."""
    seen: Seen
    detail: str = ""
    texts: tuple[tuple[str, str], ...] = ()
    """What it says about itself: ("vendor", "Acrel")."""
    waited_s: float = 0.0
    frame: Frame | None = None
    refusal: DriverError | None = None
    """Why it does not say who it is: its code names the sentence with the cure."""
    inventory: Inventory | None = None


Leave = Callable[[bool], Awaitable[None]]
"""Asked for before each question; ends the search by raising. True: bytes came that answer nothing, and whose they are
has to be known before anything else is said."""


class Seeker(Protocol):
    """One protocol's way of finding who is on a link: `drivers.<name>.survey` has one, and the `FRAMINGS` (baud,
    parity) that its devices come with, the likeliest first. It only reads, and credits an answer to who gave it."""

    def glance(self, units: Sequence[int], leave: Leave) -> AsyncIterator[Sighting]:
        """Whether anybody is there at this speed and parity."""

    def look(self, units: Sequence[int], leave: Leave, *, thorough: bool = False) -> AsyncIterator[Sighting]:
        """Everybody, where somebody is known to be or is hoped for."""

    async def describe(self, address: str, leave: Leave) -> Sighting | None:
        """Whoever answers at this one address, and what it says about itself; None: nobody."""

    def glance_s(self, units: Sequence[int]) -> float:
        """How long that takes at most, seconds, if nobody answers."""

    def look_s(self, units: Sequence[int], *, thorough: bool = False) -> float:
        """The same, even where several answer at once and have to be told apart."""

    def usual_s(self, units: Sequence[int]) -> float:
        """How long a look takes where nobody answers at once."""
