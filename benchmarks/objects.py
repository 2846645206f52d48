"""Writes objects to a server: those of so many XComs, or a single large one.

`python -m benchmarks.objects all ENDPOINT ROWS`, `… large ENDPOINT BYTES SQLITE_URL`.
"""

from __future__ import annotations

import json
import random
import sqlite3
import sys
import time
import zlib
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from benchmarks import xcoms
from benchmarks.floors import PUTS_AT_ONCE, store

_LEVEL = 1
_TOLD_SECONDS = 1.0
"""Servers tell times to the second."""


def put_all(endpoint: str, rows: int) -> None:
    """Small bodies, in threads. gc refuses where the newest objects are of unknown runs, so orphans come first."""
    import obstore

    _make_bucket(endpoint)
    bucket = store(endpoint)
    with ThreadPoolExecutor(PUTS_AT_ONCE) as threads:
        for names in (xcoms.orphan_names(rows), xcoms.live_names(rows)):
            for _ in threads.map(lambda name: obstore.put(bucket, name, b'"%s"' % (b"x" * 1000)), names):
                pass
            time.sleep(_TOLD_SECONDS)


def put_large(endpoint: str, size: int, url: str) -> None:
    """A JSON list of records that compresses to about so many bytes, and the first row of SQLite refers to it."""
    import obstore

    name = f"{xcoms.place(0).folder}/{xcoms.leaf(0)}.gz"
    obstore.put(store(endpoint), f"{xcoms.PREFIX}/{name}", _compressed(size), use_multipart=False)
    with sqlite3.connect(url.removeprefix("sqlite:///")) as file:
        names = tuple(xcoms.place(0))
        where = "dag_run_id = ? AND dag_id = ? AND run_id = ? AND task_id = ? AND key = ?"
        file.execute(f"UPDATE xcom SET value = ? WHERE {where}", (json.dumps(f"{xcoms.BASE}/{name}"), *names))


def _compressed(size: int) -> bytes:
    """One member, as Airflow writes it: many cost Python's gzip module the square of their number."""
    packer = zlib.compressobj(_LEVEL, wbits=zlib.MAX_WBITS | 16)
    parts = [packer.compress(b"[")]
    done = 0
    for records in _records():
        parts.append(packer.compress(records))
        done += len(parts[-1])
        if done >= size:
            break
    return b"".join((*parts, packer.compress(b"null]"), packer.flush()))


def _records() -> Iterator[bytes]:
    """A thousand at a time."""
    told: Any = random.Random(7)
    while True:
        records = [{"id": told.getrandbits(40), "name": f"{told.getrandbits(64):x}", "ok": True} for _ in range(1000)]
        yield "".join(json.dumps(record) + "," for record in records).encode()


def _make_bucket(endpoint: str) -> None:
    from tests.lab.s3 import S3Server

    S3Server(endpoint).client().create_bucket(Bucket=xcoms.BUCKET)


def main(words: Iterable[str]) -> None:
    """Write what is asked for."""
    what, endpoint, count, *rest = words
    if what == "all":
        put_all(endpoint, int(count))
    else:
        put_large(endpoint, int(count), rest[0])


if __name__ == "__main__":
    main(sys.argv[1:])
