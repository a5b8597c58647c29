"""The contract with the centre: whatever the agent can say fits its published schema."""

from __future__ import annotations

import dataclasses
import json
import math
import random
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, get_args
from zoneinfo import ZoneInfo

import jsonschema
import msgspec
import pytest
from hypothesis import event, given
from hypothesis import strategies as st

from edge_agent.audit.topic import Route, Step, StepKind
from edge_agent.contract import documents, messages, records
from edge_agent.contract.demand import demand_message, demand_row
from edge_agent.contract.envelope import DATA_SCHEMA, seal
from edge_agent.contract.finding import RESERVED, finding_letter
from edge_agent.contract.records import record_letter
from edge_agent.contract.shapes import rfc3339
from edge_agent.contract.topics import Topics, is_id
from edge_agent.model import Capacity, ClockQuality, ClockState, Fact, FactSource, FactState, PointStatus, Severity
from tests.published import checked, validator

EPOCH, GENESIS = "0123456789abcdef", "0" * 64
SYNCED = ClockState(ClockQuality.SYNCED, 1_700_000_000_000, 500)
UNSET = ClockState(ClockQuality.UNSET, None, None)
END_MS = 1_773_454_500_000  # 2026-03-14T02:15:00Z


@dataclass(frozen=True)
class Ids:
    root: str = "ea"
    utility: str = "demo"
    gateway: str = "gw-1"


@dataclass(frozen=True)
class Codes:
    consumer_no: str | None = "1234567890"
    supply_org: str | None = "33401"
    metering_point: str | None = "MP-0001"
    asset_no: str | None = "0000123456"
    tz: ZoneInfo = dataclasses.field(default_factory=lambda: ZoneInfo("Asia/Shanghai"))


CAPACITY_FACT = Fact(
    "capacity", 250_000.0, 1_704_038_400_000, FactState.VERIFIED, FactSource.SYSTEM, "2026-01-05", "t-17"
)
CT_FACT = Fact("ct", "400/5", 1_704_038_400_000, FactState.UNVERIFIED, FactSource.TECHNICIAN)


def step(**changes: Any) -> Step:
    plain = Step(
        finding="gw-1.factory.cap-over-contract.2026-03",
        n=1,
        kind=StepKind.OPENED,
        point="factory",
        topic="cap-over-contract",
        release="cap-over-contract@7",
        release_digest="ab" * 32,
        key="",
        episode="2026-03",
        severity=Severity.WARNING,
        active=True,
        reason="level",
        time_ms=END_MS,
        opened_ms=END_MS,
        route=Route.CUSTOMER_INSPECTION,
        due_ms=END_MS + 7 * 86_400_000,
        trial=False,
        exempt=False,
        check_archive=False,
        measured={
            "start_ms": END_MS - 900_000,
            "end_ms": END_MS,
            "low": 1.04,
            "high": math.inf,
            "source": "register",
            "coverage": 0.99987,
            "sources": 2,
            "count": 1,
            "limit": 250_000.0,
            "limit_unit": "VA",
            "contracted": 250_000.0,
            "running": 250_000.0,
            "status": "normal",
            "basis": "capacity",
            "apparent_va": {"low": 260_000.0, "value": 262_300.00000000003, "high": 264_000.0},
            "power_factor": 0.85,
        },
        counts={"intervals": 3, "days": 1, "episodes": 1, "longest_run": 2},
        facts=(CAPACITY_FACT, CT_FACT),
        iec="3.8.139.139",
        anomaly="负荷超容",
    )
    return dataclasses.replace(plain, **changes)


def finding(made: Step, clock: ClockState = SYNCED, **more: Any) -> dict[str, Any]:
    """A step's message, sealed and read again."""
    point = Codes() if made.point else None
    letter = finding_letter(
        made, site=Ids(), point=point, archive_version="a-17", clock=clock, boot_id="b-1", bt_ms=5_000_000_000, **more
    )
    return checked("finding", seal(letter, 7, EPOCH, GENESIS))


def measured(message: dict[str, Any]) -> dict[str, Any]:
    return {m["name"]: {k: v for k, v in m.items() if k != "name"} for m in message["data"]["measured"]}


