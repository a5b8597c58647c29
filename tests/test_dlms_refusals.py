"""What comes under keys and is not as agreed yields no value: a table, over real connections, at the driver's level.

Every case is read in peace first; then one answer is changed on its way, by somebody who may even have the keys of
another meter or of this one; then there is peace again. Changed or not, an answer is one that would give its values if
it were protected as agreed: what is refused is refused for its flaw.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from typing import NamedTuple

import pytest

from drivers.dlms.driver import DlmsDriver
from drivers.dlms.planning import requests
from drivers.dlms.refused import AssociationRefused, Flaw, Malformed, MeterUnproven, NotSupported, ProtectionRefused
from drivers.link import open_link
from edge_agent.model import DeviceSpec, LinkSpec, Reading
from edge_agent.ports import DriverError
from tests.dlms_desk import EXPECTED, device, forget_counters, meter, shown, under_keys
from tests.dlms_meter import EK, aare, guarded, opened, proof, sized
from tests.dlms_served import Served, WrapperServer
from tests.figures import report

BITS = int(os.environ.get("EDGE_PROVE_DLMS_BITS", "97"))
"""So many bits of a reply, or half as many, spread over it, are flipped one at a time; 0: all of them."""

OTHER = b"OTHERMTR"
STOC = b"P6wRJ21F"
QUANTITIES = ("active_energy_import", "active_power", "voltage_l1", "meter_serial")
PROOF, ANSWER = {0xC7, 0xCF, 0xD7}, {0xC4, 0xCC, 0xD4}


@pytest.fixture(autouse=True)
def a_process_of_its_own() -> Iterator[None]:
    forget_counters()
    yield
    forget_counters()


# -- how an answer is changed ------------------------------------------------------------------------------------------


class Came(NamedTuple):
    """A ciphered answer, taken apart by somebody who has the key; `before`: the meter's answers until now."""

    served: Served
    apdu: bytes
    before: list[bytes]

    @property
    def title_said(self) -> bytes:
        return self.apdu[2 : 2 + self.apdu[1]] if self.tag in {0xDB, 0xDC} else b""

    @property
    def tag(self) -> int:
        return self.apdu[0]

    @property
    def body(self) -> bytes:
        return body(self.apdu)

    @property
    def number(self) -> int:
        return int.from_bytes(self.body[1:5], "big")

    @property
    def key(self) -> bytes:
        return self.served._ded if self.tag in {0xD4, 0xD7, 0xDC} else EK

    @property
    def plain(self) -> bytes:
        return opened(self.served.title, self.body, key=self.key)


def body(apdu: bytes) -> bytes:
    at = 2 + apdu[1] if apdu[0] in {0xDB, 0xDC} else 1
    return apdu[at + 1 + (apdu[at] - 0x80 if apdu[at] > 0x80 else 0) :]


Change = Callable[[Came], bytes]


def dressed(tag: int, content: bytes, said: bytes = b"") -> bytes:
    title = bytes((len(said),)) + said if tag in {0xDB, 0xDC} else b""
    return bytes((tag,)) + title + sized(len(content)) + content


def sealed(
    control: int = 0x30,
    *,
    up: int = 0,
    tag: int = 0,
    key: bytes = b"",
    title: bytes = b"",
    said: bytes = b"",
    inside: Callable[[bytes], bytes] = lambda plain: plain,
) -> Change:
    """The same answer protected otherwise, and well; `up`: its counter further up or down; `inside`: other content."""

    def change(came: Came) -> bytes:
        content = guarded(
            control, title or came.served.title, came.number + up, inside(came.plain), key=key or came.key
        )  # fmt: skip
        return dressed(tag or came.tag, content, said or came.title_said)

    return change


def flipped(at: int, mask: int = 1) -> Change:
    def change(came: Came) -> bytes:
        octets = bytearray(came.apdu)
        octets[at] ^= mask
        return bytes(octets)

    return change


def control_octet(mask: int) -> Change:
    return lambda came: flipped(len(came.apdu) - len(came.body), mask)(came)


def retagged(tag: int) -> Change:
    return lambda came: dressed(tag, came.body, came.served.title)


def accepting(
    *, context: int = 3, title: bytes | None = None, challenge: bytes = STOC, mechanism: int = 5, clear: bool = False,
    control: int = 0x30, sealer: bytes | None = None,
) -> Change:  # fmt: skip
    """An AARE that accepts otherwise than it was asked to."""

    def change(came: Came) -> bytes:
        served = came.served
        information = served.response
        if not clear:
            content = guarded(control, sealer or served.title, served.counter, served.response)
            information = dressed(0x28, content)
        return aare(
            0, 14 if challenge else 0, information, context=context,
            title=served.title if title is None else title, challenge=challenge, mechanism=mechanism,
        )  # fmt: skip

    return change


