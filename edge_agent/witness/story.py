"""What is remembered of a meter and of one code of events, and how entries of a log are laid onto a counter's moves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, tzinfo
from typing import Any, NamedTuple

from edge_agent.model import Ms, PointId

CLOCK_OFF_MS = 300_000
"""From here on a meter's clock places nothing. Source: dat-clock's second level (300 s) ends findings from data that
the meter has stamped."""


class Move(NamedTuple):
    """A counter went from `before` to `after` between two readings."""

    before: int
    after: int
    before_ms: Ms
    after_ms: Ms
    base_ms: Ms  # the reading that its counting began with


class Entry(NamedTuple):
    """An entry of the log; `counter`: what the counter stood at with it."""

    when_ms: Ms | None
    counter: int | None
    operator: str = ""
    base_ms: Ms = 0  # which counting `counter` belongs to


@dataclass(slots=True)
class Story:
    """One code of one device: where its counter stands, and what was said of it."""

    since_ms: Ms  # entries up to here are history
    value: int | None = None
    read_ms: Ms = 0
    base_ms: Ms = 0
    suspect: tuple[int, Ms] | None = None  # read once, and not what was read before
    rises: list[Move] = field(default_factory=list)  # believed, not told: the serial or the log is awaited
    moves: list[Move] = field(default_factory=list)
    entries: list[Entry] = field(default_factory=list)
    unplaced: list[Entry] = field(default_factory=list)  # known, and laid nowhere: stamped by a clock that was off
    told: int = 0
    fresh: list[Entry] = field(default_factory=list)  # came since the last settling; of `entries`
    lost: list[Entry] = field(default_factory=list)  # the same, of `unplaced`


@dataclass(slots=True)
class Meter:
    """One device: who it is, and how its clock goes."""

    point: PointId
    has_serial: bool
    zone: tzinfo
    serial: str | None = None
    serial_ms: Ms = 0
    clock_off_ms: Ms | None = None
    since_ms: Ms | None = None  # when it was heard first
    log_ms: Ms | None = None  # when its log was read last
    asked_ms: Ms | None = None  # its log has been asked for, and has not answered
    date: tuple[str, Ms] | None = None
    stories: dict[str, Story] = field(default_factory=dict)


def lay(moves: Sequence[Move], entries: Sequence[Entry]) -> dict[int, int]:
    """As many entries as possible onto moves, no more on each than it has events: entry number to move number.

    The moves that an entry fits lie side by side, so each move in turn takes those first that fit the fewest moves
    after it.
    """
    fits: dict[int, list[int]] = {}
    for n, entry in enumerate(entries):
        if found := [m for m, move in enumerate(moves) if _fits(entry, move)]:
            fits[n] = found
    laid: dict[int, int] = {}
    for m, move in enumerate(moves):
        ready = sorted((n for n, found in fits.items() if n not in laid and m in found), key=lambda n: (fits[n][-1], n))
        laid |= dict.fromkeys(ready[: move.after - move.before], m)
    return laid


def _fits(entry: Entry, move: Move) -> bool:
    if entry.counter is not None:
        return entry.base_ms == move.base_ms and move.before < entry.counter <= move.after
    assert entry.when_ms is not None
    return move.before_ms - CLOCK_OFF_MS <= entry.when_ms <= move.after_ms + CLOCK_OFF_MS


def is_one(entry: Entry, known: Entry) -> bool:
    """Whether the log has said this before."""
    if entry.counter is not None and known.counter is not None:
        return entry.counter == known.counter and entry.when_ms == known.when_ms
    return entry.when_ms is not None and entry.when_ms == known.when_ms


def is_new(entry: Entry, story: Story) -> bool:
    """Of an entry without a time: whether the counter that it names lies above where counting began."""
    assert entry.counter is not None
    assert story.value is not None
    began = min((m.before for m in (*story.moves, *story.rises) if m.base_ms == story.base_ms), default=story.value)
    return entry.counter > began


def is_off(meter: Meter, when_ms: Ms, now_ms: Ms) -> bool:
    off = meter.clock_off_ms
    return (off is not None and abs(off) >= CLOCK_OFF_MS) or when_ms - now_ms >= CLOCK_OFF_MS


def agree(value: int, suspect: int, after: int) -> bool:
    """Whether a later reading says that the suspect was no bad frame: counters only grow."""
    return after >= suspect if suspect > value else suspect <= after < value


def is_same(meter: Meter, move: Move) -> bool:
    return not meter.has_serial or meter.serial_ms >= move.after_ms


def is_known(meter: Meter, after_ms: Ms) -> bool:
    return meter.serial is not None and meter.serial_ms >= after_ms


def off_ms(text: str, zone: tzinfo, t_ms: Ms) -> Ms | None:
    """By how much a clock that shows `text` is ahead; None where that is no time."""
    try:
        shown = datetime.fromisoformat(text)
    except ValueError:
        return None
    if shown.tzinfo is None:
        shown = shown.replace(tzinfo=zone)
    return round(shown.astimezone(UTC).timestamp() * 1000) - t_ms


def plain_of(story: Story) -> list[Any]:
    """Short where nothing has happened, as it is for most: it is written often."""
    head: list[Any] = [story.since_ms, story.value, story.read_ms, story.base_ms]
    rest: list[Any] = [
        story.suspect, story.rises, story.moves, story.entries, story.unplaced, story.told, story.fresh, story.lost,
    ]  # fmt: skip
    return [*head, *rest] if any(rest) else head


def story_of(plain: Sequence[Any]) -> Story:
    since_ms, value, read_ms, base_ms, *rest = plain
    story = Story(since_ms, value, read_ms, base_ms)
    if rest:
        suspect, rises, moves, entries, unplaced, told, fresh, lost = rest
        story.suspect = None if suspect is None else (suspect[0], suspect[1])
        story.rises, story.moves = [Move(*m) for m in rises], [Move(*m) for m in moves]
        story.entries, story.unplaced = [Entry(*e) for e in entries], [Entry(*e) for e in unplaced]
        story.told, story.fresh, story.lost = told, [Entry(*e) for e in fresh], [Entry(*e) for e in lost]
    return story
