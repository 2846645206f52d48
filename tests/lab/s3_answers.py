"""Faults that only S3 has: batches deleted in part, and listings that are not true.

They edit XML as text, so that all that is not meant stays byte for byte what the store said.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from html import unescape
from urllib.parse import unquote_plus
from xml.sax.saxutils import escape

from tests.lab.proxy import FaultProxy, Reply, Request, Rewrite, without
from tests.lab.s3 import Bucket

_OBJECT = re.compile(rb"<Object>.*?</Object>", re.DOTALL)
_CONTENTS = re.compile(rb"<Contents>.*?</Contents>", re.DOTALL)
_KEY = re.compile(rb"<Key>(.*?)</Key>", re.DOTALL)
_KEY_COUNT = re.compile(rb"(?<=<KeyCount>)\d+(?=</KeyCount>)")
_TOKEN = re.compile(rb"<ContinuationToken>(.*?)</ContinuationToken>")
_NEXT_TOKEN = re.compile(rb"<NextContinuationToken>.*?</NextContinuationToken>")
_TRUNCATED = re.compile(rb"<IsTruncated>\w+</IsTruncated>")


def before(bucket: Bucket) -> FaultProxy:
    """A proxy in front of the bucket's server."""
    return FaultProxy(int(bucket.server.endpoint.rpartition(":")[2]))


def through(proxy: FaultProxy, bucket: Bucket) -> Bucket:
    """The bucket as one sees it through the proxy."""
    server = replace(bucket.server, endpoint=proxy.endpoint)
    return Bucket(server, bucket.name, server.client())


@dataclass(frozen=True, slots=True)
class Refuse:
    """A DeleteObjects leaves the keys alone in which the pattern is found, and says so for each of them.

    The store is asked to delete the others only, with the signature of the whole request: it has to be one that
    believes any signature, as ministack does.
    """

    keys: str
    code: str = "AccessDenied"
    message: str = "injected"

    def __call__(self, request: Request, proxy: FaultProxy) -> Reply:
        rest, refused = _parted(_OBJECT, request.body, lambda each: re.search(self.keys, _key(each)) is None)
        if not refused:
            return proxy.forward(request)
        reply = proxy.forward(_with_body(request, rest))
        proxy.happened(self)
        return replace(reply, body=_extended(reply.body, b"".join(map(self._error, refused))))

    def _error(self, refused: bytes) -> bytes:
        """What S3 says of one object, its key spelled as the client spelled it."""
        why = f"<Code>{escape(self.code)}</Code><Message>{escape(self.message)}</Message>"
        return b"<Error><Key>%s</Key>%s</Error>" % (_KEY.findall(refused)[0], why.encode())


def truncated_page() -> Rewrite:
    """A listing has more pages, and does not say where they begin."""

    def edit(reply: Reply) -> Reply:
        body = _TRUNCATED.sub(b"<IsTruncated>true</IsTruncated>", reply.body)
        return replace(reply, body=_NEXT_TOKEN.sub(b"", body))

    return Rewrite(edit)


def repeated_page() -> Rewrite:
    """A page of a listing names itself as the next one; the first page, which has no token, is left alone."""

    def edit(reply: Reply) -> Reply:
        token = _TOKEN.search(reply.body)
        if not token:
            return reply
        again = b"<IsTruncated>true</IsTruncated><NextContinuationToken>%s</NextContinuationToken>" % token[1]
        return replace(reply, body=_TRUNCATED.sub(lambda _: again, _NEXT_TOKEN.sub(b"", reply.body)))

    return Rewrite(edit)


def missing_keys(keys: str) -> Rewrite:
    """A listing leaves out the keys in which the pattern is found, and nothing else in it tells."""

    def edit(reply: Reply) -> Reply:
        url = b"<EncodingType>url</EncodingType>" in reply.body
        body, missing = _parted(_CONTENTS, reply.body, lambda each: re.search(keys, _key(each, url)) is None)
        return replace(reply, body=_KEY_COUNT.sub(lambda found: b"%d" % (int(found[0]) - len(missing)), body))

    return Rewrite(edit)


def substituted(pattern: bytes, by: bytes) -> Rewrite:
    """The body of an answer after `re.sub`: without its LastModified, or the quotes of an ETag."""
    return Rewrite(lambda reply: replace(reply, body=re.sub(pattern, by, reply.body)))


def stripped(*headers: str) -> Rewrite:
    """An answer lacks these headers, named in lower case."""
    return Rewrite(lambda reply: replace(reply, headers=without(reply.headers, *headers)))


def _parted(element: re.Pattern[bytes], text: bytes, stays: Callable[[bytes], bool]) -> tuple[bytes, list[bytes]]:
    """The text with those of its elements that stay, and the others."""
    others = [each for each in element.findall(text) if not stays(each)]
    return element.sub(lambda found: found[0] if stays(found[0]) else b"", text), others


def _key(element: bytes, url: bool = False) -> str:
    """The key of an <Object> or <Contents>, which in a listing may be encoded like a part of an URL."""
    key = unescape(_KEY.findall(element)[0].decode())
    return unquote_plus(key) if url else key


def _with_body(request: Request, body: bytes) -> Request:
    """The request with another body, of which its headers tell the truth."""
    names = {name.lower() for name, _ in request.headers}
    checksums = {name for name in names if name.startswith(("x-amz-checksum-", "x-amz-sdk-checksum-"))}
    kept = without(request.headers, "content-length", "content-md5", "x-amz-content-sha256", *checksums)
    fresh = (
        ("Content-Length", str(len(body))),
        ("Content-MD5", base64.b64encode(hashlib.md5(body).digest()).decode()),
        ("X-Amz-Content-SHA256", hashlib.sha256(body).hexdigest()),
    )
    return replace(request, headers=kept + fresh, body=body)


def _extended(result: bytes, errors: bytes) -> bytes:
    """A DeleteResult with more in it; one without anything in it may be a single tag."""
    opened = re.sub(rb"\s*/>\s*\Z", b"></DeleteResult>", result)
    return opened.replace(b"</DeleteResult>", errors + b"</DeleteResult>")
