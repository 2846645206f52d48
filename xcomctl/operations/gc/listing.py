"""Everything below the base path as a listing shows it, kept small until the rows are read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from heapq import nlargest

from xcomctl.backend.reference import OWN_FOLDER, uniques_of
from xcomctl.ledger.control import CLAIM
from xcomctl.model import Objects, StoredObject, Watch, unwatched
from xcomctl.numbers import Hashes, Numbers, hashes_of, microseconds
from xcomctl.operations.gc.inventory import BLOCK, Inventory
from xcomctl.operations.gc.scope import Scope


@dataclass(frozen=True, slots=True)
class Listing:
    """Everything under the base path but gc's own objects, and the canaries in it.

    Of each object there is the column `uniques`, the hash of what `place` calls unique; that of the whole name where it
    is of no known layout, which the column `strange` tells. Both are also sets: `uniques` and `strangers`. `claims` are
    those that other runs of gc have laid on base paths somewhere below.
    """

    started_at: datetime
    objects: Inventory
    canaries: Sequence[StoredObject]
    uniques: Hashes
    strangers: Hashes
    claims: Sequence[str] = ()

    def newest(self, count: int, until: datetime) -> list[StoredObject]:
        """The newest objects of known layouts that were written until then, the newest first."""
        found: list[StoredObject] = []
        for block in self.objects.blocks():
            times, latest = block.times, microseconds(until)
            places = ((times <= latest) & ~block.columns["strange"]).nonzero()[0]
            places = places[times[places].argsort()[-count:]]
            if len(found) == count:
                places = places[times[places] > microseconds(found[-1].modified_at)]
            found = nlargest(count, [*found, *block.objects(places)], key=lambda each: each.modified_at)
        return found


def list_objects(scope: Scope, watch: Watch) -> Listing:
    """The whole listing. Raises `StorageError` when it cannot be read to its end."""
    started_at = scope.now()
    folder = scope.base.location.folder
    hints = {f"{folder}{dag_id}/" for catalog in scope.catalogs for dag_id in catalog.tasks.dags_with_runs()}
    return listing_of(scope, started_at, scope.store.listed(folder, sorted(hints)), watch)


def listing_of(
    scope: Scope, started_at: datetime, pages: Iterable[Sequence[StoredObject]], watch: Watch = unwatched
) -> Listing:
    """The listing that some pages of objects make."""
    gathering = _Gathering(scope)
    for some in _blocks(pages):
        gathering.add(some)
        watch("objects listed", len(gathering.objects))
    claims = [name for name in gathering.odd_names if _is_claim(name, scope)]
    uniques, strangers = Hashes(gathering.uniques), Hashes(gathering.strangers)
    return Listing(started_at, gathering.objects, gathering.canaries, uniques, strangers, claims)


class _Gathering:
    """What is known so far. `odd_names` are those among which claims may be."""

    def __init__(self, scope: Scope) -> None:
        self._folder = scope.base.location.folder
        self._own = (self._folder + OWN_FOLDER + "/", scope.control.folder)
        self.objects = Inventory()
        self.canaries: list[StoredObject] = []
        self.uniques: list[Numbers] = []
        self.strangers: list[Numbers] = []
        self.odd_names: list[str] = []

    def add(self, objects: Objects) -> None:
        """Take in some objects."""
        import numpy as np

        own = np.array([name.startswith(self._own) for name in objects.names], np.bool_)
        if own.any():
            canaries, objects = objects.at(own.nonzero()[0]), objects.at((~own).nonzero()[0])
            self.canaries += canaries
            self._look_for_claims(canaries.names)
        told = uniques_of(objects.names, self._folder)
        strange = np.array([unique is None for unique in told], np.bool_)
        hashes = hashes_of([unique or name for unique, name in zip(told, objects.names, strict=True)])
        self.objects.add(objects, {"uniques": hashes, "strange": strange})
        self.uniques.append(hashes[~strange])
        self.strangers.append(hashes[strange])
        self._look_for_claims(objects.at(strange.nonzero()[0]).names)

    def _look_for_claims(self, names: Iterable[str]) -> None:
        self.odd_names += [name for name in names if name.endswith(f"/{CLAIM}")]


def _blocks(pages: Iterable[Sequence[StoredObject]]) -> Iterator[Objects]:
    """The same objects, about so many at a time."""
    some: list[Objects] = []
    for page in pages:
        some.append(Objects.of(page))
        if sum(map(len, some)) >= BLOCK:
            yield Objects.joined(some)
            some = []
    if some:
        yield Objects.joined(some)


def _is_claim(name: str, scope: Scope) -> bool:
    return f"/{OWN_FOLDER}/" in name and not name.startswith(scope.control.folder)
