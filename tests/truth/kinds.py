"""Irregularities and faults, each on a real load profile, and which topics ought to speak of them.

`must`: any of these topics; `may`: these may speak as well, because what they say is so too. Everything else that is
said about the point is an accusation that is not so, unless the load itself makes it true (`tests.truth.judge`).
"""

from __future__ import annotations

from dataclasses import dataclass

from tests.truth.faults import (
    Apply,
    Change,
    as_drawn,
    counter,
    curr_loss,
    decrease,
    drifts,
    element_lost,
    fine,
    fly,
    gappy,
    generates,
    grows,
    larger_exists,
    near,
    off,
    outage,
    over,
    phase_break,
    ratio,
    reversed,
    same,
    serial,
    setting,
    silent,
    small_ct,
    stop,
    suspended,
    unmetered,
    volt_loss,
)


@dataclass(frozen=True)
class Kind:
    """`must`: any of these topics; `days` at one reading every `every_s`; `sub`: steps of truth in between.

    `short`: why the inputs may not suffice in some of the cases. `patience_days`: so much later is still found.
    `needs`: what the load must give for that: ("current", share of In), ("spread", share of In), ("flow", Wh a day),
    ("block", Wh in two blocks in a row), ("margin", share of the contract beyond it), ("step", least P95 of days).
    `shapes`: only these load classes. `times`: so many times the cases, where few of them suffice.
    """

    name: str
    says: str
    must: tuple[str, ...]
    routes: tuple[str, ...]
    apply: Apply
    days: int = 2
    every_s: int = 60
    sub: int = 3
    change: Change = same
    may: tuple[str, ...] = ()
    patience_days: float = 1.0
    short: str = ""
    slide_min: int = 15
    first_day: tuple[int, int] = (0, 300)
    needs: tuple[str, float] = ("", 0.0)
    shapes: tuple[str, ...] = ()
    times: int = 1


FLAT = ("BL-H", "G2-A", "G3-A", "G3-H", "G3-M", "G4-H", "H0-H", "WB-H")
"""Load classes whose days stay near their peak for long."""

METERING, INSPECTION = ("metering",), ("customer-inspection",)

