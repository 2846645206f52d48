"""A Google Cloud Storage of the tests' own: as much of the JSON API as gcsfs and xcomctl use.

It pages, counts generations, honours preconditions and keeps what is deleted, which the packaged emulator does not.
Answers and refusals have the shape that the reference of the JSON API gives them; what else goes wrong, a test
declares.
"""

from __future__ import annotations

import json
import re
import sys
import threading
from base64 import b64encode
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta, timezone
from hashlib import md5
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from typing import Any, Literal, TypeAlias
from urllib.parse import parse_qsl, unquote, urlsplit

Json: TypeAlias = dict[str, object]
Verb: TypeAlias = Literal["bucket", "list", "stat", "read", "write", "delete", "rewrite", "restore"]
Fault: TypeAlias = int | Literal["lost", "dropped", "cut", "silent"]
"""A status to answer, or half a body. Once: the deed is done, and the answer is a failure, or the connection breaks; no
answer at all."""

_ROUTE = re.compile(
    r"(?:/upload|/download)?/storage/v1/b/(?P<bucket>[^/]+)"
    r"(?P<all>/o(?:/(?P<name>[^/]+)(?:/(?P<deed>restore)|/(?P<copy>rewriteTo)/b/(?P=bucket)/o/(?P<target>[^/]+))?)?)?"
)


