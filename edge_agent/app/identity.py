"""Who this run of the agent is: site ids, boot id, versions, digests."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

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
    try:
        return version("edge-agent")
    except PackageNotFoundError:
        return "0+checkout"
