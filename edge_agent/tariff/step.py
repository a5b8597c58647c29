"""阶梯电价: a household's energy of the calendar year, in steps that grow dearer."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal

from edge_agent.tariff.estimate import Estimate, Said, priced, tidy
from edge_agent.tariff.rule import StepTariff

MONTHS = 12
ZERO = Decimal(0)


@dataclass(frozen=True, slots=True)
class Standing:
    """On which step a household stands: `number` from 1, how much is left to the next; None on the last."""

    number: int
    up_to_kwh: Decimal | None
    left_kwh: Decimal | None


def limits_kwh(step: StepTariff, *, persons: int | None = None, months: int = MONTHS) -> tuple[Decimal, ...]:
    """The year's limits between the steps; of a household that was supplied for fewer months, their share."""
    large = step.large_household
    extra = large.extra_kwh_month * MONTHS if large and persons is not None and persons >= large.persons else ZERO
    return tuple((tier.up_to_kwh + extra) * months / MONTHS for tier in step.tiers if tier.up_to_kwh is not None)


def standing(step: StepTariff, year_kwh: Decimal, *, persons: int | None = None, months: int = MONTHS) -> Standing:
    """The step that the last kWh of the year so far was on; a limit itself still belongs to the step below it."""
    limits = limits_kwh(step, persons=persons, months=months)
    for number, up_to in enumerate(limits, 1):
        if year_kwh <= up_to:
            return Standing(number, up_to, up_to - year_kwh)
    return Standing(len(limits) + 1, None, None)


def step_charge(
    step: StepTariff,
    energy_kwh: Decimal,
    before_kwh: Decimal = ZERO,
    *,
    persons: int | None = None,
    months: int = MONTHS,
) -> Estimate:
    """What `energy_kwh` cost a household that had used `before_kwh` in the year before them."""
    parts = tuple(_parts(step, energy_kwh, before_kwh, limits_kwh(step, persons=persons, months=months)))
    components = tuple(
        priced(
            "step",
            kwh,
            "kWh",
            step.tiers[index].price,
            edition=step.edition,
            digits=step.digits,
            how=Said("tariff.step", {"number": index + 1, "quantity": tidy(kwh)}),
        )
        for index, kwh in parts
    )
    notes: tuple[Said, ...] = ()
    if step.large_household is not None and persons is None:
        notes = (Said("tariff.note.household", {"persons": step.large_household.persons}),)
    return Estimate(edition=step.edition, rule=step.id, components=components, notes=notes)


def _parts(
    step: StepTariff, energy_kwh: Decimal, before_kwh: Decimal, limits: tuple[Decimal, ...]
) -> Iterator[tuple[int, Decimal]]:
    """(index of the step, kWh on it) for every step that the energy touches."""
    end = before_kwh + energy_kwh
    low = ZERO
    for index in range(len(step.tiers)):
        high = limits[index] if index < len(limits) else max(end, low)
        kwh = min(end, high) - max(before_kwh, low)
        if kwh > 0:
            yield index, kwh
        low = high
