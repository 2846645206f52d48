"""What all that changes rows has in common: its own connection, and the clock that its statements are measured by."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from xcomctl.catalog.catalog import Catalog, Row
from xcomctl.catalog.database import utc
from xcomctl.catalog.engine import connected, is_locked, open_writing_engine
from xcomctl.catalog.schema import Table
from xcomctl.catalog.source import clause
from xcomctl.errors import MetadataError

if TYPE_CHECKING:
    from sqlalchemy.engine import Engine
    from sqlalchemy.sql import ColumnElement


class Writer:
    """A catalogue whose rows may change."""

    def __init__(self, catalog: Catalog, at_once: int = 1) -> None:
        self._catalog = catalog
        self._dialect = catalog.database.dialect
        self._engine: Engine = open_writing_engine(catalog.database.engine.url, at_once)

    def close(self) -> None:
        """Let go of the database."""
        self._engine.dispose()

    def now(self) -> datetime:
        """The time by the clock that a deadline is compared with."""
        from sqlalchemy import select

        with connected(self._engine) as connection:
            told = connection.execute(select(self._dialect.clock())).scalar()
        return utc(told) or datetime.now(timezone.utc)

    def _require(self, statement: Any) -> None:
        """Run a statement that means no row. Raises `MetadataError` where this user, or this session, may not.

        A lock is no answer. SQLite knows no users.
        """
        if self._engine.dialect.name == "sqlite":
            return
        try:
            with connected(self._engine) as connection:
                connection.execute(statement)
        except MetadataError as error:
            if not is_locked(error):
                raise

    def _in_time(self, deadline: datetime) -> ColumnElement[bool]:
        """The condition that a statement runs before a time, by the clock as it runs."""
        from sqlalchemy import literal

        return self._before(literal(self._limit(deadline)))

    def _before(self, limit: Any) -> ColumnElement[bool]:
        before: ColumnElement[bool] = self._dialect.clock() < limit
        return before

    def _limit(self, deadline: datetime) -> datetime | str:
        """A time as the clock tells it."""
        until = deadline.astimezone(timezone.utc).replace(tzinfo=None)
        return until if self._dialect.compares_times else until.isoformat(" ", "milliseconds")

    def _table(self, table: Table, *more: str) -> Any:
        """A table with its key, its value, and other columns that are wanted of it."""
        return clause(self._catalog.schema, table.name, (*key_columns(table), "value", *more))


def key_columns(table: Table) -> Sequence[str]:
    """The primary key: of `xcom` and `xcom_v1` the coordinates, of `xcom_v2` a uuid."""
    return ("dag_run_id", "task_id", "map_index", "key") if "dag_run_id" in table.columns else ("id",)


def key_of(row: Row) -> Iterator[tuple[str, Any]]:
    """The primary key of a row, each column with its value."""
    return zip(key_columns(row.table), row.key, strict=True)


def is_row(x: Any, row: Row) -> list[ColumnElement[bool]]:
    """The conditions that a row of the table is this one."""
    return [x.c[name] == value for name, value in key_of(row)]
