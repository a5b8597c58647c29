"""Listen before you speak: who else is master on a serial line.

A utility's collection terminal may own the line, and a second master breaks its readings. `Overhearing` follows what is
said: whole Modbus RTU, DL/T 645, DL/T 698.45 and DLMS HDLC frames are known by their own checksums wherever they begin;
what is no frame is noise, or a master at another speed. Of the frames those that ask count as a master's.

Source: MODBUS over Serial Line V1.02; DL/T 645-2007, 5.2; DL/T 698.45-2017, 5 and Annex A; IEC 62056-46, 6.4.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

from drivers.link.base import Link
from drivers.link.checksums import dlt645_sum, hdlc_check, is_modbus_rtu
from drivers.link.framing import Framing
from edge_agent.ports import LinkDown

_LONGEST = 300
"""Bytes that one frame may take here; of a longer one (HDLC, DL/T 698.45) the header is enough."""

_FRAME_GAP_S = 0.25
"""After such a silence what was begun has no end any more."""

_OWN_ECHO_S = 2.0
_KEPT = 200

_ANSWERS = 3
"""So many answers without a question are those to a master whom we cannot hear; one may be noise with a lucky sum."""

LINGER_S = 10.0
"""Once a master was heard, so much longer is listened, to name the devices that it asks."""


class Overheard(NamedTuple):
    """One frame of somebody else's."""

    protocol: str  # "Modbus RTU", "DL/T 645", "DL/T 698.45", "DLMS HDLC"
    asks: bool
    master: str  # the master's own address; "" where the protocol has none
    device: str
    data: bytes


class Heard(NamedTuple):
    """What was heard on a line while we kept silent."""

    frames: tuple[Overheard, ...]
    masters: tuple[str, ...]
    """In words, one for each protocol and master address: "a Modbus RTU master that asks units 1, 2"."""
    protocols: tuple[str, ...]
    stray: int
    """Bytes that belong to no frame."""


class Overhearing:
    """Follows what others say on a line; an `Ear` of the link. Times are the event loop's.

    `reply_s`: how long a device may take to answer the other master, which is how long we keep silent for it.
    """

    def __init__(self, framing: Framing, *, reply_s: float = 1.0) -> None:
        self.frames: deque[Overheard] = deque(maxlen=_KEPT)
        self.stray = 0
        self._asked: dict[tuple[str, str], dict[str, None]] = {}  # protocol, master -> devices
        self._answered: dict[str, list[str]] = {}  # protocol -> devices, an entry for each answer
        self._once: deque[bytes] = deque(maxlen=4)
        self._buffer = bytearray()
        self._last_s = float("-inf")
        self._own: deque[tuple[bytes, float]] = deque(maxlen=8)
        self._reply_s = reply_s
        self._settle_s = max(framing.silence_s, 0.03)
        self._reply_due_s = float("-inf")  # another master's question has not been answered yet; given up then
        self._replying = False

    def hear(self, data: bytes, now_s: float) -> None:
        if now_s - self._last_s > _FRAME_GAP_S:
            self._read(final=True)
        self._last_s = now_s
        self._buffer += data
        if self._reply_due_s > now_s:
            self._replying = True
        self._read()

    def said(self, data: bytes, now_s: float) -> None:
        self._own.append((data, now_s))

    def wait_s(self, now_s: float) -> float:
        """Until another master's question is answered, and a breath longer; 0.0: the line is free."""
        self.at_rest(now_s)
        if self._replying:
            return max(0.0, self._last_s + self._settle_s - now_s)
        return max(0.0, self._reply_due_s - now_s)

    def at_rest(self, now_s: float) -> None:
        """If it is silent now, what was begun has ended."""
        if self._buffer and now_s - self._last_s >= self._settle_s:
            self._read(final=True)

    def masters(self) -> tuple[str, ...]:
        """Everybody who was heard asking."""
        return tuple(_named(protocol, master, tuple(asked)) for (protocol, master), asked in self._asked.items())

    def heard(self) -> Heard:
        """Everything so far. An answer without a question has a master as well, whom we cannot hear."""
        self._read(final=True)
        known = {protocol for protocol, _ in self._asked}
        unheard = [
            f"an unheard {protocol} master whom {_listed(protocol, tuple(dict.fromkeys(devices)))} answers"
            for protocol, devices in self._answered.items()
            if protocol not in known and len(devices) >= _ANSWERS
        ]
        protocols = sorted(known | set(self._answered))
        return Heard(tuple(self.frames), (*self.masters(), *unheard), tuple(protocols), self.stray)

    def _read(self, *, final: bool = False) -> None:
        """Take every frame off the buffer; what cannot become one is stray."""
        buffer, at, stray = self._buffer, 0, 0
        while at < len(buffer):
            found = _frame_at(buffer, at)
            if found is None and not final and len(buffer) - at < _LONGEST:
                break  # it may still become one
            if isinstance(found, tuple):
                frame, length = found
                self._take(frame)
                at += length
            else:
                stray += buffer[at] != 0xFE  # a preamble of DL/T 645 and 698.45
                at += 1
        del buffer[:at]
        self.stray += stray

    def _take(self, frame: Overheard) -> None:
        # Of an HDLC frame the last flag is not part of what was found: it may begin the next one.
        if any(own.startswith(frame.data) and self._last_s - said_s < _OWN_ECHO_S for own, said_s in self._own):
            return
        if frame.asks and frame.protocol == "Modbus RTU" and frame.data[1] in {5, 6} and frame.data not in self._once:
            self._once.append(frame.data)  # of eight bytes of noise this is the likeliest: believed when it is repeated
            return
        self.frames.append(frame)
        if frame.asks:
            self._asked.setdefault((frame.protocol, frame.master), {})[frame.device] = None
            self._reply_due_s, self._replying = self._last_s + self._reply_s, False
        else:
            devices = self._answered.setdefault(frame.protocol, [])
            if len(devices) < _KEPT:
                devices.append(frame.device)


