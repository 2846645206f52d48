"""Rows that go for good, on every schema and database: only if they still are what was read, and their run is over."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta, timezone

import pytest
from sqlalchemy import create_engine
from sqlalchemy.pool import NullPool

from tests.lab.database import Database
from tests.lab.effort import LONG
from tests.lab.world import Push, World
from xcomctl.catalog import open_catalog, removing
from xcomctl.catalog.catalog import Row
from xcomctl.catalog.engine import is_locked
from xcomctl.catalog.removing import Remover, Settled
from xcomctl.errors import MetadataError
from xcomctl.model import Filter

NOW = datetime(2026, 2, 3, 4, 5, 6, tzinfo=timezone.utc)
VALUES = ['{"b": [1, 2.50], "a": "ünï"}', "1", '"s3://bucket/x"', '"%s"' % ("long " * 9000), "null"]


def remover(database: Database) -> Remover:
    return Remover(open_catalog(database.url, database.schema, None))


def read(found: Remover) -> list[Row]:
    return list(found.rows(Filter()))


def removed(found: Remover, rows: Sequence[Row], archive: str | None = None) -> dict[str, Settled]:
    tables = {row.table.name: row.table for row in rows}
    settled = {}
    for name in tables:
        settled |= found.remove([row for row in rows if row.table.name == name], archive)
    return {row.xcom.key: fate for row, fate in settled.items()}


def keys(found: Remover) -> set[str]:
    return {row.xcom.key for row in read(found)}


def test_exactly_those_go(database: Database, world: World):
    for number, value in enumerate(VALUES):
        world.push("d", "r", "t", key=f"k {number}", value=value)
        world.push("d", "r", "t", 3, key=f"other {number}", value=value)
    found = remover(database)
    rows = [row for row in read(found) if row.xcom.map_index == -1 and row.xcom.key != "k 2"]
    assert removed(found, rows) == dict.fromkeys(("k 0", "k 1", "k 3", "k 4"), Settled.REMOVED)
    assert keys(found) == {"k 2", *(f"other {number}" for number in range(len(VALUES)))}
    assert set(removed(found, rows).values()) == {Settled.CHANGED}


@pytest.mark.parametrize("state", ["running", "queued"])
def test_a_run_that_was_cleared_since_keeps_its_rows(database: Database, world: World, state: str):
    world.push("d", "r", "t", key="kept")
    world.push("d", "over", "t", key="gone")
    found = remover(database)
    rows = read(found)
    world.run("d", "r", state=state)
    assert removed(found, rows) == {"kept": Settled.UNFINISHED, "gone": Settled.REMOVED}
    assert keys(found) == {"kept"}


@pytest.mark.parametrize("state", ["running", "up_for_retry", None])
def test_a_task_that_is_at_work_again_keeps_its_rows(database: Database, world: World, state: str | None):
    world.push("d", "r", "t", 0, key="kept")
    world.push("d", "r", "t", 1, key="mapped with it")
    world.push("d", "r", "u", key="gone")
    found = remover(database)
    rows = read(found)
    world.task("d", "r", "t", 1, state=state)
    assert removed(found, rows) == {
        "kept": Settled.UNFINISHED,
        "mapped with it": Settled.UNFINISHED,
        "gone": Settled.REMOVED,
    }
    assert keys(found) == {"kept", "mapped with it"}


def test_a_row_that_was_pushed_anew_is_kept(database: Database, world: World):
    """Also with the same value, at another time; and with another value of the same size, at the same time."""
    for key in ("value", "time", "both", "gone"):
        world.push("d", "r", "t", key=key, value='"aaa"')
    found = remover(database)
    rows = read(found)
    world.push("d", "r", "t", key="value", value='"bbb"')
    world.push("d", "r", "t", key="time", value='"aaa"', timestamp=NOW)
    world.push("d", "r", "t", key="both", value='"ccc"', timestamp=NOW)
    settled = removed(found, rows)
    assert settled == {**dict.fromkeys(("value", "time", "both"), Settled.CHANGED), "gone": Settled.REMOVED}
    assert keys(found) == {"value", "time", "both"}


def test_a_row_whose_value_was_edited_in_place_is_kept(database: Database, world: World):
    """As the REST API of 3.0 does it: the time stays."""
    world.push("d", "r", "t", value='"aaa"')
    found = remover(database)
    (row,) = read(found)
    holds_bytes = database.label.startswith("2.")
    new = "CAST(:new AS JSONB)" if database.dialect == "postgresql" and not holds_bytes else ":new"
    world.sql(f"UPDATE {row.table.name} SET value = {new}", new=b'"bbb"' if holds_bytes else '"bbb"')
    assert removed(found, [row]) == {"return_value": Settled.CHANGED}
    assert keys(found) == {"return_value"}


@pytest.mark.databases("*-3.4")
class TestAttempts:
    def test_every_attempt_goes(self, database: Database, world: World):
        world.push("d", "r", "t", key="old", legacy=True)
        world.push("d", "r", "t", key="first")
        world.retry("d", "r", "t")
        world.task("d", "r", "t", state="success")
        world.push("d", "r", "t", key="second")
        found = remover(database)
        assert removed(found, read(found)) == dict.fromkeys(("old", "first", "second"), Settled.REMOVED)

    def test_an_attempt_at_work_keeps_those_before(self, database: Database, world: World):
        world.push("d", "r", "t")
        world.retry("d", "r", "t")
        world.task("d", "r", "t", state="running")
        found = remover(database)
        assert removed(found, read(found)) == {"return_value": Settled.UNFINISHED}

    def test_a_superseded_attempt_is_over_whatever_its_state(self, database: Database, world: World):
        world.push("d", "r", "t")
        world.task("d", "r", "t", state="up_for_retry")
        world.retry("d", "r", "t")
        world.task("d", "r", "t", state="success")
        found = remover(database)
        assert removed(found, read(found)) == {"return_value": Settled.REMOVED}

    def test_an_older_row_does_not_come_to_light(self, database: Database, world: World):
        world.push("d", "r", "t", value="1", legacy=True)
        world.push_many([Push("d", "r", "t", value="2")])
        found = remover(database)
        old, new = read(found)
        assert (old.table.name, new.table.name) == ("xcom_v1", "xcom_v2")
        assert removed(found, [new]) == {"return_value": Settled.HIDING}
        assert removed(found, [old]) == removed(found, [new]) == {"return_value": Settled.REMOVED}


def test_what_is_archived_is_in_one_place_only(database: Database, world: World):
    """As `airflow db clean` leaves it: the same columns, and every value as it was."""
    for number, value in enumerate(VALUES):
        world.push("d", "r", "t", key=f"k {number}", value=value)
    world.push("d", "r", "t", key="not over since", value="1")
    found = remover(database)
    rows = [row for row in read(found) if row.xcom.key != "k 2"]
    table = rows[0].table
    before = dict(world.sql(f"SELECT {_key(database)}, value FROM {table.name}"))
    archive = found.make_archive(table, NOW)
    assert archive == f"_airflow_deleted__{table.name}__20260203040506"
    assert found.make_archive(table, NOW) == f"_airflow_deleted__{table.name}__20260203040507"
    assert set(removed(found, rows, archive).values()) == {Settled.REMOVED}
    archived = dict(world.sql(f"SELECT {_key(database)}, value FROM {archive}"))
    left = dict(world.sql(f"SELECT {_key(database)}, value FROM {table.name}"))
    assert {**archived, **left} == before and left.keys() == {"k 2"} and len(archived) + len(left) == len(before)
    assert removed(found, rows, archive) == dict.fromkeys(archived, Settled.CHANGED)
    assert len(world.sql(f"SELECT 1 FROM {archive}")) == len(archived)


def _key(database: Database) -> str:
    return "`key`" if database.dialect == "mysql" else "key"


@pytest.mark.filterwarnings("ignore:Did not recognize type")
def test_the_archive_is_shaped_as_airflows_own(database: Database, world: World):
    world.push("d", "r", "t", key="cleaned")
    (airflows,) = world.db_clean()
    world.push("d", "r", "t")
    found = remover(database)
    (row,) = read(found)
    ours = found.make_archive(row.table, NOW)
    engine = create_engine(database.url, poolclass=NullPool)
    shapes = [_shape(engine, name) for name in (airflows, ours)]
    assert shapes[0] == shapes[1] and shapes[0][0]


def _shape(engine, name):
    from sqlalchemy import inspect

    inspector = inspect(engine)
    columns = [(c["name"], str(c["type"]), c["nullable"]) for c in inspector.get_columns(name)]
    indexes = sorted(index["name"] for index in inspector.get_indexes(name))
    return columns, inspector.get_pk_constraint(name)["constrained_columns"], indexes


def test_a_copy_that_fails_leaves_the_row(database: Database, world: World):
    world.push("d", "r", "t")
    found = remover(database)
    rows = read(found)
    with pytest.raises(MetadataError):
        found.remove(rows, "_airflow_deleted__xcom__never_made")
    assert read(found) == rows


def test_after_the_deadline_nothing_goes(database: Database, world: World, monkeypatch: pytest.MonkeyPatch):
    world.push("d", "r", "t")
    found = remover(database)
    rows = read(found)
    archive = found.make_archive(rows[0].table, NOW)
    monkeypatch.setattr(removing, "REMOVING", timedelta(seconds=-1))
    with pytest.raises(MetadataError, match="in time"):
        found.remove(rows, archive)
    assert read(found) == rows and world.sql(f"SELECT 1 FROM {archive}") == []


def test_as_many_as_go_at_once(database: Database, world: World):
    world.push_many(Push("d", f"r {number % 7}", f"t {number % 3}", number, value=str(number)) for number in range(250))
    found = remover(database)
    rows = read(found)
    batch = rows[: removing.ROWS_AT_ONCE]
    assert set(found.remove(batch).values()) == {Settled.REMOVED} and read(found) == rows[removing.ROWS_AT_ONCE :]


@pytest.mark.databases("postgresql-3.4", "mysql-3.3", *(("postgresql-3.3", "mysql-3.4") if LONG else ()))
@pytest.mark.parametrize("table", ["dag_run", "task_instance", "xcom"])
def test_what_is_locked_is_not_waited_for_long(database: Database, world: World, table: str):
    """Each waits five seconds: how it waits is the server's affair, what it asks for the schema's."""
    world.push("d", "r", "t")
    found = remover(database)
    rows = read(found)
    named = rows[0].table.name if table == "xcom" else table
    changed = {"xcom": "timestamp = timestamp", "dag_run": "state = 'queued'", "task_instance": "state = NULL"}[table]
    somebody = create_engine(database.url, poolclass=NullPool)
    with somebody.begin() as connection:
        connection.exec_driver_sql(f"UPDATE {named} SET {changed}")
        with pytest.raises(MetadataError, match=r"(?i)lock") as error:
            found.remove(rows)
    assert is_locked(error.value) and {(row.table, row.key) for row in read(found)} == {(r.table, r.key) for r in rows}


@pytest.mark.databases("postgresql-3.3", "mysql-3.3")
def test_who_clears_is_never_the_victim_of_a_deadlock(database: Database, world: World):
    """Airflow holds a task and wants its run; whoever held the run and waited for the task would be in a deadlock."""
    world.push("d", "r", "t")
    found = remover(database)
    rows = read(found)
    somebody = create_engine(database.url, poolclass=NullPool)
    with somebody.begin() as connection, ThreadPoolExecutor(1) as pool:
        connection.exec_driver_sql("UPDATE task_instance SET state = NULL")
        removing = pool.submit(found.remove, rows)
        with pytest.raises(MetadataError, match=r"(?i)lock") as error:
            removing.result()
        connection.exec_driver_sql("UPDATE dag_run SET state = 'queued'")
    assert is_locked(error.value) and read(found) == rows
    assert set(found.remove(rows).values()) == {Settled.UNFINISHED}


@pytest.mark.databases("postgresql-3.3", "sqlite-3.3", "mysql-3.3")
@pytest.mark.parametrize("name", ["'; DROP TABLE xcom; --", "%s %(x)s :x", 'q"uo`te', "ünï", "a b\tc"])
def test_strange_names(database: Database, world: World, name: str):
    world.push(name, name, name, key=name)
    world.push(name, name, name, key="other")
    found = remover(database)
    row, *_ = (row for row in read(found) if row.xcom.key == name)
    assert removed(found, [row]) == {name: Settled.REMOVED} and keys(found) == {"other"}


def test_a_value_that_is_null_goes_as_well(database: Database, world: World):
    world.push("d", "r", "t", value="1")
    (row,) = read(remover(database))
    world.sql(f"UPDATE {row.table.name} SET value = NULL")
    found = remover(database)
    assert removed(found, read(found)) == {"return_value": Settled.REMOVED}
