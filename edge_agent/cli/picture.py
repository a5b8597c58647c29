"""Pictures where people would rather look than read: daily peaks against the contract, as SVG."""

from __future__ import annotations

from itertools import groupby
from math import ceil, log10
from pathlib import Path

import svg

from edge_agent.replay import PointReport

WIDTH, HEIGHT, LEFT, BOTTOM, TOP, RIGHT = 960, 360, 64, 48, 40, 16
INK, PALE, GRID, OVER, BAR = "#222222", "#555555", "#e4e4e4", "#c0392b", "#7f9fbf"


def write_daily_peaks(report: PointReport, path: Path) -> None:
    """One bar a day: the highest apparent demand, kVA, against the running capacity; days over it stand out.

    Raises OSError. Without apparent power there is no bar: kVA is not inferred.
    """
    days = sorted(report.day_peaks.items())
    limits = report.day_limits
    top_va = 1.08 * max([*limits.values(), *(peak for _, peak in days)], default=1000.0)
    plot_w, plot_h = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM
    step = plot_w / max(1, len(days))

    def x(index: int) -> float:
        return LEFT + index * step

    def y(va: float) -> float:
        return TOP + plot_h * (1 - va / top_va)

    parts: list[svg.Element] = [
        svg.Rect(x=0, y=0, width=WIDTH, height=HEIGHT, fill="#ffffff"),
        _text(LEFT, 24, f"{report.point}: daily maximum demand, kVA", size=15),
    ]
    pace = _pace(top_va / 1000)
    for kva in range(0, int(top_va / 1000) + 1, pace):
        parts += [
            svg.Line(x1=LEFT, x2=WIDTH - RIGHT, y1=y(kva * 1000), y2=y(kva * 1000), stroke=GRID),
            _text(LEFT - 8, y(kva * 1000) + 4, str(kva), size=11, anchor="end", ink=PALE),
        ]
    for index, (day, peak) in enumerate(days):
        fill = OVER if day in report.days else BAR
        high = max(0.0, TOP + plot_h - y(peak))
        parts.append(svg.Rect(x=x(index), y=y(peak), width=max(0.6, step * 0.8), height=high, fill=fill))
        if day.endswith("-01"):
            parts.append(_text(x(index), HEIGHT - BOTTOM + 18, day[:7], size=11, ink=PALE))
    for limit_va, run in groupby(enumerate(days), key=lambda d: limits.get(d[1][0])):
        if limit_va is None:
            continue
        at = [index for index, _ in run]
        x1, x2, height = x(at[0]), x(at[-1] + 1), y(limit_va)
        parts += [
            svg.Line(x1=x1, x2=x2, y1=height, y2=height, stroke=OVER, stroke_width=1.5, stroke_dasharray=[6, 4]),
            _text(x2, height - 6, f"running capacity {limit_va / 1000:g} kVA", size=12, anchor="end", ink=OVER),
        ]
    most = "unknown" if report.max_va is None else f"{report.max_va / 1000:.2f} kVA"
    said = (
        f"{report.over_contract} intervals over it on {len(report.days)} days, longest run {report.longest_run}, "
        f"maximum {most}"
    )
    parts.append(_text(LEFT, HEIGHT - 8, said, size=12))
    style = svg.Style(text="text { font-family: sans-serif }")
    path.write_text(str(svg.SVG(width=WIDTH, height=HEIGHT, elements=[style, *parts])), encoding="utf-8")


def _text(x: float, y: float, text: str, *, size: int, anchor: str = "start", ink: str = INK) -> svg.Text:
    return svg.Text(x=x, y=y, text=text, font_size=size, text_anchor="end" if anchor == "end" else "start", fill=ink)


def _pace(top: float) -> int:
    """A round distance between lines, about six of them."""
    decade: int = 10 ** max(0, ceil(log10(max(top, 1.0))) - 1)
    steps = (s for s in (decade // 5, decade // 2, decade) if s > 0)
    return next((s for s in steps if top / s <= 8), 2 * decade)
