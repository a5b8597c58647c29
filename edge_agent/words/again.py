"""A sentence that was said in English, said again in another language.

A message holds the arithmetic of an estimate as English sentences. Each is taken apart by the catalogue's own English,
to the last character; one that no code could have said stays as it is.
"""

from __future__ import annotations

import re
import string
from collections.abc import Iterator, Mapping, Sequence
from functools import cache, lru_cache

from edge_agent.words import Phrase, sentences, spoken

PARTS = frozenset({"factor", "factors", "how", "name", "rest", "what"})
"""Fields that hold a sentence of their own, where the sentence is more than that field."""
_NUMBER = re.compile(r"-?[0-9]+(?:\.[0-9]+)?")
_OTHERS = {
    name: re.compile(form)
    for name, form in {
        "currency": "[A-Z]{3}", "sign": "[+-]?", "unit": r"[^\s0-9(]\S*", "rule": r"\S+", "class": r"[^:]+",
    }.items()
}  # fmt: skip
_Pieces = Sequence[tuple[str, str | None]]


def again(sentence: str, room: str, lang: str) -> str:
    """The sentence in that language; as it is where no code of that room says it."""
    heard = None if lang == "en" else _heard(sentence, room)
    return sentence if heard is None else spoken(heard, lang)


@lru_cache(maxsize=4096)
def _heard(sentence: str, room: str) -> Phrase | None:
    """What was said; of two that fit, the one with more words of its own."""
    for code, pieces in _templates(room):
        for fields in _fields(pieces, sentence, {}, room):
            return Phrase(code, fields)
    return None


def _fields(
    pieces: _Pieces, text: str, known: Mapping[str, object], room: str, *, lone: bool | None = None
) -> Iterator[Mapping[str, object]]:
    """Every way in which the pieces, each some words and perhaps a field, make that text."""
    if not pieces:
        if not text:
            yield known
        return
    lone = len(pieces) == 1 and not pieces[0][0] if lone is None else lone
    (words, name), later = pieces[0], pieces[1:]
    if not text.startswith(words):
        return
    text = text[len(words) :]
    if name is None:
        yield from _fields(later, text, known, room, lone=lone)
        return
    follows = later[0][0] if later else ""
    for end in range(len(text) + 1):
        if not text.startswith(follows, end) or (not later and end < len(text)):
            continue
        value = _value(name, text[:end], room, part=name in PARTS and not lone)
        if value is not None and known.get(name, value) == value:
            yield from _fields(later, text[end:], {**known, name: value}, room, lone=lone)


def _value(name: str, text: str, room: str, *, part: bool) -> object | None:
    if part:
        return _heard(text, room)
    return text if _OTHERS.get(name, _NUMBER).fullmatch(text) else None


@cache
def _templates(room: str) -> tuple[tuple[str, _Pieces], ...]:
    """Most words of their own first: a field alone fits everything."""
    cut = {
        code: [(words, name) for words, name, _, _ in string.Formatter().parse(said)]
        for code, said in sentences("en").items()
        if code.startswith(room)
    }
    return tuple(sorted(cut.items(), key=lambda known: -sum(len(words) for words, _ in known[1])))
