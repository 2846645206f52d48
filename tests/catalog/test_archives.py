"""What archive tables hold, on every schema and database: the same rows under the same names, as far as they tell."""

from __future__ import annotations

import json
import pickle
from datetime import datetime, timezone

import pytest

from tests.lab.database import Database
from tests.lab.world import World
from xcomctl.backend.reference import parse_base
from xcomctl.catalog import Catalog, open_catalog
from xcomctl.errors import NotFoundError
from xcomctl.model import Filter, State, XCom, XComKey

BASE = parse_base("s3://bucket/xcom")
URL = "s3://bucket/xcom/d/r/t/0d760203-28d1-4226-81c7-7786b50e4773"
LATER = datetime(2026, 5, 6, tzinfo=timezone.utc)


def catalog(database: Database) -> Catalog:
    return open_catalog(database.url, database.schema, BASE)


def told(xcom: XCom) -> tuple[object, ...]:
    """All that a live row and its archived copy have in common."""
    names = (xcom.dag_id, xcom.run_id, xcom.task_id, xcom.map_index, xcom.key)
    return *names, xcom.state, xcom.timestamp, xcom.reference, xcom.try_number


def text(data: str | bytes | None) -> object:
    return json.loads(data or b"null")


def test_an_archived_row_tells_what_it_told_before(database: Database, world: World):
    world.push("d", "r", "t", value='{"a": [1, 2.5, "ünï"]}')
    world.push("d", "r", "g.t", 3, key="external", value=json.dumps(URL))
    world.push("d", "r", "t", key="number", value="1")
    before = list(catalog(database).rows(Filter()))
    archives = world.db_clean()
    found = catalog(database)
    archived = list(found.archived(Filter()))
    assert sorted(map(told, archived), key=str) == sorted(map(told, before), key=str)
    assert {xcom.archive for xcom in archived} == set(archives) and list(found.rows(Filter())) == []
    values = {xcom.key: text(found.archived_values(_key(xcom))[-1].data) for xcom in archived}
    assert values == {"return_value": {"a": [1, 2.5, "ünï"]}, "external": URL, "number": 1}


def _key(xcom: XCom) -> XComKey:
    return XComKey(xcom.dag_id, xcom.run_id, xcom.task_id, xcom.map_index, xcom.key)


@pytest.mark.parametrize(
    ("selected", "keys"),
    [
        (Filter(dag_ids=("d*",)), {"a", "b"}),
        (Filter(dag_ids=("D*",)), set()),
        (Filter(keys=("a",)), {"a"}),
        (Filter(map_index=3), {"b"}),
        (Filter(states=(State.EXTERNAL,)), {"b"}),
        (Filter(since=LATER), {"c"}),
        (Filter(exclude_dag_ids=("d",)), {"c"}),
    ],
)
def test_filters_choose_among_archived_rows(database: Database, world: World, selected: Filter, keys: set[str]):
    world.push("d", "r", "t", key="a")
    world.push("d", "r", "t", 3, key="b", value=json.dumps(URL))
    world.push("e", "r", "t", key="c", timestamp=LATER)
    world.db_clean()
    assert {xcom.key for xcom in catalog(database).archived(selected)} == keys


def test_the_newest_archive_comes_last(database: Database, world: World):
    for value, suffix in (("1", "20260101000000"), ("3", "20260303000000__b2"), ("2", "20260202000000")):
        world.push("d", "r", "t", value=value)
        world.db_clean(suffix=suffix)
    found = catalog(database)
    values = found.archived_values(XComKey("d", "r", "t"))
    assert [text(value.data) for value in values] == [1, 2, 3]
    oldest = str(values[0].xcom.archive)
    assert [text(value.data) for value in found.archived_values(XComKey("d", "r", "t"), oldest)] == [1]


def test_the_latest_run_among_archives(database: Database, world: World):
    world.push("d", "a", "t", timestamp=LATER)
    world.push("d", "z", "t")
    world.push("d", "zz", "other", timestamp=LATER)
    world.db_clean()
    assert catalog(database).latest_archived_run(XComKey("d", "latest", "t")) == "a"


def test_what_no_archive_holds(database: Database, world: World):
    world.push("d", "r", "t")
    found = catalog(database)
    with pytest.raises(NotFoundError, match="no archive holds"):
        found.archived_values(XComKey("d", "r", "t"))
    with pytest.raises(NotFoundError, match="no archive holds"):
        found.latest_archived_run(XComKey("d", "latest", "t"))
    with pytest.raises(NotFoundError, match="there is no archive x"):
        found.archived_values(XComKey("d", "r", "t"), "x")
    assert list(found.archived(Filter())) == []


@pytest.mark.databases("*-upgraded")
def test_pickles_that_the_upgrade_put_aside(database: Database, world: World):
    data = pickle.dumps({"a": 1})
    world.archive_pickle("d", "r", "t", data)
    found = catalog(database)
    (xcom,) = found.archived(Filter())
    assert (xcom.archive, xcom.state, xcom.key) == ("_xcom_archive", State.PICKLED, "return_value")
    (value,) = found.archived_values(XComKey("d", "r", "t"))
    assert value.data == data


@pytest.mark.databases("*-2.11")
def test_a_pickle_in_an_archive_is_one(database: Database, world: World):
    world.push("d", "r", "t", value=pickle.dumps("x"))
    world.db_clean()
    (xcom,) = catalog(database).archived(Filter())
    assert xcom.state is State.PICKLED


@pytest.mark.databases("*-3.3", "*-3.4")
def test_what_the_state_stores_have_put_aside_is_no_xcom(database: Database, world: World):
    world.sql("CREATE TABLE _airflow_deleted__task_state_store__20260203040506 AS SELECT * FROM task_state_store")
    assert list(catalog(database).archived(Filter())) == []


@pytest.mark.databases("*-3.4")
class TestLostOwners:
    """3.4's rows know only their task instance."""

    def clean(self, world: World, *, with_task: bool) -> None:
        world.push("d", "r", "t", 3, value="1")
        world.db_clean()
        if with_task:
            world.sql("CREATE TABLE _airflow_deleted__task_instance__20260203040506 AS SELECT * FROM task_instance")
            world.sql("CREATE TABLE _airflow_deleted__task_instance__0a1b2c3d4e5f6a7b AS SELECT * FROM task_instance")
        world.delete_run("d", "r")

    def test_an_archive_may_know_them(self, database: Database, world: World):
        self.clean(world, with_task=True)
        found = catalog(database)
        (xcom,) = found.archived(Filter(dag_ids=("d",)))
        assert (xcom.dag_id, xcom.run_id, xcom.task_id, xcom.map_index, xcom.try_number) == ("d", "r", "t", 3, 1)
        assert [text(value.data) for value in found.archived_values(XComKey("d", "r", "t", 3))] == [1]

    def test_or_nobody(self, database: Database, world: World):
        self.clean(world, with_task=False)
        found = catalog(database)
        (xcom,) = found.archived(Filter())
        assert xcom.is_nameless and (xcom.key, xcom.map_index, xcom.try_number) == ("return_value", -1, None)
        assert list(found.archived(Filter(dag_ids=("*",)))) != [] and list(found.archived(Filter(dag_ids=("d",)))) == []

    def test_every_attempt_is_there(self, database: Database, world: World):
        world.push("d", "r", "t", value="1")
        world.retry("d", "r", "t")
        world.push("d", "r", "t", value="2")
        world.db_clean()
        found = catalog(database)
        assert sorted(str(xcom.try_number) for xcom in found.archived(Filter())) == ["1", "2"]
        assert len(found.archived_values(XComKey("d", "r", "t"))) == 2
