"""What the guides say is so: commands run, fragments of a site file are right, messages that are explained exist.

The commands of a page run in its order, in a folder of their own that looks like a checkout, with free ports. What runs
until Ctrl-C is started, has to say that it works, and is ended by Ctrl-C when the page is at its end.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import tomli

from drivers.dlms.refused import EXCEPTIONS, DataAccess, Diagnostic
from edge_agent.poller import Phase
from edge_agent.settings import check
from edge_agent.words import sentences
from tests.broker import free_port
from tests.e2e.processes import wait_until
from tests.house.tree import ROOT

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
DESK = "/tmp/edge-agent-desk"
PORT = "1502"
PROGRAMS = {"edge-agent": "edge_agent", "edge-agent-sim": "simulator.cli"}
STAYS = {"serve": "anchor_bt_ms", "run": "agent started", "--watch": "\n"}
"""Which words make a command run until Ctrl-C, and what it says once it works."""

MOST_S = 30.0


def commands(page: Path) -> list[str]:
    """The lines of every block that is indented by four blanks or fenced as `sh`."""
    found, fence, before = [], "", ""
    for line in page.read_text(encoding="utf-8").splitlines():
        if line.startswith("```"):
            fence = "" if fence else line
        elif fence == "```sh" or (not fence and line.startswith("    ") and not before.startswith(("-", "*", "|"))):
            found.append(line.strip())
            continue
        before = line or before
    return found


def fragments(page: Path) -> list[str]:
    return re.findall(r"(?ms)^```toml\n(.*?)^```$", page.read_text(encoding="utf-8"))


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.stem)
def test_every_block_is_commands_that_are_known(page: Path):
    for line in commands(page):
        program = Path(shlex.split(line, comments=True)[0]).name
        assert program in {*PROGRAMS, "make", "mkdir"}, f"{page.name}: nobody tries {line!r}"


class Desk:
    """A checkout's look-alike, and what was started in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._port = str(free_port())
        self._running: list[tuple[subprocess.Popen[bytes], list[str]]] = []
        shutil.copytree(ROOT / "config/examples", folder / "config/examples")
        for site in (folder / "config/examples").glob("*.toml"):
            site.write_text(self._moved(site.read_text("utf-8")), encoding="utf-8")
        start = datetime(2025, 6, 1, tzinfo=UTC)
        rows = [f"{start + timedelta(minutes=15 * n):%Y-%m-%dT%H:%M:%S+00:00},{200 + n % 40}" for n in range(2 * 96)]
        (folder / "load.csv").write_text("\n".join(["time,p_kw", *rows]) + "\n", encoding="utf-8")

    def run(self, line: str) -> str:
        """What the command says. AssertionError where it fails, or does not work in time."""
        program, *words = shlex.split(self._moved(line), comments=True)
        name = Path(program).name
        if name == "make":
            return self._made(words)
        if name not in PROGRAMS:
            return self._ended([program, *words])
        command = [sys.executable, "-m", PROGRAMS[name], *words]
        if words[:2] == ["serve", "factory"]:
            command += ["--port", self._port]
        stays = next((said for word, said in STAYS.items() if word in words), "")
        return self._stays(command, stays) if stays else self._ended(command)

    def end(self) -> None:
        while self._running:
            self._stop(*self._running.pop())

    def _made(self, words: list[str]) -> str:
        """A target of the Makefile; what it does is other tests' business."""
        targets = re.findall(r"(?m)^([a-z]+):", (ROOT / "Makefile").read_text("utf-8"))
        assert {word for word in words if "=" not in word} <= set(targets), words
        return ""

    def _ended(self, command: list[str]) -> str:
        done = subprocess.run(
            command, cwd=self.folder, env=self._env(), capture_output=True, text=True, timeout=MOST_S, check=False
        )
        assert done.returncode == 0, f"{shlex.join(command)}\n{done.stdout[-1000:]}{done.stderr[-2000:]}"
        return done.stdout

    def _stays(self, command: list[str], works: str) -> str:
        log = self.folder / f"{len(self._running)}-{time.monotonic_ns()}.log"
        with log.open("wb") as out:
            process = subprocess.Popen(
                command, cwd=self.folder, env=self._env(), stdin=subprocess.DEVNULL, stdout=out, stderr=out
            )
        self._running.append((process, command))
        wait_until(lambda: works in log.read_text("utf-8"), MOST_S, f"it works: {shlex.join(command)}")
        if "--watch" in command:
            self._stop(*self._running.pop())  # without an agent it has the line to itself
        return log.read_text("utf-8")

    def _stop(self, process: subprocess.Popen[bytes], command: list[str]) -> None:
        process.send_signal(signal.SIGINT)
        try:
            code = process.wait(MOST_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise
        assert code == 0, f"{shlex.join(command)} ended with {code}"

    def _moved(self, text: str) -> str:
        return text.replace(DESK, str(self.folder / "desk")).replace(f"port = {PORT}\n", f"port = {self._port}\n")

    def _env(self) -> dict[str, str]:
        return {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}


@pytest.fixture
def desk(short_path: Path) -> Iterator[Desk]:
    made = Desk(short_path)
    yield made
    made.end()


@pytest.mark.timeout(180)
@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.stem)
def test_every_command_of_a_page_does_what_it_is_there_for(page: Path, desk: Desk):
    said = [desk.run(line) for line in commands(page)]
    assert len(said) >= {"README": 6, "serial-lines": 8}.get(page.stem, 0)
    if page.stem == "serial-lines":
        text = "\n".join(said)
        for words in ("no mistakes", "active_power", '"quantity": "active_energy_import"', '"rows":', "left alone"):
            assert words in text, words


