"""Whether these databases are those that Airflow works with now, told by the newest objects.

A copy from before lacks the rows of all that was pushed since, old enough to be collected as that may be. Objects of
unknown DAGs say nothing about it, and are held anyway.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from xcomctl.backend.reference import Placement, place
from xcomctl.catalog import Catalog
from xcomctl.operations.gc.evidence import Evidence
from xcomctl.operations.gc.scope import Scope

LOOKED_AT = 1000
NEWEST = 20
FEWEST = 10
SHARE = 0.9
HEARTBEATS_LATE = timedelta(days=1)
"""Workers may go on for so long after the last heartbeat of a scheduler, or of any other job."""

AFTER_HEARTBEATS = 3

Newcomer = tuple[datetime, Placement]


def sign_of_another_database(evidence: Evidence, scope: Scope) -> str | None:
    """What speaks for another database, in words."""
    catalogs = scope.catalogs
    newest = _newest_of_known_dags(evidence, scope)
    heartbeats = [beat for catalog in catalogs if (beat := catalog.tasks.last_heartbeat()) is not None]
    late = [p for at, p in newest if heartbeats and at > max(heartbeats) + HEARTBEATS_LATE]
    if len(late) >= AFTER_HEARTBEATS:
        return f"objects were written more than a day after the last heartbeat of any job, {max(heartbeats)}"
    newest = newest[:NEWEST]
    strange = _of_strange_runs([placement for _, placement in newest], evidence, catalogs)
    if len(strange) < FEWEST or len(strange) <= SHARE * len(newest):
        return None
    example = f"{strange[0].dag_id} {strange[0].run_id}"
    return f"{len(strange)} of the {len(newest)} newest objects are of runs that no database knows, {example} for one"


def _newest_of_known_dags(evidence: Evidence, scope: Scope) -> list[Newcomer]:
    """The newest first, but for those that are dated in the future, or not at all."""
    listed = evidence.listing.newest(LOOKED_AT, evidence.seen_at)
    placed = ((found.modified_at, place(scope.relative(found.name))) for found in listed)
    newest = [(at, placement) for at, placement in placed if placement is not None]
    dag_ids = {placement.dag_id for _, placement in newest}
    known = {dag_id for catalog in scope.catalogs for dag_id in catalog.tasks.known_dags(dag_ids)}
    return [(at, placement) for at, placement in newest if placement.dag_id in known]


def _of_strange_runs(
    placements: Sequence[Placement], evidence: Evidence, catalogs: Sequence[Catalog]
) -> list[Placement]:
    """Those that no row refers to, of runs that are not there and were not logged: a deleted run stays in the log."""
    orphans = [p for p in placements if not evidence.live.holds(p) and not evidence.archived.holds(p)]
    runs = {(p.dag_id, p.run_id) for p in orphans}
    known = {run for catalog in catalogs for run in catalog.tasks.known_runs(runs) | catalog.tasks.logged_runs(runs)}
    return [p for p in orphans if (p.dag_id, p.run_id) not in known]
