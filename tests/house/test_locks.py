"""The two lock files: every package with its hash, the same versions in both, all that pyproject.toml asks for."""

from __future__ import annotations

import re
from typing import Any

import pytest

from tests.house.tree import ROOT, pyproject

NAMES = ["requirements.lock", "requirements-test.lock", "tests/peers/requirements.txt"]


def pins(name: str) -> dict[str, tuple[str, int]]:
    """Package -> version, number of hashes."""
    text = (ROOT / name).read_text(encoding="utf-8")
    blocks = re.split(r"(?m)^(?=[a-z0-9])", text)
    found = {}
    for block in blocks:
        if pin := re.match(r"([a-z0-9._-]+)==([^\s;\\]+)", block):
            assert pin[1] not in found, f"{name} pins {pin[1]} twice: one version for every Python and processor"
            found[pin[1]] = (pin[2], block.count("--hash=sha256:"))
    return found


def canonical(requirement: str) -> str:
    name = re.match(r"[A-Za-z0-9._-]+", requirement)
    assert name is not None
    return re.sub(r"[-_.]+", "-", name[0]).lower()


@pytest.mark.parametrize("name", NAMES)
def test_every_pin_has_a_hash(name: str):
    found = pins(name)
    assert found
    bare = [package for package, (_, hashes) in found.items() if hashes == 0]
    assert not bare, f"without a hash anything may be installed under that name: {bare}"


def test_the_lock_files_agree():
    small, large = pins("requirements.lock"), pins("requirements-test.lock")
    differ = {name: (pin, large.get(name)) for name, pin in small.items() if large.get(name) != pin}
    assert not differ, f"what is tested is what is installed; run `make lock`: {differ}"
    assert len(large) > len(small)


def test_what_the_project_asks_for_is_locked():
    config: Any = pyproject()
    project = config["project"]
    build = [*config["build-system"]["requires"], *config["dependency-groups"]["build"]]
    run = {canonical(r) for r in [*project["dependencies"], *project["optional-dependencies"]["sim"], *build]}
    test = run | {canonical(r) for r in project["optional-dependencies"]["test"]}
    assert not run - pins("requirements.lock").keys(), "run `make lock`"
    assert not test - pins("requirements-test.lock").keys(), "run `make lock`"
