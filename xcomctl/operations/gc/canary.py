"""Two objects of which the truth is known, put among the others: one is referred to, one is not.

What gc makes of them is what it makes of everything else. With the second one a delete is tried that must be refused,
because several stores ignore a condition on a delete without saying so (Ceph RGW 16, rclone, MinIO's gateway).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from uuid import uuid4

from xcomctl.backend.reference import OWN_FOLDER, place
from xcomctl.backend.storage import Store
from xcomctl.errors import NoFolderError, StorageError
from xcomctl.model import Removal, StoredObject, WayBack
from xcomctl.operations.gc.evidence import Evidence
from xcomctl.operations.gc.scope import Scope
from xcomctl.operations.gc.terms import Gate, Refusal

LIVE = b'"xcomctl\'s canary: this object is referred to"'
ORPHAN = b'"xcomctl\'s canary: this object is an orphan"'


@dataclass(frozen=True, slots=True)
class Canaries:
    """The names of the two. `conditions_hold` tells whether the store refuses to delete what has changed."""

    live: str
    orphan: str
    conditions_hold: bool

    def refusals(self, scope: Scope, evidence: Evidence) -> Iterator[Refusal]:
        """What gc got wrong about them."""
        listed = {found.name for found in evidence.listing.canaries}
        missing = [name for name in (self.live, self.orphan) if name not in listed]
        if missing:
            message = f"an object that was just written is not in the listing: {missing[0]}"
            yield Refusal(Gate.INCOMPLETE_LISTING, message)
            return
        live, orphan = (place(scope.relative(name)) for name in (self.live, self.orphan))
        if live is None or not evidence.live.holds(live):
            yield Refusal(Gate.CANARY, "an object that is referred to was taken for an orphan")
        if orphan is None or evidence.live.holds(orphan) or evidence.archived.holds(orphan):
            yield Refusal(Gate.CANARY, "an orphan was taken for an object that is referred to")


@contextmanager
def placed(scope: Scope) -> Iterator[Canaries]:
    """Write both for as long as the block lasts. What a run that was killed left of them goes too."""
    folder = f"{scope.base.location.folder}{OWN_FOLDER}/canary/"
    live, orphan = (f"{folder}{kind}/{uuid4()}" for kind in ("live", "orphan"))
    _clear(scope.store, folder)
    try:
        for name, body in ((live, LIVE), (orphan, ORPHAN)):
            _write(scope.store, name, body)
        yield Canaries(live, orphan, _conditions_hold(scope.store, live, orphan))
    finally:
        scope.store.discard([live, orphan])


def _clear(store: Store, folder: str) -> None:
    """Only what is a canary by its bytes: a DAG may be called as this folder is."""
    with suppress(NoFolderError):
        store.discard([found.name for found in store.objects(folder) if _is_canary(store, found)])


def _is_canary(store: Store, found: StoredObject) -> bool:
    if found.size_bytes not in (len(LIVE), len(ORPHAN)):
        return False
    with suppress(FileNotFoundError), store.open(found.name) as body:
        return body.read() in (LIVE, ORPHAN)
    return False


def _write(store: Store, name: str, body: bytes) -> None:
    try:
        store.write(name, body)
    except StorageError as error:
        raise StorageError(
            f"gc cannot put its canary among the objects: {error.message}",
            hint="let it write under the base path, or do without the proof: --allow canary",
        ) from error


def _conditions_hold(store: Store, live: str, orphan: str) -> bool:
    """Try to delete the orphan as if it were the other one; the store must refuse, and still have it."""
    other, listed = store.stat(live), store.stat(orphan)
    if store.condition is None or other is None or listed is None:
        return False
    mistaken = Removal(replace(listed, version=other.version), kept_as=f"{orphan}.removed")
    (deletion,) = store.remove([mistaken], WayBack.VERSIONS, look_first=False)
    held = deletion.changed and store.stat(orphan) is not None
    if not held:
        store.write(orphan, ORPHAN)
    return held
