"""The guarantees with their full counts, one by one: `python -m tests.prove [--only NAME]... [--fresh]`.

Each is a set of tests with the counts of a full run in its environment; what they measured (`tests.figures`) stands in
the table at the end. What has passed on this very tree, uncommitted changes included, is not run again: a run that was
cut off goes on where it was. Everything said by a test is in `.prove/<name>.log`. The exit code is 0 only if all that
was asked for has passed and nothing of it was skipped.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO
from xml.etree import ElementTree

from tests.figures import REPORT

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / ".prove"
LOG_TAIL = 3_000


@dataclass(frozen=True)
class Proof:
    """One guarantee: which tests show it, and with which counts."""

    name: str
    shows: str
    count: str
    tests: tuple[str, ...]
    counts: dict[str, str] = field(default_factory=dict)


PROOFS = (
    Proof("replay", "a recorded year through the audit", "35,136 rows", ("tests/test_replay.py",)),
    Proof(
        "backtest", "two release sets differ exactly where they must", "35,136 rows twice", ("tests/test_backtest.py",),
        {"EDGE_PROVE_BACKTEST_MONTHS": "12"},
    ),
    Proof(
        "constant-load", "a steady load accuses nobody", "30 days", ("tests/test_constant_load.py",),
        {"EDGE_PROVE_DAYS": "30"},
    ),
    Proof(
        "topics", "every step of every topic's findings as told on paper, restarted at every instant too",
        "558 stories of 46 topics",
        (
            "tests/test_audit.py", "tests/test_audit_rounds.py", "tests/test_audit_capacity.py",
            "tests/test_metering_stories.py", "tests/test_tou_stories.py", "tests/test_disputed.py",
            "tests/test_case.py",
        ),
    ),
    Proof(
        "tou", "a meter that switches its rates by the archive's schedule is never said to have another",
        "600 meters of 30 h, and 600 that have another", ("tests/test_tou_never_wrong.py", "tests/test_tou_line.py"),
        {"EDGE_PROVE_TOU": "600"},
    ),
    Proof(
        "truth", "what is so is found, and nobody is accused of what is not so",
        "405 clean point-years, again disturbed, 30 of a kind",
        ("tests/test_truth.py",), {"EDGE_PROVE_TRUTH": "405,30,405"},
    ),
    Proof("routes", "an overload goes to whom the archive allows", "4 points", ("tests/e2e/test_routes.py",)),
    Proof(
        "vectors", "worked examples V01 to V05", "5 vectors",
        ("tests/test_load.py", "tests/test_load_registers.py", "tests/test_audit.py"),
    ),
    Proof(
        "tariffs", "contract rules to the cent: V05 to V11, V16", "147 tests",
        ("tests/test_tariff.py", "tests/test_tariff_rules.py", "tests/test_tariff_files.py"),
    ),
    Proof(
        "methods", "the audit's methods against V01 to V04, V06, V12 to V15, V17, V18, and a point-year each",
        "11 vectors, 35,136 quarters, 1,000 wild inputs",
        (
            "tests/test_methods_vectors.py", "tests/test_methods_step.py", "tests/test_methods_side_by_side.py",
            "tests/test_methods_registers.py", "tests/test_methods_phases.py", "tests/test_methods_load.py",
            "tests/test_methods_anything.py",
        ),
        {"EDGE_PROVE_METHODS": "1000"},
    ),
    Proof(
        "oracle", "the ledger against straight lines", "1,000 histories", ("tests/models/test_ledger_oracle.py",),
        {"EDGE_PROVE_HISTORIES": "1000"},
    ),
    Proof(
        "witness", "what a meter says happened is told once", "5,000 histories",
        ("tests/test_witness.py", "tests/test_witness_line.py"), {"EDGE_PROVE_WITNESS": "5000"},
    ),
    Proof(
        "agent-kill", "SIGKILL of the agent: nothing lost, nothing twice", "200 kills", ("tests/e2e/test_kill.py",),
        {"EDGE_PROVE_KILLS": "200"},
    ),
    Proof(
        "backfill", "an outage hides no overload: meters' own records", "6 h of 24, 96 of 96 intervals",
        (
            "tests/e2e/test_backfill.py", "tests/test_backfill_line.py", "tests/test_backfill_odd.py",
            "tests/test_backfill.py", "tests/test_backfilling.py",
        ),
        {"EDGE_PROVE_BACKFILL_HOURS": "24", "EDGE_PROVE_BACKFILL_RATE": "720", "EDGE_PROVE_BACKFILL_ALL": "1"},
    ),
    Proof(
        "store-kill", "SIGKILL of the store's process", "200 kills", ("tests/test_store_kill.py",),
        {"EDGE_PROVE_KILLS": "200"},
    ),
    Proof(
        "puback", "a PUBACK is no receipt: agent and control", "2 x 84 kills", ("tests/e2e/test_puback.py",),
        {"EDGE_PROVE_KILLS": "200"},
    ),
    Proof(
        "second-master", "a scan that is started breaks nobody's readings", "10,000 exchanges", ("tests/test_scan.py",),
        {"EDGE_PROVE_SECOND_MASTER": "10000"},
    ),
    Proof(
        "outage", "a day without a broker", "64 points", ("tests/e2e/test_outage.py",),
        {"EDGE_PROVE_OUTAGE_POINTS": "64"},
    ),
    Proof(
        "partition", "no cheaper questions exist", "500 register maps", ("tests/models/test_partition.py",),
        {"EDGE_PROVE_MAPS": "500"},
    ),
    Proof(
        "cycle", "polling at the speed of the wire", "16 meters of 40 values, 5 cycles, on a pty too",
        ("tests/test_cycle.py",),
        {"EDGE_PROVE_CYCLES": "5", "EDGE_PROVE_PTY_CYCLES": "5", "EDGE_PROVE_PTY_METERS": "16"},
    ),
    Proof(
        "peers", "the field bus against libmodbus, mbpoll and DL/T peers", "2 x 600 polls, 41 models",
        (
            "tests/peers/test_libmodbus.py", "tests/peers/test_mbpoll.py", "tests/peers/test_dlt645.py",
            "tests/peers/test_dlt698.py",
        ),
        {"EDGE_PROVE_PEER_POLLS": "600", "EDGE_PROVE_PEER_MODELS": "all"},
    ),
    Proof(
        "dlms-peers", "DLMS against pydlms and Gurux: who reads whom, and whose fault it is", "3 x 8 ways, 7 steps",
        (
            "tests/peers/test_dlms.py", "tests/peers/test_dlms_driver.py", "tests/peers/test_dlms_faults.py",
            "tests/peers/test_dlms_more.py",
        ),
        {"EDGE_PROVE_PEER_WAYS": "all"},
    ),
    Proof(
        "never-wrong", "late, corrupted and lost answers: no wrong value", "100,000 polls, 5,000 on a pty",
        ("tests/test_never_wrong.py",), {"EDGE_PROVE_POLLS": "100000", "EDGE_PROVE_PTY_POLLS": "5000"},
    ),
    Proof(
        "dead-device", "a dead device costs the others one time-out a back-off", "0, 1 and 3 of 16, 1 h",
        ("tests/test_dead_device.py",), {"EDGE_PROVE_DEAD_S": "3600"},
    ),
    Proof(
        "mutated-frames", "no decoder crashes, hangs or gives a value from a broken frame", "1,000,000 each",
        (
            "tests/test_modbus_fuzz.py", "tests/test_dlt645_fuzz.py", "tests/test_dlt698_fuzz.py",
            "tests/test_listening_fuzz.py",
        ),
        {"EDGE_PROVE_FRAMES": "1000000"},
    ),
    Proof(
        "gate", "whatever reaches the wire is a read", "1,000,000 cases", ("tests/test_gate_proof.py",),
        {"EDGE_PROVE_GATE": "1000000"},
    ),
    Proof(
        "dlms-kill", "SIGKILL amid ciphered traffic: the simulator sees no counter twice", "200 kills, 20 of the agent",
        ("tests/test_dlms_kill.py",), {"EDGE_PROVE_DLMS_KILLS": "200"},
    ),
    Proof(
        "dlms-faults", "whatever a simulated DLMS meter does wrong: a true value or a gap", "37 faults, 4 rounds each",
        ("tests/test_dlms_spoiled.py",), {"EDGE_PROVE_DLMS_ROUNDS": "4"},
    ),
    Proof(
        "dlms-scan", "searched, whatever a DLMS meter answers", "3,000 meters", ("tests/test_scan_dlms.py",),
        {"EDGE_PROVE_DLMS_SCAN": "3000"},
    ),
    Proof(
        "dlms-refusals", "what is not protected as agreed yields no value", "every bit of 5 replies, a table of flaws",
        ("tests/test_dlms_refusals.py",), {"EDGE_PROVE_DLMS_BITS": "0"},
    ),
    Proof(
        "dlms-apdus", "mutated DLMS APDUs and HDLC frames", "1,000,000 of each", ("tests/test_dlms_fuzz.py",),
        {"EDGE_PROVE_APDUS": "1000000"},
    ),
)  # fmt: skip


@dataclass(frozen=True)
class Outcome:
    """How one proof went. `why` is empty where it passed."""

    why: str
    tests: int
    seconds: float
    figures: list[dict[str, Any]]
    before: bool = False  # known from an earlier run on the same tree


class State:
    """What has passed on this tree, kept after each proof."""

    def __init__(self, path: Path, tree: str, *, fresh: bool = False) -> None:
        self._path = path
        self._tree = tree
        self._fresh = fresh
        self._passed: dict[str, dict[str, Any]] = {}
        if tree and path.exists():
            try:
                kept = json.loads(path.read_text(encoding="utf-8"))
                self._passed = kept["passed"] if kept["tree"] == tree else {}
            except (ValueError, KeyError, TypeError):  # cut off while it was written: nothing is known
                self._passed = {}

    def passed(self, proof: Proof) -> Outcome | None:
        kept = None if self._fresh else self._passed.get(proof.name)
        return None if kept is None else Outcome("", kept["tests"], kept["seconds"], kept["figures"], before=True)

    def keep(self, proof: Proof, outcome: Outcome) -> None:
        self._passed.pop(proof.name, None)
        if not outcome.why:
            self._passed[proof.name] = {
                "tests": outcome.tests, "seconds": outcome.seconds, "figures": outcome.figures,
            }  # fmt: skip
        new = self._path.with_suffix(".new")
        new.write_text(json.dumps({"tree": self._tree, "passed": self._passed}, indent=1), encoding="utf-8")
        new.replace(self._path)


def tree_hash(root: Path, *paths: str) -> str:
    """Git's hash of the tree as it lies there, or of `paths` alone; empty where git cannot say.

    Leaves index and objects alone.
    """

    def git(*words: str, **env: str) -> str:
        done = subprocess.run(
            ["git", *words], cwd=root, env={**os.environ, **env}, capture_output=True, text=True, check=True
        )
        return done.stdout.strip()

    try:
        objects = git("rev-parse", "--path-format=absolute", "--git-path", "objects")
        with tempfile.TemporaryDirectory() as folder:
            env = {
                "GIT_INDEX_FILE": f"{folder}/index",
                "GIT_OBJECT_DIRECTORY": folder,
                "GIT_ALTERNATE_OBJECT_DIRECTORIES": objects,
            }
            git("add", "--all", "--", *(paths or (".",)), **env)
            return git("write-tree", **env)
    except (OSError, subprocess.CalledProcessError):
        return ""


class Progress:
    """One line that tells what runs and for how long; on a terminal only."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._shown = out.isatty()

    def runs(self, place: str, proof: Proof, seconds: float) -> None:
        if self._shown:
            self._out.write(f"\r\x1b[K{place} {proof.name}: {proof.shows}, {proof.count} ... {seconds:.0f} s")
            self._out.flush()

    def ended(self, place: str, proof: Proof, outcome: Outcome) -> None:
        if self._shown:
            earlier = ", earlier on this tree" if outcome.before else ""
            word = outcome.why or "passed"
            self._out.write(f"\r\x1b[K{place} {proof.name}: {word} in {outcome.seconds:.0f} s{earlier}\n")
            self._out.flush()


