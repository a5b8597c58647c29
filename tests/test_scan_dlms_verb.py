"""`edge-agent scan --dlms` as it is typed: over a real TCP port and a real serial one, with keys and without."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from edge_agent.cli.main import main
from edge_agent.settings.profile import load_profile
from simulator.clock import HandClock
from simulator.dlms.tcp import DlmsPort
from simulator.loop import LoopThread
from tests.figures import report as figure
from tests.house.tree import ROOT
from tests.sim_dlms import CLIENT_TITLE, GMAC, KEYS, LLS, PLAIN, T0, sim_meter

SITE = """
[site]
utility = "demo"
gateway = "gw-1"

[paths]
state = "state"
runtime = "run"

[mqtt]
host = "127.0.0.1"

[[link]]
id = "net"
kind = "dlms-tcp"
host = "127.0.0.1"
port = {port}

[[device]]
id = "ciphered"
link = "net"
profile = "dlms-generic-3p"

[device.dlms]
client = 3
server = 2
authentication = "hls5"
security = "authenticated-encrypted"
client_title = "{title}"
encryption_key_file = "ek"
authentication_key_file = "ak"

[[device]]
id = "locked"
link = "net"
profile = "dlms-generic-3p"

[device.dlms]
client = 2
server = 1
authentication = "lls"
password_file = "pw"
"""


class Port:
    """Three meters behind one TCP port; `meters` by SAP."""

    def __init__(self, folder: Path) -> None:
        self.meters = {
            sap: sim_meter(clients=[PLAIN, LLS, GMAC], clock=HandClock(T0), sap=sap, serial=f"000000000{sap}")
            for sap in (1, 2, 3)
        }
        self._thread = LoopThread("meters")
        self._port = DlmsPort(self.meters)
        self.site = folder / "site.toml"

    def __enter__(self) -> Port:
        self._thread.__enter__()
        self._thread.run(self._port.start())
        self.site.write_text(SITE.format(port=self.number, title=CLIENT_TITLE.hex().upper()))
        for name, content in (("ek", KEYS["encryption_key"]), ("ak", KEYS["authentication_key"]), ("pw", "wrong")):
            (self.site.parent / name).write_text(content)
        return self

    def __exit__(self, *error: object) -> None:
        self._thread.run(self._port.stop())
        self._thread.__exit__(*error)

    @property
    def number(self) -> int:
        return self._port.port

    @property
    def writes(self) -> int:
        return sum(meter.counts.writes_seen for meter in self.meters.values())


@pytest.fixture
def port(tmp_path: Path) -> Iterator[Port]:
    with Port(tmp_path) as port:
        yield port
        assert port.writes == 0
        assert not any(meter.open for meter in port.meters.values()), "an association was left open"


def run(*words: object) -> tuple[int, str]:
    done = CliRunner().invoke(main, [str(w) for w in words])
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done.exit_code, done.output


def document(said: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(said[said.index("\n{") :] if "\n{" in said else said)
    return found


def test_whoever_is_behind_a_port_is_named_with_what_it_lists(port: Port):
    """No site file knows it: the management logical device says who is beside it."""
    code, said = run(
        "scan", "--dlms", "--tcp", f"127.0.0.1:{port.number}", "--site", port.site, "--client", 1, "--json"
    )
    assert code == 0, said
    report = document(said)
    assert [(f["driver"], f["address"], f["seen"]) for f in report["found"]] == [
        ("dlms", "1", "device"), ("dlms", "2", "device"), ("dlms", "3", "device"),
    ]  # fmt: skip
    assert {f["says"]["serial"] for f in report["found"]} == {"0000000001", "0000000002", "0000000003"}
    assert (report["setting"], report["listened_s"], report["complete"]) == (None, 0, True)
    first, _, _ = report["meters"]
    assert len(first["objects"]) > 35
    assert {q["quantity"]: q.get("value") for q in first["quantities"]}["active_energy_import"] == 1_234_560
    assert 'kind = "dlms-tcp"' not in report["fragment"]  # the site file has the link
    assert report["fragment"].count("[device.dlms]") == 3


def test_the_table_says_what_each_object_is(port: Port):
    code, said = run("scan", "net", "--site", port.site, "--dlms", "--client", 1, "--server", 3)
    assert code == 0, said
    assert "server 3, as client 1" in said
    assert "1-0:1.8.0*255" in said
    assert "1234560 Wh" in said
    assert "at 9600" not in said


def test_a_ciphered_device_of_the_site_gives_its_whole_list_and_a_profile(port: Port, tmp_path: Path):
    path = tmp_path / "found-meter.toml"
    code, said = run("scan", "--dlms", "--device", "ciphered", "--site", port.site, "-o", path, "--json")
    assert code == 0, said
    report = document(said)
    (meter,) = report["meters"]
    assert (meter["address"], meter["client"]) == ("2", 3)
    assert len(meter["objects"]) > 35
    written = load_profile(path)
    assert len(written.registers) >= 20
    assert written.load_profile == "1-0:99.1.0*255"
    text = path.read_text()
    assert 'profile = "found-meter" for device ciphered' in " ".join(text.split())
    for secret in (KEYS["encryption_key"], KEYS["authentication_key"]):
        assert secret not in (text + said).lower()
    figure("a ciphered DLMS meter's profile, made and checked", objects=len(meter["objects"]),
           registers=len(written.registers))  # fmt: skip


def test_the_profile_that_was_made_reads_the_meter(port: Port, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Put where profiles belong, it is the device's profile: every register of it gives a value."""
    overrides = tmp_path / "etc"
    (overrides / "profiles").mkdir(parents=True)
    code, said = run(
        "scan", "--dlms", "--device", "ciphered", "--site", port.site, "-o", overrides / "profiles" / "found-meter.toml"
    )
    assert code == 0, said
    monkeypatch.setattr("edge_agent.settings.load.config_files", lambda: _config(overrides))
    monkeypatch.setattr("edge_agent.settings.check.config_files", lambda: _config(overrides), raising=False)
    site = port.site.read_text().replace('profile = "dlms-generic-3p"', 'profile = "found-meter"', 1)
    port.site.write_text(site)
    code, said = run("read", "ciphered", "--site", port.site, "--json")
    assert code == 0, said
    rows = json.loads(said[said.index("[\n") :])
    given = [r["quantity"] for r in rows if "value" in r or "text" in r]
    assert len(given) >= 20
    assert {r["quantity"] for r in rows} - set(given) <= {"maximum_demand_time"}  # there was none yet


