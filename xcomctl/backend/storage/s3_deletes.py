"""DeleteObjects with XML that is written and read here, in a tenth of the time that botocore takes for a thousand keys.

The request stays botocore's: its endpoint, checksum, signature and retries. An answer that is not surely one, and what
an old botocore hands to nobody else, is left to its parser.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, NamedTuple
from xml.etree import ElementTree
from xml.sax.saxutils import escape

if TYPE_CHECKING:
    from s3fs import S3FileSystem

_ANSWER = "XcomctlDeleted"


class _Asked(NamedTuple):
    body: bytes
    may_wait: bool


_ASKED: ContextVar[_Asked | None] = ContextVar("asked", default=None)
"""The request that is under way here: others may use the same client."""

_XMLNS = "http://s3.amazonaws.com/doc/2006-03-01/"
_EMPTY = f'<DeleteResult xmlns="{_XMLNS}"></DeleteResult>'.encode()
_LISTS = {"Deleted": "Deleted", "Error": "Errors"}
"""botocore's names for what the store calls each entry."""

_FIELDS = frozenset({"Key", "VersionId", "DeleteMarker", "DeleteMarkerVersionId", "Code", "Message"})

BUSY = frozenset({"SlowDown", "ServiceUnavailable", "RequestLimitExceeded", "TooManyRequests", "429", "503", "509"})
"""What a store says that wants fewer requests."""

Key = Mapping[str, str]
Answer = Mapping[str, Any]


async def delete_objects(filesystem: S3FileSystem, bucket: str, keys: Sequence[Key], *, may_wait: bool) -> Answer:
    """What botocore's `delete_objects` answers. Names are such as XML can carry.

    A store that wants fewer requests is asked again by botocore, within half a minute, only if that `may_wait`: not
    where somebody may refer to the objects meanwhile. Else that is an error at once.
    """
    await filesystem.set_session()
    events = (await filesystem.get_s3(bucket)).meta.events
    events.register_first("before-call.s3.DeleteObjects", _write, unique_id=f"{_ANSWER}-written")
    events.register_first("before-parse.*.DeleteObjects", _read, unique_id=_ANSWER)
    events.register_first("needs-retry.s3.DeleteObjects", _refuse, unique_id=f"{_ANSWER}-refused")
    token = _ASKED.set(_Asked(written(keys), may_wait))
    try:
        answer = await filesystem._call_s3("delete_objects", Bucket=bucket, Delete={"Objects": keys[:1]})
    finally:
        _ASKED.reset(token)
    return {**answer, **answer.get(_ANSWER, {})}


def written(keys: Sequence[Key]) -> bytes:
    """The body of the request."""
    objects = "".join(f"<Object>{_members(key)}</Object>" for key in keys)
    return f'<Delete xmlns="{_XMLNS}">{objects}</Delete>'.encode()


def is_busy(answer: Answer) -> bool:
    """Whether the store wants fewer requests, by what it says or by its status."""
    told = answer.get("Error", {}).get("Code"), str(answer.get("ResponseMetadata", {}).get("HTTPStatusCode"))
    return not BUSY.isdisjoint(told)


def _members(key: Key) -> str:
    return "".join(f"<{name}>{escape(value)}</{name}>" for name, value in key.items())


def read(body: bytes) -> dict[str, list[dict[str, Any]]] | None:
    """What the store says of each key; None for anything but that."""
    try:
        root = ElementTree.fromstring(body)  # noqa: S314 botocore reads it so too
    except ElementTree.ParseError:
        return None
    if name_of(root) != "DeleteResult":
        return None
    told: dict[str, list[dict[str, Any]]] = {}
    for entry in root:
        if (kind := _LISTS.get(name_of(entry))) is not None:
            told.setdefault(kind, []).append(_fields(entry))
    return told


def _fields(entry: ElementTree.Element) -> dict[str, Any]:
    fields: dict[str, Any] = {name: each.text or "" for each in entry if (name := name_of(each)) in _FIELDS}
    if "DeleteMarker" in fields:
        fields["DeleteMarker"] = fields["DeleteMarker"] == "true"
    return fields


def name_of(element: ElementTree.Element) -> str:
    """Without the namespace, which not all stores write."""
    return element.tag.rpartition("}")[2]


def _write(params: dict[str, Any], **_: object) -> None:
    """Ask for all keys; botocore has written the first."""
    if (asked := _ASKED.get()) is not None:
        params["body"] = asked.body


def _read(response_dict: dict[str, Any], customized_response_dict: dict[str, Any], **_: object) -> None:
    """Take the entries out of an answer, before botocore's handlers and parser read it."""
    if _ASKED.get() is None or response_dict["status_code"] != 200:
        return
    if (told := read(response_dict["body"])) is not None:
        customized_response_dict[_ANSWER] = told
        response_dict["body"] = _EMPTY


def _refuse(response: tuple[Any, dict[str, Any]] | None, **_: object) -> None:
    """Raise botocore's error of a store that is too busy, before botocore decides to ask it again."""
    from botocore.exceptions import ClientError

    asked = _ASKED.get()
    if asked is None or asked.may_wait or response is None:
        return
    told = response[1]
    if is_busy(told):
        raise ClientError(told, "DeleteObjects")
