"""What only a person may close: an inspector's word closes it, lets the baseline learn again, and does so once."""

from __future__ import annotations

from pathlib import Path

import pytest
from msgspec.structs import replace

from edge_agent.app import Agent
from edge_agent.audit.lifecycle import lifetime
from edge_agent.audit.standing import Announced, Answered, Standing
from edge_agent.audit.topic import Answer, Verdict
from edge_agent.audit.track import Phase
from edge_agent.core import CoreOutcome
from tests.broker import free_port
from tests.gateway import UTC_MS, until
from tests.test_commands import SIGNERS, lived, site_of
from tests.test_feedback import asked, chain, package, told

STEP, COVER, OVER = "cap-expansion-suspect", "met-cover", "cap-over-contract"


def opened(agent: Agent, topic: str) -> str:
    """A finding of the topic, opened as the agent itself opens one."""
    out = lifetime()
    verdict = Verdict("factory", Answer.BREACH, UTC_MS - 1, UTC_MS, low=9.0, high=9.0, confirmed=True)
    life = agent.core.lifecycle
    level = agent.core.releases[topic].levels[0]
    for n in range(max(1, level.open.k)):
        end_ms = UTC_MS + n
        life.judge([replace(verdict, end_ms=end_ms)], topic, out)
    life.confirm({"factory": UTC_MS + 10}, UTC_MS + 10, out)
    assert [s.topic for s in out.steps] == [topic]
    snapshot = agent.image.cut(agent.clock.now_ms(), agent.clock.state())
    agent.keeping.keep(CoreOutcome(steps=out.steps, changed=out.changed), snapshot)
    return out.steps[0].finding


def learnt(agent: Agent) -> list[tuple[str, str, bool]]:
    """What studies are told from now on."""
    told_: list[tuple[str, str, bool]] = []

    def hear(topic: str, point: str, *, agreed: bool) -> None:
        told_.append((topic, point, agreed))

    agent.core.studies.answered = hear  # type: ignore[method-assign]  # listens in
    return told_


async def steps(agent: Agent, finding: str) -> list[tuple[str, str]]:
    bodies = [m["data"] for m in await chain(agent, "finding")]
    return [(m["step"], m["reason"]) for m in bodies if m["finding"] == finding]


@pytest.mark.parametrize(("word", "agreed"), [("confirmed", True), ("not_confirmed", False), ("rectified", True)])
def test_an_answer_closes_what_waits_for_one_and_the_study_learns_again(short_path: Path, word: str, agreed: bool):
    site = site_of(short_path, free_port())

    async def story(agent: Agent) -> None:
        heard = learnt(agent)
        name = opened(agent, STEP)
        await until(lambda: agent.store.stats().depth >= 2)
        await asked(site, "feedback", said=told(name, "received"))
        await asked(site, "feedback", said=told(name, "cannot_tell"))
        assert agent.core.lifecycle.open_findings("factory"), "these say nothing of what it was"
        await asked(site, "feedback", said=told(name, word))
        await until(lambda: not agent.core.lifecycle.open_findings("factory"))
        assert heard == [(STEP, "factory", agreed)]
        for again in (word, "rectified", "not_confirmed"):
            await asked(site, "feedback", said=told(name, again))
        await until(lambda: not agent.core.lifecycle.standing.waiting)
        assert len(heard) == 1
        await until(lambda: agent.store.stats().pending == 0)
        assert [s for s, _ in await steps(agent, name)] == ["opened", "cleared"]
        assert (await steps(agent, name))[-1][1] == "manual_t-17"

    lived(site, story)


def test_what_closes_by_itself_is_not_closed_by_an_answer(short_path: Path):
    site = site_of(short_path, free_port())

    async def story(agent: Agent) -> None:
        heard = learnt(agent)
        name = opened(agent, OVER)
        await until(lambda: agent.store.stats().depth >= 2)
        await asked(site, "feedback", said=told(name, "confirmed"))
        await until(lambda: not agent.core.lifecycle.standing.waiting)
        assert [f.id for f in agent.core.lifecycle.open_findings("factory")] == [name]
        assert heard == []

    lived(site, story)


def test_an_answer_that_came_before_a_stop_counts_after_the_start_and_once(short_path: Path):
    site = site_of(short_path, free_port())
    names: list[str] = []

    async def first(agent: Agent) -> None:
        names.append(opened(agent, COVER))
        await until(lambda: agent.store.stats().depth >= 2)
        agent._tick = lambda: None  # type: ignore[method-assign]  # it stops before its next tick
        agent.evaluating.hear(package(1, key=SIGNERS.alice, feedback=[told(names[0], "confirmed")]))
        await until(lambda: agent.core.lifecycle.standing.waiting)
        await until(lambda: not agent.evaluating._tasks)
        assert agent.core.lifecycle.open_findings("factory")

    async def second(agent: Agent) -> None:
        await until(lambda: not agent.core.lifecycle.open_findings("factory"))
        await until(lambda: len(agent.core.lifecycle.tracks) and agent.store.stats().pending == 0)
        assert [s for s, _ in await steps(agent, names[0])] == ["opened", "cleared"]

    async def third(agent: Agent) -> None:
        assert agent.core.lifecycle.standing.waiting == []
        (track,) = [t for t in agent.core.lifecycle.tracks.values() if t.topic == COVER]
        assert track.phase is Phase.QUIET
        assert track.answered, "it is not told again until it has been clear"
        assert [s for s, _ in await steps(agent, names[0])] == ["opened", "cleared"]

    for life in (first, second, third):
        lived(site, life)


def test_the_same_answer_waits_once_and_what_an_older_version_wrote_is_read():
    standing = Standing()
    for _ in range(2):
        standing.settle(Answered("f", STEP, "factory", "t-1", True))
    standing.windows["w"] = Announced("factory", "wo-1", 1, 5)
    kept = Standing()
    kept.restore(standing.dump())
    assert kept.waiting == [Answered("f", STEP, "factory", "t-1", True)]
    assert kept.work_order("factory", 4, 6) == "wo-1"
    assert len(kept.to_settle()) == 1
    assert kept.to_settle() == []
    old = {name: value for name, value in standing.dump().items() if name in {"exemptions", "answers"}}
    kept.restore(old)
    assert (kept.waiting, kept.windows) == ([], {})
