"""The store in figures, as its thread sees it: for the heartbeat, the status page and the agent's own health."""

from __future__ import annotations

from edge_agent.store.files import free_bytes, size_with_log
from edge_agent.store.findings_db import FindingsDb
from edge_agent.store.shapes import Limits, Stats
from edge_agent.store.telemetry_db import TelemetryDb


def stats_of(
    findings: FindingsDb,
    telemetry: TelemetryDb,
    limits: Limits,
    *,
    pending: int,
    reserve_held: bool,
    commits: int,
    beat_s: float,
) -> Stats:
    meta = findings.meta
    findings_used, telemetry_used = findings.used_bytes(), telemetry.used_bytes()
    share = findings_used / limits.findings_quota_bytes
    return Stats(
        epoch=meta.epoch,
        head_seq=meta.head_seq,
        kept_upto=meta.kept_upto,
        depth=meta.head_seq - meta.kept_upto - len(findings.dead_seqs),
        dead=len(findings.dead_seqs),
        oldest_unsent_ms=findings.oldest_unsent_ms(),
        pending=pending,
        findings_used_bytes=findings_used,
        findings_file_bytes=size_with_log(findings.path),
        findings_share=share,
        findings_near_quota=share >= limits.near_share,
        telemetry_used_bytes=telemetry_used,
        telemetry_file_bytes=size_with_log(telemetry.path),
        telemetry_share=telemetry_used / limits.telemetry_quota_bytes,
        telemetry_days=len(telemetry.days()),
        telemetry_damaged=telemetry.damaged_rows,
        disk_free_bytes=free_bytes(findings.path.parent),
        reserve_held=reserve_held,
        commits=commits,
        failing="",
        beat_s=beat_s,
    )
