"""Why there is no connection to the broker: each cause has a code, and the words room a sentence with the cure for it.

A TLS library says "certificate verify failed"; the person on the roof needs to know whose certificate, what is wrong
with it, and which file or clock to look at.
"""

from __future__ import annotations

import socket
import ssl
from typing import Any

from edge_agent.words import Phrase, phrase, say


class MqttFault(Exception):
    """There is no connection, or it was lost. `code` and `fields` give the sentence; `at_least_s` asks for patience."""

    def __init__(self, code: str, *, at_least_s: float = 0.0, **fields: Any) -> None:
        super().__init__(code)
        self.code = f"uplink.{code}"
        self.fields = fields
        self.at_least_s = at_least_s

    def phrase(self) -> Phrase:
        return phrase(self.code, **self.fields)

    def __str__(self) -> str:
        return say(self.code, **self.fields)


# X509_V_ERR_* of OpenSSL's x509_vfy.h
_VERIFY = {
    9: "tls_not_yet_valid",
    10: "tls_expired",
    12: "tls_expired",  # the revocation list itself
    18: "tls_wrong_ca",
    19: "tls_wrong_ca",
    20: "tls_wrong_ca",
    21: "tls_wrong_ca",
    23: "tls_revoked",
    62: "tls_wrong_host",
    64: "tls_wrong_host",
}

# Alerts (RFC 8446, 6): what the broker thinks of our certificate, or of us.
_ALERTS = {
    "ALERT_CERTIFICATE_EXPIRED": "tls_client_expired",
    "ALERT_CERTIFICATE_REVOKED": "tls_client_revoked",
    "ALERT_UNKNOWN_CA": "tls_client_unknown",
    "ALERT_BAD_CERTIFICATE": "tls_client_bad",
    "ALERT_CERTIFICATE_UNKNOWN": "tls_client_bad",
    "ALERT_UNSUPPORTED_CERTIFICATE": "tls_client_bad",
    "ALERT_DECRYPT_ERROR": "tls_client_bad",
    "ALERT_CERTIFICATE_REQUIRED": "tls_client_missing",
    "ALERT_ACCESS_DENIED": "tls_client_bad",
    "ALERT_HANDSHAKE_FAILURE": "tls_handshake",
    "ALERT_PROTOCOL_VERSION": "tls_version",
    "ALERT_INTERNAL_ERROR": "tls_handshake",
}


def named(error: BaseException, host: str, port: int) -> MqttFault:
    """The fault behind an exception of the socket or the TLS library."""
    where: dict[str, Any] = {"host": host, "port": port}
    match error:
        case MqttFault():
            return error
        case ssl.SSLCertVerificationError():
            code = _VERIFY.get(error.verify_code, "tls_not_trusted")
            return MqttFault(code, **where, detail=error.verify_message)
        case ssl.SSLError():
            return _tls_fault(error, where)
        case socket.gaierror():
            return MqttFault("no_such_host", **where, detail=error.strerror)
        case ConnectionRefusedError():
            return MqttFault("nobody_listens", **where)
        case TimeoutError():
            return MqttFault("no_answer", **where)
        case OSError():
            return MqttFault("unreachable", **where, detail=error.strerror or str(error))
        case _:
            return MqttFault("broken", **where, detail=f"{type(error).__name__}: {error}")


def _tls_fault(error: ssl.SSLError, where: dict[str, Any]) -> MqttFault:
    reason = error.reason or ""
    for alert, code in _ALERTS.items():
        if alert in reason:
            return MqttFault(code, **where)
    if reason in {"WRONG_VERSION_NUMBER", "HTTP_REQUEST", "UNKNOWN_PROTOCOL", "RECORD_LAYER_FAILURE"}:
        return MqttFault("tls_not_spoken", **where)
    if reason in {"UNSUPPORTED_PROTOCOL", "TLSV1_ALERT_PROTOCOL_VERSION", "NO_PROTOCOLS_AVAILABLE"}:
        return MqttFault("tls_version", **where)
    if isinstance(error, ssl.SSLEOFError) or "UNEXPECTED_EOF" in reason:
        return MqttFault("tls_cut", **where)
    return MqttFault("tls_failed", **where, detail=reason or str(error))


# CONNACK: MQTT 5 reason codes; paho gives those of 3.1.1 as their equivalents.
_CONNACK = {
    0x84: "refused_version",
    0x85: "refused_client_id",
    0x86: "refused_login",
    0x87: "refused_rights",
    0x88: "refused_busy",
    0x89: "refused_busy",
    0x8A: "refused_banned",
    0x8C: "refused_login",
    0x95: "refused_too_large",
    0x97: "refused_busy",
    0x9A: "refused_retain",
    0x9B: "refused_qos",
    0x9C: "refused_elsewhere",
    0x9D: "refused_elsewhere",
    0x9F: "refused_busy",
}
_PATIENCE_S = {0x88: 5.0, 0x89: 10.0, 0x8A: 60.0, 0x97: 10.0, 0x9C: 30.0, 0x9D: 60.0, 0x9F: 10.0}


def refused(code: int, words: str, host: str, port: int, *, elsewhere: str = "") -> MqttFault:
    """The broker answered CONNACK with `code` (MQTT 5 numbers) and its own `words`."""
    return MqttFault(
        _CONNACK.get(code, "refused"),
        at_least_s=_PATIENCE_S.get(code, 0.0),
        host=host,
        port=port,
        reason=f"0x{code:02X} {words}".strip(),
        elsewhere=elsewhere or "-",
    )


def disconnected(code: int, words: str, host: str, port: int) -> MqttFault:
    """The broker sent DISCONNECT with `code`."""
    return MqttFault(
        "taken_over" if code == 0x8E else "disconnected",
        at_least_s=_PATIENCE_S.get(code, 0.0),
        host=host,
        port=port,
        reason=f"0x{code:02X} {words}",
    )
