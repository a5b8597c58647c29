"""Probe: which profile fits, said with what was measured and no more."""

from __future__ import annotations

import asyncio
import math
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from drivers.dlt645 import Dlt645Driver
from drivers.dlt645 import requests as dlt645_requests
from drivers.link import MemoryLink
from drivers.modbus import ModbusDriver
from drivers.modbus import requests as modbus_requests
from edge_agent.model import (
    UNIT,
    DeviceSpec,
    Gap,
    GapCause,
    Hallmark,
    Identity,
    Outcome,
    Profile,
    Quantity,
    Reading,
    Register,
)
from edge_agent.settings import ConfigFiles, Profiles, check, config_files, load_site
from edge_agent.sighting import Seen
from edge_agent.survey import Probed, Wanted, probe_device, scan_and_probe
from edge_agent.survey.checks import Remark, remarks
from edge_agent.survey.fragment import fragment
from edge_agent.survey.probe import _score
from edge_agent.survey.trial import Reads
from edge_agent.survey.vector import file_name, vector
from edge_agent.survey.watch import Stopped
from edge_agent.survey.wiring import phases, side
from edge_agent.words import spoken
from simulator.line.virtual import run_virtual
from tests.figures import report as figure
from tests.survey_line import NOON_S, SurveyLine, scenario_line
from tests.test_scan import HEAD, MASTER, METER

ROOT = Path(__file__).parent.parent
SHIPPED = Profiles(ConfigFiles(config_files().shipped, Path("/nonexistent")))
PROFILES = [SHIPPED.get(name) for name in SHIPPED.names]

SITE = """
[site]
utility = "demo"
gateway = "gw-1"

[mqtt]
host = "127.0.0.1"
"""

RIGHT = {
    "123456789012": "dlt645-2007-3p",
    "1": "acrel-dtsd1352",
    "2": "eastron-sdm630",
    "3": "peacefair-pzem-016",
}
"""What the mixed line's scenario says hangs there."""


def probed_on(
    path: Path | str, unit: int = 1, *, profiles: Path | None = None, **link: Any
) -> tuple[Probed, SurveyLine]:
    async def story() -> tuple[Probed, SurveyLine]:
        line = scenario_line(path, profiles=profiles, **link)
        await asyncio.sleep(NOON_S)
        line.stamp.fresh = True
        found = await probe_device(line.place(), "modbus", str(unit), PROFILES, line.told)
        assert found is not None
        assert line.played.writes_seen == 0
        return found, line

    return run_virtual(story())


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "scenario.toml"
    path.write_text(text)
    return path


# --- the mixed line ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def mixed() -> tuple[list[Probed], SurveyLine]:
    """Scan and probe of the line with four meters, not a word of which is configured."""

    async def story() -> tuple[list[Probed], SurveyLine]:
        line = scenario_line("rs485")
        await asyncio.sleep(NOON_S)
        report, probed = await scan_and_probe(line.place(), Wanted(), PROFILES, line.told)
        assert report.complete
        assert line.played.writes_seen == 0
        figure(
            "scan and probe of four meters on one line",
            named=len(probed), profiles_tried=len(PROFILES),
            seconds=round(asyncio.get_running_loop().time() - NOON_S), questions=len(line.tap.by("technician")),
            scores=", ".join(f"{p.best.score:.2f}" for p in probed if p.best),
        )  # fmt: skip
        return probed, line

    return run_virtual(story())


def test_four_meters_are_named_without_configuration(mixed):
    probed, _ = mixed
    assert {p.sighting.address: p.best.profile.name for p in probed if p.best} == RIGHT
    for p in probed:
        assert p.best.score > 0.85
        assert p.alike == []
        assert spoken(p.verdict).startswith(f"{p.best.profile.name} fits (score 0.")
        assert len(p.fits) + len(p.passed_over) == sum(q.driver == p.sighting.driver for q in PROFILES)


