"""Recorded data through the same audit as live readings, as a person calls it: `edge-agent replay`."""

from __future__ import annotations

import contextlib
import csv
import gzip
import json
import math
import os
import pty
import subprocess
import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from tests.figures import report

ROOT = Path(__file__).parent.parent
FACTORY = ROOT / "config/examples/factory.toml"
G3H = Path(__file__).parent / "data/simbench-2016-g3h.csv.gz"
BERLIN = ("--tz", "Europe/Berlin")


def verb(file: Path, *more: str, site: Path = FACTORY) -> list[str]:
    return [sys.executable, "-m", "edge_agent", "replay", str(file), "--site", str(site), *more]


def replay(file: Path, *more: str, site: Path = FACTORY) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        verb(file, *more, site=site), capture_output=True, text=True, cwd=ROOT, check=False, timeout=100
    )


def figures(file: Path, *more: str, site: Path = FACTORY) -> dict[str, Any]:
    done = replay(file, "--json", *more, site=site)
    assert done.returncode == 0, done.stderr
    assert done.stderr == "", "quiet in a pipe"
    document: dict[str, Any] = json.loads(done.stdout)
    point: dict[str, Any] = document["points"]["factory"]
    return point


def refused(file: Path, *more: str) -> str:
    """What the verb says about a file that it will not take: one line, no traceback."""
    done = replay(file, *more)
    assert done.returncode != 0
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    return done.stderr


def written(path: Path, rows: Iterable[Sequence[object]], head: str = "time,p_kw,q_kvar") -> Path:
    path.write_text("\n".join([head, *(",".join(map(str, row)) for row in rows)]) + "\n", encoding="utf-8")
    return path


def factory_year(path: Path, pf: float) -> Path:
    """The paper's factory as a year: G3-H scaled to 220 kW, at a constant power factor."""
    tan = math.tan(math.acos(pf))
    with gzip.open(G3H, "rt", encoding="utf-8") as file:
        rows = [
            (datetime.strptime(r["time"], "%d.%m.%Y %H:%M").isoformat(), 220 * (p := float(r["g3h_p"])), 220 * p * tan)
            for r in csv.DictReader(file)
        ]
    return written(path, rows)


def quarters(start: str, kw: Sequence[float | str], pf: float = 1.0, minutes: int = 15) -> list[tuple[str, str, str]]:
    """Rows stamped with their end, in UTC."""
    first = datetime.fromisoformat(start)
    tan = math.tan(math.acos(pf))
    return [
        (
            (first + timedelta(minutes=minutes * (i + 1))).isoformat(),
            str(p),
            str(p * tan) if isinstance(p, float) else "",
        )
        for i, p in enumerate(kw)
    ]


# -- a year of a real load profile --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def years(tmp_path_factory: pytest.TempPathFactory) -> dict[float, dict[str, Any]]:
    """Power factor -> figures; both at once, as it takes a while."""
    folder = tmp_path_factory.mktemp("years")
    running = {
        pf: subprocess.Popen(
            verb(factory_year(folder / f"{pf}.csv", pf), "--json", *BERLIN, "--stamp", "start"),
            stdout=subprocess.PIPE, text=True, cwd=ROOT,
        )
        for pf in (0.85, 0.88)
    }  # fmt: skip
    return {pf: json.loads(p.communicate(timeout=280)[0])["points"]["factory"] for pf, p in running.items()}


@pytest.mark.timeout(300)
def test_the_factorys_year_at_pf_085(years):
    year = years[0.85]
    assert (year["intervals"], year["over_contract"], year["days_over"]) == (35_136, 536, 82)
    assert (year["longest_run"], year["max_kva"], year["max_kw"]) == (20, 258.82, 220.0)
    assert year["coverage"] == 1.0
    assert year["unknown"] == {}
    over = [f for f in year["findings"] if f["topic"] == "cap-over-contract"]
    assert [f["episode"] for f in over] == [f"2016-{m:02d}" for m in range(2, 10)], "one a month, in eight months"
    assert sum(f["intervals"] for f in over) == 536, "each interval is counted in one of them"
    assert sum(f["days"] for f in over) == 82
    assert max(f["longest_run"] for f in over) == 20
    assert all(f["episodes"] >= 1 and not f["active"] and f["cleared_ms"] > f["opened_ms"] for f in over)
    assert {f["severity"] for f in over} == {"notice"}
    report("simbench pf 0.85", over=year["over_contract"], days=year["days_over"], findings=len(over))


