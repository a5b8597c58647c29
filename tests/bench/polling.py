"""What a meter-poll costs: 50 meters, one poll a second, one question of 30 values of two registers.

The agent does all that it does on a gateway: audit, store, delivery to mosquitto and a centre that acknowledges. Beside
it, at the same time and on the same simulated meters: a bare asyncio reader that decodes nothing, and modpoll 1.6 from
PyPI, once publishing its values to the same mosquitto and once not. Each has a door of its own, so that the meters can
say who asked how often and how fast. CPU is that of the whole process, user and system, all threads. Demand periods
are of one minute instead of fifteen, so that intervals are closed, judged, kept and sent within every stretch.
"""

from __future__ import annotations

import json
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import NamedTuple, Self

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from edge_agent.control import ask
from edge_agent.settings import load_profile
from simulator.central.view import View
from tests.bench import PROFILES, REGISTERS, ROOT, VALUES
from tests.bench.figures import Figure, Table
from tests.bench.processes import Child, cpu_s, python
from tests.bench.sites import Place, scenario, write_site
from tests.broker import Broker

METERS = 50
WARM_UP_S = 20.0
MODPOLL = ROOT / ".venv-peers/bin/modpoll"
AGENT, BARE, PUBLISHING, SILENT = "agent", "bare asyncio", "modpoll, publishing", "modpoll, not publishing"
AGENT_EACH, BARE_EACH = "agent, a port each", "bare asyncio, a port each"


class Cost(NamedTuple):
    """Of one process: CPU and wall time of a meter-poll in µs, meter-polls a second; medians over the stretches."""

    cpu_us: float
    wall_us: float | None
    per_s: float


def measure(folder: Path, *, stretches: int, stretch_s: float) -> tuple[dict[str, Cost], str]:
    """What each costs, and in words what shows that they did their work. RuntimeError where one did not."""
    with ExitStack() as stage:
        broker = stage.enter_context(Broker(folder / "broker"))
        meters = stage.enter_context(
            Child("meters", python("-m", "tests.bench.meters", scenario(folder, METERS), "4", "2"), folder, talks=True)
        )
        (a, b, c, d), each_a, each_b = _ports(json.loads(meters.ask()))
        stage.enter_context(_centre(folder, broker.port))
        units = [Place(a, unit) for unit in range(1, METERS + 1)]
        heard = stage.enter_context(_Heard(broker.port))
        start = stage.enter_context
        children = {
            AGENT: start(_agent(folder / "agent", units, broker.port)),
            BARE: start(Child("bare", python("-m", "tests.bench.bare", str(METERS), str(b)), folder)),
            PUBLISHING: start(_modpoll(folder, "modpoll-publishing", c, broker.port)),
            SILENT: start(_modpoll(folder, "modpoll-silent", d, None)),
            AGENT_EACH: start(_agent(folder / "each", [Place(port, 1) for port in each_a], broker.port, "gw-2")),
            BARE_EACH: start(Child("bare-each", python("-m", "tests.bench.bare", "1", *map(str, each_b)), folder)),
        }
        time.sleep(WARM_UP_S)
        rows: dict[str, list[tuple[float, float | None, float]]] = {name: [] for name in children}
        for child in children.values():
            child.check()
        meters.ask("mark")
        for _ in range(stretches):
            before, began_s = {name: cpu_s(child.pid) for name, child in children.items()}, time.perf_counter()
            time.sleep(stretch_s)
            after = {name: cpu_s(child.pid) for name, child in children.items()}
            took_s = time.perf_counter() - began_s
            for (name, child), door in zip(children.items(), json.loads(meters.ask("mark")), strict=True):
                child.check()
                polls = max(1, door["polls"])
                rows[name].append(((after[name] - before[name]) / polls * 1e6, door["step_ms"], door["polls"] / took_s))
        words = _work_done(folder, children[AGENT], heard)
    return {name: _median(found) for name, found in rows.items()}, words


def report(table: Table, folder: Path, *, quick: bool) -> None:
    stretches, stretch_s = (3, 10.0) if quick else (3, 60.0)
    cost, words = measure(folder, stretches=stretches, stretch_s=stretch_s)
    ours = cost[AGENT]
    table.note(
        f"polling: {METERS} meters behind one port, one question of {REGISTERS} registers a second each; median of "
        f"{stretches} stretches of {stretch_s:g} s, all processes at once; {words}"
    )
    for name, goal in ((BARE, 8.0), (PUBLISHING, 1 / 3), (SILENT, 1.0)):
        table.add(Figure(f"CPU of a meter-poll, beside {name}", "us", ours.cpu_us, cost[name].cpu_us, at_most=goal))
    each = cost[AGENT_EACH].cpu_us, cost[BARE_EACH].cpu_us
    table.add(Figure("CPU of a meter-poll, a port for each meter, beside bare asyncio", "us", *each, at_most=8.0))
    for name in (BARE, PUBLISHING, SILENT):
        wall = cost[name].wall_us
        table.add(Figure(f"wall time from poll to poll, beside {name}", "us", ours.wall_us, wall))
    for name, one in cost.items():
        if one.per_s < 0.99 * METERS:
            table.note(f"polling: {name} reached {one.per_s:.1f} of {METERS} meter-polls a second")


