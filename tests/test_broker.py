"""The tests' own broker: what the end-to-end tests lean on must itself be true."""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path

import paho.mqtt.client as mqtt
import pytest
import trustme
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from tests.broker import Broker, NoBroker, TlsFiles

Factory = Callable[..., Broker]


def deliver(broker: Broker, protocol: MQTTProtocolVersion, tls: TlsFiles | None = None) -> bool:
    client = mqtt.Client(CallbackAPIVersion.VERSION2, protocol=protocol)
    if tls is not None:
        client.tls_set(ca_certs=str(tls.ca), certfile=str(tls.cert), keyfile=str(tls.key))
    client.connect(broker.host, broker.port)
    client.loop_start()
    try:
        info = client.publish("ea/test", b"1", qos=1)
        info.wait_for_publish(5)
        return info.is_published()
    finally:
        client.disconnect()
        client.loop_stop()


@pytest.mark.parametrize("protocol", [MQTTProtocolVersion.MQTTv5, MQTTProtocolVersion.MQTTv311])
def test_it_takes_both_versions_and_comes_back_on_its_port(mosquitto: Factory, protocol: MQTTProtocolVersion) -> None:
    broker = mosquitto()
    port = broker.port
    assert deliver(broker, protocol)
    broker.kill()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((broker.host, port), timeout=1)
    broker.start()
    assert broker.port == port
    assert deliver(broker, protocol)


def test_what_is_retained_outlives_a_clean_restart(mosquitto: Factory) -> None:
    broker = mosquitto(persistent=True)
    client = mqtt.Client(CallbackAPIVersion.VERSION2)
    client.connect(broker.host, broker.port)
    client.loop_start()
    client.publish("ea/kept", b"yes", qos=1, retain=True).wait_for_publish(5)
    client.disconnect()
    client.loop_stop()
    broker.restart()

    heard: list[bytes] = []
    reader = mqtt.Client(CallbackAPIVersion.VERSION2)
    reader.on_message = lambda _client, _user, message: heard.append(bytes(message.payload))
    reader.connect(broker.host, broker.port)
    reader.subscribe("ea/kept", qos=1)
    for _ in range(50):
        reader.loop(0.1)
        if heard:
            break
    reader.disconnect()
    assert heard == [b"yes"]


def test_a_tls_listener_asks_the_client_who_it_is(mosquitto: Factory, tmp_path: Path) -> None:
    authority = trustme.CA()
    ca = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(ca))
    server = write_pair(authority.issue_cert("127.0.0.1"), tmp_path, "server")
    device = write_pair(authority.issue_cert("gw-1", common_name="gw-1"), tmp_path, "device")
    broker = mosquitto(tls=TlsFiles(ca, *server, require_client=True))
    assert deliver(broker, MQTTProtocolVersion.MQTTv5, TlsFiles(ca, *device))
    assert "u'gw-1'" in broker.log, "the certificate's CN becomes the user name"


def write_pair(leaf: trustme.LeafCert, folder: Path, name: str) -> tuple[Path, Path]:
    cert, key = folder / f"{name}.crt", folder / f"{name}.key"
    leaf.cert_chain_pems[0].write_to_path(str(cert))
    leaf.private_key_pem.write_to_path(str(key))
    return cert, key


def test_a_broker_that_will_not_start_says_why(mosquitto: Factory) -> None:
    with pytest.raises(NoBroker, match="Unknown configuration variable"):
        mosquitto(extra="no_such_setting true")
