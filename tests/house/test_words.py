"""What must stand nowhere: verdicts about people, and the traces of the machine on which the project was made."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.house.tree import ROOT, project_files, read_text, shown, text_files

# Put together here, so that this file does not hold what it looks for.
ACCUSING = [
    "".join(parts) for parts in (("the", "ft"), ("fra", "ud"), ("by", "pass"), ("窃", "电"), ("绕", "越"), ("违", "法"))
]

HOSTS = [
    "".join(parts)
    for parts in (
        ("py", "pi.org"),
        ("py", "pi.python.org"),
        ("python", "hosted.org"),
        ("pi", "wheels.org"),
        ("npm", "js.org"),
        ("npm", "js.com"),
        ("deb", ".debian.org"),
        ("security", ".debian.org"),
        ("crates", ".io"),
        ("proxy.", "golang.org"),
    )
]
OPTIONS = [
    "".join(parts) for parts in (("--index", "-url"), ("--extra-index", "-url"), ("--find", "-links"), ("/sim", "ple/"))
]


def machine_paths() -> list[str]:
    here = ["../" + "shared", f"{ROOT}/"]
    home = f"{Path.home()}/"
    return here if home == "//" else [*here, home]


def hits(text: str, words: list[str]) -> list[str]:
    lowered = text.lower()
    return [
        f"line {lowered.count(chr(10), 0, lowered.index(word.lower())) + 1}: {word}"
        for word in words
        if word.lower() in lowered
    ]


def test_nothing_accuses_a_customer():
    seen = 0
    found = []
    for path, text in text_files("edge_agent", "config", "simulator"):
        seen += 1
        found += [f"{shown(path)} {hit}" for hit in hits(text, ACCUSING)]
    assert seen, "nothing was read"
    assert not found, f"the agent reports what it measured; what it means, an inspector says: {found}"


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (HOSTS, "where packages come from is the installer's setting, not the project's"),
        (OPTIONS, "where packages come from is the installer's setting, not the project's"),
        (machine_paths(), "a path of the machine where this was made means nothing anywhere else"),
    ],
    ids=["registry hosts", "index addresses", "machine paths"],
)
def test_no_trace_of_where_it_was_made(words: list[str], why: str):
    files = [(path, text) for path in project_files() if (text := read_text(path)) is not None]
    assert files, "git lists no file"
    found = [f"{shown(path)} {hit}" for path, text in files for hit in hits(text, words)]
    assert not found, f"{why}: {found}"
