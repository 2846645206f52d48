"""The names that a shell offers: those that are there, in every schema and database, in a moment, and no others."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import timedelta

import pytest

from tests.lab.database import Database
from tests.lab.world import WHEN, World
from xcomctl.catalog.names import AT_MOST, Names, open_names
from xcomctl.errors import MetadataError

SECONDS = 5


@pytest.fixture
def names(database: Database, world: World) -> Iterator[Names]:
    for number, (dag, run, task, key) in enumerate(
        [
            ("etl", "r1", "load", "return_value"),
            ("etl", "r2", "load", "model"),
            ("etl", "r2", "train", "cost"),
            ("etl_daily", "s%1", "sum", "total"),
            ("Etl", "r3", "shout", "LOUD"),
        ]
    ):
        world.push(dag, run, task, key=key, value='"x"')
        world.run(dag, run, WHEN + timedelta(days=number))
    yield open_names(database.url, database.schema, SECONDS)


class TestNames:
    def test_dags(self, names: Names):
        assert sorted(names.dag_ids("")) == ["Etl", "etl", "etl_daily"]
        assert sorted(names.dag_ids("etl")) == ["etl", "etl_daily"]
        assert names.dag_ids("etl_") == ["etl_daily"]
        assert names.dag_ids("x") == names.dag_ids("%") == []

    def test_runs_the_newest_first(self, names: Names):
        assert names.run_ids([], "") == ["r3", "s%1", "r2", "r1"]
        assert names.run_ids(["etl"], "") == ["r2", "r1"]
        assert names.run_ids(["etl*"], "") == ["s%1", "r2", "r1"]
        assert names.run_ids([], "s%") == ["s%1"] and names.run_ids([], "r%") == []
        assert names.run_ids(["nope"], "") == []

    def test_tasks(self, names: Names):
        assert names.task_ids([], "") == ["load", "shout", "sum", "train"]
        assert names.task_ids(["etl"], "") == ["load", "train"]
        assert names.task_ids(["et[l]_*", "Etl"], "s") == ["shout", "sum"]

    def test_keys(self, names: Names):
        assert names.keys([], [], [], "") == ["LOUD", "cost", "model", "return_value", "total"]
        assert names.keys(["etl"], [], [], "") == ["cost", "model", "return_value"]
        assert names.keys(["etl"], ["r2"], [], "") == ["cost", "model"]
        assert names.keys(["etl"], ["latest"], ["load"], "m") == ["model"]
        assert names.keys([], [], ["train"], "") == ["cost"]


@pytest.mark.databases("*-3.3")
def test_no_more_than_a_person_reads(database: Database, world: World):
    for number in range(AT_MOST + 10):
        world.run(f"dag_{number:04}", "r")
    assert len(open_names(database.url, database.schema, SECONDS).dag_ids("")) == AT_MOST


@pytest.mark.databases("postgresql-3.3", "mysql-3.3")
def test_the_database_itself_ends_what_takes_too_long(database: Database):
    names = open_names(database.url, database.schema, 0.2)
    from sqlalchemy import text

    slow = {"postgresql": "SELECT pg_sleep(5)"}.get(
        database.dialect,
        "SELECT count(*) FROM information_schema.columns a, information_schema.columns b, information_schema.columns c",
    )
    started = time.monotonic()
    with pytest.raises(MetadataError):
        names._asked(text(slow))  # type: ignore[arg-type]
    assert time.monotonic() - started < 4
