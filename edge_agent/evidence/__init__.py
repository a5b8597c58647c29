"""Evidence 佐证材料: the chain that shows what was changed, and the frozen facts behind each step of a finding."""

from __future__ import annotations

from edge_agent.evidence.chain import ALGORITHM, GENESIS, HASH_BYTES, ChainRecord, ChainReport, Gap, next_hash, verify

__all__ = ["ALGORITHM", "GENESIS", "HASH_BYTES", "ChainRecord", "ChainReport", "Gap", "next_hash", "verify"]
