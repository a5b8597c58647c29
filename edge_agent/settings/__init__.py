"""The site file: what this gateway is, which meters it reads, and what the archive says about its points.

`load_site` answers with typed settings or with every mistake at once; `check` answers with the mistakes alone.
"""

from edge_agent.settings.check import check
from edge_agent.settings.load import device_specs, link_specs, load_site, terms_of
from edge_agent.settings.mistake import Mistake, SiteError
from edge_agent.settings.profile import Profiles, load_profile
from edge_agent.settings.shipped import ConfigFiles, config_files
from edge_agent.settings.site import Site
from edge_agent.settings.toml import digest

__all__ = [
    "ConfigFiles",
    "Mistake",
    "Profiles",
    "Site",
    "SiteError",
    "check",
    "config_files",
    "device_specs",
    "digest",
    "link_specs",
    "load_profile",
    "load_site",
    "terms_of",
]
