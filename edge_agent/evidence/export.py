"""The bundle of a finding as one ZIP that needs nothing else: what was sent, what was frozen, tables, pages, sums.

Messages and bundles go in byte by byte, so that whoever has the chain's head can prove them; the same finding gives the
same file.
"""

from __future__ import annotations

import csv
import hashlib
import io
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from edge_agent.evidence.frozen import Frozen, thaw
from edge_agent.evidence.report import report
from edge_agent.words import say

LANGUAGES = ("en", "zh")
STAMP = (1980, 1, 1, 0, 0, 0)
"""The time of every entry: a bundle made twice is the same file."""


def files_of(
    bodies: Sequence[bytes], frozen: Sequence[Frozen], languages: Sequence[str] = LANGUAGES
) -> dict[str, bytes]:
    """Every file of the bundle by its name. ValueError: something frozen is not what its digest says."""
    messages = [msgspec.json.decode(body, type=dict[str, Any]) for body in bodies]
    steps = [{**m["data"], "severity": m["severity"], "time": m.get("time", "")} for m in messages]
    raw = {f.n: body for f in frozen if (body := thaw(f)) is not None}
    bundles: list[dict[str, Any]] = [msgspec.json.decode(body) for _, body in sorted(raw.items())]
    if not steps and not bundles:
        raise ValueError("there is neither a message nor a bundle of it")
    chain = [_place(m) for m in messages]
    files = {f"messages/{n:03d}.json": body for n, body in enumerate(bodies, start=1)}
    files |= {f"evidence/step-{n:03d}.json": body for n, body in sorted(raw.items())}
    files["digests.json"] = msgspec.json.format(
        msgspec.json.encode([{"step": f.n, "digest": f.digest, "kept": bool(f.packed)} for f in frozen])
    )
    files["chain.json"] = msgspec.json.format(msgspec.json.encode(chain))
    files["intervals.csv"] = _intervals(bundles)
    files["registers.csv"] = _registers(bundles)
    files["frames.csv"] = _frames(bundles)
    for lang in languages:
        files[f"report.{lang}.html"] = report(steps, bundles, chain, lang).encode()
    files["README.txt"] = "\n\n".join(say("report.readme", lang) for lang in languages).encode() + b"\n"
    sums = "".join(f"{hashlib.sha256(body).hexdigest()}  {name}\n" for name, body in sorted(files.items()))
    return {**files, "SHA256SUMS": sums.encode()}


def write_zip(path: Path, files: Mapping[str, bytes]) -> None:
    """Whole or not at all. Raises OSError."""
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w", zipfile.ZIP_DEFLATED) as out:
        for name in sorted(files):
            entry = zipfile.ZipInfo(name, STAMP)
            entry.external_attr = 0o644 << 16
            entry.compress_type = zipfile.ZIP_DEFLATED
            out.writestr(entry, files[name])
    part = path.with_name(path.name + ".part")
    part.write_bytes(held.getvalue())
    part.rename(path)


def _place(message: Mapping[str, Any]) -> dict[str, Any]:
    data = message["data"]
    return {
        "seq": message["seq"],
        "epoch": message["epoch"],
        "prevhash": message["prevhash"],
        "id": message["id"],
        "time": message.get("time", ""),
        "step": f"{data['step']} {data['n']}",
        "evidence": data.get("evidence", ""),
    }


def _intervals(bundles: Sequence[Mapping[str, Any]]) -> bytes:
    """Each block once: as the latest bundle has it."""
    rows: dict[str, list[Any]] = {}
    for bundle in bundles:
        for part in ("before", "during", "after"):
            for block in bundle["intervals"].get(part, ()):
                p, s = block.get("p_w", ("", "", "")), block.get("s_va", ("", "", ""))
                how = (block.get("source", ""), block["coverage"])
                rows[block["end"]] = [block["start"], block["end"], part, *how, *p, *s, block["clockq"]]
    heads = "start end part source coverage p_low_w p_w p_high_w s_low_va s_va s_high_va clockq".split()
    return _csv(heads, [row for _, row in sorted(rows.items())])


def _registers(bundles: Sequence[Mapping[str, Any]]) -> bytes:
    rows = {
        (end["at"], quantity): [end["at"], quantity, *reading]
        for bundle in bundles
        for end in bundle["registers"].values()
        for quantity, reading in end.get("registers", {}).items()
    }
    return _csv(["boundary", "quantity", "value", "step", "read_utc_ms"], [row for _, row in sorted(rows.items())])


def _frames(bundles: Sequence[Mapping[str, Any]]) -> bytes:
    rows: dict[tuple[str, str], list[str]] = {}
    for bundle in bundles:
        for frame in bundle["frames"]:
            rows[frame["request"], frame["reply"]] = [
                frame.get("at", ""), frame["device"], " ".join(frame["quantities"]), frame["request"], frame["reply"],
            ]  # fmt: skip
        for end in bundle["registers"].values():
            for request, reply in end.get("frames", ()):
                rows.setdefault(
                    (request, reply), [end["at"], "", " ".join(sorted(end.get("registers", {}))), request, reply]
                )
    return _csv(["at", "device", "quantities", "request", "reply"], sorted(rows.values()))


def _csv(heads: Sequence[str], rows: Sequence[Sequence[Any]]) -> bytes:
    held = io.StringIO()
    out = csv.writer(held, lineterminator="\n")
    out.writerow(heads)
    out.writerows(rows)
    return held.getvalue().encode()
