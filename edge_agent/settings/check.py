"""Everything that is wrong in a site file, at once, each with its line and with what would be right."""

from __future__ import annotations

from pathlib import Path

from edge_agent.settings import link_rules, point_rules, rules, tariff_rules
from edge_agent.settings.mistake import Mistake, SiteError
from edge_agent.settings.profile import Profiles
from edge_agent.settings.shape import read_table
from edge_agent.settings.shipped import ConfigFiles, config_files
from edge_agent.settings.site import Site
from edge_agent.settings.tariff import Tariffs
from edge_agent.settings.toml import Parsed, read_toml


def check(path: Path | str, *, config: ConfigFiles | None = None) -> list[Mistake]:
    """Errors and hints in the order of the lines; mistakes in profiles and tariffs that the site needs come last."""
    config = config or config_files()
    try:
        parsed = read_toml(Path(path))
    except SiteError as error:
        return list(error.mistakes)
    return check_parsed(parsed, Path(path).parent, Profiles(config), Tariffs(config))


def check_parsed(parsed: Parsed, folder: Path, profiles: Profiles, tariffs: Tariffs) -> list[Mistake]:
    """As `check`, of a text that has been read; relative file names start from `folder`."""
    report = parsed.report
    given = read_table(Site, parsed.raw, (), report)
    link_rules.check_links(given, report)
    link_rules.check_devices(given, folder, profiles, report)
    rules.check_mqtt(given, folder, report)
    rules.check_numbers(given, report)
    rules.check_clock(given, report)
    rules.check_calendars(given, report)
    point_rules.check_points(given, report)
    if given.tables("tariff"):
        tariff_rules.check_terms(given, tariffs.rules, report)
    return report.in_order() + profiles.mistakes() + tariffs.mistakes()
