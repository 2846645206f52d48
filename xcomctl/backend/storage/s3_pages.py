"""One page of a listing of S3: what it must hold, and its XML read in a fifth of the time that botocore takes.

What this cannot read beyond doubt is left to botocore: an old one, a store that spells XML in its own way.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from contextvars import ContextVar
from datetime import timezone
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import unquote_plus

from xcomctl.backend.storage.paging import broken_off, require_below
from xcomctl.model import UNDATED, Objects, StoredObject

if TYPE_CHECKING:
    from s3fs import S3FileSystem

_PAGE = "XcomctlPage"
_EVENT = "before-parse.*.ListObjectsV2"
"""With a wildcard it comes before botocore's own handler, which parses the page to look for an error in it."""

_ASKED: ContextVar[bool] = ContextVar("asked", default=False)
"""Whether the request that is under way is of here: others may use the same client."""

_EMPTY = b'<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"></ListBucketResult>'
_ROOT = re.compile(r"\s*(<\?xml[^>]*\?>\s*)?<ListBucketResult[\s>]")
_FOLDER = re.compile(r"<CommonPrefixes>\s*<Prefix>([^<]*)</Prefix>\s*</CommonPrefixes>")
_TOKEN = re.compile(r"<NextContinuationToken>([^<&]+)</NextContinuationToken>")
_KEY, _SIZE, _TIME, _ETAG = (
    re.compile(f"<{name}>([^<]*)</{name}>") for name in ("Key", "Size", "LastModified", "ETag")
)
_TIMES = re.compile(r"(?:[12]\d{3}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{3})?Z(?:\n|$))*", re.ASCII)
_CODES = (("%3A", ":"), ("%2B", "+"), ("%2F", "/"), ("%20", " "), ("%3D", "="))
"""What Airflow's names have in them: to replace these in all names at once is ten times as fast."""

Answer = Mapping[str, Any]


class Page(NamedTuple):
    """Objects, and with a delimiter folders; `following` is the token of the next page, if there is one."""

    objects: Objects
    folders: Sequence[str]
    following: str | None


async def page(filesystem: S3FileSystem, bucket: str, **query: object) -> Page:
    """Ask for one page. A page that says that others follow, and not where they begin, is an error."""
    await filesystem.set_session()
    client = await filesystem.get_s3(bucket)
    client.meta.events.register_first(_EVENT, _read, unique_id=_PAGE)
    token = _ASKED.set(True)
    try:
        answer = await filesystem._call_s3("list_objects_v2", Bucket=bucket, **query)
    finally:
        _ASKED.reset(token)
    prefix = str(query.get("Prefix", ""))
    where = f"s3://{bucket}/{prefix}"
    if _PAGE not in answer and "IsTruncated" not in answer:
        raise broken_off(where, "an answer that is no page")
    found, is_truncated = answer.get(_PAGE) or _page_of(answer)
    if (is_truncated and not found.following) or found.following == query.get("ContinuationToken", ""):
        raise broken_off(where, "a page without a way on")
    require_below(where, prefix, found.objects.names)
    require_below(where, prefix, (folder.removesuffix("/") for folder in found.folders))
    return found


def object_of(name: str, size_bytes: int, answer: Answer) -> StoredObject:
    """An object as botocore tells it."""
    changed_at = answer.get("LastModified")
    modified_at = changed_at.astimezone(timezone.utc) if changed_at is not None else UNDATED
    return StoredObject(name, size_bytes, modified_at, answer.get("ETag"))


def _page_of(answer: Answer) -> tuple[Page, bool]:
    objects = [object_of(entry["Key"], entry["Size"], entry) for entry in answer.get("Contents", ())]
    folders = [each["Prefix"] for each in answer.get("CommonPrefixes", ())]
    is_truncated = bool(answer.get("IsTruncated"))
    return Page(
        Objects.of(objects), folders, answer.get("NextContinuationToken") if is_truncated else None
    ), is_truncated


def _read(response_dict: dict[str, Any], customized_response_dict: dict[str, Any], **_: object) -> None:
    """Take the page out of an answer, before botocore's handlers and parser read it."""
    if _ASKED.get() and response_dict["status_code"] == 200 and (read := _read_page(response_dict["body"])) is not None:
        customized_response_dict[_PAGE] = read
        response_dict["body"] = _EMPTY


def _read_page(body: bytes) -> tuple[Page, bool] | None:
    """None where a page is not surely what it seems to be."""
    try:
        text = body.decode()
        objects, folders = _objects(text), _folders(text)
    except ValueError:
        return None
    if not _ROOT.match(text) or "</ListBucketResult>" not in text or _has_declarations(text) or objects is None:
        return None
    is_truncated = "<IsTruncated>true</IsTruncated>" in text
    if not is_truncated and "<IsTruncated>false</IsTruncated>" not in text:
        return None
    token = _TOKEN.search(text)
    if folders is None or (token is None and "<NextContinuationToken>" in text):
        return None
    return Page(objects, folders, token[1] if token and is_truncated else None), is_truncated


def _objects(text: str) -> Objects | None:
    """Raises ValueError for what is no number, and for all times but UTC to the second or the millisecond."""
    import numpy as np

    names, sizes, times, etags = _KEY.findall(text), _SIZE.findall(text), _TIME.findall(text), _ETAG.findall(text)
    if not text.count("<Contents") == len(names) == len(sizes) == len(times) == len(etags):
        return None
    quoted = "<".join(etags).replace("&quot;", '"').replace("&#34;", '"')
    decoded = _decoded(names, text)
    if decoded is None or "&" in quoted:
        return None
    lines = "\n".join(times)
    if not _TIMES.fullmatch(lines) or _parts_more(lines, times):
        return None
    moments = np.array(lines.replace("Z", "").split("\n")[: len(times)], "M8[us]").astype(np.int64)
    return Objects(decoded, np.array(list(map(int, sizes)), np.int64), moments, quoted.split("<")[: len(etags)])


def _parts_more(joined: str, texts: Sequence[str]) -> bool:
    """Whether to part these joined texts at their lines would give more of them."""
    return joined.count("\n") > max(len(texts) - 1, 0)


def _folders(text: str) -> list[str] | None:
    count = text.count("<CommonPrefixes")
    folders = _FOLDER.findall(text) if count else []
    return _decoded(folders, text) if len(folders) == count else None


def _has_declarations(text: str) -> bool:
    """Or comments, or sections. To look for the rare sign first takes a tenth of the time."""
    return "!" in text and "<!" in text


def _decoded(names: list[str], text: str) -> list[str] | None:
    """As botocore decodes them. What XML itself escapes or normalises is left to a reader of XML."""
    joined = "\n".join(names)
    if "&" in joined or "\r" in joined or _parts_more(joined, names):
        return None
    if "<EncodingType>url</EncodingType>" not in text:
        return names
    joined = joined.replace("+", " ")
    for code, sign in _CODES:
        joined = joined.replace(code, sign) if "%" in joined else joined
    return [unquote_plus(name) for name in names] if "%" in joined else joined.split("\n")[: len(names)]
