"""TLS to the broker: a good pair works, and each way to get it wrong is said in words, with what to do about it.

The certificates are made here; nothing of them outlives the test.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import ipaddress
import json
import os
import socket
import ssl
import threading
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from edge_agent.model import ClockQuality
from edge_agent.settings.site import Tls
from tests.broker import Broker, TlsFiles
from tests.fake_broker import FakeBroker
from tests.gateway import Centre, Gateway, SteadyClock, short_waits, until

Factory = Callable[..., Broker]
NOW = dt.datetime.now(dt.UTC)
DAY = dt.timedelta(days=1)


class Authority:
    """Signs EC P-256 certificates, good and bad ones."""

    def __init__(self, folder: Path, name: str = "utility") -> None:
        self._folder = folder
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self._key = ec.generate_private_key(ec.SECP256R1())
        self.file = folder / f"{name}-ca.pem"
        usage = x509.KeyUsage(False, False, False, False, False, True, True, False, False)
        cert = (
            self._begin(self._name, self._key.public_key(), NOW - 365 * DAY, NOW + 365 * DAY)
            .add_extension(x509.BasicConstraints(ca=True, path_length=1), critical=True)
            .add_extension(usage, critical=True)
            .sign(self._key, hashes.SHA256())
        )
        self.file.write_bytes(cert.public_bytes(serialization.Encoding.PEM))

    def issue(
        self,
        name: str,
        *,
        start: dt.datetime = NOW - DAY,
        end: dt.datetime = NOW + DAY,
        hosts: tuple[str, ...] = ("localhost", "127.0.0.1"),
        client: bool = False,
        password: bytes | None = None,
    ) -> tuple[Path, Path]:
        """Certificate and key files."""
        key = ec.generate_private_key(ec.SECP256R1())
        usage = ExtendedKeyUsageOID.CLIENT_AUTH if client else ExtendedKeyUsageOID.SERVER_AUTH
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        names: list[Any] = [
            x509.IPAddress(ipaddress.ip_address(h)) if h[0].isdigit() else x509.DNSName(h) for h in hosts
        ]
        cert = (
            self._begin(subject, key.public_key(), start, end)
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        files = self._folder / f"{name}.crt", self._folder / f"{name}.key"
        files[0].write_bytes(cert.public_bytes(serialization.Encoding.PEM))
        locked = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
        files[1].write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, locked))
        return files

    def _begin(self, subject: x509.Name, key: Any, start: dt.datetime, end: dt.datetime) -> x509.CertificateBuilder:
        return x509.CertificateBuilder(
            issuer_name=self._name, subject_name=subject, public_key=key, serial_number=x509.random_serial_number(),
            not_valid_before=start, not_valid_after=end,
        )  # fmt: skip


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    short_waits(monkeypatch)


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


def tls(authority: Authority, pair: tuple[Path, Path] | None = None) -> Tls:
    cert, key = map(str, pair) if pair else (None, None)
    return Tls(ca=str(authority.file), cert=cert, key=key)


def fault_of(gateway: Gateway) -> str:
    """The first thing that keeps the gateway from its broker; the sentence must name it."""
    said = []

    async def story() -> None:
        async with gateway.running():
            await until(lambda: gateway.fault or gateway.uplink.report.connected)
            said.append(gateway.fault)
            if gateway.fault:
                sentence = str(gateway.uplink.report.fault)
                assert len(sentence) > 40
                assert "{" not in sentence

    asyncio.run(story())
    return said[0]


# --- it works


@pytest.mark.parametrize("version", ["5", "3.1.1"])
def test_with_certificates_on_both_sides_everything_arrives(
    mosquitto: Factory, authority: Authority, free_port: int, version: Literal["5", "3.1.1"]
):
    files = TlsFiles(authority.file, *authority.issue("broker"), require_client=True)
    broker = mosquitto(tls=files, extra=f"listener {free_port} 127.0.0.1")

    async def story() -> None:
        device = authority.issue("gw-1", client=True)
        gateway = Gateway(broker.port, host="localhost", version=version, tls=tls(authority, device))
        centre = Centre(free_port, gateway.outbox.epoch)
        async with gateway.running():
            gateway.write(150)
            await until(lambda: gateway.outbox.upto == 150)
        assert centre.arrivals == list(range(1, 151))
        assert gateway.uplink.report.connects == 1
        centre.close()

    asyncio.run(story())
    assert "u'gw-1'" in broker.log, "the certificate's name is the user name"


def test_a_renewed_certificate_counts_at_the_next_connect(mosquitto: Factory, authority: Authority):
    broker = mosquitto(tls=TlsFiles(authority.file, *authority.issue("broker"), require_client=True))

    async def story() -> None:
        device = authority.issue("gw-1", client=True, start=NOW - 9 * DAY, end=NOW - DAY)
        gateway = Gateway(broker.port, tls=tls(authority, device))
        async with gateway.running():
            await until(lambda: gateway.fault)
            assert not gateway.uplink.report.connects
            authority.issue("gw-1", client=True)
            await until(lambda: gateway.uplink.report.connected)

    asyncio.run(story())


def test_a_key_may_lie_in_the_certificates_file(mosquitto: Factory, authority: Authority):
    broker = mosquitto(tls=TlsFiles(authority.file, *authority.issue("broker"), require_client=True))
    cert, key = authority.issue("gw-1", client=True)
    cert.write_bytes(cert.read_bytes() + key.read_bytes())
    settings = Tls(ca=str(authority.file), cert=str(cert))
    assert fault_of(Gateway(broker.port, tls=settings)) == ""


# --- the broker's certificate


@pytest.mark.parametrize(
    ("bad", "name"),
    [
        ({"start": NOW - 9 * DAY, "end": NOW - DAY}, "tls_expired"),
        ({"start": NOW + DAY, "end": NOW + 9 * DAY}, "tls_not_yet_valid"),
        ({"hosts": ("broker.example", "10.9.8.7")}, "tls_wrong_host"),
    ],
    ids=["expired", "not yet valid", "wrong host"],
)
@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
def test_a_bad_certificate_of_the_broker_is_refused(
    mosquitto: Factory, authority: Authority, bad: dict[str, Any], name: str, host: str
):
    broker = mosquitto(tls=TlsFiles(authority.file, *authority.issue("broker", **bad)))
    gateway = Gateway(broker.port, host=host, tls=tls(authority))
    assert fault_of(gateway) == name
    assert not gateway.uplink.report.connects


def test_a_certificate_of_another_authority_is_refused(mosquitto: Factory, authority: Authority, tmp_path: Path):
    stranger = Authority(tmp_path, "stranger")
    broker = mosquitto(tls=TlsFiles(stranger.file, *stranger.issue("broker")))
    gateway = Gateway(broker.port, tls=tls(authority))
    assert fault_of(gateway) == "tls_wrong_ca"
    assert "in between" in str(gateway.uplink.report.fault), "or somebody reads along"


def test_without_any_idea_of_the_time_only_the_dates_are_not_checked(
    mosquitto: Factory, authority: Authority, tmp_path: Path
):
    later: dict[str, Any] = {"start": NOW + DAY, "end": NOW + 9 * DAY}
    broker = mosquitto(tls=TlsFiles(authority.file, *authority.issue("broker", **later)))
    unset = SteadyClock(ClockQuality.UNSET)
    assert fault_of(Gateway(broker.port, tls=tls(authority), clock=unset)) == ""
    restored = SteadyClock(ClockQuality.RESTORED)
    assert fault_of(Gateway(broker.port, tls=tls(authority), clock=restored)) == "tls_not_yet_valid"
    stranger = Authority(tmp_path, "stranger")
    assert fault_of(Gateway(broker.port, tls=tls(stranger), clock=unset)) == "tls_wrong_ca"
    elsewhere = mosquitto(tls=TlsFiles(authority.file, *authority.issue("other", hosts=("broker.example",), **later)))
    assert fault_of(Gateway(elsewhere.port, tls=tls(authority), clock=unset)) == "tls_wrong_host"


# --- our own certificate


def test_an_expired_certificate_of_ours_is_named(mosquitto: Factory, authority: Authority):
    broker = mosquitto(tls=TlsFiles(authority.file, *authority.issue("broker"), require_client=True))
    device = authority.issue("gw-1", client=True, start=NOW - 9 * DAY, end=NOW - DAY)
    assert fault_of(Gateway(broker.port, tls=tls(authority, device))) in {"tls_client_expired", "tls_cut"}


def test_a_certificate_that_the_broker_does_not_know_is_named(mosquitto: Factory, authority: Authority, tmp_path: Path):
    broker = mosquitto(tls=TlsFiles(authority.file, *authority.issue("broker"), require_client=True))
    stranger = Authority(tmp_path, "stranger")
    device = stranger.issue("gw-1", client=True)
    assert fault_of(Gateway(broker.port, tls=tls(authority, device))) in {"tls_client_unknown", "tls_cut"}


def test_a_missing_certificate_is_named(mosquitto: Factory, authority: Authority):
    broker = mosquitto(tls=TlsFiles(authority.file, *authority.issue("broker"), require_client=True))
    assert fault_of(Gateway(broker.port, tls=tls(authority))) in {"tls_client_missing", "tls_cut"}


# What OpenSSL on the other side says about our certificate, where its words arrive before the connection is cut.
@pytest.mark.parametrize(
    ("device", "name"),
    [("expired", "tls_client_expired"), ("stranger", "tls_client_unknown"), ("none", "tls_client_missing")],
)
def test_what_the_broker_says_of_our_certificate_is_passed_on(
    authority: Authority, tmp_path: Path, device: str, name: str
):
    pairs: dict[str, tuple[Path, Path] | None] = {
        "expired": authority.issue("gw-1", client=True, start=NOW - 9 * DAY, end=NOW - DAY),
        "stranger": Authority(tmp_path, "stranger").issue("gw-2", client=True),
        "none": None,
    }
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*authority.issue("broker"))
    context.load_verify_locations(authority.file)
    context.verify_mode = ssl.CERT_REQUIRED
    with Listener(context) as port:
        assert fault_of(Gateway(port, tls=tls(authority, pairs[device]))) == name


class Listener:
    """A TLS server that shakes hands, or fails to, and leaves its last words standing for a moment."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self._context = context
        self._socket = socket.create_server(("127.0.0.1", 0))
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._serve)

    def __enter__(self) -> int:
        self._thread.start()
        port: int = self._socket.getsockname()[1]
        return port

    def __exit__(self, *_: object) -> None:
        self._over.set()
        socket.create_connection(self._socket.getsockname(), timeout=1).close()
        self._thread.join()
        self._socket.close()

    def _serve(self) -> None:
        while not self._over.is_set():
            raw, _ = self._socket.accept()
            raw.settimeout(2)
            if self._over.is_set():
                raw.close()
                return
            with self._context.wrap_socket(raw, server_side=True, do_handshake_on_connect=False) as wrapped:
                try:
                    wrapped.do_handshake()
                except OSError:
                    self._over.wait(0.3)  # the alert is on its way; a close with unread bytes would overtake it


