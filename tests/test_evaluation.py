"""What became of findings: the indicators by their definitions, and what answers and exemptions do to the next ones."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from datetime import date
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import event, given
from hypothesis import strategies as st

from edge_agent.archive import Archive
from edge_agent.assembly import load_point, releases_of
from edge_agent.audit.standing import ENOUGH, Exempted, Standing
from edge_agent.audit.topic import Answer, Step, Verdict
from edge_agent.contract.shapes import rfc3339
from edge_agent.core import Core
from edge_agent.evaluation import (
    DEFINITIONS,
    Blindness,
    Docket,
    dockets_of,
    evaluation_letter,
    indicators,
    plain_indicators,
)
from edge_agent.model import Severity
from edge_agent.replay.dry_run import Stored
from edge_agent.settings import config_files, device_specs, load_site
from tests.published import checked
from tests.signers import FACTORY
from tests.test_contract import EPOCH, GENESIS, SYNCED, Ids
from tests.test_releases import blocks

TOPIC = "cap-over-contract"
SHANGHAI = ZoneInfo("Asia/Shanghai")
TODAY = date(2026, 3, 31)


# --- the indicators, by their definitions


def found(name: str, opened: str = "2026-03-02", due: str = "2026-03-09", topic: str = TOPIC, point: str = "factory",
          **marks: bool) -> bytes:  # fmt: skip
    """The first step of a finding, as far as the evaluation reads it."""
    outside = {"trial": False, "exempt": False, "test": False, **marks}
    data = {"finding": name, "topic": topic, "point": point, "release": f"{topic}@1", "due": due, **outside}
    data["opened"] = f"{opened}T02:00:00.000Z"
    return json.dumps({"data": data}).encode()


def said(finding: str, step: str, at: str = "2026-03-05", **more: Any) -> bytes:
    data = {"record": "feedback", "finding": finding, "step": step, "by": "t-1", "at": f"{at}T02:00:00.000Z",
            "channel": "verb", **more}  # fmt: skip
    return json.dumps({"data": data}).encode()


def month_of(findings: Sequence[bytes], feedback: Sequence[bytes], month: str = "2026-03", topic: str = TOPIC) -> Any:
    dockets = dockets_of(findings, feedback, lambda point: SHANGHAI).values()
    return indicators(list(dockets), topic, month, TODAY)


def rates(told: Any) -> dict[str, tuple[int, int]]:
    names = ("completion", "timeliness", "confirmation", "rectification", "recurrence")
    return {name: (getattr(told, name).count, getattr(told, name).of) for name in names}


def test_each_rate_counts_what_its_definition_says():
    findings = [found(f"f{n}") for n in range(1, 7)]
    feedback = [
        said("f1", "received"), said("f1", "confirmed"), said("f1", "rectified", recovered_kwh=120.5),
        said("f1", "closed", "2026-03-20"),
        said("f2", "confirmed", "2026-03-09"),  # on the due day
        said("f3", "not_confirmed", "2026-03-10"), said("f3", "closed", "2026-03-11", recovered_money=8.0),
        said("f4", "cannot_tell"),
        said("f5", "received"),  # nobody answered, and it is due
    ]  # fmt: skip
    told = month_of([*findings, found("f7", due="2026-04-30")], feedback)
    assert rates(told) == {
        "completion": (2, 7),  # f1, f3
        "timeliness": (3, 6),  # f1, f2, f4; f3 late, f5 and f6 past their due day; f7 is not due yet
        "confirmation": (2, 3),  # f1, f2 of f1, f2, f3
        "rectification": (1, 2),
        "recurrence": (0, 7),
    }
    assert told.steps == {"received": 2, "dispatched": 0, "on_site": 0, "confirmed": 2, "not_confirmed": 1,
                          "cannot_tell": 1, "rectified": 1, "closed": 2}  # fmt: skip
    assert (told.recovered_kwh, told.recovered_money) == (120.5, 8.0)


def test_of_none_nothing_is_said():
    told = month_of([], [])
    assert all(of == 0 for _, of in rates(told).values())
    assert "share" not in plain_indicators(told)["completion"]
    assert "blind" not in plain_indicators(told)


def test_the_last_answer_counts_and_a_step_counts_once():
    told = month_of(
        [found("f1")],
        [said("f1", "not_confirmed"), said("f1", "confirmed", recovered_kwh=5.0), said("f1", "closed"),
         said("f1", "confirmed", recovered_kwh=7.0)],
    )  # fmt: skip
    assert (told.steps["confirmed"], told.steps["not_confirmed"]) == (1, 0)
    assert told.recovered_kwh == 7.0, "what was corrected is not added"


def test_trial_and_test_findings_are_outside_and_exempt_ones_are_counted_apart():
    findings = [found("f1"), found("f2", trial=True), found("f3", test=True), found("f4", exempt=True)]
    told = month_of(findings, [said(f"f{n}", "closed") for n in range(1, 5)])
    assert (told.opened, told.exempted) == (2, 1)
    assert told.completion.of == 1


def test_a_finding_belongs_to_the_local_month_in_which_it_opened():
    late = found("f1").replace(b"2026-03-02T02:00:00.000Z", b"2026-03-31T16:30:00.000Z")  # 00:30 on 1 April
    assert month_of([late], []).opened == 0
    assert month_of([late], [], "2026-04").opened == 1


def test_what_comes_again_was_confirmed_and_put_right_before():
    first, again = found("f1"), found("f2", "2026-03-20")
    right = [said("f1", "confirmed"), said("f1", "rectified", "2026-03-10")]
    assert rates(month_of([first, again], right))["recurrence"] == (1, 2)
    assert rates(month_of([first, again], right[:1]))["recurrence"] == (0, 2), "not put right yet"
    assert rates(month_of([first, again], right[1:]))["recurrence"] == (0, 2), "nobody said that it was so"
    late = [right[0], said("f1", "closed", "2026-03-25")]
    assert rates(month_of([first, again], late))["recurrence"] == (0, 2), "put right after the second one opened"
    elsewhere = found("f2", "2026-03-20", point="mill")
    assert rates(month_of([first, elsewhere], right))["recurrence"] == (0, 2)
    last_month = found("f1", "2026-02-02")
    assert rates(month_of([last_month, again], right))["recurrence"] == (1, 1)


def test_only_the_first_step_of_a_finding_and_only_feedback_is_read():
    later = found("f1").replace(b'"trial": false', b'"trial": true')
    told = month_of([found("f1"), later, b"rubbish", b"[]", b'{"data": 3}'], [b'{"data": {"record": "boot"}}', b"{"])
    assert told.opened == 1


def test_every_indicator_has_its_definition_and_the_message_fits_its_schema():
    told = month_of([found("f1")], [said("f1", "confirmed")])
    plain = plain_indicators(dataclasses.replace(told, blind=0.123456, capped=True))
    from edge_agent.contract.envelope import seal

    letter = evaluation_letter(plain, id="0" * 16, site=Ids(), clock=SYNCED, boot_id="b-1", bt_ms=1)
    message = checked("evaluation", seal(letter, 1, EPOCH, GENESIS))
    assert message["type"] == "edge-agent.evaluation.month.v1"
    assert message["subject"] == TOPIC
    assert message["data"]["blind"] == 0.1235
    assert DEFINITIONS.keys() <= message["data"].keys()
    page = (FACTORY.parents[2] / "docs/evaluation.md").read_text("utf-8")
    for name, (chinese, definition) in DEFINITIONS.items():
        assert f"| `{name}` | {chinese} | {definition} |" in page, name


@given(st.lists(st.tuples(st.integers(1, 6), st.sampled_from(["received", "confirmed", "not_confirmed", "cannot_tell",
                "rectified", "closed"]), st.integers(2, 28)), max_size=30))  # fmt: skip
def test_no_rate_is_more_than_all(steps: list[tuple[int, str, int]]):
    told = month_of([found(f"f{n}") for n in range(1, 7)],
                    [said(f"f{n}", step, f"2026-03-{day:02d}") for n, step, day in steps])  # fmt: skip
    for name, (count, of) in rates(told).items():
        assert 0 <= count <= of <= 6, name
    event("confirmed" if told.confirmation.count else "none confirmed")


def test_the_share_of_time_that_could_not_be_judged():
    blind, hour = Blindness(), 3_600_000

    def feed(answer: Answer, start: int, end: int, **more: Any) -> None:
        blind.feed(TOPIC, [Verdict("factory", answer, start, end, **more)], lambda p, ms: "2026-03")

    feed(Answer.CLEAR, 0, 3 * hour)
    feed(Answer.UNKNOWN, 3 * hour, 4 * hour)
    feed(Answer.UNKNOWN, 0, 4 * hour, block=False)  # a window that slides over others
    feed(Answer.UNKNOWN, 5 * hour, 5 * hour)  # an event has no length
    blind.feed(TOPIC, [Verdict("trial", Answer.UNKNOWN, 0, hour)], lambda p, ms: None)
    assert blind.share(TOPIC, "2026-03") == 0.25
    assert blind.share(TOPIC, "2026-04") is None
    again = Blindness()
    again.restore(blind.dump())
    assert again.share(TOPIC, "2026-03") == 0.25


# --- what answers and exemptions do to the next findings


def answers(standing: Standing, confirmed: int, not_confirmed: int, version: int = 1) -> None:
    for n in range(confirmed + not_confirmed):
        standing.answered(TOPIC, version, f"f{n}", n < confirmed)


@pytest.mark.parametrize(
    ("confirmed", "not_confirmed", "capped"),
    [(0, ENOUGH - 1, False), (0, ENOUGH, True), (9, 11, True), (10, 10, False), (20, 19, False)],
)
def test_a_topic_that_is_wrong_more_often_than_right_is_capped(confirmed: int, not_confirmed: int, capped: bool):
    standing = Standing()
    answers(standing, confirmed, not_confirmed)
    assert standing.capped(TOPIC, 1) is capped
    assert not standing.capped("dat-comm", 1)


def test_a_cap_lasts_until_a_new_release_and_through_a_restart():
    standing = Standing()
    answers(standing, 0, ENOUGH)
    again = Standing()
    again.restore(json.loads(json.dumps(standing.dump())))
    assert again.capped(TOPIC, 1)
    assert not again.capped(TOPIC, 2), "the next release begins with full credit"
    again.answered(TOPIC, 2, "new", True)
    again.answered(TOPIC, 1, "late answer about an old one", False)
    assert (again.answers[TOPIC].version, len(again.answers[TOPIC].said)) == (2, 1)


def test_a_corrected_answer_replaces_the_first_one():
    standing = Standing()
    answers(standing, 0, ENOUGH)
    standing.answered(TOPIC, 1, "f0", None)
    assert not standing.capped(TOPIC, 1), "what cannot be told counts neither way"
    standing.answered(TOPIC, 1, "f0", False)
    assert standing.capped(TOPIC, 1)


def test_an_exemption_covers_its_point_topic_and_time():
    standing = Standing()
    standing.exemptions["e"] = Exempted("factory", TOPIC, 100, 200)
    asked = [("factory", TOPIC, 99), ("factory", TOPIC, 100), ("factory", TOPIC, 199), ("factory", TOPIC, 200),
             ("mill", TOPIC, 150), ("factory", "dat-comm", 150)]  # fmt: skip
    assert [standing.exempt(*a) for a in asked] == [False, True, True, False, False, False]


def steps_with(standing: Standing, kva: Sequence[float]) -> list[Step]:
    """What the agent says about a contract of 250 kVA, given what people have said."""
    site = load_site(FACTORY)
    archive, device = Archive.of(site), device_specs(site)[0]
    stored = Stored([load_point(archive, archive.points["factory"], device)])
    releases = releases_of(config_files(), "cn-sg-meter")
    from edge_agent.assembly import topics_of

    core = Core(stored, topics_of(releases), releases, archive, gateway="gw-1")  # type: ignore[arg-type]
    core.lifecycle.standing = standing
    steps: list[Step] = []
    for interval in blocks(*kva):
        stored.next = [interval]
        steps += [s for s in core.settle(interval.end_ms).steps if s.topic == TOPIC]
    return steps


OVER = [200, 270, 270, 270, 270, 200, 200, 200, 200]  # 108 % of 250 kVA


def test_a_capped_topic_still_finds_and_says_it_as_a_notice():
    plain = steps_with(Standing(), OVER)
    assert max(s.severity.rank for s in plain) == Severity.WARNING.rank
    capped = Standing()
    answers(capped, 0, ENOUGH, version=1)
    assert {s.severity for s in steps_with(capped, OVER)} == {Severity.NOTICE}
    assert steps_with(capped, OVER)[0].finding == plain[0].finding


def test_an_exempt_finding_opens_and_says_so():
    standing = Standing()
    standing.exemptions["e"] = Exempted("factory", TOPIC, 0, 2**52)
    steps = steps_with(standing, OVER)
    assert steps
    assert all(s.exempt for s in steps)
    assert not any(s.exempt for s in steps_with(Standing(), OVER))


def test_a_docket_says_when_in_the_points_own_day():
    docket = next(iter(dockets_of([found("f1")], [said("f1", "confirmed", "2026-03-05")], lambda p: SHANGHAI).values()))
    assert isinstance(docket, Docket)
    assert docket.days["confirmed"] == date(2026, 3, 5)
    assert docket.opened == rfc3339(1_772_416_800_000)
