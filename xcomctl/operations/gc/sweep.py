"""Do what a plan says: heal, empty the trash, and remove batch by batch, each looked up in the databases once more.

Every batch is written down before it goes and after, so that whoever comes next knows what became of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from itertools import groupby

from xcomctl.backend.reference import Placement
from xcomctl.catalog import Catalog
from xcomctl.errors import XcomctlError
from xcomctl.ledger import Lease
from xcomctl.ledger.audit import (
    TRASH,
    batch_of,
    write_emptied,
    write_intent,
    write_outcome,
    write_returns,
    write_run,
)
from xcomctl.ledger.claim import read_claim, write_claim
from xcomctl.ledger.control import lead_here
from xcomctl.ledger.marks import write_marks
from xcomctl.model import Deletion
from xcomctl.operations.gc.account import Account
from xcomctl.operations.gc.evidence import unfinished_owners
from xcomctl.operations.gc.gates import is_restored
from xcomctl.operations.gc.scope import Scope
from xcomctl.operations.gc.terms import Candidate, Tally

BATCH = 500

Pace = Callable[[], str | None]
"""Asked before each batch: why to stop here, or None to go on."""


def carry_out(account: Account, scope: Scope, lease: Lease, pace: Pace) -> Iterator[Deletion]:
    """Apply the account's plan and enter each outcome; an error is raised only before the first change."""
    try:
        yield from _steps(account, scope, lease, pace)
        _write_down(account, scope, finished=True)
    except XcomctlError as error:
        if not account.has_changed:
            raise
        account.break_off(error)
        with suppress(XcomctlError):  # the history then says that it was interrupted, which is true
            _write_down(account, scope, finished=True)


def _steps(account: Account, scope: Scope, lease: Lease, pace: Pace) -> Iterator[Deletion]:
    plan, control = account.plan, scope.control
    lease.keep()
    _write_down(account, scope)
    if not plan.rules.single_pass or is_restored(read_claim(control), plan.claim):
        write_marks(control, plan.claim.base, account.operation_id, plan.marks)
    lead_here(control, plan.base)
    write_claim(control, plan.claim, plan.seen_at)  # after the marks: it says that they are of these databases
    _heal(account, scope)
    _empty_trash(account, scope)
    for number, start in enumerate(range(0, len(plan.deletable), BATCH), start=1):
        account.stopped = pace()
        if account.stopped is not None:
            return
        lease.require()
        lease.keep()
        for outcome in _sweep(account, scope, number, plan.deletable[start : start + BATCH]):
            account.enter(outcome)
            yield outcome


def _sweep(account: Account, scope: Scope, number: int, candidates: Sequence[Candidate]) -> Iterator[Deletion]:
    """One batch. Whatever has a row again, or an owner at work, is kept."""
    plan, control = account.plan, scope.control
    revived = _revived([candidate.placement for candidate in candidates], scope)
    kept = [each.object for each in candidates if each.placement.unique in revived]
    yield from (Deletion(found, changed=True) for found in kept)
    going = [each for each in candidates if each.placement.unique not in revived]
    causes = {each.object.name: each.cause.value for each in going}
    batch = batch_of(control, account.operation_id, number, [each.object for each in going], causes)
    if not going:
        return
    write_intent(control, batch, plan.way)
    changed_before, account.perhaps_changed = account.perhaps_changed, True  # until every answer is here
    outcomes = list(scope.store.remove(batch.removals, plan.way, look_first=plan.look_first))
    account.perhaps_changed = changed_before
    try:
        write_outcome(control, batch, outcomes)
    finally:
        yield from outcomes


def _heal(account: Account, scope: Scope) -> None:
    """Bring back what an earlier run removed and a row refers to now."""
    by_operation = groupby(account.plan.healable, key=lambda removed: removed.operation_id)
    for operation_id, removed in by_operation:
        returns = list(scope.store.bring_back([each.kept for each in removed]))
        for returned in returns:
            account.enter_return(returned)
        write_returns(scope.control, operation_id, account.operation_id, 1, returns)


def _empty_trash(account: Account, scope: Scope) -> None:
    """Let go for good of what was kept for long enough, and of copies made in vain; all as the audit has it."""
    for operation_id in account.plan.outdated:
        copies = scope.control.listed(f"{TRASH}{operation_id}/")
        account.perhaps_changed |= bool(copies)
        scope.store.discard([copy.name for copy in copies])
        tally = Tally.of(*copies)
        account.freed += tally
        at = account.plan.seen_at
        write_emptied(scope.control, operation_id, account.operation_id, at, tally.count, tally.bytes)


def _write_down(account: Account, scope: Scope, *, finished: bool = False) -> None:
    """The run as the history tells it."""
    plan = account.plan
    facts: dict[str, object] = {
        "command": "gc",
        "started_at": plan.seen_at.isoformat(),
        "base": plan.claim.base,
        "databases": [epoch.database for epoch in plan.claim.epochs],
        "rules": plan.rules.facts(),
        "way_back": plan.way.value,
        "conditional": not plan.look_first,
    }
    facts |= {"report": account.document(), "finished_at": scope.now().isoformat()} if finished else {}
    write_run(scope.control, account.operation_id, facts)


def _revived(placements: Sequence[Placement], scope: Scope) -> set[str]:
    """The unique parts of those objects that have a row now, or an owner that may still write."""
    catalogs: Sequence[Catalog] = scope.catalogs
    referenced = {unique for catalog in catalogs for unique in catalog.still_referenced(placements)}
    owners = unfinished_owners(placements, catalogs, scope.now())
    return referenced | {p.unique for p in placements if p.owner in owners}
