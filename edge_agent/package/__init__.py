"""Signed documents on their way down: what a gateway may rely on because of who signed it, whoever carried it."""

from edge_agent.package.keyset import Keyset, PrivateKey, Signer, keyset_from, new_private_key, private_key_from
from edge_agent.package.opening import Opened, Ratchet, open_package, plain_payload
from edge_agent.package.refusal import PackageRefused
from edge_agent.package.sealing import SIZE_MAX, Header, seal_package, split

__all__ = [
    "SIZE_MAX",
    "Header",
    "Keyset",
    "Opened",
    "PackageRefused",
    "PrivateKey",
    "Ratchet",
    "Signer",
    "keyset_from",
    "new_private_key",
    "open_package",
    "plain_payload",
    "private_key_from",
    "seal_package",
    "split",
]
