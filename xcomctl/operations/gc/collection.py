"""One run from its lease to its report: look, let somebody agree, carry out."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import islice

from xcomctl.errors import StorageError
from xcomctl.ledger import Lease
from xcomctl.ledger.lease import held, holder, require_free
from xcomctl.model import Deletion, Watch
from xcomctl.numbers import Flags
from xcomctl.operations.gc.account import Account, new_operation_id
from xcomctl.operations.gc.batches import Pace
from xcomctl.operations.gc.canary import placed
from xcomctl.operations.gc.evidence import gather_for
from xcomctl.operations.gc.inventory import Block
from xcomctl.operations.gc.listing import listing_of
from xcomctl.operations.gc.plan import is_refused_beforehand, make_plan
from xcomctl.operations.gc.scope import Scope
from xcomctl.operations.gc.sweep import carry_out
from xcomctl.operations.gc.terms import Gate, Plan, Rules


@dataclass(frozen=True, slots=True)
class Collection:
    """A run that has looked. Without a lease, as in a dry run, it can do nothing more."""

    account: Account
    scope: Scope
    lease: Lease | None

    def look_again(self, watch: Watch = lambda step, done: None) -> None:
        """Read all rows once more, as after a person has thought about it: what is referred to by now stays."""
        plan = self.account.plan
        listing = listing_of(self.scope, plan.seen_at, [[each.object] for each in plan.deletable])
        evidence = gather_for(listing, self.scope, plan.rules, watch)

        def is_orphan(block: Block) -> Flags:
            uniques = block.columns["uniques"]
            return ~(evidence.live.names.holding(uniques) | evidence.archived.names.holding(uniques))

        kept = plan.deletable.that(is_orphan)
        self.account.plan = replace(plan, deletable=kept)

    def carry_out(self, pace: Pace = lambda: None) -> Iterator[Deletion]:
        """Do it, and yield what became of each object. Raises `StorageError` or `LockedError` before any change."""
        if self.lease is None:
            raise StorageError("this kind of store is only read", hint="use --dry-run")
        return carry_out(self.account, self.scope, self.lease, pace)


@contextmanager
def collecting(scope: Scope, rules: Rules, watch: Watch = lambda step, done: None) -> Iterator[Collection]:
    """Look at everything, under the lease unless this is a dry run or refused, which writes nothing at all.

    Raises `StorageError`, `MetadataError`, and `LockedError` while another run is at work.
    """
    operation_id = new_operation_id()
    mine = holder(operation_id, "gc")
    require_listing(scope)
    if rules.dry_run or not scope.store.deletes or is_refused_beforehand(scope, rules):
        require_free(scope.control, mine)
        yield Collection(Account(make_plan(scope, rules, watch), operation_id), scope, None)
        return
    with held(scope.control, mine) as lease:

        def keeping(step: str, done: int) -> None:
            lease.keep()
            watch(step, done)

        yield Collection(Account(_looked(scope, rules, keeping), operation_id), scope, lease)


def _looked(scope: Scope, rules: Rules, watch: Watch) -> Plan:
    """The plan, made with canaries among the objects."""
    if Gate.CANARY in rules.allow:
        return make_plan(scope, rules, watch)
    with placed(scope) as canaries:
        return make_plan(scope, rules, watch, canaries)


def require_listing(scope: Scope) -> None:
    """Nothing is written beside a base path that is not there."""
    for _ in islice(scope.store.objects(scope.base.location.folder), 1):
        return