# --- files


def broken_files(authority: Authority, folder: Path) -> dict[str, tuple[Tls, str, str]]:
    """Case -> settings, fault, the file that the sentence must name."""
    cert, key = authority.issue("gw-1", client=True)
    _, other = authority.issue("gw-9", client=True)
    locked_cert, locked = authority.issue("gw-8", client=True, password=b"secret")
    garbage = folder / "garbage.pem"
    garbage.write_bytes(bytes(range(256)))
    cut = folder / "cut.crt"
    cut.write_bytes(cert.read_bytes()[:200])
    absent = folder / "absent.pem"
    ca = str(authority.file)
    return {
        "ca absent": (Tls(ca=str(absent)), "tls_file_missing", "absent.pem"),
        "ca is a folder": (Tls(ca=str(folder)), "tls_file_unreadable", str(folder)),
        "ca is garbage": (Tls(ca=str(garbage)), "tls_no_certificate", "garbage.pem"),
        "certificate absent": (Tls(ca=ca, cert=str(absent), key=str(key)), "tls_file_missing", "absent.pem"),
        "certificate is garbage": (Tls(ca=ca, cert=str(garbage), key=str(key)), "tls_no_certificate", "garbage.pem"),
        "certificate cut short": (Tls(ca=ca, cert=str(cut), key=str(key)), "tls_no_certificate", "cut.crt"),
        "key absent": (Tls(ca=ca, cert=str(cert), key=str(absent)), "tls_file_missing", "absent.pem"),
        "key is garbage": (Tls(ca=ca, cert=str(cert), key=str(garbage)), "tls_no_key", "garbage.pem"),
        "key of another certificate": (Tls(ca=ca, cert=str(cert), key=str(other)), "tls_key_mismatch", "gw-9.key"),
        "key with a password": (Tls(ca=ca, cert=str(locked_cert), key=str(locked)), "tls_key_encrypted", "gw-8.key"),
    }


