"""Airflow's rows as Airflow writes them, in any version and database: plain SQL, no ORM, no Airflow.

What a row needs is made on demand: `world.push("d", "r", "t", value='"x"')` makes the DAG, the run and the task
instance too. Each method commits, so the code under test sees its rows at once.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import TypeAlias, cast
from uuid import UUID, uuid4

from sqlalchemy import inspect, text
from sqlalchemy.engine import Connection

from tests.lab.database import Database
from tests.lab.tables import Tables

WHEN = datetime(2026, 1, 2, 3, 4, 5, 678901, timezone.utc)
"""When everything happened that has no time of its own; a run made on demand is a minute later than the last."""

END = datetime(9999, 1, 1, tzinfo=timezone.utc)

DATES = ("execution_date", "logical_date", "run_after", "start_date")
"""The columns that hold the date of a run: the first in Airflow 2, the next two in 3."""

TOP_LEVEL = UUID(int=0)
"""3.4's region of a task instance that is not mapped, or was made by an Airflow before 3.4."""

Run: TypeAlias = tuple[str, str]
"""dag_id, run_id."""

Task: TypeAlias = tuple[str, str, str, int]
"""dag_id, run_id, task_id, map_index."""

Row: TypeAlias = dict[str, object]

Value: TypeAlias = str | bytes | None
"""The JSON text that is in the column; bytes, such as a pickle, only on Airflow 2."""


@dataclass(frozen=True, slots=True)
class Push:
    """One XCom."""

    dag_id: str
    run_id: str
    task_id: str
    map_index: int = -1
    key: str = "return_value"
    value: Value = "null"
    timestamp: datetime = WHEN

    @property
    def task(self) -> Task:
        return self.dag_id, self.run_id, self.task_id, self.map_index

    @property
    def run(self) -> Run:
        return self.dag_id, self.run_id


