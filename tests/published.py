"""The committed schemas as a judge of messages."""

from __future__ import annotations

import functools
import json
from typing import Any

import jsonschema

from edge_agent.contract.documents import SCHEMAS


@functools.cache
def validator(name: str) -> jsonschema.Draft202012Validator:
    schema = json.loads((SCHEMAS / f"{name}.schema.json").read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema, format_checker=jsonschema.FormatChecker())


def checked(name: str, body: bytes) -> dict[str, Any]:
    """The message, if it fits the committed schema; no message holds a null."""
    message: dict[str, Any] = json.loads(body)
    validator(name).validate(message)
    assert b":null" not in body
    return message
