"""Ground truth in small: customers of whom everything is known, through the real core. Full counts: `make truth`.

`EDGE_PROVE_TRUTH` = "years,cases,disturbed" plays as many clean point-years, cases of each irregularity, and of those
point-years as many again with their readings disturbed; what `make truth` has played with these files is taken over.
"""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.figures import report
from tests.truth import __main__ as truth
from tests.truth.cases import batches_of, played
from tests.truth.customer import drawn
from tests.truth.faults import Happening
from tests.truth.figures import rate_bound, share
from tests.truth.judge import judged
from tests.truth.kinds import KINDS, Kind
from tests.truth.load import load_of
from tests.truth.meter import World
from tests.truth.play import Finding
from tests.truth.profiles import ROOT, profiles
from tests.truth.results import enough, results_of
from tests.truth.tables import text

ASKED = os.environ.get("EDGE_PROVE_TRUTH", "")
YEARS, CASES, DISTURBED = (int(n) for n in ASKED.split(",")) if ASKED else (2, 1, 2)
DAYS = 366 if ASKED else 8
SMALL = ("cover", "magnet", "programmed", "decrease", "fly")
pytestmark = pytest.mark.timeout(86_400 if ASKED else 120)


@pytest.fixture(scope="module")
def said() -> dict[str, Any]:
    known = profiles(fetch=bool(ASKED))
    only = () if ASKED else ("clean", *SMALL)
    batches = truth.plan(list(known.shapes), years=YEARS, cases=CASES, disturbed=DISTURBED, days=DAYS, only=only)
    kept = truth.kept_for(known) if ASKED else truth.Kept(None)
    results = truth.run(batches, jobs=2 if ASKED else 1, kept=kept, progress=truth.Progress(None))
    found = truth.said_of(results, batches, kept, known)
    print(text(found))
    clean, disturbed = found["clean"], found["disturbed"]
    report(
        "clean", point_years=clean["point_years"], load_classes=clean["shapes"], major=clean["major"],
        bound_95=clean["major_bound_per_year"], warnings_a_year=clean["warnings_per_year"],
        notices_a_year=clean["notices_per_year"], batches_from_record=found["from_record"], of=found["of_batches"],
    )  # fmt: skip
    report(
        "disturbed", point_years=disturbed["point_years"], more_accusations_not_so=len(disturbed["additional_not_so"]),
        unknown_before=disturbed["unknown_before"], unknown=disturbed["unknown"],
    )  # fmt: skip
    for kind in found["kinds"]:
        report(
            kind["kind"], cases=kind["cases"], enough=kind["enough"], found=kind["found"],
            recall_from=kind["recall_interval"][0], delay_h=kind["delay_h"],
        )  # fmt: skip
    return found


def test_no_clean_point_is_accused_of_something_grave(said: dict[str, Any]):
    assert said["clean"]["point_years"] >= YEARS * DAYS / 366 * 0.99
    assert said["clean"]["major"] == 0
    assert said["clean"]["warnings_per_year"] <= 0.05
    assert said["clean"]["notices_per_year"] <= 12


def test_what_is_wrong_is_found(said: dict[str, Any]):
    shown = [k for k in said["kinds"] if k["published"]]
    assert len(shown) >= len(SMALL)
    missed = {k["kind"]: k["missed_because"] for k in shown if k["enough"] and k["recall"] < 0.95}
    assert not missed
    assert all(k["routed_right"] == k["found_of_all"] for k in shown)


def test_missing_and_late_readings_make_nobody_guilty(said: dict[str, Any]):
    disturbed = said["disturbed"]
    assert disturbed["cases"] == DISTURBED
    assert disturbed["additional_not_so"] == []
    assert disturbed["unknown"] > disturbed["unknown_before"]


def test_nothing_is_said_that_is_not_so(said: dict[str, Any]):
    assert [f for f in said["not_so"] if f["severity"] in {"warning", "major", "critical"}] == []


