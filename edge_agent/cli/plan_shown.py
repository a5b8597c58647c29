"""How `plan` is shown: one document, or tables with what a person has to know below them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from drivers.link.framing import framing_of
from edge_agent.cli.planning import DevicePlan, LinkPlan, Question, remedies, said
from edge_agent.cli.volume import STATES_PER_DAY, Volume
from edge_agent.model import LinkSpec
from edge_agent.words import say, spoken


def plain(plans: Sequence[LinkPlan], volumes: Sequence[Volume], turnaround_s: float | None) -> dict[str, Any]:
    """Everything as one document."""
    return {
        "fits": all(p.fits for p in plans),
        "complete": not any(p.unplanned for p in plans),
        "links": [_plain_link(p, turnaround_s) for p in plans],
        "telemetry": {
            "days": 30,
            "assumed_states_per_point_and_day": STATES_PER_DAY,
            "mqtt_bytes": sum(v.mqtt_bytes for v in volumes),
            "network_bytes": sum(v.network_bytes for v in volumes),
            "kinds": [v._asdict() for v in volumes],
        },
    }


def show(plans: Sequence[LinkPlan], volumes: Sequence[Volume], turnaround_s: float | None) -> None:
    console = Console(width=None if Console().is_terminal else 160)
    for plan in plans:
        console.print(_table(plan))
        for sentence in said(plan):
            click.echo(spoken(sentence))
        for remedy in remedies(plan, turnaround_s):
            click.echo(f"  - {spoken(remedy)}")
        if plan.fits and not plan.unplanned:
            click.echo(say("plan.fits", link=plan.link.id, percent=f"{100 * plan.utilisation:.1f}"))
        click.echo()
    table = Table("message", "a month", "bytes each", "MQTT kB", "network kB", title="telemetry, 30 days")
    for v in volumes:
        table.add_row(
            v.kind, f"{v.messages}", f"{v.message_bytes}", f"{v.mqtt_bytes / 1000:.0f}", f"{v.network_bytes / 1000:.0f}"
        )
    table.add_row(
        "total", "", "", *(f"{sum(t) / 1000:.0f}" for t in zip(*((v[3], v[4]) for v in volumes), strict=True))
    )
    console.print(table)
    click.echo(say("plan.telemetry_leaves_out", per_day=STATES_PER_DAY))


def line_of(link: LinkSpec) -> str:
    """`9600 8N1`, or what stands for a line where there is none."""
    return str(framing_of(link) or "TCP")


def _plain_link(plan: LinkPlan, turnaround_s: float | None) -> dict[str, Any]:
    late = plan.overrun
    return {
        "link": plan.link.id,
        "kind": plan.link.kind,
        "line": line_of(plan.link),
        "fits": plan.fits,
        "utilisation_percent": round(100 * plan.utilisation, 2),
        "cycle_ms": _ms(plan.cycle_s),
        "meets_deadlines": late is None,
        "meets_deadlines_beside_a_silent_device": plan.overrun_beside_silence is None,
        "unplanned": list(plan.unplanned),
        "says": [{"code": s.code, "text": spoken(s)} for s in said(plan)],
        "would_fit": [{"code": r.code, **r.fields, "text": spoken(r)} for r in remedies(plan, turnaround_s)],
        "devices": [_plain_device(d) for d in plan.devices],
    }


def _plain_device(plan: DevicePlan) -> dict[str, Any]:
    return {
        "device": plan.device.id,
        "driver": plan.device.profile.driver,
        "profile": plan.device.profile.name,
        "turnaround_ms": _ms(plan.cost.turnaround_s),
        "utilisation_percent": round(100 * plan.utilisation, 2),
        "cycle_ms": _ms(plan.cycle_s),
        "cycle_bytes": plan.cycle_bytes,
        "requests": None if plan.questions is None else [_plain_question(q) for q in plan.questions],
    }


def _plain_question(q: Question) -> dict[str, Any]:
    return {
        "address": q.address,
        "count": q.count,
        "hole_registers": q.holes,
        "registers": [quantity.value for quantity in q.request.quantities],
        "every_s": q.request.every_s,
        "sent": q.sent,
        "expected": q.expected,
        "ms": _ms(q.takes_s),
    }


def _table(plan: LinkPlan) -> Table:
    title = (
        f"link {plan.link.id} ({line_of(plan.link)}): {100 * plan.utilisation:.1f} % of the line, "
        f"everything once in {_ms(plan.cycle_s):.0f} ms"
    )
    table = Table(
        "device", "asks", "registers", "holes", "values", "every s", "bytes", "ms", "% of the line", title=title
    )
    ordered = sorted(plan.devices, key=lambda d: repr(_shape(d)))
    for _, found in groupby(ordered, key=_shape):
        alike = list(found)
        for at, q in enumerate(alike[0].questions or ()):
            table.add_row(
                _names(alike) if at == 0 else "",
                q.address,
                "" if q.count is None else f"{q.count}",
                f"{q.holes}",
                f"{len(q.request.registers)}",
                f"{q.request.every_s:g}",
                f"{q.sent} + {q.expected}",
                f"{_ms(q.takes_s):.1f}",
                f"{100 * q.takes_s / q.request.every_s:.2f}",
            )
        if alike[0].questions is None:
            table.add_row(_names(alike), "?", *[""] * 7)
    return table


def _shape(plan: DevicePlan) -> tuple[Any, ...]:
    """Devices that are asked the same are shown once."""
    asked = [(q.address, q.count, q.request.every_s, q.takes_s) for q in plan.questions or ()]
    return plan.device.profile.name, asked, plan.questions is None


def _names(alike: Sequence[DevicePlan]) -> str:
    names = [d.device.id for d in alike]
    return ", ".join(names) if len(names) <= 3 else f"{names[0]} ... {names[-1]} ({len(names)}, each)"


def _ms(seconds: float) -> float:
    return round(1000 * seconds, 2)
