"""What the agent makes of a state directory, a store or a file that is not as it should be."""

from __future__ import annotations

import json
import shutil
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from tests.broker import Broker, free_port
from tests.e2e.centre import Centre, agent_chain
from tests.e2e.processes import ROOT, Play, wait_until
from tests.e2e.site import PointPlan, steady, steps

TOPIC = "cap-over-contract"
CALM = PointPlan("factory", steady(50))
OVERLOAD = PointPlan("factory", steps((0, 60), (30, 130), (200, 60)))
EX_CONFIG, EX_IOERR, EX_TEMPFAIL = 78, 74, 75


def test_a_second_agent_on_the_same_state_refuses_and_names_the_first(play: Callable[..., Play]):
    stage = play([CALM], rate=60.0, broker_port=free_port())
    stage.start_meters()
    stage.start_agent()
    second = stage.process("second", *stage.agent.command).start()
    assert second.ended(15) == EX_IOERR
    assert str(stage.agent.pid) in second.log
    assert str(stage.stage.state) in second.log
    assert "Another agent" in second.log
    assert stage.agent.running
    assert stage.agent.stop() == 0
    third = stage.process("third", *stage.agent.command).start()  # the first is gone: the way is free
    wait_until(lambda: third.lines("agent started"), 15, "the third starts")
    assert third.stop() == 0


def test_a_state_directory_that_cannot_be_written_is_named_with_the_cure(play: Callable[..., Play]):
    stage = play([CALM], rate=60.0, broker_port=free_port())
    site = stage.stage.site
    site.write_text(site.read_text().replace(str(stage.stage.state), "/sys"))  # where not even root may make a file
    stage.agent.start()
    assert stage.agent.ended(15) == EX_IOERR
    said = stage.agent.lines("cannot start")[0]["reason"]
    assert "/sys cannot be written" in said
    assert "give the directory to the user" in said


def test_a_state_directory_that_is_not_there_is_named_with_the_cure(play: Callable[..., Play]):
    stage = play([CALM], rate=60.0, broker_port=free_port())
    stage.stage.state.rmdir()
    stage.agent.start()
    assert stage.agent.ended(15) == EX_IOERR
    assert "does not exist. Create it" in stage.agent.lines("cannot start")[0]["reason"]


def test_a_site_file_with_mistakes_ends_with_78_and_all_of_them(play: Callable[..., Play]):
    stage = play([CALM], rate=60.0, broker_port=free_port())
    text = stage.stage.site.read_text()
    for right, wrong in (
        ('gateway = "gw-1"', 'gateway = "GW 1"'),
        ('kind = "modbus-tcp"', 'kind = "modbus-rtu-over-pigeon"'),
        ('time_zone = "Asia/Shanghai"', 'time_zone = "Asia/Atlantis"'),
        ('profile = "eastron-sdm630"', 'profile = "eastron-sdm631"'),
    ):
        assert right in text
        text = text.replace(right, wrong)
    stage.stage.site.write_text(text)
    stage.agent.start()
    assert stage.agent.ended(15) == EX_CONFIG
    for wrong in ("GW 1", "modbus-rtu-over-pigeon", "Asia/Atlantis", "eastron-sdm631"):
        assert wrong in stage.agent.log
    assert "Traceback" not in stage.agent.log
    assert not stage.stage.findings_db.exists()