def _config(overrides: Path) -> Any:
    from edge_agent.settings.shipped import config_files

    return config_files(overrides)


def test_the_public_client_gives_no_profile_and_says_what_to_do(port: Port, tmp_path: Path):
    path = tmp_path / "none.toml"
    code, said = run("scan", "net", "--dlms", "--server", 1, "--site", port.site, "-o", path)
    assert code == 1
    assert not path.exists()
    assert "scan --dlms --device ID" in said


def test_a_wrong_password_is_said_with_its_cure(port: Port):
    code, said = run("scan", "--dlms", "--device", "locked", "--site", port.site)
    assert code == 1, said  # it was found, and gives no list
    assert "The meter refuses the password or the proof" in said
    assert "do not try many times" in said


def test_a_missing_key_is_said_before_anything_is_asked(port: Port):
    (port.site.parent / "ek").write_text("no key")
    requests = port.meters[2].counts.requests
    code, said = run("scan", "--dlms", "--device", "ciphered", "--site", port.site)
    assert code == 2  # the site's own check
    assert "ek" in said
    assert port.meters[2].counts.requests == requests


def test_a_device_that_keeps_silent_is_nobody(port: Port):
    port.site.write_text(port.site.read_text().replace("server = 1", "server = 9"))
    code, said = run("scan", "--dlms", "--device", "locked", "--site", port.site, "--json")
    assert code == 1
    assert document(said)["found"] == []


def test_who_does_not_speak_dlms_is_no_meter(tmp_path: Path):
    """Nobody at the port at all; and nobody at the SAPs that were asked for."""
    code, said = run("scan", "--dlms", "--tcp", "127.0.0.1:1", "--site", tmp_path / "none")
    assert code == 1
    assert "127.0.0.1:1" in said


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (("net", "--client", "1"), "--client goes with --dlms"),
        (("net", "-o", "m.toml"), "-o goes with --dlms"),
        (("--dlms", "--device", "nobody"), "no device 'nobody'; there are ciphered, locked"),
        (("--dlms", "--device", "locked", "--client", "1"), "leave out --client"),
        (("--dlms", "--device", "locked", "--tcp", "10.0.0.1"), "leave out the place"),
        (("other", "--dlms", "--device", "locked"), "is on link net, not on other"),
        (("net", "--dlms", "--server", "x"), "--server: 'x' is not 0 to 65535"),
        (("net", "--dlms", "--physical", "1-999"), "at most 256"),
        (("net", "--dlms", "-o", "My Meter.toml"), "no name of a profile"),
        (("--serial", "/dev/ttyS9", "--dlms", "--client", "128"), "--client: 128 is no client of a line"),
        (("--serial", "/dev/ttyS9", "--dlms", "--server", "126"), "without --physical, up to 125"),
    ],
)
def test_a_mistake_on_the_command_line_is_named(port: Port, words: tuple[str, ...], complaint: str):
    code, said = run("scan", *words, "--site", port.site)
    assert code == 1
    assert complaint in said
    assert all(meter.counts.requests == 0 for meter in port.meters.values())


def test_probe_says_what_to_do_with_dlms_meters(port: Port):
    code, said = run("probe", "net", "--unit", 1, "--site", port.site)
    assert code == 1
    assert "scan --dlms" in said


@pytest.fixture
def line(tmp_path: Path) -> Iterator[Path]:
    """The line that ships, with two DLMS meters, behind a pty, played by the simulator as a process."""
    command = [sys.executable, "-m", "simulator.cli", "serve", "dlms-line", "--ports", str(tmp_path / "ports")]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        assert process.stdout.readline()
        yield tmp_path / "ports" / "rs485"
        process.terminate()
        rest, _ = process.communicate(timeout=10)
        assert "0 attempts to write" in rest
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


def test_two_dlms_meters_and_their_neighbours_are_found_behind_a_port(line: Path, tmp_path: Path):
    command = [
        sys.executable, "-m", "edge_agent", "scan", "--dlms", "--serial", str(line), "--units", "1-3",
        "--server", "1", "--physical", "17,2836", "--baud", "9600", "--parity", "N", "--shared-line", "--listen", "1",
        "--site", str(tmp_path / "none.toml"), "--json",
    ]  # fmt: skip
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=90, check=False)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert {f["address"]: f["driver"] for f in report["found"]} == {
        "1": "modbus", "123456789012": "dlt645", "1/17": "dlms", "1/2836/4": "dlms",
    }  # fmt: skip
    assert {m["says"]["serial"] for m in report["meters"]} == {"0000510001", "0000510002"}
    assert "physical = 2836\naddress_size = 4" in report["fragment"]
    assert report["complete"] is True
    assert "listening" not in done.stderr
    figure("scan of the DLMS line behind a pty", seconds=round(report["spent_s"], 1))
