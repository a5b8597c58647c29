"""What `make bench` measures is what a site has: every value of its meters is one that is taken."""

from __future__ import annotations

from drivers.dlms.planning import requests
from drivers.modbus.planning import block_of
from edge_agent.model import DeviceSpec, Reading
from edge_agent.settings import load_profile
from tests.bench import PROFILES, REGISTERS
from tests.bench.answered import PROFILE, WORDS


def test_every_value_of_the_measured_meters_is_a_reading():
    found = block_of("m1", PROFILE.registers).outcomes(WORDS, 0, None)
    assert [o for o in found if not isinstance(o, Reading)] == []
    assert len(found) == REGISTERS // 2


def test_agents_that_are_compared_read_the_same_values_with_one_question_each():
    dlms, modbus = (load_profile(PROFILES / f"bench-{name}-12.toml") for name in ("dlms", "modbus"))
    assert [r.quantity for r in dlms.registers] == [r.quantity for r in modbus.registers]
    assert len(dlms.registers) == 12
    assert len(requests(DeviceSpec("m1", "l", 0, dlms))) == 1