def test_the_same_seeds_say_the_same_again():
    known = profiles(fetch=False)
    kind = next(k for k in KINDS if k.name == "cover")
    (batch,) = batches_of(kind, 1, ["G3-H"], size=1)
    first, again = played(batch, known.shapes), played(batch, known.shapes)
    assert first == again
    assert results_of(batch, first, known.shapes)[0].found


def test_an_irregularity_that_is_not_there_is_not_found():
    """What the model makes of a fault is what is found: without it the same customer is clean."""
    known = profiles(fetch=False)
    kind = next(k for k in KINDS if k.name == "cover")
    (batch,) = batches_of(None, 1, ["G3-H"], size=1, days=2)
    (clean,) = played(batch, known.shapes)
    assert [f for f in clean.findings if f.topic in kind.must] == []


def test_a_run_that_was_cut_off_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    batches = truth.plan(["G3-H"], years=0, cases=1, disturbed=0, only=("cover", "magnet"))
    kept = truth.Kept(tmp_path / "kept.jsonl")
    found = truth.run(batches[:1], jobs=1, kept=kept, progress=truth.Progress(None))
    with (tmp_path / "kept.jsonl").open("a") as file:
        file.write('{"batch": "half a li')
    again = truth.Kept(tmp_path / "kept.jsonl")
    assert again.of(batches[1]) is None
    monkeypatch.setattr(truth, "played", lambda batch, shapes: pytest.fail(f"{batch.name} is played again"))
    assert truth.run(batches[:1], jobs=1, kept=again, progress=truth.Progress(None)) == found


def test_a_record_counts_until_it_is_asked_for_anew(tmp_path: Path):
    (batch,) = truth.plan(["G3-H"], years=0, cases=1, disturbed=0, only=("cover",))
    path, record = tmp_path / "kept.jsonl", tmp_path / "record" / "kept.jsonl.xz"
    said = played(batch, profiles(fetch=False).shapes)
    played_here = truth.Kept(path, record=record)
    played_here.keep(batch, said)
    assert played_here.write_record() == record
    path.unlink()
    elsewhere = truth.Kept(path, record=record)
    assert elsewhere.of(batch) == said
    assert elsewhere.from_record == {batch.name}, "and the figures say so"
    assert truth.Kept(path, record=record, fresh=True).of(batch) is None


def test_what_is_said_to_stand_apart_takes_no_part():
    play = (
        "import sys; from tests.truth.cases import batches_of, played; from tests.truth.kinds import KINDS;"
        "from tests.truth.profiles import profiles;"
        "shapes = profiles(fetch=False).shapes;"
        "cover = next(k for k in KINDS if k.name == 'cover');"
        "clean = [b for d in (False, True) for b in batches_of(None, 1, list(shapes), size=1, days=1, disturbed=d)];"
        "[played(b, shapes) for b in [*clean, *batches_of(cover, 1, list(shapes), size=1)]];"
        "names = [m.replace('.', '/') for m in sys.modules];"
        "from tests.truth.__main__ import APART;"
        "apart = [a.removesuffix('.py') for a in APART];"
        "print(sum(n.startswith('edge_agent/audit/topics/') for n in names),"
        " [n for n in names if any(n == a or n.startswith(a + '/') for a in apart)])"
    )
    assert [a for a in truth.APART if not (ROOT / a).exists()] == []
    done = subprocess.run([sys.executable, "-c", play], cwd=ROOT, capture_output=True, text=True, check=True)
    topics = list((ROOT / "edge_agent/audit/topics").glob("[!_]*.py"))
    assert done.stdout.split() == [str(len(topics)), "[]"]


def test_figures_can_be_printed_and_read_by_a_program(capsys: pytest.CaptureFixture[str]):
    asked = ["--years", "0", "--cases", "1", "--only", "cover", "--jobs", "1", "--no-fetch"]
    assert truth.main([*asked, "--json"]) == 0
    plain = json.loads(capsys.readouterr().out)
    assert plain["kinds"][0]["found"] == 1
    assert truth.main(asked) == 0
    shown = capsys.readouterr()
    assert "met-cover" in shown.out
    assert shown.err == ""


