"""SIGKILL in the middle of ciphered traffic: no invocation counter is ever sent twice under one key."""

from __future__ import annotations

import asyncio
import os
import random
import sys
from pathlib import Path

import pytest

from tests.dlms_desk import meter
from tests.dlms_served import WrapperServer
from tests.figures import report
from tests.house.tree import ROOT

KILLS = int(os.environ.get("EDGE_PROVE_DLMS_KILLS", "8"))
LONGEST_S = 0.15


@pytest.mark.timeout(30 + 3 * KILLS)
def test_no_number_is_sent_twice_whenever_the_agent_is_killed(tmp_path: Path):
    chance = random.Random(7)
    served = meter(ciphers=True, stoc=b"P6wRJ21F")
    reads = [0]

    async def story() -> None:
        async with WrapperServer({1: served}) as server:
            for _ in range(KILLS):
                child = await asyncio.create_subprocess_exec(
                    sys.executable, "-m", "tests.dlms_child", str(server.port), str(tmp_path),
                    cwd=ROOT, stdout=asyncio.subprocess.PIPE,
                )  # fmt: skip
                assert child.stdout is not None
                try:
                    async with asyncio.timeout(30):
                        while (said := await child.stdout.readline()) != b"read\n":
                            assert said, "it ended by itself"
                    await asyncio.sleep(chance.uniform(0, LONGEST_S))
                finally:
                    child.kill()
                    rest = await child.stdout.read()
                    await child.wait()
                reads[0] += 1 + rest.count(b"read\n")
                assert b"Error" not in rest

    asyncio.run(story())
    numbers = [number for _, number in served.counters]
    assert len(numbers) > 20 * KILLS
    assert len(set(numbers)) == len(numbers), "a number was sent twice"
    assert served.refused == 0
    assert served.associations == KILLS
    assert max(numbers) - min(numbers) + 1 - len(numbers) <= 3 * KILLS  # what a crash costs: the rest of a block
    report("dlms-kill", kills=KILLS, reads=reads[0], numbers=len(numbers), twice=0)
