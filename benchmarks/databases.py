"""Puts the XComs into an Airflow 3.3 database, as fast as each database takes them.

`python -m benchmarks.databases URL ROWS KIND` makes the tables and fills them, in a process of its own.
"""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta, timezone
from itertools import islice
from typing import Any, Literal, NamedTuple, TypeAlias, cast
from uuid import UUID

from sqlalchemy import create_engine
from sqlalchemy.engine import make_url

from benchmarks import xcoms
from tests import schemas
from tests.lab.tables import Tables

SCHEMA = "3.3"
_BATCH = 10_000
_COLUMNS = ("dag_run_id", "task_id", "map_index", "key", "dag_id", "run_id", "timestamp", "value")


class Row(NamedTuple):
    """A row of `xcom`; `value` is JSON text, `size` of a large one that the database is to make itself."""

    dag_run_id: int
    task_id: str
    map_index: int
    key: str
    dag_id: str
    run_id: str
    timestamp: str
    value: str
    size: int = 0


Kind: TypeAlias = Literal["all", "small", "references", "movable"]
"""Which rows: with large ones or without; those alone that refer to objects; or values that `migrate` is to move."""


def fill(url: str, rows: int, kind: Kind) -> None:
    """Make the tables in an empty database, and all that belongs to so many XComs."""
    schemas.load(url, SCHEMA)
    _runs(url, rows)
    into = {"postgresql": _postgresql, "mysql": _mysql, "sqlite": _sqlite}[make_url(url).get_backend_name()]
    into(url, rows, kind)


def rows_of(rows: int, kind: Kind, zone: str = "+00:00") -> Iterator[Row]:
    """The rows of a kind."""
    stamps = _Stamps(zone)
    for index in range(rows):
        if kind == "references" and not xcoms.is_external(index):
            continue
        where, size = xcoms.place(index), 0
        if kind == "movable":
            value = xcoms.movable(index)
        elif xcoms.is_external(index):
            value = json.dumps(xcoms.reference(index))
        elif kind == "all" and xcoms.is_large(index):
            value, size = "", xcoms.large_bytes(index)
        else:
            value = f'{{"rows": {index}}}'
        yield Row(where.run, where.task_id, -1, where.key, where.dag_id, where.run_id, stamps[where.run], value, size)


class _Stamps(dict[int, str]):
    """The time at which a run's values were pushed, as text."""

    def __init__(self, zone: str) -> None:
        self._zone = zone

    def __missing__(self, run: int) -> str:
        at = xcoms.run_at(run - 1) + timedelta(minutes=5)
        text = at.astimezone(timezone.utc).strftime("%Y-%m-%d %H:%M:%S.000000") + self._zone
        self[run] = text
        return text


