"""What the centre asks of a running agent over a real broker: done once, answered always, refused with the reason."""

from __future__ import annotations

import asyncio
import base64
import json
import zlib
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from edge_agent.app import Agent
from edge_agent.app.commanding import AT_ONCE, REFUSALS_A_DAY
from edge_agent.cli import main
from edge_agent.contract.commands import ALLOWED, Command
from edge_agent.contract.demand import demand_row
from edge_agent.contract.envelope import seal
from edge_agent.contract.shapes import rfc3339
from edge_agent.evidence.frozen import digest_of, freeze
from edge_agent.package import PrivateKey, open_package, plain_payload, seal_package
from edge_agent.releases import State
from edge_agent.store import IntervalRow, Limits, Store
from tests import test_feedback
from tests.broker import Broker, free_port
from tests.gateway import UTC_MS, Centre, SteadyClock, until
from tests.published import checked, validator
from tests.signers import Signers
from tests.test_feedback import chain, finding

SIGNERS = Signers()
SOON_S = UTC_MS // 1000 + 3_600


def site_of(folder: Path, port: int) -> Path:
    path = SIGNERS.site(folder)
    text = path.read_text("utf-8").replace("port = 1883", f"port = {port}").replace("port = 1502", "port = 1")
    path.write_text(text, encoding="utf-8")
    (folder / "state").mkdir()
    return path


def lived(site: Path, story: Callable[[Agent], Awaitable[None]]) -> None:
    """An agent whose clock is synced, for the length of a story."""
    test_feedback.lived(site, story, SteadyClock())


def command(
    version: int, *, key: PrivateKey = SIGNERS.alice, scope: str = "gw-1", exp_s: int | None = SOON_S, **payload: Any
) -> bytes:
    raw = json.dumps(payload).encode()
    return seal_package(raw, kind="command", version=version, scope=scope, key=key, exp_s=exp_s)


def answers(sent: list[tuple[str, bytes]]) -> list[dict[str, Any]]:
    return [checked("reply", body) for level, body in sent if level == "reply"]


def listened(agent: Agent) -> list[tuple[str, bytes]]:
    """What the agent would send because of commands, without a broker."""
    sent: list[tuple[str, bytes]] = []
    assert agent.commanding is not None

    def send(messages: Any) -> bool:
        sent.extend(messages)
        return True

    agent.commanding._send = send
    agent.commanding._doing._send = send  # type: ignore[attr-defined]  # in place of the broker
    return sent


async def ordered(agent: Agent, package: bytes) -> None:
    assert agent.commanding is not None
    agent.commanding.hear(package)
    await until(lambda: not agent.commanding.busy)  # type: ignore[union-attr]  # a running agent has one


async def frozen(agent: Agent, name: str) -> bytes:
    """The evidence of a finding in the store; its bytes before they were packed."""
    made = freeze(name, 1, {"said": "x" * 60_000, "noise": [zlib.crc32(b"%d" % n) for n in range(8_000)]})
    await asyncio.wrap_future(agent.store.record((), urgent=True, evidence=[made]))
    return zlib.decompress(made.packed)


