from edge_agent import lean

with lean.without("ctypes"):  # numpy does without where there is none; nobody here hands arrays to C: 0.4 MiB
    import numpy  # noqa: F401  # ICN001
