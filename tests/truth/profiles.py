"""Load profiles of a year: the 27 load classes of the SimBench data set, or the one class that lies in tests/data.

A wheel of `simbench` is fetched by pip, its table read and the 27 columns kept in .truth/; nothing of the package is
installed or imported. The data are the University of Kassel's, Fraunhofer IEE's, RWTH Aachen's and TU Dortmund's, under
the Open Database License 1.0: what is kept stays on this machine.
"""

from __future__ import annotations

import csv
import gzip
import io
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

ROOT = Path(__file__).parents[2]
KEPT = ROOT / ".truth" / "simbench-1.6.3.npz"
TABLE = "simbench/networks/1-complete_data-mixed-all-0-sw/LoadProfile.csv"
BUILT_IN = ROOT / "tests" / "data" / "simbench-2016-g3h.csv.gz"
CLASSES = (
    *("BL-H", "G0-A", "G0-M", "G1-A", "G1-B", "G1-C", "G2-A", "G3-A", "G3-H", "G3-M", "G4-A", "G4-B", "G4-H", "G4-M"),
    *("G5-A", "G6-A", "H0-A", "H0-B", "H0-C", "H0-G", "H0-H", "H0-L", "L0-A", "L1-A", "L2-A", "L2-M", "WB-H"),
)
ROWS = 35_136
"""Quarter hours of 2016, in the order of time: local days of 92 and 100 rows where the clocks change."""

YEAR_START_MS = 1_451_602_800_000
"""2016-01-01 00:00 in Europe/Berlin."""
ZONE = "Europe/Berlin"


@dataclass(frozen=True)
class Profiles:
    """Active power by load class, as a share of its yearly peak, and where it comes from."""

    shapes: dict[str, Floats]
    source: str


def profiles(*, fetch: bool) -> Profiles:
    """The 27 classes where they are kept or can be fetched; else the one in tests/data, and `source` says so."""
    why = "not asked for"
    if not KEPT.exists() and fetch:
        why = _fetch()
    if KEPT.exists():
        with np.load(KEPT) as kept:
            return Profiles({name: kept[name].astype(np.float64) for name in CLASSES}, "SimBench 1.6.3, 27 classes")
    with gzip.open(BUILT_IN, "rt", encoding="ascii") as file:
        shape = np.array([float(line.split(",")[1]) for line in list(file)[1:]])
    return Profiles({"G3-H": shape}, f"tests/data, 1 class; the other 26 were not fetched: {why}")


def _fetch() -> str:
    """Fetch and keep the table; why that was not possible, or nothing."""
    wanted = Path(__file__).with_name("requirements.txt")
    with tempfile.TemporaryDirectory() as folder:
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-input"]
        command = [*pip, "--no-deps", "--require-hashes", "--dest", folder, "--requirement", str(wanted)]
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)
        except subprocess.TimeoutExpired:
            return "pip took more than 10 minutes"
        wheels = sorted(Path(folder).glob("*.whl"))
        if done.returncode or not wheels:
            return (done.stderr.strip().splitlines() or ["pip brought nothing"])[-1]
        with zipfile.ZipFile(wheels[0]) as wheel, wheel.open(TABLE) as raw:
            columns = _columns(io.TextIOWrapper(raw, encoding="ascii", newline=""))
    KEPT.parent.mkdir(exist_ok=True)
    new = KEPT.with_suffix(".new.npz")
    np.savez_compressed(new, allow_pickle=False, **columns)
    new.replace(KEPT)
    return ""


def _columns(table: io.TextIOWrapper) -> dict[str, npt.NDArray[np.float32]]:
    lines = csv.reader(table, delimiter=";")
    head = next(lines)
    places = [head.index(f"{name}_pload") for name in CLASSES]
    rows = np.array([[float(line[at]) for at in places] for line in lines], dtype=np.float32)
    if rows.shape != (ROWS, len(CLASSES)) or not np.isfinite(rows).all():
        raise ValueError(f"the table of load profiles has another shape: {rows.shape}")
    return {name: rows[:, i] for i, name in enumerate(CLASSES)}
