"""The objects of XComs, through the file systems that Airflow opens: read, write, delete, each in one request.

Airflow's own class asks three times as much of S3: whether the bucket is there, whether the name is free, how large.
"""

from __future__ import annotations

import posixpath
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from xcomctl.backend import options
from xcomctl.backend.reference import Address, Location
from xcomctl.compat import inside

FLAT = ("s3", "gs", "abfs")
"""The stores that have no folders."""

ASK_FOR_BUCKET: dict[str, Callable[[Any, str], object]] = {
    "s3": lambda filesystem, bucket: filesystem.call_s3("head_bucket", Bucket=bucket),
    "gs": lambda filesystem, bucket: filesystem.call("GET", "b/{}", bucket),
}
"""The stores whose answer to a missing object may be that to a missing bucket, and the request that tells which."""


def read(store: Address, location: Location) -> bytes:
    """The bytes of an object. Raises FileNotFoundError where there is none, and what the store's client does."""
    filesystem, path = _filesystem(store), _path(location)
    filesystem.invalidate_cache(path)  # a task may have listed the folder before the object was there
    data: bytes = filesystem.cat_file(path)
    return data


def write(store: Address, location: Location, data: bytes) -> None:
    """Write an object whole. Raises what the store's client does."""
    filesystem, path = _filesystem(store), _path(location)
    if location.scheme not in FLAT:
        filesystem.makedirs(posixpath.dirname(path), exist_ok=True)
    filesystem.pipe_file(path, data)


def remove(store: Address, location: Location) -> None:
    """Delete an object, if it is there. Raises what the store's client does."""
    with suppress(FileNotFoundError):
        _filesystem(store).rm_file(_path(location))


def lacks_bucket(store: Address, location: Location) -> bool:
    """Whether not even the bucket of an object is there. One that may not be looked at is."""
    ask = ASK_FOR_BUCKET.get(location.scheme)
    if ask is None:
        return False
    try:
        ask(_filesystem(store), location.bucket)
    except FileNotFoundError:
        return True
    except Exception:  # of any package under fsspec
        return False
    return False


def _filesystem(store: Address) -> Any:
    is_remote = store.location.scheme != "file"
    if store.conn_id is not None and is_remote and options.flag("require_connection"):
        inside.require_connection(store.conn_id)
    return inside.filesystem(store.protocol.lower(), store.conn_id)


def _path(location: Location) -> str:
    return f"{location.bucket}/{location.name}" if location.bucket else location.name
