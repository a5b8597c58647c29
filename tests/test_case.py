"""The open findings of one point read together: what is likeliest, what follows from it, whose answer is asked."""

from __future__ import annotations

import itertools
import re
from pathlib import Path
from typing import Any

import msgspec
import pytest
import tomli

from edge_agent.app.casing import Casing
from edge_agent.app.identity import identity_of
from edge_agent.archive import Archive
from edge_agent.assembly import case_rules_of, core_of
from edge_agent.audit.case import OTHER, Case, CaseError, CaseRules, OpenFinding, case_of, rules_from
from edge_agent.audit.lifecycle import lifetime
from edge_agent.audit.topic import Answer, Route, Verdict
from edge_agent.contract.envelope import seal
from edge_agent.explain_case import explain_case
from edge_agent.image import Snapshot
from edge_agent.model import ClockQuality, ClockState, Severity
from edge_agent.settings import config_files, device_specs, load_site
from edge_agent.words import sentences
from tests.published import checked

RULES = case_rules_of(config_files())
SITE = load_site(config_files().shipped / "examples/factory.toml")
DAY_MS = 86_400_000
END = 1_772_000_100_000 // 900_000 * 900_000
S_CAP = 277_128.0
NEVER = ["the" + "ft", "fra" + "ud", "by" + "pass", "窃" + "电", "绕" + "越", "违" + "法"]


def found(topic: str, severity: Severity = Severity.WARNING, route: Route = Route.METERING, **more: Any) -> OpenFinding:
    measured = {"judged": 1.0, **more.pop("measured", {})}
    return OpenFinding(
        f"gw-1.factory.{topic}.2026-03", topic, severity, END, END + 7 * DAY_MS, route, measured, "1", **more
    )


def judged(*findings: OpenFinding, s_cap_va: float | None = S_CAP) -> Case:
    return case_of("factory", findings, RULES, s_cap_va)


def test_over_capacity_with_a_step_and_full_transformers_ranks_expansion():
    over = found("cap-over-contract", Severity.MAJOR, Route.CUSTOMER_INSPECTION, measured={"apparent_va": 1.18 * S_CAP})
    step = found("cap-expansion-suspect", Severity.MAJOR, Route.CUSTOMER_INSPECTION)
    case = judged(over, step, found("cap-heavy-load", Severity.NOTICE, Route.CUSTOMER_INSPECTION))
    first = case.causes[0]
    assert first.id == "expansion"
    assert first.values == {"ct_load": pytest.approx(1.18)}
    assert {f.topic for f in first.findings} == {"cap-expansion-suspect", "cap-over-contract"}
    assert [f.topic for f in first.follow] == ["cap-heavy-load"], "it is said, and not asked about by itself"
    assert first.route is Route.CUSTOMER_INSPECTION
    assert [c.id for c in case.causes] == ["expansion", "load-grown"]


def test_over_capacity_without_a_step_is_no_expansion():
    over = found("cap-over-contract", Severity.MAJOR, Route.CUSTOMER_INSPECTION, measured={"apparent_va": 1.3 * S_CAP})
    assert [c.id for c in judged(over).causes] == ["load-grown"]
    assert judged(over).causes[0].values == {"ct_load": pytest.approx(1.3)}
    assert judged(over, s_cap_va=None).causes[0].values == {}, "what is not known speaks for nothing"


def test_a_lost_current_explains_low_energy_and_silences_what_follows_from_it():
    lost = found("met-curr-loss")
    followers = [found(t) for t in ("met-power-consistency", "tar-pf", "cap-light-load", "met-energy-error")]
    case = judged(*followers, lost)
    assert [c.id for c in case.causes] == ["current-lost"]
    assert {f.topic for f in case.causes[0].follow} == {f.topic for f in followers}
    assert case.silenced == {f.id for f in followers}
    alone = judged(*followers)
    assert "current-lost" not in {c.id for c in alone.causes}
    assert not alone.silenced & {f.id for f in followers if f.topic == "met-power-consistency"}


def test_a_wrong_ratio_goes_to_the_archive_and_no_customer_is_asked_about_its_figures():
    case = judged(
        found("met-ratio-mismatch", Severity.MAJOR),
        found("cap-over-contract", Severity.MAJOR, Route.CUSTOMER_INSPECTION),
        found("cap-expansion-suspect", Severity.MAJOR, Route.CUSTOMER_INSPECTION),
    )
    assert [c.id for c in case.causes] == ["wrong-ratio"]
    assert case.causes[0].route is Route.ARCHIVE
    assert len(case.silenced) == 2


def test_a_finding_that_no_rule_speaks_of_is_a_cause_by_itself():
    case = judged(found("xx-unheard-of", Severity.NOTICE, Route.COLLECTION))
    assert [(c.id, c.route) for c in case.causes] == [(OTHER, Route.COLLECTION)]


def test_a_shaky_fact_sends_the_cause_to_the_archive():
    case = judged(found("cap-over-contract", Severity.NOTICE, Route.ARCHIVE, check_archive=True))
    assert case.causes[0].route is Route.ARCHIVE
    assert case.check_archive