def _runs(url: str, rows: int) -> None:
    """The DAGs and runs. No other table but `task_instance` is looked at."""
    tables = Tables(url)
    runs = -(-rows // xcoms.PER_RUN)
    with tables.engine.begin() as connection:
        if connection.dialect.name == "mysql":
            connection.exec_driver_sql("SET foreign_key_checks = 0")
        tables.insert(connection, "dag_bundle", [{"name": "dags-folder"}])
        dags = [
            {"dag_id": xcoms.dag_id(run), "bundle_name": "dags-folder", "partition_mapper_info": "{}"}
            for run in range(xcoms.DAGS)
        ]
        tables.insert(connection, "dag", dags)
        for some in _batches(range(runs)):
            tables.insert(connection, "dag_run", [_dag_run(run) for run in some])
    tables.engine.dispose()


def _dag_run(run: int) -> dict[str, object]:
    at = xcoms.run_at(run)
    dates = dict.fromkeys(("logical_date", "run_after", "data_interval_start", "data_interval_end", "end_date"), at)
    names = {"id": run + 1, "dag_id": xcoms.dag_id(run), "run_id": xcoms.run_id(run)}
    return {**names, "run_type": "scheduled", "state": "success", **dates}


def _tasks(rows: int) -> Iterator[tuple[str, str, str, str, str, str, int, int]]:
    """Every task instance: id, names, state, pool, slots, tries."""
    for index in range(0, rows, xcoms.KEYS):
        where = xcoms.place(index)
        name = str(UUID(int=index + 1))
        yield name, where.task_id, where.dag_id, where.run_id, "success", "default_pool", 1, 1


_TASK_COLUMNS = "id, task_id, dag_id, run_id, state, pool, pool_slots, try_number"


def _postgresql(url: str, rows: int, kind: Kind) -> None:
    """By COPY. Large values are made there, an eighth of each such as cannot be compressed: about 1 GB for 20,000."""
    columns = ", ".join(_COLUMNS)
    with _driver(url) as (connection, cursor):
        cursor.execute("SET session_replication_role = replica")  # no foreign keys
        cursor.execute("SET synchronous_commit = off")
        cursor.execute("ALTER TABLE xcom SET (autovacuum_enabled = off)")
        indexes = _dropped_indexes(cursor)
        _copy(cursor, f"COPY task_instance ({_TASK_COLUMNS}) FROM STDIN", _tasks(rows))
        cursor.execute("CREATE TEMP TABLE filled (LIKE xcom)")
        cursor.execute("ALTER TABLE filled ALTER dag_run_id DROP NOT NULL, ADD size integer, ALTER value TYPE text")
        small = (row[:-1] for row in rows_of(rows, kind) if not row.size)
        _copy(cursor, f"COPY xcom ({columns}) FROM STDIN", small, 100 if kind == "movable" else _BATCH)
        big = (row for row in rows_of(rows, kind) if row.size) if kind == "all" else ()
        _copy(cursor, f"COPY filled ({columns}, size) FROM STDIN", big)
        cursor.execute(f"INSERT INTO xcom ({columns}) {_LARGE}")
        for definition in indexes:
            cursor.execute(definition)
        if kind == "movable":
            cursor.execute("CREATE SCHEMA kept")
            cursor.execute("CREATE UNLOGGED TABLE kept.filled AS SELECT * FROM xcom")
        connection.commit()
        connection.autocommit = True
        cursor.execute("VACUUM (ANALYZE)")


def _dropped_indexes(cursor: Any) -> list[str]:
    """The indexes that are made faster when the rows are there, by their definitions."""
    cursor.execute(
        "SELECT indexname, indexdef FROM pg_indexes "
        "WHERE tablename IN ('xcom', 'task_instance') AND indexdef NOT LIKE 'CREATE UNIQUE%'"
    )
    found = cursor.fetchall()
    for name, _ in found:
        cursor.execute(f'DROP INDEX "{name}"')
    return [definition for _, definition in found]


_LARGE = """
WITH noise AS MATERIALIZED (SELECT string_agg(md5(number::text), '') AS text FROM generate_series(1, 4000) AS number)
SELECT dag_run_id, filled.task_id, map_index, key, dag_id, run_id, timestamp,
    to_jsonb(repeat(md5(dag_run_id::text || task_id || key), size * 7 / 8 / 32) || substr(noise.text, 1, size / 8))
FROM filled, noise
"""
"""PostgreSQL gives up on a text that does not begin with what can be compressed."""


def refill(url: str) -> None:
    """Bring back the rows that there were, after somebody has moved them."""
    with _driver(url) as (_, cursor):
        cursor.execute("SET session_replication_role = replica")
        cursor.execute("DELETE FROM xcom WHERE pg_column_size(value) < 2000")
        cursor.execute("INSERT INTO xcom SELECT * FROM kept.filled ON CONFLICT DO NOTHING")


def _copy(cursor: Any, statement: str, rows: Iterable[Sequence[object]], size: int = _BATCH) -> None:
    for some in _batches(rows, size):
        lines = "".join("\t".join(map(str, row)).replace("\\", "\\\\") + "\n" for row in some)
        cursor.copy_expert(statement, io.StringIO(lines))


def _mysql(url: str, rows: int, kind: Kind) -> None:
    """In INSERTs of many rows."""
    with _driver(url) as (connection, cursor):
        cursor.execute("SET foreign_key_checks = 0, unique_checks = 0")
        _insert(cursor, f"task_instance ({_TASK_COLUMNS})", _tasks(rows), "%s")
        filled = ((*row[:-2], _value(row)) for row in rows_of(rows, kind, ""))
        _insert(cursor, f"xcom ({', '.join(f'`{name}`' for name in _COLUMNS)})", filled, "%s")
        connection.commit()
        cursor.execute("ANALYZE TABLE xcom")


def _sqlite(url: str, rows: int, kind: Kind) -> None:
    with _driver(url) as (connection, cursor):
        cursor.execute("PRAGMA synchronous = OFF")
        tasks = ((name.replace("-", ""), *rest) for name, *rest in _tasks(rows))
        _insert(cursor, f"task_instance ({_TASK_COLUMNS})", tasks, "?")
        filled = ((*row[:-2], _value(row)) for row in rows_of(rows, kind, ""))
        _insert(cursor, f"xcom ({', '.join(_COLUMNS)})", filled, "?")
        connection.commit()
        cursor.execute("ANALYZE")


def _insert(cursor: Any, into: str, rows: Iterable[Sequence[object]], sign: str) -> None:
    for some in _batches(rows):
        signs = ", ".join([sign] * len(some[0]))
        cursor.executemany(f"INSERT INTO {into} VALUES ({signs})", some)


def _value(row: Row) -> str:
    return json.dumps("x" * row.size) if row.size else row.value


@contextmanager
def _driver(url: str) -> Iterator[tuple[Any, Any]]:
    """The driver's own connection, and a cursor of it."""
    engine = create_engine(url)
    connection = engine.raw_connection()
    try:
        yield connection.driver_connection, connection.cursor()
        connection.commit()
    finally:
        connection.close()
        engine.dispose()


def _batches(items: Iterable[Any], size: int = _BATCH) -> Iterator[list[Any]]:
    waiting = iter(items)
    while some := list(islice(waiting, size)):
        yield some


if __name__ == "__main__":
    fill(sys.argv[1], int(sys.argv[2]), cast("Kind", sys.argv[3]))
