"""S3 and what speaks its language, through the client under s3fs: raw keys, paged by token, per-key results."""

from __future__ import annotations

import asyncio
import re
from base64 import b64decode, b64encode
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from hashlib import md5
from itertools import takewhile
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from xcomctl import __version__
from xcomctl.backend.storage.body import streamed
from xcomctl.backend.storage.clock import time_of
from xcomctl.backend.storage.s3_deletes import BUSY, delete_objects, is_busy
from xcomctl.backend.storage.s3_listing import REQUESTS_AT_ONCE, all_pages
from xcomctl.backend.storage.s3_pages import Page, object_of, page
from xcomctl.backend.storage.s3_repeats import Repeats
from xcomctl.errors import ForbiddenError, StorageError
from xcomctl.model import (
    Deletion,
    Kept,
    Objects,
    Outcome,
    Removal,
    Return,
    Spared,
    StoredObject,
    WayBack,
    nothing_spared,
)

if TYPE_CHECKING:
    from s3fs import S3FileSystem

CONFIG = {"max_pool_connections": REQUESTS_AT_ONCE, "user_agent": f"xcomctl/{__version__}"}
"""For botocore's client. Without a name of its own it describes the machine anew, twice in each request."""

KEYS_PER_DELETE = 1000
"""The most that DeleteObjects takes (Amazon S3 API; SeaweedFS and Ceph answer 400 to one more)."""

OBJECT_METHODS = ("head_object", "get_object", "delete_object", "copy_object")
CHANGED = frozenset({"PreconditionFailed", "ConditionalRequestConflict", "412", "409"})
FORBIDDEN = frozenset({"AccessDenied", "AllAccessDisabled", "403"})
"""What S3 calls the refusal of a deed; keys that are wrong or expired have codes of their own."""
GONE = frozenset({"NoSuchKey", "404"})

_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]|[\r\n\t]")
"""Characters that the XML body of DeleteObjects cannot carry, or that parsers normalise."""

Answer = Mapping[str, Any]


