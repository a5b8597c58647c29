"""The figures as a person reads them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

SHOWN_NOT_SO = 30


def text(said: dict[str, Any]) -> str:
    clean, cases = said["clean"], said["cases"]
    lines = [
        f"profiles: {said['profiles']}; release set {said['release_set']}",
        f"cases: {cases['clean']} clean, {cases['at_fault']} at fault, {cases['disturbed']} disturbed",
        f"read every: {', '.join(said['cadence'])}",
        f"played before, by the record: {said['from_record']} of {said['of_batches']} batches",
        "",
    ]
    if clean["point_years"]:
        lines += [
            f"{clean['point_years']} clean point-years of {clean['shapes']} load classes:",
            (
                f"  major or critical: {clean['major']} (95 % bound {clean['major_bound_per_year']} a point-year),"
                f" not so: {clean['major_not_so']}"
            ),
            f"  warnings a point-year: {clean['warnings_per_year']}, not so: {clean['warnings_not_so_per_year']}",
            f"  notices a point-year: {clean['notices_per_year']}, not so: {clean['notices_not_so_per_year']}",
            "",
        ]
    if said["kinds"]:
        lines += [*_columns(_kinds(said["kinds"])), ""]
        lines += [f"  {k['kind']}: {_reasons(k)}" for k in said["kinds"] if _reasons(k)]
        lines.append("")
    lines += [*_columns(_topics(said["topics"])), ""]
    lines += _disturbed(said["disturbed"])
    rank = said["ranking"]
    if rank:
        lines += [
            (
                f"{rank['at_fault']} of {rank['points']} points at fault, by {rank['by']} ({rank['draws']}):"
                f" {rank['true_of_first']} of the first {rank['at_fault']} are true, and {rank['routed_right']} of"
                " these go to the right department"
            ),
            "",
        ]
    wrong = said["not_so"]
    lines.append(f"accusations that are not so: {len(wrong)}")
    for f in wrong[:SHOWN_NOT_SO]:
        case = f["case"]
        lines.append(
            f"  {f['severity']} {f['topic']} {f['key']} on {case['kind']} {case['number']} ({case['shape']}, highest"
            f" demand {case['share']} of {case['kva']:g} kVA, {case['ct_a']:g}/5, {case['register']}), day"
            f" {f['opened_day']}: {_short(f['measured'])}"
        )
    return "\n".join(lines)


def _kinds(kinds: Sequence[dict[str, Any]]) -> Iterable[Sequence[str]]:
    yield "what is wrong", "topics", "cases", "enough", "found", "recall", "95 %", "delay h", "most h", "routed"
    for k in kinds:
        low, high = k["recall_interval"]
        interval = f"{low:.2f}-{high:.2f}"
        recall = "not published" if not k["published"] else _figure(k["recall"])
        yield (
            k["kind"], " ".join(k["topics"]), str(k["cases"]), str(k["enough"]), str(k["found"]), recall, interval,
            _figure(k["delay_h"]), _figure(k["delay_most_h"]), f"{k['routed_right']}/{k['found_of_all']}",
        )  # fmt: skip


def _topics(topics: Sequence[dict[str, Any]]) -> Iterable[Sequence[str]]:
    yield (
        "topic", "findings", "so", "precision", "95 %", "recall", "95 %", "delay h", "a clean year", "unknown",
        "because",
    )  # fmt: skip
    for t in topics:
        because = ", ".join(f"{k} {v}" for k, v in list(t["unknown_because"].items())[:2])
        yield (
            t["topic"], str(t["findings"]), str(t["so"]), _figure(t["precision"]), _interval(t["precision_interval"]),
            _figure(t["recall"]), _interval(t["recall_interval"]), _figure(t["delay_h"]), _figure(t["per_clean_year"]),
            _figure(t["unknown"]), because,
        )  # fmt: skip


def _disturbed(said: dict[str, Any]) -> list[str]:
    if not said["cases"]:
        return []
    lines = [
        (
            f"{said['point_years']} of these point-years again, disturbed: 5 % of questions unanswered, 2 % answered"
            " late, clock steps, a day of outage"
        ),
        (
            f"  accusations more: {said['additional']}, of them not so: {len(said['additional_not_so'])};"
            f" share unknown {said['unknown_before']} before, {said['unknown']} then"
        ),
    ]
    for m in said["additional_not_so"][:SHOWN_NOT_SO]:
        lines.append(f"  {m['severity']} {m['topic']} {m['key']} on {m['kind']} {m['number']} ({m['shape']}):"
                     f" {_short(m['measured'])}")  # fmt: skip
    return [*lines, ""]


def _reasons(kind: dict[str, Any]) -> str:
    parts = []
    if kind["enough"] < kind["cases"] and kind["short"]:
        parts.append(f"{kind['cases'] - kind['enough']} without enough to go by: {kind['short']}")
    if kind["missed_because"]:
        parts.append("missed: " + ", ".join(f"{why} ({n})" for why, n in kind["missed_because"].items()))
    return "; ".join(parts)


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}"


def _interval(value: Sequence[float] | None) -> str:
    return "-" if value is None else f"{value[0]:.2f}-{value[1]:.2f}"


def _short(measured: dict[str, Any]) -> str:
    shown = ", ".join(f"{k} {v}" for k, v in measured.items())
    return shown if len(shown) < 260 else shown[:257] + "..."


def _columns(rows: Iterable[Sequence[str]]) -> list[str]:
    cells = [list(row) for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return ["  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip() for row in cells]
