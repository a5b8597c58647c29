"""功率因数调整电费: what a month's power factor adds to a bill, or takes off it.

The power factor is that of the month's active and reactive energy, rounded half up before the table is read. Whether
over-compensation counts as reactive energy is set in the meter; its sum is taken as the caller gives it.
"""

from __future__ import annotations

from decimal import Decimal

from edge_agent.tariff.estimate import Component, Estimate, Said, money, priced, tidy
from edge_agent.tariff.rule import PowerFactorTable

HUNDREDTH = Decimal("0.01")


def cos_phi(active_kwh: Decimal, reactive_kvarh: Decimal, digits: int = 2) -> Decimal | None:
    """Wp / root(Wp² + Wq²); None where nothing was used."""
    if active_kwh == 0 and reactive_kvarh == 0:
        return None
    apparent = (active_kwh * active_kwh + reactive_kvarh * reactive_kvarh).sqrt()
    return money(active_kwh / apparent, digits)


def adjustment_percent(table: PowerFactorTable, cos: Decimal) -> Decimal:
    """What a bill changes by, %; negative: it is reduced. ValueError: the table does not reach that far."""
    for segment in table.segments:
        if segment.lowest <= cos <= segment.highest:
            return segment.percent + segment.per_hundredth * (cos - segment.lowest) / HUNDREDTH
    raise ValueError(f"{table.id} has no line for a power factor of {cos}")


def power_factor_adjustment(
    table: PowerFactorTable, active_kwh: Decimal, reactive_kvarh: Decimal, bill: Decimal | None = None
) -> Estimate:
    """`bill`: what demand or capacity and energy cost together; None: unknown, and no money is named."""
    cos = cos_phi(active_kwh, reactive_kvarh, table.cos_digits)
    if cos is None:
        note = Said("tariff.note.unknown", {"what": Said("tariff.what.energy")})
        return Estimate(edition=table.edition, rule=table.id, notes=(note,))
    percent = adjustment_percent(table, cos)
    how = Said(
        "tariff.power_factor",
        {"cos": cos, "standard": tidy(table.standard), "percent": tidy(percent), "sign": "+" if percent > 0 else ""},
    )
    component: Component = priced(
        "power_factor",
        percent,
        "%",
        None if bill is None else bill / 100,
        edition=table.edition,
        digits=table.digits,
        how=how,
    )
    if bill is not None and component.amount is not None:
        fields = {"how": how, "bill": bill, "amount": component.amount, "currency": table.edition.currency}
        said = Said("tariff.line.adjustment", fields)
        component = Component(name=component.name, quantity=percent, unit="%", amount=component.amount, said=said)
    return Estimate(edition=table.edition, rule=table.id, components=(component,))
