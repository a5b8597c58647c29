"""The second page: filled in on site, by two, by hand."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from edge_agent.evidence.page import Data, told

FIELDS = (
    "inspector_1", "inspector_2", "arrived", "left", "seals_found", "seals_applied", "meter_display", "meter_serial",
    "ct_plate", "customer_present", "statement", "measures",
)  # fmt: skip
CODES = ("confirmed", "not_confirmed", "cannot_tell")
CAUSES = ("archive", "wiring", "meter_fault", "collection", "breach", "established_by_inspection", "normal")


def site_page(data: Data, bundles: Sequence[Data], lang: str) -> str:
    """What the archive has of meter and transformers stands beside the field in which the plates are written down."""
    rows = "".join(
        f"<tr><th>{told(f'report.site.{n}', lang)}</th><td>{_by_archive(n, data, bundles, lang)}</td></tr>"
        for n in FIELDS
    )
    phases = "".join(f"<th>L{n}</th>" for n in (1, 2, 3)) + "<th>N</th>"
    clamps = "".join(
        f"<tr><th>{told(f'report.site.{n}', lang)}</th><td></td><td></td><td></td><td></td></tr>"
        for n in ("clamp_primary", "clamp_secondary", "voltage")
    )
    boxes = "".join(f"<td>☐ {told(f'report.code.{c}', lang)}</td>" for c in CODES)
    causes = " ".join(f"☐ {told(f'report.cause.{c}', lang)}" for c in CAUSES)
    signs = "".join(f"<td>{told(f'report.site.sign_{n}', lang)}<br><br></td>" for n in ("1", "2", "customer"))
    return (
        f'<div class="page"><h1>{told("report.site", lang)}</h1><p>{escape(data["finding"])}</p>'
        f"<p class='note'>{told('report.site.safety', lang)}</p><table class='form'>{rows}</table>"
        f"<h2>{told('report.site.clamps', lang)}</h2><table class='form'><tr><th></th>{phases}</tr>{clamps}</table>"
        f"<h2>{told('report.site.result', lang)}</h2><table class='form'><tr>{boxes}</tr></table><p>{causes}</p>"
        f"<table class='form'><tr>{signs}</tr></table></div>"
    )


def _by_archive(name: str, data: Data, bundles: Sequence[Data], lang: str) -> str:
    ratio = next((str(f["value"]) for f in data.get("facts", ()) if f["name"] == "ct"), "")
    serial = next((b["meter_serial"] for b in reversed(bundles) if "meter_serial" in b), "")
    value = {"meter_serial": serial, "ct_plate": ratio}.get(name, "")
    return f'<span class="note">{told("report.site.by_archive", lang, value=value)}</span>' if value else ""
