"""Which releases of audit topics run on a gateway, which wait for its next start, and what became of the last sent."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import UNSET, UnsetType

from edge_agent.contract.shapes import Closed, Digest, Name, Time, Version, described


class Waiting(Closed, frozen=True, kw_only=True):
    """A decision that was taken, and counts from the next start on."""

    release: Annotated[Version, described("topic@version")]
    state: Annotated[Name, described("published, suspended, retired ...")]


class Heard(Closed, frozen=True, kw_only=True):
    """What became of one message on `down/releases`."""

    package: Annotated[Digest, described("of the message as it came")]
    outcome: Annotated[
        Literal["taken", "known", "refused"], described("known: everything in it was taken before, or is older")
    ]
    reason: Annotated[Name | UnsetType, described("why it was refused")] = UNSET


class AppliedReleases(Closed, frozen=True, kw_only=True):
    """After each connect, and after each message on `down/releases`."""

    at: Annotated[Time | UnsetType, described("UTC")] = UNSET
    applied: Annotated[list[Version], described("what runs: topic@version")]
    waiting: Annotated[list[Waiting], described("taken since the start")]
    heard: Annotated[Heard | UnsetType, described("what this answers; absent after a connect")] = UNSET
