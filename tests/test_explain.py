"""What a finding says in plain words: measured against what, whose answer is asked, and never more."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import pytest

from edge_agent.archive import Archive
from edge_agent.assembly import releases_of, topics_of
from edge_agent.audit.topic import Answer, AuditTopic, Release, Route, Step, StepKind, Verdict
from edge_agent.audit.topics.met_ct_oversized import Month
from edge_agent.contract.finding import finding_letter
from edge_agent.evidence.document import document
from edge_agent.evidence.report import report
from edge_agent.explain import action_of, explain, name_of, text_of
from edge_agent.load.views import Band, Comm, Demand, Interval, LoadView, RegisterEvent, Source, Witnessed
from edge_agent.model import ClockQuality, ClockState, Quantity, Severity
from edge_agent.settings import config_files, load_site
from edge_agent.words import say, sentences
from tests.in_chinese import english_in, is_chinese
from tests.on_rounds import at_fault
from tests.test_audit_capacity import PLAYERS as CAPACITY
from tests.test_metering_stories import PLAYERS as METERING
from tests.test_tou_stories import PLAYERS as TOU

ROOT = Path(__file__).parent.parent
RELEASES = releases_of(config_files(), "cn-sg-meter")
TOPICS = {t.id: t for t in topics_of(RELEASES)}
END = 1_772_000_100_000 // 900_000 * 900_000
FORBIDDEN = ["the" + "ft", "fra" + "ud", "by" + "pass", "ste" + "al", "crimin", "guilty", "offen", "illegal"]


@pytest.fixture(scope="module")
def site():
    return load_site(config_files().shipped / "examples/factory.toml")


@pytest.fixture(scope="module")
def archive(site):
    return Archive.of(site)


@pytest.fixture(scope="module")
def in_kw(tmp_path_factory):
    text = (config_files().shipped / "examples/factory.toml").read_text()
    file = tmp_path_factory.mktemp("kw") / "site.toml"
    file.write_text(
        text.replace("kva = 250", "kw = 200", 1).replace('basis = "capacity"', 'basis = "contracted-demand"')
    )
    return Archive.of(load_site(file))


def view_of(topic: str) -> LoadView:
    """A view in which the topic has something to say."""
    va = Band(262_000.0, 263_600.0, 265_200.0)
    w = Band(222_000.0, 224_000.0, 226_000.0)
    demand = Demand(Source.REGISTER, w, Band(1.0, 2.0, 3.0), va, 1.0, 1600.0)
    closed = (Interval("factory", END - 900_000, END, True, demand, None, END),)
    fell = RegisterEvent(
        "factory",
        "m1",
        Quantity.ACTIVE_ENERGY_IMPORT,
        "decrease",
        1_234_560.0,
        1_200_000.0,
        END - 60_000,
        END,
        True,
        True,
    )
    silent = Comm(
        "m1", "factory", "lan", 40, 0, END - 1_200_000, END - 1_215_000, "no_reply", "unit 1 kept silent", False, END
    )
    codes = {"met-cover": "cover_open", "met-magnetic": "magnetic"}
    opened = Witnessed(
        "factory", "m1", codes.get(topic, "meter_reset"), "x-3", 1, ("counter",), END - 900_000, END, END, 3, 4,
        END - 900_000, END,
    )  # fmt: skip
    said = () if topic == "met-decrease" else (opened,)
    view = at_fault(topic, END, "factory")
    month = Month("factory", END - 30 * 86_400_000, END, (0, 9, *[0] * 148), 25, ())
    return LoadView(
        END, closed, (fell,), (silent,), said, said, view.rounds, view.blocks, (), view.claims,
        studied=(month,),
    )  # fmt: skip


def data_of(topic: AuditTopic, release: Release, archive: Archive, site: Any) -> dict[str, Any]:
    """The `data` of a real message about the topic's own verdict."""
    verdicts = topic.examine(view_of(topic.id), archive, release)
    verdict: Verdict = next(v for v in verdicts if v.answer is Answer.BREACH)
    assert verdict.answer is Answer.BREACH
    step = Step(
        finding=f"gw-1.{verdict.point}.{topic.id}.2026-02", n=1, kind=StepKind.OPENED, point=verdict.point,
        topic=topic.id,
        release=release.name, release_digest=release.digest, key=verdict.key, episode="2026-02",
        severity=Severity.NOTICE, active=True, reason="level", time_ms=END, opened_ms=END, route=Route(release.route),
        due_ms=END + 86_400_000, trial=False, exempt=False, check_archive=False,
        measured={**verdict.measured, "low": verdict.low, "high": verdict.high, "start_ms": verdict.start_ms,
                  "end_ms": verdict.end_ms, "threshold": release.levels[0].above, "threshold_unit": release.unit},
        counts={"intervals": 3, "days": 1, "episodes": 1, "longest_run": 2}, facts=verdict.facts, iec=release.iec,
        anomaly=release.anomaly, origin=verdict.origin,
    )  # fmt: skip
    letter = finding_letter(
        step, site=site.site, point=archive.points["factory"], archive_version=archive.version,
        clock=ClockState(ClockQuality.SYNCED, 0, 500), boot_id="b", bt_ms=END,
        capacity=archive.capacity("factory", END - 900_000, END), k=80.0, action=action_of(topic.id),
    )  # fmt: skip
    plain: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(letter.data))
    return {**plain, "severity": "notice", "time": "2026-02-25T06:15:00.000Z"}