def our_own_challenge(came: Came) -> bytes:
    return accepting(challenge=came.served._ctos)(came)


def proven(with_: Callable[[Came], bytes]) -> Change:
    """The meter's proof, another one, protected as everything else."""

    def change(came: Came) -> bytes:
        return sealed(inside=lambda plain: plain[:-17] + with_(came))(came)

    return change


def another_question(plain: bytes) -> bytes:
    return plain[:2] + bytes((plain[2] & 0xF0 | (plain[2] + 1) & 0x0F,)) + plain[3:]


# -- the table ---------------------------------------------------------------------------------------------------------


class Case(NamedTuple):
    """`of`: the answer that is changed; `flaw`: what is found wrong with it, or the error that says so."""

    wrap: str
    security: str
    of: str
    change: Change
    flaw: Flaw | type[DriverError]
    anew: bool = False
    """The association that is read in is a new one."""


BOTH, AUTH = "authenticated-encrypted", "authenticated"
GET, OPENING, SHOWING = "reply to a GET", "AARE", "reply with the meter's proof"

CASES: dict[str, Case] = {
    # The tag.
    "a wrong tag, glo": Case("glo", BOTH, GET, flipped(-1), Flaw.TAG),
    "a wrong tag, ded": Case("ded", BOTH, GET, flipped(-1), Flaw.TAG),
    "a wrong tag, general-glo": Case("general-glo", BOTH, GET, flipped(-1), Flaw.TAG),
    "a wrong tag, general-ded": Case("general-ded", BOTH, GET, flipped(-1), Flaw.TAG),
    "a wrong tag, authenticated only": Case("glo", AUTH, GET, flipped(-1), Flaw.TAG),
    "a flipped bit of a value, authenticated only": Case("glo", AUTH, GET, flipped(-13), Flaw.TAG),
    "a flipped bit of what is ciphered": Case("glo", BOTH, GET, flipped(-13), Flaw.TAG),
    "another key": Case("glo", BOTH, GET, sealed(key=bytes(16)), Flaw.TAG),
    "no tag at all": Case("glo", BOTH, GET, lambda came: dressed(came.tag, came.body[:5]), Malformed),
    # Weaker than agreed, and right in itself.
    "authenticated, agreed was both": Case("glo", BOTH, GET, sealed(0x10), Flaw.WEAKER),
    "encrypted, agreed was both": Case("glo", BOTH, GET, sealed(0x20), Flaw.WEAKER),
    "a ciphered APDU that protects nothing, agreed was both": Case("glo", BOTH, GET, sealed(0x00), Flaw.WEAKER),
    "in the clear, agreed was both": Case("glo", BOTH, GET, lambda came: came.plain, Flaw.WEAKER),
    "authenticated, agreed was both, ded": Case("ded", BOTH, GET, sealed(0x10), Flaw.WEAKER),
    "encrypted, agreed was both, ded": Case("ded", BOTH, GET, sealed(0x20), Flaw.WEAKER),
    "in the clear, ded": Case("ded", BOTH, GET, lambda came: came.plain, Flaw.WEAKER),
    "authenticated, agreed was both, general-glo": Case("general-glo", BOTH, GET, sealed(0x10), Flaw.WEAKER),
    "encrypted, agreed was both, general-glo": Case("general-glo", BOTH, GET, sealed(0x20), Flaw.WEAKER),
    "protecting nothing, general-glo": Case("general-glo", BOTH, GET, sealed(0x00), Flaw.WEAKER),
    "in the clear, general-glo": Case("general-glo", BOTH, GET, lambda came: came.plain, Flaw.WEAKER),
    "encrypted, agreed was authenticated": Case("glo", AUTH, GET, sealed(0x20), Flaw.WEAKER),
    "protecting nothing, agreed was authenticated": Case("glo", AUTH, GET, sealed(0x00), Flaw.WEAKER),
    "in the clear, agreed was authenticated": Case("glo", AUTH, GET, lambda came: came.plain, Flaw.WEAKER),
    # Sent before.
    "the reply before, once more": Case("glo", BOTH, GET, lambda came: came.before[-1], Flaw.OLD_COUNTER),
    "the reply before, ded": Case("ded", BOTH, GET, lambda came: came.before[-1], Flaw.OLD_COUNTER),
    "the reply before, general-glo": Case("general-glo", BOTH, GET, lambda came: came.before[-1], Flaw.OLD_COUNTER),
    "the reply before, authenticated only": Case("glo", AUTH, GET, lambda came: came.before[-1], Flaw.OLD_COUNTER),
    "a reply of an earlier association": Case(
        "glo", BOTH, GET, lambda came: came.before[-1], Flaw.OLD_COUNTER, anew=True
    ),
    "a reply of an earlier association, under its dedicated key": Case(
        "ded", BOTH, GET, lambda came: came.before[-1], Flaw.OLD_COUNTER, anew=True
    ),
    "the counter of the reply before": Case("glo", BOTH, GET, sealed(up=-1), Flaw.OLD_COUNTER),
    "a counter of long ago": Case("glo", BOTH, GET, sealed(up=-200), Flaw.OLD_COUNTER),
    # Another meter.
    "another meter's title": Case("general-glo", BOTH, GET, sealed(title=OTHER, said=OTHER), Flaw.OTHER_TITLE),
    "another meter's title, its own tag": Case("general-glo", BOTH, GET, sealed(said=OTHER), Flaw.OTHER_TITLE),
    "another meter under the same key, unsaid": Case("general-glo", BOTH, GET, sealed(title=OTHER), Flaw.TAG),
    "another meter under the same key, glo": Case("glo", BOTH, GET, sealed(title=OTHER), Flaw.TAG),
    "another meter under the same key, ded": Case("ded", BOTH, GET, sealed(title=OTHER), Flaw.TAG),
    "our own title": Case("glo", BOTH, GET, sealed(title=bytes.fromhex("4D4D4D0000000001")), Flaw.TAG),
    # Another key than agreed.
    "dedicated, agreed was global": Case("glo", BOTH, GET, retagged(0xD4), Flaw.OTHER_KEY),
    "general-ded, agreed was glo": Case("glo", BOTH, GET, retagged(0xDC), Flaw.OTHER_KEY),
    "general-ded, agreed was general-glo": Case("general-glo", BOTH, GET, retagged(0xDC), Flaw.OTHER_KEY),
    "global, agreed was dedicated": Case("ded", BOTH, GET, sealed(tag=0xCC, key=EK, up=500), Flaw.OTHER_KEY),
    "general-glo, agreed was ded": Case("ded", BOTH, GET, sealed(tag=0xDB, key=EK, up=500), Flaw.OTHER_KEY),
    "general-glo, agreed was general-ded": Case(
        "general-ded", BOTH, GET, sealed(tag=0xDB, key=EK, up=500), Flaw.OTHER_KEY
    ),
    "said to be dedicated, under the global key": Case("ded", BOTH, GET, sealed(key=EK), Flaw.TAG),
    "under the broadcast key": Case("glo", BOTH, GET, control_octet(0x40), Flaw.OTHER_KEY),
    "another security suite": Case("glo", BOTH, GET, control_octet(0x01), NotSupported),
    "compressed": Case("glo", BOTH, GET, control_octet(0x80), NotSupported),
    # Right in its protection, and no answer to what was asked.
    "the reply to another question, well protected": Case("glo", BOTH, GET, sealed(inside=another_question), Malformed),
    "another service inside": Case("glo", BOTH, GET, sealed(inside=lambda p: b"\xc7" + p[1:]), Malformed),
    # The AARE.
    "an application context without ciphering, information in the clear": Case(
        "glo", BOTH, OPENING, accepting(context=1, clear=True), Malformed
    ),
    "an application context without ciphering, information ciphered": Case(
        "glo", BOTH, OPENING, accepting(context=1), Malformed
    ),
    "an application context without ciphering, ded": Case("ded", BOTH, OPENING, accepting(context=1), Malformed),
    "short names under keys": Case("glo", BOTH, OPENING, accepting(context=4), NotSupported),
    "information in the clear": Case("glo", BOTH, OPENING, accepting(clear=True), Flaw.WEAKER),
    "information authenticated, agreed was both": Case("glo", BOTH, OPENING, accepting(control=0x10), Flaw.WEAKER),
    "information encrypted, agreed was both": Case("glo", BOTH, OPENING, accepting(control=0x20), Flaw.WEAKER),
    "information encrypted, agreed was authenticated": Case(
        "glo", AUTH, OPENING, accepting(control=0x20), Flaw.WEAKER
    ),
    "an AARE of another meter": Case("glo", BOTH, OPENING, accepting(title=OTHER, sealer=OTHER), Flaw.OTHER_TITLE),
    "an AARE that hides another meter": Case("glo", BOTH, OPENING, accepting(sealer=OTHER), Flaw.TAG),
    "an AARE with a title of five octets": Case("glo", BOTH, OPENING, accepting(title=b"short"), Flaw.OTHER_TITLE),
    "the AARE of an earlier association": Case(
        "glo", BOTH, OPENING, lambda came: came.before[0], Flaw.OLD_COUNTER, anew=True
    ),
    "accepted without a challenge": Case("glo", BOTH, OPENING, accepting(challenge=b""), MeterUnproven),
    "a password where a proof was wanted": Case("glo", BOTH, OPENING, accepting(mechanism=1), MeterUnproven),
    "a challenge too short": Case("glo", BOTH, OPENING, accepting(challenge=b"short"), MeterUnproven),
    "our own challenge handed back": Case("glo", BOTH, OPENING, our_own_challenge, MeterUnproven),
    # The meter's proof.
    "a proof under another key": Case(
        "glo", BOTH, SHOWING,
        proven(lambda c: proof(c.served.title, c.number + 1, c.served._ctos, key=bytes(16))), MeterUnproven,
    ),
    "a proof by another meter": Case(
        "glo", BOTH, SHOWING, proven(lambda c: proof(OTHER, c.number + 1, c.served._ctos)), MeterUnproven
    ),
    "a proof of another challenge": Case(
        "glo", BOTH, SHOWING, proven(lambda c: proof(c.served.title, c.number + 1, STOC)), MeterUnproven
    ),
    "an old proof": Case(
        "glo", BOTH, SHOWING, proven(lambda c: proof(c.served.title, 1, c.served._ctos)), MeterUnproven
    ),
    "the proof in the clear": Case("glo", BOTH, SHOWING, lambda came: came.plain, Flaw.WEAKER),
    "the proof, authenticated only": Case("glo", BOTH, SHOWING, sealed(0x10), Flaw.WEAKER),
    "the proof, with a wrong tag": Case("glo", BOTH, SHOWING, flipped(-1), Flaw.TAG),
    "no proof": Case(
        "glo", BOTH, SHOWING, sealed(inside=lambda plain: plain[:3] + b"\x00\x00"), MeterUnproven
    ),
    "a proof refused": Case(
        "glo", BOTH, SHOWING, sealed(inside=lambda plain: plain[:3] + b"\x03\x00"), AssociationRefused
    ),
}  # fmt: skip


