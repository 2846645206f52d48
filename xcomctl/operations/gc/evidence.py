"""What is known of the listed objects: which names the rows mention, and which attempts may still write."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import blake2b
from typing import TypeVar

from xcomctl.backend.reference import Placement
from xcomctl.catalog import Catalog
from xcomctl.catalog.selection import is_like
from xcomctl.operations.gc.terms import Rules, Watch

T = TypeVar("T")

OWNER_REST = timedelta(hours=1)
"""How long a task instance must be over before the names that it may reuse are collected (Airflow 3.4): more than
its missed heartbeats (300 s), the life of its token (600 s) and the retries of its last request."""


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


@dataclass(frozen=True, slots=True)
class Evidence:
    """All that is known when an object's fate is told. `now` is the store's time before the listing began."""

    now: datetime
    live: Live
    archived: Live
    doubt: Doubt


def watched(items: Iterable[T], step: str, watch: Watch) -> Iterator[T]:
    """The items, with a word to `watch` after every thousand."""
    for done, item in enumerate(items, start=1):
        if done % 1000 == 0:
            watch(step, done)
        yield item


def live_and_archived(catalogs: Sequence[Catalog], rules: Rules, watch: Watch) -> tuple[Live, Live]:
    """What the tables refer to that Airflow reads, and then what its archives do, unless they are to be ignored."""
    read = (found for each in catalogs for found in each.references())
    live = _live(watched(read, "references read", watch))
    archives = () if rules.ignore_archives else catalogs
    kept = (found for each in archives for found in each.archived_references())
    return live, _live(watched(kept, "archived references read", watch))


def _hashed(unique: str) -> int:
    return int.from_bytes(blake2b(unique.encode(errors="surrogatepass"), digest_size=8).digest(), "big")


def _live(references: Iterable[set[str]]) -> Live:
    count = 0
    names: set[int] = set()
    for referred in references:
        count += 1
        names.update(_hashed(unique) for unique in referred)
    return Live(count, frozenset(names))


def doubt_of(orphans: Sequence[Placement], catalogs: Sequence[Catalog], rules: Rules, now: datetime) -> Doubt:
    """What the catalogues know of the DAGs and task instances that these orphans are named after."""
    dag_ids = {orphan.dag_id for orphan in orphans}
    known = {dag_id for catalog in catalogs for dag_id in catalog.known_dags(dag_ids)}
    unknown = {d for d in dag_ids - known if not is_like(d, rules.include_unknown_dags, empty=False)}
    return Doubt(unknown, unfinished_owners(orphans, catalogs, now))


def unfinished_owners(placements: Iterable[Placement], catalogs: Sequence[Catalog], now: datetime) -> set[str]:
    """The task instances that may still write one of these names: at work, or over for too short a time."""
    owners = {placement.owner for placement in placements if placement.owner is not None}
    return {owner for catalog in catalogs for owner in catalog.unfinished(owners, now - OWNER_REST)}
