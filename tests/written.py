"""What a driver brought, in the words of a vector file."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from edge_agent.model import UNIT, Gap, Identity, Outcome, Reading


def as_written(found: Sequence[Outcome], rel: float) -> dict[str, object]:
    """Outcomes as a vector file writes them down: value and unit, a text, or why there is none."""
    got: dict[str, object] = {}
    for outcome in found:
        match outcome:
            case Reading():
                got[outcome.quantity] = [pytest.approx(outcome.value, rel=rel), UNIT[outcome.quantity]]
            case Identity():
                got[outcome.quantity] = outcome.text
            case Gap():
                got[outcome.quantity] = f"gap: {outcome.cause}"
    return got
