"""What a rule would make of measured quantities: an estimate, never a bill.

Every figure carries the arithmetic that led to it, as codes and fields (`words/*/tariff.py` holds the sentences). Where
a price is absent the quantity stands and no money is named.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import ROUND_HALF_UP, Decimal

from edge_agent.tariff.rule import ONE, Edition


@dataclass(frozen=True, slots=True)
class Said:
    """One sentence by its code; a field may be a sentence itself."""

    code: str
    fields: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Component:
    """One summand of an estimate: a quantity, its price, and what comes of them."""

    name: str
    quantity: Decimal
    unit: str
    amount: Decimal | None
    """In the edition's currency; None: no price is known."""
    said: Said
    at_most: bool = False
    """The rule names a most, and what is asked may be less."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """The summands of one rule for one month or one case; `notes` say what was not known, or what changed a figure."""

    edition: Edition
    rule: str
    components: tuple[Component, ...] = ()
    notes: tuple[Said, ...] = ()

    @property
    def total(self) -> Decimal | None:
        """The money; None where a price is absent or nothing could be reckoned."""
        amounts = [c.amount for c in self.components]
        known = [a for a in amounts if a is not None]
        return sum(known, Decimal(0)) if known and len(known) == len(amounts) else None

    @property
    def at_most(self) -> bool:
        return any(c.at_most for c in self.components)

    @property
    def quantity(self) -> Decimal:
        """Everything that is paid for, in the unit of the first summand, each part as many times as the rule says."""
        unit = self.components[0].unit if self.components else ""
        return sum((c.quantity for c in self.components if c.unit == unit), Decimal(0))

    def amount(self, name: str) -> Decimal | None:
        """The money of the summands of that name."""
        found = [c.amount for c in self.components if c.name == name]
        known = [a for a in found if a is not None]
        return sum(known, Decimal(0)) if known and len(known) == len(found) else None

    @property
    def name(self) -> str:
        """`cn/cn-demand@1`: rule and version, as a finding names it."""
        return f"{self.edition.tariff}/{self.rule}@{self.edition.version}"

    def said(self) -> tuple[Said, ...]:
        """The whole estimate, line by line: what it is, the arithmetic, the sum or the silence, the notes."""
        lines = [Said("tariff.estimate", {"rule": self.name}), *(c.said for c in self.components)]
        if self.total is not None:
            code = "tariff.total_at_most" if self.at_most else "tariff.total"
            lines.append(Said(code, {"amount": self.total, "currency": self.edition.currency}))
        elif self.components:
            lines.append(Said("tariff.silent"))
        return (*lines, *self.notes)


def money(amount: Decimal, digits: int) -> Decimal:
    """Rounded half up, a negative sum away from zero as well."""
    return amount.quantize(ONE.scaleb(-digits), rounding=ROUND_HALF_UP)


def tidy(value: Decimal, digits: int = 4) -> Decimal:
    """As a person writes it: no trailing zeros, no exponent, at most so many decimals."""
    rounded = money(value, digits).normalize()
    return rounded if rounded.as_tuple().exponent <= 0 else rounded.quantize(ONE)  # type: ignore[operator]


def priced(
    name: str,
    quantity: Decimal,
    unit: str,
    price: Decimal | None,
    *,
    edition: Edition,
    digits: int,
    factor: Decimal = ONE,
    how: Said | None = None,
    factors: Iterable[Said] = (),
) -> Component:
    """`quantity x price x factor`, rounded once, with its sentence; `how` tells where the quantity comes from."""
    amount = None if price is None else money(quantity * price * factor, digits)
    fields: dict[str, object] = {
        "name": Said(f"tariff.part.{name}"),
        "how": how if how is not None else Said("tariff.quantity", {"quantity": tidy(quantity), "unit": unit}),
        "factors": _chain(factors),
    }
    code = "tariff.line.silent"
    if price is not None:
        code = "tariff.line"
        fields |= {"price": tidy(price, 8), "amount": amount, "currency": edition.currency}
    return Component(name=name, quantity=quantity, unit=unit, amount=amount, said=Said(code, fields))


def _chain(factors: Iterable[Said]) -> Said:
    """No factor, or one after the other."""
    found = list(factors)
    if not found:
        return Said("tariff.nothing")
    first, *rest = found
    return Said("tariff.times", {"factor": first, "rest": _chain(rest)})
