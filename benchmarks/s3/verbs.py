"""What S3 does when it is asked, on buckets in memory; nothing of it knows of sockets."""

from __future__ import annotations

import base64
import zlib
from collections.abc import Mapping
from datetime import datetime, timezone
from email.utils import format_datetime
from hashlib import md5
from typing import NamedTuple
from urllib.parse import unquote
from xml.etree import ElementTree
from xml.sax.saxutils import escape

from benchmarks.s3.bucket import Bucket, Content
from benchmarks.s3.listing import HEAD, MOST_KEYS, XMLNS, listing

RESET = "__reset__"
COUNT = "__count__"
"""Buckets of no name that S3 allows: what is asked of these is asked of the stub itself."""
_UNCONFIGURED = {
    "versioning": (200, f"{HEAD}<VersioningConfiguration {XMLNS}/>"),
    "location": (200, f"{HEAD}<LocationConstraint {XMLNS}/>"),
    "lifecycle": (404, "NoSuchLifecycleConfiguration"),
    "policy": (404, "NoSuchBucketPolicy"),
    "tagging": (404, "NoSuchTagSet"),
    "object-lock": (404, "ObjectLockConfigurationNotFoundError"),
}


class Request(NamedTuple):
    """One request; header names are in lower case."""

    method: str
    bucket: str
    key: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes


class Reply(NamedTuple):
    """One answer."""

    status: int
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()


class RefusedError(Exception):
    """An error as S3 spells it."""

    def __init__(self, status: int, code: str) -> None:
        self.status, self.code = status, code

    def reply(self) -> Reply:
        """With a body, as every request but HEAD gets it."""
        text = f"{HEAD}<Error><Code>{self.code}</Code><Message>{self.code}</Message><RequestId>0</RequestId></Error>"
        return _xml(text, self.status)


class S3:
    """The verbs, on buckets in memory."""

    def __init__(self, *, versioned: bool = False) -> None:
        self.buckets: dict[str, Bucket] = {}
        self.versioned = versioned
        self._at_first: dict[str, dict[str, Content]] = {}

    def remember(self) -> None:
        """What there is now comes back with a reset."""
        self._at_first = {name: dict(bucket.objects) for name, bucket in self.buckets.items()}

    def _reset(self) -> Reply:
        self.buckets = {name: Bucket() for name in self._at_first}
        for name, objects in self._at_first.items():
            self.buckets[name].objects = dict(objects)
        return Reply(200)

    def _counted(self, query: Mapping[str, str]) -> Reply:
        """How many keys begin with one text and do not contain another."""
        keys = (key for bucket in self.buckets.values() for key in bucket.objects)
        return Reply(200, b"%d" % sum(key.startswith(query["prefix"]) and query["without"] not in key for key in keys))

    def answer(self, request: Request) -> Reply:
        """Do what a request asks for."""
        try:
            if request.bucket == RESET:
                return self._reset()
            if request.bucket == COUNT:
                return self._counted(request.query)
            if not request.bucket:
                return _xml(f"{HEAD}<ListAllMyBucketsResult {XMLNS}><Buckets/></ListAllMyBucketsResult>")
            if not request.key:
                return self._of_bucket(request)
            return self._of_object(request, self._bucket(request.bucket))
        except RefusedError as refused:
            return refused.reply()

    def _bucket(self, name: str) -> Bucket:
        if name not in self.buckets:
            raise RefusedError(404, "NoSuchBucket")
        return self.buckets[name]

    def _of_bucket(self, request: Request) -> Reply:
        if request.method == "PUT" and not request.query:
            self.buckets.setdefault(request.bucket, Bucket())
            return Reply(200, headers=(("Location", f"/{request.bucket}"),))
        bucket = self._bucket(request.bucket)
        if request.method == "HEAD":
            return Reply(200, headers=(("x-amz-bucket-region", "us-east-1"),))
        if request.method == "POST" and "delete" in request.query:
            return _deleted(bucket, request, versioned=self.versioned)
        if "versioning" in request.query and self.versioned:
            return _xml(f"{HEAD}<VersioningConfiguration {XMLNS}><Status>Enabled</Status></VersioningConfiguration>")
        for what, (status, told) in _UNCONFIGURED.items():
            if what in request.query:
                return _xml(told) if status == 200 else RefusedError(status, told).reply()
        if request.method == "GET":
            return _xml(listing(bucket, request.bucket, request.query))
        raise RefusedError(501, "NotImplemented")

    def _of_object(self, request: Request, bucket: Bucket) -> Reply:
        found = bucket.objects.get(request.key)
        if request.method == "PUT":
            return self._put(request, bucket, found)
        if request.method == "DELETE":
            if found is not None and not _matches(request.headers.get("if-match"), found.etag):
                raise RefusedError(412, "PreconditionFailed")
            bucket.delete(request.key)
            return Reply(204)
        if found is None:
            raise RefusedError(404, "NoSuchKey")
        if request.method not in ("GET", "HEAD"):
            raise RefusedError(501, "NotImplemented")
        return _body(request, found)

    def _put(self, request: Request, bucket: Bucket, found: Content | None) -> Reply:
        if "uploadId" in request.query:
            raise RefusedError(501, "NotImplemented")
        if request.headers.get("if-none-match") == "*" and found is not None:
            raise RefusedError(412, "PreconditionFailed")
        wanted = request.headers.get("if-match")
        if wanted is not None and found is None:
            raise RefusedError(404, "NoSuchKey")
        if found is not None and not _matches(wanted, found.etag):
            raise RefusedError(412, "PreconditionFailed")
        now = datetime.now(timezone.utc)
        source = request.headers.get("x-amz-copy-source")
        if source is None:
            body = _unchunked(request)
            sent = request.headers.get("content-md5")
            if sent and base64.b64decode(sent) != md5(body, usedforsecurity=False).digest():
                raise RefusedError(400, "BadDigest")
            written = Content(body, now)
            bucket.put(request.key, written)
            return Reply(200, headers=(("ETag", written.etag), *_crc32(request, body)))
        there, _, name = unquote(source).lstrip("/").partition("/")
        original = self._bucket(there).objects.get(name.partition("?versionId=")[0])
        if original is None:
            raise RefusedError(404, "NoSuchKey")
        if not _matches(request.headers.get("x-amz-copy-source-if-match"), original.etag):
            raise RefusedError(412, "PreconditionFailed")
        written = Content(original.body, now)
        bucket.put(request.key, written)
        stamp = now.strftime("%Y-%m-%dT%H:%M:%S.000Z")
        told = f"<LastModified>{stamp}</LastModified><ETag>{escape(written.etag, {chr(34): '&quot;'})}</ETag>"
        return _xml(f"{HEAD}<CopyObjectResult {XMLNS}>{told}</CopyObjectResult>")


