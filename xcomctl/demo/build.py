"""How a sandbox comes to be: the installed Airflow makes the database and runs the DAG, one run is deleted
as people delete runs, and the clock is turned back. It tells what it does and prints nothing.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import ParamSpec, TypeVar

from xcomctl.compat import airflow_installed
from xcomctl.demo import inside
from xcomctl.demo.sandbox import DAG_ID, Sandbox, prepare
from xcomctl.errors import MetadataError, XcomctlError

RUNS = 6
"""One of six is deleted: less than the fifth of all objects that `gc` deletes without being asked twice."""
AGE = timedelta(days=10)
"""Older than the 7 days that `gc --single-pass` asks for."""

P = ParamSpec("P")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Step:
    """A part of the work: yielded as it begins, without `seconds`, and again when it is done."""

    title: str
    detail: str = ""
    seconds: float | None = None


def build(folder: Path, *, force: bool = False) -> Iterator[Step]:
    """Build a sandbox in `folder`. Takes about 15 seconds.

    Raises:
        UsageError: the folder cannot become a sandbox; nothing was changed.
        MetadataError: Airflow failed; its log is named.
    """
    if not airflow_installed():
        raise MetadataError("Airflow is not installed here", hint="install xcomctl beside Airflow: pip install xcomctl")
    sandbox = Sandbox.at(folder)
    prepare(sandbox, force=force)
    with _airflow_process(sandbox) as airflow:
        yield from _timed("airflow db migrate", partial(_run, airflow, sandbox, "db", "migrate"))
        for day in range(1, RUNS + 1):
            command = ("dags", "test", DAG_ID, f"2026-01-{day:02}")
            yield from _timed(" ".join(("airflow", *command)), partial(_run, airflow, sandbox, *command))
        yield from _timed("delete the first run, as the UI does", partial(_delete_run, airflow, sandbox))
    yield from _timed("make all objects look older", partial(_age, sandbox))


def _airflow_process(sandbox: Sandbox) -> ProcessPoolExecutor:
    return ProcessPoolExecutor(
        max_workers=1,
        mp_context=get_context("spawn"),
        initializer=inside.enter,
        initargs=(sandbox.environment(), sandbox.airflow_log),
    )


def _timed(title: str, work: Callable[[], str]) -> Iterator[Step]:
    yield Step(title)
    began = time.monotonic()
    detail = work()
    yield Step(title, detail, time.monotonic() - began)


def _run(airflow: ProcessPoolExecutor, sandbox: Sandbox, *command: str) -> str:
    before = len(sandbox.all_objects())
    problem = _ask(airflow, sandbox, inside.run_command, *command)
    if problem is not None:
        raise _airflow_failed(sandbox, f"`airflow {' '.join(command)}` failed: {problem}")
    written = sandbox.all_objects()
    return f"{len(written) - before} objects written" if len(written) > before else ""


def _delete_run(airflow: ProcessPoolExecutor, sandbox: Sandbox) -> str:
    run_id = _ask(airflow, sandbox, inside.delete_first_run, DAG_ID)
    left = sandbox.objects_of_run(run_id)
    megabytes = sum(path.stat().st_size for path in left) / 1e6
    return f"{run_id} is gone, and its {len(left)} objects ({megabytes:.1f} MB) are still there"


def _ask(airflow: ProcessPoolExecutor, sandbox: Sandbox, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    try:
        return airflow.submit(work, *args, **kwargs).result()
    except BrokenProcessPool as error:
        raise _airflow_failed(sandbox, "the process that ran Airflow died") from error


def _airflow_failed(sandbox: Sandbox, message: str) -> XcomctlError:
    return MetadataError(message, hint=f"what Airflow said is in {sandbox.airflow_log}")


def _age(sandbox: Sandbox) -> str:
    then = time.time() - AGE.total_seconds()
    objects = sandbox.all_objects()
    for path in objects:
        os.utime(path, (then, then))
    return f"{len(objects)} files now carry a time {AGE.days} days ago (os.utime)"
