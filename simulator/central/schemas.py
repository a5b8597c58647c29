"""The published JSON Schemas of the contract, by kind of message: the centre's only knowledge of what a message holds.

The kind is the topic level below `up/`. A kind without a schema file is nothing this centre accepts.
"""

from __future__ import annotations

import json
from importlib.resources import files
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012


class Schemas:
    """Validators of a folder's `<kind>.schema.json`; they may refer to each other by file name or `$id`."""

    def __init__(self, folder: Path | None = None) -> None:
        folder = contract_schemas() if folder is None else folder
        documents = {p.name: json.loads(p.read_text("utf-8")) for p in sorted(folder.glob("*.schema.json"))}
        resources: list[tuple[str, Resource[Any]]] = []
        for name, document in documents.items():
            resource = Resource.from_contents(document, default_specification=DRAFT202012)
            resources += [(name, resource), (document.get("$id", name), resource)]
        registry: Registry[Any] = Registry().with_resources(resources)
        self._validators = {
            name.removesuffix(".schema.json"): Draft202012Validator(document, registry=registry)
            for name, document in documents.items()
        }

    def __contains__(self, kind: object) -> bool:
        return kind in self._validators

    def objection(self, kind: str, message: object) -> str | None:
        """Why the message does not fit its schema, or None where it does. Raises KeyError for a kind without one."""
        validator = self._validators[kind]
        error = next(validator.iter_errors(message), None)
        return None if error is None else f"{error.json_path}: {error.message}"[:500]


def contract_schemas() -> Path:
    return Path(str(files("edge_agent") / "contract" / "schemas"))