def _ports(groups: list[list[int]]) -> tuple[list[int], list[int], list[int]]:
    return [group[0] for group in groups[:4]], groups[4], groups[5]


def _centre(folder: Path, mqtt_port: int) -> Child:
    command = ("-m", "simulator.cli", "central", "--port", str(mqtt_port), "--db", folder / "centre.db")
    return Child("centre", python(*command), folder)


class _Heard:
    """What modpoll publishes of its first meter."""

    def __init__(self, port: int) -> None:
        self.payloads: list[bytes] = []
        self._client = mqtt.Client(CallbackAPIVersion.VERSION2, "heard")
        self._client.on_connect = lambda client, *_: client.subscribe("modpoll/m1/data")
        self._client.on_message = lambda _client, _user, message: self.payloads.append(bytes(message.payload))
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.disconnect()
        self._client.loop_stop()


def _work_done(folder: Path, agent: Child, heard: _Heard) -> str:
    status = ask(folder / "agent/run", "status")
    silent = [d["id"] for d in status["devices"] if d["failures"] or d["last_good_bt_ms"] is None]
    unsaid = [p["id"] for p in status["points"] if p["load_rate"] is None]
    complaints = [line for line in agent.log.read_text("utf-8").splitlines() if '"level": "info"' not in line]
    with View(folder / "centre.db") as view:
        messages, rejected = view.tally("messages"), view.tally("rejected")
    if silent or complaints or rejected or not messages:
        raise RuntimeError(f"the agent did not do its work: {silent[:3]} {complaints[:3]} {messages} {rejected}")
    values = json.loads(heard.payloads[-1]) if heard.payloads else {}
    if len(values) != VALUES:
        raise RuntimeError(f"modpoll did not publish its {VALUES} values: {values}")
    known = len(status["points"]) - len(unsaid)
    return (
        f"the centre took {messages} messages of the agents and rejected none, {known} of {METERS} points have a load "
        f"rate; modpoll published {len(values)} values a meter"
    )


def _agent(folder: Path, places: list[Place], mqtt_port: int, gateway: str = "gw-1") -> Child:
    folder.mkdir()
    site = write_site(folder, places, mqtt_port=mqtt_port, gateway=gateway, period_min=1)
    (folder / "config").mkdir()
    (folder / "config/profiles").symlink_to(PROFILES)
    return Child("agent", python("-m", "tests.bench.launch", folder / "config", "run", "--site", site), folder)


def _modpoll(folder: Path, name: str, port: int, mqtt_port: int | None) -> Child:
    """One process reads all meters of a port, as fast as it can, once a second; it logs no more than warnings."""
    if not MODPOLL.exists():
        sys.exit(f"{MODPOLL} is missing: run `make bench`, which installs it")
    config = folder / f"{name}.csv"
    config.write_text("".join(_modpoll_device(unit) for unit in range(1, METERS + 1)), encoding="utf-8")
    command: list[str | Path] = [
        MODPOLL, "--config", config, "--tcp", "127.0.0.1", "--tcp-port", str(port), "--daemon", "--rate", "1",
        "--interval", "0", "--loglevel", "WARNING",
    ]  # fmt: skip
    if mqtt_port is not None:
        # Not its default of 3.1.1: modpoll 1.6.0 hands paho's connect() an argument that it does not have, and ends.
        command += ["--mqtt-host", "127.0.0.1", "--mqtt-port", str(mqtt_port), "--mqtt-version", "5.0"]
    return Child(name, command, folder)


def _modpoll_device(unit: int) -> str:
    lines = [f"device,m{unit},{unit},,,,", f"poll,holding_register,0,{REGISTERS},BE_BE,,"]
    kinds = {"u32": "uint32", "i32": "int32", "f32": "float32"}
    for register in load_profile(PROFILES / "bench-30.toml").registers:
        address = int(register.address.partition(":")[2], 0)
        lines.append(
            f"ref,{register.quantity.value},{address},{kinds[register.type]},r,{register.unit},{register.scale:g}"
        )
    return "\n".join(lines) + "\n"


def _median(rows: list[tuple[float, float | None, float]]) -> Cost:
    walls = [wall * 1000 for _, wall, _ in rows if wall is not None]
    return Cost(median(row[0] for row in rows), median(walls) if walls else None, median(row[2] for row in rows))
