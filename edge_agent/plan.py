"""When to ask what on one link; pure: time is an argument, nothing is asked here.

Questions fall due on a grid of UTC, so that polls meet the boundaries of demand intervals; while the gateway has no
true time the grid is that of the boot clock. A device that fails is left alone for longer and longer, then tried with
one question, so that it costs the others at most one time-out per pause. What fell behind is skipped: a slot that has
passed does not come back.

Of what is due, the earliest deadline goes first. A register's is its own slot, since an interval's boundary is measured
with it; a value that is only sampled has until half-way to its next slot, which leaves it the other half to be asked
before that. Among equals the device goes first that was asked longest ago, so that on a line that cannot keep up all
devices lose alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from edge_agent.model import CUMULATIVE, DeviceId, GapCause, Ms, Quantity, Request

PAUSE_MS = 15_000
"""A device's first pause after a failure; it doubles with each further one."""

LONGEST_PAUSE_MS = 300_000
TOGETHER_MS = 120_000
"""Devices that fell silent within this time of each other may have done so for one reason."""

REFUSED_PAUSE_MS = 3_600_000
"""A question that was refused is asked again after an hour: its registers may come with another firmware."""

_RECONNECT_MS = 1_000
_LONGEST_RECONNECT_MS = 60_000
_SHORTEST_RECONNECT_MS = 100


class Pause(NamedTuple):
    """A device that is left alone for a while, and why."""

    device: DeviceId
    cause: GapCause
    detail: str
    failures: int
    since_ms: Ms
    next_ms: Ms


