"""Asks the checks in their order: each in its time, each after what it needs, and none breaks off the others."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from types import FrameType

from xcomctl import compat
from xcomctl.errors import XcomctlError
from xcomctl.operations.verify.terms import Answer, Check, Probe, Status, Subject, fail, skipped

PASSED = (Status.OK, Status.WARN)

REPEATED_AFTER_SECONDS = 1.0
"""The alarm rings again until it is heard: a library may take it for an error of its own, and go on."""


NO_ANSWER = "does the network drop the packets, or does a volume not answer?"


class Overdue(BaseException):
    """A check's time is up. No `Exception`: what libraries catch and retry on must not hold it back."""


def run(probes: Iterable[Probe[Subject]], subject: Subject, masked: Callable[[str], str] = str) -> Iterator[Check]:
    """The checks, as they come. `masked` takes the secrets out of what they say."""
    settled: dict[str, Answer] = {}
    silent: dict[str, str] = {}
    for probe in probes:
        began = time.monotonic()
        answer = _hindrance(probe, settled) or _silence(probe, silent)
        if answer is None:
            try:
                answer = _asked(probe, subject)
            except Overdue:
                signal.setitimer(signal.ITIMER_REAL, 0)
                answer = fail(f"no answer within {probe.seconds:g} s", NO_ANSWER)
                silent[probe.asks or probe.id] = probe.id
        settled[probe.id] = answer
        hint = masked(answer.hint) if answer.hint else None
        yield Check(probe.id, answer.status, masked(answer.detail), hint, round((time.monotonic() - began) * 1000))


def _hindrance(probe: Probe[Subject], settled: Mapping[str, Answer]) -> Answer | None:
    """Why a check is not even tried. What does not apply here makes what depends on it not apply either."""
    for need in probe.needs:
        before = settled.get(need)
        if before is not None and before.status is Status.SKIPPED:
            return skipped(before.detail)
        if before is not None and before.status not in PASSED:
            return skipped(f"needs {need}")
    failed = (need for need in probe.unless_failed if settled[need].status in (Status.FAIL, Status.UNKNOWN))
    return next((skipped(f"needs {need}") for need in failed), None)


def _silence(probe: Probe[Subject], silent: Mapping[str, str]) -> Answer | None:
    return skipped(f"{probe.asks} did not answer {silent[probe.asks]}") if probe.asks in silent else None


def _asked(probe: Probe[Subject], subject: Subject) -> Answer:
    try:
        with compat.unheard(), closed_to_children(), deadline(probe.seconds):
            return probe.ask(subject)
    except XcomctlError as error:
        return fail(_line(error.message), error.hint)
    except (Exception, SystemExit) as error:
        return fail(_line(compat.told(error)))


@contextmanager
def closed_to_children() -> Iterator[None]:
    """Keep stdout to data: programs that a class starts, and libraries in C, write past Python, to the descriptor."""
    try:
        kept = os.dup(1)
    except OSError:  # it is closed already
        yield
        return
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    try:
        yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)
        os.close(nowhere)


def _line(text: str) -> str:
    """The first line of what an error says, and not without end."""
    first = next((line.strip() for line in text.splitlines() if line.strip()), "")
    return first if len(first) <= 500 else first[:499] + "…"


@contextmanager
def deadline(seconds: float) -> Iterator[None]:
    """Break the block off with `Overdue` when its time is up.

    By an alarm, not by a thread: a thread cannot be ended, and would still write its object after the tidying up.
    Python delivers signals to the main thread alone; elsewhere there is no deadline.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGALRM, _ring)
    signal.setitimer(signal.ITIMER_REAL, seconds, REPEATED_AFTER_SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _ring(number: int, frame: FrameType | None) -> None:
    raise Overdue
