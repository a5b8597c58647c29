"""Finding out what hangs on a line, and which profile fits it: the technician's `scan` and `probe`.

The parts: `place` (the link, opened at one speed after another), `watch` (listens first, gives leave for each question,
and ends the search when somebody else is master or the time is up), `seekers` (each driver's way of finding who is
there, by name), `scan` (which speed, then who), `trial` (reads a device as each profile would), `checks` and `score`
(what fits and what does not, in words), `wiring` (side of the transformers, phases), `probe` (all of that for one
device), `session` (one after another), `fragment`, `vector` and `meter_profile` (what is written down of it).

It reads and never writes, and claims no more than it has measured.
"""

from __future__ import annotations

from edge_agent.survey.place import Place
from edge_agent.survey.probe import Probed
from edge_agent.survey.scan import Report, Wanted, scan
from edge_agent.survey.session import list_device, probe_device, scan_and_probe
from edge_agent.survey.watch import Notice

__all__ = ["Notice", "Place", "Probed", "Report", "Wanted", "list_device", "probe_device", "scan", "scan_and_probe"]