# -- a driver and a meter, over TCP ------------------------------------------------------------------------------------


class Place:
    """A driver, its meter behind a port, and somebody between them who changes what he wants to."""

    def __init__(self, server: WrapperServer, served: Served, spec: DeviceSpec) -> None:
        self.server, self.served, self.spec = server, served, spec
        link = open_link(LinkSpec("net", "dlms-tcp", "127.0.0.1", server.port), now_ms=_now_ms)
        self.driver = DlmsDriver(link, 2.0, _now_ms)
        self.heard: dict[str, list[bytes]] = {}
        self.changed = 0

    async def read(self) -> dict[str, object]:
        """Asked anew for everything, also for what was refused before."""
        return shown([o for request in requests(self.spec) for o in await self.driver.read(request)])

    def listen(self) -> None:
        self.served.says = self._keep

    def spoil(self, of: str, change: Change) -> None:
        """The first answer of that kind is changed; the meter's later ones are as they are."""
        self.changed = 0

        def between(apdu: bytes) -> bytes:
            if self.changed or self._kind(apdu) != of:
                return apdu
            self.changed += 1
            changed = change(Came(self.served, apdu, self.heard.get(of, [])))
            assert changed != apdu, "nothing was changed"
            return changed

        self.served.says = between

    def _keep(self, apdu: bytes) -> bytes:
        self.heard.setdefault(self._kind(apdu), []).append(apdu)
        return apdu

    def _kind(self, apdu: bytes) -> str:
        if apdu[0] == 0x61:
            return OPENING
        if apdu[0] in {0xDB, 0xDC}:
            key = EK if apdu[0] == 0xDB else self.served._ded
            apdu = opened(self.served.title, body(apdu), key=key)
        return SHOWING if apdu[0] in PROOF else GET if apdu[0] in ANSWER else ""

    async def cut(self) -> None:
        self.server.cut()
        await asyncio.sleep(0.01)


