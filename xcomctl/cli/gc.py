"""`xcomctl gc`: delete the objects that no row refers to."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import timedelta
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

from xcomctl.cli import render, report, signals, suggest
from xcomctl.cli.accounts import ask, show_dags, tell_failures, tell_outcome, tell_plan, told
from xcomctl.cli.opening import opened
from xcomctl.cli.options import (
    Allow,
    Control,
    Display,
    Output,
    Place,
    Table,
    TimeBudget,
    Yes,
    choose,
    duration,
    flag,
    takes,
)
from xcomctl.cli.report import Report
from xcomctl.errors import ExitCode, UsageError, XcomctlError

if TYPE_CHECKING:
    from xcomctl.operations.gc import Account, Collection, Limit, Rules, Scope

_YOUNG = "an upload whose row is still to come looks like an orphan"
_READERS = "a task that has read its row must have the time to open the object"
_UNDO = "it also ends how long earlier runs can be undone"
"""Why the floors are there."""

_ORPHANS = "What may go"
_SAFETY = "Safety"
_RUNNING = "Running"
_QUESTIONS = "Questions"


@dataclass(frozen=True)
class Orphans:
    """Which orphans may go."""

    older_than: Annotated[
        Optional[str],
        flag("--older-than", metavar="AGE", panel=_ORPHANS, help="Only objects of this age: 3d; 7d in a single pass."),
    ] = None
    dag_id: Annotated[
        Optional[list[str]],
        flag(
            "--dag-id",
            metavar="GLOB",
            autocompletion=suggest.dag_ids,
            panel=_ORPHANS,
            help="Only objects of these DAGs.",
        ),
    ] = None
    exclude_dag_id: Annotated[
        Optional[list[str]],
        flag(
            "--exclude-dag-id",
            metavar="GLOB",
            autocompletion=suggest.dag_ids,
            panel=_ORPHANS,
            help="Not of these DAGs.",
        ),
    ] = None
    include_unknown_dag: Annotated[
        Optional[list[str]],
        flag(
            "--include-unknown-dag",
            env="",
            metavar="GLOB",
            panel=_ORPHANS,
            help="Also of these DAGs that no database knows; else they are held.",
        ),
    ] = None
    ignore_archives: Annotated[
        bool,
        flag("--ignore-archives", env="", panel=_ORPHANS, help="Also what only archives of `airflow db clean` hold."),
    ] = False


@dataclass(frozen=True)
class Safety:
    """What keeps a run from doing harm."""

    confirm_after: Annotated[
        Optional[str],
        flag("--confirm-after", metavar="AGE", panel=_SAFETY, help="Delete what two runs so far apart both saw: 20h."),
    ] = None
    single_pass: Annotated[
        bool,
        flag("--single-pass", env="", panel=_SAFETY, help="Delete in one run. Readers in flight are not covered."),
    ] = False
    max_delete: Annotated[
        str, flag("--max-delete", metavar="N|P%", panel=_SAFETY, help="Refuse to delete more than this.")
    ] = "20%"
    keep_trash: Annotated[
        Optional[str],
        flag(
            "--keep-trash",
            metavar="AGE",
            panel=_SAFETY,
            help="How long any run can be undone: 14d.",
        ),
    ] = None
    allow: Allow = None
    unsafe_windows: Annotated[
        bool, flag("--unsafe-windows", env="", panel=_SAFETY, help="Lift the floors of ages. For tests only.")
    ] = False
    dry_run: Annotated[bool, flag("-n", "--dry-run", panel=_SAFETY, help="Show what would go, and change nothing.")] = (
        False
    )
    yes: Yes = False


@dataclass(frozen=True)
class Running:
    """How it runs, from cron above all."""

    time_budget: TimeBudget = None
    metrics_file: Annotated[
        Optional[Path],
        flag(
            "--metrics-file",
            metavar="FILE",
            autocompletion=suggest.files,
            panel=_RUNNING,
            help="Write what was done, for Prometheus.",
        ),
    ] = None


@dataclass(frozen=True)
class Questions:
    """What is asked instead of collecting."""

    explain: Annotated[
        Optional[str],
        flag(
            "--explain",
            env="XCOMCTL_GC_EXPLAIN",
            metavar="KEY|URL",
            panel=_QUESTIONS,
            help="Tell all that gc goes by for one object.",
        ),
    ] = None
    history: Annotated[bool, flag("--history", panel=_QUESTIONS, help="List the runs.")] = False


@takes(Place, Control, Orphans, Safety, Running, Questions, Table, Display)
def gc(
    place: Place,
    control: Control,
    orphans: Orphans,
    safety: Safety,
    running: Running,
    questions: Questions,
    table: Table,
    display: Display,
) -> ExitCode:
    """Delete orphans: objects under the base path that no row of any database refers to.

    Lists the objects first, then reads every table that may hold a reference. What has no row, has a name that only
    an XCom backend makes, and is old, is marked; a run at least --confirm-after later that sees the same deletes it.
    So one command in cron is all, and its marks, its audit and its trash are kept in the bucket. Whatever is deleted
    can be brought back by `xcomctl restore`. Several deployments on one base path are given together, each with its
    --db.

    Examples:

      xcomctl gc --dry-run
        What a run now would do; nothing is changed.

      xcomctl gc --yes --quiet
        The line for cron: marks, and deletes what an earlier run has marked.

      xcomctl gc --explain s3://bucket/xcom/dag/run/task/0b0e6c9c-5b0f-4e1c-9c57-8d2a4c3a6a11
        Why this object stays or goes.

      xcomctl gc --history
        The runs there were, each with the id that `xcomctl restore` takes.

    Exit status:

      0 2 3 5 10 11 12
      1  The question was answered with no.
      4  --explain: the store holds no such object.
    """
    said = report.start(display)
    rules = _rules(orphans, safety)
    budget = duration(running.time_budget, "--time-budget").total_seconds() if running.time_budget else None
    if running.metrics_file is not None:
        _require_writable(running.metrics_file)
    if questions.history and questions.explain is not None:
        raise UsageError("--history and --explain are two questions", hint="ask one at a time")
    if questions.history:
        return _history(place, control, table, display, said)
    if questions.explain is None:
        if table.columns is not None:
            raise UsageError("the report has no columns to choose from", hint="--columns goes with --history")
        _require_consent(rules, safety)
    if safety.unsafe_windows:
        said.warning("--unsafe-windows: objects of writes that are still under way may be deleted")
    started = time.monotonic()
    run = _Run(rules, said, table, display, agreed=safety.yes, ends_at=started + budget if budget is not None else None)
    code: int = ExitCode.NO
    try:
        with signals.heeded():
            scope = _scope(place, control, said)
            code = run.explain(scope, questions.explain) if questions.explain is not None else run.collect(scope)
    except XcomctlError as error:
        code = error.exit_code
        raise
    finally:
        if running.metrics_file is not None and not rules.dry_run and questions.explain is None:
            _write_metrics(running.metrics_file, run.account, code, time.monotonic() - started, said)
    return ExitCode(code)


def _require_writable(path: Path) -> None:
    from xcomctl.cli import metrics

    metrics.require_writable(path)


def _write_metrics(path: Path, account: Account | None, code: int, seconds: float, said: Report) -> None:
    """What was done is done: that it cannot be told Prometheus does not make it fail."""
    from xcomctl.cli import metrics

    try:
        metrics.write(path, account, code, seconds)
    except XcomctlError as error:
        said.warning(error.message)


def _scope(place: Place, control: Control, said: Report, *, databases: int | None = None) -> Scope:
    from xcomctl import settings
    from xcomctl.operations.gc import scope_of

    deployment = opened(place, said, databases=databases, control=control.control)
    scope = scope_of(deployment, settings.state_store_path() if databases != 0 else None)
    said.detail(f"gc keeps its state in {scope.control.folder}")
    return scope


def _history(place: Place, control: Control, table: Table, display: Display, said: Report) -> ExitCode:
    from xcomctl.operations.history import COLUMNS, runs

    columns = table.chosen(COLUMNS)
    scope = _scope(place, control, said, databases=0)
    spare = None if table.columns else ()
    shown = render.records(
        runs(scope.control), columns, display.output, display.color, headers=table.headers, spare=spare
    )
    if not shown and render.chosen(display.output) is Output.TABLE:
        said.note("there was no run yet")
    return ExitCode.OK


@dataclass(slots=True)
class _Run:
    """One call of the command, as far as it has come."""

    rules: Rules
    said: Report
    table: Table
    display: Display
    agreed: bool
    ends_at: float | None
    account: Account | None = None

    def explain(self, scope: Scope, key_or_url: str) -> ExitCode:
        from xcomctl.operations.gc import explain

        columns = self.table.chosen(("about", "found"))
        with self.said.progress() as watch:
            steps = [
                {"about": step.about, "found": step.found} for step in explain(scope, self.rules, key_or_url, watch)
            ]
        render.records(steps, columns, self.display.output, self.display.color, headers=self.table.headers)
        return ExitCode.OK

    def collect(self, scope: Scope) -> ExitCode:
        from xcomctl.operations.gc import collecting

        with ExitStack() as run:
            with self.said.progress() as watch:
                collection = run.enter_context(collecting(scope, self.rules, watch))
            self.account = account = collection.account
            tell_plan(account, self.said)
            if not account.plan.refusals and not self.rules.dry_run:
                if not self.agreed:
                    if not ask(account, self.said):
                        return ExitCode.NO
                    collection.look_again()
                stopped = self._carry_out(collection)
                if stopped is not None:
                    told(account, self.display, self.said)
                    return stopped
        return told(account, self.display, self.said, lambda: show_dags(account, self.display))

    def _carry_out(self, collection: Collection) -> ExitCode | None:
        """The exit code of the signal that ended it, if one did."""
        with signals.postponed() as noted, self.said.progress() as watch:
            for done, outcome in enumerate(collection.carry_out(signals.pace(noted, self.ends_at)), start=1):
                watch("objects handled", done)
                tell_outcome(outcome, self.said)
        tell_failures(collection.account, self.said)
        return noted.exit_code


def _rules(orphans: Orphans, safety: Safety) -> Rules:
    from xcomctl.operations import gc as terms

    floor = terms.SINGLE_PASS_OLDER_THAN if safety.single_pass else terms.OLDER_THAN_FLOOR
    single = " for a single pass" if safety.single_pass else ""
    windows = (
        (orphans.older_than, "--older-than", max(terms.OLDER_THAN, floor), floor, f"{floor.days}d{single}", _YOUNG),
        (safety.confirm_after, "--confirm-after", terms.CONFIRM_AFTER, terms.CONFIRM_AFTER_FLOOR, "1h", _READERS),
        (safety.keep_trash, "--keep-trash", terms.KEEP_TRASH, terms.KEEP_TRASH_FLOOR, "24h", _UNDO),
    )
    older_than, confirm_after, keep_trash = (_window(*window, lifted=safety.unsafe_windows) for window in windows)
    for globs in (orphans.dag_id, orphans.exclude_dag_id):
        _require_single(globs or ())
    gates = choose(safety.allow or (), [gate.value for gate in terms.Gate], "--allow")
    return terms.Rules(
        older_than=older_than,
        confirm_after=confirm_after,
        keep_trash=keep_trash,
        single_pass=safety.single_pass,
        max_delete=_limit(safety.max_delete),
        allow=frozenset(terms.Gate(gate) for gate in gates),
        dag_ids=tuple(orphans.dag_id or ()),
        exclude_dag_ids=tuple(orphans.exclude_dag_id or ()),
        include_unknown_dags=tuple(orphans.include_unknown_dag or ()),
        ignore_archives=orphans.ignore_archives,
        dry_run=safety.dry_run,
    )


def _window(
    text: str | None, option: str, usual: timedelta, floor: timedelta, named: str, why: str, *, lifted: bool
) -> timedelta:
    """A duration that is not below its floor, unless floors are lifted."""
    chosen = duration(text, option) if text else usual
    if chosen < floor and not lifted:
        raise UsageError(f"{option} {text} is below the floor of {named}", hint=why)
    return chosen


def _require_single(globs: Sequence[str]) -> None:
    """No DAG id has a comma, so who writes one means a list, and would protect nothing."""
    for glob in globs:
        if "," in glob:
            raise UsageError(f"{glob!r} is not one DAG id", hint="repeat the flag; in its variable, put spaces between")


def _limit(text: str) -> Limit:
    from xcomctl.operations.gc import Limit

    matched = re.fullmatch(r"(\d{1,18})|(\d{1,18}(?:\.\d{1,18})?)%", text.strip())
    if matched is None or (matched[2] and Fraction(matched[2]) > 100):
        raise UsageError(f"--max-delete {text!r} is neither a number nor a share", hint="write 500, or 20%")
    return Limit(count=int(matched[1])) if matched[1] else Limit(share=Fraction(matched[2]) / 100)


def _require_consent(rules: Rules, safety: Safety) -> None:
    """Decided before anything is read."""
    if not rules.dry_run and not safety.yes and not sys.stdin.isatty():
        raise UsageError("gc asks before it deletes, and there is no terminal", hint="--yes agrees beforehand")
