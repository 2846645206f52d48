"""Collect orphans: list the objects, then read all rows, subtract, and delete what stays and is old.

The order is the proof. Airflow writes the object first and the row later, and uses a name once: an object that was
listed before the rows were read, is older than any write lasts, and has no row, never gets one. In doubt it is kept.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta, timezone
from enum import Enum
from hashlib import blake2b
from typing import TypeVar
from uuid import uuid4

from xcomctl.backend.reference import Address, Placement, place
from xcomctl.backend.storage import Store
from xcomctl.catalog import Catalog
from xcomctl.catalog.selection import is_like
from xcomctl.errors import ExitCode, XcomctlError
from xcomctl.model import Deletion, StoredObject

T = TypeVar("T")

OLDER_THAN = timedelta(days=3)
OLDER_THAN_FLOOR = timedelta(hours=24)
SINGLE_PASS_OLDER_THAN = timedelta(days=7)
OWNER_REST = timedelta(hours=1)
"""How long a task instance must be over before the names that it may reuse are collected (Airflow 3.4): more than
its missed heartbeats (300 s), the life of its token (600 s) and the retries of its last request."""

BATCH = 500


class Gate(str, Enum):
    """What refuses a run before anything is changed."""

    UNKNOWN_TABLE = "unknown-table"
    UNKNOWN_HEAD = "unknown-head"
    EMPTY_ROOTS = "empty-roots"
    NO_OVERLAP = "no-overlap"
    MAX_DELETE = "max-delete"
    STORE_KIND = "store-kind"


class Fate(str, Enum):
    """What one listed object is to this run. The values are the names of the counts in its report."""

    LIVE = "live"
    YOUNG = "young"
    UNKNOWN = "unknown"
    EXCLUDED = "excluded"
    HELD = "held"
    CANDIDATE = "candidates"


@dataclass(frozen=True, slots=True)
class Limit:
    """The most that one run may delete: a number of objects, or a share of those listed."""

    count: int | None = None
    share: float | None = None

    def allows(self, deletable: int, listed: int) -> bool:
        """Whether so many of so many may go."""
        return deletable <= (self.count if self.count is not None else (self.share or 0) * listed)

    def __str__(self) -> str:
        return str(self.count) if self.count is not None else f"{self.share or 0:.0%}"


@dataclass(frozen=True, slots=True)
class Rules:
    """What makes an object an orphan that may go, and which gates are lifted. Globs match DAG ids."""

    older_than: timedelta = OLDER_THAN
    single_pass: bool = False
    max_delete: Limit = Limit(share=0.2)
    allow: frozenset[Gate] = frozenset()
    dag_ids: tuple[str, ...] = ()
    exclude_dag_ids: tuple[str, ...] = ()
    include_unknown_dags: tuple[str, ...] = ()
    dry_run: bool = False


@dataclass(frozen=True, slots=True)
class Tally:
    """A number of objects and their bytes."""

    count: int = 0
    bytes: int = 0

    def __add__(self, other: Tally) -> Tally:
        return Tally(self.count + other.count, self.bytes + other.bytes)

    @classmethod
    def of(cls, *objects: StoredObject) -> Tally:
        """The tally of some objects."""
        return cls(len(objects), sum(found.size_bytes for found in objects))


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why nothing may be deleted: a gate, and what it saw."""

    gate: Gate
    message: str


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run found, and what it would delete. The fates share out the objects listed."""

    base: Address
    rules: Rules
    references: int
    fates: Mapping[Fate, Tally]
    deletable: tuple[StoredObject, ...]
    refusals: tuple[Refusal, ...]
    condition: str | None

    @property
    def listed(self) -> Tally:
        """All objects under the base path."""
        return sum(self.fates.values(), Tally())


Watch = Callable[[str, int], None]
"""Told of a step, and how many things it has handled so far."""


@dataclass(frozen=True, slots=True)
class Live:
    """The names that references end in, as 64-bit hashes: a collision keeps an orphan and never takes a live object.

    Only the end of a reference counts, so no spelling of bucket, prefix or connection can hide one.
    """

    references: int
    names: frozenset[int]

    def holds(self, placement: Placement) -> bool:
        """Whether any reference ends in this object's unique part."""
        return _hashed(placement.unique) in self.names