def test_evidence_on_command_over_a_real_broker(mosquitto: Callable[..., Broker], short_path: Path):
    broker = mosquitto()
    site = site_of(short_path, broker.port)
    heard: dict[str, Any] = {}

    async def story(agent: Agent) -> None:
        name = finding(agent, "2026-03")
        body = await frozen(agent, name)
        centre = Centre(broker.port, agent.store.epoch)
        await until(lambda: agent.uplink.report.connected)
        asked = command(1, do="evidence", finding=name)
        centre.say(asked, "command")
        await until(lambda: centre.topics("reply"))
        pieces = [checked("evidence", p) for p in centre.topics(f"evidence/{name}")]
        assert len(pieces) == pieces[0]["of"] > 1
        packed = b"".join(base64.b64decode(p["data"]) for p in sorted(pieces, key=lambda p: p["piece"]))
        assert zlib.decompress(packed) == body
        assert digest_of(body) == pieces[0]["digest"]
        centre.say(asked, "command")
        await until(lambda: len(centre.topics("reply")) == 2)
        first, again = (checked("reply", r) for r in centre.topics("reply"))
        assert (first["outcome"], first["do"], first["key"]) == ("done", "evidence", "alice")
        assert again["again"]
        assert "again" not in first
        assert again["sent"] == first["sent"], "what it led to then"
        centre.say(command(2, key=SIGNERS.mallory, do="evidence", finding=name), "command")
        centre.say(command(3, do="open_the_breaker"), "command")
        await until(lambda: len(centre.topics("reply")) == 4)
        refused = [checked("reply", r) for r in centre.topics("reply")][2:]
        assert [r["reason"] for r in refused] == ["signature", "not_allowed"]
        assert len(centre.topics(f"evidence/{name}")) == len(pieces), "once"

        def recorded() -> list[tuple[int, str, str | None]]:
            kept = [json.loads(b)["data"] for _, b in sorted(centre.kept.items())]
            return [(d["version"], d["outcome"], d.get("reason")) for d in kept if d.get("document") == "command"]

        await until(lambda: len(recorded()) == 3)
        assert recorded() == [(1, "applied", None), (0, "refused", "signature"), (3, "refused", "not_allowed")]
        assert {"reply", "evidence", "record", "releases"} <= centre.check_everything()
        heard["asked"] = asked
        centre.close()

    async def after(agent: Agent) -> None:
        sent = listened(agent)
        await ordered(agent, heard["asked"])
        (reply,) = answers(sent)
        assert (reply["outcome"], reply["again"]) == ("done", True), "a restart does not forget it"
        assert len(sent) == 1
        await ordered(agent, command(1, do="read_now", point="factory"))
        assert answers(sent)[-1]["reason"] == "old_version"

    lived(site, story)
    lived(site, after)


