"""The same work for many items, some at a time."""

from __future__ import annotations

import threading

from rebyte_wire.errors import EXIT_KEY, EXIT_RUNNING

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

JOIN_SECONDS = 0.2
# A refused key and a time that is over are the same for every item.
FINAL_EXIT_CODES = (EXIT_KEY, EXIT_RUNNING)


def map_concurrently(
    work: Callable[[Any], Any],
    items: Iterable[Any],
    width: int,
) -> list[Any]:
    """Call `work(item)` for each item on at most `width` threads.

    Returns results or exceptions, in order. A refused key and the end of the time stop the rest
    and are raised once what runs has ended; an interrupt at once.
    """
    pool = _Pool(work, list(items))
    if len(pool.items) <= 1 or width <= 1:
        pool.run()
    else:
        pool.run_threads(min(width, len(pool.items)))
    if pool.final:
        raise pool.final
    return pool.outcomes


class _Pool:
    """Items and their outcomes; each thread takes the next item until none is left."""

    def __init__(
        self,
        work: Callable[[Any], Any],
        items: list[Any],
    ) -> None:
        self.items = items
        self.outcomes: list[Any] = [None] * len(items)
        self.final: Exception | None = None
        self._work = work
        self._stopped = False
        self._indexes = iter(range(len(items)))
        self._lock = threading.Lock()

    def run_threads(self, width: int) -> None:
        """Run on so many threads until all have ended, or until an interrupt."""
        threads = [threading.Thread(target=self.run, daemon=True) for _ in range(width)]
        try:
            for thread in threads:
                thread.start()
            for thread in threads:
                while thread.is_alive():
                    # A wait with a limit lets signals through on every platform.
                    thread.join(JOIN_SECONDS)
        finally:
            self._stopped = True

    def run(self) -> None:
        """Work on one item after another."""
        while not self._stopped:
            with self._lock:
                index = next(self._indexes, None)
            if index is None:
                return
            try:
                self.outcomes[index] = self._work(self.items[index])
            except Exception as problem:
                self.outcomes[index] = problem
                if getattr(problem, "exit_code", None) in FINAL_EXIT_CODES:
                    self.final = self.final or problem
                    self._stopped = True