# --- the published documents


def test_the_documents_are_what_the_types_say():
    made = documents.files()
    assert len(made) == len(documents.PUBLISHED) + 1
    stale = [path.name for path, text in made.items() if not path.exists() or path.read_text(encoding="utf-8") != text]
    assert not stale, f"run `python -m edge_agent.contract`: {stale}"
    assert {p.name for p in documents.SCHEMAS.iterdir()} == {p.name for p in made} - {documents.ASYNCAPI.name}


def objects(node: Any) -> Iterator[dict[str, Any]]:
    if isinstance(node, dict):
        if node.get("type") == "object":
            yield node
        for value in node.values():
            yield from objects(value)
    elif isinstance(node, list):
        for value in node:
            yield from objects(value)


def test_every_object_is_closed_and_every_schema_says_what_it_is():
    seen = 0
    for published in documents.PUBLISHED:
        schema = documents.schema(published)
        jsonschema.Draft202012Validator.check_schema(schema)
        assert schema["$schema"].endswith("2020-12/schema")
        for part in objects(schema):
            seen += 1
            assert part["additionalProperties"] is False, part["title"]
            assert part["description"], part["title"]
    assert seen > 25


def test_asyncapi_leads_from_every_operation_to_a_schema_that_is_there():
    document = json.loads(documents.ASYNCAPI.read_text(encoding="utf-8"))
    assert document["asyncapi"] == "3.0.0"

    def follow(ref: str) -> Any:
        node = document
        for part in ref.removeprefix("#/").split("/"):
            node = node[part]
        return node

    topics = Topics(Ids())
    addresses = set()
    for name, operation in document["operations"].items():
        channel = follow(operation["channel"]["$ref"])
        address = channel["address"]
        for parameter, ref in channel["parameters"].items():
            assert follow(ref["$ref"])["description"]
            assert f"{{{parameter}}}" in address
        addresses.add(
            address.format(root="ea", utility="demo", gateway="gw-1", point="factory", finding="gw-1.f.t.2026-03")
        )
        (message,) = operation["messages"]
        payload = follow(follow(message["$ref"])["$ref"])["payload"]
        assert (documents.FOLDER / payload["schema"]["$ref"]).exists()
        assert (operation["action"] == "send") == ("/up/" in address), name
    assert addresses == {
        topics.status, topics.heartbeat, topics.chain("finding"), topics.chain("record"), topics.point("factory"),
        topics.demand, topics.ack, topics.chain("evaluation"), topics.down("feedback"), topics.down("releases"),
        topics.chain("case"), topics.evidence("gw-1.f.t.2026-03"), topics.up("reply"), topics.up("releases"),
        topics.down("command"),
    }  # fmt: skip


def test_a_name_that_could_be_a_wildcard_is_no_topic_level():
    for bad in ("", "+", "#", "a/b", "GW", "a" * 33, "gw-1\n", "网关"):
        assert not is_id(bad)
        with pytest.raises(ValueError, match="no id"):
            Topics(Ids(gateway=bad))
        with pytest.raises(ValueError, match="no id"):
            Topics(Ids()).point(bad)
    assert Topics(Ids()).point("p-1") == "ea/v1/demo/gw-1/up/points/p-1"


# --- a finding


