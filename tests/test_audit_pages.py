"""docs/topics.md says of every topic what its releases and its code say, docs/truth.md of every kind what is played.

`python -m tests.test_audit_pages` prints both tables as they have to stand there.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from typing import Any

import tomli

from edge_agent.assembly import releases_of, topics_of
from edge_agent.audit.topic import AuditTopic, Route
from edge_agent.model import Severity
from edge_agent.settings import config_files
from edge_agent.words import say
from tests.house.tree import ROOT
from tests.truth.kinds import KINDS, Kind

TOPICS_PAGE = ROOT / "docs/topics.md"
TRUTH_PAGE = ROOT / "docs/truth.md"
SETS = ("cn-sg-meter", "cn-terminal-zj")
FAMILIES = ("cap", "met", "tar", "pq", "dat")


def section(page: str, head: str) -> str:
    return page.partition(f"\n## {head}\n")[2].partition("\n## ")[0]


def rows(text: str) -> list[str]:
    """Rows of tables whose first cell begins with code."""
    return re.findall(r"(?m)^\| `.*$", text)


def topics() -> dict[str, tuple[AuditTopic, list[dict[str, Any]]]]:
    """Every published topic in the order of the page: its code, and its release files (one, or one per set)."""
    files: dict[str, list[dict[str, Any]]] = {}
    for path in sorted((ROOT / "config/releases").glob("*.toml")):
        plain = tomli.loads(path.read_text("utf-8"))
        if plain["status"] == "published":
            files.setdefault(plain["topic"], []).append(plain)
    published = {name: release for each in SETS for name, release in releases_of(config_files(), each).items()}
    code = {topic.id: topic for topic in topics_of(published)}
    assert set(code) == set(files)
    ordered = sorted(files, key=lambda name: (FAMILIES.index(name.partition("-")[0]), name))
    return {name: (code[name], files[name]) for name in ordered}


def topic_row(topic: AuditTopic, files: Sequence[dict[str, Any]]) -> str:
    def of(key: str) -> str:
        (said,) = {plain[key] for plain in files}  # what a topic asks, and whom, does not differ from set to set
        return str(said)

    graded = {Severity(level["severity"]) for plain in files for level in plain["levels"]}
    severities = ", ".join(s.value for s in sorted(graded, key=lambda s: s.rank))
    needs = ", ".join(topic.needs) or "archive"
    return f"| `{topic.id}` | {of('title_zh')} | {of('title')} | {severities} | {of('route')} | {needs} |"


def kind_row(kind: Kind) -> str:
    must = " or ".join(f"`{topic}`" for topic in kind.must)
    return f"| `{kind.name}` | {kind.says} | {must} | {kind.days} days, every {kind.every_s} s |"


def topic_rows() -> list[str]:
    return [topic_row(topic, files) for topic, files in topics().values()]


def kind_rows() -> list[str]:
    return [kind_row(kind) for kind in KINDS]


PRINTED = "print the rows with: python -m tests.test_audit_pages"


def test_the_table_of_topics_is_what_their_releases_and_their_code_say():
    shown = rows(section(TOPICS_PAGE.read_text("utf-8"), "All of them"))
    assert len(shown) >= 45
    assert shown == topic_rows(), PRINTED


def test_what_a_topic_needs_is_explained_and_nothing_else():
    explained = [row.split("`")[1] for row in rows(section(TOPICS_PAGE.read_text("utf-8"), "What a topic needs"))]
    assert sorted(explained) == sorted({need for topic, _ in topics().values() for need in topic.needs} | {"archive"})


def test_whose_answer_a_route_asks_is_what_findings_say():
    shown = rows(section(TOPICS_PAGE.read_text("utf-8"), "Whose answer"))
    said = {r.value: (say(f"finding.route.{r}", "en"), say(f"finding.route.{r}", "zh")) for r in Route}
    assert shown == [f"| `{route}` | {en} | {zh} |" for route, (en, zh) in said.items()]


def test_the_readme_names_every_topic_in_its_family():
    """A row is a family, `cap-`, and what follows that in each of its topics."""
    named = set()
    for row in rows(section((ROOT / "README.md").read_text("utf-8"), "What it finds")):
        family, *ends = re.findall(r"`([a-z-]+)`", row)
        named |= {family + end for end in ends}
    assert named == set(topics())


def test_the_table_of_kinds_is_what_is_played():
    shown = rows(section(TRUTH_PAGE.read_text("utf-8"), "What is played"))
    assert len(shown) >= 27
    assert shown == kind_rows(), PRINTED


def test_the_topics_that_no_kind_plays_are_named():
    named = re.findall(r"`([a-z-]+)`", section(TRUTH_PAGE.read_text("utf-8"), "What no kind plays"))
    assert named == [topic for topic in topics() if not any(topic in kind.must for kind in KINDS)]


if __name__ == "__main__":
    sys.stdout.write("\n".join([*topic_rows(), "", *kind_rows()]) + "\n")
