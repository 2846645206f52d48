"""Count what would go, and ask what speaks against it, without reading a large value or changing anything."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timezone

from xcomctl.catalog import Catalog
from xcomctl.catalog.catalog import Row
from xcomctl.ledger import Claim
from xcomctl.ledger.claim import read_claim
from xcomctl.operations.gc import Refusal, Scope, Tally, Watch
from xcomctl.operations.gc.gates import beforehand, of_databases, of_store
from xcomctl.operations.gc.plan import claim_of
from xcomctl.operations.rm.terms import Plan, Rules, Skip
from xcomctl.operations.rows import some_at_a_time, unfinished

ROWS_AT_ONCE = 500


def make_plan(
    catalogs: Sequence[Catalog], scope: Scope | None, rules: Rules, watch: Watch = lambda step, done: None
) -> Plan:
    """Look at all rows that a filter means, of every attempt."""
    seen_at = scope.now() if scope is not None else datetime.now(timezone.utc)
    claim = claim_of(scope) if scope is not None else None
    found = list(_refusals(catalogs, scope, claim))
    selected, removable, referring = Tally(), Tally(), Tally()
    skipped: dict[Skip, Tally] = {}
    for done, (row, skip) in enumerate(judged(catalogs[0].addressed(rules.selected), catalogs[0]), start=1):
        tally = Tally(1, row.xcom.size_bytes)
        selected += tally
        if skip is not None:
            skipped[skip] = skipped.get(skip, Tally()) + tally
        else:
            removable += tally
            referring += tally if row.xcom.reference is not None else Tally()
        watch("rows looked at", done)
    return Plan(
        base=scope.base if scope is not None else None,
        rules=rules,
        selected=selected,
        removable=removable,
        referring=referring,
        skipped=skipped,
        seen_at=seen_at,
        claim=None if any(refusal.gate in rules.allow for refusal in found) else claim,
        refusals=tuple(refusal for refusal in found if refusal.gate not in rules.allow),
    )


def judged(rows: Iterable[Row], catalog: Catalog) -> Iterator[tuple[Row, Skip | None]]:
    """Each row with what keeps it, or None. Asks the database about many runs and tasks at a time."""
    for some in some_at_a_time(iter(rows), ROWS_AT_ONCE):
        at_work = unfinished(some, catalog)
        for row in some:
            yield row, Skip.RUN_UNFINISHED if row in at_work else None


def _refusals(catalogs: Sequence[Catalog], scope: Scope | None, claim: Claim | None) -> Iterator[Refusal]:
    if scope is None or claim is None:
        yield from of_databases(catalogs)
        return
    yield from beforehand(scope, claim, read_claim(scope.control))
    if not scope.store.deletes:
        yield of_store(scope)
