"""Fixtures that many rooms' tests share, and a closing word that says what was not run and why."""

from __future__ import annotations

import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import hypothesis
import pytest

from tests.broker import Broker, TlsFiles
from tests.broker import free_port as _free_port

hypothesis.settings.register_profile("house", deadline=None)  # no test is timed: the machine may be busy
hypothesis.settings.load_profile("house")


@pytest.fixture
def free_port() -> int:
    """A loopback port that nobody listens on."""
    return _free_port()


@pytest.fixture
def mosquitto(tmp_path: Path) -> Iterator[Callable[..., Broker]]:
    """A factory: `broker = mosquitto()` is running; also `persistent=`, `tls=`, `port=`, `extra=` configuration lines.

    Every broker that it made is gone when the test ends.
    """
    made: list[Broker] = []

    def start(
        *, port: int | None = None, tls: TlsFiles | None = None, persistent: bool = False, extra: str = ""
    ) -> Broker:
        folder = tmp_path / f"mosquitto-{len(made)}"
        broker = Broker(folder, port=port, tls=tls, persistent=persistent, extra=extra)
        made.append(broker)
        broker.start()
        return broker

    yield start
    for broker in made:
        broker.kill()


@pytest.fixture
def short_path() -> Iterator[Path]:
    """A folder with a short name: a local socket's path has room for 107 bytes."""
    folder = Path(tempfile.mkdtemp(prefix="ea-"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """How many ran, how many did not, and the reason of each that did not."""
    stats = terminalreporter.stats
    ran = sum(len(stats.get(kind, [])) for kind in ("passed", "failed", "xfailed", "xpassed"))
    skipped = Counter(_reason(report) for report in stats.get("skipped", []))
    terminalreporter.section("what ran")
    terminalreporter.line(f"{ran} tests ran, {skipped.total()} were skipped")
    for reason, count in skipped.most_common():
        terminalreporter.line(f"  skipped {count}: {reason}")


def _reason(report: pytest.TestReport) -> str:
    if isinstance(report.longrepr, tuple):
        return report.longrepr[2].removeprefix("Skipped: ")
    return str(report.longrepr)
