"""Every sentence for a person, by code and fields.

One folder per language, one file per room in it, each with `SENTENCES`: code to sentence, the fields in braces. A code
begins with its room's word (`check.`, `finding.`), so that no two files meet. English is complete; where another
language lacks a sentence, the English one is said: a technician with half a translation still learns what is wrong.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping
from functools import cache
from typing import NamedTuple


class Phrase(NamedTuple):
    """A part of a sentence that must itself be said in the reader's language."""

    code: str
    fields: Mapping[str, object]


def phrase(code: str, /, **fields: object) -> Phrase:
    return Phrase(code, fields)


def say(code: str, /, lang: str = "en", **fields: object) -> str:
    """The sentence of `code` with its fields filled in.

    KeyError: no language has such a sentence, or a field that it names is missing; both are mistakes in the code.
    """
    known = sentences(lang)
    sentence = known[code] if code in known else sentences("en")[code]
    return sentence.format_map({name: _said(value, lang) for name, value in fields.items()})


def spoken(part: Phrase, lang: str = "en") -> str:
    """A part by itself."""
    return say(part.code, lang, **part.fields)


@cache
def languages() -> tuple[str, ...]:
    return tuple(sorted(m.name for m in pkgutil.iter_modules(__path__) if m.ispkg))


@cache
def sentences(lang: str) -> Mapping[str, str]:
    """Every sentence of one language; none for a language that there is no folder for."""
    if lang not in languages():
        return {}
    folder = importlib.import_module(f"{__name__}.{lang}")
    found: dict[str, str] = {}
    for module in sorted(m.name for m in pkgutil.iter_modules(folder.__path__)):
        found |= importlib.import_module(f"{folder.__name__}.{module}").SENTENCES
    return found


def _said(value: object, lang: str) -> object:
    return say(value.code, lang, **value.fields) if isinstance(value, Phrase) else value
