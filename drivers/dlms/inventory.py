"""What a DLMS meter says about itself, and what it lists, inside an association that is open.

Each question is one attribute, so that no meter is asked for more than it knows. What is a quantity of ours is read
once, with its scaler, as the driver reads it. After a failure that ends the association nothing more is asked: what
came until then stands, and says why there is no more.

Source: IEC 62056-6-2 (DLMS UA 1000-1), class_id 1, 7, 15 (object_list) and 17 (SAP_assignment_list).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from drivers.dlms import catalogue
from drivers.dlms.axdr import Data, Tag
from drivers.dlms.buffer import shape_of
from drivers.dlms.load_profile import layout_of
from drivers.dlms.objects import Class, capture_objects, object_list, scaler_unit, sort_method
from drivers.dlms.refused import DataAccess, Malformed, NoProfile, access_error
from drivers.dlms.session import Session
from drivers.dlms.values import Item, item_of, outcome_of, text_of
from drivers.dlms.xdlms import ASSOCIATION, Attribute
from edge_agent.model import DeviceSpec, DlmsSpec, Gap, Ms, Outcome
from edge_agent.ports import DriverError, Refused
from edge_agent.sighting import Inventory, Listed, Matched, Record

MOST_METERS = 32
"""Logical devices that are believed in."""

_SAPS = Attribute(17, bytes((0, 0, 41, 0, 0, 255)), 2)
_LIST = Attribute(Class.ASSOCIATION_LN, ASSOCIATION, 2)
_IDENTITY = (
    ("name", Attribute(1, bytes((0, 0, 42, 0, 0, 255)), 2)),
    ("serial", Attribute(1, bytes((0, 0, 96, 1, 0, 255)), 2)),
    ("firmware", Attribute(1, bytes((1, 0, 0, 2, 0, 255)), 2)),
)
_PATIENCE_S = 10.0
"""For the beginning of a list: a meter may have to put it together."""


class Asking:
    """Inside an open association. What breaks off keeps what came until then; `failed` says why."""

    def __init__(self, session: Session, device: DeviceSpec, now_ms: Callable[[], Ms]) -> None:
        self.failed: DriverError | None = None
        self._now_ms = now_ms
        self._session = session
        self._device = device

    async def identity(self) -> tuple[tuple[tuple[str, str], ...], list[int]]:
        """Texts by name, and the logical devices that are reached the same way."""
        texts: list[tuple[str, str]] = []
        for name, attribute in _IDENTITY:
            result = await self._value(attribute)
            if isinstance(result, Data) and (said := text_of(result, attribute)):
                texts.append((name, said))
        saps = _assigned(await self._value(_SAPS))
        if len(saps) > 1:
            texts.append(("logical devices", ", ".join(f"{sap} {name}".strip() for sap, name in saps)))
        return tuple(texts), [sap for sap, _ in saps]

    async def inventory(self) -> Inventory:
        """The list of objects, as far as this client is given it."""
        spec = self._device.dlms or DlmsSpec()
        if self.failed is not None:
            return Inventory(spec, refusal=self.failed)
        result = await self._value(_LIST, patience_s=_PATIENCE_S)
        try:
            if not isinstance(result, Data):
                raise result
            objects = object_list(result)
            own = next((o for o in objects if (o.class_id, o.instance) == (15, ASSOCIATION)), None)
            if own is not None and own.version:
                objects = object_list(result, version=own.version)
        except DriverError as error:
            return Inventory(spec, refusal=error)
        registers = catalogue.registers_of(objects)
        matched = [Matched(r, await self._outcome(item_of(r))) for r in registers]
        items = [item_of(m.register) for m in matched]
        return Inventory(
            spec,
            tuple(Listed(o.class_id, o.version, catalogue.text(o.instance), o.readable) for o in objects),
            tuple(matched),
            tuple(catalogue.near_of(objects)),
            tuple([await self._load_profile(name, items) for name in catalogue.load_profiles_of(objects)]),
            tuple([await self._record(name) for name in catalogue.event_logs_of(objects)]),
            self.failed,
        )

    async def _outcome(self, item: Item) -> Outcome | None:
        """The quantity read once, as the driver would."""
        device, now_ms = self._device.id, self._now_ms()
        result, unit = await self._value(item.attribute), None
        if isinstance(result, Data) and item.scaler is not None:
            scaler = await self._value(item.scaler)
            try:
                if not isinstance(scaler, Data):
                    raise scaler
                unit = scaler_unit(scaler)
            except DriverError as error:
                result = error
        if isinstance(result, Data):
            return outcome_of(item, result, unit, device, now_ms, None)
        if self.failed is not None:
            return None
        return Gap(device, item.quantity, result.cause, now_ms, str(result))

    async def _load_profile(self, instance: bytes, items: Sequence[Item]) -> Record:
        record = await self._record(instance)
        columns = await self._value(Attribute(Class.PROFILE_GENERIC, instance, 3))
        sort = await self._value(Attribute(Class.PROFILE_GENERIC, instance, 5))
        try:
            if not isinstance(columns, Data) or not isinstance(sort, Data):
                raise NoProfile("it does not say what it captures, or how it is sorted")
            registers = [item.register for item in items]
            shape = shape_of(instance, capture_objects(columns), record.every_s or 0, sort_method(sort))
            layout_of(shape, registers)
        except DriverError as error:
            return record._replace(flaw=str(error))
        return record

    async def _record(self, instance: bytes) -> Record:
        period = await self._value(Attribute(Class.PROFILE_GENERIC, instance, 4))
        every_s = period.value if isinstance(period, Data) and isinstance(period.value, int) else None
        return Record(catalogue.text(instance), every_s)

    async def _value(self, attribute: Attribute, *, patience_s: float = 0.0) -> Data | DriverError:
        """The value, or why it did not come; after a failure that ends the association nothing is asked."""
        if self.failed is not None:
            return self.failed
        try:
            (result,), _ = await self._session.get([attribute], patience_s=patience_s)
        except Refused as error:
            if not self._session.is_open:
                self.failed = error
            return error
        except DriverError as error:
            self.failed = error
            return error
        return access_error(result, str(attribute)) if isinstance(result, DataAccess) else result


def _assigned(result: Data | DriverError) -> list[tuple[int, str]]:
    """Logical devices with their names, as the SAP assignment has them; none where it is not given."""
    if not isinstance(result, Data):
        return []
    found: list[tuple[int, str]] = []
    try:
        for entry in result.items("SAP assignment", Tag.ARRAY):
            sap, name = entry.items("SAP", Tag.STRUCTURE, 2)
            found.append((sap.integer("SAP"), text_of(name, _SAPS)))
    except Malformed:
        return []
    return found[:MOST_METERS]