def run(proof: Proof, folder: Path, place: str, progress: Progress) -> Outcome:
    """Its tests in a process of their own."""
    log, junit, said = (folder / f"{proof.name}.{end}" for end in ("log", "xml", "jsonl"))
    for old in (junit, said):
        old.unlink(missing_ok=True)
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", f"--junitxml={junit}", *proof.tests]
    began = time.monotonic()
    with log.open("wb") as out:
        process = subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT,
            env={**os.environ, **proof.counts, REPORT: str(said)}, start_new_session=True,
        )  # fmt: skip
        try:
            while process.poll() is None:
                progress.runs(place, proof, time.monotonic() - began)
                time.sleep(0.5)
        except KeyboardInterrupt:
            process.send_signal(signal.SIGINT)  # once: its fixtures end what its tests have started
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
            raise
    ran, skipped = counted(junit)
    figures = [json.loads(line) for line in said.read_text("utf-8").splitlines()] if said.exists() else []
    if process.returncode:
        why = "FAILED"
    elif skipped or not ran:
        why = f"NOT SHOWN, {skipped} skipped"  # what did not run proves nothing
    else:
        why = ""
    return Outcome(why, ran, time.monotonic() - began, figures)


def counted(junit: Path) -> tuple[int, int]:
    """Tests that ran, and those that were skipped."""
    if not junit.exists():
        return 0, 0
    suites = list(ElementTree.parse(junit).getroot().iter("testsuite"))
    skipped = sum(int(s.get("skipped", "0")) for s in suites)
    return sum(int(s.get("tests", "0")) for s in suites) - skipped, skipped


