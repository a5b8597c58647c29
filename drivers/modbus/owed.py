"""Which answers may still come, and what may be asked meanwhile: why no late answer is ever taken for another.

An RTU answer carries neither an address nor the number of its question: unit, function and byte count are all that
tells it from others. That is its *shape*. A question that was not answered leaves its shape owed, and while it is owed

- no question of that shape is asked, so that an answer of that shape is known to be the late one: it is thrown away.
  The registers are asked for in another shape: one more register that belongs to the device's map anyway, or in two
  parts;
- an answer of an owed shape ends one debt of that shape; how late it was is remembered;
- nothing is looked for behind noise, since the noise may be the rest of a late answer; and a refusal, which has no byte
  count, is taken for the older question's.

An answer that is taken has the shape of the one question of that shape which is open, so it answers that one. A debt
ends `LATEST_S` after its question: no device and no converter is believed to hold an answer back for longer.

Registers that can be asked for in one way only (a single value without a neighbour) would have to wait all that time.
They wait for ten seconds, or twice the longest latency that was ever seen on the device, and until the device has
answered something of another shape where there is such a thing: a line and a device work through their questions in
turn, so nothing that was asked before can come after that.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

LATEST_S = 60.0
"""No answer comes later than this."""

NARROW_S = 10.0
"""What a question without another way to ask it waits, at least."""


class Shape(NamedTuple):
    """All that an RTU answer says about its question."""

    unit: int
    function: int
    size: int
    """Bytes of registers."""


class Owed:
    """The answers of one line that have not come. Times are seconds of one clock."""

    def __init__(self) -> None:
        self._asked_s: dict[Shape, list[float]] = {}
        self._proved_s: dict[int, float] = {}

    def ask(self, shape: Shape, now_s: float) -> None:
        """A question leaves; its answer is owed until it is taken."""
        self._prune(now_s)
        self._asked_s.setdefault(shape, []).append(now_s)

    def answered(self, shape: Shape, now_s: float) -> None:
        """The newest question of that shape was answered; what the unit was asked before can no longer come in turn."""
        self._pop(shape, -1)
        self._proved_s[shape.unit] = now_s

    def refused(self, shape: Shape) -> None:
        """The newest question of that shape was refused."""
        self._pop(shape, -1)

    def late(self, shape: Shape) -> float | None:
        """An answer of that shape came, and nobody waits for it: when its question was asked, or None if none was."""
        return self._pop(shape, 0)

    def late_refusal(self, unit: int, function: int) -> float | None:
        """The same for a refusal, which belongs to the oldest question of that function."""
        shapes = [s for s in self._asked_s if s.unit == unit and s.function == function]
        return self._pop(min(shapes, key=lambda s: self._asked_s[s][0]), 0) if shapes else None

    def owes(self, now_s: float, unit: int | None = None) -> bool:
        """Whether the line, or one unit on it, owes an answer."""
        self._prune(now_s)
        return any(unit is None or s.unit == unit for s in self._asked_s)

    def owes_refusal(self, unit: int, function: int) -> bool:
        """Whether a refusal of that unit and function may be an older question's."""
        return any(s.unit == unit and s.function == function for s in self._asked_s)

    def is_free(self, shape: Shape, now_s: float) -> bool:
        """Whether an answer of that shape can be none but the next question's."""
        self._prune(now_s)
        return shape not in self._asked_s

    def are_free(self, shapes: Iterable[Shape], now_s: float) -> bool:
        return all(self.is_free(shape, now_s) for shape in shapes)

    def is_proved(self, shape: Shape) -> bool:
        """Whether the unit has answered another question since the last one of that shape."""
        asked_s = self._asked_s.get(shape)
        return asked_s is None or self._proved_s.get(shape.unit, -1.0) > asked_s[-1]

    def narrow_wait_s(self, shape: Shape, longest_s: float, now_s: float) -> float:
        """How long yet a question that can be asked in no other way has to wait."""
        asked_s = self._asked_s.get(shape)
        return 0.0 if asked_s is None else max(0.0, asked_s[-1] + max(NARROW_S, 2 * longest_s) - now_s)

    def _pop(self, shape: Shape, which: int) -> float | None:
        asked_s = self._asked_s.get(shape)
        if not asked_s:
            return None
        at_s = asked_s.pop(which)
        if not asked_s:
            del self._asked_s[shape]
        return at_s

    def _prune(self, now_s: float) -> None:
        for shape in [s for s, asked_s in self._asked_s.items() if now_s - asked_s[0] >= LATEST_S]:
            kept = [at_s for at_s in self._asked_s[shape] if now_s - at_s < LATEST_S]
            if kept:
                self._asked_s[shape] = kept
            else:
                del self._asked_s[shape]
