"""What the centre may ask of a gateway: the whole allow-list, as the payload of a signed package, and the answer to it.

Nothing in the list writes to a meter or runs code. A command says when it expires in its package's header, is done once
however often it comes, and is answered every time.
"""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import UNSET, Meta, UnsetType, field

from edge_agent.contract.shapes import (
    Closed,
    Code,
    Digest,
    FindingId,
    Id,
    Name,
    Seq,
    Tally,
    Time,
    Unit,
    described,
)

HexText = Annotated[str, Meta(pattern=r"^[0-9a-f]*$", max_length=2048)]


class Span(Closed, frozen=True, kw_only=True):
    """Closed blocks that end in (from, to]."""

    from_: Annotated[Time, described("UTC")] = field(name="from")
    to: Annotated[Time, described("UTC")]


class Resend(Closed, frozen=True, kw_only=True, tag_field="do", tag="resend"):
    """Send again what the centre had, or should have had: exactly the bytes of then."""

    records: Annotated[tuple[Seq, Seq] | UnsetType, described("first and last number, of this epoch")] = UNSET
    intervals: Span | UnsetType = UNSET


class SendEvidence(Closed, frozen=True, kw_only=True, tag_field="do", tag="evidence"):
    """Send the frozen bundles of a finding on `up/evidence/<finding>`."""

    finding: FindingId
    n: Annotated[Annotated[int, Meta(ge=1)] | UnsetType, described("of this step only")] = UNSET


class ReadNow(Closed, frozen=True, kw_only=True, tag_field="do", tag="read_now"):
    """召测: one fresh reading of a point's devices with its frames, in the answer, within 60 s."""

    point: Id


class TestFinding(Closed, frozen=True, kw_only=True, tag_field="do", tag="test_finding"):
    """A finding marked as a test, to try the way to the centre."""

    point: Id | UnsetType = UNSET


class AnnounceWork(Closed, frozen=True, kw_only=True, tag_field="do", tag="service_window"):
    """Announced work: what happens inside is recorded and not raised."""

    points: Annotated[list[Id], Meta(min_length=1, max_length=64)]
    from_: Annotated[Time, described("first instant, UTC")] = field(name="from")
    to: Annotated[Time, described("first instant after it, UTC")]
    work_order: Annotated[Code, described("number of the work order")]
    people: Annotated[list[Code], Meta(max_length=16), described("opaque codes")] = field(default_factory=list)
    seals: Annotated[list[Code], Meta(max_length=64), described("numbers of seals")] = field(default_factory=list)


class SupportBundle(Closed, frozen=True, kw_only=True, tag_field="do", tag="support_bundle"):
    """What a technician far away needs to see of this gateway."""


Command = Resend | SendEvidence | ReadNow | TestFinding | AnnounceWork | SupportBundle
"""Payload of a signed package (base64 signature, one-line JSON header, this) on `down/command`; it must have an end."""

ALLOWED = frozenset(str(kind.__struct_config__.tag) for kind in Command.__args__)
"""The words of `do`."""


class ReadValue(Closed, frozen=True, kw_only=True):
    """What a device showed: a value, a text, or why there is none."""

    device: Id
    quantity: Name
    at: Annotated[Time | UnsetType, described("UTC")] = UNSET
    value: Annotated[float | UnsetType, described("as the device gave it, before any ratio")] = UNSET
    step: Annotated[float | UnsetType, described("the smallest difference it can show")] = UNSET
    unit: Unit | UnsetType = UNSET
    text: Annotated[str, Meta(max_length=200)] | UnsetType = UNSET
    gap: Annotated[Name | UnsetType, described("why there is no value")] = UNSET


class ReadFrame(Closed, frozen=True, kw_only=True):
    """The bytes that carried some of them; a long one is cut, and says its length."""

    device: Id
    quantities: list[Name]
    at: Annotated[Time | UnsetType, described("UTC")] = UNSET
    request: Annotated[HexText, described("hex")]
    reply: Annotated[HexText, described("hex")]
    request_bytes: Tally | UnsetType = UNSET
    reply_bytes: Tally | UnsetType = UNSET


class Reply(Closed, frozen=True, kw_only=True):
    """What became of one command; on `up/reply`."""

    command: Annotated[Digest, described("of the package as it came: its identity")]
    v: Annotated[int, Meta(ge=1)] | UnsetType = UNSET
    key: Annotated[Id | UnsetType, described("who signed it; absent where that is not certain")] = UNSET
    do: Annotated[Name | UnsetType, described("what was asked for")] = UNSET
    outcome: Annotated[
        Literal["done", "refused", "failed"],
        described("refused: not even tried; failed: taken, and it could not be done"),
    ]
    reason: Annotated[Name | UnsetType, described("why it was refused or failed")] = UNSET
    again: Annotated[bool | UnsetType, described("it came again, and was not done again")] = UNSET
    at: Annotated[Time | UnsetType, described("UTC")] = UNSET
    sent: Annotated[Tally | UnsetType, described("messages that go out because of it")] = UNSET
    last: Annotated[Seq | UnsetType, described("of a resend of records: the last that goes out")] = UNSET
    until: Annotated[Time | UnsetType, described("of a resend of intervals: the end of the last that goes out")] = UNSET
    readings: list[ReadValue] | UnsetType = UNSET
    frames: list[ReadFrame] | UnsetType = UNSET
