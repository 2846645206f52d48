"""`xcomctl migrate`: move values from their rows to object storage, back, or from one place in storage to another."""

from __future__ import annotations

import time
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime, timezone
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

from xcomctl.cli import render, report, signals, suggest
from xcomctl.cli.accounts import tell_refusals, tell_some, told
from xcomctl.cli.opening import opened
from xcomctl.cli.options import Acting, Control, Display, Place, Rows, choose, flag, size, takes
from xcomctl.cli.report import Report
from xcomctl.errors import ExitCode, UsageError

if TYPE_CHECKING:
    from xcomctl.backend.reference import Address
    from xcomctl.backend.rules import Rule
    from xcomctl.catalog import Catalog
    from xcomctl.operations.gc import Tally
    from xcomctl.operations.migrate import Account, Migration, Plan, Rules

_MOVING = "What moves, and how"
_RUNNING = "Running"


class To(str, Enum):
    """Where values go."""

    STORAGE = "storage"
    INLINE = "inline"


@dataclass(frozen=True)
class Moving:
    """What moves, and how its object is written."""

    to: Annotated[To, flag("--to", panel=_MOVING, help="inline: bring values back from storage into their rows.")] = (
        To.STORAGE
    )
    relocate: Annotated[
        Optional[str],
        flag(
            "--relocate",
            metavar="URL",
            panel=_MOVING,
            help="Instead let what refers to objects below this URL refer to the base path, and copy them there.",
        ),
    ] = None
    rule: Annotated[
        Optional[str],
        flag(
            "--rule",
            metavar="NAME",
            panel=_MOVING,
            help="Instead move what a hand-written backend wrote: s3, gcs, azure, minio, gcs-variable…",
        ),
    ] = None
    rules: Annotated[
        Optional[Path],
        flag(
            "--rules", metavar="FILE", autocompletion=suggest.files, panel=_MOVING, help="Rules of your own, in TOML."
        ),
    ] = None
    threshold: Annotated[
        Optional[str],
        flag(
            "--threshold",
            metavar="SIZE",
            panel=_MOVING,
            help="From the row, values of this size and more; Airflow's own.",
        ),
    ] = None
    compression: Annotated[
        Optional[str],
        flag(
            "--compression",
            metavar="CODEC",
            panel=_MOVING,
            help="gzip, zstd…, or none; Airflow's own, or what a relocated object has.",
        ),
    ] = None


@dataclass(frozen=True)
class Running:
    """How it runs."""

    jobs: Annotated[
        Optional[int],
        flag(
            "--jobs",
            min=1,
            max=64,
            metavar="N",
            panel=_RUNNING,
            help="Objects at a time. [default: 32 to storage, else 8]",
        ),
    ] = None


@takes(Place, Control, Rows, Moving, Running, Acting, Display)
def migrate(
    place: Place, control: Control, rows: Rows, moving: Moving, running: Running, acting: Acting, display: Display
) -> ExitCode:
    """Move large values from their rows to object storage, as if Airflow had put them there; or back, or elsewhere.

    Each value is copied as it is stored, into a new object under the base path, and when that is surely there its row
    is swapped for the object's URL, if it still is what was read. Values of runs that are not over, pickles, references
    and what Airflow itself reads from the row are left alone. A run that is broken off leaves nothing half done: to run
    it again is to go on. Before the first row, and with some rows after the last, Airflow itself must read the result.

    With --to inline values return to their rows; with --relocate objects move from another bucket, prefix, connection
    or compression; with --rule they come from a backend of your own. No object is deleted: what no row refers to any
    more is for gc.

    Examples:

      xcomctl migrate --dry-run
        How many values are above Airflow's threshold; nothing is changed.

      xcomctl migrate --threshold 100kB --older-than 7d --yes --time-budget 50m
        Large values of a week and older, for at most 50 minutes.

      xcomctl migrate --to inline --dag-id etl --yes
        Brings one DAG's values back into their rows.

      xcomctl migrate --relocate s3://old_conn@old-bucket/xcom --yes
        Lets what lies in an old bucket follow to the base path.

      xcomctl migrate --rule s3 --relocate s3://my_conn@my-bucket --yes
        Takes over what a hand-written backend wrote.

    Exit status:

      0 2 3 5 10 11 12
      1  The question was answered with no.
    """
    said = report.start(display)
    rules = _rules(rows, moving, running, acting)
    acting.require_consent("migrate asks before it writes")
    ends_at = acting.ends_at
    from xcomctl.operations.gc import scope_of
    from xcomctl.operations.migrate import migrating, move_of

    with signals.heeded(), ExitStack() as run:
        deployment = opened(place, said, databases=1, control=control.control)
        scope = scope_of(deployment)
        move = move_of(rules, scope, deployment.stores)
        with said.progress() as watch:
            migration = run.enter_context(migrating(scope, rules, move, watch))
        account, stopped = migration.account, None
        _tell_plan(account, said)
        if not account.plan.refusals and not rules.dry_run and account.plan.movable.count:
            if not acting.yes and not said.confirm(f"Move {_whither(account.plan)}?"):
                said.note("nothing was changed")
                return ExitCode.NO
            stopped = _carry_out(migration, said, ends_at)
        _tell_end(account, said, scope.catalog)
        code = told(account, display, said, of="rows")
    return stopped or code