@dataclass(frozen=True, slots=True)
class Doubt:
    """What keeps an unreferenced object all the same: DAGs that no catalogue knows, attempts that may still write."""

    unknown_dags: Collection[str]
    unfinished_owners: Collection[str]

    def covers(self, placement: Placement) -> bool:
        """Whether this object is held."""
        return placement.dag_id in self.unknown_dags or placement.owner in self.unfinished_owners


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
        (found, place(found.name[len(folder) :])) for found in _watched(store.objects(folder), "objects listed", watch)
    ]
    live = _live(_watched((found for each in catalogs for found in each.references()), "references read", watch))
    orphans = [p for found, p in placed if p and not live.holds(p)]
    doubt = _doubt(orphans, catalogs, rules, started_at)
    fates = dict.fromkeys(Fate, Tally())
    candidates = []
    for found, placement in placed:
        fate = _fate(found, placement, live, doubt, rules, started_at)
        fates[fate] += Tally.of(found)
        if fate is Fate.CANDIDATE:
            candidates.append(found)
    deletable = tuple(candidates) if rules.single_pass else ()
    plan = Plan(base, rules, live.references, fates, deletable, (), store.condition)
    return replace(plan, refusals=tuple(_refusals(plan, catalogs, store)))


def apply(plan: Plan, catalogs: Sequence[Catalog], store: Store) -> Iterator[Deletion]:
    """Delete what the plan says, batch by batch, and yield what became of every object.

    The rows of a batch are read once more just before it goes; whatever has a row again, or an owner at work, is kept.
    """
    folder = plan.base.location.folder
    for start in range(0, len(plan.deletable), BATCH):
        batch = plan.deletable[start : start + BATCH]
        placements = {found.name: place(found.name[len(folder) :]) for found in batch}
        revived = _revived([p for p in placements.values() if p], catalogs, store.now(folder))
        kept = [found for found in batch if (p := placements[found.name]) is None or p.unique in revived]
        yield from (Deletion(found, changed=True) for found in kept)
        going = [found for found in batch if found not in kept]
        yield from store.delete(going)


def _watched(items: Iterable[T], step: str, watch: Watch) -> Iterator[T]:
    for done, item in enumerate(items, start=1):
        if done % 1000 == 0:
            watch(step, done)
        yield item


def _hashed(unique: str) -> int:
    return int.from_bytes(blake2b(unique.encode(errors="surrogatepass"), digest_size=8).digest(), "big")


def _live(references: Iterable[set[str]]) -> Live:
    count = 0
    names: set[int] = set()
    for referred in references:
        count += 1
        names.update(_hashed(unique) for unique in referred)
    return Live(count, frozenset(names))


def _doubt(orphans: Sequence[Placement], catalogs: Sequence[Catalog], rules: Rules, now: datetime) -> Doubt:
    dag_ids = {orphan.dag_id for orphan in orphans}
    known = {dag_id for catalog in catalogs for dag_id in catalog.known_dags(dag_ids)}
    unknown = {d for d in dag_ids - known if not is_like(d, rules.include_unknown_dags, empty=False)}
    return Doubt(unknown, _unfinished(orphans, catalogs, now))


def _unfinished(placements: Iterable[Placement], catalogs: Sequence[Catalog], now: datetime) -> set[str]:
    owners = {placement.owner for placement in placements if placement.owner is not None}
    return {owner for catalog in catalogs for owner in catalog.unfinished(owners, now - OWNER_REST)}


def _fate(
    found: StoredObject, placement: Placement | None, live: Live, doubt: Doubt, rules: Rules, now: datetime
) -> Fate:
    if placement is None:
        return Fate.UNKNOWN
    if live.holds(placement):
        return Fate.LIVE
    if found.modified_at > now - rules.older_than:
        return Fate.YOUNG
    if not is_like(placement.dag_id, rules.dag_ids, empty=True):
        return Fate.EXCLUDED
    if is_like(placement.dag_id, rules.exclude_dag_ids, empty=False):
        return Fate.EXCLUDED
    return Fate.HELD if doubt.covers(placement) else Fate.CANDIDATE


