"""Our field bus against programs of other makers, each a process of its own.

`programs` builds, starts and ends them; `line` is a serial line made of ptys. `modbus_server.c` is a server made with
libmodbus, `dlt645_meter.py` a script for the environment of its own that holds the package `dlt645`; nothing else knows
that package. What is missing fails a test and is never skipped: `make test` installs it.
"""
