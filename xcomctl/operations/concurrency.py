"""Some things at a time: in their own order, and none before it is wanted, or as they are ready."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Generic, TypeVar

T = TypeVar("T")
R = TypeVar("R")


def at_once(function: Callable[[T], R], items: Iterable[T], workers: int) -> Iterator[R]:
    """What a function makes of each item; at most so many are under way or wait to be taken.

    Whoever leaves early, as by Ctrl-C, waits for none of them: a store that says nothing would hold them up.
    """
    asked: SimpleQueue[tuple[T, Future[R]] | None] = SimpleQueue()
    pending: deque[Future[R]] = deque()
    started = 0
    try:
        for item in items:
            if started < workers:
                Thread(target=_work, args=(function, asked), daemon=True).start()
                started += 1
            pending.append(Future())
            asked.put((item, pending[-1]))
            if len(pending) == workers:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        for _ in range(started):
            asked.put(None)


def _work(function: Callable[[T], R], asked: SimpleQueue[tuple[T, Future[R]] | None]) -> None:
    while (task := asked.get()) is not None:
        item, future = task
        try:
            future.set_result(function(item))
        except BaseException as error:  # whoever takes the result gets it
            future.set_exception(error)


def weighed(
    pool: ThreadPoolExecutor, function: Callable[[T], R], items: Iterable[T], weigh: Callable[[T], int], most: int
) -> Iterator[R]:
    """What a function makes of each item, in their order. Those under way weigh no more than `most`, but for one alone.

    Whoever leaves early waits for what has begun, and nothing else begins.
    """
    pending: deque[tuple[Future[R], int]] = deque()
    held = 0
    try:
        for item in items:
            weight = weigh(item)
            while pending and held + weight > most:
                future, freed = pending.popleft()
                yield future.result()
                held -= freed
            pending.append((pool.submit(function, item), weight))
            held += weight
            del item
        while pending:
            yield pending.popleft()[0].result()
    finally:
        for future, _ in pending:
            future.cancel()


class Crew(Generic[R]):
    """Work under way, each in a thread of its own. Whoever leaves early waits for none of it."""

    def __init__(self) -> None:
        self._ready: SimpleQueue[Future[R]] = SimpleQueue()
        self.under_way = 0

    def begin(self, work: Callable[[], R]) -> None:
        """Let it be done."""
        Thread(target=self._do, args=(work,), daemon=True).start()
        self.under_way += 1

    def result(self, seconds: float) -> R | None:
        """What some of it gave, the first that is ready; None where nothing is in time. Raises what it raised."""
        try:
            future = self._ready.get(timeout=seconds)
        except Empty:
            return None
        self.under_way -= 1
        return future.result()

    def _do(self, work: Callable[[], R]) -> None:
        future: Future[R] = Future()
        try:
            future.set_result(work())
        except BaseException as error:  # whoever takes the result gets it
            future.set_exception(error)
        self._ready.put(future)
