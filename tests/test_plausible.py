"""What cannot be is a gap that keeps its frame; what happens in a network, however bad, is a value."""

from __future__ import annotations

import math
import struct
from collections import Counter

import pytest

from drivers.dlt645.items import layout, outcomes
from drivers.modbus.planning import block_of
from drivers.plausible import BOUNDS
from edge_agent.listing import plain_outcome
from edge_agent.model import CUMULATIVE, UNIT, Frame, Gap, GapCause, Outcome, Profile, Quantity, Reading, Register

FRAME = Frame(bytes.fromhex("01 03 00 00 00 04 44 09"), b"", 0)

HAPPENS = {
    "voltage_l1": (0.0, 57.7, 230.0, 400.0, 0.0001, 110_000 / math.sqrt(3), 500_000 * 1.5 / math.sqrt(3)),
    "voltage_l12": (0.0, 100.0, 10_500.0, 550_000.0),
    "current_l1": (0.0, 5.0, 100.0, 63_000.0, -4.8),  # idle, full load, of a clamp, a short circuit, fed back
    "active_power": (0.0, -2e9, 5e9, 1e-3),
    "apparent_power": (0.0, 8e9),
    "reactive_power": (-3e9, 3e9),
    "power_factor": (-1.0, 0.0, 1.0, 1.0000001),
    "frequency": (16.7, 47.5, 49.98, 52.0, 60.0, 65.0),
    "active_energy_import": (0.0, 999_999_990.0, 1e14),
    "active_energy_combined": (-999_999_990.0, 0.0),
    "demand_period": (1.0, 15.0, 60.0),
    "demand_slide": (0.0, 1.0),
    "ct_ratio": (1.0, 80.0, 5_000.0),
    "vt_ratio": (1.0, 100.0, 5_000.0),
    "events_power_off": (0.0, 999_999.0),
}
"""What a meter shows on a bad day, and on a good one."""

CANNOT_BE = {
    "voltage_l1": (-1.0, 1e6, 3e38),
    "voltage_l12": (1e6,),
    "current_l1": (1e6, -1e6),
    "active_power": (2e10, -2e10),
    "apparent_power": (-1.0, 2e10),
    "reactive_power": (2e10,),
    "power_factor": (3.0, -1.1, 98.0),
    "frequency": (0.0, 400.0, 4998.0, -50.0),
    "active_energy_import": (-1.0, 1e16),
    "active_energy_combined": (-1e16,),
    "demand_period": (-1.0, 2_000.0),
    "ct_ratio": (0.0, -80.0, 1e7),
    "vt_ratio": (0.0,),
    "events_power_off": (-1.0,),
}


def shown(quantity: str, value: float) -> Outcome:
    """What the driver makes of a double that a device shows for the quantity."""
    unit = UNIT[Quantity(quantity)]
    block = block_of("m1", [Register(Quantity(quantity), "holding:0", "f64", "" if unit == "1" else unit)])
    (outcome,) = block.outcomes(struct.pack(">d", value), 0, FRAME)
    return outcome


@pytest.mark.parametrize("quantity", HAPPENS)
def test_what_happens_in_a_network_is_a_value_and_nothing_is_clipped(quantity):
    for value in HAPPENS[quantity]:
        outcome = shown(quantity, value)
        assert isinstance(outcome, Reading), outcome
        assert outcome.value == value


@pytest.mark.parametrize("quantity", CANNOT_BE)
def test_what_cannot_be_is_a_gap_with_its_reason_and_its_frame(quantity):
    for value in CANNOT_BE[quantity]:
        outcome = shown(quantity, value)
        assert isinstance(outcome, Gap), outcome
        assert outcome.cause is GapCause.IMPLAUSIBLE
        assert outcome.frame is FRAME
        low, high = BOUNDS[Quantity(quantity)][:2]
        assert outcome.detail.endswith(f"is not within {low:g} to {high:g}")


def test_every_number_has_bounds_and_says_how_they_are_known():
    assert set(BOUNDS) == {q for q in Quantity if UNIT[q]}
    trust = Counter(b.trust for b in BOUNDS.values())
    assert set(trust) == {"defined", "standard", "chosen"}
    assert all(b.low < b.high < math.inf and b.low > -math.inf and b.source for b in BOUNDS.values())
    assert {BOUNDS[q].low for q in CUMULATIVE} == {0.0}


def test_a_meter_that_shows_no_number_keeps_the_frame_that_said_so():
    register = Register(Quantity.FREQUENCY, "di:02800002", "bcd2.2", "Hz")
    for octets, cause in ((b"\0\0", GapCause.IMPLAUSIBLE), (b"\xff\xff", GapCause.NOT_AVAILABLE)):
        (gap,) = outcomes(layout((register,)), "m1", octets, 0, FRAME)
        assert isinstance(gap, Gap)
        assert (gap.cause, gap.frame) == (cause, FRAME)


def test_a_person_sees_the_bytes_of_a_value_that_was_not_taken():
    register = Register(Quantity.FREQUENCY, "holding:0", "u16", "Hz")
    frame = Frame(bytes.fromhex("01 03 00 00 00 01 84 0A"), bytes.fromhex("01 03 02 01 90 B9 B8"), 0)
    (gap,) = block_of("m1", [register]).outcomes(frame.reply[3:5], 0, frame)
    row = plain_outcome(gap, Profile("p", "modbus", "p", "p", "primary", 1, (register,)), (), 0)
    assert (row["gap"], row["raw"], row["frame"]) == ("implausible", "01 90", "01 03 02 01 90 b9 b8")
    assert "value" not in row