class Refusal(Exception):
    """A request that is answered with an error."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True, slots=True)
class Request:
    """One request: `name` is empty where it is about a bucket, `target` where nothing is copied."""

    verb: Verb
    bucket: str
    name: str
    target: str
    query: Mapping[str, str]
    content_type: str
    span: str
    body: bytes

    @property
    def generation(self) -> int | None:
        """Which generation of the object is meant, if not the live one."""
        told = self.query.get("sourceGeneration") or self.query.get("generation")
        return int(told) if told else None


@dataclass(frozen=True, slots=True)
class Answer:
    """`span` is the Content-Range of a part; of a body that is cut only half arrives. Status 0 is none at all."""

    status: int
    body: bytes = b""
    span: str = ""
    cut: bool = False


@dataclass(frozen=True, slots=True)
class Blob:
    """One generation of an object."""

    name: str
    data: bytes
    generation: int
    updated: datetime


@dataclass(slots=True)
class Shelf:
    """What a bucket holds: live objects, noncurrent versions, and what is soft-deleted, by name and generation."""

    live: dict[str, Blob] = field(default_factory=dict)
    noncurrent: dict[tuple[str, int], Blob] = field(default_factory=dict)
    soft_deleted: dict[tuple[str, int], Blob] = field(default_factory=dict)

    def find(self, name: str, generation: int | None = None) -> Blob | None:
        """The live object, or one generation of it whether live or not."""
        live = self.live.get(name)
        if generation is None or (live and live.generation == generation):
            return live
        return self.noncurrent.get((name, generation))


class GCSServer:
    """Buckets in memory, behind a port for as long as the `with` block lasts.

    `faults` says what goes wrong with a verb on a name, or on a bucket for "bucket", "list" and "write"; `calls`
    counts the requests of each verb. All buckets have the same policies: whether a delete or a write makes the object
    before it a noncurrent version, and for how long it is else soft-deleted; the rules of `lifecycle` are told and not
    carried out. A rewrite takes so many `rewrite_calls`.
    """

    def __init__(
        self, *buckets: str, page_size: int = 1000, versioning: bool = False, soft_delete: timedelta = timedelta()
    ) -> None:
        self.page_size = page_size
        self.versioning = versioning
        self.soft_delete = soft_delete
        self.lifecycle: list[Json] = []
        self.rewrite_calls = 1
        self.faults: dict[tuple[Verb, str], Fault] = {}
        self.calls: Counter[Verb] = Counter()
        self._shelves: dict[str, Shelf] = {bucket: Shelf() for bucket in buckets}
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
            self._retire(bucket, self._shelves[bucket].live.get(name))
            blob = Blob(name, data, next(self._generations), updated or datetime.now(timezone.utc))
            self._shelves[bucket].live[name] = blob

    def get(self, bucket: str, name: str) -> bytes:
        """The object's bytes; raises KeyError when it is not there."""
        return self._shelves[bucket].live[name].data

    def delete(self, bucket: str, name: str, generation: int | None = None) -> None:
        """Delete the live object, or one generation for good: that is never a noncurrent version afterwards."""
        with self._lock:
            shelf = self._shelves[bucket]
            found = shelf.find(name, generation)
            if found is None:
                raise KeyError(name)
            if shelf.live.get(name) == found:
                del shelf.live[name]
            shelf.noncurrent.pop((name, found.generation), None)
            self._retire(bucket, found, for_good=generation is not None)

    def names(self, bucket: str) -> set[str]:
        return set(self._shelves[bucket].live)

    def kept(self, bucket: str) -> dict[tuple[str, int], Blob]:
        """What can be brought back: noncurrent and soft-deleted generations. A test may take some away."""
        shelf = self._shelves[bucket]
        return shelf.noncurrent if self.versioning else shelf.soft_deleted

    def _retire(self, bucket: str, blob: Blob | None, *, for_good: bool = False) -> None:
        """What becomes of a generation that is deleted or written over."""
        if blob is None:
            return
        if self.versioning and not for_good:
            self._shelves[bucket].noncurrent[blob.name, blob.generation] = blob
        elif self.soft_delete:
            self._shelves[bucket].soft_deleted[blob.name, blob.generation] = blob

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
        if fault == "dropped":
            return Answer(0)
        return _refused(503, "Backend Error") if fault == "lost" else replace(answer, cut=fault == "cut")

    def _fault(self, request: Request) -> Fault | None:
        key = (request.verb, request.name or request.bucket)
        with self._lock:
            self.calls[request.verb] += 1
            fault = self.faults.get(key)
            if fault in ("lost", "dropped", "silent"):
                del self.faults[key]
        return fault

    def _serve(self, request: Request) -> Answer:
        bucket = request.bucket
        if bucket not in self._shelves:
            raise Refusal(404, "The specified bucket does not exist.")
        if request.verb == "bucket":
            return _json(self.resource(bucket))
        if request.verb == "list":
            return _json(self.page(bucket, request.query))
        if request.verb == "write":
            return self._write(request)
        if request.verb == "restore":
            return self._restore(request)
        blob = self._shelves[bucket].find(request.name, request.generation)
        if blob is None:
            raise Refusal(404, f"No such object: {bucket}/{request.name}")
        if request.verb == "rewrite":
            return self._rewrite(request, blob)
        self.require(request.query.get("ifGenerationMatch"), self._shelves[bucket].find(request.name))
        if request.verb == "stat":
            return _json(_metadata(bucket, blob))
        if request.verb == "read":
            return _media(blob.data, request.span)
        self.delete(bucket, blob.name, request.generation)
        return Answer(204)

    def resource(self, bucket: str) -> Json:
        """A bucket resource; one that never had versions does not speak of them."""
        kept = {"retentionDurationSeconds": str(int(self.soft_delete.total_seconds()))}
        versioning = {"versioning": {"enabled": True}} if self.versioning else {}
        lifecycle = {"lifecycle": {"rule": self.lifecycle}} if self.lifecycle else {}
        return {"kind": "storage#bucket", "name": bucket, "softDeletePolicy": kept, **versioning, **lifecycle}

    def page(self, bucket: str, query: Mapping[str, str]) -> Json:
        """One page of the names below `prefix`, in the order of their bytes, folded at a `delimiter`.

        With `versions` every generation has an entry, the oldest of a name first.
        """
        prefix, delimiter, token = (query.get(key, "") for key in ("prefix", "delimiter", "pageToken"))
        size = min(self.page_size, int(query.get("maxResults", self.page_size)))
        entries = self._entries(bucket, prefix, delimiter, versions=query.get("versions") == "true")
        rest = [place for place in sorted(entries) if place > _place(token)]
        return {
            "kind": "storage#objects",
            "items": [_metadata(bucket, blob) for place in rest[:size] if (blob := entries[place])],
            "prefixes": [place[0].decode() for place in rest[:size] if entries[place] is None],
            **({"nextPageToken": _token(*rest[size - 1])} if len(rest) > size else {}),
        }

    def _entries(
        self, bucket: str, prefix: str, delimiter: str, *, versions: bool
    ) -> dict[tuple[bytes, int], Blob | None]:
        """What a listing shows, by name and generation; a folder, which has neither bytes nor generation, is None."""
        shelf = self._shelves[bucket]
        entries: dict[tuple[bytes, int], Blob | None] = {}
        for blob in [*shelf.live.values(), *(shelf.noncurrent.values() if versions else ())]:
            if blob.name.startswith(prefix):
                folder = _folder(blob.name, prefix, delimiter)
                place = (folder.encode(), 0) if folder else (blob.name.encode(), blob.generation)
                entries[place] = None if folder else blob
        return entries

    def _write(self, request: Request) -> Answer:
        name, data = request.query.get("name", ""), request.body
        if request.query["uploadType"] == "multipart":
            name, data = _parts(request)
        return self._created(request, name, data)

    def _restore(self, request: Request) -> Answer:
        """A copy of what is soft-deleted, which stays so."""
        found = self._shelves[request.bucket].soft_deleted.get((request.name, request.generation or 0))
        if found is None:
            raise Refusal(404, f"No such object: {request.bucket}/{request.name}")
        return self._created(request, request.name, found.data)

    def _rewrite(self, request: Request, source: Blob) -> Answer:
        """One call of a copy. All but the last one give a token to go on with, here how many calls there were."""
        self.require(request.query.get("ifSourceGenerationMatch"), source)
        made = int(request.query.get("rewriteToken", 0)) + 1
        size = len(source.data)
        told: Json = {"kind": "storage#rewriteResponse", "objectSize": str(size), "done": made == self.rewrite_calls}
        if made < self.rewrite_calls:
            written = size * made // self.rewrite_calls
            return _json({**told, "totalBytesRewritten": str(written), "rewriteToken": str(made)})
        resource = json.loads(self._created(request, request.target, source.data).body)
        return _json({**told, "totalBytesRewritten": str(size), "resource": resource})

    def _created(self, request: Request, name: str, data: bytes) -> Answer:
        shelf = self._shelves[request.bucket]
        self.require(request.query.get("ifGenerationMatch"), shelf.find(name))
        self.put(request.bucket, name, data)
        return _json(_metadata(request.bucket, shelf.live[name]))

    def require(self, generation: str | None, live: Blob | None) -> None:
        """Hold a request to a precondition, where 0 means that there must be no live object."""
        if generation is not None and int(generation) != (live.generation if live else 0):
            raise Refusal(412, "At least one of the pre-conditions you specified did not hold.")