def _now_ms() -> int:
    return time.monotonic_ns() // 1_000_000


CONTROL = {BOTH: 0x30, AUTH: 0x10}


def run(folder, wrap: str, security: str, story, quantities=QUANTITIES, **more) -> None:
    async def play() -> None:
        served = meter(
            ciphers=True, stoc=STOC, control=CONTROL[security], general=wrap.startswith("general"),
            dedicated=wrap.endswith("ded"), **more,
        )  # fmt: skip
        spec = device(replace(under_keys(folder, wrap=wrap, security=security), inactivity_s=120.0), *quantities)
        async with WrapperServer({1: served}) as server:
            place = Place(server, served, spec)
            try:
                await story(place)
            finally:
                await place.driver.close()

    asyncio.run(play())


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_an_answer_that_is_not_as_agreed_yields_no_value(case: Case, tmp_path):
    expected = {name: EXPECTED[name] for name in QUANTITIES}

    async def story(place: Place) -> None:
        place.listen()
        for _ in range(2):
            assert await place.read() == expected
        if case.anew or case.of != GET:
            await place.cut()
        if case.anew and case.of == GET:
            place.served.says = lambda apdu: apdu
            assert await place.read() == expected
        place.spoil(case.of, case.change)
        with pytest.raises(DriverError) as refused:
            await place.read()
        assert place.changed == 1
        if isinstance(case.flaw, Flaw):
            assert isinstance(refused.value, ProtectionRefused), refused.value
            assert refused.value.flaw is case.flaw
        else:
            assert isinstance(refused.value, case.flaw), refused.value
        assert await place.read() == expected
        assert place.served.asked[-1][:2] == b"\xc0\x03", "what came from nobody knows whom has changed how it is asked"

    run(tmp_path, case.wrap, case.security, story)


