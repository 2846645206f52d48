"""One database as questions are put to it: short statements, pages by key, nothing held open between them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timezone
from itertools import chain
from typing import TYPE_CHECKING, Any, TypeVar

from xcomctl.catalog.dialect import dialect_of
from xcomctl.catalog.engine import connected, is_out_of_reach, open_engine, reading, shown
from xcomctl.catalog.schema import Schema, inspect_schema
from xcomctl.catalog.source import clause
from xcomctl.errors import MetadataError
from xcomctl.model import Epoch

if TYPE_CHECKING:
    from sqlalchemy.engine import Engine, Row
    from sqlalchemy.sql import ColumnElement, Executable, FromClause, Select

T = TypeVar("T")

ROWS_PER_PAGE = 10_000
ROWS_PER_FETCH = 1_000
COORDINATES_PER_QUERY = 200
COORDINATES_PER_ARRAY = 1_000

POSTGRESQL_IDENTITY = """
SELECT system_identifier || '/' || (SELECT oid FROM pg_database WHERE datname = current_database())
FROM pg_control_system()
"""
"""pg_control_system and pg_current_wal_lsn answer every user, unless that was revoked."""


def open_database(url: str, namespace: str | None) -> Database:
    """Raises `MetadataError` when it cannot be reached or is not Airflow's."""
    engine = open_engine(url)
    return Database(engine, inspect_schema(engine, namespace))


