"""Passwords and keys leave no trace: not in logs, answers, databases, listings, nor in what goes wrong."""

from __future__ import annotations

import asyncio
import copy
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from drivers.dlms.protection import Keys
from edge_agent.control import ask
from edge_agent.settings import check, device_specs, load_site
from tests.dlms_desk import AK_HEX, EK_HEX, forget_counters, meter
from tests.dlms_meter import CLIENT_TITLE
from tests.dlms_served import WrapperServer
from tests.house.tree import ROOT

PASSWORD = "canary-7c1f"
SITE = """
[site]
utility = "demo"
gateway = "gw-1"
[paths]
state = "state"
runtime = "run"
[mqtt]
host = "127.0.0.1"
port = 1
[log]
level = "debug"
[[link]]
id = "net"
kind = "dlms-tcp"
host = "127.0.0.1"
port = {port}
timeout_s = 0.5
[[device]]
id = "m1"
link = "net"
profile = "dlms-generic-3p"
every_s = 1
[device.dlms]
client = 1
authentication = "lls"
security = "authenticated-encrypted"
client_title = "{title}"
counter_object = "none"
{secrets}
"""
FILES = 'password_file = "password"\nencryption_key_file = "ek"\nauthentication_key_file = "ak"'
INLINE = (
    f'force_clear_text_keys = true\npassword = "{PASSWORD}"\nencryption_key = "{EK_HEX}"\n'
    f'authentication_key = "{AK_HEX}"'
)


@pytest.fixture(autouse=True)
def a_process_of_its_own() -> Iterator[None]:
    forget_counters()
    yield
    forget_counters()


def canaries() -> list[bytes]:
    """Each secret as it may be written: text, hexadecimal, raw octets."""
    found = [PASSWORD.encode(), PASSWORD.encode().hex().encode(), PASSWORD.encode().hex(" ").encode()]
    for key in (EK_HEX, AK_HEX):
        raw = bytes.fromhex(key)
        found += [raw, key.lower().encode(), key.upper().encode(), raw.hex(" ").encode(), repr(raw).encode()]
    return found


def leaks(data: bytes) -> list[bytes]:
    return [canary for canary in canaries() if canary in data]


def test_the_canaries_would_be_found():
    assert leaks(b"x" + PASSWORD.encode())
    assert leaks(f"key {EK_HEX.upper()}".encode())
    assert not leaks(b"nothing")


def site_of(folder: Path, port: int, secrets: str) -> Path:
    (folder / "password").write_text(PASSWORD + "\n")
    (folder / "ek").write_text(EK_HEX.upper() + "\n")
    (folder / "ak").write_text(AK_HEX)
    for name in ("password", "ek", "ak"):
        (folder / name).chmod(0o400)
    for name in ("state", "run"):
        (folder / name).mkdir(exist_ok=True)
    path = folder / "site.toml"
    path.write_text(SITE.format(port=port, title=CLIENT_TITLE.hex(), secrets=secrets))
    return path


@pytest.mark.parametrize("secrets", [FILES, INLINE], ids=["files", "in the site file"])
def test_a_running_agent_shows_none_of_them(secrets, tmp_path: Path):
    """It reads, is refused, meets a wrong tag and a dead meter; then everything that it said and kept is searched."""
    served = meter(ciphers=True)
    said: dict[str, bytes] = {}

    def spoiled(answer: bytes) -> bytes:
        return answer[:-1] + bytes((answer[-1] ^ 1,)) if answer[0] == 0xCC else answer

    async def story() -> None:
        async with WrapperServer({1: served}) as server:
            site = site_of(tmp_path, server.port, secrets)

            async def verb(*words: str) -> bytes:
                child = await asyncio.create_subprocess_exec(
                    sys.executable, "-m", "edge_agent", *words, cwd=ROOT, stdout=asyncio.subprocess.PIPE,
                    stderr=asyncio.subprocess.STDOUT,
                )  # fmt: skip
                out, _ = await child.communicate()
                return out

            said["check"] = await verb("check", str(site))
            said["plan"] = await verb("plan", str(site))
            said["read"] = await verb("read", "m1", "--json", "--site", str(site))
            assert b"1234560" in said["read"], said["read"]
            log = tmp_path / "agent.log"
            with log.open("wb") as out:
                agent = await asyncio.create_subprocess_exec(
                    sys.executable, "-m", "edge_agent", "run", "--site", str(site), cwd=ROOT,
                    stdout=out, stderr=asyncio.subprocess.STDOUT,
                )  # fmt: skip
            try:
                before = served.associations
                await until(lambda: served.associations > before and any((tmp_path / "run").glob("*.sock*")))
                said["status"] = await answer(tmp_path, "status")
                said["read live"] = await verb("read", "m1", "--json", "--site", str(site))
                served.says = spoiled
                await until(lambda: b"tag is wrong" in log.read_bytes())
                said["status, spoiled"] = await answer(tmp_path, "status")
                served.says = lambda answer: None
                said["read, silent"] = await verb("read", "m1", "--json", "--site", str(site))
            finally:
                agent.terminate()
                await agent.wait()

    asyncio.run(story())
    for path in tmp_path.rglob("*"):
        if path.is_file() and path.name not in {"password", "ek", "ak", "site.toml"}:
            said[str(path.relative_to(tmp_path))] = path.read_bytes()
    assert {name: leaks(data) for name, data in said.items() if leaks(data)} == {}
    assert any(name.startswith("state/dlms/") for name in said)
    assert b"tag" in said["agent.log"]
    assert b"authentication tag is wrong" in said["status, spoiled"]
    assert b"Check both keys" in said["status, spoiled"]  # the cure stands beside it


async def until(holds: Callable[[], bool]) -> None:
    for _ in range(400):
        if holds():
            return
        await asyncio.sleep(0.05)
    raise AssertionError("it did not come about within 20 s")


async def answer(folder: Path, what: str) -> bytes:
    return json.dumps(await asyncio.to_thread(ask, folder / "run", what)).encode()


def test_no_listing_and_no_mistake_shows_them(tmp_path: Path):
    path = site_of(tmp_path, 4059, INLINE)
    site = load_site(path)
    (spec,) = device_specs(site)
    hints = check(path)
    assert {m.code for m in hints} >= {"dlms_clear_text_forced"}
    shown = f"{site!r} {spec!r} {spec} {copy.deepcopy(spec)!r} {[m.sentence() for m in hints]} {site.device[0].dlms}"
    assert leaks(shown.encode()) == []
    assert leaks(repr(Keys(bytes.fromhex(EK_HEX), bytes.fromhex(AK_HEX))).encode()) == []
    assert spec.dlms is not None
    assert spec.dlms.password == PASSWORD  # it is there, and not shown
    assert msgspec.to_builtins(site.device[0])["dlms"]["password"] == PASSWORD
    for wrong in (INLINE.replace("00010203", "zz010203"), INLINE.replace("force_clear_text_keys = true", ""),
                  INLINE.replace(f'"{EK_HEX}"', f'"{EK_HEX}'), INLINE.replace("password =", "pasword ="),
                  INLINE.replace(f'encryption_key = "{EK_HEX}"', f'encryption_key = ["{EK_HEX}"]')):  # fmt: skip
        path.write_text(SITE.format(port=1, title=CLIENT_TITLE.hex(), secrets=wrong))
        mistakes = check(path)
        assert mistakes, wrong
        text = " ".join(m.sentence() + repr(m) for m in mistakes)
        assert leaks(text.encode()) == []
        assert EK_HEX[8:] not in text
