"""Google Cloud Storage: listings paged by token, and conditions on the generation of an object."""

from __future__ import annotations

import asyncio
from base64 import b64encode
from collections.abc import Callable, Collection, Coroutine, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property, partial
from hashlib import md5
from itertools import takewhile
from typing import TYPE_CHECKING, Any, BinaryIO, TypeVar

from xcomctl.backend.storage.body import streamed
from xcomctl.backend.storage.clock import time_of
from xcomctl.backend.storage.gcs_requests import Answer, MissingError, Requests, is_refusal
from xcomctl.backend.storage.paging import broken_off, require_below
from xcomctl.errors import StorageError
from xcomctl.model import Deletion, Kept, Outcome, Removal, Return, Spared, StoredObject, WayBack, nothing_spared

if TYPE_CHECKING:
    from gcsfs import GCSFileSystem

OBJECTS_AT_ONCE = 32
"""Each object is removed by requests of its own, so that their conditions and their answers are its own."""

NO_OBJECT = "0"
"""The generation that a condition names for: there is no such object."""

_FIELDS = "name,size,updated,generation"

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Policy:
    """What a bucket does with what is deleted: keep it as a noncurrent version, or soft-deleted for a while.

    `expiries` are the prefixes below which it deletes by itself, and after what time.
    """

    versioning: bool = False
    soft_delete: timedelta = timedelta()
    expiries: tuple[tuple[str, timedelta], ...] = ()


