"""Fill a bucket with the objects of XComs, then listen."""

from __future__ import annotations

import argparse
import asyncio
import gc
import sys
import time
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta, timezone

from benchmarks import xcoms
from benchmarks.s3.bucket import Bucket, Content
from benchmarks.s3.serving import serve
from benchmarks.s3.verbs import S3

ROW_AGE, ORPHAN_AGE = timedelta(days=30), timedelta(days=60)


def preload(bucket: Bucket, rows: int, orphans: int | None = None) -> None:
    """The objects of so many XComs, those of rows 30 days old, orphans 60."""
    now = datetime.now(timezone.utc)
    for names, age in ((xcoms.live_names(rows), ROW_AGE), (xcoms.orphan_names(rows, orphans), ORPHAN_AGE)):
        contents = list(_bodies(now - age))
        for number, name in enumerate(names):
            bucket.objects[name] = contents[number % len(contents)]
    bucket.keys  # noqa: B018 - sorted now, and not at the first listing


def _bodies(modified: datetime) -> Iterator[Content]:
    """Some JSON texts of 1 to 2 KB."""
    return (Content(b'"%s"' % (b"x" * (1000 + 10 * number)), modified) for number in range(100))


def main(words: Iterable[str]) -> None:
    """Fill, then listen."""
    options = argparse.ArgumentParser()
    options.add_argument("port", type=int)
    options.add_argument("--bucket", default="bench")
    options.add_argument("--rows", type=int, default=0)
    options.add_argument("--orphans", type=int)
    options.add_argument("--latency-ms", type=float, default=0)
    options.add_argument("--versioned", action="store_true")
    told = options.parse_args(list(words))
    server = S3(versioned=told.versioned)
    server.buckets[told.bucket] = Bucket()
    began = time.perf_counter()
    preload(server.buckets[told.bucket], told.rows, told.orphans)
    server.remember()
    gc.collect()
    gc.freeze()
    count = len(server.buckets[told.bucket].objects)
    print(f"{count} objects in {time.perf_counter() - began:.1f} s, port {told.port}", flush=True)
    asyncio.run(serve(server, told.port, told.latency_ms / 1000))


if __name__ == "__main__":
    main(sys.argv[1:])
