"""The catalogue on every schema and database: what it says of rows that are stored as Airflow stores them."""

from __future__ import annotations

import json
import pickle
import tracemalloc
from collections.abc import Iterable
from datetime import datetime, timedelta, timezone
from itertools import islice
from uuid import uuid4

import pytest
from sqlalchemy import event

from tests.lab.database import Database, Databases, forget_deleted_rows
from tests.lab.world import WHEN, Push, World
from xcomctl.backend.reference import parse_base, place
from xcomctl.catalog import Catalog, References, open_catalog
from xcomctl.errors import NotFoundError
from xcomctl.model import Filter, State, XComKey

BASE = parse_base("s3://conn@bucket/xcom")
EVERYTHING = Filter()
RUN = "manual__2026-01-02T03:04:05+00:00"


LEAF = "0d760203-28d1-4226-81c7-7786b50e4773"


def reference(task_id="t", base="s3://conn@bucket/xcom", leaf=None) -> str:
    return f"{base}/d/{RUN}/{task_id}/{leaf or uuid4()}"


def names(pages: Iterable[References]) -> list[set[str]]:
    """What each of the values mentions."""
    return [mention.names for page in pages for mention in page]


def opened(database: Database) -> Catalog:
    return open_catalog(database.url, database.schema, BASE)


def test_a_row_is_told_as_it_is(database: Database, world: World):
    url = reference(leaf=LEAF)
    world.push("d", RUN, "t", 3, "k", value=json.dumps(url), timestamp=WHEN)
    (xcom,) = opened(database).rows(EVERYTHING)
    attempts = database.label.startswith("3.4")
    assert (xcom.dag_id, xcom.run_id, xcom.task_id, xcom.map_index, xcom.key) == ("d", RUN, "t", 3, "k")
    assert (xcom.state, xcom.reference, xcom.timestamp) == (State.EXTERNAL, url, WHEN)
    assert abs(xcom.size_bytes - len(json.dumps(url))) < 16
    assert xcom.try_number == (1 if attempts else None)


STATES = {
    "190": State.INLINE,
    "8.13821232560654": State.INLINE,
    "null": State.INLINE,
    "true": State.INLINE,
    '"plain"': State.INLINE,
    '"s3://bucket/my/own/data.csv"': State.INLINE,
    '{"a": "s3://conn@bucket/xcom/d"}': State.INLINE,
    json.dumps(reference(leaf=LEAF)): State.EXTERNAL,
    json.dumps(reference(leaf=LEAF) + ".gz"): State.EXTERNAL,
    '"s3://conn@bucket/xcom/any string below the base"': State.EXTERNAL,
    json.dumps(reference(base="s3://bucket/xcom")): State.FOREIGN,
    json.dumps(reference(base="gs://other/x")): State.FOREIGN,
    json.dumps(json.dumps(reference())): State.FOREIGN,
}


def test_states(database: Database, world: World):
    world.push_many(Push("d", RUN, "t", number, value=value) for number, value in enumerate(STATES))
    found = {xcom.map_index: xcom.state for xcom in opened(database).rows(EVERYTHING)}
    assert found == dict(enumerate(STATES.values()))


@pytest.mark.databases("*-2.11")
def test_a_pickle_is_told_apart_and_never_loaded(database: Database, world: World):
    world.push("d", RUN, "t", value=pickle.dumps({"a": 1}))
    world.push("d", RUN, "large", value=pickle.dumps("x" * 100_000))
    assert [xcom.state for xcom in opened(database).rows(EVERYTHING)] == [State.PICKLED, State.PICKLED]
    (stored,) = opened(database).values(XComKey("d", RUN, "t"))
    assert stored.data == pickle.dumps({"a": 1})


def test_a_value_comes_back_as_json(database: Database, world: World):
    values = ['"text é"', "190", "1.5", "0.1", "null", '{"a": [1, 2.5, null, "x"]}', "[]", "true"]
    world.push_many(Push("d", RUN, "t", number, value=value) for number, value in enumerate(values))
    for number, value in enumerate(values):
        (stored,) = opened(database).values(XComKey("d", RUN, "t", number))
        assert json.loads(stored.data) == json.loads(value)


