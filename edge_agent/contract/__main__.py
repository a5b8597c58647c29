"""`python -m edge_agent.contract` writes the JSON Schemas and the AsyncAPI document beside this file."""

from __future__ import annotations

from edge_agent.contract.documents import SCHEMAS, files

SCHEMAS.mkdir(exist_ok=True)
for path, text in files().items():
    path.write_text(text, encoding="utf-8")
