"""What a simulated DLMS meter remembers: load profile and event logs, as the driver reads them."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest

from drivers.dlms.axdr import Data, Tag
from drivers.dlms.cosem_time import CosemTime, of_utc
from drivers.dlms.objects import CaptureObject, Class, Row, attribute, capture_objects, obis, rows
from drivers.dlms.refused import AssociationRefused, DataAccess
from drivers.dlms.selection import CLOCK_COLUMN, by_entry, by_range, by_time
from drivers.dlms.xdlms import Attribute
from simulator.clock import HandClock, Ms
from simulator.device import Exchanged
from simulator.dlms.tables import LogTable
from simulator.faults import Fault, FaultKind
from simulator.shape import factory_day
from tests.sim_dlms import BUFFER, EVENTS, HOUR_MS, T0, Client, connect, local, sim_meter

PROFILE, LOG = obis("1-0:99.1.0.255"), obis("0-0:99.98.0.255")
QUARTER_MS = 900_000
NOW = T0 + 6 * HOUR_MS


def reader(*faults: Fault, now_ms: Ms = NOW, **more: Any) -> Client:
    return connect(sim_meter(*faults, clock=HandClock(now_ms), **more)).open()


def part(client: Client, selection: bytes, of: Attribute = BUFFER) -> list[Row]:
    result = client.value(of._replace(selection=selection))
    columns = capture_objects(client.value(of._replace(attribute=3)))
    return list(rows(result, columns, period_s=900))


def whole(client: Client, of: Attribute = BUFFER) -> list[Row]:
    return part(client, b"", of)


def times(found: list[Row]) -> list[Ms | None]:
    return [row.time.instant().utc_ms if row.time is not None else None for row in found]


def codes(found: list[Row]) -> list[tuple[Ms | None, int]]:
    """Of a log: when, and what."""
    return [(utc_ms, row.cells[1].integer("code")) for utc_ms, row in zip(times(found), found, strict=True)]


def clocks(found: list[Row]) -> list[str]:
    return [local(utc_ms)[3:] for utc_ms in times(found) if utc_ms is not None]


def since_start(found: list[Row]) -> list[Row]:
    return [row for utc_ms, row in zip(times(found), found, strict=True) if utc_ms is not None and utc_ms >= T0]


def energy_wh(row: Row) -> int:
    """The first register of a row; its step is 10 Wh."""
    return row.cells[2].integer("energy") * 10


def at(utc_ms: Ms, deviation_min: int = -480) -> CosemTime:
    return of_utc(utc_ms, deviation_min=deviation_min)


def test_a_quarter_hours_energy_is_what_the_load_curve_says():
    curve = factory_day(peak_w=220_000, mean_w=160_000, pf=0.85, midnight_ms=T0)
    client = reader(now_ms=T0 + 24 * HOUR_MS, curve=curve)
    found = whole(client)
    assert times(found) == [T0 + n * QUARTER_MS for n in range(-96, 97)]
    day = found[96:]
    flowed_wh = [energy_wh(after) - energy_wh(before) for before, after in pairwise(day)]
    for n, wh in enumerate(flowed_wh):
        truth = curve.energies(T0 + (n + 1) * QUARTER_MS).minus(curve.energies(T0 + n * QUARTER_MS)).times(1 / 80)
        assert abs(wh - truth.active_import_wh) <= 10
    assert energy_wh(day[-1]) - energy_wh(day[0]) == sum(flowed_wh) == pytest.approx(24 * 160_000 / 80, abs=10)
    assert max(flowed_wh) == pytest.approx(220_000 / 80 / 4, abs=10)


def test_the_profile_says_how_it_is_made():
    client = reader()
    named = {
        name: client.value(attribute(Class.PROFILE_GENERIC, PROFILE, name))
        for name in ("capture_period", "sort_method", "sort_object", "entries_in_use", "profile_entries")
    }
    assert {name: data.integer(name) for name, data in named.items() if name != "sort_object"} == {
        "capture_period": 900, "sort_method": 1, "entries_in_use": 96 + 25, "profile_entries": 2880,
    }  # fmt: skip
    assert named["sort_object"] == CLOCK_COLUMN.to_data()


def test_by_range_both_ends_are_in_it():
    client = reader()
    assert times(part(client, by_time(at(T0), at(T0 + HOUR_MS)))) == [T0 + n * QUARTER_MS for n in range(5)]
    assert times(part(client, by_time(at(T0 + 1000), at(T0 + HOUR_MS - 1000)))) == [
        T0 + n * QUARTER_MS for n in (1, 2, 3)
    ]
    assert times(part(client, by_time(at(T0, -60), at(T0 + HOUR_MS, -60)))) == [T0 + n * QUARTER_MS for n in range(5)]
    unsaid = [at(T0)._replace(deviation_min=-0x8000), at(T0 + HOUR_MS)._replace(deviation_min=-0x8000)]
    assert times(part(client, by_time(*unsaid))) == [T0 + n * QUARTER_MS for n in range(5)]
    assert part(client, by_time(at(NOW + 1000), at(NOW + HOUR_MS))) == []


def test_by_range_of_some_columns_and_by_a_register():
    client = reader()
    energy = CaptureObject(3, obis("1-0:1.8.0.255"), 2)
    chosen = client.value(BUFFER._replace(selection=by_time(at(T0), at(T0 + HOUR_MS), columns=[CLOCK_COLUMN, energy])))
    assert {len(row.items("row", Tag.STRUCTURE)) for row in chosen.items("buffer", Tag.ARRAY)} == {2}
    ends = [Data(Tag.DOUBLE_LONG_UNSIGNED, wh // 10) for wh in (1_234_560, 1_235_560)]
    found = part(client, by_range(energy, *ends))
    assert times(found) == [T0 + n * QUARTER_MS for n in range(5)]  # 250 Wh a quarter hour
    unknown = CaptureObject(3, obis("1-0:1.9.0.255"), 2)
    assert client.read(BUFFER._replace(selection=by_range(unknown, *ends))) == (DataAccess.OTHER_REASON,)


def test_by_entry_counts_from_one_and_zero_is_the_last():
    client = reader()
    everything = whole(client)
    assert part(client, by_entry(1, 4)) == everything[:4]
    assert part(client, by_entry(118)) == everything[117:]
    assert part(client, by_entry(500, 600)) == []
    two = client.value(BUFFER._replace(selection=by_entry(1, 4, first_column=1, last_column=3)))
    assert {len(row.items("row", Tag.STRUCTURE)) for row in two.items("buffer", Tag.ARRAY)} == {3}
    assert client.read(BUFFER._replace(selection=by_entry(0, 4))) == (DataAccess.OTHER_REASON,)


def test_meters_differ_in_the_ranges_that_they_take():
    said, unsaid = at(T0), at(T0)._replace(deviation_min=-0x8000)
    for ranges, taken in {
        "any": (True, True),
        "needed": (True, False),
        "refused": (False, True),
        "none": (False, False),
    }.items():
        client = reader(ranges=ranges)
        got = tuple(isinstance(client.read(BUFFER._replace(selection=by_time(t, t)))[0], Data) for t in (said, unsaid))
        assert got == taken, ranges
        assert part(client, by_entry(1, 1))


def test_the_newest_first_and_no_more_than_are_kept():
    client = reader(newest_first=True, most_entries=10)
    found = whole(client)
    assert times(found) == [NOW - n * QUARTER_MS for n in range(10)]
    assert client.value(attribute(Class.PROFILE_GENERIC, PROFILE, "sort_method")).integer("") == 2
    assert times(part(client, by_entry(1, 2))) == [NOW, NOW - QUARTER_MS]


def test_nothing_is_remembered_from_before_the_registers_stood_at_zero():
    client = reader(history_s=86_400.0 * 60, capture_s=3600)
    found = whole(client)
    first_ms = times(found)[0]
    assert first_ms is not None
    # 1000 var on the meter's side take 765 h, 1250 VA and 1000 W longer: reactive energy was the last at zero.
    assert (T0 - first_ms) / HOUR_MS == pytest.approx(765_430 / 750, abs=1)
    assert min(cell.integer("cell") for row in found for cell in row.cells[2:]) >= 0


def test_a_meter_without_power_has_a_hole_and_says_so():
    hole = Fault(FaultKind.PROFILE_HOLE, T0 + HOUR_MS + 60_000, T0 + 3 * HOUR_MS + 60_000)
    client = reader(hole)
    found = since_start(whole(client))
    assert clocks(found)[4:6] == ["01:00:00", "03:15:00"]
    assert [row.cells[1].integer("status") for row in found][4:7] == [0, 0x80, 0]
    assert energy_wh(found[5]) - energy_wh(found[4]) == 2250  # the register knows what the profile has not kept
    assert codes(whole(client, EVENTS)) == [(hole.from_ms, 1), (hole.to_ms, 2)]
    assert client.value(attribute(Class.DATA, obis("0-0:96.7.21.255"), "value")).integer("") == 1


def test_a_clock_that_jumps_takes_the_profile_with_it():
    jump = Fault(FaultKind.CLOCK_JUMP, T0 + 60_000, T0 + 2 * HOUR_MS, value=1200.0)
    client = reader(jump, now_ms=T0 + HOUR_MS)
    time_read = client.value(attribute(Class.CLOCK, obis("0-0:1.0.0.255"), "time"))
    assert time_read.octets("") == at(T0 + HOUR_MS + 1_200_000)._replace(status=0).to_octets()
    client = reader(jump)
    found = since_start(whole(client))
    assert clocks(found)[:2] == ["00:00:00", "00:30:00"]  # 20 minutes on, and so no 00:15
    assert clocks(found)[6:11] == ["01:45:00", "02:00:00", "02:15:00", "02:00:00", "02:15:00"]  # and back again
    assert [stamp for stamp, row in zip(clocks(found), found, strict=True) if row.cells[1].integer("") & 0x20] == [
        "00:30:00", "02:00:00",
    ]  # fmt: skip
    log = [(local(utc_ms)[3:], code) for utc_ms, code in codes(whole(client, EVENTS)) if utc_ms is not None]
    assert log == [("00:01:00", 4), ("00:21:00", 5), ("02:20:00", 4), ("02:00:00", 5)]


def test_null_cells_are_what_stood_above_and_the_reader_gets_the_same_rows():
    plain = whole(reader())
    spared = reader(Fault(FaultKind.NULL_CELLS))
    buffer = spared.value(BUFFER)
    cells = [cell for row in buffer.items("buffer", Tag.ARRAY) for cell in row.items("row", Tag.STRUCTURE)]
    nulls = sum(cell.tag is Tag.NULL for cell in cells)
    assert nulls > 96 * 3  # time stamps, the status, the registers of what does not flow
    assert [(row.time, row.cells[2:]) for row in whole(spared)] == [(row.time, row.cells[2:]) for row in plain]


def test_a_column_without_values():
    hollow = Fault(FaultKind.NULL_CELLS, T0 + HOUR_MS, T0 + 2 * HOUR_MS, quantity="active_energy_import")
    buffer = reader(hollow).value(BUFFER)
    column = [row.items("row", Tag.STRUCTURE)[2].tag for row in buffer.items("buffer", Tag.ARRAY)]
    assert column.count(Tag.NULL) == 4
    assert [n for n, tag in enumerate(column) if tag is Tag.NULL] == [100, 101, 102, 103]


def test_a_rescaled_register_takes_its_column_with_it_and_the_meter_logs_it():
    rescaled = Fault(FaultKind.RESCALED, T0 + HOUR_MS, quantity="active_energy_import", value=0)
    before, after = reader(rescaled, now_ms=T0), reader(rescaled)
    scaler = attribute(Class.REGISTER, obis("1-0:1.8.0.255"), "scaler_unit")
    assert [c.value(scaler).items("", Tag.STRUCTURE)[0].integer("") for c in (before, after)] == [1, 0]
    assert whole(after)[96].cells[2].integer("") == 10 * whole(before)[96].cells[2].integer("")
    changes = attribute(Class.DATA, obis("0-0:96.2.0.255"), "value")
    assert [c.value(changes).integer("") for c in (before, after)] == [0, 1]
    assert [row.cells[1].integer("") for row in whole(after, EVENTS)] == [47]


def test_logs_hold_what_the_scenario_says_and_who_was_locked_out():
    logs = [LogTable(at=3600.0, code=40, log=1), LogTable(at=60.0, code=33), LogTable(at=9e6, code=99)]
    meter = sim_meter(clock=HandClock(NOW), logs=logs)
    with pytest.raises(AssociationRefused):
        connect(meter, "lls", password=b"guess").open()
    client = connect(meter).open()
    assert codes(whole(client, EVENTS)) == [(T0 + 60_000, 33), (NOW, 46)]
    fraud = attribute(Class.PROFILE_GENERIC, obis("0-0:99.98.1.255"), "buffer")
    assert codes(whole(client, fraud)) == [(T0 + HOUR_MS, 40)]
    assert codes(part(client, by_time(at(T0), at(T0 + HOUR_MS)), EVENTS)) == [(T0 + 60_000, 33)]


def test_another_meter_has_another_memory():
    new = Exchanged(T0 + 2 * HOUR_MS + 1, "0000999999", {"active_energy_import": 0.0})
    client = reader(events=[new])
    assert times(whole(client))[0] == T0 + 2 * HOUR_MS + QUARTER_MS
    assert client.value(attribute(Class.DATA, obis("0-0:96.1.0.255"), "value")).octets("") == b"0000999999"