def table(rows: Iterable[tuple[Proof, Outcome]]) -> str:
    """Proof, count, result, tests, seconds; below each what its tests measured."""
    cells = [("proof", "shows", "count", "result", "tests", "seconds")]
    below: list[list[str]] = [[]]
    for proof, outcome in rows:
        went = (outcome.why or "passed", str(outcome.tests), f"{outcome.seconds:.0f}")
        cells.append((proof.name, proof.shows, proof.count, *went))
        below.append([_figures(f) for f in outcome.figures])
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines: list[str] = []
    for row, more in zip(cells, below, strict=True):
        left = [cell.ljust(width) for cell, width in zip(row[:4], widths, strict=False)]
        right = [cell.rjust(width) for cell, width in zip(row[4:], widths[4:], strict=True)]
        lines += ["  ".join(left + right), *(f"    {line}" for line in more)]
    return "\n".join(lines)


def _figures(figures: dict[str, Any]) -> str:
    rest = ", ".join(f"{k.replace('_', ' ')} {v}" for k, v in figures.items() if k != "name")
    return f"{figures['name']}: {rest}"


def prove(proofs: Sequence[Proof], folder: Path, state: State, progress: Progress) -> list[tuple[Proof, Outcome]]:
    done = []
    for number, proof in enumerate(proofs, start=1):
        place = f"[{number}/{len(proofs)}]"
        outcome = state.passed(proof)
        if outcome is None:
            outcome = run(proof, folder, place, progress)
            state.keep(proof, outcome)
        progress.ended(place, proof, outcome)
        done.append((proof, outcome))
    return done


def main(arguments: Sequence[str] | None = None) -> int:
    assert __doc__ is not None
    parser = argparse.ArgumentParser(prog="python -m tests.prove", description=__doc__.splitlines()[0])
    names = [p.name for p in PROOFS]
    parser.add_argument("--only", action="append", choices=names, metavar="NAME", help=f"one of {', '.join(names)}")
    parser.add_argument("--fresh", action="store_true", help="run again what has passed on this tree")
    asked = parser.parse_args(arguments)
    FOLDER.mkdir(exist_ok=True)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    state = State(FOLDER / "state.json", tree_hash(ROOT), fresh=asked.fresh)
    proofs = [p for p in PROOFS if not asked.only or p.name in asked.only]
    try:
        done = prove(proofs, FOLDER, state, Progress(sys.stderr))
    except KeyboardInterrupt:
        sys.stderr.write("\ncut off: the next run goes on from here\n")
        return 130
    sys.stdout.write(table(done) + "\n")
    failed = [p for p, outcome in done if outcome.why]
    for proof in failed:
        log = FOLDER / f"{proof.name}.log"
        sys.stderr.write(f"\n{proof.name} ({log}):\n{log.read_text('utf-8', 'replace')[-LOG_TAIL:]}\n")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
