"""A DLMS/COSEM meter: one logical device, asked by clients over whatever carries APDUs.

It opens and ends associations, takes protection off and puts it on, gives attributes to whom they are meant for, and
notes every invocation counter that comes. It changes nothing: what would write is refused and counted. Time is an
argument: `at_ms` is the scenario's, `now_s` the line's or the loop's, which inactivity is counted in.
"""

from __future__ import annotations

import secrets
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from simulator.clock import SimClock
from simulator.dlms import acse, requests
from simulator.dlms.acse import CIPHERED, GMAC, LLS, LONG_NAMES, Opening, Wish
from simulator.dlms.association import CIPHERED as CIPHERED_TAGS
from simulator.dlms.association import Association, Long, Opened, Rejected, other_title
from simulator.dlms.client import OWN_ASSOCIATION, Client
from simulator.dlms.codec import UNREADABLE, octet_string
from simulator.dlms.codes import OFFERED, Access, Diagnosis, Reject, Result, Service, rejected
from simulator.dlms.guard import Keys, proof
from simulator.dlms.holding import Holding
from simulator.dlms.ledger import CounterLedger
from simulator.dlms.objects import CosemObject, NotGiven
from simulator.dlms.own import own_objects
from simulator.dlms.requests import Act, Answered, Get, Next, Target, Unknown
from simulator.faults import OPENING, PROTECTING, Fault, FaultKind, Faults

QUIRKS = frozenset({
    "bare_refusal",  # an AARE that refuses says nothing of what it would have agreed to
    "no_title",  # general-glo with the title left empty
    "says_exception",  # a second association is refused by exception-response instead of an AARE
    "lingers",  # an association outlives its connection until the inactivity time-out
    "no_release",  # it does not know RLRQ
    "bare_ua",  # UA without parameters
})  # fmt: skip
"""What meters are known to do otherwise."""

_ON_ANY_ANSWER = frozenset({
    FaultKind.SILENCE, FaultKind.LATE, FaultKind.WRONG_UNIT, FaultKind.SHORT, FaultKind.HALF_FRAME, FaultKind.RESET,
    FaultKind.SPLIT, FaultKind.WRONG_CHECK, FaultKind.CUT_FRAME, FaultKind.NOISE, FaultKind.HUNG_UP,
})  # fmt: skip
_ON_GET = frozenset({FaultKind.EXCEPTION, FaultKind.BUSY, FaultKind.WRONG_FUNCTION, FaultKind.WRONG_INVOKE})


@dataclass(slots=True)
class Counts:
    """What a meter has been asked."""

    requests: int = 0
    writes_seen: int = 0
    refused: int = 0
    associations: int = 0


class Answer(NamedTuple):
    """What the meter says, nothing where `apdu` is empty, and how it is spoiled on the way."""

    apdu: bytes
    fault: Fault | None = None

    @property
    def hangs_up(self) -> bool:
        return self.fault is not None and self.fault.kind is FaultKind.HUNG_UP


