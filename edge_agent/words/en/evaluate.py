"""What the verbs about feedback and evaluation say."""

from __future__ import annotations

SENTENCES: dict[str, str] = {
    "evaluate.what": "Say of which finding, which step, and who says so: FINDING STEP --by CODE; or --package FILE.",
    "evaluate.no_agent": "Feedback enters the chain, which the running agent alone writes. {cause}",
    "evaluate.no_time": "The agent does not know the time: say when it happened with --at.",
    "evaluate.at": "--at {at} is no instant with its offset; for example 2026-03-14T10:15:00+08:00.",
    "evaluate.nothing": "no findings on accepted points",
    "evaluate.capped": (
        "{topic}: fewer than half of at least 20 answers confirmed it. Its findings stay at notice until a new release"
        " runs."
    ),
    "evaluate.no_end": "A command has an end: say with --minutes how long it holds.",
    "evaluate.sealed": "wrote {path}, signed by {key} as number {number}",
}