async def listen(
    link: Link,
    seconds: float,
    progress: Callable[[float], None] = lambda left_s: None,
    enough: Callable[[Overhearing], bool] = lambda overhearing: False,
) -> Heard:
    """Keep silent and listen; shorter once a master has been heard. Raises `LinkDown` when the channel ends.

    `progress` hears about once a second how many seconds are left; `enough` may end it then.
    """
    if link.framing is None:
        raise ValueError(f"{link.name} is no line that could be listened to")
    overhearing = Overhearing(link.framing)
    loop = asyncio.get_running_loop()
    lost: list[str] = []
    lingers = False
    if not link.is_open:
        await link.open()
    link.set_aside()
    link.listen(lambda data: overhearing.hear(data, loop.time()), lost.append)
    until_s = loop.time() + seconds
    try:
        while (left_s := until_s - loop.time()) > 0 and not lost:
            progress(left_s)
            await asyncio.sleep(min(1.0, left_s))
            overhearing.at_rest(loop.time())
            if enough(overhearing):
                break
            if not lingers and overhearing.masters():
                lingers = True
                until_s = min(until_s, loop.time() + LINGER_S)
    finally:
        link.listen(None, None)
    if lost:
        raise LinkDown(lost[0])
    return overhearing.heard()


def _frame_at(buffer: bytearray, at: int) -> tuple[Overheard, int] | bool | None:
    """The frame that begins there and its length; None: it may become one; False: it cannot."""
    header = _dlt698_header(buffer, at)
    if header and (whole := _dlt698(buffer, at, header)) is not False:
        return whole  # a header with its own check right: nothing else begins there
    later = header is None
    for kind in (_dlt645, _hdlc, _modbus):
        found = kind(buffer, at)
        if isinstance(found, tuple):
            return found
        later = later or found is None
    return None if later else False


def _dlt645(buffer: bytearray, at: int) -> tuple[Overheard, int] | bool | None:
    if buffer[at] != 0x68:
        return False
    if len(buffer) - at < 10:
        return None if len(buffer) - at < 8 or buffer[at + 7] == 0x68 else False
    length = 12 + buffer[at + 9]
    if buffer[at + 7] != 0x68 or length > _LONGEST:
        return False
    if len(buffer) - at < length:
        return None
    frame = bytes(buffer[at : at + length])
    if frame[-1] != 0x16 or dlt645_sum(frame[:-2]) != frame[-2]:
        return False
    device = frame[6:0:-1].hex().upper()
    return Overheard("DL/T 645", not frame[8] & 0x80, "", device, frame), length


def _dlt698_header(buffer: bytearray, at: int) -> int | None:
    """Octets up to the header's own check, which is right; 0: it is no header; None: it may become one."""
    if buffer[at] != 0x68:
        return 0
    have = len(buffer) - at
    if have > 3 and (buffer[at + 3] & 0x10 or buffer[at + 3] & 7 not in {1, 3}):
        return 0
    if have < 5:
        return None
    length = 7 + (buffer[at + 4] & 0x0F)
    if (buffer[at + 1] | buffer[at + 2] << 8) < length + 4:
        return 0
    if have < length + 2:
        return None
    check = buffer[at + length] | buffer[at + length + 1] << 8
    return length if hdlc_check(buffer[at + 1 : at + length]) == check else 0


def _dlt698(buffer: bytearray, at: int, header: int) -> tuple[Overheard, int] | bool | None:
    """A frame whose header is right, by its second check; of a long one the header is enough."""
    whole = (buffer[at + 1] | buffer[at + 2] << 8) + 2
    if whole <= _LONGEST:
        if len(buffer) - at < whole:
            return None
        end = at + whole
        right = hdlc_check(buffer[at + 1 : end - 3]) == buffer[end - 3] | buffer[end - 2] << 8
        if not right or buffer[end - 1] != 0x16:
            return False
    length = min(whole, len(buffer) - at)
    address = buffer[at + 5 : at + header - 1][::-1].hex().upper()
    master = f"{buffer[at + header - 1]}" if buffer[at + header - 1] else ""
    asks = not buffer[at + 3] & 0x80
    return Overheard("DL/T 698.45", asks, master, address, bytes(buffer[at : at + length])), length


