"""SIGTERM and Ctrl-C: at once while nothing is changed, after the batch in hand while something is."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

from xcomctl.errors import ExitCode

SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Terminated(BaseException):
    """SIGTERM, as KeyboardInterrupt is SIGINT: whoever holds something lets go of it on the way out."""


@dataclass(slots=True)
class Noted:
    """The signal that came while it had to wait."""

    number: int | None = None

    @property
    def exit_code(self) -> ExitCode | None:
        """What a shell makes of the signal."""
        return None if self.number is None else ExitCode(128 + self.number)


def pace(noted: Noted, ends_at: float | None) -> Callable[[], str | None]:
    """Why to begin no other batch: a signal, or the time is up; but a run that may go on at all handles one batch."""
    asked = 0

    def reason() -> str | None:
        nonlocal asked
        asked += 1
        if noted.number is not None:
            return "signal"
        return "time-budget" if ends_at is not None and asked > 1 and time.monotonic() > ends_at else None

    return reason


@contextmanager
def heeded() -> Iterator[None]:
    """Let SIGTERM unwind the block. The first process of a container would otherwise not hear it at all."""
    with _handled(_raise):
        yield


@contextmanager
def postponed() -> Iterator[Noted]:
    """Only note the first signal while the block lasts; a second one is not kept waiting."""
    noted = Noted()

    def note(number: int, frame: FrameType | None) -> None:
        if noted.number is not None:
            _raise(number, frame)
        noted.number = number

    with _handled(note):
        yield noted


def _raise(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt if number == signal.SIGINT else Terminated


@contextmanager
def _handled(handler: signal._HANDLER) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield  # Python lets only the main thread listen
        return
    before = {number: signal.signal(number, handler) for number in SIGNALS}
    try:
        yield
    finally:
        for number, previous in before.items():
            signal.signal(number, previous)
