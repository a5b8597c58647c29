"""`edge-agent scan` as it is typed: which link is meant, whose it is, and a real port."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from edge_agent.cli.main import main
from edge_agent.cli.surveying import Asked, link_asked
from edge_agent.holding import HeldLinks
from edge_agent.settings import load_site
from simulator.loop import LoopThread
from simulator.modbus import ModbusPort
from simulator.scenario import load_scenario, scenarios_dir
from tests.house.tree import ROOT

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
id = "bus-1"
kind = "serial"
path = "{port}"
baud = 2400
parity = "E"
settlement = true
{more}
"""


@pytest.fixture
def site(tmp_path: Path) -> Path:
    path = tmp_path / "site.toml"
    path.write_text(SITE.format(port="/dev/ttyS9", more=""))
    return path


def run(*words: object) -> tuple[int, str]:
    done = CliRunner().invoke(main, [str(w) for w in words])
    return done.exit_code, done.output


def asked(site: Path, **link: str) -> tuple[object, ...]:
    spec, runtime, _ = link_asked(Asked(None)._replace(**link), site, load_site)  # type: ignore[arg-type]
    return spec.id, spec.kind, spec.path or (spec.host, spec.port), spec.baud, spec.settlement, runtime.name


def test_a_link_is_an_id_or_a_place_and_a_known_place_is_its_link(site: Path):
    assert asked(site, link="bus-1") == ("bus-1", "serial", "/dev/ttyS9", 2400, True, "run")
    assert asked(site, serial="/dev/ttyS9") == ("bus-1", "serial", "/dev/ttyS9", 2400, True, "run")
    assert asked(site, serial="/dev/ttyUSB0") == ("ttyusb0", "serial", "/dev/ttyUSB0", 9600, False, "run")
    assert asked(site, tcp="10.0.0.5") == ("10-0-0-5-502", "modbus-tcp", ("10.0.0.5", 502), 9600, False, "run")
    assert asked(site, tcp_serial="moxa:4001") == ("moxa-4001", "tcp-serial", ("moxa", 4001), 9600, False, "run")
    assert asked(site.parent / "none.toml", serial="/dev/ttyUSB0")[-1] == "edge-agent"


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ((), "say one link"),
        (("bus-1", "--serial", "/dev/ttyUSB0"), "say one link"),
        (("bus-2",), "no link 'bus-2'; there are bus-1"),
        (("--tcp-serial", "moxa"), "no HOST:PORT"),
        (("bus-1", "--units", "0-4"), "--units: '0' is not 1 to 247"),
        (("bus-1", "--units", "9-4"), "no unit between"),
        (("bus-1", "--baud", "9601"), "--baud: '9601'"),
        (("bus-1", "--parity", "M"), "--parity: 'M'"),
        (("--serial", "/dev/none", "--shared-line", "--listen", "0"), "no such port"),
    ],
)
def test_a_mistake_on_the_command_line_is_named(site: Path, words: tuple[str, ...], complaint: str):
    code, said = run("scan", *words, "--site", site)
    assert code == 1
    assert complaint in said


def test_a_link_that_is_held_names_its_holder(site: Path):
    with HeldLinks(site.parent / "run", ["bus-1"]):
        for words in (("bus-1",), ("--serial", "/dev/ttyS9")):
            code, said = run("scan", *words, "--site", site)
            assert code == 1
            assert f"link bus-1 is in use by process {os.getpid()}; wait for it, or stop it" in said


@pytest.fixture
def port(tmp_path: Path) -> Iterator[Path]:
    """The mixed line behind a pty, played by the simulator as a process."""
    command = [sys.executable, "-m", "simulator.cli", "serve", "rs485", "--ports", str(tmp_path / "ports")]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("rs485 at")
        yield tmp_path / "ports" / "rs485"
        process.terminate()
        rest, _ = process.communicate(timeout=10)
        assert "0 attempts to write" in rest
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


