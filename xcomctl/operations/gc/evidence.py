"""What is known of the listed objects: which names the rows mention, and which attempts may still write."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from hashlib import blake2b
from typing import TypeVar

from xcomctl.backend.reference import (
    OWN_FOLDER,
    Address,
    Placement,
    lies_below,
    mentioned,
    parse,
    place,
    strings_in,
    unique_part,
)
from xcomctl.catalog import Catalog, Mention
from xcomctl.catalog.selection import is_like
from xcomctl.ledger.control import CLAIM
from xcomctl.model import StoredObject, Watch
from xcomctl.operations.gc.scope import Scope
from xcomctl.operations.gc.terms import Rules

T = TypeVar("T")

OWNER_REST = timedelta(hours=1)
"""How long a task instance must be over before the names that it may reuse are collected (Airflow 3.4): more than
its missed heartbeats (300 s), the life of its token (600 s) and the retries of its last request."""

EXAMPLES = 20
"""So many of what is odd are remembered, to be named or looked up."""


@dataclass(frozen=True, slots=True)
class Live:
    """The names that references end in, as 64-bit hashes: a collision keeps an orphan and never takes a live object.

    Only the end of a reference counts, so no spelling of bucket, prefix or connection can hide one.
    """

    references: int
    names: frozenset[int]

    def holds(self, placement: Placement) -> bool:
        """Whether any reference ends in this object's unique part."""
        return hashed(placement.unique) in self.names


@dataclass(frozen=True, slots=True)
class Doubt:
    """What keeps an unreferenced object all the same: DAGs that no catalogue knows, attempts that may still write."""

    unknown_dags: Collection[str]
    unfinished_owners: Collection[str]

    def covers(self, placement: Placement) -> bool:
        """Whether this object is held."""
        return placement.dag_id in self.unknown_dags or placement.owner in self.unfinished_owners


@dataclass(frozen=True, slots=True)
class Listing:
    """Everything under the base path but gc's own objects, each with what its name tells, and the canaries in it.

    `uniques` are the unique parts of the names as hashes, `strangers` the names of no known layout; `claims` are those
    that other runs of gc have laid on base paths somewhere below.
    """

    started_at: datetime
    objects: Sequence[tuple[StoredObject, Placement | None]]
    canaries: Sequence[StoredObject]
    uniques: frozenset[int]
    strangers: frozenset[int]
    claims: Sequence[str] = ()


@dataclass(slots=True)
class Misfits:
    """What the rows say that does not fit the listing. The lists hold the first few."""

    below_base: int = 0
    dangling: int = 0
    dangling_names: list[str] = field(default_factory=list)
    respelled: list[str] = field(default_factory=list)
    ambiguous: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Evidence:
    """All that is known when an object's fate is told. Reading the rows began at `rows_at` and ended at `seen_at`."""

    listing: Listing
    rows_at: datetime
    seen_at: datetime
    live: Live
    archived: Live
    misfits: Misfits
    doubt: Doubt


def watched(items: Iterable[T], step: str, watch: Watch) -> Iterator[T]:
    """The items, with a word to `watch` after every thousand."""
    for done, item in enumerate(items, start=1):
        if done % 1000 == 0:
            watch(step, done)
        yield item


def gather(scope: Scope, rules: Rules, canary: str | None, watch: Watch) -> Evidence:
    """Look at everything: the objects first, then the rows. `canary` is the name of one that counts as referred to."""
    listing = list_objects(scope, watch)
    watch("objects listed", len(listing.objects))
    return gather_for(listing, scope, rules, watch, canary)


def gather_for(listing: Listing, scope: Scope, rules: Rules, watch: Watch, canary: str | None = None) -> Evidence:
    """All that the rows tell about a listing."""
    rows_at = scope.now()
    misfits = Misfits()
    judge = _Judge(scope.base, listing, listing.started_at - rules.older_than, misfits)
    read = (found for each in scope.catalogs for found in each.references())
    live = _live(judge.judged(watched(read, "references read", watch)), known=unique_part(canary or ""))
    kept = (found for each in scope.catalogs for found in each.archived_references())
    archived = _live(watched(kept, "archived references read", watch))
    seen_at = scope.now()
    orphans = [p for _, p in listing.objects if p and not live.holds(p) and not archived.holds(p)]
    doubt = doubt_of(orphans, scope.catalogs, rules, listing.started_at)
    return Evidence(listing, rows_at, seen_at, live, archived, misfits, doubt)


