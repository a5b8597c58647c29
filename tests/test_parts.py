"""Behind a gap thousands of windows close together. Looked at in parts, the same is told, with less memory."""

from __future__ import annotations

import tracemalloc
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import msgspec
import pytest

from edge_agent import core as core_module
from edge_agent.assembly import core_with
from edge_agent.audit.topic import Verdict
from edge_agent.core import Core
from edge_agent.image import Snapshot
from edge_agent.load.points import LoadPoint
from edge_agent.load.rounds import Sampler
from edge_agent.load.views import Role
from edge_agent.model import ClockQuality, ClockState, Ms, Quantity, Reading
from tests.on_paper import MINUTE_MS, archive_of, local_ms, published

POINTS = 64
START = local_ms("2026-03-10 21:00")
CUT_MS, BACK_MS = START + 50 * MINUTE_MS, local_ms("2026-03-11 00:40")
REGISTERS = {Quantity.ACTIVE_ENERGY_IMPORT: 0.85, Quantity.REACTIVE_ENERGY_IMPORT: 0.527}
POWERS = {Quantity.ACTIVE_POWER: 0.85, Quantity.REACTIVE_POWER: 0.527}
POWERED = frozenset(POWERS)
K, ALL = 80.0, 1_000_000
CLOCK = ClockState(ClockQuality.SYNCED, 0, 500)


def core_of_many() -> Core:
    names = [f"p{n}" for n in range(POINTS)]
    archive = archive_of(*({"id": name, "meter": f"m-{name}"} for name in names))
    quantities = frozenset({*REGISTERS, *POWERS})
    points = [
        LoadPoint(
            id=name, device=f"m-{name}", period_ms=15 * MINUTE_MS, slide_ms=MINUTE_MS, poll_ms=MINUTE_MS,
            k=archive.k_timeline(name), s_cap_va=((0, archive.s_cap_va(name, START) or 0.0),), quantities=quantities,
        )
        for name in names
    ]  # fmt: skip
    samplers = [Sampler(p.id, p.device, Role.METER, POWERED, POWERED, 2 * MINUTE_MS, watts=p.k) for p in points]
    return core_with(archive, points, published()[0], gateway="gw-1", samplers=samplers)


def kva(number: int, at_ms: Ms) -> float:
    """Every eighth customer is above its 250 kVA all the time, another one begins so in the gap, or ends to be."""
    gone_ms = at_ms - START
    match number % 8:
        case 0:
            return 275.0
        case 1:
            return 280.0 if at_ms > CUT_MS else 200.0
        case 2:
            return 200.0 if at_ms > CUT_MS else 280.0
        case 3:
            return 0.0 if at_ms > CUT_MS else 90.0
    return 150.0 + (gone_ms // (7 * MINUTE_MS) % 5) * 20.0


def ticks() -> Iterator[Snapshot]:
    """An hour of readings, three hours without, and what the first of a few more brings."""
    moved_vah = [0.0] * POINTS
    for at_ms in range(START, BACK_MS + 8 * MINUTE_MS + 1, MINUTE_MS):
        readings = []
        for number in range(POINTS):
            now_va = kva(number, at_ms) * 1000
            moved_vah[number] += now_va / 60
            shown = {q: (1e6 + moved_vah[number] * share / K) // 10 * 10 for q, share in REGISTERS.items()}
            shown |= {q: now_va * share / K for q, share in POWERS.items()}
            if number == 5 and at_ms > CUT_MS:
                shown[Quantity.ACTIVE_ENERGY_IMPORT] -= 50_000  # the register goes back meanwhile
            readings += [(Reading(f"m-p{number}", q, v, 10.0, at_ms, None), at_ms) for q, v in shown.items()]
        if not CUT_MS < at_ms < BACK_MS:
            yield Snapshot(at_ms, at_ms, CLOCK, readings)


def lived(monkeypatch: pytest.MonkeyPatch, at_once: int) -> tuple[Any, list[int], int]:
    """What was told, said and remembered; how many verdicts were heard together; the peak of memory behind the gap."""
    monkeypatch.setattr(core_module, "AT_ONCE", at_once)
    core, told, said, together, peak = core_of_many(), [], 0, [0], 0

    def hear(heard: Mapping[str, Sequence[Verdict]]) -> None:
        nonlocal said
        together.append(sum(map(len, heard.values())))
        said += sum(hash((t, v.point, v.answer, v.end_ms, v.key, v.low)) for t, all_ in heard.items() for v in all_)

    core.hearers.append(hear)
    for snapshot in ticks():
        back = snapshot.now_ms == BACK_MS
        if back:
            tracemalloc.start()
            tracemalloc.reset_peak()
        outcome = core.tick(snapshot)
        if back:
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
            assert len(outcome.closed) > 1_500, "no gap worth the name"
        told += [asdict(step) for step in outcome.steps]
    tracks = {id_: track.to_plain() for id_, track in core.lifecycle.tracks.items()}
    kept = msgspec.msgpack.encode([core.studies.dump(), tracks])
    return (told, said, kept, core.last), together, peak


def test_what_is_told_behind_a_gap_is_the_same_in_parts_and_at_once(monkeypatch: pytest.MonkeyPatch):
    parts, in_parts, low_peak = lived(monkeypatch, core_module.AT_ONCE)
    whole, together, peak = lived(monkeypatch, ALL)
    tiny, _, _ = lived(monkeypatch, 7)
    behind = Counter(step["kind"].value for step in whole[0] if step["time_ms"] > CUT_MS)
    assert behind["opened"] >= POINTS // 8, behind
    for found in (parts, tiny):
        for one, other in zip(found, whole, strict=True):
            assert one == other
    print(f"{behind}; heard together {max(together)} and {max(in_parts)}, peak {peak >> 10} and {low_peak >> 10} KiB")
    assert max(in_parts) < max(together) / 3
    assert low_peak < peak * 0.8
