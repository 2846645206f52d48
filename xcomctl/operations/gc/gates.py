"""What refuses a run: each gate looks at one thing that would make the plan wrong, and nothing is changed then."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta

from xcomctl.backend.reference import Address, Location, parse_base
from xcomctl.catalog import Catalog
from xcomctl.ledger import Claim, control_folder
from xcomctl.ledger.claim import claimed_base
from xcomctl.ledger.control import CLAIM, state_elsewhere
from xcomctl.operations.gc.evidence import Evidence
from xcomctl.operations.gc.scope import Scope
from xcomctl.operations.gc.staleness import sign_of_another_database
from xcomctl.operations.gc.terms import Fate, Gate, Plan, Refusal

CLOCK_TOLERANCE = timedelta(minutes=5)
DANGLING_SHARE = 0.01
DANGLING_COUNT = 10
LOOKED_UP = 5


def refusals(plan: Plan, evidence: Evidence, scope: Scope, claimed: Claim | None) -> Iterator[Refusal]:
    """Everything that speaks against this plan, lifted or not."""
    yield from beforehand(scope, plan.claim, claimed)
    yield from _neighbours(scope, evidence)
    yield from _belonging(plan, evidence)
    if (signs := sign_of_another_database(evidence, scope)) is not None:
        yield Refusal(Gate.STALE_DATABASE, f"{signs}: is this a copy from before, or of another stage?")
    yield from _misfits(plan, evidence, scope)
    if not plan.rules.max_delete.allows(len(plan.deletable), plan.listed.count):
        message = f"{len(plan.deletable)} of {plan.listed.count} objects would go, more than {plan.rules.max_delete}"
        yield Refusal(Gate.MAX_DELETE, message)
    if not scope.store.deletes and not plan.rules.dry_run:
        yield of_store(scope)


def of_store(scope: Scope) -> Refusal:
    """That this kind of store is only read."""
    return Refusal(Gate.STORE_KIND, f"gc deletes on S3, GCS and local files, not on {scope.base.location.scheme}://")


def beforehand(scope: Scope, claim: Claim, claimed: Claim | None) -> Iterator[Refusal]:
    """What speaks against any run here, and shows before anything is listed."""
    yield from of_databases(scope.catalogs)
    yield from _clocks(scope)
    yield from _ownership(claim, claimed)
    elsewhere = state_elsewhere(scope.control, scope.base)
    if elsewhere is not None:
        message = f"gc's marks, claim and trash for this base path are in {elsewhere}, and would be left alone"
        yield Refusal(Gate.FOREIGN_CLAIM, message)
    yield from _state_stores(scope)


def is_restored(claimed: Claim | None, claim: Claim) -> bool:
    """Whether a database has gone back since the last run; what was seen before is worth nothing then."""
    return claimed is not None and claimed.ahead_of(claim.epochs) is not None


def of_databases(catalogs: Sequence[Catalog]) -> Iterator[Refusal]:
    """What speaks against databases by themselves: a copy may lack the newest rows, and cannot be written."""
    for catalog in catalogs:
        schema = catalog.schema
        if schema.unknown:
            message = f"{catalog} has tables that may hold references: {', '.join(schema.unknown)}"
            message += "; --db-schema says which schema is meant" if any("." in name for name in schema.unknown) else ""
            yield Refusal(Gate.UNKNOWN_TABLE, message)
        if schema.missing:
            message = f"{catalog} lacks {', '.join(schema.missing)}, or this user may not see it"
            yield Refusal(Gate.MISSING_TABLE, message)
        if schema.guarded:
            message = f"row-level security of {catalog} may hide rows of {', '.join(schema.guarded)} from this user"
            yield Refusal(Gate.HIDDEN_ROWS, message)
        if schema.version is None:
            yield Refusal(Gate.UNKNOWN_HEAD, f"{catalog} has the unknown schema {schema.head or '(no alembic head)'}")
        if catalog.database.is_replica():
            yield Refusal(Gate.REPLICA, f"{catalog} is a replica, which may lack the newest rows")


def _clocks(scope: Scope) -> Iterator[Refusal]:
    """With a wrong clock somewhere no age can be told."""
    now = scope.now()
    clocks: dict[str, datetime | None] = {"this machine": scope.machine_time()}
    clocks |= {str(catalog): catalog.database.now() for catalog in scope.catalogs}
    for name, clock in clocks.items():
        if clock is not None and abs(clock - now) > CLOCK_TOLERANCE:
            yield Refusal(Gate.CLOCK, f"the clocks of {name} and of the store differ: {clock} and {now}")


def _ownership(claim: Claim, claimed: Claim | None) -> Iterator[Refusal]:
    """Whose objects these are: those of the same databases as at the last run, and not of an earlier state of them."""
    if claimed is None:
        return
    foreign = claimed.foreign_to(claim.base, claim.epochs)
    if foreign is not None:
        yield Refusal(Gate.FOREIGN_CLAIM, foreign)
    restored = claimed.ahead_of(claim.epochs)
    if restored is not None:
        message = f"{restored}; was it put back from a backup? `xcomctl restore` brings back what gc has deleted since"
        yield Refusal(Gate.RESTORED_DATABASE, message)


def _neighbours(scope: Scope, evidence: Evidence) -> Iterator[Refusal]:
    """Other base paths below this one and above it, as far as gc has ever run there."""
    base = scope.base.location
    above = list(_folders_above(base))
    for name in (*evidence.listing.claims, *(f"{control_folder(each, None)}{CLAIM}" for each in above)):
        claimed = claimed_base(scope.store, name)
        other = parse_base(claimed) if claimed is not None else None
        if other is not None and (base.holds(other.location) or other.location.holds(base)):
            message = f"gc also runs for the base path {claimed}, and one of the two lies within the other"
            yield Refusal(Gate.FOREIGN_CLAIM, message)


def _folders_above(base: Location) -> Iterator[Address]:
    """Every folder that the base path lies in, up to the bucket."""
    name = base.name
    while name.strip("/"):
        name = name.rpartition("/")[0]
        if name or base.scheme != "file":
            place = Location(base.scheme, base.bucket, name)
            yield Address(place.url, base.scheme, None, place)


def _state_stores(scope: Scope) -> Iterator[Refusal]:
    """Airflow's state stores name their objects by keys that people choose."""
    states = scope.state_base.location if scope.state_base is not None else None
    base = scope.base.location
    if states is not None and (states == base or states.holds(base) or base.holds(states)):
        message = f"the state stores keep their objects under {states.url}, which overlaps the base path"
        yield Refusal(Gate.STATE_STORE_OVERLAP, message)


