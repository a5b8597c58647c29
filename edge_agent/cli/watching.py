"""`read --watch`: a device read again and again, until somebody has seen enough.

The running agent is asked for each round, since it owns the line. Without one the port is taken and kept until the end.
A round that fails shows its cause, and the next follows. A watch takes at most half of the line's time: it waits for at
least as long as its last round took.
"""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, NamedTuple, Protocol

import click
import msgspec
from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from edge_agent.cli.port import cure
from edge_agent.cli.reading import OwnPort, device_of, table_of
from edge_agent.clock import SystemClock
from edge_agent.contract.shapes import rfc3339
from edge_agent.control import ControlError, NoAgent, ask
from edge_agent.ports import DriverError
from edge_agent.settings import Site

SHORTEST_S = 0.2
"""Nobody reads faster."""


class Round(NamedTuple):
    """One reading of the whole device. `failed` says why there is none; the rows are then those of nothing."""

    number: int
    at: str
    took_s: float
    rows: Sequence[Mapping[str, Any]]
    failed: str


class Source(Protocol):
    """Who reads. `read` gives rows, or raises `Failed`; `wait` lets time pass."""

    name: str

    def read(self, show: Shower) -> list[dict[str, Any]]: ...

    def wait(self, seconds: float) -> None: ...


class Failed(Exception):
    """A round brought nothing: why."""


def watch(site: Site, device: str, every_s: float, *, as_json: bool) -> None:
    """Until Ctrl-C. Raises `ClickException` where there is nothing to watch, or the line is another master's."""
    device_of(site, device)
    try:
        with ExitStack() as open_things:
            enough = open_things.enter_context(_CtrlC())
            source = open_things.enter_context(_source(site, device))
            show = open_things.enter_context(_shower(device, source.name, every_s, as_json=as_json))
            number = 0
            while not enough.said:
                number += 1
                round_ = _round(source, number, show)
                show.round(round_)
                source.wait(max(every_s - round_.took_s, round_.took_s, SHORTEST_S))
    except KeyboardInterrupt:
        return


class _CtrlC:
    """Remembers it: the interpreter drops an interrupt that falls into a finaliser, and the watch would go on."""

    said = False

    def __enter__(self) -> _CtrlC:
        self._before = signal.signal(signal.SIGINT, self._hear)
        return self

    def __exit__(self, *error: object) -> None:
        signal.signal(signal.SIGINT, self._before)

    def _hear(self, number: int, frame: FrameType | None) -> None:
        self.said = True
        raise KeyboardInterrupt


def _round(source: Source, number: int, show: Shower) -> Round:
    clock = SystemClock()
    utc_ms = clock.state().utc_ms(clock.now_ms())
    at = rfc3339(utc_ms) if utc_ms is not None else f"boot+{clock.now_ms() / 1000:.1f}s"
    began_s = time.monotonic()
    rows: list[dict[str, Any]] = []
    failed = ""
    try:
        rows = source.read(show)
    except Failed as why:
        failed = str(why)
    causes = {(row.get("gap"), row.get("detail")) for row in rows}
    if len(causes) == 1 and (gap := next(iter(causes)))[0] is not None:
        rows, failed = [], f"{gap[0]}: {gap[1]}"  # the device brought nothing, for one reason
    return Round(number, at, round(time.monotonic() - began_s, 3), rows, failed)


# --- who reads


@contextmanager
def _source(site: Site, device: str) -> Iterator[Source]:
    runtime = Path(site.paths.runtime)
    try:
        ask(runtime, "status")
    except NoAgent:
        pass
    except ControlError as reason:  # an agent that owns the port: it is not ours to take
        raise click.ClickException(str(reason)) from None
    else:
        yield _AgentReads(runtime, device)
        return
    port = OwnPort(site, device)
    with port.held(), asyncio.Runner() as runner:
        try:
            yield _PortReads(port, runner)
        finally:
            runner.run(port.close())


