"""COSEM data, times, units and objects: octets in, typed values out, and back; no value from octets with a flaw."""

from __future__ import annotations

import tomllib
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import event, given
from hypothesis import strategies as st

from drivers.dlms import objects
from drivers.dlms.axdr import Bits, Data, Limits, Tag, array, decode, encode, float_of, octet_string, structure
from drivers.dlms.cosem_time import ANY_DEVIATION, CosemTime, Missing, date_only, date_time, of_utc, time_only
from drivers.dlms.objects import CaptureObject, Class, Measured, SortMethod, obis
from drivers.dlms.refused import Malformed, NotSupported, Unsupported
from drivers.dlms.selection import by_entry, by_time
from drivers.dlms.units import SYMBOLS, ScalerUnit, scaled
from edge_agent.ports import DriverError

VECTORS = tomllib.loads((Path(__file__).parent / "vectors/dlms/data.toml").read_text("utf-8"))


def same(a: Data, b: Data) -> bool:
    """Equal in tag, type and value; NaN is NaN."""
    return repr(a) == repr(b)


@pytest.mark.parametrize("case", VECTORS["value"], ids=lambda c: c["is"][:40])
def test_values_both_ways(case):
    octets = bytes.fromhex(case["hex"])
    data = decode(octets)
    assert f"{data.tag.name} {data.value!r}" == case["is"]
    assert encode(data) == octets


@pytest.mark.parametrize("case", VECTORS["value"], ids=lambda c: c["is"][:40])
def test_a_value_cut_anywhere_is_none(case):
    octets = bytes.fromhex(case["hex"])
    for length in range(len(octets)):
        with pytest.raises(Malformed):
            decode(octets[:length])


@pytest.mark.parametrize("case", VECTORS["malformed"], ids=lambda c: c["why"])
def test_what_is_no_value(case):
    with pytest.raises(Malformed):
        decode(bytes.fromhex(case["hex"]))


@pytest.mark.parametrize("case", VECTORS["refused"], ids=lambda c: c["what"])
def test_what_is_recognised_and_not_read_says_so(case):
    with pytest.raises(NotSupported) as refused:
        decode(bytes.fromhex(case["hex"]))
    assert refused.value.what is Unsupported(case["what"])


def test_true_is_whatever_is_not_zero():
    assert [decode(bytes((3, n))).value for n in (0, 1, 255)] == [False, True, True]


def test_a_long_unsigned_is_not_a_double_long():
    assert decode(bytes.fromhex("120005")) != decode(bytes.fromhex("0600000005"))


def test_nesting_ends_somewhere():
    deep = b"\x02\x01" * 15 + b"\x11\x01"
    assert decode(deep).tag is Tag.STRUCTURE
    for levels in (17, 1000, 100_000):
        with pytest.raises(Malformed, match="nested deeper"):
            decode(b"\x02\x01" * levels + b"\x11\x01")


def test_elements_and_octets_are_bounded():
    many = b"\x01\x82\x03\xe8" + b"\x00" * 1000
    assert len(decode(many).items("array", Tag.ARRAY)) == 1000
    with pytest.raises(Malformed, match="elements"):
        decode(many, Limits(elements=1000))
    with pytest.raises(Malformed, match="at most 100"):
        decode(many, Limits(octets=100))
    # A tree whose every branch promises as much as there are octets left: the limit is on all elements together.
    with pytest.raises(Malformed):
        decode((b"\x01\x82\xff\xff" * 15 + b"\x00") * 2000, Limits(octets=1_000_000))


@pytest.mark.parametrize(
    "data",
    [
        Data(Tag.UNSIGNED, 256),
        Data(Tag.INTEGER, -129),
        Data(Tag.OCTET_STRING, 5),
        Data(Tag.VISIBLE_STRING, b"text"),
        Data(Tag.VISIBLE_STRING, "电"),
        Data(Tag.NULL, 0),
        Data(Tag.DATE_TIME, b"short"),
        Data(Tag.BIT_STRING, Bits(9, b"\xff")),
        Data(Tag.ARRAY, Bits(8, b"\xff")),
        Data(Tag.COMPACT_ARRAY, ()),
    ],
)
def test_a_value_that_its_type_cannot_hold_is_not_sent(data):
    with pytest.raises(ValueError):
        encode(data)


