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
from zoneinfo import ZoneInfo

from edge_agent.model import Ms, Quantity

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


class ReplayError(Exception):
    """The file cannot be replayed: says the line, the column and what would be right."""


@dataclass(frozen=True, slots=True)
class Rows:
    """`times_ms`: UTC, end of each row; `values`: per row, quantity -> W, var, VA, Wh or varh (absent where empty)."""

    step_ms: Ms
    quantities: frozenset[Quantity]
    times_ms: list[Ms]
    values: list[dict[Quantity, float]]

    def __len__(self) -> int:
        return len(self.times_ms)


def read_rows(path: Path, *, tz: ZoneInfo | None, stamp: str) -> Rows:
    """Raises `ReplayError`. `stamp`: whether `time` is the "start" or the "end" of its row."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            lines = (line for line in file if not line.startswith("#"))
            reader = csv.DictReader(lines)
            columns = _columns(reader.fieldnames, path)
            raw = list(_parse(reader, columns, path))
    except FileNotFoundError:
        raise ReplayError(f"{path}: no such file") from None
    except (OSError, UnicodeDecodeError, csv.Error) as wrong:
        raise ReplayError(f"{path}: cannot be read as UTF-8 CSV: {wrong}") from None
    if len(raw) < 2:
        raise ReplayError(f"{path}: {len(raw)} rows; at least two are needed to know how long a row is")
    times = list(_utc(((n, t) for n, t, _ in raw), tz, path))
    step_ms = Counter(b - a for a, b in pairwise(times)).most_common(1)[0][0]
    if stamp == "start":
        times = [t + step_ms for t in times]
    return Rows(step_ms, frozenset(q for q, _ in columns.values()), times, [values for _, _, values in raw])


def _columns(names: Iterable[str] | None, path: Path) -> dict[str, tuple[Quantity, float]]:
    given = [n.strip() for n in names or ()]
    if len(given) == 1 and ";" in given[0]:
        raise ReplayError(f"{path}: columns are separated by semicolons; save it with commas, and a point in numbers")
    if "time" not in given:
        raise ReplayError(f"{path}: no column named time; the first line must name the columns: time,p_kw,q_kvar ...")
    columns: dict[str, tuple[Quantity, float]] = {}
    for name in given:
        if name == "time":
            continue
        if name.lower() not in COLUMNS:
            raise ReplayError(
                f"{path}: column {name!r} is not known; quantities carry their unit: {', '.join(sorted(COLUMNS))}"
            )
        columns[name] = COLUMNS[name.lower()]
    twice = [q for q, count in Counter(q for q, _ in columns.values()).items() if count > 1]
    if twice or not columns:
        raise ReplayError(f"{path}: {f'{twice[0].value} is given twice' if twice else 'no quantity beside time'}")
    return columns


def _parse(
    reader: csv.DictReader[str], columns: dict[str, tuple[Quantity, float]], path: Path
) -> Iterator[tuple[int, datetime, dict[Quantity, float]]]:
    for row in reader:
        line = reader.line_num
        try:
            at = datetime.fromisoformat((row["time"] or "").strip())
        except ValueError:
            raise ReplayError(f"{path}: line {line}: time {row['time']!r} is not ISO 8601 (2026-03-29 02:15)") from None
        values: dict[Quantity, float] = {}
        for name, (quantity, factor) in columns.items():
            text = (row.get(name) or "").strip()
            if not text:
                continue  # an empty cell is a value that is missing
            try:
                number = float(text)
            except ValueError:
                raise ReplayError(f"{path}: line {line}: {name} is {text!r}, must be a number or empty") from None
            if isfinite(number):
                values[quantity] = number * factor
        yield line, at, values


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
            raise ReplayError(f"{path}: line {line}: {at} is not after the row before it")
        before = utc
        yield int((utc - datetime(1970, 1, 1, tzinfo=UTC)) / timedelta(milliseconds=1))
