"""Google Cloud Storage, through the client under gcsfs: raw keys, paged by token, conditional deletes.

gcsfs's own methods are passed by: they cache listings, take `#` for a generation, and since 2026 first ask by
gRPC what kind of bucket it is, for a minute where nothing answers (ExtendedGcsFileSystem._get_bucket_type).
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from datetime import datetime
from email.utils import parsedate_to_datetime
from textwrap import shorten
from typing import TYPE_CHECKING, Any, BinaryIO, TypeVar, cast

from xcomctl.backend.storage.body import streamed
from xcomctl.errors import StorageError
from xcomctl.model import Deletion, StoredObject

if TYPE_CHECKING:
    from aiohttp import ClientResponse
    from gcsfs import GCSFileSystem

DELETES_AT_ONCE = 32
"""Each delete is a request of its own, so that its condition and its answer are its own."""

SILENCE = 60.0
"""The seconds that a server may keep silent before it is asked again; gcsfs by itself waits for ever."""

_OBJECTS = "b/{}/o"
_OBJECT = "b/{}/o/{}"
_FIELDS = "name,size,updated,generation"

Answer = Mapping[str, Any]
Headers = Mapping[str, str]
T = TypeVar("T")


class GCSStore:
    """One bucket. The version of an object is its generation, which no two writes share."""

    deletes = True
    condition = "unchanged generation"

    def __init__(self, bucket: str, filesystem: GCSFileSystem) -> None:
        from aiohttp import ClientTimeout

        self._bucket = bucket
        self._bucket_answered = False
        self._filesystem = filesystem
        if filesystem.requests_timeout is None:
            filesystem.requests_timeout = ClientTimeout(sock_connect=SILENCE, sock_read=SILENCE)

    def now(self, prefix: str) -> datetime:
        """The Date header of an answer to a listing of one key."""
        headers, _ = self._page(prefix, maxResults=1, fields="kind")
        return parsedate_to_datetime(headers["Date"])

    def objects(self, prefix: str) -> Iterator[StoredObject]:
        """Page through everything below `prefix`; a page that is cut short or comes twice is an error."""
        token = None
        while True:
            _, page = self._page(prefix, pageToken=token, fields=f"kind,nextPageToken,items({_FIELDS})")
            yield from map(_object, page.get("items", ()))
            following = page.get("nextPageToken")
            if not following:
                return
            if following == token:
                raise StorageError(
                    f"the listing of gs://{self._bucket}/{prefix} broke off: a page without a way on",
                    hint="the listing must be complete: nothing was changed; try again",
                )
            token = following

    def stat(self, name: str) -> StoredObject | None:
        """GET the object's metadata."""
        try:
            with self._explained("look up", name):
                _, body = self._ask("GET", *self._path(name), fields=f"kind,{_FIELDS}")
                return _object(_parsed(body, "storage#object"))
        except FileNotFoundError:
            self._require_bucket(name)
            return None

    def open(self, name: str) -> AbstractContextManager[BinaryIO]:
        """GET the object and stream its body."""
        from gcsfs.retry import retry_request

        try:
            with self._explained("read", name):
                answer = self._run(retry_request(self._download), name)
        except FileNotFoundError:
            self._require_bucket(name)
            raise FileNotFoundError(self._url(name)) from None
        return streamed(self._filesystem.loop, answer.content.read, answer.close)

    def delete(self, objects: Sequence[StoredObject]) -> Iterator[Deletion]:
        """DELETE each generation that was listed, some at a time."""
        for start in range(0, len(objects), DELETES_AT_ONCE):
            yield from self._run(self._delete_together, objects[start : start + DELETES_AT_ONCE])

    async def _delete_together(self, objects: Sequence[StoredObject]) -> Sequence[Deletion]:
        return await asyncio.gather(*map(self._delete_one, objects))

    async def _delete_one(self, listed: StoredObject) -> Deletion:
        condition = listed.version or "0"  # 0 holds for no object: what came without a generation is kept
        try:
            with self._explained("delete", listed.name):
                await self._filesystem._call("DELETE", *self._path(listed.name), ifGenerationMatch=condition)
        except FileNotFoundError:
            pass  # gone is what was wanted; gcsfs also asks again when an answer was lost
        except FileExistsError:
            return Deletion(listed, changed=True)
        except StorageError as error:
            return Deletion(listed, error=error.message)
        return Deletion(listed)

    def _page(self, prefix: str, **parameters: object) -> tuple[Headers, Answer]:
        """One page of a listing, with its headers."""
        try:
            with self._explained("list", prefix):
                headers, body = self._ask("GET", _OBJECTS, self._bucket, prefix=prefix, **parameters)
                page = _parsed(body, "storage#objects")
        except FileNotFoundError as error:
            raise StorageError(
                f"cannot list {self._url(prefix)}: there is no such bucket", hint="check the bucket's name"
            ) from error
        self._bucket_answered = True
        return headers, page

    def _require_bucket(self, name: str) -> None:
        """A missing object is an answer only where the bucket exists; gcsfs drops what tells them apart."""
        if not self._bucket_answered:
            self._page(name, maxResults=1, fields="kind")

    async def _download(self, name: str) -> ClientResponse:
        """The answer to a download, its body still to be read: gcsfs's `_call` would read the whole of it."""
        from gcsfs.retry import validate_response

        filesystem = self._filesystem
        template, *parts = self._path(name)
        url = filesystem._format_path(template, parts)
        await filesystem._set_session()
        answer: ClientResponse = await filesystem.session.get(
            url,
            params=filesystem._get_params({"alt": "media"}),
            headers=filesystem._get_headers(None),
            timeout=filesystem.requests_timeout,
        )
        if answer.status >= 400:
            validate_response(answer.status, await answer.read(), url)
        return answer

    def _path(self, name: str) -> tuple[str, str, str]:
        """Where an object lives. None is named `.` or `..`, which in a URL would mean the bucket itself."""
        if name in (".", ".."):
            raise FileNotFoundError(self._url(name))
        return _OBJECT, self._bucket, name

    def _ask(self, method: str, *path: str, **parameters: object) -> tuple[Headers, bytes]:
        """One request, with gcsfs's own retries; a parameter that is None is left out."""
        answer: tuple[Headers, bytes] = self._run(self._filesystem._call, method, *path, **parameters)
        return answer

    def _run(self, function: Callable[..., Coroutine[Any, Any, T]], *args: object, **kwargs: object) -> T:
        """What a coroutine returns, on the event loop that gcsfs runs."""
        from fsspec.asyn import sync

        return cast("T", sync(self._filesystem.loop, function, *args, **kwargs))

    @contextmanager
    def _explained(self, verb: str, name: str) -> Iterator[None]:
        """Let FileNotFoundError (404) and FileExistsError (412) pass; all else becomes a StorageError.

        gcsfs raises errors of its own and of three libraries, and KeyError for a refusal that it cannot read.
        """
        try:
            yield
        except (FileNotFoundError, FileExistsError):
            raise
        except Exception as error:
            if getattr(error, "code", None) == 412:
                raise FileExistsError(self._url(name)) from error  # as gcsfs itself does since 2024.12
            message = f"cannot {verb} {self._url(name)}: {_reason(error)}"
            if str(error).startswith("Forbidden"):
                raise StorageError(message, hint=f"the credentials may not {verb} here") from error
            raise StorageError(message, hint="check the endpoint and the credentials") from error

    def _url(self, name: str) -> str:
        return f"gs://{self._bucket}/{name}"


def _parsed(body: bytes, kind: str) -> Answer:
    """The JSON of an answer. Raises ValueError for what Google does not send, such as the page of a proxy."""
    answer = json.loads(body)
    if not isinstance(answer, dict) or answer.get("kind") != kind:
        raise ValueError(f"the answer is not a {kind}")
    return answer


def _object(entry: Answer) -> StoredObject:
    """`updated` is never before the write: metadata that is edited later can only keep an object longer."""
    whole, _, fraction = entry["updated"].removesuffix("Z").partition(".")
    updated = datetime.fromisoformat(f"{whole}.{fraction[:6]:0<6}+00:00")
    return StoredObject(entry["name"], int(entry["size"]), updated, entry.get("generation"))


def _reason(error: Exception) -> str:
    """One line of why; gcsfs puts what the server said below the address that it asked."""
    text = str(error)
    return shorten(text.partition("\n")[2] or text or type(error).__name__, 300, placeholder=" …")
