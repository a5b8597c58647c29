"""What can be told of a profile from the values that it reads: pure questions to one device's readings.

Each gives remarks: how well that fits, between 0 and 1, or None where it cannot be said; how much it weighs; and why,
in words. Zero load says nothing about powers and phases, and nothing is concluded from it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from edge_agent.model import UNIT, GapCause, Identity, Quantity, Reading
from edge_agent.survey.trial import Reads
from edge_agent.words import Phrase, phrase

Q = Quantity
PHASES = (1, 2, 3)


class Remark(NamedTuple):
    fit: float | None
    weight: float
    says: Phrase


NOMINAL_V = (
    57.7, 63.5, 100, 110, 120, 127, 220, 230, 240, 254, 277, 347, 380, 400, 415, 440, 480, 600, 660, 690,
    3464, 3811, 5774, 6000, 6351, 10_000, 11_000, 11_547, 15_000, 20_000, 20_207, 30_000, 35_000,
)  # fmt: skip
"""Phase and line voltages of supply systems and of voltage transformers, V."""

_NEAR = 0.12
_LEAST_A = 0.01
_LEAST_VA = 5.0
"""Below that a phase is taken to have no load, and says nothing."""

_MOST = {"A": 2e4, "W": 1e9, "var": 1e9, "VA": 1e9}

_MOVES_STEPS = 3.0
"""So many display steps have to fit into the energy that the power means before it can be compared."""


def remarks(reads: Reads, texts: dict[str, str]) -> list[Remark]:
    """Everything that can be said of this profile."""
    asked: Sequence[Callable[[Reads], Iterator[Remark]]] = (
        _answered, _frequency, _voltages, _line_voltages, _sum_of_phases, _triangle, _power_factor, _product, _garbage,
        _serial, _moves,
    )  # fmt: skip
    found = [*_hallmarks(reads), *_names(reads, texts)]
    for ask in asked:
        found += ask(reads)
    return found


def _hallmarks(reads: Reads) -> Iterator[Remark]:
    for mark, said in reads.hallmarks:
        wanted = [str(value) for value in mark.equals]
        if said is None:
            yield Remark(None, 0, phrase("survey.no_hallmark", place=mark.address))
        elif said in wanted:
            yield Remark(1.0, 12, phrase("survey.hallmark", place=mark.address, said=said))
        else:
            yield Remark(
                0.0, 12, phrase("survey.other_hallmark", place=mark.address, said=said, wanted=", ".join(wanted))
            )


def _names(reads: Reads, texts: dict[str, str]) -> Iterator[Remark]:
    """Whether the model's name stands in what the device says about itself: a word with a digit in it."""
    said = " ".join(texts.get(n, "") for n in ("product", "product_name", "model"))
    if not said.strip():
        return
    own, theirs = _words(reads.profile.model), _words(said)
    if own & theirs:
        yield Remark(1.0, 8, phrase("survey.named", said=said.strip(), word=", ".join(sorted(own & theirs))))
    elif theirs:
        yield Remark(0.0, 2, phrase("survey.other_name", said=said.strip()))


def _words(text: str) -> set[str]:
    found = {w.upper() for w in re.findall(r"[A-Za-z0-9]+(?:-[A-Za-z0-9]+)*", text)}
    parts = {p for w in found for p in w.split("-")}
    return {w for w in found | parts if len(w) > 3 and any(c.isdigit() for c in w)}


def _answered(reads: Reads) -> Iterator[Remark]:
    total = len(reads.first)
    if not total:
        return
    refused = [g for g in reads.gaps if g.cause in {GapCause.REFUSED, GapCause.NO_REPLY, GapCause.BAD_REPLY}]
    missing = [g for g in reads.gaps if g.cause is GapCause.NOT_AVAILABLE]
    share = 1 - len(refused) / total
    weight = 1.0 + 8.0 * (1 - share)  # that a register is there proves nothing; that it is not speaks against
    yield Remark(share * share, weight, phrase("survey.answered", answered=total - len(refused), total=total))
    if refused:
        named = ", ".join(dict.fromkeys(g.quantity.value for g in refused[:4]))
        yield Remark(None, 0, phrase("survey.refused", count=len(refused), named=named))
    if missing:
        named = ", ".join(g.quantity.value for g in missing[:4])
        yield Remark(None, 0, phrase("survey.sentinel", count=len(missing), named=named))


def _frequency(reads: Reads) -> Iterator[Remark]:
    hertz = reads.number(Q.FREQUENCY)
    if hertz is None:
        return
    near = min(abs(hertz - nominal) for nominal in (50, 60))
    fit = 1.0 if near <= 1.0 else 0.4 if 45 <= hertz <= 65 else 0.0
    yield Remark(fit, 4, phrase("survey.frequency", hertz=f"{hertz:.4g}"))


