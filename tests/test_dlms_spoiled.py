"""Everything that a simulated DLMS meter can do wrong, met by the agent's own line: a true value or a gap.

Before, during and after each fault every register, the load profile and the log are read and held to the meter's own
physics. Every fault must have struck.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from drivers.dlms import buffer
from edge_agent.model import DlmsSpec
from edge_agent.ports import DriverError
from simulator.dlms.meter import DlmsMeter
from tests import figures
from tests.sim_dlms import T0
from tests.sim_line import AK, FLAGS, WITH_FLAGS, Reader, over_pty, over_tcp, under_keys

HOUR_MS, QUARTER_MS = 3_600_000, 900_000
FROM, TO = T0 + 2 * HOUR_MS, T0 + 3 * HOUR_MS
BAUD = 115_200
ROUNDS = int(os.environ.get("EDGE_PROVE_DLMS_ROUNDS", "1"))
"""So often all is read while a fault is in force."""

SCENARIO = """
[clock]
start = 2026-03-02T00:00:00+08:00
{line}
[[meter]]
id = "m1"
protocol = "dlms"
{place}
ct = "400/5"
u_n_v = 400
serial = "0000500001"
registers = {{ active_energy_import = 1234.56, reactive_energy_import = 765.43, apparent_energy_import = 2000.0 }}
load = {{ kind = "constant", p_kw = 160, pf = 0.85 }}

[meter.dlms]
title = "53494D0000500001"
items = {{ "0-0:96.1.1.255" = "0908{flags}" }}
{dlms}

[[meter.client]]
sap = 1
{client}

[[meter.log]]
at = 2026-03-02T01:30:00+08:00
code = 44
log = 1

