"""What a topic wants to see beside EV0: families of quantities, out of what its devices showed last. Data.

A topic that is not named here has EV0: its own measured values, the blocks around, registers, frames, facts.
"""

from __future__ import annotations

from collections.abc import Mapping

FAMILIES: Mapping[str, tuple[str, ...]] = {
    "voltages": ("voltage",),
    "currents": ("current",),
    "powers": ("active_power", "reactive_power", "apparent_power"),
    "power_factor": ("power_factor",),
    "angles": ("angle", "phase_angle"),
    "status": ("meter_status",),
    "energies": ("active_energy", "reactive_energy", "apparent_energy"),
    "demand": ("running_demand", "maximum_demand"),
    "events": ("events",),
    "identity": ("meter_serial", "asset_number"),
    "clock": ("meter_clock", "meter_date", "meter_time"),
    "settings": (
        "rated",
        "maximum_current",
        "ct_ratio",
        "vt_ratio",
        "demand_period",
        "demand_slide",
        "reactive_combination",
    ),
}
"""Of each family, how the names of its quantities begin."""

_PHASES = ("voltages", "currents", "powers", "power_factor", "angles")

EXTRAS: Mapping[str, tuple[str, ...]] = {
    "cap-over-contract": ("powers", "power_factor", "currents"),
    "cap-heavy-load": ("powers", "power_factor"),
    "cap-overload-sustained": ("powers", "power_factor", "currents"),
    "cap-demand-over": ("demand", "powers", "settings"),
    "cap-expansion-suspect": ("powers", "power_factor", "currents"),
    "cap-suspended-use": ("powers", "energies"),
    "met-ct-oversized": ("currents", "settings"),
    "met-ct-overrange": ("currents",),
    "met-ratio-mismatch": ("currents", "settings"),
    "met-unmetered-current": ("currents",),
    "met-volt-loss": _PHASES,
    "met-phase-break": _PHASES,
    "met-curr-loss": _PHASES,
    "met-reverse": _PHASES,
    "met-phase-seq": _PHASES,
    "met-unbalance-i": ("currents",),
    "met-power-consistency": _PHASES,
    "met-energy-error": ("energies", "powers"),
    "met-fly": ("energies", "powers"),
    "met-stop": ("energies", "powers"),
    "met-decrease": ("energies", "identity"),
    "met-sum-rates": ("energies",),
    "met-main-sub": ("energies",),
    "met-cover": ("events", "energies"),
    "met-magnetic": ("events", "energies", "currents"),
    "met-param-change": ("events", "settings"),
    "met-neutral": ("currents",),
    "tar-pf": ("energies", "power_factor"),
    "tar-tou-schedule": ("energies", "clock"),
    "tar-archive-mismatch": ("identity", "settings", "clock"),
    "dat-clock": ("clock",),
    "dat-unknown-meter": ("identity", "energies"),
    "pq-unbalance-u": ("voltages",),
    "pq-volt-deviation": ("voltages",),
    "pq-volt-event": ("voltages",),
}


def family_of(quantity: str) -> str:
    """The family of a quantity, "" where it is in none; the longest beginning decides."""
    found = [(len(b), family) for family, names in FAMILIES.items() for b in names if quantity.startswith(b)]
    return max(found)[1] if found else ""
