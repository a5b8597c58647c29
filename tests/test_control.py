"""The control socket: whoever may open it may say anything; the agent answers, and goes on."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import stat
import threading
import time

import pytest

from edge_agent.control import CLIENTS, QUESTION_MAX, SOCKET, AgentSays, AgentSilent, Control, NoAgent, ask


async def hello(question):
    return {"hello": question.get("name", "you")}


async def no(question):
    raise AgentSays("not today")


async def bug(question):
    raise RuntimeError("a mistake")


async def unsayable(question):
    return object()


async def forever(question):
    await asyncio.sleep(60)


def played(short_path, play, **limits):
    """A control socket that answers while `play` runs in a thread of its own."""

    async def run():
        known = {"hello": hello, "no": no, "bug": bug, "unsayable": unsayable, "forever": forever}
        control = Control(short_path, known, **limits)
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
        with pytest.raises(AgentSays, match="known are bug, forever, hello, no, unsayable"):
            ask(path, "what")
        with pytest.raises(AgentSays, match="failed to answer"):
            ask(path, "unsayable")
        return ask(path, "hello")

    assert played(short_path, play) == {"hello": "you"}, "and the agent goes on"


def test_nonsense_does_not_disturb_the_agent(short_path):
    def play(path):
        for data in (b"\xff\xfe\n", b"[]\n", b"{\n", b"null\n", b'{"ask": 5}\n', b'{"ask": ["hello"]}\n', b"", b"\n"):
            assert set(json.loads(raw(path, data))) == {"error"}, data
        assert b"at most" in raw(path, b"x" * (QUESTION_MAX + 10))
        with contextlib.suppress(OSError):  # far too long: nobody reads it to its end
            assert b"at most" in raw(path, b"x" * (3 << 20))
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


def test_who_says_nothing_is_sent_away_and_who_takes_too_long_says_so(short_path):
    def play(path):
        assert b"no question within 0.2 s" in raw_open(path)
        with pytest.raises(AgentSays, match=r"no answer within 0\.2 s"):
            ask(path, "forever")

    played(short_path, play, ask_s=0.2, answer_s=0.2)


def raw_open(path) -> bytes:
    """What comes to one who connects and says nothing."""
    with socket.socket(socket.AF_UNIX) as wire:
        wire.settimeout(5)
        wire.connect(str(path / SOCKET))
        return wire.recv(1000)


def test_no_crowd_takes_the_agents_memory(short_path):
    def play(path):
        crowd = [socket.socket(socket.AF_UNIX) for _ in range(CLIENTS)]
        for wire in crowd:
            wire.connect(str(path / SOCKET))
        with pytest.raises(AgentSays, match="ask again in a moment"):
            ask(path, "hello", timeout_s=5)
        for wire in crowd:
            wire.close()
        for _ in range(50):
            with contextlib.suppress(AgentSays):
                return ask(path, "hello")
            time.sleep(0.02)
        return None

    assert played(short_path, play) == {"hello": "you"}


def test_a_second_agent_does_not_take_the_socket_of_the_first(short_path):
    async def run():
        first = Control(short_path, {"hello": hello})
        await first.start()
        second = Control(short_path, {})
        with pytest.raises(FileExistsError, match="another agent answers"):
            await second.start()
        await second.stop()
        try:
            return await asyncio.to_thread(ask, short_path, "hello")
        finally:
            await first.stop()

    assert asyncio.run(run()) == {"hello": "you"}


@pytest.mark.parametrize("reply", [b"", b"half a"])
def test_an_agent_that_dies_while_it_is_asked_is_not_no_agent(short_path, reply):
    """What it owned may be held by it still: nobody takes the port for that."""
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(short_path / SOCKET))
        server.listen()

        def die() -> None:
            wire, _ = server.accept()
            with wire:
                wire.recv(1000)
                wire.sendall(reply)

        dying = threading.Thread(target=die)
        dying.start()
        with pytest.raises(AgentSilent, match="it has stopped"):
            ask(short_path, "status")
        dying.join()


def test_an_agent_that_hangs_is_not_no_agent(short_path):
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(short_path / SOCKET))
        server.listen()
        with pytest.raises(AgentSilent, match="timed out"):
            ask(short_path, "status", timeout_s=0.2)


def test_who_may_not_ask_is_told_whom_to_become(short_path, monkeypatch):
    def closed(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(socket.socket, "connect", closed)
    with pytest.raises(AgentSilent, match="as a member of the agent's group"):
        ask(short_path, "status")