def test_a_finding_says_what_was_measured_against_what():
    message = finding(step(), k=80.0, action=("action.inspect", "Measure on site."))
    data = message["data"]
    assert message["id"] == "gw-1.factory.cap-over-contract.2026-03/opened/1"
    assert message["type"] == "edge-agent.finding.opened.v1"
    assert message["source"] == "/demo/gw-1/factory"
    assert message["time"] == "2026-03-14T02:15:00.000Z"
    assert data["interval"] == {"start": "2026-03-14T02:00:00.000Z", "end": "2026-03-14T02:15:00.000Z"}
    assert data["capacity"] == {
        "contracted": 250_000, "running": 250_000, "unit": "VA", "status": "normal", "basis": "capacity",
    }  # fmt: skip
    assert data["threshold"] == {"value": 250_000, "unit": "VA"}
    assert data["due"] == "2026-03-21"
    assert data["coverage"] == 0.99987
    assert data["sources"] == 2
    assert data["k"] == 80
    assert measured(message) == {
        "judged": {"low": 1.04, "unit": "1"},  # nothing is known above: the bound is absent, not infinite
        "apparent_va": {"low": 260_000, "value": 262_300, "high": 264_000, "unit": "VA"},
        "count": {"value": 1, "unit": "1"},
        "power_factor": {"value": 0.85, "unit": "1"},
        "source": {"text": "register"},
    }
    assert {c["name"]: (c["value"], c["unit"]) for c in data["counts"]} == {
        "intervals": (3, "1"), "days": (1, "d"), "episodes": (1, "1"), "longest_run": (2, "1"),
    }  # fmt: skip
    assert data["facts"][0] == {
        "name": "capacity", "value": 250_000, "state": "verified", "source": "system",
        "since": "2023-12-31T16:00:00.000Z", "verified_at": "2026-01-05",
    }  # fmt: skip
    assert data["facts"][1]["value"] == "400/5"
    assert data["params_digest"] == "sha-256:" + "ab" * 32
    assert data["action"] == {"code": "action.inspect", "text": "Measure on site."}


def test_what_a_step_does_not_say_is_taken_from_what_was_in_force():
    in_force = Capacity(250_000.0, 0.0, "VA", PointStatus.SUSPENDED, "capacity", CAPACITY_FACT)
    message = finding(step(measured={"silent_s": 301}), capacity=in_force)
    assert message["data"]["capacity"]["running"] == 0
    assert message["data"]["capacity"]["status"] == "suspended"
    assert message["data"]["interval"] == {"end": "2026-03-14T02:15:00.000Z"}
    assert "threshold" not in message["data"]
    assert measured(message) == {"silent_s": {"value": 301, "unit": "s"}}


def test_a_finding_about_a_register_has_the_registers_unit_and_instants_are_times():
    message = finding(
        step(
            topic="met-decrease",
            measured={
                "quantity": "active_energy_import",
                "before": 100.5,
                "after": 0.0,
                "before_ms": END_MS,
                "device": "m1",
                "low": 100.5,
                "high": 100.5,
                "devices": ["m1", "m2", "m3"],
            },
        )
    )
    assert measured(message) == {
        "judged": {"low": 100.5, "high": 100.5, "unit": "Wh"},
        "before": {"value": 100.5, "unit": "Wh"},
        "after": {"value": 0, "unit": "Wh"},
        "before_at": {"text": "2026-03-14T02:15:00.000Z"},
        "device": {"text": "m1"},
        "devices": {"text": "m1, m2, m3"},
        "quantity": {"text": "active_energy_import"},
    }


def test_a_finding_about_the_gateway_has_no_point_and_no_customer():
    message = finding(step(point="", topic="dat-comm", route=Route.COLLECTION, measured={}))
    assert message["source"] == "/demo/gw-1"
    assert not message["data"].keys() & {"point", "consumer_no", "supply_org", "metering_point", "asset_no"}


def test_what_is_no_code_is_left_out_and_the_finding_still_leaves():
    letter = finding_letter(
        step(),
        site=Ids(),
        point=Codes(consumer_no="王 五", asset_no=None),
        archive_version="",
        clock=SYNCED,
        boot_id="b-1",
        bt_ms=1,
    )
    message = checked("finding", seal(letter, 1, EPOCH, GENESIS))
    assert not message["data"].keys() & {"consumer_no", "asset_no", "archive"}
    assert message["data"]["supply_org"] == "33401"


def test_a_customers_name_has_no_field():
    message = finding(step())
    for field in ("name", "address", "customer", "telephone"):
        with pytest.raises(jsonschema.ValidationError, match="Additional properties"):
            validator("finding").validate({**message, "data": {**message["data"], field: "x"}})


def test_without_true_time_there_is_no_time_but_a_boot_time():
    message = finding(step(), UNSET)
    assert "time" not in message
    assert message["clockq"] == "unset"
    assert message["btms"] == "5000000000"
    assert "clockerrms" not in message
    assert message["data"]["interval"] == {}
    assert not message["data"].keys() & {"due", "opened"}
    assert "btms" not in finding(step())
    assert finding(step())["clockerrms"] == 500


