"""An agent on a serial line as processes: who does not answer, and a port that goes and comes back."""

from __future__ import annotations

import pytest

from tests.e2e.processes import wait_until
from tests.serial_desk import SerialDesk


@pytest.fixture
def desk(short_path):
    made = SerialDesk(short_path / "d")
    yield made
    made.end()


def test_status_tells_a_silent_device_from_a_port_that_has_gone(desk):
    desk.start_meters()
    desk.start_agent()
    wait_until(lambda: (d := desk.status()[1])["m2"]["pause"] and d["m3"]["last_good_s"] is not None, 20, "all asked")
    said = desk.status_as_a_verb()
    (link,), devices = said["links"], {d["id"]: d for d in said["devices"]}
    assert (link["state"], link["said"]) == ("up", "up")
    assert link["where"] == f"{desk.port}, 19200 8N1"
    assert link["last_frame_s"] < 5
    assert devices["m2"]["said"] == "left alone: it keeps silent (unit 2 kept silent)"
    assert 0 < devices["m2"]["next_try_s"] <= 15
    assert devices["m2"]["answered_s"] is None
    for well in ("m1", "m3"):
        assert devices[well]["said"].startswith("answers")
        assert devices[well]["pause"] is None
        assert 0 < devices[well]["latency_ms"]["longest"] < 300
    text = desk.verb("status").stdout
    for words in ("left alone", "unit 2 kept silent", "19200 8N1", "in 1", "never"):
        assert words in text, text

    desk.meters.stop()  # and the pty with it, as a USB adapter goes
    wait_until(lambda: desk.status()[0]["state"] == "down", 20, "the port is missed")
    link, devices = desk.status()
    assert "is the adapter plugged in" in link["detail"] or "hung up" in link["detail"]
    assert link["next_try_s"] is not None
    assert {d["said"] for d in devices.values()} == {"cannot be asked: link bus is down"}
    assert devices["m1"]["pause"] is None, "the link's failure is not the device's"

    desk.start_meters()  # another pty under the same name
    wait_until(lambda: desk.status()[0]["state"] == "up", 70, "the port is found again")
    wait_until(lambda: desk.status()[1]["m1"]["said"].startswith("answers"), 20, "and its devices")
    assert [entry["event"] for entry in desk.agent.lines() if entry["event"] in {"link down", "link up"}][-1] == (
        "link up"
    )
    assert desk.agent.stop() == 0


def test_a_port_that_another_program_has_is_said_with_its_name(desk):
    desk.start_meters()
    desk.start_agent()
    wait_until(lambda: desk.status()[1]["m1"]["last_good_s"] is not None, 20, "the agent has the port")
    other = SerialDesk(desk.folder / "elsewhere")  # its runtime folder knows of no agent
    other.site.write_text(desk.site.read_text("utf-8"), encoding="utf-8")
    done = other.verb("read", "m1")
    assert done.returncode != 0
    assert f"in use by process {desk.agent.pid}" in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stderr.count("\n") == 1
