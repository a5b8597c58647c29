"""What people say of findings, to a running agent: by verb, signed over the broker, and after a restart."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from edge_agent.app import Agent
from edge_agent.app.evaluating import AT_ONCE, REFUSALS_A_DAY
from edge_agent.audit.standing import ENOUGH
from edge_agent.cli import main
from edge_agent.contract.finding import finding_letter
from edge_agent.contract.shapes import rfc3339
from edge_agent.control import SOCKET, AgentSays, ask
from edge_agent.package import PrivateKey, seal_package
from edge_agent.ports import Clock
from edge_agent.releases import State
from edge_agent.settings import load_site
from tests.broker import Broker, free_port
from tests.e2e.processes import Play, wait_until
from tests.e2e.site import PointPlan, Stage, steady
from tests.gateway import Centre, Gateway, until
from tests.published import checked
from tests.signers import Signers
from tests.test_contract import Codes, Ids, step

SIGNERS = Signers()
TOPIC = "cap-over-contract"


def site_of(folder: Path) -> Path:
    """The factory without a broker, its meter nowhere, both signers pinned."""
    path = SIGNERS.site(folder)
    text = path.read_text("utf-8").replace("port = 1883", f"port = {free_port()}").replace("port = 1502", "port = 1")
    path.write_text(text, encoding="utf-8")
    (folder / "state").mkdir()
    return path


def finding(agent: Agent, name: str, **changes: Any) -> str:
    """A finding as the agent would have told it, into its chain."""
    made = step(finding=f"gw-1.factory.{TOPIC}.{name}", release=f"{TOPIC}@1", point="factory", **changes)
    letter = finding_letter(made, site=Ids(), point=Codes(), archive_version="a", clock=agent.clock.state(),
                            boot_id="b-1", bt_ms=agent.clock.now_ms())  # fmt: skip
    agent.keeping.write([letter], agent.clock.now_ms())
    return made.finding


def lived(site: Path, story: Callable[[Agent], Awaitable[None]], clock: Clock | None = None) -> None:
    """A running agent for the length of a story."""

    async def life() -> None:
        agent = Agent(load_site(site), "0" * 64, clock=clock)
        running = asyncio.create_task(agent.run())
        try:
            await until((Path(agent.site.paths.runtime) / SOCKET).exists)
            await story(agent)
        finally:
            agent.stop()
            async with asyncio.timeout(10):
                await running

    asyncio.run(life())


async def asked(site: Path, question: str, **fields: Any) -> Any:
    return await asyncio.to_thread(ask, Path(load_site(site).paths.runtime), question, **fields)


async def chain(agent: Agent, kind: str = "record", part: str = "") -> list[dict[str, Any]]:
    await asyncio.wrap_future(agent.store.record((), urgent=True))
    bodies = await asyncio.wrap_future(agent.store.bodies(kind, part))
    return [checked(kind, body) for body in bodies]


def told(name: str, word: str, **more: Any) -> dict[str, Any]:
    return {"finding": name, "step": word, "by": "t-17", "at": rfc3339(1_773_489_600_000), **more}


def package(version: int, *, key: PrivateKey = SIGNERS.alice, scope: str = "gw-1", **payload: Any) -> bytes:
    return seal_package(json.dumps(payload).encode(), kind="feedback", version=version, scope=scope, key=key)


def exemption(**changes: Any) -> dict[str, Any]:
    return {"point": "factory", "topic": TOPIC, "from": rfc3339(0), "to": rfc3339(2**42), "reason": "d-7",
            "author": "t-1", "approver": "t-2", **changes}  # fmt: skip


def test_feedback_enters_the_chain_and_the_evaluation(short_path: Path):
    site = site_of(short_path)

    async def story(agent: Agent) -> None:
        name = finding(agent, "2026-03")
        trial = finding(agent, "2026-02", trial=True)
        await until(lambda: agent.store.stats().depth >= 3)
        said = told(name, "confirmed", cause="breach", work_order="wo-1", recovered_kwh=120.5)
        await asked(site, "feedback", said=said)
        await asked(site, "feedback", said=told(name, "closed"))
        await asked(site, "feedback", said=told(trial, "not_confirmed"))
        records = await chain(agent, part="/feedback/")
        assert [r["data"]["step"] for r in records] == ["confirmed", "closed", "not_confirmed"]
        assert records[0]["data"]["channel"] == "verb"
        assert records[0]["source"] == "/demo/gw-1/factory"
        (row,) = [r for r in await asked(site, "evaluate", month="2026-03") if r["opened"]]
        assert (row["confirmation"]["count"], row["completion"]["count"], row["recovered_kwh"]) == (1, 1, 120.5)
        assert row["opened"] == 1, "what was on trial is outside"
        with pytest.raises(AgentSays, match="knows no finding nobody"):
            await asked(site, "feedback", said=told("nobody", "received"))
        for wrong in ({"step": "solved"}, {"by": "Mr Smith 1"}, {"at": "yesterday"}, {"recovered_kwh": -1}):
            with pytest.raises(AgentSays):
                await asked(site, "feedback", said=told(name, "received") | wrong)
        assert len(await chain(agent, part="/feedback/")) == 3

    lived(site, story)


def test_the_same_feedback_again_is_one_record(short_path: Path):
    site = site_of(short_path)

    async def story(agent: Agent) -> None:
        name = finding(agent, "2026-03")
        await until(lambda: agent.store.stats().depth >= 2)
        for _ in range(3):
            await asked(site, "feedback", said=told(name, "received"))
        assert len(await chain(agent, part="/feedback/")) == 1

    lived(site, story)


def test_a_signed_package_is_taken_whole_once_and_says_so(short_path: Path):
    site = site_of(short_path)

    async def story(agent: Agent) -> None:
        name = finding(agent, "2026-03")
        await until(lambda: agent.store.stats().depth >= 2)
        agent.evaluating.hear(package(5, feedback=[told(name, "confirmed")], exemptions=[exemption()]))
        await until(lambda: agent.core.lifecycle.standing.exemptions)
        assert agent.core.lifecycle.standing.exempt("factory", TOPIC, 1)
        await until(lambda: agent.store.stats().pending == 0)
        (feedback,) = [r["data"] for r in await chain(agent, part="/feedback/") if r["data"]["record"] == "feedback"]
        assert (feedback["channel"], feedback["key"]) == ("package", "alice")
        (exempt,) = await chain(agent, part="/exemption/")
        assert exempt["data"]["approver"] == "t-2"
        for refused, reason in (
            (package(5, feedback=[told(name, "closed")]), "old_version"),
            (package(6, feedback=[told(name, "closed"), told("nobody", "closed")]), "unknown_finding"),
            (package(6, exemptions=[exemption(author="t-2")]), "same_person"),
            (package(6, exemptions=[exemption(point="mill")]), "unknown_point"),
            (package(6, exemptions=[exemption(topic="cap-nothing")]), "unknown_topic"),
            (package(6, exemptions=[exemption(to=rfc3339(0))]), "span"),
            (package(6, feedback=[{"finding": name}]), "payload"),
            (package(6, scope="gw-2", feedback=[]), "scope"),
            (package(6, key=SIGNERS.mallory, feedback=[]), "signature"),
            (b"rubbish", "form"),
        ):
            before = len(await chain(agent, part="/package/"))
            agent.evaluating.hear(refused)
            await until(lambda: not agent.evaluating._tasks)
            await asyncio.wrap_future(agent.store.bodies("record"))
            records = [r["data"] for r in await chain(agent, part="/package/")]
            assert len(records) == before + 1, reason
            assert (records[-1]["outcome"], records[-1]["reason"]) == ("refused", reason)
        applied = [r["data"] for r in await chain(agent, part="/package/") if r["data"]["outcome"] == "applied"]
        assert [(r["document"], r["version"]) for r in applied] == [("feedback", 5)]
        steps = [r["data"].get("step") for r in await chain(agent, part="/feedback/")]
        assert "closed" not in steps, "all or nothing"

    lived(site, story)


def test_rubbish_does_not_fill_the_chain(short_path: Path):
    site = site_of(short_path)

    async def story(agent: Agent) -> None:
        for n in range(3 * REFUSALS_A_DAY):
            agent.evaluating.hear(b"rubbish %d" % n)
            await until(lambda: not agent.evaluating._tasks)
        assert len(await chain(agent, part="/package/")) == REFUSALS_A_DAY
        for n in range(3 * AT_ONCE):
            agent.evaluating.hear(b"at once %d" % n)
        assert agent.evaluating.dropped == 2 * AT_ONCE

    lived(site, story)


def test_a_restart_forgets_neither_exemption_nor_answers_nor_ratchet(short_path: Path):
    site = site_of(short_path)

    async def first(agent: Agent) -> None:
        names = [finding(agent, f"2026-03-{n:02d}") for n in range(ENOUGH)]
        await until(lambda: agent.store.stats().depth > ENOUGH)
        feedback = [told(name, "not_confirmed") for name in names]
        agent.evaluating.hear(package(7, feedback=feedback, exemptions=[exemption()]))
        await until(lambda: agent.core.lifecycle.standing.capped(TOPIC, 1), 20)
        (row,) = [r for r in await asked(site, "evaluate") if r["opened"]]
        assert row["capped"]
        assert row["confirmation"] == {"count": 0, "of": ENOUGH, "share": 0.0}

    async def second(agent: Agent) -> None:
        standing = agent.core.lifecycle.standing
        assert standing.capped(TOPIC, 1)
        assert standing.exempt("factory", TOPIC, 1)
        agent.evaluating.hear(package(7, feedback=[]))
        await until(lambda: not agent.evaluating._tasks)
        refused = [r["data"].get("reason") for r in await chain(agent, part="/package/")]
        assert refused == [None, "old_version"]

    lived(site, first)
    lived(site, second)


def test_other_releases_than_before_the_start_are_a_record(short_path: Path):
    site = site_of(short_path)
    configs: list[list[dict[str, Any]]] = []

    async def story(agent: Agent) -> None:
        configs.append([r["data"] for r in await chain(agent, part="/config/")])

    lived(site, story)
    lived(site, story)
    shelf = SIGNERS.shelf(short_path / "state/releases")
    shelf.decide("dat-comm@1", State.SUSPENDED, SIGNERS.bob, at="2026-03-14T12:00:00Z")
    lived(site, story)
    assert [len(c) for c in configs] == [0, 0, 1]
    assert configs[2][0]["part"] == "releases"
    assert configs[2][0]["digest"] != configs[2][0]["previous"]


def test_a_release_over_the_broker_is_kept_for_the_next_start_and_said(short_path: Path):
    site = site_of(short_path / "here")
    office = SIGNERS.shelf(short_path / "office")
    name = office.new(TOPIC).stem
    for state, key in ((State.IN_REVIEW, SIGNERS.alice), (State.APPROVED, SIGNERS.bob), (State.PUBLISHED, SIGNERS.bob)):
        office.decide(name, state, key, at="2026-03-14T12:00:00Z")
    raw = (office.folder / f"{name}.signed").read_bytes()

    async def first(agent: Agent) -> None:
        receiving = agent.receiving
        assert receiving is not None
        for sent in (raw.replace(b'"at":"2026', b'"at":"2027'), raw[:-300], b"rubbish", raw, raw):
            receiving.hear(sent)
            await until(lambda: not receiving.busy)
        said = [r["data"] for r in await chain(agent, part="/package/")]
        outcomes = [(r["outcome"], r.get("reason")) for r in said]
        assert outcomes == [("refused", "signature"), ("refused", "form"), ("refused", "form"), ("applied", None)]
        assert said[-1]["version"] == 2, "the same one again is no news"
        assert agent.core.releases[TOPIC].version == 1, "what runs is not changed under way"

    async def second(agent: Agent) -> None:
        assert agent.core.releases[TOPIC].name == name

    lived(site, first)
    lived(site, second)


def test_an_evaluation_message_follows_feedback_and_says_the_same_only_once(short_path: Path):
    site = site_of(short_path)

    async def story(agent: Agent) -> None:
        now_ms = agent.clock.state().utc_ms(agent.clock.now_ms())
        assert now_ms is not None
        name = finding(agent, "x", opened_ms=now_ms, time_ms=now_ms)
        await until(lambda: agent.store.stats().depth >= 2)
        await agent.evaluating._tell()
        await agent.evaluating._tell()
        await asked(site, "feedback", said=told(name, "confirmed"))
        await agent.evaluating._tell()
        messages = [m["data"] for m in await chain(agent, "evaluation")]
        assert [m["confirmation"]["count"] for m in messages if m["topic"] == TOPIC] == [0, 1]

    lived(site, story)


def test_feedback_over_a_real_broker(mosquitto: Callable[..., Broker]):
    broker = mosquitto()
    heard: list[bytes] = []

    async def story() -> None:
        gateway = Gateway(broker.port, packages={"feedback": heard.append, "releases": heard.append})
        centre = Centre(broker.port, gateway.outbox.epoch)
        async with gateway.running():
            gateway.write(3)
            await until(lambda: gateway.outbox.upto == 3)
            sent = package(1, feedback=[])
            centre.say(sent, "feedback")
            await until(lambda: heard)
            centre.say(sent * 2, "releases")
            await until(lambda: len(heard) == 2)
            centre.say(b"unasked", "command")
            assert heard == [sent, sent * 2], "byte by byte"
            gateway.write(2)
            await until(lambda: gateway.outbox.upto == 5)
            assert gateway.uplink.report.dropped == 0
        centre.close()

    asyncio.run(story())


def test_a_document_of_feedback_is_sealed_by_a_person_and_taken_by_the_agent(short_path: Path):
    site = site_of(short_path)
    document, out = short_path / "feedback.json", short_path / "feedback.pkg"
    document.write_text(json.dumps({"exemptions": [exemption()]}), encoding="utf-8")
    words = ["seal", document, out, "--key", short_path / "alice.pem", "--number", "3", "--site", site]
    done = CliRunner().invoke(main, [str(w) for w in words])
    assert done.exit_code == 0, done.output
    assert "signed by alice as number 3" in done.output

    async def story(agent: Agent) -> None:
        told = await asked(site, "feedback", package=out.read_text("utf-8"))
        assert len(told["records"]) == 2, "the exemption, and that the package was applied"
        with pytest.raises(AgentSays, match="was taken already"):
            await asked(site, "feedback", package=out.read_text("utf-8"))

    lived(site, story)
    document.write_text('{"exemptions": [{"point": "factory"}]}', encoding="utf-8")
    refused = CliRunner().invoke(main, [str(w) for w in words])
    assert refused.exit_code == 1
    assert "feedback.json" in refused.output


def test_the_verbs_of_a_person(short_path: Path):
    over = PointPlan("factory", steady(110), profile="acrel-dtsd1352")
    play = Play(Stage(short_path / "s", [over], rate=900.0, broker_port=1))
    try:
        play.start_meters()
        play.start_agent()
        rows = wait_until(lambda: json.loads(play.verb("findings", "--json").stdout), 40, "a finding opens")
        (name,) = [r["finding"] for r in rows if r["topic"] == TOPIC]
        done = play.verb("feedback", name, "confirmed", "--by", "t-17", "--cause", "breach")
        assert done.returncode == 0, done.stderr
        assert "/feedback/" in done.stdout
        assert "knows no finding" in play.verb("feedback", name[:-1], "closed", "--by", "t-17").stderr
        assert "--by CODE" in play.verb("feedback", name, "closed").stderr
        asked = json.loads(play.verb("evaluate", "--json").stdout)
        (row,) = [r for r in asked if r["topic"] == TOPIC]
        assert (row["opened"], row["confirmation"]["count"], row["month"]) == (1, 1, "2026-03")
        assert "blind" in row
        assert play.agent.stop() == 0
        said = play.verb("evaluate").stdout
        assert "属实率" in said
        assert "100 %, 1 of 1" in said
        read = [r for r in json.loads(play.verb("evaluate", "--json").stdout) if r["topic"] == TOPIC]
        assert {k: v for k, v in read[0].items() if k != "blind"} == {k: v for k, v in row.items() if k != "blind"}
        assert "the running agent alone writes" in play.verb("feedback", name, "closed", "--by", "t-17", "--at",
                                                             "2026-03-14T10:00:00+08:00").stderr  # fmt: skip
    finally:
        play.end()
