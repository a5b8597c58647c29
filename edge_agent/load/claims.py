"""What devices say about themselves and how they are set: serial, ratio, demand period, clock."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, tzinfo

from edge_agent.load.views import Claim, Role
from edge_agent.model import DeviceId, Frame, Identity, Ms, PointId, Quantity, Reading

SETTINGS = frozenset({Quantity.CT_RATIO, Quantity.VT_RATIO, Quantity.DEMAND_PERIOD, Quantity.DEMAND_SLIDE})
"""Numbers that are settings, not measurements."""

TOGETHER_MS = 10_000
"""Date and time that were asked for within so long of each other are those of one instant."""


class Claims:
    """Identities and settings in, claims out; each is compared with the one before of its kind.

    `zones`: of the points, in which their meters' clocks run.
    """

    def __init__(
        self, devices: Iterable[tuple[DeviceId, PointId, Role]], zones: Mapping[PointId, tzinfo] | None = None
    ) -> None:
        self._zones = dict(zones or {})
        self._date: dict[DeviceId, tuple[str, Ms]] = {}
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
        shown = self._shown(device, quantity, value, at_ms) if isinstance(value, str) else ""
        for point, role in self._of.get(device, ()):
            ahead = _ahead_ms(shown, self._zones.get(point, UTC), at_ms) if shown else None
            self._out.append(Claim(point, device, role, quantity, value, at_ms, again, frame, ahead))

    def _shown(self, device: DeviceId, quantity: Quantity, text: str, at_ms: Ms) -> str:
        """Date and time that a clock shows, "" where this text is not the whole of it."""
        if quantity is Quantity.METER_CLOCK:
            return text
        if quantity is Quantity.METER_DATE:
            self._date[device] = (text, at_ms)
        elif quantity is Quantity.METER_TIME and device in self._date:
            date, asked_ms = self._date[device]
            # Two questions: around midnight the date may be the day before's.
            if abs(at_ms - asked_ms) <= TOGETHER_MS and not text.startswith(("00:00", "23:59")):
                return f"{date}T{text}"
        return ""


def _ahead_ms(text: str, zone: tzinfo, at_ms: Ms) -> Ms | None:
    """By how much a clock that shows `text` is ahead; None where that is no time."""
    try:
        shown = datetime.fromisoformat(text)
        if shown.tzinfo is None:
            shown = shown.replace(tzinfo=zone)
        return round(shown.astimezone(UTC).timestamp() * 1000) - at_ms
    except (ValueError, OverflowError):
        return None
