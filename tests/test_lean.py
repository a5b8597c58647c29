"""What is kept out of the process: absent after the import, there when somebody looks, and all else works."""

from __future__ import annotations

import json
import subprocess
import sys

from tests.house.tree import ROOT


def fresh(code: str) -> object:
    """What a fresh interpreter says, as JSON."""
    program = f"import json, sys; sys.path.insert(0, {str(ROOT)!r})\n{code}"
    done = subprocess.run(
        [sys.executable, "-I", "-c", program], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_the_agent_loads_what_it_uses_and_not_what_comes_with_it():
    loaded = fresh("import edge_agent.app; print(json.dumps([*sys.modules]))")
    assert isinstance(loaded, list)
    assert {"structlog", "msgspec", "numpy", "paho.mqtt.client"} <= set(loaded)
    unused = {"rich", "typing_extensions", "ctypes", "ipaddress", "urllib.request", "http.client", "email", "zipfile"}
    unused |= {"structlog.stdlib", "msgspec.inspect", "numpy._core._add_newdocs"}
    assert not unused & set(loaded)


def test_what_was_kept_out_can_be_loaded_afterwards():
    said = fresh(
        "import edge_agent.app, ctypes, rich, typing_extensions, urllib.request\n"
        "print(json.dumps([ctypes.sizeof(ctypes.c_int64), urllib.request.Request('http://a.test/').host]))"
    )
    assert said == [8, "a.test"]


def test_what_is_loaded_already_stays():
    said = fresh(
        "import ctypes, urllib.request, edge_agent.app\n"
        "print(json.dumps([sys.modules['ctypes'] is ctypes, 'getproxies' in vars(urllib.request)]))"
    )
    assert said == [True, True]


def test_a_first_look_loads_what_was_imported_by_name_alone():
    """As paho looks for a proxy, where a SOCKS library is installed beside it."""
    said = fresh(
        "import edge_agent.app, os, paho.mqtt.client as paho\n"
        "before = 'urllib.request' in sys.modules\n"
        "os.environ['mqtt_proxy'] = 'socks://proxy.test:1080'\n"
        "named = paho.urllib.request.getproxies()['mqtt']\n"
        "print(json.dumps([before, named, 'urllib.request' in sys.modules]))"
    )
    assert said == [False, "socks://proxy.test:1080", True]


def test_a_schema_and_a_standard_log_can_still_be_made():
    said = fresh(
        "import edge_agent.app, msgspec, structlog\n"
        "log = structlog.stdlib.get_logger()\n"
        "print(json.dumps([msgspec.json.schema(list[int]), type(msgspec.inspect.type_info(int)).__name__, bool(log)]))"
    )
    assert said == [{"type": "array", "items": {"type": "integer"}}, "IntType", True]


def test_a_host_in_brackets_is_understood_although_addresses_were_not_loaded():
    said = fresh(
        "import edge_agent.app\n"
        "from urllib.parse import urlsplit\n"
        "found = [urlsplit('mqtt://[2001:db8::1]:8883').port]\n"
        "try: urlsplit('mqtt://[nonsense]:8883')\n"
        "except ValueError as wrong: found.append(str(wrong))\n"
        "import ipaddress\n"
        "print(json.dumps([*found, ipaddress.ip_address('10.0.0.1').is_private]))"
    )
    assert isinstance(said, list)
    assert (said[0], said[2]) == (8883, True)
    assert "nonsense" in said[1]


def test_numpy_without_ctypes_works_as_with_it():
    said = fresh(
        "import edge_agent.load, numpy as np\n"
        "columns = np.arange(6.0).reshape(2, 3).T\n"
        "print(json.dumps([columns[:, 1].tolist(), np.linalg.lstsq(np.eye(2), np.ones(2))[0].tolist()]))"
    )
    assert said == [[3.0, 4.0, 5.0], [1.0, 1.0]]
