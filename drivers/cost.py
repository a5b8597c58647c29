"""What a question costs on a line, and whether a line carries all of its questions; arithmetic, nothing else.

A character takes the time of its bits, frames are told apart by silence, and a device takes its time to answer. On TCP
the round trip is all that can be known: what a register costs behind a gateway, the gateway does not say.

Source: MODBUS over Serial Line V1.02, 2.5.1.1 (silences); K. Jeffay, D. F. Stanat, C. U. Martel, "On Non-Preemptive
Scheduling of Periodic and Sporadic Tasks", RTSS 1991 (deadlines).
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple, Self

from drivers.link.framing import framing_of
from edge_agent.model import LinkSpec

SERIAL_TURNAROUND_S = 0.020
"""From the last character of a question to the first of its answer, until the device has shown its own."""

TCP_ROUND_TRIP_S = 0.005

_US = 1_000_000


@dataclass(frozen=True, slots=True)
class LineCost:
    """What questions cost one device on one link, in seconds.

    `request_chars` and `reply_chars` are what a question and its answer carry beside the values, in the framing that is
    spoken there. `question_registers` says what a question is worth in registers where the wire does not tell.
    """

    char_s: float
    silence_s: float
    turnaround_s: float
    request_chars: int = 0
    reply_chars: int = 0
    question_registers: int | None = None

    @classmethod
    def on(cls, link: LinkSpec, turnaround_s: float | None = None) -> Self:
        """The line without a protocol; `turnaround_s` as measured on the device, None: not yet."""
        framing = framing_of(link)
        if framing is None:
            return cls(0.0, 0.0, TCP_ROUND_TRIP_S if turnaround_s is None else turnaround_s)
        usual_s = SERIAL_TURNAROUND_S + (TCP_ROUND_TRIP_S if link.kind == "tcp-serial" else 0.0)
        return cls(framing.char_s, framing.silence_s, usual_s if turnaround_s is None else turnaround_s)

    @property
    def per_register_s(self) -> float:
        """Of a register that is read for nothing: two characters."""
        if self.question_registers is None:
            return 2 * self.char_s
        return self.per_question_s / self.question_registers

    @property
    def per_question_s(self) -> float:
        """Of another question, before its first register."""
        return self.round_trip_s(self.request_chars, self.reply_chars)

    def round_trip_s(self, sent: int, expected: int) -> float:
        """Of a question of `sent` characters whose answer has `expected`: until the next may follow."""
        return (sent + expected) * self.char_s + 2 * self.silence_s + self.turnaround_s


class Job(NamedTuple):
    """A question that occupies the line for `takes_s`, every `every_s`."""

    takes_s: float
    every_s: float


class Overrun(NamedTuple):
    """Within `within_s` of being due, more is due than the line can carry: `needs_s`; both infinite: it never ends."""

    within_s: float
    needs_s: float


def utilisation(jobs: Iterable[Job]) -> float:
    """The share of the time in which the line is occupied; above 1 it falls behind for ever."""
    return math.fsum(job.takes_s / job.every_s for job in jobs)


def overrun(jobs: Iterable[Job], *, blocked_s: float = 0.0) -> Overrun | None:
    """The first stretch in which a question misses its next slot, at worst; None: none ever does.

    Every question must be answered before it falls due again; the most urgent goes first, and one that has begun is
    not broken off. `blocked_s`: something else may hold the line for so long, a device that keeps silent.
    """
    sums: dict[int, int] = {}  # by period, in microseconds: all that falls due together, and the longest of it
    longest: dict[int, int] = {}
    for job in jobs:
        every, takes = round(job.every_s * _US), math.ceil(job.takes_s * _US)
        sums[every] = sums.get(every, 0) + takes
        longest[every] = max(longest.get(every, 0), takes)
    periods = sorted(sums)
    silent = round(blocked_s * _US)
    ends = sorted({k * p for p in periods for k in range(1, periods[-1] // p + 1)}) if periods else []
    for end in ends:
        # What may have just begun: of all that is not yet due within this stretch, the longest.
        begun = max((longest[p] for p in periods if p > end), default=0)
        needs = max(begun, silent) + sum(end // p * sums[p] for p in periods)
        if needs > end:
            return Overrun(end / _US, needs / _US)
    if sum(taken / every for every, taken in sums.items()) > 1:
        return Overrun(math.inf, math.inf)  # too slowly to show within the longest period
    return None
