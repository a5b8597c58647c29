"""A factory's day, from the meter to the acknowledged alert: broker, centre and meter here, the agent its own process.

What is printed comes from what the centre received and from what it said to the gateway, never from the agent's inside.
The play succeeds only if the centre has the over-contract finding opened and cleared, has acknowledged both, and its
chain can be recomputed from the bytes that it keeps.
"""

from __future__ import annotations

import json
import queue
import shutil
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from rich.console import Console

from simulator.broker import InProcessBroker
from simulator.central.centre import Centre
from simulator.central.chain import START, next_head
from simulator.central.view import Row, View
from simulator.clock import DAY_MS, Ms, ScaledClock, boot_ms, iso, to_ms
from simulator.fleet import Fleet
from simulator.loop import LoopThread
from simulator.picture import Block, Span, chart, drawing
from simulator.profile import profiles_dir
from simulator.scenario import load_scenario, scenarios_dir
from simulator.site import edit

LOCAL = timezone(timedelta(hours=8))
DAY = datetime(2026, 3, 2, tzinfo=LOCAL)
TOPIC = "cap-over-contract"
WARM_UP_S = 8.0  # the agent starts and reads its meter before the day begins
BLOCKS = 96
SETTLE_S = 20.0  # after midnight, for the last interval, its message and its acknowledgement
STOP_S = 20.0
LOOK_EVERY_S = 0.2
AGENT = (sys.executable, "-m", "edge_agent", "run", "--site")


@dataclass(slots=True)
class Day:
    """What the centre has seen so far."""

    blocks: dict[str, tuple[float, float | None, float | None]] = field(default_factory=dict)  # end: hour, kW, kVA
    findings: list[Row] = field(default_factory=list)
    acked_upto: int = 0
    acked_head: str = START
    acks: int = 0
    telling: dict[int, Row] = field(default_factory=dict)  # findings by seq, not yet acknowledged
    chain_ok: bool = False
    agent_exit: int | None = None

    def step(self, word: str) -> Row | None:
        """The first such step of the finding that the demo is about."""
        return next((f for f in self.findings if f.topic == TOPIC and f.step == word), None)

    def whole(self) -> bool:
        """Everything of the day has come: each interval with its power, each finding with its acknowledgement."""
        known = sum(kva is not None for _, _, kva in self.blocks.values())
        return known == BLOCKS and not self.telling

    def missing(self) -> list[str]:
        """What the play still owes; empty: it has succeeded."""
        owed = []
        for word in ("opened", "cleared"):
            row = self.step(word)
            if row is None:
                owed.append(f"no {TOPIC} finding was {word}")
            elif row.seq > self.acked_upto:
                owed.append(f"the {TOPIC} finding's {word} was not acknowledged")
        if not self.chain_ok:
            owed.append("the chain could not be verified")
        return owed


