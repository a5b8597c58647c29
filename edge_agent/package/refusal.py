"""Why a package counts for nothing: one word for the records, and the facts of its sentence."""

from __future__ import annotations


class PackageRefused(Exception):
    """The package is not taken, and what was there stays. `code` is the reason as records and messages name it."""

    def __init__(self, code: str, /, **fields: object) -> None:
        super().__init__(f"{code}: " + ", ".join(f"{k}={v}" for k, v in fields.items()) if fields else code)
        self.code = code
        self.fields = fields
