"""How right the agent is: `python -m tests.truth [--years N] [--cases N] [--disturbed N] [--only KIND]... [--json]`.

Plays seeded customers through the real core and prints, per topic, precision, recall, delay and what is unknown. What
has been played with these very files is kept in .truth/ and is not played again: a run that was cut off goes on. What
`--record` has written to tests/truth/record counts too, as long as the files that take part are the same; the output
says how much of it that was, and `--fresh` plays it here.
"""

from __future__ import annotations

import argparse
import gc
import json
import lzma
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict
from pathlib import Path
from typing import Any, TextIO

from tests.prove import tree_hash
from tests.truth.cases import Batch, batches_of, played
from tests.truth.kinds import KINDS
from tests.truth.play import Finding, Played
from tests.truth.profiles import KEPT, ROOT, Profiles, profiles
from tests.truth.results import Result, results_of
from tests.truth.summary import summary
from tests.truth.tables import text

SIZE = 9
"""Points side by side in one core."""
RECORD = ROOT / "tests" / "truth" / "record"
_SHAPES: Profiles | None = None

APART = (
    *(f"edge_agent/{room}" for room in (
        "app", "cli", "evaluation", "evidence", "replay", "store", "survey", "uplink", "words/en", "words/zh",
        "__main__.py", "clock.py", "control.py", "explain.py", "explain_case.py", "fieldbus.py", "holding.py",
        "listing.py", "logs.py", "plan.py", "poller.py", "ports.py", "sighting.py",
    )),
    *(f"edge_agent/contract/{name}.py" for name in (
        "__main__", "applied", "case", "commands", "demand", "documents", "envelope", "evidence", "finding",
    )),
    *(f"tests/truth/{name}.py" for name in ("__main__", "figures", "judge", "ranking", "results", "summary", "tables")),
    "tests/truth/record",
)  # fmt: skip
"""What takes no part in playing (a test makes sure): when it changes, nothing need be played again."""
PART = ("edge_agent", "config", "tests/truth", "tests/data", *(f":(exclude){room}" for room in APART))


