"""The lab proves itself: what other tests stand on is what a real Airflow and real servers do."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest

from tests import schemas
from tests.conftest import MATRIX, STORES
from tests.lab import effort, s3
from tests.lab.database import Database, Databases
from tests.lab.folder import Folder
from tests.lab.process import running
from tests.lab.world import WHEN, Push, World

EVERY_SCHEMA = pytest.mark.databases(*schemas.names())


def test_a_server_that_stops_shows_its_log(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "raise SystemExit('no such volume')"]
    with pytest.raises(RuntimeError, match="no such volume"), running(command, lambda: False, tmp_path / "log"):
        pass


def test_a_store_keeps_raw_keys(store: s3.Bucket | Folder) -> None:
    key = "xcom/d/manual__2026-01-02T03:04:05+00:00/a [b]*?#%&=é/0b1c"
    store.put(key, b"[1]")
    store.put("other")
    assert store.get(key) == b"[1]"
    assert store.keys() == {key, "other"}
    assert store.keys("xcom/") == {key}
    store.delete(key)
    with pytest.raises(KeyError):
        store.get(key)


@pytest.mark.stores("seaweedfs")
def test_seaweedfs_checks_credentials(store: s3.Bucket) -> None:
    stranger = s3.S3Server(store.server.endpoint, secret="guessed").client()
    with pytest.raises(stranger.exceptions.ClientError, match="SignatureDoesNotMatch"):
        stranger.list_objects_v2(Bucket=store.name)


@pytest.mark.parametrize("long", [False, True])
def test_any_two_of_dialect_schema_and_store_meet(monkeypatch: pytest.MonkeyPatch, long: bool) -> None:
    monkeypatch.setattr(effort, "LONG", long)
    every = {(name, store) for name in MATRIX for store in STORES}
    chosen = effort.together(MATRIX, STORES)
    assert len(set(chosen)) == len(chosen) and (set(chosen) == every if long else len(chosen) < len(every) / 2)
    assert set(MATRIX) == {name for name, _ in chosen}, "dialect and schema"
    for part in (0, 1):
        of_name = {(name.split("-")[part], store) for name, store in every}
        assert {(name.split("-")[part], store) for name, store in chosen} == of_name


def test_the_oldest_sqlalchemy_meets_every_dialect_and_schema(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(effort, "LONG", False)
    monkeypatch.setattr("sqlalchemy.__version__", "1.4.49")
    tried = [name.split("-") for name in effort.databases(list(MATRIX))]
    assert [set(parts) for parts in zip(*tried, strict=True)] == [
        set(parts) for parts in zip(*(name.split("-") for name in MATRIX), strict=True)
    ]
    assert effort.databases(["mysql-3.4"]) == ["mysql-3.4"], "what the sample lacks is tried all the same"
    monkeypatch.setattr("sqlalchemy.__version__", "2.0.45")
    assert effort.databases(list(MATRIX)) == list(MATRIX)


def test_files_can_be_aged(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    folder.put("a")
    before = (tmp_path / "a").stat().st_mtime
    folder.age("a", timedelta(days=8))
    assert before - (tmp_path / "a").stat().st_mtime == pytest.approx(8 * 86400, abs=1)


@EVERY_SCHEMA
def test_a_schema_has_its_xcom_tables_and_its_head(database: Database, world: World) -> None:
    tables = world.tables()
    xcoms = {"xcom_v1", "xcom_v2"} if database.label.startswith("3.4") else {"xcom"}
    assert {table for table in tables if table.startswith("xcom")} == xcoms
    assert ("_xcom_archive" in tables) == database.label.endswith("upgraded")
    assert len(world.sql("SELECT version_num FROM alembic_version")) == 1


@pytest.mark.parametrize("name", ["sqlite-3.3", "postgresql-3.3", "mysql-3.3"])
def test_no_database_remembers_the_test_before(databases: Databases, name: str) -> None:
    state = "SELECT version_num, xcom.* FROM alembic_version LEFT JOIN xcom ON 1 = 1"
    with databases.fresh(name) as database, World(database) as world:
        pristine = world.tables(), world.sql(state)
    for change in (
        "CREATE TABLE _airflow_deleted__xcom__1 (value INTEGER)",
        "UPDATE alembic_version SET version_num = 'unknown'",
        "ALTER TABLE xcom ADD COLUMN extra INTEGER",
        "DROP TABLE xcom",
        "DELETE FROM dag_run",
    ):
        with databases.fresh(name) as database, World(database) as world:
            assert (world.tables(), world.sql(state)) == pristine
            world.push("d", "r", "t")
            world.sql(change)


@EVERY_SCHEMA
def test_a_push_makes_all_that_it_needs(world: World) -> None:
    world.push("d", "r", "t", value='{"a": [1, "é"]}')
    world.push("d", "r", "t", 3, "k", value="190")
    world.push("d", "r", "t", 3, "k", value='"file:///x/d/r/t/0b1c"')
    assert text(world.stored("d", "r", "t")) == '{"a": [1, "é"]}'
    assert text(world.stored("d", "r", "t", 3, "k")) == '"file:///x/d/r/t/0b1c"'
    assert world.sql("SELECT COUNT(*) FROM task_instance") == [(2,)]


@EVERY_SCHEMA
def test_deleting_a_run_takes_its_rows_along(world: World) -> None:
    for run_id in ("r", "s"):
        world.push("d", run_id, "t", value='"x"')
    world.delete_run("d", "r")
    with pytest.raises(LookupError):
        world.stored("d", "r", "t")
    assert text(world.stored("d", "s", "t")) == '"x"'
    world.delete_dag("d")
    assert world.sql("SELECT COUNT(*) FROM task_instance") == [(0,)]


@EVERY_SCHEMA
def test_runs_and_task_instances_take_any_column(world: World) -> None:
    world.push("d", "r", "t")
    world.run("d", "r", at=WHEN + timedelta(days=1), state="running")
    world.task("d", "r", "t", state="failed", end_date=None)
    assert world.sql("SELECT state FROM dag_run") == [("running",)]
    assert world.sql("SELECT state, end_date FROM task_instance") == [("failed", None)]


@EVERY_SCHEMA
def test_db_clean_moves_rows_to_an_archive(world: World) -> None:
    world.push("d", "r", "old", value='"x"', timestamp=WHEN - timedelta(days=9))
    world.push("d", "r", "new", value='"y"')
    (archive,) = world.db_clean(before=WHEN - timedelta(days=1))
    assert len(world.sql(f"SELECT * FROM {archive}")) == 1
    assert text(world.stored("d", "r", "new")) == '"y"'
    with pytest.raises(LookupError):
        world.stored("d", "r", "old")


@pytest.mark.databases("*-2.*")
def test_airflow_2_holds_any_bytes(world: World) -> None:
    world.push("d", "r", "t", value=b"\x80\x04\x95")
    assert world.stored("d", "r", "t") == b"\x80\x04\x95"


@pytest.mark.databases("*-3.3")
def test_airflow_3_holds_no_bytes(world: World) -> None:
    with pytest.raises(TypeError):
        world.push("d", "r", "t", value=b"\x80\x04\x95")


@pytest.mark.databases("*-upgraded")
def test_an_upgraded_database_archives_pickles(world: World) -> None:
    world.archive_pickle("d", "r", "t", b"\x80\x04\x95")
    assert [bytes(value) for (value,) in world.sql("SELECT value FROM _xcom_archive")] == [b"\x80\x04\x95"]  # type: ignore[call-overload]


@pytest.mark.databases("*-3.*")
def test_state_stores_hold_text(world: World) -> None:
    world.task_state("d", "r", "t", "k", '"file:///x"')
    world.asset_state("a", "k", '"file:///y"')
    world.asset_state("a", "l", '"file:///z"')
    assert world.sql("SELECT value FROM task_state_store") == [('"file:///x"',)]
    assert world.sql("SELECT value FROM asset_state_store ORDER BY value") == [('"file:///y"',), ('"file:///z"',)]


@pytest.mark.databases("*-3.4*")
def test_a_retry_on_3_4_keeps_the_xcoms_of_the_attempt_before(world: World) -> None:
    world.push("d", "r", "t", 0, value='"first"')
    before = world.attempt("d", "r", "t", 0)
    world.retry("d", "r", "t", 0)
    world.push("d", "r", "t", 0, value='"second"')
    assert world.attempt("d", "r", "t", 0) != before
    assert text(world.stored("d", "r", "t", 0)) == '"second"'
    assert world.sql("SELECT COUNT(*) FROM xcom_v2") == [(2,)]
    tries = world.sql("SELECT try_number, working_set, archived_reason FROM task_instance ORDER BY try_number")
    assert tries == [(1, None, "retry"), (2, True, None)]


@pytest.mark.databases("*-2.11", "*-3.3")
def test_a_retry_before_3_4_deletes_them(world: World) -> None:
    world.push("d", "r", "t")
    world.retry("d", "r", "t")
    with pytest.raises(LookupError):
        world.stored("d", "r", "t")


@pytest.mark.databases("*-3.4*")
def test_legacy_rows_have_an_owner(world: World) -> None:
    world.push("d", "r", "t", 2, value='"old"', legacy=True)
    assert world.sql("SELECT map_index FROM legacy_task_data_owner") == [(2,)]
    assert text(world.stored("d", "r", "t", 2)) == '"old"'
    assert world.sql("SELECT COUNT(*) FROM xcom_v2") == [(0,)]
    assert world.sql("SELECT COUNT(*) FROM dynamic_region") == [(0,)]
    world.retry("d", "r", "t", 2)
    world.delete_run("d", "r")
    assert world.sql("SELECT COUNT(*) FROM xcom_v1") == [(0,)]


def test_many_rows_at_once(world: World) -> None:
    pushes = [Push("d", f"r{run}", f"t{task}", index) for run in range(20) for task in range(5) for index in range(5)]
    world.push_many(pushes)
    assert world.sql("SELECT COUNT(*) FROM task_instance") == [(500,)]
    assert text(world.stored("d", "r19", "t4", 4)) == "null"


def test_tables_may_be_in_a_schema_of_their_own(databases: Databases) -> None:
    with databases.fresh("postgresql-3.4", schema="airflow") as database, World(database) as world:
        world.push("d", "r", "t", value='"x"')
        assert world.sql("SELECT COUNT(*) FROM airflow.xcom_v2") == [(1,)]


WRITE = """
from airflow.models.xcom import XComModel
from airflow.utils.session import create_session
with create_session() as session:
    for key, value in (("a", {"x": [1, "é"]}), ("n", 190), ("s", "file:///x/d/r/t/0b1c"), ("none", None)):
        XComModel.set(key, value, dag_id="d", run_id="r", task_id="t", serialize=False, session=session)
