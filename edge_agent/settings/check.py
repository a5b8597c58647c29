"""Everything that is wrong in a site file, at once, each with its line and with what would be right."""

from __future__ import annotations

from pathlib import Path

from edge_agent.settings import link_rules, point_rules, rules
from edge_agent.settings.mistake import Mistake, Report, SiteError
from edge_agent.settings.profile import Profiles
from edge_agent.settings.shape import Given, read_table
from edge_agent.settings.shipped import ConfigFiles, config_files
from edge_agent.settings.site import Site
from edge_agent.settings.toml import Parsed, read_toml


def check(path: Path | str, *, config: ConfigFiles | None = None) -> list[Mistake]:
    """Errors and hints in the order of the lines; mistakes in profiles and tariffs that the site needs come last."""
    config = config or config_files()
    try:
        parsed = read_toml(Path(path))
    except SiteError as error:
        return list(error.mistakes)
    return check_parsed(parsed, Path(path).parent, config)


def check_parsed(parsed: Parsed, folder: Path, config: ConfigFiles) -> list[Mistake]:
    """As `check`, of a text that has been read; relative file names start from `folder`."""
    report, profiles = parsed.report, Profiles(config)
    given = read_table(Site, parsed.raw, (), report)
    link_rules.check_links(given, report)
    link_rules.check_devices(given, folder, profiles, report)
    rules.check_mqtt(given, folder, report)
    rules.check_numbers(given, report)
    rules.check_clock(given, report)
    rules.check_calendars(given, report)
    point_rules.check_points(given, report)
    broken = _check_tariffs(given, config, report) if given.tables("tariff") else []
    return report.in_order() + profiles.mistakes() + broken


def _check_tariffs(given: Given, config: ConfigFiles, report: Report) -> list[Mistake]:
    """What is wrong in the tariff files; they are read, and their types loaded, where a site names rules."""
    from edge_agent.settings.tariff import Tariffs
    from edge_agent.settings.tariff_rules import check_terms

    tariffs = Tariffs(config)
    check_terms(given, tariffs.rules, report)
    return tariffs.mistakes()
