"""The matrix of DLMS peers: who read whom, over which link, in which association, and how each step of it went.

A cell is `ok`, `cannot` (the peer has no way to do it: counted, never as a pass) or a fault with its owner. What is
known beforehand stands in the tests, so that a cell which goes otherwise fails, better or worse.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from tests.figures import report

STEPS = ("association", "single reads", "list of 12", "day in blocks", "range", "entries", "release")
OK, CANNOT = "ok", "peer cannot"


class Way(NamedTuple):
    """A link and an association: `wrapper` or `HDLC`; `none`, `LLS`, `GMAC glo` or `GMAC general-glo`."""

    link: str
    association: str

    @property
    def on_line(self) -> bool:
        return self.link == "HDLC"

    @property
    def kind(self) -> str:
        return self.association.partition(" ")[0].lower()

    @property
    def wrap(self) -> str:
        return self.association.partition(" ")[2] or "glo"

    @property
    def ciphered(self) -> bool:
        return self.kind == "gmac"

    @property
    def sap(self) -> int:
        """The client: in our simulated meter, and in the peer's."""
        return {"none": 1, "lls": 2, "gmac": 3}[self.kind]

    def __str__(self) -> str:
        return f"{self.link}, {self.association}"


WAYS = [Way(link, a) for link in ("wrapper", "HDLC") for a in ("none", "LLS", "GMAC glo", "GMAC general-glo")]


@dataclass
class Row:
    """One reader, one meter, one way. `cannot`: what the peer has no means for, and why."""

    reader: str
    meter: str
    way: Way
    cannot: Mapping[str, str] = field(default_factory=dict)
    cells: dict[str, str] = field(default_factory=dict)

    def step(self, name: str, shown: Callable[[], object]) -> None:
        """`shown` proves the step: an AssertionError's words say whose fault it is and why."""
        assert name in STEPS
        assert name not in self.cannot, f"{self}: {name} has a proof, and the peer cannot: {self.cannot[name]}"
        try:
            shown()
        except AssertionError as error:
            self.cells[name] = str(error) or "fault"
        else:
            self.cells[name] = OK

    def close(self) -> None:
        """Say the row; every step has gone well, or is one that the peer cannot do."""
        whole = {name: self.cells.get(name, CANNOT if name in self.cannot else "not tried") for name in STEPS}
        said = {name.replace(" ", "_"): cell if cell in {OK, CANNOT} else "FAULT" for name, cell in whole.items()}
        went = list(said.values())
        report(f"DLMS {self}", **said, shown=f"{went.count(OK)} of {len(STEPS)}", cannot=went.count(CANNOT))
        print(f"{self}: " + ", ".join(f"{name} {cell}" for name, cell in said.items()))
        wrong = {name: cell for name, cell in whole.items() if cell not in {OK, CANNOT}}
        assert not wrong, f"{self}: {wrong}"

    def __str__(self) -> str:
        return f"{self.reader} reads {self.meter}, {self.way}"