def test_the_reasons_are_what_was_measured(mixed):
    probed, _ = mixed
    said = {p.sighting.address: [spoken(r.says) for r in p.best.remarks] for p in probed}
    assert any('it calls itself "DTSD1352"' in line for line in said["1"])
    assert any("one step is 10 Wh" in line and line.startswith("cannot say") for line in said["1"])
    assert any("holding:0xFC02 reads 112, which is this model's own" in line for line in said["2"])
    assert any(line.startswith("energy moved by") for line in said["2"])
    assert any("frequency 50 Hz" in line for line in said["3"])
    assert any("say that they have no value" in line for line in said["123456789012"])
    other = next(f for f in probed[-2].fits if f.profile.name == "eastron-sdm72d-m-v2")
    assert any("reads 112, and 135, 137 on this model" in spoken(r.says) for r in other.remarks)


def test_side_and_phases_are_guessed_with_a_reason(mixed):
    probed, _ = mixed
    guesses = {p.sighting.address: (p.side.what, p.phases.what) for p in probed}
    assert guesses == {
        "123456789012": ("secondary", "in order"),
        "1": ("secondary", "in order"),
        "2": ("primary", "in order"),
        "3": ("primary", ""),
    }
    assert all(0 <= g.confidence <= 0.9 for p in probed for g in (p.side, p.phases))


def test_the_fragment_is_taken_by_a_site_file(mixed, tmp_path: Path):
    probed, line = mixed
    path = tmp_path / "site.toml"
    path.write_text(SITE + fragment(line.spec, probed[0].setting, probed, known=False))
    assert [m for m in check(path) if m.severity == "error"] == []
    site = load_site(path)
    assert [(k.id, k.path, k.baud, k.parity) for k in site.link] == [("bus-1", "/dev/ttyUSB0", 9600, "N")]
    assert {(d.address or str(d.unit)): d.profile for d in site.device} == RIGHT
    path.write_text(SITE + '[[link]]\nid = "bus-1"\nkind = "serial"\npath = "/dev/ttyS1"\nbaud = 2400\n'
                    + fragment(line.spec, probed[0].setting, probed, known=True))  # fmt: skip
    assert [m for m in check(path) if m.severity == "error"] == []


def test_the_vectors_replay(mixed):
    probed, _ = mixed
    replayed: list[str] = []
    for device in probed:
        name = file_name(device.best, device, replayed)
        assert name == f"{RIGHT[device.sighting.address]}.toml"
        assert_replays(device.best.profile, tomllib.loads(vector(device, device.best)))
        replayed.append(name)
    assert len(replayed) == 4
    assert file_name(probed[0].best, probed[0], replayed) == "dlt645-2007-3p-123456789012.toml"


def assert_replays(profile: Profile, recorded: dict[str, Any]) -> None:
    """As tests/vectors/profiles: each question once, each register one outcome."""
    exchanges = {bytes.fromhex(r["request"]): bytes.fromhex(r["reply"]) for r in recorded["reply"]}
    unit = recorded["unit"]
    if profile.driver == "modbus":
        by_pdu = {request[2:]: reply for request, reply in exchanges.items()}
        link = MemoryLink(lambda raw: raw[:2] + by_pdu.pop(raw[2:])[2:])
        driver: ModbusDriver | Dlt645Driver = ModbusDriver(link, 1.0)
        requests = modbus_requests(DeviceSpec("m1", "lan", unit, profile))
        rest: dict[bytes, bytes] = by_pdu
    else:
        link = MemoryLink(exchanges.pop)
        driver = Dlt645Driver(link, 1.0, lambda: 0)
        requests = dlt645_requests(DeviceSpec("m1", "lan", 0, profile, address=f"{unit:012d}"))
        rest = exchanges

    async def poll() -> list[Outcome]:
        return [o for request in requests for o in await driver.read(request)]

    found = asyncio.run(poll())
    assert rest == {}
    expected = {q: value for r in recorded["reply"] for q, value in r["readings"].items()}
    got: dict[str, object] = {}
    for o in found:
        match o:
            case Reading():
                got[o.quantity] = [pytest.approx(o.value, rel=1e-12), UNIT[o.quantity]]
            case Identity():
                got[o.quantity] = o.text
            case Gap():
                got[o.quantity] = f"gap: {o.cause}"
    assert len(got) == len(profile.registers)
    assert got == expected


