"""The control socket: whoever may open it may say anything; the agent answers, and goes on."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import stat

import pytest

from edge_agent.control import SOCKET, AgentSays, Control, NoAgent, ask


async def hello(question):
    return {"hello": question.get("name", "you")}


async def no(question):
    raise AgentSays("not today")


async def bug(question):
    raise RuntimeError("a mistake")


def played(short_path, play):
    """A control socket that answers while `play` runs in a thread of its own."""

    async def run():
        control = Control(short_path, {"hello": hello, "no": no, "bug": bug})
        await control.start()
        try:
            return await asyncio.to_thread(play, short_path)
        finally:
            await control.stop()

    return asyncio.run(run())


def raw(path, data: bytes) -> bytes:
    with socket.socket(socket.AF_UNIX) as wire:
        wire.settimeout(5)
        wire.connect(str(path / SOCKET))
        wire.sendall(data)
        wire.shutdown(socket.SHUT_WR)
        with wire.makefile("rb") as stream:
            return stream.read()


def test_a_question_is_answered(short_path):
    assert played(short_path, lambda p: ask(p, "hello", name="technician")) == {"hello": "technician"}


def test_reasons_come_back_as_reasons(short_path):
    def play(path):
        with pytest.raises(AgentSays, match="not today"):
            ask(path, "no")
        with pytest.raises(AgentSays, match="a mistake"):
            ask(path, "bug")
        with pytest.raises(AgentSays, match="known are bug, hello, no"):
            ask(path, "what")
        return ask(path, "hello")

    assert played(short_path, play) == {"hello": "you"}, "and the agent goes on"


def test_nonsense_does_not_disturb_the_agent(short_path):
    def play(path):
        for data in (b"\xff\xfe\n", b"[]\n", b"{\n", b"null\n", b'{"ask": 5}\n', b""):
            reply = raw(path, data)
            assert reply == b"" or "error" in json.loads(reply), data
        with contextlib.suppress(OSError):  # too long a line: dropped before it is read to its end
            assert raw(path, b"x" * (3 << 20)) == b""
        return ask(path, "hello")

    assert played(short_path, play) == {"hello": "you"}


def test_many_ask_at_once_and_a_slow_one_holds_nobody_up(short_path):
    def play(path):
        slow = socket.socket(socket.AF_UNIX)
        slow.connect(str(path / SOCKET))
        slow.sendall(b'{"ask"')
        answers = [ask(path, "hello", name=str(i), timeout_s=5)["hello"] for i in range(50)]
        slow.close()
        return answers

    assert played(short_path, play) == [str(i) for i in range(50)]


def test_the_socket_is_for_owner_and_group_and_a_stale_one_is_replaced(short_path):
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(short_path / SOCKET))
    mode = played(short_path, lambda p: stat.S_IMODE((p / SOCKET).stat().st_mode))
    assert mode == 0o660
    assert not (short_path / SOCKET).exists(), "gone with the agent"


def test_no_agent_is_said_plainly(short_path):
    with pytest.raises(NoAgent, match="no agent answers at"):
        ask(short_path, "status")
