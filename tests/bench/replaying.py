"""A year of load data through the audit: intervals a second, beside a bare pass of the ledger on the same rows.

The rows are the SimBench class G3-H of tests/data, a three-shift factory, at a peak of 220 kW: 35,136 quarters of an
hour against a contract of 250 kVA.
"""

from __future__ import annotations

import csv
import gzip
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from statistics import median
from zoneinfo import ZoneInfo

from edge_agent.archive import Archive
from edge_agent.assembly import load_point, releases_of
from edge_agent.load.ledger import LoadLedger
from edge_agent.replay import Rows, read_rows, replay
from edge_agent.settings import config_files, device_specs, load_site
from tests.bench import ROOT
from tests.bench.figures import Figure, Table

ZONE = ZoneInfo("Europe/Berlin")
PEAK_KW = 220
TAN = 0.6197443384  # of a power factor of 0.85


def report(table: Table, folder: Path, *, quick: bool) -> None:
    rows = _rows(folder)
    if quick:
        rows = replace(rows, times_ms=rows.times_ms[:4000], values=rows.values[:4000])
    whole, bare = [], []
    passes = _Passes(rows)
    for _ in range(3):
        whole.append(len(rows) / _timed(passes.whole))
        bare.append(len(rows) / _timed(passes.bare))
    what = "replayed intervals, beside a bare pass of the ledger"
    table.add(Figure(what, "/s", median(whole), median(bare), at_least=0.1))
    table.note(f"replaying: {len(rows)} rows, median of 3 passes; a year in {35_136 / median(whole):.1f} s")


class _Passes:
    """The same rows through all of it, and through the ledger alone."""

    def __init__(self, rows: Rows) -> None:
        site = load_site(ROOT / "config/examples/factory.toml")
        self.rows = rows
        self.archive = Archive.of(site)
        self.device = device_specs(site)[0]
        self.point = site.point[0].id
        self.gateway = site.site.gateway
        self.releases = releases_of(config_files(), site.site.release_set)

    def whole(self) -> None:
        replay(self.rows, self.archive, self.point, self.device, self.releases, gateway=self.gateway)

    def bare(self) -> None:
        known, step_ms = self.archive.points[self.point], self.rows.step_ms
        load = replace(
            load_point(self.archive, known, self.device), slide_ms=step_ms, poll_ms=step_ms, has_serial=False,
            quantities=self.rows.quantities,
        )  # fmt: skip
        ledger = LoadLedger([load])
        for at_ms, powers in zip(self.rows.times_ms, self.rows.values, strict=True):
            ledger.feed_mean(self.point, at_ms, step_ms, powers)
            ledger.close()


def _timed(work: Callable[[], None]) -> float:
    began_s = time.perf_counter()
    work()
    return time.perf_counter() - began_s


def _rows(folder: Path) -> Rows:
    """The factory's year at a power factor of 0.85, as a file and read from it."""
    path = folder / "g3h.csv"
    with gzip.open(ROOT / "tests/data/simbench-2016-g3h.csv.gz", "rt") as file, path.open("w") as out:
        out.write("time,p_kw,q_kvar\n")
        for row in csv.DictReader(file):
            at = datetime.strptime(row["time"], "%d.%m.%Y %H:%M")
            p_kw = PEAK_KW * float(row["g3h_p"])
            out.write(f"{at.isoformat()},{p_kw},{p_kw * TAN}\n")
    return read_rows(path, tz=ZONE, stamp="start")