"""


@pytest.mark.skipif(not importlib.util.find_spec("airflow"), reason="no Airflow in this environment")
@pytest.mark.databases("sqlite-3.3")
def test_rows_are_those_that_airflow_writes(world: World, database: Database, tmp_path: Path) -> None:
    if not importlib.metadata.version("apache-airflow").startswith("3.3"):
        pytest.skip("not Airflow 3.3")
    world.task("d", "r", "t")
    settings = {"AIRFLOW_HOME": str(tmp_path), "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": database.url}
    subprocess.run([sys.executable, "-c", WRITE], env={**os.environ, **settings}, check=True, capture_output=True)
    written = rows(world)
    pushed = {"a": '{"x": [1, "\\u00e9"]}', "n": "190", "s": '"file:///x/d/r/t/0b1c"', "none": "null"}
    for key, value in pushed.items():
        world.push("d", "r", "t", key=key, value=value)
    assert rows(world) == written
    assert world.sql("SELECT length(timestamp) FROM xcom GROUP BY 1") == [(len("2026-01-02 03:04:05.678901"),)]


def rows(world: World) -> list[tuple[object, ...]]:
    columns = "dag_run_id, dag_id, run_id, task_id, map_index, key, dag_result, typeof(value), value, typeof(timestamp)"
    return world.sql(f"SELECT {columns} FROM xcom ORDER BY key")


def text(stored: str | bytes | None) -> str:
    assert stored is not None
    return stored.decode() if isinstance(stored, bytes) else stored
