"""Rows changed in place: each by one statement of its own, and only if it still is what was read.

The statement commits by itself, and no later than the deadline that it carries: between the look at a row and the
commit of its change there is no step of ours that could stall.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from xcomctl.catalog.catalog import Catalog, Row
from xcomctl.catalog.database import utc
from xcomctl.catalog.engine import connected, open_writing_engine
from xcomctl.catalog.schema import Schema, Table
from xcomctl.catalog.source import clause
from xcomctl.model import Filter

if TYPE_CHECKING:
    from sqlalchemy.engine import Engine
    from sqlalchemy.sql import ColumnElement


@dataclass(frozen=True, slots=True)
class Text:
    """The whole value of a row: its JSON text as it is stored, and the database's own digest of it."""

    row: Row
    data: bytes
    digest: str


class Rewriter:
    """Reads rows one by one to change them. Raises `MetadataError` where the database refuses."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._dialect = catalog.database.dialect
        self._engine: Engine = open_writing_engine(catalog.database.engine.url)

    def rows(self, selected: Filter, *, at_least: int) -> Iterator[Row]:
        """The rows that a filter means, of every attempt, whose text may be so large in bytes."""
        return self._catalog.addressed(selected, at_least=at_least)

    def text(self, row: Row) -> Text | None:
        """The value of a row as it is now; None when there is no such row any more, or no value."""
        from sqlalchemy import select

        x = _table(self._catalog.schema, row)
        whole = self._dialect.whole(x.c.value, row.table.form)
        digest = self._dialect.digest(x.c.value, row.table.form)
        with connected(self._engine) as connection:
            found = connection.execute(select(whole.label("whole"), digest.label("digest")).where(*_same(x, row)))
            values = found.first()
        if values is None or values.whole is None:
            return None
        return Text(row, _as_bytes(values.whole), str(values.digest))

    def swap(self, text: Text, new: str, deadline: datetime) -> bool:
        """Let the row hold another JSON text, unless it has changed since it was read, or it is too late.

        Returns whether it was changed. A row that is locked for some seconds is left alone with a `MetadataError`.
        """
        from sqlalchemy import literal, update

        row, dialect = text.row, self._dialect
        x = _table(self._catalog.schema, row)
        until = deadline.astimezone(timezone.utc).replace(tzinfo=None)
        limit = literal(until if dialect.compares_times else until.isoformat(" ", "milliseconds"))
        unchanged = dialect.digest(x.c.value, row.table.form) == text.digest
        change = update(x).values(value=dialect.stored(new, row.table.form))
        with connected(self._engine) as connection:
            return bool(connection.execute(change.where(*_same(x, row), unchanged, dialect.clock() < limit)).rowcount)

    def now(self) -> datetime:
        """The time by the clock that the deadline is compared with."""
        from sqlalchemy import select

        with connected(self._engine) as connection:
            told = connection.execute(select(self._dialect.clock())).scalar()
        return utc(told) or datetime.now(timezone.utc)


def _table(schema: Schema, row: Row) -> Any:
    return clause(schema, row.table.name, (*_key_columns(row.table), "value"))


def _key_columns(table: Table) -> Sequence[str]:
    """The primary key: of `xcom` and `xcom_v1` the coordinates, of `xcom_v2` a uuid."""
    return ("dag_run_id", "task_id", "map_index", "key") if "dag_run_id" in table.columns else ("id",)


def _same(x: Any, row: Row) -> list[ColumnElement[bool]]:
    return [x.c[name] == value for name, value in zip(_key_columns(row.table), row.key, strict=True)]


def _as_bytes(whole: Any) -> bytes:
    """What the driver gives of a value, as the bytes of its JSON text. SQLite keeps numbers of Airflow 3 as such."""
    if isinstance(whole, (bytes, memoryview, bytearray)):
        return bytes(whole)
    return str(whole).encode("utf-8", errors="surrogatepass")