def _integers(tag: Tag, octets: int, signed: bool) -> st.SearchStrategy[Data]:
    low, high = (-(1 << 8 * octets - 1), (1 << 8 * octets - 1) - 1) if signed else (0, (1 << 8 * octets) - 1)
    return st.builds(Data, st.just(tag), st.integers(low, high))


LEAVES = st.one_of(
    _integers(Tag.DOUBLE_LONG, 4, True),
    _integers(Tag.LONG_UNSIGNED, 2, False),
    _integers(Tag.LONG64, 8, True),
    _integers(Tag.ENUM, 1, False),
    st.just(Data(Tag.NULL, None)),
    st.builds(Data, st.just(Tag.BOOLEAN), st.booleans()),
    st.builds(octet_string, st.binary(max_size=300)),
    st.builds(Data, st.just(Tag.UTF8_STRING), st.text(max_size=20)),
    st.builds(float_of, st.one_of(st.binary(min_size=4, max_size=4), st.binary(min_size=8, max_size=8))),
    st.builds(Data, st.just(Tag.DATE_TIME), st.binary(min_size=12, max_size=12)),
)
TREES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=5).flatmap(lambda i: st.sampled_from([array(*i), structure(*i)])),
    max_leaves=20,
)


@given(TREES)
def test_whatever_is_encoded_is_decoded_as_it_was(data):
    event(data.tag.name)
    octets = encode(data)
    assert same(decode(octets), data)
    assert encode(decode(octets)) == octets


@given(st.binary(max_size=60))
def test_any_octets_are_a_value_or_a_named_refusal(octets):
    try:
        data = decode(octets)
    except DriverError:
        event("refused")
    else:
        event("a value")
        assert same(decode(encode(data)), data)


# -- time -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", VECTORS["time"], ids=lambda c: c["name"])
def test_times(case):
    octets = bytes.fromhex(case["hex"])
    time = date_time(octets)
    assert time.to_octets() == octets
    instant = time.instant()
    assert instant.utc_ms == case.get("utc_ms")
    assert instant.missing is (Missing[case["missing"]] if "missing" in case else None)


@pytest.mark.parametrize("case", VECTORS["impossible"], ids=lambda c: c["what"])
def test_times_that_no_clock_shows(case):
    with pytest.raises(Malformed, match=case["what"]):
        date_time(bytes.fromhex(case["hex"]))


def test_a_meter_without_a_deviation_is_understood_by_who_knows_its_zone():
    winter = CosemTime(2026, 1, 15, 4, 12, 0, 0, 0, ANY_DEVIATION, 0x00)
    summer = winter._replace(month=7, status=0x80)
    stays = winter._replace(month=7)  # a meter that keeps standard time all year
    noon_utc = 12 * 3_600_000
    day_ms = 86_400_000
    of_day = [time.instant(standard_min=-60).utc_ms for time in (winter, summer, stays)]
    assert [ms % day_ms - noon_utc for ms in of_day if ms is not None] == [-3_600_000, -7_200_000, -3_600_000]
    assert winter.instant().missing is Missing.DEVIATION


def test_the_status_says_what_the_meter_does_not_vouch_for():
    known = CosemTime(2026, 1, 15, 4, 12, 0, 0, 0, -480, 0)
    assert [known._replace(status=s).is_doubtful for s in (0x00, 0x02, 0x04, 0x08, 0x80, 0xFF)] == [
        False, True, True, True, False, False,
    ]  # fmt: skip
    assert [known._replace(status=s).is_daylight for s in (0x00, 0x80, 0xFF)] == [False, True, False]


@given(st.integers(0, 4_102_444_799), st.integers(-840, 840))
def test_an_instant_there_and_back(seconds, deviation_min):
    time = of_utc(seconds * 1000, deviation_min=deviation_min)
    assert time.instant().utc_ms == seconds * 1000
    assert date_time(time.to_octets()) == time