# --- what cannot be told -------------------------------------------------------------------------------------------

SDM = """
[[meter]]
id = "m"
line = "a"
profile = "eastron-sdm630"
unit = 1
serial = "0000200002"
load = { kind = "constant", p_kw = 42, pf = 0.9 }
"""


def test_profiles_that_read_alike_are_named_together(tmp_path: Path):
    """The register by which the models are told apart is not given: what is left is the same in both."""
    hidden = SDM + '[[meter.fault]]\nkind = "hole"\naddress = "holding:0xFC02"\ncount = 1\n'
    found, line = probed_on(written(tmp_path, HEAD + hidden))
    assert found.best is not None
    assert {found.best.profile.name, *(f.profile.name for f in found.alike)} >= {
        "eastron-sdm630",
        "eastron-sdm72d-m-v2",
    }
    assert "cannot tell which of them it is" in spoken(found.verdict)
    text = fragment(line.spec, found.setting, [found], known=False)
    assert "cannot tell which of them it is" in " ".join(text.replace("#", "").split())
    shown, _ = probed_on(written(tmp_path, HEAD + SDM))
    assert shown.alike == []


def test_a_device_of_no_known_model_fits_no_profile(tmp_path: Path):
    (tmp_path / "strange.toml").write_text(
        'profile = "strange"\ndriver = "modbus"\nsource = "none"\nside = "primary"\nmax_registers = 125\n'
        '[[register]]\nquantity = "active_energy_import"\naddress = "holding:0"\ntype = "u16"\nunit = "kWh"\n'
        '[[register]]\nquantity = "reactive_energy_import"\naddress = "holding:30000"\ntype = "u16"\nunit = "kvarh"\n'
        '[[register]]\nquantity = "active_energy_export"\naddress = "input:0"\ntype = "u16"\nunit = "kWh"\n'
        '[[register]]\nquantity = "reactive_energy_export"\naddress = "input:30000"\ntype = "u16"\nunit = "kvarh"\n'
    )
    found, line = probed_on(
        written(tmp_path, HEAD + METER.replace("acrel-dtsd1352", "strange") % ("m", 1)), profiles=tmp_path
    )
    assert found.best is None
    assert "no profile fits" in spoken(found.verdict)
    text = fragment(line.spec, found.setting, [found], known=False)
    assert "[[device]]" not in text
    path = tmp_path / "site.toml"
    path.write_text(SITE + text)
    assert [m for m in check(path) if m.severity == "error"] == []


def test_a_clone_with_its_words_the_other_way_round_is_said_to_be_one(tmp_path: Path):
    text = (ROOT / "config/profiles/eastron-sdm630.toml").read_text()
    text = text[: text.index("[[identity]]")] + text[text.index("[[register]]") :]
    (tmp_path / "clone.toml").write_text(
        text.replace('"eastron-sdm630"', '"clone"').replace('type = "f32"', 'type = "f32"\norder = "CDAB"')
    )
    found, _ = probed_on(written(tmp_path, HEAD + SDM.replace("eastron-sdm630", "clone")), profiles=tmp_path)
    assert found.best is None or found.best.score < 0.75
    assert found.reordered
    assert found.reordered[0].order == "CDAB"
    assert found.reordered[0].profile.name in {"eastron-sdm630", "eastron-sdm72d-m-v2"}
    assert found.reordered[0].score > 0.85


def test_nobody_and_two_at_one_address_are_no_device(tmp_path: Path):
    twins = "".join(
        METER % (n, 5) + f"turnaround_ms = {ms}\njitter_ms = 3\n" + more
        for n, ms, more in (("a", 20, ""), ("b", 150, "twin = true\n"))
    )
    path = written(tmp_path, HEAD + twins)

    async def story() -> None:
        line = scenario_line(path)
        line.stamp.fresh = True
        assert await probe_device(line.place(), "modbus", "9", PROFILES, line.told) is None
        two = await probe_device(line.place(), "modbus", "5", PROFILES, line.told)
        assert two is not None
        assert two.sighting.seen is Seen.SEVERAL
        assert two.best is None

    run_virtual(story())


