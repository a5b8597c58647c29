"""The history of one release: signed decisions, one after the other, and nothing that is not signed.

        submit (author)      approve (the other key)   publish            suspend
    draft ───────▶ in_review ──────▶ approved ──────▶ published ◀──────▶ suspended
                       │                 │               │  publish          │
                       └─────────────────┴───────────────┴──── retire ───────┴──▶ retired

A decision is a package (kind `releases`) whose payload names topic, version, new state and the digest of the release
file; the first carries the file itself. A dossier is its packages, three lines each. It only ever grows: what was
signed stays. A release that came with the agent is published without one; its dossier begins with `suspended` or
`retired`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

import msgspec
from msgspec import UNSET

from edge_agent.contract.messages import ReleaseDecision
from edge_agent.package import Keyset, Opened, PackageRefused, open_package, plain_payload

KIND = "releases"


class State(StrEnum):
    """草稿 审核中 已审核 已发布 已暂停 已退役"""

    DRAFT = "draft"
    IN_REVIEW = "in_review"
    APPROVED = "approved"
    PUBLISHED = "published"
    SUSPENDED = "suspended"
    RETIRED = "retired"


MOVES: dict[State, frozenset[State]] = {
    State.DRAFT: frozenset({State.IN_REVIEW}),
    State.IN_REVIEW: frozenset({State.APPROVED, State.RETIRED}),
    State.APPROVED: frozenset({State.PUBLISHED, State.RETIRED}),
    State.PUBLISHED: frozenset({State.SUSPENDED, State.RETIRED}),
    State.SUSPENDED: frozenset({State.PUBLISHED, State.RETIRED}),
    State.RETIRED: frozenset(),
}
"""What may follow; either key may stop a release, only both together make one run."""


@dataclass(frozen=True, slots=True)
class Dossier:
    """One release with all that was decided about it. `text` is "" for a release that came with the agent."""

    topic: str
    version: int
    text: str
    digest: str
    decisions: tuple[tuple[ReleaseDecision, Opened], ...]
    raw: tuple[bytes, ...]

    @property
    def name(self) -> str:
        return f"{self.topic}@{self.version}"

    @property
    def state(self) -> State:
        return State(self.decisions[-1][0].state)

    @property
    def scopes(self) -> frozenset[str]:
        """Whom its decisions are meant for."""
        return frozenset(o.header.scope for _, o in self.decisions)

    @property
    def author(self) -> str:
        return self._by(State.IN_REVIEW)

    @property
    def approver(self) -> str:
        return self._by(State.APPROVED)

    def to_bytes(self) -> bytes:
        return b"\n".join(self.raw) + b"\n"

    def _by(self, state: State) -> str:
        return next((o.signer.id for d, o in self.decisions if d.state == state), "")


def read_dossier(raw: bytes, keyset: Keyset, *, shipped: Callable[[str], str | None] = lambda name: None) -> Dossier:
    """Every signature and every step checked anew, whomever it is meant for. `shipped`: topic@version -> the digest of
    that release file, None where the agent did not come with it.

    Raises `PackageRefused`.
    """
    lines = raw.rstrip(b"\n").split(b"\n")
    if len(lines) % 3:
        raise PackageRefused("form")
    packages = tuple(b"\n".join(lines[n : n + 3]) for n in range(0, len(lines), 3))
    opened = [open_package(p, keyset, kind=KIND, scopes=None) for p in packages]
    decisions = tuple((plain_payload(o, ReleaseDecision), o) for o in opened)
    first = decisions[0][0]
    digest, author = shipped(f"{first.topic}@{first.version}"), ""
    state = State.DRAFT if digest is None else State.PUBLISHED
    for decision, package in decisions:
        name = f"{decision.topic}@{decision.version}"
        if (decision.topic, decision.version) != (first.topic, first.version):
            raise PackageRefused("history", name=name)
        if decision.state not in MOVES[state]:
            raise PackageRefused("step", name=name, state=state.value, wanted=decision.state)
        if decision.state == State.IN_REVIEW:
            text = "" if decision.text is UNSET else decision.text
            digest, author = digest_of(text), package.signer.id
        if decision.digest != digest:
            raise PackageRefused("another_text", name=name)
        if decision.state == State.APPROVED and package.signer.id == author:
            raise PackageRefused("same_person", key=author)
        state = State(decision.state)
    assert digest is not None
    text = first.text if isinstance(first.text, str) else ""
    return Dossier(first.topic, first.version, text, digest, decisions, packages)


def digest_of(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def encode(decision: ReleaseDecision) -> bytes:
    """On one line: a dossier is read by lines."""
    return msgspec.json.encode(decision)
