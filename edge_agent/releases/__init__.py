"""Topic management: from a draft to a release that runs, with two people who answer for it."""

from edge_agent.releases.choosing import Ruling, in_force
from edge_agent.releases.difference import Change, differences
from edge_agent.releases.dossier import Dossier, State
from edge_agent.releases.entry import Entry
from edge_agent.releases.shelf import NoSuchRelease, Shelf

__all__ = ["Change", "Dossier", "Entry", "NoSuchRelease", "Ruling", "Shelf", "State", "differences", "in_force"]
