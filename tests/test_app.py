"""The agent in this process: what it takes up after a stop, and what it does without a clock or a store."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.metadata
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
import zlib
from typing import Any

import msgspec
import pytest

from edge_agent.app import Agent, identity, start
from edge_agent.app import __main__ as service
from edge_agent.app.agent import EXIT_AGAIN
from edge_agent.app.watchdog import STUCK_S
from edge_agent.clock import ReplayedClock, SystemClock
from edge_agent.contract.shapes import rfc3339
from edge_agent.control import SOCKET
from edge_agent.holding import HeldLinks
from edge_agent.model import ClockQuality, ClockState, Quantity
from edge_agent.settings import load_site
from edge_agent.store import StoreFailing
from tests.e2e.processes import Play
from tests.e2e.site import PointPlan, Stage, steady

CALM = PointPlan("factory", steady(50), profile="acrel-dtsd1352")


@pytest.fixture
def stage(short_path):
    made = Play(Stage(short_path / "s", [CALM], rate=240.0, broker_port=1))
    yield made
    made.end()


def agent_of(stage: Play, clock: Any = None) -> Agent:
    return Agent(load_site(stage.stage.site), "0" * 64, clock=clock)


async def lived(agent: Agent, *, until: Any, within_s: float = 20.0) -> int:
    """Run the agent until a condition holds, then stop it; its exit code."""
    running = asyncio.create_task(agent.run())
    deadline = time.monotonic() + within_s
    held = until()
    while not held and not running.done() and time.monotonic() < deadline:
        await asyncio.sleep(0.05)
        held = until()
    agent.stop()
    async with asyncio.timeout(10):
        code = await running
    assert held, "the condition did not come about"
    return code


def chain(stage: Play) -> list[dict[str, Any]]:
    with contextlib.closing(sqlite3.connect(stage.stage.findings_db)) as db:
        return [msgspec.json.decode(body) for (body,) in db.execute("SELECT body FROM chain ORDER BY seq")]


def test_a_stop_leaves_everything_on_disk_and_the_next_start_takes_it_up(stage):
    stage.start_meters()
    first = agent_of(stage)
    assert asyncio.run(lived(first, until=lambda: first.core.interval)) == 0
    second = agent_of(stage)
    second.keeping.restore()
    kept, left = (a.core.ledger.energy_wh("factory", Quantity.ACTIVE_ENERGY_IMPORT) for a in (second, first))
    assert kept == left > 0
    second.watchdog.stopping()
    second.store.close()
    assert [m["subject"] for m in chain(stage)] == ["boot"]


def test_the_registers_at_each_boundary_are_kept_with_their_frames(stage):
    stage.start_meters()
    agent = agent_of(stage)
    assert asyncio.run(lived(agent, until=lambda: agent.core.interval and agent.core.interval["factory"].register)) == 0
    with contextlib.closing(sqlite3.connect(stage.stage.state / "telemetry.db")) as db:
        (table,) = next(iter(db.execute("SELECT name FROM sqlite_master WHERE name LIKE 'reg%' OR name LIKE 'bound%'")))
        rows = [msgspec.json.decode(body) for (body,) in db.execute(f"SELECT body FROM {table}")]
    assert rows
    for row in rows:
        value, step, at_ms = row["registers"]["active_energy_import"]
        assert value > 0
        assert step == 10.0
        assert at_ms > 0
        for asked, answered in row["frames"]:
            assert bytes.fromhex(asked)[7] == bytes.fromhex(answered)[7] == 3, "read holding registers, as on the wire"


def test_what_surrounds_a_finding_is_known_again_after_a_restart(stage):
    stage.start_meters()
    first = agent_of(stage)
    assert asyncio.run(lived(first, until=lambda: first.core.interval and first.core.interval["factory"].register)) == 0
    end_ms = first.core.interval["factory"].end_ms
    second = agent_of(stage)
    assert asyncio.run(lived(second, until=lambda: second._recalled)) == 0
    recent = second.keeping.gathering._recent
    assert recent.boundary("m-factory", end_ms) == first.keeping.gathering._recent.boundary("m-factory", end_ms)
    assert recent.boundary("m-factory", end_ms) is not None
    known = recent.around("factory", end_ms - 900_000, end_ms)["during"]
    assert [row["end"] for row in known] == [rfc3339(end_ms)]
    assert "p_w" in known[0]


def test_what_another_version_wrote_is_dropped_and_the_agent_starts(stage):
    stage.start_meters()
    first = agent_of(stage)
    other = zlib.compress(msgspec.msgpack.encode({"b": 2}))
    first.store.record([], {"cap/x/": b"\xc1 not msgpack", "cap/y/": msgspec.msgpack.encode({"a": 1})},
                       [("0000000000000001", b"\xff\xff"), ("0000000000000002", other)],
                       urgent=True).result()  # fmt: skip
    first.watchdog.stopping()
    first.store.close()
    second = agent_of(stage)
    assert asyncio.run(lived(second, until=lambda: second.core.interval)) == 0


def test_while_the_clock_is_unset_nothing_closes_and_then_the_time_is_told(stage):
    stage.start_meters()
    real = SystemClock()

    class Waking(SystemClock):
        """No true time until it is set."""

        known = False

        def state(self) -> ClockState:
            return real.state() if self.known else ClockState(ClockQuality.UNSET, None, None)

    clock = Waking()
    agent = agent_of(stage, clock)
    seen: list[int] = []

    def told() -> bool:
        if not clock.known and sum(map(len, agent.image.latest.values())) > 5:
            seen.append(len(agent.core.interval))
            clock.known = len(seen) > 40
        return clock.known and agent.store.head()[0] >= 2

    assert asyncio.run(lived(agent, until=told)) == 0
    assert len(seen) > 40
    assert set(seen) == {0}, "no interval closed while the clock was unset"
    records = chain(stage)
    assert [m["subject"] for m in records] == ["boot", "time_fix"]
    assert records[0]["clockq"] == "unset"
    assert "time" not in records[0]
    assert records[1]["data"]["quality"] in {"rtc", "synced"}


def test_a_store_that_fails_does_not_end_the_tick(stage, monkeypatch):
    stage.start_meters()
    agent = agent_of(stage)
    calls: list[int] = []

    def failing(*_: Any, **__: Any) -> Any:
        calls.append(1)
        raise StoreFailing(reason="a test")

    async def play() -> int:
        monkeypatch.setattr(agent.store, "add_intervals", failing)
        return await lived(agent, until=lambda: len(calls) > 1 and agent.core.interval)

    with contextlib.suppress(StoreFailing):
        asyncio.run(play())
    assert len(calls) > 1, "the tick went on after the first failure"


def test_systemd_hears_ready_and_is_fed_only_while_all_make_progress(stage, monkeypatch, short_path):
    address = str(short_path / "notify")
    ears = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    ears.bind(address)
    ears.settimeout(5)
    monkeypatch.setenv("NOTIFY_SOCKET", address)
    agent = agent_of(stage)
    try:
        agent.watchdog.ready()
        assert ears.recv(100) == b"READY=1\n"
        agent.watchdog.feed()
        assert ears.recv(100) == b"WATCHDOG=1\n"
        now_s = time.monotonic()
        assert agent.watchdog.stuck(now_s) == ""
        assert "link lan" in agent.watchdog.stuck(now_s + STUCK_S + 1), "its task does not go round"
    finally:
        agent.watchdog.stopping()
        agent.store.close()
        ears.close()


def test_a_replayed_clock_stands_until_it_is_told(stage):
    clock = ReplayedClock(5, ClockState(ClockQuality.SYNCED, 100, 0))
    assert clock.state().utc_ms(clock.now_ms()) == 105
    clock.set(9)
    assert clock.now_ms() == 9
    asyncio.run(clock.sleep_until(50))
    assert clock.now_ms() == 50


# -- how it starts and ends ---------------------------------------------------------------------------------------


def test_sigterm_ends_it_cleanly(stage):
    stage.start_meters()

    async def play() -> int:
        running = asyncio.create_task(start._run(load_site(stage.stage.site), stage.stage.site))
        while not (stage.stage.run / SOCKET).exists():  # noqa: ASYNC110  # made by the task that runs
            await asyncio.sleep(0.02)
        os.kill(os.getpid(), signal.SIGTERM)
        async with asyncio.timeout(10):
            return await running

    assert asyncio.run(play()) == 0
    assert not (stage.stage.run / SOCKET).exists()
    HeldLinks(stage.stage.run, ["lan"]).close()  # it has let go
    assert [m["subject"] for m in chain(stage)] == ["boot"]


def test_a_store_that_has_ended_ends_the_agent_to_be_started_anew(stage, monkeypatch):
    stage.start_meters()
    agent = agent_of(stage)
    sound = agent.store.stats()

    async def play() -> int:
        running = asyncio.create_task(agent.run())
        await asyncio.sleep(0.2)
        monkeypatch.setattr(agent.store, "stats", lambda: sound.ended("store.failing"))
        async with asyncio.timeout(10):
            return await running

    assert asyncio.run(play()) == EXIT_AGAIN


def exit_code(stage: Play) -> int:
    return asyncio.run(start._run(load_site(stage.stage.site), stage.stage.site))


def test_why_it_could_not_start_is_in_the_exit_code(stage, monkeypatch, tmp_path):
    monkeypatch.setattr(start, "PATIENCE_S", 0.3)
    with HeldLinks(stage.stage.run, ["lan"]):
        assert exit_code(stage) == EXIT_AGAIN, "another agent has the link"
    other = agent_of(stage)
    try:
        assert exit_code(stage) == start.EXIT_STORE, "another agent has the state folder"
    finally:
        other.watchdog.stopping()
        other.store.close()
    wrong = tmp_path / "site.toml"
    wrong.write_text("[site]\n")
    assert start.run_agent(wrong) == start.EXIT_SITE
    text = stage.stage.site.read_text()
    stage.stage.site.write_text(text.replace("[site]", '[site]\nrelease_set = "nobody"'))
    assert exit_code(stage) == start.EXIT_SITE
    stage.stage.site.write_text(text.replace(f'"{stage.stage.state}"', f'"{tmp_path}/absent"'))
    assert exit_code(stage) == start.EXIT_STORE


WHAT_IS_LOADED = """
import json, runpy, sys
sys.argv = ["edge-agent", "--site", "/nowhere.toml"]
try:
    runpy.run_module("edge_agent.app", run_name="__main__")
except SystemExit as end:
    print(json.dumps([end.code, *sys.modules]))
"""


def test_the_service_wants_a_site_file_and_nothing_else(capfd):
    for words in ([], ["--site"], ["run"], ["--site", "a.toml", "more"]):
        assert service.main(words) == start.EXIT_USAGE
        assert "usage: python -m edge_agent.app --site FILE" in capfd.readouterr().err
    assert service.main(["--site", "/nowhere.toml"]) == start.EXIT_SITE


def test_the_version_is_the_installed_one():
    assert identity.agent_version() == importlib.metadata.version("edge-agent")


def test_a_checkout_says_that_it_is_one(monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "path", [str(tmp_path), "/nowhere"])
    assert identity.agent_version() == "0+checkout"


def test_the_running_agent_carries_no_tools_for_people():
    done = subprocess.run(
        [sys.executable, "-c", WHAT_IS_LOADED], capture_output=True, text=True, check=True, timeout=60
    )
    code, *loaded = msgspec.json.decode(done.stdout)
    assert code == start.EXIT_SITE
    assert {"edge_agent.app.agent", "structlog"} <= set(loaded)
    assert not {"click", "rich", "cryptography", "jsonschema", "svg"} & set(loaded)