@dataclass
class DlmsMeter:
    """`most_pdu`: of the APDUs that it takes and gives. `most_list`: attributes in one list. `at_once`: associations.

    `challenge`: StoC of every HLS association; empty: a new one each.
    """

    name: str
    holding: Holding
    clients: Sequence[Client]
    clock: SimClock
    ledger: CounterLedger = field(default_factory=CounterLedger)
    services: int = OFFERED
    most_pdu: int = 1024
    most_list: int = 32
    at_once: int = 1
    quirks: Collection[str] = ()
    challenge: bytes = b""
    counts: Counts = field(default_factory=Counts)

    def __post_init__(self) -> None:
        if unknown := set(self.quirks) - QUIRKS:
            raise ValueError(f"no such quirk: {', '.join(sorted(unknown))}")
        self._clients = {client.sap: client for client in self.clients}
        if len(self._clients) != len(self.clients):
            raise ValueError("two clients have one number")
        self.open: list[Association] = []
        self._titles = {client.sap: client.title for client in self.clients}  # of who last showed that he has the key

    @property
    def faults(self) -> Faults:
        return self.holding.faults

    def answer(self, client: int, apdu: bytes, channel: object, now_s: float) -> Answer:
        """The answer to one APDU of a client that comes over a channel."""
        self.counts.requests += 1
        self.expire(now_s)
        if len(apdu) > self.most_pdu:
            return self._reject(Reject.TOO_LONG)
        if apdu[:1] == bytes((acse.AARQ,)):
            return self._associate(client, apdu, channel, now_s)
        association = self._association(client, channel)
        if association is None:
            return self._reject(Reject.NOT_POSSIBLE)
        association.heard_s = now_s
        if apdu[:1] == bytes((acse.RLRQ,)):
            return self._release(association, apdu)
        try:
            opened = association.open(apdu, self.ledger)
            if association.ciphers and apdu[0] not in CIPHERED_TAGS:
                raise Rejected(Reject.OTHER)
            return self._serve(association, opened)
        except Rejected as no:
            return self._reject(no.error, no.counter)
        except UNREADABLE:
            return self._reject(Reject.OTHER)

    def closed(self, channel: object) -> None:
        """A connection has ended, or a data link."""
        if "lingers" not in self.quirks:
            self.hang_up(channel)

    def hang_up(self, channel: object) -> None:
        self.open = [association for association in self.open if association.channel is not channel]

    def expire(self, now_s: float) -> list[object]:
        """End what has been silent for too long; the channels it was on."""
        limit_s = self.holding.plate.inactivity_s
        over = [a for a in self.open if limit_s and now_s - a.heard_s > limit_s]
        self.open = [a for a in self.open if a not in over]
        return [a.channel for a in over]

    # -- opening and ending --------------------------------------------------------------------------------------

    def _associate(self, sap: int, apdu: bytes, channel: object, now_s: float) -> Answer:
        client = self._clients.get(sap)
        try:
            opening = acse.aarq(apdu)
        except UNREADABLE:
            return self._reject(Reject.OTHER)
        self.open = [a for a in self.open if a.channel is not channel or a.client.sap != sap]
        ciphers = opening.context == CIPHERED
        kinds = _ON_ANY_ANSWER | OPENING | (PROTECTING if ciphers else frozenset())
        fault = self.faults.on_wire((), self.clock.utc_ms(), among=kinds)
        held = fault is not None and fault.kind is FaultKind.ASSOCIATION_HELD
        if held or len(self.open) >= self.at_once:
            if "says_exception" in self.quirks:
                return self._reject(Reject.NOT_POSSIBLE, fault=fault)
            return self._refuse(Diagnosis.NO_REASON, Result.TRANSIENT, fault=fault)
        if client is None:
            return self._refuse(Diagnosis.NO_REASON, fault=fault)
        if opening.context not in {LONG_NAMES, CIPHERED} or ciphers != bool(client.control):
            return self._refuse(Diagnosis.CONTEXT, opening=opening, fault=fault)
        if opening.mechanism != client.mechanism:
            known = opening.mechanism in {acse.NONE, LLS, GMAC}
            wanted = Diagnosis.MECHANISM_REQUIRED if not opening.mechanism else Diagnosis.MECHANISM
            return self._refuse(wanted if known else Diagnosis.MECHANISM, opening=opening, fault=fault)
        title = opening.title or client.title
        if client.keys is not None and (len(title) != 8 or (client.title and opening.title not in {b"", client.title})):
            return self._refuse(Diagnosis.CALLING_TITLE, opening=opening, fault=fault)
        if client.mechanism == LLS and not secrets.compare_digest(opening.secret, client.password):
            return self._locked_out(opening, fault)
        association = Association(client, channel, title, now_s, ciphers=ciphers, proven=client.mechanism != GMAC)
        try:
            opened = association.open(opening.information, self.ledger)
            if ciphers and opening.information[:1] not in {b"\x21", b"\xdb"}:
                raise Rejected(Reject.DECIPHERING)
            wish = acse.wish(opened.plain)
        except Rejected as no:
            if no.error is Reject.COUNTER:  # genuine, and behind: he will ask the public client where he stands
                self._titles[sap] = title
            return self._reject(no.error, no.counter, fault=fault)
        except UNREADABLE:
            return self._reject(Reject.OTHER, fault=fault)
        if ciphers:
            self._titles[sap] = title
        if fault is not None and fault.kind is FaultKind.COUNTER_REJECTED:
            return self._reject_counter(association, opened, fault)
        return self._accept(association, opening, opened, wish, fault)

    def _accept(
        self, association: Association, opening: Opening, opened: Opened, wish: Wish, fault: Fault | None
    ) -> Answer:
        context = CIPHERED if association.ciphers else LONG_NAMES
        title = self.holding.title(self.clock.utc_ms())
        if wish.version < acse.VERSION:
            refused = acse.aare(Result.PERMANENT, Diagnosis.NO_REASON, acse.VERSION_TOO_LOW, context=context)
            return self._answered(refused, fault)
        association.services = wish.services & self.services
        association.most_pdu = wish.most_pdu
        if wish.dedicated_key:
            association.dedicated = Keys(wish.dedicated_key, self._ak(association.client))
            self.ledger.start_own(association.dedicated.fingerprint, 0)
        if not association.proven:
            association.ctos = opening.secret
            association.stoc = self.challenge or secrets.token_bytes(16)
        information = association.close(
            acse.agreement(association.services, self.most_pdu), opened, title, self.ledger, fault
        )
        said = other_title(title) if fault is not None and fault.kind is FaultKind.OTHER_TITLE else title
        self.open.append(association)
        self.counts.associations += 1
        aare = acse.aare(
            Result.ACCEPTED,
            Diagnosis.NONE if association.proven else Diagnosis.PROVE,
            information,
            context=context,
            title=said if association.ciphers or opening.title else b"",
            challenge=association.stoc,
        )
        return self._answered(aare, fault, association)

    def _refuse(
        self,
        diagnosis: Diagnosis,
        result: Result = Result.PERMANENT,
        *,
        opening: Opening | None = None,
        fault: Fault | None = None,
    ) -> Answer:
        """An AARE that says no, and, if the meter is talkative, what it would have agreed to."""
        self.counts.refused += 1
        information = b""
        if "bare_refusal" not in self.quirks and opening is not None and opening.information[:1] == b"\x01":
            try:
                information = acse.agreement(acse.wish(opening.information).services & self.services, self.most_pdu)
            except UNREADABLE:
                return self._reject(Reject.OTHER, fault=fault)
        context = CIPHERED if opening is not None and opening.context == CIPHERED else LONG_NAMES
        return self._answered(acse.aare(result, diagnosis, information, context=context), fault)

    def _locked_out(self, opening: Opening, fault: Fault | None) -> Answer:
        self.holding.history.locked_out(self.clock.utc_ms())
        return self._refuse(Diagnosis.FAILED, opening=opening, fault=fault)

    def _release(self, association: Association, apdu: bytes) -> Answer:
        if "no_release" in self.quirks:
            return self._reject(Reject.NOT_SUPPORTED)
        try:
            information = acse.rlrq(apdu)
            inside = b""
            if information:
                opened = association.open(information, self.ledger)
                acse.wish(opened.plain)
                title = self.holding.title(self.clock.utc_ms())
                plain = acse.agreement(association.services, self.most_pdu)
                inside = association.close(plain, opened, title, self.ledger)
        except Rejected as no:
            return self._reject(no.error, no.counter)
        except UNREADABLE:
            return self._reject(Reject.OTHER)
        self.open.remove(association)
        fault = self.faults.on_wire((), self.clock.utc_ms(), among=_ON_ANY_ANSWER)
        return self._answered(acse.rlre(inside), fault)

    # -- inside an association -----------------------------------------------------------------------------------

    def _serve(self, association: Association, opened: Opened) -> Answer:
        asked = requests.request(opened.plain)
        if isinstance(asked, Unknown):
            self.counts.writes_seen += asked.writes
            return self._reject(Reject.NOT_SUPPORTED)
        if not association.proven:
            if not isinstance(asked, Act):
                return self._reject(Reject.NOT_POSSIBLE)
            return self._prove(association, opened, asked)
        if isinstance(asked, Act):
            self.counts.writes_seen += 1
            return self._answered(
                self._closed(association, requests.acted(asked.invoke, Access.DENIED), opened, None), None
            )
        kinds = _ON_ANY_ANSWER | _ON_GET | (PROTECTING if association.ciphers else frozenset())
        about: tuple[str, ...] = ()
        if isinstance(asked, Next):
            kinds |= {FaultKind.BLOCK_ABORT}
        else:
            about = tuple(q for target in asked.targets for q in self.holding.about(target.name))
        fault = self.faults.on_wire(about, self.clock.utc_ms(), among=kinds)
        if fault is not None and fault.kind is FaultKind.COUNTER_REJECTED:
            return self._reject_counter(association, opened, fault)
        if isinstance(asked, Next):
            plain = self._next(association, opened, asked, fault)
        else:
            plain = self._get(association, opened, asked, fault)
        if fault is not None:
            plain = _misspoken(plain, fault)
        return self._answered(self._closed(association, plain, opened, fault), fault, association)

    def _closed(self, association: Association, plain: bytes, opened: Opened, fault: Fault | None) -> bytes:
        if plain[0] == 0xD8:  # an exception is said in the clear
            return plain
        title = self.holding.title(self.clock.utc_ms())
        return association.close(plain, opened, title, self.ledger, fault, says_title="no_title" not in self.quirks)

    def _prove(self, association: Association, opened: Opened, asked: Act) -> Answer:
        """reply_to_HLS_authentication: f(StoC) comes, f(CtoS) goes."""
        keys, at_ms = association.client.keys, self.clock.utc_ms()
        assert keys is not None
        token = asked.parameter.value if asked.parameter is not None else None
        if (asked.class_id, asked.name, asked.method) != (15, OWN_ASSOCIATION, 1) or not isinstance(token, bytes):
            return self._reject(Reject.NOT_POSSIBLE)
        number = int.from_bytes(token[1:5], "big")
        # The APDU that brings the proof counts further up than the proof, which was made first.
        before = opened.before
        if association.keys(opened.dress) is not keys or not opened.control:
            before = self.ledger.last(keys.fingerprint, association.title)
        right = (
            len(token) == 17 and token[0] == 0x10 and token == proof(keys, association.title, number, association.stoc)
        )
        self.ledger.note(keys.fingerprint, association.title, number, genuine=right)
        if right:
            self._titles[association.client.sap] = association.title
        if not right or number <= before:
            self.open.remove(association)
            self.holding.history.locked_out(at_ms)
            self.counts.refused += 1
            plain = requests.acted(asked.invoke, Access.DENIED)
        else:
            if number > self.ledger.last(keys.fingerprint, association.title):
                self.ledger.accept(keys.fingerprint, association.title, number)
            association.proven = True
            shown = proof(keys, self.holding.title(at_ms), self.ledger.own(keys.fingerprint), association.ctos)
            plain = requests.acted(asked.invoke, Access.GIVEN, octet_string(shown))
        kinds = _ON_ANY_ANSWER | (PROTECTING if association.ciphers else frozenset())
        fault = self.faults.on_wire((), at_ms, among=kinds)
        if fault is not None and fault.kind is FaultKind.COUNTER_REJECTED:
            return self._reject_counter(association, opened, fault)
        return self._answered(self._closed(association, plain, opened, fault), fault, association)

    def _get(self, association: Association, opened: Opened, asked: Get, fault: Fault | None) -> bytes:
        association.long = None
        services = association.services
        if not services & Service.GET or (asked.listed and not services & Service.LIST):
            return rejected(Reject.NOT_SUPPORTED)
        if asked.listed and not 0 < len(asked.targets) <= self.most_list:
            return requests.normal(asked.invoke, Access.OTHER)
        answered = [self._give(association, target, fault) for target in asked.targets]
        content = requests.results(answered) if asked.listed else requests.normal(asked.invoke, answered[0])[4:]
        whole = requests.listed(asked.invoke, content) if asked.listed else requests.normal(asked.invoke, answered[0])
        if len(whole) <= association.room(opened, self.most_pdu):
            return whole
        if not services & Service.BLOCKS:
            return requests.normal(asked.invoke, Access.OTHER)
        association.long = Long(asked.invoke, content)
        return self._block(association, opened, association.long)

    def _next(self, association: Association, opened: Opened, asked: Next, fault: Fault | None) -> bytes:
        long = association.long
        if fault is not None and fault.kind is FaultKind.BLOCK_ABORT:
            association.long = None
            return requests.block(asked.invoke, asked.block + 1, Access.LONG_GET_ABORTED, last=True)
        if long is None:
            return requests.block(asked.invoke, asked.block, Access.NO_LONG_GET, last=True)
        if asked.block != long.number or asked.invoke & 0x0F != long.invoke & 0x0F:
            association.long = None
            return requests.block(asked.invoke, asked.block, Access.BLOCK_NUMBER, last=True)
        long.invoke = asked.invoke
        return self._block(association, opened, long)

    def _block(self, association: Association, opened: Opened, long: Long) -> bytes:
        size = max(association.room(opened, self.most_pdu) - requests.BLOCK_HEAD, 1)
        piece, long.content = long.content[:size], long.content[size:]
        long.number += 1
        if not long.content:
            association.long = None
        return requests.block(long.invoke, long.number, piece, last=not long.content)

    def _give(self, association: Association, target: Target, fault: Fault | None) -> Answered:
        if fault is not None and fault.kind is FaultKind.EXCEPTION:
            return fault.code
        if fault is not None and fault.kind is FaultKind.BUSY:
            return Access.TEMPORARY_FAILURE
        found = self._object(association, target.name)
        at_ms = self.clock.utc_ms()
        if found is None:
            return Access.UNDEFINED
        if found.class_id != target.class_id:
            return Access.OTHER_CLASS
        if not association.client.may_read(target.name):
            return Access.DENIED
        try:
            if target.selector:
                if found.select is None or target.attribute != 2 or target.parameter is None:
                    return Access.OTHER
                return found.select(at_ms, target.selector, target.parameter)
            return found.give(target.attribute, at_ms)
        except NotGiven as no:
            return no.access

    def _object(self, association: Association, name: bytes) -> CosemObject | None:
        return self.holding.objects.get(name) or own_objects(association, self).get(name)

    def heard(self, client: Client) -> int:
        """The highest invocation counter that was taken from a client; 0: none."""
        title = self._titles[client.sap]
        return 0 if client.keys is None else max(self.ledger.last(client.keys.fingerprint, title), 0)

    # -- how it is said ------------------------------------------------------------------------------------------

    def _association(self, sap: int, channel: object) -> Association | None:
        return next((a for a in self.open if a.client.sap == sap and a.channel is channel), None)

    def _answered(self, apdu: bytes, fault: Fault | None, association: Association | None = None) -> Answer:
        if fault is not None and fault.kind is FaultKind.HUNG_UP and association is not None:
            self.hang_up(association.channel)
        if fault is not None and fault.kind is FaultKind.SHORT:
            apdu = apdu[:-1]
        return Answer(apdu, fault)

    def _reject(self, error: Reject, counter: int | None = None, *, fault: Fault | None = None) -> Answer:
        self.counts.refused += 1
        return self._answered(rejected(error, counter), fault)

    def _reject_counter(self, association: Association, opened: Opened, fault: Fault) -> Answer:
        keys = association.client.keys
        assert keys is not None
        last = self.ledger.last(keys.fingerprint, association.title) + fault.count
        self.ledger.accept(keys.fingerprint, association.title, last)
        return self._reject(Reject.COUNTER, last + 1, fault=fault)

    @staticmethod
    def _ak(client: Client) -> bytes:
        return client.keys.authentication if client.keys is not None else bytes(16)


def _misspoken(plain: bytes, fault: Fault) -> bytes:
    """A right answer, wrong in one thing."""
    spoilt = bytearray(plain)
    if fault.kind is FaultKind.WRONG_FUNCTION:
        spoilt[0] = requests.ACTED
    elif fault.kind is FaultKind.WRONG_INVOKE and plain[0] == requests.GIVEN:
        spoilt[2] = spoilt[2] & 0xF0 | (spoilt[2] + 1) & 0x0F
    return bytes(spoilt)
