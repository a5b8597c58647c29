"""DLMS/COSEM meters of a bench: a scenario for `edge-agent-sim serve`, and what an agent has to know of them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.bench.processes import Child, python

EK, AK = "000102030405060708090A0B0C0D0E0F", "D0D1D2D3D4D5D6D7D8D9DADBDCDDDEDF"
AGENTS_TITLE = "4541470000000001"

_CLIENTS = {
    "plain": "[[meter.client]]\nsap = 1\n",
    "ciphered": '[[meter.client]]\nsap = 1\nauth = "gmac"\nprotect = "both"\n'
    f'encryption_key = "{EK}"\nauthentication_key = "{AK}"\n',
}


def scenario(folder: Path, sap_of: dict[str, int], *, count: int = 1) -> Path:
    """Meters that are `plain` or `ciphered` (HLS-5, authenticated and encrypted), so many from each SAP on."""
    path = folder / "dlms-meters.toml"
    meters = "".join(
        f"""
[[meter]]
id = "{kind}"
protocol = "dlms"
port = 4059
count = {count}
ct = "400/5"
serial = "{sap:010}"
registers = {{ active_energy_import = 1234.56, reactive_energy_import = 765.43 }}
load = {{ kind = "constant", p_kw = 150, pf = 0.85 }}
dlms = {{ sap = {sap}, history_s = 0 }}

{_CLIENTS[kind]}"""
        for kind, sap in sap_of.items()
    )
    path.write_text(f"[clock]\nstart = 2026-03-02T00:00:00+08:00\n{meters}", encoding="utf-8")
    return path


@contextmanager
def served(folder: Path, sap_of: dict[str, int], *, count: int = 1) -> Iterator[Child]:
    """The process that plays them; its `port` is what it says first."""
    command = python("-m", "simulator.cli", "serve", scenario(folder, sap_of, count=count), "--port", "0")
    with Child("dlms-meters", command, folder, talks=True) as child:
        yield child
        child.check()


def port_of(child: Child) -> int:
    """Said once, on the first line."""
    return int(child.ask().rpartition(", DLMS")[0].rpartition(":")[2])


def keys(folder: Path) -> str:
    """What stands in `[device.dlms]` for a ciphered meter: the keys in files."""
    named = {"encryption_key_file": EK, "authentication_key_file": AK}
    lines = ['authentication = "hls5"', 'security = "authenticated-encrypted"', f'client_title = "{AGENTS_TITLE}"']
    for name, key in named.items():
        file = folder / name
        file.write_text(key, encoding="ascii")
        file.chmod(0o600)
        lines.append(f'{name} = "{file}"')
    return "client = 1\n" + "\n".join(lines) + "\n"
