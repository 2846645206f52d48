"""Any other store that fsspec opens, Azure among them: to list and to read, never to delete.

Folder by folder through `ls`: `find` passes over folders that it is refused, `glob` takes `[` for a pattern.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from xcomctl.backend.storage.paging import in_pages
from xcomctl.errors import StorageError
from xcomctl.model import Deletion, Kept, Outcome, Removal, Return, Spared, StoredObject, WayBack, nothing_spared

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

TIMES = ("last_modified", "mtime")
"""Where a listing tells the time of the last change: with adlfs; with files, SFTP and what pyarrow opens."""

Entry = Mapping[str, Any]


class OtherStore:
    """One container or folder. Objects have no version, since nothing is deleted here."""

    deletes = False
    condition = None

    def __init__(self, bucket: str, filesystem: AbstractFileSystem) -> None:
        self._filesystem = filesystem
        self._root: str = filesystem._strip_protocol(bucket)

    def now(self, prefix: str) -> datetime:
        """The machine's time: fsspec does not tell the store's."""
        return datetime.now(timezone.utc)

    def objects(self, prefix: str) -> Iterator[StoredObject]:
        """Walk every folder below `prefix`; one that cannot be listed is an error. adlfs omits names with `//`."""
        self._filesystem.invalidate_cache()
        first = prefix.rpartition("/")[0]
        if first and self._info(first) is None and self._info("") is not None:
            return  # the container is there, and nothing was ever written to this folder
        folders = [first]
        while folders:
            for name, entry in self._entries(folders.pop()):
                if entry["type"] == "directory" and f"{name}/".startswith(prefix):
                    folders.append(name)
                elif entry["type"] == "file" and name.startswith(prefix):
                    yield _object(name, entry)

    def listed(self, prefix: str, folders: Collection[str] = ()) -> Iterator[Sequence[StoredObject]]:
        """The same, in pages."""
        return in_pages(self.objects(prefix))

    def stat(self, name: str) -> StoredObject | None:
        """Ask for the object's entry."""
        self._filesystem.invalidate_cache()
        entry = self._info(name)
        return _object(name, entry) if entry is not None and entry["type"] == "file" else None

    def open(self, name: str) -> AbstractContextManager[BinaryIO]:
        """The object, opened for reading."""
        try:
            return cast("BinaryIO", self._filesystem.open(self._path(name), "rb"))
        except (FileNotFoundError, IsADirectoryError):
            raise FileNotFoundError(self._url(name)) from None
        except Exception as error:
            raise self._failed("read", name, error) from error

    def write(self, name: str, data: bytes) -> None:
        """Refused: gc keeps its state only where it can also delete."""
        raise StorageError(f"cannot write {self._url(name)}: this kind of store is only read", hint="use --dry-run")

    def create(self, name: str, data: bytes) -> None:
        """Refused, as a write is."""
        self.write(name, data)

    def copy(self, source: object, name_there: str, name: str) -> None:
        """Refused, as a write is."""
        self.write(name, b"")

    def discard(self, names: Sequence[str]) -> None:
        """Refused, as a write is."""
        raise StorageError("cannot delete on this kind of store", hint="use --dry-run")

    def way_back(self, keep: timedelta) -> WayBack:
        """Nothing is removed here, so nothing comes back."""
        return WayBack.TRASH

    def expiry(self, prefix: str) -> timedelta | None:
        """None: what rules such a store has is not asked."""
        return None

    def remove(
        self, removals: Sequence[Removal], way: WayBack, *, look_first: bool, spared: Spared = nothing_spared
    ) -> Iterator[Deletion]:
        """Nothing: a condition that holds for this store is not known."""
        for removal in removals:
            yield Deletion(removal.object, error="gc does not delete on this kind of store")

    def bring_back(self, kept: Sequence[Kept]) -> Iterator[Return]:
        """Nothing was ever removed here."""
        for each in kept:
            yield Return(each, Outcome.MISSING)

    def _entries(self, folder: str) -> Iterator[tuple[str, Entry]]:
        """What lies in one folder, with its name in the container."""
        try:
            entries = self._filesystem.ls(self._path(folder), detail=True)
        except Exception as error:
            raise self._failed("list", folder, error) from error
        for entry in entries:
            name = str(entry["name"])[len(self._root) :].strip("/")
            if name == folder:
                raise StorageError(
                    f"cannot list {self._url(folder)}: it is an object and a folder at once",
                    hint="the listing must be complete: move that object away, or use another base path",
                )
            yield name, entry

    def _info(self, name: str) -> Entry | None:
        try:
            return cast("Entry", self._filesystem.info(self._path(name)))
        except FileNotFoundError:
            return None
        except Exception as error:
            raise self._failed("look up", name, error) from error

    def _path(self, name: str) -> str:
        return f"{self._root}/{name}" if name else self._root

    def _url(self, name: str) -> str:
        return str(self._filesystem.unstrip_protocol(self._path(name)))

    def _failed(self, verb: str, name: str, error: Exception) -> StorageError:
        """Every package under fsspec has errors of its own, so any of them is caught."""
        missing = isinstance(error, FileNotFoundError)
        return StorageError(
            f"cannot {verb} {self._url(name)}: {'it does not exist' if missing else error}",
            hint="check the container's name" if missing else "check the address and the credentials",
        )


def _object(name: str, entry: Entry) -> StoredObject:
    return StoredObject(name, entry["size"] or 0, _modified_at(entry))


def _modified_at(entry: Entry) -> datetime:
    """When the object changed last; now where the store does not tell, since only what is old is garbage."""
    told = next((entry[key] for key in TIMES if entry.get(key) is not None), None)
    if isinstance(told, datetime):
        return told.astimezone(timezone.utc) if told.tzinfo else told.replace(tzinfo=timezone.utc)
    if isinstance(told, (int, float)):
        return datetime.fromtimestamp(told, timezone.utc)
    return datetime.now(timezone.utc)