@pytest.mark.parametrize("topic", sorted(TOPICS.keys() - CAPACITY.keys() - METERING.keys() - TOU.keys()))
def test_every_topic_can_be_explained(topic, archive, in_kw, site):
    if topic == "cap-demand-over":  # a contract in kW
        archive = in_kw
    lines = explain([data_of(TOPICS[topic], RELEASES[topic], archive, site)])
    text = "\n".join(lines)
    assert "?" not in text, "nothing that the message has is left out"
    assert "nan" not in text
    assert "{" not in text
    assert say(f"finding.route.{RELEASES[topic].route.value}") in text
    assert action_of(topic)[1] in text
    for word in FORBIDDEN:
        assert word not in text.lower()


def test_over_contract_says_what_was_measured_against_what(archive, site):
    text = "\n".join(explain([data_of(TOPICS["cap-over-contract"], RELEASES["cap-over-contract"], archive, site)]))
    assert "Suspected" in text
    assert "at least 262.0 kVA, 104.8 % of its running capacity of 250 kVA" in text
    assert "lower bound" in text
    assert "capacity = 250 kVA (verified" in text
    assert "verified" in text
    assert "cap-over-contract@1" in text


def test_a_finding_on_trial_or_on_shaky_facts_says_so(archive, site):
    data = data_of(TOPICS["cap-over-contract"], RELEASES["cap-over-contract"], archive, site)
    text = "\n".join(explain([{**data, "trial": True, "check_archive": True, "route": "archive"}]))
    assert "on trial" in text
    assert "Check the archive first" in text
    assert "the archive department" in text


def test_the_history_names_every_step(archive, site):
    data = data_of(TOPICS["cap-over-contract"], RELEASES["cap-over-contract"], archive, site)
    text = "\n".join(explain([data, {**data, "step": "cleared", "reason": "hold"}]))
    assert "opened (level), severity notice" in text
    assert "cleared (hold), severity notice" in text


def test_every_topic_has_its_sentences():
    known = sentences("en")
    for topic in TOPICS:
        for part in ("title", "seen", "action"):
            assert f"finding.{part}.{topic}" in known, f"edge_agent/words/en/finding.py lacks finding.{part}.{topic}"


def changed(data: dict[str, Any], **measured: Any) -> dict[str, Any]:
    """The same message with other measured values; None leaves one out."""
    kept = [m for m in data["measured"] if m["name"] not in measured]
    return {**data, "measured": kept + [{"name": n, **v} for n, v in measured.items() if v is not None]}


def test_what_was_not_measured_is_not_said(archive, site):
    data = data_of(TOPICS["cap-over-contract"], RELEASES["cap-over-contract"], archive, site)
    text = "\n".join(explain([changed(data, apparent_va=None)]))
    assert "at least 222.0 kW" in text, "active power is what there is"
    assert "Only active power was measured" in text
    assert "262" not in text


def test_a_recorded_mean_is_no_register_difference(archive, site):
    data = data_of(TOPICS["cap-over-contract"], RELEASES["cap-over-contract"], archive, site)
    text = "\n".join(explain([changed(data, source={"text": "recorded"})]))
    assert "comes from a recorded file, which vouches for 100 % of the interval" in text
    assert "register" not in text


@pytest.mark.parametrize("topic", ["cap-over-contract", "cap-demand-over"])
def test_a_mean_over_several_intervals_says_at_least_one_of_them(topic, archive, in_kw, site):
    data = data_of(TOPICS[topic], RELEASES[topic], in_kw if topic == "cap-demand-over" else archive, site)
    text = "\n".join(explain([changed(data, periods={"value": 4})]))
    assert "In at least one of 4 intervals" in text
    assert "only their mean is known" in text
    assert "In the interval that ended" not in text


def test_what_is_at_least_so_much_is_rounded_down(archive, site):
    data = data_of(TOPICS["cap-over-contract"], RELEASES["cap-over-contract"], archive, site)
    said = explain([changed(data, apparent_va={"low": 250_096.0, "unit": "VA"}, judged={"low": 1.00099})])
    assert "at least 250.0 kVA, 100.0 % of its running capacity" in "\n".join(said)


