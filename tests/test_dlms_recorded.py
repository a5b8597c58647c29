"""A DLMS meter's load profile: rows to values, stamps to UTC, and nothing from a clock that is off."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from drivers.dlms.refused import ClockOff, ClockUnknown, NoProfile, TimeUnset
from edge_agent.load.recorded import recorded_periods
from edge_agent.model import DlmsSpec, Recorded
from edge_agent.ports import BadReply, NoReply, Refused
from simulator.line.virtual import run_virtual
from tests.dlms_desk import device, forget_counters, meter, over_hdlc, over_tcp, under_keys
from tests.dlms_served import Profile, Served, capture, place, scaler, u16, u32
from tests.ledger_bench import point

NAME = "1-0:99.1.0*255"
QUARTER_MS = 900_000
T0 = int(datetime(2026, 11, 24, 0, 0, tzinfo=UTC).timestamp() * 1000)
NOW = T0 + 40 * QUARTER_MS  # ten hours later
CHINA_MIN = -480


@pytest.fixture(autouse=True)
def a_process_of_its_own() -> Iterator[None]:
    forget_counters()
    yield
    forget_counters()


def stamp(utc_ms: int, *, deviation_min: int = CHINA_MIN, said: int | None = None, status: int = 0) -> bytes:
    """What the meter's clock shows, by hand; `said`: the deviation that it writes."""
    shown = datetime.fromtimestamp((utc_ms - deviation_min * 60_000) / 1000, UTC)
    said = deviation_min if said is None else said
    head = shown.year.to_bytes(2, "big") + bytes((shown.month, shown.day, 0xFF, shown.hour, shown.minute, shown.second))
    return b"\x09\x0c" + head + b"\xff" + said.to_bytes(2, "big", signed=True) + bytes((status,))


CLOCK, STATUS = capture("0-0:1.0.0*255", 8, 2), capture("0-0:96.10.1*255", 1, 2)
IMPORT, EXPORT = capture("1-0:1.8.0*255", 3, 2), capture("1-0:2.8.0*255", 3, 2)


def row(*cells: bytes) -> bytes:
    return b"\x02" + bytes((len(cells),)) + b"".join(cells)


def profile(rows: int = 40, *, said: int | None = None, deviation_min: int = CHINA_MIN, **settings: Any) -> Profile:
    """Quarter hours from T0 on: 10 Wh x 50 each; the meter left time stamps out where it could."""
    made = []
    for n in range(1, rows + 1):
        utc_ms = T0 + n * QUARTER_MS
        time = stamp(utc_ms, deviation_min=deviation_min, said=said)
        status = b"\x11" + bytes((0x80 if n == 7 else 0x02 if n == 9 else 0,))
        made.append((utc_ms - deviation_min * 60_000, row(time, status, u32(1000 + 50 * n), u32(77))))
    return Profile(NAME, (CLOCK, STATUS, IMPORT, EXPORT), made, **settings)


def served(made: Profile, *, off_ms: int = 0, said: int | None = None, **settings: Any) -> Served:
    found = meter(profiles=[made], **settings)
    found.values[place("0-0:1.0.0*255", 8)] = stamp(NOW + off_ms, said=said)
    return found


async def recorded(
    meter: Served, since: int = 0, until: int = 40, *, spec: DlmsSpec | None = None, line: bool = False,
    now_ms: int | None = NOW,
) -> list[Recorded]:  # fmt: skip
    """Quarter hours by number."""
    made = device(spec, load_profile=NAME)
    desk = over_hdlc(meter, made)[0] if line else over_tcp(meter, made)
    desk.driver.know([made], lambda: now_ms)
    try:
        return list(await desk.driver.recorded("m1", T0 + since * QUARTER_MS, T0 + until * QUARTER_MS))
    finally:
        await desk.driver.close()