def plan(
    shapes: Sequence[str], *, years: int, cases: int, disturbed: int, days: int = 366, only: Sequence[str] = ()
) -> list[Batch]:
    """Longest first, so that the processes end together. `days`: so much of its year a clean customer is played."""

    def all_of() -> Iterator[Batch]:
        if not only or "clean" in only:
            yield from batches_of(None, years, shapes, size=SIZE, days=days)
            yield from batches_of(None, disturbed, shapes, size=SIZE, days=days, disturbed=True)
        for kind in KINDS:
            if not only or kind.name in only:
                yield from batches_of(kind, cases * kind.times, shapes, size=SIZE)

    return sorted(all_of(), key=lambda b: -len(b.numbers) * b.days * 86_400 // b.every_s)


def run(batches: Sequence[Batch], *, jobs: int, kept: Kept, progress: Progress) -> list[Result]:
    """Results of all batches; those that are kept are not played again, but judged again they are."""
    results: list[Result] = []
    known = {batch: before for batch in batches if (before := kept.of(batch)) is not None}
    progress.begin(len(batches), sum(len(b.numbers) * b.days for b in batches if b not in known))
    if jobs == 1:
        for batch in batches:
            said, found = _play(batch, known.get(batch))
            if batch not in known:
                kept.keep(batch, said)
            results += found
            progress.step(batch, was_played=batch not in known)
        return results
    with ProcessPoolExecutor(jobs, initializer=_alone) as pool:
        waiting = {pool.submit(_play, batch, known.get(batch)): batch for batch in batches}
        try:
            for done in as_completed(waiting):
                batch, (said, found) = waiting[done], done.result()
                if batch not in known:
                    kept.keep(batch, said)
                results += found
                progress.step(batch, was_played=batch not in known)
        except KeyboardInterrupt:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return results


def _alone() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _play(batch: Batch, before: list[Played] | None) -> tuple[list[Played], list[Result]]:
    """What is said in this batch (`before`: known already, and not given again), and what comes of it."""
    global _SHAPES  # noqa: PLW0603  (read once per process)
    if _SHAPES is None:
        _SHAPES = profiles(fetch=False)
    if before is not None:
        return [], results_of(batch, before, _SHAPES.shapes)
    gc.disable()  # nothing here goes in circles for long, and looking for it takes a fifth of the time
    said = played(batch, _SHAPES.shapes)
    gc.enable()
    gc.collect()
    return said, results_of(batch, said, _SHAPES.shapes)


class Kept:
    """What has been played, batch by batch; `path` None: nothing is kept. `record`: what was played elsewhere."""

    def __init__(self, path: Path | None, *, record: Path | None = None, fresh: bool = False) -> None:
        self._path = path
        self._record = record
        self._known: dict[str, list[dict[str, Any]]] = {}
        if path is not None and fresh:
            path.unlink(missing_ok=True)
        if record is not None and record.exists() and not fresh:
            self._take(lzma.decompress(record.read_bytes()).decode("utf-8"))
        self._recorded = frozenset(self._known)
        if path is not None and path.exists():
            self._take(path.read_text("utf-8"))
        self.from_record: set[str] = set()

    def _take(self, lines: str) -> None:
        for line in lines.splitlines():
            try:
                entry = json.loads(line)
                self._known[entry["batch"]] = entry["said"]
            except (ValueError, KeyError):  # cut off while it was written
                continue

    def write_record(self) -> Path:
        """All that is known, as the record of these files. Raises ValueError where git cannot say which these are."""
        if self._record is None:
            raise ValueError("no record without git: it says of which files this is one")
        lines = [json.dumps({"batch": b, "said": r}, ensure_ascii=False) for b, r in sorted(self._known.items())]
        self._record.parent.mkdir(exist_ok=True)
        self._record.write_bytes(lzma.compress("\n".join(lines).encode("utf-8"), preset=9))
        return self._record

    def of(self, batch: Batch) -> list[Played] | None:
        found = self._known.get(batch.name)
        if found is None:
            return None
        if batch.name in self._recorded:
            self.from_record.add(batch.name)
        return [_revived(each) for each in found]

    def keep(self, batch: Batch, said: list[Played]) -> None:
        self._known[batch.name] = [_flat(each) for each in said]
        if self._path is not None:
            self._path.parent.mkdir(exist_ok=True)
            with self._path.open("a", encoding="utf-8") as file:
                line = {"batch": batch.name, "said": self._known[batch.name]}
                file.write(json.dumps(line, ensure_ascii=False) + "\n")


def _flat(said: Played) -> dict[str, Any]:
    answers = [[*key, count] for key, count in sorted(said.answers.items())]
    return {"point": said.point, "days": said.days, "answers": answers, "findings": [asdict(f) for f in said.findings]}


def _revived(plain: dict[str, Any]) -> Played:
    answers = Counter({(topic, answer, why): count for topic, answer, why, count in plain["answers"]})
    return Played(plain["point"], [Finding(**f) for f in plain["findings"]], answers, plain["days"])


def kept_for(known: Profiles, *, fresh: bool = False) -> Kept:
    """What has been played of these profiles with the files that take part as they lie here."""
    tree = tree_hash(ROOT, *PART)
    if not tree:
        return Kept(None)
    name = f"{tree[:16]}-{len(known.shapes)}.jsonl"
    return Kept(KEPT.parent / name, record=RECORD / f"{name}.xz", fresh=fresh)


def said_of(results: Sequence[Result], batches: Sequence[Batch], kept: Kept, known: Profiles) -> dict[str, Any]:
    """All figures, and how many of the batches were not played here but are in the record."""
    return {"from_record": len(kept.from_record), "of_batches": len(batches), **summary(results, known.source)}


class Progress:
    """One line that tells how far it is; on a terminal only."""

    def __init__(self, out: TextIO | None) -> None:
        self._out = out if out is not None and out.isatty() else None
        self._done = self._of = 0
        self._played = self._to_play = 0
        self._began = time.monotonic()

    def begin(self, of: int, to_play: int) -> None:
        """`of`: batches. `to_play`: point-days of those that are not known yet."""
        self._of, self._to_play = of, to_play
        self._say("")

    def step(self, batch: Batch, *, was_played: bool) -> None:
        self._done += 1
        self._played += len(batch.numbers) * batch.days if was_played else 0
        self._say(batch.name)

    def end(self) -> None:
        if self._out is not None:
            self._out.write("\r\x1b[K")
            self._out.flush()

    def _say(self, what: str) -> None:
        if self._out is None:
            return
        spent = time.monotonic() - self._began
        rest = self._to_play - self._played
        left = f", about {spent / self._played * rest:.0f} s left" if self._played and rest else ""
        self._out.write(f"\r\x1b[K[{self._done}/{self._of}] {what} {spent:.0f} s{left}")
        self._out.flush()


def main(arguments: Sequence[str] | None = None) -> int:
    assert __doc__ is not None
    parser = argparse.ArgumentParser(prog="python -m tests.truth", description=__doc__.splitlines()[0])
    names = ["clean", *(k.name for k in KINDS)]
    parser.add_argument("--years", type=int, default=405, help="clean point-years, spread over the load classes")
    parser.add_argument("--days", type=int, default=366, help="so much of its year each clean customer is played")
    parser.add_argument("--cases", type=int, default=30, help="cases of each irregularity, more where few suffice")
    parser.add_argument("--disturbed", type=int, default=None, help="clean point-years played again, disturbed; all")
    parser.add_argument("--only", action="append", choices=names, metavar="NAME", help=f"one of {', '.join(names)}")
    parser.add_argument("--jobs", type=int, default=2, help="processes")
    parser.add_argument("--fresh", action="store_true", help="play again what has been played with these files")
    parser.add_argument("--record", action="store_true", help="write what is known to tests/truth/record")
    parser.add_argument("--no-fetch", action="store_true", help="only the load classes that are here")
    parser.add_argument("--json", action="store_true", help="the figures as JSON")
    asked = parser.parse_args(arguments)
    known = profiles(fetch=not asked.no_fetch)
    disturbed = asked.years if asked.disturbed is None else min(asked.disturbed, asked.years)
    batches = plan(
        list(known.shapes),
        years=asked.years,
        cases=asked.cases,
        disturbed=disturbed,
        days=asked.days,
        only=asked.only or (),
    )
    progress = Progress(sys.stderr)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    kept = kept_for(known, fresh=asked.fresh)
    try:
        results = run(batches, jobs=asked.jobs, kept=kept, progress=progress)
    except KeyboardInterrupt:
        sys.stderr.write("\ncut off: the next run goes on from here\n")
        return 130
    progress.end()
    said = said_of(results, batches, kept, known)
    if asked.record:
        sys.stderr.write(f"written: {kept.write_record().relative_to(ROOT)}\n")
    sys.stdout.write(json.dumps(said, ensure_ascii=False, indent=1) + "\n" if asked.json else text(said) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
