"""An object of a meter: its class, its name, and what each of its attributes gives at an instant."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from simulator.clock import Ms
from simulator.dlms.codec import Data, octet_string
from simulator.dlms.codes import Access

Give = Callable[[Ms], Data]
Select = Callable[[Ms, int, Data], Data]
"""A part of attribute 2: instant, selector, parameter."""


class NotGiven(Exception):
    """An attribute is not given, and why."""

    def __init__(self, access: Access | int) -> None:
        super().__init__(access)
        self.access = int(access)


@dataclass(frozen=True, slots=True)
class CosemObject:
    """`quantities`: what it is about, for faults that strike one. `hidden`: attributes that nobody reads."""

    class_id: int
    name: bytes
    attributes: Mapping[int, Give]
    version: int = 0
    quantities: tuple[str, ...] = ()
    select: Select | None = None
    hidden: frozenset[int] = frozenset()

    def give(self, attribute: int, at_ms: Ms) -> Data:
        """Raises NotGiven."""
        if attribute == 1:
            return octet_string(self.name)
        if attribute in self.hidden or attribute == 0:
            raise NotGiven(Access.DENIED)
        if attribute not in self.attributes:
            raise NotGiven(Access.UNDEFINED)
        return self.attributes[attribute](at_ms)

    @property
    def numbers(self) -> tuple[int, ...]:
        """Its attributes, the hidden ones too."""
        return (1, *sorted({*self.attributes, *self.hidden}))


def fixed(data: Data) -> Give:
    return lambda at_ms: data
