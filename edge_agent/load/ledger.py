"""The ledger: readings in, closed demand intervals with bounds out.

Energy registers and sampled powers are kept apart and never mixed into one figure. K is applied here, once, on the way
in. Readings come once per tick for all points together; time is UTC and always an argument. An interval closes when
the readings of its point have passed its end, so its life follows the readings, not the wall clock.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from math import isfinite
from typing import Any

import numpy as np

from edge_agent.load.closing import Closing
from edge_agent.load.columns import NEVER, EnergyColumns, Ints, PowerColumns
from edge_agent.load.points import ENERGIES, POWERS, LoadPoint, in_force, next_change_ms
from edge_agent.load.registers import Move, Suspect, judge
from edge_agent.load.views import Interval, RegisterEvent, Source
from edge_agent.model import DeviceId, Frame, Identity, Ms, PointId, Quantity, Reading

SERIAL_WAIT_MS = 3_600_000
"""How long a decrease waits for the meter's serial before it is told with the serial unknown."""


class LoadLedger:
    """Demand of many points from registers and, apart from them, from sampled power.

    `feed` takes readings stamped in UTC ms; `close` gives the intervals that they closed, in order per point.
    Raises nothing on bad readings: a register that misbehaves becomes a `RegisterEvent`, see `events`.
    """

    def __init__(self, points: Sequence[LoadPoint]) -> None:
        self.points = tuple(points)
        self.energy = EnergyColumns(self.points, len(ENERGIES))
        self.power = PowerColumns(self.points, len(POWERS))
        self.closing = Closing(self.points, self.energy, self.power)
        self._index = {p.id: i for i, p in enumerate(self.points)}
        self._rows: dict[tuple[DeviceId, Quantity], list[int]] = {}
        self._power_rows: dict[tuple[DeviceId, Quantity], list[int]] = {}
        self._by_device: dict[DeviceId, list[int]] = {}
        for i, point in enumerate(self.points):
            self._by_device.setdefault(point.device, []).append(i)
            for j, quantity in enumerate(ENERGIES):
                self._rows.setdefault((point.device, quantity), []).append(i * len(ENERGIES) + j)
            for j, quantity in enumerate(POWERS):
                self._power_rows.setdefault((point.device, quantity), []).append(i * len(POWERS) + j)
        self._derive_s = np.array([POWERS[2] not in p.quantities for p in self.points], np.bool_)
        self._modulus = [p.modulus.get(q) for p in self.points for q in ENERGIES]
        self._suspects: dict[int, Suspect] = {}
        self._frames: dict[int, Frame | None] = {}
        self._pending: list[RegisterEvent] = []
        self._events: list[RegisterEvent] = []
        self._serial: dict[DeviceId, str] = {}
        self._serial_at: dict[DeviceId, Ms] = {}
        self._next_change = NEVER
        self._contradicted: dict[PointId, Ms] = {}
        self._out: list[Interval] = []
        self._crossed = False

    # -- readings in --------------------------------------------------------------------------------------------

    def feed(self, readings: Iterable[tuple[Reading, Ms]]) -> None:
        """Readings with their UTC ms, in order; those of no point, and of no use here, are passed over."""
        energies: dict[int, tuple[Ms, Reading]] = {}
        powers: dict[int, tuple[Ms, float]] = {}
        for reading, t_ms in readings:
            if not isfinite(reading.value):
                continue  # a driver makes this a gap; here it would be a level that nothing agrees with
            key = (reading.device, reading.quantity)
            rows, power_rows = self._rows.get(key, ()), self._power_rows.get(key, ())
            if not rows and not power_rows:
                continue
            again = any(r in energies for r in rows) or any(r in powers for r in power_rows)
            if again or (NEVER < self._next_change < t_ms and (energies or powers)):
                # A second reading of one row is a batch of its own, and so is what comes after a change of K.
                self._feed_batch(energies, powers)
                self._settle()  # before later boundaries take the place of these
                energies, powers = {}, {}
            for row in rows:
                energies[row] = (t_ms, reading)
            for row in power_rows:
                powers[row] = (t_ms, reading.value)
        self._feed_batch(energies, powers)

    def feed_mean(self, point: PointId, t_ms: Ms, step_ms: Ms, powers: Mapping[Quantity, float]) -> None:
        """A recorded row: mean powers (primary side, W, var, VA) over the `step_ms` up to `t_ms`."""
        base = self._index[point] * len(POWERS)
        rows = {base + POWERS.index(q): value for q, value in powers.items()}
        self.closing.recorded[self._index[point]] = Quantity.APPARENT_POWER in powers
        start = t_ms - step_ms
        fresh = {r: (start, v) for r, v in rows.items() if self.power.last_t[r] == NEVER}
        if fresh:
            self._feed_batch({}, fresh, recorded=True)
        late = {r: (start, v) for r, v in rows.items() if self.power.last_t[r] < start}
        if late:
            self._feed_batch({}, late, 1, recorded=True)  # nothing was recorded in between
        self._feed_batch({}, {r: (t_ms, v) for r, v in rows.items()}, step_ms, recorded=True)

    def identify(self, identity: Identity, t_ms: Ms) -> None:
        """A meter's serial: a new one means another meter, whose registers do not continue the old one's."""
        if identity.quantity is not Quantity.METER_SERIAL:
            return
        device, known = identity.device, self._serial.get(identity.device)
        changed = known is not None and known != identity.text
        self._serial[device], self._serial_at[device] = identity.text, t_ms
        settled = [e for e in self._pending if e.device == device and e.after_ms <= t_ms]
        for event in settled:
            self._pending.remove(event)
            # Without a serial from before, nobody can say whether this is still the same meter.
            told = _with(event, kind="replacement" if changed else event.kind, serial_known=known is not None)
            self._events.append(told)
        if changed:
            for i in self._by_device.get(device, ()):
                if not any(e.point == self.points[i].id for e in settled):
                    self._events.append(self._exchange(i, t_ms))
                self._break(i, t_ms, "meter_exchange")

    def stepped(self, t_ms: Ms) -> None:
        """The wall clock was set: nothing before continues on the new grid, which goes on at `t_ms`."""
        for i in range(len(self.points)):
            self._break(i, t_ms, "clock_step")
            self.closing.set_back(i, t_ms)
        self._contradicted.clear()  # instants of the old grid

    # -- answers out --------------------------------------------------------------------------------------------

    def close(self) -> list[Interval]:
        """Intervals closed by the readings so far, each once, in order per point."""
        self._settle()
        out, self._out = self._out, []
        return out

    def broke(self, point: PointId) -> tuple[Ms, str] | None:
        """When a point's register last did not go on from where it was, and why; None: never, or not the register."""
        broke = self.closing.broken(self._index[point])
        return broke if broke is not None and broke[1] in {"register_break", "meter_exchange"} else None

    def events(self, now_ms: Ms) -> list[RegisterEvent]:
        """Register events that are settled: told once."""
        overdue = [e for e in self._pending if now_ms - e.after_ms >= SERIAL_WAIT_MS]
        for event in overdue:
            self._pending.remove(event)
        out, self._events = self._events + overdue, []
        return out

    def wants(self) -> frozenset[DeviceId]:
        """Devices whose next reading, serial included, would settle a suspect."""
        devices = {self.points[row // len(ENERGIES)].device for row in self._suspects}
        return frozenset(devices | {e.device for e in self._pending})

    def confirmed_ms(self) -> dict[PointId, Ms]:
        """Per point: up to here every reading was followed by one that agrees; a row that stopped is left out."""
        answering = self.closing.answering()
        previous = np.hstack([c.prev_t.reshape(len(self.points), -1) for c in (self.energy, self.power)])
        at = np.where(answering, previous, np.iinfo(np.int64).max).min(axis=1)
        return {self.points[i].id: int(at[i]) for i in np.flatnonzero(answering.any(axis=1))}

    def contradicted_ms(self) -> dict[PointId, Ms]:
        """Per point: time of the last reading that those after it did not continue. It confirms nothing, ever."""
        return dict(self._contradicted)

    def energy_wh(self, point: PointId, quantity: Quantity) -> float:
        """Energy booked since the row's first reading, primary side; register exchanges book none."""
        row = self._index[point] * len(ENERGIES) + ENERGIES.index(quantity)
        return float(self.energy.now["lo"][row])

    def resolution_w(self, point: PointId) -> float:
        """One step of the active import register as mean power over a demand period, primary side."""
        i = self._index[point]
        row = i * len(ENERGIES)
        return float(self.energy.value_step[row] * self.energy.k[row] * 3.6e6 / self.points[i].period_ms)

    # -- inside -------------------------------------------------------------------------------------------------

    def _settle(self) -> None:
        if self._crossed:
            self._crossed = False
            self._out.extend(self.closing.run())

    def _feed_batch(
        self,
        energies: dict[int, tuple[Ms, Reading]],
        powers: dict[int, tuple[Ms, float]],
        mean_over_ms: Ms = 0,
        *,
        recorded: bool = False,
    ) -> None:
        newest = max((t for batch in (energies, powers) for t, _ in batch.values()), default=NEVER)
        self._refresh(newest - 1)  # a reading at the very change still ends a segment at the old K
        segments: list[tuple[Any, Any]] = []
        if energies and (made := self._energy_segment(energies)) is not None:
            segments.append((self.energy, made))
        if powers and (power := self._power_segment(powers, mean_over_ms, recorded)) is not None:
            segments.append((self.power, power))
        if not segments:
            return
        for columns, segment in segments:
            columns.head(segment)
            self._crossed = self._crossed or bool((segment.crossed > 0).any())
        long = {
            int(row) // columns.per_point: int(g1)
            for columns, segment in segments
            for row, g1 in zip(segment.rows[segment.long], segment.g1[segment.long], strict=True)
        }
        if long:
            self._out.extend(self.closing.run(gap=True))
            for i, g1 in long.items():
                self._out.extend(self.closing.skip(i, g1))
            for columns, segment in segments:
                columns.tail(segment)
        for columns, segment in segments:
            columns.advance(segment)

    def _energy_segment(self, batch: dict[int, tuple[Ms, Reading]]) -> Any:
        columns = self.energy
        rows = np.fromiter(batch, np.int64, len(batch))
        readings = [reading for _, reading in batch.values()]
        t = np.array([t for t, _ in batch.values()], np.int64)
        value = np.array([r.value for r in readings])
        step = np.array([r.step for r in readings])
        known = (columns.last_t[rows] != NEVER) & np.isfinite(columns.k[rows])
        moved = value - columns.value[rows]
        dt = t - columns.last_t[rows]
        with np.errstate(invalid="ignore"):
            plain = known & (dt > 0) & (moved >= 0) & (moved <= columns.bound(rows, dt, step))
        for i in np.flatnonzero(~plain):
            accepted = self._odd(int(rows[i]), int(t[i]), readings[i])
            if accepted is not None:
                plain[i], moved[i] = True, accepted
        for i in np.flatnonzero(plain):
            row = int(rows[i])
            self._suspects.pop(row, None)
            self._frames[row] = readings[i].frame
        if not plain.any():
            return None
        return columns.segment(rows[plain], t[plain], value[plain], step[plain], moved[plain])

    def _odd(self, row: int, t_ms: Ms, reading: Reading) -> float | None:
        """A reading that is not simply the next one: the increase if it is accepted after all."""
        columns, one = self.energy, np.array([row], np.int64)
        k = columns.k[row]
        if not np.isfinite(k):
            return None  # K unknown: cannot say anything primary
        if columns.last_t[row] == NEVER:
            self._begin(row, t_ms, reading.value, reading.step, reading.frame)
            return None
        dt = t_ms - int(columns.last_t[row])
        if dt <= 0:
            return None
        bound = float(columns.bound(one, np.array([dt], np.int64), np.array([reading.step]))[0])
        modulus = self._modulus[row]
        move, moved = judge(float(columns.value[row]), reading.value, bound=bound, modulus=modulus)
        if move is not Move.ODD:
            if move is Move.ROLLOVER:
                self._events.append(self._event(row, "rollover", t_ms, reading.value, reading.frame))
            return moved
        suspect = self._suspects.get(row)
        if suspect is not None and t_ms > suspect.t_ms:
            since = np.array([t_ms - suspect.t_ms], np.int64)
            reach = float(columns.bound(one, since, np.array([reading.step]))[0])
            if 0 <= reading.value - suspect.value <= reach:
                self._new_level(row, suspect)
                return float(reading.value - suspect.value)
            if columns.value[row] + bound < suspect.value < reading.value:
                self._new_level(row, suspect)  # it flies: two readings agree on no level, but both are far above
        self._suspects[row] = Suspect(t_ms, reading.value, reading.step, reading.frame)
        return None

    def _new_level(self, row: int, suspect: Suspect) -> None:
        """Two readings agree on a level that does not follow from the old one: a new segment, no energy."""
        kind = "decrease" if suspect.value < self.energy.value[row] else "jump"
        event = self._event(row, kind, suspect.t_ms, suspect.value, suspect.frame)
        i = row // len(ENERGIES)
        (self._pending if self.points[i].has_serial else self._events).append(event)
        del self._suspects[row]
        self._contradict(i, int(self.energy.last_t[row]))
        self.energy.drop(row)
        self.closing.broke(i, suspect.t_ms, "register_break")
        self._begin(row, suspect.t_ms, suspect.value, suspect.step, suspect.frame)

    def _event(self, row: int, kind: str, t_ms: Ms, value: float, frame: Frame | None) -> RegisterEvent:
        columns, point = self.energy, self.points[row // len(ENERGIES)]
        previous = float(columns.prev_value[row])
        return RegisterEvent(
            point=point.id,
            device=point.device,
            quantity=ENERGIES[row % len(ENERGIES)],
            kind=kind,
            before=float(columns.value[row]),
            after=value,
            before_ms=int(columns.last_t[row]),
            after_ms=t_ms,
            # The level before was read twice only if an older reading lies above the new level too.
            confirmed=value < previous if kind == "decrease" else not np.isnan(previous),
            serial_known=False,
            before_frame=self._frames.get(row),
            after_frame=frame,
        )

    def _exchange(self, i: int, t_ms: Ms) -> RegisterEvent:
        point, row = self.points[i], i * len(ENERGIES)
        last = float(self.energy.value[row])
        return RegisterEvent(point.id, point.device, ENERGIES[0], "replacement", last, last, t_ms, t_ms, True, True)

    def _begin(self, row: int, t_ms: Ms, value: float, step: float, frame: Frame | None) -> None:
        self._frames[row] = frame
        one = np.array([row], np.int64)
        self.energy.start(one, np.array([t_ms], np.int64), np.array([value]), np.array([step]))
        self.closing.began(row // len(ENERGIES), t_ms)

    def _power_segment(self, batch: dict[int, tuple[Ms, float]], mean_over_ms: Ms, recorded: bool) -> Any:
        columns = self.power
        self._add_apparent(batch, derive=not recorded)
        rows = np.fromiter(batch, np.int64, len(batch))
        t = np.array([at for at, _ in batch.values()], np.int64)
        power = np.array([value for _, value in batch.values()])
        if not recorded:
            power = power * self.energy.k[rows // len(POWERS) * len(ENERGIES)]
        new = columns.last_t[rows] == NEVER
        usable = np.isfinite(power)
        first = new & usable
        if first.any():
            columns.start(rows[first], t[first], power[first])
            for i in np.flatnonzero(first):
                self.closing.began(int(rows[i]) // len(POWERS), int(t[i]))
        next_ = ~new & usable & (t > columns.last_t[rows])
        if not next_.any():
            return None
        return columns.segment(rows[next_], t[next_], power[next_], mean_over_ms=mean_over_ms)

    def _add_apparent(self, batch: dict[int, tuple[Ms, float]], *, derive: bool) -> None:
        """Import and export are judged apart: samples count on the import side; S from P and Q where none is given."""
        width = len(POWERS)
        for row in [r for r in batch if r % width == 0]:
            t_ms, active = batch[row]
            reactive = batch.get(row + 1)
            if derive and self._derive_s[row // width] and reactive is not None and reactive[0] == t_ms:
                batch[row + 2] = (t_ms, float(np.hypot(active, reactive[1])))
            if active < 0:
                batch[row] = (t_ms, 0.0)
                if row + 2 in batch:
                    batch[row + 2] = (t_ms, 0.0)

    def _refresh(self, t_ms: Ms) -> None:
        """K and S_cap in force; a ratio that changes opens a new segment, so that no energy is booked at a wrong K."""
        if t_ms < self._next_change or t_ms == NEVER:
            return
        upcoming: list[Ms] = []
        for i, point in enumerate(self.points):
            rows = slice(i * len(ENERGIES), (i + 1) * len(ENERGIES))
            k, cap = in_force(point.k, t_ms), in_force(point.s_cap_va, t_ms)
            old = float(self.energy.k[rows.start])
            changed = k is not None and np.isfinite(old) and old != k
            kept = self._change_k(i, point, t_ms) if changed else []
            self.energy.k[rows] = np.nan if k is None else k
            self.energy.reopen(np.array(kept, np.int64))
            self.energy.cap_va[rows] = np.inf if cap is None else cap
            self.power.cap_va[i * len(POWERS) : (i + 1) * len(POWERS)] = np.inf if cap is None else cap
            upcoming += [c for line in (point.k, point.s_cap_va) if (c := next_change_ms(line, t_ms)) is not None]
        self._next_change = min(upcoming, default=np.iinfo(np.int64).max)

    def _change_k(self, i: int, point: LoadPoint, t_ms: Ms) -> list[int]:
        """The rows that go on: those that were read at the change itself, or after it if it was told late."""
        kept: list[int] = []
        change = point.k[bisect_right(point.k, t_ms, key=lambda e: e[0]) - 1][0]
        for row in range(i * len(ENERGIES), (i + 1) * len(ENERGIES)):
            last = int(self.energy.last_t[row])
            self.energy.drop(row)
            if last != NEVER and last < change:  # the reading at the change itself belongs to both sides
                self.energy.last_t[row] = NEVER
                self._contradict(i, last)
            elif last != NEVER:
                kept.append(row)
        for row in range(i * len(POWERS), (i + 1) * len(POWERS)):
            self.power.drop(row)
            self.power.last_t[row] = NEVER
        self.closing.broke(i, change, "archive_change")
        return kept

    def _break(self, i: int, t_ms: Ms, reason: str) -> None:
        for columns, per in ((self.energy, len(ENERGIES)), (self.power, len(POWERS))):
            for row in range(i * per, (i + 1) * per):
                columns.drop(row)
                columns.last_t[row] = NEVER
        for row in range(i * len(ENERGIES), (i + 1) * len(ENERGIES)):
            self._suspects.pop(row, None)
        self._contradict(i, t_ms)
        self.closing.restart(i)
        self.closing.broke(i, t_ms, reason)

    def _contradict(self, i: int, t_ms: Ms) -> None:
        point = self.points[i].id
        self._contradicted[point] = max(t_ms, self._contradicted.get(point, t_ms))

    # -- what survives a restart --------------------------------------------------------------------------------

    def delta(self) -> dict[str, Any]:
        """What changed since the last call, as plain data; `restore` takes all of them in order."""
        per_e, per_p = len(ENERGIES), len(POWERS)
        return {
            "points": [p.id for p in self.points],
            "made": [_made(p) for p in self.points],
            "dropped": [self.energy.take_dropped(), self.power.take_dropped()],
            "anchors": [
                [self.energy.anchor(r) for r in range(i * per_e, (i + 1) * per_e)]
                + [self.power.anchor(r) for r in range(i * per_p, (i + 1) * per_p)]
                for i in range(len(self.points))
            ],
            "energy": self.energy.take_written(),
            "power": self.power.take_written(),
            "closing": self.closing.dump(),
            "suspects": [[row, s.t_ms, s.value, s.step] for row, s in self._suspects.items()],
            "serial": self._serial,
            "pending": [
                [e.point, e.device, e.quantity.value, e.kind, e.before, e.after, e.before_ms, e.after_ms, e.confirmed]
                for e in self._pending
            ],
        }

    def restore(self, deltas: Iterable[Mapping[str, Any]]) -> None:
        """Take up where the last commit left off; each is let go of before the next is asked for.

        Points that are no longer configured are passed over; one with another meter or another grid begins anew.
        """
        per_e, per_p = len(ENERGIES), len(POWERS)
        last: Mapping[str, Any] | None = None
        for delta in deltas:
            last = delta
            place = self._place(delta)
            dropped_e, dropped_p = delta["dropped"]
            for columns, per, name, dropped in (
                (self.energy, per_e, "energy", dropped_e),
                (self.power, per_p, "power", dropped_p),
            ):
                for row in dropped:
                    if row // per in place:
                        columns.drop(place[row // per] * per + row % per)
                for row, g, *values in delta[name]:
                    if row // per in place:
                        columns.set_written(place[row // per] * per + row % per, g, values)
        if last is None:
            return
        place = self._place(last)
        for old, new in place.items():
            for j, anchor in enumerate(last["anchors"][old]):
                if j < per_e:
                    self.energy.set_anchor(new * per_e + j, anchor)
                else:
                    self.power.set_anchor(new * per_p + j - per_e, anchor)
        self.closing.load(last["closing"], place)
        self._suspects = {
            place[row // per_e] * per_e + row % per_e: Suspect(t, v, s, None)
            for row, t, v, s in last["suspects"]
            if row // per_e in place
        }
        self._serial = dict(last["serial"])
        self._pending = [
            RegisterEvent(p, d, Quantity(q), kind, before, after, t0, t1, ok, False)
            for p, d, q, kind, before, after, t0, t1, ok in last["pending"]
            if p in self._index
        ]
        for columns in (self.energy, self.power):
            columns.take_dropped()

    def _place(self, delta: Mapping[str, Any]) -> dict[int, int]:
        """From a point's number in a delta to its number now, where it is still the same meter on the same grid."""
        return {
            old: self._index[point]
            for old, (point, made) in enumerate(zip(delta["points"], delta["made"], strict=True))
            if point in self._index and list(made) == _made(self.points[self._index[point]])
        }


def _made(point: LoadPoint) -> list[Any]:
    """What boundaries and readings of a point rest on: those of another meter or grid mean something else."""
    return [point.device, point.period_ms, point.slide_ms, point.grid_offset_ms]


def _with(event: RegisterEvent, *, kind: str, serial_known: bool) -> RegisterEvent:
    return RegisterEvent(
        event.point, event.device, event.quantity, kind, event.before, event.after, event.before_ms, event.after_ms,
        event.confirmed, serial_known, event.before_frame, event.after_frame,
    )  # fmt: skip


__all__ = ["Ints", "LoadLedger", "Source"]
