"""Three phases that must fit together: which pattern is named, on which phase, and when nothing can be said."""

from __future__ import annotations

from math import nan
from random import Random
from time import process_time
from typing import Any

import pytest
from hypothesis import event, given
from hypothesis import strategies as st

from edge_agent.load.answers import CannotSay, Figure, Why
from edge_agent.load.methods import phases
from edge_agent.load.methods.phases import Pattern, PhasePower, Sequence3, phase_sequence
from tests import figures
from tests.released import PHASE

U = [230.0, 231.0, 229.0]
I = [9.0, 6.0, 4.0]  # noqa: E741
PF = [0.9, 0.85, 0.95]
TRUE_W = [u * i * pf for u, i, pf in zip(U, I, PF, strict=True)]


def told(p: list[Any], total: float, **changes: Any) -> Any:
    given_: dict[str, Any] = {"u": U, "i": I, "pf": PF, **changes}
    return phases.consistency(given_["u"], given_["i"], given_["pf"], p, total, rated_a=10, rule=PHASE)


@pytest.mark.parametrize(
    ("signs", "pattern"),
    [
        ((1, 1, 1), Pattern.FITS),
        ((0, 1, 1), Pattern.ONE_LOST),
        ((1, 0, 1), Pattern.ONE_LOST),
        ((1, 1, -1), Pattern.ONE_REVERSED),
        ((-1, 1, 1), Pattern.ONE_REVERSED),
        ((-1, 1, -1), Pattern.TWO_REVERSED),
        ((-1, -1, -1), Pattern.ALL_REVERSED),
    ],
)
def test_a_pattern_is_named_with_its_phases_whatever_their_shares(signs: tuple[int, ...], pattern: Pattern):
    shown = [w * s for w, s in zip(TRUE_W, signs, strict=True)]
    made = told(shown, sum(shown))
    assert isinstance(made, PhasePower)
    assert made.pattern is pattern
    assert made.at == tuple(f"L{k + 1}" for k, s in enumerate(signs) if s < 1)
    assert made.phases == pytest.approx(signs)


def test_a_balanced_load_does_not_tell_which_phase():
    made = told([None] * 3, 2 * 1863.0, u=[230] * 3, i=[9] * 3, pf=[0.9] * 3)
    assert isinstance(made, PhasePower)
    assert made.pattern is Pattern.ONE_LOST
    assert made.at == ()
    assert made.phases == (None, None, None)


def test_a_ratio_like_no_pattern_is_named_none():
    made = told([None] * 3, 0.85 * sum(TRUE_W))
    assert isinstance(made, PhasePower)
    assert not made.fits
    assert made.pattern is Pattern.NONE


def test_what_the_phases_cannot_say():
    total = sum(TRUE_W)

    def why(made: Any) -> Why:
        assert isinstance(made, CannotSay), made
        return made.because

    assert why(told([None] * 3, nan)) is Why.NOT_A_NUMBER
    assert why(told([None] * 3, total, u=[230, None, 230])) is Why.NOT_A_NUMBER
    assert why(told([None] * 3, total, u=[230, 230])) is Why.WRONG_SHAPE
    assert why(told([None] * 3, total, u=["a", 1, 2])) is Why.NOT_A_NUMBER
    assert why(told([None] * 3, 0.0, i=[0.1, 0.2, 0.1])) is Why.TOO_SMALL
    assert why(told([None] * 3, total, pf=[0.9, 0.3, 0.9])) is Why.TOO_SMALL, "a third of the power at a poor factor"
    assert why(phases.consistency(U, I, PF, TRUE_W, total, rated_a=None, rule=PHASE)) is Why.FACT_UNKNOWN


@pytest.mark.parametrize(
    ("measure", "values", "why"),
    [
        (phases.spread_unbalance, [0, 0, 0], Why.TOO_SMALL),
        (phases.spread_unbalance, [230, 230], Why.WRONG_SHAPE),
        (phases.mean_deviation, [230, nan, 230], Why.NOT_A_NUMBER),
        (phases.mean_deviation, [230, None, 230], Why.NOT_A_NUMBER),
        (phases.negative_sequence, [400, 100, 100], Why.NOT_POSSIBLE),
    ],
)
def test_what_is_no_unbalance(measure: Any, values: list[Any], why: Why):
    made = measure(values)
    assert isinstance(made, CannotSay)
    assert made.because is why


@given(st.lists(st.floats(0, 1e6), min_size=3, max_size=3))
def test_an_unbalance_is_a_share(values: list[float]):
    for measure in (phases.spread_unbalance, phases.mean_deviation, phases.negative_sequence):
        made = measure(values)
        event(type(made).__name__)
        if isinstance(made, Figure):
            turned = measure(values[1:] + values[:1])
            assert isinstance(turned, Figure)
            assert 0 <= made.value <= 2 + 1e-9
            assert made.value == pytest.approx(turned.value, abs=1e-6)


@pytest.mark.parametrize(
    ("angles", "lagging", "sequence"),
    [
        ([0, 120, 240], True, Sequence3.ABC),
        ([30, 150, 271], True, Sequence3.ABC),
        ([0, -120, 120], False, Sequence3.ABC),
        ([0, 240, 120], True, Sequence3.ACB),
        ([350, 110, 230], False, Sequence3.ACB),
    ],
)
def test_the_sequence_of_the_phases(angles: list[float], lagging: bool, sequence: Sequence3):
    assert phase_sequence(angles, within_deg=15, lagging=lagging) is sequence


@pytest.mark.parametrize(
    ("angles", "why"),
    [([0, 0, 0], Why.AMBIGUOUS), ([0, 120], Why.WRONG_SHAPE), ([0, nan, 240], Why.NOT_A_NUMBER),
     ([0, 60, 240], Why.AMBIGUOUS), ([None, 1, 2], Why.NOT_A_NUMBER)],
)  # fmt: skip
def test_angles_that_are_no_sequence(angles: list[Any], why: Why):
    made = phase_sequence(angles, within_deg=15)
    assert isinstance(made, CannotSay)
    assert made.because is why


def test_a_year_of_quarters():
    """No accusation of a meter within its classes: 0.5 % of noise on every value."""
    chance = Random(1)
    n = 35_136
    u = [[230 * chance.gauss(1, 0.01) for _ in range(3)] for _ in range(n)]
    i = [[chance.uniform(0.2, 9) for _ in range(3)] for _ in range(n)]
    pf = [[chance.uniform(0.6, 1.0) for _ in range(3)] for _ in range(n)]
    p = [
        [a * b * c * chance.gauss(1, 0.005) for a, b, c in zip(*row, strict=True)] for row in zip(u, i, pf, strict=True)
    ]
    start = process_time()
    made = phases.series(u, i, pf, p, [sum(row) for row in p], rated_a=10, rule=PHASE)
    took_s = process_time() - start
    assert not isinstance(made, CannotSay)
    said = [a for a in made if isinstance(a, PhasePower)]
    assert len(said) > n / 2
    assert all(a.pattern is Pattern.FITS for a in said)
    assert phases.consistency(u[7], i[7], pf[7], p[7], sum(p[7]), rated_a=10, rule=PHASE) == made[7]
    figures.report("phases, a year of quarters", quarters=n, said=len(said), cpu_seconds=round(took_s, 3))
