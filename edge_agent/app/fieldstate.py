"""How links and devices are, for a person: who is left alone since when and why, who else is master on a line.

A device is left alone on its link (`plan`); a link that is down or another master's is told apart from that, and says
nothing about its devices.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from edge_agent.contract.shapes import rfc3339
from edge_agent.fieldbus import ADVICE, FieldLine
from edge_agent.model import ClockState, DeviceId, Gap, GapCause, LinkId, Ms, Outcome, Quantity
from edge_agent.plan import Pause
from edge_agent.poller import Phase, Poller
from edge_agent.words import say


class FieldState:
    """A look at the pollers and their lines at one instant of boot time."""

    def __init__(
        self,
        pollers: Iterable[Poller],
        lines: Mapping[LinkId, FieldLine],
        latest: Mapping[DeviceId, Mapping[Quantity, Outcome]],
        now_ms: Ms,
        clock: ClockState,
    ) -> None:
        self._pollers = {p.link: p for p in pollers}
        self._lines = lines
        self._now_ms = now_ms
        self._clock = clock
        self._latest = latest
        self._pauses = {(p.link, pause.device): pause for p in self._pollers.values() for pause in p.plan.pauses()}

    def links(self) -> list[dict[str, Any]]:
        return [self._link(poller) for poller in self._pollers.values()]

    def devices(self, health: Mapping[DeviceId, Mapping[str, Any]]) -> list[dict[str, Any]]:
        return [self._device(device, h) for device, h in health.items()]

    def _link(self, poller: Poller) -> dict[str, Any]:
        state, line = poller.state, self._lines[poller.link]
        answered = [c.answered_ms for c in map(poller.contact, line.devices) if c.answered_ms is not None]
        said = say(f"status.link_{state.phase}", detail=state.detail)
        if state.phase is Phase.UP and line.others:
            said += ", " + say("status.link_shared", others=" and ".join(line.others))
        if self._is_all_silent(poller, line):
            said += "; " + say("status.link_all_silent", count=len(line.devices))
        return {
            "id": poller.link,
            "kind": line.spec.kind,
            "where": line.where,
            "state": state.phase.value,
            "up": state.up,
            **self._since(state.since_ms),
            "detail": state.detail,
            "next_try_s": self._until_s(state.next_try_ms),
            "masters": list(line.others),
            "advice": ADVICE if state.phase is Phase.GIVEN_UP else "",
            "last_frame_s": self._age_s(max(answered, default=None)),
            "said": said,
        }

    def _device(self, device: DeviceId, health: Mapping[str, Any]) -> dict[str, Any]:
        link = str(health["link"])
        poller, pause = self._pollers[link], self._pauses.get((link, device))
        contact = poller.contact(device)
        seen = self._lines[link].latency(device)
        gaps = [o for o in self._latest.get(device, {}).values() if isinstance(o, Gap)]
        return {
            "id": device,
            **health,
            "said": self._said(device, poller, pause, health, gaps),
            "next_try_s": None if pause is None else self._until_s(pause.next_ms),
            "pause": None if pause is None else {
                "cause": pause.cause.value,
                "reason": say(f"status.reason_{pause.cause}"),
                "detail": pause.detail,
                "failures": pause.failures,
                **self._since(pause.since_ms),
            },
            "asked_s": self._age_s(contact.asked_ms),
            "answered_s": self._age_s(contact.answered_ms),
            "last_good_s": self._age_s(health["last_good_bt_ms"]),
            "latency_ms": None if seen is None or not seen.answers else {
                "last": round(1000 * seen.last_s, 1),
                "longest": round(1000 * seen.longest_s, 1),
                "late": round(1000 * seen.late_s, 1),
                "answers": seen.answers,
            },
            "missing": [{"quantity": g.quantity.value, "cause": g.cause.value, "detail": g.detail} for g in gaps],
        }  # fmt: skip

    def _said(
        self, device: DeviceId, poller: Poller, pause: Pause | None, health: Mapping[str, Any], gaps: Sequence[Gap]
    ) -> str:
        if poller.state.phase is not Phase.UP:
            return say("status.device_link", link=poller.link, phase=say(f"status.phase_{poller.state.phase}"))
        if pause is not None:
            return say("status.device_left_alone", reason=say(f"status.reason_{pause.cause}"), detail=pause.detail)
        values = len(self._latest.get(device, {}))
        if not values:
            return say("status.device_not_asked")
        causes = Counter(gap.cause for gap in gaps)
        if causes[GapCause.REFUSED] == values:
            return f"{say('status.reason_refused')} ({gaps[0].detail})"
        if not causes:
            return say("status.device_answers")
        missing = ", ".join(f"{n} {cause.value}" for cause, n in causes.items())
        return say("status.device_partly", count=values, missing=missing)

    def _is_all_silent(self, poller: Poller, line: FieldLine) -> bool:
        """Nobody on a line of several can be heard: a broken pair looks like that, since a port does not notice it."""
        silent = [d for d in line.devices if (p := self._pauses.get((poller.link, d))) and p.cause is GapCause.NO_REPLY]
        return poller.state.phase is Phase.UP and 1 < len(line.devices) == len(silent)

    def _since(self, bt_ms: Ms) -> dict[str, Any]:
        utc_ms = self._clock.utc_ms(bt_ms)
        return {"since": None if utc_ms is None else rfc3339(utc_ms), "since_s": self._age_s(bt_ms)}

    def _age_s(self, bt_ms: Ms | None) -> float | None:
        return None if bt_ms is None else max(0, self._now_ms - bt_ms) / 1000

    def _until_s(self, bt_ms: Ms | None) -> float | None:
        return None if bt_ms is None else max(0, bt_ms - self._now_ms) / 1000
