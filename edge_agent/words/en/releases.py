"""What the verbs about releases say."""

from __future__ import annotations

SENTENCES: dict[str, str] = {
    "releases.no_such": "There is no release {name}; `edge-agent releases list` shows what there is.",
    "releases.no_key": "{path}: no key to sign with: {cause}.",
    "releases.no_signers": (
        "No signers are pinned: put two public keys into {path} (`edge-agent releases key` makes them)."
    ),
    "releases.key_there": "{path} is there already; a key is never written over.",
    "releases.key_made": "wrote {path}: keep it to yourself. Its public half, for paths.signers of every gateway:",
    "releases.drafted": "wrote {path}: change its numbers, then `edge-agent releases diff {name}`",
    "releases.decided": "{name} is {state}, signed by {key}",
    "releases.next.in_review": "The other key approves it: `edge-agent releases approve {name} --key FILE`",
    "releases.next.approved": "Publish it: `edge-agent releases publish {name} --key FILE`",
    "releases.next.published": "It takes over when the agent starts next.",
    "releases.next.suspended": "The topic falls silent when the agent starts next; publish lets it speak again.",
    "releases.next.retired": "When the agent starts next, the version below speaks for the topic, if there is one.",
    "releases.alike": "{name} says what {against} says",
    "releases.tried": "on the last {days} day(s) stored, {count} intervals, against what runs now:",
    "releases.untried": "not tried on stored data: {cause}",
    "releases.nothing_stored": "nothing is stored yet",
    "releases.silent": "{name} would not run: its sets are {sets}, and this site runs {release_set}",
    "releases.no_difference": "the same findings, {same} of them",
    "releases.received": "{name} is {state}: taken from {path}",
    "backtest.empty": "{path} has no release file (*.toml) in it.",
    "backtest.no_such": (
        "{asked} is neither `running` nor `shipped`, a folder or file of releases, a topic@version that there is, nor a"
        " release set."
    ),
    "releases.refused": "{what} is not taken. {why}",
}