class GCSStore:
    """One bucket. The version of an object is its generation, which no two writes share."""

    deletes = True
    condition = "unchanged generation"

    def __init__(self, bucket: str, filesystem: GCSFileSystem) -> None:
        self._bucket = bucket
        self._requests = Requests(bucket, filesystem)
        self._bucket_answered = False

    def now(self, prefix: str) -> datetime:
        """The Date header of an answer to a listing of one key."""
        told = self._page(prefix, maxResults=1, fields="kind").headers.get("Date")
        return time_of(f"gs://{self._bucket}", told)

    def objects(self, prefix: str) -> Iterator[StoredObject]:
        """Page through everything below `prefix`; a page that is cut short or comes twice is an error."""
        return self._entries(prefix)

    def listed(self, prefix: str, folders: Collection[str] = ()) -> Iterator[Sequence[StoredObject]]:
        """The same, page by page."""
        return self._pages(prefix)

    def stat(self, name: str) -> StoredObject | None:
        """GET the object's metadata."""
        found = self._requests.run(self._look, name)
        if found is None:
            self._require_bucket(name)
        return found

    def open(self, name: str) -> AbstractContextManager[BinaryIO]:
        """GET the object and stream its body."""
        try:
            answer = self._requests.run(self._requests.download, name)
        except FileNotFoundError:
            self._require_bucket(name)
            raise
        return streamed(self._requests.loop, answer.content.read, answer.close)

    def write(self, name: str, data: bytes) -> None:
        """Upload in one request."""
        query = {"uploadType": "media", "name": name, "fields": "kind"}
        try:
            self._ask("write", name, "POST", "o", kind="storage#object", query=query, data=data)
        except FileNotFoundError as error:
            raise self._no_bucket("write", name) from error

    def create(self, name: str, data: bytes) -> None:
        """Upload where there is no generation; the answer tells the MD5 of what has arrived."""
        query = {"uploadType": "media", "name": name, "ifGenerationMatch": NO_OBJECT, "fields": "kind,md5Hash"}
        digest = b64encode(md5(data, usedforsecurity=False).digest()).decode()
        try:
            answer = self._ask("write", name, "POST", "o", kind="storage#object", query=query, data=data)
        except FileNotFoundError as error:
            raise self._no_bucket("write", name) from error
        except FileExistsError:
            if self._digest(name) != digest:
                raise
            return  # the answer was lost, and the request sent again
        if answer.content.get("md5Hash") != digest:
            raise StorageError(
                f"{self._requests.url(name)} was written, and is not there as it was sent",
                hint="nothing refers to this object; try again",
            )

    def copy(self, source: object, name_there: str, name: str) -> None:
        """Rewrite to where there is no generation; the checksums of both are compared."""
        if not isinstance(source, GCSStore):
            raise StorageError(f"{self._requests.url(name)}: nothing is copied from another kind of store")
        query = {"ifGenerationMatch": NO_OBJECT}
        self._requests.run(partial(source._rewrite, bucket=self._bucket), "copy", name_there, name, query)
        if source._digest(name_there) != self._digest(name):
            self.discard([name])
            raise StorageError(f"{self._requests.url(name)} was copied, and is not there as it was", hint="try again")

    def _digest(self, name: str) -> str | None:
        query = {"fields": "kind,md5Hash,crc32c"}
        try:
            answer = self._ask("look up", name, "GET", "o", name, kind="storage#object", query=query)
        except FileNotFoundError:
            return None
        return str(answer.content.get("md5Hash") or answer.content.get("crc32c"))

    def discard(self, names: Sequence[str]) -> None:
        """DELETE, and where a bucket keeps versions every one of them: soft-deleted they stay all the same."""
        generations = [(name, generation) for name in names for generation in self._generations(name)]
        for _ in self._together(self._discard_one, generations):
            pass

    def way_back(self, keep: timedelta) -> WayBack:
        """The bucket's own, or a copy. With versioning a delete makes a noncurrent version, and is no soft delete.

        Only what becomes of such a version is one (https://cloud.google.com/storage/docs/object-versioning).
        """
        if self._policy.versioning:
            return WayBack.VERSIONS
        return WayBack.SOFT_DELETE if self._policy.soft_delete >= keep else WayBack.TRASH

    def expiry(self, prefix: str) -> timedelta | None:
        """By the bucket's lifecycle; None as well for who may not ask (storage.buckets.get)."""
        told = [after for about, after in self._policy.expiries if prefix.startswith(about) or about.startswith(prefix)]
        return min(told, default=None)

    def remove(
        self, removals: Sequence[Removal], way: WayBack, *, look_first: bool, spared: Spared = nothing_spared
    ) -> Iterator[Deletion]:
        """DELETE each generation that was listed; the copy of what was kept after all is dropped."""
        idle = []
        for removal, deletion in self._removed(removals, way, look_first, spared):
            if way is WayBack.TRASH and (deletion.changed or (deletion.error and not deletion.unknown)):
                idle.append(removal.kept_as)
            yield deletion
        self._discard_idle(idle)

    def _removed(
        self, removals: Sequence[Removal], way: WayBack, look_first: bool, spared: Spared
    ) -> Iterator[tuple[Removal, Deletion]]:
        ready = []
        prepared = self._together(partial(self._prepared, way, look_first), removals)
        for removal, refused in zip(removals, prepared, strict=True):
            if refused is None:
                ready.append(removal)
            else:
                yield removal, refused
        staying = spared(ready)
        going = [removal for removal in ready if removal.object.name not in staying]
        yield from ((each, Deletion(each.object, changed=True)) for each in ready if each.object.name in staying)
        yield from zip(going, self._together(partial(self._delete_one, way), going), strict=True)

    def bring_back(self, kept: Sequence[Kept]) -> Iterator[Return]:
        """Restore each object where there is none; then the copies are of no use any more."""
        idle = []
        for returned in self._together(self._bring_back_one, kept):
            if returned.kept.way is WayBack.TRASH and returned.outcome is Outcome.RESTORED:
                idle.append(returned.kept.kept_as)
            yield returned
        self._discard_idle(idle)

    def _discard_idle(self, copies: Sequence[str]) -> None:
        """Drop copies that nobody needs. What cannot be dropped goes when the trash is emptied."""
        with suppress(StorageError):
            self.discard(copies)

    def _entries(self, prefix: str, **query: object) -> Iterator[StoredObject]:
        for objects in self._pages(prefix, **query):
            yield from objects

    def _pages(self, prefix: str, **query: object) -> Iterator[Sequence[StoredObject]]:
        token = None
        while True:
            fields = f"kind,nextPageToken,items({_FIELDS})"
            page = self._page(prefix, pageToken=token, fields=fields, **query).content
            found = [_object(each) for each in page.get("items", ())]
            require_below(self._requests.url(prefix), prefix, (each.name for each in found))
            yield found
            following = page.get("nextPageToken")
            if not following:
                return
            if following == token:
                raise broken_off(self._requests.url(prefix), "a page without a way on")
            token = following

    def _page(self, prefix: str, **query: object) -> Answer:
        """One page of a listing."""
        try:
            page = self._ask("list", prefix, "GET", "o", kind="storage#objects", query={"prefix": prefix, **query})
        except FileNotFoundError as error:
            raise self._no_bucket("list", prefix) from error
        self._bucket_answered = True
        return page

    def _ask(self, *args: str, **kwargs: object) -> Answer:
        """One request outside the event loop, with the parameters of `Requests.ask`."""
        return self._requests.run(self._requests.ask, *args, **kwargs)

    def _require_bucket(self, name: str) -> None:
        """A missing object is an answer only where the bucket exists; gcsfs drops what tells them apart."""
        if not self._bucket_answered:
            self._page(name, maxResults=1, fields="kind")

    def _no_bucket(self, verb: str, name: str) -> StorageError:
        message = f"cannot {verb} {self._requests.url(name)}: there is no such bucket"
        return StorageError(message, hint="check the bucket's name")

    @cached_property
    def _policy(self) -> Policy:
        """The bucket's own; who may not ask is told of none."""
        query = {"fields": "kind,versioning,softDeletePolicy,lifecycle"}
        try:
            return _policy(self._ask("look up", "", "GET", kind="storage#bucket", query=query).content)
        except (StorageError, FileNotFoundError):
            return Policy()

    def _generations(self, name: str) -> list[str | None]:
        """What of an object can be deleted: the live one, or each version.

        In a listing a name comes before all those that only begin with it.
        """
        if not self._policy.versioning:
            return [None]
        below = self._entries(name, versions="true")
        return [found.version for found in takewhile(lambda found: found.name == name, below)]

    def _together(self, function: Callable[[T], Coroutine[Any, Any, R]], items: Sequence[T]) -> Iterator[R]:
        """What a coroutine makes of each item, some at a time, in their order."""

        async def gather(some: Sequence[T]) -> Sequence[R]:
            return await asyncio.gather(*map(function, some))

        for start in range(0, len(items), OBJECTS_AT_ONCE):
            yield from self._requests.run(gather, items[start : start + OBJECTS_AT_ONCE])

    async def _look(self, name: str) -> StoredObject | None:
        try:
            query = {"fields": f"kind,{_FIELDS}"}
            found = await self._requests.ask("look up", name, "GET", "o", name, kind="storage#object", query=query)
            return _object(found.content)
        except FileNotFoundError:
            return None

    async def _discard_one(self, target: tuple[str, str | None]) -> None:
        name, generation = target
        try:
            await self._requests.ask("delete", name, "DELETE", "o", name, kind=None, query={"generation": generation})
        except FileNotFoundError:
            return

    async def _prepared(self, way: WayBack, look_first: bool, removal: Removal) -> Deletion | None:
        """Look and copy, as much of it as is asked for; what spoke against it, or None."""
        listed = removal.object
        try:
            found = await self._look(listed.name) if look_first else listed
            if found is None:
                return Deletion(listed, vanished=True)
            if found.version != listed.version:
                return Deletion(listed, changed=True)
            if way is WayBack.TRASH:
                condition = {"ifSourceGenerationMatch": _condition(listed)}
                await self._rewrite("copy", listed.name, removal.kept_as, condition)
        except FileNotFoundError:
            return Deletion(listed, vanished=True)
        except FileExistsError:
            return Deletion(listed, changed=True)
        except StorageError as error:
            return Deletion(listed, error=error.message)
        return None

    async def _delete_one(self, way: WayBack, removal: Removal) -> Deletion:
        listed = removal.object
        query = {"ifGenerationMatch": _condition(listed)}
        try:
            await self._requests.ask("delete", listed.name, "DELETE", "o", listed.name, kind=None, query=query)
        except MissingError as missing:
            if not missing.asked_again:
                return Deletion(listed, vanished=True)
        except FileExistsError:
            return Deletion(listed, changed=True)
        except StorageError as error:
            return Deletion(listed, error=error.message, unknown=not is_refusal(error))
        return Deletion(listed, handle=None if way is WayBack.TRASH else listed.version)

    async def _bring_back_one(self, kept: Kept) -> Return:
        try:
            return Return(kept, await self._outcome(kept))
        except StorageError as error:
            return Return(kept, Outcome.FAILED, error.message)

    async def _outcome(self, kept: Kept) -> Outcome:
        try:
            await self._restore(kept)
        except FileExistsError:
            return Outcome.OCCUPIED
        except FileNotFoundError:
            return Outcome.MISSING if await self._look(kept.object.name) is None else Outcome.OCCUPIED
        return Outcome.RESTORED

    async def _restore(self, kept: Kept) -> None:
        """A new generation of the same bytes, where there is no object."""
        name = kept.object.name
        generation = kept.handle or kept.object.version
        if kept.way is WayBack.TRASH:
            found = await self._look(kept.kept_as)
            if found is not None and found.size_bytes != kept.object.size_bytes:
                raise StorageError("what was kept of it has been changed since")
            await self._rewrite("restore", kept.kept_as, name, {"ifGenerationMatch": NO_OBJECT})
        elif kept.way is WayBack.VERSIONS:
            query = {"sourceGeneration": generation, "ifGenerationMatch": NO_OBJECT}
            await self._rewrite("restore", name, name, query)
        else:
            query = {"generation": generation, "ifGenerationMatch": NO_OBJECT, "fields": "kind"}
            await self._requests.ask("restore", name, "POST", "o", name, "restore", kind="storage#object", query=query)

    async def _rewrite(
        self, verb: str, source: str, target: str, query: Mapping[str, object], bucket: str | None = None
    ) -> None:
        """Copy within the bucket, or to another. A big object takes many requests, each with the token of the last."""
        path = ("o", source, "rewriteTo", "b", bucket or self._bucket, "o", target)
        token: object = None
        while True:
            more = {**query, "rewriteToken": token, "fields": "kind,done,rewriteToken"}
            answer = await self._requests.ask(verb, source, "POST", *path, kind="storage#rewriteResponse", query=more)
            if answer.content["done"]:
                return
            token = answer.content["rewriteToken"]


