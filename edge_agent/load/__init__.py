from edge_agent import lean

# numpy does without ctypes where there is none, and nobody here hands arrays to C: 0.4 MiB. Nor does anybody read here
# what its functions do: 0.2 MiB.
with lean.without("ctypes"), lean.until_used("numpy._core._add_newdocs"):
    import numpy  # noqa: F401  # its first import decides what comes with it
