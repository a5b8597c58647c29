"""A finding's evidence from the real agent: frozen with each step, kept, exported whole, and sent in pieces."""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import json
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
import zipfile
import zlib
from html import escape
from pathlib import Path
from typing import Any

import pytest

from edge_agent.contract.evidence import PIECE_BYTES, pieces
from edge_agent.evidence import next_hash
from edge_agent.evidence.frozen import MOST_BYTES, Frozen, freeze, thaw
from edge_agent.evidence.recent import EACH_WAY
from tests.e2e.processes import Play, wait_until
from tests.e2e.site import PointPlan, Stage, steps
from tests.figures import report as figure
from tests.in_chinese import english_in, is_chinese
from tests.published import checked

# Put together here, so that this file does not hold what it looks for.
NEVER = ["the" + "ft", "fra" + "ud", "by" + "pass", "窃" + "电", "绕" + "越", "违" + "法"]
AFTER = [(minute, 60 + n % 2) for n, minute in enumerate(range(125, 1000, 25))]  # no meter shows one value for an hour
OVER = PointPlan("factory", steps((0, 60), (40, 61), (75, 112), *AFTER), profile="acrel-dtsd1352")


def verb(*words: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "edge_agent", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def unpacked(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as held:
        assert held.testzip() is None
        return {name: held.read(name) for name in held.namelist()}


@pytest.fixture(scope="module")
def lived(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """An agent that saw an overload begin and end, asked while it ran and after it had stopped."""
    folder = Path(tmp_path_factory.mktemp("b"))
    play = Play(Stage(folder / "s", [OVER], rate=600.0, broker_port=1))
    try:
        play.start_meters()
        play.start_agent()
        site = play.stage.site

        def over() -> Any:
            rows = json.loads(verb("findings", "--json", "--site", site).stdout)
            return [r for r in rows if r["topic"] == "cap-over-contract" and not r["active"]]

        cases = wait_until(
            lambda: json.loads(verb("cases", "--json", "--site", site).stdout), 60, "a point with something open"
        )
        case = verb("case", "factory", "--lang", "zh", "--site", site)
        (row,) = wait_until(over, 60, "an overload ends")
        finding = row["finding"]
        running, stopped = folder / "running.zip", folder / "stopped.zip"
        asked = verb("evidence", finding, "-o", running, "--site", site)
        sent = verb("evidence", finding, "--send", "--site", site)
        assert play.agent.stop() == 0
        read = verb("evidence", finding, "-o", stopped, "--site", site)
        yield {"finding": finding, "site": site, "running": running, "stopped": stopped, "asked": asked,
               "sent": sent, "read": read, "cases": cases, "case": case}  # fmt: skip
    finally:
        play.end()


def test_the_case_of_the_point_is_told_by_the_agent_and_from_its_store(lived):
    (case,) = lived["cases"]
    assert case["point"] == "factory"
    assert [c["cause"] for c in case["causes"]] == ["load-grown"]
    assert [f["finding"] for f in case["findings"]] == [lived["finding"]]
    assert "负荷已超出合同约定" in lived["case"].stdout
    after = verb("case", "factory", "--json", "--site", lived["site"])
    assert json.loads(after.stdout)["causes"] == [], "the store knows that it is over"
    assert json.loads(verb("cases", "--json", "--site", lived["site"]).stdout) == []
    assert "no point" in verb("case", "mill", "--site", lived["site"]).stderr


def test_the_bundle_is_the_same_from_the_agent_and_from_its_store(lived):
    assert lived["asked"].returncode == 0, lived["asked"].stderr
    assert lived["read"].returncode == 0, lived["read"].stderr
    assert unpacked(lived["running"]) == unpacked(lived["stopped"])
    assert lived["running"].read_bytes() == lived["stopped"].read_bytes()


def test_every_digest_can_be_computed_again_and_every_step_has_its_bundle(lived):
    files = unpacked(lived["stopped"])
    messages = [json.loads(body) for name, body in sorted(files.items()) if name.startswith("messages/")]
    assert messages[0]["data"]["step"] == "opened"
    assert messages[-1]["data"]["step"] == "cleared"
    for message in messages:
        checked("finding", json.dumps(message).encode())
        frozen = files[f"evidence/step-{message['data']['n']:03d}.json"]
        assert message["data"]["evidence"] == f"sha-256:{hashlib.sha256(frozen).hexdigest()}"
        assert len(frozen) < MOST_BYTES
        told = json.loads(frozen)["said"]
        assert {**told, "evidence": message["data"]["evidence"]} == message["data"], "what was said is what was frozen"
    for n in range(1, len(messages)):
        if messages[n]["seq"] == messages[n - 1]["seq"] + 1:
            body = files[f"messages/{n:03d}.json"]
            head = next_hash(bytes.fromhex(messages[n - 1]["prevhash"]), messages[n - 1]["seq"], body)
            assert messages[n]["prevhash"] == head.hex()
    lines = [line.split("  ") for line in files["SHA256SUMS"].decode().splitlines()]
    sums = {name: digest for digest, name in lines}
    assert sums == {n: hashlib.sha256(b).hexdigest() for n, b in files.items() if n != "SHA256SUMS"}


def test_what_is_frozen_holds_what_an_inspector_needs(lived):
    files = unpacked(lived["stopped"])
    opened = json.loads(files["evidence/step-001.json"])
    last = json.loads(files[max(n for n in files if n.startswith("evidence/"))])
    blocks = opened["intervals"]
    assert 1 <= len(blocks["before"]) <= EACH_WAY
    assert len(blocks["during"]) == 1
    assert last["intervals"]["after"], "the part after the episode is added when it clears"
    (judged,) = blocks["during"]
    named = {m["name"]: m for m in opened["said"]["measured"]}
    assert judged["s_va"][0] == pytest.approx(named["apparent_va"]["low"], abs=0.2)
    assert judged["end"] == opened["said"]["interval"]["end"]
    start, end = (opened["registers"][e]["registers"]["active_energy_import"] for e in ("start", "end"))
    kwh = 80 * (end[0] - start[0]) / 1000
    assert kwh * 4 == pytest.approx(judged["p_w"][1] / 1000, rel=0.1), "from the frames' registers to the demand"
    assert opened["registers"]["end"]["frames"]
    assert opened["frames"]
    for frame in opened["frames"]:
        assert bytes.fromhex(frame["request"])[6:8] == bytes.fromhex(frame["reply"])[6:8]
    assert opened["release"]["levels"][0]["source"]
    assert opened["clock"]["quality"]
    assert opened["window"]["start_local"].endswith("+08:00")
    assert opened["extras"]["powers"], "what this topic wants to see beside EV0"
    figure("evidence", frozen_bytes=len(files["evidence/step-001.json"]),
           packed_bytes=len(zlib.compress(files["evidence/step-001.json"], 6)),
           zip_bytes=lived["stopped"].stat().st_size)  # fmt: skip


def test_the_tables_hold_the_same_figures(lived):
    files = unpacked(lived["stopped"])
    rows = list(csv.DictReader(io.StringIO(files["intervals.csv"].decode())))
    opened = json.loads(files["evidence/step-001.json"])
    (judged,) = opened["intervals"]["during"]
    (row,) = [r for r in rows if r["end"] == judged["end"]]
    assert float(row["s_low_va"]) == judged["s_va"][0]
    assert len({r["end"] for r in rows}) == len(rows) > 3
    assert list(csv.DictReader(io.StringIO(files["registers.csv"].decode())))
    frames = list(csv.DictReader(io.StringIO(files["frames.csv"].decode())))
    assert all(bytes.fromhex(f["reply"]) for f in frames)
    assert frames


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_the_page_can_be_read_and_filled_in_without_anything_else(lived, lang):
    page = unpacked(lived["stopped"])[f"report.{lang}.html"].decode()
    for word in NEVER:
        assert word not in page.lower()
    assert not re.search(r"(src|href)=|https?://(?!www\.w3\.org)", page), "nothing is fetched from anywhere"
    pictures = re.findall(r"<svg.*?</svg>", page, re.DOTALL)
    assert len(pictures) == 2, "the demand around it, and the phases"
    curve = ET.fromstring(pictures[0])
    assert len(curve.findall(".//{http://www.w3.org/2000/svg}line")) > 10
    assert "NaN" not in page
    assert "{" not in re.sub(r"<style>.*?</style>", "", page, flags=re.DOTALL)
    assert page.count("<h1>") == 2, "and a second page to fill in"
    fields = {"en": ("Inspector 2", "Seals found", "Clamp, primary", "Customer", "Result code", "confirmed"),
              "zh": ("检查人员二", "原有封印", "钳形表一次电流", "用户陈述", "结果代码", "属实")}[lang]  # fmt: skip
    for field in fields:
        assert field in page
    assert {"en": "uspected", "zh": "疑似"}[lang] in page
    if lang == "zh":
        words = re.sub(r"<style.*?</style>|<[^>]*>|\b[0-9a-f]{2}( [0-9a-f]{2})+\b", "  |  ", page, flags=re.DOTALL)
        levels = json.loads(unpacked(lived["stopped"])["evidence/step-001.json"])["release"]["levels"]
        for level in levels:
            words = words.replace(escape(level["source"]), " ")  # cited as the release was published
        assert english_in(words) == [], "a page in Chinese speaks Chinese"
        for said in ("已核实", "正向有功电能", "小时"):
            assert said in words


def test_it_is_sent_on_request_in_pieces_that_make_the_bundle_again(lived):
    assert lived["sent"].returncode == 0, lived["sent"].stderr
    assert "on their way" in lived["sent"].stdout
    big = freeze(
        "gw-1.f.cap-over-contract.2026-03", 2, {"frames": [hashlib.sha512(b"%d" % n).hexdigest() for n in range(900)]}
    )
    told = [checked("evidence", body) for body in pieces(big.finding, big.n, big.digest, big.packed)]
    assert len(told) == -(-len(big.packed) // PIECE_BYTES) > 1
    told.sort(key=lambda p: -p["piece"])
    again = b"".join(base64.b64decode(p["data"]) for p in sorted(told, key=lambda p: p["piece"]))
    assert thaw(big._replace(packed=again)) == zlib.decompress(big.packed)
    (gone,) = [checked("evidence", body) for body in pieces(big.finding, big.n, big.digest, b"")]
    assert (gone["piece"], gone["of"], gone["data"]) == (0, 0, ""), "given up for room: the digest is what is left"


def test_what_was_changed_is_not_believed():
    frozen = freeze("gw-1.f.t.2026-03", 1, {"a": 1})
    assert thaw(frozen) == b'{"a":1}'
    with pytest.raises(ValueError, match="digest"):
        thaw(frozen._replace(packed=zlib.compress(b'{"a":2}')))
    with pytest.raises(ValueError, match="step 1"):
        thaw(frozen._replace(packed=b"nothing"))
    assert thaw(Frozen("f", 1, frozen.digest, b"")) is None
    with pytest.raises(ValueError, match="bytes"):
        freeze("f", 1, {"a": "x" * MOST_BYTES})


def test_an_id_that_nobody_knows_and_a_place_that_is_none(lived, tmp_path):
    site = lived["site"]
    assert "no finding" in verb("evidence", "gw-1.x", "-o", tmp_path / "x.zip", "--site", site).stderr
    assert "say where it goes" in verb("evidence", lived["finding"], "--site", site).stderr
    assert "No such file" in verb("evidence", lived["finding"], "-o", tmp_path / "no/x.zip", "--site", site).stderr
    assert not list(tmp_path.iterdir()), "nothing half written is left"


def test_explain_speaks_chinese(lived):
    done = verb("explain", lived["finding"], "--lang", "zh", "--site", lived["site"])
    assert done.returncode == 0, done.stderr
    assert "疑似" in done.stdout
    assert "运行容量" in done.stdout
    is_chinese(done.stdout)
