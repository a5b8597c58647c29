"""An MQTT broker in this process, so that the demo needs nothing installed: amqtt, MQTT 3.1.1, no passwords.

For the demo and for tests of ourselves only. Its limits, found on amqtt 0.12: no MQTT 5 (a CONNECT of that version gets
return code 1); everything is in memory and gone with the process; no bound on any queue; a client that returns to its
session is offered its retained messages again. Findings survive all of that, because the agent keeps them until the
centre has them.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any, Self

from amqtt.broker import Broker
from amqtt.plugins.base import BaseAuthPlugin

from simulator.loop import LoopThread

SESSION_EXPIRY_S = 300


class OpenDoor(BaseAuthPlugin):  # type: ignore[misc]
    """Lets everybody in by name: amqtt's own anonymous door forgets a client's session while it is away."""

    async def authenticate(self, *, session: Any) -> bool:
        return True


class _Broker(Broker):  # type: ignore[misc]
    async def stream_connected(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, listener_name: str
    ) -> None:
        try:
            await super().stream_connected(reader, writer, listener_name)
        finally:
            writer.close()  # amqtt leaves some open: a client that never said CONNECT, one that left during shutdown

    async def _publish_retained_messages_for_subscription(self, subscription: tuple[str, int], session: Any) -> None:
        """On a reconnect amqtt offers a session the retained messages of everybody's filters: keep to its own."""
        mine = self._subscriptions.get(subscription[0], ())
        if any(subscriber.client_id == session.client_id for subscriber, _ in mine):
            await super()._publish_retained_messages_for_subscription(subscription, session)


class InProcessBroker:
    """`with InProcessBroker(port) as broker: ...`; it listens on return from `start`, on the loopback unless told."""

    def __init__(self, port: int, *, host: str = "127.0.0.1") -> None:
        self.host = host
        self.port = port
        self._thread = LoopThread("broker")
        self._broker: Broker | None = None

    def start(self) -> None:
        """Raises OSError where the port is taken."""
        for name in ("amqtt", "transitions"):
            logging.getLogger(name).setLevel(logging.CRITICAL)
        self._thread.__enter__()
        try:
            self._thread.run(self._open())
        except Exception as error:
            self._thread.__exit__()
            raise OSError(f"no broker on {self.host}:{self.port}: {error}") from error

    def stop(self) -> None:
        if self._broker is not None:
            self._thread.run(self._broker.shutdown())
            self._broker = None
            self._thread.__exit__()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    async def _open(self) -> None:
        broker = _Broker(
            {
                "listeners": {"default": {"type": "tcp", "bind": f"{self.host}:{self.port}"}},
                "plugins": {"simulator.broker.OpenDoor": {}},
                "session_expiry_interval": SESSION_EXPIRY_S,
            }
        )
        await broker.start()
        self._broker = broker
