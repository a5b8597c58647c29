"""An event loop in a thread of its own, for whoever has none to lend: the demo, the tests, the broker."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from typing import Any, Self

GRACE_S = 0.5


class LoopThread:
    """An event loop in a thread: `with LoopThread() as loop: loop.run(fleet.start())`."""

    def __init__(self, name: str, loop: asyncio.AbstractEventLoop | None = None) -> None:
        self._loop = loop or asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name=name, daemon=True)

    def run(self, work: Coroutine[Any, Any, Any], timeout_s: float = 15.0) -> Any:
        """Do `work` on the loop and hand back its result or its error."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(timeout_s)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.run(_cancel_rest())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10.0)
        self._loop.close()


async def _cancel_rest() -> None:
    """Let what is ending end, cancel the rest, and give closed sockets their last turn of the loop."""
    rest = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    if rest:
        _, rest_still = await asyncio.wait(rest, timeout=GRACE_S)
        for task in rest_still:
            task.cancel()
        await asyncio.gather(*rest_still, return_exceptions=True)
    await asyncio.sleep(0.01)
