"""[device.dlms] and profiles of DLMS meters: what the driver is told, and which mistakes of a profile are found."""

from __future__ import annotations

import asyncio
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

from drivers.dlms.driver import DlmsDriver
from drivers.dlms.planning import requests, wire_bytes
from drivers.dlms.values import item_of
from drivers.dlms.xdlms import Attribute
from drivers.link import MemoryLink
from edge_agent.model import (
    UNIT,
    DeviceSpec,
    DlmsSpec,
    Gap,
    Identity,
    LinkSpec,
    Outcome,
    Profile,
    Quantity,
    Reading,
    Register,
)
from edge_agent.settings import SiteError, check, config_files, device_specs, link_specs, load_site
from edge_agent.settings.profile import load_profile
from tests.meters import read_profile
from tests.test_profiles import ROOT, VECTORS
from tests.test_settings import DLMS_PROFILE, SITE
from tests.test_settings import config as config  # noqa: PLC0414 (a fixture)

PROFILES = ROOT / "config/profiles"
Written = Callable[[str], Path]
KEYS = """
authentication = "lls"
security = "authenticated-encrypted"
wrap = "general-ded"
client = 1
server = 3
client_title = "4541470000000001"
password_file = "%d/m1-password"
encryption_key_file = "key"
authentication_key_file = "/etc/edge-agent/ak"
counter_object = "none"
inactivity_s = 30
utc_offset_min = 480
release = false
"""


@pytest.fixture
def written(tmp_path: Path) -> Written:
    def write(keys: str) -> Path:
        path = tmp_path / "site.toml"
        head, tail = SITE.split("[[link]]")[0], SITE[SITE.index("[[point]]") :]
        path.write_text(
            f'{head}[[link]]\nid = "lan"\nkind = "dlms-tcp"\nhost = "127.0.0.1"\n'
            f'[[device]]\nid = "m1"\nlink = "lan"\nprofile = "acme-c1"\n[device.dlms]\n{keys}\n{tail}'
        )
        return path

    return write


def test_the_driver_is_told_what_the_site_says(written, config, tmp_path, monkeypatch):
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    (tmp_path / "m1-password").write_text("x")
    path = written(KEYS.replace("/etc/edge-agent/ak", "key"))
    assert [m.sentence() for m in check(path, config=config)] == []
    site = load_site(path, config=config)
    (link,) = link_specs(site)
    assert link == LinkSpec("lan", "dlms-tcp", "127.0.0.1", 4059)
    (device,) = device_specs(site, config=config)
    assert device.profile.load_profile == "1-0:99.1.0*255"
    assert device.dlms == DlmsSpec(
        client=1, server=3, authentication="lls", security="authenticated-encrypted", wrap="general-ded",
        client_title="4541470000000001", password_file=str(tmp_path / "m1-password"),
        encryption_key_file=str(tmp_path / "key"), authentication_key_file=str(tmp_path / "key"), counter_object="",
        inactivity_s=30, utc_offset_min=480, release=False, state="/var/lib/edge-agent/dlms",
    )  # fmt: skip


def test_credentials_of_the_service_are_not_seen_from_elsewhere(written, config, monkeypatch):
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    path = written(KEYS.replace("/etc/edge-agent/ak", "key"))
    (hint,) = check(path, config=config)
    assert (hint.code, hint.severity) == ("credential_unseen", "hint")
    assert "/run/credentials/edge-agent.service/m1-password" in hint.wrong
    (device,) = device_specs(load_site(path, config=config), config=config)
    assert device.dlms is not None
    assert device.dlms.password_file == "/run/credentials/edge-agent.service/m1-password"


def test_an_empty_table_is_the_public_client(written, config):
    (device,) = device_specs(load_site(written(""), config=config), config=config)
    assert device.dlms == DlmsSpec(state="/var/lib/edge-agent/dlms")


PLACES = [
    ("1-0:1.8.0*255/2", "active_energy_import", (3, "0100010800ff", 2), (3, "0100010800ff", 3)),
    ("1-0:1.8.0*255", "active_energy_import", (3, "0100010800ff", 2), (3, "0100010800ff", 3)),
    ("4/1-0:1.6.0*255", "maximum_demand", (4, "0100010600ff", 2), (4, "0100010600ff", 3)),
    ("5/1-0:1.4.0*255", "running_demand", (5, "0100010400ff", 3), (5, "0100010400ff", 4)),
    ("4/1-0:1.6.0*255/5", "maximum_demand_time", (4, "0100010600ff", 5), None),
    ("0-0:96.1.0*255", "meter_serial", (1, "0000600100ff", 2), None),
    ("0-0:1.0.0*255", "meter_clock", (8, "0000010000ff", 2), None),
    ("1/0-0:96.7.21*255/2", "events_power_off", (1, "0000600715ff", 2), None),
]


@pytest.mark.parametrize(("address", "quantity", "value", "scaler"), PLACES, ids=[p[0] for p in PLACES])
def test_an_address_names_an_attribute(address, quantity, value, scaler):
    item = item_of(register(quantity, address))
    assert item.attribute == Attribute(value[0], bytes.fromhex(value[1]), value[2])
    assert item.scaler == (None if scaler is None else Attribute(scaler[0], bytes.fromhex(scaler[1]), scaler[2]))


