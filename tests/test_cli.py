"""The verbs as a technician calls them: help with an example, one JSON document, errors that say what to do."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from edge_agent.cli import main
from edge_agent.holding import HeldLinks
from tests.e2e.processes import Play, wait_until
from tests.e2e.site import PointPlan, Stage, steady

ROOT = Path(__file__).parent.parent
FACTORY = ROOT / "config/examples/factory.toml"
CALM = PointPlan("factory", steady(50), profile="acrel-dtsd1352")


def agent_verb(*words: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "edge_agent", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False, timeout=60)


@pytest.mark.parametrize("verb", sorted(main.commands))
def test_every_verb_has_help_with_an_example(verb):
    done = agent_verb(verb, "--help")
    assert done.returncode == 0
    assert f"Example:  edge-agent {verb}" in done.stdout


def test_check_says_all_mistakes_at_once_and_ends_with_1(tmp_path):
    assert agent_verb("check", FACTORY).returncode == 0
    bad = tmp_path / "site.toml"
    bad.write_text(FACTORY.read_text().replace("billing_day = 1", "biling_day = 1").replace('"400/5"', '"401/5"'))
    done = agent_verb("check", bad)
    assert done.returncode == 1
    assert "biling_day" in done.stderr
    assert "billing_day" in done.stderr
    assert "401" in done.stderr
    found = json.loads(agent_verb("check", "--json", bad).stdout)
    assert {"file", "line", "key", "code", "severity", "wrong", "right"} == set(found[0])


def test_a_verb_with_a_broken_site_file_says_every_mistake(tmp_path):
    bad = tmp_path / "site.toml"
    bad.write_text(FACTORY.read_text().replace("billing_day = 1", "biling_day = 1"))
    for verb in ("status", "findings"):
        done = agent_verb(verb, "--site", bad)
        assert done.returncode == 2
        assert "biling_day" in done.stderr


@pytest.fixture
def stage(short_path):
    made = Play(Stage(short_path / "s", [CALM], rate=60.0, broker_port=1))
    yield made
    made.end()


def test_without_an_agent_a_device_is_read_over_the_port_itself(stage):
    stage.start_meters()
    site = stage.stage.site
    device = f"m-{CALM.id}"
    done = agent_verb("read", device, "--site", site, "--json")
    assert done.returncode == 0, done.stderr
    rows = {r["quantity"]: r for r in json.loads(done.stdout)}
    energy = rows["active_energy_import"]
    assert energy["primary"] == pytest.approx(energy["value"] * energy["k"])
    assert energy["k"] == 80.0
    assert bytes.fromhex(energy["frame"])
    table = agent_verb("read", device, "--site", site)
    assert "active_energy_import" in table.stdout
    done = agent_verb("read", "m9", "--site", site)
    assert done.returncode != 0
    assert device in done.stderr, "the devices that there are"
    with HeldLinks(Path(stage.stage.run), ["lan"]):
        done = agent_verb("read", device, "--site", site)
    assert done.returncode != 0
    assert "in use by process" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_meter_that_is_not_there_is_named_with_its_link(stage):
    done = agent_verb("read", f"m-{CALM.id}", "--site", stage.stage.site)
    assert done.returncode != 0
    assert f"device m-{CALM.id}" in done.stderr
    assert "link lan" in done.stderr
    assert "Traceback" not in done.stderr


def test_while_an_agent_runs_the_verbs_ask_it(stage):
    stage.start_meters()
    stage.start_agent()
    site = stage.stage.site
    wait_until(
        lambda: json.loads(agent_verb("status", "--json", "--site", site).stdout)["points"][0]["topics"], 40, "said"
    )
    status = json.loads(agent_verb("status", "--json", "--site", site).stdout)
    assert status["points"][0]["id"] == CALM.id
    assert [d["id"] for d in status["devices"]] == [f"m-{CALM.id}"]
    assert status["links"][0]["up"]
    assert "not connected" in status["uplink"]["state"] or "broker" in status["uplink"]["state"]
    text = agent_verb("status", "--site", site).stdout
    assert f"point {CALM.id}" in text
    rows = json.loads(agent_verb("read", f"m-{CALM.id}", "--site", site, "--json").stdout)
    assert any("value" in r for r in rows), "the agent owns the port and reads for us"
    assert json.loads(agent_verb("findings", "--site", site, "--json").stdout) == []
    done = agent_verb("explain", "gw-1.nothing", "--site", site)
    assert done.returncode != 0
    assert "`edge-agent findings` lists them" in done.stderr
    assert stage.agent.stop() == 0
    done = agent_verb("status", "--site", site)
    assert done.returncode != 0
    assert "no agent answers" in done.stderr
    assert json.loads(agent_verb("findings", "--site", site, "--json").stdout) == [], "from the store as it lies there"