def test_the_data_alone_fits_the_schema_that_the_message_names():
    bodies = {
        "finding": finding(step()),
        "record": checked("record", seal(boot(), 1, EPOCH, GENESIS)),
    }
    for kind, message in bodies.items():
        base, _, pointer = message["dataschema"].partition("#/")
        schema = json.loads((documents.SCHEMAS / f"{kind}.schema.json").read_text(encoding="utf-8"))
        assert schema["$id"] == base
        part = schema
        for name in pointer.split("/"):
            part = part[name]
        jsonschema.Draft202012Validator({**part, "$defs": schema["$defs"]}).validate(message["data"])
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.Draft202012Validator({**part, "$defs": schema["$defs"]}).validate({})


numbers = st.floats() | st.integers(-(2**60), 2**60)
anything = st.recursive(
    st.none() | st.booleans() | numbers | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=6,
)
names = st.sampled_from(sorted(RESERVED))


@given(
    said=st.dictionaries(names | st.text(min_size=1, max_size=20), anything, max_size=8),
    counts=st.dictionaries(st.text(min_size=1, max_size=20), numbers, max_size=4),
    reason=st.text(max_size=20),
    key=st.text(max_size=20),
)
def test_whatever_a_topic_measures_the_message_fits(
    said: dict[str, Any], counts: dict[str, float], reason: str, key: str
):
    message = finding(step(measured=said, counts=counts, reason=reason, key=key))
    event(f"{min(len(message['data']['measured']), 3)} values measured")
    event("a limit" if "threshold" in message["data"] else "no limit")


# --- the envelope


def boot() -> Any:
    return record_letter(
        records.Boot(agent="0.1.0", after="crash", config_digest="sha-256:" + "0" * 64),
        id="b-1",
        site=Ids(),
        clock=SYNCED,
        boot_id="b-1",
        bt_ms=1_000,
    )


def test_the_same_letter_with_the_same_number_is_the_same_bytes():
    letter = finding_letter(
        step(), site=Ids(), point=Codes(), archive_version="a-17", clock=SYNCED, boot_id="b-1", bt_ms=1
    )
    first = seal(letter, 7, EPOCH, GENESIS)
    shuffled = list(letter.data.items())
    random.Random(1).shuffle(shuffled)
    assert list(dict(shuffled)) != list(letter.data)
    assert seal(dataclasses.replace(letter, data=dict(shuffled)), 7, EPOCH, GENESIS) == first
    assert seal(letter, 8, EPOCH, GENESIS) != first
    assert first.startswith(b'{"specversion":"1.0","id":"gw-1.factory.cap-over-contract.2026-03/opened/1","source":')
    assert b" " not in first.split(b'"text"')[0]


def test_a_number_outside_the_chain_and_a_kind_without_schema_are_refused():
    letter = boot()
    assert checked("record", seal(letter, 2**31 - 1, EPOCH, GENESIS))["seq"] == 2**31 - 1
    for seq in (0, -1, 2**31):
        with pytest.raises(ValueError, match="no number"):
            seal(letter, seq, EPOCH, GENESIS)
    with pytest.raises(ValueError, match="no schema"):
        seal(dataclasses.replace(letter, kind="gossip"), 1, EPOCH, GENESIS)
    assert set(DATA_SCHEMA) == {p.name for p in documents.PUBLISHED if p.chain}


