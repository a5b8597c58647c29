"""Where is looked: one link, opened at one speed and parity after another, with the drivers that are asked for."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from edge_agent.fieldbus import FieldLine, Stamp
from edge_agent.model import LINES, DeviceSpec, LinkSpec
from edge_agent.ports import Clock


class Setting(NamedTuple):
    """Speed and parity of a line."""

    baud: int
    parity: str
    data_bits: int = 8
    stop_bits: int = 1

    def __str__(self) -> str:
        return f"{self.baud} {self.data_bits}{self.parity}{self.stop_bits}"


class Place:
    """One link. At most one line on it is open at a time."""

    def __init__(
        self,
        spec: LinkSpec,
        clock: Clock,
        *,
        stamp: Stamp | None = None,
        open_link: Callable[[LinkSpec], Any] | None = None,
    ) -> None:
        self.spec = spec
        self.clock = clock
        self.stamp = stamp
        self.line: FieldLine | None = None
        self._open_link = open_link or self._by_kind

    @property
    def is_line(self) -> bool:
        """Whether there is a serial line, here or behind a converter; over Modbus TCP or the wrapper there is none."""
        return self.spec.kind in LINES

    @property
    def setting(self) -> Setting:
        """As the link is specified."""
        spec = self.spec
        return Setting(spec.baud, spec.parity, spec.data_bits, spec.stop_bits)

    async def at(
        self, setting: Setting, devices: Sequence[DeviceSpec] = (), *, timeout_s: float | None = None
    ) -> FieldLine:
        """The line at that setting, not opened yet; the one before it is closed."""
        await self.close()
        spec = self._set(setting)
        spec = spec if timeout_s is None else replace(spec, timeout_s=min(timeout_s, spec.timeout_s))
        self.line = FieldLine(spec, self._open_link(spec), devices, self.clock.now_ms)
        self.line.stamp = self.stamp
        return self.line

    def made(self, setting: Setting) -> Any:
        """A link at that setting that nobody opens: how long its characters take is asked of it."""
        return self._open_link(self._set(setting))

    def _set(self, setting: Setting) -> LinkSpec:
        return replace(
            self.spec,
            baud=setting.baud,
            parity=setting.parity,
            data_bits=setting.data_bits,
            stop_bits=setting.stop_bits,
        )

    async def close(self) -> None:
        line, self.line = self.line, None
        if line is not None:
            await line.close()

    def _by_kind(self, spec: LinkSpec) -> Any:
        return importlib.import_module("drivers.link").open_link(spec, now_ms=self.clock.now_ms)