def list_objects(scope: Scope, watch: Watch) -> Listing:
    """The whole listing. Raises `StorageError` when it cannot be read to its end."""
    started_at = scope.now()
    folder = scope.base.location.folder
    own = (folder + OWN_FOLDER + "/", scope.control.folder)
    objects: list[tuple[StoredObject, Placement | None]] = []
    canaries = []
    for found in watched(scope.store.objects(folder), "objects listed", watch):
        if found.name.startswith(own):
            canaries.append(found)
        else:
            objects.append((found, place(found.name[len(folder) :])))
    uniques = frozenset(hashed(placement.unique) for _, placement in objects if placement is not None)
    strangers = frozenset(hashed(found.name) for found, placement in objects if placement is None)
    claims = [
        n for n in (*(f.name for f in canaries), *(f.name for f, p in objects if p is None)) if _is_claim(n, scope)
    ]
    return Listing(started_at, objects, canaries, uniques, strangers, claims)


def _is_claim(name: str, scope: Scope) -> bool:
    return name.endswith(f"/{CLAIM}") and f"/{OWN_FOLDER}/" in name and not name.startswith(scope.control.folder)


def hashed(text: str) -> int:
    """64 bits of a name."""
    return int.from_bytes(blake2b(text.encode(errors="surrogatepass"), digest_size=8).digest(), "big")


class _Judge:
    """Compares what the rows mention with what was listed."""

    def __init__(self, base: Address, listing: Listing, settled_before: datetime, misfits: Misfits) -> None:
        self._base = base
        self._spelled = base.text.rstrip("/") + "/"
        self._listing = listing
        self._settled_before = settled_before
        self._misfits = misfits

    def judged(self, mentions: Iterable[Mention]) -> Iterator[Mention]:
        """The same mentions, each looked at."""
        for mention in mentions:
            self._judge(mention)
            yield mention

    def _judge(self, mention: Mention) -> None:
        unique = unique_part(mention.text) if parse(mention.text) is not None else None
        if unique is None:
            self._judge_others(mention)
        elif hashed(unique) in self._listing.uniques:
            self._misfits.below_base += 1
            if not mention.text.startswith(self._spelled):
                _remember(self._misfits.respelled, mention.text)
        elif lies_below(mention.text, self._base):
            self._misfits.below_base += 1
            self._judge_missing(mention)

    def _judge_missing(self, mention: Mention) -> None:
        """A reference to nothing counts once it is old: a young one may be newer than the listing."""
        address, stored_at = parse(mention.text), mention.stored_at
        if address is not None and hashed(address.location.name) in self._listing.strangers:
            return  # it is there, in a place where no XCom backend puts it
        if address is not None and stored_at is not None and stored_at < self._settled_before:
            self._misfits.dangling += 1
            _remember(self._misfits.dangling_names, address.location.name)

    def _judge_others(self, mention: Mention) -> None:
        """What leads below the base, and mentions no name that would keep an object, must be one that was listed."""
        whole = parse(mention.text) is not None
        for url in [mention.text] if whole else strings_in(mention.text):
            address = parse(url)
            if address is None or mentioned(url) or not lies_below(url, self._base):
                continue
            if hashed(address.location.name) not in self._listing.strangers:
                _remember(self._misfits.ambiguous, url)


def _remember(examples: list[str], example: str) -> None:
    if len(examples) < EXAMPLES:
        examples.append(example)


def _live(mentions: Iterable[Mention], known: str | None = None) -> Live:
    count = 0
    names = {hashed(known)} if known is not None else set()
    for mention in mentions:
        count += bool(mention.names)
        names.update(map(hashed, mention.names))
    return Live(count, frozenset(names))


def doubt_of(orphans: Sequence[Placement], catalogs: Sequence[Catalog], rules: Rules, now: datetime) -> Doubt:
    """What the catalogues know of the DAGs and task instances that these orphans are named after."""
    dag_ids = {orphan.dag_id for orphan in orphans}
    known = {dag_id for catalog in catalogs for dag_id in catalog.tasks.known_dags(dag_ids)}
    unknown = {d for d in dag_ids - known if not is_like(d, rules.include_unknown_dags, empty=False)}
    return Doubt(unknown, unfinished_owners(orphans, catalogs, now))


def unfinished_owners(placements: Iterable[Placement], catalogs: Sequence[Catalog], now: datetime) -> set[str]:
    """The task instances that may still write one of these names: at work, or over for too short a time."""
    owners = {placement.owner for placement in placements if placement.owner is not None}
    return {owner for catalog in catalogs for owner in catalog.tasks.unfinished(owners, now - OWNER_REST)}
