"""What `make bench` measures is what a site has: every value of its meters is one that is taken."""

from __future__ import annotations

from drivers.modbus.planning import block_of
from edge_agent.model import Reading
from tests.bench import REGISTERS
from tests.bench.answered import PROFILE, WORDS


def test_every_value_of_the_measured_meters_is_a_reading():
    found = block_of("m1", PROFILE.registers).outcomes(WORDS, 0, None)
    assert [o for o in found if not isinstance(o, Reading)] == []
    assert len(found) == REGISTERS // 2