def is_supply(volts: float) -> bool:
    """Whether there is a supply voltage near that."""
    return any(abs(volts - nominal) <= _NEAR * nominal for nominal in NOMINAL_V)


def _voltages(reads: Reads) -> Iterator[Remark]:
    volts = [v for n in PHASES if (v := reads.number(Q(f"voltage_l{n}"))) is not None]
    if not volts:
        return
    live = [v for v in volts if v > 1]
    shown = ", ".join(f"{v:.4g}" for v in volts)
    if not live:
        yield Remark(0.0, 3, phrase("survey.no_voltage", volts=shown))
        return
    right = sum(is_supply(v) for v in live) / len(live)
    alike = max(live) <= 1.3 * min(live)
    fit = right * (1.0 if alike else 0.5) * (0.4 + 0.6 * len(live) / len(volts))
    if len(live) < len(volts):
        yield Remark(fit, 4, phrase("survey.some_voltages", volts=shown, live=len(live), total=len(volts)))
    else:
        yield Remark(fit, 3 + 0.5 * len(volts), phrase("survey.voltages", volts=shown))


def _line_voltages(reads: Reads) -> Iterator[Remark]:
    """Line voltages are 1.73 times the phase voltages, where both are there."""
    phase = [v for n in PHASES if (v := reads.number(Q(f"voltage_l{n}"))) is not None and v > 1]
    line = [v for n in ("l12", "l23", "l31") if (v := reads.number(Q(f"voltage_{n}"))) is not None]
    if not line:
        return
    if len(phase) == 3:
        expected = math.sqrt(3) * sum(phase) / 3
        fit = sum(abs(v - expected) <= 0.1 * expected for v in line) / len(line)
        yield Remark(fit, 1.5, phrase("survey.line_voltages", volts=", ".join(f"{v:.4g}" for v in line)))
    elif not phase:
        fit = sum(v > 1 and is_supply(v) for v in line) / len(line)
        yield Remark(fit, 3, phrase("survey.voltages", volts=", ".join(f"{v:.4g}" for v in line)))


def _sum_of_phases(reads: Reads) -> Iterator[Remark]:
    for kind, unit in (("active_power", "W"), ("reactive_power", "var"), ("apparent_power", "VA")):
        total = reads.number(Q(kind))
        parts = [p for n in PHASES if (p := reads.number(Q(f"{kind}_l{n}"))) is not None]
        if total is None or len(parts) < 3:
            continue
        size = max(abs(total), *map(abs, parts))
        if size < _LEAST_VA:
            yield Remark(None, 0, phrase("survey.no_load", what=kind))
            continue
        fit = _closeness(sum(parts), total, 0.05, size)
        says = phrase("survey.sum", kind=kind, total=f"{total:.5g}", parts=f"{sum(parts):.5g}", unit=unit)
        yield Remark(fit, 2 if unit == "W" else 1, says)


def _triangle(reads: Reads) -> Iterator[Remark]:
    p, q, s = (reads.number(Q(f"{kind}_power")) for kind in ("active", "reactive", "apparent"))
    if p is None or q is None or s is None:
        return
    if max(abs(p), abs(q), abs(s)) < _LEAST_VA:
        yield Remark(None, 0, phrase("survey.no_load", what="S, P, Q"))
        return
    fit = _closeness(math.hypot(p, q), abs(s), 0.06, abs(s))
    yield Remark(fit, 2, phrase("survey.triangle", s=f"{s:.5g}", pq=f"{math.hypot(p, q):.5g}"))


def _power_factor(reads: Reads) -> Iterator[Remark]:
    pf, p, s = (reads.number(q) for q in (Q.POWER_FACTOR, Q.ACTIVE_POWER, Q.APPARENT_POWER))
    if pf is None:
        return
    if p is None or s is None or abs(s) < _LEAST_VA:
        yield Remark(1.0 if abs(pf) <= 1.0001 else 0.0, 0.5, phrase("survey.pf_alone", pf=f"{pf:.3f}"))
        return
    fit = _closeness(abs(pf), abs(p / s), 0.05, 1.0)
    yield Remark(fit, 1.5, phrase("survey.pf", pf=f"{pf:.3f}", ps=f"{p / s:.3f}"))