@dataclass(frozen=True, slots=True)
class Bucket:
    """One bucket of a server, to be used like the other stores of the lab."""

    server: GCSServer
    name: str

    @property
    def url(self) -> str:
        return f"gs://{self.name}"

    @property
    def options(self) -> dict[str, object]:
        """What gcsfs needs to get here."""
        return self.server.options

    def put(self, key: str, body: bytes = b"null") -> None:
        self.server.put(self.name, key, body)

    def get(self, key: str) -> bytes:
        """The object's bytes; raises KeyError when it is not there."""
        return self.server.get(self.name, key)

    def delete(self, key: str) -> None:
        self.server.delete(self.name, key)

    def keys(self, prefix: str = "") -> set[str]:
        return {name for name in self.server.names(self.name) if name.startswith(prefix)}


def _metadata(bucket: str, blob: Blob) -> Json:
    """An object resource, where integers are strings."""
    updated = blob.updated.astimezone(timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    return {
        "kind": "storage#object",
        "bucket": bucket,
        "name": blob.name,
        "size": str(len(blob.data)),
        "generation": str(blob.generation),
        "md5Hash": b64encode(md5(blob.data, usedforsecurity=False).digest()).decode(),
        "timeCreated": updated,
        "updated": updated,
    }


def _token(name: bytes, generation: int) -> str:
    return f"{generation}#{name.decode()}"


def _place(token: str) -> tuple[bytes, int]:
    """Where a page begins; a token that this server has not made is none."""
    generation, _, name = token.partition("#")
    return (name.encode(), int(generation)) if generation.isdecimal() else (b"", -1)


def _folder(name: str, prefix: str, delimiter: str) -> str:
    """The folder that a listing shows instead of a name; empty without one."""
    end = name.find(delimiter, len(prefix)) if delimiter else -1
    return name[: end + len(delimiter)] if end >= 0 else ""


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
        if not answer.status:
            self.close_connection = True
            return
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
        bucket, name, target = (parts.get(part, "") for part in ("bucket", "name", "target"))
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        kind, span = (self.headers[header] or "" for header in ("Content-Type", "Range"))
        return Request(self._verb(parts, query), bucket, name, target, query, kind, span, body)

    def _verb(self, parts: Mapping[str, str], query: Mapping[str, str]) -> Verb:
        if self.command == "DELETE":
            return "delete"
        if self.command == "POST":
            return "rewrite" if parts.get("copy") else "restore" if parts.get("deed") else "write"
        if not parts.get("name"):
            return "list" if parts.get("all") else "bucket"
        return "read" if query.get("alt") == "media" else "stat"

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: a test says what it expects."""


class _HTTPServer(ThreadingHTTPServer):
    """Takes many connections at once; its threads end with the tests."""

    request_queue_size = 128
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hangs up is no news; all else is a fault of this server."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)