@pytest.mark.parametrize("second", [False, True], ids=["the first block", "the second block"])
@pytest.mark.parametrize(
    ("change", "flaw"),
    [
        (flipped(-1), Flaw.TAG),
        (sealed(0x10), Flaw.WEAKER),
        (lambda came: came.plain, Flaw.WEAKER),
        (sealed(up=-1), Flaw.OLD_COUNTER),
    ],
    ids=["a wrong tag", "authenticated only", "in the clear", "an old counter"],
)
def test_one_block_that_is_not_as_agreed_takes_all_of_its_answer_with_it(change, flaw, second, tmp_path):
    expected = {name: EXPECTED[name] for name in QUANTITIES}

    async def story(place: Place) -> None:
        assert await place.read() == expected
        seen: list[bytes] = []

        def between(apdu: bytes) -> bytes:
            seen.append(apdu)
            return apdu if len(seen) != 1 + second else change(Came(place.served, apdu, []))

        place.served.says = between
        with pytest.raises(ProtectionRefused) as refused:
            await place.read()
        assert refused.value.flaw is flaw
        assert len(seen) == 1 + second
        place.served.says = lambda apdu: apdu
        assert await place.read() == expected

    run(tmp_path, "glo", BOTH, story, block=20)


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("wrap", "security", "quantities"),
    [
        ("glo", BOTH, ("voltage_l1",)),
        ("ded", BOTH, ("voltage_l1",)),
        ("general-glo", BOTH, ("voltage_l1",)),
        ("glo", AUTH, ("voltage_l1",)),
        ("glo", BOTH, QUANTITIES),
    ],
    ids=["glo", "ded", "general-glo", "authenticated only", "a list"],
)
def test_no_bit_of_a_reply_may_change(wrap, security, quantities, tmp_path):
    """Every bit of the ciphered reply to a GET, its tag, length and header too."""
    expected = {name: EXPECTED[name] for name in quantities}
    said: Counter[str] = Counter()

    async def story(place: Place) -> None:
        place.listen()
        for _ in range(2):
            assert await place.read() == expected
        whole = 8 * len(place.heard[GET][-1])
        bits = range(0, whole, (whole // BITS) | 1 if BITS else 1)
        for bit in bits:
            place.spoil(GET, flipped(bit >> 3, 1 << (bit & 7)))
            values: list[object] = []
            with suppress(DriverError):
                values = [o for r in requests(place.spec) for o in await place.driver.read(r) if isinstance(o, Reading)]
                said["gap"] += 1
            assert values == [], f"a value in spite of bit {bit}"
            assert place.changed == 1
            place.served.says = lambda apdu: apdu
            assert await place.read() == expected
        said["bits"] = len(bits)

    run(tmp_path, wrap, security, story, quantities)
    assert said["bits"] >= (BITS // 2 or 200)
    report(f"dlms-bits {wrap} {security} {len(quantities)}", bits=said["bits"], values=0)


def test_every_kind_of_flaw_and_every_answer_is_in_the_table():
    assert {case.flaw for case in CASES.values() if isinstance(case.flaw, Flaw)} == set(Flaw) - {Flaw.NO_TITLE}
    assert {case.of for case in CASES.values()} == {GET, OPENING, SHOWING}
    assert {case.wrap for case in CASES.values()} == {"glo", "ded", "general-glo", "general-ded"}
