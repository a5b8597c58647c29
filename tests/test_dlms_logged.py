"""A DLMS meter's event logs: rows to events, numbers to what the profile says, and nothing from a clock that is off."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from drivers.dlms.refused import ClockOff, ClockUnknown, NoLog, TimeUnset
from edge_agent.model import DlmsSpec, EventNumber, MeterEvent
from edge_agent.ports import Refused
from edge_agent.settings import SiteError
from edge_agent.settings.profile import load_profile
from simulator.line.virtual import run_virtual
from tests.dlms_desk import device, forget_counters, meter, over_hdlc, over_tcp, under_keys
from tests.dlms_served import Profile, Served, capture, place, u16, u32
from tests.test_dlms_recorded import CHINA_MIN, CLOCK, NOW, T0, row, stamp
from tests.test_settings import DLMS_PROFILE

STANDARD, FRAUD = "0-0:99.98.0*255", "0-0:99.98.1*255"
MINUTE_MS, HOUR_MS = 60_000, 3_600_000
MEANS = (EventNumber(1, "power_off", STANDARD), EventNumber(44, "cover_open", FRAUD), EventNumber(47, "programming"))


@pytest.fixture(autouse=True)
def a_process_of_its_own() -> Iterator[None]:
    forget_counters()
    yield
    forget_counters()


def number(log: int) -> bytes:
    return capture(f"0-0:96.11.{log}*255", 1, 2)


def log(name: str, *entries: tuple[int, int], said: int | None = None, **settings: Any) -> Profile:
    """Minutes after T0 and the event's number, the oldest first."""
    rows = [
        (T0 + m * MINUTE_MS - CHINA_MIN * MINUTE_MS, row(stamp(T0 + m * MINUTE_MS, said=said), b"\x11" + bytes((n,))))
        for m, n in entries
    ]
    return Profile(name, (CLOCK, number(int(name[8]))), rows, **{"period_s": 0, **settings})


def served(*logs: Profile, off_ms: int = 0, said: int | None = None, **settings: Any) -> Served:
    found = meter(profiles=list(logs), **settings)
    found.values[place("0-0:1.0.0*255", 8)] = stamp(NOW + off_ms, said=said)
    return found


async def logged(
    meter: Served, since_min: int = 0, *, spec: DlmsSpec | None = None, line: bool = False, now_ms: int | None = NOW,
    named: str = f"{STANDARD}, {FRAUD}", events: tuple[EventNumber, ...] = MEANS,
) -> list[MeterEvent]:  # fmt: skip
    made = device(spec)
    made = replace(made, profile=replace(made.profile, event_log=named, events=events))
    desk = over_hdlc(meter, made)[0] if line else over_tcp(meter, made)
    desk.driver.know([made], lambda: now_ms)
    try:
        return list(await desk.driver.logged("m1", T0 + since_min * MINUTE_MS, {"cover_open": 1}))
    finally:
        await desk.driver.close()