@pytest.mark.timeout(300)
def test_the_factorys_year_at_pf_088_is_never_over(years):
    year = years[0.88]
    assert year["intervals"] == 35_136
    assert year["max_kva"] == 250.0, "right at the contract, in whole VA: not above it"
    assert year["over_contract"] == year["days_over"] == year["longest_run"] == 0
    assert [f for f in year["findings"] if f["topic"] == "cap-over-contract"] == []
    assert [f for f in year["findings"] if f["topic"] == "cap-heavy-load"], "heavy load it is"
    report("simbench pf 0.88", over=year["over_contract"], findings=0)


def test_a_picture_of_the_year(tmp_path):
    picture = tmp_path / "peaks.svg"
    figures(written(tmp_path / "d.csv", quarters("2026-03-02T00:00+00:00", [100.0] * 96)), "--svg", str(picture))
    assert picture.read_text().startswith("<svg")
    assert "running capacity 250 kVA" in picture.read_text()


# -- rows and their times -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("day", "rows"), [("2016-03-27", 92), ("2016-10-30", 100)])
def test_days_of_the_clock_change_in_local_time(tmp_path, day, rows):
    zone = ZoneInfo("Europe/Berlin")
    start = datetime.fromisoformat(day).replace(tzinfo=zone).astimezone(UTC)
    local = [(start + timedelta(minutes=15 * i)).astimezone(zone).replace(tzinfo=None) for i in range(rows)]
    assert local[-1].date() == local[0].date()
    file = written(tmp_path / "day.csv", [(t.isoformat(), 100.0, 0.0) for t in local])
    found = figures(file, *BERLIN, "--stamp", "start")
    assert (found["intervals"], found["coverage"]) == (rows, 1.0)


def test_start_and_end_stamps_say_the_same(tmp_path):
    ends = quarters("2026-03-02T00:00+00:00", [200.0, 260.0, 260.0, 100.0])
    starts = [((datetime.fromisoformat(t) - timedelta(minutes=15)).isoformat(), p, q) for t, p, q in ends]
    by_end = figures(written(tmp_path / "e.csv", ends), "--stamp", "end")
    by_start = figures(written(tmp_path / "s.csv", starts), "--stamp", "start")
    assert by_end == by_start
    assert by_end["over_contract"] == 2


def test_midnight_belongs_to_the_day_that_ends(tmp_path):
    file = written(tmp_path / "m.csv", quarters("2026-03-02T15:30+00:00", [260.0, 260.0, 260.0]))
    assert figures(file)["days_over"] == 2, "Shanghai: the interval that ends 24:00 and the one after it"
    assert figures(file, "--tz", "UTC")["days_over"] == 1


def test_five_minute_rows_are_summed_up_on_their_own_step_and_judged_on_the_demand_period(tmp_path):
    rows = quarters("2026-03-02T00:00+00:00", [240.0, 240.0, 280.0] * 8, minutes=5)
    found = figures(written(tmp_path / "five.csv", rows))
    assert (found["intervals"], found["over_contract"], found["max_kw"]) == (24, 8, 280.0)
    (over,) = [f for f in found["findings"] if f["topic"] == "cap-over-contract"]
    assert over["intervals"] == 8, "blocks of 15 minutes at 253.3 kVA"


