"""Look at everything and decide: list the objects, then read all rows, and subtract.

The order is the proof. Airflow writes the object first and the row later, and uses a name once: an object that was
listed before the rows were read, is older than any write lasts, and has no row, never gets one. In doubt it is kept.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime, timedelta, timezone

from xcomctl.backend.reference import Address, Placement, place
from xcomctl.backend.storage import Store
from xcomctl.catalog import Catalog
from xcomctl.catalog.selection import is_like
from xcomctl.model import StoredObject
from xcomctl.operations.gc.evidence import Evidence, doubt_of, live_and_archived, watched
from xcomctl.operations.gc.terms import Fate, Gate, Plan, Refusal, Rules, Tally, Watch

CLOCK_TOLERANCE = timedelta(minutes=5)


def make_plan(
    catalogs: Sequence[Catalog],
    store: Store,
    base: Address,
    rules: Rules,
    watch: Watch = lambda step, done: None,
) -> Plan:
    """Look at all objects under the base path, and then at all rows of all catalogues.

    Writes nothing. Raises `StorageError` or `MetadataError` when either cannot be read completely.
    """
    folder = base.location.folder
    started_at = store.now(folder)
    placed = [
        (found, place(found.name[len(folder) :])) for found in watched(store.objects(folder), "objects listed", watch)
    ]
    live, archived = live_and_archived(catalogs, rules, watch)
    orphans = [p for _, p in placed if p and not live.holds(p) and not archived.holds(p)]
    evidence = Evidence(started_at, live, archived, doubt_of(orphans, catalogs, rules, started_at))
    fates = dict.fromkeys(Fate, Tally())
    candidates = []
    for found, placement in placed:
        fate = _fate(found, placement, evidence, rules)
        fates[fate] += Tally.of(found)
        if fate is Fate.CANDIDATE:
            candidates.append(found)
    deletable = tuple(candidates) if rules.single_pass else ()
    references = live.references + archived.references
    plan = Plan(base, rules, references, fates, deletable, (), store.condition)
    return replace(plan, refusals=tuple(_refusals(plan, catalogs, store)))


def _fate(found: StoredObject, placement: Placement | None, evidence: Evidence, rules: Rules) -> Fate:
    if placement is None:
        return Fate.UNKNOWN
    if evidence.live.holds(placement):
        return Fate.LIVE
    if evidence.archived.holds(placement):
        return Fate.ARCHIVED
    if found.modified_at > evidence.now - rules.older_than:
        return Fate.YOUNG
    if not _chosen(placement.dag_id, rules):
        return Fate.EXCLUDED
    return Fate.HELD if evidence.doubt.covers(placement) else Fate.CANDIDATE


def _chosen(dag_id: str, rules: Rules) -> bool:
    return is_like(dag_id, rules.dag_ids, empty=True) and not is_like(dag_id, rules.exclude_dag_ids, empty=False)


def _refusals(plan: Plan, catalogs: Sequence[Catalog], store: Store) -> Iterator[Refusal]:
    now = store.now(plan.base.location.folder)
    found = [*_schema_refusals(catalogs), *_server_refusals(catalogs, now), *_plausibility_refusals(plan)]
    if not store.deletes and not plan.rules.dry_run:
        scheme = plan.base.location.scheme
        found.append(Refusal(Gate.STORE_KIND, f"gc deletes on S3, GCS and local files, not on {scheme}://"))
    return (refusal for refusal in found if refusal.gate not in plan.rules.allow)


def _schema_refusals(catalogs: Sequence[Catalog]) -> Iterator[Refusal]:
    for catalog in catalogs:
        schema = catalog.schema
        if schema.unknown:
            message = f"{catalog} has tables that may hold references: {', '.join(schema.unknown)}"
            yield Refusal(Gate.UNKNOWN_TABLE, message)
        if schema.missing:
            message = f"{catalog} lacks {', '.join(schema.missing)}, or this user may not see it"
            yield Refusal(Gate.MISSING_TABLE, message)
        if schema.version is None:
            yield Refusal(Gate.UNKNOWN_HEAD, f"{catalog} has the unknown schema {schema.head or '(no alembic head)'}")


def _server_refusals(catalogs: Sequence[Catalog], now: datetime) -> Iterator[Refusal]:
    """A copy may lack the newest rows, and with a wrong clock somewhere no age can be told."""
    clocks = {"this machine": datetime.now(timezone.utc)}
    for catalog in catalogs:
        if catalog.is_replica():
            yield Refusal(Gate.REPLICA, f"{catalog} is a replica, which may lack the newest rows")
        told = catalog.now()
        clocks |= {str(catalog): told} if told is not None else {}
    for name, clock in clocks.items():
        if abs(clock - now) > CLOCK_TOLERANCE:
            yield Refusal(Gate.CLOCK, f"the clocks of {name} and of the store differ: {clock} and {now}")


def _plausibility_refusals(plan: Plan) -> Iterator[Refusal]:
    """What a listing and rows look like that do not belong together."""
    candidates, listed = plan.fates[Fate.CANDIDATE].count, plan.listed.count
    if candidates and not plan.references:
        yield Refusal(Gate.EMPTY_ROOTS, f"{listed} objects, but no row of any database refers to one")
    elif candidates and not plan.kept_by_rows.count:
        message = (
            f"{plan.references} references and {listed} objects, and none belong together: wrong base or database?"
        )
        yield Refusal(Gate.NO_OVERLAP, message)
    if not plan.rules.max_delete.allows(len(plan.deletable), listed):
        message = f"{len(plan.deletable)} of {listed} objects would go, more than {plan.rules.max_delete}"
        yield Refusal(Gate.MAX_DELETE, message)