@given(st.integers(946_684_800, 4_000_000_000), st.integers(-100_000, 100_000))
def test_later_on_the_same_clock(seconds, later_s):
    time = of_utc(seconds * 1000, deviation_min=-480).plus(later_s)
    assert time is not None
    assert time.instant().utc_ms == (seconds + later_s) * 1000
    assert date_time(time.to_octets()) == time


def test_dates_and_times_alone():
    assert date_only(bytes.fromhex("07EA0B1802"))[:4] == (2026, 11, 24, 2)
    assert time_only(bytes.fromhex("0F1E00FF"))[4:7] == (15, 30, 0)
    for wrong in (date_only, time_only, date_time):
        with pytest.raises(Malformed):
            wrong(b"\0")


# -- registers and profiles -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("raw", "scaler", "is_"),
    [
        (123456, -2, "1234.56"),
        (-1, 3, "-1E+3"),
        (0, -3, "0.000"),
        (18446744073709551615, -128, "1.8446744073709551615E-109"),
        (-9223372036854775808, 127, "-9.223372036854775808E+145"),
    ],
)
def test_a_scaler_makes_an_exact_decimal(raw, scaler, is_):
    assert str(scaled(raw, scaler)) == is_
    assert scaled(raw, scaler) == Decimal(is_)


def test_a_register_is_a_number_a_scaler_and_a_unit():
    unit = objects.scaler_unit(decode(bytes.fromhex("02020FFE161E")))
    assert unit == ScalerUnit(-2, 30)
    energy = objects.measured(decode(bytes.fromhex("060001E240")), unit)
    assert energy == Measured(123456, unit)
    assert (energy.value, unit.symbol) == (Decimal("1234.56"), "Wh")
    with pytest.raises(Malformed, match="whole number"):
        objects.measured(decode(bytes.fromhex("0900")), unit)
    with pytest.raises(Malformed):
        objects.scaler_unit(decode(bytes.fromhex("02010FFE")))


def test_units():
    assert [SYMBOLS[n] for n in (27, 28, 29, 30, 31, 32, 33, 35, 44, 255)] == [
        "W", "VA", "var", "Wh", "VAh", "varh", "A", "V", "Hz", "1",
    ]  # fmt: skip
    assert ScalerUnit(0, 200).symbol == "unit 200"


@pytest.mark.parametrize(
    ("class_id", "name", "number"),
    [
        (Class.DATA, "value", 2),
        (Class.REGISTER, "scaler_unit", 3),
        (Class.EXTENDED_REGISTER, "capture_time", 5),
        (Class.DEMAND_REGISTER, "scaler_unit", 4),
        (Class.PROFILE_GENERIC, "entries_in_use", 7),
        (Class.CLOCK, "time", 2),
        (Class.ASSOCIATION_LN, "object_list", 2),
        (Class.HDLC_SETUP, "inactivity_time_out", 8),
        (Class.TCP_UDP_SETUP, "inactivity_time_out", 6),
        (Class.SECURITY_SETUP, "server_system_title", 5),
        (Class.CLOCK, "logical_name", 1),
    ],
)
def test_attributes_by_name(class_id, name, number):
    assert objects.attribute(class_id, obis("0-0:1.0.0.255"), name).attribute == number


def test_obis_codes():
    assert obis("1-0:1.8.0.255") == obis("1.0.1.8.0.255") == bytes((1, 0, 1, 8, 0, 255))
    for wrong in ("1.8.0", "1-0:1.8.0.256", "1-0:1.8.x.255", ""):
        with pytest.raises(ValueError):
            obis(wrong)


