"""The verbs as a technician calls them: help with an example, one JSON document, errors that say what to do."""

from __future__ import annotations

import contextlib
import json
import os
import re
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from edge_agent.cli import main
from edge_agent.control import SOCKET
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
    assert bytes.fromhex(energy["raw"]) in bytes.fromhex(energy["frame"])
    assert int.from_bytes(bytes.fromhex(energy["raw"]), "big") * 10 == energy["value"], "0.01 kWh a count"
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


class OneSlot:
    """A meter that serves one connection, which somebody else has."""

    def __init__(self, port: int) -> None:
        self.tried = 0
        self._ears = socket.create_server(("127.0.0.1", port))
        self._other = socket.create_connection(("127.0.0.1", port))
        self._held, _ = self._ears.accept()
        self._turning_away = threading.Thread(target=self._turn_away, daemon=True)
        self._turning_away.start()

    def _turn_away(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                wire, _ = self._ears.accept()
                self.tried += 1
                wire.close()

    def __enter__(self) -> OneSlot:
        return self

    def __exit__(self, *_: object) -> None:
        self._ears.shutdown(socket.SHUT_RDWR)
        for wire in (self._held, self._other, self._ears):
            wire.close()
        self._turning_away.join()


def test_a_meter_whose_only_connection_another_has_says_what_to_do(stage):
    with OneSlot(stage.stage.meter_port) as meter:
        done = agent_verb("read", f"m-{CALM.id}", "--site", stage.stage.site)
    assert meter.tried > 0
    assert done.returncode != 0
    for said in (f"device m-{CALM.id} (unit 1)", "link lan", "serve one connection at a time", "Close the other one"):
        assert said in done.stderr
    assert done.stderr.count("\n") == 1
    assert "Traceback" not in done.stderr


def test_the_port_is_not_taken_from_an_agent_that_does_not_answer(stage):
    """It may hang, but it is there: two masters on one line garble each other."""
    with OneSlot(stage.stage.meter_port) as meter, socket.socket(socket.AF_UNIX) as agent:
        agent.bind(str(stage.stage.run / SOCKET))
        agent.listen()
        hanging_up = threading.Thread(target=lambda: agent.accept()[0].close())  # noqa: PLW0108
        hanging_up.start()
        done = agent_verb("read", f"m-{CALM.id}", "--site", stage.stage.site)
        hanging_up.join()
    assert done.returncode != 0
    assert "gave no answer" in done.stderr
    assert meter.tried == 0


def test_an_agent_that_starts_while_a_device_is_read_waits_for_the_link(stage):
    stage.start_meters()
    with HeldLinks(stage.stage.run, ["lan"]):
        stage.agent.start()
        (waiting,) = wait_until(lambda: stage.agent.lines("waiting for a link"), 20, "the agent waits")
        assert waiting["holder"] == f"process {os.getpid()}"
        assert not stage.agent.lines("agent started")
    wait_until(lambda: stage.agent.lines("agent started"), 20, "the link is free")
    done = agent_verb("read", f"m-{CALM.id}", "--site", stage.stage.site, "--json")
    assert done.returncode == 0, "the agent has the link now, and reads for us"


def test_without_a_store_the_verbs_say_what_to_do(stage):
    for verb in (("findings",), ("explain", "gw-1.x")):
        done = agent_verb(*verb, "--site", stage.stage.site)
        assert done.returncode != 0
        assert "There is no store at" in done.stderr
        assert "Start the agent once" in done.stderr


def test_a_finding_is_told_alike_with_an_agent_and_without(short_path):
    over = PointPlan("factory", steady(110), profile="acrel-dtsd1352")
    play = Play(Stage(short_path / "s", [over], rate=900.0, broker_port=1))
    try:
        play.start_meters()
        play.start_agent()
        site = play.stage.site
        rows = wait_until(
            lambda: json.loads(agent_verb("findings", "--json", "--site", site).stdout), 40, "a finding opens"
        )
        (finding,) = [r["finding"] for r in rows if r["topic"] == "cap-over-contract"]
        play.meters.kill()  # or the next interval counts while it is told

        def asked_twice() -> list[dict[str, Any]]:
            before = json.loads(agent_verb("explain", finding, "--site", site, "--json").stdout)
            time.sleep(2.0)  # two intervals
            now = json.loads(agent_verb("explain", finding, "--site", site, "--json").stdout)
            return [now] if now == before else []

        (asked,) = wait_until(asked_twice, 30, "the finding is told alike twice")
        assert play.agent.stop() == 0
        rows = json.loads(agent_verb("findings", "--json", "--site", site).stdout)
        assert finding in [r["finding"] for r in rows]
        read = json.loads(agent_verb("explain", finding, "--site", site, "--json").stdout)
        assert read == asked
        text = agent_verb("explain", finding, "--site", site).stdout
        assert text.splitlines() == read["lines"]
        assert "Suspected use over the contracted capacity" in text
        assert "running capacity of 100 kVA" in text
        assert finding in agent_verb("findings", "--site", site).stdout
        assert "no finding" in agent_verb("explain", finding[:-1], "--site", site).stderr, "a part of an id is no id"
    finally:
        play.end()


def test_a_register_that_is_too_coarse_says_so(short_path):
    """100 kVA behind a K of 80: one step of 0.01 kWh is 3.2 kW over 15 minutes, more than 2 % of the contract."""
    near = PointPlan("factory", steady(90), profile="acrel-dtsd1352")
    play = Play(Stage(short_path / "s", [near], rate=900.0, broker_port=1))
    try:
        play.start_meters()
        play.start_agent()
        said = wait_until(lambda: re.findall("cap-over-contract: (.*too coarse.*)", play.verb("status").stdout), 40)
    finally:
        play.end()
    assert said[0].startswith("the register is too coarse: one step of it is 3.2 kW")
    assert re.search(r"an overload under 10\d % cannot be told", said[0])