class Demo:
    """One play. `day_s`: real seconds for the day; `agent`: the command that gets the site file's path."""

    def __init__(
        self,
        *,
        day_s: float,
        output: Path,
        agent: Sequence[str] = AGENT,
        console: Console | None = None,
        warm_up_s: float = WARM_UP_S,
    ) -> None:
        self.output = output
        self._agent = tuple(agent)
        self._console = console or Console(highlight=False, soft_wrap=True)
        self._live = self._console.is_terminal
        rate = DAY_MS / 1000 / day_s
        self._clock = ScaledClock(to_ms(DAY) - round(warm_up_s * 1000 * rate), rate, boot_ms())
        self._day = Day()
        self._heard: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        self._contract_kva = 0.0
        self._seen_event = 0

    def play(self) -> int:
        """Exit code: 0 if and only if nothing is missing."""
        folder = Path(tempfile.mkdtemp(prefix="edge-agent-demo-"))
        try:
            with ExitStack() as stage:
                self._perform(folder, stage)
        except (OSError, ValueError, sqlite3.Error) as error:
            self._console.print(f"the demo cannot be played: {error}")
            self._console.print(f"its files: {folder}")
            return 2
        missing = self._report(folder)
        if missing:
            for line in missing:
                self._console.print(f"MISSING: {line}")
            if self._day.agent_exit != 0:
                log = (folder / "agent.log").read_text("utf-8", "replace").splitlines()
                self._console.print("the agent's last words:", *log[-5:], sep="\n")
            self._console.print(f"site file, agent's log and the centre's database: {folder}")
            return 1
        shutil.rmtree(folder, ignore_errors=True)
        return 0

    def _perform(self, folder: Path, stage: ExitStack) -> None:
        mqtt_port, db = _free_port(), folder / "centre.db"
        say = self._console.print
        stage.enter_context(InProcessBroker(mqtt_port))
        stage.enter_context(
            Centre(db, port=mqtt_port, version="3.1.1", ack_every_s=LOOK_EVERY_S, utc_ms=self._clock.utc_ms)
        )
        loop = stage.enter_context(LoopThread("meters"))
        fleet = Fleet(load_scenario(scenarios_dir() / "factory.toml"), self._clock, ephemeral=True)
        loop.run(fleet.start())
        stage.callback(lambda: loop.run(fleet.stop()))
        site = self._write_site(folder, mqtt_port, fleet.port_of("m1"))
        stage.enter_context(closing(_Witness(mqtt_port, self._heard)))
        view = stage.enter_context(View(db))
        say(f"broker at 127.0.0.1:{mqtt_port}, meter m1 at 127.0.0.1:{fleet.port_of('m1')}, site file {site}")
        say(f"one day of the factory in {86_400 / self._clock.rate:.0f} s, contract {self._contract_kva:g} kVA")
        with (folder / "agent.log").open("wb") as log:
            agent = subprocess.Popen([*self._agent, str(site)], stdout=log, stderr=subprocess.STDOUT)
        stage.callback(_stop, agent)
        self._watch(view, agent)
        self._day.agent_exit = _stop(agent)
        self._last_words(view)
        self._day.chain_ok = _chain_ok(db, self._day)
        say(f"meter: {fleet.requests} requests, {fleet.writes_seen} attempts to write")
        say(f"centre: {view.tally('messages')} messages, {view.tally('rejected')} rejected")
        for topic, reason, detail, _seq, times in view.quarantine():
            say(f"  rejected {topic}, {times} times, {reason}: {detail}")

    def _write_site(self, folder: Path, mqtt_port: int, meter_port: int) -> Path:
        example = (profiles_dir().parent / "examples" / "factory.toml").read_text("utf-8")
        contract = tomllib.loads(example)["point"][0]["capacity"][0]
        self._contract_kva = float(contract["kva"])
        text = edit(
            example,
            {
                ("paths", "state"): f'"{folder / "state"}"',
                ("paths", "runtime"): f'"{folder / "run"}"',
                ("mqtt", "host"): '"127.0.0.1"',
                ("mqtt", "port"): str(mqtt_port),
                ("mqtt", "version"): '"3.1.1"',
                ("link", "port"): str(meter_port),
                ("device", "profile"): '"acrel-dtsd1352"',
                ("clock", "kind"): '"scaled"',
                ("clock", "rate"): repr(self._clock.rate),
                ("clock", "start"): iso(self._clock.start_ms),
                ("clock", "anchor_bt_ms"): str(self._clock.anchor_bt_ms),
            },
        )
        for name in ("state", "run"):
            (folder / name).mkdir()
        site = folder / "factory.toml"
        site.write_text(text, "utf-8")
        return site

    def _watch(self, view: View, agent: subprocess.Popen[bytes]) -> None:
        """Tell the day as the centre hears it, until all of it has arrived or the agent is gone."""
        end_ms = to_ms(DAY) + DAY_MS
        status = self._console.status("") if self._live else None
        if status is not None:
            status.start()
        try:
            while agent.poll() is None:
                now_ms = self._clock.utc_ms()
                self._look(view)
                if status is not None:
                    status.update(self._now_line(now_ms))
                if now_ms > end_ms and self._day.whole():
                    break
                if self._clock.real_s_until(end_ms) < -SETTLE_S:
                    break
                time.sleep(LOOK_EVERY_S)
        finally:
            if status is not None:
                status.stop()
        if agent.poll() is not None:
            self._console.print(f"the agent ended by itself, exit code {agent.returncode}")

    def _last_words(self, view: View) -> None:
        """What the agent said while it stopped is still on its way to the centre, and the answer on its way back."""
        end = time.monotonic() + 3.0
        while time.monotonic() < end:
            self._look(view)
            if self._day.whole():
                break
            time.sleep(LOOK_EVERY_S)

    def _look(self, view: View) -> None:
        self._hear_acks()
        # The whole day each time: a block that was late is not after the last one seen.
        for _point, end, row in view.demand(iso(to_ms(DAY))):
            key = iso(to_ms(datetime.fromisoformat(end)))  # whatever way the message wrote it
            self._take_block(key, end, row)
        for event in view.events(self._seen_event):
            self._seen_event = event.no
            if event.finding is not None:
                self._day.findings.append(event)
                self._day.telling[event.seq] = event
                self._tell(event)
        for seq in [s for s in self._day.telling if s <= self._day.acked_upto]:
            event = self._day.telling.pop(seq)
            self._console.print(f"       centre acknowledged {event.topic} {event.step}: upto {self._day.acked_upto}")

    def _hear_acks(self) -> None:
        while not self._heard.empty():
            ack = json.loads(self._heard.get())
            self._day.acks += 1
            if ack["upto"] >= self._day.acked_upto:
                self._day.acked_upto, self._day.acked_head = ack["upto"], ack["head"]

    def _take_block(self, key: str, end: str, row: dict[str, Any]) -> None:
        hour = _hour(end)
        if not 0 < hour <= 24:  # the neighbours' intervals
            return
        kw, kva = (row[q][1] / 1000 if q in row else None for q in ("p", "s"))
        new = key not in self._day.blocks
        self._day.blocks[key] = (hour, kw, kva)  # a later word about the same interval counts
        if new and (self._live or hour % 1 == 0):
            self._console.print(f"{_clock_face(hour)}  {_power(kw, kva, self._contract_kva)}")

    def _tell(self, event: Row) -> None:
        hour = _clock_face(_hour(event.time)) if event.time else "--:--"
        data = event.message["data"]
        why = (data.get("action") or {}).get("text", "")
        words = f"{hour}  FINDING {event.step}: {event.topic} at {event.point}, {event.severity} {why}"
        self._console.print(words.rstrip(), style="bold red" if event.step == "opened" else "bold")

    def _now_line(self, now_ms: Ms) -> str:
        local = datetime.fromtimestamp(now_ms / 1000, LOCAL)
        done = sorted(self._day.blocks.values())
        latest = _power(done[-1][1], done[-1][2], self._contract_kva) if done else "no interval yet"
        return f"{local:%H:%M}  {latest}  acknowledged up to {self._day.acked_upto}"

    def _report(self, folder: Path) -> list[str]:
        day, say = self._day, self._console.print
        blocks = [Block(hour, kva) for hour, _kw, kva in sorted(day.blocks.values()) if kva is not None]
        over = sum(b.s_kva > self._contract_kva for b in blocks)
        if blocks:
            # plotext's own escape sequences go through as they are.
            self._console.file.write(chart(blocks, self._contract_kva, color=self._live) + "\n")
            self.output.mkdir(parents=True, exist_ok=True)
            path = self.output / "day.svg"
            title = f"{DAY:%Y-%m-%d}: apparent power of each 15 minutes, kVA, against the contract"
            path.write_text(drawing(blocks, self._contract_kva, self._spans(), title=title), "utf-8")
            say(f"drawing: {path}")
        kwh = sum(kw or 0.0 for _, kw, _ in day.blocks.values()) / 4
        say(f"intervals: {len(day.blocks)} of {BLOCKS}, {over} over the contract; {kwh:.0f} kWh")
        for row in day.findings:
            say(f"finding: {row.topic} {row.step} at {row.time}")
        say(f"acknowledgements: {day.acks}, up to {day.acked_upto}, head {day.acked_head[:16]}")
        say(f"chain: {'verified' if day.chain_ok else 'NOT verified'}; agent's exit code {day.agent_exit}")
        return day.missing()

    def _spans(self) -> list[Span]:
        opened, cleared = self._day.step("opened"), self._day.step("cleared")
        if opened is None or opened.time is None:
            return []
        return [Span(_hour(opened.time), _hour(cleared.time) if cleared and cleared.time else None)]