CASES = [
    "ca absent",
    "ca is a folder",
    "ca is garbage",
    "certificate absent",
    "certificate is garbage",
    "certificate cut short",
    "key absent",
    "key is garbage",
    "key of another certificate",
    "key with a password",
]


@pytest.mark.parametrize("case", CASES)
def test_a_file_that_does_not_serve_is_named(authority: Authority, tmp_path: Path, case: str, free_port: int):
    files = broken_files(authority, tmp_path)
    assert sorted(files) == sorted(CASES)
    settings, name, file = files[case]
    gateway = Gateway(free_port, tls=settings)
    assert fault_of(gateway) == name
    assert file in str(gateway.uplink.report.fault)


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads every file")
def test_a_file_that_may_not_be_read_is_named(authority: Authority, free_port: int):
    cert, key = authority.issue("gw-1", client=True)
    key.chmod(0)
    gateway = Gateway(free_port, tls=tls(authority, (cert, key)))
    assert fault_of(gateway) == "tls_file_unreadable"
    assert key.name in str(gateway.uplink.report.fault)


# --- the other end is something else


def test_a_plain_port_does_not_speak_tls(mosquitto: Factory, authority: Authority):
    assert fault_of(Gateway(mosquitto().port, tls=tls(authority))) in {"tls_not_spoken", "tls_cut"}


