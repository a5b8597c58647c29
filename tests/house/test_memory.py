"""The agent's memory budget, with as many points as it is made for, and TLS: a real process, broker and meters."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.bench.memory import GOAL_MIB, POINTS, SERVICE, agent_with_tls, held
from tests.bench.processes import python
from tests.figures import report
from tests.house.tree import ROOT

WARM_UP_S = 15.0


@pytest.mark.timeout(180)
def test_the_agent_keeps_to_its_memory_budget(short_path: Path, capsys: pytest.CaptureFixture[str]):
    with agent_with_tls(short_path) as agent:
        rss_mib = held(agent, WARM_UP_S).rss_mib
    report("memory", points=POINTS, rss_mib=round(rss_mib, 1), goal_mib=GOAL_MIB)
    with capsys.disabled():
        print(f"\nRSS with {POINTS} points and TLS: {rss_mib:.1f} MiB (goal {GOAL_MIB:g})")
    assert rss_mib <= GOAL_MIB, (
        f"{rss_mib:.1f} MiB with {POINTS} points and TLS, {GOAL_MIB:g} are allowed; what its imports take:\n{imports()}"
    )


def imports() -> str:
    command = python("-m", "tests.bench.imports", "edge_agent.app", "drivers.modbus")
    return subprocess.run(command, cwd=ROOT, env=SERVICE, capture_output=True, text=True, check=True).stdout
