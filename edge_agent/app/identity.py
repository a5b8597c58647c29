"""Who this run of the agent is: site ids, boot id, versions, digests."""

from __future__ import annotations

import sys
import uuid
from dataclasses import dataclass
from pathlib import Path

from edge_agent.settings.site import Ids


@dataclass(frozen=True, slots=True)
class Identity:
    site: Ids
    boot_id: str  # of this run of the agent: two runs in one boot of the gateway are told apart
    agent: str
    config_digest: str


def identity_of(site: Ids, config_digest: str) -> Identity:
    return Identity(site, uuid.uuid4().hex, agent_version(), config_digest)


def agent_version() -> str:
    """The installed version, from the name of the folder that an installer leaves for it.

    `importlib.metadata` reads the same, and brings mail and archives along (1 MiB).
    """
    left = (found for folder in sys.path for found in Path(folder).glob("edge_agent-*.dist-info"))
    return next((found.name.removesuffix(".dist-info").partition("-")[2] for found in left), "0+checkout")
