"""A hand-written Modbus TCP meter with faults, and profiles as the driver sees them: for the tests of the polling path.

It shares nothing with the driver: frames are put together byte by byte from the standard.
"""

from __future__ import annotations

import asyncio
import contextlib
import tomllib
from collections.abc import Awaitable, Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from edge_agent.model import UNIT, DeviceSpec, Hallmark, LinkSpec, Profile, Quantity, Register

ROOT = Path(__file__).parent.parent

Fault = Callable[["Asked"], Awaitable[bytes | None]]
"""Gives the bytes to send for a question, or None for silence."""


class Asked:
    """One question as it came off the wire, and its right answer."""

    def __init__(self, raw: bytes, words: dict[int, int], wire: asyncio.StreamWriter) -> None:
        self.raw = raw
        self.wire = wire
        self.tid = int.from_bytes(raw[0:2], "big")
        self.unit = raw[6]
        self.function = raw[7]
        self.address = int.from_bytes(raw[8:10], "big")
        self.count = int.from_bytes(raw[10:12], "big")
        self.words = [words.get(self.address + i, 0) for i in range(self.count)]

    def reply(
        self,
        *,
        tid: int | None = None,
        unit: int | None = None,
        function: int | None = None,
        words: Sequence[int] | None = None,
        byte_count: int | None = None,
    ) -> bytes:
        """The answer, with whatever is given put in place of what is right."""
        data = b"".join(w.to_bytes(2, "big") for w in (self.words if words is None else words))
        pdu = bytes((function or self.function, len(data) if byte_count is None else byte_count)) + data
        return mbap(self.tid if tid is None else tid, self.unit if unit is None else unit, pdu)

    def exception(self, code: int) -> bytes:
        return mbap(self.tid, self.unit, bytes((self.function | 0x80, code)))


def mbap(tid: int, unit: int, pdu: bytes) -> bytes:
    """A Modbus TCP frame."""
    return tid.to_bytes(2, "big") + b"\0\0" + (len(pdu) + 1).to_bytes(2, "big") + bytes((unit,)) + pdu


class FakeMeter:
    """Answers reads of `words`; `faults` is asked first what to do with each question."""

    def __init__(self, words: dict[int, int] | None = None) -> None:
        self.words = words or {}
        self.faults: Iterator[Fault | None] = iter(())
        self.always: Fault | None = None
        self.asked: list[Asked] = []
        self.connections = 0
        self.port = 0
        self._server: asyncio.Server | None = None
        self._wires: set[asyncio.StreamWriter] = set()

    async def __aenter__(self) -> FakeMeter:
        await self.start()
        return self

    async def start(self, port: int = 0) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def stop(self) -> None:
        assert self._server is not None
        self._server.close()
        for wire in list(self._wires):
            wire.transport.abort()
        await asyncio.sleep(0.01)

    async def _serve(self, reader: asyncio.StreamReader, wire: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._wires.add(wire)
        try:
            while True:
                head = await reader.readexactly(6)
                raw = head + await reader.readexactly(int.from_bytes(head[4:6], "big"))
                asked = Asked(raw, self.words, wire)
                self.asked.append(asked)
                fault = next(self.faults, None) or self.always
                reply = asked.reply() if fault is None else await fault(asked)
                if reply is not None:
                    wire.write(reply)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self._wires.discard(wire)
            with contextlib.suppress(ConnectionError):
                wire.transport.abort()


def read_profile(path: Path) -> Profile:
    """A profile as it is written, unchecked."""
    raw: dict[str, Any] = tomllib.loads(path.read_text("utf-8"))
    registers = tuple(
        Register(**{
            "type": "", "unit": UNIT[Quantity(r["quantity"])], **r,
            "quantity": Quantity(r["quantity"]), "not_available": tuple(r.get("not_available", ())),
        })
        for r in raw["register"]
    )  # fmt: skip
    return Profile(
        raw["profile"],
        raw["driver"],
        raw.get("model", raw["profile"]),
        raw["source"],
        raw["side"],
        raw["max_registers"],
        registers,
        tuple(
            Hallmark(i["address"], tuple(i["equals"]), i.get("type", ""), i.get("order", "ABCD"))
            for i in raw.get("identity", ())
        ),
        raw.get("load_profile", ""),
        raw.get("event_log", ""),
    )


def meter(*registers: Register, device: str = "m1", unit: int = 1, most: int = 125) -> DeviceSpec:
    """A device with these registers."""
    return DeviceSpec(device, "lan", unit, Profile("test", "modbus", "test", "test", "secondary", most, registers))


def lan(port: int, *, timeout_s: float = 0.15) -> LinkSpec:
    return LinkSpec("lan", "modbus-tcp", "127.0.0.1", port, timeout_s, 1.0)