def _condition(listed: StoredObject) -> str:
    """The generation that was listed; what came without one is kept."""
    return listed.version or NO_OBJECT


def _policy(bucket: Mapping[str, Any]) -> Policy:
    seconds = int(bucket.get("softDeletePolicy", {}).get("retentionDurationSeconds", 0))
    rules = bucket.get("lifecycle", {}).get("rule", [])
    expiries = tuple(each for rule in rules for each in _expiries(rule))
    return Policy(bool(bucket.get("versioning", {}).get("enabled")), timedelta(seconds=seconds), expiries)


def _expiries(rule: Mapping[str, Any]) -> Iterator[tuple[str, timedelta]]:
    """The prefixes that a rule is about, and the age at which it deletes; none where it asks for more than these."""
    condition = dict(rule.get("condition", {}))
    days, prefixes = condition.pop("age", None), condition.pop("matchesPrefix", None) or [""]
    if rule.get("action", {}).get("type") == "Delete" and days is not None and condition in ({}, {"isLive": True}):
        yield from ((prefix, timedelta(days=int(days))) for prefix in prefixes)


def _object(entry: Mapping[str, Any]) -> StoredObject:
    """`updated` is never before the write: metadata that is edited later can only keep an object longer."""
    whole, _, fraction = entry["updated"].removesuffix("Z").partition(".")
    updated = datetime.fromisoformat(f"{whole}.{fraction[:6]:0<6}+00:00")
    return StoredObject(entry["name"], int(entry["size"]), updated, entry.get("generation"))
