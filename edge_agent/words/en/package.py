"""Why a signed package is not taken; the codes are those of `PackageRefused`, with the room's word before them."""

from __future__ import annotations

SENTENCES: dict[str, str] = {
    "package.too_long": "It has {size} bytes; a package has at most {most}.",
    "package.form": "It is no package: a line of base64, a line of JSON, then the payload. Was it cut off on its way?",
    "package.unknown_key": (
        "It is signed with the key {key}, which is not pinned here. Sign it with one of the keys of paths.signers."
    ),
    "package.signature": "Its signature is not that of key {key} over these bytes: they were changed or damaged.",
    "package.header": "Its header has not the form: the signature is right, so whoever made it uses another version.",
    "package.algorithm": "It is signed with {alg}; this version knows ed25519.",
    "package.kind": "It is a package of {t}, not of {kind}.",
    "package.scope": "It is meant for {scope}, not for this gateway.",
    "package.old_version": (
        "Version {v} of key {key} is not above {last}, which was taken already: it was sent before, or is out of order."
    ),
    "package.not_yet": "It does not hold yet: its time begins later.",
    "package.expired": "It has expired: have it signed again.",
    "package.digest": "Its payload is not what its header says.",
    "package.payload": "Its payload has not the form: {cause}.",
    "package.same_person": (
        "{key} wrote it, and must not approve it as well: two people answer for a release. Have the other key sign."
    ),
    "package.step": "{name} is {state}: from there it cannot become {wanted}.",
    "package.another_text": "{name}: what was signed is another text than the one that was submitted.",
    "package.history": "{name}: what was signed here before must stay as it is; the package brings another history.",
    "package.release": "{cause}",
    "package.unknown_finding": "This gateway knows no finding {finding}.",
    "package.unknown_point": "This gateway knows no point {point}.",
    "package.unknown_topic": "No audit topic {topic} runs here.",
    "package.span": "The exemption ends before it begins.",
    "package.window": "The work ends before it begins.",
    "package.no_end": "It has no end: a command says when it expires.",
    "package.not_allowed": "{what} is not in the list of what may be asked for.",
    "package.not_here": "This version does not do {what} yet.",
    "package.nothing_there": "This gateway has nothing of what is asked for.",
    "package.too_much_waits": "Too much waits to be sent already: ask again when it has gone.",
    "package.no_cryptography": (
        "Signatures cannot be made or checked here: install edge-agent with its extra, edge-agent[signed]."
    ),
}
