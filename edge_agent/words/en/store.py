"""What the store says to a person when it cannot work, and what to do about it; keys are the codes of its errors."""

from __future__ import annotations

SENTENCES: dict[str, str] = {
    "store.failed": "The store could not do this: {reason}. Please report it with the log of the last minute.",
    "store.directory_missing": (
        "The state directory {path} does not exist. Create it and give it to the user that runs the agent, or correct"
        " paths.state in the site file."
    ),
    "store.missing": ("There is no store at {path}. Start the agent once, or correct paths.state in the site file."),
    "store.unreadable": "{path} cannot be read: {reason}. Run this as the user that runs the agent, or as root.",
    "store.unwritable": (
        "{path} cannot be written: {reason}. If the disk has become read-only, look at `dmesg` and replace the card;"
        " otherwise give the directory to the user that runs the agent."
    ),
    "store.held": (
        "Another agent uses this state directory: process {holder_pid} holds {path}. Stop it first, or give this agent"
        " a state directory of its own."
    ),
    "store.locked": "Another program has {path} open and does not let go of it. Close it and start the agent again.",
    "store.newer": (
        "{path} was written by a newer version of the agent (schema {found}, this version knows {known}). Install that"
        " version again; nothing was changed."
    ),
    "store.full": (
        "There is no space left for {path}, even with the reserve. Free some space on this disk: the agent goes on by"
        " itself."
    ),
    "store.busy": "{waiting} messages wait for the disk, which is too slow. The agent goes on by itself.",
    "store.damaged": "{path} is damaged: {reason}. Start the agent: it rescues what can be proved and counts the rest.",
    "store.failing": "The disk under {path} keeps failing: {reason}. Replace the card or the disk.",
    "store.closed": "The store is closed.",
}