def test_a_reactive_register_is_told_in_its_own_unit(archive, site):
    data = data_of(TOPICS["met-decrease"], RELEASES["met-decrease"], archive, site)
    text = "\n".join(explain([data]))
    assert "went from 1234.56 kWh to 1200 kWh, as the meter shows it" in text
    reactive = changed(data, before={"value": 10_010.0, "unit": "varh"}, after={"value": 10.0, "unit": "varh"})
    assert "went from 10.01 kvarh to 0.01 kvarh" in "\n".join(explain([reactive]))


def test_what_the_meter_says_is_told_as_its_word_and_no_more(archive, site):
    data = data_of(TOPICS["met-cover"], RELEASES["met-cover"], archive, site)
    text = "\n".join(explain([data]))
    assert (
        "The meter's counter of openings of its cover at point factory rose from 3 to 4 between two readings, "
        "2026-02-25T06:00:00.000Z and 2026-02-25T06:15:00.000Z." in text
    )
    assert "the agent has measured nothing that shows it" in text
    assert "Published limit passed" not in text
    at = {
        "logged_first_at": {"text": "2026-02-25T06:07:00.000Z"},
        "logged_last_at": {"text": "2026-02-25T06:07:00.000Z"},
    }
    both = "\n".join(explain([changed(data, **at)]))
    assert "its log has it at 2026-02-25T06:07:00.000Z, by its own clock" in both
    alone = "\n".join(explain([changed(data, before=None, after=None, **at)]))
    assert "The meter at point factory logged openings of its cover (1 time(s)) at 2026-02-25T06:07:00.000Z" in alone


def test_a_decrease_that_the_meter_confirms_says_so(archive, site):
    data = data_of(TOPICS["met-decrease"], RELEASES["met-decrease"], archive, site)
    text = "\n".join(explain([{**changed(data, witness={"text": "meter_reset"}), "origin": "both"}]))
    assert "The meter itself says so as well: about that time it counted or logged resets of its registers." in text
    assert "went from 1234.56 kWh to 1200 kWh" in text


def test_a_step_is_told_at_its_own_time(archive, site):
    data = data_of(TOPICS["dat-comm"], RELEASES["dat-comm"], archive, site)
    over = {**data, "step": "cleared", "active": False, "reason": "hold", "time": "2026-02-25T07:00:00.000Z"}
    lines = explain([data, over])
    assert "does not hold any more (2026-02-25T07:00:00.000Z)" in lines[1]
    assert lines[-2].startswith("2026-02-25T06:15:00.000Z  opened")
    assert lines[-1].startswith("2026-02-25T07:00:00.000Z  cleared")


def test_a_gateway_without_time_says_no_time(archive, site):
    data = data_of(TOPICS["dat-comm"], RELEASES["dat-comm"], archive, site)
    timeless = {k: v for k, v in data.items() if k not in {"due", "opened", "time"}} | {"interval": {}}
    text = "\n".join(explain([timeless]))
    assert "m1 on link lan did not answer for 20 minutes" in text


def test_every_reason_why_something_cannot_be_said_has_its_sentence():
    sources = [*(ROOT / "edge_agent/audit").rglob("*.py"), *(ROOT / "edge_agent/load").rglob("*.py")]
    text = "".join(path.read_text() for path in sources)
    patterns = (
        r'reason ?= ?"([a-z_]+)"',
        r'(?:cannot_say|_unknown)\(\w+, "([a-z_]+)"',
        r'answer, reason = [A-Za-z.]+, "([a-z_]+)"',
        r'self\._break\(i, t_ms, "([a-z_]+)"',
        r'broke\([^"\n]*"([a-z_]+)"',
        r'return "([a-z_]+)"$',
        r'return \["([a-z_]+)"\]$',
        r'said\.append\("([a-z_]+)"',
    )
    found = {word for pattern in patterns for word in re.findall(pattern, text, re.MULTILINE)}
    assert {"meter_exchange", "clock_step", "register_break", "no_reading", "mean_of_several"} <= found
    silent = sorted(word for word in found if f"verdict.{word}" not in sentences("en") and word not in STEP_REASONS)
    assert not silent, "edge_agent/words/en/finding.py says nothing for them"


STEP_REASONS = {"witness", "level", "episode", "hold", "period", "superseded", "answered", "day"}
"""Why a step was told: codes of the message, not of a verdict."""