def test_progress_is_for_a_terminal_only():
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    (batch,) = truth.plan(["G3-H"], years=0, cases=1, disturbed=0, only=("cover",))
    for out, speaks in ((Terminal(), True), (io.StringIO(), False)):
        progress = truth.Progress(out)
        progress.begin(1, 2)
        progress.step(batch, was_played=True)
        progress.end()
        assert bool(out.getvalue()) == speaks


def test_a_finding_is_so_only_if_the_load_or_what_was_done_makes_it_so():
    customer = replace(drawn("p", "G3-H", 5, every_s=900, slide_min=15), share=0.9, by_demand=False)
    world = World(customer, load_of(customer, profiles(fetch=False).shapes["G3-H"], first_day=10, days=7, sub=15))
    loaded = int(world.load.sliding_va().argmax()) + 15
    at_ms = world.load.start_ms + round(loaded * world.load.step_s * 1000)
    cover = next(k for k in KINDS if k.name == "cover")
    done = Happening(at_ms)

    def why(topic: str, kind: Kind | None = None, opened_ms: int = at_ms) -> str:
        happening = done if kind else None
        return judged(Finding("f", topic, "", opened_ms, "major", "metering"), world, kind, happening).why

    assert why("cap-over-contract") == "not so"
    assert why("met-cover") == "not so"
    assert why("met-cover", cover) == "done"
    assert why("met-magnetic", cover) == "not so"
    assert why("met-cover", cover, at_ms - 86_400_000) == "not so"
    world.load.p *= 1.2
    world.load.q *= 1.2
    assert why("cap-over-contract") == "load"


def a_world(*, share: float = 0.9, days: int = 3, every_s: int = 300, **changes: Any) -> World:
    drawn_ = drawn("p", "G3-H", 5, every_s=every_s, slide_min=15)
    customer = replace(drawn_, **{"share": share, "by_demand": False, "register": "0.01 kWh", **changes})
    return World(customer, load_of(customer, profiles(fetch=False).shapes["G3-H"], first_day=10, days=days, sub=5))


def why_of(world: World, topic: str, opened_ms: int, severity: str = "notice") -> str:
    return judged(Finding("f", topic, "", opened_ms, severity, "collection"), world, None, None).why


def test_days_without_values_are_so_where_the_register_moved_by_more_than_is_carried():
    world = a_world()
    second_day = world.load.start_ms + 2 * 86_400_000
    assert why_of(world, "dat-missing", second_day) == "not so"
    world.pace[300:340] = 400.0  # 14 of the day's 96 blocks
    assert why_of(world, "dat-missing", second_day) == "done"
    assert why_of(world, "dat-missing", second_day, "warning") == "not so"
    assert why_of(world, "dat-missing", second_day + 86_400_000) == "not so"


def test_what_is_given_out_is_judged_by_what_was_given_out():
    world = a_world()
    noon = world.load.start_ms + 36 * 3_600_000
    step = round(36 * 3600 / world.load.step_s)
    assert why_of(world, "cap-reverse-overload", noon) == "not so"
    world.generated_w = world.load.p.copy()
    world.generated_w[step - 400 : step + 10] += 0.9 * world.customer.contract_kva * 1000
    assert why_of(world, "cap-reverse-overload", noon) == "load"
    assert why_of(world, "cap-reverse-overload", noon, "warning") == "not so"
    assert why_of(world, "cap-reverse-overload", noon - 6 * 3_600_000) == "not so"
    world.generated_w[step - 400 : step + 10] += 0.3 * world.customer.contract_kva * 1000
    assert why_of(world, "cap-reverse-overload", noon, "warning") == "load"


