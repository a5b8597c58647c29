"""An association with one meter, without a wire: what is said to open it, to prove it, inside it, and to end it.

    READY --AARQ--> ASKED --accepted--------------------------> OPEN --RLRQ--> RELEASING --RLRE--> CLOSED
                      |  --accepted, "now prove yourself"--> PROVING --proven--> OPEN
    refused, not proven, or the channel lost, wherever it stands: CLOSED

`request` is the APDU to send; `feed` takes the answer and says where the association stands. Inside it `ask` and
`answer` put the protection on a request and take it off an answer. An association that is CLOSED stays so: a new one is
a new object, with the same counters.

Source: IEC 62056-5-3 (DLMS UA 1000-2), COSEM-OPEN and COSEM-RELEASE; 9.2.7.4 (HLS authentication).
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from enum import Enum, auto

from drivers.dlms import acse, xdlms
from drivers.dlms.acse import Aare, Context, Mechanism
from drivers.dlms.axdr import Data, Tag
from drivers.dlms.initiate import (
    DLMS_VERSION,
    READING,
    SHORT_NAMES,
    Agreed,
    Conformance,
    initiate_request,
    initiate_response,
)
from drivers.dlms.protection import Level, Protection
from drivers.dlms.refused import (
    AssociationBusy,
    AssociationLost,
    AssociationRefused,
    Diagnostic,
    ExceptionResponse,
    Malformed,
    MeterUnproven,
    NotSupported,
    Result,
    Unsupported,
)
from edge_agent.ports import DriverError

CHALLENGE_OCTETS = 16
_CHALLENGE = range(8, 65)
"""Octets that a challenge may have."""


class Phase(Enum):
    READY = auto()
    ASKED = auto()
    PROVING = auto()
    OPEN = auto()
    RELEASING = auto()
    CLOSED = auto()


class Turn(Enum):
    """What moves an association."""

    BEGIN = auto()
    ACCEPTED = auto()
    CHALLENGED = auto()
    PROVEN = auto()
    RELEASE = auto()
    RELEASED = auto()
    FAILED = auto()


STEP: dict[tuple[Phase, Turn], Phase] = {
    (Phase.READY, Turn.BEGIN): Phase.ASKED,
    (Phase.ASKED, Turn.ACCEPTED): Phase.OPEN,
    (Phase.ASKED, Turn.CHALLENGED): Phase.PROVING,
    (Phase.PROVING, Turn.PROVEN): Phase.OPEN,
    (Phase.OPEN, Turn.RELEASE): Phase.RELEASING,
    (Phase.RELEASING, Turn.RELEASED): Phase.CLOSED,
    **{(phase, Turn.FAILED): Phase.CLOSED for phase in Phase},
}
"""Moves; a pair that is absent is a mistake of whoever asked for it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What we ask for. `max_pdu` is the largest APDU that we take."""

    mechanism: Mechanism = Mechanism.NONE
    password: bytes = field(default=b"", repr=False)
    conformance: Conformance = READING
    max_pdu: int = 1200
    high_priority: bool = False
    releases: bool = True
    """Whether the meter knows RLRQ; without it an association ends with its data link."""
    release_initiates: bool = False
    """Whether the meter wants an InitiateRequest in it, protected as everything else."""

    def __post_init__(self) -> None:
        if self.mechanism not in {Mechanism.NONE, Mechanism.LLS, Mechanism.HLS_GMAC}:
            raise NotSupported(Unsupported.MECHANISM, f"authentication mechanism {self.mechanism.name}")
        if (self.mechanism is Mechanism.LLS) != bool(self.password):
            raise ValueError("LLS needs a password, and nothing else does")


class Association:
    """One association. `protection` carries the keys: for HLS-5 GMAC, and for APDUs that are ciphered.

    `invoked` is the invoke-id of the last question of an earlier association: a late answer to that fits none of ours.
    """

    def __init__(
        self, terms: Terms, protection: Protection | None = None, *, challenge: bytes = b"", invoked: int = 0
    ) -> None:
        if terms.mechanism is Mechanism.HLS_GMAC and protection is None:
            raise ValueError("HLS-5 GMAC needs keys")
        self.phase = Phase.READY
        self.agreed: Agreed | None = None
        """What both sides can do; None until the meter has accepted."""
        self._terms = terms
        self._protection = protection
        self._ciphers = protection is not None and protection.level is not Level.NONE
        self._ours = challenge or secrets.token_bytes(CHALLENGE_OCTETS)
        self._invoke = invoked
        self._request = b""

    # -- opening and ending --------------------------------------------------------------------------------------

    @property
    def request(self) -> bytes:
        """The APDU that is to be sent next in opening or ending the association."""
        if self.phase is Phase.READY:
            self._request = self._aarq()
            self._move(Turn.BEGIN)
        return self._request

    def feed(self, apdu: bytes) -> Phase:
        """The answer to `request`. Raises a `DriverError` for a refusal; the association is CLOSED then."""
        try:
            match self.phase:
                case Phase.ASKED:
                    self._associated(apdu)
                case Phase.PROVING:
                    self._proven(apdu)
                case Phase.RELEASING:
                    self._released(apdu)
                case _:
                    raise Malformed(f"nothing was asked of an association that is {self.phase.name}")
        except DriverError:
            self._move(Turn.FAILED)
            raise
        return self.phase

    def release(self) -> bytes:
        """RLRQ, or nothing for a meter that has none: the association then ends with the data link."""
        if not self._terms.releases:
            self._move(Turn.FAILED)
            return b""
        self._request = acse.rlrq(self._initiate() if self._terms.release_initiates else b"")
        self._move(Turn.RELEASE)
        return self._request

    def lost(self) -> None:
        """The channel has ended, and the association with it."""
        self._move(Turn.FAILED)

    @property
    def invoked(self) -> int:
        """The invoke-id of the last question."""
        return self._invoke

    # -- inside it -----------------------------------------------------------------------------------------------

    def invoke(self) -> int:
        """The octet that goes with a new question: the next invoke-id, service class and priority."""
        self._invoke = self._invoke % 15 + 1
        return self._invoke | xdlms.CONFIRMED | (xdlms.HIGH_PRIORITY if self._terms.high_priority else 0)

    def ask(self, plain: bytes) -> bytes:
        """A request as it is sent: under protection, if that was agreed. Each call is another APDU."""
        if self.phase is not Phase.OPEN:
            raise ValueError(f"the association is {self.phase.name}")
        return self._protect(plain)

    def answer(self, apdu: bytes) -> bytes:
        """An answer in the clear. Raises a `DriverError` for the meter's own errors and for broken protection.

        AssociationLost closes the association.
        """
        try:
            return self._answer(apdu)
        except AssociationLost:
            self._move(Turn.FAILED)
            raise

    # -- how it is done ------------------------------------------------------------------------------------------

    def _aarq(self) -> bytes:
        terms, protection = self._terms, self._protection
        return acse.aarq(
            Context.LONG_NAMES_CIPHERED if self._ciphers else Context.LONG_NAMES,
            self._initiate(),
            mechanism=terms.mechanism,
            secret=self._ours if terms.mechanism is Mechanism.HLS_GMAC else terms.password,
            title=protection.title if protection is not None else b"",
        )

    def _initiate(self) -> bytes:
        terms = self._terms
        key = self._protection.dedicated_key if self._protection is not None else b""
        return self._protect(initiate_request(terms.conformance, terms.max_pdu, key))

    def _protect(self, plain: bytes) -> bytes:
        if self._protection is None or not self._ciphers:
            return plain
        return self._protection.protect(plain)

    def _answer(self, apdu: bytes) -> bytes:
        # The meter's own errors come in the clear whatever was agreed: they bring no value.
        if apdu[:1] == bytes((xdlms.EXCEPTION,)):
            raise self._exception(xdlms.exception_of(apdu))
        if apdu[:1] == bytes((xdlms.SERVICE_ERROR,)):
            raise xdlms.service_error_of(apdu)
        if self._protection is not None and self._ciphers:
            return self._protection.unprotect(apdu)
        return apdu

    def _exception(self, error: ExceptionResponse) -> DriverError:
        """What an exception-response means here: not now, no more, or what it says."""
        if error.service == 1 and error.state == 1:
            return AssociationBusy(error.name) if self.phase is Phase.ASKED else AssociationLost(error.name)
        return error

    def _associated(self, apdu: bytes) -> None:
        if apdu[:1] != bytes((acse.AARE,)):
            self._answer(apdu)
            raise Malformed(f"{apdu[:1].hex() or 'nothing'} does not answer an AARQ")
        aare = acse.aare_of(apdu)
        if aare.result != Result.ACCEPTED:
            raise _refusal(aare)
        asked = Context.LONG_NAMES_CIPHERED if self._ciphers else Context.LONG_NAMES
        if aare.context in {Context.SHORT_NAMES, Context.SHORT_NAMES_CIPHERED}:
            raise NotSupported(Unsupported.SHORT_NAMES, "the meter is addressed by short names")
        if aare.context != asked:
            raise Malformed(f"asked for the application context {asked}, {aare.context} was accepted")
        self.agreed = self._met(aare)
        challenged = aare.diagnostic is Diagnostic.AUTHENTICATION_REQUIRED
        if self._terms.mechanism is not Mechanism.HLS_GMAC:
            if challenged:
                raise AssociationRefused(aare.result, aare.diagnostic)
            self._move(Turn.ACCEPTED)
            return
        if not challenged or aare.mechanism != Mechanism.HLS_GMAC or len(aare.challenge) not in _CHALLENGE:
            raise MeterUnproven("the meter accepts without proving itself: HLS-5 GMAC was asked for")
        if aare.challenge == self._ours:
            raise MeterUnproven("the meter hands our own challenge back")
        assert self._protection is not None
        proof = self._protection.prove(aare.challenge)
        self._request = self._protect(xdlms.reply_to_hls(self.invoke(), proof))
        self._move(Turn.CHALLENGED)

    def _met(self, aare: Aare) -> Agreed:
        """The InitiateResponse inside an AARE, with its protection taken off."""
        information = aare.information
        if not information:
            raise Malformed("an AARE that accepts and says nothing of what was agreed")
        if information[0] == xdlms.SERVICE_ERROR:
            raise xdlms.service_error_of(information)
        if self._protection is not None:
            self._protection.meet(aare.title)
            if self._ciphers:
                information = self._protection.unprotect(information, initiate=True)
        agreed = initiate_response(information)
        if agreed.vaa_name == SHORT_NAMES or (
            agreed.conformance & Conformance.READ and not agreed.conformance & Conformance.GET
        ):
            raise NotSupported(Unsupported.SHORT_NAMES, "the meter is addressed by short names")
        if agreed.version != DLMS_VERSION:
            raise Malformed(f"DLMS version {agreed.version}, not {DLMS_VERSION}")
        return agreed

    def _proven(self, apdu: bytes) -> None:
        acted = xdlms.response_of(self._answer(apdu))
        if not isinstance(acted, xdlms.Acted) or acted.invoke_id != self._invoke:
            raise Malformed("what came does not answer the proof")
        if acted.result:
            raise AssociationRefused(Result.REJECTED_PERMANENT, Diagnostic.AUTHENTICATION_FAILURE)
        if not isinstance(acted.data, Data) or acted.data.tag is not Tag.OCTET_STRING:
            raise MeterUnproven("the meter gives no proof")
        assert self._protection is not None
        self._protection.check_proof(self._ours, acted.data.octets("proof"))
        self._move(Turn.PROVEN)

    def _released(self, apdu: bytes) -> None:
        if not acse.is_rlre(apdu):
            self._answer(apdu)
            raise Malformed(f"{apdu[:1].hex() or 'nothing'} does not answer an RLRQ")
        self._move(Turn.RELEASED)

    def _move(self, turn: Turn) -> None:
        if (self.phase, turn) not in STEP:
            raise ValueError(f"{turn.name} means nothing to an association that is {self.phase.name}")
        self.phase = STEP[self.phase, turn]


def _refusal(aare: Aare) -> DriverError:
    """What an AARE that says no means."""
    if aare.result == Result.REJECTED_TRANSIENT:
        return AssociationBusy(aare.diagnostic.name.lower().replace("_", " "))
    if aare.context in {Context.SHORT_NAMES, Context.SHORT_NAMES_CIPHERED}:
        return NotSupported(Unsupported.SHORT_NAMES, "the meter offers short names only")
    error = ""
    if aare.information[:1] == bytes((xdlms.SERVICE_ERROR,)):
        error = xdlms.service_error_of(aare.information).name
    return AssociationRefused(aare.result, aare.diagnostic, error)
