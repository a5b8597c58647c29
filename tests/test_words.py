"""Sentences for people: one catalogue, by code and fields."""

from __future__ import annotations

import importlib
import pkgutil
import string
from collections import Counter

import pytest

from edge_agent.words import languages, phrase, say, sentences


def test_english_is_spoken():
    assert "en" in languages()
    assert sentences("en")


def test_every_language_says_its_sentences_with_the_fields_of_the_english_ones():
    english = sentences("en")
    for lang in languages():
        for code, sentence in sentences(lang).items():
            assert code in english, f"{lang} says {code}, English does not"
            assert fields_of(sentence) == fields_of(english[code]), f"{lang}: {code}"


def fields_of(sentence: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(sentence) if name}


def test_a_phrase_inside_a_sentence_is_said_in_the_same_language():
    said = say("check.missing_key.right", key="by", right=phrase("check.right.text"))
    assert said == "add by: a text in quotes"


def test_a_field_is_never_taken_for_a_sentence():
    assert say("check.right.near", near="{where}") == 'did you mean "{where}"?'


def test_a_language_that_nobody_wrote_speaks_english():
    assert say("check.right.near", "xx", near="lan") == 'did you mean "lan"?'


def test_a_sentence_that_nobody_wrote_is_a_mistake_in_the_code():
    with pytest.raises(KeyError):
        say("check.no_such_thing")


def test_a_field_that_is_missing_is_a_mistake_in_the_code():
    with pytest.raises(KeyError):
        say("check.right.near")


def test_no_sentence_is_written_twice():
    for lang in languages():
        folder = importlib.import_module(f"edge_agent.words.{lang}")
        files = [importlib.import_module(f"{folder.__name__}.{m.name}") for m in pkgutil.iter_modules(folder.__path__)]
        codes = Counter(code for file in files for code in file.SENTENCES)
        assert codes
        assert [code for code, count in codes.items() if count > 1] == []
