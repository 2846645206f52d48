"""How an account of a gc run is told: the plan before, the failures after, the counts at the end."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Protocol

from xcomctl.cli import render, report
from xcomctl.cli.options import Display, Output
from xcomctl.cli.report import Report
from xcomctl.errors import ExitCode
from xcomctl.model import Deletion

if TYPE_CHECKING:
    from xcomctl.operations.gc import Account, Plan, Tally
    from xcomctl.operations.rows import Refused

FAILURES_NAMED = 10
DUE_NAMED = 3
DAGS_NAMED = 5
NAMES = ("url", "dag_id", "run_id", "task_id", "map_index", "key")


def tell_plan(account: Account, said: Report) -> None:
    """What was found, and what would be done about it."""
    plan = account.plan
    said.detail(f"{plan.listed.count} objects under {plan.base.text}, {plan.references} references in the databases")
    said.detail(f"deletes are conditional: {_condition(plan)}; way back: {plan.way.value}")
    if plan.deletable and plan.look_first and not plan.rules.dry_run and not plan.refusals:
        said.warning(
            "deletes are unconditional here: the store honours no condition, so each object is looked up first"
        )
    for candidate in plan.candidates if said.display.verbose else ():
        found = candidate.object
        facts = {"size_bytes": found.size_bytes, "modified_at": found.modified_at.isoformat()}
        cause, due_at = candidate.cause.value, candidate.due_at.isoformat(timespec="seconds")
        said.detail(f"orphan {found.name}: {cause}, deletable from {due_at}", cause=cause, due_at=due_at, **facts)
    tell_refusals(plan.refusals, said)
    if plan.refusals:
        return
    if plan.rules.dry_run:
        deeds = _deeds(account)
        said.note(f"dry run: a run now would {deeds or 'find nothing to do'}; nothing was changed")
    from xcomctl.operations.gc import due

    tell_due(due(plan), said)


def tell_refusals(refusals: Sequence[Refused], said: Report) -> None:
    """The gates that are shut, if any."""
    for refusal in refusals:
        said.warning(f"refused by the gate {refusal.gate.value}: {refusal.message}")
    if refusals:
        said.warning("nothing was changed; --allow GATE lifts a gate")


def _condition(plan: Plan) -> str:
    if plan.rules.dry_run:
        return f"{plan.condition or 'no'} (tried only in a real run)"
    return "no" if plan.look_first else str(plan.condition)


def tell_due(times: Sequence[tuple[datetime, Tally]], said: Report) -> None:
    """What becomes deletable when, the soonest first."""
    for at, tally in times[:DUE_NAMED]:
        said.note(f"{amount(tally)}: deletable from {at.isoformat(timespec='seconds')} on, if still orphans then")
    if len(times) > DUE_NAMED:
        said.note(f"and more at {len(times) - DUE_NAMED} later times; -o json has them all")


def amount(tally: Tally) -> str:
    """Some objects, in words."""
    return f"{tally.count} object{'' if tally.count == 1 else 's'}, {render.readable_size(tally.bytes)}"


def ask(account: Account, said: Report) -> bool:
    """Let a person agree to what a run is about to do; there is nothing to ask where it has nothing to do."""
    deeds = _deeds(account)
    if not deeds:
        return True
    _tell_before(account, said)
    agreed = said.confirm(f"{deeds[0].upper()}{deeds[1:]}, under {account.plan.base.text}?")
    if not agreed:
        said.note("nothing was deleted")
    return agreed


def _tell_before(account: Account, said: Report) -> None:
    """What a person should know who is asked."""
    from xcomctl.operations.gc import BYTES_FREE_WHEN, by_cause, by_dag

    plan = account.plan
    said.note(f"of {amount(plan.listed)}, {amount(plan.kept_by_rows)} are referred to")
    for cause, tally in by_cause(plan).items():
        said.note(f"  {cause}: {amount(tally)}")
    shares = by_dag(plan)
    for share in shares[:DAGS_NAMED]:
        said.note(f"  DAG {share.dag_id}: {amount(share.objects)}, the oldest of {share.oldest:%Y-%m-%d}")
    if len(shares) > DAGS_NAMED:
        said.note(f"  and {len(shares) - DAGS_NAMED} more DAGs")
    if plan.deletable:
        said.note(f"way back: {plan.way.value}; no bytes are free until {BYTES_FREE_WHEN[plan.way]}")


def _deeds(account: Account) -> str:
    """What a run is about to do, in words; empty for nothing."""
    from xcomctl.operations.gc import Tally

    plan = account.plan
    healable = Tally.of(*(removed.kept.object for removed in plan.healable))
    deeds = (
        ("delete", account.tallies["deletable"]),
        ("mark", account.tallies["marked"]),
        ("bring back", healable),
        ("empty the trash of", plan.trash),
    )
    return " and ".join(f"{verb} {amount(tally)}" for verb, tally in deeds if tally.count)


def tell_outcome(outcome: Deletion, said: Report) -> None:
    """What became of one object."""
    is_kept = outcome.error is not None or outcome.changed
    said.detail(f"{'perhaps deleted' if outcome.unknown else 'kept' if is_kept else 'deleted'} {outcome.object.name}")


def tell_failures(account: Account, said: Report) -> None:
    """What went wrong, what was left for the next run, and how all can be undone."""
    tell_some(account.failures, said)
    if any(failure["code"] == "delete_failed" for failure in account.failures):
        said.warning(
            "what failed was kept, as far as is known; may these credentials delete here? the next run tries again"
        )
    if account.slow_downs:
        said.note(f"the store was too busy {account.slow_downs} times: it was asked for less at a time")
    if account.stopped is not None:
        said.note("stopped before all was done; the next run goes on")
    if account.deleted.count:
        from xcomctl.operations.gc import BYTES_FREE_WHEN

        said.note(f"deleted {amount(account.deleted)}; no bytes are free until {BYTES_FREE_WHEN[account.plan.way]}")
        said.note(f"`xcomctl restore {account.operation_id}` undoes this run")


def tell_some(failures: Sequence[Mapping[str, object]], said: Report) -> None:
    """The first few failures, each of an object, of an XCom or of the whole run."""
    for failure in failures[:FAILURES_NAMED]:
        names = " ".join(str(failure[name]) for name in NAMES if name in failure)
        said.warning(f"{names or 'the run broke off'}: {failure['message']}")
    if len(failures) > FAILURES_NAMED:
        said.warning(f"and {len(failures) - FAILURES_NAMED} more failures; -o json names them all")


class Reporting(Protocol):
    """What an acting command did: for programs, and as counts for people."""

    @property
    def exit_code(self) -> ExitCode:
        """How the command ends."""

    @property
    def has_changed(self) -> bool:
        """Whether anything is, or may be, another than before."""

    @property
    def tallies(self) -> Mapping[str, Tally]:
        """Every count, by its name."""

    def document(self) -> dict[str, object]:
        """The whole report."""


def show(done: Reporting, display: Display, *, of: str = "objects") -> None:
    """The report, which a quiet success leaves out; a table leaves out what is zero."""
    if display.quiet and done.exit_code is ExitCode.OK:
        return
    form = render.chosen(display.output)
    if form in (Output.JSON, Output.JSONL, Output.YAML):
        render.document(done.document(), form)
        return
    tallies = [(name, tally) for name, tally in done.tallies.items() if tally.count or form is not Output.TABLE]
    rows = [{"what": name, of: tally.count, "size_bytes": tally.bytes} for name, tally in tallies]
    render.records(rows, ("what", of, "size_bytes"), form, display.color)


def told(done: Reporting, display: Display, said: Report, *more: Callable[[], None], of: str = "objects") -> ExitCode:
    """Show the report, and tell how the command ends: only partly, where a change cannot be reported any more."""
    try:
        show(done, display, of=of)
        for each in more:
            each()
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        if not done.has_changed:
            raise
        report.drop_unwritable(sys.stdout)
        said.warning(f"the report could not be written: {error.strerror}")
        return ExitCode.PARTIAL
    return done.exit_code


def show_dags(account: Account, display: Display) -> None:
    """What each DAG has left behind, for people: programs find it in the report."""
    form = render.chosen(display.output)
    if form is not Output.TABLE or display.quiet or not account.plan.candidates:
        return
    from xcomctl.operations.gc import by_dag

    rows = [
        {"dag_id": dag.dag_id, "objects": dag.objects.count, "size_bytes": dag.objects.bytes, "oldest": dag.oldest}
        for dag in by_dag(account.plan)
    ]
    render.records(rows, ("dag_id", "objects", "size_bytes", "oldest"), form, display.color)
