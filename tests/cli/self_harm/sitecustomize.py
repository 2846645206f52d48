"""Loaded by a Python that starts with this folder on its PYTHONPATH: it sends itself a signal just before a deed.

A deed is a change to the files below HARM_UNDER; to open one for writing is a deed once it is done, so that it leaves
an empty file. The swap of a row counts twice: before it, and when it is done. HARM_AT is the number of the deed,
HARM_SIGNAL the signal's name. HARM_STATEMENT is the number of a statement that the database is to hear on a connection
that may write, commits included. HARM_REFRESH is how many seconds apart a run gives its signs of life, and batches are
of two.
"""

from __future__ import annotations

import builtins
import os
import signal
import threading
from collections.abc import Callable
from datetime import timedelta
from itertools import count
from typing import Any

UNDER = os.environ.get("HARM_UNDER", "")
AT = int(os.environ.get("HARM_AT", "0"))
STATEMENT = int(os.environ.get("HARM_STATEMENT", "0"))
numbers = count(1)


def note(name: object) -> None:
    """One deed; the signal, if it is this one's turn."""
    if str(name).startswith(UNDER) and next(numbers) == AT:
        # Sent to the process, another thread might take it, and this one go on.
        signal.pthread_kill(threading.get_ident(), signal.Signals[os.environ["HARM_SIGNAL"]])


def noted(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, as a deed."""

    def deed(name: Any, *words: Any, **options: Any) -> Any:
        note(name)
        return function(name, *words, **options)

    return deed


def opened(open_: Callable[..., Any]) -> Callable[..., Any]:
    """`open`, which is a deed when it has made a file."""

    def deed(file: Any, mode: str = "r", *words: Any, **options: Any) -> Any:
        made = open_(file, mode, *words, **options)
        if mode == "wb":
            note(file)
        return made

    return deed


def swapped(swap: Callable[..., bool]) -> Callable[..., bool]:
    """`Rewriter.swap`, which is a deed before and after."""

    def deed(*words: Any) -> bool:
        note(UNDER)
        done = swap(*words)
        note(UNDER)
        return done

    return deed


def harm() -> None:
    for name in ("rename", "replace", "unlink", "link"):
        setattr(os, name, noted(getattr(os, name)))
    builtins.open = opened(builtins.open)
    from xcomctl.catalog.rewriting import Rewriter

    Rewriter.swap = swapped(Rewriter.swap)  # type: ignore[method-assign]


def hurry() -> None:
    """Small batches, and frequent signs of life where they are asked for."""
    from xcomctl.ledger import lease
    from xcomctl.operations import restoring
    from xcomctl.operations.gc import batches
    from xcomctl.operations.migrate import migration
    from xcomctl.operations.rm import removal

    batches.BATCH = restoring.BATCH = migration.BATCH = removal.ROWS_AT_ONCE = 2
    lease.REFRESH = timedelta(seconds=float(os.environ.get("HARM_REFRESH", lease.REFRESH.total_seconds())))


def interrupt() -> None:
    """Send the signal just before a statement or a commit, on connections that may write."""
    from sqlalchemy import event

    from xcomctl.catalog import writing

    real = writing.open_writing_engine
    told = count(1)

    def hear(*words: object) -> None:
        if next(told) == STATEMENT:
            os.kill(os.getpid(), signal.Signals[os.environ["HARM_SIGNAL"]])

    def opened_to_write(*words: Any) -> Any:
        engine = real(*words)
        event.listen(engine, "before_cursor_execute", hear)
        event.listen(engine, "commit", hear)
        return engine

    writing.open_writing_engine = opened_to_write


hurry()
if UNDER:
    harm()
if STATEMENT:
    interrupt()