[[meter.fault]]
kind = "{kind}"
from = 2026-03-02T02:00:00+08:00
to = 2026-03-02T03:00:00+08:00
{fault}
"""
CIPHERED = f"""auth = "gmac"
protect = "both"
encryption_key = "{bytes(range(16)).hex()}"
authentication_key = "{AK}"
"""


@pytest.fixture(autouse=True)
def nobody_waits_long(monkeypatch: pytest.MonkeyPatch) -> None:
    """A real meter is given 15 s to search its memory; a simulated one that keeps silent need not be."""
    monkeypatch.setattr(buffer, "PATIENCE_S", 0.3)


@contextmanager
def played(
    folder: Path, kind: str, fault: str = "", *, wire: str, keys: bool = False, dlms: str = "", **spec: Any
) -> Iterator[tuple[Reader, DlmsMeter]]:
    line = f'[[line]]\nid = "bus"\nbaud = {BAUD}\nparity = "N"\n' if wire == "hdlc" else ""
    place = 'line = "bus"\nturnaround_ms = 2' if wire == "hdlc" else "port = 4059"
    physical = "physical = 17\n" if wire == "hdlc" else ""
    path = folder / "scenario.toml"
    client = CIPHERED if keys else ""
    path.write_text(
        SCENARIO.format(
            line=line, place=place, dlms=physical + dlms, client=client, kind=kind, fault=fault, flags=FLAGS
        )
    )
    where: dict[str, Any] = {"physical": 17, "address_size": 2} if wire == "hdlc" else {}
    asks = under_keys(folder, **where, **spec) if keys else DlmsSpec(client=1, **where, **spec)
    at_ms = T0 + HOUR_MS
    if wire == "hdlc":
        with over_pty(path, "m1", asks, at_ms=at_ms, timeout_s=0.3, profile=WITH_FLAGS) as (reader, station):
            yield reader, station.meter
    else:
        with over_tcp(path, "m1", asks, at_ms=at_ms, timeout_s=0.3, profile=WITH_FLAGS) as (reader, fleet):
            yield reader, fleet.dlms["m1"]


def everything(reader: Reader) -> Counter[str]:
    """Read all there is once; the causes of what is lacking. AssertionError for anything that is not true."""
    causes = Counter(g.cause.value for g in reader.lacking(reader.read()))
    at_ms = reader.hand.now_ms
    try:
        found = reader.recorded(at_ms - HOUR_MS, at_ms)
    except DriverError as error:
        causes[f"profile: {error.cause.value}"] += 1
    else:
        for r in found:
            assert r.end_ms % QUARTER_MS == 0
            true = float(reader.meter.value(str(r.quantity), r.end_ms))
            assert abs(r.value - true) <= r.step + 1e-6, r
        causes["profile: whole" if len(found) == 16 else f"profile: {len(found)} of 16"] += 1
    try:
        logged = {(e.code, e.when_ms) for e in reader.logged(T0)}
    except DriverError as error:
        causes[f"log: {error.cause.value}"] += 1
    else:
        removed = {("cover_open", T0 + 5_400_000)} if at_ms >= T0 + 5_400_000 else set()
        assert {e for e in logged if e[0] == "cover_open"} == removed
        causes["log: whole"] += 1
    return causes


WHOLE = Counter({"profile: whole": 1, "log: whole": 1})

ANY = {
    "silence": "one_in = 4",
    "late": "one_in = 4\ndelay_ms = 450",
    "wrong_unit": "one_in = 4",
    "split": "one_in = 2",
    "exception": "one_in = 4",
    "busy": "one_in = 4",
    "wrong_invoke": "one_in = 3",
    "block_abort": "one_in = 2",
    "association_held": "",
    "hung_up": "one_in = 4",
}
ON_TCP = {"half_frame": "one_in = 4", "reset": "one_in = 4"}
ON_LINE = {"wrong_check": "one_in = 4", "cut_frame": "one_in = 4", "noise": "one_in = 3"}
UNDER_KEYS = {
    "counter_rejected": "one_in = 5\ncount = 5000",
    "wrong_tag": "one_in = 4",
    "flipped_bit": "one_in = 4",
    "weaker": "one_in = 4\ncode = 0x10",
    "other_title": "one_in = 4",
    "old_counter": "one_in = 4",
}
CASES = [
    *(("tcp", kind, fault, False) for kind, fault in (ANY | ON_TCP).items()),
    *(("hdlc", kind, fault, False) for kind, fault in (ANY | ON_LINE).items()),
    *(("tcp", kind, fault, True) for kind, fault in UNDER_KEYS.items()),
    *(("hdlc", kind, fault, True) for kind, fault in UNDER_KEYS.items()),
]
MAY_HARM_NOTHING = {
    "tcp": {"split"},
    "hdlc": {"split", "noise", "silence", "late", "wrong_unit", "wrong_check", "cut_frame"},
}
"""A line repairs by itself: the frame is asked for again. What is refused for the moment is asked again as well."""

REFUSED_STILL = {"refused", *WHOLE}
"""An object that a meter refused is left alone for an hour."""


@pytest.mark.parametrize(("wire", "kind", "fault", "keys"), CASES, ids=[f"{w} {k}" for w, k, _, _ in CASES])
def test_a_fault_is_never_a_value_and_has_an_end(wire, kind, fault, keys, tmp_path):
    small = "most_pdu = 128" if kind == "block_abort" else ""
    causes: Counter[str] = Counter()
    with played(tmp_path, kind, fault, wire=wire, keys=keys, dlms=small) as (reader, meter):
        assert everything(reader) == WHOLE
        if kind == "association_held":
            reader.run(lambda line: line._drivers["m1"].release())
        reader.hand.now_ms = FROM
        for _ in range(ROUNDS):
            causes += everything(reader)
            reader.hand.now_ms += 61_000
        (met,) = meter.faults.all
        assert met.struck > 0
        reader.hand.now_ms = TO + QUARTER_MS
        rounds = 0
        while (last := everything(reader)) != WHOLE and set(last) != REFUSED_STILL:
            rounds += 1
            assert rounds <= 2, last
            reader.hand.now_ms += 61_000
        assert last == WHOLE or kind == "exception"
        assert not meter.ledger.twice
        assert meter.counts.writes_seen == 0
    bad = {c: n for c, n in causes.items() if not c.endswith("whole")}
    assert bad or kind in MAY_HARM_NOTHING[wire], "it struck and nothing was lacking"
    figures.report(f"spoiled {wire} {kind}", struck=met.struck, gaps=sum(bad.values()), rounds_after=rounds)