def register(quantity: str, address: str, **more: object) -> Register:
    return Register(Quantity(quantity), address, "", UNIT[Quantity(quantity)], **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "address", ["", "1.8.0", "1-0:1.8.0*256", "1-0:1.8.0", "0/1-0:1.8.0*255", "7/1-0:99.1.0*255/2"]
)
def test_an_address_that_names_none(address):
    with pytest.raises(ValueError, match="active_energy_import"):
        requests(
            DeviceSpec(
                "m1", "l", 0, Profile("t", "dlms", "t", "t", "primary", 1, (register("active_energy_import", address),))
            )
        )


def test_a_bare_value_has_the_profiles_unit_and_scale():
    kilo = Register(Quantity.CT_RATIO, "1/1-0:0.4.2*255/2", "", "%", scale=0.5)
    assert item_of(kilo).counted.value(3) == 0.015
    with pytest.raises(ValueError, match="cannot become"):
        item_of(Register(Quantity.DEMAND_PERIOD, "1/1-0:0.8.0*255/2", "", "s"))


SLIPS = [
    ('address = "1-0:1.8.0*255/2"', 'address = "1-0:1.8.0*256/2"', "register_object"),
    ('address = "1-0:1.8.0*255/2"', 'address = "input:0x0048"', "register_object"),
    ('address = "1-0:1.8.0*255/2"', 'address = "7/1-0:99.1.0*255/2"', "register_class"),
    ('address = "1-0:1.8.0*255/2"', 'address = "1-0:1.8.0*255/2"\ntype = "u32"', "register_meter_says"),
    ('address = "1-0:1.8.0*255/2"', 'address = "1-0:1.8.0*255/2"\nunit = "kWh"', "register_meter_says"),
    ('address = "1-0:1.8.0*255/2"', 'address = "1-0:1.8.0*255/2"\nscale = 10.0', "register_meter_says"),
    ('load_profile = "1-0:99.1.0*255"', 'load_profile = "99.1.0"', "record_place"),
    ('driver = "dlms"', 'driver = "modbus"', "missing_key"),
]


@pytest.mark.parametrize(("old", "new", "code"), SLIPS, ids=[f"{s[2]} {n}" for n, s in enumerate(SLIPS)])
def test_a_mistake_in_a_profile(old, new, code, tmp_path):
    path = tmp_path / "acme-c1.toml"
    assert old in DLMS_PROFILE
    path.write_text(DLMS_PROFILE.replace(old, new, 1))
    with pytest.raises(SiteError) as wrong:
        load_profile(path)
    assert code in {m.code for m in wrong.value.mistakes}
    assert all(m.right for m in wrong.value.mistakes)


def test_a_register_that_rolls_over_says_its_digits_with_their_unit(tmp_path):
    path = tmp_path / "acme-c1.toml"
    path.write_text(DLMS_PROFILE.replace("*255/2", '*255/2"\nunit = "kWh"\ndigits = "6.2', 1))
    first = load_profile(path).registers[0]
    assert (first.unit, first.digits) == ("kWh", "6.2")


def test_the_generic_profile_is_few_questions():
    shipped = config_files(Path("/nowhere"))
    profile = load_profile(shipped.shipped / "profiles/dlms-generic-3p.toml")
    asked = requests(DeviceSpec("m1", "l", 0, profile, dlms=DlmsSpec()))
    assert [(r.every_s, len(r.registers)) for r in asked] == [(15, 16), (60, 1), (300, 8), (3600, 1)]
    assert all(sent > 0 and expected > 0 for sent, expected in map(wire_bytes, asked))
    assert profile.load_profile == "1-0:99.1.0*255"


@pytest.mark.parametrize(
    "path", [p for p in sorted(PROFILES.glob("*.toml")) if read_profile(p).driver == "dlms"], ids=lambda p: p.stem
)
def test_a_profile_reads_its_conversation(path):
    """Each APDU is the one that was written down, in its order, and each register exactly one expected outcome."""
    profile = read_profile(path)
    assert load_profile(path) == profile
    recorded = tomllib.loads((VECTORS / path.name).read_text("utf-8"))
    exchanges = [(bytes.fromhex(r["request"]), bytes.fromhex(r["reply"])) for r in recorded["reply"]]

    def far_end(data: bytes) -> bytes:
        request, reply = exchanges.pop(0)
        assert data == request
        return reply

    async def poll() -> list[Outcome]:
        driver = DlmsDriver(MemoryLink(far_end), 1.0, lambda: 0)
        device = DeviceSpec("m1", "lan", 0, profile, dlms=DlmsSpec())
        return [o for request in requests(device) for o in await driver.read(request)]

    found = asyncio.run(poll())
    assert exchanges == []
    got: dict[str, object] = {}
    for outcome in found:
        match outcome:
            case Reading():
                got[outcome.quantity] = [pytest.approx(outcome.value, rel=1e-9), UNIT[outcome.quantity]]
            case Identity():
                got[outcome.quantity] = outcome.text
            case Gap():
                got[outcome.quantity] = f"gap: {outcome.cause}"
    assert len(found) == len(got) == len(profile.registers)
    assert got == recorded["readings"]
