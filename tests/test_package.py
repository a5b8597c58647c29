"""Signed packages: what is taken, and every way in which one is not."""

from __future__ import annotations

import base64
import hashlib
import json
from typing import Any

import pytest

from edge_agent.package import (
    SIZE_MAX,
    Header,
    Keyset,
    PackageRefused,
    PrivateKey,
    Ratchet,
    keyset_from,
    new_private_key,
    open_package,
    private_key_from,
    seal_package,
)
from edge_agent.words import Phrase, spoken
from tests.signers import Signers

SIGNERS = Signers()
PAYLOAD = b'{"finding":"f","step":"received"}'
NOW_S = 1_773_489_600


def sealed(payload: bytes = PAYLOAD, *, key: PrivateKey = SIGNERS.alice, version: int = 5, kind: str = "feedback",
           scope: str = "gw-1", nbf_s: int | None = None, exp_s: int | None = None) -> bytes:  # fmt: skip
    return seal_package(payload, kind=kind, version=version, scope=scope, key=key, nbf_s=nbf_s, exp_s=exp_s)


def refusal(package: bytes, *, keyset: Keyset = SIGNERS.keyset, ratchet: Ratchet | None = None,
            now_ms: int | None = NOW_S * 1000) -> str:  # fmt: skip
    with pytest.raises(PackageRefused) as refused:
        open_package(package, keyset, kind="feedback", scopes={"gw-1", "fleet"}, ratchet=ratchet, now_ms=now_ms)
    assert spoken(Phrase(f"package.{refused.value.code}", refused.value.fields)), "every reason has its sentence"
    return refused.value.code


def test_a_package_is_three_parts_signed_as_they_stand():
    package = sealed()
    _, header, payload = package.split(b"\n", 2)
    assert payload == PAYLOAD
    said = json.loads(header)
    assert said["size"] == len(PAYLOAD)
    assert said["sha256"] == hashlib.sha256(PAYLOAD).hexdigest()
    assert said["alg"] == "ed25519"
    opened = open_package(package, SIGNERS.keyset, kind="feedback", scopes={"gw-1"}, now_ms=NOW_S * 1000)
    assert (opened.signer.id, opened.payload, opened.header.v) == ("alice", PAYLOAD, 5)


