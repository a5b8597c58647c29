"""Fixtures of the plays: everything that a test has started is gone when it ends, and a failure shows the logs."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.centre import Witness
from tests.e2e.processes import Play
from tests.e2e.site import Stage

TAIL = 6_000
_plays = pytest.StashKey[list[Play]]()


@pytest.fixture
def play(request: pytest.FixtureRequest, short_path: Path) -> Iterator[Callable[..., Play]]:
    """A factory: `play(points, rate=..., broker_port=...)` is a stage with its files written; nothing runs yet."""
    made: list[Play] = request.node.stash.setdefault(_plays, [])

    def make(*args: Any, **kwargs: Any) -> Play:
        made.append(Play(Stage(short_path / f"s{len(made)}", *args, **kwargs)))
        return made[-1]

    yield make
    for one in made:
        one.end()


@pytest.fixture
def witness() -> Iterator[Callable[[int], Witness]]:
    made: list[Witness] = []

    def make(port: int) -> Witness:
        made.append(Witness(port, f"witness-{len(made)}"))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, Any, Any]:
    report = yield
    if report.failed:
        for one in item.stash.get(_plays, []):
            report.sections += [(f"log of {p.name}", p.log[-TAIL:]) for p in one.cast if p.log]
    return report
