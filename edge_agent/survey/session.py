"""A visit to a link: a scan and then each device found, or one device that is known already; it is listened to once."""

from __future__ import annotations

from collections.abc import Sequence

from edge_agent.model import DeviceSpec, DlmsSpec, Profile
from edge_agent.sighting import DlmsCalls, Seen, Sighting
from edge_agent.survey.place import Place, Setting
from edge_agent.survey.probe import LIMIT_S, SECONDS, UNPROBED, Probed, Trying, described
from edge_agent.survey.scan import Found, Report, Search, Wanted, minutes, said, who
from edge_agent.survey.seekers import settings
from edge_agent.survey.watch import Notice, Spent, Stopped, Watch
from edge_agent.words import say, spoken


async def scan_and_probe(
    place: Place, wanted: Wanted, profiles: Sequence[Profile], notice: Notice, *, probes: bool = True,
    seconds: float = SECONDS,
) -> tuple[Report, list[Probed]]:  # fmt: skip
    """Everybody who answers; with `probes`, which profile fits. Raises `LinkDown`; all else is in the report."""
    search = Search(place, wanted, notice)
    report = await search.run()
    probed: list[Probed] = []
    if report.objection or not probes:
        return report, probed
    try:
        for n, found in enumerate(report.devices, start=1):
            search.watch.what = f"{who(found.sighting)}, {n} of {len(report.devices)}"
            probed.append(await _tried(place, found.setting, found.sighting, profiles, search.watch, notice, seconds))
    except Stopped as objection:
        report.objection = str(objection)
        tried = {p.sighting.address for p in probed}
        report.left_out = [who(f.sighting) for f in report.devices if f.sighting.address not in tried]
    finally:
        await place.close()
    return report, probed


async def probe_device(
    place: Place, driver: str, address: str, profiles: Sequence[Profile], notice: Notice, *, seconds: float = SECONDS
) -> Probed | None:
    """One device at the link's own setting; None: nobody answers there. Raises `LinkDown` and `Stopped`."""
    setting = place.setting
    watch = Watch(place, settings(place.spec.kind, setting), notice)
    times = {"listen_s": f"{watch.listens_s():.0f}", "usual": minutes(30), "worst": minutes(LIMIT_S)}
    notice.says(say("survey.begins", where=place.spec.path or f"{place.spec.host}:{place.spec.port}", **times))
    try:
        await watch.listen()
        watch.begin(LIMIT_S)
        watch.what = who(Sighting(driver, address, Seen.DEVICE))
        sighting = await described(place, setting, driver, address, watch.leave, watch.line_opened)
        if sighting is None and driver == "dlt645":  # the same twelve digits, in the protocol that came after it
            sighting = await described(place, setting, "dlt698", address, watch.leave, watch.line_opened)
        if sighting is None:
            return None
        if sighting.seen is not Seen.DEVICE:
            return Probed(sighting, setting)
        return await _tried(place, setting, sighting, profiles, watch, notice, seconds)
    finally:
        await place.close()


async def list_device(place: Place, device: DeviceSpec, notice: Notice) -> Report:
    """What a device of the site says that it has, in its own association. Raises `LinkDown`; all else is in the report:
    the device that is looked for is found in it, whether it lets us in or not; where nobody answers, nobody is."""
    driver, setting, spec = device.profile.driver, place.setting, place.spec
    asked = {driver: DlmsCalls(device=device)}
    watch = Watch(place, settings(spec.kind, setting), notice)
    where = spec.path or f"{spec.host}:{spec.port}"
    report = Report(spec.id, spec.kind, where, LIMIT_S, LIMIT_S, tried=[setting])
    times = {"listen_s": f"{watch.listens_s():.0f}", "usual": minutes(30), "worst": minutes(LIMIT_S)}
    notice.says(say("survey.begins", where=where, **times))
    dlms = device.dlms or DlmsSpec()
    parts = [dlms.server, *([] if dlms.physical is None or not place.is_line else [dlms.physical, dlms.address_size])]
    address = "/".join(map(str, parts))
    try:
        await watch.listen()
        watch.begin(LIMIT_S)
        watch.what = device.id
        sighting = await described(place, setting, driver, address, watch.leave, watch.line_opened, asked)
        if sighting is not None:
            report.found.append(Found(sighting, setting))
            at = setting if place.is_line else where
            notice.says(say("survey.found", who=who(sighting), setting=at, seen=said(sighting)))
    except (Stopped, Spent) as objection:
        report.objection = str(objection) or say("survey.spent", spent=minutes(watch.spent_s), left=device.id)
    finally:
        await place.close()
    report.listened_s, report.heard, report.spent_s = watch.listened_s, watch.heard, watch.spent_s
    return report


async def _tried(
    place: Place, setting: Setting, sighting: Sighting, profiles: Sequence[Profile], watch: Watch, notice: Notice,
    seconds: float,
) -> Probed:  # fmt: skip
    """What is known of one device within its time."""
    if sighting.driver in UNPROBED:
        probed = Probed(sighting, setting if place.is_line else None)
        notice.says(f"{who(sighting)}: {spoken(probed.verdict)}")
        return probed
    watch.begin(LIMIT_S)
    trying = Trying(place, setting, sighting, profiles, watch.leave, seconds, watch.line_opened)
    try:
        await trying.run()
    except Spent:
        trying.probed.cut_short = True
    notice.says(f"{who(sighting)}: {spoken(trying.probed.verdict)}")
    return trying.probed
