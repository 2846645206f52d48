"""`xcomctl rm`: remove XComs, rows and objects."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, fields
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Annotated

import typer

from xcomctl.cli import render, report, signals
from xcomctl.cli.accounts import amount, tell_due, tell_refusals, tell_some, told
from xcomctl.cli.opening import opened
from xcomctl.cli.options import Acting, Control, Display, Place, Rows, choose, flag, takes
from xcomctl.cli.report import Report
from xcomctl.errors import ExitCode, UsageError
from xcomctl.model import State

if TYPE_CHECKING:
    from xcomctl.operations.deployment import Deployment
    from xcomctl.operations.gc import Scope, Tally
    from xcomctl.operations.rm import Account, Removal, Rules

_WHAT = "What becomes of the rows"


@dataclass(frozen=True)
class Keeping:
    """Whether anything keeps the rows."""

    archive: Annotated[
        bool,
        flag("--archive", panel=_WHAT, help="Move the rows to an archive table, as `airflow db clean` does."),
    ] = False


@takes(Place, Control, Rows, Keeping, Acting, Display)
def rm(
    context: typer.Context,
    place: Place,
    control: Control,
    rows: Rows,
    keeping: Keeping,
    acting: Acting,
    display: Display,
) -> ExitCode:
    """Remove XComs of finished runs: their rows at once, their objects by the next runs of gc.

    What `airflow db clean` does to the table xcom, by any filter, and with the objects that it leaves behind. A row
    goes only if its run is over and nobody has pushed it anew, on Airflow 3.4 that of every attempt. Then its object
    gets gc's first mark, unless another row or an archive refers to it; the report says from when on gc deletes it.
    With --archive the rows move to an archive, which protects their objects. At least one filter must say which
    rows are meant. A run that is broken off has removed what it has removed: to run it again is to go on.

    Examples:

      xcomctl rm --older-than 90d --dry-run
        How many rows would go; nothing is changed.

      xcomctl rm --older-than 90d --exclude-dag-id 'audit_*' --yes --time-budget 50m
        The line for cron: what is old, but not of some DAGs.

      xcomctl rm --dag-id '*' --key tmp --archive
        One key of all DAGs, into an archive table.

    Exit status:

      0 2 3 5 10 11 12
      1  The question was answered with no.
    """
    said = report.start(display)
    _require_filter(context)
    rules = _rules(rows, keeping, acting)
    acting.require_consent("rm asks before it removes")
    ends_at = acting.ends_at
    from xcomctl.operations.rm import removing

    with signals.heeded(), ExitStack() as run:
        deployment = opened(place, said, control=control.control)
        scope = _scope(deployment, said)
        with said.progress() as watch:
            removal = run.enter_context(removing(deployment.catalogs, scope, rules, watch))
        account, stopped = removal.account, None
        _tell_plan(account, said)
        if removal.acts and account.plan.removable.count:
            if not acting.yes and not said.confirm(f"{_deed(account.plan.rules)} {_rows(account.plan.removable)}?"):
                said.note("nothing was changed")
                return ExitCode.NO
            stopped = _carry_out(removal, said, ends_at)
        _tell_end(account, said)
        code = told(account, display, said, of="count")
    return stopped or code


def _require_filter(context: typer.Context) -> None:
    """The command line itself must say which rows are meant: what is left out says too little.

    So does the environment, where XCOMCTL_OLDER_THAN may be meant for gc.
    """
    filters = (field.name for field in fields(Rows) if not field.name.startswith("exclude_"))
    sources = (context.get_parameter_source(name) for name in filters)
    if not any(source is not None and source.name == "COMMANDLINE" for source in sources):
        raise UsageError(
            "rm without a filter would remove every XCom",
            hint="say which on the command line: --older-than 90d; or all: --dag-id '*'",
        )


def _rules(rows: Rows, keeping: Keeping, acting: Acting) -> Rules:
    from xcomctl.operations.gc import Gate
    from xcomctl.operations.rm import GATES, Rules

    selected = rows.filter(datetime.now(timezone.utc))
    if State.DANGLING in selected.states:
        raise UsageError(
            "which row is dangling, rm does not know without a look at storage",
            hint="`xcomctl ls --state dangling` lists them",
        )
    gates = choose(acting.allow or (), [gate.value for gate in GATES], "--allow")
    return Rules(selected, keeping.archive, frozenset(Gate(gate) for gate in gates), acting.dry_run)


def _scope(deployment: Deployment, said: Report) -> Scope | None:
    from xcomctl import settings
    from xcomctl.operations.gc import scope_of

    if deployment.base is None:
        said.note("no base path is configured: rows go, and objects, if there are any, are left to gc")
        return None
    return scope_of(deployment, settings.state_store_path())


def _tell_plan(account: Account, said: Report) -> None:
    plan = account.plan
    tell_refusals(plan.refusals, said)
    if plan.refusals:
        return
    for reason, tally in plan.skipped.items():
        said.note(f"{_rows(tally)}: not touched, {reason.value}")
    referring = plan.referring.count
    said.note(f"{_rows(plan.removable)} to go, of which {referring} refer{'s' if referring == 1 else ''} to an object")
    if plan.rules.dry_run:
        deed = _deed(plan.rules).lower()
        said.note(f"dry run: a run now would {deed} {_rows(plan.removable)}; nothing was changed")


def _carry_out(removal: Removal, said: Report, ends_at: float | None) -> ExitCode | None:
    """The exit code of the signal that ended it, if one did."""
    account = removal.account
    with signals.postponed() as noted, said.progress() as watch:
        for row in removal.carry_out(signals.pace(noted, ends_at), watch):
            watch(f"of {account.plan.removable.count:,} rows handled", account.done)
            said.detail(f"handled {row.xcom.dag_id} {row.xcom.run_id} {row.xcom.task_id} {row.xcom.key}")
    return noted.exit_code


def _tell_end(account: Account, said: Report) -> None:
    for reason, tally in account.skipped.items():
        said.note(f"{_rows(tally)}: kept, {reason.value}")
    tell_some(account.failures, said)
    if account.stopped is not None:
        said.note("stopped before all was removed; the next run goes on")
    if account.removed.count:
        where = f"moved to {', '.join(account.archives)}" if account.archives else "removed"
        said.note(f"{_rows(account.removed)} {where}")
    tell_due(sorted(account.due.items()), said)
    for why, left in account.unmarked.items():
        said.note(f"{amount(left)}: not marked, {why.value}")


def _deed(rules: Rules) -> str:
    return "Archive" if rules.archive else "Remove"


def _rows(tally: Tally) -> str:
    return f"{tally.count} row{'' if tally.count == 1 else 's'}, {render.readable_size(tally.bytes)}"
