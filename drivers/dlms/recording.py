"""Reads a meter's load profile: what its columns' numbers mean is read once for each meter, its rows when asked for."""

from __future__ import annotations

from collections.abc import Callable

from drivers.dlms import load_profile
from drivers.dlms.buffer import Buffer
from drivers.dlms.load_profile import Layout, layout_of, recorded_of, scaled_column, scaler_of
from drivers.dlms.objects import obis, scaler_unit
from drivers.dlms.refused import NoProfile
from drivers.dlms.session import Session
from edge_agent.model import DeviceSpec, Ms, Recorded


class Recording:
    """The load profile of one meter."""

    def __init__(self, session: Session, device: DeviceSpec, utc_ms: Callable[[], Ms | None]) -> None:
        self._session = session
        self._device = device
        self._utc_ms = utc_ms
        self._buffer: Buffer | None = None
        self._layout: Layout | None = None

    def forget(self) -> None:
        """It may be another meter."""
        self._buffer = self._layout = None

    async def read(self, since_ms: Ms, until_ms: Ms) -> list[Recorded]:
        """What was recorded at (since, until], in order. The association is open. Raises a `DriverError`."""
        if not self._device.profile.load_profile:
            raise NoProfile("the device's profile names none")
        if self._buffer is None:
            instance = obis(self._device.profile.load_profile.replace("*", "."))
            self._buffer = Buffer(self._session, instance, self._utc_ms)
        buffer = self._buffer
        layout = self._layout = self._layout or await self._laid_out(buffer)
        clock = await buffer.clock()
        rows = await buffer.rows(layout.shape, since_ms, until_ms, clock)
        return [r for r in recorded_of(layout, rows, self._device.id) if since_ms < r.end_ms <= until_ms]

    async def _laid_out(self, buffer: Buffer) -> Layout:
        layout = layout_of(await buffer.shape(), self._device.profile.registers)
        scalers = await buffer.data([scaler_of(c) for c in layout.columns])
        for column, data in zip(layout.columns, scalers, strict=True):
            scaled = scaled_column(column, scaler_unit(data))
            if not isinstance(scaled, str) and await self._averages(buffer, column, layout.shape.period_s):
                layout.scaled[column.place] = scaled
        if not layout.scaled:
            raise NoProfile("none of its columns is measured in the unit that it should be")
        return layout

    async def _averages(self, buffer: Buffer, column: load_profile.Column, period_s: int) -> bool:
        """Whether a mean is one over exactly the capture period."""
        places = load_profile.averaging_of(column)
        if places is None:
            return True
        period, count = await buffer.data(places)
        return period.integer("period") == period_s and count.integer("number_of_periods") == 1
