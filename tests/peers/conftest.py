"""What the tests against other makers' programs share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from drivers.dlms import counter_file
from tests.peers.programs import FOLDER, Peer, built


@pytest.fixture(scope="session")
def libmodbus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The server of `modbus_server.c`, compiled against the libmodbus of this machine."""
    return built(FOLDER / "modbus_server.c", tmp_path_factory.mktemp("peers") / "modbus_server", "modbus")


@pytest.fixture
def serving() -> Iterator[Callable[..., Peer]]:
    """A factory: `peer = serving(program, *words)` serves until the test ends."""
    with ExitStack() as running:
        yield lambda *words: running.enter_context(Peer([str(word) for word in words]))


@pytest.fixture
def own_counters() -> Iterator[None]:
    """Invocation counters as a process of its own has them: what the test before has open is let go."""
    counter_file.let_go()
    yield
    counter_file.let_go()
