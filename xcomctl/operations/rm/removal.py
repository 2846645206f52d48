"""One removal from its lease to its report: count, let somebody agree, remove batch by batch, mark.

Rows go first. What breaks off after that leaves objects that no row refers to, which gc finds by itself, and never a
row whose object is gone: nothing here deletes an object. So to run it again is to go on.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime, timezone

from xcomctl.catalog import Catalog
from xcomctl.catalog.catalog import Row
from xcomctl.catalog.engine import is_locked, is_out_of_reach
from xcomctl.catalog.removing import ROWS_AT_ONCE, Remover, Settled
from xcomctl.catalog.schema import Table
from xcomctl.errors import MetadataError, StorageError, XcomctlError
from xcomctl.ledger import Lease
from xcomctl.ledger.audit import write_run
from xcomctl.ledger.control import lead_here
from xcomctl.ledger.lease import held, holder, require_free
from xcomctl.operations.gc import Pace, Scope, Tally, Watch, new_operation_id
from xcomctl.operations.gc.collection import require_listing
from xcomctl.operations.rm.account import Account
from xcomctl.operations.rm.marking import Marking
from xcomctl.operations.rm.planning import judged, make_plan
from xcomctl.operations.rm.terms import Rules, Skip, Unmarked
from xcomctl.operations.rows import batches

MARKED_AT_ONCE = 100_000
"""So many objects wait for their mark at most: to look whether anything refers to them means to read all rows."""

LOCKED_SECONDS = 5.0
LOCK_PAUSE_SECONDS = 0.02
"""How long, and how long at a time, one batch waits for what others have locked; the rest is for the next run."""

REFUSED_IN_A_ROW = 3
"""After so many batches that the database refuses whole, a run breaks off."""

KEPT = {
    Settled.CHANGED: Skip.CHANGED,
    Settled.UNFINISHED: Skip.RUN_UNFINISHED,
    Settled.HIDING: Skip.HIDES_OLDER,
}


@dataclass(slots=True)
class Removal:
    """A removal that has looked. Without `acts`, as in a dry run, it can do nothing more.

    `scope` is None where there is no base path; without a `lease` no object is marked.
    """

    account: Account
    catalog: Catalog
    scope: Scope | None
    lease: Lease | None
    acts: bool
    _archives: dict[Table, str] = field(default_factory=dict)
    _names: set[str] = field(default_factory=set)
    _refused: int = 0

    def carry_out(self, pace: Pace = lambda: None, watch: Watch = lambda step, done: None) -> Iterator[Row]:
        """Remove what can be removed, and yield each row when it is settled; an error is raised only before the first.

        `watch` is told of the marking at the end, which reads every row that there is.
        """
        if not self.acts:
            return
        try:
            yield from self._steps(pace, watch)
        except XcomctlError as error:
            if not self.account.has_changed:
                raise
            self.account.complain("broke_off", error.message)
        self.account.leave(Unmarked.LEFT_TO_GC, Tally(len(self._names)))
        self._write_down()

    def _steps(self, pace: Pace, watch: Watch) -> Iterator[Row]:
        with closing(Remover(self.catalog)) as remover:
            remover.require_rights()
            for batch in batches(self._removable(remover), ROWS_AT_ONCE):
                self.account.stopped = pace()
                if self.account.stopped is not None:
                    break
                if self.lease is not None:
                    self.lease.keep()
                self._remove(remover, batch)
                yield from batch
                if len(self._names) >= MARKED_AT_ONCE:
                    self._mark(watch)
        if self.account.stopped != "signal":  # whoever sends one will not wait for the reading of all rows
            self._mark(watch)

    def _removable(self, remover: Remover) -> Iterator[Row]:
        rows = remover.rows(self.account.plan.rules.selected)
        return (row for row, skip in judged(rows, self.catalog) if skip is None)

    def _remove(self, remover: Remover, batch: Sequence[Row]) -> None:
        """One batch, and in smaller and smaller parts what somebody else has locked a row of."""
        waiting, until = deque([batch]), time.monotonic() + LOCKED_SECONDS
        while waiting:
            some = waiting.popleft()
            try:
                self._settle(remover, some)
                self._refused = 0
            except MetadataError as error:
                if not is_locked(error):
                    self._refuse(some, error)
                elif time.monotonic() < until:
                    time.sleep(LOCK_PAUSE_SECONDS)
                    middle = len(some) // 2
                    waiting += [part for part in (some[:middle], some[middle:]) if part]
                else:
                    self._fail("locked", some, error)

    def _settle(self, remover: Remover, rows: Sequence[Row]) -> None:
        for row, settled in remover.remove(rows, self._archive(remover, rows[0].table)).items():
            if settled is Settled.REMOVED:
                self._removed(row)
            else:
                self.account.skip(KEPT[settled], row.xcom.size_bytes)

    def _removed(self, row: Row) -> None:
        self.account.removed += Tally(1, row.xcom.size_bytes)
        if row.xcom.reference is None:
            return
        marking = self._marking
        name = marking.name_of(row.xcom) if marking is not None else None
        if self.account.plan.rules.archive:
            self.account.leave(Unmarked.ARCHIVED, Tally(1))
        elif marking is None:
            self.account.leave(Unmarked.LEFT_TO_GC, Tally(1))
        elif name is None:
            self.account.leave(Unmarked.ELSEWHERE, Tally(1))
        else:
            self._names.add(name)

    def _refuse(self, rows: Sequence[Row], error: MetadataError) -> None:
        """The database would not: the rows stay, unless the connection broke so that nobody knows."""
        self.account.perhaps_changed |= is_out_of_reach(error)
        self._refused += 1
        if not self.account.has_changed:
            raise error
        self._fail("delete_failed", rows, error)
        if is_out_of_reach(error) or self._refused >= REFUSED_IN_A_ROW:
            raise error

    def _fail(self, code: str, rows: Sequence[Row], error: MetadataError) -> None:
        for row in rows:
            self.account.fail(code, row, error)

    def _archive(self, remover: Remover, table: Table) -> str | None:
        """The archive of a table, made when the first of its rows is to go."""
        if not self.account.plan.rules.archive:
            return None
        if table not in self._archives:
            self._archives[table] = remover.make_archive(table, datetime.now(timezone.utc))
            self.account.archives.append(self._archives[table])
        return self._archives[table]

    @property
    def _marking(self) -> Marking | None:
        claim = self.account.plan.claim
        if self.scope is None or self.lease is None or claim is None:
            return None
        return Marking(self.scope, self.lease, claim)

    def _mark(self, watch: Watch) -> None:
        """Mark the objects of the rows that are gone. What cannot be marked is left to gc, and that is no loss."""
        marking = self._marking
        if marking is None or not self._names:
            return
        try:
            marked = marking.mark(self._names, self.account.operation_id, watch)
        except XcomctlError as error:
            self.account.complain("mark_failed", error.message)
            self.account.leave(Unmarked.LEFT_TO_GC, Tally(len(self._names)))
        else:
            self.account.mark(marked.orphans, marked.due_at)
            for why, tally in marked.left.items():
                self.account.leave(why, tally)
        self._names.clear()

    def _write_down(self) -> None:
        if self.scope is None or self.lease is None:
            return
        plan = self.account.plan
        facts = {
            "command": "rm",
            "started_at": plan.seen_at.isoformat(),
            "base": self.scope.base.location.url,
            "databases": [str(self.catalog)],
            "rules": plan.rules.facts(),
            "report": self.account.document(),
        }
        with suppress(StorageError):  # the history lacks it then, and nothing else does
            lead_here(self.scope.control, self.scope.base)
            finished_at = self.scope.now().isoformat()
            write_run(self.scope.control, self.account.operation_id, {**facts, "finished_at": finished_at})


@contextmanager
def removing(
    catalogs: Sequence[Catalog], scope: Scope | None, rules: Rules, watch: Watch = lambda step, done: None
) -> Iterator[Removal]:
    """Look at all rows of the first database, and hold a lease beside migrations but not beside gc.

    A dry run and one that is refused hold none, and write nothing. Raises `MetadataError`, `StorageError`, and
    `LockedError` while gc is at work.
    """
    operation_id = new_operation_id()
    if scope is None or not scope.store.deletes:
        plan = make_plan(catalogs, scope, rules, watch)
        acts = not (rules.dry_run or plan.refusals)
        yield Removal(Account(plan, operation_id), catalogs[0], scope, None, acts)
        return
    mine = holder(operation_id, "rm", shared=True)
    require_listing(scope)
    require_free(scope.control, mine)
    if rules.dry_run:
        yield Removal(Account(make_plan(catalogs, scope, rules, watch), operation_id), catalogs[0], scope, None, False)
        return
    with held(scope.control, mine) as lease:
        plan = make_plan(catalogs, scope, rules, watch)
        yield Removal(Account(plan, operation_id), catalogs[0], scope, lease, acts=not plan.refusals)
