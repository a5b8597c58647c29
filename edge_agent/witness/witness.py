"""What a meter says happened to it: counters that rose and entries of its log, each event told once.

A counter's first reading is where counting begins, never an event, and so is the first after it fell (the meter was
exchanged, its events were erased). What differs from the last reading is believed when a second reading agrees, and is
told when the meter's serial has been read again: the counters of another meter are no increments of this one's.

The same event may be said by both. A *move* is a rise of the counter by n between two readings: n events that happened
then. An entry of the log fits a move if the counter that it names lies in it, or, where it names none, if its
time does, give or take `CLOCK_OFF_MS`. Entries are laid onto moves so that as many as possible fit, no more on a move
than it has events; what has happened so far is then

    all events of all moves + the entries that were left over

and what of that has not been told yet is told. An entry or a move can only add to that sum, and never more than what it
says itself; so nothing is told twice, in whatever order they come. Two events that are told as one for a while (an
entry laid onto an earlier move, because its own is not known yet) become two when the other move is known.

Pure: time is an argument, UTC ms. Everything is in `dump`, so that an event of the agent's absence is found afterwards.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from edge_agent.load.points import LoadPoint
from edge_agent.load.views import RegisterEvent, Witnessed
from edge_agent.model import COUNTED, EVENTS, DeviceId, Identity, MeterEvent, Ms, Quantity, Reading
from edge_agent.witness.story import (
    CLOCK_OFF_MS,
    Entry,
    Meter,
    Move,
    Story,
    agree,
    is_known,
    is_new,
    is_off,
    is_one,
    is_same,
    lay,
    off_ms,
    plain_of,
    story_of,
)
from edge_agent.witness.telling import unplaced, witnessed

SERIAL_WAIT_MS = 3_600_000
"""So long a counter that rose waits for the serial; then it is told with the serial unknown."""

LOG_WAIT_MS = 120_000
"""So long an event waits for the log that has been asked for, to be told with what it says."""

RECENT_MS = 7_200_000
"""So long an event may corroborate: longer than a decrease waits for the serial, and a counter for its next reading."""

KEPT_MS = 40 * 86_400_000
KEPT = 64
"""Moves and entries per code that are remembered; what is older than these is history."""


class Witness:
    """The meters of the points, and what they say happened."""

    def __init__(self, points: Sequence[LoadPoint]) -> None:
        self._points = tuple(points)
        self._meters = _meters_of(points)
        self._fell: list[RegisterEvent] = []
        self._recent: list[Witnessed] = []
        self._busy: set[tuple[DeviceId, str]] = set()
        self.changed = False
        """Whether there is something new that must survive a restart; when a counter was read last is not."""

    # -- what is heard ------------------------------------------------------------------------------------------

    def feed(self, readings: Iterable[tuple[Reading, Ms]]) -> None:
        """Readings with their UTC ms, in order; what is no counter of events of a point's meter is passed over."""
        for reading, t_ms in readings:
            code = COUNTED.get(reading.quantity)
            if code is not None and (meter := self._meters.get(reading.device)) is not None:
                self._count(reading.device, meter, code, round(reading.value), t_ms)

    def identify(self, identity: Identity, t_ms: Ms) -> None:
        """A meter's serial, or what its clock shows."""
        meter = self._meters.get(identity.device)
        if meter is None:
            return
        match identity.quantity:
            case Quantity.METER_SERIAL:
                self._know(identity.device, meter, identity.text, t_ms)
            case Quantity.METER_CLOCK:
                meter.clock_off_ms = off_ms(identity.text, meter.zone, t_ms)
            case Quantity.METER_DATE:
                meter.date = (identity.text, t_ms)
            case Quantity.METER_TIME if meter.date is not None and abs(t_ms - meter.date[1]) < CLOCK_OFF_MS:
                if not identity.text.startswith("00:0"):  # two questions: the date may be the day before's
                    meter.clock_off_ms = off_ms(f"{meter.date[0]}T{identity.text}", meter.zone, t_ms)

    def is_clock_off(self, device: DeviceId) -> bool:
        """Whether date and time of a device show that what it stamps is used for nothing.

        A clock with a deviation of its own is held to true time by the driver, which reads it with the stamps.
        """
        meter = self._meters.get(device)
        if meter is None or meter.date is None or meter.clock_off_ms is None:
            return False
        return abs(meter.clock_off_ms) >= CLOCK_OFF_MS

    def asking(self, device: DeviceId, now_ms: Ms) -> None:
        """The device's log has been asked for: what it may say as well waits for it a little."""
        if (meter := self._meters.get(device)) is not None:
            meter.asked_ms = now_ms

    def logged(self, device: DeviceId, events: Iterable[MeterEvent] | None, now_ms: Ms) -> None:
        """What the device's log says; None: it cannot be read now."""
        meter = self._meters.get(device)
        if meter is None:
            return
        meter.asked_ms = None
        if events is None:
            return
        self._meet(meter, now_ms)
        is_first = meter.log_ms is None
        meter.log_ms, self.changed = now_ms, True
        for event in events:
            if event.device == device and event.code in EVENTS:
                self._enter(meter, event, now_ms, is_first=is_first)

    # -- what is told -------------------------------------------------------------------------------------------

    def settle(self, now_ms: Ms) -> list[Witnessed]:
        """What happened and has not been told yet, in order; each once."""
        out: list[Witnessed] = []
        for device, code in sorted(self._busy):
            meter = self._meters[device]
            story = meter.stories[code]
            if story.rises and self._waits(meter, story.rises[-1].after_ms, now_ms):
                continue
            if not story.rises and story.suspect is not None and 0 <= now_ms - story.suspect[1] < LOG_WAIT_MS:
                continue  # what the log says already, the counter's next reading says as well
            self._busy.discard((device, code))
            out += self._tell(device, meter, code, story, now_ms)
        out.sort(key=lambda w: (w.end_ms, w.point, w.code))
        self._recent = [w for w in [*self._recent, *out] if now_ms - w.told_ms < RECENT_MS]
        self.changed |= bool(out)
        return out

    def recent(self) -> Sequence[Witnessed]:
        return tuple(self._recent)

    def fell(self) -> list[RegisterEvent]:
        """Counters that begin anew: told once."""
        out, self._fell = self._fell, []
        return out

    def wants(self) -> frozenset[DeviceId]:
        """Devices whose next reading, serial included, would settle something."""
        return frozenset(
            device
            for device, meter in self._meters.items()
            if any(
                s.suspect is not None or (s.rises and not is_same(meter, s.rises[-1])) for s in meter.stories.values()
            )
        )

    def rose(self) -> dict[DeviceId, dict[str, int]]:
        """Counters that stand higher than what was told, and by how much: what a log may say more about."""
        out: dict[DeviceId, dict[str, int]] = {}
        for device, meter in self._meters.items():
            for code, story in meter.stories.items():
                risen = sum(r.after - r.before for r in story.rises)
                if story.suspect is not None and story.value is not None:
                    risen += max(0, story.suspect[0] - story.value)
                if risen:
                    out.setdefault(device, {})[code] = risen
        return out

    def log_ms(self, device: DeviceId) -> Ms | None:
        """When the device's log was read last."""
        meter = self._meters.get(device)
        return meter.log_ms if meter is not None else None

    def stepped(self, t_ms: Ms) -> None:
        """The gateway's clock was set: nothing that it stamped lies later than now."""
        for meter in self._meters.values():
            meter.serial_ms, meter.clock_off_ms = min(meter.serial_ms, t_ms), None
            meter.asked_ms = None
            meter.since_ms = None if meter.since_ms is None else min(meter.since_ms, t_ms)
            meter.log_ms = None if meter.log_ms is None else min(meter.log_ms, t_ms)
            for story in meter.stories.values():
                story.since_ms, story.read_ms = min(story.since_ms, t_ms), min(story.read_ms, t_ms)
                if story.suspect is not None:
                    story.suspect = (story.suspect[0], min(story.suspect[1], t_ms))
                for moves in (story.rises, story.moves):
                    moves[:] = [
                        m._replace(before_ms=min(m.before_ms, t_ms), after_ms=min(m.after_ms, t_ms)) for m in moves
                    ]
        self._recent = []
        self.changed = True

    # -- what survives a restart --------------------------------------------------------------------------------

    def dump(self) -> dict[str, Any]:
        """Everything, as plain data."""
        return {
            "meters": {
                d: [
                    *(m.serial, m.serial_ms, m.since_ms, m.log_ms, m.clock_off_ms),
                    {c: plain_of(s) for c, s in m.stories.items()},
                ]
                for d, m in self._meters.items()
                if m.since_ms is not None or m.serial is not None
            },
            "recent": [asdict(w) for w in self._recent],
        }

    def restore(self, plain: Mapping[str, Any]) -> None:
        """Raises KeyError, TypeError or ValueError for what this version did not write."""
        for device, (serial, serial_ms, since_ms, log_ms, ahead_ms, stories) in plain.get("meters", {}).items():
            meter = self._meters.get(device)
            if meter is None:
                continue
            meter.serial, meter.serial_ms, meter.since_ms = serial, serial_ms, since_ms
            meter.log_ms, meter.clock_off_ms = log_ms, ahead_ms
            meter.stories = {code: story_of(s) for code, s in stories.items() if code in EVENTS}
            for code, story in meter.stories.items():
                if story.rises or story.fresh or story.lost:
                    self._busy.add((device, code))
        self._recent = [
            Witnessed(**{**w, "sources": tuple(w["sources"]), "logged_ms": tuple(w["logged_ms"])})
            for w in plain.get("recent", ())
        ]

    def clear(self) -> None:
        """Nothing is known any more: every counter's next reading is its first."""
        self._meters = _meters_of(self._points)
        self._recent, self._fell, self._busy = [], [], set()

    # -- counters -----------------------------------------------------------------------------------------------

    def _meet(self, meter: Meter, t_ms: Ms) -> Ms:
        if meter.since_ms is None:
            meter.since_ms, self.changed = t_ms, True
        return meter.since_ms

    def _story(self, meter: Meter, code: str, t_ms: Ms) -> Story:
        story = meter.stories.get(code)
        if story is None:
            story = meter.stories[code] = Story(self._meet(meter, t_ms))
        return story

    def _count(self, device: DeviceId, meter: Meter, code: str, value: int, t_ms: Ms) -> None:
        story = self._story(meter, code, t_ms)
        if story.value is None:
            story.value, story.read_ms, story.base_ms, self.changed = value, t_ms, t_ms, True
            return
        if t_ms <= story.read_ms or (story.suspect is not None and t_ms <= story.suspect[1]):
            return
        if value == story.value:
            story.suspect, story.read_ms = None, t_ms  # what was read between was a bad frame
            return
        suspect = story.suspect
        if suspect is None or not agree(story.value, suspect[0], value):
            story.suspect, self.changed = (value, t_ms), True
            return
        self._believe(device, meter, code, story, suspect)
        if value == suspect[0]:
            story.suspect, story.read_ms = None, t_ms
        else:
            story.suspect = (value, t_ms)

    def _believe(self, device: DeviceId, meter: Meter, code: str, story: Story, suspect: tuple[int, Ms]) -> None:
        """Two readings agree that the counter does not stand where it stood."""
        assert story.value is not None
        value, at_ms = suspect
        if value > story.value:
            story.rises.append(Move(story.value, value, story.read_ms, at_ms, story.base_ms))
            self._busy.add((device, code))
        else:
            self._fell.append(
                RegisterEvent(meter.point, device, EVENTS[code], "counter_fell", story.value, value, story.read_ms,
                              at_ms, True, is_known(meter, at_ms))
            )  # fmt: skip
            story.base_ms = at_ms
        story.value, story.read_ms, self.changed = value, at_ms, True

    def _know(self, device: DeviceId, meter: Meter, serial: str, t_ms: Ms) -> None:
        if meter.serial is not None and meter.serial != serial:
            # Another meter: what its counters and its log say of the time before is not news.
            meter.stories, meter.since_ms, meter.log_ms = {}, t_ms, None
            self._busy = {key for key in self._busy if key[0] != device}
        self.changed |= meter.serial != serial
        meter.serial, meter.serial_ms = serial, t_ms

    def _waits(self, meter: Meter, after_ms: Ms, now_ms: Ms) -> bool:
        if now_ms - after_ms >= SERIAL_WAIT_MS:
            return False
        if meter.has_serial and meter.serial_ms < after_ms:
            return True
        return meter.asked_ms is not None and now_ms - meter.asked_ms < LOG_WAIT_MS

    # -- the log ------------------------------------------------------------------------------------------------

    def _enter(self, meter: Meter, event: MeterEvent, now_ms: Ms, *, is_first: bool) -> None:
        if event.when_ms is None and event.counter is None:
            return  # nothing says which event this is
        story = self._story(meter, event.code, now_ms)
        entry = Entry(event.when_ms, event.counter, event.operator, story.base_ms)
        if any(is_one(entry, known) for known in (*story.entries, *story.unplaced)):
            return
        if entry.when_ms is not None and entry.when_ms <= story.since_ms:
            return
        if entry.when_ms is None and story.value is not None and not is_new(entry, story):
            return
        if is_first and not story.rises and story.suspect is None:
            story.unplaced.append(entry)  # a log's first answer is where its events begin, as a counter's is
            return
        if entry.counter is None and entry.when_ms is not None and is_off(meter, entry.when_ms, now_ms):
            story.unplaced.append(entry)
            story.lost.append(entry)
        else:
            story.entries.append(entry)
            story.fresh.append(entry)
        self._busy.add((event.device, event.code))
        self.changed = True

    # -- telling ------------------------------------------------------------------------------------------------

    def _tell(self, device: DeviceId, meter: Meter, code: str, story: Story, now_ms: Ms) -> list[Witnessed]:
        new_moves, fresh, lost = story.rises, story.fresh, story.lost
        story.moves += new_moves
        story.rises, story.fresh, story.lost = [], [], []
        laid = lay(story.moves, story.entries)
        total = sum(m.after - m.before for m in story.moves) + len(story.entries) - len(laid)
        count, story.told = total - story.told, total
        out = [unplaced(device, meter, code, entry, now_ms) for entry in lost]
        if count > 0:
            before = len(story.moves) - len(new_moves)
            entries = [e for n, e in enumerate(story.entries) if e in fresh and laid.get(n, before) >= before] or fresh
            out.append(witnessed(device, meter, code, count, new_moves, entries, now_ms))
        self._forget(story, now_ms)
        return out

    def _forget(self, story: Story, now_ms: Ms) -> None:
        """What is old, or too much, becomes history."""
        old = [m.after_ms for m in story.moves[:-KEPT]] + [e.when_ms or 0 for e in story.entries[:-KEPT]]
        old += [e.when_ms or 0 for e in story.unplaced[:-KEPT]]
        limit_ms = max([now_ms - KEPT_MS, *old])
        if limit_ms <= story.since_ms and not old:
            return
        moves = [m for m in story.moves[-KEPT:] if m.after_ms > limit_ms]
        entries = [e for e in story.entries[-KEPT:] if e.when_ms is None or e.when_ms > limit_ms]
        story.unplaced = [e for e in story.unplaced[-KEPT:] if e.when_ms is None or e.when_ms > limit_ms]
        if old or len(moves) < len(story.moves) or len(entries) < len(story.entries):
            story.since_ms = max(story.since_ms, limit_ms)
            story.moves, story.entries = moves, entries
            story.told = sum(m.after - m.before for m in moves) + len(entries) - len(lay(moves, entries))


def _meters_of(points: Sequence[LoadPoint]) -> dict[DeviceId, Meter]:
    return {p.device: Meter(p.id, p.has_serial, p.zone) for p in points}