HEAD = '[site]\nutility = "demo"\ngateway = "gw-1"\n\n[mqtt]\nhost = "127.0.0.1"\n\n'


@pytest.mark.parametrize("page", [page for page in PAGES if fragments(page)], ids=lambda p: p.stem)
def test_the_fragments_of_a_page_make_a_site_without_mistakes(page: Path, tmp_path: Path):
    site = tmp_path / "site.toml"
    site.write_text(HEAD + "\n".join(fragments(page)), encoding="utf-8")
    assert tomli.loads(site.read_text("utf-8"))["device"]
    assert [m.sentence() for m in check(site) if m.severity == "error"] == []


def messages(page: Path) -> list[str]:
    """What stands in `...` in the first column of the table of messages."""
    rows = re.findall(r"(?m)^\| (.+?) \|", page.read_text("utf-8").partition("## What went wrong")[2])
    return [said for row in rows for said in re.findall(r"`(.+?)`", row)]


def test_every_message_that_is_explained_can_be_said():
    code = "".join(
        path.read_text("utf-8") for room in ("edge_agent", "drivers") for path in sorted((ROOT / room).rglob("*.py"))
    )
    code = re.sub(r'"\n\s+f?"', "", code)  # a sentence over several lines
    said = messages(ROOT / "docs/serial-lines.md")
    assert len(said) > 15
    unknown = [part for message in said for part in message.split(" … ") if part not in code]
    assert not unknown, f"explained, and said by nobody: {unknown}"


def test_every_refusal_of_a_dlms_meter_that_is_explained_can_be_said():
    names = {d.name.lower() for d in Diagnostic} | {a.name.lower() for a in DataAccess} | {*EXCEPTIONS.values()}
    sentences = "".join(path.read_text("utf-8") for path in (ROOT / "drivers/dlms").glob("*.py"))
    page = (ROOT / "docs/dlms.md").read_text("utf-8").partition("## What a refusal means")[2]
    said = [each for row in re.findall(r"(?m)^\| (`.+?) \|", page) for each in re.findall(r"`(.+?)`", row)]
    assert len(said) > 12
    assert not [each for each in said if each not in names and each not in sentences]


def test_what_status_calls_a_link_is_explained():
    page = (ROOT / "docs/serial-lines.md").read_text("utf-8")
    assert set(re.findall(r"(?m)^\| `(\w+)` \|", page)) >= {phase.value for phase in Phase}


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.stem)
def test_every_file_that_a_page_leads_to_is_there(page: Path):
    for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text("utf-8")):
        assert (page.parent / target).exists(), f"{page.name} leads to {target}"


def test_why_a_package_is_refused_is_explained_in_its_own_words():
    said = messages(ROOT / "docs/releases.md")
    assert len(said) >= 6
    known = " ".join(sentences("en").values())
    assert [part for part in said if part not in known and part != "paths.signers"] == []
