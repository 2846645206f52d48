"""Rows removed for good, or into an archive: some at a time, and only those that still are what was read.

One short transaction locks the runs and tasks that the rows belong to, then the rows, looks at all of them as they are
then, and deletes in a statement that asks again whether the runs are over. So whoever clears a run, or pushes a row
anew, comes either before, and the row stays, or after the row has gone. It never waits for a lock while it holds one,
and so is in nobody's way for long, nor in a deadlock. A copy in an archive is made in the same transaction: a row is
never in neither.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from enum import Enum
from typing import TYPE_CHECKING, Any

from xcomctl.catalog.catalog import EPOCH, Row
from xcomctl.catalog.database import utc
from xcomctl.catalog.engine import connected
from xcomctl.catalog.schema import Table
from xcomctl.catalog.source import clause
from xcomctl.catalog.tasks import has_attempts, is_at_work, is_over
from xcomctl.catalog.writing import Writer, is_row, key_columns
from xcomctl.errors import MetadataError
from xcomctl.model import Filter

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection
    from sqlalchemy.sql import ColumnElement, Select

ROWS_AT_ONCE = 200
"""The most rows that one transaction removes."""

REMOVING = timedelta(minutes=1)
"""How long a transaction may take from its first look to its DELETE, by the database's clock."""


class Settled(Enum):
    """What became of a row that was to go."""

    REMOVED = "removed"
    CHANGED = "changed"
    """It is another than the one that was read, or is not there any more."""
    UNFINISHED = "unfinished"
    """Its run is not over, or its task is at work."""
    HIDING = "hiding"
    """Airflow 3.4 would show an older row in its place."""


@dataclass(frozen=True, slots=True)
class _Found:
    """A row as it is while it is locked."""

    pushed_at: datetime | None
    digest: str | None
    is_over: bool
    hides: bool

    def settles(self, row: Row) -> Settled:
        """What is to become of the row that was read."""
        if (self.pushed_at or EPOCH, self.digest) != (row.xcom.timestamp, row.digest):
            return Settled.CHANGED
        if not self.is_over:
            return Settled.UNFINISHED
        return Settled.HIDING if self.hides else Settled.REMOVED