RECORDS: list[tuple[records.Record, str]] = [
    (records.Boot(agent="0.1.0"), "boot"),
    (records.Config(part="archive", digest="sha-256:" + "1" * 64), "config"),
    (records.TimeFix(boot_id="b-1", offset_ms=1_700_000_000_000, error_ms=500, quality="synced"), "time_fix"),
    (
        records.Tombstone(
            what="telemetry", reason="quota", count=96, unsent=3, since=rfc3339(0), until=rfc3339(END_MS)
        ),
        "tombstone",
    ),
    (records.Tombstone(what="records", reason="damaged", count=4, ranges=[(3, 6)], old_epoch=EPOCH), "tombstone"),
    (records.Acceptance(point="factory", accepted=True, by="t-17"), "acceptance"),
    (
        records.ServiceWindow(points=["factory"], since=rfc3339(0), until=rfc3339(1), people=["t-17"]),
        "service_window",
    ),
    (records.Package(document="releases", version=17, outcome="applied", previous=16), "package"),
    (
        records.Feedback(
            finding="gw-1.p.t.2026-03",
            step="confirmed",
            cause="breach",
            work_order="wo-1",
            by="t-17",
            at=rfc3339(0),
            recovered_kwh=12.5,
            recovered_money=8.0,
            channel="package",
            key="ops-1",
        ),
        "feedback",
    ),
    (
        records.Exemption(
            point="factory",
            topic="cap-over-contract",
            since=rfc3339(0),
            until=rfc3339(1),
            reason="d-1",
            author="t-1",
            approver="t-2",
            channel="package",
            key="ops-1",
        ),
        "exemption",
    ),
    (records.Suppressed(topic="cap-over-contract", work_order="wo-17"), "suppressed"),
    (
        records.RegisterSaid(
            device="m1",
            quantity="active_energy_import",
            what="decrease",
            before=2.0,
            after=1.0,
            confirmed=True,
            serial_known=False,
        ),
        "register",
    ),
]


@pytest.mark.parametrize(("data", "kind"), RECORDS, ids=lambda value: value if isinstance(value, str) else "")
def test_every_record_fits_and_says_its_kind(data: records.Record, kind: str):
    letter = record_letter(data, id="x", site=Ids(), clock=SYNCED, boot_id="b-1", bt_ms=2_000)
    message = checked("record", seal(letter, 1, EPOCH, GENESIS))
    assert message["subject"] == message["data"]["record"] == kind
    assert message["id"] == f"gw-1/{kind}/x"
    assert message["type"] == f"edge-agent.record.{kind}.v1"
    assert message["time"] == rfc3339(1_700_000_002_000)


def test_no_kind_of_record_is_left_out():
    assert {type(data) for data, _ in RECORDS} == set(get_args(records.Record))
    mapping = documents.schema(documents.PUBLISHED[3])["$defs"]["Record"]["discriminator"]["mapping"]
    assert set(mapping) == {kind for _, kind in RECORDS}


