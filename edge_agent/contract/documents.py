"""The published form of the contract: JSON Schema (draft 2020-12) per message, and one AsyncAPI 3.0 document.

Both are made from the types in `messages`; nothing in them is written twice.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from edge_agent.contract import applied, case, commands, evidence, messages, topics

FOLDER = Path(__file__).parent
SCHEMAS = FOLDER / "schemas"
ASYNCAPI = FOLDER / "asyncapi.json"
DIALECT = "https://json-schema.org/draft/2020-12/schema"


@dataclass(frozen=True, slots=True)
class Published:
    """One kind of message: where it goes, how safely, and what it is for."""

    name: str
    shape: Any
    channel: str  # below the gateway's own level
    sender: str  # "gateway" or "centre"
    qos: int
    retain: bool
    chain: bool
    when: str


PUBLISHED = (
    Published(
        "status",
        messages.Status,
        "up/status",
        "gateway",
        1,
        True,
        False,
        "Birth after each connect; the will 60 s after the connection is lost (MQTT 5) or at once (3.1.1).",
    ),
    Published(
        "heartbeat", messages.Heartbeat, "up/heartbeat", "gateway", 0, False, False, "Every 300 s while connected."
    ),
    Published(
        "finding",
        messages.FindingEvent,
        "up/finding",
        "gateway",
        1,
        False,
        True,
        "One step of a finding. In order of seq with all other chain messages; again until acknowledged.",
    ),
    Published(
        "record",
        messages.RecordEvent,
        "up/record",
        "gateway",
        1,
        False,
        True,
        "Any other entry of the chain. In order of seq with the findings; again until acknowledged.",
    ),
    Published(
        "evaluation",
        messages.EvaluationEvent,
        "up/evaluation",
        "gateway",
        1,
        False,
        True,
        "Indicators of one audit topic and month: once a day while they change, and after feedback.",
    ),
    Published(
        "case",
        case.CaseEvent,
        "up/case",
        "gateway",
        1,
        False,
        True,
        "When the picture of a point changes: open findings, ranked by likely cause. In the chain, as findings are.",
    ),
    Published(
        "evidence",
        evidence.EvidencePiece,
        "up/evidence/{finding}",
        "gateway",
        1,
        False,
        False,
        "On request: every frozen bundle of one finding, in pieces; done at PUBACK.",
    ),
    Published(
        "reply",
        commands.Reply,
        "up/reply",
        "gateway",
        1,
        False,
        False,
        "To every command: done, refused or failed, and why; once more when the same one comes again.",
    ),
    Published(
        "releases",
        applied.AppliedReleases,
        "up/releases",
        "gateway",
        1,
        False,
        False,
        "After each connect, and after each message on down/releases: what runs, what waits, what was refused and why.",
    ),
    Published(
        "points",
        messages.PointState,
        "up/points/{point}",
        "gateway",
        1,
        True,
        False,
        "When its findings or acceptance change or its load crosses a step of 10 %; and after each connect.",
    ),
    Published(
        "demand",
        messages.DemandBlock,
        "up/demand",
        "gateway",
        1,
        False,
        False,
        "One per closed block, 0 to 300 s after it, newest first, once the chain is sent; done at PUBACK.",
    ),
    Published(
        "ack",
        messages.Ack,
        "down/ack",
        "centre",
        1,
        False,
        False,
        "After the centre's commit: at most one per 50 chain messages or 2 s.",
    ),
    Published(
        "feedback",
        messages.FeedbackPackage,
        "down/feedback",
        "centre",
        1,
        False,
        False,
        "The payload of a signed package of three lines: base64 signature, header of one line, this.",
    ),
    Published(
        "command",
        commands.Command,
        "down/command",
        "centre",
        1,
        False,
        False,
        "The payload of a signed package of three lines that expires: one request of the allow-list, done once.",
    ),
    Published(
        "release-decision",
        messages.ReleaseDecision,
        "down/releases",
        "centre",
        1,
        True,
        False,
        "All decisions about one release, a signed package of three lines each with this as its payload, oldest first.",
    ),
)


def schema(published: Published) -> dict[str, Any]:
    """The JSON Schema of one message, closed and with everything that it refers to inside."""
    (root,), parts = msgspec.json.schema_components([published.shape], ref_template="#/$defs/{name}")
    if published.name == "record":  # one of several kinds: give the choice a name, for `dataschema` to point to
        event = parts["RecordEvent"]["properties"]
        parts["Record"] = {"title": "Record", "description": "One of the kinds, told by `record`.", **event["data"]}
        event["data"] = {"$ref": "#/$defs/Record"}
    return {
        "$schema": DIALECT,
        "$id": f"urn:edge-agent:{published.name}:{topics.VERSION}",
        "title": published.name,
        "description": published.when,
        **root,
        "$defs": dict(sorted(parts.items())),
    }


def asyncapi() -> dict[str, Any]:
    """The AsyncAPI 3.0 document, from the gateway's point of view: it sends `up`, it receives `down`."""
    channels: dict[str, Any] = {}
    operations: dict[str, Any] = {}
    for p in PUBLISHED:
        channels[p.name] = {
            "address": f"{{root}}/{topics.VERSION}/{{utility}}/{{gateway}}/{p.channel}",
            "description": p.when,
            "parameters": {
                name: {"$ref": f"#/components/parameters/{name}"}
                for name in ("root", "utility", "gateway", *_named(p.channel))
            },
            "messages": {p.name: {"$ref": f"#/components/messages/{p.name}"}},
        }
        operations[f"{'send' if p.sender == 'gateway' else 'receive'}-{p.name}"] = {
            "action": "send" if p.sender == "gateway" else "receive",
            "channel": {"$ref": f"#/channels/{p.name}"},
            "messages": [{"$ref": f"#/channels/{p.name}/messages/{p.name}"}],
            "bindings": {"mqtt": {"qos": p.qos, "retain": p.retain, "bindingVersion": "0.2.0"}},
        }
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "edge-agent",
            "version": topics.VERSION,
            "description": (
                "Gateway to centre over MQTT 5 or 3.1.1. Chain messages are CloudEvents 1.0 in structured JSON, "
                "numbered without gaps per epoch and linked by SHA-256; a PUBACK says that the broker has one, the "
                "centre's ack that it is stored."
            ),
            "license": {"name": "Apache-2.0", "url": "https://www.apache.org/licenses/LICENSE-2.0"},
        },
        "defaultContentType": "application/json",
        "servers": {
            "plain": {"host": "broker:1883", "protocol": "mqtt"},
            "tls": {"host": "broker:8883", "protocol": "secure-mqtt", "security": [{"type": "X509"}]},
        },
        "channels": channels,
        "operations": operations,
        "components": {
            "parameters": {
                "root": {"description": "First level, the same for a whole system."},
                "utility": {"description": "The utility, [a-z0-9-]{1,32}."},
                "gateway": {"description": "The gateway: also its client id and its certificate's common name."},
                "point": {"description": "Metering point, [a-z0-9-]{1,32}."},
                "finding": {"description": "Id of a finding, [A-Za-z0-9._:-]{1,200}."},
            },
            "messages": {
                p.name: {
                    "name": p.name,
                    "contentType": "application/cloudevents+json" if p.chain else "application/json",
                    "payload": {
                        "schemaFormat": "application/schema+json;version=draft-2020-12",
                        "schema": {"$ref": f"./schemas/{p.name}.schema.json"},
                    },
                }
                for p in PUBLISHED
            },
        },
    }


def _named(channel: str) -> list[str]:
    """The levels of a channel that a name stands for."""
    return [name for name in ("point", "finding") if f"{{{name}}}" in channel]


def files() -> dict[Path, str]:
    """Every published file with its text."""
    made = {SCHEMAS / f"{p.name}.schema.json": schema(p) for p in PUBLISHED} | {ASYNCAPI: asyncapi()}
    return {path: json.dumps(document, indent=2, ensure_ascii=False) + "\n" for path, document in made.items()}
