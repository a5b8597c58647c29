"""config/edge-agent.toml is the reference of the site file: every key stands in it, and nothing else does."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

import msgspec
import pytest
import tomli
from msgspec import NODEFAULT, Struct

from edge_agent.settings import ConfigFiles, check, config_files, load_site
from edge_agent.settings.site import Site
from tests.house.tree import ROOT

REFERENCE = ROOT / "config/edge-agent.toml"
OPTIONAL = re.compile(r"^#(?=\[+[a-z_.]+\]|[a-z_]+ = )", re.MULTILINE)
"""The "#" before a key or a header; before a sentence there is a blank after it."""


def text(*, whole: bool) -> str:
    written = REFERENCE.read_text(encoding="utf-8")
    return OPTIONAL.sub("", written) if whole else written


def tables(kind: type[Struct], at: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], type[Struct]]]:
    """Every table of the site file with its path, lists of tables too."""
    yield at, kind
    for field in msgspec.structs.fields(kind):
        inner = struct_in(field.type)
        if inner:
            yield from tables(inner, (*at, field.encode_name))


def struct_in(kind: Any) -> type[Struct] | None:
    if isinstance(kind, type) and issubclass(kind, Struct):
        return kind
    if get_origin(kind) in {Union, UnionType, tuple, Annotated}:
        return next((found for option in get_args(kind) if (found := struct_in(option))), None)
    return None


def keys(written: Any, at: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    if isinstance(written, list):
        for entry in written:
            yield from keys(entry, at)
    if isinstance(written, dict):
        for key, value in written.items():
            yield (*at, key)
            yield from keys(value, (*at, key))


def test_every_key_stands_in_the_reference_and_nothing_else():
    known = {(*at, f.encode_name) for at, kind in tables(Site) for f in msgspec.structs.fields(kind)}
    assert len(known) > 100
    assert set(keys(tomli.loads(text(whole=True)))) == known


@pytest.mark.parametrize("whole", [False, True], ids=["as it is", "every optional key taken in"])
def test_the_reference_has_no_mistake(whole: bool, tmp_path: Path):
    path = tmp_path / "edge-agent.toml"
    path.write_text(text(whole=whole), encoding="utf-8")
    shipped = ConfigFiles(config_files().shipped, tmp_path / "none")
    assert [m.sentence() for m in check(path, config=shipped) if m.severity == "error"] == []
    hints = {m.code for m in check(path, config=shipped)}
    assert hints <= {"credential_unseen"} | ({"dlms_clear_text_forced", "device_unused"} if whole else set())
    assert len(load_site(path, config=shipped).point) == (2 if whole else 1)


def test_the_defaults_shown_are_the_defaults():
    written = tomli.loads(text(whole=True))
    wrong, seen = [], 0
    for table, kind in tables(Site):
        shown: Any = written
        for part in table:
            shown = shown[part]
            if isinstance(shown, list):  # a key counts as shown where it first stands
                shown = {key: value for entry in reversed(shown) for key, value in entry.items()}
        for field in msgspec.structs.fields(kind):
            if (
                field.default in {NODEFAULT, None, ()}
                or field.encode_name in {"kind", "state"}
                or struct_in(field.type)
            ):
                continue
            seen += 1
            if shown.get(field.encode_name) != field.default and ".".join((*table, field.encode_name)) not in EXAMPLES:
                wrong.append(
                    f"{'.'.join((*table, field.encode_name))} = {field.default!r}, not {shown.get(field.encode_name)!r}"
                )
    assert seen > 30
    assert not wrong, f"the reference shows something else than what counts without the key: {wrong}"


EXAMPLES = {"point.ct.source", "point.vt.source", "point.meter_serial.source"} | {
    f"device.dlms.{key}" for key in ("address_size", "authentication", "security", "force_clear_text_keys")
}
"""Keys where an example says more than the default."""


def test_every_line_of_the_reference_fits_a_terminal():
    long = [n for n, line in enumerate(text(whole=False).split("\n"), 1) if len(line) > 120]
    assert not long
