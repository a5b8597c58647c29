"""A day at meters that keep load profiles: DLMS/COSEM on the TCP wrapper, in the clear and ciphered, and one without.

Of three points with the same load, two have meters whose profile names a load profile. The third has the very same
meter and a device profile from which that one line is taken out: the control. The agent runs from a copy of the tree,
so that this profile is one of those that it has come with.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from simulator.clock import Ms, ScaledClock, boot_ms, to_ms
from simulator.scenario import load_scenario
from tests.broker import HOST, free_port
from tests.e2e.processes import ROOT, Play, Process
from tests.e2e.site import GATEWAY, MONDAY
from tests.sim_dlms import AK, EK

RECORDED = ("plain", "keys")
CONTROL = "bare"
POINTS = (*RECORDED, CONTROL)
CT, K = "400/5", 80
KVA = 250
STEP_WH = 10  # of the simulated meters' energy registers, on the meter's side
LINE = 'load_profile = "1-0:99.1.0*255" # load profile with period 1\n'
LEAD_S = 10.0
"""The processes have so much real time to start before the day begins."""

VERIFIED = 'state = "verified"\nverified_at = 2026-01-05\nverified_by = "t-17"'


@dataclass(slots=True)
class RecordedDay:
    """Where and when; minutes are counted from the midnight that begins the day."""

    folder: Path
    levels: tuple[tuple[float, float], ...]  # (minute, kW) at a power factor of 0.85, from that minute on
    rate: float
    broker_port: int
    every_s: float = 300.0
    meter_port: int = field(default_factory=free_port)
    clock: ScaledClock = field(init=False)

    def __post_init__(self) -> None:
        for folder in (self.state, self.run):
            folder.mkdir(parents=True)
        for room in ("edge_agent", "drivers", "config"):
            shutil.copytree(ROOT / room, self.tree / room, ignore=shutil.ignore_patterns("__pycache__"))
        profiles = self.tree / "config/profiles"
        text = (profiles / "dlms-generic-3p.toml").read_text("utf-8")
        assert LINE in text
        bare = text.replace(LINE, "").replace('profile = "dlms-generic-3p"', 'profile = "dlms-without"')
        (profiles / "dlms-without.toml").write_text(bare, encoding="utf-8")
        self.clock = ScaledClock(self.day_ms - round(LEAD_S * self.rate) * 1000, self.rate, boot_ms())
        self.scenario.write_text(self._scenario(), encoding="utf-8")
        self.site.write_text(self._site(), encoding="utf-8")

    day_ms: Ms = field(init=False, default=to_ms(MONDAY))

    @property
    def tree(self) -> Path:
        return self.folder / "tree"

    @property
    def site(self) -> Path:
        return self.folder / "site.toml"

    @property
    def scenario(self) -> Path:
        return self.folder / "scenario.toml"

    @property
    def state(self) -> Path:
        return self.folder / "state"

    @property
    def run(self) -> Path:
        return self.folder / "run"

    @property
    def findings_db(self) -> Path:
        return self.state / "findings.db"

    @property
    def minute(self) -> float:
        return (self.clock.utc_ms() - self.day_ms) / 60_000

    def at_ms(self, minute: float) -> Ms:
        return self.day_ms + round(minute * 60_000)

    def real_s(self, minutes: float) -> float:
        return minutes * 60 / self.rate

    def shown_wh(self, point: str, at_ms: Ms) -> int:
        """What the meter's register of active import shows, on the meter's side."""
        meter = next(plan for plan in load_scenario(self.scenario).dlms if plan.id == f"m-{point}").hang(self.clock)
        return int(float(meter.holding.meter.value("active_energy_import", at_ms)) // STEP_WH) * STEP_WH

    def _key(self, name: str, key: bytes) -> Path:
        path = self.folder / name
        path.touch(0o600)
        path.write_text(key.hex(), encoding="ascii")
        return path

    def _scenario(self) -> str:
        lead_s = round(LEAD_S * self.rate)
        levels = ", ".join(f"{{ at = {max(0.0, 60 * m + lead_s)}, p_kw = {kw} }}" for m, kw in self.levels)
        lines = ["[clock]", f"start = {(MONDAY - timedelta(seconds=lead_s)).isoformat()}"]
        for sap, point in enumerate(POINTS, start=1):
            lines += [
                f'[[meter]]\nid = "m-{point}"\nprotocol = "dlms"\nport = 4059\nct = "{CT}"\nu_n_v = 400',
                f'serial = "000060000{sap}"',
                "registers = { active_energy_import = 1234.56, reactive_energy_import = 765.43 }",
                f'load = {{ kind = "steps", pf = 0.85, levels = [{levels}] }}',
                f'[meter.dlms]\nsap = {sap}\ntitle = "53494D000060000{sap}"\ninactivity_s = 0',
                "[[meter.client]]\nsap = 1",
            ]
            if point == "keys":
                lines += [
                    'auth = "gmac"\nprotect = "both"',
                    f'encryption_key = "{EK.hex()}"\nauthentication_key = "{AK.hex()}"',
                ]
        return "\n".join(lines) + "\n"

    def _site(self) -> str:
        lines = [
            f'[site]\nutility = "demo"\ngateway = "{GATEWAY}"',
            f'[paths]\nstate = "{self.state}"\nruntime = "{self.run}"',
            f'[mqtt]\nhost = "{HOST}"\nport = {self.broker_port}',
            "[delivery]\ndrain_per_s = 0\ntelemetry_spread_s = 0\nresend_after_s = 5\nheartbeat_s = 2",
            f'[clock]\nkind = "scaled"\nrate = {self.rate}\nanchor_bt_ms = {self.clock.anchor_bt_ms}',
            f"start = {(MONDAY - timedelta(seconds=round(LEAD_S * self.rate))).isoformat()}",
            f'[[link]]\nid = "lan"\nkind = "dlms-tcp"\nhost = "{HOST}"\nport = {self.meter_port}\ntimeout_s = 2',
        ]
        for sap, point in enumerate(POINTS, start=1):
            profile = "dlms-without" if point == CONTROL else "dlms-generic-3p"
            lines += [
                f'[[device]]\nid = "m-{point}"\nlink = "lan"\nprofile = "{profile}"\nevery_s = {self.every_s}',
                f"[device.dlms]\nclient = 1\nserver = {sap}",
            ]
            if point == "keys":
                lines += [
                    'client_title = "4541470000000001"\nauthentication = "hls5"',
                    'security = "authenticated-encrypted"',
                    f'encryption_key_file = "{self._key("ek", EK)}"\nauthentication_key_file = "{self._key("ak", AK)}"',
                ]
            lines += [
                f'[[point]]\nid = "{point}"\nmeter = "m-{point}"\ntime_zone = "Asia/Shanghai"',
                'u_n_v = 400\nwiring = "3p4w"',
                '[point.demand]\nperiod_min = 15\nslide_min = 15\n[point.accepted]\nat = 2026-01-05\nby = "t-17"',
                f'[[point.capacity]]\nfrom = 2020-01-01\nkva = {KVA}\nbasis = "capacity"\n{VERIFIED}',
                f'[[point.ct]]\nfrom = 2020-01-01\nratio = "{CT}"\n{VERIFIED}',
            ]
        return "\n".join(lines) + "\n"


class RecordedPlay(Play):
    """Meters, an agent from the stage's own copy of the tree, and whatever else a test adds."""

    def __init__(self, stage: RecordedDay) -> None:
        super().__init__(stage)  # type: ignore[arg-type]  # a stage by its files and its clock
        self.day = stage
        self.cast.remove(self.agent)
        self.agent: Process = self.process(
            "agent", sys.executable, "-m", "edge_agent", "run", "--site", str(stage.site), cwd=stage.tree
        )

    def verb(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "edge_agent", *words, "--site", str(self.day.site)],
            cwd=self.day.tree, capture_output=True, text=True, timeout=30, check=False,
        )  # fmt: skip
