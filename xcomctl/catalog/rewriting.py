"""Rows changed in place: each by one statement of its own, and only if it still is what was read.

The statement commits by itself, and no later than the deadline that it carries: between the look at a row and the
commit of its change there is no step of ours that could stall.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Any

from xcomctl.catalog.catalog import Catalog, Row
from xcomctl.catalog.engine import connected
from xcomctl.catalog.schema import Form
from xcomctl.catalog.writing import Writer, is_row


@dataclass(frozen=True, slots=True)
class Text:
    """The whole value of a row: its text as it is stored, the database's own digest of it, and its size on disk."""

    row: Row
    data: bytes
    digest: str
    space_bytes: int


class Rewriter(Writer):
    """Reads rows one by one to change them. Raises `MetadataError` where the database refuses."""

    def require_rights(self) -> None:
        """Raise `MetadataError` where rows may not be changed: before an object is written for each of them."""
        from sqlalchemy import false, update

        for table in self._catalog.schema.live:
            x = self._table(table)
            self._require(update(x).values(value=x.c.value).where(false()))

    def text(self, row: Row) -> Text | None:
        """The value of a row as it is now; None when there is no such row any more, or no value."""
        from sqlalchemy import select

        x = self._table(row.table)
        whole = self._dialect.whole(x.c.value, row.table.form)
        digest = self._dialect.digest(x.c.value, row.table.form)
        space = self._dialect.space(x.c.value, row.table.form)
        query = select(whole.label("whole"), digest.label("digest"), space.label("space"))
        with connected(self._engine) as connection:
            values = connection.execute(query.where(*is_row(x, row))).first()
        if values is None or values.whole is None:
            return None
        return Text(row, _as_bytes(values.whole), str(values.digest), int(values.space))

    def swap(self, text: Text, new: str, deadline: datetime) -> bool:
        """Let the row hold another JSON text, unless it has changed since it was read, or it is too late.

        Returns whether it was changed. A row that is locked for some seconds is left alone with a `MetadataError`.
        """
        from sqlalchemy import update

        row, dialect = text.row, self._dialect
        x = self._table(row.table)
        unchanged = dialect.digest(x.c.value, row.table.form) == text.digest
        change = update(x).values(value=dialect.stored(new, row.table.form))
        with connected(self._engine) as connection:
            return bool(connection.execute(change.where(*is_row(x, row), unchanged, self._in_time(deadline))).rowcount)

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
