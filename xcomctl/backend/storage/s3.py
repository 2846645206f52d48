"""S3 and what speaks its language, through the client under s3fs: raw keys, paged by token, per-key results."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from xcomctl.backend.storage.body import streamed
from xcomctl.errors import StorageError
from xcomctl.model import Deletion, StoredObject

if TYPE_CHECKING:
    from s3fs import S3FileSystem

KEYS_PER_DELETE = 1000
"""The most that DeleteObjects takes (Amazon S3 API; SeaweedFS and Ceph answer 400 to one more)."""

OBJECT_METHODS = ("head_object", "get_object", "delete_object")
CHANGED = frozenset({"PreconditionFailed", "ConditionalRequestConflict", "412", "409"})

_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]|[\r\n\t]")
"""Characters that the XML body of DeleteObjects cannot carry, or that parsers normalise."""

Answer = Mapping[str, Any]


class S3Store:
    """One bucket. The version of an object is its ETag, which equal bytes share."""

    deletes = True

    def __init__(self, bucket: str, filesystem: S3FileSystem) -> None:
        self._bucket = bucket
        self._bucket_answered = False
        self._filesystem = filesystem

    @property
    def condition(self) -> str | None:
        """Per-key ETags, where the installed botocore can send them (>=1.36)."""
        return "unchanged ETag, where the store honours it" if self._sends_etags() else None

    def now(self, prefix: str) -> datetime:
        """The Date header of an answer to a listing of one key."""
        answer = self._call("list", prefix, "list_objects_v2", Prefix=prefix, MaxKeys=1)
        self._bucket_answered = True
        return parsedate_to_datetime(answer["ResponseMetadata"]["HTTPHeaders"]["date"])

    def objects(self, prefix: str) -> Iterator[StoredObject]:
        """Page through everything below `prefix`; a page that is cut short or comes twice is an error."""
        token: dict[str, str] = {}
        while True:
            page = self._call("list", prefix, "list_objects_v2", Prefix=prefix, **token)
            for entry in page.get("Contents", ()):
                yield _object(entry["Key"], entry["Size"], entry)
            if not page.get("IsTruncated"):
                return
            following = page.get("NextContinuationToken")
            if not following or following == token.get("ContinuationToken"):
                raise StorageError(
                    f"the listing of s3://{self._bucket}/{prefix} broke off: a page without a way on",
                    hint="the listing must be complete: nothing was changed; try again",
                )
            token = {"ContinuationToken": following}

    def stat(self, name: str) -> StoredObject | None:
        """HEAD the object."""
        try:
            head = self._call("look up", name, "head_object", Key=name)
        except FileNotFoundError:
            self._require_bucket(name)
            return None
        return _object(name, head["ContentLength"], head)

    def open(self, name: str) -> AbstractContextManager[BinaryIO]:
        """GET the object and stream its body."""
        try:
            answer = self._call("read", name, "get_object", Key=name)
        except FileNotFoundError:
            self._require_bucket(name)
            raise
        body = answer["Body"]
        return streamed(self._filesystem.loop, body.read, body.close)

    def delete(self, objects: Sequence[StoredObject]) -> Iterator[Deletion]:
        """DeleteObjects with each key's ETag; keys that XML cannot carry go one by one."""
        single = [listed for listed in objects if _NOT_XML.search(listed.name)]
        batched = [listed for listed in objects if not _NOT_XML.search(listed.name)]
        for start in range(0, len(batched), KEYS_PER_DELETE):
            yield from self._delete_batch(batched[start : start + KEYS_PER_DELETE])
        for listed in single:
            yield self._delete_one(listed)

    def _delete_batch(self, objects: Sequence[StoredObject]) -> Iterator[Deletion]:
        with_etag = self._sends_etags()
        keys = [{"Key": o.name, **({"ETag": o.version} if with_etag and o.version else {})} for o in objects]
        try:
            answer = self._call("delete", "", "delete_objects", Delete={"Objects": keys})
        except (StorageError, FileNotFoundError) as error:
            unknown = not isinstance(error.__cause__, PermissionError)
            yield from (Deletion(listed, error=str(error), unknown=unknown) for listed in objects)
            return
        gone = {entry["Key"] for entry in answer.get("Deleted", ())}
        failed = {entry["Key"]: entry for entry in answer.get("Errors", ())}
        for listed in objects:
            yield _outcome(listed, listed.name in gone, failed.get(listed.name))

    def _delete_one(self, listed: StoredObject) -> Deletion:
        condition = {"IfMatch": listed.version} if self._sends_etags() and listed.version else {}
        try:
            self._call("delete", listed.name, "delete_object", Key=listed.name, **condition)
        except FileNotFoundError:
            return Deletion(listed, vanished=True)
        except StorageError as error:
            changed = error.__cause__ is not None and _code(error.__cause__) in CHANGED
            return Deletion(listed, changed=True) if changed else Deletion(listed, error=error.message)
        return Deletion(listed)

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
        self._filesystem.connect()
        model = self._filesystem.s3.meta.service_model
        batch = model.shape_for("ObjectIdentifier").members
        return "ETag" in batch and "IfMatch" in model.operation_model("DeleteObject").input_shape.members

    def _call(self, verb: str, name: str, method: str, **arguments: object) -> Answer:
        """One request, with s3fs's own retries. A missing object is a FileNotFoundError, all else a StorageError.

        Besides its own errors s3fs lets through those of botocore, of asyncio, and TypeError for an unknown option.
        """
        url = f"s3://{self._bucket}/{name}"
        try:
            return cast("Answer", self._filesystem.call_s3(method, Bucket=self._bucket, **arguments))
        except Exception as error:
            code = _code(error)
            if isinstance(error, FileNotFoundError) and code != "NoSuchBucket" and method in OBJECT_METHODS:
                raise FileNotFoundError(url) from error
            hint = "check the endpoint, the region and the credentials"
            if isinstance(error, FileNotFoundError):
                hint = f"does the bucket {self._bucket} exist?"
            elif isinstance(error, PermissionError):
                hint = f"the credentials may not {verb} here"
            elif isinstance(error, (TypeError, AttributeError)):
                hint = "is there a --storage-option that s3fs does not know?"
            reason = f"{code}: {error}" if code else str(error) or type(error).__name__
            raise StorageError(f"cannot {verb} {url}: {reason}", hint=hint) from error


def _code(error: BaseException) -> str:
    """What the server called its refusal: s3fs puts botocore's error behind a translation of it."""
    response = getattr(error if hasattr(error, "response") else error.__cause__, "response", None)
    return str(response["Error"].get("Code", "")) if response else ""


def _object(name: str, size_bytes: int, answer: Answer) -> StoredObject:
    return StoredObject(name, size_bytes, answer["LastModified"].astimezone(timezone.utc), answer.get("ETag"))


def _outcome(listed: StoredObject, gone: bool, failure: Mapping[str, str] | None) -> Deletion:
    if failure is not None and failure.get("Code") in CHANGED:
        return Deletion(listed, changed=True)
    if failure is not None and failure.get("Code") == "NoSuchKey":
        return Deletion(listed, vanished=True)
    if failure is not None:
        return Deletion(listed, error=f"{failure.get('Code')}: {failure.get('Message')}")
    return Deletion(listed) if gone else Deletion(listed, error="the store did not say what became of it")
