"""The unit as systemd's own tools see it: it parses without a word, and it exposes little."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from edge_agent.settings.site import Paths
from tests.bench.memory import FLAGS, PROGRAM, SERVICE

ROOT = Path(__file__).resolve().parent.parent
SYSTEMD = ROOT / "systemd"
EXPOSURE_LIMIT = 15  # tenths of a point; a well-kept Debian daemon scores 12, most score over 90

ANALYZE = shutil.which("systemd-analyze")
needs_analyze = pytest.mark.skipif(ANALYZE is None, reason="systemd-analyze is missing; `make test` installs it")


@pytest.fixture(params=["plain", "with TLS"])
def unit(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """The unit, able to find its program on this machine, and nothing else changed."""
    text = (SYSTEMD / "edge-agent.service").read_text(encoding="utf-8")
    text, replaced = re.subn(r"(?m)^(ExecStart=)\S+", lambda found: found[1] + sys.executable, text)
    assert replaced == 1, "the unit has one ExecStart"
    path = tmp_path / "edge-agent.service"
    path.write_text(text, encoding="utf-8")
    if request.param == "with TLS":
        shutil.copytree(SYSTEMD / "edge-agent.service.d", tmp_path / "edge-agent.service.d")
    return path


def analyze(*arguments: str) -> subprocess.CompletedProcess[str]:
    assert ANALYZE is not None
    return subprocess.run([ANALYZE, "--no-pager", *arguments], capture_output=True, text=True, timeout=60, check=False)


@needs_analyze
def test_systemd_reads_the_unit_without_a_complaint(unit: Path):
    done = analyze("verify", "--man=no", "--recursive-errors=no", str(unit))
    said = (done.stdout + done.stderr).strip()
    assert (done.returncode, said) == (0, ""), said


@needs_analyze
def test_a_misspelt_setting_would_be_noticed(unit: Path):
    unit.write_text(unit.read_text(encoding="utf-8").replace("PrivateIPC=", "PrivatIPC="), encoding="utf-8")
    done = analyze("verify", "--man=no", "--recursive-errors=no", str(unit))
    assert "PrivatIPC" in done.stdout + done.stderr


@needs_analyze
def test_the_unit_exposes_little(unit: Path, capsys: pytest.CaptureFixture[str]):
    done = analyze("security", "--offline=true", f"--threshold={EXPOSURE_LIMIT}", str(unit))
    score = re.search(r"Overall exposure level for \S+: (\S+)", done.stdout)
    assert score is not None, done.stdout + done.stderr
    with capsys.disabled():
        print(f"\nsystemd exposure of {unit.name}: {score[1]} (limit {EXPOSURE_LIMIT / 10})")
    assert done.returncode == 0, done.stdout


@needs_analyze
def test_the_threshold_bites(unit: Path):
    text = re.sub(
        r"(?m)^(Protect|Private|Restrict|SystemCall|Capability|NoNew).*$", "", unit.read_text(encoding="utf-8")
    )
    unit.write_text(text, encoding="utf-8")
    assert analyze("security", "--offline=true", f"--threshold={EXPOSURE_LIMIT}", str(unit)).returncode != 0


def test_the_plain_unit_starts_without_a_credential():
    """A LoadCredential line whose file is missing keeps the service down: such lines belong to a drop-in."""
    lines = (SYSTEMD / "edge-agent.service").read_text(encoding="utf-8").splitlines()
    assert not [line for line in lines if line.startswith("LoadCredential")]


def test_a_watchdog_is_set_and_ends_with_stacks():
    lines = (SYSTEMD / "edge-agent.service").read_text(encoding="utf-8").splitlines()
    assert "Type=notify" in lines
    assert "WatchdogSignal=SIGABRT" in lines
    assert any(line.startswith("WatchdogSec=") for line in lines)


def test_the_memory_budget_is_measured_on_what_the_unit_starts():
    lines = (SYSTEMD / "edge-agent.service").read_text(encoding="utf-8").splitlines()
    settings = [w for line in lines if line.startswith("Environment=") for w in line.partition("=")[2].split()]
    assert {f"{name}={value}" for name, value in SERVICE.items()} <= set(settings)
    command = next(line.split() for line in lines if line.startswith("ExecStart="))
    assert set(FLAGS) <= set(command)
    assert command[command.index("-m") :][: len(PROGRAM)] == list(PROGRAM)


def test_a_restart_finds_the_stamps_of_the_last_questions():
    """The runtime folder outlives a restart, else every restart costs a settlement line 16 minutes of silence."""
    lines = (SYSTEMD / "edge-agent.service").read_text(encoding="utf-8").splitlines()
    folders = [line.partition("=")[2] for line in lines if line.startswith("RuntimeDirectory=")]
    assert [f"/run/{folder}" for folder in folders] == [Paths().runtime]
    assert "RuntimeDirectoryPreserve=restart" in lines