class _AgentReads:
    """The running agent has the line, and reads for us."""

    name = "the agent reads"

    def __init__(self, runtime: Path, device: str) -> None:
        self._runtime = runtime
        self._device = device

    def read(self, show: Shower) -> list[dict[str, Any]]:
        try:
            return list(ask(self._runtime, "read", device=self._device))
        except ControlError as reason:  # it may be started anew just now
            raise Failed(str(reason)) from None

    def wait(self, seconds: float) -> None:
        time.sleep(seconds)


class _PortReads:
    """We have the line. Between the rounds its loop runs on, so that another master who comes is heard."""

    def __init__(self, port: OwnPort, runner: asyncio.Runner) -> None:
        self.name = f"link {port.link.id} is ours"
        self._port = port
        self._runner = runner

    def read(self, show: Shower) -> list[dict[str, Any]]:
        try:
            return self._runner.run(self._port.read(show.listening))
        except DriverError as error:
            raise Failed(cure(self._port.link, error)) from None

    def wait(self, seconds: float) -> None:
        self._runner.run(asyncio.sleep(seconds))


# --- how it is shown


class Shower(Protocol):
    def listening(self, left_s: float) -> None: ...

    def round(self, round_: Round) -> None: ...

    def __enter__(self) -> Shower: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None: ...  # fmt: skip


def _shower(device: str, source: str, every_s: float, *, as_json: bool) -> Shower:
    if as_json:
        return _JsonLines(device)
    console = Console()
    return _LiveTable(device, source, every_s, console) if console.is_terminal else _PlainLines(device)


class _Lines:
    def __init__(self, device: str) -> None:
        self._device = device

    def listening(self, left_s: float) -> None:
        pass

    def __enter__(self) -> Any:
        return self

    def __exit__(self, *_: object) -> None:
        pass


class _JsonLines(_Lines):
    """One document a line and round."""

    def round(self, round_: Round) -> None:
        head = {"round": round_.number, "at": round_.at, "device": self._device, "took_s": round_.took_s}
        rest = {"failed": round_.failed} if round_.failed else {"rows": round_.rows}
        click.echo(msgspec.json.encode({**head, **rest}).decode())


class _PlainLines(_Lines):
    """One value a line, for a pipe."""

    def round(self, round_: Round) -> None:
        head = f"{round_.at} {self._device}"
        if round_.failed:
            click.echo(f"{head} failed: {round_.failed}")
        for row in round_.rows:
            click.echo(f"{head} {row['quantity']} {_said(row)}")


def _said(row: Mapping[str, Any]) -> str:
    if "gap" in row:
        return f"- {row['gap']}: {row['detail']}"
    if "text" in row:
        return str(row["text"])
    primary = f" primary {row['primary']:.10g}" if "k" in row else ""
    return f"{row['value']:.10g} {row['unit']}{primary}"


class _LiveTable(_Lines):
    """The last values in place, and below them how the last round went."""

    def __init__(self, device: str, source: str, every_s: float, console: Console) -> None:
        super().__init__(device)
        self._source = source
        self._every_s = every_s
        self._rows: Sequence[Mapping[str, Any]] = ()
        self._live = Live(console=console, auto_refresh=False)

    def listening(self, left_s: float) -> None:
        self._show(Text(f"listening to the line, {left_s:.0f} s left", "yellow"))

    def round(self, round_: Round) -> None:
        self._rows = round_.rows or self._rows
        if round_.failed:
            kept = "; above are the last values" if self._rows else ""
            self._show(Text(f"round {round_.number} at {round_.at} failed: {round_.failed}{kept}", "red"))
        else:
            self._show(Text(f"round {round_.number} at {round_.at}, took {round_.took_s:.2f} s"))

    def _show(self, last: Text) -> None:
        foot = Text(f"{self._source}; every {self._every_s:g} s; Ctrl-C ends", "dim")
        body = [table_of(self._device, self._rows, frames=False)] if self._rows else []
        self._live.update(Group(*body, last, foot), refresh=True)

    def __enter__(self) -> _LiveTable:
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()
