"""Links have one holder: the lock lasts as long as its process, and says who that is."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap

import pytest

from edge_agent.holding import HeldLinks, LinkHeld

HOLDER = textwrap.dedent("""
    import sys, time
    from pathlib import Path
    from edge_agent.holding import HeldLinks
    held = HeldLinks(Path(sys.argv[1]), ["lan", "bus-1"])
    print("held", flush=True)
    time.sleep(60)
""")


@pytest.fixture
def holder(tmp_path):
    process = subprocess.Popen([sys.executable, "-c", HOLDER, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


def test_a_link_in_use_names_its_holder(tmp_path, holder):
    with pytest.raises(LinkHeld, match=f"link bus-1 is in use by process {holder.pid}"):
        HeldLinks(tmp_path, ["bus-1"])


def test_all_links_or_none(tmp_path, holder):
    with pytest.raises(LinkHeld):
        HeldLinks(tmp_path, ["free", "lan"])
    HeldLinks(tmp_path, ["free"]).close()


def test_a_killed_holder_holds_nothing(tmp_path, holder):
    os.kill(holder.pid, signal.SIGKILL)
    holder.wait()
    with HeldLinks(tmp_path, ["lan", "bus-1"]), pytest.raises(LinkHeld, match=f"process {os.getpid()}"):
        HeldLinks(tmp_path, ["lan"])
    HeldLinks(tmp_path, ["lan"]).close()


def test_a_folder_that_cannot_be_used_is_an_os_error(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="file"):
        HeldLinks(tmp_path / "file", ["lan"])
