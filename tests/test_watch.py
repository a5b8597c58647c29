"""`read --watch`: on a terminal, in a pipe and as JSON; through the agent, and over the port itself."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import os
import re
import select
import signal
import subprocess
import termios
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest

from edge_agent.cli.reading import OwnPort
from edge_agent.clock import SystemClock
from edge_agent.holding import AskedStamp, HeldLinks
from edge_agent.settings import load_site
from tests.e2e.processes import ROOT, wait_until
from tests.rtu_line import rtu
from tests.serial_desk import SerialDesk

MOST_S = 20.0
ESCAPES = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]")
SHOWS_CURSOR, HIDES_CURSOR = "\x1b[?25h", "\x1b[?25l"


@pytest.fixture
def desk(short_path: Path) -> Iterator[SerialDesk]:
    made = SerialDesk(short_path / "d")
    made.start_meters()
    yield made
    made.end()


class Watched:
    """A verb at work, all that it has said, and how it ended."""

    def __init__(self, desk: SerialDesk, *words: str, terminal: bool = False) -> None:
        self.said = ""
        self._terminal = terminal
        command = desk.command("read", *words)
        if terminal:
            self._out, far = os.openpty()
            fcntl.ioctl(far, termios.TIOCSWINSZ, b"\x28\x00\xa0\x00\x00\x00\x00\x00")  # 40 lines of 160
            command = ["setsid", "--ctty", "--wait", *command]  # the terminal is its own, so that Ctrl-C reaches it
        else:
            self._out, far = os.pipe()
        self.process = subprocess.Popen(
            command, cwd=ROOT, stdin=far if terminal else subprocess.DEVNULL, stdout=far, stderr=far,
            env={**os.environ, "TERM": "xterm"},
        )  # fmt: skip
        os.close(far)
        desk.beside.append(self.process)

    def until(self, pattern: str, times: int = 1) -> Watched:
        """Read on until it has been said so often."""
        deadline_s = time.monotonic() + MOST_S
        while len(re.findall(pattern, self.said)) < times:
            left_s = deadline_s - time.monotonic()
            assert left_s > 0, f"{pattern!r} was not said {times} times:\n{self.said[-3000:]}"
            assert self._more(left_s), f"it ended before {pattern!r} was said {times} times:\n{self.said[-3000:]}"
        return self

    def from_now(self) -> Watched:
        self.said = ""
        return self

    def ctrl_c(self) -> int:
        """As a person ends it; the exit code, which has to come soon."""
        if self._terminal:
            os.write(self._out, b"\x03")
        else:
            self.process.send_signal(signal.SIGINT)
        while self._more(MOST_S):
            pass
        os.close(self._out)
        return self.process.wait(10)

    def _more(self, wait_s: float) -> bool:
        if not select.select([self._out], [], [], wait_s)[0]:
            return False
        data = b""
        with contextlib.suppress(OSError):  # EIO: a terminal without a program on it
            data = os.read(self._out, 65536)
        self.said += data.decode("utf-8", "replace")
        return bool(data)

    def rounds(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.said.splitlines() if line.startswith("{") and line.endswith("}")]


def is_free(desk: SerialDesk) -> bool:
    """Whether link and port may be had by somebody else."""
    with HeldLinks(desk.folder / "run", ["bus"]):
        port = os.open(desk.port, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
        try:
            fcntl.flock(port, fcntl.LOCK_EX | fcntl.LOCK_NB)
        finally:
            os.close(port)
    return True


def test_on_a_terminal_the_table_stays_in_place_and_ctrl_c_ends_it(desk):
    watched = Watched(desk, "m1", "--watch", "0.3", terminal=True)
    watched.until(r"round 3 at \S+, took")
    with pytest.raises(BlockingIOError):  # ours as long as it runs
        is_free_port(desk)
    assert watched.ctrl_c() == 0
    assert HIDES_CURSOR in watched.said
    assert watched.said.rindex(SHOWS_CURSOR) > watched.said.rindex(HIDES_CURSOR)
    assert "\x1b[1A" in watched.said, "drawn again in place"
    text = ESCAPES.sub("", watched.said)
    for words in ("current_l1", "voltage_l1", "link bus is ours", "every 0.3 s", "Ctrl-C ends"):
        assert words in text
    assert "Traceback" not in text
    assert is_free(desk)


def is_free_port(desk: SerialDesk) -> None:
    port = os.open(desk.port, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
    try:
        fcntl.flock(port, fcntl.LOCK_EX | fcntl.LOCK_NB)
    finally:
        os.close(port)


def test_on_a_terminal_a_failed_round_leaves_the_last_values(desk):
    watched = Watched(desk, "m1", "--watch", "0.3", terminal=True).until("round 2 at")
    desk.meters.stop()
    watched.from_now().until(r"round \d+ at \S+ failed: [^┏]*above are the last values")
    assert "voltage_l1" in watched.said
    assert watched.ctrl_c() == 0


def test_in_a_pipe_each_value_is_a_line_and_a_round_that_fails_shows_its_cause(desk):
    watched = Watched(desk, "m1", "--watch", "0.3").until(r"Z m1 voltage_l1 23\d\.\d+ V\n", 3)
    assert "\x1b" not in watched.said
    desk.meters.stop()
    watched.until(r"Z m1 failed: .*\n", 2)
    assert "is the adapter plugged in" in watched.said or "hung up" in watched.said
    desk.start_meters()
    watched.from_now().until(r"Z m1 voltage_l1 \S+ V\n", 2)
    assert watched.ctrl_c() == 0
    assert "Traceback" not in watched.said
    assert is_free(desk)


def test_a_silent_device_is_asked_once_a_round_and_the_watch_goes_on(desk):
    watched = Watched(desk, "m2", "--watch", "0.2", "--json").until('"failed"', 3)
    assert watched.ctrl_c() == 0
    rounds = watched.rounds()
    assert [r["round"] for r in rounds] == list(range(1, len(rounds) + 1))
    assert rounds[0]["failed"].startswith("unit 2 kept silent. Check the device's address and its supply")
    assert 0.3 < rounds[0]["took_s"] < 0.9, "one time-out"
    assert all(told["failed"].startswith("unit 2 ") for told in rounds)


def test_as_json_each_round_is_one_line_also_of_a_dlt645_meter(desk):
    watched = Watched(desk, "m3", "--watch", "0.2", "--json").until('"rows"', 3)
    assert watched.ctrl_c() == 0
    for told in watched.rounds()[:3]:
        assert set(told) == {"round", "at", "device", "took_s", "rows"}
        values = {row["quantity"]: row.get("value") for row in told["rows"]}
        assert values["active_power"] == pytest.approx(5000, rel=0.01)
        assert all("frame" in row or "gap" in row for row in told["rows"])


def test_the_agent_reads_where_one_runs_and_may_be_started_anew_meanwhile(desk):
    desk.start_agent()
    watched = Watched(desk, "m1", "--watch", "0.3", "--json").until('"rows"', 3)
    assert desk.status()[1]["m3"]["last_good_s"] < 10, "it reads the others all the while"
    assert desk.agent.stop() == 0
    watched.until('"failed":"no agent answers', 2)
    desk.start_agent()
    watched.from_now().until('"rows"', 2)
    assert watched.ctrl_c() == 0
    assert desk.agent.running
    assert desk.agent.stop() == 0


def test_through_the_agent_a_silent_device_costs_the_others_no_poll(desk):
    desk.start_agent()
    wait_until(lambda: desk.status()[1]["m1"]["last_good_s"] is not None, MOST_S, "the others are read")
    watched = Watched(desk, "m2", "--watch", "0.2", "--json").until('"failed":"no_reply: unit 2', 10)
    link, devices = desk.status()
    assert watched.ctrl_c() == 0
    assert link["state"] == "up"
    assert devices["m1"]["last_good_s"] < 2.5
    assert devices["m3"]["last_good_s"] < 4.5


def test_what_cannot_be_watched_is_said_at_once(desk):
    done = desk.verb("read", "m9", "--watch")
    assert done.returncode == 1
    assert "there are m1, m2, m3" in done.stderr
    done = desk.verb("read", "m1", "--watch", "0.1")
    assert done.returncode == 2
    with HeldLinks(desk.folder / "run", ["bus"]):
        done = desk.verb("read", "m1", "--watch")
    assert done.returncode == 1
    assert f"link bus is in use by process {os.getpid()}" in done.stderr


def test_a_master_that_comes_while_one_watches_ends_it(short_path: Path):
    """Its question is heard between two rounds; after that nothing is asked any more."""
    desk = SerialDesk(short_path / "d", sharing="")
    master, slave = os.openpty()
    desk.port.parent.mkdir()
    desk.port.symlink_to(os.ttyname(slave))
    os.close(slave)
    os.set_blocking(master, False)
    asked: list[bytes] = []

    def hear() -> None:
        with contextlib.suppress(OSError):
            asked.append(raw := os.read(master, 4096))
            os.write(master, rtu(1, bytes((4, 2 * raw[5])) + bytes(2 * raw[5])))

    async def story() -> str:
        now_ms = SystemClock().now_ms
        AskedStamp(desk.folder / "run", "bus", now_ms).mark()  # so that it need not be listened to first
        port = OwnPort(load_site(desk.site), "m1")
        asyncio.get_running_loop().add_reader(master, hear)
        rows = await port.read()
        assert any("value" in row for row in rows)
        before = len(asked)
        os.write(master, rtu(7, bytes.fromhex("04 0000 0002")))
        await asyncio.sleep(0.3)
        with pytest.raises(click.ClickException) as ended:
            await port.read()
        await port.close()
        assert len(asked) == before > 0
        return str(ended.value)

    assert "a Modbus RTU master that asks unit 7" in asyncio.run(story())
    os.close(master)
