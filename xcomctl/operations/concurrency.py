"""Some things at a time, in their own order, and none before it is wanted."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from queue import SimpleQueue
from threading import Thread
from typing import TypeVar

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