def _refusals(plan: Plan, catalogs: Sequence[Catalog], store: Store) -> Iterator[Refusal]:
    found = [*_schema_refusals(catalogs), *_plausibility_refusals(plan)]
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
        if schema.version is None:
            yield Refusal(Gate.UNKNOWN_HEAD, f"{catalog} has the unknown schema {schema.head or '(no alembic head)'}")


def _plausibility_refusals(plan: Plan) -> Iterator[Refusal]:
    """What a listing and rows look like that do not belong together."""
    candidates, listed = plan.fates[Fate.CANDIDATE].count, plan.listed.count
    if candidates and not plan.references:
        yield Refusal(Gate.EMPTY_ROOTS, f"{listed} objects, but no row of any database refers to one")
    elif candidates and not plan.fates[Fate.LIVE].count:
        message = (
            f"{plan.references} references and {listed} objects, and none belong together: wrong base or database?"
        )
        yield Refusal(Gate.NO_OVERLAP, message)
    if not plan.rules.max_delete.allows(len(plan.deletable), listed):
        message = f"{len(plan.deletable)} of {listed} objects would go, more than {plan.rules.max_delete}"
        yield Refusal(Gate.MAX_DELETE, message)


def _revived(placements: Sequence[Placement], catalogs: Sequence[Catalog], now: datetime) -> set[str]:
    """The unique parts of those objects that have a row now, or an owner that may still write."""
    referenced = {unique for catalog in catalogs for unique in catalog.still_referenced(placements)}
    owners = _unfinished(placements, catalogs, now)
    return referenced | {p.unique for p in placements if p.owner in owners}


@dataclass(slots=True)
class Account:
    """What one run did, kept while it runs, so that a run that breaks off can still be reported."""

    plan: Plan
    operation_id: str
    deleted: Tally = Tally()
    revived: Tally = Tally()
    failures: list[dict[str, str]] = field(default_factory=list)

    def enter(self, outcome: Deletion) -> None:
        """Count what became of one object."""
        if outcome.error is not None:
            url = replace(self.plan.base.location, name=outcome.object.name).url
            self.failures.append({"code": "delete_failed", "url": url, "message": outcome.error})
        elif outcome.changed:
            self.revived += Tally.of(outcome.object)
        else:
            self.deleted += Tally.of(outcome.object)

    def break_off(self, error: XcomctlError) -> None:
        """The run could not go on after it had changed something."""
        self.failures.append({"code": "broke_off", "message": error.message})

    @property
    def exit_code(self) -> ExitCode:
        """What the shell is told, unless the run failed before it changed anything."""
        if self.plan.refusals:
            return ExitCode.REFUSED
        return ExitCode.PARTIAL if self.failures else ExitCode.OK

    @property
    def tallies(self) -> dict[str, Tally]:
        """Every count of the report, by its name."""
        fates = {fate.value: tally for fate, tally in self.plan.fates.items()}
        return {
            "listed": self.plan.listed,
            **fates,
            "marked": Tally(),
            "deletable": Tally.of(*self.plan.deletable),
            "deleted": self.deleted,
            "revived": self.revived,
        }

    def document(self) -> dict[str, object]:
        """The report as programs read it."""
        status = {ExitCode.OK: "success", ExitCode.PARTIAL: "partial", ExitCode.REFUSED: "refused"}[self.exit_code]
        counts: dict[str, object] = {}
        for name, tally in self.tallies.items():
            counts |= {name: tally.count, f"{name}_bytes": tally.bytes}
        return {
            "schema": 1,
            "command": "gc",
            "operation_id": self.operation_id,
            "dry_run": self.plan.rules.dry_run,
            "status": status,
            **counts,
            "failures": self.failures,
            "refusals": [{"gate": refusal.gate.value, "message": refusal.message} for refusal in self.plan.refusals],
        }


def run(account: Account, catalogs: Sequence[Catalog], store: Store) -> Iterator[Deletion]:
    """Apply the account's plan and enter each outcome; an error is raised only before the first change."""
    try:
        for outcome in apply(account.plan, catalogs, store):
            account.enter(outcome)
            yield outcome
    except XcomctlError as error:
        if not account.deleted.count:
            raise
        account.break_off(error)


def new_operation_id() -> str:
    """A name for one run that sorts by time."""
    return f"{datetime.now(timezone.utc):%Y%m%dT%H%M%SZ}-{uuid4().hex[:8]}"