@dataclass(slots=True)
class _Turn:
    """One question and its next slot."""

    request: Request
    every_ms: Ms
    sampled: bool
    next_ms: Ms
    not_before_ms: Ms = 0

    @property
    def due_ms(self) -> Ms:
        return max(self.next_ms, self.not_before_ms)

    @property
    def deadline_ms(self) -> Ms:
        return self.due_ms + (self.every_ms // 2 if self.sampled else 0)


class PollPlan:
    """The questions of one link, each with its cadence, and the devices that are being left alone."""

    def __init__(self, requests: Sequence[Request], now_ms: Ms) -> None:
        self._turns = [_turn(r, now_ms) for r in requests]
        self._pauses: dict[DeviceId, Pause] = {}
        self._asked: dict[DeviceId, int] = {}  # in which order they were asked last
        self._count = 0
        self._offset_ms: Ms | None = None

    @property
    def requests(self) -> tuple[Request, ...]:
        return tuple(t.request for t in self._turns)

    def align(self, offset_ms: Ms | None, now_ms: Ms) -> None:
        """Move every slot to the grid of UTC = boot time + `offset_ms`; None: of the boot clock."""
        if offset_ms == self._offset_ms:
            return
        self._offset_ms = offset_ms
        for turn in self._turns:
            if turn.next_ms > now_ms:
                # The slot nearest to the one that was planned: a clock that is nudged past a boundary loses no poll.
                nearest = (turn.next_ms + (offset_ms or 0) + turn.every_ms // 2) // turn.every_ms * turn.every_ms
                turn.next_ms = max(now_ms, nearest - (offset_ms or 0))

    def replace(self, requests: Sequence[Request], now_ms: Ms) -> None:
        """Other questions for the same registers. Each falls due when the first of its registers would have."""
        due_ms: dict[tuple[DeviceId, Quantity], _Turn] = {
            (t.request.device, q): t for t in self._turns for q in t.request.quantities
        }
        kept = {id(t.request): t for t in self._turns}
        turns = []
        for request in requests:
            if id(request) in kept:
                turns.append(kept[id(request)])
                continue
            before = [due_ms[key] for q in request.quantities if (key := (request.device, q)) in due_ms]
            turn = _turn(request, min((t.next_ms for t in before), default=now_ms))
            turn.not_before_ms = min((t.not_before_ms for t in before), default=0)
            turns.append(turn)
        self._turns = turns

    def due(self, now_ms: Ms) -> Request | None:
        """The question with the earliest deadline, or None. It is given out once; its next slot lies after `now_ms`."""
        ready = [t for t in self._turns if t.due_ms <= now_ms and self._may_ask(t.request.device, now_ms)]
        if not ready:
            return None
        turn = min(ready, key=lambda t: (t.deadline_ms, self._asked.get(t.request.device, 0)))
        self._count += 1
        self._asked[turn.request.device] = self._count
        turn.next_ms = self._slot(turn, now_ms)
        pause = self._pauses.get(turn.request.device)
        if pause is not None:
            # One question is the trial; the others wait for what becomes of it.
            self._pauses[turn.request.device] = pause._replace(next_ms=now_ms + _pause_ms(pause.failures))
        return turn.request

    def next_ms(self) -> Ms | None:
        """When the next question falls due, None when there is none to ask."""
        return min((max(t.due_ms, self._paused_until(t.request.device)) for t in self._turns), default=None)

    def answered(self, request: Request) -> Pause | None:
        """The device answered: it is asked as usual again. Returns the pause that ends with this, if there was one.

        If every device of the link had fallen silent at once, it was the line, and the line is whole again: the others
        are tried now.
        """
        ended = self._pauses.get(request.device)
        if ended is None:
            return None
        was_the_line = self._pauses.keys() == {t.request.device for t in self._turns}
        del self._pauses[request.device]
        for device, pause in self._pauses.items() if was_the_line else ():
            if pause.cause is GapCause.NO_REPLY and abs(pause.since_ms - ended.since_ms) <= TOGETHER_MS:
                self._pauses[device] = pause._replace(next_ms=0)
        return ended

    def failed(self, request: Request, cause: GapCause, now_ms: Ms, detail: str = "") -> Pause | None:
        """The question failed. Returns the device's pause, or None where it is not the device that is at fault."""
        if cause is GapCause.REFUSED:
            self._pauses.pop(request.device, None)  # it refuses, so it answers
            for turn in self._turns:
                if turn.request is request:
                    turn.not_before_ms = now_ms + REFUSED_PAUSE_MS
            return None
        if cause is GapCause.LINK_DOWN:
            return None
        before = self._pauses.get(request.device)
        failures = before.failures + 1 if before else 1
        since_ms = before.since_ms if before else now_ms
        pause = Pause(request.device, cause, detail, failures, since_ms, now_ms + _pause_ms(failures))
        self._pauses[request.device] = pause
        return pause

    def pauses(self) -> tuple[Pause, ...]:
        """The devices that are being left alone."""
        return tuple(self._pauses.values())

    def _may_ask(self, device: DeviceId, now_ms: Ms) -> bool:
        return self._paused_until(device) <= now_ms

    def _paused_until(self, device: DeviceId) -> Ms:
        pause = self._pauses.get(device)
        return pause.next_ms if pause else 0

    def _slot(self, turn: _Turn, now_ms: Ms) -> Ms:
        """The first slot of the grid that lies after `now_ms`."""
        offset_ms = self._offset_ms or 0
        return (now_ms + offset_ms) // turn.every_ms * turn.every_ms + turn.every_ms - offset_ms


class Reconnect:
    """When to try a link again that is down: full jitter, so that many gateways do not come back at once."""

    def __init__(self) -> None:
        self.failures = 0
        self.next_ms: Ms = 0

    def failed(self, now_ms: Ms, chance: float) -> Ms:
        """The next try, anywhere between now and the back-off; `chance` is a number in [0, 1)."""
        backoff_ms = min(_LONGEST_RECONNECT_MS, _RECONNECT_MS << min(self.failures, 10))
        self.failures += 1
        self.next_ms = now_ms + max(_SHORTEST_RECONNECT_MS, round(backoff_ms * chance))
        return self.next_ms

    def up(self) -> None:
        self.failures = 0
        self.next_ms = 0


def _turn(request: Request, next_ms: Ms) -> _Turn:
    sampled = not CUMULATIVE.intersection(request.quantities)
    return _Turn(request, max(1, round(request.every_s * 1000)), sampled, next_ms)


def _pause_ms(failures: int) -> Ms:
    return min(LONGEST_PAUSE_MS, PAUSE_MS << min(failures - 1, 10))
