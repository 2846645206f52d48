"""Requests that come by the thousand and differ in names: botocore makes the first, others are made after it.

Before botocore signs a request, it has spent as long on it as everything after takes, and but for a few places the same
comes out each time. So the first is kept as an example, in which a name at the end of the address and some headers are
put in place of its own. Checksum, credentials and signature are botocore's each time. Whatever is no plain success is
asked again by botocore from the beginning, which knows when to wait, where to go instead, and what to call an error.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, NamedTuple, cast
from xml.etree import ElementTree

from xcomctl.backend.storage.s3_deletes import name_of

if TYPE_CHECKING:
    from s3fs import S3FileSystem

Answer = Mapping[str, Any]
Kind = tuple[str, frozenset[tuple[str, Any]]]
"""Requests of one method that differ in nothing but a name, a body and what an `_Operation` has headers for."""

IN_VAIN = 100
"""A kind of requests that has had no success so often, with none in between, is left to botocore for good."""

_EVENT = "before-call"
"""Without the name of an operation it comes after botocore's own handlers, which may add headers."""


class _Operation(NamedTuple):
    """Which headers tell which arguments, and what is read of an answer: None if that is no plain success."""

    headers: Mapping[str, str]
    read: Callable[[Mapping[str, str], bytes], Answer | None]


class _Example(NamedTuple):
    """What botocore has made for one request; `place` is the address up to the name."""

    client: Any
    model: Any
    request: Mapping[str, Any]
    place: str


_SHOWN: ContextVar[list[tuple[Any, dict[str, Any]]] | None] = ContextVar("shown", default=None)
"""Where botocore shows the request that is under way here: others may use the same client."""


class Repeats:
    """Requests for the objects of one bucket. It belongs to the event loop of its filesystem."""

    def __init__(self, filesystem: S3FileSystem, bucket: str) -> None:
        self._filesystem = filesystem
        self._bucket = bucket
        self._examples: dict[Kind, _Example] = {}
        self._in_vain: Counter[Kind] = Counter()

    async def call(self, method: str, **arguments: Any) -> Answer:
        """What s3fs answers and raises; of a success no more than the ETag, where a request like it came before.

        Known are `copy_object`, `head_object` and `put_object`.
        """
        kind = _kind(method, arguments)
        await self._filesystem.set_session()
        client = await self._filesystem.get_s3(self._bucket)
        example = self._examples.get(kind)
        if example is not None and example.client is client:
            answer = await _repeated(example, _OPERATIONS[method], arguments)
            if answer is not None:
                self._in_vain[kind] = 0
                return answer
            self._in_vain[kind] += 1
            if self._examples.get(kind) is example:
                del self._examples[kind]
        if self._in_vain[kind] >= IN_VAIN:
            return await self._asked(method, arguments)
        return await self._learned(kind, client, arguments)

    async def _asked(self, method: str, arguments: Mapping[str, Any]) -> Answer:
        return cast("Answer", await self._filesystem._call_s3(method, Bucket=self._bucket, **arguments))

    async def _learned(self, kind: Kind, client: Any, arguments: Mapping[str, Any]) -> Answer:
        """The same, and what botocore makes of it is an example where it is understood, and a success."""
        client.meta.events.register_last(_EVENT, _show, unique_id="XcomctlShown")
        shown: list[tuple[Any, dict[str, Any]]] = []
        token = _SHOWN.set(shown)
        try:
            answer = await self._asked(kind[0], arguments)
        finally:
            _SHOWN.reset(token)
        if len(shown) == 1 and (example := _understood(client, *shown[0], _OPERATIONS[kind[0]], arguments)):
            self._examples[kind] = example
        return answer


def _show(model: Any, params: dict[str, Any], **_: object) -> None:
    if (shown := _SHOWN.get()) is not None:
        shown.append((model, _copied(params)))


def _copied(request: Mapping[str, Any]) -> dict[str, Any]:
    """As deep as botocore changes it. The body is never kept."""
    context = {name: dict(each) if isinstance(each, dict) else each for name, each in request["context"].items()}
    return {**request, "headers": dict(request["headers"].items()), "context": context, "body": b""}


def _understood(
    client: Any, model: Any, request: Mapping[str, Any], operation: _Operation, arguments: Mapping[str, Any]
) -> _Example | None:
    """None where botocore has written something else than would be written here."""
    name = _quoted_name(arguments["Key"])
    told = _headers(operation, arguments)
    is_alike = all(request["headers"].get(header) == value for header, value in told.items())
    if request["query_string"] or not request["url"].endswith(f"/{name}") or not is_alike:
        return None
    return _Example(client, model, request, request["url"].removesuffix(name))


async def _repeated(example: _Example, operation: _Operation, arguments: Mapping[str, Any]) -> Answer | None:
    """What is read of the answer; None for any but a plain success, and where there is none at all."""
    from aiobotocore.httpchecksum import apply_request_checksum

    endpoint = example.client._endpoint
    try:
        request = _copied(example.request)
        request["url"] = example.place + _quoted_name(arguments["Key"])
        request["headers"].update(_headers(operation, arguments))
        request["body"] = arguments.get("Body", b"")
        apply_request_checksum(request)
        response = await endpoint.http_session.send(await endpoint.create_request(request, example.model))
        body = await response.content
    except Exception:  # botocore is asked next, and finds the same or does better
        return None
    return operation.read(response.headers, body) if response.status_code == 200 else None


def _kind(method: str, arguments: Mapping[str, Any]) -> Kind:
    told = {"Key", "Body", *_OPERATIONS[method].headers}
    return method, frozenset((name, None if name in told else value) for name, value in arguments.items())


def _headers(operation: _Operation, arguments: Mapping[str, Any]) -> dict[str, str]:
    return {header: _spelled(arguments[name]) for name, header in operation.headers.items() if name in arguments}


def _spelled(value: Any) -> str:
    """A source as botocore's handler of CopySource spells it; all else is text."""
    from botocore.utils import percent_encode

    if isinstance(value, str):
        return value
    source = str(percent_encode(f"{value['Bucket']}/{value['Key']}", safe="-._~/"))
    return f"{source}?versionId={value['VersionId']}" if "VersionId" in value else source


def _quoted_name(name: str) -> str:
    """As botocore's serializer writes it into an address."""
    from botocore.utils import percent_encode

    return str(percent_encode(name, safe="/~"))


def _tagged(headers: Mapping[str, str], body: bytes) -> Answer | None:
    """Neither a look nor an upload is answered with a body."""
    return {"ETag": headers["ETag"]} if "ETag" in headers and not body.strip() else None


def _told(headers: Mapping[str, str], body: bytes) -> Answer | None:
    """S3 begins its answer before it has copied, and may end it with an error."""
    try:
        root = ElementTree.fromstring(body)  # noqa: S314 botocore reads it so too
    except ElementTree.ParseError:
        return None
    fields = {name_of(each): each.text for each in root}
    return {"CopyObjectResult": fields} if name_of(root) == "CopyObjectResult" and fields.get("ETag") else None


_OPERATIONS = {
    "copy_object": _Operation(
        {"CopySource": "x-amz-copy-source", "CopySourceIfMatch": "x-amz-copy-source-if-match"}, _told
    ),
    "head_object": _Operation({}, _tagged),
    "put_object": _Operation({"ContentMD5": "Content-MD5"}, _tagged),
}