class S3Store:
    """One bucket. The version of an object is its ETag, which equal bytes share."""

    deletes = True

    def __init__(self, bucket: str, filesystem: S3FileSystem) -> None:
        self._bucket = bucket
        self._bucket_answered = False
        self._versioning: str | None = None
        self.left_versions: list[str] = []
        self._known: dict[tuple[str, str], bool] = {}
        self._filesystem = filesystem
        self._repeats = Repeats(filesystem, bucket)
        filesystem.config_kwargs = {**CONFIG, **filesystem.config_kwargs}
        filesystem.retries = 1  # botocore asks again and says so; s3fs says nothing, and what it did itself looks alien

    @property
    def condition(self) -> str | None:
        """Per-key ETags, where the installed botocore can send them (>=1.36)."""
        return "unchanged ETag, where the store honours it" if self._sends_etags() else None

    def now(self, prefix: str) -> datetime:
        """The Date header of an answer to a listing of one key."""
        answer = self._call("list", prefix, "list_objects_v2", Prefix=prefix, MaxKeys=1)
        self._bucket_answered = True
        return time_of(f"s3://{self._bucket}", answer["ResponseMetadata"]["HTTPHeaders"].get("date"))

    def objects(self, prefix: str) -> Iterator[StoredObject]:
        """Page through everything below `prefix`; a page that is cut short or comes twice is an error."""
        for objects in self._pages(prefix):
            yield from objects

    def _pages(self, prefix: str) -> Iterator[Objects]:
        from fsspec.asyn import sync

        token: dict[str, object] = {}
        while True:
            found = cast("Page", sync(self._filesystem.loop, self._page, Prefix=prefix, **token))
            yield found.objects
            if found.following is None:
                return
            token = {"ContinuationToken": found.following}

    def listed(self, prefix: str, folders: Collection[str] = ()) -> Iterator[Objects]:
        """Many pages at a time; `folders` are names where the work can be parted."""
        return all_pages(self._filesystem.loop, self._page, prefix, folders)

    async def _page(self, **query: object) -> Page:
        try:
            return await page(self._filesystem, self._bucket, **query)
        except StorageError:
            raise
        except Exception as error:
            raise self._failed("list", str(query["Prefix"]), "list_objects_v2", error) from error

    def stat(self, name: str) -> StoredObject | None:
        """HEAD the object."""
        try:
            head = self._head(name)
        except FileNotFoundError:
            self._require_bucket(name)
            return None
        return object_of(name, head["ContentLength"], head)

    def open(self, name: str) -> AbstractContextManager[BinaryIO]:
        """GET the object and stream its body."""
        try:
            answer = self._call("read", name, "get_object", Key=name)
        except FileNotFoundError:
            self._require_bucket(name)
            raise
        body = answer["Body"]
        return streamed(self._filesystem.loop, body.read, body.close)

    def write(self, name: str, data: bytes) -> None:
        """PUT, with an MD5 that the store compares."""
        sent = _sent(name, data)
        self._require_written(name, sent, self._call("write", name, "put_object", **sent))

    def create(self, name: str, data: bytes) -> None:
        """The same with If-None-Match, where botocore knows it."""
        sent = _sent(name, data)
        condition = {"IfNoneMatch": "*"} if self._knows("PutObject", "IfNoneMatch") else {}
        try:
            answer = self._repeat("write", name, "put_object", **sent, **condition)
        except StorageError as error:
            if _code(error.__cause__) not in CHANGED:
                raise
            if not self._is_ours(name, data):  # ours it is where the answer was lost, and the request sent again
                raise FileExistsError(f"s3://{self._bucket}/{name}") from error
            return
        self._require_written(name, sent, answer)

    def _require_written(self, name: str, sent: Mapping[str, Any], answer: Answer) -> None:
        """An answer whose ETag is the MD5 says what the store holds; after any other, as with KMS, HEAD has to."""
        if answer.get("ETag") == f'"{b64decode(sent["ContentMD5"]).hex()}"':
            return
        found = self.stat(name)
        if found is None or found.size_bytes != len(sent["Body"]):
            raise StorageError(
                f"s3://{self._bucket}/{name} was written, and is not there as it was sent",
                hint="is the store consistent? nothing refers to this object",
            )

    def copy(self, source: object, name_there: str, name: str) -> None:
        """CopyObject, with If-None-Match where botocore knows it, and HEAD of both."""
        if not isinstance(source, S3Store):
            raise StorageError(f"s3://{self._bucket} copies nothing from another kind of store")
        wanted, there = source._head(name_there), self.stat(name)
        if there is not None:
            raise FileExistsError(f"s3://{self._bucket}/{name}")
        condition = {"IfNoneMatch": "*"} if self._knows("CopyObject", "IfNoneMatch") else {}
        origin = {"Bucket": source._bucket, "Key": name_there}
        self._call("copy to", name, "copy_object", Key=name, CopySource=origin, **condition)
        if not _same_bytes(wanted, self._head(name)):
            self.discard([name])
            raise StorageError(f"s3://{self._bucket}/{name} was copied, and is not there as it was", hint="try again")

    def _head(self, name: str) -> Answer:
        return self._call("look up", name, "head_object", Key=name)

    def _is_ours(self, name: str, data: bytes) -> bool:
        try:
            with self.open(name) as body:
                return body.read() == data
        except FileNotFoundError:
            return False

    def discard(self, names: Sequence[str]) -> None:
        """Every version of each: where a bucket keeps versions, or did, a delete marker would be litter of its own.

        Who may not ask whether it does is told by the marker that a delete makes. `left_versions` names those whose
        versions these credentials may then not delete either.
        """
        if self._versioning_status():
            self._discard(self._keys_of_versions(names))
        elif hidden := [e["Key"] for e in self._discard([{"Key": name} for name in names]) if e.get("DeleteMarker")]:
            try:
                self._discard(self._keys_of_versions(hidden))
            except StorageError:
                self.left_versions += hidden

    def _keys_of_versions(self, names: Sequence[str]) -> list[dict[str, str]]:
        return [{"Key": name, "VersionId": each["VersionId"]} for name in names for each in self._versions(name)]

    def _discard(self, keys: Sequence[dict[str, str]]) -> list[Answer]:
        """What the store says of each that it deleted."""
        deleted: list[Answer] = []
        for start in range(0, len(keys), KEYS_PER_DELETE):
            batch = keys[start : start + KEYS_PER_DELETE]
            answer = self._delete_objects(batch, batch[0]["Key"], may_wait=True)
            for entry in answer.get("Errors", ()):
                url = f"s3://{self._bucket}/{entry.get('Key', batch[0]['Key'])}"
                reason = f"{entry.get('Code')}: {entry.get('Message')}"
                raise StorageError(f"cannot delete {url}: {reason}", hint="the credentials may not delete here")
            deleted += (entry for entry in answer.get("Deleted", ()) if "Key" in entry)
        return deleted

    def way_back(self, keep: timedelta) -> WayBack:
        """The bucket's own versions, or a copy: S3 keeps nothing else."""
        return WayBack.VERSIONS if self._versioning_status() == "Enabled" else WayBack.TRASH

    def expiry(self, prefix: str) -> timedelta | None:
        """By the bucket's lifecycle; None as well for who may not ask (s3:GetLifecycleConfiguration)."""
        try:
            answer = self._call("look up", "", "get_bucket_lifecycle_configuration")
        except StorageError:  # also where there is none: NoSuchLifecycleConfiguration
            return None
        days = [_expires_after(rule) for rule in answer.get("Rules", []) if _is_about(rule, prefix)]
        return min((timedelta(days=each) for each in days if each is not None), default=None)

    def remove(
        self, removals: Sequence[Removal], way: WayBack, *, look_first: bool, spared: Spared = nothing_spared
    ) -> Iterator[Deletion]:
        """DeleteObjects with each key's ETag, after a copy where the bucket keeps no versions."""
        for start in range(0, len(removals), KEYS_PER_DELETE):
            batch = removals[start : start + KEYS_PER_DELETE]
            left, settled = self._unchanged(batch) if look_first else (batch, [])
            yield from settled
            yield from self._with_copies(left, spared) if way is WayBack.TRASH else self._unspared(left, spared)

    def bring_back(self, kept: Sequence[Kept]) -> Iterator[Return]:
        """Delete the marker that hides the object, or copy it back where no object is."""
        idle = []
        for each in kept:
            returned = self._bring_back_one(each)
            if each.way is WayBack.TRASH and returned.outcome is Outcome.RESTORED:
                idle.append(each.kept_as)
            yield returned
        self._discard_idle(idle)

    def _bring_back_one(self, kept: Kept) -> Return:
        try:
            return self._unhide(kept) if kept.way is WayBack.VERSIONS else self._copy_back(kept)
        except FileNotFoundError:
            return Return(kept, Outcome.MISSING)
        except StorageError as error:
            if _code(error.__cause__) in CHANGED:
                return Return(kept, Outcome.RESTORED if self._is_back(kept) else Outcome.OCCUPIED)
            return Return(kept, Outcome.FAILED, error.message)

    def _is_back(self, kept: Kept) -> bool:
        """Whether it lies in its place although a copy to there was refused: an answer was lost, and the copy made."""
        with suppress(StorageError):
            found = self.stat(kept.object.name)
            return found is not None and found.version == kept.object.version
        return False

    def _versioning_status(self) -> str:
        """`Enabled`, `Suspended` or empty; so for who may not ask, or asks a store that knows no versions."""
        if self._versioning is None:
            try:
                self._versioning = str(self._call("look up", "", "get_bucket_versioning").get("Status", ""))
            except StorageError:
                self._versioning = ""
        return self._versioning

    def _versions(self, name: str) -> list[Answer]:
        """The versions and delete markers of one key, the newest first; of one second the markers first."""
        found: list[Answer] = []
        place: dict[str, str] = {}
        while True:
            page = self._call("look up", name, "list_object_versions", Prefix=name, **place)
            found += (e for kind in ("Versions", "DeleteMarkers") for e in page.get(kind, ()) if e["Key"] == name)
            if page.get("NextKeyMarker") != name:
                return sorted(found, key=lambda e: (e["IsLatest"], e["LastModified"], _is_marker(e)), reverse=True)
            place = {"KeyMarker": name, "VersionIdMarker": page["NextVersionIdMarker"]}

    def _unchanged(self, removals: Sequence[Removal]) -> tuple[list[Removal], list[Deletion]]:
        """The removals whose object is still the one that was listed, and what became of the others."""
        left, settled = [], []
        heads = self._together([("head_object", {"Key": removal.object.name}) for removal in removals])
        for removal, head in zip(removals, heads, strict=True):
            if isinstance(head, FileNotFoundError):
                settled.append(Deletion(removal.object, vanished=True))
            elif isinstance(head, Exception):
                error = self._explained("look up", removal.object.name, head)
                settled.append(Deletion(removal.object, error=error, slow_down=_is_busy(head)))
            elif head.get("ETag") != removal.object.version:
                settled.append(Deletion(removal.object, changed=True))
            else:
                left.append(removal)
        return left, settled

    def _with_copies(self, removals: Sequence[Removal], spared: Spared) -> Iterator[Deletion]:
        """Copy, then delete; the copy of what was kept after all is dropped.

        Each was there for the copy. One that is not there for the delete went by that, and the answer was lost: aiohttp
        sends a DELETE again without telling.
        """
        copied, settled = self._copied(removals)
        yield from settled
        copies = {removal.object.name: removal.kept_as for removal in copied}
        idle = []
        for deletion in self._unspared(copied, spared):
            if deletion.changed or (deletion.error and not deletion.unknown):
                idle.append(copies[deletion.object.name])
            yield replace(deletion, vanished=False)
        self._discard_idle(idle)

    def _unspared(self, removals: Sequence[Removal], spared: Spared) -> Iterator[Deletion]:
        """Delete all but those that must stay."""
        staying = spared(removals)
        yield from (Deletion(each.object, changed=True) for each in removals if each.object.name in staying)
        yield from self._delete([each.object for each in removals if each.object.name not in staying])

    def _discard_idle(self, copies: Sequence[str]) -> None:
        """Drop copies that nobody needs. What cannot be dropped goes when the trash is emptied."""
        with suppress(StorageError):
            self.discard(copies)

    def _copied(self, removals: Sequence[Removal]) -> tuple[list[Removal], list[Deletion]]:
        """The removals of which there is surely a copy now, and what became of the others."""
        left, settled = [], []
        copies = self._together([("copy_object", self._copying(removal)) for removal in removals])
        for removal, copy in zip(removals, copies, strict=True):
            if isinstance(copy, FileNotFoundError):
                settled.append(Deletion(removal.object, vanished=True))
            elif isinstance(copy, Exception) and _code(copy) in CHANGED:
                settled.append(Deletion(removal.object, changed=True))
            elif isinstance(copy, Exception):
                error = self._explained("copy", removal.object.name, copy)
                settled.append(Deletion(removal.object, error=error, slow_down=_is_busy(copy)))
            elif doubt := self._lacks(copy, removal.object, removal.kept_as):
                settled.append(Deletion(removal.object, error=doubt))
            else:
                left.append(removal)
        return left, settled

    def _lacks(self, answer: Answer, wanted: StoredObject, name: str) -> str | None:
        """Why an answer to CopyObject is no proof of a copy; None where it is.

        botocore takes any answer of 2xx without a body, and any well-formed page, for a success. Whoever tells an ETag
        in a CopyObjectResult has made one; after anything else HEAD has to say so.
        """
        if answer.get("CopyObjectResult", {}).get("ETag"):
            return None
        try:
            found = self.stat(name)
        except StorageError as error:
            return error.message
        if found is not None and found.size_bytes == wanted.size_bytes:
            return None
        return f"cannot copy s3://{self._bucket}/{wanted.name}: the store said that it did, and there is no copy"

    def _copying(self, removal: Removal) -> dict[str, object]:
        condition = {"CopySourceIfMatch": removal.object.version} if removal.object.version else {}
        source = {"Bucket": self._bucket, "Key": removal.object.name}
        return {"Key": removal.kept_as, "CopySource": source, **condition}

    def _unhide(self, kept: Kept) -> Return:
        """Delete the marker of this very removal, if it is what hides the object now, and any that it covers.

        It covers others where its first answer was lost and the store was asked again without condition. What somebody
        else has deleted since, once more or after writing it again, comes back as a copy: their markers stay.
        """
        versions = self._versions(kept.object.name)
        markers = list(takewhile(_is_marker, versions))
        hidden = versions[len(markers) :]
        if versions and not markers:
            return Return(kept, Outcome.OCCUPIED)
        removed = next((each for each in hidden if each.get("ETag") == kept.object.version), None)
        if removed is None:
            return Return(kept, Outcome.MISSING, "the version that was removed is not there any more")
        own = markers[0]["VersionId"] == kept.handle or (kept.handle is None and len(markers) == 1)
        if not own or removed is not hidden[0]:
            return self._copied_back(kept, {"Key": kept.object.name, "VersionId": removed["VersionId"]})
        for marker in markers:
            key = {"Key": kept.object.name, "VersionId": marker["VersionId"]}
            self._call("restore", kept.object.name, "delete_object", **key)
        return Return(kept, Outcome.RESTORED)

    def _copy_back(self, kept: Kept) -> Return:
        if self.stat(kept.object.name) is not None:
            return Return(kept, Outcome.OCCUPIED)
        found = self.stat(kept.kept_as)
        if found is None:
            return Return(kept, Outcome.MISSING)
        if found.size_bytes != kept.object.size_bytes:
            return Return(kept, Outcome.FAILED, "what was kept of it has been changed since")
        return self._copied_back(kept, {"Key": kept.kept_as})

    def _copied_back(self, kept: Kept, source: Mapping[str, str]) -> Return:
        """A copy to where no object is."""
        condition = {"IfNoneMatch": "*"} if self._knows("CopyObject", "IfNoneMatch") else {}
        place = {"Key": kept.object.name, "CopySource": {"Bucket": self._bucket, **source}}
        answer = self._call("restore", kept.object.name, "copy_object", **place, **condition)
        if doubt := self._lacks(answer, kept.object, kept.object.name):
            return Return(kept, Outcome.FAILED, doubt)
        return Return(kept, Outcome.RESTORED)

    def _delete(self, objects: Sequence[StoredObject]) -> Iterator[Deletion]:
        """In one request, but for keys that XML cannot carry, which go one by one."""
        batched = [listed for listed in objects if not _NOT_XML.search(listed.name)]
        if batched:
            yield from self._delete_batch(batched)
        for listed in objects:
            if _NOT_XML.search(listed.name):
                yield self._delete_one(listed)

    def _delete_batch(self, objects: Sequence[StoredObject]) -> Iterator[Deletion]:
        with_etag = self._sends_etags()
        keys = [{"Key": o.name, **({"ETag": o.version} if with_etag and o.version else {})} for o in objects]
        try:
            answer = self._delete_objects(keys, may_wait=False)
        except (StorageError, FileNotFoundError) as error:
            unknown = not isinstance(error.__cause__, PermissionError)
            busy = _is_busy(error.__cause__)
            yield from (Deletion(listed, error=str(error), unknown=unknown, slow_down=busy) for listed in objects)
            return
        gone, failed = (
            {entry["Key"]: entry for entry in answer.get(kind, ()) if "Key" in entry} for kind in ("Deleted", "Errors")
        )
        for listed in objects:
            if listed.name in failed:
                yield self._refused(listed, failed[listed.name], answer)
            elif listed.name in gone:
                yield Deletion(listed, handle=gone[listed.name].get("DeleteMarkerVersionId"))
            else:
                yield Deletion(listed, error="the store did not say what became of it", unknown=True)

    def _delete_one(self, listed: StoredObject) -> Deletion:
        condition = {"IfMatch": listed.version} if self._sends_etags() and listed.version else {}
        try:
            answer = self._call("delete", listed.name, "delete_object", Key=listed.name, **condition)
        except (StorageError, FileNotFoundError) as error:
            response = _response(error.__cause__)
            if _code(error.__cause__) in CHANGED | GONE:
                return self._refused(listed, response["Error"], response)
            unknown, busy = not isinstance(error.__cause__, PermissionError), _is_busy(error.__cause__)
            return Deletion(listed, error=str(error), unknown=unknown, slow_down=busy)
        return Deletion(listed, handle=answer.get("VersionId") if answer.get("DeleteMarker") else None)

    def _refused(self, listed: StoredObject, refusal: Answer, answer: Answer) -> Deletion:
        """What a refusal means for one object.

        SeaweedFS says of an object that is not there that the condition does not hold. A request that was sent again,
        because its answer was lost, is refused for what it has done itself.
        """
        code = refusal.get("Code")
        if code not in CHANGED | GONE:
            return Deletion(listed, error=f"{code}: {refusal.get('Message')}", slow_down=code in BUSY)
        if code in CHANGED and self._is_there(listed.name):
            return Deletion(listed, changed=True)
        return Deletion(listed, vanished=not answer["ResponseMetadata"].get("RetryAttempts"))

    def _is_there(self, name: str) -> bool:
        """Whether there is an object, as far as can be told."""
        try:
            return self.stat(name) is not None
        except StorageError:
            return True

    def _require_bucket(self, name: str) -> None:
        """A missing object is an answer only where the bucket exists: HEAD says 404 for both."""
        if self._bucket_answered:
            return
        try:
            self.now(name)
        except StorageError as error:
            if not isinstance(error.__cause__, PermissionError):  # who is refused a look was not told "no such bucket"
                raise

    def _sends_etags(self) -> bool:
        """Whether this botocore knows conditions on both kinds of delete."""
        return self._knows("DeleteObjects", "Delete.Objects.ETag") and self._knows("DeleteObject", "IfMatch")

    def _knows(self, operation: str, parameter: str) -> bool:
        """Whether this botocore can send a parameter; s3fs drops in silence what it cannot."""
        asked = (operation, parameter)
        if asked not in self._known:
            self._filesystem.connect()
            shape = self._filesystem.s3.meta.service_model.operation_model(operation).input_shape
            *outer, last = parameter.split(".")
            for name in outer:
                inner = shape.members[name]
                shape = getattr(inner, "member", inner)
            self._known[asked] = last in shape.members
        return self._known[asked]

    def _together(self, calls: Sequence[tuple[str, dict[str, object]]]) -> list[Any]:
        """The answers to many requests, some at a time; an error stands where its answer would."""
        from fsspec.asyn import sync

        async def gather() -> list[Any]:
            gate = asyncio.Semaphore(REQUESTS_AT_ONCE)

            async def one(method: str, arguments: dict[str, object]) -> Any:
                async with gate:
                    return await self._repeats.call(method, **arguments)

            return await asyncio.gather(*(one(*call) for call in calls), return_exceptions=True)

        return cast("list[Any]", sync(self._filesystem.loop, gather)) if calls else []

    def _delete_objects(self, keys: Sequence[Mapping[str, str]], name: str = "", *, may_wait: bool) -> Answer:
        asked = partial(delete_objects, self._filesystem, self._bucket, keys, may_wait=may_wait)
        return self._done("delete", name, "delete_objects", asked)

    def _call(self, verb: str, name: str, method: str, **arguments: object) -> Answer:
        """One request, with botocore's own retries."""
        asked = partial(self._filesystem._call_s3, method, Bucket=self._bucket, **arguments)
        return self._done(verb, name, method, asked)

    def _repeat(self, verb: str, name: str, method: str, **arguments: object) -> Answer:
        """The same of one of many that differ in names: what it answers is no more than an ETag."""
        return self._done(verb, name, method, partial(self._repeats.call, method, **arguments))

    def _done(self, verb: str, name: str, method: str, asked: Callable[[], Awaitable[Answer]]) -> Answer:
        """An answer. A missing object is a FileNotFoundError, all else a StorageError.

        Besides its own errors s3fs lets through those of botocore, of asyncio, and TypeError for an unknown option.
        """
        from fsspec.asyn import sync

        try:
            return cast("Answer", sync(self._filesystem.loop, asked))
        except Exception as error:
            raise self._failed(verb, name, method, error) from error

    def _failed(self, verb: str, name: str, method: str, error: Exception) -> Exception:
        """What an error of s3fs means."""
        if isinstance(error, FileNotFoundError) and _code(error) != "NoSuchBucket" and method in OBJECT_METHODS:
            return FileNotFoundError(f"s3://{self._bucket}/{name}")
        hint = "check the endpoint, the region and the credentials"
        if isinstance(error, FileNotFoundError):
            hint = f"does the bucket {self._bucket} exist?"
        elif isinstance(error, PermissionError):
            hint = f"the credentials may not {verb} here"
        elif isinstance(error, (TypeError, AttributeError)):
            hint = "is there a --storage-option that s3fs does not know?"
        kind = ForbiddenError if _code(error) in FORBIDDEN else StorageError
        return kind(self._explained(verb, name, error), hint=hint)

    def _explained(self, verb: str, name: str, error: Exception) -> str:
        """One line of what was tried and what the server said."""
        code = _code(error)
        reason = f"{code}: {error}" if code else str(error) or type(error).__name__
        return f"cannot {verb} s3://{self._bucket}/{name}: {reason}"


