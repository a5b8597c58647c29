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
