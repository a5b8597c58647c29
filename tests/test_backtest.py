"""The same recorded data through two sets of releases: they differ exactly where they must."""

from __future__ import annotations

import csv
import gzip
import json
import math
import os
import pty
import subprocess
import sys
import xml.etree.ElementTree as ET
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from edge_agent.settings import config_files
from tests.figures import report
from tests.signers import FACTORY
from tests.test_replay import BERLIN, G3H, ROOT, quarters, written

TOPIC = "cap-over-contract"
SHIPPED = (config_files().shipped / f"releases/{TOPIC}.toml").read_text("utf-8")
PF = 0.85
MONTHS = range(1, 13) if os.environ.get("EDGE_PROVE_BACKTEST_MONTHS") == "12" else range(6, 8)
"""The year, or its busiest two months."""


def level(folder: Path, before: str, after: str) -> Path:
    """A folder with one release, in which one number is another."""
    folder.mkdir(parents=True)
    assert before in SHIPPED
    text = SHIPPED.replace(before, after).replace("version = 1", "version = 2")
    (folder / f"{TOPIC}.toml").write_text(text.replace('"published"', '"draft"'), encoding="utf-8")
    return folder


def verb(data: Path, *more: object) -> list[str]:
    return [sys.executable, "-m", "edge_agent", "backtest", str(data), "--site", str(FACTORY), *map(str, more)]


def backtest(data: Path, *more: object, code: int = 0) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(verb(data, *more), capture_output=True, text=True, cwd=ROOT, check=False, timeout=240)
    assert done.returncode == code, done.stderr
    return done


def found(data: Path, *more: object) -> dict[str, Any]:
    done = backtest(data, "--json", *more)
    assert done.stderr == "", "quiet in a pipe"
    document: dict[str, Any] = json.loads(done.stdout)
    return document


def recorded() -> list[tuple[datetime, float]]:
    """Start and demand in kVA of every block: the SimBench year as the paper's factory, or its busiest months."""
    with gzip.open(G3H, "rt", encoding="utf-8") as file:
        year = [
            (datetime.strptime(row["time"], "%d.%m.%Y %H:%M"), 220 * float(row["g3h_p"]) / PF)
            for row in csv.DictReader(file)
        ]
    return [row for row in year if len(MONTHS) == 12 or row[0].month in MONTHS]


def months_with_three_in_a_day_above(share: float, rows: list[tuple[datetime, float]]) -> set[str]:
    """From the recorded data alone: months in which 3 blocks within 24 hours lie above a share of 250 kVA."""
    over: list[datetime] = []
    months: set[str] = set()
    for start, kva in rows:
        if kva / 250 > share:
            over = [t for t in [*over, start] if start - t < timedelta(hours=24)]
            if len(over) >= 3:
                months.add(f"{start:%Y-%m}")
    return months


@pytest.mark.timeout(300)
def test_two_release_sets_on_a_recorded_year_differ_exactly_where_they_must(tmp_path: Path):
    rows = recorded()
    tan = math.tan(math.acos(PF))
    lines = ((start.isoformat(), PF * kva, PF * kva * tan) for start, kva in rows)
    data = written(tmp_path / "year.csv", lines)
    lower = level(tmp_path / "lower", "above = 1.05", "above = 1.03")
    picture = tmp_path / "compared.svg"
    accepted = tmp_path / "site.toml"  # a point on trial would stay at notice
    accepted.write_text(FACTORY.read_text("utf-8").replace("at = 2026-01-05", "at = 2010-01-01"), encoding="utf-8")
    document = found(
        data, "--releases", lower, "--site", accepted, *BERLIN, "--stamp", "start", "--svg", picture
    )  # fmt: skip
    point = document["points"]["factory"]
    must = months_with_three_in_a_day_above(1.03, rows)
    assert must, "there are such days"
    assert not months_with_three_in_a_day_above(1.05, rows), "and none at the level that runs"
    regraded = {p["after"]["finding"]: (p["before"]["severity"], p["after"]["severity"]) for p in point["regraded"]}
    assert regraded == {f"gw-1.factory.{TOPIC}.{month}": ("notice", "warning") for month in must}
    assert point["new"] == point["gone"] == point["moved"] == []
    assert point["same"] > 0
    assert point["intervals"] == len(rows)
    assert document["changes"] == {TOPIC: [{"key": "levels[warning].above", "before": 1.05, "after": 1.03}]}
    assert f"{TOPIC}@1" in document["against"]["releases"]
    assert f"{TOPIC}@2" in document["releases"]["releases"]
    bars = [r for r in ET.parse(picture).getroot().iter() if r.tag.endswith("rect")]
    assert len(bars) >= 2 * (len(must) + point["same"]), "each finding twice: as it was, as it would be"
    report("backtest 1.05 -> 1.03", months=len(MONTHS), blocks=len(rows), regraded=len(must), same=point["same"])


def week(path: Path, peak_kw: float) -> Path:
    day = [100.0] * 40 + [peak_kw] * 8 + [100.0] * 48
    return written(path, quarters("2025-06-01T00:00:00+00:00", day * 3))


def test_a_set_against_itself_is_the_same(tmp_path: Path):
    data = week(tmp_path / "w.csv", 260)
    point = found(data, "--releases", "running", "--against", "shipped")["points"]["factory"]
    assert point["same"] > 0
    assert not any(point[what] for what in ("new", "gone", "moved", "regraded"))


def test_a_finding_that_is_gone_is_new_the_other_way_round(tmp_path: Path):
    data = week(tmp_path / "w.csv", 253)
    higher = level(tmp_path / "higher", "above = 1.00", "above = 1.04")
    gone = found(data, "--releases", higher)["points"]["factory"]
    new = found(data, "--releases", "shipped", "--against", higher)["points"]["factory"]
    assert [t["topic"] for t in gone["gone"]] == [t["topic"] for t in new["new"]] == [TOPIC]
    text = backtest(data, "--releases", higher).stdout
    assert "levels[notice].above: 1.0 -> 1.04" in text
    assert "gone" in text


def test_what_is_no_set_of_releases_is_said_in_words(tmp_path: Path):
    data = week(tmp_path / "w.csv", 100)
    (tmp_path / "empty").mkdir()
    wrong = level(tmp_path / "wrong", 'route = "customer-inspection"', 'route = "nowhere"')
    for asked, words in (
        ("nonsense", "neither `running` nor `shipped`"), (tmp_path / "empty", "no release file"),
        (f"{TOPIC}@9", "no release"), (wrong, "route is 'nowhere'"), (tmp_path / "absent.toml", "absent.toml"),
    ):  # fmt: skip
        done = backtest(data, "--releases", asked, code=1)
        assert words in done.stderr, done.stderr
        assert "Traceback" not in done.stderr


def test_progress_is_shown_on_a_terminal(tmp_path: Path):
    data = week(tmp_path / "w.csv", 100)
    ours, theirs = pty.openpty()
    command = verb(data, "--releases", "shipped", "--json")
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=theirs, cwd=ROOT) as running:
        os.close(theirs)
        seen = b""
        while True:
            try:
                part = os.read(ours, 65536)
            except OSError:  # the terminal is closed
                break
            seen += part
        assert running.stdout is not None
        assert json.loads(running.stdout.read())["points"]
    os.close(ours)
    assert b"1 of 2" in seen
    assert b"2 of 2" in seen
