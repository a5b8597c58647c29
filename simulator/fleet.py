"""A scenario's meters on their ports.

What was asked and what was refused is counted per meter; `truth` says what really happened.
"""

from __future__ import annotations

from simulator.clock import Ms, SimClock
from simulator.device import SimMeter, Truth
from simulator.dlms.meter import DlmsMeter
from simulator.dlms.tcp import DlmsPort
from simulator.modbus import ModbusPort, SimUnit
from simulator.scenario import Scenario


class Fleet:
    """All meters of a scenario. `ephemeral` gives every port of the scenario a free one instead; `port_of` names it."""

    def __init__(self, scenario: Scenario, clock: SimClock | None = None, *, ephemeral: bool = False) -> None:
        self.clock: SimClock = scenario.clock() if clock is None else clock
        self.units: dict[str, SimUnit] = {plan.id: plan.hang() for plan in scenario.meters}
        self.dlms: dict[str, DlmsMeter] = {plan.id: plan.hang(self.clock) for plan in scenario.dlms}
        self.meters: dict[str, SimMeter] = {
            **{name: unit.meter for name, unit in self.units.items()},
            **{name: meter.holding.meter for name, meter in self.dlms.items()},
        }
        self._port_asked = {plan.id: plan.port for plan in scenario.meters}
        self._port_asked.update({plan.id: plan.port for plan in scenario.dlms})
        units: dict[int, dict[int, SimUnit]] = {}
        for plan in scenario.meters:
            units.setdefault(plan.port, {})[plan.unit_id] = self.units[plan.id]
        self.ports = {
            asked: ModbusPort(behind, self.clock, host=scenario.host, port=0 if ephemeral else asked)
            for asked, behind in units.items()
        }
        devices: dict[int, dict[int, DlmsMeter]] = {}
        for dlms in scenario.dlms:
            devices.setdefault(dlms.port, {})[dlms.sap] = self.dlms[dlms.id]
        self.dlms_ports = {
            asked: DlmsPort(behind, host=scenario.host, port=0 if ephemeral else asked)
            for asked, behind in devices.items()
        }

    @property
    def writes_seen(self) -> int:
        """Requests of any function that writes, over all meters: anything but 0 is a fault of the reader."""
        units = sum(unit.counts.writes_seen for unit in self.units.values())
        return units + sum(meter.counts.writes_seen for meter in self.dlms.values())

    @property
    def requests(self) -> int:
        units = sum(unit.counts.requests for unit in self.units.values())
        return units + sum(meter.counts.requests for meter in self.dlms.values())

    def port_of(self, meter_id: str) -> int:
        asked = self._port_asked[meter_id]
        return self.dlms_ports[asked].port if meter_id in self.dlms else self.ports[asked].port

    def truth(self, meter_id: str, at_ms: Ms | None = None) -> Truth:
        return self.meters[meter_id].truth(self.clock.utc_ms() if at_ms is None else at_ms)

    @property
    def _all(self) -> list[ModbusPort | DlmsPort]:
        return [*self.ports.values(), *self.dlms_ports.values()]

    async def start(self) -> None:
        """Raises OSError where a port is taken; then none is left open."""
        try:
            for port in self._all:
                await port.start()
        except OSError:
            await self.stop()
            raise

    async def stop(self) -> None:
        for port in self._all:
            await port.stop()
