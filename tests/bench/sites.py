"""Site files and simulated meters for measurements: as many alike as asked for."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from tests.broker import TlsFiles

CONTRACT_KVA = 250
START_KWH, START_KVARH = 51_234.56, 20_765.43
"""What the registers of a meter with a history stand at when it is first asked, secondary side."""


class Place(NamedTuple):
    """Where a meter answers."""

    port: int
    unit: int


def write_site(
    folder: Path,
    places: Sequence[Place],
    *,
    mqtt_port: int,
    profile: str = "bench-30",
    every_s: float = 1,
    gateway: str = "gw-1",
    tls: TlsFiles | None = None,
    period_min: int = 15,
    state: Path | None = None,
    dlms: str | None = None,
) -> Path:
    """One meter, one point with a complete archive for each place; returns the site file.

    `dlms`: they are DLMS meters, a place's unit their SAP; what stands in `[device.dlms]` of each.
    """
    state = state or folder / "state"
    for made in (state, folder / "run"):
        made.mkdir(parents=True, exist_ok=True)
    host = "127.0.0.1" if tls is None else "localhost"
    parts = [
        f'[site]\nutility = "bench"\ngateway = "{gateway}"\n\n[paths]\nstate = "{state}"\nruntime = "{folder}/run"\n',
        f'[mqtt]\nhost = "{host}"\nport = {mqtt_port}\n',
    ]
    if tls is not None:
        parts.append(f'[mqtt.tls]\nca = "{tls.ca}"\ncert = "{tls.cert}"\nkey = "{tls.key}"\n')
    kind = "modbus-tcp" if dlms is None else "dlms-tcp"
    parts += [_link(port, kind) for port in dict.fromkeys(place.port for place in places)]
    parts += [_device(i, place, profile, every_s, dlms) for i, place in enumerate(places, start=1)]
    parts += [_point(i, period_min) for i in range(1, len(places) + 1)]
    path = folder / "site.toml"
    path.write_text("\n".join(parts), encoding="utf-8")
    return path


def scenario(
    folder: Path,
    count: int,
    *,
    profile: str = "bench-30",
    p_kw: float = 150,
    kwh: float = 1234.56,
    kvarh: float = 765.43,
) -> Path:
    """Meters of one load, units 1 to `count`; a display changes once a second, as the values are asked for."""
    path = folder / "meters.toml"
    path.write_text(
        f"""[clock]
start = 2026-03-02T00:00:00+08:00

[[meter]]
id = "m"
profile = "{profile}"
unit = 1
count = {count}
ct = "400/5"
refresh_ms = 1000
registers = {{ active_energy_import = {kwh}, reactive_energy_import = {kvarh} }}
load = {{ kind = "constant", p_kw = {p_kw}, pf = 0.85 }}
""",
        encoding="utf-8",
    )
    return path


def _link(port: int, kind: str) -> str:
    return f'[[link]]\nid = "port-{port}"\nkind = "{kind}"\nhost = "127.0.0.1"\nport = {port}\n'


def _device(i: int, place: Place, profile: str, every_s: float, dlms: str | None) -> str:
    unit = f"unit = {place.unit}\n" if dlms is None else ""
    more = "" if dlms is None else f"[device.dlms]\nserver = {place.unit}\n{dlms}"
    return (
        f'[[device]]\nid = "m{i}"\nlink = "port-{place.port}"\n{unit}profile = "{profile}"\n'
        f"every_s = {every_s:g}\n{more}"
    )


def _point(i: int, period_min: int) -> str:
    fact = 'state = "verified"\nverified_at = 2026-01-05\nverified_by = "t-17"\n'
    return f"""[[point]]
id = "p{i}"
meter = "m{i}"
time_zone = "Asia/Shanghai"
u_n_v = 400
wiring = "3p4w"

[point.demand]
period_min = {period_min}

[point.accepted]
at = 2026-01-05
by = "t-17"

[[point.capacity]]
from = 2024-01-01
kva = {CONTRACT_KVA}
basis = "capacity"
{fact}
[[point.ct]]
from = 2024-01-01
ratio = "400/5"
{fact}
[point.transformer]
rated_kva = {CONTRACT_KVA}
uk_percent = 4.0
{fact}"""