def test_a_large_value_is_fetched_whole_and_only_when_asked_for(database: Database, world: World):
    value = json.dumps([f"item {number}" for number in range(100_000)])
    world.push("d", RUN, "t", value=value)
    (xcom,) = opened(database).rows(EVERYTHING)
    assert xcom.state is State.INLINE and xcom.size_bytes > 8192
    (stored,) = opened(database).values(XComKey("d", RUN, "t"))
    assert json.loads(stored.data) == json.loads(value)


@pytest.mark.databases("postgresql-2.11", "postgresql-3.3", "postgresql-3.4")
def test_listing_leaves_large_values_where_they_are(database: Database, world: World):
    """PostgreSQL keeps a large value out of line, in chunks (TOAST); listing rows must not fetch those."""
    value = json.dumps([uuid4().hex for _ in range(20_000)])
    world.push_many(Push("d", RUN, f"t{number}", value=value) for number in range(30))
    forget_deleted_rows(database)
    found = opened(database)
    asked: list[tuple[str, object]] = []
    event.listen(found.database.engine, "before_cursor_execute", lambda *told: asked.append((told[2], told[3])))
    xcoms = list(found.rows(EVERYTHING))
    list(found.references())
    assert len(xcoms) == 30 and all(xcom.size_bytes > 100_000 for xcom in xcoms)
    selects = [(statement, values) for statement, values in asked if statement.startswith("SELECT")]
    assert len(selects) >= 4
    # Of bytes the first is looked at, to tell a pickle: that is one chunk and its index, of 300 chunks a value.
    allowed = 30 * 3 * 4 if database.label == "2.11" else 0
    for statement, values in selects:
        assert blocks(found, statement, values) <= allowed + ROWS_THEMSELVES, statement


ROWS_THEMSELVES = 10
"""Blocks of the small rows and of the tables that they are joined with; the values fill more than 10,000."""


