"""Where each message goes: `<root>/v1/<utility>/<gateway>/up/...` and `.../down/...`.

Every level is an id of `[a-z0-9-]{1,32}`: a name with `+` or `#` would be a wildcard in a broker's access rules.
"""

from __future__ import annotations

import re
from typing import Protocol

from edge_agent.contract.shapes import ID_PATTERN

VERSION = "v1"

_ID = re.compile(ID_PATTERN.removesuffix("$") + r"\Z")


_LEVEL = re.compile(r"[A-Za-z0-9._:-]{1,200}\Z")
"""A finding's id as one level of a topic."""


class Ids(Protocol):
    """The names under which a gateway speaks."""

    @property
    def root(self) -> str: ...
    @property
    def utility(self) -> str: ...
    @property
    def gateway(self) -> str: ...


def is_id(text: str) -> bool:
    return _ID.match(text) is not None


class Topics:
    """The topics of one gateway. ValueError where one of its names is no id."""

    def __init__(self, site: Ids) -> None:
        for name in (site.root, site.utility, site.gateway):
            if not is_id(name):
                raise ValueError(f"{name!r} is no id: 1 to 32 of a-z, 0-9 and -")
        self._base = f"{site.root}/{VERSION}/{site.utility}/{site.gateway}"

    @property
    def status(self) -> str:
        return f"{self._base}/up/status"

    @property
    def heartbeat(self) -> str:
        return f"{self._base}/up/heartbeat"

    @property
    def demand(self) -> str:
        return f"{self._base}/up/demand"

    @property
    def ack(self) -> str:
        return f"{self._base}/down/ack"

    def up(self, level: str) -> str:
        """Of a message of the gateway, by its levels below `up/`: `reply`, `demand`, `evidence/<finding>`."""
        if not all(_LEVEL.match(part) for part in level.split("/")):
            raise ValueError(f"{level!r} are no levels of a topic")
        return f"{self._base}/up/{level}"

    def down(self, kind: str) -> str:
        """Of a signed package: `feedback`, `releases`, `command`."""
        return f"{self._base}/down/{kind}"

    def chain(self, kind: str) -> str:
        """Of a chain message: `finding`, `case`, `record`, `evaluation`."""
        return f"{self._base}/up/{kind}"

    def evidence(self, finding: str) -> str:
        if _LEVEL.match(finding) is None:
            raise ValueError(f"{finding!r} is no finding")
        return f"{self._base}/up/evidence/{finding}"

    def point(self, point: str) -> str:
        if not is_id(point):
            raise ValueError(f"{point!r} is no id: 1 to 32 of a-z, 0-9 and -")
        return f"{self._base}/up/points/{point}"
