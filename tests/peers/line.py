"""One serial line made of ptys, of two wires: what anybody says, all others hear.

There is no pace and no collision here; the simulator's lines have those.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import threading
import tty
from typing import Self


class PtyBus:
    """`with PtyBus(2) as bus:` gives `bus.master`, the path for who asks, and `bus.stations`, one for each other."""

    def __init__(self, stations: int = 1) -> None:
        self._ends: list[int] = []
        self._kept: list[int] = []
        paths = [self._pair() for _ in range(1 + stations)]
        self.master, self.stations = paths[0], tuple(paths[1:])
        self._stop, self._stopped = os.pipe()
        self._thread = threading.Thread(target=self._carry, name="pty bus", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._stopped)
        self._thread.join(5.0)
        for descriptor in (*self._ends, *self._kept, self._stop):
            os.close(descriptor)

    def _pair(self) -> str:
        end, far = os.openpty()
        tty.setraw(far)  # it stays open here, so that the setting stays and nobody's closing is an end
        os.set_blocking(end, False)
        self._ends.append(end)
        self._kept.append(far)
        return os.ttyname(far)

    def _carry(self) -> None:
        with selectors.DefaultSelector() as ready:
            for end in (*self._ends, self._stop):
                ready.register(end, selectors.EVENT_READ)
            while True:
                for key, _ in ready.select():
                    if key.fd == self._stop:
                        return
                    with contextlib.suppress(OSError):
                        data = os.read(key.fd, 4096)
                        for end in self._ends:
                            if end != key.fd:
                                os.write(end, data)