class _Witness:
    """Hears what the centre says to the gateways, as the broker hands it on."""

    def __init__(self, port: int, heard: queue.SimpleQueue[bytes]) -> None:
        self._client = mqtt.Client(CallbackAPIVersion.VERSION2, "witness", protocol=MQTTProtocolVersion.MQTTv311)
        self._client.on_message = lambda _c, _u, message: heard.put(bytes(message.payload))
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()
        self._client.subscribe("ea/v1/+/+/down/ack", qos=1)

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


def _chain_ok(db: Path, day: Day) -> bool:
    """Recompute every chain from the bytes that the centre keeps; the last acknowledged head is one of its heads."""
    with closing(sqlite3.connect(f"file:{db}?mode=ro", uri=True)) as connection:
        heads = {START}
        chains = connection.execute("SELECT gateway, epoch, upto, head FROM head").fetchall()
        for gateway, epoch, upto, kept_head in chains:
            head, expected = START, 1
            rows = connection.execute(
                "SELECT seq, body FROM chain WHERE gateway = ? AND epoch = ? ORDER BY seq", (gateway, epoch)
            )
            for seq, body in rows:
                if seq != expected:
                    return False
                head, expected = next_head(head, seq, body), expected + 1
                heads.add(head)
            if head != kept_head or expected - 1 != upto:
                return False
    return bool(chains) and day.acked_upto > 0 and day.acked_head in heads


def _stop(agent: subprocess.Popen[bytes]) -> int:
    if agent.poll() is None:
        agent.terminate()
    try:
        return agent.wait(STOP_S)
    except subprocess.TimeoutExpired:
        agent.kill()
        return agent.wait()


def _power(kw: float | None, kva: float | None, contract_kva: float) -> str:
    p = "P      ?" if kw is None else f"P {kw:6.1f} kW"
    if kva is None:
        return f"{p}  S unknown"
    rate = kva / contract_kva
    return f"{p}  S {kva:6.1f} kVA  {rate:6.1%} of contract{'  OVER' if rate > 1 else ''}"


def _hour(instant: str) -> float:
    return (to_ms(datetime.fromisoformat(instant)) - to_ms(DAY)) / 3_600_000


def _clock_face(hour: float) -> str:
    minutes = round(hour * 60)
    return f"{minutes // 60:02d}:{minutes % 60:02d}"


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