def test_half_hour_rows_cannot_be_cut(tmp_path):
    found = figures(written(tmp_path / "half.csv", quarters("2026-03-02T00:00+00:00", [240.0, 260.0], minutes=30)))
    assert (found["intervals"], found["over_contract"]) == (2, 1)


def test_missing_rows_and_empty_cells_are_gaps(tmp_path):
    rows = quarters("2026-03-02T00:00+00:00", [260.0, 100.0, 100.0, "", 100.0, 100.0, 260.0, 100.0])
    del rows[4]
    found = figures(written(tmp_path / "gaps.csv", rows))
    assert found["over_contract"] == 2
    assert found["coverage"] < 1.0
    assert found["intervals"] == 8, "the missing rows are intervals that nobody vouches for"


def test_a_day_without_rows_is_missing_not_skipped(tmp_path):
    rows = quarters("2026-03-02T00:00+00:00", [100.0] * 288)
    del rows[96:192]
    found = figures(written(tmp_path / "day.csv", rows))
    assert (found["intervals"], found["coverage"]) == (288, round(192 / 288, 4))
    assert sum(found["unknown"].values()) >= 94, "all but the ends of the gap, which have bounds of their own"
    assert found["over_contract"] == 0


def test_what_the_last_rows_lack_does_not_hide_what_they_have(tmp_path):
    rows = quarters("2026-03-02T00:00+00:00", [100.0] * 8)
    rows[-1] = (rows[-1][0], "260.0", "")
    found = figures(written(tmp_path / "tail.csv", rows))
    assert (found["intervals"], found["over_contract"], found["max_kw"]) == (8, 1, 260.0)


def test_rows_of_power_and_registers_together_are_judged_where_rows_end(tmp_path):
    rows = [
        (t, p, q, 1234 + 260 / 4 * i / 80, 10.0)
        for i, (t, p, q) in enumerate(quarters("2026-03-02T00:00+00:00", [260.0] * 8))
    ]
    found = figures(written(tmp_path / "both.csv", rows, "time,p_kw,q_kvar,e_kwh,eq_kvarh"))
    assert (found["intervals"], found["over_contract"]) == (8, 8)
    assert [f["topic"] for f in found["findings"] if f["active"]] == ["cap-over-contract"]


def test_names_may_have_blanks_and_capitals_and_days_may_end_at_24(tmp_path):
    file = tmp_path / "blanks.csv"
    file.write_text(
        "time , P_kW,\tq_kvar\n2026-03-02T23:45+08:00, 260,0\n2026-03-02T24:00+08:00,260 ,0\n\n"
        "2026-03-03 05:24:00+08:00,1,1\n".replace("05:24:00", "00:15:00")
    )
    found = figures(file)
    assert (found["intervals"], found["over_contract"], found["days_over"]) == (3, 2, 1)


def test_a_year_of_offsets_needs_no_zone(tmp_path):
    rows = [("2026-03-29T01:45+01:00", 1, 1), ("2026-03-29T03:00+02:00", 1, 1), ("2026-03-29T03:15+02:00", 1, 1)]
    assert figures(written(tmp_path / "o.csv", rows))["coverage"] == 1.0


def test_active_power_alone_never_says_clear_nor_infers_kva(tmp_path):
    rows = [(t, p) for t, p, _ in quarters("2026-03-02T00:00+00:00", [220.0, 260.0, 220.0])]
    found = figures(written(tmp_path / "p.csv", rows, "time,p_kw"))
    assert found["over_contract"] == 1, "S is at least P"
    assert found["unknown"] == {"active_power_only": 2}
    assert found["max_kva"] is None, "not measured is not nothing"
    assert "max_kva           unknown" in replay(tmp_path / "p.csv").stdout


