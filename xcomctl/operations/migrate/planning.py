"""Count what would move, and try whether Airflow could read it, with a sample that is removed again."""

from __future__ import annotations

from collections.abc import Iterator

from xcomctl.operations.gc import Scope, Tally, Watch
from xcomctl.operations.migrate.judging import judged
from xcomctl.operations.migrate.move import Move
from xcomctl.operations.migrate.proof import wrong_with_a_sample
from xcomctl.operations.migrate.terms import Destination, Gate, Plan, Refusal, Rules, Skip


def make_plan(scope: Scope, rules: Rules, move: Move, watch: Watch = lambda step, done: None) -> Plan:
    """Look at all rows that the move is about, without reading large values."""
    seen_at = scope.now()
    refusals = tuple(each for each in _refusals(scope, rules) if each.gate not in rules.allow)
    selected, movable = Tally(), Tally()
    skipped: dict[Skip, Tally] = {}
    for done, (row, skip) in enumerate(judged(move.rows(), move.kept, scope.catalog), start=1):
        tally = Tally(1, row.xcom.size_bytes)
        selected += tally
        if skip is None:
            movable += tally
        else:
            skipped[skip] = skipped.get(skip, Tally()) + tally
        watch("rows looked at", done)
    return Plan(scope.base, rules, selected, movable, skipped, seen_at, refusals)


def _refusals(scope: Scope, rules: Rules) -> Iterator[Refusal]:
    schema, database = scope.catalog.schema, scope.catalog.database
    if schema.version is None:
        head = schema.head or "(no alembic head)"
        message = f"{database} has the unknown schema {head}: older than Airflow 2.9.2, or newer than this xcomctl"
        yield Refusal(Gate.UNKNOWN_HEAD, message)
    if database.is_replica():
        yield Refusal(Gate.REPLICA, f"{database} is a replica, which cannot be written")
    if not scope.store.deletes:
        message = f"migrate writes to S3, GCS and local files, not to {scope.base.location.scheme}://"
        yield Refusal(Gate.STORE_KIND, message)
    elif rules.to is Destination.STORAGE and Gate.BACKEND not in rules.allow:
        wrong = wrong_with_a_sample(scope.store, scope.base, rules.codec, dry_run=rules.dry_run)
        if wrong is not None:
            yield Refusal(Gate.BACKEND, f"Airflow would not read the result: {wrong}")
