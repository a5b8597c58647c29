"""The site file: every kind of mistake has its line, its key, what is wrong and what would be right."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import pytest
import tomli
from hypothesis import HealthCheck, event, example, given, settings
from hypothesis import strategies as st

from edge_agent.archive import Archive
from edge_agent.model import LinkSpec, Quantity
from edge_agent.settings import (
    ConfigFiles,
    Mistake,
    SiteError,
    check,
    config_files,
    device_specs,
    digest,
    link_specs,
    load_site,
)
from edge_agent.settings.instant import utc_ms
from edge_agent.settings.locate import line_of, locate
from edge_agent.words import sentences

VECTORS = Path(__file__).parent / "vectors/settings"
PROFILE: str = tomli.loads((VECTORS / "profile.toml").read_text())["profile"]
DLT645_PROFILE = """
profile = "acme-d1"
driver = "dlt645"
source = "DL/T 645-2007, Annex A"
side = "secondary"
max_registers = 10
[[register]]
quantity = "meter_serial"
address = "di:04000402"
type = "ascii:6"
unit = ""
"""
DLMS_PROFILE = """
profile = "acme-c1"
driver = "dlms"
source = "Acme C-1, object list"
side = "secondary"
max_registers = 10
load_profile = "1-0:99.1.0*255"
[[register]]
quantity = "active_energy_import"
address = "1-0:1.8.0*255/2"
[[register]]
quantity = "events_power_off"
address = "1/0-0:96.7.21*255/2"
"""
WRITTEN = tomli.loads((VECTORS / "site.toml").read_text())
SITE: str = WRITTEN["site"]


class Slip(NamedTuple):
    """One change to the site and what must be said about it; the line is where `marked` stands afterwards."""

    name: str
    old: str
    new: str
    marked: str
    code: str
    key_path: str
    wrong: str
    right: str
    severity: str = "error"

    def made(self) -> str:
        assert self.old in SITE, f"the site of these tests does not hold {self.old!r}"
        return SITE.replace(self.old, self.new, 1)


SLIPS = [Slip(**slip) for slip in WRITTEN["slip"]]

Checked = Callable[[str], list[Mistake]]


@pytest.fixture
def config(tmp_path: Path) -> ConfigFiles:
    """Data of our own: a profile for each protocol, no override."""
    (tmp_path / "config/profiles").mkdir(parents=True)
    (tmp_path / "config/profiles/acme_am3.toml").write_text(PROFILE)
    (tmp_path / "config/profiles/acme_d1.toml").write_text(DLT645_PROFILE)
    (tmp_path / "config/profiles/acme_c1.toml").write_text(DLMS_PROFILE)
    (tmp_path / "key").write_text("000102030405060708090A0B0C0D0E0F\n")
    (tmp_path / "key").chmod(0o400)
    (tmp_path / "open-key").write_text("000102030405060708090A0B0C0D0E0F\n")
    (tmp_path / "open-key").chmod(0o444)
    (tmp_path / "short-key").write_text("0001020304\n")
    return ConfigFiles(tmp_path / "config", tmp_path / "etc")


@pytest.fixture
def checked(tmp_path: Path, config: ConfigFiles) -> Checked:
    def run(text: str) -> list[Mistake]:
        path = tmp_path / "site.toml"
        path.write_text(text, encoding="utf-8")
        return check(path, config=config)

    return run


def test_the_site_of_these_tests_has_no_mistake(checked: Checked):
    assert checked(SITE) == []


def line_where(text: str, marked: str) -> int:
    """The line that holds `marked`; `marked<-2` is two lines above it, `marked<+2` two below."""
    marked, _, shift = marked.partition("<")
    lines = [n for n, line in enumerate(text.split("\n"), 1) if marked in line]
    assert lines, f"the test's own text lacks {marked!r}"
    return lines[0] + int(shift or 0)


@pytest.mark.parametrize("slip", SLIPS, ids=[s.name for s in SLIPS])
def test_a_mistake_has_its_line_its_key_and_its_cure(slip: Slip, checked: Checked):
    text = slip.made()
    found = [m for m in checked(text) if m.code == slip.code]
    assert [m.key_path for m in found] == [slip.key_path], [m.sentence() for m in checked(text)]
    mistake = found[0]
    assert mistake.line == line_where(text, slip.marked)
    assert slip.wrong in mistake.wrong
    assert slip.right in mistake.right
    assert mistake.severity == slip.severity
    assert mistake.file.endswith("site.toml")


def test_one_slip_is_one_mistake(checked: Checked):
    """Nothing is reported a second time in other words; these few tear a hole that others look into."""
    tear = {
        "missing table",
        "a table for a list",
        "a point without a device",
        "a point with an unknown device",
        "an optional key that a rule asks for",
        "a direct meter with a CT",
        "DLMS: a key that is none, not shown",
        "DLMS: two meters at one server",
    }
    said = {s.name: [m.sentence() for m in checked(s.made())] for s in SLIPS}
    assert len(said) == len(SLIPS), "two slips of one name"
    noisy = {name: lines for name, lines in said.items() if len(lines) != 1}
    assert noisy.keys() == tear, noisy


def test_every_sentence_is_used_by_a_test():
    """A kind of mistake without a test is a promise that nobody looked at."""
    said = {code.split(".")[1] for code in sentences("en") if code.startswith("check.") and code.count(".") == 2}
    profile_slips = tomli.loads((VECTORS / "profile.toml").read_text())["slip"]
    tariffs = tomli.loads((VECTORS.parent / "tariffs/slips.toml").read_text(encoding="utf-8"))
    tariff_slips = tariffs["slip"] + tariffs["site"]["slip"]
    tested = {s.code for s in SLIPS} | {s["code"] for s in profile_slips + tariff_slips} | OTHERS
    assert said - {"got", "right"} == tested


OTHERS = {
    *("file_absent", "file_unreadable", "file_is_folder", "file_too_large", "not_utf8"),
    *("broken_profile", "other_driver", "refused", "tariff_empty"),
    *("unknown_sub", "sub_twice", "sub_of_itself"),
    *("register_meter_says", "register_object", "register_class", "record_place"),
    *("register_item", "register_kind", "register_octets", "register_digits"),
    *("register_oad", "register_value", "extra_missing"),
    *("unknown_event", "event_log_missing", "event_log_other", "event_twice"),
}
"""Kinds whose tests stand by themselves below, and in test_tariff_files, test_dlt645_items, test_dlt698_driver,
test_dlms_settings and test_dlms_logged."""


def test_all_mistakes_are_said_at_once_in_the_order_of_the_lines(checked: Checked):
    text = (
        SITE.replace("port = 1883", "port = 0")
        .replace('link = "lan"', 'link = "wan"')
        .replace("unit = 1", "unit = 300")
    )
    text = (
        text.replace("billing_day = 1", "billing_day = 31")
        .replace('"400/5"', '"401/5"')
        .replace("kva = 250", "kva = -1")
    )
    text = text.replace('utility = "demo"', 'utility = "Demo"').replace("slide_min = 1", "slide_min = 2")
    found = [(m.line, m.key_path) for m in checked(text)]
    assert found == [
        (2, "site.utility"),
        (6, "mqtt.port"),
        (14, "device[m1].link"),
        (15, "device[m1].unit"),
        (22, "point[factory].billing_day"),
        (27, "point[factory].demand.slide_min"),
        (30, "point[factory].capacity[1].kva"),
        (34, "point[factory].ct[1].ratio"),
    ]


def test_a_sentence_is_one_line_with_file_line_and_key(checked: Checked, tmp_path: Path):
    (mistake,) = checked(SITE.replace("unit = 1", "unit = 248"))
    assert mistake.sentence() == (
        f'{tmp_path}/site.toml:15: device[m1].unit: device "m1": unit is the number 248; '
        "it must be a whole number from 1 to 247, without quotes"
    )


def test_two_points_of_one_meter(checked: Checked):
    second = SITE[SITE.index("[[point]]") :].replace('"factory"', '"annex"')
    (mistake,) = checked(SITE + second)
    assert (mistake.code, mistake.key_path, mistake.line) == ("device_twice", "point[annex].meter", 37)
    assert "point[factory].meter" in mistake.wrong


@pytest.mark.parametrize(
    ("subs", "code"),
    [('["anex"]', "unknown_sub"), ('["factory"]', "sub_of_itself"), ('["annex", "annex"]', "sub_twice")],
)
def test_meters_behind_a_main_meter_are_points_of_their_own(checked: Checked, subs: str, code: str):
    second = SITE[SITE.index("[[point]]") :].replace('"factory"', '"annex"').replace('meter = "m1"', 'ct_device = "m2"')
    device = SITE[SITE.index("[[device]]") : SITE.index("[[point]]")].replace('"m1"', '"m2"')
    device = device.replace("unit = 1", "unit = 2")
    whole = SITE.replace("[[point]]", f"{device}[[point]]", 1) + second
    assert checked(whole.replace('meter = "m1"', 'meter = "m1"\nsubs = ["annex"]', 1)) == []
    (mistake,) = checked(whole.replace('meter = "m1"', f'meter = "m1"\nsubs = {subs}', 1))
    assert (mistake.code, mistake.key_path) == (code, "point[factory].subs")


def test_a_line_with_meters_of_two_protocols(tmp_path: Path, config: ConfigFiles):
    text = (
        SITE.replace(
            'kind = "modbus-tcp"\nhost = "127.0.0.1"\nport = 1502',
            'kind = "serial"\npath = "/dev/serial/by-id/usb-1"\nbaud = 2400\nparity = "E"\nsettlement = true\n'
            "shared_line = true\nlisten_s = 0\necho = true",
        )
        .replace(
            "[[point]]", '[[device]]\nid = "m2"\nlink = "lan"\naddress = "000012345678"\nprofile = "acme-d1"\n[[point]]'
        )
        .replace('meter = "m1"', 'meter = "m1"\nct_device = "m2"')
    )
    path = tmp_path / "site.toml"
    path.write_text(text, encoding="utf-8")
    assert check(path, config=config) == []
    site = load_site(path, config=config)
    assert link_specs(site) == (
        LinkSpec(
            "lan", "serial", path="/dev/serial/by-id/usb-1", baud=2400, parity="E", settlement=True, shared_line=True,
            listen_s=0, echo=True,
        ),
    )  # fmt: skip
    devices = device_specs(site, config=config)
    assert [(d.id, d.unit, d.address, d.profile.driver) for d in devices] == [
        ("m1", 1, "", "modbus"), ("m2", 0, "000012345678", "dlt645"),
    ]  # fmt: skip


def test_a_converter_has_a_port_of_its_own_and_a_line_behind_it(checked: Checked):
    assert checked(SITE.replace('kind = "modbus-tcp"', 'kind = "tcp-serial"\nbaud = 19200\nparity = "E"')) == []


def test_accepted_in_the_future_is_no_mistake(checked: Checked):
    accepted = '[point.accepted]\nat = 2199-01-05\nby = "t-17"\n[point.demand]'
    assert checked(SITE.replace("[point.demand]", accepted)) == []


def test_a_direct_meter_and_a_contract_in_kw(checked: Checked):
    text = SITE.replace("u_n_v = 400", "u_n_v = 400\nimax_a = 100").replace(
        '[[point.ct]]\nfrom = 2024-01-01\nratio = "400/5"\n', ""
    )
    text = text.replace("kva = 250", "kw = 60").replace('basis = "capacity"', 'basis = "contracted-demand"')
    assert checked(text) == []
    too_much = checked(text.replace("kw = 60", "kw = 80"))
    assert [m.code for m in too_much] == ["ct_small"]
    assert "100 A can carry (69 kVA)" in too_much[0].wrong


# --- files


def test_a_file_that_is_not_there(tmp_path: Path):
    (mistake,) = check(tmp_path / "none.toml")
    assert (mistake.code, mistake.line) == ("file_absent", 1)
    assert "no such file" in mistake.wrong


def test_a_folder_instead_of_a_file(tmp_path: Path):
    assert [m.code for m in check(tmp_path)] == ["file_is_folder"]


def test_a_file_that_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = tmp_path / "site.toml"
    path.write_text(SITE)

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)  # root, who runs many a test, may read everything
    (mistake,) = check(path)
    assert mistake.code == "file_unreadable"
    assert "Permission denied" in mistake.wrong


def test_a_name_that_no_file_can_have():
    assert [m.code for m in check("a\0b")] == ["file_unreadable"]


def test_a_file_that_is_something_else(tmp_path: Path):
    path = tmp_path / "site.toml"
    path.write_bytes(b"# " + b"x" * (1 << 20))
    assert [m.code for m in check(path)] == ["file_too_large"]


def test_a_file_saved_in_another_encoding(tmp_path: Path):
    path = tmp_path / "site.toml"
    path.write_bytes(SITE.replace("unit = 1", "unit = 1 # 一号表").encode("gb18030"))
    (mistake,) = check(path)
    assert (mistake.code, mistake.line) == ("not_utf8", 15)
    assert "UTF-8" in mistake.right


def test_a_byte_order_mark_and_windows_line_ends_are_no_mistake(tmp_path: Path, config: ConfigFiles):
    path = tmp_path / "site.toml"
    path.write_bytes(b"\xef\xbb\xbf" + SITE.replace("\n", "\r\n").encode())
    assert check(path, config=config) == []


# --- loading


def test_loading_gives_typed_settings(tmp_path: Path, config: ConfigFiles):
    path = tmp_path / "site.toml"
    path.write_text(SITE.replace("port = 1883", 'version = "3.1.1"'))
    site = load_site(path, config=config)
    assert (site.site.root, site.site.utility, site.site.gateway) == ("ea", "demo", "gw-1")
    assert (site.mqtt.port, site.mqtt.protocol, site.mqtt.ack) == (1883, "3.1.1", "centre")
    assert site.point[0].capacity[0].kva == 250
    (link,) = link_specs(site)
    assert (link.id, link.host, link.port, link.timeout_s) == ("lan", "127.0.0.1", 1502, 2)
    (device,) = device_specs(site, config=config)
    assert (device.id, device.unit, device.profile.side) == ("m1", 1, "secondary")
    assert device.profile.registers[0].quantity is Quantity.ACTIVE_ENERGY_IMPORT
    assert device.profile.registers[0].not_available == (0xFFFFFFFF,)


@pytest.mark.parametrize(("written", "protocol"), [("5", "5"), ('"5"', "5"), ('"3.1.1"', "3.1.1")])
def test_the_mqtt_version_may_be_written_either_way(written: str, protocol: str, tmp_path: Path, config: ConfigFiles):
    path = tmp_path / "site.toml"
    path.write_text(SITE.replace("port = 1883", f"version = {written}"))
    assert load_site(path, config=config).mqtt.protocol == protocol


def test_relative_names_start_from_the_folder_of_the_site_file(tmp_path: Path, config: ConfigFiles):
    (tmp_path / "ca.pem").write_text("")
    (tmp_path / "secret").write_text("")
    path = tmp_path / "site.toml"
    extra = 'username = "gw-1"\npassword_file = "secret"\n[mqtt.tls]\nca = "ca.pem"\n[paths]\nstate = "state"\n'
    path.write_text(SITE.replace("port = 1883\n", extra))
    site = load_site(path, config=config)
    assert site.paths.state == f"{tmp_path}/state"
    assert site.paths.runtime == "/run/edge-agent"
    assert site.mqtt.password_file == f"{tmp_path}/secret"
    assert site.mqtt.tls is not None
    assert (site.mqtt.tls.ca, site.mqtt.tls.cert) == (f"{tmp_path}/ca.pem", None)


def test_a_mistake_stops_the_loading_and_a_hint_does_not(tmp_path: Path, config: ConfigFiles):
    path = tmp_path / "site.toml"
    path.write_text(SITE.replace("kva = 250", "kva = 300"))
    assert load_site(path, config=config).point[0].capacity[0].kva == 300
    path.write_text(SITE + 'state = "verified"\n')  # by whom is a question to a person, not a fault of the file
    assert [m.code for m in check(path, config=config)] == ["verified_by_nobody"]
    assert load_site(path, config=config).point[0].ct[0].state == "verified"
    path.write_text(
        SITE.replace("kva = 250", "kva = 300").replace("unit = 1", "unit = 0").replace('"400/5"', '"401/5"')
    )
    with pytest.raises(SiteError) as caught:
        load_site(path, config=config)
    errors = [m.key_path for m in caught.value.mistakes if m.severity == "error"]
    assert errors == ["device[m1].unit", "point[factory].ct[1].ratio"]
    assert "site.toml:15: device[m1].unit" in str(caught.value)


def test_what_the_check_misses_the_types_refuse(tmp_path: Path, config: ConfigFiles, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("edge_agent.settings.load.check_parsed", lambda *_: [])
    path = tmp_path / "site.toml"
    path.write_text(SITE.replace("unit = 1", "unit = 0"))
    with pytest.raises(SiteError) as caught:
        load_site(path, config=config)
    assert [m.code for m in caught.value.mistakes] == ["refused"]


def test_the_worked_example_loads():
    shipped = ConfigFiles(config_files().shipped, Path("/nowhere"))
    path = shipped.shipped / "examples/factory.toml"
    assert check(path, config=shipped) == []
    site = load_site(path, config=shipped)
    assert site.point[0].capacity[0].kva == 250
    (meter,) = device_specs(site, config=shipped)
    assert (meter.profile.name, meter.profile.side) == ("acrel-dtsd1352", "secondary")


def test_the_worked_example_holds_for_recorded_years():
    site = load_site(config_files().shipped / "examples/factory.toml", config=config_files(Path("/nowhere")))
    archive, long_ago = Archive.of(site), utc_ms(datetime(2010, 1, 1, tzinfo=UTC))
    capacity, serial = archive.capacity("factory", long_ago, long_ago + 900_000), archive.serial("factory", long_ago)
    assert capacity is not None
    assert serial is not None
    assert (capacity.contracted, capacity.unit, serial.value) == (250_000, "VA", "0000123456")
    assert [k for _, k in archive.k_timeline("factory")] == [80]
    assert not archive.accepted("factory", long_ago)
    assert archive.accepted("factory", utc_ms(datetime(2026, 1, 6, tzinfo=UTC)))


def test_the_digest_is_that_of_the_text():
    assert digest("") == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert digest(SITE) == digest(SITE.encode()) != digest(SITE + "# ")


# --- whatever was done to the file


ODD = """\
x = [[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[
from = 9999-12-31
from = 0001-01-01
[[point]]
[point]
[[point.capacity]]
unit = 1e400
port = 99999999999999999999999
= 5
kva = -nan
id = "\\u0000"
to = 2026-01-01
[mqtt.tls]
ca = "\\u0000"
a.b.c = 1
point = 5
time_zone = "../../etc/passwd"
site.x = {a = [1, {b = 2}]}
days = [07:00:00]
"" = 1
x = '''
[[device]]
[[link]]
link = 1979-05-27T07:32:00Z
""".splitlines()


@st.composite
def spoiled_sites(draw: st.DrawFn) -> bytes:
    """The site with lines dropped, doubled, swapped or rewritten, a piece replaced by bytes, or its end cut off."""
    lines = SITE.split("\n")
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, len(lines) - 1))
        match draw(st.sampled_from(["drop", "double", "swap", "odd", "value", "other"])):
            case "drop" if len(lines) > 1:
                del lines[at]
            case "double":
                lines.insert(draw(st.integers(0, len(lines))), lines[at])
            case "swap":
                other = draw(st.integers(0, len(lines) - 1))
                lines[at], lines[other] = lines[other], lines[at]
            case "odd":
                lines.insert(at, draw(st.sampled_from(ODD)))
            case "value" if "=" in lines[at]:
                donor = draw(st.sampled_from([line for line in SITE.split("\n") if "=" in line] + ODD))
                lines[at] = lines[at].split("=")[0] + "=" + donor.split("=", 1)[-1]
            case _:
                lines[at] = lines[at].replace(draw(st.sampled_from(list('"=[]0123ae'))), draw(st.text(max_size=3)))
    data = "\n".join(lines).encode("utf-8", "surrogatepass")
    if draw(st.booleans()):
        at = draw(st.integers(0, len(data)))
        data = data[:at] + draw(st.binary(max_size=4)) + data[at + draw(st.integers(0, 4)) :]
    return data[: draw(st.integers(0, len(data)))] if draw(st.integers(0, 3)) == 0 else data


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@example(data=b"")
@example(data=b"kva = 9" + b"9" * 5000)
@example(data=b"x = " + b"[" * 100_000)
@given(data=spoiled_sites())
def test_a_spoiled_file_is_never_more_than_a_site_error(data: bytes, tmp_path: Path, config: ConfigFiles):
    path = tmp_path / "spoiled.toml"
    path.write_bytes(data)
    found = check(path, config=config)
    for mistake in found:
        assert 1 <= mistake.line <= data.count(b"\n") + 1
        assert "\n" not in mistake.sentence()
    try:
        site = load_site(path, config=config)
    except SiteError as error:
        event(f"refused: {error.mistakes[0].code}")
        assert any(m.severity == "error" for m in found)
    else:
        event("loaded")
        assert all(m.severity == "hint" for m in found)
        assert site.site.gateway


def test_the_spoiling_reaches_both_ends(tmp_path: Path, config: ConfigFiles):
    """What the property above was shown: files that load, files that are no TOML, and files with several mistakes."""
    seen: set[str] = set()

    @settings(max_examples=150, deadline=None, database=None, derandomize=True)
    @given(data=spoiled_sites())
    def look(data: bytes) -> None:
        path = tmp_path / "seen.toml"
        path.write_bytes(data)
        errors = [m for m in check(path, config=config) if m.severity == "error"]
        seen.add(
            "clean" if not errors else "syntax" if errors[0].code == "syntax" else "one" if len(errors) == 1 else "many"
        )

    look()
    assert seen == {"clean", "syntax", "one", "many"}


# --- lines


def test_lines_of_keys_in_every_way_toml_writes_them():
    text = """\
top = 1
a.b = 2
[table]
"quoted key" = 1
text = '''
[not.a.table]
no = "key"
'''
list = [
  "]", # ]
  { x = 1 },
]
after = { inner = 1 }
escaped = "\\\\"
[[many]]
id = 1
[[many.deep]]
x = 1
[[many.deep]]
x = 2
[many.one]
y = 1
[[many]]
'id' = 2
[[many.deep]]
x = 3
"""
    lines = locate(text)
    assert lines[("top",)] == 1
    assert lines[("a", "b")] == lines[("a",)] == 2
    assert lines[("table", "quoted key")] == 4
    assert lines[("table", "after")] == 13
    assert lines[("table", "escaped")] == 14
    assert lines[("many", 0, "id")] == 16
    assert lines[("many", 0, "deep", 1, "x")] == 20
    assert lines[("many", 0, "one", "y")] == 22
    assert lines[("many", 1, "id")] == 24
    assert lines[("many", 1, "deep", 0, "x")] == 26
    assert ("not", "a", "table") not in lines
    assert line_of(lines, ("table", "after", "inner")) == 13
    assert line_of(lines, ("nowhere",)) == 1