def test_register_readings_carry_the_profiles_resolution(tmp_path):
    """257.5 kW at unity: 0.80 kWh of K x one step cannot hide it; 250.4 kW it can."""
    step_kwh = {"over": 257.6, "near": 250.4}
    for name, kw in step_kwh.items():
        first = datetime.fromisoformat("2026-03-02T00:00+00:00")
        rows = [
            ((first + timedelta(minutes=15 * i)).isoformat(), math.floor(100 * (1234 + kw / 4 * i / 80)) / 100, 10.0)
            for i in range(9)
        ]
        found = figures(written(tmp_path / f"{name}.csv", rows, "time,e_kwh,eq_kvarh"))
        assert (found["over_contract"] > 0) == (name == "over"), found


# -- files that will not do ---------------------------------------------------------------------------------------


def test_files_that_will_not_do_are_refused_in_one_line(tmp_path):
    good = "2026-03-02T00:15+00:00,1,1\n2026-03-02T00:30+00:00,1,1\n"
    cases = {
        "no time": ("at,p_kw\n1,2\n", "no column named time"),
        "unknown column": ("time,power\n" + good, "quantities carry their unit"),
        "nothing but time": ("time\n2026-03-02T00:15Z\n", "no quantity beside time"),
        "one row": ("time,p_kw,q_kvar\n2026-03-02T00:15Z,1,1\n", "at least two"),
        "empty": ("", "is empty"),
        "blank": ("\n# a comment\n\n", "is empty"),
        "bad time": ("time,p_kw,q_kvar\nyesterday,1,1\n" + good, "line 2"),
        "bad number": ("time,p_kw,q_kvar\n2026-03-02T00:15Z,much,1\n" + good, "line 2: p_kw is 'much'"),
        "unordered": ("time,p_kw,q_kvar\n2026-03-02T00:30Z,1,1\n2026-03-02T00:15Z,1,1\n", "not after the row before"),
        "no zone": ("time,p_kw,q_kvar\n2026-03-02T00:15,1,1\n" + good, "--tz"),
        "semicolons": ("time;p_kw;q_kvar\n2026-03-02T00:15Z;1;1\n", "semicolon"),
        "tabs": ("time\tp_kw\n2026-03-02T00:15Z\t1\n", "tabs"),
        "given twice": ("time,p_kw,p_w\n" + good, "active_power is given twice"),
        "time twice": ("time,p_kw,time\n" + good, "time is given twice"),
        "decimal comma": ("time,p_kw,q_kvar\n2026-03-02T00:15Z,1,5,1\n" + good, "line 2: 4 cells"),
        "cut off": ("time,p_kw,q_kvar\n" + good + "2026-03-02T00:45+00:00,1", "line 4: 2 cells"),
        "after a comment": ('# p,"q\ntime,p_kw,q_kvar\n# more\n2026-03-02T00:15Z,x,1\n' + good, "line 4: p_kw"),
        "a minute off": (
            "time,p_kw,q_kvar\n" + good + "2026-03-02T00:45Z,1,1\n2026-03-02T00:52Z,1,1\n",
            "line 5: most",
        ),
    }
    for name, (text, said) in cases.items():
        file = tmp_path / f"{name}.csv"
        file.write_text(text, encoding="utf-8")
        assert said in refused(file), name
    assert "no such file" in refused(tmp_path / "absent.csv")
    assert "cannot be read" in refused(tmp_path)
    file = written(tmp_path / "good.csv", quarters("2026-03-02T00:00+00:00", [1.0, 1.0]))
    assert "--svg" in refused(file, "--svg", str(tmp_path / "no/folder.svg"))
    (tmp_path / "bin.csv").write_bytes(b"time,p_kw\n\xff\xfe\x00\n")
    assert "UTF-8" in refused(tmp_path / "bin.csv")


def test_a_register_that_the_meter_does_not_have(tmp_path):
    site = tmp_path / "site.toml"
    site.write_text(FACTORY.read_text().replace("acrel-dtsd1352", "carlo-gavazzi-em340"))
    rows = [("2026-03-02T00:15Z", 1), ("2026-03-02T00:30Z", 1)]
    done = replay(written(tmp_path / "eqe.csv", rows, "time,eqe_kvarh"), site=site)
    assert done.returncode != 0
    assert "profile carlo-gavazzi-em340 of the point's meter has no register reactive_energy_export" in done.stderr