def test_a_probe_listens_first_and_a_second_master_stops_it(tmp_path: Path):
    for first_s, asked in ((5, False), (66, True)):
        path = written(tmp_path, HEAD + MASTER % (2, first_s) + METER % ("a", 1) + METER % ("b", 2))

        async def story(path: Path = path, asked: bool = asked) -> None:
            line = scenario_line(path)
            with pytest.raises(Stopped, match="a Modbus RTU master that asks units 1, 2"):
                await probe_device(line.place(), "modbus", "1", PROFILES, line.told)
            assert (line.written > 0) is asked

        run_virtual(story())


# --- checks --------------------------------------------------------------------------------------------------------

Q = Quantity


Shown = Mapping[str, float | str | None]
"""Quantity and what it shows; None: refused."""


def read(
    values: Shown,
    profile_side: str = "primary",
    *,
    model: str = "Acme AM-3",
    marks: Sequence[tuple[Hallmark, str | None]] = (),
    again: Mapping[Quantity, float] = {},
) -> Reads:
    """A device that shows these values, one step of 1 each, read a second time after ten seconds."""
    registers = tuple(Register(Q(q), "input:0", "f32", UNIT[Q(q)]) for q in values)
    reads = Reads(Profile("acme", "modbus", model, "test", profile_side, 60, registers))
    for q, value in values.items():
        if value is None:
            reads.first.append(Gap("acme", Q(q), GapCause.REFUSED, 0, "no"))
        elif isinstance(value, str):
            reads.first.append(Identity("acme", Q(q), value, 0, None))
        else:
            reads.first.append(Reading("acme", Q(q), value, 1.0, 0, None))
    reads.second = [Reading("acme", q, v, 1.0, 10_000, None) for q, v in again.items()]
    reads.hallmarks = list(marks)
    return reads


def fits(reads: Reads, code: str, texts: dict[str, str] | None = None) -> list[float | None]:
    found: list[Remark] = remarks(reads, texts or {})
    return [r.fit for r in found if r.says.code == f"survey.{code}"]


HOUSE = {
    "voltage_l1": 230.0, "voltage_l2": 231.0, "voltage_l3": 229.0, "current_l1": 10.0, "current_l2": 11.0,
    "current_l3": 9.0, "power_factor": 0.9, "active_power": 6210.0, "reactive_power": 3007.0, "apparent_power": 6900.0,
    "frequency": 50.02,
}  # fmt: skip


@pytest.mark.parametrize(
    ("code", "values", "fit"),
    [
        ("frequency", {"frequency": 49.9}, 1.0),
        ("frequency", {"frequency": 60.3}, 1.0),
        ("frequency", {"frequency": 54.0}, 0.4),
        ("frequency", {"frequency": 500.0}, 0.0),
        ("voltages", {"voltage_l1": 57.9}, 1.0),
        ("voltages", {"voltage_l1": 101.0}, 1.0),
        ("voltages", {"voltage_l1": 5800.0}, 1.0),
        ("voltages", {"voltage_l1": 23.1}, 0.0),
        ("voltages", {"voltage_l1": 23_000.0}, 0.0),
        ("no_voltage", {"voltage_l1": 0.0}, 0.0),
        ("triangle", {**HOUSE}, 1.0),
        ("triangle", {**HOUSE, "reactive_power": 9000.0}, 0.0),
        ("pf", {**HOUSE}, 1.0),
        ("pf", {**HOUSE, "power_factor": 0.2}, 0.0),
        ("product", {**HOUSE}, 1.0),
        ("product", {**HOUSE, "active_power": 621.0}, 0.0),
        ("product", {**HOUSE, "active_power": 62_100.0}, 0.0),
        ("no_load", {**HOUSE, "active_power": 0.0, "apparent_power": 0.0, "reactive_power": 0.0}, None),
        ("tiny", {"current_l1": 1e-38}, 0.0),
        ("huge", {"current_l1": 4e6}, 0.0),
        ("answered", {"frequency": 50.0, "current_l1": None}, 0.25),
        ("serial", {"meter_serial": "4711"}, 1.0),
        ("serial", {"meter_serial": "0000"}, 0.5),
    ],
)
def test_a_value_fits_or_does_not(code: str, values: dict[str, float | str | None], fit: float | None):
    assert fits(read(values), code)[0] == (fit if fit is None else pytest.approx(fit))


