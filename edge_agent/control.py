"""The control socket: verbs ask the running agent, because it owns the lines and the store.

One JSON object on a line each way, over a local socket that only the agent's user and group may open.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec
import structlog

SOCKET = "control.sock"
QUESTION_MAX = 1 << 16
ANSWER_MAX = 1 << 26
CLIENTS = 32
ASK_S = 10.0
"""A question must be here by then; who connects and says nothing is sent away."""
ANSWER_S = 60.0
log = structlog.get_logger()

Handler = Callable[[Mapping[str, Any]], Awaitable[Any]]


class ControlError(Exception):
    """No answer from the agent; says why, and what to do where something can be done."""


class NoAgent(ControlError):
    """Nobody listens on the control socket: there is no agent with this runtime folder."""


class AgentSays(ControlError):
    """The agent understood the question and will not answer it: its reason."""


class AgentSilent(ControlError):
    """There is an agent, and it cannot be asked: what it owns is not free."""


class Control:
    """Answers questions on a local socket. A question that fails is answered with its reason; the server goes on."""

    def __init__(
        self, runtime: Path, handlers: Mapping[str, Handler], *, ask_s: float = ASK_S, answer_s: float = ANSWER_S
    ) -> None:
        self._path = runtime / SOCKET
        self._handlers = dict(handlers)
        self._ask_s = ask_s
        self._answer_s = answer_s
        self._server: asyncio.Server | None = None
        self._clients = 0

    async def start(self) -> None:
        """Raises OSError when the runtime folder cannot be used, or another agent answers there."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        if _answers(self._path):
            raise FileExistsError(f"another agent answers at {self._path}")
        self._path.unlink(missing_ok=True)  # left over from an agent that was killed
        wire = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            os.fchmod(wire.fileno(), 0o660)  # before it has a name: at no instant may anyone else open it
            wire.bind(str(self._path))
            self._path.chmod(0o660)  # the umask may have taken the group away
            self._server = await asyncio.start_unix_server(self._serve, sock=wire, limit=QUESTION_MAX)
        except BaseException:
            wire.close()
            raise

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
            self._path.unlink(missing_ok=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._clients += 1
        try:
            if self._clients > CLIENTS:
                answer: dict[str, Any] = {"error": f"{CLIENTS} questions are open already; ask again in a moment"}
            else:
                answer = await self._hear(reader)
            async with asyncio.timeout(self._ask_s):
                writer.write(_encoded(answer) + b"\n")
                await writer.drain()
        except (OSError, TimeoutError) as gone:
            log.debug("control question dropped", cause=str(gone))
        finally:
            self._clients -= 1
            writer.close()

    async def _hear(self, reader: asyncio.StreamReader) -> dict[str, Any]:
        try:
            async with asyncio.timeout(self._ask_s):
                line = await reader.readline()
        except TimeoutError:
            return {"error": f"no question within {self._ask_s:g} s"}
        except ValueError:
            return {"error": f"a question has at most {QUESTION_MAX} bytes"}
        try:
            question = msgspec.json.decode(line, type=dict[str, Any])
        except (msgspec.DecodeError, UnicodeDecodeError):
            return {"error": "not a JSON object on one line"}
        handler = self._handlers.get(str(question.get("ask")))
        if handler is None:
            return {"error": f"unknown question; known are {', '.join(sorted(self._handlers))}"}
        try:
            async with asyncio.timeout(self._answer_s):
                return {"answer": await handler(question)}
        except AgentSays as reason:
            return {"error": str(reason)}
        except TimeoutError:
            return {"error": f"the agent had no answer within {self._answer_s:g} s"}
        except Exception as bug:
            log.exception("control question failed", ask=question.get("ask"))
            return {"error": f"the agent failed to answer: {bug!r}"}


def ask(runtime: Path, question: str, *, timeout_s: float = ANSWER_S + ASK_S, **fields: Any) -> Any:
    """Ask the running agent. Raises `NoAgent` when there is none, else `AgentSays` or `AgentSilent` with the reason."""
    path = runtime / SOCKET
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as wire:
        wire.settimeout(timeout_s)
        try:
            wire.connect(str(path))
        except PermissionError:
            raise AgentSilent(
                f"no permission to ask the agent at {path}: run this as root, or as a member of the agent's group"
            ) from None
        except OSError as cause:
            raise NoAgent(f"no agent answers at {path}: {cause.strerror or cause}") from None
        try:
            wire.sendall(msgspec.json.encode({"ask": question, **fields}) + b"\n")
            with wire.makefile("rb") as stream:
                line = stream.readline(ANSWER_MAX)
            reply = msgspec.json.decode(line, type=dict[str, Any])
        except (OSError, msgspec.DecodeError) as cause:
            why = "it has stopped" if isinstance(cause, ConnectionError | msgspec.DecodeError) else str(cause)
            raise AgentSilent(f"the agent at {path} gave no answer: {why}") from None
    if "error" in reply:
        raise AgentSays(str(reply["error"]))
    return reply.get("answer")


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as wire:
        wire.settimeout(1.0)
        try:
            wire.connect(str(path))
        except (FileNotFoundError, ConnectionRefusedError):
            return False
        except (PermissionError, TimeoutError):
            return True  # somebody's, or busy: not ours to remove
        return True


def _encoded(answer: dict[str, Any]) -> bytes:
    try:
        return msgspec.json.encode(answer)
    except TypeError as bug:
        return msgspec.json.encode({"error": f"the agent failed to answer: {bug}"})
