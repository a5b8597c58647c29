"""The agent's own line to a simulated DLMS meter, over a real socket or a real pty, and what is true there.

Line and simulator run in threads of their own; the simulator's time stands still unless a test moves it, so that what
is true is exact.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from edge_agent.fieldbus import FieldLine, open_line
from edge_agent.model import (
    ClockQuality,
    ClockState,
    DeviceSpec,
    DlmsSpec,
    Gap,
    Identity,
    LinkSpec,
    Ms,
    Outcome,
    Profile,
    Quantity,
    Reading,
    Register,
)
from edge_agent.ports import DriverError
from edge_agent.settings import config_files
from edge_agent.settings.profile import load_profile
from simulator.clock import HandClock
from simulator.device import SimMeter
from simulator.fleet import Fleet
from simulator.line.pty import PtyLine
from simulator.loop import LoopThread
from simulator.scenario import load_scenario
from tests.dlms_desk import forget_counters
from tests.sim_dlms import T0

GENERIC = load_profile(config_files().shipped / "profiles/dlms-generic-3p.toml")
AGENT_TITLE = "4544474130303031"
AK = "D0D1D2D3D4D5D6D7D8D9DADBDCDDDEDF"
FLAGS = "7E7E7EA0077E7E7E"
"""What stands in 0-0:96.1.1 of a meter that is to spoil HDLC: flags, and what looks like a frame."""

WITH_FLAGS = replace(
    GENERIC, registers=(*GENERIC.registers, Register(Quantity.ASSET_NUMBER, "1/0-0:96.1.1*255/2", "", ""))
)
TARIFFS = {f"active_energy_import_t{n}" for n in (1, 2, 3, 4)}
"""What the simulated meter has not, and refuses."""


class Told:
    """Boot time is this machine's; true time is what the scenario's clock says."""

    def __init__(self, hand: HandClock) -> None:
        self.hand = hand

    def now_ms(self) -> Ms:
        return time.monotonic_ns() // 1_000_000

    def state(self) -> ClockState:
        return ClockState(ClockQuality.SYNCED, self.hand.now_ms - self.now_ms(), 0)

    async def sleep_until(self, bt_ms: Ms) -> None:
        await asyncio.sleep(max(0.0, (bt_ms - self.now_ms()) / 1000))


def under_keys(folder: Path, wrap: str = "glo", *, key: str = bytes(range(16)).hex(), **more: Any) -> DlmsSpec:
    return DlmsSpec(
        client=1, authentication="hls5", security="authenticated-encrypted", wrap=wrap, client_title=AGENT_TITLE,
        encryption_key=key, authentication_key=AK, state=str(folder), **more,
    )  # fmt: skip


class Reader:
    """One meter on the agent's line."""

    def __init__(
        self, link: LinkSpec, dlms: DlmsSpec, meter: SimMeter, hand: HandClock, profile: Profile = GENERIC
    ) -> None:
        self.device = DeviceSpec("m1", link.id, 0, profile, dlms=dlms)
        self.hand, self.meter = hand, meter
        self._loop = LoopThread("agent")
        self._link = link
        self.line: FieldLine

    def __enter__(self) -> Reader:
        forget_counters()
        self._loop.__enter__()

        async def opened() -> FieldLine:
            return open_line(self._link, [self.device], Told(self.hand))

        self.line = self._loop.run(opened())
        return self

    def __exit__(self, *how: Any) -> None:
        self._loop.run(self.line.close())
        self._loop.__exit__(*how)
        forget_counters()

    def run(self, ask: Callable[[FieldLine], Any], timeout_s: float = 60.0) -> Any:
        return self._loop.run(ask(self.line), timeout_s)

    def read(self) -> list[Outcome]:
        """Every register once, or its gap; an error is a gap of all that the question asked for."""

        async def ask(line: FieldLine) -> list[Outcome]:
            found: list[Outcome] = []
            for request in line.requests:
                try:
                    found += await line.read(request)
                except DriverError as error:
                    found += [Gap("m1", q, error.cause, 0, str(error)) for q in request.quantities]
            return found

        return list(self.run(ask))

    def recorded(self, since_ms: Ms, until_ms: Ms) -> list[Any]:
        return list(self.run(lambda line: line.recorded("m1", since_ms, until_ms)))

    def logged(self, since_ms: Ms) -> list[Any]:
        return list(self.run(lambda line: line.logged("m1", since_ms, {})))

    def judge(self, outcomes: list[Outcome]) -> list[Gap]:
        """The gaps; AssertionError for a value that is not true."""
        assert [o.quantity for o in outcomes] == [q for r in self.line.requests for q in r.quantities]
        for outcome in outcomes:
            match outcome:
                case Reading():
                    self._true(outcome)
                case Identity():
                    assert outcome.text == self._text(outcome.quantity), outcome
        return [o for o in outcomes if isinstance(o, Gap)]

    def lacking(self, outcomes: list[Outcome]) -> list[Gap]:
        """The gaps of what the meter has."""
        return [g for g in self.judge(outcomes) if g.quantity not in TARIFFS]

    def _true(self, reading: Reading) -> None:
        at_ms, quantity = self.hand.now_ms, str(reading.quantity)
        if quantity == "events_power_off":
            true = 0.0
        elif quantity == "running_demand":
            begun_ms = at_ms // 900_000 * 900_000
            wh = [float(self.meter.value("active_energy_import", ms)) for ms in (begun_ms, at_ms)]
            true = (wh[1] - wh[0]) * 4
        else:
            true = float(self.meter.value(quantity, at_ms))
        assert abs(reading.value - true) <= reading.step + 1e-6, (quantity, reading.value, true, reading.step)

    def _text(self, quantity: str) -> str:
        at_ms = self.hand.now_ms
        match quantity:
            case "meter_serial":
                return str(self.meter.value("meter_serial", at_ms))
            case "meter_clock":
                return _local(at_ms)
            case "asset_number":
                return FLAGS
        peak_ms = self.meter.maximum_demand_ms(at_ms)
        assert peak_ms is not None
        return _local(peak_ms)


