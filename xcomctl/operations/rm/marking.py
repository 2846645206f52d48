"""gc's first mark for objects whose rows are gone: what a run of gc would write that saw them now, by gc's own rules.

The objects are listed first, then every row of every database is read, as in gc; a name that anything still mentions
gets no mark. Whatever is not marked here is marked by the next gc.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime
from itertools import chain

from xcomctl.backend.reference import OWN_FOLDER, Placement, parse, place
from xcomctl.errors import NoFolderError
from xcomctl.ledger import Claim, Lease, Mark
from xcomctl.ledger.claim import write_claim
from xcomctl.ledger.control import lead_here
from xcomctl.ledger.marks import read_marks, write_marks
from xcomctl.model import StoredObject, XCom
from xcomctl.operations.gc import CONFIRM_AFTER, Fate, Scope, Tally, Watch
from xcomctl.operations.gc import Rules as GcRules
from xcomctl.operations.gc.evidence import Evidence, gather_for
from xcomctl.operations.gc.listing import Listing, listing_of
from xcomctl.operations.gc.sorting import sorted_out
from xcomctl.operations.rm.terms import Unmarked

LISTINGS_AT_ONCE = 16

WHY = {
    Fate.LIVE: Unmarked.REFERENCED,
    Fate.ARCHIVED: Unmarked.ARCHIVED,
    Fate.YOUNG: Unmarked.YOUNG,
    Fate.HELD: Unmarked.HELD,
}


@dataclass(frozen=True, slots=True)
class Marked:
    """The objects that have a mark now, and when it lets gc delete them; and those that have none, by why."""

    orphans: Tally
    due_at: datetime
    left: Mapping[Unmarked, Tally]


@dataclass(frozen=True, slots=True)
class Marking:
    """What a run needs to mark objects: whose they are, and the right to say so."""

    scope: Scope
    lease: Lease
    claim: Claim
    rules: GcRules = field(default_factory=GcRules)

    def name_of(self, xcom: XCom) -> str | None:
        """The name of the object that a row refers to, if it is one that gc may ever touch."""
        address = parse(xcom.reference) if xcom.reference is not None else None
        base = self.scope.base.location
        if address is None or not base.holds(address.location):
            return None
        name = address.location.name
        own = (f"{base.folder}{OWN_FOLDER}/", self.scope.control.folder)
        return name if not name.startswith(own) and place(self.scope.relative(name)) is not None else None

    def mark(self, names: Collection[str], operation_id: str, watch: Watch) -> Marked:
        """Mark those of these objects that are orphans now. Raises `StorageError`, `MetadataError`, `LockedError`."""

        def keeping(step: str, done: int) -> None:
            self.lease.keep()
            watch(step, done)

        listing = self._listing(names, keeping)
        evidence = gather_for(listing, self.scope, self.rules, keeping)
        left = {Unmarked.MISSING: Tally(len(names) - len(listing.objects))}
        orphans = []
        for found, fate in chain.from_iterable(sorted_out(self.scope, self.rules, evidence)):
            if fate is Fate.CANDIDATE:
                orphans.append(found)
            else:
                left[WHY[fate]] = left.get(WHY[fate], Tally()) + Tally.of(found)
        if orphans:
            self._write(orphans, evidence, operation_id)
        return Marked(Tally.of(*orphans), evidence.seen_at + CONFIRM_AFTER, left)

    def _write(self, orphans: Sequence[StoredObject], evidence: Evidence, operation_id: str) -> None:
        """Add to the marks that there are, and then, as gc does, say whose they are.

        Only under the lease: gc may have found that what was marked is referred to again.
        """
        control, relative = self.scope.control, self.scope.relative
        self.lease.require()
        new = {relative(each.name): each for each in orphans}
        marks = (mark for mark in read_marks(control, self.claim.base) if mark.name not in new)
        more = (Mark(name, each.version, each.modified_at, evidence.seen_at) for name, each in new.items())
        self.lease.require()
        write_marks(control, self.claim.base, operation_id, chain(marks, more))
        lead_here(control, self.scope.base)
        write_claim(control, self.claim, evidence.seen_at)

    def _listing(self, names: Collection[str], watch: Watch) -> Listing:
        """These objects as a listing shows them, which is how gc compares them: one listing for each run."""
        started_at = self.scope.now()
        placed = {name: placement for name in names if (placement := place(self.scope.relative(name))) is not None}
        folders = {self._folder(placement) for placement in placed.values()}
        with ThreadPoolExecutor(LISTINGS_AT_ONCE) as pool:
            listed = pool.map(self._below, sorted(folders))
            pages = ([each for each in some if each.name in placed] for some in listed)
            return listing_of(self.scope, started_at, pages, watch)

    def _folder(self, placement: Placement) -> str:
        return f"{self.scope.base.location.folder}{placement.dag_id}/{placement.run_id}/"

    def _below(self, folder: str) -> Sequence[StoredObject]:
        try:
            return list(self.scope.store.objects(folder))
        except NoFolderError:
            return ()