def test_every_finding_of_a_case_stands_somewhere_whatever_is_open_together():
    topics = sorted({t for rule in RULES.causes for t in (*rule.needs, *rule.clues, *rule.silences)})
    cases = 0
    for pair in itertools.chain(itertools.combinations(topics, 1), itertools.combinations(topics, 2), [tuple(topics)]):
        findings = [found(t) for t in pair]
        case = judged(*findings)
        told = {f.id for c in case.causes for f in (*c.findings, *c.follow)}
        assert told == {f.id for f in findings}, pair
        assert case.causes, pair
        assert all(c.findings for c in case.causes)
        assert judged(*reversed(findings)) == case, "in any order"
        scores = [c.score for c in case.causes]
        assert scores == sorted(scores, reverse=True)
        cases += 1
    assert cases > 1000


def test_every_cause_can_be_said_in_every_language_and_none_accuses():
    for lang in ("en", "zh"):
        for cause in [*(r.id for r in RULES.causes), OTHER]:
            for part in ("cause", "next"):
                said = sentences(lang)[f"case.{part}.{cause}"]
                assert said
                assert not [w for w in NEVER if w in said.lower()]


def test_rules_that_cannot_be_used_say_which_entry():
    plain = tomli.loads((config_files().shipped / "cases.toml").read_text())
    for key, wrong in (("needs", None), ("base", "much"), ("route", "nowhere"), ("source", "")):
        broken = {**plain, "cause": [dict(plain["cause"][0]), *plain["cause"][1:]]}
        broken["cause"][0].pop(key, None) if wrong is None else broken["cause"][0].update({key: wrong})
        with pytest.raises(CaseError, match="cause 1"):
            rules_from(broken, "x")
    with pytest.raises(CaseError, match="no cause"):
        rules_from({}, "x")


# --- in the chain


@pytest.fixture
def desk() -> tuple[Any, Casing]:
    archive = Archive.of(SITE)
    core = core_of(archive, device_specs(SITE), config_files(), gateway="gw-1", release_set="cn-sg-meter")
    return core, Casing(core, archive, identity_of(SITE.site, "0" * 64), RULES)


SNAPSHOT = Snapshot(END, END, ClockState(ClockQuality.SYNCED, 0, 500))


def breach(core: Any, topic: str, at: int, low: float) -> list[Any]:
    out = lifetime()
    start, end = END + (at - 1) * 900_000, END + at * 900_000
    answer = Answer.BREACH if low > 1 else Answer.CLEAR
    measured = {"apparent_va": {"low": low * 250_000.0, "value": low * 250_000.0}}
    verdict = Verdict("factory", answer, start, end, low=low, high=low, confirmed=True, measured=measured)
    core.lifecycle.judge([verdict], topic, out)
    return out.steps


def test_a_case_is_told_on_change_only_and_ends(desk):
    core, casing = desk
    (letter,) = casing.letters(breach(core, "cap-over-contract", 1, 1.04), SNAPSHOT)
    message = checked("case", seal(letter, 1, "0" * 16, "0" * 64))
    assert message["type"] == "edge-agent.case.changed.v1"
    assert message["data"]["causes"][0]["cause"] == "load-grown"
    assert "104" in message["data"]["causes"][0]["reason"]
    steps = breach(core, "cap-over-contract", 2, 1.04)
    assert casing.letters(steps, SNAPSHOT) == []
    again = Casing(core, Archive.of(SITE), identity_of(SITE.site, "0" * 64), RULES)
    assert casing.of("factory", END) == again.of("factory", END)
    ends = [s for n in range(3, 9) for s in breach(core, "cap-over-contract", n, 0.5)]
    assert [s.kind for s in ends] == ["cleared"]
    (over,) = casing.letters(ends, SNAPSHOT)
    data = checked("case", seal(over, 2, "0" * 16, "0" * 64))["data"]
    assert (data["state"], data["causes"], data["findings"]) == ("over", [], [])
    assert over.id != letter.id


def test_the_same_steps_give_the_same_id(desk):
    core, casing = desk
    steps = breach(core, "cap-over-contract", 1, 1.04)
    (first,) = casing.letters(steps, SNAPSHOT)
    other = Casing(core, Archive.of(SITE), identity_of(SITE.site, "0" * 64), RULES)
    (second,) = other.letters(steps, SNAPSHOT)
    assert (first.id, first.data) == (second.id, second.data)


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_a_case_is_told_in_words(desk, lang):
    core, casing = desk
    breach(core, "cap-over-contract", 1, 1.20)
    lines = explain_case(msgspec.to_builtins(casing.of("factory", END)), lang)
    text = "\n".join(lines)
    assert "120 %" in text
    assert {"en": "Advise the customer to apply for more capacity", "zh": "建议用户申请增容"}[lang] in text
    assert "{" not in text
    assert "?" not in text
    assert not [w for w in NEVER if w in text.lower()]
    if lang == "zh":
        assert not re.search(r"[A-Za-z]+(?: [A-Za-z]+){3,}", text)


def test_rules_are_shipped_with_a_source_for_each_cause():
    assert isinstance(RULES, CaseRules)
    plain = tomli.loads((Path(config_files().shipped) / "cases.toml").read_text())
    assert all("[" in c["source"] for c in plain["cause"]), "with its trust mark"
