"""`evidence`: a finding's bundle, from the running agent or from the store as it lies on the disk."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from edge_agent.cli.listing import reader_of
from edge_agent.control import ControlError, NoAgent, ask
from edge_agent.evidence.export import files_of, write_zip
from edge_agent.evidence.frozen import Frozen
from edge_agent.listing import material_of
from edge_agent.settings import Site


def write_bundle(site: Site, finding: str, output: Path) -> dict[str, Any]:
    """What was written. Raises `ClickException`."""
    bodies, frozen = _material(site, finding)
    if not bodies and not frozen:
        raise click.ClickException(f"no finding {finding!r} in this store; `edge-agent findings` lists them")
    try:
        files = files_of(bodies, frozen)
        write_zip(output, files)
    except ValueError as wrong:
        raise click.ClickException(str(wrong)) from None
    except OSError as cause:
        raise click.ClickException(f"{output}: {cause.strerror or cause}") from None
    kept = sum(bool(f.packed) for f in frozen)
    said = f"{output}: {len(bodies)} step(s), {kept} frozen bundle(s), {len(files)} files"
    return {"finding": finding, "file": str(output), "steps": len(bodies), "bundles": kept, "said": said}


def send_bundle(site: Site, finding: str) -> dict[str, Any]:
    """How many pieces wait to be sent. Raises `ClickException`."""
    try:
        pieces = int(ask(Path(site.paths.runtime), "send_evidence", finding=finding))
    except ControlError as reason:
        raise click.ClickException(str(reason)) from None
    return {"finding": finding, "pieces": pieces, "said": f"{pieces} piece(s) are on their way to the centre"}


def _material(site: Site, finding: str) -> tuple[list[bytes], list[Frozen]]:
    try:
        return material_of(ask(Path(site.paths.runtime), "evidence", finding=finding))
    except NoAgent:
        with reader_of(site) as reader:
            return reader.steps(finding), reader.evidence(finding)
    except ControlError as reason:
        raise click.ClickException(str(reason)) from None
