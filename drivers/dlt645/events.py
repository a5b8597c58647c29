"""Event records of a meter: for each kind of event its last ten, the newest first, each with its times.

A record is read where its kind's counter has risen, and only as many as it rose by. Its fields follow one another,
each with its lowest octet first; of them the times are used, and the code of who had access. Where a meter writes no
end yet, or has no such record, the octets are zeros or FF. The counter of magnetic fields (03350000) is a State Grid
extension
whose records are not in the standard: none are read.

Source: DL/T 645-2007, Annex A, table A.4, as given in the item list of dlt645 3.2.0 (600888/dlt645, Apache-2.0,
python/src/config/event_record_types: 030101nn to 030103nn, 030401nn, 030B01nn, 031100nn, 033000nn to 033004nn,
03300Dnn, 03300Enn) and, in part, at toolkit.eoiot.cn/documentation/appendix-A-4. That the first field goes out first,
and the operator's code in front of the times of a clock that was set, also in wuhuangrui/C82_DL689
ClouSoft/MeterPro/DL645V07.cpp at cbf4c18d (GetDataVal, 0xc8), which passes over that code's four octets.
"""

from __future__ import annotations

from datetime import UTC, datetime, tzinfo
from typing import NamedTuple

from edge_agent.model import DeviceId, Frame, MeterEvent, Ms

RECORDS = 10
"""So many of each kind a meter keeps; the last octet of the identifier counts them, 1 the newest."""

_STAMP, _OPERATOR = 6, 4


class Layout(NamedTuple):
    """Where in a record the times and the operator's code begin, in octets; None: it has no such thing."""

    base: int  # the identifier, with 0 for the number of the record
    when: int = 0
    until: int | None = None
    operator: int | None = None

    @property
    def octets(self) -> int:
        """A record has at least so many."""
        ends = [self.when + _STAMP]
        ends += [self.until + _STAMP] if self.until is not None else []
        return max([*ends, self.operator + _OPERATOR] if self.operator is not None else ends)


LAYOUTS: dict[str, Layout] = {
    "programming": Layout(0x03300000, operator=6),
    "meter_reset": Layout(0x03300100, operator=6),
    "demand_reset": Layout(0x03300200, operator=6),
    "event_reset": Layout(0x03300300, operator=6),
    "clock_set": Layout(0x03300400, when=10, operator=0),  # as the clock shows it once it is set
    "cover_open": Layout(0x03300D00, until=6),
    "terminal_cover_open": Layout(0x03300E00, until=6),
    "power_off": Layout(0x03110000, until=6),
    **{
        f"{what}_l{phase}": Layout(base | phase << 8, until=6)
        for what, base in (("voltage_loss", 0x03010000), ("phase_break", 0x03040000), ("current_loss", 0x030B0000))
        for phase in (1, 2, 3)
    },
}


def record_of(code: str, number: int) -> int | None:
    """The identifier of the kind's n-th newest record, None where there are none to read."""
    layout = LAYOUTS.get(code)
    return None if layout is None or not 1 <= number <= RECORDS else layout.base | number


def event_of(device: DeviceId, code: str, octets: bytes, zone: tzinfo, frame: Frame | None) -> MeterEvent | None:
    """What a record says; None where it is none: too short, never written, or with a time that no calendar has."""
    layout = LAYOUTS[code]
    if len(octets) < layout.octets:
        return None
    when_ms = stamp_ms(octets[layout.when : layout.when + _STAMP], zone)
    if when_ms is None:
        return None
    until_ms = None if layout.until is None else stamp_ms(octets[layout.until : layout.until + _STAMP], zone)
    operator = b"" if layout.operator is None else octets[layout.operator : layout.operator + _OPERATOR]
    return MeterEvent(device, code, when_ms, None, until_ms, operator[::-1].hex().upper(), frame)


def stamp_ms(octets: bytes, zone: tzinfo) -> Ms | None:
    """ss mm hh DD MM YY in the meter's local time, as UTC ms; None for what is no time."""
    digits = octets[::-1].hex()
    if not digits.isdecimal():
        return None
    year, month, day, hour, minute, second = (int(digits[i : i + 2]) for i in range(0, 12, 2))
    try:
        local = datetime(2000 + year, month, day, hour, minute, second, tzinfo=zone)
    except ValueError:
        return None
    return round(local.astimezone(UTC).timestamp() * 1000)
