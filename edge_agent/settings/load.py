"""From a site file to typed settings, all or nothing."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from edge_agent.model import DeviceSpec, DlmsSpec, LinkSpec
from edge_agent.settings.check import check_parsed
from edge_agent.settings.link_rules import MODBUS_PORT, PORTS
from edge_agent.settings.mistake import SiteError
from edge_agent.settings.placed import placed
from edge_agent.settings.profile import Profiles
from edge_agent.settings.shipped import ConfigFiles, config_files
from edge_agent.settings.site import Dlms, Mqtt, Paths, Site, as_instant
from edge_agent.settings.toml import read_toml

if TYPE_CHECKING:
    from edge_agent.tariff import Terms


def load_site(path: Path | str, *, config: ConfigFiles | None = None) -> Site:
    """The site, file names made absolute. SiteError carries every mistake; hints do not stop it."""
    path = Path(path).absolute()
    parsed = read_toml(path)
    config = config or config_files()
    mistakes = check_parsed(parsed, path.parent, config)
    if any(m.severity == "error" for m in mistakes):
        raise SiteError(mistakes)
    try:
        site = msgspec.convert(parsed.raw, Site, dec_hook=as_instant)
    except msgspec.ValidationError as error:  # the check is narrower than the types
        parsed.report.add("refused", (), cause=str(error))
        raise SiteError(parsed.report.mistakes) from error
    replace = msgspec.structs.replace
    return replace(
        site,
        paths=_paths(site.paths, path.parent),
        mqtt=_mqtt(site.mqtt, path.parent),
        device=tuple(replace(d, dlms=_dlms(d.dlms, path.parent)) for d in site.device),
    )


def link_specs(site: Site) -> tuple[LinkSpec, ...]:
    return tuple(
        LinkSpec(
            k.id,
            k.kind,
            k.host or "",
            k.port or PORTS.get(k.kind, MODBUS_PORT),
            k.timeout_s,
            k.connect_timeout_s,
            path=k.path or "",
            baud=k.baud,
            parity=k.parity,
            data_bits=k.data_bits,
            stop_bits=k.stop_bits,
            settlement=k.settlement,
            shared_line=k.shared_line,
            listen_s=k.listen_s,
            echo=k.echo,
        )
        for k in site.link
    )


def device_specs(site: Site, *, config: ConfigFiles | None = None) -> tuple[DeviceSpec, ...]:
    """The devices with their profiles read. SiteError: a profile's file has mistakes by now."""
    profiles = Profiles(config or config_files())
    zones = {device: p.time_zone for p in site.point for device in (p.meter, p.ct) if device is not None}
    return tuple(
        DeviceSpec(
            d.id,
            d.link,
            d.unit or 0,
            profiles.get(d.profile),
            d.every_s,
            d.address or "",
            zones.get(d.id, "UTC"),
            None if d.dlms is None else dlms_spec(d.dlms, site.paths.state),
        )
        for d in site.device
    )


def dlms_spec(table: Dlms, state: str) -> DlmsSpec:
    """What the driver is told; invocation counters are kept in a folder of their own under `state`."""
    given = {f: getattr(table, f) for f in table.__struct_fields__ if f != "force_clear_text_keys"}
    given["counter_object"] = "" if table.counter_object == "none" else table.counter_object
    optional = {"physical", "inactivity_s", "utc_offset_min"}
    return DlmsSpec(
        **{f: value for f, value in given.items() if value is not None or f in optional},
        state=str(Path(state) / "dlms"),
    )


def _paths(paths: Paths, folder: Path) -> Paths:
    return Paths(
        state=str(folder / paths.state), runtime=str(folder / paths.runtime), signers=str(folder / paths.signers)
    )


def _mqtt(mqtt: Mqtt, folder: Path) -> Mqtt:
    replace, tls = msgspec.structs.replace, mqtt.tls
    if tls is not None:
        tls = replace(tls, ca=str(placed(tls.ca, folder)), cert=_beside(tls.cert, folder), key=_beside(tls.key, folder))
    return replace(mqtt, password_file=_beside(mqtt.password_file, folder), tls=tls)


def _dlms(dlms: Dlms | None, folder: Path) -> Dlms | None:
    if dlms is None:
        return None
    files = ("password_file", "encryption_key_file", "authentication_key_file")
    return msgspec.structs.replace(dlms, **{key: _beside(getattr(dlms, key), folder) for key in files})


def _beside(name: str | None, folder: Path) -> str | None:
    return None if name is None else str(placed(name, folder))


def terms_of(site: Site, config: ConfigFiles) -> dict[str, Terms]:
    """What counts for each class of use that the site file names; the tariffs' types are loaded where it names one."""
    if not site.tariff:
        return {}
    from edge_agent.settings.tariff import terms_of as read

    return read(site.tariff, config)
