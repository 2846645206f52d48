"""Rows that change in place, on every schema and database: only if they still are what was read, and in time."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from sqlalchemy import create_engine
from sqlalchemy import text as sql
from sqlalchemy.pool import NullPool

from tests.lab.database import Database
from tests.lab.world import World
from xcomctl.catalog import engine, open_catalog
from xcomctl.catalog.catalog import Row
from xcomctl.catalog.rewriting import Rewriter, Text
from xcomctl.catalog.schema import Form
from xcomctl.errors import MetadataError
from xcomctl.model import Filter, XCom

NEW = json.dumps("s3://bucket/x/ünï/0d760203-28d1-4226-81c7-7786b50e4773", ensure_ascii=False)
VALUES = [
    '{"b": [1, 2.50], "a": "ünï \\" \\\\ \\u0041 😀"}',
    '"%s"' % ("long " * 9000),
    "[1e-07, 10000000000000000000000, null]",
]
SOON = timedelta(minutes=10)


def rewriter(database: Database) -> Rewriter:
    return Rewriter(open_catalog(database.url, database.schema, None))


def rows(found: Rewriter, at_least: int = 0) -> Iterator[Row]:
    return found._catalog.addressed(Filter(), at_least=at_least)


def read(found: Rewriter) -> list[Text]:
    return [text for row in rows(found) if (text := found.text(row)) is not None]


def value_of(world: World, xcom: XCom) -> str:
    stored = world.stored(xcom.dag_id, xcom.run_id, xcom.task_id, xcom.map_index, xcom.key)
    return stored.decode() if isinstance(stored, bytes) else str(stored)


@pytest.mark.parametrize("value", VALUES)
def test_the_text_is_what_is_stored(database: Database, world: World, value: str):
    world.push("d", "r", "t", value=value)
    (text,) = read(rewriter(database))
    assert text.data.decode() == value_of(world, text.row.xcom)
    assert json.loads(text.data) == json.loads(value)


def test_a_row_that_is_as_it_was_changes_once(database: Database, world: World):
    for number, value in enumerate(VALUES):
        world.push("d", "r", "t", number, value=value)
    found = rewriter(database)
    texts = read(found)
    for text in texts:
        assert found.swap(text, NEW, found.now() + SOON)
        assert not found.swap(text, NEW, found.now() + SOON)
    assert {json.loads(value_of(world, text.row.xcom)) for text in texts} == {json.loads(NEW)}


def test_nothing_else_changes(database: Database, world: World):
    for task in ("t", "u"):
        for key in ("k", "K", "k "):
            if database.dialect != "mysql" or key == "k":
                world.push("d", "r", task, key=key, value=VALUES[0])
    found = rewriter(database)
    before = {text.row: text.data for text in read(found)}
    (changed,) = (row for row in before if (row.xcom.task_id, row.xcom.key) == ("t", "k"))
    (text,) = (text for text in read(found) if text.row == changed)
    assert found.swap(text, NEW, found.now() + SOON)
    after = {(text.row.table, text.row.key): text.data for text in read(found)}
    assert {key for key in after if after[key] != before[_row(before, key)]} == {(changed.table, changed.key)}


def _row(rows, key):
    return next(row for row in rows if (row.table, row.key) == key)


def test_a_row_that_was_pushed_again_is_left_alone(database: Database, world: World):
    world.push("d", "r", "t", value=VALUES[0])
    found = rewriter(database)
    (text,) = read(found)
    world.push("d", "r", "t", value='{"another": 1}')
    assert not found.swap(text, NEW, found.now() + SOON)
    assert json.loads(value_of(world, text.row.xcom)) == {"another": 1}


def test_a_row_that_is_gone_does_not_come_back(database: Database, world: World):
    world.push("d", "r", "t", value=VALUES[0])
    found = rewriter(database)
    (text,) = read(found)
    world.delete_xcom("d", "r", "t")
    assert not found.swap(text, NEW, found.now() + SOON)
    assert found.text(text.row) is None and read(found) == []


def test_after_the_deadline_nothing_changes(database: Database, world: World):
    world.push("d", "r", "t", value=VALUES[0])
    found = rewriter(database)
    (text,) = read(found)
    assert not found.swap(text, NEW, found.now() - timedelta(seconds=1))
    assert read(found) == [text]


def test_every_attempt_is_a_row(database: Database, world: World):
    world.push("d", "r", "t", value=VALUES[0])
    if "xcom_v2" in world.tables():
        world.retry("d", "r", "t")
        world.push("d", "r", "t", value=VALUES[2])
        world.push("d", "r", "t", key="old", value=VALUES[0], legacy=True)
        assert len(read(rewriter(database))) == 3
    found = rewriter(database)
    for text in read(found):
        assert found.swap(text, NEW, found.now() + SOON)
    assert {json.loads(text.data) for text in read(found)} == {json.loads(NEW)}


@pytest.mark.parametrize("at_least", [1_000, 40_000, 50_000])
def test_only_what_is_large_enough_is_listed(database: Database, world: World, at_least: int):
    """By its text: PostgreSQL keeps 45 KB of the same words in 600 bytes."""
    for number, value in enumerate([*VALUES, "1", json.dumps({"a" * 900: 1})]):
        world.push("d", "r", "t", number, value=value)
    found = rewriter(database)
    sizes = {text.row.xcom.map_index: len(text.data) for text in read(found)}
    listed = {row.xcom.map_index for row in rows(found, at_least)}
    assert listed >= {index for index, size in sizes.items() if size >= at_least}
    assert not listed & {index for index, size in sizes.items() if size < at_least / 6}


@pytest.mark.databases("postgresql-3.3", "mysql-3.3")
def test_a_row_that_is_locked_is_not_waited_for_long(database: Database, world: World):
    world.push("d", "r", "t", value=VALUES[0])
    found = rewriter(database)
    (text,) = read(found)
    somebody = create_engine(database.url, poolclass=NullPool)
    with somebody.begin() as connection:
        connection.exec_driver_sql("UPDATE xcom SET map_index = map_index")
        with pytest.raises(MetadataError, match=r"(?i)lock"):
            found.swap(text, NEW, found.now() + SOON)
    assert read(found) == [text]


@pytest.mark.databases("postgresql-*", "mysql-3.3")
def test_a_row_that_is_pushed_again_at_this_moment_is_left_alone(database: Database, world: World):
    """The statement waits for whoever writes the row, and then sees what was written."""
    world.push("d", "r", "t", value=VALUES[0])
    found = rewriter(database)
    (text,) = read(found)
    somebody = create_engine(database.url, poolclass=NullPool)
    table = text.row.table.name
    with ThreadPoolExecutor(1) as thread, somebody.connect() as connection:
        transaction = connection.begin()
        connection.execute(sql(f"UPDATE {table} SET value = :value"), {"value": _as_stored(text, '{"another": 1}')})
        swapped = thread.submit(found.swap, text, NEW, found.now() + SOON)
        time.sleep(0.5)
        assert not swapped.done()
        transaction.commit()
        assert swapped.result() is False
    assert [json.loads(each.data) for each in read(found)] == [{"another": 1}]


def _as_stored(text: Text, value: str) -> str | bytes:
    return value.encode() if text.row.table.form is Form.BYTES else value


@pytest.mark.databases("sqlite-3.3")
def test_reading_opens_nothing_for_writing(database: Database, world: World):
    catalog = open_catalog(database.url, database.schema, None)
    with pytest.raises(Exception, match="readonly"), catalog.database.engine.begin() as connection:
        connection.exec_driver_sql("DELETE FROM xcom")


def test_many_rows_are_read_as_each_by_itself(database: Database, world: World, monkeypatch: pytest.MonkeyPatch):
    """Also what is too long to be read together, what is gone, and more rows than go into one statement."""
    monkeypatch.setattr("xcomctl.catalog.rewriting.READ_AT_ONCE", 3)
    monkeypatch.setattr("xcomctl.catalog.rewriting.READ_AT_ONCE_BYTES", 1000)
    for number, value in enumerate([*VALUES, "1", "null", '"ünï"', *VALUES, '{"a": 1}']):
        world.push("d", "r", "t", number, value=value)
    found = rewriter(database)
    listed = list(rows(found))
    world.delete_xcom("d", "r", "t", 4)
    expected = [(row, found.text(row)) for row in listed]
    assert list(found.texts(listed)) == expected
    assert len(expected) == 10 and [row.xcom.map_index for row, text in expected if text is None] == [4]
    for _, text in expected:
        assert text is None or found.swap(text, NEW, found.now() + SOON)


@pytest.mark.databases("postgresql-3.3")
@pytest.mark.parametrize("fresh_seconds", [0.0, 60.0])
def test_a_connection_that_was_ended_is_replaced(
    database: Database, world: World, monkeypatch: pytest.MonkeyPatch, fresh_seconds: float
):
    """At once where it has been idle; one that was in use just now fails one row, and only that."""
    monkeypatch.setattr(engine, "FRESH_SECONDS", fresh_seconds)
    for number in range(3):
        world.push("d", "r", "t", number, value=VALUES[0])
    found = rewriter(database)
    texts, deadline = read(found), found.now() + SOON
    assert found.swap(texts[0], NEW, deadline)
    end_sessions(database)
    if fresh_seconds:
        with pytest.raises(MetadataError) as error:
            found.swap(texts[1], NEW, deadline)
        assert engine.is_out_of_reach(error.value)
    assert found.swap(texts[1], NEW, deadline) and found.swap(texts[2], NEW, deadline)


def end_sessions(database: Database) -> None:
    ours = create_engine(database.url, poolclass=NullPool, isolation_level="AUTOCOMMIT")
    others = "datname = current_database() AND pid <> pg_backend_pid()"
    with ours.connect() as connection:
        connection.execute(sql(f"SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE {others}"))
