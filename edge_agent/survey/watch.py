"""Leave to speak: nobody is asked before the line has been listened to, and each question is asked for anew.

Whoever else is master on the line ends the search, before it and in the middle of it. A master at the line's own speed
is known by what it asks; at another speed it is bytes of no frame, and then nothing more is said until it is known
whose they are: the line is listened to at one speed after another. Bytes that stay unknown end the search as well; only
an explicit `shared_line` goes on beside others.
"""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from edge_agent.fieldbus import ADVICE, FieldLine, listening_s
from edge_agent.survey.place import Place, Setting
from edge_agent.words import say

HUSH_S = 3.0
"""For so long nothing is said after bytes that answer nothing: no device talks on by itself for that long."""

NAMING_S = 10.0
"""For so long is listened at each speed to say who speaks."""

UNCLEAR = 3
"""So often may somebody unknown be heard between our own questions before that is enough."""

_FEW = 4
"""Stray bytes that a line turning round may make; more of them are somebody's voice."""


class Stopped(Exception):
    """Somebody else is master on the line; the text says who, and what to do."""


class Spent(Exception):
    """The time that was allowed is over."""


class Notice(Protocol):
    """Who is told how it goes."""

    def says(self, text: str) -> None:
        """Something for a person to know."""

    def listens(self, left_s: float) -> None: ...

    def asks(self, what: str, spent_s: float, worst_s: float) -> None:
        """What is being tried now, and how much of the time is gone."""


class Watch:
    """The line's peace, over all speeds at which it is opened; `tries` are those at which it is listened to."""

    def __init__(self, place: Place, tries: Sequence[Setting], notice: Notice) -> None:
        self.place = place
        self.what = ""
        self.limit_s = float("inf")
        self.listened_s = 0.0
        self.heard: tuple[str, ...] = ()
        self._tries = tuple(dict.fromkeys(tries))
        self._notice = notice
        self._began_s = asyncio.get_running_loop().time()
        self._stray = 0
        self._unclear = 0

    @property
    def spent_s(self) -> float:
        return asyncio.get_running_loop().time() - self._began_s

    def listens_s(self) -> float:
        """For how long the line will be listened to before the first question; 0.0: not at all, or not again."""
        stamp = self.place.stamp
        if not self.place.is_line or (stamp is not None and stamp.is_fresh()):
            return 0.0
        return listening_s(self.place.spec)

    async def listen(self) -> None:
        """Before the first question. Raises `Stopped`, and `LinkDown` where there is no channel."""
        seconds = self.listened_s = self.listens_s()
        if not seconds:
            return
        until_s = self._now_s() + seconds
        heard = await self._hear(self._tries[0], seconds, lambda o: o.stray > _FEW and not o.frames)
        self._judge(heard.masters, self._tries[0])
        if heard.stray > _FEW and not heard.frames:
            await self._name(heard.stray, until_s)

    def begin(self, limit_s: float) -> None:
        """The line has been listened to: from now on the time counts."""
        self._began_s, self.limit_s = self._now_s(), limit_s

    def line_opened(self) -> None:
        """The line was opened at another speed: what was heard there starts anew."""
        self._stray = 0

    async def leave(self, unclear: bool) -> None:
        """Before each question. Raises `Stopped` and `Spent`."""
        if self.spent_s >= self.limit_s:
            raise Spent
        line = self._line()
        if line.is_serial and self.place.spec.shared_line:
            if unclear:  # others may speak here: what they say is over by then
                await self._hush(line)
        elif line.is_serial:
            ear = line.link.ear
            ear.at_rest(self._now_s())
            self._judge(ear.masters(), None)
            if unclear or ear.stray - self._stray > _FEW:
                await self._clear_up(line)
            self._stray = ear.stray
        if self.place.stamp is not None and line.is_serial:
            self.place.stamp.mark()
        self._notice.asks(self.what, self.spent_s, self.limit_s)

    async def _clear_up(self, line: FieldLine) -> None:
        """Keep silent and listen: what a device said was said once, a master goes on."""
        heard = await self._hush(line)
        self._judge((*heard.masters, *line.link.ear.masters()), None)
        if heard.stray > _FEW:
            await self._name(heard.stray, self._now_s())
        self._unclear += heard.stray > 0
        if self._unclear >= UNCLEAR:
            self._object(say("survey.unknown_talk", bytes=heard.stray))

    async def _hush(self, line: FieldLine) -> Any:
        listening = importlib.import_module("drivers.link.listening")
        return await listening.listen(line.link, HUSH_S)

    async def _name(self, stray: int, until_s: float) -> None:
        """Somebody speaks: listen at one speed after another, at least until then, to say who. Raises `Stopped`."""
        for setting in self._tries:
            heard = await self._hear(setting, NAMING_S, lambda o: False)
            self._judge(heard.masters, setting)
            stray += heard.stray
        if (left_s := until_s - self._now_s()) > 0:
            heard = await self._hear(self._tries[0], left_s, lambda o: False)
            self._judge(heard.masters, self._tries[0])
            stray += heard.stray
        self._object(say("survey.unknown_talk", bytes=stray))

    async def _hear(self, setting: Setting, seconds: float, enough: Callable[[Any], bool]) -> Any:
        listening = importlib.import_module("drivers.link.listening")
        line = await self.place.at(setting)
        return await listening.listen(line.link, seconds, self._notice.listens, enough)

    def _judge(self, masters: Sequence[str], setting: Setting | None) -> None:
        if masters:
            self.heard = tuple(dict.fromkeys((*self.heard, *masters)))
            at = "" if setting is None or not self.place.is_line else f" at {setting}"
            self._object(f"on this line there is {' and '.join(dict.fromkeys(masters))}{at}: {ADVICE}")

    def _object(self, objection: str) -> None:
        if self.place.spec.shared_line:
            self._notice.says(say("survey.shares", objection=objection))
            return
        if self.place.stamp is not None:
            self.place.stamp.forget()  # whoever comes next shall listen for himself
        raise Stopped(objection)

    def _line(self) -> FieldLine:
        assert self.place.line is not None, "leave is asked for a line that is not there"
        return self.place.line

    @staticmethod
    def _now_s() -> float:
        return asyncio.get_running_loop().time()
