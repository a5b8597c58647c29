"""`edge-agent plan`: what a site costs its lines and its SIM card, said before anything is wired."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner, Result

import drivers.modbus
from edge_agent.archive import Archive
from edge_agent.cli import main
from edge_agent.cli.planning import FULL, LinkPlan, behind_gateway, plan_link, remedies, said
from edge_agent.cli.volume import month, publish_bytes
from edge_agent.contract.demand import demand_message, demand_row
from edge_agent.model import UNIT, DeviceSpec, LinkSpec, Profile, Quantity, Register
from edge_agent.settings import load_site
from edge_agent.words import spoken

FACTORY = Path(__file__).parent.parent / "config/examples/factory.toml"
LINE = LinkSpec("rs485", "serial", path="/dev/ttyUSB0")


def meter(name: str, *, values: int = 40, every_s: float = 15, slow: float | None = None) -> DeviceSpec:
    """A meter whose values are 32-bit floats, one after the other."""
    texts = [q for q in Quantity if UNIT[q]] * 2
    registers = [
        Register(q, f"input:{2 * i}", "f32", UNIT[q], every_s=slow if slow and i >= values // 2 else every_s)
        for i, q in enumerate(texts[:values])
    ]
    return DeviceSpec(name, "rs485", 1, Profile("m", "modbus", "", "", "primary", 125, tuple(registers)))


def sixteen(every_s: float, link: LinkSpec = LINE) -> LinkPlan:
    return plan_link(link, [meter(f"m{i}", every_s=every_s) for i in range(1, 17)])


def words(plan: LinkPlan) -> dict[str, str]:
    """What would make it fit, by code."""
    return {r.code: spoken(r) for r in remedies(plan)}


def test_sixteen_meters_of_forty_values_at_9600_8n1():
    """8 + 165 characters of 1.0417 ms, two silences of 3.646 ms, 20 ms: 207.5 ms each, 3.32 s in all."""
    plan = sixteen(15)
    (question,) = plan.devices[0].questions or ()
    assert (question.address, question.count, question.holes) == ("input:0x0000", 80, 0)
    assert (question.sent, question.expected) == (8, 165)
    assert 1000 * question.takes_s == pytest.approx(173 / 0.96 + 7 / 0.96 + 20) == pytest.approx(207.5)
    assert plan.cycle_s == pytest.approx(3.32)
    assert plan.utilisation == pytest.approx(3.32 / 15)
    assert plan.roomy
    assert list(remedies(plan)) == []
    assert list(said(plan)) == []


def test_once_a_second_they_do_not_fit_and_it_is_said_what_would():
    """332 %. Every 5 s: 66 %. At 57600 baud 85.7 %, at 115200 61.6 %. Three meters a line: 62 %, four: 83 %."""
    plan = sixteen(1)
    assert plan.utilisation == pytest.approx(3.32)
    assert not plan.fits
    assert [s.code for s in said(plan)] == ["plan.over"]
    found = words(plan)
    assert set(found) == {"plan.slower_all", "plan.higher_baud", "plan.more_lines"}
    assert "every_s = 5," in found["plan.slower_all"]
    assert "at 115200 baud" in found["plan.higher_baud"]
    assert "on 6 lines" in found["plan.more_lines"]


def test_every_remedy_keeps_its_promise():
    plan = sixteen(3)  # 111 %
    assert plan.utilisation == pytest.approx(3.32 / 3)
    found = {r.code: r.fields for r in remedies(plan)}
    assert plan_link(LINE, [meter(f"m{i}", every_s=5) for i in range(16)]).roomy
    assert not plan_link(LINE, [meter(f"m{i}", every_s=3) for i in range(16)]).roomy
    assert found["plan.slower_all"]["every_s"] == "5"
    assert sixteen(3, replace(LINE, baud=int(str(found["plan.higher_baud"]["baud"])))).roomy
    assert not sixteen(3, replace(LINE, baud=9600)).roomy
    assert found["plan.more_lines"]["lines"] == 2
    moved = str(found["plan.more_lines"]["moved"]).split(", ")
    assert plan_link(LINE, [meter(m, every_s=3) for m in moved]).roomy
    assert plan_link(LINE, [meter(f"m{i}", every_s=3) for i in range(16 - len(moved))]).roomy


def test_the_one_device_that_is_asked_too_often_is_named():
    plan = plan_link(LINE, [meter("calm"), meter("nervous", every_s=0.25), meter("calm-too")])
    assert plan.utilisation > FULL
    assert words(plan)["plan.slower_one"] == "with device nervous alone at every_s = 1"


def test_a_line_above_eighty_percent_fits_with_a_warning():
    plan = plan_link(LINE, [meter(f"m{i}", every_s=1) for i in range(4)])
    assert plan.utilisation == pytest.approx(0.83)
    assert (plan.fits, plan.roomy) == (True, False)
    assert [s.code for s in said(plan)] == ["plan.full"]
    assert "plan.slower_all" in words(plan)


def test_a_long_question_that_makes_an_urgent_one_late_is_found_though_the_line_is_half_idle():
    """At 1200 baud: 253 + 7 characters, 2.19 s once a minute; 21 + 7, 0.25 s every second. 29 %, but 2.44 s in one."""
    slow_line = replace(LINE, baud=1200)
    plan = plan_link(slow_line, [meter("big", values=60, every_s=60), meter("quick", values=2, every_s=1)])
    assert plan.utilisation == pytest.approx(2.18667 / 60 + 0.25333, abs=1e-4)
    assert plan.overrun == pytest.approx((1.0, 2.44), abs=1e-4)
    assert not plan.fits
    assert [s.code for s in said(plan)] == ["plan.late"]
    assert "plan.higher_baud" in words(plan)
    assert "plan.more_lines" in words(plan)


def test_a_silent_device_that_would_hold_up_the_others_is_foreseen():
    plan = plan_link(LINE, [meter("m1", every_s=2)])  # a time-out is 2 s
    assert [s.code for s in said(plan)] == ["plan.no_room_for_silence"]
    assert list(said(plan_link(LINE, [meter("m1", every_s=3)]))) == []


def test_a_device_whose_driver_gives_no_figures_is_left_out_aloud():
    stranger = meter("x")
    stranger = replace(stranger, profile=replace(stranger.profile, driver="no-such-driver"))
    plan = plan_link(LINE, [meter("m1"), stranger])
    assert plan.unplanned == ("x",)
    assert [s.code for s in said(plan)] == ["plan.unplanned"]


def test_a_driver_that_only_counts_its_bytes_is_planned(monkeypatch: pytest.MonkeyPatch):
    """One of another framing: its questions do not depend on the line."""
    monkeypatch.delattr(drivers.modbus, "cost_on")
    monkeypatch.delattr(drivers.modbus, "asked")
    monkeypatch.setattr(drivers.modbus, "wire_bytes", lambda request: (16, 20))
    plan = plan_link(replace(LINE, baud=2400, parity="E"), [meter("m1")])
    (question,) = plan.devices[0].questions or ()
    assert (question.address, question.count) == ("input:0", None)
    assert 1000 * question.takes_s == pytest.approx((36 + 7) * 11 / 2.4 + 20)


def test_a_gateway_is_the_line_behind_it():
    tcp = LinkSpec("rs485", "modbus-tcp", host="x")
    meters = [meter(f"m{i}") for i in range(16)]
    assert [s.code for s in said(plan_link(tcp, meters))] == ["plan.perhaps_a_gateway"]
    behind = plan_link(behind_gateway(tcp, 9600), meters)
    assert behind.cycle_s == pytest.approx(3.32 + 16 * 0.005)
    assert behind_gateway(LINE, 1200) == LINE


# The verb


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["plan", *arguments])


def crowded(folder: Path, many: int, every_s: int) -> str:
    text = FACTORY.read_text(encoding="utf-8")
    more = "".join(
        f'\n[[device]]\nid = "x{i}"\nlink = "lan"\nunit = {i}\nprofile = "acrel-dtsd1352"\nevery_s = {every_s}\n'
        for i in range(2, 2 + many)
    )
    path = folder / "site.toml"
    path.write_text(text + more, encoding="utf-8")
    return str(path)


def test_the_factory_fits_and_says_so():
    result = run("--site", str(FACTORY))
    assert result.exit_code == 0, result.output
    assert "holding:0x0164" in result.output
    assert "Link lan: everything fits" in result.output


def test_one_document_with_every_question():
    result = run("--site", str(FACTORY), "--json", "--gateway-baud", "9600")
    assert result.exit_code == 0
    document = json.loads(result.stdout)
    (link,) = document["links"]
    (device,) = link["devices"]
    assert (document["fits"], document["complete"], link["line"]) == (True, True, "9600 8N1")
    first = device["requests"][0]
    assert first | {"registers": len(first["registers"])} == {
        "address": "holding:0x000A",
        "count": 42,
        "hole_registers": 34,
        "registers": 4,
        "every_s": 15.0,
        "sent": 8,
        "expected": 89,
        "ms": 133.33,  # 97 characters and 7 of silence at 1.0417 ms, 25 ms
    }
    assert device["cycle_ms"] == pytest.approx(sum(r["ms"] for r in device["requests"]), abs=0.05)
    busy = sum(r["ms"] / r["every_s"] / 10 for r in device["requests"])
    assert link["utilisation_percent"] == device["utilisation_percent"] == pytest.approx(busy, abs=0.01)
    kinds = document["telemetry"]["kinds"]
    assert document["telemetry"]["mqtt_bytes"] == sum(k["mqtt_bytes"] for k in kinds)


def test_what_does_not_fit_ends_with_one_and_says_what_would(tmp_path: Path):
    site = crowded(tmp_path, 30, 5)
    result = run("--site", site, "--gateway-baud", "9600")
    assert result.exit_code == 1
    assert "Link lan: does not fit." in result.output
    assert "every_s =" in result.output
    document = json.loads(run("--site", site, "--gateway-baud", "9600", "--json").stdout)
    assert document["fits"] is False
    assert {r["code"] for r in document["links"][0]["would_fit"]} >= {"plan.slower_all", "plan.more_lines"}
    slower = json.loads(run("--site", site, "--gateway-baud", "9600", "--turnaround-ms", "250", "--json").stdout)
    assert slower["links"][0]["utilisation_percent"] > document["links"][0]["utilisation_percent"]


def test_a_site_file_with_mistakes_is_not_planned(tmp_path: Path):
    path = tmp_path / "site.toml"
    path.write_text("[site]\n", encoding="utf-8")
    assert run("--site", str(path)).exit_code == 2


# What it sends


def test_a_month_by_hand():
    """30 days: 43 200 pings of 2 + 2 bytes, 8640 heartbeats, 2880 blocks of 15 minutes, each confirmed by 4 bytes."""
    site = load_site(FACTORY)
    found = {v.kind: v for v in month(site, Archive.of(site))}
    assert found["keepalive"].mqtt_bytes == 43_200 * 4
    assert found["keepalive"].network_bytes == 43_200 * (4 + 3 * 52)
    assert found["heartbeat"].messages == 8_640
    demand = found["demand 15 min"]
    assert (demand.messages, demand.mqtt_bytes) == (2_880, 2_880 * (demand.message_bytes + 4))
    assert demand.network_bytes == 2_880 * (demand.message_bytes + 4 + 3 * 52)
    va = 0.6 * 3**0.5 * 400 * 400  # 60 % of sqrt(3) x 400 V x 400 A
    bounds = (va - 100, va, va + 100)
    row = demand_row("factory", source="register", coverage=0.9987, active_w=bounds, apparent_va=bounds)
    body = demand_message(1_767_225_600_000, 1_767_226_500_000, [row])
    topic = "ea/v1/demo/gw-1/up/demand"
    assert demand.message_bytes == 3 + 2 + len(topic) + 2 + 1 + len(body)


@pytest.mark.parametrize(
    ("topic", "payload", "qos", "five", "size"),
    [
        ("a/b", 0, 0, False, 1 + 1 + 2 + 3),
        ("a/b", 0, 1, True, 1 + 1 + 2 + 3 + 2 + 1),
        ("a/b", 122, 0, False, 1 + 1 + 127),
        ("a/b", 123, 0, False, 1 + 2 + 128),
        ("a/b", 16_378, 0, False, 1 + 2 + 16_383),
        ("a/b", 16_379, 0, False, 1 + 3 + 16_384),
    ],
)
def test_a_publish_packet_is_as_long_as_the_standard_says(topic, payload, qos, five, size):
    assert publish_bytes(topic, payload, qos=qos, five=five) == size


def test_more_points_cost_more_and_rarer_signs_of_life_less():
    site = load_site(FACTORY)
    plain = month(site, Archive.of(site))
    replaced = msgspec.structs.replace
    two = replaced(site, point=(site.point[0], replaced(site.point[0], id="hall")))
    more = month(two, Archive.of(two))
    assert [a.mqtt_bytes < b.mqtt_bytes for a, b in zip(plain, more, strict=True)] == [True, False, True, False]
    slow = replaced(site, mqtt=replaced(site.mqtt, keepalive_s=600), delivery=replaced(site.delivery, heartbeat_s=3600))
    assert sum(v.network_bytes for v in month(slow, Archive.of(slow))) < sum(v.network_bytes for v in plain) / 3