def _hdlc(buffer: bytearray, at: int) -> tuple[Overheard, int] | bool | None:
    """A frame of format type 3, by its header: 7E, format and length, destination, source, control, check."""
    if buffer[at] != 0x7E:
        return False
    if len(buffer) - at < 3:
        return None
    if buffer[at + 1] & 0xF0 != 0xA0:
        return False
    whole = (buffer[at + 1] & 0x07) << 8 | buffer[at + 2]
    end = at + 3
    addresses: list[bytes] = []
    for _ in range(2):
        begin = end
        while end < len(buffer) and not buffer[end] & 1:
            end += 1
            if end - begin > 3:
                return False
        end += 1
        if end > len(buffer):
            return None
        addresses.append(bytes(buffer[begin:end]))
    if len(buffer) < end + 3:
        return None
    control = buffer[end]
    if hdlc_check(buffer[at + 1 : end + 1]) != buffer[end + 1] | buffer[end + 2] << 8:
        return False
    if whole < end + 2 - at:
        return False  # shorter than its own header
    has_text = whole > end + 2 - at  # more than the header: LLC and APDU follow
    if has_text and control & 1 == 0 and len(buffer) < end + 5:
        return None
    llc = bytes(buffer[end + 3 : end + 5])
    # SNRM and DISC are the client's; an information frame begins with E6 E6 from the client, E6 E7 from the server.
    asks = control in {0x93, 0x53, 0x83, 0x43} or (has_text and control & 1 == 0 and llc == b"\xe6\xe6")
    destination, source = (_hdlc_address(a) for a in addresses)
    master, device = (source, destination) if asks else (destination, source)
    length = min(whole + 1, len(buffer) - at)
    return Overheard("DLMS HDLC", asks, master, device, bytes(buffer[at : at + length])), length


def _hdlc_address(address: bytes) -> str:
    value = 0
    for byte in address:
        value = value << 7 | byte >> 1
    return str(value)


def _modbus(buffer: bytearray, at: int) -> tuple[Overheard, int] | bool | None:
    """A request by its shape and CRC, else a reply."""
    if not 1 <= buffer[at] <= 247:
        return False
    if len(buffer) - at < 2:
        return None
    function = buffer[at + 1]
    if function & 0x80:
        return _reply(buffer, at, 5) if 1 <= function & 0x7F <= 4 else False
    if function not in {1, 2, 3, 4, 5, 6, 15, 16}:
        return False
    length = 8
    if function in {15, 16} and len(buffer) - at > 6 and buffer[at + 6] == _bytes_written(function, buffer, at):
        length = 9 + buffer[at + 6]
    if len(buffer) - at >= length:
        frame = bytes(buffer[at : at + length])
        if is_modbus_rtu(frame) and _is_sensible(function, frame):
            asks = function < 15 or length > 8  # the answer to a write of several is the shorter one
            return Overheard("Modbus RTU", asks, "", str(frame[0]), frame), length
    reply = _reply(buffer, at, 5 + buffer[at + 2]) if function <= 4 and len(buffer) - at > 2 else False
    return reply if isinstance(reply, tuple) or len(buffer) - at >= length else None


def _bytes_written(function: int, buffer: bytearray, at: int) -> int:
    count = buffer[at + 4] << 8 | buffer[at + 5]
    return 2 * count if function == 16 else (count + 7) // 8


def _is_sensible(function: int, frame: bytes) -> bool:
    """Whether the numbers of a request are such as the standard allows."""
    count = frame[4] << 8 | frame[5]
    match function:
        case 1 | 2 | 15:
            return 1 <= count <= 2000
        case 3 | 4 | 16:
            return 1 <= count <= 125
        case 5:
            return count in {0xFF00, 0}
    return True


def _reply(buffer: bytearray, at: int, length: int) -> tuple[Overheard, int] | bool | None:
    if len(buffer) - at < length:
        return None
    frame = bytes(buffer[at : at + length])
    if not is_modbus_rtu(frame) or (frame[1] & 0x80 and not 1 <= frame[2] <= 11):
        return False
    return Overheard("Modbus RTU", False, "", str(frame[0]), frame), length


def _named(protocol: str, master: str, asked: tuple[str, ...]) -> str:
    who = f"{protocol} master {master}" if master else f"{protocol} master"
    return f"a {who} that asks {_listed(protocol, asked)}"


def _listed(protocol: str, devices: tuple[str, ...]) -> str:
    shown = ", ".join(devices[:8]) + (f" and {len(devices) - 8} more" if len(devices) > 8 else "")
    what = {"Modbus RTU": "unit", "DL/T 645": "meter", "DL/T 698.45": "meter", "DLMS HDLC": "server"}[protocol]
    return f"{what}{'s' if len(devices) > 1 else ''} {shown}"