def _sent(name: str, data: bytes) -> dict[str, Any]:
    digest = md5(data, usedforsecurity=False).digest()
    return {"Key": name, "Body": data, "ContentMD5": b64encode(digest).decode()}


def _response(error: BaseException | None) -> Answer:
    """What the server said: s3fs puts botocore's error behind a translation of it."""
    if not hasattr(error, "response"):
        error = getattr(error, "__cause__", None)
    return cast("Answer", getattr(error, "response", None) or {})


def _code(error: BaseException | None) -> str:
    """What the server called its refusal."""
    return str(_response(error).get("Error", {}).get("Code", ""))


def _is_busy(error: BaseException | None) -> bool:
    """Whether the store wanted fewer requests."""
    return is_busy(_response(error))


def _same_bytes(one: Answer, other: Answer) -> bool:
    """Whether two objects are the same, by the MD5 that an ETag is unless it was uploaded in parts, or with a key."""
    plain = all("-" not in head["ETag"] and not head.get("SSEKMSKeyId") for head in (one, other))
    return bool(one["ContentLength"] == other["ContentLength"] and (not plain or one["ETag"] == other["ETag"]))


def _is_marker(version: Answer) -> bool:
    """Whether an entry among an object's versions is a delete marker."""
    return "ETag" not in version


def _is_about(rule: Answer, prefix: str) -> bool:
    """Whether a rule of a lifecycle is in force for objects below a prefix. Airflow gives objects no tags."""
    asked = rule.get("Filter") or {}
    every = asked.get("And") or asked
    about = str(every.get("Prefix", rule.get("Prefix", "")))
    is_tagged = "Tag" in asked or bool(every.get("Tags"))
    return rule.get("Status") == "Enabled" and not is_tagged and (prefix.startswith(about) or about.startswith(prefix))


def _expires_after(rule: Answer) -> int | None:
    """In days; a rule of a date is about nothing that is written after it."""
    days = rule.get("Expiration", {}).get("Days")
    return int(days) if days is not None else None