COLUMNS = (
    CaptureObject(8, objects.CLOCK, 2),
    CaptureObject(1, obis("0-0:96.10.1.255"), 2),
    CaptureObject(3, obis("1-0:1.8.0.255"), 2),
)
NOON = of_utc(1_795_000_000_000 // 900_000 * 900_000, deviation_min=-480)


def row(time: CosemTime | None, status: int | None, energy: int | None) -> Data:
    return structure(
        Data(Tag.NULL, None) if time is None else octet_string(time.to_octets()),
        Data(Tag.NULL, None) if status is None else Data(Tag.UNSIGNED, status),
        Data(Tag.NULL, None) if energy is None else Data(Tag.DOUBLE_LONG_UNSIGNED, energy),
    )


def test_columns_as_the_profile_says_them():
    data = decode(encode(array(*(column.to_data() for column in COLUMNS))))
    assert objects.capture_objects(data) == COLUMNS
    assert [c.is_time for c in COLUMNS] == [True, False, False]
    with pytest.raises(Malformed):
        objects.capture_objects(array(structure()))


@pytest.mark.parametrize(("sort", "sign"), [(SortMethod.FIFO, 1), (SortMethod.LIFO, -1)])
def test_null_cells_repeat_and_a_null_time_is_a_period_on(sort, sign):
    buffer = array(row(NOON, 0, 100), row(None, None, 105), row(None, 8, None), row(NOON, 0, 7))
    rows = objects.rows(decode(encode(buffer)), COLUMNS, period_s=900, sort=sort)
    assert [r.time for r in rows] == [NOON, NOON.plus(900 * sign), NOON.plus(1800 * sign), NOON]
    assert [[c.value for c in r.cells[1:]] for r in rows] == [[0, 100], [0, 105], [8, 105], [0, 7]]
    assert [r.cells[0].value for r in rows] == [r.time.to_octets() for r in rows if r.time]


def test_a_time_that_cannot_be_told_is_not_made_up():
    first_is_null = array(row(None, 0, 100), row(NOON, 0, 101), row(None, 0, 102))
    assert [r.time for r in objects.rows(first_is_null, COLUMNS, period_s=900)] == [None, NOON, NOON.plus(900)]
    assert [r.time for r in objects.rows(first_is_null, COLUMNS)] == [None, NOON, None]
    by_size = objects.rows(first_is_null, COLUMNS, period_s=900, sort=SortMethod.LARGEST)
    assert [r.time for r in by_size] == [None, NOON, None]
    nothing_above = objects.rows(array(row(NOON, None, None)), COLUMNS, period_s=900)
    assert [c.tag for c in nothing_above[0].cells] == [Tag.OCTET_STRING, Tag.NULL, Tag.NULL]


def test_a_row_of_another_width_is_no_row():
    with pytest.raises(Malformed, match="3 elements wanted, 2 came"):
        objects.rows(array(structure(Data(Tag.NULL, None), Data(Tag.NULL, None))), COLUMNS)


def test_sort_methods():
    assert objects.sort_method(Data(Tag.ENUM, 2)) is SortMethod.LIFO
    with pytest.raises(Malformed):
        objects.sort_method(Data(Tag.ENUM, 9))


def test_selection_by_range_and_by_entry():
    """As the range_descriptor and entry_descriptor of class 7 are written out."""
    first, last = (
        date_time(bytes.fromhex("07EA0B18020F1E00FFFE2000")),
        date_time(bytes.fromhex("07EA0B18020F2D00FFFE2000")),
    )
    assert by_time(first, last) == bytes.fromhex(
        "01 0204 0204 120008 09060000010000FF 0F02 120000090C07EA0B18020F1E00FFFE2000 090C07EA0B18020F2D00FFFE2000 0100"
    )
    assert by_time(first, last, columns=COLUMNS[2:])[-20:] == bytes.fromhex(
        "0101 0204 120003 09060100010800FF 0F02 120000"
    )
    assert by_entry(1, 96) == bytes.fromhex("02 0204 0600000001 0600000060 120001 120000")


@pytest.mark.parametrize(
    ("version", "modes", "readable"),
    [(1, [0, 1, 2, 3, 4, 5, 6], {2, 4, 5, 7}), (3, [0, 1, 2, 3, 4, 5, 7], {2, 4, 6, 7})],
)
def test_what_an_association_lets_be_read(version, modes, readable):
    rights = array(*(
        structure(Data(Tag.INTEGER, n), Data(Tag.ENUM, mode), Data(Tag.NULL, None)) for n, mode in enumerate(modes, 1)
    ))  # fmt: skip
    name = octet_string(obis("1-0:1.8.0.255"))
    listed = structure(Data(Tag.LONG_UNSIGNED, 3), Data(Tag.UNSIGNED, 0), name, structure(rights, array()))
    assert objects.object_list(array(listed), version=version) == (
        objects.Listed(3, 0, obis("1-0:1.8.0.255"), frozenset(readable)),
    )
