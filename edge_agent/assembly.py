"""From settings to a core: which points the ledger keeps, which topics run, under which releases.

The one place where `app` and `replay` get the same core from the same files.
"""

from __future__ import annotations

import hashlib
import importlib
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path

import tomli

from edge_agent.archive import Archive, Point
from edge_agent.audit.case import CaseError, CaseRules, rules_from
from edge_agent.audit.release import ReleaseError, release_from
from edge_agent.audit.topic import AuditTopic, Release
from edge_agent.core import Core
from edge_agent.load.ledger import LoadLedger
from edge_agent.load.points import ENERGIES, LoadPoint, Timeline
from edge_agent.load.rounds import Sampler, sampled_of
from edge_agent.load.views import Role
from edge_agent.model import CUMULATIVE, UNIT, DeviceSpec, Ms, PointId, Quantity, Register
from edge_agent.package import Keyset, keyset_from
from edge_agent.releases import Ruling, Shelf, in_force
from edge_agent.settings import ConfigFiles, Site

PREFIXES = {"": 1.0, "m": 1e-3, "k": 1e3, "M": 1e6, "G": 1e9}
_ALWAYS: Timeline = ((0, 1.0),)
TOPICS = "edge_agent.audit.topics"

_BCD = re.compile(r"s?bcd[0-9]+\.([0-9])\Z")
"""A packed decimal that says where its point is, such as DL/T 645's `bcd6.2`."""


def releases_of(config: ConfigFiles, release_set: str, rulings: Iterable[Ruling] = ()) -> dict[str, Release]:
    """The published releases of a set, by topic: those that came with the agent, and what was decided since.

    A topic whose numbers differ from set to set has a file for each (`met-volt-loss.cn-terminal-zj`). Raises
    `ReleaseError` for a file that cannot be run.
    """
    found: dict[str, Release] = {}
    for path in config.named("releases").values():
        raw = path.read_bytes()
        try:
            plain = tomli.loads(raw.decode())
        except (tomli.TOMLDecodeError, UnicodeDecodeError) as wrong:
            raise ReleaseError(f"{path}: {wrong}") from None
        if release_set in plain.get("sets", ()):
            release = release_from(plain, hashlib.sha256(raw).hexdigest())
            if release.status == "published" and found.setdefault(release.topic, release) is not release:
                raise ReleaseError(f"{path}: set {release_set!r} has another published release of {release.topic}")
    found = in_force(found, rulings, release_set)
    if not found:
        raise ReleaseError(f"release set {release_set!r} has no published release; see config/releases")
    return found


def keyset_of(path: Path) -> Keyset:
    """The pinned signers; none where there is no such file. Raises `ReleaseError` for a file that will not do."""
    try:
        return keyset_from(tomli.loads(path.read_bytes().decode()))
    except FileNotFoundError:
        return Keyset()
    except OSError as wrong:
        raise ReleaseError(f"{path}: cannot be read: {wrong.strerror or wrong}") from None
    except ValueError as wrong:  # no UTF-8, no TOML, no keys
        raise ReleaseError(f"{path}: {wrong}") from None


def shelf_of(site: Site, config: ConfigFiles) -> Shelf:
    """The managed releases of a site. Raises `ReleaseError` where the file of signers will not do."""
    keyset = keyset_of(Path(site.paths.signers))
    return Shelf(Path(site.paths.state) / "releases", keyset, site.site.gateway, config.named("releases").values())


def topics_of(releases: Mapping[str, Release]) -> list[AuditTopic]:
    """The code of each release's topic, loaded by name."""
    topics: list[AuditTopic] = []
    for name in releases:
        try:
            module = importlib.import_module(f"{TOPICS}.{name.replace('-', '_')}")
        except ModuleNotFoundError:
            raise ReleaseError(f"{name}: there is no audit topic of that name in this version") from None
        topics.append(module.TOPIC)
    return topics


def case_rules_of(config: ConfigFiles) -> CaseRules:
    """How open findings are read together. Raises `ReleaseError` for a file that cannot be used."""
    path = config.path("cases.toml")
    if path is None:
        raise ReleaseError("config/cases.toml is missing")
    raw = path.read_bytes()
    try:
        return rules_from(tomli.loads(raw.decode()), hashlib.sha256(raw).hexdigest())
    except (tomli.TOMLDecodeError, UnicodeDecodeError, CaseError) as wrong:
        raise ReleaseError(f"{path}: {wrong}") from None


