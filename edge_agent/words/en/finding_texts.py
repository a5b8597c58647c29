"""What a message carries as a text, by field: a blank in the text is an underscore in the code.

A text that stands in no line here is shown as it was sent.
"""

from __future__ import annotations

_TEXTS: dict[str, tuple[str, ...]] = {
    "ambient": ("assumed", "measured"),
    "balance": ("more is missing than was learnt", "those behind it count more"),
    "cause": (
        "no_reply",
        "bad_reply",
        "refused",
        "busy",
        "link_down",
        "not_available",
        "implausible",
        "clock_unset",
    ),
    "fact": ("unknown",),
    "field": ("ct", "vt", "demand period", "demand slide", "rated voltage", "maximum current", "asset no"),
    "final": ("yes", "no"),
    "gateway_clock": ("synced", "central", "holdover", "meter", "rtc", "restored", "unset"),
    "has": ("two-part", "single-part", "no power factor standard"),
    "kind": ("constant", "at times", "a share of the load"),
    "per": ("interval", "hour", "day"),
    "quantity": (
        "active_energy_import",
        "active_energy_export",
        "reactive_energy_import",
        "reactive_energy_export",
        "apparent_energy_import",
        "active_energy_combined",
        *(f"active_energy_import_t{n}" for n in (1, 2, 3, 4)),
        *(f"active_energy_export_t{n}" for n in (1, 2, 3, 4)),
        *(f"reactive_energy_q{n}" for n in (1, 2, 3, 4)),
    ),
    "said_by": ("an independent current transformer", "the meter's own setting"),
    "sequence_of": ("voltage", "current"),
    "should": ("two-part", "single-part", "one"),
    "way": ("ahead", "behind"),
    "what": ("near", "passed", "backlog", "oldest", "clock", "disk", "active power", "every value alike"),
}

SENTENCES: dict[str, str] = {
    **{f"finding.text.{field}.{text.replace(' ', '_')}": text for field, texts in _TEXTS.items() for text in texts},
    "finding.alike": "{times} times in {minutes} min",
}
