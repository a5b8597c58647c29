"""One half-duplex RS-485 pair: every character takes its time, everybody else hears it, and silence means something.

Who says something while another talks spoils both; the line counts it and listeners get what a UART gets. A talker does
not hear himself unless his adapter echoes. After 3.5 characters of silence the line tells who waits for it. Times are
seconds of the loop's clock, real or virtual; bytes reach a listener when their last character has ended, never sooner.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from simulator.line.uart import Format, Signal, Span, received

Split = Callable[[int], Iterable[int]]
"""Where a frame of n characters is cut on its way into a listener: positions between 1 and n - 1, ascending."""

_SAME_S = 1e-8


class Reply(NamedTuple):
    """What a station says, and when: seconds after the last character of the question."""

    data: bytes
    after_s: float


class Spoken(NamedTuple):
    """Who said what, when, and whether somebody talked at the same time."""

    who: str
    data: bytes
    start_s: float
    end_s: float
    collided: bool


@dataclass(slots=True)
class LineCounts:
    transmissions: int = 0
    characters: int = 0
    collisions: int = 0  # transmissions that met one that was already on the line


class End:
    """A place on the pair where somebody talks and listens.

    `strict`: characters with a wrong parity or stop bit are dropped, as in a meter; a serial port hands them on.
    """

    def __init__(
        self,
        line: PacedLine,
        name: str,
        heard: Callable[[bytes, float], None],
        quiet: Callable[[float], None] | None,
        form: Format,
        *,
        strict: bool,
    ) -> None:
        self.name = name
        self.format = form
        self.echo = False
        self.strict = strict
        self.split: Split | None = None
        self.heard = heard
        self.quiet = quiet
        self.talks_from_s = self.talks_to_s = float("-inf")  # of the last thing said
        self._line = line
        self._taken = 0  # characters of what is on the line now that have been handed over

    def say(self, data: bytes) -> None:
        """Talk now, or when what was said before has ended."""
        if data:
            self._line._say(self, data)


@dataclass(slots=True, eq=False)
class _Transmission:
    end: End
    data: bytes
    format: Format
    start_s: float
    end_s: float
    collided: bool = False
    over: bool = False

    def meets(self, other: _Transmission) -> bool:
        return self.start_s < other.end_s - _SAME_S and other.start_s < self.end_s - _SAME_S


class PacedLine:
    """The pair. Made inside the loop that paces it."""

    def __init__(self, form: Format | None = None, *, loop: asyncio.AbstractEventLoop | None = None) -> None:
        self.format = form or Format()
        self.loop = loop or asyncio.get_running_loop()
        self.ends: list[End] = []
        self.counts = LineCounts()
        self._waiting: list[End] = []  # for silence
        self._live: list[_Transmission] = []
        self._cuts: list[Span] = []
        self._beyond: frozenset[End] = frozenset()
        self._quiet: asyncio.TimerHandle | None = None
        self._quiet_at_s = 0.0
        self._last_s = 0.0
        self._taps: list[list[_Transmission]] = []

    def join(
        self,
        name: str,
        heard: Callable[[bytes, float], None],
        quiet: Callable[[float], None] | None = None,
        *,
        form: Format | None = None,
        strict: bool = True,
    ) -> End:
        """Somebody new on the pair. `heard(data, at_s)`, `quiet(at_s)`: `at_s` is the end of the last character."""
        end = End(self, name, heard, quiet, form or self.format, strict=strict)
        self.ends.append(end)
        if quiet is not None:
            self._waiting.append(end)
        return end

    def tap(self) -> Tap:
        """Record who speaks when, from now on."""
        self._taps.append([])
        return Tap(self._taps[-1])

    def cut(self, beyond: Iterable[End]) -> None:
        """Break the pair: those beyond and the rest no longer hear each other, in mid-character if need be."""
        if not self.is_cut:
            self._beyond = frozenset(beyond)
            self._cuts.append(Span(self.loop.time(), float("inf")))

    def restore(self) -> None:
        if self.is_cut:
            self._cuts[-1] = self._cuts[-1]._replace(to_s=self.loop.time())

    @property
    def is_silent(self) -> bool:
        """Nobody talks, and nobody has for 3.5 characters."""
        return not self._live and (self._quiet is None or self.loop.time() >= self._quiet_at_s - _SAME_S)

    @property
    def is_cut(self) -> bool:
        return bool(self._cuts) and self._cuts[-1].to_s == float("inf")

    def _say(self, end: End, data: bytes) -> None:
        now_s = self.loop.time()
        if self._quiet is not None:
            self._quiet.cancel()
            if now_s >= self._quiet_at_s - _SAME_S:  # silence ends with the first character after it, not before
                self._fall_quiet()
            self._quiet = None
        form = end.format
        start_s = max(now_s, end.talks_to_s)
        said = _Transmission(end, data, form, start_s, start_s + len(data) * form.char_s)
        end.talks_from_s, end.talks_to_s = start_s, said.end_s
        counts = self.counts
        counts.transmissions += 1
        counts.characters += len(data)
        for other in self._live:
            if said.meets(other):
                counts.collisions += not said.collided
                said.collided = other.collided = True
        self._live.append(said)
        for tap in self._taps:
            tap.append(said)
        self.loop.call_at(said.end_s, self._ended, said)
        for listener in self.ends:
            if listener.split is not None and (listener is not end or listener.echo):
                for position in listener.split(len(data)):
                    self.loop.call_at(start_s + position * form.char_s, self._hear_part, listener, said)

    def _ended(self, said: _Transmission) -> None:
        said.over = True
        if len(self._live) == 1:
            group = [said]
            self._live = []
        else:
            group = self._group(said)
            if not all(other.over for other in group):
                return
            self._live = [other for other in self._live if other not in group]
        self._hear(group, said.end_s)
        if not self._live:
            self._last_s = said.end_s
            self._quiet_at_s = said.end_s + self.format.silence_s
            self._quiet = self.loop.call_at(self._quiet_at_s, self._fall_quiet)

    def _group(self, said: _Transmission) -> list[_Transmission]:
        """Everything that is linked to `said` by talking at the same time."""
        group = [said]
        for member in group:
            group += [other for other in self._live if other not in group and other.meets(member)]
        return group

    def _hear(self, group: Sequence[_Transmission], at_s: float) -> None:
        if self._cuts:
            start_s = min(said.start_s for said in group)
            self._cuts = [span for span in self._cuts if span.to_s > start_s]
        alone = group[0] if len(group) == 1 and not self._cuts else None
        for end in tuple(self.ends):
            if alone is not None and alone.end is end and not end.echo:
                continue
            if alone is not None and end.format.hears(alone.format):
                data = alone.data
            else:
                data = self._decoded(end, group, at_s)
            if end._taken:
                data, end._taken = data[end._taken :], 0
            if data:
                end.heard(data, at_s)

    def _hear_part(self, end: End, said: _Transmission) -> None:
        if said.over:
            return
        now_s = self.loop.time()
        group = self._group(said)
        if len(group) == 1 and not self._cuts and end.format.hears(said.format):
            data = said.data[: int((now_s - said.start_s) / said.format.char_s + 1e-6)]
        else:
            data = self._decoded(end, group, now_s)
        if len(data) > end._taken:
            taken, end._taken = end._taken, len(data)
            end.heard(data[taken:], now_s)

    def _decoded(self, end: End, group: Sequence[_Transmission], until_s: float) -> bytes:
        """The slow way: what this end's UART makes of everything on the pair."""
        own = tuple(Span(said.start_s, said.end_s) for said in group if said.end is end)
        cuts = tuple(self._cuts)
        signals = []
        for said in group:
            if said.end is end:
                if end.echo:
                    signals.append(Signal(said.data, said.format, said.start_s))
                continue
            apart = (said.end in self._beyond) != (end in self._beyond)
            muted = (cuts if apart else ()) + (() if end.echo else own)  # its receiver is off while it talks
            signals.append(Signal(said.data, said.format, said.start_s, muted))
        characters = received(signals, end.format, until_s) if signals else ()
        return bytes(c.byte for c in characters if c.good or not end.strict)

    def _fall_quiet(self) -> None:
        self._quiet = None
        for end in self._waiting:
            if end.quiet is not None:
                end.quiet(self._last_s)


class Tap:
    """What was said on a line since the tap was set."""

    def __init__(self, said: list[_Transmission]) -> None:
        self._said = said

    @property
    def spoken(self) -> list[Spoken]:
        return [Spoken(t.end.name, t.data, t.start_s, t.end_s, t.collided) for t in self._said]

    def by(self, who: str) -> list[Spoken]:
        return [spoken for spoken in self.spoken if spoken.who == who]

    def clear(self) -> None:
        self._said.clear()


class Trip(NamedTuple):
    """One round trip as the wire counts it: characters asked and answered, and the device's turnaround."""

    asked: int
    answered: int
    turnaround_s: float


def bound(trips: Iterable[Trip], form: Format) -> float:
    """Seconds that a cycle of these round trips takes at least: characters, turnarounds and the silences between.

    A reply begins no sooner than the silence that ends its question, and a question no sooner than the one that ends
    the reply before it.
    """
    return sum(
        (trip.asked + trip.answered) * form.char_s + max(trip.turnaround_s, form.silence_s) + form.silence_s
        for trip in trips
    )