def test_scan_finds_four_devices_behind_a_port(port: Path, tmp_path: Path):
    site = tmp_path / "site.toml"
    site.write_text(SITE.format(port="/dev/ttyS9", more=""))
    command = [
        sys.executable, "-m", "edge_agent", "scan", "--serial", str(port), "--site", str(site), "--units", "1-4",
        "--shared-line", "--listen", "1", "--json",
    ]  # fmt: skip
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert sorted(f["address"] for f in report["found"]) == ["1", "123456789012", "2", "3"]
    assert report["setting"] == "9600 8N1"
    assert report["complete"] is True
    assert report["listened_s"] == 1
    assert "listening" not in done.stderr  # a pipe and --json: nothing but the document, and the lock's remark


def test_probe_writes_what_a_site_file_takes(port: Path, tmp_path: Path):
    """The current transformer of the mixed line: named, written down, and its tables checked by the agent itself."""
    site = tmp_path / "site.toml"
    site.write_text(SITE.format(port="/dev/ttyS9", more=""))
    command = [
        sys.executable, "-m", "edge_agent", "probe", "--serial", str(port), "--site", str(site), "--unit", "3",
        "--shared-line", "--listen", "0", "--seconds", "1", "--write", str(tmp_path / "w"),
        "--dump", str(tmp_path / "d"),
    ]  # fmt: skip
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=90, check=False)
    assert done.returncode == 0, done.stderr
    assert "unit 3: peacefair-pzem-016 fits (score 0." in done.stdout
    assert (tmp_path / "d" / "peacefair-pzem-016.toml").read_text().startswith("# Recorded from a device: Peacefair")
    site.write_text(site.read_text() + (tmp_path / "w" / "rs485.toml").read_text())
    checked = subprocess.run(
        [sys.executable, "-m", "edge_agent", "check", str(site)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert checked.returncode == 0, checked.stderr
    assert 'profile = "peacefair-pzem-016"' in site.read_text()


def test_scan_and_probe_over_tcp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A meter behind a TCP port, with a real socket; the other units keep silent."""
    monkeypatch.setattr("drivers.modbus.survey.TCP_WAIT_S", 0.1)
    with SimMeters(7, 9) as port:
        code, said = run("scan", "--tcp", f"127.0.0.1:{port}", "--site", tmp_path / "none", "--units", "1-12", "--json")
        assert code == 0, said
        report = json.loads(said[said.index("{") :])
        assert [f["address"] for f in report["found"]] == ["7", "9"]
        assert (report["setting"], report["listened_s"], report["complete"]) == (None, 0, True)
        code, said = run(
            "probe", "--tcp", f"127.0.0.1:{port}", "--site", tmp_path / "none", "--unit", "9", "--seconds", "0",
            "--dump", tmp_path / "d",
        )  # fmt: skip
        assert code == 0, said
        assert "unit 9: acrel-dtsd1352 fits" in said
        assert 'kind = "modbus-tcp"' in said
        assert "unit = 9" in (tmp_path / "d" / "acrel-dtsd1352.toml").read_text()


class SimMeters:
    """`with SimMeters(7, 9) as port`: simulated meters at those units of one TCP port."""

    def __init__(self, *units: int) -> None:
        scenario = load_scenario(scenarios_dir() / "factory.toml")
        self._thread = LoopThread("meters")
        self._port = ModbusPort({unit: scenario.meters[0].hang() for unit in units}, scenario.clock())

    def __enter__(self) -> int:
        self._thread.__enter__()
        self._thread.run(self._port.start())
        return self._port.port

    def __exit__(self, *error: object) -> None:
        self._thread.run(self._port.stop())
        self._thread.__exit__(*error)


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (("bus-1",), "say one device"),
        (("bus-1", "--unit", "3", "--address", "123456789012"), "say one device"),
        (("bus-1", "--unit", "3", "--all"), "--all is everybody"),
        (("bus-1", "--address", "12"), "12 digits"),
        (("--tcp", "10.0.0.5", "--address", "123456789012"), "serial lines"),
        (("--serial", "/dev/none", "--unit", "3", "--shared-line", "--listen", "0"), "no such port"),
    ],
)
def test_a_mistake_in_a_probe_is_named(site: Path, words: tuple[str, ...], complaint: str):
    code, said = run("probe", *words, "--site", site)
    assert code == 1
    assert complaint in said
