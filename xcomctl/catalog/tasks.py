"""What a database tells of DAGs, runs and task instances: which there are, and which are at work."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar
from uuid import UUID

from xcomctl.catalog.database import COORDINATES_PER_ARRAY, COORDINATES_PER_QUERY, Database, chunks, utc
from xcomctl.catalog.schema import Schema
from xcomctl.catalog.source import clause

if TYPE_CHECKING:
    from sqlalchemy.sql import ColumnElement, Select

Names = TypeVar("Names", bound=tuple[str, ...])

Coordinates: TypeAlias = tuple[str, str, str]
"""DAG, run and task."""

TERMINAL = ("success", "failed", "skipped", "upstream_failed", "removed")
"""The states of a task instance that is over (airflow.utils.state.State.finished)."""


RUN_OVER = ("success", "failed")
"""The states of a run that is over (airflow.utils.state.DagRunState)."""


def is_over(run: Any) -> ColumnElement[bool]:
    """The condition that a run has come to its end."""
    condition: ColumnElement[bool] = run.c.state.in_(RUN_OVER)
    return condition


def is_at_work(ti: Any, schema: Schema) -> ColumnElement[bool]:
    """The condition that a task instance is not over. An attempt that was superseded is (Airflow 3.4)."""
    from sqlalchemy import and_, or_, true

    live = ti.c.working_set.is_(true()) if has_attempts(schema) else true()
    return and_(or_(ti.c.state.is_(None), ti.c.state.not_in(TERMINAL)), live)


def has_attempts(schema: Schema) -> bool:
    """Whether each attempt of a task is a task instance of its own (Airflow 3.4)."""
    return "working_set" in schema.task_instance


class Tasks:
    """Questions about many at a time; a name that the database cannot hold is not there."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def known_dags(self, dag_ids: Collection[str]) -> set[str]:
        """Of some DAGs those that this database knows, by the DAG itself, its runs or its XComs."""
        from sqlalchemy import select

        known: set[str] = set()
        asked = {dag_id for dag_id in dag_ids if self._database.dialect.can_hold(dag_id)}
        for name in ("dag", "dag_run", "xcom", "xcom_v1"):
            for some in chunks(sorted(asked - known), COORDINATES_PER_QUERY):
                if name in self._database.schema.tables:
                    dag_id = clause(self._database.schema, name, ("dag_id",)).c.dag_id
                    known.update(
                        row.dag_id for row in self._database.fetch(select(dag_id).distinct().where(dag_id.in_(some)))
                    )
        return known & asked

    def dags_with_runs(self) -> set[str]:
        """All DAGs that have runs."""
        from sqlalchemy import select

        dag_id = clause(self._database.schema, "dag_run", ("dag_id",)).c.dag_id
        return {row.dag_id for row in self._database.fetch(select(dag_id).distinct())}

    def known_runs(self, runs: Collection[tuple[str, str]]) -> set[tuple[str, str]]:
        """Of some runs, by DAG and run id, those that are there."""
        from sqlalchemy import select

        run = clause(self._database.schema, "dag_run", ("dag_id", "run_id"))
        found: set[tuple[str, str]] = set()
        for some in self._some(runs):
            here = self._database.among((run.c.dag_id, run.c.run_id), some)
            query = select(run.c.dag_id, run.c.run_id).where(here)
            found.update((row.dag_id, row.run_id) for row in self._database.fetch(query))
        return found

    def logged_runs(self, runs: Collection[tuple[str, str]]) -> set[tuple[str, str]]:
        """Of some runs those that Airflow's log speaks of, also after they were deleted (Airflow >=2.10)."""
        from sqlalchemy import select

        if not {"dag_id", "run_id"} <= self._database.schema.log:
            return set()
        log = clause(self._database.schema, "log", ("dag_id", "run_id"))
        found: set[tuple[str, str]] = set()
        for some in self._some(runs):
            here = self._database.among((log.c.dag_id, log.c.run_id), some)
            query = select(log.c.dag_id, log.c.run_id).distinct().where(here)
            found.update((row.dag_id, row.run_id) for row in self._database.fetch(query))
        return found

    def last_heartbeat(self) -> datetime | None:
        """When a scheduler, a worker or any other job gave its last sign of life; None where none ever did."""
        from sqlalchemy import func, select

        if "latest_heartbeat" not in self._database.schema.job:
            return None
        job = clause(self._database.schema, "job", ("latest_heartbeat",))
        return utc(self._database.fetch(select(func.max(job.c.latest_heartbeat)))[0][0])

    def task_states(self, tasks: Collection[Coordinates]) -> dict[Coordinates, set[str]]:
        """Of some tasks of runs the states of their instances; a task without one is left out."""
        from sqlalchemy import select

        ti = clause(self._database.schema, "task_instance", ("dag_id", "run_id", "task_id", "state"))
        found: dict[Coordinates, set[str]] = {}
        for some in self._some(tasks):
            here = self._database.among((ti.c.dag_id, ti.c.run_id, ti.c.task_id), some)
            for row in self._database.fetch(select(ti).where(here)):
                found.setdefault((row.dag_id, row.run_id, row.task_id), set()).add(row.state or "none")
        return found

    def unfinished(self, task_instance_ids: Collection[str], finished_before: datetime) -> set[str]:
        """Of some task instances those that may still write: not over, or over only since `finished_before`.

        An attempt that was superseded (3.4: `working_set` is NULL) is over, whatever its state says.
        """
        if "id" not in self._database.schema.task_instance:
            return set()
        unfinished = set()
        for some in chunks(sorted(task_instance_ids), COORDINATES_PER_QUERY):
            for row in self._database.fetch(self._task_instances(some)):
                over = row.state in TERMINAL or row.working_set is None
                ended_at = utc(row.ended_at)
                if not over or ended_at is None or ended_at > finished_before:
                    unfinished.add(str(UUID(str(row.id))))
        return unfinished

    def _task_instances(self, identifiers: Sequence[str]) -> Select[Any]:
        """By id in both spellings: SQLite and MySQL hold uuids as text, with hyphens until 3.3 and without since."""
        from sqlalchemy import func, select, true

        attempts = has_attempts(self._database.schema)
        columns = ("id", "state", "end_date", "updated_at", *(("working_set",) if attempts else ()))
        ti = clause(self._database.schema, "task_instance", columns)
        spellings = [spelling for each in identifiers for spelling in (each, each.replace("-", ""))]
        return select(
            ti.c.id,
            ti.c.state,
            func.coalesce(ti.c.end_date, ti.c.updated_at).label("ended_at"),
            (ti.c.working_set if attempts else true()).label("working_set"),
        ).where(ti.c.id.in_(spellings))

    def unfinished_runs(self, runs: Collection[tuple[str, str]]) -> set[tuple[str, str]]:
        """Of some runs, by DAG and run id, those that are not over, or not there."""
        from sqlalchemy import select

        run = clause(self._database.schema, "dag_run", ("dag_id", "run_id", "state"))
        over: set[tuple[str, str]] = set()
        for some in self._some(runs):
            here = self._database.among((run.c.dag_id, run.c.run_id), some)
            query = select(run.c.dag_id, run.c.run_id).where(here, is_over(run))
            over.update((row.dag_id, row.run_id) for row in self._database.fetch(query))
        return set(runs) - over

    def at_work(self, tasks: Collection[Coordinates]) -> set[Coordinates]:
        """Of some tasks of runs those of which any instance is not over; a superseded attempt is (Airflow 3.4)."""
        from sqlalchemy import select

        schema = self._database.schema
        names = ("dag_id", "run_id", "task_id", "state", *(("working_set",) if has_attempts(schema) else ()))
        ti = clause(schema, "task_instance", names)
        found: set[Coordinates] = set()
        for some in self._some(tasks):
            here = self._database.among((ti.c.dag_id, ti.c.run_id, ti.c.task_id), some)
            query = select(ti.c.dag_id, ti.c.run_id, ti.c.task_id).where(here, is_at_work(ti, schema))
            found.update((row.dag_id, row.run_id, row.task_id) for row in self._database.fetch(query))
        return found

    def _some(self, names: Collection[Names]) -> Iterator[Sequence[Names]]:
        """Those that the database could hold, as many as go into one statement."""
        dialect = self._database.dialect
        askable = sorted(each for each in names if dialect.can_hold("".join(each)))
        return chunks(askable, COORDINATES_PER_ARRAY if dialect.has_arrays else COORDINATES_PER_QUERY)
