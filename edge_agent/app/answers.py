"""What the running agent answers on its control socket: the verbs' questions, as plain data."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any
from zoneinfo import ZoneInfo

import msgspec

from edge_agent.app.casing import Casing
from edge_agent.app.documents import Documents
from edge_agent.contract.evidence import pieces
from edge_agent.control import AgentSays, Handler
from edge_agent.core import Core
from edge_agent.evidence.frozen import Frozen
from edge_agent.explain import explain
from edge_agent.listing import plain_material, plain_outcome, plain_row, steps_of
from edge_agent.model import DeviceSpec
from edge_agent.poller import Poller
from edge_agent.ports import Clock
from edge_agent.store import Store

SendEvidence = Callable[[str, Sequence[bytes]], bool]


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
        casing: Casing,
        send_evidence: SendEvidence,
    ) -> None:
        self._devices = {d.id: d for d in devices}
        self._k = {p.device: p.k for p in core.ledger.points}
        self._store = store
        self._clock = clock
        self._documents = documents
        self._casing = casing
        self._points = [p.id for p in core.ledger.points]
        self._zones = {p.id: ZoneInfo(d.zone) for p in core.ledger.points if (d := self._devices.get(p.device))}
        self._send_evidence = send_evidence
        self._pollers = {p.link: p for p in pollers}

    def handlers(self) -> dict[str, Handler]:
        return {
            "status": self._status, "findings": self._findings, "explain": self._explain, "read": self._read,
            "cases": self._cases, "evidence": self._evidence, "send_evidence": self._send,
        }  # fmt: skip

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
        return explain(steps, str(question.get("lang", "en")), self._zones.get(steps[-1].get("point", "")))

    async def _cases(self, question: Mapping[str, Any]) -> Any:
        """Of every point, as it is now."""
        now_ms = self._clock.state().utc_ms(self._clock.now_ms()) or 0
        return [msgspec.to_builtins(self._casing.of(p, now_ms)) for p in self._points]

    async def _evidence(self, question: Mapping[str, Any]) -> Any:
        """Messages and frozen bundles of a finding, exactly as they are stored."""
        finding = str(question.get("finding", ""))
        bodies: list[bytes] = await asyncio.wrap_future(self._store.steps(finding))
        frozen: list[Frozen] = await asyncio.wrap_future(self._store.evidence(finding))
        if not bodies and not frozen:
            raise AgentSays(f"no finding {finding!r} in this store; `edge-agent findings` lists them")
        return plain_material(bodies, frozen)

    async def _send(self, question: Mapping[str, Any]) -> Any:
        """To the centre, in pieces; how many."""
        finding = str(question.get("finding", ""))
        frozen: list[Frozen] = await asyncio.wrap_future(self._store.evidence(finding))
        if not frozen:
            raise AgentSays(f"no evidence of {finding!r} in this store")
        messages = [m for f in frozen for m in pieces(f.finding, f.n, f.digest, f.packed)]
        if not self._send_evidence(finding, messages):
            raise AgentSays("more evidence waits to be sent already; ask again when it has gone")
        return len(messages)

    async def _read(self, question: Mapping[str, Any]) -> Any:
        device = self._devices.get(str(question.get("device", "")))
        if device is None:
            known = ", ".join(sorted(self._devices)) or "none"
            raise AgentSays(f"no device {str(question.get('device', ''))!r}; there are {known}")
        outcomes = await self._pollers[device.link].read_now(device.id)
        now_ms = self._clock.state().utc_ms(self._clock.now_ms()) or 0
        return [plain_outcome(o, device.profile, self._k.get(device.id, ()), now_ms) for o in outcomes]
