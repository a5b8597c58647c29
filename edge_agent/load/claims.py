"""What devices say about themselves and how they are set: serial, ratio, demand period, clock."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from edge_agent.load.views import Claim, Role
from edge_agent.model import DeviceId, Frame, Identity, Ms, PointId, Quantity, Reading

SETTINGS = frozenset({Quantity.CT_RATIO, Quantity.VT_RATIO, Quantity.DEMAND_PERIOD, Quantity.DEMAND_SLIDE})
"""Numbers that are settings, not measurements."""


class Claims:
    """Identities and settings in, claims out; each is compared with the one before of its kind."""

    def __init__(self, devices: Iterable[tuple[DeviceId, PointId, Role]]) -> None:
        self._of: dict[DeviceId, list[tuple[PointId, Role]]] = {}
        for device, point, role in devices:
            self._of.setdefault(device, []).append((point, role))
        self._last: dict[tuple[DeviceId, Quantity], str | float] = {}
        self._out: list[Claim] = []

    def identify(self, identity: Identity, at_ms: Ms) -> None:
        """A text that a device gave about itself."""
        self._take(identity.device, identity.quantity, identity.text, at_ms, identity.frame)

    def feed(self, readings: Iterable[tuple[Reading, Ms]]) -> None:
        """Readings with their UTC ms; measurements are passed over."""
        for reading, at_ms in readings:
            if reading.quantity in SETTINGS:
                self._take(reading.device, reading.quantity, reading.value, at_ms, reading.frame)

    def settle(self) -> Sequence[Claim]:
        """What has come since, each once."""
        out, self._out = self._out, []
        return out

    def _take(self, device: DeviceId, quantity: Quantity, value: str | float, at_ms: Ms, frame: Frame | None) -> None:
        again = self._last.get((device, quantity)) == value
        self._last[device, quantity] = value
        self._out += [
            Claim(p, device, role, quantity, value, at_ms, again, frame) for p, role in self._of.get(device, ())
        ]