def test_the_signature_is_that_of_the_specification():
    """Ed25519( "edge-agent-package/1\\n" || SHA-256(header) || SHA-256(payload) ), checked by cryptography itself."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    signature, header, payload = sealed().split(b"\n", 2)
    public = Ed25519PublicKey.from_public_bytes(SIGNERS.keyset.signers["alice"].public)
    message = b"edge-agent-package/1\n" + hashlib.sha256(header).digest() + hashlib.sha256(payload).digest()
    public.verify(base64.b64decode(signature), message)  # raises where it is not so


def test_not_one_flipped_bit_is_taken():
    package = sealed()
    codes = {
        refusal(package[:at] + bytes([package[at] ^ 1 << bit]) + package[at + 1 :])
        for at in range(len(package))
        for bit in range(0, 8, 3)
    }
    assert codes <= {"form", "unknown_key", "signature"}
    assert "signature" in codes


def test_not_one_truncated_package_is_taken():
    package = sealed()
    assert {refusal(package[:length]) for length in range(len(package))} <= {"form", "unknown_key", "signature"}


@pytest.mark.parametrize(
    ("package", "code"),
    [
        (b"", "form"),
        (b"\x00" * 100, "form"),
        (b"x" * (SIZE_MAX + 1), "too_long"),
        (b"AAAA\n{}\n{}", "form"),
        (sealed(key=SIGNERS.mallory), "signature"),
        (sealed(key=PrivateKey("mallory", SIGNERS.pem["mallory"])), "unknown_key"),
        (sealed(scope="gw-2"), "scope"),
        (sealed(scope="group:feeder12"), "scope"),
        (sealed(kind="releases"), "kind"),
        (sealed(nbf_s=NOW_S + 1), "not_yet"),
        (sealed(exp_s=NOW_S), "expired"),
    ],
    ids=lambda x: x if isinstance(x, str) else "",
)
def test_why_a_package_is_not_taken(package: bytes, code: str):
    assert refusal(package) == code


def test_a_replayed_package_is_not_taken_again_and_a_stolen_key_locks_only_itself_out():
    ratchet, package = Ratchet(), sealed(version=5)
    opened = open_package(package, SIGNERS.keyset, kind="feedback", scopes={"gw-1"}, ratchet=ratchet)
    ratchet.take(opened.header)
    assert refusal(package, ratchet=ratchet) == "old_version"
    assert refusal(sealed(version=4), ratchet=ratchet) == "old_version"
    jump = open_package(sealed(version=2**53 - 1), SIGNERS.keyset, kind="feedback", scopes={"gw-1"}, ratchet=ratchet)
    ratchet.take(jump.header)
    assert refusal(sealed(version=2**53 - 1), ratchet=ratchet) == "old_version"
    other = sealed(version=6, key=SIGNERS.bob)
    assert open_package(other, SIGNERS.keyset, kind="feedback", scopes={"gw-1"}, ratchet=ratchet).header.v == 6
    assert Ratchet(ratchet.to_plain()).last("feedback", "alice") == 2**53 - 1


def test_while_the_clock_is_not_synced_times_bar_nothing_and_the_ratchet_still_does():
    package = sealed(exp_s=NOW_S - 1)
    opened = open_package(package, SIGNERS.keyset, kind="feedback", scopes={"gw-1"}, now_ms=None)
    ratchet = Ratchet()
    ratchet.take(opened.header)
    assert refusal(package, ratchet=ratchet, now_ms=None) == "old_version"


def test_a_header_that_was_signed_and_lies_about_its_payload():
    from edge_agent.package.sealing import signed_bytes

    signature, raw, payload = sealed().split(b"\n", 2)
    for changes, code in (({"size": 1}, "digest"), ({"sha256": "0" * 64}, "digest"), ({"alg": "rsa"}, "algorithm"),
                          ({"extra": 1}, "header"), ({"v": 0}, "header"), ({"scope": "a/#"}, "header")):  # fmt: skip
        header = json.dumps({**json.loads(raw), **changes}).encode()
        signature = base64.b64encode(SIGNERS.alice.sign(signed_bytes(header, payload)))
        assert refusal(signature + b"\n" + header + b"\n" + payload) == code, changes


def test_an_agent_without_signers_believes_nobody():
    assert refusal(sealed(), keyset=Keyset()) == "unknown_key"


def test_what_cannot_be_sealed():
    with pytest.raises(ValueError, match="at most"):
        sealed(b"x" * SIZE_MAX)
    with pytest.raises(ValueError, match="scope"):
        sealed(scope="GW 1")


def test_exactly_two_different_keys_are_pinned():
    publics = [new_private_key()[1] for _ in range(3)]
    tables = [{"id": f"k-{n}", "public": p} for n, p in enumerate(publics)]
    assert set(keyset_from({"key": tables[:2]}).signers) == {"k-0", "k-1"}
    wrongs: tuple[dict[str, Any], ...] = (
        {}, {"key": []}, {"key": tables[:1]}, {"key": tables}, {"key": [tables[0], tables[0]]},
        {"key": [tables[0], {**tables[0], "id": "k-9"}]}, {"key": [tables[0], {**tables[1], "id": "K 1"}]},
        {"key": [tables[0], {"id": "k-1", "public": "AAAA"}]}, {"key": tables[:2], "more": 1},
        {"key": [tables[0], {"id": "k-1"}]},
    )  # fmt: skip
    for wrong in wrongs:
        with pytest.raises(ValueError):
            keyset_from(wrong)


def test_a_person_signs_under_the_name_that_is_pinned():
    assert private_key_from(SIGNERS.pem["bob"], SIGNERS.keyset).id == "bob"
    with pytest.raises(ValueError, match="none of the pinned"):
        private_key_from(SIGNERS.pem["mallory"], SIGNERS.keyset)
    with pytest.raises(ValueError):
        private_key_from(b"no key", SIGNERS.keyset)
    assert "PRIVATE" not in repr(SIGNERS.bob)


def test_a_header_says_its_fields_and_nothing_else():
    assert Header.__struct_fields__ == ("t", "v", "scope", "key", "alg", "sha256", "size", "nbf", "exp")