def told(found: list[MeterEvent]) -> list[tuple[str, int]]:
    return sorted((e.code, (e.when_ms - T0) // MINUTE_MS) for e in found if e.when_ms is not None)


def buffers_asked(meter: Served) -> list[bytes]:
    """The selections of every question for a buffer; empty: all of it."""
    return [a[13:] if a[12] else b"" for a in meter.asked if a[:2] == b"\xc0\x01" and a[3:5] + a[11:12] == b"\0\7\2"]


ENTRIES = [(n * 5, 1 if n % 2 else 2) for n in range(1, 100)]
WAYS: dict[str, dict[str, Any]] = {
    "by range": {},
    "by entry": {"ranges": False},
    "whole": {"ranges": False, "entries": False},
    "newest first, by range": {"sort": 2},
    "newest first, by entry": {"sort": 2, "ranges": False},
    "in an order of its own": {"sort": 3},
}


@pytest.mark.parametrize("line", [False, True], ids=["tcp", "hdlc"])
@pytest.mark.parametrize("way", WAYS)
def test_the_entries_of_a_log_however_the_meter_gives_them(way, line):
    async def story() -> None:
        for since_min in (0, 250, 494, 495, 496):
            meter = served(log(STANDARD, *ENTRIES, **WAYS[way]), log(FRAUD, (61, 44), (495, 44)), block=200)
            expected = [("power_off" if n == 1 else f"{STANDARD}/2", m) for m, n in ENTRIES]
            expected += [("cover_open", 61), ("cover_open", 495)]
            found = await logged(meter, since_min, line=line)
            assert told(found) == sorted((c, m) for c, m in expected if m >= since_min)
            assert all(e.frame is not None for e in found)

    run_virtual(story())


def test_of_a_long_log_only_the_newest_entries_are_asked_for_by_place():
    async def story() -> None:
        meter = served(log(STANDARD, *ENTRIES, ranges=False), log(FRAUD))
        assert len(await logged(meter, 470)) == 6
        places = [a for a in buffers_asked(meter) if a[:1] == b"\2"]
        assert [int.from_bytes(a[4:8], "big") for a in places] == [92]
        assert len(await logged(served(log(STANDARD, *ENTRIES, ranges=False)), 0)) == 99

    run_virtual(story())


def test_a_number_is_what_the_profile_says_in_that_log_and_else_stays_a_number():
    async def story() -> None:
        meter = served(log(STANDARD, (1, 1), (2, 44), (3, 47)), log(FRAUD, (4, 1), (5, 44), (6, 47), (7, 200)))
        assert told(await logged(meter)) == sorted([
            ("power_off", 1), (f"{STANDARD}/44", 2), ("programming", 3), (f"{FRAUD}/1", 4), ("cover_open", 5),
            ("programming", 6), (f"{FRAUD}/200", 7),
        ])  # fmt: skip

    run_virtual(story())


def test_a_log_that_the_meter_lacks_hides_nothing_of_the_other():
    async def story() -> None:
        assert told(await logged(served(log(FRAUD, (5, 44))))) == [("cover_open", 5)]
        with pytest.raises(Refused):
            await logged(served())
        with pytest.raises(NoLog, match="names none"):
            await logged(served(log(FRAUD, (5, 44))), named="")
        assert await logged(served(log(STANDARD), log(FRAUD))) == []

    run_virtual(story())


def test_what_is_no_log_of_events_is_not_taken_for_one():
    async def story() -> None:
        energies = replace(log(STANDARD, (1, 1)), columns=(CLOCK, capture("1-0:1.8.0*255", 3, 2)))
        with pytest.raises(NoLog, match="event's number"):
            await logged(served(energies), named=STANDARD)
        bare = replace(log(STANDARD), columns=(number(0),))
        with pytest.raises(NoLog, match="time stamp"):
            await logged(served(bare), named=STANDARD)

    run_virtual(story())


def test_an_entry_is_known_by_the_counter_that_the_profile_reads():
    """`events_power_off` is read at 0-0:96.7.21: of another column nobody knows what it counts."""

    async def story() -> None:
        columns = (CLOCK, number(0), capture("0-0:96.7.21*255", 1, 2), capture("0-0:96.15.0*255", 1, 2))
        made = replace(
            log(STANDARD), columns=columns,
            rows=[(T0 + m * MINUTE_MS - CHINA_MIN * MINUTE_MS, row(stamp(T0 + m * MINUTE_MS), b"\x11" + bytes((n,)),
                   u32(c), u16(99))) for m, n, c in ((10, 1, 7), (20, 47, 7), (30, 1, 8))],
        )  # fmt: skip
        found = await logged(served(made))
        assert [(e.code, e.counter) for e in found] == [("power_off", 7), ("programming", None), ("power_off", 8)]

    run_virtual(story())


def test_under_keys_as_in_the_clear(tmp_path):
    async def story() -> None:
        meter = served(log(STANDARD, *ENTRIES), log(FRAUD, (5, 44)), ciphers=True, stoc=b"P6wRJ21F", block=200)
        found = await logged(meter, spec=under_keys(tmp_path))
        assert len(found) == 100
        assert ("cover_open", 5) in told(found)

    run_virtual(story())


# -- time --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("off_s", "used"), [(299, True), (-299, True), (300, False), (-300, False)])
def test_what_a_clock_stamped_that_is_off_is_not_used(off_s, used):
    async def story() -> None:
        meter = served(log(FRAUD, (5, 44)), off_ms=off_s * 1000)
        if used:
            assert told(await logged(meter)) == [("cover_open", 5)]
            return
        with pytest.raises(ClockOff):
            await logged(meter)
        assert buffers_asked(meter) == []

    run_virtual(story())


def test_stamps_need_their_deviation_and_the_gateway_true_time():
    async def story() -> None:
        bare = served(log(FRAUD, (5, 44), said=-0x8000), said=-0x8000)
        with pytest.raises(ClockUnknown):
            await logged(bare)
        half = served(log(FRAUD, (5, 44), said=-0x8000))
        with pytest.raises(ClockUnknown):
            await logged(half)
        assert told(await logged(bare, spec=DlmsSpec(utc_offset_min=480))) == [("cover_open", 5)]
        with pytest.raises(TimeUnset):
            await logged(served(log(FRAUD, (5, 44))), now_ms=None)

    run_virtual(story())


def test_an_entry_whose_stamp_names_no_instant_has_none():
    async def story() -> None:
        made = log(FRAUD, (5, 44), (6, 44))
        made.rows[1] = (made.rows[1][0], row(b"\0", b"\x11\x2c"))
        found = await logged(served(made, log(STANDARD)))
        assert [(e.code, e.when_ms) for e in found] == [("cover_open", T0 + 5 * MINUTE_MS), ("cover_open", None)]

    run_virtual(story())


# -- the profile -------------------------------------------------------------------------------------------------------

EVENT = f"""
[[event]]
number = 44
means = "cover_open"
log = "{FRAUD}"
"""
WITH_LOGS = DLMS_PROFILE.replace("load_profile", f'event_log = "{STANDARD}, {FRAUD}"\nload_profile', 1) + EVENT
SLIPS = [
    (f"{STANDARD}, ", "99.98.0, ", "record_place"),
    ('"cover_open"', '"cover_opened"', "unknown_event"),
    ('"cover_open"', '"door"', "unknown_event"),
    (f'log = "{FRAUD}"', 'log = "0-0:99.98.2*255"', "event_log_other"),
    (f'event_log = "{STANDARD}, {FRAUD}"', "", "event_log_missing"),
    (EVENT, EVENT + EVENT, "event_twice"),
    (EVENT, EVENT.replace("log =", "#") + EVENT, "event_twice"),
]


@pytest.mark.parametrize(("old", "new", "code"), SLIPS, ids=[f"{s[2]} {n}" for n, s in enumerate(SLIPS)])
def test_a_mistake_in_a_profile(old, new, code, tmp_path):
    path = tmp_path / "acme-c1.toml"
    assert WITH_LOGS.count(old) == 1
    path.write_text(WITH_LOGS.replace(old, new))
    with pytest.raises(SiteError) as wrong:
        load_profile(path)
    assert [m.code for m in wrong.value.mistakes] == [code]
    assert all(m.right for m in wrong.value.mistakes)


def test_a_profile_names_its_logs_and_what_their_numbers_mean(tmp_path):
    path = tmp_path / "acme-c1.toml"
    path.write_text(WITH_LOGS)
    profile = load_profile(path)
    assert profile.events == (EventNumber(44, "cover_open", FRAUD),)
    assert profile.event_log == f"{STANDARD}, {FRAUD}"