def energies(found: list[Recorded]) -> dict[int, float]:
    return {(r.end_ms - T0) // QUARTER_MS: r.value for r in found if r.quantity == "active_energy_import"}


EXPECTED = {n: 10.0 * (1000 + 50 * n) for n in range(1, 41)}
WAYS: dict[str, dict[str, Any]] = {
    "by range": {},
    "by entry": {"ranges": False},
    "whole": {"ranges": False, "entries": False},
    "newest first, by range": {"sort": 2},
    "newest first, by entry": {"sort": 2, "ranges": False},
}


@pytest.mark.parametrize("line", [False, True], ids=["tcp", "hdlc"])
@pytest.mark.parametrize("way", WAYS)
def test_a_part_of_the_profile_however_the_meter_gives_it(way, line):
    async def story() -> None:
        for since, until in ((0, 40), (10, 20), (39, 40), (0, 1)):
            found = await recorded(served(profile(**WAYS[way]), block=200), since, until, line=line)
            assert energies(found) == {n: v for n, v in EXPECTED.items() if since < n <= until}
            assert [r.end_ms for r in found] == sorted(r.end_ms for r in found)
            assert {(r.kind, r.period_ms, r.step) for r in found if r.quantity == "active_energy_import"} == {
                ("register", QUARTER_MS, 10.0)
            }

    run_virtual(story())


def test_under_keys_as_in_the_clear(tmp_path):
    async def story() -> None:
        meter = served(profile(), ciphers=True, stoc=b"P6wRJ21F", block=200)
        assert energies(await recorded(meter, spec=under_keys(tmp_path))) == EXPECTED

    run_virtual(story())


def test_what_the_meter_says_of_an_entry_stands_beside_it_and_periods_follow():
    async def story() -> None:
        found = await recorded(served(profile()))
        said = {(r.end_ms - T0) // QUARTER_MS: r.status for r in found if r.status}
        assert said == {7: ("power_down",), 9: ("clock_invalid",)}
        periods = {(i.end_ms - T0) // QUARTER_MS for i in recorded_periods(point(), found)}
        assert periods == set(range(2, 41)) - {9, 10}  # a distrusted register ends two periods

    run_virtual(story())


def test_only_as_much_is_fetched_as_was_asked_for():
    async def story() -> None:
        meter = served(profile(40, ranges=False))
        await recorded(meter, 10, 12)
        entries = [apdu[13:] for apdu in meter.asked if apdu[3:12] == place(NAME, 7, 2) and apdu[12:14] == b"\1\2"]
        (asked,) = entries
        first, last = int.from_bytes(asked[4:8], "big"), int.from_bytes(asked[9:13], "big")
        assert first <= 11
        assert last >= 12
        assert last - first < 25

    run_virtual(story())


def test_rows_that_are_missing_do_not_hide_the_others():
    """The meter was without supply for five hours: the rows by number are not where the clock says."""

    async def story() -> None:
        made = profile(40, ranges=False)
        made.rows = made.rows[:10] + made.rows[30:]
        found = energies(await recorded(served(made), 0, 12))
        assert found == {n: v for n, v in EXPECTED.items() if n <= 10}
        assert energies(await recorded(served(made), 29, 40)) == {n: v for n, v in EXPECTED.items() if n > 30}

    run_virtual(story())


# -- time --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["unspecified", "real", "zero"])
def test_the_ends_of_a_range_as_the_meter_takes_them(way):
    async def story() -> None:
        meter = served(profile())
        found = await recorded(meter, 10, 20, spec=DlmsSpec(range_deviation=way))
        assert energies(found) == {n: v for n, v in EXPECTED.items() if 10 < n <= 20}
        access = next(apdu[13:] for apdu in meter.asked if apdu[3:12] == place(NAME, 7, 2) and apdu[12] == 1)
        deviation = access[3 + 2 + 3 + 8 + 2 + 3 + 2 :][9:11]
        assert deviation == {"unspecified": b"\x80\x00", "real": b"\xfe\x20", "zero": b"\0\0"}[way]

    run_virtual(story())


def test_a_meter_that_reads_the_ends_otherwise_is_asked_by_place():
    """It takes the ends of the range for another day and finds nothing there."""

    async def story() -> None:
        made = profile()
        made.rows = [(at - 10 * 86_400_000, cells) for at, cells in made.rows]
        meter = served(made)
        assert energies(await recorded(meter, 10, 20)) == {n: v for n, v in EXPECTED.items() if 10 < n <= 20}
        assert any(apdu[3:12] == place(NAME, 7, 2) and apdu[12:14] == b"\1\2" for apdu in meter.asked)

    run_virtual(story())


@pytest.mark.parametrize("line", [False, True], ids=["tcp", "hdlc"])
@pytest.mark.parametrize("made", [{}, {"sort": 2}, {"entries": False}], ids=["by entry", "newest first", "whole"])
@pytest.mark.parametrize("deviation_min", [0, -120, -420, -600, -720])
def test_rows_that_are_stamped_in_another_zone_than_the_clock_shows_are_all_found(deviation_min, made, line):
    """The ends of a range are taken as the meter's clock shows time, and its rows are compared in their own zone."""

    async def story() -> None:
        for since, until in ((0, 40), (10, 20), (39, 40), (0, 1)):
            meter = served(profile(deviation_min=deviation_min, **made), block=200)
            found = await recorded(meter, since, until, line=line)
            assert energies(found) == {n: v for n, v in EXPECTED.items() if since < n <= until}

    run_virtual(story())


def test_stamps_without_a_deviation_need_the_site_to_say_it():
    async def story() -> None:
        bare = served(profile(said=-0x8000), said=-0x8000)
        with pytest.raises(ClockUnknown) as unknown:
            await recorded(bare)
        assert isinstance(unknown.value, Refused)
        half = served(profile(said=-0x8000))  # the clock says it, the profile does not
        with pytest.raises(ClockUnknown):
            await recorded(half)
        assert energies(await recorded(bare, spec=DlmsSpec(utc_offset_min=480))) == EXPECTED

    run_virtual(story())


@pytest.mark.parametrize(
    ("off_s", "used"), [(0, True), (299, True), (-299, True), (300, False), (-300, False), (86_400, False)]
)
def test_what_a_clock_stamped_that_is_off_is_not_used(off_s, used):
    async def story() -> None:
        meter = served(profile(), off_ms=off_s * 1000)
        if used:
            assert energies(await recorded(meter)) == EXPECTED
            return
        with pytest.raises(ClockOff) as off:
            await recorded(meter)
        assert isinstance(off.value, BadReply)
        assert f"{off_s:+d} s off" in str(off.value)
        assert not any(apdu[3:12] == place(NAME, 7, 2) for apdu in meter.asked)

    run_virtual(story())


def test_an_hour_that_comes_twice_is_told_apart_by_the_deviation():
    """A meter in Central Europe over the end of summer time: 02:00 to 03:00 is written down twice."""
    end = int(datetime(2026, 10, 25, 1, 0, tzinfo=UTC).timestamp() * 1000)

    async def story() -> None:
        rows = []
        for n in range(-8, 9):
            at = end + n * QUARTER_MS
            deviation = -60 if n > 0 else -120  # at 01:00 UTC itself it still shows 03:00 summer time
            cells = (
                stamp(at, deviation_min=deviation, status=0 if n > 0 else 0x80),
                b"\x11\0",
                u32(2000 + 50 * n),
                u32(7),
            )
            rows.append((at - deviation * 60_000, row(*cells)))
        meter = served(Profile(NAME, (CLOCK, STATUS, IMPORT, EXPORT), rows, ranges=False, entries=False))
        meter.values[place("0-0:1.0.0*255", 8)] = stamp(end + 9 * QUARTER_MS, deviation_min=-60)
        made = device(None, load_profile=NAME)
        desk = over_tcp(meter, made)
        desk.driver.know([made], lambda: end + 9 * QUARTER_MS)
        found = await desk.driver.recorded("m1", end - 9 * QUARTER_MS, end + 8 * QUARTER_MS)
        await desk.driver.close()
        imported = {(r.end_ms - end) // QUARTER_MS: r.value for r in found if r.quantity == "active_energy_import"}
        assert imported == {n: 10.0 * (2000 + 50 * n) for n in range(-8, 9)}

    run_virtual(story())


def test_without_true_time_of_our_own_no_clock_is_judged():
    async def story() -> None:
        with pytest.raises(TimeUnset) as unset:
            await recorded(served(profile()), now_ms=None)
        assert isinstance(unset.value, NoReply)

    run_virtual(story())


def test_null_cells_repeat_and_null_stamps_go_on_by_the_period():
    async def story() -> None:
        made = profile(8)
        kept = made.rows[0][1]
        made.rows = [made.rows[0]] + [(at, row(b"\0", b"\0", u32(1000 + 50 * n), b"\0")) for n, (at, _) in
                                      enumerate(made.rows[1:], 2)]  # fmt: skip
        assert kept != made.rows[1][1]
        found = await recorded(served(made), 0, 8)
        assert energies(found) == {n: v for n, v in EXPECTED.items() if n <= 8}
        assert {r.value for r in found if r.quantity == "active_energy_export"} == {77.0}

    run_virtual(story())


# -- columns -----------------------------------------------------------------------------------------------------------


def columns_of(*columns: bytes, cells: tuple[bytes, ...], **settings: Any) -> Profile:
    rows = [(T0 + n * QUARTER_MS - CHINA_MIN * 60_000, row(stamp(T0 + n * QUARTER_MS), *cells)) for n in range(1, 5)]
    return Profile(NAME, (CLOCK, *columns), rows, **settings)


async def kinds(made: Profile, **more: bytes) -> set[tuple[str, str, float]]:
    meter = served(made)
    meter.values |= {bytes.fromhex(k): v for k, v in more.items()}
    return {(r.quantity, r.kind, r.value) for r in await recorded(meter, 0, 4)}


def test_columns_by_their_objects():
    async def story() -> None:
        in_period = columns_of(capture("1-0:1.29.0*255", 3, 2), cells=(u32(500),))
        unit = {place("1-0:1.29.0*255", 3, 3).hex(): scaler(0, 30)}
        assert await kinds(in_period, **unit) == {("active_energy_import", "energy", 500.0)}
        mean = columns_of(capture("1-0:1.5.0*255", 3, 2), cells=(u32(2000),))
        unit = {place("1-0:1.5.0*255", 3, 3).hex(): scaler(0, 27)}
        assert await kinds(mean, **unit) == {("active_energy_import", "demand", 2000.0)}
        last = columns_of(capture("1-0:1.4.0*255", 5, 3), cells=(u32(1500),))
        over = {place("1-0:1.4.0*255", 5, 8).hex(): u32(900), place("1-0:1.4.0*255", 5, 9).hex(): u16(1)}
        assert await kinds(last, **over) == {("active_energy_import", "demand", 1500.0)}
        both = columns_of(capture("1-0:1.29.0*255", 3, 2), IMPORT, cells=(u32(500), u32(9)))
        assert await kinds(both) == {("active_energy_import", "register", 90.0)}

    run_virtual(story())


@pytest.mark.parametrize(
    "made",
    [
        columns_of(capture("1-0:32.7.0*255", 3, 2), cells=(u16(2300),)),  # a voltage
        columns_of(capture("1-0:1.4.0*255", 5, 2), cells=(u32(1),)),  # the average of now
        Profile(NAME, (IMPORT,), []),  # no time stamp
    ],
    ids=["no energy", "an average that runs", "no stamps"],
)
def test_a_profile_that_says_nothing_of_energies_is_refused(made):
    async def story() -> None:
        with pytest.raises(NoProfile):
            await recorded(served(made))

    run_virtual(story())


def test_a_mean_over_another_time_than_the_period_is_not_used():
    async def story() -> None:
        made = columns_of(capture("1-0:1.4.0*255", 5, 3), cells=(u32(1500),))
        for period, count in ((1800, 1), (900, 3)):
            meter = served(made)
            meter.values[place("1-0:1.4.0*255", 5, 8)] = u32(period)
            meter.values[place("1-0:1.4.0*255", 5, 9)] = u16(count)
            with pytest.raises(NoProfile):
                await recorded(meter, 0, 4)

    run_virtual(story())


def test_a_device_without_a_profile_and_a_meter_that_has_none():
    async def story() -> None:
        bare = device()
        desk = over_tcp(meter(), bare)
        desk.driver.know([bare], lambda: NOW)
        with pytest.raises(NoProfile):
            await desk.driver.recorded("m1", T0, NOW)
        with pytest.raises(Refused):
            await desk.driver.recorded("m2", T0, NOW)
        lacking = meter()
        lacking.values[place("0-0:1.0.0*255", 8)] = stamp(NOW)
        with pytest.raises(Refused):
            await recorded(lacking)

    run_virtual(story())
