"""gc: its plan on a server that costs next to nothing, far away and real; and its sweep."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial
from typing import Any

from benchmarks import xcoms
from benchmarks.commands import floor, place, script, told, xcomctl
from benchmarks.lab import Lab, counted, reset
from benchmarks.row import FLOOR, OURS, SCRIPT, Row

_ROWS, _FAR_ROWS, _REAL_ROWS = 1_000_000, 200_000, 100_000
_SWEPT, _SWEPT_ROWS = 100_000, 10_000
_LISTED = "a listing by obstore, one shard a DAG, eight at once, as arrow that is dropped"
_FLOOR_IS = f"{_LISTED}; then a COPY of the values that are references"
_SCRIPT_IS = "s3fs `find`, Airflow's XComModel page by page, the difference of two sets"
_WRITTEN_NOW = ("--older-than", "1s", "--unsafe-windows")
_ALL_AT_ONCE = ("--single-pass", "--older-than", "7d", "--max-delete", "100%", "--yes")


def plan(lab: Lab) -> Iterator[Row]:
    """A dry run over a million objects."""
    count = lab.sized(_ROWS)
    yield _planned(lab, "gc plan", count, lab.s3(count), "the stub of S3", repeat=3)


def far(lab: Lab) -> Iterator[Row]:
    """A dry run where each request takes its time."""
    count = lab.sized(_FAR_ROWS)
    for latency in (20, 80):
        endpoint = lab.s3(count, "--latency-ms", str(latency))
        yield _planned(lab, f"gc plan {latency} ms", count, endpoint, f"the stub of S3, {latency} ms away", repeat=2)


def real(lab: Lab) -> Iterator[Row]:
    """A dry run on SeaweedFS, as it is and behind a proxy that delays each request."""
    count = lab.sized(_REAL_ROWS)
    yield _planned(lab, "gc plan seaweedfs", count, lab.seaweedfs(count), "SeaweedFS", *_WRITTEN_NOW, repeat=3)
    near = lab.delayed(lab.seaweedfs(count), 0.02)
    yield _planned(
        lab, "gc plan seaweedfs 20 ms", count, near, "SeaweedFS, 20 ms away by a proxy", *_WRITTEN_NOW, repeat=1
    )


def sweep(lab: Lab) -> Iterator[Row]:
    """A single pass that deletes nearly all there is: for good where the bucket keeps versions, else after a copy."""
    rows, count = lab.sized(_SWEPT_ROWS), lab.sized(_SWEPT)
    url = lab.postgres(rows, "small")
    for name, more, deleting, floor_is in (
        ("versions", ("--versioned",), "delete_orphans", "DeleteObjects of 1,000 keys by obstore, as many as it sends"),
        ("trash", (), "move_orphans", "a CopyObject of each by obstore in 32 threads, then DeleteObjects"),
    ):
        endpoint = lab.s3(rows, "--orphans", str(count), *more)
        how = {"answer": partial(_deleted, endpoint), "before": partial(reset, endpoint)}
        ours = xcomctl("gc", *place(url, endpoint), *_ALL_AT_ONCE, "-o", "json", **how)
        raw = floor(deleting, endpoint, url, rows, count, **how)
        yield Row(
            f"gc sweep {name}",
            "`xcomctl gc --single-pass --yes`",
            f"{count:,} orphans and {xcoms.references(rows):,} other objects on the stub of S3, bucket with {name}",
            f"{_FLOOR_IS}; then {floor_is}",
            {OURS: ours, FLOOR: raw},
            expected={"deleted": count, "left": xcoms.references(rows)},
            repeat=2,
            is_warm=False,
        )


def _planned(lab: Lab, name: str, count: int, endpoint: str, server: str, *more: str, repeat: int) -> Row:
    url = lab.postgres(count)
    listed, orphans = xcoms.references(count) + xcoms.orphans(count), xcoms.orphans(count)
    words = ("gc", "-n", "-o", "json", *place(url, endpoint), *more)
    contenders = {
        OURS: xcomctl(*words, answer=_plan),
        FLOOR: floor("list_and_copy", endpoint, url, answer=_drained),
        SCRIPT: script("orphans", endpoint, url, answer=_found, environment=lab.airflow()),
    }
    return Row(
        name,
        "`xcomctl gc -n -o json`",
        f"{listed:,} objects on {server}, {xcoms.references(count):,} references in PostgreSQL",
        _FLOOR_IS,
        contenders,
        _SCRIPT_IS,
        {"objects": listed, "orphans": orphans},
        repeat,
        is_warm=False,
    )


def _plan(shown: bytes) -> dict[str, Any]:
    report = json.loads(shown)
    return {"objects": report["listed"], "orphans": report["candidates"]}


def _found(shown: bytes) -> dict[str, Any]:
    found = told(shown)
    return {"objects": found["objects"], "orphans": found["orphans"]}


def _drained(shown: bytes) -> dict[str, Any]:
    found = told(shown)
    return {"objects": found["objects"], "orphans": found["objects"] - found["references"]}


def _deleted(endpoint: str, shown: bytes) -> dict[str, int]:
    return {"deleted": json.loads(shown)["deleted"], "left": counted(endpoint)}