def _local(at_ms: Ms) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(at_ms / 1000 + 8 * 3600))


@contextmanager
def over_tcp(
    scenario: Path, meter: str, dlms: DlmsSpec, *, at_ms: Ms = T0, timeout_s: float = 1.0, profile: Profile = GENERIC
) -> Iterator[tuple[Reader, Fleet]]:
    """In the wrapper, to a simulator behind a real port."""
    hand = HandClock(at_ms)
    fleet = Fleet(load_scenario(scenario), hand, ephemeral=True)
    with LoopThread("fleet") as loop:
        loop.run(fleet.start())
        try:
            link = LinkSpec("net", "dlms-tcp", "127.0.0.1", fleet.port_of(meter), timeout_s)
            with Reader(link, dlms, fleet.meters[meter], hand, profile) as reader:
                yield reader, fleet
        finally:
            loop.run(fleet.stop())


@contextmanager
def over_pty(
    scenario: Path,
    meter: str,
    dlms: DlmsSpec,
    *,
    at_ms: Ms = T0,
    timeout_s: float = 1.0,
    baud: int = 115_200,
    profile: Profile = GENERIC,
) -> Iterator[tuple[Reader, Any]]:
    """In HDLC, to a simulated line behind a real pty."""
    hand = HandClock(at_ms)
    with PtyLine(load_scenario(scenario).lines[0], _Still(hand)) as line:
        station: Any = line.played.stations[meter]
        link = LinkSpec("bus", "serial", path=line.path, baud=baud, timeout_s=timeout_s, listen_s=0, shared_line=True)
        with Reader(link, dlms, station.meter.holding.meter, hand, profile) as reader:
            yield reader, station


class _Still:
    """The scenario's clock under a hand, for a line."""

    def __init__(self, hand: HandClock) -> None:
        self._hand = hand

    def utc_ms(self) -> Ms:
        return self._hand.now_ms

    def real_s_until(self, utc_ms: Ms) -> float:
        return float("inf") if utc_ms > self._hand.now_ms else 0.0
