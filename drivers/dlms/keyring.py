"""The secrets of one meter, out of their files at the moment they are used; none is ever in a message.

A key's file holds 32 hexadecimal digits, with white space wherever it is wanted. A password's file holds the password;
`hex:` in front of it says that octets follow.
"""

from __future__ import annotations

from pathlib import Path

from drivers.dlms.protection import Keys
from drivers.dlms.refused import KeyAbsent
from edge_agent.model import DlmsSpec

_MOST = 4096


def password_of(spec: DlmsSpec) -> bytes:
    """Raises KeyAbsent."""
    written = _written("password", spec.password_file, spec.password).strip("\r\n")
    if written.startswith("hex:"):
        octets = _octets(written.removeprefix("hex:"))
        if octets is None:
            raise KeyAbsent("password", "what follows hex: is no pairs of hexadecimal digits")
        return octets
    if not written:
        raise KeyAbsent("password", "it is empty")
    return written.encode()


def keys_of(spec: DlmsSpec) -> Keys:
    """Raises KeyAbsent."""
    return Keys(
        _key("encryption_key", spec.encryption_key_file, spec.encryption_key),
        _key("authentication_key", spec.authentication_key_file, spec.authentication_key),
    )


def _key(name: str, file: str, inline: str) -> bytes:
    octets = _octets(_written(name, file, inline))
    if octets is None or len(octets) != 16:
        raise KeyAbsent(name, "it is not 32 hexadecimal digits")
    return octets


def _written(name: str, file: str, inline: str) -> str:
    if not file:
        if not inline:
            raise KeyAbsent(name, "the site file names none")
        return inline
    try:
        with Path(file).open("rb") as source:
            return source.read(_MOST).decode("utf-8")
    except OSError as error:
        raise KeyAbsent(name, f"{file}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise KeyAbsent(name, f"{file} is no text") from None


def _octets(written: str) -> bytes | None:
    try:
        return bytes.fromhex(written)
    except ValueError:
        return None  # the error would hold what was written
