"""A link for one verb alone, and what to do where it cannot be had or nobody answers on it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from edge_agent.holding import HeldLinks, LinkHeld
from edge_agent.model import LINES, LinkSpec
from edge_agent.ports import DriverError
from edge_agent.words import say


@contextmanager
def held(runtime: Path, link: str) -> Iterator[None]:
    """The link for this process alone, where the runtime folder can be used; `ClickException` names who has it."""
    try:
        links = HeldLinks(runtime, [link])
    except LinkHeld as other:
        raise click.ClickException(f"{other}; wait for it, or stop it: no two masters share a meter's line") from None
    except OSError as cause:
        click.echo(f"the link is not locked against others: {runtime}: {cause.strerror}", err=True)
        yield
        return
    with links:
        yield


def cure(link: LinkSpec, error: DriverError) -> str:
    """The failure and what to look at."""
    stop = "" if str(error).endswith(("?", ".")) else "."
    if error.code:
        return f"{error}{stop} {say(error.code, **error.fields)}"
    on_line = "_line" if link.kind in LINES else ""
    return f"{error}{stop} {say(f'read.{error.cause.value}{on_line}')}"
