"""The control socket: verbs ask the running agent, because it owns the lines and the store.

One JSON object a line each way, over a local socket that only the agent's group may open.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec
import structlog

SOCKET = "control.sock"
LINE_MAX = 1 << 20
log = structlog.get_logger()

Handler = Callable[[Mapping[str, Any]], Awaitable[Any]]


class NoAgent(Exception):
    """No agent answers on the control socket."""


class AgentSays(Exception):
    """The agent understood the question and will not answer it: its reason."""


class Control:
    """Answers questions on a local socket. A question that fails is answered with its reason; the server goes on."""

    def __init__(self, runtime: Path, handlers: Mapping[str, Handler]) -> None:
        self._path = runtime / SOCKET
        self._handlers = dict(handlers)
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        """Raises OSError when the runtime folder cannot be used."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._path.unlink(missing_ok=True)
        self._server = await asyncio.start_unix_server(self._serve, self._path, limit=LINE_MAX)
        self._path.chmod(0o660)

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
            self._path.unlink(missing_ok=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(60):
                line = await reader.readline()
                writer.write(msgspec.json.encode(await self._answer(line)) + b"\n")
                await writer.drain()
        except (OSError, ValueError, TimeoutError) as gone:
            log.debug("control question dropped", cause=str(gone))
        finally:
            writer.close()

    async def _answer(self, line: bytes) -> dict[str, Any]:
        try:
            question = msgspec.json.decode(line, type=dict[str, Any])
            handler = self._handlers[str(question.get("ask"))]
        except (msgspec.DecodeError, msgspec.ValidationError):
            return {"error": "not a JSON object on one line"}
        except KeyError:
            return {"error": f"unknown question; known are {', '.join(sorted(self._handlers))}"}
        try:
            return {"answer": await handler(question)}
        except AgentSays as reason:
            return {"error": str(reason)}
        except Exception as bug:
            log.exception("control question failed", ask=question.get("ask"))
            return {"error": f"the agent failed to answer: {bug!r}"}


def ask(runtime: Path, question: str, *, timeout_s: float = 60.0, **fields: Any) -> Any:
    """Ask the running agent. Raises `NoAgent` when none answers, `AgentSays` with its reason when it will not."""
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as wire:
            wire.settimeout(timeout_s)
            wire.connect(str(runtime / SOCKET))
            wire.sendall(msgspec.json.encode({"ask": question, **fields}) + b"\n")
            with wire.makefile("rb") as stream:
                line = stream.readline(LINE_MAX)
    except (OSError, TimeoutError) as cause:
        raise NoAgent(f"no agent answers at {runtime / SOCKET}: {cause}") from None
    if not line:
        raise NoAgent(f"the agent at {runtime / SOCKET} closed the connection without an answer")
    reply = msgspec.json.decode(line, type=dict[str, Any])
    if "error" in reply:
        raise AgentSays(str(reply["error"]))
    return reply["answer"]
