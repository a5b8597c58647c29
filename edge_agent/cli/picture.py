"""Pictures where people would rather look than read: daily peaks against the contract, as SVG."""

from __future__ import annotations

from pathlib import Path

import svg

from edge_agent.replay import PointReport

WIDTH, HEIGHT, LEFT, BOTTOM, TOP, RIGHT = 960, 360, 64, 48, 40, 16


def write_daily_peaks(report: PointReport, path: Path) -> None:
    """One bar a day: the highest apparent demand, kVA, against the running capacity; days over it stand out."""
    days = sorted(report.day_peaks.items())
    limit = report.limit_va or 0.0
    top = 1.08 * max([limit, *(peak for _, peak in days)], default=1.0)
    plot_w, plot_h = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM
    step = plot_w / max(1, len(days))

    def y(va: float) -> float:
        return TOP + plot_h * (1 - va / top)

    parts: list[svg.Element] = [
        svg.Rect(x=0, y=0, width=WIDTH, height=HEIGHT, fill="#ffffff"),
        svg.Text(x=LEFT, y=24, text=f"{report.point}: daily maximum demand, kVA", font_size=15, fill="#222222"),
    ]
    for tick in range(0, int(top / 1000) + 1, 50):
        parts += [
            svg.Line(x1=LEFT, x2=WIDTH - RIGHT, y1=y(tick * 1000), y2=y(tick * 1000), stroke="#e4e4e4"),
            svg.Text(x=LEFT - 8, y=y(tick * 1000) + 4, text=str(tick), font_size=11, text_anchor="end", fill="#555555"),
        ]
    for index, (day, peak) in enumerate(days):
        over = day in report.days
        parts.append(
            svg.Rect(
                x=LEFT + index * step,
                y=y(peak),
                width=max(0.6, step * 0.8),
                height=TOP + plot_h - y(peak),
                fill="#c0392b" if over else "#7f9fbf",
            )
        )
        if day.endswith("-01"):
            parts.append(
                svg.Text(x=LEFT + index * step, y=HEIGHT - BOTTOM + 18, text=day[:7], font_size=11, fill="#555555")
            )
    if limit:
        parts += [
            svg.Line(x1=LEFT, x2=WIDTH - RIGHT, y1=y(limit), y2=y(limit), stroke="#c0392b", stroke_width=1.5,
                     stroke_dasharray=[6, 4]),
            svg.Text(x=WIDTH - RIGHT, y=y(limit) - 6, text=f"running capacity {limit / 1000:g} kVA", font_size=12,
                     text_anchor="end", fill="#c0392b"),
        ]  # fmt: skip
    parts.append(
        svg.Text(
            x=LEFT,
            y=HEIGHT - 8,
            font_size=12,
            fill="#222222",
            text=f"{report.over_contract} intervals over it on {len(report.days)} days, longest run "
            f"{report.longest_run}, maximum {report.max_va / 1000:.2f} kVA",
        )
    )
    style = svg.Style(text="text { font-family: sans-serif }")
    picture = svg.SVG(width=WIDTH, height=HEIGHT, elements=[style, *parts])
    path.write_text(str(picture), encoding="utf-8")
