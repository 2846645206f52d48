"""The XComs that everything is measured on: pure arithmetic, so that rows, objects and expectations cannot differ.

An Airflow has 50 DAGs of 20 tasks with 5 keys each. Of its rows 70 % refer to an object, 2 % hold 100 KB to 1 MB
inline, the rest little. Beyond the objects of rows there are orphans, three for every seven of them: a third of these
were overwritten, two thirds are of runs that were deleted.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from functools import lru_cache
from hashlib import md5
from random import Random
from typing import NamedTuple

BUCKET = "bench"
PREFIX = "airflow/xcom"
BASE = f"s3://{BUCKET}/{PREFIX}"
DAGS, TASKS, KEYS = 50, 20, 5
PER_RUN = TASKS * KEYS
FIRST_RUN = datetime(2024, 1, 1, tzinfo=timezone.utc)
LARGEST_BYTES, SMALLEST_BYTES = 1_000_000, 100_000


class Place(NamedTuple):
    """Where an XCom belongs: the number of its run, from 1 on, and the four names."""

    run: int
    dag_id: str
    run_id: str
    task_id: str
    key: str

    @property
    def folder(self) -> str:
        """Below the base path."""
        return f"{self.dag_id}/{self.run_id}/{self.task_id}"


def place(index: int) -> Place:
    """Of the XCom of this number."""
    run, rest = divmod(index, PER_RUN)
    task, key = divmod(rest, KEYS)
    return Place(
        run + 1, dag_id(run), run_id(run), f"transform_{task:02}", "return_value" if not key else f"part_{key}"
    )


def dag_id(run: int) -> str:
    """The DAG of a run."""
    return f"warehouse_load_{run % DAGS:02}"


@lru_cache(1 << 12)
def run_id(run: int) -> str:
    """As a scheduler calls it."""
    return f"scheduled__{run_at(run).isoformat()}"


def run_at(run: int) -> datetime:
    """When a run was due: one an hour in each DAG."""
    return FIRST_RUN + timedelta(hours=run // DAGS)


def is_external(index: int) -> bool:
    """Whether the row refers to an object."""
    return index % 10 < 7


def is_large(index: int) -> bool:
    """Whether the row holds a large value inline."""
    return index % 50 == 8


def large_bytes(index: int) -> int:
    """The size of a large value: from 100 KB to 1 MB, as many of each magnitude."""
    share = (index // 50 * 7919 % 1000) / 999
    return int(SMALLEST_BYTES * (LARGEST_BYTES / SMALLEST_BYTES) ** share)


def leaf(index: int) -> str:
    """The name of the object: a uuid4 that the number alone decides."""
    text = md5(b"%d" % index, usedforsecurity=False).hexdigest()
    return f"{text[:8]}-{text[8:12]}-4{text[13:16]}-8{text[17:20]}-{text[20:]}"


def reference(index: int) -> str:
    """What the row holds."""
    return f"{BASE}/{place(index).folder}/{leaf(index)}"


def references(rows: int) -> int:
    """How many of so many rows refer to an object."""
    return rows // 10 * 7 + min(rows % 10, 7)


def orphans(rows: int) -> int:
    """How many orphans there are beside so many rows."""
    return references(rows) * 3 // 7


def live_names(rows: int) -> Iterator[str]:
    """The names of the objects that rows refer to."""
    return (f"{PREFIX}/{place(index).folder}/{leaf(index)}" for index in range(rows) if is_external(index))


def orphan_names(rows: int, count: int | None = None) -> Iterator[str]:
    """The names of the others, of which there may also be `count`."""
    for index in range(rows, rows + (orphans(rows) if count is None else count)):
        where = place(index - rows if index % 3 == 0 else index + PER_RUN * DAGS)
        yield f"{PREFIX}/{where.folder}/{leaf(index)}"


MOVABLE_LEAST, MOVABLE_MOST = 10_000, 1_000_000
_NOISE_BYTES = MOVABLE_MOST + (1 << 16)


@lru_cache(1)
def noise() -> str:
    """Text that no database compresses."""
    return b64encode(Random(7).randbytes(_NOISE_BYTES * 3 // 4)).decode()


def movable(index: int) -> str:
    """The JSON text of a value that is to move: 10 KB to 1 MB, 93 KB on average, half of them below 20 KB."""
    share = (index * 7919 % 1000) / 999
    size = int(MOVABLE_LEAST * (MOVABLE_MOST / MOVABLE_LEAST) ** share**3)
    start = index * 61 % (_NOISE_BYTES - MOVABLE_MOST)
    return f'"{index:010}{noise()[start : start + size - 12]}"'