class World:
    """The rows of one Airflow database."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self._tables = Tables(database.url, database.schema)
        self._runs_made = 0
        self._by_attempt = "xcom_v2" in self._tables.columns
        self._index = "region_index" if self._by_attempt else "map_index"

    def __enter__(self) -> World:
        return self

    def __exit__(self, *_: object) -> None:
        self._tables.engine.dispose()

    def sql(self, statement: str, **values: object) -> list[tuple[object, ...]]:
        """Run one statement, with `:name` for its values, and commit; its rows, if it has any."""
        with self._tables.engine.begin() as connection:
            result = connection.execute(text(statement), values)
            return [tuple(row) for row in result] if result.returns_rows else []

    @contextmanager
    def locked(self, statement: str) -> Iterator[None]:
        """Somebody else's transaction, which has run one statement and goes on until the block ends."""
        with self._tables.engine.connect() as connection, connection.begin() as transaction:
            connection.execute(text(statement))
            yield
            transaction.rollback()

    def tables(self) -> set[str]:
        """The names of all tables that are there now."""
        return set(inspect(self._tables.engine).get_table_names(self.database.schema))

    def dag(self, dag_id: str) -> None:
        """A DAG without runs."""
        with self._tables.engine.begin() as connection:
            self._make_dags(connection, {dag_id})

    def run(self, dag_id: str, run_id: str, at: datetime | None = None, **columns: object) -> None:
        """A run at that date, successful unless `state` says otherwise; a run that is there is changed."""
        dates = dict.fromkeys(DATES, at) if at else {}
        with self._tables.engine.begin() as connection:
            self._make_runs(connection, {(dag_id, run_id)})
            self._tables.update(connection, "dag_run", {**dates, **columns}, dag_id=dag_id, run_id=run_id)

    def task(self, dag_id: str, run_id: str, task_id: str, map_index: int = -1, **columns: object) -> None:
        """A task instance, successful unless `state` says otherwise; one that is there is changed.

        From Airflow 3.4 on it is the live attempt.
        """
        task = dag_id, run_id, task_id, map_index
        with self._tables.engine.begin() as connection:
            self._make_tasks(connection, {task})
            self._tables.update(connection, "task_instance", columns, **self._live(task))

    def attempt(self, dag_id: str, run_id: str, task_id: str, map_index: int = -1) -> UUID:
        """The id of the (from Airflow 3.4 on: live) task instance. Raises LookupError on Airflow 2, which has none."""
        task = dag_id, run_id, task_id, map_index
        with self._tables.engine.begin() as connection:
            found = self._make_tasks(connection, {task})[task]
        if found is None:
            raise LookupError(f"task instances of {self.database.label} have no id")
        return found

    def retry(self, dag_id: str, run_id: str, task_id: str, map_index: int = -1) -> None:
        """The next attempt begins. Airflow 3.4 keeps the XComs of the one before, the others delete them."""
        task = dag_id, run_id, task_id, map_index
        where, values = _equal(self._live(task))
        region = "region_id" if self._by_attempt else "NULL"
        with self._tables.engine.begin() as connection:
            self._make_tasks(connection, {task})
            select = text(f"SELECT try_number, {region} FROM task_instance WHERE {where}")
            tried, region = connection.execute(select, values).one()
            if not self._by_attempt:
                connection.execute(text(f"DELETE FROM xcom WHERE {where}"), values)
                self._tables.update(connection, "task_instance", {"try_number": tried + 1}, **self._live(task))
                return
            over = {"working_set": None, "archived_reason": "retry"}
            self._tables.update(connection, "task_instance", over, **self._live(task))
            again = {**_task_instance(task, {task[:3]: _uuid(region)}), "try_number": tried + 1}
            self._tables.insert(connection, "task_instance", [again])

    def push(
        self,
        dag_id: str,
        run_id: str,
        task_id: str,
        map_index: int = -1,
        key: str = "return_value",
        *,
        value: Value = "null",
        timestamp: datetime = WHEN,
        legacy: bool = False,
    ) -> None:
        """One XCom, in place of any that has its key. For `legacy` see `push_many`."""
        self.delete_xcom(dag_id, run_id, task_id, map_index, key)
        self.push_many([Push(dag_id, run_id, task_id, map_index, key, value, timestamp)], legacy=legacy)

    def push_many(self, pushes: Iterable[Push], *, legacy: bool = False) -> None:
        """XComs that are not there yet, 20,000 and more in a second.

        `legacy` puts them into 3.4's `xcom_v1`, where the upgrade leaves the rows of the versions before.
        """
        pushed = list(pushes)
        with self._tables.engine.begin() as connection:
            attempts = self._make_tasks(connection, {push.task for push in pushed}, legacy=legacy)
            if self._by_attempt and not legacy:
                owned = [{"id": uuid4(), "task_instance_id": attempts[push.task], **_value(push)} for push in pushed]
                self._tables.insert(connection, "xcom_v2", owned)
                return
            if legacy:
                self._make_owners(connection, {push.task: attempts[push.task] for push in pushed})
            runs = self._runs(connection, {push.run_id for push in pushed})
            rows = [{**_place(push.task), "dag_run_id": runs[push.run], **_value(push)} for push in pushed]
            self._tables.insert(connection, "xcom_v1" if legacy else "xcom", rows)

    def stored(self, dag_id: str, run_id: str, task_id: str, map_index: int = -1, key: str = "return_value") -> Value:
        """What is in the column (of the live attempt): JSON text, or on Airflow 2 bytes.

        Raises LookupError when there is no such row.
        """
        for table, where, values in self._rows_of(dag_id, run_id, task_id, map_index, key):
            holds_json = self._tables.columns[table]["value"].kind in ("json", "jsonb")
            column = "CAST(value AS TEXT)" if holds_json and self.database.dialect != "mysql" else "value"
            found = self.sql(f"SELECT {column} FROM {table} WHERE {where}", **values)
            if found:
                raw = found[0][0]
                return raw.tobytes() if isinstance(raw, memoryview) else cast("Value", raw)
        raise LookupError(f"no XCom {dag_id} {run_id} {task_id} {map_index} {key}")

    def delete_xcom(
        self, dag_id: str, run_id: str, task_id: str, map_index: int = -1, key: str = "return_value"
    ) -> None:
        """Delete the row (of the live attempt), as the UI and the API do."""
        for table, where, values in self._rows_of(dag_id, run_id, task_id, map_index, key):
            self.sql(f"DELETE FROM {table} WHERE {where}", **values)

    def delete_run(self, dag_id: str, run_id: str) -> None:
        """Delete a run, and by the database's cascade all that hangs on it."""
        self.sql("DELETE FROM dag_run WHERE dag_id = :dag_id AND run_id = :run_id", dag_id=dag_id, run_id=run_id)

    def delete_dag(self, dag_id: str) -> None:
        """Delete a DAG and its runs, as `airflow dags delete` does."""
        self.sql("DELETE FROM dag_run WHERE dag_id = :dag_id", dag_id=dag_id)
        self.sql("DELETE FROM dag WHERE dag_id = :dag_id", dag_id=dag_id)

    def db_clean(self, before: datetime | None = None, suffix: str = "20260203040506") -> list[str]:
        """Move the XComs (older than `before`) into archives, as `airflow db clean --tables xcom` does.

        The statements are those of airflow/utils/db_cleanup.py. `suffix` is the time of the clean-up, with `__b1`
        and so on when it goes in batches. Returns the archives' names; a table without such XComs gets none.
        """
        made = []
        for table in sorted({"xcom", "xcom_v1", "xcom_v2"} & self._tables.columns.keys()):
            cutoff = self._tables.columns[table]["timestamp"].stored(before or END)
            old = f"SELECT base.* FROM {table} AS base WHERE base.timestamp < :cutoff"
            if not self.sql(f"{old} LIMIT 1", cutoff=cutoff):
                continue
            archive = f"_airflow_deleted__{table}__{suffix}"
            if self.database.dialect == "mysql":
                self.sql(f"CREATE TABLE {archive} LIKE {table}")
                self.sql(f"INSERT INTO {archive} {old}", cutoff=cutoff)
            else:
                self.sql(f"CREATE TABLE {archive} AS {old}", cutoff=cutoff)
            self.sql(f"DELETE FROM {table} WHERE timestamp < :cutoff", cutoff=cutoff)
            made.append(archive)
        return made

    def archive_pickle(self, dag_id: str, run_id: str, task_id: str, value: bytes, key: str = "return_value") -> None:
        """A row of `_xcom_archive`, where the upgrade from 2 to 3 puts pickles: only in schemas `…-upgraded`."""
        push = Push(dag_id, run_id, task_id, key=key, value=value)
        with self._tables.engine.begin() as connection:
            runs = self._make_runs(connection, {push.run})
            row = {**_place(push.task), "dag_run_id": runs[push.run], **_value(push)}
            self._tables.insert(connection, "_xcom_archive", [row])

    def task_state(self, dag_id: str, run_id: str, task_id: str, key: str, value: str, map_index: int = -1) -> None:
        """A row of `task_state_store` (Airflow 3.3 on); `value` is the column's text."""
        with self._tables.engine.begin() as connection:
            runs = self._make_runs(connection, {(dag_id, run_id)})
            place = {**_place((dag_id, run_id, task_id, map_index)), "region_index": map_index}
            row = {**place, "dag_run_id": runs[dag_id, run_id], "key": key, "value": value, "updated_at": WHEN}
            self._tables.insert(connection, "task_state_store", [row])

    def asset_state(self, asset: str, key: str, value: str) -> None:
        """A row of `asset_state_store` (Airflow 3.3 on) of the asset so named; `value` is the column's text."""
        find = text("SELECT id FROM asset WHERE name = :name")
        with self._tables.engine.begin() as connection:
            if not connection.execute(find, {"name": asset}).first():
                self._tables.insert(connection, "asset", [{"name": asset, "uri": asset, "extra": "{}"}])
            asset_id = connection.execute(find, {"name": asset}).scalar_one()
            row = {"asset_id": asset_id, "key": key, "value": value, "updated_at": WHEN}
            self._tables.insert(connection, "asset_state_store", [row])

    def _make_dags(self, connection: Connection, dag_ids: Collection[str]) -> None:
        known = set(connection.execute(text("SELECT dag_id FROM dag")).scalars())
        if "dag_bundle" in self._tables.columns and not known:
            bundled = connection.execute(text("SELECT 1 FROM dag_bundle")).first()
            self._tables.insert(connection, "dag_bundle", [] if bundled else [{"name": "dags-folder"}])
        rest = {"bundle_name": "dags-folder", "partition_mapper_info": "{}", "is_active": True}
        self._tables.insert(connection, "dag", [{"dag_id": dag_id, **rest} for dag_id in set(dag_ids) - known])

    def _make_runs(self, connection: Connection, runs: Collection[Run]) -> dict[Run, int]:
        """The numbers of these runs, which are there afterwards."""
        run_ids = {run_id for _, run_id in runs}
        missing = sorted(set(runs) - self._runs(connection, run_ids).keys())
        if missing:
            self._make_dags(connection, {dag_id for dag_id, _ in missing})
            dates = [WHEN + timedelta(minutes=self._runs_made + count) for count, _ in enumerate(missing)]
            self._tables.insert(connection, "dag_run", [_dag_run(*made) for made in zip(missing, dates, strict=True)])
            self._runs_made += len(missing)
        return self._runs(connection, run_ids)

    def _make_tasks(
        self, connection: Connection, tasks: Collection[Task], *, legacy: bool = False
    ) -> dict[Task, UUID | None]:
        """The ids of these task instances, which are there afterwards; None on Airflow 2."""
        run_ids = {task[1] for task in tasks}
        missing = sorted(set(tasks) - self._attempts(connection, run_ids).keys())
        if missing:
            self._make_runs(connection, {task[:2] for task in missing})
            regions = {} if legacy else self._make_regions(connection, missing)
            self._tables.insert(connection, "task_instance", [_task_instance(task, regions) for task in missing])
        return self._attempts(connection, run_ids)

    def _make_regions(self, connection: Connection, tasks: Collection[Task]) -> dict[tuple[str, str, str], UUID]:
        """3.4's regions of the mapped tasks among these: a task that is mapped has one in each run."""
        mapped = {task[:3] for task in tasks if task[3] >= 0}
        if not self._by_attempt or not mapped:
            return {}
        where, values = _among({run_id for _, run_id, _ in mapped})
        select = text(f"SELECT dag_id, run_id, node_id, id FROM dynamic_region WHERE {where}")
        known = {(dag_id, run_id, node): _uuid(raw) for dag_id, run_id, node, raw in connection.execute(select, values)}
        made = {task: uuid4() for task in mapped - known.keys()}
        rows: list[Row] = [
            {"id": region, "family_root_id": region, "dag_id": dag_id, "run_id": run_id, "node_id": node}
            for (dag_id, run_id, node), region in made.items()
        ]
        self._tables.insert(connection, "dynamic_region", rows)
        return {**known, **made}

    def _make_owners(self, connection: Connection, attempts: Mapping[Task, UUID | None]) -> None:
        """3.4's owners of legacy rows."""
        where, values = _among({task[1] for task in attempts})
        select = f"SELECT dag_id, run_id, task_id, map_index FROM legacy_task_data_owner WHERE {where}"
        known = {tuple(row) for row in connection.execute(text(select), values)}
        missing = sorted(attempts.keys() - known)
        rows = [{**_place(task), "task_instance_id": attempts[task]} for task in missing]
        self._tables.insert(connection, "legacy_task_data_owner", rows)

    def _runs(self, connection: Connection, run_ids: Collection[str]) -> dict[Run, int]:
        where, values = _among(run_ids)
        found = connection.execute(text(f"SELECT dag_id, run_id, id FROM dag_run WHERE {where}"), values)
        return {(dag_id, run_id): number for dag_id, run_id, number in found}

    def _attempts(self, connection: Connection, run_ids: Collection[str]) -> dict[Task, UUID | None]:
        where, values = _among(run_ids)
        where += " AND working_set = TRUE" if self._by_attempt else ""
        number = "id" if "id" in self._tables.columns["task_instance"] else "NULL"
        select = f"SELECT dag_id, run_id, task_id, {self._index}, {number} FROM task_instance WHERE {where}"
        found = connection.execute(text(select), values)
        return {(dag, run, task, index): raw and _uuid(raw) for dag, run, task, index, raw in found}

    def _live(self, task: Task) -> Row:
        """What finds this task instance's row, or live attempt's."""
        dag_id, run_id, task_id, index = task
        live = {"working_set": True} if self._by_attempt else {}
        return {"dag_id": dag_id, "run_id": run_id, "task_id": task_id, self._index: index, **live}

    def _rows_of(self, dag_id: str, run_id: str, task_id: str, map_index: int, key: str) -> list[tuple[str, str, Row]]:
        """Where an XCom can be: the table, the condition, and the condition's values."""
        task = dag_id, run_id, task_id, map_index
        column = self._tables.quote("key")
        where, values = _equal(_place(task))
        placed = f"{where} AND {column} = :xcom_key", {**values, "xcom_key": key}
        if not self._by_attempt:
            return [("xcom", *placed)]
        where, values = _equal(self._live(task))
        live = f"task_instance_id IN (SELECT id FROM task_instance WHERE {where}) AND {column} = :xcom_key"
        return [("xcom_v2", live, {**values, "xcom_key": key}), ("xcom_v1", *placed)]


