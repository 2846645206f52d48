"""ListObjectsV2: by bytes of keys, below a prefix, rolled up at a delimiter, page by page."""

from __future__ import annotations

import base64
from bisect import bisect_left
from collections.abc import Mapping
from functools import lru_cache
from urllib.parse import quote
from xml.sax.saxutils import escape

from benchmarks.s3.bucket import Bucket

XMLNS = 'xmlns="http://s3.amazonaws.com/doc/2006-03-01/"'
HEAD = '<?xml version="1.0" encoding="UTF-8"?>\n'
MOST_KEYS = 1000
AFTER_ALL = "\U0010ffff"


def listing(bucket: Bucket, name: str, query: Mapping[str, str]) -> str:
    """ListObjectsV2: what is after a key, below a prefix, up to a delimiter."""
    prefix, delimiter = query.get("prefix", ""), query.get("delimiter", "")
    most = min(int(query.get("max-keys", MOST_KEYS)), MOST_KEYS)
    token = query.get("continuation-token")
    after = _from_token(token) if token else query.get("start-after", "")
    spelled = _quoted if query.get("encoding-type") == "url" else _escaped
    keys, common, last, truncated = _page(bucket, prefix, delimiter, after, most)
    parts = [HEAD, f"<ListBucketResult {XMLNS}><Name>{name}</Name><Prefix>{spelled([prefix])[0]}</Prefix>"]
    if delimiter:
        parts.append(f"<Delimiter>{spelled([delimiter])[0]}</Delimiter>")
    if token:
        parts.append(f"<ContinuationToken>{token}</ContinuationToken>")
    elif after:
        parts.append(f"<StartAfter>{spelled([after])[0]}</StartAfter>")
    if truncated:
        parts.append(f"<NextContinuationToken>{_to_token(last)}</NextContinuationToken>")
    parts.append(f"<KeyCount>{len(keys) + len(common)}</KeyCount><MaxKeys>{most}</MaxKeys>")
    if spelled is _quoted:
        parts.append("<EncodingType>url</EncodingType>")
    parts.append(f"<IsTruncated>{'true' if truncated else 'false'}</IsTruncated>")
    objects = bucket.objects
    for key, text in zip(keys, spelled(keys), strict=True):
        parts += ("<Contents><Key>", text, objects[key].tail)
    parts += (f"<CommonPrefixes><Prefix>{text}</Prefix></CommonPrefixes>" for text in spelled(common))
    parts.append("</ListBucketResult>")
    return "".join(parts)


def _page(bucket: Bucket, prefix: str, delimiter: str, after: str, most: int) -> tuple[list[str], list[str], str, bool]:
    """The keys and the common prefixes of one page, after which to go on, and whether there is more."""
    keys = bucket.keys
    end = bisect_left(keys, prefix + AFTER_ALL)
    at = bisect_left(keys, prefix)
    if after >= prefix:
        at = bisect_left(keys, after + "\0", lo=at)
        if delimiter and after.endswith(delimiter):
            at = bisect_left(keys, after + AFTER_ALL, lo=at)
    if not delimiter:
        found = keys[at : min(at + most, end)]
        return found, [], found[-1] if found else "", at + most < end and most > 0
    return _rolled_up(keys, prefix, delimiter, at, end, most)


def _rolled_up(
    keys: list[str], prefix: str, delimiter: str, at: int, end: int, most: int
) -> tuple[list[str], list[str], str, bool]:
    found: list[str] = []
    common: list[str] = []
    last = ""
    while at < end and len(found) + len(common) < most:
        cut = keys[at].find(delimiter, len(prefix))
        if cut < 0:
            last = keys[at]
            found.append(last)
            at += 1
        else:
            last = keys[at][: cut + len(delimiter)]
            common.append(last)
            at = bisect_left(keys, last + AFTER_ALL, lo=at)
    return found, common, last, at < end and most > 0


def _escaped(keys: list[str]) -> list[str]:
    """A whole page at once: NUL is in no key that XML can carry."""
    return escape("\0".join(keys), {'"': "&quot;", "\r": "&#13;"}).split("\0") if keys else []


def _quoted(keys: list[str]) -> list[str]:
    return [_quoted_key(key) for key in keys]


def _quoted_key(key: str) -> str:
    folder, slash, leaf = key.rpartition("/")
    return _quoted_folder(folder) + slash + quote(leaf, safe="-_.*")


@lru_cache(1 << 16)
def _quoted_folder(folder: str) -> str:
    return quote(folder, safe="/-_.*")


def _to_token(key: str) -> str:
    return base64.urlsafe_b64encode(key.encode()).decode()


def _from_token(token: str) -> str:
    return base64.urlsafe_b64decode(token).decode()
