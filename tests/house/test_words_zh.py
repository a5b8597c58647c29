"""Findings, cases, reports, estimates and verdicts speak Chinese throughout, with the figures of the English."""

from __future__ import annotations

import re
import string

from edge_agent.words import sentences
from tests.in_chinese import ACCUSING

ROOMS = ("finding.", "case.", "report.", "tariff.", "verdict.", "topic.")


def fields_of(sentence: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(sentence) if name}


def spoken_of(lang: str) -> dict[str, str]:
    return {code: said for code, said in sentences(lang).items() if code.startswith(ROOMS)}


def test_every_sentence_about_a_finding_exists_in_chinese():
    english, chinese = spoken_of("en"), spoken_of("zh")
    for room in ROOMS:
        assert any(code.startswith(room) for code in chinese), f"nothing of {room} was read"
    lack = sorted(english.keys() - chinese.keys())
    assert not lack, "edge_agent/words/zh says nothing for:" + "".join(f"\n  {code}" for code in lack)
    more = sorted(chinese.keys() - english.keys())
    assert not more, "edge_agent/words/en says nothing for:" + "".join(f"\n  {code}" for code in more)


def test_no_figure_is_lost_on_the_way_into_chinese():
    english = spoken_of("en")
    off = [
        f"\n  {code}: {sorted(fields_of(english[code]) ^ fields_of(said))}"
        for code, said in spoken_of("zh").items()
        if fields_of(said) != fields_of(english.get(code, ""))
    ]
    assert not off, "a field that only one of the languages has:" + "".join(off)


def test_nothing_in_chinese_is_only_english():
    """A sentence that was copied and never translated: no Chinese sign in it, and words in it."""
    left = [
        code
        for code, said in spoken_of("zh").items()
        if not any("\u4e00" <= sign <= "\u9fff" for sign in said)
        and any("a" <= sign.lower() <= "z" for sign in "".join(text for text, *_ in string.Formatter().parse(said)))
    ]
    assert left == []


def test_chinese_accuses_nobody():
    found = [f"{code}: {word}" for code, said in sentences("zh").items() for word in ACCUSING if word in said]
    assert found == [], "say what was measured, and whose answer is asked"


def test_chinese_suspects_only_where_english_does():
    """But for topics: their names are those of the trade, and some of them say so by themselves."""
    english = sentences("en")
    found = [
        code
        for code, said in spoken_of("zh").items()
        if "疑似" in said
        and not re.search("suspect|suspicion", english[code].lower())
        and not code.startswith("topic.")
    ]
    assert found == []
    assert any("疑似" in said for said in spoken_of("zh").values())
