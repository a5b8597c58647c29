"""Two findings as an inspector meets them: the worked example, and one current transformer the wrong way round.

One site, real sockets, a scaled clock. The factory has a 250 kVA contract behind a CT 400/5 and draws 220 kW at a power
factor of 0.85 for an hour: 258.82 kVA, 103.53 %. At the mill the transformer of phase L2 sits the wrong way round from
22:30 on.
"""

from __future__ import annotations

import json
import zipfile
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from tests.e2e.processes import Play, wait_until
from tests.e2e.site import LOCAL, PointPlan, Stage, steps

EVENING = datetime(2026, 3, 2, 21, 30, tzinfo=LOCAL)
FACTORY, MILL = "factory", "mill"
TOPIC_OF = {FACTORY: "cap-over-contract", MILL: "met-power-consistency"}
P_KW, PF, KVA, K = 220.0, 0.85, 250.0, 80
TURNED_MIN = 60.0
METER = "acrel-dtsd1352"
CODES = """consumer_no = "330100{n}"
supply_org = "33401"
metering_point = "0000{n}"
asset_no = "33401040000{n}"
[[point.meter_serial]]
from = 2024-01-01
serial = "000020000{n}"
state = "verified"
verified_at = 2026-01-05
verified_by = "t-17"
"""


def levels(*at: tuple[float, float]) -> str:
    return steps(*at).replace("pf = 0.9", f"pf = {PF}")


POINTS = (
    PointPlan(FACTORY, levels((0, 160), (20, 161), (40, P_KW), (100, 160), (120, 161)), kva=KVA, profile=METER),
    PointPlan(
        MILL, levels((0, 124), (30, 125), (55, 124)), kva=KVA, profile=METER,
        events=[f'kind = "turned"\nat = {60 * TURNED_MIN}\nphases = [2]'],
    ),
)  # fmt: skip


@dataclass(slots=True)
class InspectedSite(Stage):
    """With the codes and the serials that an archive has."""

    def _point(self, point: PointPlan) -> str:
        text = super(InspectedSite, self)._point(point)
        n = 1 + list(self.points).index(point)
        head, mark, rest = text.partition("[point.demand]")
        codes, serial_mark, serial = CODES.format(n=n).partition("[[point.meter_serial]]")
        return f"{head}{codes}{mark}{rest}\n{serial_mark}{serial}"


@dataclass(slots=True)
class Inspected:
    """What there is in the end. `said`: what the verbs printed, by point and verb."""

    folder: Path
    findings: dict[str, str] = field(default_factory=dict)
    said: dict[str, dict[str, str]] = field(default_factory=dict)
    listed: str = ""

    def bundle(self, point: str) -> Path:
        return self.folder / f"{point}.zip"

    def unpacked(self, point: str) -> dict[str, bytes]:
        with zipfile.ZipFile(self.bundle(point)) as held:
            assert held.testzip() is None
            return {name: held.read(name) for name in held.namelist()}


def inspect(folder: Path, *, rate: float = 400.0) -> Inspected:
    """Play it, and let the agent say and write down what it found."""
    play = Play(InspectedSite(folder / "s", POINTS, rate=rate, broker_port=1, start=EVENING))
    out = Inspected(folder)
    try:
        play.start_meters()
        play.start_agent()

        def both() -> dict[str, str]:
            rows: list[dict[str, Any]] = json.loads(play.verb("findings", "--json").stdout)
            found = {r["point"]: r["finding"] for r in rows if r["topic"] == TOPIC_OF.get(r["point"])}
            over = {r["point"] for r in rows if not r["active"]}
            return found if found.keys() == TOPIC_OF.keys() and FACTORY in over else {}

        out.findings = wait_until(both, 90, "both findings, and the first one over")
        out.listed = play.verb("findings").stdout
        for point, finding in out.findings.items():
            done = {
                "en": play.verb("explain", finding),
                "zh": play.verb("explain", finding, "--lang", "zh"),
                "evidence": play.verb("evidence", finding, "-o", str(out.bundle(point))),
            }
            assert [d.stderr for d in done.values() if d.returncode] == []
            out.said[point] = {name: d.stdout for name, d in done.items()}
    finally:
        play.end()
    return out