class Remover(Writer):
    """Removes rows of one database."""

    def rows(self, selected: Filter) -> Iterator[Row]:
        """The rows that a filter means, of every attempt, each with the digest of its value; older tables first."""
        return self._catalog.addressed(selected, digested=True)

    def require_rights(self) -> None:
        """Raise `MetadataError` where rows may not be locked or deleted."""
        from sqlalchemy import delete, false, select

        for name in ("dag_run", "task_instance"):
            owner = clause(self._catalog.schema, name, ("state",))
            self._require(select(owner.c.state).where(false()).with_for_update(read=True))
        for table in self._catalog.schema.live:
            x = self._table(table)
            self._require(select(x.c.value).where(false()).with_for_update())
            self._require(delete(x).where(false()))

    def make_archive(self, table: Table, now: datetime) -> str:
        """Make an empty archive of a table, as `airflow db clean` does, and return its name.

        `CREATE TABLE AS` without keys, on MySQL `LIKE` with them (airflow/utils/db_cleanup.py, 2.9 to 3.4).
        """
        dialect = self._engine.dialect
        names = self._names()
        while (name := f"_airflow_deleted__{table.name}__{now.astimezone(timezone.utc):%Y%m%d%H%M%S}") in names:
            now += timedelta(seconds=1)
        quoted = dialect.identifier_preparer.quote
        namespace = self._catalog.schema.namespace
        new, old = (".".join(map(quoted, (*([namespace] if namespace else []), each))) for each in (name, table.name))
        if dialect.name in ("mysql", "mariadb"):
            statement = f"CREATE TABLE {new} LIKE {old}"
        else:
            statement = f"CREATE TABLE {new} AS SELECT base.* FROM {old} AS base WHERE 1 = 0"  # noqa: S608, both quoted
        with connected(self._engine) as connection:
            connection.exec_driver_sql(statement)
        return name

    def remove(self, rows: Sequence[Row], archive: str | None = None) -> Mapping[Row, Settled]:
        """Remove rows of one table, at most 200, and say what became of each; first copy them where that is wanted.

        Raises `MetadataError` with nothing removed, unless the connection broke, which `is_out_of_reach` tells.
        """
        with self._transaction() as connection:
            deadline = self._clock(connection) + REMOVING
            self._lock_owners(connection, rows)
            found = self._lock(connection, rows)
            settled = {row: found[row].settles(row) if row in found else Settled.CHANGED for row in rows}
            going = [row for row, fate in settled.items() if fate is Settled.REMOVED]
            if going:
                self._delete(connection, going, deadline, archive)
        return settled

    @contextmanager
    def _transaction(self) -> Iterator[Connection]:
        """All or nothing. SQLite lets nobody else write from the start, the others lock what is looked at."""
        with connected(self._engine) as connection:
            serial = self._engine.dialect.name == "sqlite"
            own = connection if serial else connection.execution_options(isolation_level="READ COMMITTED")
            with own.begin():
                if serial:
                    own.exec_driver_sql("BEGIN IMMEDIATE")
                yield own

    def _clock(self, connection: Connection) -> datetime:
        from sqlalchemy import select

        return utc(connection.execute(select(self._dialect.clock())).scalar()) or datetime.now(timezone.utc)

    def _lock_owners(self, connection: Connection, rows: Sequence[Row]) -> None:
        """Let nobody clear these runs and tasks meanwhile. Only the first lock is waited for: none is held then."""
        from sqlalchemy import select, tuple_

        schema = self._catalog.schema
        run = clause(schema, "dag_run", ("dag_id", "run_id", "state"))
        first, *others = sorted({(row.xcom.dag_id, row.xcom.run_id) for row in rows})
        waited_for = select(run.c.state).where(run.c.dag_id == first[0], run.c.run_id == first[1])
        connection.execute(waited_for.with_for_update(read=True)).all()
        these = tuple_(run.c.dag_id, run.c.run_id).in_(others)
        ti = clause(schema, "task_instance", ("dag_id", "run_id", "task_id", "state"))
        tasks = sorted({(row.xcom.dag_id, row.xcom.run_id, row.xcom.task_id) for row in rows})
        those = tuple_(ti.c.dag_id, ti.c.run_id, ti.c.task_id).in_(tasks)
        queries = [select(run.c.state).where(these)] if others else []
        for query in (*queries, select(ti.c.state).where(those)):
            connection.execute(query.with_for_update(read=True, nowait=True)).all()

    def _lock(self, connection: Connection, rows: Sequence[Row]) -> dict[Row, _Found]:
        """Those of the rows that are there, as they are from now on."""
        from sqlalchemy import select

        table = rows[0].table
        x = self._target(table)
        digest = self._dialect.digest(x.c.value, table.form).label("digest")
        looks = (self._is_over(x, table).label("is_over"), self._hides(x, table).label("hides"))
        keys = [x.c[name].label(f"key_{name}") for name in key_columns(table)]
        query = select(*keys, x.c.timestamp.label("pushed_at"), digest, *looks).where(_among(x, rows))
        by_key = {row.key: row for row in rows}
        found: dict[Row, _Found] = {}
        for told in connection.execute(query.with_for_update(of=x, nowait=True)):
            row = by_key.get(tuple(told[: len(keys)]))
            if row is not None:
                found[row] = _Found(utc(told.pushed_at), told.digest, bool(told.is_over), bool(told.hides))
        return found

    def _delete(self, connection: Connection, rows: Sequence[Row], deadline: datetime, archive: str | None) -> None:
        """Delete all of these, which are locked; else raise, so that the transaction leaves everything as it was."""
        from sqlalchemy import delete

        table = rows[0].table
        x = self._target(table)
        copied = self._copy(connection, rows, archive) if archive is not None else len(rows)
        asked = (_among(x, rows), self._is_over(x, table), self._in_time(deadline))
        removed = connection.execute(delete(x).where(*asked)).rowcount
        if not copied == removed == len(rows):
            raise MetadataError(
                f"{self._catalog}: of {len(rows)} rows {removed} could be removed in time, so all were left",
                hint="the next run tries again",
            )

    def _copy(self, connection: Connection, rows: Sequence[Row], archive: str) -> int:
        from sqlalchemy import insert, select

        table = rows[0].table
        names = sorted(table.columns)
        x, copy = clause(self._catalog.schema, table.name, names), clause(self._catalog.schema, archive, names)
        query: Select[Any] = select(*(x.c[name] for name in names)).where(_among(x, rows))
        counting = connection.execution_options(preserve_rowcount=True)
        return int(counting.execute(insert(copy).from_select(names, query)).rowcount)

    def _target(self, table: Table) -> Any:
        names = ("dag_id", "run_id") if "dag_id" in table.columns else ("task_instance_id", "key")
        return self._table(table, "timestamp", *names)

    def _is_over(self, x: Any, table: Table) -> ColumnElement[bool]:
        """The condition that the run of a row is over, and no instance of its task at work."""
        from sqlalchemy import and_, literal, select

        schema = self._catalog.schema
        live = ("working_set",) if has_attempts(schema) else ()
        ti = clause(schema, "task_instance", ("dag_id", "run_id", "task_id", "state", *live), alias="worker")
        run = clause(schema, "dag_run", ("dag_id", "run_id", "state"), alias="r")
        owner, belongs = (x, []) if "dag_id" in table.columns else self._owner(x)
        same_run = (run.c.dag_id == owner.c.dag_id, run.c.run_id == owner.c.run_id)
        same_task = (ti.c[name] == owner.c[name] for name in ("dag_id", "run_id", "task_id"))
        over = select(literal(1)).where(*belongs, *same_run, is_over(run)).correlate(x).exists()
        at_work = select(literal(1)).where(*belongs, *same_task, is_at_work(ti, schema)).correlate(x).exists()
        return and_(over, ~at_work)

    def _owner(self, x: Any) -> tuple[Any, list[ColumnElement[bool]]]:
        """The task instance that a row of `xcom_v2` belongs to, and what says so."""
        names = ("id", "dag_id", "run_id", "task_id")
        owner = clause(self._catalog.schema, "task_instance", names, alias="owner")
        return owner, [owner.c.id == x.c.task_instance_id]

    def _hides(self, x: Any, table: Table) -> ColumnElement[bool]:
        """The condition that an older row appears once this one is gone (Airflow 3.4: `xcom_v1` behind `xcom_v2`)."""
        from sqlalchemy import false, literal, select

        schema = self._catalog.schema
        if "dag_id" in table.columns or not {"xcom_v1", "legacy_task_data_owner"} <= schema.tables:
            return false()
        place = ("dag_id", "run_id", "task_id", "map_index")
        old = clause(schema, "xcom_v1", (*place, "key"), alias="old")
        owner = clause(schema, "legacy_task_data_owner", (*place, "task_instance_id"), alias="o")
        behind = [old.c[name] == owner.c[name] for name in place]
        same = (owner.c.task_instance_id == x.c.task_instance_id, old.c.key == x.c.key)
        return select(literal(1)).where(*behind, *same).correlate(x).exists()

    def _names(self) -> set[str]:
        from sqlalchemy import inspect

        with connected(self._engine) as connection:
            return set(inspect(connection).get_table_names(schema=self._catalog.schema.namespace))


def _among(x: Any, rows: Sequence[Row]) -> ColumnElement[bool]:
    """The condition that a row is one of these, found by the primary key in every database.

    MariaDB looks through a small table for a single tuple, and would wait for every lock on its way.
    """
    from sqlalchemy import and_, tuple_

    if len(rows) == 1:
        return and_(*is_row(x, rows[0]))
    names = key_columns(rows[0].table)
    one = x.c[names[0]] if len(names) == 1 else tuple_(*(x.c[name] for name in names))
    among: ColumnElement[bool] = one.in_([row.key if len(names) > 1 else row.key[0] for row in rows])
    return among
