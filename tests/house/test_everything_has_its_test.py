"""Adding a driver, a profile or an audit topic touches one new file and its test; here is who misses which."""

from __future__ import annotations

from pathlib import Path

from tests.house.tree import ROOT, rooms, shown

TOPICS = ROOT / "edge_agent/audit/topics"
PROFILES = ROOT / "config/profiles"
PLUMBING = {"link", "gate", "gate_dlms", "cost", "plausible"}


def missing(wanted: dict[str, Path]) -> str:
    return "".join(f"\n  {owner} needs {shown(path)}" for owner, path in wanted.items() if not path.exists())


def test_every_topic_has_its_release_and_its_scenarios():
    topics = sorted(path for path in TOPICS.rglob("*.py") if not path.name.startswith("_"))
    assert topics, f"no topic in {shown(TOPICS)}"
    releases = {shown(topic): ROOT / f"config/releases/{topic.stem.replace('_', '-')}.toml" for topic in topics}
    scenarios = {shown(topic): ROOT / f"tests/scenarios/{topic.stem}.toml" for topic in topics}
    lack = missing(releases) + missing(scenarios)
    assert not lack, f"a question without its published parameters or its cases is not finished:{lack}"


def test_every_release_has_its_topic():
    releases = sorted((ROOT / "config/releases").glob("*.toml"))
    assert releases, "no release in config/releases"
    named = {shown(path): path.stem.partition(".")[0].replace("-", "_") for path in releases}
    lack = missing({release: TOPICS / f"{topic}.py" for release, topic in named.items()})
    assert not lack, f"parameters for a question that nobody asks:{lack}"


def test_every_profile_has_its_vector():
    profiles = sorted(PROFILES.glob("*.toml"))
    assert profiles, f"no profile in {shown(PROFILES)}"
    lack = missing({shown(path): ROOT / "tests/vectors/profiles" / path.name for path in profiles})
    assert not lack, f"a register map without bytes that prove it is a guess:{lack}"


def test_every_tariff_has_its_vector():
    tariffs = sorted((ROOT / "config/tariffs").glob("*.toml"))
    assert tariffs, "no tariff in config/tariffs"
    lack = missing({shown(path): ROOT / "tests/vectors/tariffs" / path.name for path in tariffs})
    assert not lack, f"a rule without a sum worked by hand is a guess:{lack}"


def test_every_driver_has_its_vectors():
    drivers = sorted(rooms("drivers") - PLUMBING)
    assert drivers, "no driver in drivers/"
    bare = [
        f"tests/vectors/{name}/*.toml" for name in drivers if not any((ROOT / "tests/vectors" / name).glob("*.toml"))
    ]
    assert not bare, f"a decoder is tested with bytes from the standard or the wire; missing: {bare}"
