"""What can go wrong with the store, named by what happens next.

An error carries a code and its facts; the sentence for a person, with the cure, is in the words room under that code.
A future that fails means that nothing of that call was stored: make the call again, letters are stored once by id.
"""

from __future__ import annotations

import sqlite3

TRY_AGAIN = 75
"""Exit code EX_TEMPFAIL of sysexits.h: the service manager starts the agent anew."""


class StoreError(Exception):
    """The store cannot do what was asked."""

    code = "store.failed"
    exit_code = 1

    def __init__(self, **facts: str | int) -> None:
        self.facts = facts
        words = " ".join(f"{name}={value}" for name, value in facts.items())
        super().__init__(f"{self.code}: {words}" if words else self.code)


class StoreDirectoryMissing(StoreError):
    """The state directory is not there: create it, then start."""

    code = "store.directory_missing"


class StoreMissing(StoreError):
    """There is no store at this path: the agent has not run here yet, or the path is another."""

    code = "store.missing"


class StoreUnreadable(StoreError):
    """The file cannot be read by this user."""

    code = "store.unreadable"


class StoreUnwritable(StoreError):
    """The state directory or file cannot be written: hold new findings in memory and say so."""

    code = "store.unwritable"


class StoreHeld(StoreError):
    """Another agent has this state directory: do not start."""

    code = "store.held"


class StoreLocked(StoreError):
    """Another program holds the database: ask again once it is closed."""

    code = "store.locked"
    exit_code = TRY_AGAIN


class StoreNewer(StoreError):
    """A newer agent wrote this file: install that agent, or give this one another directory."""

    code = "store.newer"


class StoreFull(StoreError):
    """No space even after the reserve and shed telemetry: keep evaluating, ask again later."""

    code = "store.full"


class StoreBusy(StoreError):
    """More is waiting to be committed than may wait: ask again later."""

    code = "store.busy"


class StoreDamaged(StoreError):
    """The file is damaged: end and start anew, the start rescues what can be proved."""

    code = "store.damaged"
    exit_code = TRY_AGAIN


class StoreFailing(StoreError):
    """The disk keeps failing: end, and let the service manager start the agent anew."""

    code = "store.failing"
    exit_code = TRY_AGAIN


class StoreClosed(StoreError):
    """The store has been closed."""

    code = "store.closed"


def primary_code(error: sqlite3.Error) -> int:
    """SQLite's primary result code of an error, 0 where the error came from the Python module itself."""
    return int(getattr(error, "sqlite_errorcode", 0) or 0) & 0xFF


def means_damage(error: sqlite3.Error) -> bool:
    return primary_code(error) in {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_FORMAT}
