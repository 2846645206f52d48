"""`xcomctl gc`: delete the objects that no row refers to."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Annotated, Optional

from xcomctl.cli import render, report
from xcomctl.cli.opening import opened
from xcomctl.cli.options import Display, Output, Place, choose, duration, flag, takes
from xcomctl.cli.report import Report
from xcomctl.errors import ExitCode, UsageError

if TYPE_CHECKING:
    from xcomctl.backend.storage import Store
    from xcomctl.catalog import Catalog
    from xcomctl.operations.gc import Account, Limit, Rules

FAILURES_NAMED = 10
_ORPHANS = "What may go"
_SAFETY = "Safety"


@dataclass(frozen=True)
class Orphans:
    """Which orphans may go."""

    older_than: Annotated[
        Optional[str],
        flag("--older-than", metavar="AGE", panel=_ORPHANS, help="Only objects of this age: 3d; 7d in a single pass."),
    ] = None
    dag_id: Annotated[
        Optional[list[str]], flag("--dag-id", metavar="GLOB", panel=_ORPHANS, help="Only objects of these DAGs.")
    ] = None
    exclude_dag_id: Annotated[
        Optional[list[str]], flag("--exclude-dag-id", metavar="GLOB", panel=_ORPHANS, help="Not of these DAGs.")
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

    single_pass: Annotated[
        bool,
        flag("--single-pass", env="", panel=_SAFETY, help="Delete in one run. Readers in flight are not covered."),
    ] = False
    max_delete: Annotated[
        str, flag("--max-delete", metavar="N|P%", panel=_SAFETY, help="Refuse to delete more than this.")
    ] = "20%"
    allow: Annotated[
        Optional[list[str]], flag("--allow", env="", metavar="GATE", panel=_SAFETY, help="Lift one gate; repeatable.")
    ] = None
    unsafe_windows: Annotated[
        bool, flag("--unsafe-windows", env="", panel=_SAFETY, help="Lift the floors of ages. For tests only.")
    ] = False
    dry_run: Annotated[bool, flag("-n", "--dry-run", panel=_SAFETY, help="Show what would go, and change nothing.")] = (
        False
    )
    yes: Annotated[bool, flag("-y", "--yes", env="", panel=_SAFETY, help="Do not ask.")] = False


@takes(Place, Orphans, Safety, Display)
def gc(place: Place, orphans: Orphans, safety: Safety, display: Display) -> ExitCode:
    """Delete orphans: objects under the base path that no row of any database refers to.

    Lists the objects first, then reads every table that may hold a reference, then deletes what has no row, has a
    name that only an XCom backend makes, and is old. Each batch is looked up in the database once more before it
    goes. Several deployments on one base path are given together, each with its --db.

    Examples:

      xcomctl gc --dry-run

      xcomctl gc --single-pass --older-than 14d

      xcomctl gc --single-pass --yes --quiet
    """
    said = report.start(display)
    rules = _rules(orphans, safety)
    _require_consent(rules, safety)
    if safety.unsafe_windows:
        said.warning("--unsafe-windows: objects of writes that are still under way may be deleted")
    from xcomctl.operations.gc import Account, make_plan, new_operation_id

    deployment = opened(place, said)
    catalogs, base, store = deployment.catalogs, deployment.required_base(), deployment.base_store()
    with said.progress() as watch:
        account = Account(make_plan(catalogs, store, base, rules, watch), new_operation_id())
    _tell_plan(account, said)
    if account.plan.deletable and not account.plan.refusals and not rules.dry_run:
        if not safety.yes and not _confirmed(account, said):
            return ExitCode.NO
        _carry_out(account, catalogs, store, said)
    _show(account, display)
    return account.exit_code


def _rules(orphans: Orphans, safety: Safety) -> Rules:
    from xcomctl.operations.gc import OLDER_THAN, OLDER_THAN_FLOOR, SINGLE_PASS_OLDER_THAN, Gate, Rules

    floor = SINGLE_PASS_OLDER_THAN if safety.single_pass else OLDER_THAN_FLOOR
    age = duration(orphans.older_than, "--older-than") if orphans.older_than else max(OLDER_THAN, floor)
    if age < floor and not safety.unsafe_windows:
        single = " for a single pass" if safety.single_pass else ""
        raise UsageError(
            f"--older-than {orphans.older_than} is below the floor of {floor.days}d{single}",
            hint="an upload whose row is still to come looks like an orphan",
        )
    gates = choose(safety.allow or (), [gate.value for gate in Gate], "--allow")
    return Rules(
        older_than=age,
        single_pass=safety.single_pass,
        max_delete=_limit(safety.max_delete),
        allow=frozenset(Gate(gate) for gate in gates),
        dag_ids=tuple(orphans.dag_id or ()),
        exclude_dag_ids=tuple(orphans.exclude_dag_id or ()),
        include_unknown_dags=tuple(orphans.include_unknown_dag or ()),
        ignore_archives=orphans.ignore_archives,
        dry_run=safety.dry_run,
    )


def _limit(text: str) -> Limit:
    from xcomctl.operations.gc import Limit

    matched = re.fullmatch(r"(\d{1,18})|(\d{1,18}(?:\.\d{1,18})?)%", text.strip())
    if matched is None:
        raise UsageError(f"--max-delete {text!r} is neither a number nor a share", hint="write 500, or 20%")
    return Limit(count=int(matched[1])) if matched[1] else Limit(share=Fraction(matched[2]) / 100)


def _require_consent(rules: Rules, safety: Safety) -> None:
    """Decided before anything is read: this version deletes in a single pass, and somebody must have agreed."""
    if rules.dry_run:
        return
    if not rules.single_pass:
        raise UsageError(
            "gc deletes only with --single-pass",
            hint="look with --dry-run first; --single-pass deletes objects that are older than 7d",
        )
    if not safety.yes and not sys.stdin.isatty():
        raise UsageError("gc asks before it deletes, and there is no terminal", hint="--yes agrees beforehand")


def _tell_plan(account: Account, said: Report) -> None:
    plan = account.plan
    said.detail(f"{plan.listed.count} objects under {plan.base.text}, {plan.references} references in the databases")
    said.detail(f"deletes are conditional: {plan.condition or 'no'}")
    if plan.deletable and plan.condition is None:
        said.warning("deletes are unconditional: this store, or the installed client of it, knows no conditions")
    for found in plan.deletable:
        said.detail(f"orphan {found.name}", size_bytes=found.size_bytes, modified_at=found.modified_at.isoformat())
    for refusal in plan.refusals:
        said.warning(f"refused by the gate {refusal.gate.value}: {refusal.message}")
    if plan.refusals:
        said.warning("nothing was changed; --allow GATE lifts a gate")
    elif plan.rules.dry_run and not plan.rules.single_pass:
        said.note(f"dry run: {_amount(account, 'candidates')}, are orphans; --single-pass would delete them")
    elif plan.rules.dry_run:
        said.note(f"dry run: {_amount(account, 'deletable')}, would be deleted; nothing was changed")


def _confirmed(account: Account, said: Report) -> bool:
    agreed = said.confirm(f"Delete {_amount(account, 'deletable')}, under {account.plan.base.text}?")
    if not agreed:
        said.note("nothing was deleted")
    return agreed


def _amount(account: Account, count: str) -> str:
    tally = account.tallies[count]
    return f"{tally.count} objects, {render.readable_size(tally.bytes)}"


def _carry_out(account: Account, catalogs: Sequence[Catalog], store: Store, said: Report) -> None:
    from xcomctl.operations.gc import run

    with said.progress() as watch:
        for done, outcome in enumerate(run(account, catalogs, store), start=1):
            watch("objects handled", done)
            said.detail(f"{'kept' if outcome.error or outcome.changed else 'deleted'} {outcome.object.name}")
    for failure in account.failures[:FAILURES_NAMED]:
        said.warning(f"{failure.get('url', 'the run broke off')}: {failure['message']}")
    if len(account.failures) > FAILURES_NAMED:
        said.warning(f"and {len(account.failures) - FAILURES_NAMED} more failures; -o json names them all")
    if account.failures:
        said.warning("what failed was kept; may these credentials delete here? the next run tries again")


def _show(account: Account, display: Display) -> None:
    """The report, which a quiet success leaves out."""
    if display.quiet and account.exit_code is ExitCode.OK:
        return
    form = render.chosen(display.output)
    if form in (Output.JSON, Output.JSONL, Output.YAML):
        render.document(account.document(), form)
        return
    tallies = account.tallies.items()
    rows = [
        {"what": n, "objects": t.count, "size_bytes": t.bytes} for n, t in tallies if t.count or form != Output.TABLE
    ]
    render.records(rows, ("what", "objects", "size_bytes"), form, display.color)