def _product(reads: Reads) -> Iterator[Remark]:
    """P is the sum of U x I x pf; without power factors at least not above the sum of U x I."""
    p = reads.number(Q.ACTIVE_POWER)
    if p is None:
        p = _all_or_none([reads.number(Q(f"active_power_l{n}")) for n in PHASES])
    pairs = [
        (u, abs(i), n) for n in PHASES
        if (u := reads.number(Q(f"voltage_l{n}"))) is not None and (i := reads.number(Q(f"current_l{n}"))) is not None
    ]  # fmt: skip
    if p is None or not pairs:
        return
    product_va = sum(u * i for u, i, _ in pairs)
    if max(abs(p), product_va) < _LEAST_VA or max(i for _, i, _ in pairs) < _LEAST_A:
        yield Remark(None, 0, phrase("survey.no_load", what="U x I"))
        return
    factors = [reads.number(Q(f"power_factor_l{n}")) for _, _, n in pairs]
    total = reads.number(Q.POWER_FACTOR)
    if all(f is not None for f in factors):
        expected = sum(u * i * abs(f or 0.0) for (u, i, _), f in zip(pairs, factors, strict=True))
    elif total is not None:
        expected = product_va * abs(total)
    else:
        fit = 1.0 if 0.05 * product_va <= abs(p) <= 1.08 * product_va else 0.0
        yield Remark(fit, 1.5, phrase("survey.below_product", p=f"{p:.5g}", ui=f"{product_va:.5g}"))
        return
    fit = _closeness(expected, abs(p), 0.10, max(abs(p), expected))
    yield Remark(fit, 3, phrase("survey.product", p=f"{p:.5g}", ui=f"{expected:.5g}"))


def _garbage(reads: Reads) -> Iterator[Remark]:
    """Values that no meter shows: out of all bounds, or so small that bits of something else were taken for a float."""
    wild = [g for g in reads.gaps if g.cause is GapCause.IMPLAUSIBLE]
    if wild:
        shown = "; ".join(g.detail for g in wild[:3])
        yield Remark(0.0, min(6.0, 1.0 * len(wild)), phrase("survey.implausible", count=len(wild), shown=shown))
    tiny = [o for o in reads.first if isinstance(o, Reading) and 0 < abs(o.value) < 1e-12]
    if tiny:
        shown = ", ".join(f"{o.quantity.value} {o.value:.2g}" for o in tiny[:3])
        yield Remark(0.0, min(6.0, 2.0 * len(tiny)), phrase("survey.tiny", shown=shown))
    huge = [o for o in reads.first if isinstance(o, Reading) and abs(o.value) > _MOST.get(UNIT[o.quantity], 1e14)]
    if huge:
        shown = ", ".join(f"{o.quantity.value} {o.value:.3g}" for o in huge[:3])
        yield Remark(0.0, min(6.0, 2.0 * len(huge)), phrase("survey.huge", shown=shown))


def _serial(reads: Reads) -> Iterator[Remark]:
    text = next((o.text for o in reads.first if isinstance(o, Identity) and o.quantity is Q.METER_SERIAL), None)
    if text is not None:
        is_number = text.strip("0") != ""
        yield Remark(1.0 if is_number else 0.5, 1, phrase("survey.serial", text=text))


def _moves(reads: Reads) -> Iterator[Remark]:
    """Two readings of the energy, some seconds apart, and what the power means for that time."""
    before, after = reads.value(Q.ACTIVE_ENERGY_IMPORT), reads.value(Q.ACTIVE_ENERGY_IMPORT, again=True)
    powers = [r.value for r in (reads.value(Q.ACTIVE_POWER), reads.value(Q.ACTIVE_POWER, again=True)) if r is not None]
    if before is None or after is None or not powers:
        return
    seconds = (after.bt_ms - before.bt_ms) / 1000
    p = sum(powers) / len(powers)
    moved_wh, meant_wh = after.value - before.value, p * seconds / 3600
    fields = {"moved": f"{moved_wh:.4g}", "meant": f"{meant_wh:.4g}", "seconds": f"{seconds:.0f}"}
    if moved_wh < 0:
        yield Remark(0.0, 4, phrase("survey.falls", **fields))
        return
    step = max(before.step, after.step)
    if abs(meant_wh) < _MOVES_STEPS * step:
        # A register that should have stood still and has not is another thing's register.
        if moved_wh > max(10 * step, 20 * abs(meant_wh)):
            yield Remark(0.0, 3, phrase("survey.moves_otherwise", **fields))
        else:
            yield Remark(None, 0, phrase("survey.moves_unseen", step=f"{step:.3g}", **fields))
        return
    expected = max(0.0, meant_wh)
    fit = max(0.0, 1 - max(0.0, abs(moved_wh - expected) - 2 * step) / max(0.35 * expected, step))
    code = "survey.moves" if fit > 0.5 else "survey.moves_otherwise"
    yield Remark(fit, 4, phrase(code, **fields))


def _closeness(got: float, expected: float, tolerance: float, size: float) -> float:
    """1 within the tolerance, 0 from three times of it on."""
    off = abs(got - expected) / max(size, 1e-9)
    return 1.0 if off <= tolerance else max(0.0, 1 - (off - tolerance) / (2 * tolerance))


def _all_or_none(values: list[float | None]) -> float | None:
    return None if any(v is None for v in values) else sum(v or 0.0 for v in values)
