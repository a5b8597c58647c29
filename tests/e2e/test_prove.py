"""`python -m tests.prove` itself: a proof that failed or did not run is none, and what has passed is not run again."""

from __future__ import annotations

import io
from pathlib import Path

from tests.prove import Outcome, Progress, Proof, State, prove, table

PASSES = """
from pathlib import Path
from tests.figures import report

def test_it():
    with Path(__file__).with_suffix(".runs").open("a") as file:
        file.write("x")
    report("kills of nothing", kills=7, lost=0)
"""
FAILS = "def test_it():\n    assert False\n"
SKIPS = "import pytest\n\ndef test_it():\n    pytest.skip('no broker')\n"


def proof(folder: Path, name: str, text: str) -> Proof:
    file = folder / f"test_{name}.py"
    file.write_text(text)
    return Proof(name, f"that it {name}", "1 time", (str(file),))


def outcomes(proofs: list[Proof], folder: Path, tree: str, *, fresh: bool = False) -> dict[str, Outcome]:
    done = prove(proofs, folder, State(folder / "state.json", tree, fresh=fresh), Progress(io.StringIO()))
    return {p.name: outcome for p, outcome in done}


def test_only_what_passed_counts_and_is_not_run_again_on_the_same_tree(tmp_path: Path):
    proofs = [proof(tmp_path, name, text) for name, text in (("passes", PASSES), ("fails", FAILS), ("skips", SKIPS))]
    runs = tmp_path / "test_passes.runs"
    first = outcomes(proofs, tmp_path, "tree-1")
    assert {name: o.why for name, o in first.items()} == {
        "passes": "", "fails": "FAILED", "skips": "NOT SHOWN, 1 skipped",
    }  # fmt: skip
    assert first["passes"].figures == [{"name": "kills of nothing", "kills": 7, "lost": 0}]

    second = outcomes(proofs, tmp_path, "tree-1")
    assert {name: o.before for name, o in second.items()} == {"passes": True, "fails": False, "skips": False}
    assert second["passes"].figures == first["passes"].figures
    assert runs.read_text() == "x"
    outcomes(proofs[:1], tmp_path, "tree-2")
    outcomes(proofs[:1], tmp_path, "tree-2", fresh=True)
    outcomes(proofs[:1], tmp_path, "")  # a tree that git cannot name
    outcomes(proofs[:1], tmp_path, "")
    assert runs.read_text() == "xxxxx"

    told = table((p, second[p.name]) for p in proofs)
    assert "    kills of nothing: kills 7, lost 0" in told.splitlines()
    assert [line.split()[0] for line in told.splitlines() if not line.startswith(" ")] == [
        "proof", "passes", "fails", "skips",
    ]  # fmt: skip