def _dag_run(run: Run, at: datetime) -> Row:
    dag_id, run_id = run
    kind = run_id.partition("__")[0]
    run_type = kind if kind in ("scheduled", "backfill", "asset_triggered", "dataset_triggered") else "manual"
    dates = dict.fromkeys((*DATES, "queued_at", "end_date"), at)
    return {"dag_id": dag_id, "run_id": run_id, "run_type": run_type, "state": "success", **dates}


def _task_instance(task: Task, regions: Mapping[tuple[str, str, str], UUID]) -> Row:
    return {
        **_place(task),
        "id": uuid4(),
        "region_id": regions[task[:3]] if task[3] >= 0 and regions else TOP_LEVEL,
        "region_index": task[3],
        "state": "success",
        "try_number": 1,
        "operator": "PythonOperator",
        "pool": "default_pool",
        "pool_slots": 1,
        "working_set": True,
        **dict.fromkeys(("start_date", "end_date", "updated_at"), WHEN),
    }


def _place(task: Task) -> Row:
    dag_id, run_id, task_id, map_index = task
    return {"dag_id": dag_id, "run_id": run_id, "task_id": task_id, "map_index": map_index}


def _value(push: Push) -> Row:
    return {"key": push.key, "value": push.value, "timestamp": push.timestamp, "dag_result": False}


def _equal(row: Row) -> tuple[str, Row]:
    return " AND ".join(f"{name} = :{name}" for name in row), row


def _among(run_ids: Collection[str]) -> tuple[str, Row]:
    """A condition that keeps rows of at least these runs. Many runs are not worth naming."""
    if len(run_ids) > 500:
        return "1 = 1", {}
    values: Row = {f"run{count}": run_id for count, run_id in enumerate(run_ids)}
    return f"run_id IN ({', '.join(f':{name}' for name in values)})", values


def _uuid(raw: object) -> UUID:
    return UUID(bytes=raw) if isinstance(raw, bytes) else UUID(str(raw))
