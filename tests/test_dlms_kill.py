"""SIGKILL amid ciphered traffic with the simulator's meters, which judge: no invocation counter is sent twice under one
key. The judge is shown to find one that is.
"""

from __future__ import annotations

import os
import random
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, NamedTuple

import pytest

from simulator.dlms.guard import Keys
from simulator.dlms.ledger import CounterLedger, Seen
from tests.dlms_child import BLOCK, METERS
from tests.dlms_desk import AK_HEX
from tests.dlms_meter import CLIENT_TITLE
from tests.figures import report
from tests.house.tree import ROOT

KILLS = int(os.environ.get("EDGE_PROVE_DLMS_KILLS", "12"))
AGENT_KILLS = max(2, KILLS // 10)
CONTROL_KILLS = max(5, KILLS // 10)
MOST_READINGS = 24
SOON_S = 0.03
"""About so long a process takes for its first association: half of the kills fall into it."""

BEGINS_S = 30.0


class Meters:
    """`edge-agent-sim serve` with the meters of the child, and what it says of the counters at its end."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = 0
        self.said: dict[str, tuple[int, int]] = {}
        """By meter: counters that came, and how many of them had come before."""

    @contextmanager
    def serve(self) -> Iterator[None]:
        scenario = self.folder / "meters.toml"
        scenario.write_text(SCENARIO + "".join(map(_meter, METERS)), encoding="utf-8")
        command = [
            sys.executable, "-m", "simulator.cli", "serve", str(scenario), "--port", "0", "--state", str(self.folder),
        ]  # fmt: skip
        process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        try:
            first = process.stdout.readline()
            self.port = int(first.rpartition(", DLMS")[0].rpartition(":")[2])
            yield
            process.send_signal(signal.SIGTERM)
            rest = process.communicate(timeout=BEGINS_S)[0]
        finally:
            process.kill()
            process.communicate()
        found = re.findall(r"^(\S+): (\d+) invocation counters of clients, (\d+) sent twice$", rest, re.MULTILINE)
        self.said = {name: (int(seen), int(twice)) for name, seen, twice in found}

    def ledger(self, name: str) -> CounterLedger:
        """The meter's own, as it lies on its disk."""
        return CounterLedger(self.folder / f"{name}.counters")


SCENARIO = "[clock]\nstart = 2026-03-02T00:00:00+08:00\n"


def _meter(way) -> str:
    protect = "none" if way.security == "none" else "both"
    return f"""
[[meter]]
id = "{way.name}"
protocol = "dlms"
port = 4059
serial = "000000000{way.sap}"
registers = {{ active_energy_import = 1234.56 }}
load = {{ kind = "constant", p_kw = 160, pf = 0.85 }}
dlms = {{ sap = {way.sap}, history_s = 0 }}

[[meter.client]]
sap = 1
auth = "gmac"
protect = "{protect}"
encryption_key = "{way.key}"
authentication_key = "{AK_HEX}"
"""


class Killed(NamedTuple):
    """What the killed processes had done: readings, and kills while one was under way."""

    readings: int
    amid: int
    errors: Counter[str]


def killed(meters: Meters, folder: Path, how: str, kills: int, *, soon: bool = True) -> Killed:
    """One process after the other on the same counters, each killed at a random instant of one of its readings;
    `soon`: half of them of the first."""
    chance = random.Random(7)
    readings = amid = 0
    errors: Counter[str] = Counter()
    command = [sys.executable, "-m", "tests.dlms_child", str(meters.port), str(folder), how]
    for n in range(kills):
        child = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
        assert child.stdout is not None
        try:
            said = _until_asked(child.stdout, 1 if soon and n % 2 else chance.randint(2, MOST_READINGS))
            time.sleep(chance.uniform(0, SOON_S))
            assert child.poll() is None, "it ended by itself"
        finally:
            child.kill()
            rest = child.communicate()[0]
        said += rest.splitlines()
        readings += said.count("read")
        amid += said[-1:] == ["ask"]
        errors.update(line.partition("(")[0] for line in said if line not in {"ready", "ask", "read"})
    return Killed(readings, amid, errors)


def _until_asked(child: IO[str], times: int) -> list[str]:
    """What it says until its reading of that number is under way."""
    said: list[str] = []
    while said.count("ask") < times:
        said.append(child.readline().strip())
        assert said[-1], "it ended by itself"
    return said


def uses(ledger: CounterLedger, way) -> tuple[list[Seen], list[Seen]]:
    """Under the meter's global key, and under all its dedicated ones."""
    key = Keys(bytes.fromhex(way.key), bytes.fromhex(AK_HEX)).fingerprint
    return [s for s in ledger.seen if s.key == key], [s for s in ledger.seen if s.key != key]


@pytest.mark.timeout(60 + 2 * KILLS)
def test_no_number_is_sent_twice_whenever_the_reader_is_killed(tmp_path: Path):
    meters = Meters(tmp_path)
    with meters.serve():
        done = killed(meters, tmp_path / "reader", "ahead", KILLS)
    ledgers = {way.name: meters.ledger(way.name) for way in METERS}
    assert {name: (len(ledger.seen), 0) for name, ledger in ledgers.items()} == meters.said, "a number was sent twice"
    found: Counter[str] = Counter()
    for way in METERS:
        ledger = ledgers[way.name]
        assert all(seen.genuine for seen in ledger.seen)
        ours, dedicated = uses(ledger, way)
        numbers = [seen.counter for seen in ours]
        assert len(numbers) > 1, f"{way.name} was hardly read"
        assert len(set(numbers)) == len(numbers), "a number was sent twice"
        assert (
            max(numbers) - min(numbers) + 1 - len(numbers) <= BLOCK * KILLS
        )  # what a crash costs: the rest of a block
        assert bool(dedicated) is (way.wrap == "ded")
        found.update(numbers=len(numbers), dedicated=len(dedicated), keys=len({seen.key for seen in dedicated}))
    assert not done.errors, done.errors
    assert done.readings > 3 * KILLS
    assert found["numbers"] > 5 * KILLS
    assert done.amid > KILLS // 3, "hardly one was killed while it asked"
    report("dlms-kill", kills=KILLS, amid_a_question=done.amid, readings=done.readings, twice=0, **found)


@pytest.mark.timeout(60 + CONTROL_KILLS)
def test_the_judge_finds_the_numbers_of_a_reader_that_puts_them_on_record_afterwards(tmp_path: Path):
    """The control: the same kills, the same meters, and a counter that is not reserved ahead."""
    meters = Meters(tmp_path)
    with meters.serve():
        done = killed(meters, tmp_path / "reader", "behind", CONTROL_KILLS, soon=False)
    assert done.readings
    twice = sum(twice for _, twice in meters.said.values())
    assert twice, "the judge has seen nothing"
    assert twice == sum(len(meters.ledger(way.name).twice) for way in METERS)
    report("dlms-kill, control", kills=CONTROL_KILLS, readings=done.readings, twice=twice)


@pytest.mark.timeout(90 + 20 * AGENT_KILLS)
def test_no_number_is_sent_twice_by_the_agent_itself(tmp_path: Path):
    """The whole agent, with its usual block of a thousand numbers, killed while it associates with four meters."""
    chance = random.Random(11)
    meters = Meters(tmp_path)
    ledgers = [tmp_path / f"{way.name}.counters" for way in METERS]

    def written() -> int:
        return sum(ledger.stat().st_size for ledger in ledgers if ledger.exists())

    with meters.serve():
        site = _site(tmp_path / "agent", meters.port)
        command = [sys.executable, "-m", "edge_agent", "run", "--site", str(site)]
        for _ in range(AGENT_KILLS):
            with (tmp_path / "agent.log").open("ab") as log:
                agent = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log)
            try:
                before, until_s = written(), time.monotonic() + BEGINS_S
                while written() == before and time.monotonic() < until_s:
                    time.sleep(0.002)
                assert written() > before, (tmp_path / "agent.log").read_text("utf-8")[-2000:]
                time.sleep(chance.uniform(0, 0.2))
                assert agent.poll() is None, "it ended by itself"
            finally:
                agent.kill()
                agent.wait()
    came = sum(seen for seen, _ in meters.said.values())
    assert came > 3 * AGENT_KILLS
    assert sum(twice for _, twice in meters.said.values()) == 0, "a number was sent twice"
    report("dlms-kill, the agent", kills=AGENT_KILLS, numbers=came, twice=0)


def _site(folder: Path, port: int) -> Path:
    for made in (folder, folder / "state", folder / "run"):
        made.mkdir()
    text = f"""
[site]
utility = "demo"
gateway = "gw-1"
[paths]
state = "{folder}/state"
runtime = "{folder}/run"
[mqtt]
host = "127.0.0.1"
port = 1
[[link]]
id = "net"
kind = "dlms-tcp"
host = "127.0.0.1"
port = {port}
"""
    for way in METERS:
        protection = "" if way.security == "none" else f'security = "{way.security}"\nwrap = "{way.wrap}"\n'
        text += f"""
[[device]]
id = "{way.name}"
link = "net"
profile = "dlms-generic-3p"
every_s = 1
[device.dlms]
client = 1
server = {way.sap}
authentication = "hls5"
{protection}client_title = "{CLIENT_TITLE.hex()}"
force_clear_text_keys = true
encryption_key = "{way.key}"
authentication_key = "{AK_HEX}"
"""
    path = folder / "site.toml"
    path.write_text(text, encoding="utf-8")
    return path