@pytest.mark.parametrize(
    ("moved_wh", "p_w", "code", "low", "high"),
    [
        (100.0, 36_000.0, "moves", 1, 1),
        (30.0, 36_000.0, "moves_otherwise", 0, 0),
        (0.0, 36_000.0, "moves_otherwise", 0, 0),
        (1.0, 500.0, "moves_unseen", None, None),
        (900.0, 500.0, "moves_otherwise", 0, 0),
        (-5.0, 36_000.0, "falls", 0, 0),
        (0.0, -36_000.0, "moves", 1, 1),
    ],
)
def test_energy_moves_as_the_power_says_or_it_cannot_be_said(moved_wh, p_w, code, low, high):
    again = {Q.ACTIVE_ENERGY_IMPORT: 5000 + moved_wh, Q.ACTIVE_POWER: p_w}
    (fit,) = fits(read({"active_energy_import": 5000.0, "active_power": p_w}, again=again), code)
    assert fit == low == high if low is None else low <= fit <= high


def test_a_models_own_register_weighs_more_than_the_rest():
    mark = Hallmark("holding:0xFC02", (112, 121), "u16")
    right, wrong, none = (_score(remarks(read(HOUSE, marks=[(mark, said)]), {})) for said in ("121", "137", None))
    assert right > none > wrong
    assert wrong < 0.6 < none
    assert fits(read({"frequency": 50.0}, marks=[(Hallmark("43/14:product", ("AM-3",)), "AM-3")]), "hallmark") == [1.0]


@pytest.mark.parametrize(
    ("says", "code", "fit"),
    [
        ({"vendor": "Acrel", "product": "DTSD1352"}, "named", [1.0]),
        ({"product": "dtsd1352-c"}, "named", [1.0]),
        ({"product": "PAC3200"}, "other_name", [0.0]),
        ({"product": "Energy meter"}, "other_name", []),
        ({}, "other_name", []),
    ],
)
def test_a_name_is_taken_at_its_word(says, code, fit):
    assert fits(read({"frequency": 50.0}, model="Acrel DTSD1352, ADL3000"), code, says) == fit


def test_a_profile_with_one_right_register_is_not_sure():
    assert _score(remarks(read({"frequency": 50.0}), {})) < _score(remarks(read(HOUSE), {}))
    assert _score([]) == 0.0


def test_the_side_of_the_transformers_is_a_guess_with_its_reason():
    assert side(read({"current_l1": 2.4, "ct_ratio": 80.0}, "secondary")).what == "secondary"
    assert side(read({"current_l1": 96.0}, "secondary")).what == "primary"
    assert side(read({"current_l1": 0.01}, "secondary")).what == ""
    assert side(read({"current_l1": 96.0})).confidence <= 0.5
    assert side(read({"voltage_l1": 230.0}, "secondary")).what == ""


def by_angle(*degrees: float) -> dict[str, float]:
    return {
        f"{kind}_power_l{n}": 1000 * f(math.radians(d))
        for n, d in enumerate(degrees, start=1)
        for kind, f in (("active", math.cos), ("reactive", math.sin))
    }


@pytest.mark.parametrize(
    ("degrees", "what"),
    [
        ((26, 27, 25), "in order"),
        ((26, 206, 26), "current L2 reversed"),
        ((26, 146, -94), "currents exchanged"),
        ((26, -94, 146), "currents exchanged"),
        ((26, 90, 60), ""),
        ((26, 27), ""),
    ],
)
def test_phases_are_told_by_their_angles(degrees: tuple[float, ...], what: str):
    guess = phases(read(by_angle(*degrees)))
    assert guess.what == what
    assert (guess.confidence > 0) is bool(what)
