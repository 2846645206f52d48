"""Requests to Google Cloud Storage: raw keys, over gcsfs's session, with its credentials and its retries.

gcsfs's own methods are passed by: they cache listings, take `#` for a generation, and since 2026 first ask by
gRPC what kind of bucket it is, for a minute where nothing answers (ExtendedGcsFileSystem._get_bucket_type).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from textwrap import shorten
from typing import TYPE_CHECKING, Any, TypeVar, cast
from urllib.parse import quote

from xcomctl.errors import ForbiddenError, StorageError

if TYPE_CHECKING:
    from aiohttp import ClientResponse
    from gcsfs import GCSFileSystem

SILENCE = 60.0
"""The seconds that a server may keep silent before it is asked again; gcsfs by itself waits for ever."""

AGAIN = (408, 429)
"""The refusals that gcsfs asks again after (gcsfs.retry.errs), beside those of 500 and above."""

T = TypeVar("T")


class MissingError(FileNotFoundError):
    """404. With `asked_again` the request was sent before and its answer lost: that one may have deleted the object."""

    def __init__(self, url: str, *, asked_again: bool = False) -> None:
        super().__init__(url)
        self.asked_again = asked_again


@dataclass(slots=True)
class Sent:
    """How often one request was really sent: besides gcsfs aiohttp repeats it too, once and without telling."""

    times: int = 0


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer, and what its JSON says."""

    headers: Mapping[str, str]
    content: Mapping[str, Any]


class Requests:
    """Requests about one bucket. 404 is a `MissingError`, 412 a FileExistsError, and all else a `StorageError`."""

    def __init__(self, bucket: str, filesystem: GCSFileSystem) -> None:
        from aiohttp import ClientTimeout, TraceConfig

        self._bucket = bucket
        self._filesystem = filesystem
        self._counting = TraceConfig()
        self._counting.on_request_headers_sent.append(_count)
        self._counting.freeze()
        if filesystem.requests_timeout is None:
            filesystem.requests_timeout = ClientTimeout(sock_connect=SILENCE, sock_read=SILENCE)

    @property
    def loop(self) -> Any:
        """The event loop that gcsfs runs, in which every coroutine here has to run."""
        return self._filesystem.loop

    def run(self, function: Callable[..., Coroutine[Any, Any, T]], *args: object, **kwargs: object) -> T:
        """What a coroutine returns."""
        from fsspec.asyn import sync

        return cast("T", sync(self.loop, function, *args, **kwargs))

    def url(self, name: str) -> str:
        """An object as people call it."""
        return f"gs://{self._bucket}/{name}"

    async def ask(
        self,
        verb: str,
        name: str,
        method: str,
        *path: str,
        kind: str | None,
        query: Mapping[str, object],
        data: bytes | None = None,
    ) -> Answer:
        """A request and its answer, JSON of this kind if any; `verb` and `name` tell people what it is about.

        `path` is where it goes below the bucket; what has `data` goes to where uploads go.
        """
        place = self._place(path, upload=data is not None)

        async def attempt(sent: Sent) -> Answer:
            async with await self._request(sent, method, place, query, data) as answer:
                return Answer(answer.headers, _parsed(await answer.read(), kind) if kind else {})

        return await self._retried(verb, name, attempt)

    async def download(self, name: str) -> ClientResponse:
        """The answer to a download, its body still to be read: gcsfs's `_call` would read the whole of it."""
        place = self._place(("o", name))
        return await self._retried("read", name, lambda sent: self._request(sent, "GET", place, {"alt": "media"}))

    def _place(self, path: Sequence[str], *, upload: bool = False) -> str:
        """A URL. No object is named `.` or `..`, which in a URL would mean the bucket itself."""
        for part in path:
            if part in (".", ".."):
                raise MissingError(self.url(part))
        below = "/".join(quote(part, safe="") for part in (self._bucket, *path))
        return f"{self._filesystem._location}{'/upload' if upload else ''}/storage/v1/b/{below}"

    async def _request(
        self, sent: Sent, method: str, place: str, query: Mapping[str, object], data: bytes | None = None
    ) -> ClientResponse:
        """One attempt. A parameter that is None is left out; a refusal raises what gcsfs makes of it."""
        from gcsfs.retry import validate_response

        filesystem = self._filesystem
        await filesystem._set_session()
        if self._counting not in filesystem.session.trace_configs:
            filesystem.session.trace_configs.append(self._counting)
        content_type = {"Content-Type": "application/json" if data is None else "application/octet-stream"}
        answer: ClientResponse = await filesystem.session.request(
            method,
            place,
            params=filesystem._get_params(query),
            headers=filesystem._get_headers(content_type if method == "POST" else None),
            data=data,
            timeout=filesystem.requests_timeout,
            trace_request_ctx=sent,
        )
        if answer.status >= 400:
            validate_response(answer.status, await answer.read(), place)
        return answer

    async def _retried(self, verb: str, name: str, attempt: Callable[[Sent], Coroutine[Any, Any, T]]) -> T:
        """What an attempt returns, made as often as gcsfs thinks right.

        gcsfs raises errors of its own and of three libraries, and KeyError for a refusal that it cannot read.
        """
        from gcsfs.retry import retry_request

        sent = Sent()
        try:
            return cast("T", await retry_request(attempt)(sent))
        except FileNotFoundError:
            raise MissingError(self.url(name), asked_again=sent.times > 1) from None
        except FileExistsError:
            raise
        except Exception as error:
            if _status(error) == 412:
                raise FileExistsError(self.url(name)) from error  # as gcsfs itself does since 2024.12
            message = f"cannot {verb} {self.url(name)}: {_reason(error)}"
            if _is_forbidden(error):
                raise ForbiddenError(message, hint=f"the credentials may not {verb} here") from error
            raise StorageError(message, hint="check the endpoint and the credentials") from error


async def _count(session: object, context: Any, parameters: object) -> None:
    """What aiohttp calls whenever it has sent a request."""
    context.trace_request_ctx.times += 1


def is_refusal(error: StorageError) -> bool:
    """Whether the server said no and did nothing; not so when it failed, or its answer was lost."""
    cause = error.__cause__
    status = _status(cause)
    return _is_forbidden(cause) or isinstance(cause, ValueError) or (400 <= status < 500 and status not in AGAIN)


def _is_forbidden(error: BaseException | None) -> bool:
    return str(error).startswith("Forbidden")


def _status(error: BaseException | None) -> int:
    """The status behind gcsfs's HttpError, 0 for other errors. It comes out of JSON, hence the care."""
    code = str(getattr(error, "code", None))
    return int(code) if code.isdecimal() else 0


def _parsed(body: bytes, kind: str) -> Mapping[str, Any]:
    """The JSON of an answer. Raises ValueError for what Google does not send, such as the page of a proxy."""
    answer = json.loads(body)
    if not isinstance(answer, dict) or answer.get("kind") != kind:
        raise ValueError(f"the answer is not a {kind}")
    return answer


def _reason(error: Exception) -> str:
    """One line of why; gcsfs puts what the server said below the address that it asked."""
    text = str(error)
    return shorten(text.partition("\n")[2] or text or type(error).__name__, 300, placeholder=" …")