def test_a_topic_without_a_sentence_says_what_it_measured(archive, site):
    data = {**data_of(TOPICS["cap-over-contract"], RELEASES["cap-over-contract"], archive, site), "topic": "xx-new"}
    for lang, begins in (("en", "Between "), ("zh", "在 ")):
        lines = explain([data], lang)
        assert lines[0].startswith("xx-new")
        (said,) = [line for line in lines if f"{name_of('apparent_va', lang)} = ≥ 262 kVA" in line]
        assert said.startswith(begins)


@pytest.mark.parametrize("topic", sorted(TOPICS.keys() - CAPACITY.keys() - METERING.keys() - TOU.keys()))
def test_every_topic_is_explained_in_chinese_with_the_same_figures(topic, archive, in_kw, site):
    used = in_kw if topic == "cap-demand-over" else archive
    data = data_of(TOPICS[topic], RELEASES[topic], used, site)
    text = "\n".join(explain([data], "zh"))
    is_chinese(text)
    assert action_of(topic, "zh")[1] in text
    assert say(f"finding.route.{RELEASES[topic].route.value}", "zh") in text


@pytest.mark.parametrize("topic", sorted(TOPICS.keys() - CAPACITY.keys() - METERING.keys() - TOU.keys()))
def test_the_page_of_every_topic_names_what_was_measured_in_chinese(topic, archive, in_kw, site):
    data = data_of(TOPICS[topic], RELEASES[topic], in_kw if topic == "cap-demand-over" else archive, site)
    frozen = document(
        data, severity="notice", start_ms=END - 900_000, end_ms=END, zone=ZoneInfo("Asia/Shanghai"),
        release=RELEASES[topic], serial=None, clock=ClockState(ClockQuality.SYNCED, 0, 100), blocks={}, ends={},
        shown=[],
    )  # fmt: skip
    page = report([{**data, "severity": "notice"}], [frozen], [], "zh")
    words = re.sub(r"<style.*?</style>|<[^>]*>", " | ", page, flags=re.DOTALL)
    named = [m["name"] for m in data["measured"]]
    assert named
    assert [name for name in named if name_of(name, "zh") == name or name_of(name, "zh") not in words] == []
    assert english_in(words) == []


@pytest.mark.parametrize("lang", ["en", "zh"])
@pytest.mark.parametrize("topic", ["met-volt-loss", "met-curr-loss", "met-phase-break", "pq-outage"])
def test_a_phase_of_which_the_meter_speaks_is_told_as_its_word(topic, lang, archive, site):
    codes = {
        "met-volt-loss": "voltage_loss",
        "met-curr-loss": "current_loss",
        "met-phase-break": "phase_break",
    }
    said: dict[str, Any] = {
        "event": {"text": f"{codes[topic]}_l2" if topic in codes else "power_off"},
        "events": {"value": 1.0},
        "before": {"value": 3.0},
        "after": {"value": 4.0},
        "before_at": {"text": "2026-02-25T06:00:00.000Z"},
        "after_at": {"text": "2026-02-25T06:15:00.000Z"},
    }
    data = {**changed(data_of(TOPICS[topic], RELEASES[topic], archive, site), **said), "origin": "meter"}
    text = "\n".join(explain([data], lang))
    assert say(f"finding.event.{said['event']['text']}", lang) in text
    assert {"en": "rose from 3 to 4 between two readings", "zh": "由 3 增至 4"}[lang] in text
    if lang == "zh":
        is_chinese(text)


def test_what_the_driver_wrote_is_told_in_chinese_by_its_cause(archive, site):
    data = data_of(TOPICS["dat-comm"], RELEASES["dat-comm"], archive, site)
    assert "(unit 1 kept silent)" in "\n".join(explain([data]))
    assert "（没有收到回复）" in "\n".join(explain([data], "zh"))
    nameless = changed(data, cause={"text": "a cause that nobody named"}, detail=None)
    assert "（a cause that nobody named）" in "\n".join(explain([nameless], "zh")), "as it is"


def test_every_text_that_a_topic_measures_has_its_words():
    """Of the topics' own, between quotes: what a device or a person wrote is shown as it is."""
    for field, text in (
        ("said_by", "the meter's own setting"), ("has", "no power factor standard"), ("way", "behind"),
        ("balance", "those behind it count more"), ("kind", "a share of the load"), ("what", "every value alike"),
    ):  # fmt: skip
        written = "".join(path.read_text() for path in (ROOT / "edge_agent/audit/topics").glob("*.py"))
        assert f'"{text}"' in written, "no topic says so any more"
        assert text_of(field, text, "en") == text
        assert text_of(field, text, "zh") == sentences("zh")[f"finding.text.{field}.{text.replace(' ', '_')}"]
    assert text_of("shown", "8 times in 60 min", "zh") == "60 分钟内 8 次"
    assert text_of("shown", "8 times in 60 min", "en") == "8 times in 60 min"
