"""From a plan to what the core says: batches of customers, played in processes of their own.

Every case has a seed that follows from what it is, so that a single one can be played again.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from tests.truth.customer import Customer, drawn
from tests.truth.faults import Happening
from tests.truth.kinds import KINDS, Kind
from tests.truth.load import load_of
from tests.truth.meter import World
from tests.truth.play import Disturbed, Played, Story, play
from tests.truth.profiles import Floats

BY_NAME = {k.name: k for k in KINDS}
CLEAN_EVERY_S, CLEAN_SUB = 900, 15
QUICK_EVERY_S, QUICK_SUB = 60, 3


@dataclass(frozen=True)
class Batch:
    """Cases that are played side by side: all of one kind ("" clean), one first day, one cadence."""

    kind: str
    numbers: tuple[int, ...]
    shapes: tuple[str, ...]
    first_day: int
    days: int
    every_s: int
    sub: int
    disturbed: bool = False

    @property
    def name(self) -> str:
        """What this batch is, for the record of what has been played."""
        how = "disturbed" if self.disturbed else "plain"
        when = f"{self.first_day}+{self.days}x{self.every_s}"
        return f"{self.kind or 'clean'}/{how}/{when}/{self.numbers[0]}-{self.numbers[-1]}"


def batches_of(
    kind: Kind | None, count: int, shapes: Sequence[str], *, size: int, days: int | None = None, every_s: int = 0,
    disturbed: bool = False,
) -> Iterator[Batch]:  # fmt: skip
    """So many cases of a kind (None: clean), spread over the load classes and the year."""
    name = kind.name if kind else ""
    step_s = every_s or (kind.every_s if kind else CLEAN_EVERY_S)
    sub = kind.sub if kind and step_s == kind.every_s else {CLEAN_EVERY_S: CLEAN_SUB}.get(step_s, QUICK_SUB)
    length = days or (kind.days if kind else 366)
    for at in range(0, count, size):
        numbers = tuple(range(at, min(at + size, count)))
        rng = np.random.default_rng([zlib.crc32(name.encode()), at, 7])
        low, high = kind.first_day if kind else (0, 366 - min(length, 366))
        first = 0 if high <= low else int(rng.integers(low, high))
        shapes = [s for s in shapes if not kind or not kind.shapes or s in kind.shapes] or shapes
        names = tuple(shapes[(n + zlib.crc32(name.encode())) % len(shapes)] for n in numbers)
        yield Batch(name, numbers, names, first, length, step_s, sub, disturbed)


def staged(batch: Batch, shapes: dict[str, Floats]) -> list[tuple[World, Happening | None]]:
    """The worlds of one batch, and what happens in each: the same however often they are made."""
    kind = BY_NAME.get(batch.kind)
    out: list[tuple[World, Happening | None]] = []
    for number, shape in zip(batch.numbers, batch.shapes, strict=True):
        customer = _customer(batch, number, shape, kind)
        rng = np.random.default_rng([customer.seed, 6])
        load = load_of(customer, shapes[shape], first_day=batch.first_day, days=batch.days, sub=batch.sub)
        world = World(customer, load)
        out.append((world, kind.apply(world, rng) if kind else None))
    return out


def played(batch: Batch, shapes: dict[str, Floats]) -> list[Played]:
    """The cases of one batch through one core. Whether what it says is so is another question (`results`)."""
    stories = [Story(world, happening.table if happening else {}) for world, happening in staged(batch, shapes)]
    return play(stories, Disturbed() if batch.disturbed else None)


def _customer(batch: Batch, number: int, shape: str, kind: Kind | None) -> Customer:
    seed = zlib.crc32(f"{batch.kind}/{shape}/{number}".encode())
    slide = kind.slide_min if kind else (15 if batch.every_s > 60 else 5)
    customer = drawn(f"{batch.kind or 'clean'}-{number}", shape, seed, every_s=batch.every_s, slide_min=slide)
    if kind is None:
        return customer
    return kind.change(customer, np.random.default_rng([seed, 8]))
