"""The objects that a verification writes, and how every one of them goes away again.

They lie in one folder of this run's own below the base path, or where a hand-written class put them. While the run
lasts, one of them keeps its folder from being pruned by another container that verifies the same volume.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from xcomctl.backend.reference import Location
from xcomctl.backend.storage import store_on
from xcomctl.backend.storage.other import OtherStore
from xcomctl.errors import StorageError
from xcomctl.model import StoredObject

LATE_SECONDS = 2.0
"""How long a store may need to make an object of a request that was broken off."""


class Verbs(Protocol):
    """What is tried of a store."""

    def objects(self, prefix: str) -> Iterator[StoredObject]: ...  # noqa: D102

    def stat(self, name: str) -> StoredObject | None: ...  # noqa: D102

    def open(self, name: str) -> AbstractContextManager[BinaryIO]: ...  # noqa: D102

    def write(self, name: str, data: bytes) -> None: ...  # noqa: D102

    def discard(self, names: Sequence[str]) -> None: ...  # noqa: D102


class LooseStore(OtherStore):
    """A store that commands only read, which here also writes and deletes: objects of this run, and no others."""

    def write(self, name: str, data: bytes) -> None:
        """Write an object whole."""
        try:
            self._filesystem.pipe_file(self._path(name), data)
        except Exception as error:
            raise self._failed("write", name, error) from error

    def discard(self, names: Sequence[str]) -> None:
        """Delete each, if it is there."""
        for name in names:
            try:
                self._filesystem.rm_file(self._path(name))
            except FileNotFoundError:
                continue
            except Exception as error:
                raise self._failed("delete", name, error) from error


def verbs_on(location: Location, filesystem: Any) -> Verbs:
    """The store of a location, for writing too, whatever its kind."""
    if location.scheme in ("file", "s3", "gs"):
        return store_on(location, filesystem)
    return LooseStore(location.bucket, filesystem)


@dataclass(slots=True)
class Trials:
    """`folder` is the one, below `root`, that is this run's own; None where nobody knows where the class puts objects.

    Once something `may_be_there`, the folder is looked through as well.
    """

    store: Verbs
    root: Location
    folder: str | None
    may_be_there: bool = False
    _written: set[str] = field(default_factory=set)
    _made_from: Path | None = None

    def __post_init__(self) -> None:
        if self.root.scheme == "file":
            self._made_from = _topmost_missing(Path(self.root.name))

    def name(self, leaf: str) -> str:
        """The raw name of an object in the folder, noted as one that has to go."""
        return self.note(f"{self.prefix}{leaf}")

    def note(self, name: str) -> str:
        """This object is one of ours."""
        self._written.add(name)
        self.may_be_there = True
        return name

    def forget(self, name: str) -> None:
        """This one was not written after all."""
        self._written.discard(name)
        self.may_be_there = bool(self._written)

    def url(self, name: str) -> str:
        """An object's URL, for a message."""
        return Location(self.root.scheme, self.root.bucket, name).url

    @property
    def prefix(self) -> str:
        """What the names of all objects in the folder start with."""
        return f"{self.root.folder}{self.folder}/"

    def tidy(self) -> None:
        """Delete everything that this run has written, known by name or found in its folder. Raises `StorageError`.

        By name too where a listing shows nothing: where a bucket keeps versions, a purged object has one left.
        """
        names = self._written | self._found()
        if names:
            self.store.discard(sorted(names))
        if self.root.scheme == "file":
            self._prune()

    def break_off(self) -> None:
        """Tidy up after a signal, when an object may still be on its way: its request is broken off, or soon lands."""
        if self.root.scheme != "file":
            _cancel_requests()
        self.tidy()
        if self.root.scheme != "file" and self.may_be_there:
            time.sleep(LATE_SECONDS)
            self.tidy()

    @property
    def left_versions(self) -> list[str]:
        """Names of which a bucket keeps versions that nobody here may delete."""
        return getattr(self.store, "left_versions", [])

    def _found(self) -> set[str]:
        if self.folder is None or not self.may_be_there:
            return set()
        with suppress(StorageError):  # no folder yet, or nobody may list: what is known by name goes all the same
            return {found.name for found in self.store.objects(self.prefix)}
        return set()

    def _prune(self) -> None:
        """Remove the folders that were made for this run, as far as they are empty."""
        if self.folder is not None:
            own = Path(self.prefix)
            for where, _, _ in os.walk(own, topdown=False):
                _remove_empty(Path(where))
            _remove_empty(own.parent)
        made, folder = self._made_from, Path(self.root.name)
        while made is not None and folder.is_relative_to(made):
            _remove_empty(folder)
            folder = folder.parent


def _cancel_requests() -> None:
    """Break off what fsspec still does on the thread of its event loop, though nobody waits for it any more."""
    from fsspec import asyn

    loop = asyn.loop[0]
    if loop is not None:
        for task in asyncio.all_tasks(loop):
            loop.call_soon_threadsafe(task.cancel)


def _remove_empty(folder: Path) -> None:
    with suppress(OSError):
        folder.rmdir()


def _topmost_missing(folder: Path) -> Path | None:
    """The highest of the folders on the way that is not there."""
    missing = None
    for each in (folder, *folder.parents):
        if each.exists():
            break
        missing = each
    return missing