def test_what_is_refused_is_answered_recorded_and_not_done(short_path: Path):
    site = site_of(short_path, free_port())

    async def story(agent: Agent) -> None:
        sent = listened(agent)
        name = finding(agent, "2026-03")
        await until(lambda: agent.store.stats().depth >= 2)
        work: dict[str, Any] = {
            "do": "service_window",
            "from": rfc3339(UTC_MS),
            "to": rfc3339(UTC_MS + 1),
            "work_order": "wo-1",
        }
        for n, (package, reason) in enumerate((
            (command(1, exp_s=UTC_MS // 1000 - 1, do="read_now", point="factory"), "expired"),
            (command(1, exp_s=None, do="read_now", point="factory"), "no_end"),
            (command(1, scope="gw-2", do="read_now", point="factory"), "scope"),
            (command(1, do="read_now", point="mill"), "unknown_point"),
            (command(1, do="evidence", finding=name), "unknown_finding"),
            (command(1, do="evidence"), "payload"),
            (command(1, do="resend", records=[900, 901]), "nothing_there"),
            (command(1, do="resend"), "nothing_there"),
            (command(1, points=["mill"], **work), "unknown_point"),
            (command(1, points=["factory"], **(work | {"to": work["from"]})), "window"),
            (command(1, do="test_finding"), "not_here"),
            (command(1, do="support_bundle"), "not_here"),
            (command(1), "not_allowed"),
            (seal_package(b"{}", kind="feedback", version=1, scope="gw-1", key=SIGNERS.alice), "kind"),
            (b"rubbish", "form"),
        ), start=1):  # fmt: skip
            await ordered(agent, package)
            replies = answers(sent)
            assert len(replies) == len(sent) == n, reason
            assert (replies[-1]["outcome"], replies[-1]["reason"]) == ("refused", reason)
            assert ("key" in replies[-1]) == (reason != "form")
        records = [r["data"] for r in await chain(agent, part="/package/command/")]
        assert [r["outcome"] for r in records] == ["refused"] * n
        await ordered(agent, command(1, do="read_now", point="factory"))
        assert answers(sent)[-1]["outcome"] == "done", "nothing that was refused has moved the ratchet"

    lived(site, story)


def test_rubbish_fills_neither_chain_nor_line(short_path: Path):
    site = site_of(short_path, free_port())

    async def story(agent: Agent) -> None:
        sent = listened(agent)
        for n in range(2 * REFUSALS_A_DAY):
            await ordered(agent, b"rubbish %d" % n)
        assert len(sent) == REFUSALS_A_DAY == len(await chain(agent, part="/package/command/"))
        await ordered(agent, command(1, do="read_now", point="mill"))
        assert answers(sent)[-1]["reason"] == "unknown_point", "who is known is answered all the same"
        assert agent.commanding is not None
        for n in range(3 * AT_ONCE):
            agent.commanding.hear(b"at once %d" % n)
        assert agent.commanding.dropped == 2 * AT_ONCE

    lived(site, story)


def test_what_a_stop_interrupted_is_not_done_later_and_says_so(short_path: Path):
    site = site_of(short_path, free_port())
    package = command(7, do="read_now", point="factory")

    async def first(agent: Agent) -> None:
        commanding = agent.commanding
        assert commanding is not None
        begun = asyncio.Event()

        async def endless(_: Any) -> Any:
            begun.set()
            await asyncio.Event().wait()

        commanding._doing.do = endless  # type: ignore[method-assign, assignment]  # never done
        commanding.hear(package)
        async with asyncio.timeout(10):
            await begun.wait()
        commanding.hear(package)  # comes twice while it is being done

    async def second(agent: Agent) -> None:
        sent = listened(agent)
        await ordered(agent, package)
        (reply,) = answers(sent)
        assert (reply["outcome"], reply["reason"], reply["again"], reply["v"]) == ("failed", "interrupted", True, 7)
        records = [r["data"]["outcome"] for r in await chain(agent, part="/package/command/")]
        assert records == ["applied"]

    lived(site, first)
    lived(site, second)


def test_a_reading_on_command_is_in_the_answer(short_path: Path):
    site = site_of(short_path, free_port())

    async def story(agent: Agent) -> None:
        sent = listened(agent)
        await ordered(agent, command(1, do="read_now", point="factory"))
        (reply,) = answers(sent)
        assert reply["outcome"] == "done"
        assert reply["readings"]
        assert {r["gap"] for r in reply["readings"]} == {"link_down"}, "nobody is there, and it says so"

    lived(site, story)


def test_records_and_intervals_are_sent_again_byte_by_byte(mosquitto: Callable[..., Broker], short_path: Path):
    broker = mosquitto()
    site = site_of(short_path, broker.port)
    row = demand_row("factory", source="register", coverage=1.0, active_w=(1.0, 2.0, 3.0), apparent_va=None)
    rows = [IntervalRow("factory", UTC_MS + n * 900_000, UTC_MS + (n + 1) * 900_000, row) for n in range(3)]
    files = (short_path / "state/findings.db", short_path / "state/telemetry.db")
    store = Store.open(*files, seal=seal, now_ms=lambda: UTC_MS, limits=Limits(telemetry_s=0.01))
    store.add_intervals(rows).result()
    store.close()

    async def story(agent: Agent) -> None:
        for n in range(4):
            finding(agent, f"2026-03-{n + 1:02d}")
        centre = Centre(broker.port, agent.store.epoch)
        await until(lambda: agent.store.stats().kept_upto >= 4)
        before = centre.arrivals.copy()
        since, until_ = rfc3339(UTC_MS), rfc3339(UTC_MS + 1_800_000)
        asked = command(1, do="resend", records=[2, 4], intervals={"from": since, "to": until_})
        centre.say(asked, "command")
        await until(lambda: centre.topics("reply"))
        reply = checked("reply", centre.topics("reply")[0])
        assert (reply["sent"], reply["last"], reply["until"]) == (5, 4, until_)
        again = [seq for seq in centre.arrivals[len(before) :] if seq <= 4]
        assert again == [2, 3, 4], "the centre compares the bytes with those of then"
        ends = [json.loads(b)["end"] for b in centre.topics("demand")]
        assert set(ends) >= {rfc3339(r.end_ms) for r in rows[:2]}
        centre.check_everything()
        centre.close()

    lived(site, story)


def test_announced_work_counts_at_once_and_after_a_restart(short_path: Path):
    site = site_of(short_path, free_port())

    async def first(agent: Agent) -> None:
        sent = listened(agent)
        work: dict[str, Any] = {"points": ["factory"], "from": rfc3339(UTC_MS), "to": rfc3339(UTC_MS + 3_600_000)}
        await ordered(agent, command(1, do="service_window", work_order="wo-9", people=["t-1"], seals=["s-1"], **work))
        assert answers(sent)[-1]["outcome"] == "done"
        (record,) = await chain(agent, part="/service_window/")
        assert record["data"]["work_order"] == "wo-9"

    async def second(agent: Agent) -> None:
        standing = agent.core.lifecycle.standing
        assert standing.work_order("factory", UTC_MS, UTC_MS + 1) == "wo-9"
        assert standing.work_order("factory", UTC_MS + 3_600_000, UTC_MS + 3_600_001) is None
        assert standing.work_order("mill", UTC_MS, UTC_MS + 1) is None

    lived(site, first)
    lived(site, second)


def test_the_list_is_the_whole_list():
    assert {"resend", "evidence", "read_now", "test_finding", "service_window", "support_bundle"} == ALLOWED
    with pytest.raises(Exception, match="write"):
        validator("command").validate({"do": "write", "register": 1})


def test_what_became_of_a_release_is_said_at_once_and_after_each_connect(
    mosquitto: Callable[..., Broker], short_path: Path
):
    broker = mosquitto()
    site = site_of(short_path / "here", broker.port)
    office = SIGNERS.shelf(short_path / "office")
    name = office.new("cap-over-contract").stem
    for state, key in ((State.IN_REVIEW, SIGNERS.alice), (State.APPROVED, SIGNERS.bob), (State.PUBLISHED, SIGNERS.bob)):
        office.decide(name, state, key, at="2026-03-14T12:00:00Z")
    raw = (office.folder / f"{name}.signed").read_bytes()

    def said(centre: Centre) -> list[dict[str, Any]]:
        return [checked("releases", body) for body in centre.topics("releases")]

    def answered(centre: Centre, times: int) -> bool:
        return len([s for s in said(centre) if "heard" in s]) == times

    async def first(agent: Agent) -> None:
        centre = Centre(broker.port, agent.store.epoch)
        await until(lambda: agent.uplink.report.connected)
        for n, sent in enumerate((raw[:-300], raw, raw), start=1):
            centre.say(sent, "releases")
            await until(partial(answered, centre, n))
        heard = [(s["heard"]["outcome"], s["heard"].get("reason")) for s in said(centre) if "heard" in s]
        assert heard == [("refused", "form"), ("taken", None), ("known", None)]
        last = said(centre)[-1]
        assert last["waiting"] == [{"release": name, "state": "published"}]
        assert "cap-over-contract@1" in last["applied"], "what runs is not changed under way"
        centre.close()

    async def second(agent: Agent) -> None:
        centre = Centre(broker.port, agent.store.epoch)
        await until(lambda: agent.uplink.report.connected)
        await until(lambda: [s for s in said(centre) if name in s["applied"]])
        (greeting,) = [s for s in said(centre) if name in s["applied"]]
        assert "heard" not in greeting
        assert greeting["waiting"] == []
        centre.close()

    lived(site, first)
    lived(site, second)


def test_a_command_is_sealed_by_a_person_and_has_an_end(short_path: Path):
    site = site_of(short_path, free_port())
    ask, out = short_path / "ask.json", short_path / "ask.pkg"
    ask.write_text('{"do": "read_now", "point": "factory"}', encoding="utf-8")
    words = ["seal", ask, out, "--kind", "command", "--key", short_path / "alice.pem", "--number", 3, "--site", site]
    assert "--minutes" in CliRunner().invoke(main, [str(w) for w in words]).output
    done = CliRunner().invoke(main, [str(w) for w in (*words, "--minutes", 60)])
    assert done.exit_code == 0, done.output
    opened = open_package(out.read_bytes(), SIGNERS.keyset, kind="command", scopes=None)
    assert opened.header.v == 3
    assert opened.header.exp
    asked: Any = Command
    assert plain_payload(opened, asked).point == "factory"
    ask.write_text('{"do": "write", "register": 1}', encoding="utf-8")
    assert CliRunner().invoke(main, [str(w) for w in (*words, "--minutes", 60)]).exit_code == 1
