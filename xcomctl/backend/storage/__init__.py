"""Objects: list, look up, read, write, remove if unchanged and bring back. Every difference between stores lives here.

A store is one bucket, or the local files. Names are raw keys: nothing is globbed, quoted or normalised, and
deletion goes through the client under fsspec, whose own `rm` swallows refusals and takes `[` for a glob.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import AbstractContextManager
from datetime import datetime, timedelta
from pathlib import Path
from threading import Lock
from typing import Any, BinaryIO, Protocol

from xcomctl import compat
from xcomctl.backend.reference import Address, Location
from xcomctl.errors import StorageError
from xcomctl.model import Deletion, Kept, Removal, Return, Spared, StorageOptions, StoredObject, WayBack, nothing_spared


class Store(Protocol):
    """One bucket, or the local files. Every method raises `StorageError` when the store fails or refuses."""

    @property
    def deletes(self) -> bool:
        """Whether xcomctl knows how to delete here without risk."""

    @property
    def condition(self) -> str | None:
        """What a delete is conditional on, in words; None where the store is told to delete whatever is there."""

    def now(self, prefix: str) -> datetime:
        """The time by the clock that dates the objects, asked for by a look at `prefix`."""

    def objects(self, prefix: str) -> Iterator[StoredObject]:
        """Everything whose name starts with `prefix`, in no promised order. An incomplete listing raises."""

    def listed(self, prefix: str, folders: Collection[str] = ()) -> Iterator[Sequence[StoredObject]]:
        """The same, in pages, and as fast as the store can: for what may be large.

        `folders` are names below `prefix` that end in a slash and are expected to hold objects: hints where to part the
        work. Nothing that is there is left out or given twice, whatever they are.
        """

    def stat(self, name: str) -> StoredObject | None:
        """The object as it is now, or None when there is none."""

    def open(self, name: str) -> AbstractContextManager[BinaryIO]:
        """The object's bytes, streamed. Raises FileNotFoundError when there is none."""

    def write(self, name: str, data: bytes) -> None:
        """Write a small object whole, over whatever is there: nobody ever reads half of it."""

    def create(self, name: str, data: bytes) -> None:
        """Write an object where there is none, and make sure that it is there as it was sent.

        Raises FileExistsError where there is one.
        """

    def copy(self, source: Store, name_there: str, name: str) -> None:
        """Copy an object of a store of the same kind and credentials to where there is none, without reading it here.

        Raises FileNotFoundError when there is none to copy, FileExistsError where there is one in its place, and
        `StorageError` also where what has arrived is not surely the same: then nothing is left of it.
        """

    def discard(self, names: Sequence[str]) -> None:
        """Delete objects for good that xcomctl itself has written, without condition and without a way back."""

    def way_back(self, keep: timedelta) -> WayBack:
        """The cheapest way that brings a removed object back for so long."""

    def expiry(self, prefix: str) -> timedelta | None:
        """After what time the bucket deletes objects below `prefix` by a rule of its own; None where none is known."""

    def remove(
        self, removals: Sequence[Removal], way: WayBack, *, look_first: bool, spared: Spared = nothing_spared
    ) -> Iterator[Deletion]:
        """Remove each object unless it has changed since it was listed, leaving a way back; say what became of each.

        With `look_first` each is looked up just before, for stores that do not honour a condition on the delete.
        `spared` is asked after all that takes long, as copies do, and right before the delete; what it raises comes
        through, and then nothing was asked of the store for what has no answer yet.
        """

    def bring_back(self, kept: Sequence[Kept]) -> Iterator[Return]:
        """Undo removals. Never writes over an object."""


def open_store(address: Address, options: StorageOptions) -> Store:
    """The store that a URL names, with the credentials that it names.

    With `conn@` they are those of the Airflow connection, which must resolve; without, `options` and what the
    process finds around it. Raises `MetadataError` for the connection, `StorageError` for the store.
    """
    location = address.location
    if location.scheme == "file" and address.conn_id is None:
        from xcomctl.backend.storage.local import LocalStore

        return LocalStore()
    return store_on(location, compat.filesystem(address.protocol, location.scheme, address.conn_id, options))


def store_on(location: Location, filesystem: Any) -> Store:
    """The store of a location, through an fsspec file system that is open already."""
    if location.scheme == "file":
        from xcomctl.backend.storage.local import LocalStore

        return LocalStore()
    if location.scheme == "s3":
        from xcomctl.backend.storage.s3 import S3Store

        return S3Store(location.bucket, filesystem)
    if location.scheme == "gs":
        from xcomctl.backend.storage.gcs import GCSStore

        return GCSStore(location.bucket, filesystem)
    from xcomctl.backend.storage.other import OtherStore

    return OtherStore(location.bucket, filesystem)


class Stores:
    """The stores that references lead to, each opened once.

    A base path without connection says by what options its bucket is opened, so they also open references to it that
    do name a connection: that is how XComs are read where Airflow and its connections are not at hand.
    """

    def __init__(self, base: Address | None, options: StorageOptions) -> None:
        self._base = base
        self._options = options
        self._opened: dict[tuple[str, str | None, str], Store] = {}
        self._opening = Lock()

    def of(self, address: Address) -> Store:
        """The store that holds what an address names. Raises as `open_store` does."""
        if self._options_speak_for(address) and self._base is not None:
            address = self._base
        if self._base is not None and self._base.location.holds(address.location):
            _require_folder(self._base.location)
        wanted = (address.location.scheme, address.conn_id, address.location.bucket)
        with self._opening:
            if wanted not in self._opened:
                self._opened[wanted] = open_store(address, self._options)
        return self._opened[wanted]

    def _options_speak_for(self, address: Address) -> bool:
        base = self._base
        if base is None or not self._options or base.conn_id is not None:
            return False
        here, there = base.location, address.location
        return (here.scheme, here.bucket) == (there.scheme, there.bucket)


def _require_folder(base: Location) -> None:
    """A missing base folder loses every object at once: a volume that is not mounted, and no dangling rows."""
    if base.scheme == "file" and not Path(base.name).is_dir():
        raise StorageError(
            f"folder {base.name} does not exist",
            hint="check the base path, and that the volume is mounted in this container",
        )


__all__ = ["StorageError", "Store", "Stores", "open_store", "store_on"]
