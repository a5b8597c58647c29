"""The demo, played with a stand-in for the agent: it succeeds when the alert went all the way, and only then."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest
from click.testing import CliRunner
from rich.console import Console

from simulator.cli import main
from simulator.demo import Demo
from simulator.site import edit

STUB = (sys.executable, "-m", "tests.demo_stub")


def play(output: Path, *more: str) -> tuple[int, str]:
    said = io.StringIO()
    console = Console(file=said, width=200, force_terminal=False, highlight=False)
    code = Demo(day_s=5.0, output=output, agent=(*STUB, *more), console=console, warm_up_s=3.0).play()
    return code, said.getvalue()


def test_a_day_that_goes_well(tmp_path: Path):
    code, said = play(tmp_path)
    assert code == 0, said
    assert "intervals: 96 of 96, 12 over the contract; 3840 kWh" in said
    assert "FINDING opened: cap-over-contract at factory, notice" in said
    assert "centre acknowledged cap-over-contract cleared: upto 2" in said
    assert "chain: verified" in said
    assert "0 attempts to write" in said
    assert "\x1b" not in said  # a pipe gets no colours
    bars = ElementTree.parse(tmp_path / "day.svg").findall(".//{http://www.w3.org/2000/svg}rect")
    assert [bar.get("fill") for bar in bars].count("#c62828") == 12


@pytest.mark.parametrize(
    ("agent", "missing"),
    [
        (("--silent-about", "cleared"), ["no cap-over-contract finding was cleared"]),
        (("--no-such-option",), ["was opened", "was cleared", "chain could not be verified"]),
    ],
)
def test_a_day_that_does_not_says_what_is_missing(tmp_path: Path, agent: tuple[str, ...], missing: list[str]):
    code, said = play(tmp_path, *agent)
    assert code == 1
    lines = [line for line in said.splitlines() if line.startswith("MISSING")]
    assert len(lines) == len(missing)
    assert all(words in line for words, line in zip(missing, lines, strict=True))


def test_a_site_file_keeps_its_words_around_a_change():
    text = '# mine\n[mqtt]\nhost = "a"   # the broker\nport = 1\n\n[[link]]\nid = "x"\n\n[[link]]\nid = "y"\n'
    changed = edit(
        text, {("mqtt", "port"): "2", ("link", "port"): "3", ("clock", "rate"): "4", ("clock", "kind"): '"s"'}
    )
    assert changed == (
        '# mine\n[mqtt]\nhost = "a"   # the broker\nport = 2\n\n[[link]]\nport = 3\nid = "x"\n\n[[link]]\nid = "y"\n'
        '\n[clock]\nkind = "s"\nrate = 4\n'
    )


def test_the_verbs_refuse_what_they_cannot_do(tmp_path: Path):
    runner = CliRunner()
    nowhere = runner.invoke(main, ["serve", str(tmp_path / "none.toml")])
    assert (nowhere.exit_code, "none.toml" in nowhere.output) == (1, True)
    lonely = runner.invoke(main, ["central", "--port", "1", "--db", str(tmp_path / "c.db")])
    assert (lonely.exit_code, "no broker at 127.0.0.1:1" in lonely.output) == (1, True)