def blocks(found: Catalog, statement: str, values: object) -> int:
    """How many blocks PostgreSQL touches for a statement, those of large values (TOAST) among them."""
    with found.database.engine.connect() as connection:
        explained = connection.exec_driver_sql(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {statement}", values)
        plan = explained.scalar()[0]["Plan"]
    return plan["Shared Hit Blocks"] + plan["Shared Read Blocks"]


def test_rows_come_in_pages_and_none_is_lost(database: Database, world: World, monkeypatch):
    monkeypatch.setattr("xcomctl.catalog.database.ROWS_PER_PAGE", 7)
    pushes = [
        Push(f"d{run % 3}", f"r{run}", f"t{task}", index, value=json.dumps(reference()))
        for run in range(6)
        for task in range(3)
        for index in range(run)
    ]
    world.push_many(pushes)
    found = [(x.dag_id, x.run_id, x.task_id, x.map_index) for x in opened(database).rows(EVERYTHING)]
    assert sorted(found) == sorted(push.task for push in pushes)
    assert sum(map(len, names(opened(database).references()))) == len(pushes)
    some = opened(database).rows(Filter(dag_ids=("d1",)))
    assert {x.run_id for x in some} == {"r1", "r4"}


def test_two_listings_are_alike(database: Database, world: World):
    world.push_many(Push("d", f"r{number % 5}", f"t{number}", value=str(number)) for number in range(50))
    assert list(opened(database).rows(EVERYTHING)) == list(opened(database).rows(EVERYTHING))


@pytest.mark.databases("sqlite-3.3", "postgresql-3.3", "mysql-3.3", "postgresql-3.4")
def test_memory_does_not_grow_with_the_rows(database: Database, world: World):
    def peak(rows: int) -> int:
        tracemalloc.start()
        seen = sum(1 for _ in islice(opened(database).rows(EVERYTHING), rows))
        assert seen == rows
        _, highest = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return highest

    world.push_many(Push("d", f"r{n // 1000}", "t", n, value=json.dumps(reference())) for n in range(12_000))
    peak(10)
    assert peak(12_000) < 1.5 * peak(3_000)


@pytest.mark.databases("postgresql-3.3-upgraded", "sqlite-3.3-upgraded", "postgresql-3.4-upgraded")
def test_an_upgraded_database_has_other_columns_in_other_places(database: Database, world: World):
    url = reference()
    world.push("d", RUN, "t", value=json.dumps(url))
    assert [xcom.reference for xcom in opened(database).rows(EVERYTHING)] == [url]


@pytest.mark.parametrize("label", ["2.11", "3.3", "3.4"])
def test_another_schema_than_the_default(databases: Databases, label):
    with databases.fresh(f"postgresql-{label}", schema="airflow_tables") as database, World(database) as world:
        world.push("d", RUN, "t", value=json.dumps(reference()))
        found = opened(database)
        assert [xcom.state for xcom in found.rows(EVERYTHING)] == [State.EXTERNAL]
        assert len(names(found.references())) == 1
        assert found.latest_run(XComKey("d", "latest", "t")) == RUN
        assert found.tasks.known_dags({"d", "e"}) == {"d"}


@pytest.mark.databases("*-3.4")
def test_only_the_live_attempt_is_shown_and_all_count(database: Database, world: World):
    urls = [reference() for _ in range(3)]
    world.push("d", RUN, "t", value=json.dumps(urls[0]), legacy=True)
    for url in urls[1:]:
        world.retry("d", RUN, "t")
        world.push_many([Push("d", RUN, "t", value=json.dumps(url))])
    found = opened(database)
    assert [(x.reference, x.try_number) for x in found.rows(EVERYTHING)] == [(urls[2], 3)]
    everything = {(x.reference, x.try_number) for x in found.rows(EVERYTHING, all_attempts=True)}
    assert everything == {(urls[0], 1), (urls[1], 2), (urls[2], 3)}
    key = XComKey("d", RUN, "t")
    assert [value.xcom.reference for value in found.values(key)] == [urls[2]]
    assert [value.xcom.try_number for value in found.values(key, all_attempts=True)] == [1, 2, 3]
    assert set.union(*names(found.references())) == {url[-36:] for url in urls}
    placements = [place(f"d/{RUN}/t/{url[-36:]}") for url in urls]
    assert found.still_referenced(placements) == {url[-36:] for url in urls}


@pytest.mark.databases("*-3.4")
def test_an_old_row_is_shown_until_its_attempt_pushes_again(database: Database, world: World):
    world.push("d", RUN, "t", key="a", value='"old"', legacy=True)
    world.push("d", RUN, "t", key="b", value='"old"', legacy=True)
    world.push_many([Push("d", RUN, "t", key="b", value='"new"')])
    found = opened(database)
    shown = [(x.key, found.values(XComKey("d", RUN, "t", -1, x.key))[0].data) for x in found.rows(EVERYTHING)]
    assert sorted(shown) == [("a", '"old"'), ("b", '"new"')]


def test_the_latest_run_is_the_newest_that_holds_the_xcom(database: Database, world: World):
    for day, run_id in enumerate(["b", "c", "a"]):
        world.run("d", run_id, WHEN + timedelta(days=day))
        world.push("d", run_id, "t", value=str(day))
    world.run("d", "without", WHEN + timedelta(days=9))
    found = opened(database)
    assert found.latest_run(XComKey("d", "latest", "t")) == "a"
    with pytest.raises(NotFoundError):
        found.latest_run(XComKey("d", "latest", "t", 5))
    world.push("d", "latest", "t", value="7")
    assert found.latest_run(XComKey("d", "latest", "t")) == "latest"


def test_a_missing_xcom_says_what_is_there(database: Database, world: World):
    world.push("d", RUN, "t", key="accuracy", value="1")
    world.push("d", RUN, "t", 2, value="1")
    with pytest.raises(NotFoundError) as error:
        opened(database).values(XComKey("d", RUN, "t"))
    assert "accuracy" in error.value.hint and "--map-index 2" in error.value.hint
    with pytest.raises(NotFoundError) as error:
        opened(database).values(XComKey("d", RUN, "other"))
    assert "xcomctl ls --dag-id d" in error.value.hint


def test_archives_keep_objects_alive(database: Database, world: World):
    url = reference()
    world.push("d", RUN, "t", value=json.dumps(url))
    assert world.db_clean()
    found = opened(database)
    assert list(found.rows(EVERYTHING)) == []
    assert found.schema.unknown == ()
    assert names(found.references()) == []
    assert names(found.archived_references()) == [{url[-36:]}]


@pytest.mark.databases("*-2.11")
def test_pickled_references_keep_objects_alive(database: Database, world: World):
    url = reference()
    world.push("d", RUN, "t", value=pickle.dumps(url))
    assert names(opened(database).references()) == [{url[-36:]}]
    assert opened(database).still_referenced([place(f"d/{RUN}/t/{url[-36:]}")]) == {url[-36:]}


@pytest.mark.databases("*-3.3-upgraded")
def test_the_archive_of_the_upgrade_keeps_objects_alive(database: Database, world: World):
    url = reference()
    if "_xcom_archive" not in world.tables():
        pytest.fail("the upgraded schema should have the archive of pickled rows")
    world.archive_pickle("d", RUN, "t", pickle.dumps(url))
    assert names(opened(database).archived_references()) == [{url[-36:]}]


@pytest.mark.databases("*-3.3", "*-3.4")
@pytest.mark.parametrize("encode", [json.dumps, str])
def test_state_stores_keep_objects_alive(database: Database, world: World, encode):
    task, asset = reference(), reference()
    world.task_state("d", RUN, "t", "k", encode(task))
    world.asset_state("a", "k", encode(asset))
    assert set.union(*names(opened(database).references())) == {task[-36:], asset[-36:]}


def test_an_unknown_table_and_head_are_noticed(database: Database, world: World):
    assert opened(database).schema.version is not None
    world.sql("CREATE TABLE xcom_v9 (id integer)")
    world.sql("UPDATE alembic_version SET version_num = 'abc'")
    schema = opened(database).schema
    assert (schema.unknown, schema.head, schema.version) == (("xcom_v9",), "abc", None)


def test_the_second_look_sees_rows_under_the_objects_own_coordinates(database: Database, world: World):
    urls = [reference(task_id=f"t{number}") for number in range(3)]
    world.push("d", RUN, "t0", value=json.dumps(urls[0]))
    world.push("d", RUN, "t1", 4, "other key", value=json.dumps(json.dumps(urls[1])))
    placements = [place(f"d/{RUN}/t{number}/{url[-36:]}") for number, url in enumerate(urls)]
    assert opened(database).still_referenced(placements) == {urls[0][-36:], urls[1][-36:]}


def test_which_dags_are_known(database: Database, world: World):
    world.dag("without runs")
    world.push("d", RUN, "t", value="1")
    asked = {"without runs", "d", "D", "gone"}
    assert opened(database).tasks.known_dags(asked) == {"without runs", "d"}


@pytest.mark.databases("*-3.3", "*-3.4")
def test_owners_that_may_still_write(database: Database, world: World):
    now = datetime.now(timezone.utc)
    states = {"running": None, "deferred": None, "success": now, "failed": now - timedelta(hours=3)}
    owners = {}
    for state, ended_at in states.items():
        world.task("d", RUN, state, state=state, end_date=ended_at, updated_at=ended_at or now - timedelta(days=1))
        owners[state] = str(world.attempt("d", RUN, state))
    gone = str(uuid4())
    unfinished = opened(database).tasks.unfinished({*owners.values(), gone}, now - timedelta(hours=1))
    assert unfinished == {owners["running"], owners["deferred"], owners["success"]}


@pytest.mark.databases("*-3.4")
def test_a_superseded_attempt_is_over_whatever_its_state_says(database: Database, world: World):
    long_ago = datetime(2026, 1, 1, tzinfo=timezone.utc)
    world.task("d", RUN, "t", state="up_for_retry", end_date=long_ago, updated_at=long_ago)
    first = str(world.attempt("d", RUN, "t"))
    assert opened(database).tasks.unfinished({first}, datetime.now(timezone.utc)) == {first}
    world.retry("d", RUN, "t")
    assert opened(database).tasks.unfinished({first}, datetime.now(timezone.utc)) == set()
