"""A Google Cloud Storage of the tests' own: as much of the JSON API as gcsfs and xcomctl use.

It pages, counts generations and honours preconditions, which the packaged emulator does not. Answers and
refusals have the shape that the reference of the JSON API gives them; what else goes wrong, a test declares.
"""

from __future__ import annotations

import json
import re
import threading
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from typing import Literal, TypeAlias
from urllib.parse import parse_qsl, unquote, urlsplit

Json: TypeAlias = dict[str, object]
Verb: TypeAlias = Literal["list", "stat", "read", "write", "delete"]
Fault: TypeAlias = int | Literal["lost", "cut", "silent"]
"""A status to answer; the deed is done and its answer lost, once; half a body; no answer at all, once."""

_ROUTE = re.compile(r"(?:/upload|/download)?/storage/v1/b/(?P<bucket>[^/]+)(?P<all>/o(?:/(?P<name>[^/]+))?)?")


class Refusal(Exception):
    """A request that is answered with an error."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True, slots=True)
class Request:
    """One request: `name` is empty where it is about a bucket."""

    verb: Verb
    bucket: str
    name: str
    query: Mapping[str, str]
    content_type: str
    span: str
    body: bytes


@dataclass(frozen=True, slots=True)
class Answer:
    """`span` is the Content-Range of a part; of a body that is cut only half arrives."""

    status: int
    body: bytes = b""
    span: str = ""
    cut: bool = False


@dataclass(frozen=True, slots=True)
class Blob:
    """One object, as it was last written."""

    data: bytes
    generation: int
    updated: datetime


class GCSServer:
    """Buckets in memory, behind a port for as long as the `with` block lasts.

    `faults` says what goes wrong with a verb on a name, or on a bucket for "list" and "write"; `calls` counts
    the requests of each verb.
    """

    def __init__(self, *buckets: str, page_size: int = 1000) -> None:
        self.page_size = page_size
        self.faults: dict[tuple[Verb, str], Fault] = {}
        self.calls: Counter[Verb] = Counter()
        self._blobs: dict[str, dict[str, Blob]] = {bucket: {} for bucket in buckets}
        self._generations = count(1_700_000_000_000_000)
        self._lock = threading.RLock()
        self._stopping = threading.Event()
        self._http = _HTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"gcs": self}))

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self._http.server_port}"

    @property
    def options(self) -> dict[str, object]:
        """What gcsfs needs to get here, and `xcomctl --storage-option` too."""
        return {"endpoint_url": self.endpoint, "token": "anon"}

    def __enter__(self) -> GCSServer:
        threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._stopping.set()
        self._http.shutdown()
        self._http.server_close()

    def put(self, bucket: str, name: str, data: bytes = b"null", updated: datetime | None = None) -> None:
        """Write an object, last changed at `updated`, or now."""
        with self._lock:
            blob = Blob(data, next(self._generations), updated or datetime.now(timezone.utc))
            self._blobs[bucket][name] = blob

    def get(self, bucket: str, name: str) -> bytes:
        """The object's bytes; raises KeyError when it is not there."""
        return self._blobs[bucket][name].data

    def delete(self, bucket: str, name: str) -> None:
        del self._blobs[bucket][name]

    def names(self, bucket: str) -> set[str]:
        return set(self._blobs[bucket])

    def serve(self, request: Request) -> Answer:
        """The answer to a request, with the faults that were declared for it."""
        fault = self._fault(request)
        if isinstance(fault, int):
            return _refused(fault, "Declared by the test.")
        if fault == "silent":
            self._stopping.wait()
        try:
            with self._lock:
                answer = self._serve(request)
        except Refusal as refusal:
            return _refused(refusal.status, str(refusal))
        return _refused(503, "Backend Error") if fault == "lost" else replace(answer, cut=fault == "cut")

    def _fault(self, request: Request) -> Fault | None:
        key = (request.verb, request.name or request.bucket)
        with self._lock:
            self.calls[request.verb] += 1
            fault = self.faults.get(key)
            if fault in ("lost", "silent"):
                del self.faults[key]
        return fault

    def _serve(self, request: Request) -> Answer:
        bucket, name = request.bucket, request.name
        if bucket not in self._blobs:
            raise Refusal(404, "The specified bucket does not exist.")
        if request.verb == "list":
            return _json(self.page(bucket, request.query))
        if request.verb == "write":
            return self._write(request)
        if not name:
            return _json({"kind": "storage#bucket", "name": bucket})
        if name not in self._blobs[bucket]:
            raise Refusal(404, f"No such object: {bucket}/{name}")
        if request.verb == "stat":
            return _json(self._metadata(bucket, name))
        if request.verb == "read":
            return _media(self.get(bucket, name), request.span)
        self._require(bucket, name, request.query)
        self.delete(bucket, name)
        return Answer(204)

    def page(self, bucket: str, query: Mapping[str, str]) -> Json:
        """One page of the names below `prefix`, in the order of their bytes, folded at a `delimiter`."""
        prefix, delimiter, after = (query.get(key, "") for key in ("prefix", "delimiter", "pageToken"))
        size = min(self.page_size, int(query.get("maxResults", self.page_size)))
        below = (name for name in self._blobs[bucket] if name.startswith(prefix))
        shown = {_folded(name, prefix, delimiter) for name in below}
        rest = sorted((name for name in shown if name.encode() > after.encode()), key=str.encode)
        folders = [name for name in rest[:size] if delimiter and delimiter in name[len(prefix) :]]
        return {
            "kind": "storage#objects",
            "items": [self._metadata(bucket, name) for name in rest[:size] if name not in folders],
            "prefixes": folders,
            **({"nextPageToken": rest[size - 1]} if len(rest) > size else {}),
        }

    def _write(self, request: Request) -> Answer:
        name, data = request.query.get("name", ""), request.body
        if request.query["uploadType"] == "multipart":
            name, data = _parts(request)
        self._require(request.bucket, name, request.query)
        self.put(request.bucket, name, data)
        return _json(self._metadata(request.bucket, name))

    def _require(self, bucket: str, name: str, query: Mapping[str, str]) -> None:
        """Hold a request to its ifGenerationMatch, where 0 means that there must be no object."""
        blob = self._blobs[bucket].get(name)
        if int(query.get("ifGenerationMatch", -1)) not in (-1, blob.generation if blob else 0):
            raise Refusal(412, "At least one of the pre-conditions you specified did not hold.")

    def _metadata(self, bucket: str, name: str) -> Json:
        """An object resource, where integers are strings."""
        blob = self._blobs[bucket][name]
        updated = blob.updated.astimezone(timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        return {
            "kind": "storage#object",
            "bucket": bucket,
            "name": name,
            "size": str(len(blob.data)),
            "generation": str(blob.generation),
            "timeCreated": updated,
            "updated": updated,
        }


def _folded(name: str, prefix: str, delimiter: str) -> str:
    end = name.find(delimiter, len(prefix)) if delimiter else -1
    return name if end < 0 else name[: end + len(delimiter)]


def _json(value: Json, status: int = 200) -> Answer:
    return Answer(status, json.dumps(value).encode())


def _refused(status: int, message: str) -> Answer:
    return _json({"error": {"code": status, "message": message}}, status)


def _media(data: bytes, span: str) -> Answer:
    """The bytes, or those of `Range: bytes=first-last`."""
    if not span:
        return Answer(200, data)
    first, _, last = span.removeprefix("bytes=").partition("-")
    start, stop = int(first), min(int(last) + 1 if last else len(data), len(data))
    if start >= len(data):
        raise Refusal(416, "Requested range not satisfiable")
    return Answer(206, data[start:stop], f"bytes {start}-{stop - 1}/{len(data)}")


def _parts(request: Request) -> tuple[str, bytes]:
    """The name and the data of a multipart upload, whose two parts gcsfs ends in bare line feeds."""
    boundary = b"--" + request.content_type.partition("boundary=")[2].strip('"').encode()
    _, metadata, media = request.body.removesuffix(boundary + b"--").removesuffix(b"\n").split(boundary, 2)
    name = json.loads(metadata.partition(b"\n\n")[2])["name"]
    return str(name), media.partition(b"\n\n")[2]


class _Handler(BaseHTTPRequestHandler):
    """HTTP around a server: `/storage/v1/b/<bucket>/o/<name>`, the name as one percent-encoded segment."""

    gcs: GCSServer
    protocol_version = "HTTP/1.1"
    wbufsize = 1 << 16

    def do_GET(self) -> None:
        answer = self.gcs.serve(self._request())
        self.send_response(answer.status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(answer.body)))
        if answer.span:
            self.send_header("Content-Range", answer.span)
        self.end_headers()
        self.wfile.write(answer.body[: len(answer.body) // 2] if answer.cut else answer.body)
        self.close_connection = self.close_connection or answer.cut

    do_POST = do_DELETE = do_GET

    def _request(self) -> Request:
        url = urlsplit(self.path)
        query = dict(parse_qsl(url.query, keep_blank_values=True))
        found = _ROUTE.fullmatch(url.path)
        parts = {part: unquote(text or "") for part, text in found.groupdict().items()} if found else {}
        bucket, name = parts.get("bucket", ""), parts.get("name", "")
        verb = self._verb(bool(parts.get("all")) and not name, query.get("alt") == "media")
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        kind, span = (self.headers[header] or "" for header in ("Content-Type", "Range"))
        return Request(verb, bucket, name, query, kind, span, body)

    def _verb(self, many: bool, media: bool) -> Verb:
        if self.command != "GET":
            return "delete" if self.command == "DELETE" else "write"
        return "list" if many else "read" if media else "stat"

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: a test says what it expects."""


class _HTTPServer(ThreadingHTTPServer):
    """Takes many connections at once; its threads end with the tests."""

    request_queue_size = 128
    daemon_threads = True
