"""A CSV file of load data: `time` and quantities named with their unit.

Powers (`p_kw`, `q_kvar`, `s_kva` ...) are means over their row, primary side, as a utility's data system exports them.
Energies (`e_kwh` ...) are register readings as the meter showed them. Times are ISO 8601; without an offset they are
local to a given zone, and the hour that a zone repeats in autumn is told apart by the order of the rows.
"""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from math import isfinite
from pathlib import Path
from typing import NamedTuple
from zoneinfo import ZoneInfo

from edge_agent.model import CUMULATIVE, Ms, Quantity

COLUMNS: dict[str, tuple[Quantity, float]] = {
    f"{name}_{prefix}{unit}": (quantity, factor)
    for name, unit, quantity in (
        ("p", "w", Quantity.ACTIVE_POWER),
        ("q", "var", Quantity.REACTIVE_POWER),
        ("s", "va", Quantity.APPARENT_POWER),
        ("e", "wh", Quantity.ACTIVE_ENERGY_IMPORT),
        ("ee", "wh", Quantity.ACTIVE_ENERGY_EXPORT),
        ("eq", "varh", Quantity.REACTIVE_ENERGY_IMPORT),
        ("eqe", "varh", Quantity.REACTIVE_ENERGY_EXPORT),
    )
    for prefix, factor in (("", 1.0), ("k", 1e3), ("m", 1e6))
}
"""Column name -> quantity and the factor to W, var, VA, Wh, varh."""


class Column(NamedTuple):
    """What the cells of one column are; `quantity` None: the time."""

    name: str
    quantity: Quantity | None
    factor: float


class ReplayError(Exception):
    """The file cannot be replayed: says the line, the column and what would be right."""


@dataclass(frozen=True, slots=True)
class Rows:
    """`times_ms`: UTC, end of each row; `values`: per row, quantity -> W, var, VA, Wh or varh (absent where empty)."""

    step_ms: Ms
    quantities: frozenset[Quantity]
    times_ms: list[Ms]
    values: list[dict[Quantity, float]]

    @property
    def powers(self) -> frozenset[Quantity]:
        return self.quantities - CUMULATIVE

    def __len__(self) -> int:
        return len(self.times_ms)