def test_a_broken_release_file_ends_with_78_and_is_named(tmp_path: Path, play: Callable[..., Play]):
    for name in ("edge_agent", "drivers", "config"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    release = tmp_path / "config/releases/cap-over-contract.toml"
    release.write_text(release.read_text().replace("above = 1.05", 'above = "much"'))
    stage = play([CALM], rate=60.0, broker_port=free_port())
    broken = stage.process("broken", *stage.agent.command, cwd=tmp_path).start()
    assert broken.ended(15) == EX_CONFIG
    assert "cap-over-contract" in broken.lines("cannot start")[0]["reason"]
    assert "Traceback" not in broken.log


@pytest.mark.timeout(90)
def test_a_corrupt_store_is_rescued_without_hands_under_a_new_epoch_with_a_tombstone(
    mosquitto: Callable[..., Broker], play: Callable[..., Play]
):
    broker = mosquitto()
    stage = play([OVERLOAD], rate=1800.0, broker_port=broker.port)
    centre = Centre(stage, broker.port).start()
    stage.start_meters()
    stage.start_agent()
    cleared = wait_until(lambda: centre.step(TOPIC, "cleared"), 30, "a finding")
    wait_until(lambda: agent_chain(stage.stage.findings_db).upto >= cleared.seq, 5, "the agent has the receipt")
    assert stage.agent.stop() == 0
    before = agent_chain(stage.stage.findings_db)
    with closing(sqlite3.connect(stage.stage.findings_db)) as db:
        page_size = db.execute("PRAGMA page_size").fetchone()[0]
        root = db.execute("SELECT rootpage FROM sqlite_master WHERE name = 'chain'").fetchone()[0]
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    with stage.stage.findings_db.open("r+b") as file:
        file.seek((root - 1) * page_size + page_size // 2)
        file.write(b"\x5a" * (page_size // 2))

    began = time.monotonic()
    stage.start_agent()
    took_s = time.monotonic() - began
    after = agent_chain(stage.stage.findings_db)
    assert after.epoch != before.epoch
    tombstone = wait_until(lambda: centre.records("tombstone"), 15, "the loss is declared")[0]
    assert tombstone["epoch"] == after.epoch
    assert tombstone["data"]["old_epoch"] == before.epoch
    assert tombstone["data"]["reason"] == "damaged"
    assert took_s < 30
    assert list(stage.stage.state.glob("findings.db.corrupt-*"))
    centre.no_complaints()
    assert stage.agent.stop() == 0


def test_a_store_that_another_program_holds_is_named_and_the_start_is_to_be_tried_again(play: Callable[..., Play]):
    stage = play([CALM], rate=60.0, broker_port=free_port())
    stage.start_agent()
    assert stage.agent.stop() == 0
    with closing(sqlite3.connect(stage.stage.findings_db, isolation_level=None)) as other:
        other.execute("PRAGMA locking_mode = EXCLUSIVE")
        other.execute("BEGIN EXCLUSIVE")
        stage.agent.start()
        assert stage.agent.ended(30) == EX_TEMPFAIL
    said = stage.agent.lines("cannot start")[0]["reason"]
    assert "findings.db" in said
    assert "Close it" in said
    stage.start_agent()
    assert stage.agent.stop() == 0


@pytest.mark.timeout(90)
def test_a_finding_that_falls_into_a_locked_store_is_not_lost(
    mosquitto: Callable[..., Broker], play: Callable[..., Play]
):
    broker = mosquitto()
    short = PointPlan("factory", steps((0, 60), (30, 130), (100, 60)))
    stage = play([short], rate=600.0, broker_port=broker.port)
    centre = Centre(stage, broker.port).start()
    stage.start_meters()
    stage.start_agent()
    wait_until(lambda: centre.records("boot"), 10, "the boot record")
    wait_until(lambda: stage.stage.minute > 25, 10, "the overload is near")
    with closing(sqlite3.connect(stage.stage.findings_db, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        wait_until(lambda: stage.agent.lines("finding"), 20, "a finding while the store is locked")
        time.sleep(7.0)  # longer than the store waits for a lock
        other.execute("ROLLBACK")
    opened = wait_until(lambda: centre.step(TOPIC, "opened"), 20, "the finding arrives after all")
    cleared = wait_until(lambda: centre.step(TOPIC, "cleared"), 20, "and so does its end")
    assert opened.finding == cleared.finding
    listed = json.loads(stage.verb("findings", "--json").stdout)
    assert [f["finding"] for f in listed] == [opened.finding]
    centre.no_complaints()
    assert stage.agent.stop() == 0
