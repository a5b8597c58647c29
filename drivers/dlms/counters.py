"""Invocation counters: a number is used once under a key, whatever breaks off in between.

Ours are reserved ahead: before the first number of a block is used, it is on record that none below the block's end
will ever be used again. After a crash the rest of the block is lost, and no number is used twice. The meter's must
grow.

Source: IEC 62056-5-3 (DLMS UA 1000-2), 9.2.3.3 (initialization vector and invocation counter).
"""

from __future__ import annotations

from typing import Protocol

from drivers.dlms.refused import CounterSpent, Flaw, ProtectionRefused

MOST = 0xFFFF_FFFF
BLOCK = 1000

MOST_RAISED = 0xF000_0000
"""Further up nobody is followed: a meter's claim is in the clear, and what it takes away is gone for good."""


class CounterStore(Protocol):
    """Where one counter's reservation is kept: one for each key and client."""

    def start(self) -> int:
        """The first number that was never reserved; 0 for a counter that is new."""

    def reserve(self, upto: int) -> None:
        """On disk when it returns: no number below `upto` is used after a restart."""


class MemoryStore:
    """A store that lives as long as the process: for a dedicated key, which does no longer."""

    def __init__(self, upto: int = 0) -> None:
        self.upto = upto

    def start(self) -> int:
        return self.upto

    def reserve(self, upto: int) -> None:
        self.upto = upto


class InvocationCounter:
    """Our own counter under one key."""

    def __init__(self, store: CounterStore, *, block: int = BLOCK) -> None:
        self._store = store
        self._block = block
        self._next = self._upto = store.start()

    def take(self) -> int:
        """The next number, never given before. Raises CounterSpent; what the store raises leaves it unused."""
        number = self._next
        if number > MOST:
            raise CounterSpent("every invocation counter under this key was used: the meter needs a new key")
        if number >= self._upto:
            upto = min(number + self._block, MOST + 1)
            self._store.reserve(upto)
            self._upto = upto
        self._next = number + 1
        return number

    def raise_to(self, number: int) -> bool:
        """Go on from there, if that is further up. Raises CounterSpent for a claim that would leave almost none."""
        if number <= self._next:
            return False
        if number > MOST_RAISED:
            raise CounterSpent(f"the meter claims to have seen the invocation counter {number - 1}")
        self._next = number
        return True


class HeardCounter:
    """The meter's counter under one key: what is not above the last was sent before."""

    def __init__(self, last: int = -1) -> None:
        self.last = last

    def check(self, number: int) -> None:
        """Raises ProtectionRefused for a number that is not new."""
        if number <= self.last:
            raise ProtectionRefused(Flaw.OLD_COUNTER, f"counter {number} after {self.last}: sent before")

    def heard(self, number: int) -> None:
        """What came with it is genuine."""
        self.last = max(self.last, number)