def test_a_forecast_is_so_if_the_load_going_on_would_have_reached_the_limit():
    """Not if the interval ended above it: a forecast says what comes if the load goes on."""
    world = a_world(by_demand=True)
    load, limit_w = world.load, 1.05 * world.customer.contract_w
    begins = round(20 * 3600 / load.step_s)
    ten_minutes = load.start_ms + 20 * 3_600_000 + 600_000
    quarter, now = round(900 / load.step_s), round(600 / load.step_s)
    load.p[begins : begins + quarter] = 0.9 * limit_w
    assert why_of(world, "cap-demand-forecast", ten_minutes, "info") == "not so"
    load.p[begins : begins + now] = 1.1 * limit_w
    load.p[begins + now : begins + quarter] = 0.0
    assert why_of(world, "cap-demand-forecast", ten_minutes, "info") == "load"
    load.p[begins + now - 5 : begins + now] = 0.1 * limit_w
    assert why_of(world, "cap-demand-forecast", ten_minutes, "info") == "not so"


def test_more_than_the_contract_can_be_seen_where_both_sources_show_it_beyond_their_steps():
    kind = next(k for k in KINDS if k.name == "over-103")
    fine = a_world(share=1.08, register="0.001 kWh", noise=0.01)
    happening = Happening(fine.load.start_ms)
    assert enough(kind, fine, happening)
    coarse = a_world(share=1.08, register="0.1 kWh", noise=0.01)
    assert not enough(kind, coarse, happening)  # register_too_coarse
    load = fine.load
    load.p[load.sub - 1 :: load.sub] *= 0.9  # what is drawn at the readings
    load.q[load.sub - 1 :: load.sub] *= 0.9
    assert not enough(kind, fine, happening)


def test_a_flight_can_be_seen_where_more_than_ten_watt_hours_are_due_in_a_block():
    kind = next(k for k in KINDS if k.name == "fly")
    world = a_world()
    happening = Happening(world.load.start_ms + 86_400_000)
    assert enough(kind, world, happening)
    world.load.p *= 9 * 4 * world.customer.k / world.load.blocks_w().max()
    assert not enough(kind, world, happening)


def test_a_ratio_can_be_seen_where_three_days_in_a_row_spread_the_currents():
    """A single quarter hour a day is no spread: the outermost pairs do not count."""
    kind = next(k for k in KINDS if k.name == "ratio")
    world = a_world(days=8, every_s=900, share=0.9)
    happening = Happening(world.load.start_ms)
    day = 86_400 // 900 * world.load.sub
    for array in (world.load.p, world.load.q):
        array[:] = 0.3 * array.max()
    assert not enough(kind, world, happening)
    for at in range(0, len(world.load.p), day):
        world.load.p[at : at + world.load.sub] *= 5
    assert not enough(kind, world, happening)
    for at in range(0, len(world.load.p), day):
        world.load.p[at : at + day // 3] = 0.6 * 3**0.5 * 400 * world.customer.ct_a
    assert enough(kind, world, happening)


def test_current_past_the_meter_can_be_seen_where_its_own_phase_spreads():
    kind = next(k for k in KINDS if k.name == "unmetered")
    world = a_world(days=8, every_s=900, share=0.9, unbalance=0.3)
    happening = Happening(world.load.start_ms)
    whole = 3**0.5 * 400 * world.customer.ct_a
    world.load.p[:], world.load.q[:] = 0.3 * whole, 0.0
    for at in range(0, len(world.load.p), 96 * world.load.sub):
        world.load.p[at : at + 48 * world.load.sub] = 0.64 * whole
    seen = []
    for phase in range(3):
        world.unseen_a[:] = 0.0
        world.unseen_a[phase] = 40.0
        seen.append(enough(kind, world, happening))
    assert set(seen) == {True, False}  # phases are not loaded alike


@pytest.mark.parametrize(
    ("hits", "of", "low", "high"),
    [(30, 30, 0.8843, 1.0), (0, 30, 0.0, 0.1157), (8, 10, 0.4439, 0.9748)],
)
def test_intervals_are_those_of_clopper_and_pearson(hits: int, of: int, low: float, high: float):
    assert share(hits, of) == pytest.approx((low, high), abs=2e-4)


def test_the_bound_of_no_event_is_three_over_the_exposure():
    assert rate_bound(0, 400) == pytest.approx(2.9957 / 400, rel=1e-3)
