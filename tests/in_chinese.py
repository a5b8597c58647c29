"""Whether a text that should be Chinese still says something in English."""

from __future__ import annotations

import re

_WORDS = re.compile(r"[A-Za-z]{2,}(?:'s)?(?:[ ,;:]+[A-Za-z]{2,}(?:'s)?){2,}")
_CHINESE = re.compile("[\u4e00-\u9fff]")
# Put together here, so that this file does not hold what it looks for.
ACCUSING = ["".join(parts) for parts in (("窃", "电"), ("偷",), ("违", "法"), ("作", "弊"), ("绕", "越"), ("盗",))]


def english_in(text: str) -> list[str]:
    """Three English words in a row, wherever they stand; ids, units, names and times have fewer."""
    return [match[0] for match in _WORDS.finditer(text)]


def is_chinese(text: str) -> None:
    """Complete, in Chinese to the last line, and accusing nobody."""
    assert len(_CHINESE.findall(text)) > 40, text
    assert "?" not in text, text
    assert "{" not in text, text
    assert "nan" not in text
    assert english_in(text) == []
    assert [word for word in ACCUSING if word in text] == []
    silent = [line for line in text.splitlines()[1:] if _CHINESE.search(line) is None]
    assert silent == [], "a line without a word of Chinese"
