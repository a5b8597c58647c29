"""The shapes of what a scenario says of a DLMS meter: `[meter.dlms]`, `[[meter.client]]`, `[[meter.log]]`.

Keys, titles and passwords stand in the clear: a simulated meter has nothing to hide.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from simulator.dlms.codes import OFFERED
from simulator.dlms.history import CAPTURED

Obis = Annotated[str, Meta(pattern=r"^\d+-\d+:\d+\.\d+\.\d+\.\d+$")]
Key = Annotated[str, Meta(pattern=r"^([0-9A-Fa-f]{32})?$")]
Title = Annotated[str, Meta(pattern=r"^([0-9A-Fa-f]{16})?$")]


class _Table(Struct, forbid_unknown_fields=True, kw_only=True):
    pass


class ClientTable(_Table):
    """Who may associate. `reads` empty: everything."""

    sap: Annotated[int, Meta(ge=1, le=127)]
    auth: Literal["none", "lls", "gmac"] = "none"
    password: str = ""
    encryption_key: Key = ""
    authentication_key: Key = ""
    protect: Literal["none", "authenticated", "encrypted", "both"] = "none"
    title: Title = ""  # the client's, where it does not say one
    reads: list[Obis] = []


class LogTable(_Table):
    """An event in the meter's log, 0-0:99.98.<log>.255."""

    at: datetime | float
    code: Annotated[int, Meta(ge=0, le=255)]
    log: Annotated[int, Meta(ge=0, le=255)] = 0


class DlmsTable(_Table):
    sap: Annotated[int, Meta(ge=1, le=0x3FFF)] = 1
    title: Title = ""  # system title; "": made of the serial
    physical: Annotated[int, Meta(ge=0, le=0x3FFF)] | None = None  # HDLC; absent: an address of one octet
    octets: Literal[0, 1, 2, 4] = 0  # of the HDLC address; 0: as few as hold it
    most_info: Annotated[int, Meta(ge=16, le=2030)] = 128  # HDLC: octets of information in a frame
    window: Annotated[int, Meta(ge=1, le=7)] = 1  # HDLC: frames at a time
    most_pdu: Annotated[int, Meta(ge=64, le=65535)] = 1024
    most_list: Annotated[int, Meta(ge=1, le=255)] = 32
    at_once: Annotated[int, Meta(ge=1)] = 1  # associations
    services: int = int(OFFERED)  # conformance block
    inactivity_s: Annotated[int, Meta(ge=0, le=65535)] = 120  # of real time; 0: never
    quirks: list[str] = []
    challenge: str = ""  # StoC of HLS; "": a new one each time
    counter: int | None = None  # the meter's own first one; absent: further up at every start
    shows_deviation: bool = True
    ranges: Literal["any", "needed", "refused", "none"] = "any"  # deviation in the ends of a range; none: no ranges
    capture_s: Annotated[int, Meta(ge=60)] = 900
    captures: list[Obis] = msgspec.field(default_factory=lambda: list(CAPTURED))
    most_entries: Annotated[int, Meta(ge=1)] = 2880
    newest_first: bool = False
    history_s: Annotated[float, Meta(ge=0)] = 86_400.0  # of the profile, before the scenario begins
    scalers: dict[str, int] = {}  # by quantity
    counters: dict[Obis, int] = {}  # event counts
    items: dict[Obis, str] = {}  # A-XDR of an object's value, hex
