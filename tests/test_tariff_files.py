"""Tariff files: everything that is wrong in one is said at once, each with its line and its cure; and what a site file
makes of the rules that it names."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import msgspec
import pytest
import tomli
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from edge_agent.settings import ConfigFiles, Mistake, SiteError, check, config_files, load_site
from edge_agent.settings.locate import locate
from edge_agent.settings.tariff import DemandTable, Tariffs, load_tariff, terms_of
from edge_agent.tariff import DemandRule, Measured, PowerFactorTable, demand_charge, number
from tests.house.tree import ROOT

VECTORS = ROOT / "tests/vectors"
WRITTEN = tomli.loads((VECTORS / "tariffs/slips.toml").read_text(encoding="utf-8"))
TARIFF: str = WRITTEN["tariff"].lstrip("\n")
SITE: str = tomli.loads((VECTORS / "settings/site.toml").read_text(encoding="utf-8"))["site"] + WRITTEN["site"]["text"]
PROFILE: str = tomli.loads((VECTORS / "settings/profile.toml").read_text(encoding="utf-8"))["profile"]
SECOND = """
tariff = "more"
version = 1
title = "More"
title_zh = "另一份"
currency = "CNY"
source = "Acme contract, clause 8"
[[power_factor]]
id = "acme-pf-two"
standard = 1.0
segments = [{ from = 0.0, to = 1.0, percent = 0.0 }]
"""


class Slip(NamedTuple):
    """One change to a text, and what must be said about it."""

    name: str
    old: str
    new: str
    marked: str
    code: str
    key_path: str
    wrong: str
    right: str

    def made(self, text: str) -> str:
        assert self.old in text, f"the text of these tests does not hold {self.old!r}"
        return text.replace(self.old, self.new, 1)


SLIPS = [Slip(**slip) for slip in WRITTEN["slip"]]
SITE_SLIPS = [Slip(**slip) for slip in WRITTEN["site"]["slip"]]


def line_where(text: str, marked: str) -> int:
    """The first line that holds `marked`; `marked<-2` is two lines above it."""
    marked, _, shift = marked.partition("<")
    lines = [n for n, line in enumerate(text.split("\n"), 1) if marked in line]
    assert lines, f"the test's own text lacks {marked!r}"
    return lines[0] + int(shift or 0)


def mistakes(text: str, folder: Path) -> list[Mistake]:
    path = folder / "acme.toml"
    path.write_text(text, encoding="utf-8")
    try:
        load_tariff(path)
    except SiteError as error:
        return list(error.mistakes)
    return []


@pytest.fixture
def config(tmp_path: Path) -> ConfigFiles:
    """Data of our own: one profile, two tariffs, no override."""
    for name, text in {
        "profiles/acme_am3.toml": PROFILE,
        "tariffs/acme.toml": TARIFF,
        "tariffs/more.toml": SECOND,
    }.items():
        path = tmp_path / "config" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return ConfigFiles(tmp_path / "config", tmp_path / "etc")


def site_file(text: str, folder: Path) -> Path:
    path = folder / "site.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_the_tariff_of_these_tests_has_no_mistake(tmp_path: Path):
    assert mistakes(TARIFF, tmp_path) == []


@pytest.mark.parametrize("slip", SLIPS, ids=[s.name for s in SLIPS])
def test_a_mistake_has_its_line_its_key_and_its_cure(slip: Slip, tmp_path: Path):
    text = slip.made(TARIFF)
    found = mistakes(text, tmp_path)
    assert [(m.code, m.key_path) for m in found] == [(slip.code, slip.key_path)], [m.sentence() for m in found]
    (mistake,) = found
    assert mistake.line == line_where(text, slip.marked)
    assert slip.wrong in mistake.wrong
    assert slip.right in mistake.right
    assert mistake.file.endswith("acme.toml")


def test_a_tariff_without_a_rule_says_so(tmp_path: Path):
    head = TARIFF.split("\n[[", maxsplit=1)[0]
    (mistake,) = mistakes(head, tmp_path)
    assert mistake.code == "tariff_empty"
    assert "[[unmetered]]" in mistake.right


def test_all_mistakes_are_said_at_once_in_the_order_of_the_lines(tmp_path: Path):
    text = TARIFF
    for slip in SLIPS:
        if slip.name in {"a currency in words", "a band inside the other", "a hole in the table", "steps out of order"}:
            text = slip.made(text)
    text = text.replace("must_from_kva = 315", "must_from_kva = 50").replace('"kVA"', '"VA"')
    found = mistakes(text, tmp_path)
    assert [m.key_path for m in found] == [
        "currency",
        "demand[acme-demand].bands[2].from",
        "demand[acme-hours].unit",
        "demand[acme-limiter].unit",
        "power_factor[acme-pf].segments[2].from",
        "step[acme-step].tiers[2].up_to_kwh",
        "parts[acme-parts].may_above_kva",
    ]
    assert [m.line for m in found] == sorted(m.line for m in found)


def test_an_entry_of_a_list_has_the_line_it_stands_on():
    lines = locate(
        'a = [\n  { b = 1 },\n  # { b = 0 }\n  { b = "}{" }, { b = [{ c = 1 }, { c = 2 }] },\n]\nd = [{ e = 1 }]'
    )
    assert lines[("a",)] == 1
    assert [lines[("a", index)] for index in range(3)] == [2, 4, 4]
    assert ("a", 3) not in lines
    assert lines[("d", 0)] == 6


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150, deadline=None)
@given(st.integers(0, len(TARIFF) - 1), st.integers(0, 40), st.sampled_from(["", '"', "[", "}", "=", "-1", "x", "\n"]))
def test_a_spoiled_tariff_is_never_more_than_its_mistakes(tmp_path: Path, at: int, gone: int, put: str):
    """Whatever is cut out of the file or put into it: rules, or sentences; never a traceback."""
    found = mistakes(TARIFF[:at] + put + TARIFF[at + gone :], tmp_path)
    event("mistakes" if found else "still a tariff")
    for mistake in found:
        assert mistake.sentence()
        assert 1 <= mistake.line <= TARIFF.count("\n") + 3


@pytest.mark.parametrize("slip", SITE_SLIPS, ids=[s.name for s in SITE_SLIPS])
def test_a_site_that_names_rules_is_checked_with_them(slip: Slip, tmp_path: Path, config: ConfigFiles):
    text = slip.made(SITE)
    found = check(site_file(text, tmp_path), config=config)
    assert [(m.code, m.key_path) for m in found] == [(slip.code, slip.key_path)], [m.sentence() for m in found]
    assert found[0].line == line_where(text, slip.marked)
    assert slip.wrong in found[0].wrong
    assert slip.right in found[0].right


def test_the_mistakes_of_a_tariff_file_come_with_those_of_the_site(tmp_path: Path, config: ConfigFiles):
    (tmp_path / "config/tariffs/acme.toml").write_text(TARIFF.replace('"CNY"', '"yuan"'), encoding="utf-8")
    found = check(site_file(SITE, tmp_path), config=config)
    assert [m.code for m in found] == ["unknown_rule", "unknown_rule", "bad_value"]
    assert found[-1].file.endswith("acme.toml")
    with pytest.raises(SiteError):
        load_site(tmp_path / "site.toml", config=config)


def test_a_site_without_tariffs_reads_no_tariff_file(tmp_path: Path, config: ConfigFiles):
    (tmp_path / "config/tariffs/acme.toml").write_text("nonsense", encoding="utf-8")
    assert check(site_file(SITE.split("[[tariff]]", maxsplit=1)[0], tmp_path), config=config) == []


def test_a_class_of_use_has_its_rules_and_prices(tmp_path: Path, config: ConfigFiles):
    site = load_site(site_file(SITE, tmp_path), config=config)
    terms = terms_of(site.tariff, config)["industrial"]
    rule = terms.demand("contracted-demand")
    assert isinstance(rule, DemandRule)
    assert (rule.id, rule.edition.tariff, rule.edition.version) == ("acme-demand", "acme", 3)
    assert len(rule.edition.digest) == 64
    assert terms.demand("capacity") is None
    assert terms.two_part
    assert isinstance(terms.power_factor, PowerFactorTable)
    others = [terms.step, terms.unmetered, terms.parts, terms.surcharge("expansion"), terms.flat("feed")]
    assert others == [None] * 5
    estimate = demand_charge(rule, Measured(contract=number(100), demand=number(130)), terms.prices)
    assert estimate.total == number(40) * (100 + 2 * 15 + 3 * 10)
    assert estimate.name == "acme/acme-demand@3"


def test_an_override_replaces_a_tariff_file_by_file(tmp_path: Path, config: ConfigFiles):
    (tmp_path / "etc/tariffs").mkdir(parents=True)
    (tmp_path / "etc/tariffs/acme.toml").write_text(TARIFF.replace("version = 3", "version = 4"), encoding="utf-8")
    rules = Tariffs(config).rules
    assert rules["acme-demand"].edition.version == 4
    assert "acme-pf-two" in rules


def test_no_two_shipped_rules_have_one_id():
    paths = config_files().named("tariffs").values()
    assert len(paths) >= 6
    ids = [rule.id for path in paths for rule in load_tariff(path)]
    assert len(ids) == len(set(ids))


def test_the_guide_names_every_rule_and_key():
    page = (ROOT / "docs/tariffs.md").read_text(encoding="utf-8")
    rules = {rule.id for path in config_files().named("tariffs").values() for rule in load_tariff(path)}
    keys = {f.encode_name for f in msgspec.structs.fields(DemandTable)} - {"id", "unit", "limit_ratio"}
    assert {word for word in rules | keys if f"`{word}`" not in page} == set()


def test_every_number_shipped_has_its_trust_mark_beside_it():
    """A line that says how much, how many or how often says where that comes from, or the lines just above it do."""
    marks = ("[V", "[C", "[M", "[X")
    numbers = (
        "ratio =",
        "mult =",
        "times =",
        "flat =",
        "amount =",
        "percent =",
        "price = 0",
        "days =",
        "hours_",
        "_kva =",
    )
    seen = 0
    for path in config_files().named("tariffs").values():
        lines = path.read_text(encoding="utf-8").split("\n")
        for index, line in enumerate(lines):
            code = line.split("#")[0]
            if not any(word in code for word in numbers):
                continue
            seen += 1
            near = "\n".join([*lines[max(0, index - 2) : index], line])
            assert any(mark in near for mark in marks), f"{path.name}:{index + 1}: {line}"
    assert seen > 40