def _rules(rows: Rows, moving: Moving, running: Running, acting: Acting) -> Rules:
    from xcomctl import settings
    from xcomctl.backend.payload import SUFFIX_OF
    from xcomctl.operations.migrate import Destination, Gate, Rules

    inline, relocate, rule = moving.to is To.INLINE, _relocate(moving.relocate), _rule(moving)
    if inline and (relocate or rule):
        raise UsageError(
            "--to inline goes with neither --relocate nor --rule", hint="relocate first, then bring it back"
        )
    gates = choose(acting.allow or (), [gate.value for gate in Gate], "--allow")
    keeps_codec = relocate is not None and rule is None and moving.compression is None
    codec = "none" if inline or keeps_codec else moving.compression or settings.xcom_compression() or "none"
    choose([codec], ["none", *SUFFIX_OF], "--compression")
    return Rules(
        selected=rows.filter(datetime.now(timezone.utc)),
        to=Destination(moving.to.value),
        relocate=relocate,
        rule=rule,
        threshold=0 if inline or relocate or rule else _threshold(moving.threshold),
        codec=None if codec == "none" else codec,
        keeps_codec=keeps_codec,
        jobs=running.jobs or (8 if inline or relocate or rule else 32),
        allow=frozenset(Gate(gate) for gate in gates),
        dry_run=acting.dry_run,
    )


def _threshold(text: str | None) -> int:
    from xcomctl import settings

    threshold = size(text, "--threshold") if text else settings.xcom_threshold()
    if threshold is None:
        raise UsageError("Airflow moves no value to storage (its threshold is -1)", hint="say --threshold, as 1MB")
    return threshold


def _relocate(text: str | None) -> Address | None:
    from xcomctl.backend.reference import parse_base

    old = parse_base(text) if text is not None else None
    if old is not None and ":" in (old.conn_id or ""):
        raise UsageError("--relocate has a key and a secret in its URL", hint="name an Airflow connection: s3://conn@b")
    if text is not None and old is None:
        raise UsageError(f"--relocate {text!r} is no URL of a bucket or folder", hint="write s3://conn@bucket/prefix")
    return old


def _rule(moving: Moving) -> Rule | None:
    from xcomctl.backend.rules import rules

    if moving.rule is None:
        if moving.rules is not None:
            raise UsageError("--rules holds rules, and --rule says which", hint="say --rule NAME")
        return None
    known = rules(moving.rules)
    choose([moving.rule], list(known), "--rule")
    return known[moving.rule]


def _tell_plan(account: Account, said: Report) -> None:
    plan = account.plan
    tell_refusals(plan.refusals, said)
    if plan.rules.dry_run and not plan.refusals:
        said.note(f"dry run: a run now would move {_whither(plan)}; nothing was changed")


def _whither(plan: Plan) -> str:
    """How many values, and to where. Of what lies in storage the sizes are known when it is read."""
    count = plan.movable.count
    values = f"{count} value{'' if count == 1 else 's'}"
    if plan.rules.to.value == To.INLINE.value:
        return f"{values} back into {'its row' if count == 1 else 'their rows'}"
    if plan.rules.relocate is not None or plan.rules.rule is not None:
        return f"{values} to {plan.base.text}"
    return f"{_values(plan.movable)} to {plan.base.text}"


def _carry_out(migration: Migration, said: Report, ends_at: float | None) -> ExitCode | None:
    """The exit code of the signal that ended it, if one did."""
    account = migration.account
    started, total = time.monotonic(), account.plan.movable.count

    with signals.postponed() as noted, said.progress() as watch:
        for row in migration.carry_out(signals.pace(noted, ends_at)):
            left = (time.monotonic() - started) / max(1, account.done) * (total - account.done)
            watch(f"of {total:,} rows moved, {left:.0f} s to go", account.done)
            said.detail(f"handled {row.xcom.dag_id} {row.xcom.run_id} {row.xcom.task_id} {row.xcom.key}")
    return noted.exit_code


def _tell_end(account: Account, said: Report, catalog: Catalog) -> None:
    for reason, tally in account.by_reason.items():
        said.note(f"{_values(tally)}: left where they are, {reason.value}")
    tell_some(account.failures, said)
    if account.stopped is not None:
        said.note("stopped before all was moved; the next run goes on")
    if account.migrated.count:
        said.note(f"moved {_values(account.migrated)}")
    if account.reclaimable_bytes:
        from xcomctl.catalog.rewriting import reclaim

        statement, space = reclaim(catalog, account.tables), render.readable_size(account.reclaimable_bytes)
        said.note(f"the database gives {space} of its disk back after {statement}, and not before")


def _values(tally: Tally) -> str:
    return f"{tally.count} value{'' if tally.count == 1 else 's'}, {render.readable_size(tally.bytes)}"
