"""What all cases together say: per kind what was found and when, per topic how often it was right."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any

from edge_agent.assembly import releases_of
from edge_agent.model import Severity
from edge_agent.settings import config_files
from tests.truth.cases import BY_NAME
from tests.truth.figures import median, rate_bound, share
from tests.truth.kinds import KINDS
from tests.truth.play import RELEASE_SET
from tests.truth.ranking import ranking
from tests.truth.results import Result

GRAVE = ("major", "critical")
COLLECTION = ("dat-",)
"""What these say of disturbed runs is so: readings are missing there."""


def summary(results: Sequence[Result], source: str) -> dict[str, Any]:
    """Plain figures, for `--json` and for the tables."""
    topics = sorted(releases_of(config_files(), RELEASE_SET))
    plain = [r for r in results if not r.disturbed]
    clean = [r for r in plain if not r.kind]
    return {
        "profiles": source,
        "release_set": RELEASE_SET,
        "cases": {"clean": len(clean), "at_fault": sum(bool(r.kind) for r in plain),
                  "disturbed": sum(r.disturbed for r in results)},
        "cadence": sorted({f"{r.kind or 'clean'}: {r.every_s} s" for r in plain}),
        "clean": _clean(clean),
        "kinds": [_kind(k.name, [r for r in plain if r.kind == k.name], topics) for k in KINDS
                  if any(r.kind == k.name for r in plain)],
        "topics": [_topic(t, plain) for t in topics],
        "not_so": _not_so(plain),
        "disturbed": _disturbed(plain, [r for r in results if r.disturbed]),
        "ranking": ranking(plain),
    }  # fmt: skip


def _clean(clean: Sequence[Result]) -> dict[str, Any]:
    years = sum(r.days for r in clean) / 365.25
    by_severity: Counter[str] = Counter()
    false: Counter[str] = Counter()
    for result in clean:
        for finding in result.findings:
            by_severity[finding["severity"]] += 1
            false[finding["severity"]] += finding["why"] == "not so"
    grave = sum(by_severity[s] for s in GRAVE)
    return {
        "point_years": round(years, 3),
        "shapes": len({r.shape for r in clean}),
        "findings": dict(by_severity),
        "not_so": {s: n for s, n in false.items() if n},
        "major": grave,
        "major_bound_per_year": _round(rate_bound(grave, years)),
        "major_not_so": sum(false[s] for s in GRAVE),
        "warnings_per_year": _round(by_severity["warning"] / years) if years else None,
        "warnings_not_so_per_year": _round(false["warning"] / years) if years else None,
        "notices_per_year": _round(by_severity["notice"] / years) if years else None,
        "notices_not_so_per_year": _round(false["notice"] / years) if years else None,
    }


def _kind(name: str, cases: Sequence[Result], topics: Sequence[str]) -> dict[str, Any]:
    kind = BY_NAME[name]
    enough = [r for r in cases if r.enough]
    found = sum(r.found for r in enough)
    low, high = share(found, len(enough))
    late = [r.late_h for r in cases if r.late_h is not None]
    why: Counter[str] = Counter()
    for result in enough:
        if not result.found:
            why[_why_not(result, kind.must)] += 1
    return {
        "kind": name,
        "says": kind.says,
        "topics": list(kind.must),
        "published": any(t in topics for t in kind.must),
        "cases": len(cases),
        "enough": len(enough),
        "found": found,
        "recall": _round(found / len(enough)) if enough else None,
        "recall_interval": [_round(low), _round(high)],
        "found_of_all": sum(r.found for r in cases),
        "delay_h": _round(median(late)),
        "delay_most_h": _round(max(late)) if late else None,
        "routed_right": sum(r.route in kind.routes for r in cases if r.found),
        "short": kind.short,
        "missed_because": dict(why),
    }


def _why_not(result: Result, must: Sequence[str]) -> str:
    """The commonest reason that the topics themselves gave."""
    reasons: Counter[str] = Counter()
    for topic, answer, reason, count in result.answers:
        if topic in must and answer in {"unknown", "between"}:
            reasons[reason or answer] += count
        elif topic in must and answer == "breach":
            reasons["breach, not opened or too late"] += 10**6
    return reasons.most_common(1)[0][0] if reasons else "nothing was said"


def _topic(topic: str, plain: Sequence[Result]) -> dict[str, Any]:
    said: Counter[str] = Counter()
    why: Counter[str] = Counter()
    findings = [f for r in plain for f in r.findings if f["topic"] == topic]
    for result in plain:
        for name, answer, reason, count in result.answers:
            if name == topic:
                said[answer] += count
                if answer == "unknown":
                    why[reason] += count
    so = sum(f["why"] != "not so" for f in findings)
    low, high = share(so, len(findings))
    clean = [r for r in plain if not r.kind]
    years = sum(r.days for r in clean) / 365.25
    on_clean = sum(f["topic"] == topic for r in clean for f in r.findings)
    kinds = [k.name for k in KINDS if topic in k.must]
    wanted = [r for r in plain if r.kind in kinds and r.enough]
    hits = sum(r.found for r in wanted)
    total = said.total()
    return {
        "topic": topic,
        "findings": len(findings),
        "so": so,
        "precision": _round(so / len(findings)) if findings else None,
        "precision_interval": [_round(low), _round(high)] if findings else None,
        "kinds": kinds,
        "cases": len(wanted),
        "recall": _round(hits / len(wanted)) if wanted else None,
        "recall_interval": [_round(x) for x in share(hits, len(wanted))] if wanted else None,
        "delay_h": _round(median([r.late_h for r in wanted if r.late_h is not None])),
        "per_clean_year": _round(on_clean / years) if years else None,
        "verdicts": total,
        "unknown": _round(said["unknown"] / total) if total else None,
        "unknown_because": {k or "?": v for k, v in why.most_common(4)},
    }


def _not_so(plain: Sequence[Result]) -> list[dict[str, Any]]:
    """Accusations that are not so, the gravest first, with the case that plays each again."""
    out: list[dict[str, Any]] = []
    for r in plain:
        for f in r.findings:
            if f["why"] == "not so":
                what = {"kind": r.kind or "clean", "number": r.number, "shape": r.shape, **r.customer}
                out.append({**{k: f[k] for k in ("topic", "key", "severity", "opened_day", "measured")}, "case": what})
    return sorted(out, key=lambda f: (-Severity(f["severity"]).rank, f["topic"]))


def _disturbed(plain: Sequence[Result], spoiled: Sequence[Result]) -> dict[str, Any]:
    """The same cases again, with readings missing and late, clock steps and a day without any."""
    before = {(r.kind, r.number): r for r in plain}
    more: list[dict[str, Any]] = []
    unknown: dict[bool, Counter[str]] = defaultdict(Counter)
    years = 0.0
    for r in spoiled:
        first = before.get((r.kind, r.number))
        if first is None:
            continue
        years += r.days / 365.25
        known = {(f["topic"], _thing(f)) for f in first.findings}
        more += [
            {**{k: f[k] for k in ("topic", "key", "severity", "why", "measured")},
             "kind": r.kind or "clean", "number": r.number, "shape": r.shape}
            for f in r.findings
            if not f["topic"].startswith(COLLECTION) and (f["topic"], _thing(f)) not in known
        ]  # fmt: skip
        for disturbed, result in ((False, first), (True, r)):
            for _, answer, _, count in result.answers:
                unknown[disturbed][answer] += count
    shares = {
        name: _round(unknown[disturbed]["unknown"] / unknown[disturbed].total()) if unknown[disturbed] else None
        for name, disturbed in (("unknown_before", False), ("unknown", True))
    }
    return {
        "point_years": round(years, 3),
        "cases": len(spoiled),
        "additional": len(more),
        "additional_not_so": [m for m in more if m["why"] == "not so"],
        "additional_so": Counter(m["topic"] for m in more if m["why"] != "not so"),
        **shares,
    }


def _thing(finding: dict[str, Any]) -> str:
    """What in the point; a key that holds a time is told apart by what stands before it."""
    return str(finding["key"]).split("-2016")[0].split("-2015")[0]


def _round(value: float | None) -> float | None:
    return None if value is None else round(value, 4)
