"""Pictures of a bundle as SVG: the demand around what was judged, and what each phase showed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from math import ceil, log10
from typing import Any
from zoneinfo import ZoneInfo

import svg

WIDTH, HEIGHT, LEFT, BOTTOM, TOP, RIGHT = 920, 320, 64, 44, 34, 16
INK, PALE, GRID, LINE, BAND, OVER, JUDGED = "#222222", "#555555", "#e4e4e4", "#1f4e79", "#c9d9ea", "#c0392b", "#fbe6c8"
Row = Mapping[str, Any]


def demand_curve(
    blocks: Mapping[str, Sequence[Row]],
    limits: Sequence[tuple[str, float]],
    unit: str,
    zone: str,
    title: str,
    judged: str,
) -> str | None:
    """Steps of the blocks' mean powers, with a band for what they may have been.

    `unit` of `limits`, VA or W, is drawn where blocks have it, else the other without the limits. None where no block
    has a value. A block without one stays empty: nothing is filled in.
    """
    rows = [(row, part) for part in ("before", "during", "after") for row in blocks.get(part, ())]
    asked = "p_w" if unit == "W" else "s_va"
    name = next((n for n in (asked, "s_va", "p_w") if any(n in row for row, _ in rows)), None)
    if name is None:
        return None
    limits = limits if name == asked else ()
    start_s, end_s = _seconds(rows[0][0]["start"]), _seconds(rows[-1][0]["end"])
    tops = [_high(row[name]) for row, _ in rows if name in row] + [v for _, v in limits]
    top = 1.1 * max([*tops, 1000.0])
    plot_w, plot_h = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM

    def x(second: float) -> float:
        return round(LEFT + plot_w * (second - start_s) / max(1.0, end_s - start_s), 1)

    def y(value: float) -> float:
        return round(TOP + plot_h * (1 - max(0.0, value) / top), 1)

    parts: list[svg.Element] = [svg.Rect(x=0, y=0, width=WIDTH, height=HEIGHT, fill="#ffffff")]
    for row, part in rows:
        if part == "during":
            x1, x2 = x(_seconds(row["start"])), x(_seconds(row["end"]))
            parts.append(svg.Rect(x=x1, y=TOP, width=round(x2 - x1, 1), height=plot_h, fill=JUDGED))
    unit = "kVA" if name == "s_va" else "kW"
    for mark in range(0, int(top / 1000) + 1, _pace(top / 1000)):
        parts += [
            svg.Line(x1=LEFT, x2=WIDTH - RIGHT, y1=y(1000 * mark), y2=y(1000 * mark), stroke=GRID),
            _text(LEFT - 8, y(1000 * mark) + 4, str(mark), size=11, anchor="end", ink=PALE),
        ]
    before: tuple[float, float] | None = None
    for row, _ in rows:
        if name not in row:
            before = None
            continue
        x1, x2 = x(_seconds(row["start"])), x(_seconds(row["end"]))
        low, value = row[name][0], row[name][1]
        high = _high(row[name])
        band = svg.Rect(x=x1, y=y(high), width=round(x2 - x1, 1), height=round(y(low) - y(high), 1), fill=BAND)
        parts += [band, svg.Line(x1=x1, x2=x2, y1=y(value), y2=y(value), stroke=LINE, stroke_width=1.6)]
        if before is not None and before[0] == x1:
            parts.append(svg.Line(x1=x1, x2=x1, y1=before[1], y2=y(value), stroke=LINE, stroke_width=1.0))
        before = (x2, y(value))
    for label, value in limits:
        parts += [
            svg.Line(x1=LEFT, x2=WIDTH - RIGHT, y1=y(value), y2=y(value), stroke=OVER, stroke_dasharray=[6, 4]),
            _text(WIDTH - RIGHT, y(value) - 5, f"{label} {value / 1000:g} {unit}", size=11, anchor="end", ink=OVER),
        ]
    tz = ZoneInfo(zone)
    marks = max(1, len(rows) // 8)
    for row, _ in rows[::marks]:
        local = datetime.fromisoformat(row["start"]).astimezone(tz)
        parts.append(_text(x(_seconds(row["start"])), HEIGHT - BOTTOM + 16, f"{local:%m-%d %H:%M}", size=10, ink=PALE))
    parts += [
        _text(LEFT, 20, f"{title}, {unit}", size=13),
        svg.Rect(x=LEFT, y=HEIGHT - 18, width=14, height=10, fill=JUDGED),
        _text(LEFT + 20, HEIGHT - 9, judged, size=11, ink=PALE),
    ]
    return _drawn(WIDTH, HEIGHT, parts)


def phase_bars(values: Sequence[Row], title: str) -> str | None:
    """Voltage, current and active power of each phase, as the meter showed them; None without any phase."""
    shown = {v["quantity"]: v for v in values if "value" in v}
    groups = [
        (name, unit, found)
        for name, unit in (("voltage", "V"), ("current", "A"), ("active_power", "W"))
        if (found := [(k, shown[f"{name}_l{k}"]["value"]) for k in (1, 2, 3) if f"{name}_l{k}" in shown])
    ]
    if not any(len(found) > 1 for _, _, found in groups):
        return None
    width, height, base = 280, 190, 140
    parts: list[svg.Element] = [
        svg.Rect(x=0, y=0, width=width * len(groups), height=height, fill="#ffffff"),
        _text(8, 18, title, size=13),
    ]
    for column, (_, unit, found) in enumerate(groups):
        most = max([abs(v) for _, v in found] + [1e-9])
        for place, (phase, value) in enumerate(found):
            left = column * width + 24 + place * 80
            tall = round(90 * abs(value) / most, 1)
            ink = OVER if value < 0 or abs(value) < 0.05 * most else LINE
            parts += [
                svg.Rect(x=left, y=base - tall, width=44, height=max(tall, 1.0), fill=ink),
                _text(left, base + 16, f"L{phase}", size=11, ink=PALE),
                _text(left, base + 32, f"{value:.6g} {unit}", size=11),
            ]
    return _drawn(width * len(groups), height, parts)


def _drawn(width: float, height: float, parts: Sequence[svg.Element]) -> str:
    style = svg.Style(text="text { font-family: sans-serif }")
    box = svg.ViewBoxSpec(0, 0, width, height)
    return str(svg.SVG(width=width, height=height, viewBox=box, elements=[style, *parts]))


def _text(x: float, y: float, text: str, *, size: int, anchor: str = "start", ink: str = INK) -> svg.Text:
    return svg.Text(x=x, y=y, text=text, font_size=size, text_anchor="end" if anchor == "end" else "start", fill=ink)


def _high(band: Sequence[float | None]) -> float:
    """The upper bound; where there is none, the value."""
    return float(band[2] if band[2] is not None else band[1] or 0.0)


def _seconds(instant: str) -> float:
    return datetime.fromisoformat(instant).timestamp()


def _pace(top: float) -> int:
    """A round distance between lines, about six of them."""
    decade: int = 10 ** max(0, ceil(log10(max(top, 1.0))) - 1)
    steps = (s for s in (decade // 5, decade // 2, decade) if s > 0)
    return next((s for s in steps if top / s <= 8), 2 * decade)
