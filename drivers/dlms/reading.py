"""One reading of one or more attributes, without a wire: one request, and as many blocks as the answer takes.

    get = Get(association, [clock_time])
    send get.request; results = get.feed(apdu): None means that get.request is now the one for the next block

The invoke-id of every answer is compared with the one that asked, the blocks are counted, and what they add up to is
bounded.

Source: IEC 62056-5-3 (DLMS UA 1000-2), GET service and its block transfer.
"""

from __future__ import annotations

from collections.abc import Sequence

from drivers.dlms import axdr, xdlms
from drivers.dlms.association import Association
from drivers.dlms.axdr import Limits
from drivers.dlms.refused import DataAccess, Malformed, access_error
from drivers.dlms.xdlms import Attribute, Block, One, Result, Several

MOST_BLOCKS = 65_536


class Get:
    """One GET of an open association: normal for one attribute, with-list for more."""

    def __init__(
        self, association: Association, attributes: Sequence[Attribute], *, limits: Limits = axdr.LIMITS
    ) -> None:
        self.attributes = tuple(attributes)
        self._association = association
        self._limits = limits
        self._octet = association.invoke()
        self._content = bytearray()
        self._block = 0
        if len(self.attributes) == 1:
            plain = xdlms.get_normal(self._octet, self.attributes[0])
        else:
            plain = xdlms.get_with_list(self._octet, self.attributes)
        self.request = association.ask(plain)
        """The APDU to send."""

    def feed(self, apdu: bytes) -> tuple[Result, ...] | None:
        """One result for every attribute, in the order asked; None: there is another block, `request` asks for it.

        Raises a `DriverError` for an answer that is none, or that refuses the whole.
        """
        answer = xdlms.response_of(self._association.answer(apdu), self._limits)
        if answer.invoke_id != self._octet & xdlms.INVOKE_ID:
            raise Malformed(f"asked as {self._octet & xdlms.INVOKE_ID}, answered as {answer.invoke_id}")
        match answer:
            case Block():
                return self._take(answer)
            case One() if self._block and isinstance(answer.result, DataAccess):
                raise access_error(answer.result, f"block {self._block + 1}")
            case One() if self._is_single and not self._block:
                return (answer.result,)
            case One() if isinstance(answer.result, DataAccess) and not self._block:
                raise access_error(answer.result, f"a list of {len(self.attributes)} attributes")
            case Several() if not self._is_single and not self._block:
                if len(answer.results) != len(self.attributes):
                    raise Malformed(f"{len(self.attributes)} attributes asked, {len(answer.results)} answered")
                return answer.results
        raise Malformed(f"{type(answer).__name__} does not answer what was asked")

    @property
    def _is_single(self) -> bool:
        return len(self.attributes) == 1

    def _take(self, block: Block) -> tuple[Result, ...] | None:
        if isinstance(block.content, DataAccess):
            raise access_error(block.content, f"block {block.number}")
        if block.number != self._block + 1 or block.number > MOST_BLOCKS:
            raise Malformed(f"block {self._block + 1} wanted, block {block.number} came")
        if not block.content and not block.is_last:
            raise Malformed(f"block {block.number} is empty and not the last")
        self._block = block.number
        self._content += block.content
        if len(self._content) > self._limits.octets:
            raise Malformed(f"an answer of more than {self._limits.octets} octets")
        if not block.is_last:
            self.request = self._association.ask(xdlms.get_next(self._octet, block.number))
            return None
        content = bytes(self._content)
        self._content.clear()
        if self._is_single:
            return (axdr.decode(content, self._limits),)
        return xdlms.results_of(content, len(self.attributes), self._limits)
