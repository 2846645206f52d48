"""`migrate`, which moves bytes, and `get`, which reads many."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial

from benchmarks import xcoms
from benchmarks.commands import floor, place, script, told, xcomctl
from benchmarks.databases import refill
from benchmarks.lab import Lab, counted, reset
from benchmarks.measuring import Contender
from benchmarks.row import FLOOR, OURS, SCRIPT, Row

_ROWS, _PART = 20_000, 500
_OBJECT_BYTES = 100_000_000


def migrate(lab: Lab) -> Iterator[Row]:
    """20,000 rows of 10 KB to 1 MB."""
    count = lab.sized(_ROWS)
    part = min(_PART, count)
    url, endpoint = lab.postgres(count, "movable"), lab.s3(0)

    def again() -> None:
        reset(endpoint)
        refill(url)

    def moved(shown: bytes) -> dict[str, int]:
        return {"moved": json.loads(shown)["migrated"], "objects": counted(endpoint)}

    def put(shown: bytes) -> dict[str, int]:
        return {"moved": told(shown)["moved"], "objects": counted(endpoint)}

    def whole(shown: bytes) -> dict[str, int]:
        return {name: found * count // part for name, found in put(shown).items()}

    alike = {"environment": lab.airflow(), "before": again}
    words = ("--threshold", "9kB", "--jobs", "32", "--allow", "backend", "--yes", "-o", "json")
    contenders = {
        OURS: xcomctl("migrate", *place(url, endpoint), *words, answer=moved, before=again),
        FLOOR: floor("put_movable", endpoint, count, answer=put, before=partial(reset, endpoint)),
        SCRIPT: script("moved", endpoint, url, part, answer=whole, scale=count / part, **alike),
    }
    yield Row(
        "migrate",
        "`xcomctl migrate --threshold 9kB --allow backend`",
        f"{count:,} rows of 10 KB to 1 MB in PostgreSQL, 93 KB on average, to the stub of S3",
        "the same bodies, made in memory, by obstore.put in 32 threads; no row is read or changed",
        contenders,
        f"a loop over Airflow's XComModel and ObjectStoragePath; extrapolated from {part:,} rows",
        {"moved": count, "objects": count},
        repeat=2,
        is_warm=False,
    )


def get(lab: Lab) -> Iterator[Row]:
    """One large object."""
    size = max(int(_OBJECT_BYTES * lab.scale), 100_000)
    url, endpoint = lab.large_object(size)
    where = xcoms.place(0)
    named = (where.dag_id, where.run_id, where.task_id)
    ours = xcomctl("get", *named, *place(url, endpoint), "-o", "json", counts=b'"id"', answer=int)
    raw = floor("get_json", endpoint, f"{xcoms.PREFIX}/{where.folder}/{xcoms.leaf(0)}.gz")
    yield Row(
        "get",
        "`xcomctl get -o json`",
        f"one object of {size / 1e6:,.1f} MB gzip on the stub of S3, its row in SQLite",
        "one GET by obstore, one gunzip, one json.loads",
        {OURS: ours, FLOOR: Contender(raw.command, lambda shown: int(told(shown)["records"]))},
    )