def read_rows(path: Path, *, tz: ZoneInfo | None, stamp: str) -> Rows:
    """Raises `ReplayError`. `stamp`: whether `time` is the "start" or the "end" of its row."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            lines = _numbered(file)
            _, head = next(lines, (0, []))
            columns = _columns(head, path)
            raw = [(n, *_row(n, cells, columns, path)) for n, cells in lines]
    except FileNotFoundError:
        raise ReplayError(f"{path}: no such file") from None
    except OSError as wrong:
        raise ReplayError(f"{path}: cannot be read: {wrong.strerror or wrong}") from None
    except (UnicodeDecodeError, csv.Error) as wrong:
        raise ReplayError(f"{path}: cannot be read as UTF-8 CSV: {wrong}") from None
    if len(raw) < 2:
        raise ReplayError(f"{path}: {len(raw)} row(s) of data; at least two are needed to know how long a row is")
    times = list(_utc(((n, t) for n, t, _ in raw), tz, path))
    step_ms = Counter(b - a for a, b in pairwise(times)).most_common(1)[0][0]
    quantities = frozenset(c.quantity for c in columns if c.quantity is not None)
    if quantities - CUMULATIVE:
        _on_grid(times, [n for n, _, _ in raw], step_ms, path)
    if stamp == "start":
        times = [t + step_ms for t in times]
    return Rows(step_ms, quantities, times, [values for _, _, values in raw])


def _numbered(file: Iterable[str]) -> Iterator[tuple[int, list[str]]]:
    """Lines of cells with the number that an editor shows; blank lines and comments are passed over."""
    number = 0

    def without_comments() -> Iterator[str]:
        nonlocal number
        for line in file:
            number += 1
            if not line.startswith("#"):
                yield line

    for cells in csv.reader(without_comments()):
        if cells:
            yield number, [cell.strip() for cell in cells]


def _columns(names: list[str], path: Path) -> list[Column]:
    """One per cell of a line. `time` has no quantity."""
    if not names:
        raise ReplayError(f"{path}: is empty; the first line must name the columns: time,p_kw,q_kvar ...")
    for mark, called in ((";", "semicolons"), ("\t", "tabs")):
        if len(names) == 1 and mark in names[0]:
            raise ReplayError(f"{path}: columns are separated by {called}; save it with commas, and a point in numbers")
    if "time" not in names:
        raise ReplayError(f"{path}: no column named time; the first line must name the columns: time,p_kw,q_kvar ...")
    columns: list[Column] = []
    for name in names:
        if name != "time" and name.lower() not in COLUMNS:
            raise ReplayError(
                f"{path}: column {name!r} is not known; quantities carry their unit: {', '.join(sorted(COLUMNS))}"
            )
        columns.append(Column(name, None, 1.0) if name == "time" else Column(name, *COLUMNS[name.lower()]))
    twice = [q for q, count in Counter(c.quantity for c in columns).items() if count > 1]
    if twice:
        raise ReplayError(f"{path}: {twice[0].value if twice[0] else 'time'} is given twice")
    if len(columns) == 1:
        raise ReplayError(f"{path}: no quantity beside time; known are {', '.join(sorted(COLUMNS))}")
    return columns


def _row(line: int, cells: list[str], columns: list[Column], path: Path) -> tuple[datetime, dict[Quantity, float]]:
    if len(cells) != len(columns):
        raise ReplayError(
            f"{path}: line {line}: {len(cells)} cells where the first line names {len(columns)} columns; "
            "numbers have a point, not a comma, and no cell is left out at the end"
        )
    at: datetime | None = None
    values: dict[Quantity, float] = {}
    for (name, quantity, factor), text in zip(columns, cells, strict=True):
        if quantity is None:
            at = _instant(line, text, path)
        elif text:  # an empty cell is a value that is missing
            try:
                number = float(text)
            except ValueError:
                raise ReplayError(f"{path}: line {line}: {name} is {text!r}, must be a number or empty") from None
            if isfinite(number):
                values[quantity] = number * factor
    assert at is not None
    return at, values


def _instant(line: int, text: str, path: Path) -> datetime:
    try:
        if text[10:16] in {" 24:00", "T24:00"}:  # the end of a day, as ISO 8601 has it too
            return datetime.fromisoformat(f"{text[:11]}00:00{text[16:]}") + timedelta(days=1)
        return datetime.fromisoformat(text)
    except ValueError:
        raise ReplayError(f"{path}: line {line}: time {text!r} is not ISO 8601 (2026-03-29 02:15)") from None


def _on_grid(times: list[Ms], lines: list[int], step_ms: Ms, path: Path) -> None:
    """A mean over a row can be set beside another only where rows neither overlap nor lie between each other."""
    for at_ms, line in zip(times, lines, strict=True):
        if (at_ms - times[0]) % step_ms:
            raise ReplayError(
                f"{path}: line {line}: most rows are {step_ms / 60_000:g} min long, and this one is not a whole number "
                "of them after the first"
            )


def _utc(stamps: Iterable[tuple[int, datetime]], tz: ZoneInfo | None, path: Path) -> Iterator[Ms]:
    """UTC ms of each row; the second pass through a repeated hour is known by the order of the rows."""
    before: datetime | None = None
    for line, at in stamps:
        if at.tzinfo is None:
            if tz is None:
                raise ReplayError(f"{path}: line {line}: time {at} has no offset; say whose local time it is with --tz")
            first = at.replace(tzinfo=tz).astimezone(UTC)
            again = at.replace(tzinfo=tz, fold=1).astimezone(UTC)
            utc = first if before is None or first > before else again
            if utc.astimezone(tz).replace(tzinfo=None) != at:
                raise ReplayError(f"{path}: line {line}: {at} does not exist in {tz.key} (clocks were put forward)")
        else:
            utc = at.astimezone(UTC)
        if before is not None and utc <= before:
            raise ReplayError(f"{path}: line {line}: {at} is not after the row before it; rows go by time")
        before = utc
        yield int((utc - datetime(1970, 1, 1, tzinfo=UTC)) / timedelta(milliseconds=1))
