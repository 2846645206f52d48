"""Rows changed in place: each by one statement of its own, and only if it still is what was read.

The statement commits by itself, and no later than the deadline that it carries: between the look at a row and the
commit of its change there is no step of ours that could stall.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from xcomctl.catalog.catalog import Catalog, Row
from xcomctl.catalog.engine import connected
from xcomctl.catalog.schema import Form, Table
from xcomctl.catalog.writing import Writer, is_row, key_columns, key_of

if TYPE_CHECKING:
    from sqlalchemy.sql import Select, Update

READ_AT_ONCE = 32
READ_AT_ONCE_BYTES = 1024 * 1024
"""So many rows are read by one statement, as far as their texts are no longer than that."""


@dataclass(frozen=True, slots=True)
class Text:
    """The whole value of a row: its text as it is stored, the database's own digest of it, and its size on disk.

    `is_json` says that the database holds nothing else there; where it is False nobody knows.
    """

    row: Row
    data: bytes
    digest: str
    space_bytes: int
    is_json: bool = False


class Rewriter(Writer):
    """Reads rows to change each by itself. Raises `MetadataError` where the database refuses."""

    def __init__(self, catalog: Catalog, at_once: int = 1) -> None:
        super().__init__(catalog, at_once)
        self._swaps: dict[str, Update] = {}

    def require_rights(self) -> None:
        """Raise `MetadataError` where rows may not be changed: before an object is written for each of them."""
        from sqlalchemy import false, update

        for table in self._catalog.schema.live:
            x = self._table(table)
            self._require(update(x).values(value=x.c.value).where(false()))

    def text(self, row: Row) -> Text | None:
        """The value of a row as it is now; None when there is no such row any more, or no value."""
        x = self._table(row.table)
        with connected(self._engine) as connection:
            values = connection.execute(self._whole(x, row.table).where(*is_row(x, row))).first()
        return self._text(row, values) if values is not None else None

    def texts(self, rows: Sequence[Row]) -> Iterator[tuple[Row, Text | None]]:
        """The same of rows of one table: small ones many at a time, each of the others when it is asked for."""
        for start in range(0, len(rows), READ_AT_ONCE):
            some = rows[start : start + READ_AT_ONCE]
            found = self._small(some) if len(some) > 1 else None
            for row in some:
                if found is not None and row.key not in found:
                    yield row, None
                else:
                    yield row, (found or {}).pop(row.key, None) or self.text(row)

    def _small(self, rows: Sequence[Row]) -> dict[tuple[Any, ...], Text | None]:
        """The texts of those rows that are there, by their keys; None for one that is too long to be read so.

        No large value is sent, and PostgreSQL makes each text once: OFFSET keeps the inner query by itself.
        """
        from sqlalchemy import case, func, select, tuple_

        table = rows[0].table
        x, names = self._table(table), key_columns(table)
        keys = [x.c[name] for name in names]
        here = [keys[0].in_([row.key[0] for row in rows])]
        if len(keys) > 1:
            here.append(tuple_(*keys).in_([row.key for row in rows]))
        inner = self._whole(x, table).add_columns(*keys).where(*here).offset(0).subquery("t")
        # SQLite of before 2023 knows no octet_length; the length of a text in letters bounds it as well.
        length = func.length if self._engine.dialect.name == "sqlite" else func.octet_length
        fits = length(inner.c.whole) <= READ_AT_ONCE_BYTES
        whole = case((fits, inner.c.whole)).label("whole")
        query = select(whole, inner.c.digest, inner.c.space, *(inner.c[name] for name in names))
        with connected(self._engine) as connection:
            values = connection.execute(query).all()
        by_key = {row.key: row for row in rows}
        return {tuple(v)[3:]: self._text(by_key[tuple(v)[3:]], v) for v in values if tuple(v)[3:] in by_key}

    def _whole(self, x: Any, table: Table) -> Select[Any]:
        """What makes a `Text`."""
        from sqlalchemy import null, select

        dialect, value = self._dialect, x.c.value
        digest = null() if dialect.digests_whole else dialect.digest(value, table.form)
        space = dialect.space(value, table.form)
        return select(dialect.whole(value, table.form).label("whole"), digest.label("digest"), space.label("space"))

    def _text(self, row: Row, values: Any) -> Text | None:
        if values.whole is None:
            return None
        data = _as_bytes(values.whole)
        digest = sha256(data).hexdigest() if self._dialect.digests_whole else str(values.digest)
        is_json = self._dialect.stores_json_parsed and row.table.form is Form.JSON
        return Text(row, data, digest, int(values.space), is_json)

    def swap(self, text: Text, new: str, deadline: datetime) -> bool:
        """Let the row hold another JSON text, unless it has changed since it was read, or it is too late.

        Returns whether it was changed. A row that is locked for some seconds is left alone with a `MetadataError`.
        """
        table = text.row.table
        told = {
            "new": new.encode() if table.form is Form.BYTES else new,
            "digest_read": text.digest,
            "until": self._limit(deadline),
            **{f"of_{name}": value for name, value in key_of(text.row)},
        }
        if table.name not in self._swaps:
            self._swaps[table.name] = self._swap(table, told)
        with connected(self._engine) as connection:
            return bool(connection.execute(self._swaps[table.name], told).rowcount)

    def _swap(self, table: Table, told: Mapping[str, Any]) -> Update:
        """The statement for any row of a table; to build it takes longer than to run it. Types are by what is told."""
        from sqlalchemy import bindparam, literal, update

        x, dialect = self._table(table), self._dialect
        given = {name: bindparam(name, type_=literal(value).type) for name, value in told.items()}
        return (
            update(x)
            .values(value=dialect.stored(given["new"], table.form))
            .where(*(x.c[name] == given[f"of_{name}"] for name in key_columns(table)))
            .where(dialect.digest(x.c.value, table.form) == given["digest_read"], self._before(given["until"]))
        )

    def kept(self, new: str, form: Form) -> str:
        """The text that the database would give back for a JSON text. Raises `MetadataError` where it takes no such."""
        from sqlalchemy import select

        if form is Form.BYTES or self._dialect.kept is None:
            return new
        with connected(self._engine) as connection:
            return str(connection.execute(select(self._dialect.kept(new, form))).scalar())

    @cached_property
    def largest_bytes(self) -> int | None:
        """The longest statement that the server takes; None where there is no such limit."""
        from sqlalchemy import text

        if self._engine.dialect.name not in ("mysql", "mariadb"):
            return None
        with connected(self._engine) as connection:
            return int(connection.execute(text("SELECT @@max_allowed_packet")).scalar() or 0)


def reclaim(catalog: Catalog, tables: Iterable[str]) -> str:
    """The statement that gives the space of changed rows back to the disk: it locks the table and writes it anew."""
    statement, namespace = catalog.database.dialect.reclaim, catalog.schema.namespace
    if catalog.database.engine.dialect.name == "sqlite":
        return statement
    return "; ".join(f"{statement} {namespace + '.' if namespace else ''}{table}" for table in sorted(tables))


def _as_bytes(whole: Any) -> bytes:
    """What the driver gives of a value, as the bytes of its JSON text. SQLite keeps numbers of Airflow 3 as such."""
    if isinstance(whole, (bytes, memoryview, bytearray)):
        return bytes(whole)
    return str(whole).encode("utf-8", errors="surrogatepass")
