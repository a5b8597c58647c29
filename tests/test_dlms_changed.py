"""A simulated DLMS meter that is changed while the agent reads it: scalers, clock, profile, and a silent end."""

from __future__ import annotations

import time

import pytest

from drivers.dlms.refused import ClockOff
from edge_agent.model import Quantity, Reading
from tests.sim_dlms import T0
from tests.sim_line import Reader
from tests.test_dlms_spoiled import FROM, HOUR_MS, QUARTER_MS, TO, WHOLE, everything, played

WIRES = ("tcp", "hdlc")
MINUTE_MS = 60_000


def steps_of(reader: Reader, quantity: Quantity) -> float:
    (found,) = [o for o in reader.read() if o.quantity == quantity]
    assert isinstance(found, Reading), found
    return found.step


@pytest.mark.parametrize("keys", [False, True], ids=["plain", "keys"])
@pytest.mark.parametrize("wire", WIRES)
def test_a_scaler_that_changes_amid_an_association_changes_no_value(wire, keys, tmp_path):
    energy = Quantity.ACTIVE_ENERGY_IMPORT
    fault = 'quantity = "active_energy_import"\nvalue = 0'
    with played(tmp_path, "rescaled", fault, wire=wire, keys=keys) as (reader, meter):
        assert everything(reader) == WHOLE
        assert steps_of(reader, energy) == 10.0
        opened = meter.counts.associations
        for at_ms, step in ((FROM, 1.0), (FROM + HOUR_MS // 2, 1.0), (TO, 10.0)):
            reader.hand.now_ms = at_ms
            assert everything(reader) == WHOLE
            assert steps_of(reader, energy) == step
        assert meter.counts.associations == opened, "amid one association"
        logged = [(e.code, e.when_ms) for e in reader.logged(T0) if e.code == "programming"]
        assert sorted(logged) == [("programming", FROM), ("programming", TO)]


def test_what_a_profile_recorded_is_under_the_scalers_of_now(tmp_path):
    """Asked for before any register was read under the new scaler."""
    fault = 'quantity = "active_energy_import"\nvalue = 0'
    with played(tmp_path, "rescaled", fault, wire="tcp") as (reader, _):
        assert len(reader.recorded(T0, T0 + HOUR_MS)) == 16
        reader.hand.now_ms = FROM
        found = reader.recorded(T0, T0 + HOUR_MS)
        assert len(found) == 16
        for r in found:
            assert abs(r.value - float(reader.meter.value(str(r.quantity), r.end_ms))) <= r.step + 1e-6


@pytest.mark.parametrize("wire", WIRES)
def test_while_a_clock_is_off_nothing_that_it_stamped_is_used(wire, tmp_path):
    with played(tmp_path, "clock_jump", "value = 1200", wire=wire) as (reader, _):
        assert everything(reader) == WHOLE
        reader.hand.now_ms = FROM + MINUTE_MS
        for ask in (lambda: reader.recorded(T0, FROM), lambda: reader.logged(T0)):
            with pytest.raises(ClockOff, match=r"\+1200 s off"):
                ask()
        clocks = {o.quantity for o in reader.read() if isinstance(o, Reading)}
        assert Quantity.ACTIVE_ENERGY_IMPORT in clocks, "its registers are no worse for that"
        reader.hand.now_ms = TO + MINUTE_MS
        found = {(e.code, e.when_ms) for e in reader.logged(T0)}
        assert ("clock_set", FROM + 1_200_000) in found, "stamped by the clock as it was set"
        assert ("clock_set", TO) in found


@pytest.mark.parametrize("wire", WIRES)
def test_an_hour_without_power_is_no_entries_and_two_marks_in_the_log(wire, tmp_path):
    with played(tmp_path, "profile_hole", wire=wire) as (reader, _):
        reader.hand.now_ms = TO + HOUR_MS
        found = reader.recorded(T0 + HOUR_MS, TO + HOUR_MS)
        ends = sorted({(r.end_ms - T0) // QUARTER_MS for r in found})
        assert ends == [5, 6, 7, 12, 13, 14, 15, 16]
        assert [e.when_ms for e in reader.logged(T0) if e.code == "power_off"] == [FROM]
        (count,) = [o for o in reader.read() if o.quantity == Quantity.EVENTS_POWER_OFF]
        assert isinstance(count, Reading)
        assert count.value == 1


@pytest.mark.parametrize("wire", WIRES)
def test_cells_that_a_meter_leaves_out_are_what_stood_above(wire, tmp_path):
    with played(tmp_path, "null_cells", wire=wire) as (reader, _):
        reader.hand.now_ms = TO + HOUR_MS
        found = reader.recorded(T0 + HOUR_MS, TO + HOUR_MS)
        assert len(found) == 4 * 12
        for r in found:
            assert abs(r.value - float(reader.meter.value(str(r.quantity), r.end_ms))) <= r.step + 1e-6


@pytest.mark.parametrize("keys", [False, True], ids=["plain", "keys"])
@pytest.mark.parametrize("wire", WIRES)
def test_an_association_that_the_meter_ended_by_itself_is_opened_anew(wire, keys, tmp_path):
    """The site file says 120 s and the meter waits for one: the next poll finds it gone, and all is read."""
    with played(
        tmp_path, "split", "one_in = 1000000", wire=wire, keys=keys, dlms="inactivity_s = 1", inactivity_s=120
    ) as (reader, meter):
        for n in range(3):
            assert everything(reader) == WHOLE, n
            opened = meter.counts.associations
            time.sleep(1.3)
        assert opened >= 3
        assert not meter.ledger.twice