class Database:
    """An engine, and the tables behind it."""

    def __init__(self, engine: Engine, schema: Schema) -> None:
        self.engine = engine
        self.schema = schema
        self.dialect = dialect_of(engine)

    def __str__(self) -> str:
        return shown(self.engine.url)

    def look_again(self) -> None:
        """Inspect the tables anew."""
        self.schema = inspect_schema(self.engine, self.schema.named)

    def is_replica(self) -> bool:
        """Whether this is a copy that may lag behind: a PostgreSQL standby, a read-only MySQL."""
        questions = {"postgresql": "SELECT pg_is_in_recovery()", "mysql": "SELECT @@global.read_only"}
        question = questions.get(self.engine.dialect.name)
        return question is not None and bool(self.scalar(question))

    def now(self) -> datetime | None:
        """The time by the database's clock; None for SQLite, which has none of its own."""
        questions = {"postgresql": "SELECT clock_timestamp()", "mysql": "SELECT UTC_TIMESTAMP(6)"}
        question = questions.get(self.engine.dialect.name)
        return utc(self.scalar(question)) if question is not None else None

    def epoch(self) -> Epoch:
        """Which database this is, and how far it has come."""
        newest = [self._newest(table) for table in ("dag_run", "log")]
        if self.engine.dialect.name == "postgresql":
            return Epoch(
                f"postgresql:{self._told(POSTGRESQL_IDENTITY)}/{self.schema.namespace or ''}", self._position(), *newest
            )
        if self.engine.dialect.name in ("mysql", "mariadb"):
            identity = self._told("SELECT @@server_uid") or self._told("SELECT @@server_uuid")
            return Epoch(f"mysql:{identity}/{self.engine.url.database}", None, *newest)
        return Epoch(str(self), None, *newest)

    def _position(self) -> int | None:
        position = self._told("SELECT pg_current_wal_lsn() - '0/0'::pg_lsn")
        return int(position) if position is not None else None

    def _newest(self, table: str) -> int | None:
        """The greatest number of a table; None for one that is empty, or that this user may not read."""
        from sqlalchemy import func, select

        if table not in self.schema.tables:
            return None
        try:
            (row,) = self.fetch(select(func.max(clause(self.schema, table, ("id",)).c.id)))
        except MetadataError as error:
            if is_out_of_reach(error):
                raise
            return None
        return int(row[0]) if row[0] is not None else None

    def _told(self, question: str) -> Any:
        """The answer to a question that not every server understands, or answers to everybody."""
        try:
            return self.scalar(question)
        except MetadataError as error:
            if is_out_of_reach(error):
                raise
            return None

    def pages(
        self,
        page: ColumnElement[Any],
        rows: FromClause,
        query: Select[Any],
        where: Sequence[ColumnElement[Any]],
        *,
        at_rest: bool = False,
    ) -> Iterator[Row[Any]]:
        """The rows of a query in ranges of a number or uuid, each range a short transaction of its own.

        The limits of a range come from the database, so that its order is the only one that counts. With `at_rest` a
        range is read to its end before its first row is given, for who writes meanwhile: SQLite lets no one else.
        """
        for within in self.ranges(page, rows, where):
            narrowed = query.where(*within)
            yield from self.fetch(narrowed) if at_rest else self.stream(narrowed)

    def ranges(
        self,
        page: ColumnElement[Any],
        rows: FromClause,
        where: Sequence[ColumnElement[Any]],
        size: int | None = None,
    ) -> Iterator[list[ColumnElement[Any]]]:
        """The conditions that cut rows into these ranges, of about a page by default."""
        from sqlalchemy import select

        limits = select(page).select_from(rows).where(*where).order_by(page).limit(1)
        limits = limits.offset((size or ROWS_PER_PAGE) - 1)
        beyond: list[ColumnElement[Any]] = []
        while True:
            last = self.fetch(limits.where(*beyond))
            yield [*beyond, *(page <= row[0] for row in last)]
            if not last:
                return
            beyond = [page > last[0][0]]

    def blocks(
        self,
        order: Sequence[ColumnElement[Any]],
        rows: FromClause,
        where: Sequence[ColumnElement[Any]],
        size: int | None = None,
    ) -> Iterator[list[ColumnElement[Any]]]:
        """The conditions that cut rows into blocks of a size, a page by default, by the columns of their primary key.

        Unlike `pages`, which keep together what has the same number, they also part the rows of one long run.
        """
        from sqlalchemy import literal, select, tuple_

        limits = select(*order).select_from(rows).where(*where).order_by(*order).limit(1)
        limits = limits.offset((size or ROWS_PER_PAGE) - 1)
        beyond: list[ColumnElement[Any]] = []
        while True:
            last = self.fetch(limits.where(*beyond))
            if not last:
                yield beyond
                return
            bound = tuple_(*map(literal, last[0]))
            # The first column by itself lets every database begin at the right place of its index.
            yield [*beyond, order[0] <= last[0][0], tuple_(*order) <= bound]
            beyond = [order[0] >= last[0][0], tuple_(*order) > bound]

    def among(self, columns: Sequence[ColumnElement[Any]], names: Sequence[Sequence[str]]) -> ColumnElement[Any]:
        """The condition that a row's names are some of these, so that the database looks each of them up."""
        from sqlalchemy import Text, cast, func, select, tuple_

        if not self.dialect.has_arrays:
            return tuple_(*columns).in_(list(names))
        from sqlalchemy.dialects.postgresql import ARRAY

        asked = (func.unnest(cast(list(some), ARRAY(Text))) for some in zip(*names, strict=True))
        return tuple_(*columns).in_(select(*asked))

    def stream(self, query: Select[Any]) -> Iterator[Row[Any]]:
        """The rows of one statement, through a cursor on the server."""
        return chain.from_iterable(self.batches(query))

    def batches(self, query: Select[Any]) -> Iterator[Sequence[Row[Any]]]:
        """The same, some rows at a time."""
        with reading(self.engine) as connection:
            streaming = connection.execution_options(stream_results=True, max_row_buffer=ROWS_PER_FETCH)
            yield from streaming.execute(query).partitions(ROWS_PER_FETCH)

    def table_name(self, name: str) -> str:
        """A table as SQL text names it: quoted, and in its schema."""
        quote = self.engine.dialect.identifier_preparer.quote
        return ".".join(quote(part) for part in (self.schema.namespace, name) if part)

    def scalar(self, statement: str) -> Any:
        """The one value of a statement."""
        with connected(self.engine) as connection:
            return connection.exec_driver_sql(statement).scalar()

    def fetch(
        self, query: Executable, values: Mapping[str, Any] | None = None, *, as_indexed: bool = False
    ) -> Sequence[Row[Any]]:
        """The few rows of one statement, which an index has in their order if they are so wanted."""
        with reading(self.engine) as connection:
            if as_indexed and self.dialect.as_indexed is not None:
                connection.exec_driver_sql(self.dialect.as_indexed)
            return connection.execute(query, dict(values or {})).all()


def utc(moment: object) -> datetime | None:
    """An aware time: MySQL keeps naive UTC, SQLite the text of one. None for what is no time: SQLite keeps anything."""
    try:
        parsed = datetime.fromisoformat(moment.replace("Z", "+00:00")) if isinstance(moment, str) else moment
    except ValueError:
        return None
    if not isinstance(parsed, datetime):
        return None
    return parsed.replace(tzinfo=timezone.utc) if parsed.tzinfo is None else parsed.astimezone(timezone.utc)


def chunks(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    """The items, so many at a time."""
    for start in range(0, len(items), size):
        yield items[start : start + size]
