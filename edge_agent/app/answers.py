"""What the running agent answers on its control socket: the verbs' questions, as plain data."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from edge_agent.app.documents import Documents
from edge_agent.control import AgentSays, Handler
from edge_agent.core import Core
from edge_agent.explain import explain
from edge_agent.listing import plain_outcome, plain_row, steps_of
from edge_agent.model import DeviceSpec
from edge_agent.poller import Poller
from edge_agent.ports import Clock
from edge_agent.store import Store


class Answers:
    """One method per question; what cannot be answered raises `AgentSays` with the reason."""

    def __init__(
        self,
        devices: Iterable[DeviceSpec],
        core: Core,
        store: Store,
        clock: Clock,
        documents: Documents,
        pollers: Sequence[Poller],
    ) -> None:
        self._devices = {d.id: d for d in devices}
        self._k = {p.device: p.k for p in core.ledger.points}
        self._store = store
        self._clock = clock
        self._documents = documents
        self._pollers = {p.link: p for p in pollers}

    def handlers(self) -> dict[str, Handler]:
        return {"status": self._status, "findings": self._findings, "explain": self._explain, "read": self._read}

    async def _status(self, question: Mapping[str, Any]) -> Any:
        return self._documents.full()

    async def _findings(self, question: Mapping[str, Any]) -> Any:
        return [plain_row(row) for row in await asyncio.wrap_future(self._store.findings())]

    async def _explain(self, question: Mapping[str, Any]) -> Any:
        finding = str(question.get("finding", ""))
        bodies: list[bytes] = await asyncio.wrap_future(self._store.steps(finding))
        steps = steps_of(bodies)
        if not steps:
            raise AgentSays(f"no finding {finding!r} in this store; `edge-agent findings` lists them")
        return explain(steps)

    async def _read(self, question: Mapping[str, Any]) -> Any:
        device = self._devices.get(str(question.get("device", "")))
        if device is None:
            known = ", ".join(sorted(self._devices)) or "none"
            raise AgentSays(f"no device {str(question.get('device', ''))!r}; there are {known}")
        outcomes = await self._pollers[device.link].read_now(device.id)
        now_ms = self._clock.state().utc_ms(self._clock.now_ms()) or 0
        return [plain_outcome(o, device.profile, self._k.get(device.id, ()), now_ms) for o in outcomes]
