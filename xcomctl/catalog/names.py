"""The names there are, for a shell to offer while a person types: some at once, rather than all.

Nothing here reads a large table: names that an index has in order are found by stepping from one to the next, and keys
that no index has in order are those of the newest runs. Every statement is cut off by the database itself as well.
"""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from xcomctl.catalog.engine import connected, open_engine
from xcomctl.catalog.selection import is_glob

if TYPE_CHECKING:
    from sqlalchemy.engine import Engine
    from sqlalchemy.sql import Select

AT_MOST = 500
"""More names than a person reads. MySQL steps at most 1000 times in one statement."""

NEWEST_RUNS = 20
DAGS = 20
"""Of so many runs and DAGs tasks and keys are looked for, where the line names none."""

ROWS = 10_000
"""Among so many rows of the newest runs keys are looked for."""


def open_names(url: str, namespace: str | None, seconds: float) -> Names:
    """The names of a database, each asked for within that time. Raises `MetadataError`."""
    return Names(open_engine(url), namespace, seconds)


class Names:
    """Names that begin with a prefix; what narrows them are names or globs, as flags take them."""

    def __init__(self, engine: Engine, namespace: str | None, seconds: float) -> None:
        self._engine = engine
        self._namespace = namespace
        self._limits = _limits(seconds)

    def dag_ids(self, prefix: str) -> list[str]:
        """DAGs that have runs."""
        return self._stepped("dag_run", "dag_id", prefix)

    def run_ids(self, dag_ids: Sequence[str], prefix: str) -> list[str]:
        """Runs of these DAGs, the newest first."""
        from sqlalchemy import select

        run = self._table("dag_run", "id", "dag_id", "run_id")
        where = [run.c.dag_id.in_(self._dags(dag_ids))] if dag_ids else []
        begins = run.c.run_id.startswith(prefix, autoescape=True)
        query = select(run.c.run_id).where(*where, begins).order_by(run.c.id.desc()).limit(AT_MOST)
        return list(dict.fromkeys(self._asked(query)))

    def task_ids(self, dag_ids: Sequence[str], prefix: str) -> list[str]:
        """Tasks of these DAGs, or of those that ran last."""
        dags = self._dags(dag_ids) if dag_ids else self._busy_dags()
        found = (self._stepped("task_instance", "task_id", prefix, dag_id=dag) for dag in dags)
        return sorted({name for names in found for name in names})[:AT_MOST]

    def keys(self, dag_ids: Sequence[str], run_ids: Sequence[str], task_ids: Sequence[str], prefix: str) -> list[str]:
        """Keys of these tasks: of their newest runs, or where nothing narrows them of all."""
        from sqlalchemy import inspect

        with connected(self._engine) as connection:
            tables = inspect(connection).get_table_names(schema=self._namespace)
        runs = self._newest_runs(dag_ids, run_ids)
        tasks = [] if any(map(is_glob, task_ids)) else task_ids
        found: set[str] = set()
        for table in ("xcom", "xcom_v1"):
            if table in tables and not (dag_ids or run_ids or tasks):
                found.update(self._stepped(table, "key", prefix))
            elif table in tables:
                found.update(self._keys_of_runs(table, runs, tasks))
        if "xcom_v2" in tables:
            found.update(self._keys_of_attempts(runs, tasks))
        return sorted(name for name in found if name.startswith(prefix))[:AT_MOST]

    def _dags(self, globs: Sequence[str]) -> list[str]:
        """The DAGs that are meant, or some of them."""
        named = [glob for glob in globs if not is_glob(glob)]
        if len(named) < len(globs):
            named += [name for name in self.dag_ids("") if any(fnmatchcase(name, glob) for glob in globs)]
        return named[:DAGS]

    def _busy_dags(self) -> list[str]:
        from sqlalchemy import select

        run = self._table("dag_run", "id", "dag_id")
        return list(dict.fromkeys(self._asked(select(run.c.dag_id).order_by(run.c.id.desc()).limit(AT_MOST))))[:DAGS]

    def _newest_runs(self, dag_ids: Sequence[str], run_ids: Sequence[str]) -> list[int]:
        from sqlalchemy import select

        run = self._table("dag_run", "id", "dag_id", "run_id")
        where = [run.c.dag_id.in_(self._dags(dag_ids))] if dag_ids else []
        if run_ids and not any(map(is_glob, run_ids)) and "latest" not in run_ids:
            where.append(run.c.run_id.in_(run_ids))
        return list(self._asked(select(run.c.id).where(*where).order_by(run.c.id.desc()).limit(NEWEST_RUNS)))

    def _keys_of_runs(self, table: str, runs: Sequence[int], tasks: Sequence[str]) -> list[str]:
        from sqlalchemy import select

        xcom = self._table(table, "dag_run_id", "task_id", "key")
        where = [xcom.c.task_id.in_(tasks)] if tasks else []
        some = select(xcom.c.key).where(xcom.c.dag_run_id.in_(runs), *where).limit(ROWS).subquery()
        return self._asked(select(some.c.key).distinct())

    def _keys_of_attempts(self, runs: Sequence[int], tasks: Sequence[str]) -> list[str]:
        from sqlalchemy import and_, select

        xcom = self._table("xcom_v2", "task_instance_id", "key")
        ti = self._table("task_instance", "id", "dag_id", "run_id", "task_id")
        run = self._table("dag_run", "id", "dag_id", "run_id")
        of_run = and_(ti.c.dag_id == run.c.dag_id, ti.c.run_id == run.c.run_id)
        where = [ti.c.task_id.in_(tasks)] if tasks else []
        rows = run.join(ti, of_run).join(xcom, xcom.c.task_instance_id == ti.c.id)
        some = select(xcom.c.key).select_from(rows).where(run.c.id.in_(runs), *where).limit(ROWS).subquery()
        return self._asked(select(some.c.key).distinct())

    def _stepped(self, table: str, column: str, prefix: str, **equal: str) -> list[str]:
        """The distinct names in a column that begin with a prefix, found by stepping through its index."""
        from sqlalchemy import func, literal, select

        rows = self._table(table, column, *equal)
        name = rows.c[column]
        same = [rows.c[each] == value for each, value in equal.items()]
        first = select(func.min(name).label("name"), literal(1).label("step")).where(name >= prefix, *same)
        walk = first.cte("walk", recursive=True)
        following = select(func.min(name)).where(name > walk.c.name, *same).scalar_subquery()
        walk = walk.union_all(select(following, walk.c.step + 1).where(walk.c.name.is_not(None), walk.c.step < AT_MOST))
        found = self._asked(select(walk.c.name).where(walk.c.name.is_not(None)))
        return [each for each in found if each.startswith(prefix)]

    def _table(self, name: str, *columns: str) -> Any:
        from sqlalchemy import column, table

        return table(name, *map(column, columns), schema=self._namespace)

    def _asked(self, query: Select[Any]) -> list[Any]:
        """The first column of an answer, if it comes in time."""
        with connected(self._engine) as connection:
            for statement in self._limits.get(_database_of(self._engine), ()):
                connection.exec_driver_sql(statement)
            return [row[0] for row in connection.execute(query)]


def _limits(seconds: float) -> dict[str, tuple[str, ...]]:
    """What ends a statement by itself. On PostgreSQL for one transaction: behind a pooler others use the connection."""
    milliseconds = int(seconds * 1000)
    return {
        "postgresql": (f"SET LOCAL statement_timeout = {milliseconds}",),
        "mysql": (f"SET SESSION max_execution_time = {milliseconds}",),
        "mariadb": (f"SET SESSION max_statement_time = {seconds}",),
    }


def _database_of(engine: Engine) -> str:
    return "mariadb" if getattr(engine.dialect, "is_mariadb", False) else engine.dialect.name
