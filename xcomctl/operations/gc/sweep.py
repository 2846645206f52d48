"""Do what a plan says: write the marks, heal, empty the trash, and remove what is due.

All of it is written down, so that whoever comes next knows what became of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from itertools import groupby

from xcomctl.errors import XcomctlError
from xcomctl.ledger import Lease
from xcomctl.ledger.audit import TRASH, write_emptied, write_returns, write_run
from xcomctl.ledger.claim import read_claim, write_claim
from xcomctl.ledger.control import lead_here
from xcomctl.ledger.marks import write_marks
from xcomctl.model import Deletion
from xcomctl.operations.gc.account import Account
from xcomctl.operations.gc.batches import Pace, Sweep
from xcomctl.operations.gc.gates import is_restored
from xcomctl.operations.gc.scope import Scope
from xcomctl.operations.gc.tally import Tally


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
    yield from Sweep(account, scope, lease, pace).outcomes()


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
