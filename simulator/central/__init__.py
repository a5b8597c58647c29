"""The reference centre: what a utility can start from, and the judge for the one it has."""