def test_a_tls_port_does_not_speak_plainly(mosquitto: Factory, authority: Authority):
    broker = mosquitto(tls=TlsFiles(authority.file, *authority.issue("broker")))
    gateway = Gateway(broker.port)
    assert fault_of(gateway) in {"closed_early", "not_mqtt"}
    assert "[mqtt.tls]" in str(gateway.uplink.report.fault)


def test_a_web_server_on_the_tls_port_does_not_speak_tls(authority: Authority):
    async def story() -> None:
        broker = FakeBroker()
        broker.greeting = b"HTTP/1.1 302 Found\r\nLocation: http://portal.example/\r\n\r\n"
        await broker.start()
        gateway = Gateway(broker.port, tls=tls(authority))
        async with gateway.running():
            await until(lambda: gateway.fault == "tls_not_spoken")
            assert "portal" in str(gateway.uplink.report.fault)
        await broker.stop()

    asyncio.run(story())


def test_a_web_server_behind_good_tls_is_no_broker(authority: Authority):
    async def story() -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*authority.issue("broker"))
        broker = FakeBroker()
        broker.greeting = b"HTTP/1.1 200 OK\r\n\r\n"
        await broker.start(context)
        gateway = Gateway(broker.port, tls=tls(authority))
        async with gateway.running():
            await until(lambda: gateway.fault == "web_server")
        await broker.stop()

    asyncio.run(story())


def test_old_tls_is_refused(authority: Authority):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*authority.issue("broker"))
    context.set_ciphers("ALL:@SECLEVEL=0")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # it is old: that is the point
        context.minimum_version = ssl.TLSVersion.TLSv1_1
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    with Listener(context) as port:
        assert fault_of(Gateway(port, tls=tls(authority))) in {"tls_version", "tls_cut"}


def test_a_silent_tls_port_does_not_hold_anything_up(authority: Authority, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("edge_agent.uplink.uplink.CONNECT_S", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as server:
        gateway = Gateway(server.getsockname()[1], tls=tls(authority))
        assert fault_of(gateway) == "no_answer"


def test_the_broker_sees_tls_1_3_and_our_sessions_will(authority: Authority):
    async def story() -> None:
        seen = []
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*authority.issue("broker"))
        broker = FakeBroker()
        await broker.start(context)
        gateway = Gateway(broker.port, tls=tls(authority))
        async with gateway.running():
            gateway.write(1)
            await until(lambda: broker.chain)
            seen = [w.get_extra_info("ssl_object").version() for w in broker._writers]
        await broker.stop()
        assert seen == ["TLSv1.3"]
        (goodbye,) = [json.loads(p.payload) for p in broker.published if p.topic.endswith("status")][1:]
        assert goodbye == {"state": "offline", "boot_id": "b-1", "why": "stopped"}

    asyncio.run(story())
