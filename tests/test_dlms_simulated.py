"""The agent's driver and the simulated DLMS meters, written apart: every register, profile and log.

Over a real socket and a real pty, through the line that the agent itself opens. What comes is held to the meter's own
physics: a value is true to its last digit, or it is a gap with its cause.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from edge_agent.model import DlmsSpec, MeterEvent, Recorded
from simulator.scenario import scenarios_dir
from tests.sim_dlms import T0
from tests.sim_line import Reader, over_pty, over_tcp, under_keys

WRAPPER, LINE = scenarios_dir() / "dlms-wrapper.toml", scenarios_dir() / "dlms-line.toml"
HOUR_MS, QUARTER_MS = 3_600_000, 900_000
TEN = T0 + 10 * HOUR_MS + 420_000
WRAPS = ("glo", "ded", "general-glo", "general-ded")


def read_all(reader: Reader) -> None:
    """All registers three times over some minutes, the load profile of half a day, and the log."""
    for _ in range(3):
        assert reader.lacking(reader.read()) == []
        reader.hand.now_ms += 61_000
    held_to_the_curve(reader, reader.recorded(T0 - 2 * HOUR_MS, TEN))


def held_to_the_curve(reader: Reader, found: list[Recorded]) -> None:
    """Each register at each quarter of the half day, as the load curve has it."""
    ends = range(T0 - 2 * HOUR_MS + QUARTER_MS, TEN + 1, QUARTER_MS)
    quantities = ("active_energy_import", "active_energy_export", "reactive_energy_import", "reactive_energy_export")
    assert Counter((r.end_ms, r.quantity) for r in found) == {(e, q): 1 for e in ends for q in quantities}
    for r in found:
        true = float(reader.meter.value(str(r.quantity), r.end_ms))
        assert abs(r.value - true) <= r.step + 1e-6, r


def codes(found: list[MeterEvent]) -> list[tuple[str, int | None]]:
    return sorted((e.code, e.when_ms) for e in found)


@pytest.mark.parametrize("security", ["none", "lls", *WRAPS])
def test_every_way_in_over_the_wrapper(security: str, tmp_path: Path):
    given = {
        "none": ("plain", DlmsSpec(client=1)),
        "lls": ("plain", DlmsSpec(client=2, authentication="lls", password="12345678")),
        **{w: ("ciphered", under_keys(tmp_path, w, server=2)) for w in WRAPS},
    }
    meter, spec = given[security]
    with over_tcp(WRAPPER, meter, spec, at_ms=TEN) as (reader, fleet):
        read_all(reader)
        removed = [("terminal_cover_open", T0 + 7 * HOUR_MS + 1_800_000)] if meter == "ciphered" else []
        assert codes(reader.logged(T0)) == removed
        assert codes(reader.logged(T0 + 8 * HOUR_MS)) == []
        assert fleet.dlms[meter].counts.associations == (2 if meter == "ciphered" else 1)  # the public client: counter
        assert not fleet.dlms[meter].ledger.twice
        assert fleet.writes_seen == 0


@pytest.mark.parametrize("wrap", ["lls", "glo", "general-glo", "ded"])
def test_every_way_in_over_hdlc(wrap: str, tmp_path: Path):
    """`dlms-1` has an address of two octets, `dlms-2` one of four, keys and a window of 3."""
    if wrap == "lls":
        spec = DlmsSpec(
            client=1, physical=17, address_size=2, authentication="lls", password="12345678", counter_object=""
        )
        meter = "dlms-1"
    else:
        meter, spec = "dlms-2", under_keys(tmp_path, wrap, physical=2836, address_size=4)
    fast = tmp_path / "line.toml"
    fast.write_text(LINE.read_text().replace("baud = 9600", "baud = 115200"))
    with over_pty(fast, meter, spec, at_ms=TEN) as (reader, station):
        read_all(reader)
        assert codes(reader.logged(T0)) == []
        assert not station.meter.ledger.twice
        assert station.writes_seen == 0
