"""The floors: the fastest raw client of the same server, which moves the same data and drops it.

`python -m benchmarks.floors NAME ARGUMENT…` runs one in a process of its own, and prints what it has seen as JSON.
"""

from __future__ import annotations

import gzip
import json
import sys
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from benchmarks import xcoms

SHARDS_AT_ONCE = 8
PUTS_AT_ONCE = 32
ROWS_PER_FETCH = 10_000
KEYS = "dag_id, run_id, task_id, map_index, key, timestamp"
SIZE = {"postgresql": "pg_column_size(value)", "mysql": "octet_length(value)", "sqlite": "length(value)"}


class Discarded:
    """A file that counts lines, and forgets them."""

    def __init__(self) -> None:
        self.lines = 0

    def write(self, data: bytes) -> int:
        """Forget it."""
        self.lines += data.count(b"\n")
        return len(data)


def copied(url: str, query: str) -> int:
    """One COPY of a query; the number of its rows."""
    import psycopg2

    with psycopg2.connect(url.replace("+psycopg2", "")) as connection, connection.cursor() as cursor:
        thrown_away = Discarded()
        cursor.copy_expert(f"COPY ({query}) TO STDOUT", thrown_away, size=1 << 16)
        return thrown_away.lines


def copy_keys(url: str) -> dict[str, int]:
    """Every row's key columns, its time, and the size of its value as stored."""
    return {"rows": copied(url, f"SELECT {KEYS}, {SIZE['postgresql']} FROM xcom")}


def fetch_keys(url: str) -> dict[str, int]:
    """The same through the driver of SQLite or MariaDB."""
    connection, cursor = _cursor(url)
    dialect = url.partition("+")[0].partition(":")[0]
    keys = KEYS.replace("key,", "`key`,")
    cursor.execute(f"SELECT {keys}, {SIZE[dialect]} FROM xcom")
    return {"rows": _drained(cursor, connection)}


def fetch_references(url: str) -> dict[str, int]:
    """The values of the rows that hold a reference, and their times."""
    connection, cursor = _cursor(url)
    cursor.execute("SELECT value, timestamp FROM xcom WHERE value LIKE '\"s3://%'")
    return {"rows": _drained(cursor, connection)}


def _cursor(url: str) -> tuple[Any, Any]:
    from urllib.parse import unquote, urlsplit

    if url.startswith("sqlite"):
        import sqlite3

        file = sqlite3.connect(url.removeprefix("sqlite:///"))
        return file, file.cursor()
    import pymysql

    at = urlsplit(url)
    server = pymysql.connect(
        host=at.hostname,
        port=at.port or 3306,
        user=unquote(at.username or ""),
        password=unquote(at.password or ""),
        database=at.path.lstrip("/"),
    )
    return server, server.cursor(pymysql.cursors.SSCursor)


def _drained(cursor: Any, connection: Any) -> int:
    rows = 0
    while some := cursor.fetchmany(ROWS_PER_FETCH):
        rows += len(some)
    cursor.close()
    connection.close()
    return rows


def store(endpoint: str) -> Any:
    """The bucket through obstore, as fast as it goes."""
    from obstore.store import S3Store

    return S3Store(
        xcoms.BUCKET,
        endpoint=endpoint,
        access_key_id="xcomctl",
        secret_access_key="xcomctl-secret",
        region="us-east-1",
        virtual_hosted_style_request=False,
        client_options={"allow_http": True, "timeout": "300s"},
    )


def list_all(endpoint: str) -> dict[str, int]:
    """Every object, one shard a DAG, as arrow tables that are dropped."""
    import obstore

    bucket = store(endpoint)
    shards = obstore.list_with_delimiter(bucket, prefix=xcoms.PREFIX)["common_prefixes"]

    def counted(prefix: str) -> int:
        pages = obstore.list(bucket, prefix=prefix, chunk_size=10_000, return_arrow=True)
        return sum(page.num_rows for page in pages)

    with ThreadPoolExecutor(SHARDS_AT_ONCE) as threads:
        return {"objects": sum(threads.map(counted, shards))}


def copy_references(url: str) -> dict[str, int]:
    """The value column of the rows that hold a reference."""
    small = f"{SIZE['postgresql']} <= 2200 AND jsonb_typeof(value) = 'string' AND value #>> '{{}}' LIKE 's3://%'"
    return {"references": copied(url, f"SELECT value FROM xcom WHERE {small}")}


def list_and_copy(endpoint: str, url: str) -> dict[str, int]:
    """A listing, and then a COPY of the references."""
    return {**list_all(endpoint), **copy_references(url)}


def delete_orphans(endpoint: str, url: str, rows: str, count: str) -> dict[str, int]:
    """A listing, a COPY, and DeleteObjects by the thousand, as obstore sends them."""
    import obstore

    list_and_copy(endpoint, url)
    names = list(xcoms.orphan_names(int(rows), int(count)))
    obstore.delete(store(endpoint), names)
    return {"deleted": len(names)}


def move_orphans(endpoint: str, url: str, rows: str, count: str) -> dict[str, int]:
    """The same with a copy of each before."""
    import obstore

    bucket = store(endpoint)

    def copy(name: str) -> None:
        obstore.copy(bucket, name, f"trash/{name}")

    with ThreadPoolExecutor(PUTS_AT_ONCE) as threads:
        for _ in threads.map(copy, xcoms.orphan_names(int(rows), int(count))):
            pass
    return delete_orphans(endpoint, url, rows, count)


def put_movable(endpoint: str, count: str) -> dict[str, int]:
    """Bodies that are made in memory, in threads."""
    import obstore

    bucket = store(endpoint)

    def put(index: int) -> None:
        name = f"{xcoms.PREFIX}/{xcoms.place(index).folder}/{xcoms.leaf(index)}"
        obstore.put(bucket, name, xcoms.movable(index).encode(), use_multipart=False)

    xcoms.noise()
    with ThreadPoolExecutor(PUTS_AT_ONCE) as threads:
        return {"moved": sum(1 for _ in threads.map(put, range(int(count))))}


def get_json(endpoint: str, name: str) -> dict[str, int]:
    """One GET, one gunzip, one json.loads."""
    import obstore

    body = bytes(obstore.get(store(endpoint), name).bytes())
    return {"records": len(json.loads(gzip.decompress(body))) - 1}


FLOORS: dict[str, Callable[..., dict[str, int]]] = {
    each.__name__: each
    for each in (
        *(copy_keys, fetch_keys, fetch_references, list_all, copy_references),
        *(list_and_copy, delete_orphans, move_orphans, put_movable, get_json),
    )
}


def main(words: Iterable[str]) -> None:
    """Run one."""
    name, *arguments = words
    print(json.dumps(FLOORS[name](*arguments)))


if __name__ == "__main__":
    main(sys.argv[1:])
