"""Objects that look different to each client: its own association, the security set-up, the invocation counters.

Source: IEC 62056-6-2 (DLMS UA 1000-1), class_id 15 (version 1), 64 and 1.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import TYPE_CHECKING

from simulator.clock import Ms
from simulator.dlms import acse
from simulator.dlms.association import Association
from simulator.dlms.client import OWN_ASSOCIATION, Client
from simulator.dlms.codec import NULL, Bits, Data, Tag, array, enum, i8, name_of, octet_string, structure, u8, u16, u32
from simulator.dlms.objects import CosemObject, fixed

if TYPE_CHECKING:
    from simulator.dlms.meter import DlmsMeter

SECURITY = name_of("0-0:43.0.0.255")
_READ_ONLY, _NO_ACCESS = 1, 0
_ASSOCIATED = 2


def counter_name(number: int) -> bytes:
    """Of the n-th client with keys: 0-0:43.1.n.255."""
    return bytes((0, 0, 43, 1, number, 255))


def _heard(meter: DlmsMeter, client: Client, at_ms: Ms) -> Data:
    return u32(meter.heard(client))


def own_objects(association: Association, meter: DlmsMeter) -> dict[bytes, CosemObject]:
    """By name."""
    client = association.client
    counters = [
        CosemObject(1, other.counter, {2: partial(_heard, meter, other)}) for other in meter.clients if other.counter
    ]
    security = CosemObject(
        64,
        SECURITY,
        {
            2: fixed(enum(client.control >> 4)),
            3: fixed(enum(0)),
            4: fixed(octet_string(association.title)),
            5: lambda at_ms: octet_string(meter.holding.title(at_ms)),
        },
    )
    others = [*meter.holding.objects.values(), *counters, security]
    found = [_association(association, meter, others), *counters, security]
    return {one.name: one for one in found}


def _association(association: Association, meter: DlmsMeter, others: Iterable[CosemObject]) -> CosemObject:
    client = association.client
    context = acse.CIPHERED if association.ciphers else acse.LONG_NAMES
    agreed = Data(Tag.BIT_STRING, Bits(24, association.services.to_bytes(3, "big")))
    own = CosemObject(
        15,
        OWN_ASSOCIATION,
        {
            3: fixed(structure(i8(client.sap), u16(meter.holding.plate.sap))),
            4: fixed(octet_string(acse.CONTEXT_NAME + bytes((context,)))),
            5: fixed(
                structure(
                    agreed, u16(meter.most_pdu), u16(association.most_pdu), u8(acse.VERSION), i8(0), octet_string(b"")
                )
            ),
            6: fixed(octet_string(acse.MECHANISM_NAME + bytes((client.mechanism,)))),
            8: fixed(enum(_ASSOCIATED)),
            9: fixed(octet_string(SECURITY)),
        },
        version=1,
        hidden=frozenset({7}),
    )

    def listed(at_ms: Ms) -> Data:
        return array(*(_listed(found, client) for found in (own, *others) if client.may_read(found.name)))

    return CosemObject(15, own.name, {**own.attributes, 2: listed}, version=1, hidden=own.hidden)


def _listed(found: CosemObject, client: Client) -> Data:
    numbers = found.numbers if found.class_id != 15 else tuple(sorted({*found.numbers, 2}))
    rights = (
        structure(i8(number), enum(_NO_ACCESS if number in found.hidden else _READ_ONLY), _selectors(found, number))
        for number in numbers
    )
    methods = [structure(i8(1), enum(1))] if found.class_id == 15 and client.mechanism == acse.GMAC else []
    return structure(
        u16(found.class_id), u8(found.version), octet_string(found.name), structure(array(*rights), array(*methods))
    )


def _selectors(found: CosemObject, number: int) -> Data:
    return array(i8(1), i8(2)) if found.select is not None and number == 2 else NULL
