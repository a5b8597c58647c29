"""The table of a bench run: what, ours, the other, their ratio, the goal, and whether it was met."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, TextIO


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured figure. `at_most` and `at_least` bind the ratio to the peer where there is one, else the figure."""

    what: str
    unit: str
    ours: float | None
    peer: float | None = None
    at_most: float | None = None
    at_least: float | None = None

    @property
    def ratio(self) -> float | None:
        return self.ours / self.peer if self.ours is not None and self.peer else None

    @property
    def met(self) -> bool | None:
        """None: there is no goal, or nothing was measured."""
        judged = self.ratio if self.peer is not None else self.ours
        if judged is None or (self.at_most is None and self.at_least is None):
            return None
        return judged <= (self.at_most or judged) and judged >= (self.at_least or judged)

    @property
    def goal(self) -> str:
        bounds = [f"<= {_short(self.at_most)}"] if self.at_most is not None else []
        bounds += [f">= {_short(self.at_least)}"] if self.at_least is not None else []
        if not bounds:
            return ""
        return " ".join(bounds) + (" x" if self.peer is not None else f" {self.unit}")

    def plain(self) -> dict[str, Any]:
        return {
            "what": self.what,
            "unit": self.unit,
            "ours": self.ours,
            "peer": self.peer,
            "ratio": self.ratio,
            "goal": self.goal,
            "met": self.met,
        }


@dataclass(slots=True)
class Table:
    """Figures as they come in, with notes on how each was measured."""

    figures: list[Figure] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def add(self, figure: Figure) -> None:
        self.figures.append(figure)

    def note(self, text: str) -> None:
        self.notes.append(text)

    def show(self, out: TextIO) -> None:
        head = ("what", "ours", "peer", "ratio", "goal", "met")
        rows = [head, *(_row(f) for f in self.figures)]
        widths = [max(len(row[i]) for row in rows) for i in range(len(head))]
        for row in rows:
            first, *rest = row
            cells = [first.ljust(widths[0]), *(c.rjust(w) for c, w in zip(rest, widths[1:], strict=True))]
            out.write("  ".join(cells).rstrip() + "\n")
        for note in self.notes:
            out.write(f"{note}\n")

    def plain(self) -> dict[str, Any]:
        return {"figures": [f.plain() for f in self.figures], "notes": self.notes}


def _row(figure: Figure) -> tuple[str, ...]:
    met = {None: "", True: "met", False: "NOT MET"}[figure.met]
    ours = "not measured" if figure.ours is None else f"{_short(figure.ours)} {figure.unit}"
    peer = "" if figure.peer is None else f"{_short(figure.peer)} {figure.unit}"
    ratio = "" if figure.ratio is None else f"{figure.ratio:.2f} x"
    return figure.what, ours, peer, ratio, figure.goal, met


def _short(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
