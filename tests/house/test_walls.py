"""The walls that import-linter and ruff cannot hold: size, weight, names, and who may know whom by name alone."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from typing import Any

import pytest

from tests.house.tree import CODE, ROOT, imports, parsed, pyproject, python_files, rooms, shown

LONGEST = 600
PLUMBING = {"link", "gate", "gate_dlms", "cost", "plausible"}

TOO_HEAVY = {
    "cryptography": "7 MiB, for sites that sign or decipher: load it where a key is used",
    "pydantic": "20 MiB: settings and messages use msgspec",
    "aiohttp": "17 MiB: the page is a process of its own",
    "rich": "5 MiB, for the verbs a person types; structlog pulls it in for tracebacks unless it is kept out",
    "click": "the verbs' own; the running agent has no command line",
    "amqtt": "the demo's broker",
    "jsonschema": "messages are checked in tests and at the centre, not on the gateway",
    "plotext": "the demo's pictures",
    "simulator": "the agent does not know whether its meters are real",
    "pymodbus.server": "the agent asks, it does not answer",
    "drivers.modbus": "a driver loads when the site file names it",
    "dlt698": "12 MiB, for sites with such meters",
    "drivers.dlms": "a driver loads when the site file names it",
    "drivers.dlt645": "a driver loads when the site file names it",
    "drivers.dlt698": "a driver loads when the site file names it",
    "drivers.gate_dlms": "a gate loads with the first voice that needs it",
}


def test_no_file_outgrows_its_reader():
    lengths = {path: len(path.read_bytes().splitlines()) for path in python_files(*CODE, "tests")}
    assert lengths
    long = [f"{shown(path)}: {lines} lines" for path, lines in lengths.items() if lines > LONGEST]
    assert not long, f"over {LONGEST} lines, a file holds more than one idea; make it a folder of that name: {long}"


def test_the_package_itself_says_nothing():
    assert (ROOT / "edge_agent/__init__.py").read_bytes() == b"", (
        "edge_agent/__init__.py stays empty: what it imported, every process would pay for"
    )


def test_the_agent_is_light_to_import():
    code = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r}); import edge_agent.app, json; print(json.dumps([*sys.modules]))"
    )
    done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    loaded = set(json.loads(done.stdout.splitlines()[-1]))
    assert "edge_agent.app" in loaded
    heavy = {name: why for name, why in TOO_HEAVY.items() if name in loaded}
    assert not heavy, f"`import edge_agent.app` must not load these, the gateway has no memory for them: {heavy}"


def test_no_room_for_leftovers():
    vague = re.compile(r"^_?(utils?|helpers?|managers?|common|misc)$")
    found = [
        shown(path) for path in python_files(*CODE, "tests") if vague.match(path.stem) or vague.match(path.parent.name)
    ]
    assert not found, f"a module is named after what it knows, not after being useful: {found}"


def test_no_class_is_named_after_nothing():
    vague = re.compile(r"(Manager|Helper|Utils?)$")
    found = [
        f"{shown(path)}:{node.lineno} {node.name}"
        for path in python_files(*CODE, "tests")
        for node in ast.walk(parsed(path))
        if isinstance(node, ast.ClassDef) and vague.search(node.name)
    ]
    assert not found, f"a type is a noun of the trade: {found}"


def test_nobody_waits_with_wait_for():
    """ruff bans it too; the rooms where clocks are allowed are excused from that rule as a whole, and so asked here."""
    found = [
        f"{shown(path)}:{node.lineno}"
        for path in python_files(*CODE, "tests")
        for node in ast.walk(parsed(path))
        if (isinstance(node, ast.Attribute) and node.attr == "wait_for" and getattr(node.value, "id", "") == "asyncio")
        or (
            isinstance(node, ast.ImportFrom) and node.module == "asyncio" and "wait_for" in {a.name for a in node.names}
        )
    ]
    assert not found, f"asyncio.wait_for can swallow a cancellation, and a reply with it; use asyncio.timeout: {found}"


def test_a_driver_knows_no_other_driver():
    drivers = rooms("drivers") - PLUMBING
    assert drivers, "no driver found: has the folder moved?"
    found = []
    for path in python_files("drivers"):
        own = path.relative_to(ROOT / "drivers").parts[0].removesuffix(".py")
        others = drivers - {own}
        found += [
            f"{shown(path)}:{line} imports {name}"
            for line, name in imports(path)
            if name.startswith("drivers.") and name.split(".")[1] in others
        ]
    assert not found, f"a driver that leans on another breaks with it; share through drivers.link: {found}"


def test_audit_sees_load_through_its_views():
    shared = ("edge_agent.load.views", "edge_agent.load.answers", "edge_agent.load.methods")
    found = [
        f"{shown(path)}:{line} imports {name}"
        for path in python_files("edge_agent/audit")
        for line, name in imports(path)
        if name.startswith("edge_agent.load") and not name.startswith(shared)
    ]
    assert not found, f"a topic that reaches past the view can read what is not vouched for: {found}"


@pytest.mark.parametrize(
    ("contract", "allowed"),
    [
        ("drivers know model, ports, the link and the gate", {"model", "ports"}),
        ("the simulator shares no decoder", {"contract"}),
    ],
)
def test_a_new_room_stands_in_the_contracts_that_list_rooms(contract: str, allowed: set[str]):
    config: Any = pyproject()
    contracts = [c for c in config["tool"]["importlinter"]["contracts"] if c["name"].startswith(contract)]
    assert len(contracts) == 1, f"pyproject.toml has one contract that begins with {contract!r}"
    missing = {f"edge_agent.{room}" for room in rooms("edge_agent") - allowed} - set(contracts[0]["forbidden_modules"])
    assert not missing, f"add to forbidden_modules of {contracts[0]['name']!r} in pyproject.toml: {sorted(missing)}"