@given(st.integers(-62_135_596_800_000, 253_402_300_799_999))
def test_a_time_is_the_instant_to_the_millisecond(utc_ms: int):
    text = rfc3339(utc_ms)
    assert len(text) == 24
    back = datetime.fromisoformat(text)
    assert back.tzinfo == UTC
    assert round((back - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds() * 1000) == utc_ms


# --- state and telemetry


def heartbeat(**more: Any) -> messages.Heartbeat:
    return messages.Heartbeat(
        at=rfc3339(END_MS),
        up_s=1_234_567,
        clock=messages.ClockNow(quality="synced", error_ms=12),
        chain=messages.ChainNow(last=123_456, upto=123_456),
        backlog=messages.Backlog(depth=0),
        disk=messages.DiskNow(free_mib=12_345, used_mib=123),
        memory_mib=52,
        links=[messages.LinkNow(id="lan", up=True)],
        **more,
    )


def row(point: str, active: float = 123_456.7) -> bytes:
    return demand_row(
        point,
        source="register",
        coverage=0.99996,
        active_w=(active - 12.34, active, active + 12.34),
        apparent_va=(active, active * 1.1, active * 1.2),
    )


def test_states_fit_their_schemas():
    checked("heartbeat", msgspec.json.encode(heartbeat(ack_problem=messages.AckProblem(kind="head", count=3))))
    birth = messages.Online(
        boot_id="b-1", agent="0.1.0", contract="v1", clock=messages.ClockNow(quality="rtc"), epoch=EPOCH, first=1,
        last=10, upto=7, head=GENESIS, releases=["cap-over-contract@7"], ack="centre",
    )  # fmt: skip
    assert checked("status", msgspec.json.encode(birth))["state"] == "online"
    will = messages.Offline(boot_id="b-1", why="lost")
    assert checked("status", msgspec.json.encode(will))["state"] == "offline"
    point = messages.PointState(
        state="trial",
        load=0.8,
        findings=[messages.OpenFinding(finding="f", topic="cap-heavy-load", severity="notice", since=rfc3339(0))],
    )
    checked("points", msgspec.json.encode(point))


def test_a_block_is_one_message_and_its_bounds_are_never_narrowed():
    message = checked("demand", demand_message(END_MS - 900_000, END_MS, [row("p-1"), row("p-2", 0.0)]))
    assert message["end"] == rfc3339(END_MS)
    first = message["points"][0]
    assert message["start"] == rfc3339(END_MS - 900_000)
    assert first["coverage"] == 0.9999, "a share that is not whole is not rounded to whole"
    assert first["p"] == [123_444, 123_457, 123_470]
    assert message["points"][1]["p"] == [-12.4, 0, 12.4], "tenths where a whole watt is coarse"
    assert "clockq" not in first


def test_a_block_without_readings_says_so_by_leaving_out():
    blind = demand_row(
        "p-1", source="", coverage=0.0, active_w=None,
        apparent_va=(1.0, 2.0, math.inf), quality=ClockQuality.METER,
    )  # fmt: skip
    message = checked("demand", demand_message(0, 900_000, [blind]))
    assert message["points"] == [{"point": "p-1", "coverage": 0, "clockq": "meter"}]


@given(st.floats(0, 1e9), st.floats(0, 1e6), st.floats(0, 1e6))
def test_bounds_hold_what_they_held(value: float, below: float, above: float):
    low, high = max(0.0, value - below), value + above
    body = demand_row("p", source="power", coverage=1.0, active_w=(low, value, high), apparent_va=None)
    sent_low, sent, sent_high = json.loads(body)["p"]
    assert sent_low <= low <= high <= sent_high
    assert sent_low <= sent <= sent_high
    coarse = 1.0 if high >= 1000 else 0.1
    assert low - sent_low <= coarse + 1e-6
    assert sent_high - high <= coarse + 1e-6
    event("whole" if coarse == 1.0 else "tenths")


def test_eight_points_stay_under_ten_megabytes_a_month():
    """As the network counts: TLS 1.3 record 22 B, TCP/IPv4 header with time stamps 52 B on every segment."""
    topic = len("ea/v1/utility-name/gateway-name/up/heartbeat")
    segment, month_s = 22 + 52, 30 * 86_400

    def qos1(body: bytes) -> int:
        return len(body) + topic + 7 + segment + 4 + segment + 52  # PUBLISH, PUBACK, the TCP acknowledgement of that

    block = demand_message(END_MS - 900_000, END_MS, [row(f"point-{n}", 123_456.7 * (n + 1)) for n in range(8)])
    state = msgspec.json.encode(messages.PointState(state="accepted", load=0.8, findings=[]))
    beats = month_s / 300 * (len(msgspec.json.encode(heartbeat())) + topic + 5 + segment + 52)
    blocks = month_s / 900 * qos1(block)
    pings = month_s / 900 * 3 * (2 + segment + 2 + segment + 52)  # keepalive 240 s, counted from the block's PUBACK
    states = 8 * month_s / 900 * 0.1 * qos1(state)  # the load crosses a step of 10 % in every tenth block
    total = beats + blocks + pings + states
    assert 5e6 < total < 10e6, f"{beats=:.0f} {blocks=:.0f} {pings=:.0f} {states=:.0f}"


def test_the_ack_of_a_centre_fits_its_schema():
    good = {"epoch": EPOCH, "upto": 7, "head": GENESIS, "need": [3, 4], "nack": [5], "at": "2026-03-14T02:15:00.123Z"}
    checked("ack", json.dumps(good).encode())
    assert msgspec.json.decode(json.dumps(good).encode(), type=messages.Ack).need == (3, 4)
    for bad in ({"upto": -1}, {"head": "AB" * 32}, {"need": [3]}, {"nack": [0]}, {"epoch": "x"}, {"more": 1}):
        with pytest.raises(jsonschema.ValidationError):
            validator("ack").validate(good | bad)
        with pytest.raises(msgspec.ValidationError):
            msgspec.json.decode(json.dumps(good | bad).encode(), type=messages.Ack)
