"""From a scenario's tables to DLMS meters, behind a port or on a line; each time anew."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from simulator.clock import Ms, SimClock
from simulator.device import SimMeter
from simulator.dlms import acse
from simulator.dlms.client import PUBLIC, PUBLIC_OBJECTS, Client
from simulator.dlms.clock import MeterClock
from simulator.dlms.codec import name_of
from simulator.dlms.guard import AUTHENTICATED, BOTH, ENCRYPTED, Keys
from simulator.dlms.hdlc import address
from simulator.dlms.history import Logged
from simulator.dlms.holding import Holding, Memory, Plate
from simulator.dlms.ledger import CounterLedger
from simulator.dlms.meter import DlmsMeter
from simulator.dlms.own import counter_name
from simulator.dlms.profile import NEWEST_FIRST, OLDEST_FIRST
from simulator.dlms.tables import ClientTable, DlmsTable, LogTable
from simulator.faults import FaultKind, Faults

_MECHANISMS = {"none": acse.NONE, "lls": acse.LLS, "gmac": acse.GMAC}
_PROTECTION = {"none": 0, "authenticated": AUTHENTICATED, "encrypted": ENCRYPTED, "both": BOTH}
_COUNTS_FROM_S = 1_577_836_800  # 2020-01-01
_COUNTS_A_SECOND = 8


@dataclass(frozen=True, slots=True)
class DlmsPlan:
    """One DLMS meter behind a TCP port; `hang(clock)` makes it anew, its faults not yet met."""

    id: str
    port: int
    sap: int
    hang: Callable[[SimClock], DlmsMeter]


@dataclass(frozen=True, slots=True)
class DlmsMaking:
    """What a table says, checked. `state`: the folder where counters are kept; None: nowhere."""

    table: DlmsTable
    clients: tuple[Client, ...]
    logged: tuple[Logged, ...]
    offset_min: int
    clock_error_s: float
    state: Path | None

    def make(self, name: str, sap: int, port: int, meter: SimMeter, faults: Faults, clock: SimClock) -> DlmsMeter:
        """Raises ValueError for what no meter can be."""
        table = self.table
        plate = Plate(
            title=bytes.fromhex(table.title),
            sap=sap,
            inactivity_s=table.inactivity_s,
            physical=table.physical or 0,
            port=port,
            most_info=table.most_info,
            window=table.window,
        )
        memory = Memory(
            period_s=table.capture_s,
            columns=table.captures,
            most=table.most_entries,
            sort=NEWEST_FIRST if table.newest_first else OLDEST_FIRST,
            history_s=table.history_s,
            ranges=table.ranges,
            logged=self.logged,
        )
        meter_clock = MeterClock(
            self.offset_min,
            error_s=self.clock_error_s,
            jumps=faults.in_meter(FaultKind.CLOCK_JUMP),
            shows_deviation=table.shows_deviation,
        )
        holding = Holding(
            meter, faults, meter_clock, plate, memory,
            scalers=table.scalers,
            counters=table.counters,
            items={name: bytes.fromhex(octets) for name, octets in table.items.items()},
        )  # fmt: skip
        own_from = table.counter
        if own_from is None:  # what a meter forgets at its end it must not use again
            own_from = int((time.time() - _COUNTS_FROM_S) * _COUNTS_A_SECOND)
        path = None if self.state is None else self.state / f"{name}.counters"
        return DlmsMeter(
            name,
            holding,
            self.clients,
            clock,
            CounterLedger(path, own_from=own_from),
            services=table.services,
            most_pdu=table.most_pdu,
            most_list=table.most_list,
            at_once=table.at_once,
            quirks=table.quirks,
            challenge=table.challenge.encode("ascii"),
        )


def making(
    table: DlmsTable,
    clients: list[ClientTable],
    logs: list[LogTable],
    *,
    start: datetime,
    instant: Callable[[datetime | float], Ms],
    clock_error_s: float,
    state: Path | None,
) -> DlmsMaking:
    """Raises ValueError for clients that contradict themselves."""
    offset = start.utcoffset()
    assert offset is not None, "a scenario's start names its offset"
    made = [_client(entry) for entry in clients]
    keyed = [client.sap for client in made if client.keys is not None]
    counters = {sap: counter_name(number) for number, sap in enumerate(keyed)}
    if not any(client.sap == PUBLIC for client in made):
        made.insert(0, Client(PUBLIC, reads=frozenset(PUBLIC_OBJECTS)))
    told = frozenset(counters.values())
    made = [
        Client(
            client.sap, client.mechanism, client.password, client.keys, client.control, client.title,
            client.reads if client.reads is None else client.reads | told, counters.get(client.sap, b""),
        )
        for client in made
    ]  # fmt: skip
    logged = tuple(Logged(entry.log, instant(entry.at), entry.code) for entry in logs)
    return DlmsMaking(table, tuple(made), logged, int(offset.total_seconds() // 60), clock_error_s, state)


def hdlc_octets(table: DlmsTable) -> int:
    """Octets of the meter's HDLC address. Raises ValueError where it does not fit."""
    if table.octets:
        octets = table.octets
    elif table.physical is None:
        octets = 1
    else:
        octets = 2 if max(table.sap, table.physical) <= 0x7F else 4
    address(table.sap, table.physical, octets)
    return octets


def _client(entry: ClientTable) -> Client:
    keys = None
    if entry.encryption_key or entry.authentication_key:
        keys = Keys(bytes.fromhex(entry.encryption_key), bytes.fromhex(entry.authentication_key))
    return Client(
        entry.sap,
        _MECHANISMS[entry.auth],
        entry.password.encode("utf-8"),
        keys,
        _PROTECTION[entry.protect],
        bytes.fromhex(entry.title),
        frozenset(name_of(text) for text in entry.reads) or None,
    )
