"""A bucket in memory, by a clock that stands still until it is told, and a client that fails where it is told to.

The bucket is what is there; it never fails. Every run of xcomctl is a client of its own, and what befalls one of its
requests is decided just before it is sent, so that others may act in between.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import Enum
from hashlib import sha256
from io import BytesIO
from typing import BinaryIO, Literal, NamedTuple, TypeAlias, TypeVar

from xcomctl.backend.storage.paging import in_pages
from xcomctl.errors import NoFolderError, StorageError
from xcomctl.model import Deletion, Kept, Outcome, Removal, Return, Spared, StoredObject, WayBack, nothing_spared

NAMES_PER_PAGE = 3
"""So few that things happen between the pages of nearly every listing."""

Verb: TypeAlias = Literal["policy", "now", "list", "look up", "read", "write", "copy", "remove", "discard", "restore"]
"""What a client may ask of its bucket."""

T = TypeVar("T")


class Crash(BaseException):
    """The process was killed. Nothing of it runs any more, so nothing may catch this."""


class LostError(StorageError):
    """It was done, and nobody was told."""


class Fault(Enum):
    """What may befall one request."""

    REFUSED = "it is refused, and nothing is done"
    LOST = "it is done, and the answer is lost"
    KILLED = "the process is killed before it is sent"
    KILLED_AFTER = "it is done, and the process is killed"


Befalls: TypeAlias = Callable[[Verb, str], Fault | None]
"""Asked before each request: what befalls this verb on this name."""


@dataclass(slots=True)
class Clock:
    """The time in this world."""

    now: datetime


@dataclass(frozen=True, slots=True)
class Kind:
    """What a bucket is like.

    With `etag` equal bytes are the equal version, with `generation` no two writes are. Conditions on a delete are
    `ignored` by some stores without a word, and with `none` the client cannot even send them.
    """

    way: WayBack
    version: Literal["etag", "generation"]
    condition: Literal["honoured", "ignored", "none"] = "honoured"

    @property
    def keeps(self) -> bool:
        """Whether the bucket itself keeps what is deleted."""
        return self.way in (WayBack.VERSIONS, WayBack.SOFT_DELETE)

    @property
    def is_file(self) -> bool:
        """Whether these are files, which know no conditions: each is looked at before it moves."""
        return self.way is WayBack.RENAME


class Content(NamedTuple):
    """One version of an object."""

    body: bytes
    modified_at: datetime
    version: str


class Hidden(NamedTuple):
    """A version that was deleted and is kept. `handle` names the removal where the bucket has a name for it."""

    handle: str
    content: Content


@dataclass
class Bucket:
    """What is there. `order` is that of listings, in which names were first used; `origins` tells what is a copy."""

    kind: Kind
    clock: Clock
    objects: dict[str, Content] = field(default_factory=dict)
    hidden: dict[str, list[Hidden]] = field(default_factory=dict)
    order: dict[str, int] = field(default_factory=dict)
    origins: dict[str, str] = field(default_factory=dict)
    writes: int = 0

    def put(self, name: str, body: bytes, begun_at: datetime | None = None) -> Content:
        """Write an object. One that is uploaded in parts is dated from when that began."""
        self.writes += 1
        etag = sha256(body).hexdigest()[:16]
        version = f'"{etag}"' if self.kind.version == "etag" else str(self.writes)
        self.order.setdefault(name, len(self.order))
        self.objects[name] = Content(body, begun_at or self.clock.now, version)
        return self.objects[name]

    def delete(self, name: str) -> str:
        """Delete an object as anybody does; the bucket may keep it. What it calls this removal."""
        self.writes += 1
        content = self.objects.pop(name)
        handle = content.version if self.kind.version == "generation" else f"marker {self.writes}"
        if self.kind.keeps:
            self.hidden.setdefault(name, []).append(Hidden(handle, content))
        return handle

    def erase(self, name: str) -> None:
        """Delete an object and whatever the bucket keeps of it."""
        self.objects.pop(name, None)
        self.hidden.pop(name, None)

    def copy(self, name: str, target: str) -> None:
        """A new object of the same bytes."""
        self.put(target, self.objects[name].body)
        self.origins[target] = name

    def move(self, name: str, target: str) -> None:
        """As a file is renamed: it stays the same version, of the same time."""
        self.order.setdefault(target, len(self.order))
        self.objects[target] = self.objects.pop(name)
        self.origins[target] = name

    def unhide(self, name: str, hidden: Hidden) -> None:
        """Bring a deleted version back: as it was where a marker hid it, else as a new generation."""
        self.hidden[name].remove(hidden)
        if self.kind.version == "etag":
            self.objects[name] = hidden.content
        else:
            self.put(name, hidden.content.body)

    def below(self, prefix: str) -> list[str]:
        """The names that start with a prefix, in the order of listings."""
        return sorted((name for name in self.objects if name.startswith(prefix)), key=self.order.__getitem__)

    def fork(self) -> Bucket:
        """Another one that is the same now."""
        hidden = {name: list(versions) for name, versions in self.hidden.items()}
        return Bucket(
            self.kind, self.clock, dict(self.objects), hidden, dict(self.order), dict(self.origins), self.writes
        )


class Deed(NamedTuple):
    """What a client has changed: the verb of its request, when, and the bytes. To `drop` is to discard a copy."""

    verb: str
    name: str
    at: datetime
    body: bytes


class MemoryStore:
    """A client of a bucket, as xcomctl sees it. `deeds` is what it really did, whatever it was told."""

    deletes = True

    def __init__(self, bucket: Bucket, befalls: Befalls = lambda verb, name: None) -> None:
        self.bucket = bucket
        self.deeds: list[Deed] = []
        self._befalls = befalls
        self._is_dead = False

    @property
    def condition(self) -> str | None:
        """What a client sends; whether it is heeded is another matter."""
        return None if self.bucket.kind.condition == "none" else "unchanged version"

    def kill(self) -> None:
        """End this client's process. Raises `Crash`, now and at every further request."""
        self._is_dead = True
        raise Crash

    def now(self, prefix: str) -> datetime:
        return self._ask("now", prefix, lambda: self.bucket.clock.now)

    def objects(self, prefix: str) -> Iterator[StoredObject]:
        """Page by page: what is written meanwhile is seen or not, what is deleted meanwhile likewise."""
        if self.bucket.kind.is_file and not self.bucket.below(prefix):
            raise NoFolderError(f"folder {prefix} does not exist")  # of files only, whose empty folders are removed
        last: int | None = -1
        while last is not None:
            page, last = self._ask("list", prefix, lambda after=last: self._page(prefix, after))
            yield from page

    def listed(self, prefix: str, folders: Collection[str] = ()) -> Iterator[Sequence[StoredObject]]:
        return in_pages(self.objects(prefix))

    def stat(self, name: str) -> StoredObject | None:
        return self._ask("look up", name, lambda: self._seen(name))

    def open(self, name: str) -> AbstractContextManager[BinaryIO]:
        return BytesIO(self._ask("read", name, lambda: self._content(name).body))

    def write(self, name: str, data: bytes) -> None:
        self._ask("write", name, lambda: self._write(name, data))

    def discard(self, names: Sequence[str]) -> None:
        for name in names:
            self._ask("discard", name, lambda name=name: self._discard(name))

    def way_back(self, keep: timedelta) -> WayBack:
        """The bucket's own; a client that is not told what the bucket keeps makes copies."""
        if self.bucket.kind.is_file:
            return WayBack.RENAME
        try:
            return self._ask("policy", "", lambda: self.bucket.kind.way)
        except StorageError:
            return WayBack.TRASH

    def expiry(self, prefix: str) -> timedelta | None:
        return None

    def remove(
        self, removals: Sequence[Removal], way: WayBack, *, look_first: bool, spared: Spared = nothing_spared
    ) -> Iterator[Deletion]:
        staying = spared(removals)
        for removal in removals:
            stays = removal.object.name in staying
            yield Deletion(removal.object, changed=True) if stays else self._remove(removal, way, look_first)

    def bring_back(self, kept: Sequence[Kept]) -> Iterator[Return]:
        for each in kept:
            try:
                outcome = self._ask("restore", each.object.name, lambda each=each: self._restore(each))
            except StorageError as error:
                yield Return(each, Outcome.FAILED, error.message)
                continue
            if outcome is Outcome.RESTORED and each.way is WayBack.TRASH:
                self._drop(each.kept_as)
            yield Return(each, outcome)

    def _ask(self, verb: Verb, name: str, act: Callable[[], T]) -> T:
        """One request, and what befalls it."""
        fault = None if self._is_dead else self._befalls(verb, name)
        if self._is_dead or fault is Fault.KILLED:
            self.kill()
        if fault is Fault.REFUSED:
            raise StorageError(f"cannot {verb} {name}: refused")
        answer = act()
        if fault is Fault.KILLED_AFTER:
            self.kill()
        if fault is Fault.LOST:
            raise LostError(f"cannot {verb} {name}: timed out")
        return answer

    def _did(self, verb: str, name: str, body: bytes) -> None:
        self.deeds.append(Deed(verb, name, self.bucket.clock.now, body))

    def _page(self, prefix: str, after: int) -> tuple[list[StoredObject], int | None]:
        """Some of a listing, and where to go on."""
        names = [name for name in self.bucket.below(prefix) if self.bucket.order[name] > after]
        page = [found for name in names[:NAMES_PER_PAGE] if (found := self._seen(name))]
        return page, self.bucket.order[page[-1].name] if len(names) > NAMES_PER_PAGE else None

    def _seen(self, name: str) -> StoredObject | None:
        content = self.bucket.objects.get(name)
        return content and StoredObject(name, len(content.body), content.modified_at, content.version)

    def _content(self, name: str) -> Content:
        if name not in self.bucket.objects:
            raise FileNotFoundError(name)
        return self.bucket.objects[name]

    def _write(self, name: str, data: bytes) -> None:
        self.bucket.put(name, data)
        self._did("write", name, data)

    def _discard(self, name: str, deed: str = "discard") -> None:
        if name in self.bucket.objects:
            self._did(deed, name, self.bucket.objects[name].body)
        self.bucket.erase(name)

    def _drop(self, copy: str) -> None:
        """Discard a copy that nobody needs; one that cannot be discarded goes when the trash is emptied."""
        with suppress(StorageError):
            self._ask("discard", copy, lambda: self._discard(copy, "drop"))

    def _remove(self, removal: Removal, way: WayBack, look_first: bool) -> Deletion:
        """Look, copy, delete: as much of it as is asked for, until something speaks against it."""
        is_file, listed = self.bucket.kind.is_file, removal.object
        try:
            spoken = self._spoken_against(listed) if look_first or is_file else None
            if spoken is None and way is WayBack.TRASH:
                spoken = self._ask("copy", listed.name, lambda: self._copy(removal))
        except StorageError as error:
            return Deletion(listed, error=error.message)
        if spoken is not None:
            return spoken
        deletion = self._move(removal) if is_file else self._delete(listed)
        if way is WayBack.TRASH and not is_gone(deletion) and not deletion.unknown:
            self._drop(removal.kept_as)
        return deletion

    def _spoken_against(self, listed: StoredObject) -> Deletion | None:
        """What a look at an object says against removing it."""
        found = self.stat(listed.name)
        if found is None:
            return Deletion(listed, vanished=True)
        return None if found.version == listed.version else Deletion(listed, changed=True)

    def _copy(self, removal: Removal) -> Deletion | None:
        refused = self._refused(removal.object)
        if refused is None:
            self.bucket.copy(removal.object.name, removal.kept_as)
            self._did("copy", removal.kept_as, self._content(removal.object.name).body)
        return refused

    def _refused(self, listed: StoredObject) -> Deletion | None:
        """What the bucket answers instead of doing it."""
        content = self.bucket.objects.get(listed.name)
        if content is None:
            return Deletion(listed, vanished=True)
        heeds = self.bucket.kind.condition == "honoured" and listed.version is not None
        return Deletion(listed, changed=True) if heeds and content.version != listed.version else None

    def _delete(self, listed: StoredObject) -> Deletion:
        def act() -> Deletion:
            refused = self._refused(listed)
            if refused is not None:
                return refused
            self._did("remove", listed.name, self._content(listed.name).body)
            handle = self.bucket.delete(listed.name)
            return Deletion(listed, handle=handle if self.bucket.kind.keeps else None)

        try:
            return self._ask("remove", listed.name, act)
        except StorageError as error:
            return Deletion(listed, error=error.message, unknown=isinstance(error, LostError))

    def _move(self, removal: Removal) -> Deletion:
        listed = removal.object

        def act() -> Deletion:
            if listed.name not in self.bucket.objects:
                return Deletion(listed, vanished=True)
            self._did("remove", listed.name, self._content(listed.name).body)
            self.bucket.move(listed.name, removal.kept_as)
            return Deletion(listed)

        try:
            return self._ask("remove", listed.name, act)
        except StorageError as error:
            return Deletion(listed, error=error.message, unknown=isinstance(error, LostError))

    def _restore(self, kept: Kept) -> Outcome:
        """In one step, never over an object."""
        name = kept.object.name
        if name in self.bucket.objects:
            return Outcome.OCCUPIED
        if not kept.is_copy:
            return self._unhide(kept)
        if kept.kept_as not in self.bucket.objects:
            return Outcome.MISSING
        if kept.way is WayBack.RENAME:
            self.bucket.move(kept.kept_as, name)
        else:
            self.bucket.copy(kept.kept_as, name)
        self._did("restore", name, self.bucket.objects[name].body)
        return Outcome.RESTORED

    def _unhide(self, kept: Kept) -> Outcome:
        """By the name of the removal, or where its answer was lost by the version that it removed."""
        name = kept.object.name
        wanted = kept.handle or kept.object.version
        for hidden in reversed(self.bucket.hidden.get(name, ())):
            if wanted in ((hidden.handle,) if kept.handle else (hidden.content.version,)):
                self.bucket.unhide(name, hidden)
                self._did("restore", name, hidden.content.body)
                return Outcome.RESTORED
        return Outcome.MISSING


def is_gone(deletion: Deletion) -> bool:
    """Whether a removal is told to have been done."""
    return deletion.error is None and not deletion.changed and not deletion.vanished
