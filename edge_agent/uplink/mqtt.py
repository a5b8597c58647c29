"""The one door to the MQTT library: one `Session` per connection, its callbacks on the event loop.

The library runs its own thread per session. Its callbacks run there, some of them with its locks held, and an exception
in one of them would end the thread while the client still calls itself connected. So they do nothing but hand over,
under a guard, and no lock of ours is ever taken in them. A session that has ended is never used again: what the library
still held goes with it, and the outbox sends it anew.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import threading
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol

from edge_agent import lean
from edge_agent.uplink import tls
from edge_agent.uplink.faults import MqttFault, disconnected, named, refused

with lean.until_used("urllib.request"):  # where a SOCKS proxy might be named; it brings HTTP and mail: 1.4 MiB
    import paho.mqtt.client as paho
    from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion
    from paho.mqtt.packettypes import PacketTypes
    from paho.mqtt.properties import Properties

SESSION_EXPIRY_S = 300
WILL_DELAY_S = 60
PACKET_MAX = 262_144  # incoming; the brokers' own limit in the ready configurations
INBOX_MAX = 64
CONNACK_FIRST = 0x20


class MqttSettings(Protocol):
    """Where the broker is and how to enter (`settings.site.Mqtt`)."""

    @property
    def host(self) -> str: ...
    @property
    def port(self) -> int: ...
    @property
    def protocol(self) -> Literal["5", "3.1.1"]: ...
    @property
    def keepalive_s(self) -> int: ...
    @property
    def username(self) -> str | None: ...
    @property
    def password_file(self) -> str | None: ...
    @property
    def tls(self) -> tls.TlsFiles | None: ...


class Will(NamedTuple):
    """What the broker says for us when we are gone."""

    topic: str
    payload: bytes


class _Client(paho.Client):
    """The library's client with four places watched that it has no callback for.

    What came first (a web server answers with text), how large a packet says it is (before room is made for it), how
    the thread ended, and the socket while it shakes hands (the library would neither cut nor close it). The tests fail
    when a new version of the library no longer passes here.
    """

    oversized = 0
    first_byte: int | None = None
    cause: BaseException | None = None
    raw: socket.socket | None = None
    on_end: Callable[[], None] = staticmethod(lambda: None)

    def _sock_recv(self, bufsize: int) -> bytes:
        if bufsize > PACKET_MAX:
            self.oversized += 1
            self.cause = MqttFault("oversized", host=self.host, port=self.port, size=bufsize)
            raise ConnectionError("packet larger than any of ours")
        try:
            received: bytes = super()._sock_recv(bufsize)
        except BlockingIOError:
            raise
        except OSError as error:  # an alert of TLS 1.3 about our certificate arrives here, and the library drops it
            self.cause = self.cause or error
            raise
        if self.first_byte is None and received:
            self.first_byte = received[0]
            if self.first_byte & 0xF0 != CONNACK_FIRST:
                web = received[:1].isalpha()
                self.cause = MqttFault("web_server" if web else "not_mqtt", host=self.host, port=self.port)
                raise ConnectionError("not a broker")
        return received

    def _ssl_wrap_socket(self, tcp_sock: socket.socket) -> ssl.SSLSocket:
        assert self._ssl_context is not None
        wrapped = self._ssl_context.wrap_socket(tcp_sock, server_hostname=self.host, do_handshake_on_connect=False)
        self.raw = wrapped
        try:
            wrapped.settimeout(self.connect_timeout)
            wrapped.do_handshake()
        except BaseException:
            self.raw = None
            wrapped.close()
            raise
        return wrapped

    def _thread_main(self) -> None:
        try:
            super()._thread_main()
        except Exception as error:  # whatever a hostile packet breaks in the library ends this session only
            self.cause = self.cause or error
        finally:
            self.on_end()


class Session:
    """One connection from CONNECT to its end. Every callback arrives on the event loop's thread."""

    def __init__(
        self,
        settings: MqttSettings,
        *,
        client_id: str,
        will: Will,
        window: int,
        check_time: bool = True,
        fresh: bool = False,
    ) -> None:
        """`fresh`: let the broker forget what it kept for us, for once."""
        self.on_message: Callable[[str, bytes], None] = lambda _topic, _payload: None
        self.on_published: Callable[[int, int], None] = lambda _mid, _reason: None
        self.on_lost: Callable[[str], None] = lambda _words: None
        self.receive_maximum: int | None = None
        self.retain_available = True
        self.dropped = 0  # messages thrown away because nobody took them in time
        self.fault: MqttFault | None = None  # why it ended
        self._settings = settings
        self._client_id = client_id
        self._will = will
        self._window = window
        self._check_time = check_time
        self._fresh = fresh
        self._loop = asyncio.get_running_loop()
        self._client: _Client | None = None
        self._gone = False
        self._end = asyncio.Event()
        self._up = False
        self._connack: asyncio.Future[None] = self._loop.create_future()
        self._subacks: dict[int, asyncio.Future[list[int]]] = {}
        self._early: dict[int, list[int]] = {}
        self._inbox: deque[tuple[str, bytes]] = deque(maxlen=INBOX_MAX)
        self._rung = False
        self._last_word: MqttFault | None = None

    # --- for the uplink, on the event loop

    async def connect(self, timeout_s: float = 20.0) -> None:
        """Return once the broker has accepted us; MqttFault says in words why not."""
        try:
            client = self._make()
        except MqttFault:
            raise
        except Exception as error:
            raise named(error, self._settings.host, self._settings.port) from error
        self._client = client
        threading.Thread(target=self._open, args=(client,), name="mqtt-connect", daemon=True).start()
        try:
            async with asyncio.timeout(timeout_s):
                await self._connack
        except TimeoutError:
            raise MqttFault("no_answer", host=self._settings.host, port=self._settings.port) from None

    async def subscribe(self, topics: Sequence[str], timeout_s: float = 20.0) -> None:
        """Return once the broker has granted every one at QoS 1; MqttFault where it has not."""
        assert self._client is not None
        code, mid = self._client.subscribe([(topic, 1) for topic in topics])
        if code != MQTTErrorCode.MQTT_ERR_SUCCESS or mid is None:
            raise self._fault_now()
        if mid in self._early:
            granted = self._early.pop(mid)
        else:
            waiting = self._subacks[mid] = self._loop.create_future()
            try:
                async with asyncio.timeout(timeout_s):
                    granted = await waiting
            except TimeoutError:
                raise MqttFault("no_suback", host=self._settings.host, port=self._settings.port) from None
        for topic, reason in zip(topics, granted, strict=False):
            if reason >= 0x80:
                raise MqttFault("no_subscription", topic=topic, reason=f"0x{reason:02X}", at_least_s=10.0)

    def publish(self, topic: str, payload: bytes, *, qos: int, retain: bool) -> int:
        """Hand one message over; its number comes back in `on_published` (QoS 1). MqttFault: it was not handed over."""
        client = self._client
        if client is None or not self.alive or not client.is_connected():  # else the library would queue it
            raise self._fault_now()
        info = client.publish(topic, payload, qos=qos, retain=retain and self.retain_available)
        if info.rc != MQTTErrorCode.MQTT_ERR_SUCCESS:
            self.drop("publish_failed", detail=paho.error_string(info.rc))
            raise self._fault_now()
        return info.mid

    async def disconnect(self, timeout_s: float = 2.0) -> None:
        """Say goodbye, so that the broker does not send the will, and be gone in `timeout_s` at the latest."""
        client = self._client
        if client is not None and self._up and not self._gone:
            client.disconnect()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(timeout_s):
                    await self._end.wait()
        self.drop("closed")

    def drop(self, code: str, **fields: Any) -> None:
        """End the connection at once, whatever state it is in."""
        if self.fault is None:
            self.fault = MqttFault(code, host=self._settings.host, port=self._settings.port, **fields)
        self._up = False
        if self._client is not None:
            _cut(self._client)
        self._fail_waiting(self.fault)

    @property
    def alive(self) -> bool:
        """Whether the broker has accepted us and the library's thread is still there."""
        return self._up and not self._gone

    @property
    def oversized(self) -> int:
        return self._client.oversized if self._client is not None else 0

    def _fault_now(self) -> MqttFault:
        return self.fault or MqttFault("lost", host=self._settings.host, port=self._settings.port, detail="-")

    # --- making the client

    def _make(self) -> _Client:
        settings = self._settings
        five = settings.protocol == "5"
        client = _Client(
            CallbackAPIVersion.VERSION2,
            client_id=self._client_id,
            clean_session=None if five else self._fresh,
            protocol=MQTTProtocolVersion.MQTTv5 if five else MQTTProtocolVersion.MQTTv311,
            reconnect_on_failure=False,
        )
        client.connect_timeout = 10.0
        client.max_inflight_messages = self._window
        client.max_queued_messages = 2 * self._window
        will = Properties(PacketTypes.WILLMESSAGE) if five else None  # type: ignore[no-untyped-call]
        if will is not None:
            will.WillDelayInterval = WILL_DELAY_S
        client.will_set(self._will.topic, self._will.payload, qos=1, retain=True, properties=will)
        if settings.username is not None:
            client.username_pw_set(settings.username, _password(settings.password_file))
        if settings.tls is not None:
            client.tls_set_context(tls.context(settings.tls, check_time=self._check_time))
        client.on_connect = self._guarded(self._on_connect)
        client.on_subscribe = self._guarded(self._on_subscribe)
        client.on_publish = self._guarded(self._on_publish)
        client.on_message = self._guarded(self._on_message)
        client.on_disconnect = self._guarded(self._on_disconnect)
        client.on_socket_open = self._guarded(self._on_socket_open)
        client.on_end = lambda: self._hand(self._ended)
        return client

    # --- on the library's threads: hand over, nothing else

    def _open(self, client: _Client) -> None:
        """Name, connect and handshake may block for as long as they like; then the library's own thread begins."""
        settings = self._settings
        try:
            if settings.protocol == "5":
                properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
                properties.SessionExpiryInterval = SESSION_EXPIRY_S
                properties.MaximumPacketSize = PACKET_MAX
                client.connect(
                    settings.host, settings.port, settings.keepalive_s, clean_start=self._fresh, properties=properties
                )
            else:
                client.connect(settings.host, settings.port, settings.keepalive_s)
            client.loop_start()
        except Exception as error:  # the thread's last word is the session's fault
            client.cause = client.cause or error
            self._hand(self._ended)

    def _guarded(self, callback: Callable[..., None]) -> Callable[..., None]:
        def call(*arguments: Any) -> None:
            try:
                callback(*arguments)
            except Exception as error:  # here it would end the library's thread
                if self._client is not None:
                    self._client.cause = self._client.cause or error
                    _cut(self._client)

        return call

    def _hand(self, callback: Callable[..., None], *arguments: Any) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody is left to tell
            self._loop.call_soon_threadsafe(callback, *arguments)

    def _on_connect(self, _client: Any, _user: Any, _flags: Any, reason: Any, properties: Any) -> None:
        self._hand(
            self._answered,
            int(reason.value),
            str(reason),
            getattr(properties, "ReceiveMaximum", None),
            getattr(properties, "RetainAvailable", 1),
            getattr(properties, "ServerReference", ""),
        )

    def _on_subscribe(self, _client: Any, _user: Any, mid: int, reasons: Any, _properties: Any) -> None:
        self._hand(self._granted, mid, [int(reason.value) for reason in reasons])

    def _on_publish(self, _client: Any, _user: Any, mid: int, reason: Any, _properties: Any) -> None:
        self._hand(self._published, mid, int(reason.value))

    def _on_message(self, _client: Any, _user: Any, message: Any) -> None:
        try:
            topic = message.topic
        except UnicodeDecodeError:
            self.dropped += 1
            return
        if len(self._inbox) == INBOX_MAX:
            self.dropped += 1  # the oldest goes: an acknowledgement says all that those before it said
        self._inbox.append((topic, bytes(message.payload)))
        if not self._rung:
            self._rung = True
            self._hand(self._take)

    def _on_disconnect(self, _client: Any, _user: Any, flags: Any, reason: Any, _properties: Any) -> None:
        if flags.is_disconnect_packet_from_server:
            self._last_word = disconnected(int(reason.value), str(reason), self._settings.host, self._settings.port)
        elif reason.value == 0x8D:
            self._last_word = MqttFault("half_open", host=self._settings.host, port=self._settings.port)

    def _on_socket_open(self, _client: Any, _user: Any, opened: Any) -> None:
        if self.fault is not None:  # given up while it was still connecting: it must not say CONNECT after all
            _cut_socket(opened)
            return
        timeout = getattr(socket, "TCP_USER_TIMEOUT", None)
        if timeout is not None:
            opened.setsockopt(socket.IPPROTO_TCP, timeout, self._settings.keepalive_s * 1000)

    # --- back on the event loop

    def _answered(self, code: int, words: str, receive_maximum: int | None, retain: int, elsewhere: str) -> None:
        if self._connack.done():
            return
        if code != 0:
            fault = refused(code, words, self._settings.host, self._settings.port, elsewhere=elsewhere)
            self.fault = self.fault or fault
            self._connack.set_exception(fault)
            return
        self.receive_maximum = receive_maximum
        self.retain_available = bool(retain)
        self._up = True
        self._connack.set_result(None)

    def _granted(self, mid: int, reasons: list[int]) -> None:
        waiting = self._subacks.pop(mid, None)
        if waiting is None:
            if len(self._early) < INBOX_MAX:
                self._early[mid] = reasons
        elif not waiting.done():
            waiting.set_result(reasons)

    def _published(self, mid: int, reason: int) -> None:
        if self.alive:
            self.on_published(mid, reason)

    def _take(self) -> None:
        self._rung = False
        for _ in range(len(self._inbox)):  # what comes meanwhile rings again
            topic, payload = self._inbox.popleft()
            if self.alive:
                self.on_message(topic, payload)

    def _ended(self) -> None:
        if self._gone:
            return
        was_up, self._up, self._gone = self._up, False, True
        client = self._client
        assert client is not None
        if self.fault is None:
            self.fault = self._why(client.cause, was_up)
        self._end.set()
        self._fail_waiting(self.fault)
        if was_up:
            self.on_lost(str(self.fault))

    def _fail_waiting(self, fault: MqttFault) -> None:
        pending: list[asyncio.Future[Any]] = [self._connack, *self._subacks.values()]
        for waiting in pending:
            if not waiting.done():
                waiting.set_exception(fault)
            if not waiting.cancelled():
                waiting.exception()  # seen, whether or not anybody still waits for it
        self._subacks.clear()

    def _why(self, cause: BaseException | None, was_up: bool) -> MqttFault:
        host, port = self._settings.host, self._settings.port
        if self._last_word is not None:
            return self._last_word
        hung_up = cause is None or isinstance(cause, ConnectionResetError | ConnectionAbortedError | BrokenPipeError)
        if not was_up and hung_up and self._settings.tls is not None:
            return MqttFault("tls_cut", host=host, port=port)
        if cause is not None and (was_up or not hung_up):
            return named(cause, host, port)
        if was_up:
            return MqttFault("lost", host=host, port=port, detail="-")
        first = self._client.first_byte if self._client is not None else None
        if first is not None:  # an answer came that the library did not take for one: it was for another version
            return refused(0x84, "", host, port)
        return MqttFault("closed_early", host=host, port=port)


def _cut(client: _Client) -> None:
    """Shut the socket under the library and under TLS: the library's thread reads the end and goes."""
    raw = client.socket() or client.raw
    if isinstance(raw, socket.socket):
        _cut_socket(raw)


def _cut_socket(raw: socket.socket) -> None:
    if raw.fileno() >= 0:
        with contextlib.suppress(OSError):
            socket.socket.shutdown(raw, socket.SHUT_RDWR)


def _password(path: str | None) -> str | None:
    if path is None:
        return None
    try:
        return Path(path).read_text(encoding="utf-8").strip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        raise MqttFault("password_unreadable", path=path, detail=str(error)) from error
