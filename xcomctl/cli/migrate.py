"""`xcomctl migrate`: move large values from their rows to object storage."""

from __future__ import annotations

import sys
import time
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Annotated, Optional

from xcomctl.cli import render, report, signals
from xcomctl.cli.accounts import show, tell_refusals, tell_some
from xcomctl.cli.opening import opened
from xcomctl.cli.options import Control, Display, Place, Rows, choose, duration, flag, size, takes
from xcomctl.cli.report import Report
from xcomctl.errors import ExitCode, UsageError

if TYPE_CHECKING:
    from xcomctl.operations.gc import Tally
    from xcomctl.operations.migrate import Account, Migration, Rules

_MOVING = "What moves, and how"
_SAFETY = "Safety"
_RUNNING = "Running"


@dataclass(frozen=True)
class Moving:
    """What moves, and how its object is written."""

    threshold: Annotated[
        Optional[str],
        flag("--threshold", metavar="SIZE", panel=_MOVING, help="Values of this size and more; Airflow's own."),
    ] = None
    compression: Annotated[
        Optional[str],
        flag(
            "--compression",
            metavar="CODEC",
            panel=_MOVING,
            help="gzip, zstd…, or none; Airflow's own.",
        ),
    ] = None


@dataclass(frozen=True)
class Running:
    """How it runs."""

    jobs: Annotated[int, flag("--jobs", min=1, max=64, panel=_RUNNING, help="Uploads at a time.")] = 8
    time_budget: Annotated[
        Optional[str],
        flag("--time-budget", metavar="AGE", panel=_RUNNING, help="Begin no batch after this; the next run goes on."),
    ] = None
    allow: Annotated[
        Optional[list[str]], flag("--allow", env="", metavar="GATE", panel=_SAFETY, help="Lift one gate; repeatable.")
    ] = None
    dry_run: Annotated[
        bool, flag("-n", "--dry-run", panel=_SAFETY, help="Count what would move, and change nothing.")
    ] = False
    yes: Annotated[bool, flag("-y", "--yes", env="", panel=_SAFETY, help="Do not ask.")] = False


@takes(Place, Control, Rows, Moving, Running, Display)
def migrate(place: Place, control: Control, rows: Rows, moving: Moving, running: Running, display: Display) -> ExitCode:
    """Move large values from their rows to object storage, as if Airflow had put them there.

    Each value is copied as it is stored, into a new object under the base path, and when that is surely there its row
    is swapped for the object's URL, if it still is what was read. Values of runs that are not over, pickles, references
    and what Airflow itself reads from the row are left alone. A run that is broken off leaves nothing half done: to run
    it again is to go on. Before the first row, and with some rows after the last, Airflow itself must read the result.

    Examples:

      xcomctl migrate --dry-run

      xcomctl migrate --threshold 100kB --older-than 7d --yes --time-budget 50m
    """
    said = report.start(display)
    rules = _rules(rows, moving, running)
    if not rules.dry_run and not running.yes and not sys.stdin.isatty():
        raise UsageError("migrate asks before it writes, and there is no terminal", hint="--yes agrees beforehand")
    budget = duration(running.time_budget, "--time-budget").total_seconds() if running.time_budget else None
    ends_at = time.monotonic() + budget if budget is not None else None
    from xcomctl.operations.gc import scope_of
    from xcomctl.operations.migrate import migrating

    with signals.heeded(), ExitStack() as run:
        scope = scope_of(opened(place, said, databases=1, control=control.control))
        with said.progress() as watch:
            migration = run.enter_context(migrating(scope, rules, watch))
        account, stopped = migration.account, None
        _tell_plan(account, said)
        if not account.plan.refusals and not rules.dry_run and account.plan.movable.count:
            if not running.yes and not said.confirm(f"Move {_values(account.plan.movable)} to {scope.base.text}?"):
                said.note("nothing was changed")
                return ExitCode.NO
            stopped = _carry_out(migration, said, ends_at)
        _tell_end(account, said)
        show(account, display, of="rows")
    return stopped or account.exit_code


def _rules(rows: Rows, moving: Moving, running: Running) -> Rules:
    from xcomctl import settings
    from xcomctl.backend.payload import SUFFIX_OF
    from xcomctl.operations.migrate import Gate, Rules

    threshold = size(moving.threshold, "--threshold") if moving.threshold else settings.xcom_threshold()
    if threshold is None:
        raise UsageError("Airflow moves no value to storage (its threshold is -1)", hint="say --threshold, as 1MB")
    codec = moving.compression or settings.xcom_compression() or "none"
    choose([codec], ["none", *SUFFIX_OF], "--compression")
    gates = choose(running.allow or (), [gate.value for gate in Gate], "--allow")
    return Rules(
        selected=rows.filter(datetime.now(timezone.utc)),
        threshold=threshold,
        codec=None if codec == "none" else codec,
        jobs=running.jobs,
        allow=frozenset(Gate(gate) for gate in gates),
        dry_run=running.dry_run,
    )


def _tell_plan(account: Account, said: Report) -> None:
    plan = account.plan
    tell_refusals(plan.refusals, said)
    if plan.rules.dry_run and not plan.refusals:
        said.note(f"dry run: a run now would move {_values(plan.movable)} to {plan.base.text}; nothing was changed")


def _carry_out(migration: Migration, said: Report, ends_at: float | None) -> ExitCode | None:
    """The exit code of the signal that ended it, if one did."""
    account = migration.account
    started, total = time.monotonic(), account.plan.movable.count

    def pace() -> str | None:
        if noted.number is not None:
            return "signal"
        return "time-budget" if ends_at is not None and time.monotonic() > ends_at else None

    with signals.postponed() as noted, said.progress() as watch:
        for row in migration.carry_out(pace):
            left = (time.monotonic() - started) / max(1, account.done) * (total - account.done)
            watch(f"of {total:,} rows moved, {left:.0f} s to go", account.done)
            said.detail(f"handled {row.xcom.dag_id} {row.xcom.run_id} {row.xcom.task_id} {row.xcom.key}")
    return noted.exit_code


def _tell_end(account: Account, said: Report) -> None:
    for reason, tally in account.by_reason.items():
        said.note(f"{_values(tally)}: left where they are, {reason.value}")
    tell_some(account.failures, said)
    if account.stopped is not None:
        said.note("stopped before all was moved; the next run goes on")
    if account.migrated.count:
        said.note(
            f"moved {_values(account.migrated)}; the table gives back its space after VACUUM FULL (PostgreSQL), "
            "OPTIMIZE TABLE (MySQL) or VACUUM (SQLite)"
        )


def _values(tally: Tally) -> str:
    return f"{tally.count} value{'' if tally.count == 1 else 's'}, {render.readable_size(tally.bytes)}"
