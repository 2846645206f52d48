"""What a contender costs: each in a process of its own, all of a row in turns, so that noise falls on everybody.

Ratios are taken within one turn, and their median counts; the spread is the smallest and the largest.
"""

from __future__ import annotations

import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from threading import Timer
from typing import Any, TypeVar

ROOT = Path(__file__).parents[1]
_TIMED = Path(__file__).with_name("timed.py")
_FOREIGN = ("XCOMCTL_", "AIRFLOW_", "_AIRFLOW_", "AWS_", "_TYPER_", "PYTHONDONTWRITEBYTECODE", "COLUMNS")
_CHUNK = 1 << 20
LONGEST_SECONDS = 3600

T = TypeVar("T")


class FailedError(Exception):
    """A contender that did not do what it was to do: nothing it cost counts."""


@dataclass(frozen=True, slots=True)
class Contender:
    """A command, and what its output says it has found.

    Who does but a part says in its answer how many `seconds` that took; the whole is `scale` times as much.
    """

    command: Sequence[str]
    answer: Callable[[bytes], Any] = lambda shown: None
    environment: Mapping[str, str] = field(default_factory=dict)
    codes: Sequence[int] = (0,)
    scale: float = 1.0
    before: Callable[[], object] = lambda: None
    turns: int | None = None
    """Only so many turns, without one that does not count: for what takes minutes."""
    counts: bytes = b""
    """Where it says much: only how often it says this is handed on, as `b"<count>"`."""


@dataclass(frozen=True, slots=True)
class Cost:
    """One run: seconds of the clock and of its own processors, and the most memory, in bytes."""

    wall: float
    cpu: float
    peak: int


@dataclass(frozen=True, slots=True)
class Spread:
    """The median of some numbers, the smallest and the largest."""

    median: float
    least: float
    most: float

    @classmethod
    def of(cls, numbers: Sequence[float]) -> Spread:
        """The spread of at least one number."""
        return cls(statistics.median(numbers), min(numbers), max(numbers))


Costs = Mapping[str, Sequence[Cost]]


def measure(contenders: Mapping[str, Contender], repeat: int, *, warm: bool = True, expected: Any = None) -> Costs:
    """Run all in turns, `repeat` times, after a turn that does not count.

    Raises `FailedError` when one fails, or when an answer is not the expected one; one of None is not compared.
    """
    costs: dict[str, list[Cost]] = {name: [] for name in contenders}
    for turn in range(repeat + warm):
        answers = {"expected": expected}
        for name, contender in _turned(list(contenders.items()), turn):
            if contender.turns is not None and not warm <= turn < warm + contender.turns:
                continue
            cost, shown = run(contender, name)
            answers[name] = _answer(contender, shown, name)
            if turn >= warm:
                costs[name].append(cost)
        told = {name: answer for name, answer in answers.items() if answer is not None}
        if len({json.dumps(answer, sort_keys=True) for answer in told.values()}) > 1:
            raise FailedError(f"the answers differ: {told}")
    return costs


def _turned(items: Sequence[T], turn: int) -> Sequence[T]:
    """The same, begun with another in each turn: nobody always finds what the one before has warmed."""
    first = turn % len(items)
    return [*items[first:], *items[:first]]


def run(contender: Contender, name: str = "") -> tuple[Cost, bytes]:
    """One run, its output read through a pipe as a program would read it."""
    contender.before()
    with tempfile.TemporaryDirectory(prefix="xcomctl-bench-") as folder:
        report, errors = Path(folder, "report.json"), Path(folder, "errors")
        timed = [sys.executable, "-I", "-S", str(_TIMED), str(report), *contender.command]
        with errors.open("wb") as log:
            process = subprocess.Popen(
                timed,
                env=environment(contender.environment),
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                start_new_session=True,
            )
            shown = _read(process, contender.counts)
        told: Any = json.loads(report.read_text()) if report.exists() else {"code": "no code"}
        if told["code"] not in contender.codes:
            tail = errors.read_text(errors="replace")[-2000:]
            raise FailedError(f"{name or contender.command} ended with {told['code']}:\n{tail}")
    more = (contender.scale - 1) * json.loads(shown.splitlines()[-1])["seconds"] if contender.scale != 1 else 0
    return Cost(told["wall"] + more, told["cpu"], told["peak"]), shown


def _answer(contender: Contender, shown: bytes, name: str) -> Any:
    try:
        return contender.answer(shown)
    except (ValueError, LookupError, TypeError) as error:
        raise FailedError(f"{name} said something else ({error!r}): {shown[:200]!r}") from error


def environment(more: Mapping[str, str]) -> dict[str, str]:
    """That of whoever runs this, without anything that xcomctl, Airflow or a client of S3 listens to."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(_FOREIGN)}
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    return {**kept, "PYTHONPATH": path, "LC_ALL": "C.UTF-8", "TZ": "UTC", **more}


def ratios(costs: Costs, ours: str, other: str, of: str = "wall") -> Spread:
    """How much more the one costs than the other, turn by turn, as far as both took part."""
    pairs = zip(costs[ours], costs[other], strict=False)
    return Spread.of([getattr(mine, of) / max(getattr(theirs, of), 1e-9) for mine, theirs in pairs])


def spread(costs: Sequence[Cost], of: str = "wall") -> Spread:
    """Of one measure of some runs."""
    return Spread.of([getattr(cost, of) for cost in costs])


def _read(process: subprocess.Popen[bytes], counts: bytes) -> bytes:
    """What it says until it ends; nothing is left of one that takes too long, or is not waited for any more."""
    late = Timer(LONGEST_SECONDS, os.killpg, (process.pid, signal.SIGKILL))
    late.start()
    try:
        shown = _shown(process, counts)
        process.wait()
        return shown
    finally:
        late.cancel()
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _shown(process: subprocess.Popen[bytes], counts: bytes) -> bytes:
    assert process.stdout is not None
    if not counts:
        return process.stdout.read()
    found, end = 0, b""
    while chunk := process.stdout.read1(_CHUNK):  # type: ignore[attr-defined]
        seen = end + chunk
        found += seen.count(counts)
        end = seen[len(seen) - min(len(seen), len(counts) - 1) :]
    return b"%d" % found