def test_a_local_time_that_does_not_exist(tmp_path):
    file = written(tmp_path / "gone.csv", [("2026-03-29T02:15", 1, 1), ("2026-03-29T02:30", 1, 1)])
    assert "does not exist in Europe/Berlin" in refused(file, *BERLIN)


def test_a_byte_order_mark_is_no_part_of_the_first_name(tmp_path):
    file = tmp_path / "bom.csv"
    rows = "\n".join(",".join(r) for r in quarters("2026-03-02T00:00+00:00", [1.0, 1.0]))
    file.write_text(f"time,p_kw,q_kvar\n{rows}\n", encoding="utf-8-sig")
    assert figures(file)["intervals"] == 2


def test_data_older_than_the_archive_cannot_be_judged_and_says_so(tmp_path):
    site = tmp_path / "late.toml"
    site.write_text(FACTORY.read_text().replace("from = 2010-01-01", "from = 2025-01-01"))
    file = written(tmp_path / "old.csv", quarters("2016-03-02T00:00+00:00", [260.0] * 4))
    found = figures(file, site=site)
    assert (found["intervals"], found["over_contract"]) == (4, 0)
    assert found["unknown"] == {"capacity_unknown": 4}
    assert "the archive knows no capacity" in replay(file, site=site).stdout


def test_registers_older_than_the_ratio_cannot_be_judged_and_say_so(tmp_path):
    site = tmp_path / "late.toml"
    site.write_text(FACTORY.read_text().replace("from = 2010-01-01", "from = 2025-01-01"))
    rows = [(f"2016-03-02T0{i // 4}:{15 * (i % 4):02}Z", 1000 + i, 10 + i) for i in range(9)]
    file = written(tmp_path / "old.csv", rows, "time,e_kwh,eq_kvarh")
    found = figures(file, site=site)
    assert (found["intervals"], found["unknown"]) == (8, {"ratio_unknown": 8})
    assert "8 interval(s) cannot be judged: the archive knows no CT or VT ratio" in replay(file, site=site).stdout


def test_which_point_must_be_said_where_there_are_several(tmp_path):
    site = tmp_path / "two.toml"
    text = FACTORY.read_text()
    second = text[text.index("[[point]]") :].replace('id = "factory"', 'id = "mill"').replace('"m1"', '"m2"')
    device = (
        text[text.index("[[device]]") : text.index("[[point]]")].replace('"m1"', '"m2"').replace("unit = 1", "unit = 2")
    )
    site.write_text(text.replace("[[point]]", device + "[[point]]", 1) + second)
    file = written(tmp_path / "d.csv", quarters("2026-03-02T00:00+00:00", [1.0, 1.0]))
    assert "--point: factory, mill" in replay(file, site=site).stderr
    done = replay(file, "--json", "--point", "mill", site=site)
    assert list(json.loads(done.stdout)["points"]) == ["mill"]


def test_progress_is_shown_on_a_terminal_only(tmp_path):
    file = written(tmp_path / "long.csv", quarters("2026-03-02T00:00+00:00", [1.0] * 1500))
    terminal, end = pty.openpty()
    done = subprocess.run(verb(file, "--json"), stdout=subprocess.PIPE, stderr=end, cwd=ROOT, check=True, timeout=60)
    os.close(end)
    shown = b""
    with contextlib.suppress(OSError):  # the far end is closed
        while part := os.read(terminal, 4096):
            shown += part
    os.close(terminal)
    assert b"replaying long.csv" in shown
    json.loads(done.stdout)


def test_unknown_points_and_zones(tmp_path):
    file = written(tmp_path / "d.csv", quarters("2026-03-02T00:00+00:00", [1.0, 1.0]))
    assert "'nowhere'" in refused(file, "--point", "nowhere")
    assert "no time zone" in refused(file, "--tz", "Mars/Olympus")