KINDS = (
    Kind(
        "ratio",
        "transformers of another ratio than the archive's",
        ("met-ratio-mismatch",),
        ("metering", "archive"),
        ratio,
        days=8,
        every_s=900,
        sub=15,
        change=larger_exists,
        may=("tar-archive-mismatch",),
        patience_days=8,
        needs=("spread", 0.32),
        short="three days in a row must spread the currents over 30 % of In, with the day before each",
        times=5,
    ),
    Kind(
        "unmetered",
        "40 A that the meter does not see",
        ("met-unmetered-current",),
        METERING,
        unmetered,
        days=10,
        every_s=900,
        sub=15,
        change=small_ct,
        patience_days=8,
        needs=("spread", 0.32),
        short="three days in a row must spread the currents over 30 % of In, with the day before each",
        times=2,
    ),
    Kind(
        "volt-loss",
        "a phase's voltage is lost at the meter",
        ("met-volt-loss",),
        METERING,
        volt_loss,
        change=fine,
        needs=("current", 0.02),
        short="the phase must carry current",
    ),
    Kind(
        "curr-loss",
        "a phase's current is lost at the meter",
        ("met-curr-loss",),
        METERING,
        curr_loss,
        change=fine,
        may=("met-unbalance-i",),
        needs=("current", 0.07),
        short="another phase must carry more than 5 % of In",
    ),
    Kind(
        "phase-break",
        "a phase has neither voltage nor current",
        ("met-phase-break",),
        METERING,
        phase_break,
        change=fine,
        may=("met-unbalance-i",),
    ),
    Kind(
        "reversed",
        "a current transformer is reversed",
        ("met-reverse", "met-power-consistency"),
        METERING,
        reversed,
        change=fine,
        needs=("current", 0.02),
        may=("met-reverse", "met-power-consistency"),
    ),
    Kind(
        "element",
        "an element counts nothing",
        ("met-power-consistency",),
        METERING,
        element_lost,
        change=fine,
        needs=("current", 0.06),
        short="only above 5 % of In and a power factor of 0.5",
    ),
    Kind(
        "stop",
        "the register stands still",
        ("met-stop",),
        METERING,
        stop,
        change=fine,
        needs=("flow", 1000.0),
        may=("met-energy-error",),
        short="0.1 kWh on the meter's side must be due",
    ),
    Kind(
        "fly",
        "the register flies",
        ("met-fly",),
        METERING,
        fly,
        change=fine,
        needs=("block", 10.0),
        may=("met-energy-error",),
        short="more than 0.01 kWh on the meter's side must be due in a block of the demand period",
    ),
    Kind(
        "energy-error",
        "the register is off by 9 to 20 %",
        ("met-energy-error",),
        METERING,
        off,
        days=5,
        change=fine,
        patience_days=5,
        needs=("flow", 1500.0),
        short="1 kWh on the meter's side must flow in a day",
    ),
    Kind("decrease", "the register falls", ("met-decrease",), METERING, decrease, every_s=900, sub=15, change=fine),
    Kind(
        "cover",
        "a cover is opened",
        ("met-cover",),
        METERING,
        counter("cover_open", "terminal_cover_open"),
        every_s=900,
        sub=15,
    ),
    Kind(
        "magnet",
        "a magnet is held to the meter",
        ("met-magnetic",),
        METERING,
        counter("magnetic"),
        every_s=900,
        sub=15,
    ),
    Kind(
        "programmed",
        "the meter is programmed or reset",
        ("met-param-change",),
        METERING,
        counter("programming", "meter_reset", "demand_reset"),
        every_s=900,
        sub=15,
    ),
    Kind(
        "over-103",
        "1 to 5 % over the contract",
        ("cap-over-contract",),
        INSPECTION,
        as_drawn,
        days=3,
        change=over(1.01, 1.05),
        patience_days=3,
        needs=("margin", 1.0),
        short="a block must be over by two steps of its registers, and by the powers at its readings as well",
        times=3,
    ),
    Kind(
        "over-115",
        "10 to 25 % over the contract",
        ("cap-over-contract",),
        INSPECTION,
        as_drawn,
        days=3,
        change=over(1.10, 1.25),
        patience_days=3,
        needs=("margin", 1.0),
    ),
    Kind(
        "demand-over",
        "8 to 25 % over the contracted demand",
        ("cap-demand-over",),
        ("billing",),
        as_drawn,
        days=3,
        change=over(1.08, 1.25, by_demand=True),
        patience_days=3,
        needs=("margin", 1.05),
    ),
    Kind(
        "step-12",
        "the load grows by 12 % at once",
        ("cap-expansion-suspect",),
        INSPECTION,
        grows(1.12),
        days=80,
        every_s=900,
        sub=15,
        change=near(0.92),
        patience_days=32,
        first_day=(0, 280),
        short="the level since must be 1.10 of the one before and the P95 of days 0.95 of the contract",
        needs=("step", 0.95),
        shapes=FLAT,
        times=2,
    ),
    Kind(
        "step-20",
        "the load grows by 20 % at once",
        ("cap-expansion-suspect",),
        INSPECTION,
        grows(1.20),
        days=80,
        every_s=900,
        sub=15,
        change=near(0.90),
        patience_days=32,
        first_day=(0, 280),
        short="the P95 of days must reach 0.95 of the contract",
        needs=("step", 0.95),
        shapes=FLAT,
        times=2,
    ),
    Kind(
        "suspended",
        "a suspended fortnight is used",
        ("cap-suspended-use",),
        INSPECTION,
        suspended,
        days=20,
        every_s=900,
        sub=15,
        patience_days=2,
    ),
    Kind("exchanged", "another meter hangs there", ("dat-unknown-meter",), ("archive",), serial, every_s=900, sub=15),
    Kind(
        "wrong-archive",
        "the meter is set otherwise than the archive says",
        ("tar-archive-mismatch", "met-ratio-mismatch"),
        ("archive", "metering"),
        setting,
        every_s=900,
        sub=15,
        may=("tar-archive-mismatch", "met-ratio-mismatch"),
        days=5,
        patience_days=5,
    ),
    Kind(
        "clock",
        "the clock drifts",
        ("dat-clock",),
        ("collection",),
        drifts,
        days=3,
        every_s=900,
        sub=15,
        patience_days=2,
    ),
    Kind("silent", "the meter does not answer", ("dat-comm",), ("collection",), silent, may=("dat-missing",)),
    Kind(
        "gappy",
        "half of a day's readings are missing",
        ("dat-missing",),
        ("collection",),
        gappy,
        days=3,
        every_s=300,
        sub=5,
        may=("dat-comm",),
        patience_days=2,
    ),
    Kind("outage", "the supply fails", ("pq-outage",), METERING, outage),
    Kind(
        "generation",
        "generation that nobody declared",
        ("tar-export-undeclared",),
        ("archive",),
        generates,
        days=5,
        every_s=300,
        sub=5,
        first_day=(90, 250),
        may=("met-reverse",),
        patience_days=5,
    ),
)