def _belonging(plan: Plan, evidence: Evidence) -> Iterator[Refusal]:
    """A listing and rows that do not belong together."""
    candidates, listed = plan.fates[Fate.CANDIDATE].count, plan.listed.count
    alive = plan.fates[Fate.LIVE].count + plan.fates[Fate.ARCHIVED].count
    if candidates and not plan.references:
        yield Refusal(Gate.EMPTY_ROOTS, f"{listed} objects, but no row of any database refers to one")
    elif (candidates or evidence.misfits.dangling) and not alive:
        message = f"{plan.references} references and {listed} objects, and none belong together"
        yield Refusal(Gate.NO_OVERLAP, f"{message}: wrong base or database, or a volume that is not mounted?")


def _misfits(plan: Plan, evidence: Evidence, scope: Scope) -> Iterator[Refusal]:
    misfits = evidence.misfits
    dangling = misfits.dangling - len(plan.healable)  # what gc took by mistake, it can bring back
    unlisted = [name for name in misfits.dangling_names[:LOOKED_UP] if _is_there(name, evidence, scope)]
    if unlisted:
        yield Refusal(Gate.INCOMPLETE_LISTING, f"the listing lacks an object that is there: {unlisted[0]}")
    if dangling > max(DANGLING_COUNT, DANGLING_SHARE * misfits.below_base):
        message = (
            f"{dangling} of {misfits.below_base} references lead to no object, {misfits.dangling_names[0]} "
            "for one: may these credentials list everything?"
        )
        yield Refusal(Gate.DANGLING, message)
    if misfits.respelled:
        message = f"references reach the objects of {scope.base.text} by another spelling: {misfits.respelled[0]}"
        yield Refusal(Gate.TWO_SPELLINGS, message)
    if misfits.ambiguous:
        message = f"a value names a place under the base path that is not one object: {misfits.ambiguous[0]}"
        yield Refusal(Gate.AMBIGUOUS, message)


def _is_there(name: str, evidence: Evidence, scope: Scope) -> bool:
    """Whether an object exists that the listing, which began later, did not show."""
    found = scope.store.stat(name)
    if found is None or found.modified_at >= evidence.listing.started_at:
        return False
    return name not in evidence.listing.objects.names()