def load_point(archive: Archive, point: Point, device: DeviceSpec) -> LoadPoint:
    """A point as the ledger sees it, from the archive and its meter's profile."""
    registers = {r.quantity: r for r in device.profile.registers}
    every_s = min((r.every_s for r in registers.values() if r.quantity in CUMULATIVE), default=60.0)
    k = ((0, 1.0),) if device.profile.side == "primary" else archive.k_timeline(point.id)
    period_ms = point.period_min * 60_000
    return LoadPoint(
        id=point.id,
        device=device.id,
        period_ms=period_ms,
        slide_ms=point.slide_min * 60_000,
        poll_ms=round((device.every_s or every_s) * 1000),
        k=k,
        s_cap_va=_s_cap(archive, point.id),
        changes_ms=archive.changes(point.id),
        modulus={q: m for q, r in registers.items() if q in ENERGIES and (m := _modulus(r)) is not None},
        quantities=_one(frozenset(registers)),
        has_serial=Quantity.METER_SERIAL in registers,
        has_profile=bool(device.profile.load_profile),
        grid_offset_ms=grid_offset_ms(point, period_ms),
        zone=point.tz,
    )


def samplers_of(archive: Archive, devices: Mapping[str, DeviceSpec]) -> list[Sampler]:
    """The devices that sample voltages, currents and powers of a point: its meter, and its independent CT."""
    out: list[Sampler] = []
    for point in archive.points.values():
        for device, role in ((point.meter, Role.METER), (point.ct, Role.CT)):
            if device is None or device not in devices:
                continue
            spec = devices[device]
            every = {r.quantity: spec.every_s or r.every_s for r in spec.profile.registers}
            sampled = _one(sampled_of(every))
            if not sampled:
                continue
            least_s = min(every[q] for q in sampled)
            amps, volts, watts = _ALWAYS, _ALWAYS, _ALWAYS
            if spec.profile.side == "secondary":
                (amps, volts), watts = archive.ratio_timelines(point.id), archive.k_timeline(point.id)
            brisk = _one(frozenset(q for q in sampled if every[q] == least_s))
            vouched_ms = max(round(least_s * 1500), 60_000)
            out.append(Sampler(point.id, device, role, sampled, brisk, vouched_ms, amps, volts, watts))
    return out


def resolution(register: Register, value: float) -> float:
    """The step of a register that shows `value`, both in the quantity's unit: its display's, or its number format's."""
    step = (register.step or 0.0) * _factor(register)
    match register.type:
        case "f32":
            return max(step, math.ulp(value) * 2.0**29)
        case "f64":
            return max(step, math.ulp(value))
    decimals = _BCD.match(register.type)
    unit = abs(register.scale) * _factor(register) / 10.0 ** (int(decimals[1]) if decimals else 0)
    return max(step, unit)


def grid_offset_ms(point: Point, period_ms: Ms) -> Ms:
    """Where the point's demand grid lies against UTC's: zero but in zones that are off by part of a period."""
    offset = datetime(2026, 1, 1, tzinfo=UTC).astimezone(point.tz).utcoffset()
    assert offset is not None
    return -int(offset.total_seconds() * 1000) % period_ms


def core_of(
    archive: Archive,
    devices: Iterable[DeviceSpec],
    config: ConfigFiles,
    *,
    gateway: str,
    release_set: str,
    rulings: Iterable[Ruling] = (),
) -> Core:
    """Raises `ReleaseError` when a release cannot be run."""
    by_id = {d.id: d for d in devices}
    points = [load_point(archive, p, by_id[p.meter]) for p in archive.points.values() if p.meter in by_id]
    releases = releases_of(config, release_set, rulings)
    return core_with(archive, points, releases, gateway=gateway, samplers=samplers_of(archive, by_id))


def core_with(
    archive: Archive,
    points: Sequence[LoadPoint],
    releases: Mapping[str, Release],
    *,
    gateway: str,
    samplers: Sequence[Sampler] = (),
) -> Core:
    return Core(LoadLedger(points), topics_of(releases), releases, archive, gateway=gateway, samplers=samplers)


@lru_cache(maxsize=64)
def _one(quantities: frozenset[Quantity]) -> frozenset[Quantity]:
    """The first of all sets that are alike: devices of one model share it."""
    return quantities


def _s_cap(archive: Archive, point: PointId) -> Timeline:
    starts = sorted({0, *(from_ms for from_ms, _ in archive.k_timeline(point))})
    return tuple((at, cap) for at in starts if (cap := archive.s_cap_va(point, at)) is not None)


def _modulus(register: Register) -> float | None:
    """`"6.2"` of kWh: the register rolls over at 10^6 kWh; in the quantity's unit."""
    if register.digits is None:
        return None
    return float(10.0 ** int(register.digits.partition(".")[0]) * _factor(register))


def _factor(register: Register) -> float:
    """From the register's unit to the quantity's: 1000 for kWh."""
    return PREFIXES[register.unit.removesuffix(UNIT[register.quantity])]
