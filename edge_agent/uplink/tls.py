"""The TLS context of the broker connection, made anew from the files for every connect: a renewed certificate counts.

TLS 1.2 at least, the broker's name and chain always checked. Every file that cannot be used is named, with why.
"""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Protocol

from edge_agent.uplink.faults import MqttFault

NO_CHECK_TIME = 0x200000
"""X509_V_FLAG_NO_CHECK_TIME of OpenSSL's x509_vfy.h."""


class TlsFiles(Protocol):
    @property
    def ca(self) -> str: ...
    @property
    def cert(self) -> str | None: ...
    @property
    def key(self) -> str | None: ...


def context(files: TlsFiles, *, check_time: bool = True) -> ssl.SSLContext:
    """MqttFault names the file that is missing, unreadable or no certificate, or the key that does not fit.

    `check_time=False` is for a gateway that has no idea of the time and can get it only from the other end: chain and
    name are still checked, expiry is not.
    """
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    made.minimum_version = ssl.TLSVersion.TLSv1_2
    if not check_time:
        made.verify_flags |= ssl.VerifyFlags(NO_CHECK_TIME)
    _readable(files.ca)
    try:
        made.load_verify_locations(cafile=files.ca)
    except (ssl.SSLError, OSError) as error:
        raise MqttFault("tls_no_certificate", path=files.ca) from error
    if files.cert is not None:
        _load_own(made, files.cert, files.key or files.cert)
    return made


def _load_own(made: ssl.SSLContext, cert: str, key: str) -> None:
    _readable(cert)
    _readable(key)
    try:
        made.load_cert_chain(cert, key, password=_no_password)
    except _Encrypted as error:
        raise MqttFault("tls_key_encrypted", path=key) from error
    except ssl.SSLError as error:
        if "KEY_VALUES_MISMATCH" in (error.reason or "") or "KEY_TYPE_MISMATCH" in (error.reason or ""):
            raise MqttFault("tls_key_mismatch", cert=cert, key=key) from error
        if not _certificate(cert):
            raise MqttFault("tls_no_certificate", path=cert) from error
        raise MqttFault("tls_no_key", path=key) from error


class _Encrypted(Exception):
    """The key asks for a password."""


def _no_password() -> str:
    """Without this, OpenSSL asks on the terminal and waits."""
    raise _Encrypted


def _readable(path: str) -> None:
    try:
        with Path(path).open("rb") as file:
            file.read(1)
    except FileNotFoundError as error:
        raise MqttFault("tls_file_missing", path=path) from error
    except OSError as error:
        raise MqttFault("tls_file_unreadable", path=path, detail=error.strerror or str(error)) from error


def _certificate(path: str) -> bool:
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cafile=path)
    except (ssl.SSLError, OSError):
        return False
    return True