def _deleted(bucket: Bucket, request: Request, *, versioned: bool) -> Reply:
    """DeleteObjects, each on its own condition."""
    asked = ElementTree.fromstring(request.body)
    names = [(_child(each, "Key") or "", _child(each, "ETag")) for each in asked if each.tag.endswith("Object")]
    if len(names) > MOST_KEYS:
        raise RefusedError(400, "MalformedXML")
    quiet = _child(asked, "Quiet") == "true"
    marker = "<DeleteMarker>true</DeleteMarker><DeleteMarkerVersionId>1</DeleteMarkerVersionId>" if versioned else ""
    told = []
    for key, etag in names:
        found = bucket.objects.get(key)
        shown = f"<Key>{escape(key)}</Key>"
        if etag is not None and found is None:
            told.append(f"<Error>{shown}<Code>NoSuchKey</Code><Message>NoSuchKey</Message></Error>")
        elif found is not None and not _matches(etag, found.etag):
            told.append(f"<Error>{shown}<Code>PreconditionFailed</Code><Message>changed</Message></Error>")
        else:
            bucket.delete(key)
            told += [] if quiet else [f"<Deleted>{shown}{marker}</Deleted>"]
    return _xml(f"{HEAD}<DeleteResult {XMLNS}>{''.join(told)}</DeleteResult>")


def _child(element: ElementTree.Element, name: str) -> str | None:
    return next((each.text or "" for each in element if each.tag.rpartition("}")[2] == name), None)


def _body(request: Request, found: Content) -> Reply:
    """GET and HEAD, in part where a range asks for it."""
    if not _matches(request.headers.get("if-match"), found.etag):
        raise RefusedError(412, "PreconditionFailed")
    if request.headers.get("if-none-match") in ("*", found.etag):
        return Reply(304, headers=(("ETag", found.etag),))
    whole, size = found.body, len(found.body)
    headers = (
        ("ETag", found.etag),
        ("Last-Modified", format_datetime(found.modified.replace(microsecond=0), usegmt=True)),
        ("Accept-Ranges", "bytes"),
        ("Content-Type", "binary/octet-stream"),
    )
    asked = request.headers.get("range", "")
    if not asked.startswith("bytes="):
        return Reply(200, whole, headers)
    first, _, last = asked.removeprefix("bytes=").partition("-")
    start = int(first) if first else max(size - int(last), 0)
    stop = min(int(last) + 1, size) if first and last else size
    if start >= size:
        raise RefusedError(416, "InvalidRange")
    return Reply(206, whole[start:stop], (*headers, ("Content-Range", f"bytes {start}-{stop - 1}/{size}")))


def _matches(wanted: str | None, etag: str) -> bool:
    return wanted is None or wanted == "*" or wanted.strip('"') == etag.strip('"')


def _unchunked(request: Request) -> bytes:
    """The body without the chunks in which signed streams come."""
    if "aws-chunked" not in request.headers.get("content-encoding", ""):
        return request.body
    rest = request.body
    parts: list[bytes] = []
    while True:
        size, _, rest = rest.partition(b"\r\n")
        length = int(size.partition(b";")[0] or b"0", 16)
        if not length:
            return b"".join(parts)
        parts.append(rest[:length])
        rest = rest[length + 2 :]


def _crc32(request: Request, body: bytes) -> tuple[tuple[str, str], ...]:
    """The checksum that botocore asks to have back."""
    if "x-amz-sdk-checksum-algorithm" not in request.headers and "x-amz-checksum-crc32" not in request.headers:
        return ()
    return (("x-amz-checksum-crc32", base64.b64encode(zlib.crc32(body).to_bytes(4, "big")).decode()),)


def _xml(text: str, status: int = 200) -> Reply:
    return Reply(status, text.encode(), (("Content-Type", "application/xml"),))
