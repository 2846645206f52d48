"""The small values that may refer to objects, whatever else they are: read in pages, and searched as text."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from xcomctl.backend import reference
from xcomctl.catalog.database import Database, utc
from xcomctl.catalog.schema import Table
from xcomctl.catalog.source import clause

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy.engine import Row as Answer


@dataclass(frozen=True, slots=True)
class Mention:
    """A small value that may refer to objects. `names` are the unique parts of all that it mentions.

    `text` is the string that it is, or its JSON text; `pushed_at` when it was stored, as the driver gives it.
    """

    names: set[str]
    text: str
    pushed_at: Any

    @property
    def stored_at(self) -> datetime | None:
        """When the row was written; None for tables that do not tell."""
        return utc(self.pushed_at)


@dataclass(frozen=True, slots=True)
class References:
    """Some values that may refer to objects: their JSON texts, and when each was stored, as the driver gives it."""

    texts: Sequence[str]
    pushed: Sequence[Any]

    def __len__(self) -> int:
        return len(self.texts)

    def __iter__(self) -> Iterator[Mention]:
        return map(self.mention, range(len(self)))

    def mention(self, number: int) -> Mention:
        """What one of them says."""
        text = self.texts[number]
        unwrapped = reference.unwrap(text)
        return Mention(_names(text, unwrapped), unwrapped[0] if unwrapped else text, self.pushed[number])


def references_in(database: Database, tables: Sequence[Table], base: reference.Address | None) -> Iterator[References]:
    """The values of some tables that mention what an XCom backend names so, or a place under the base path."""
    for table in tables:
        for some in _stored_in(database, table, base):
            stored, pushed = zip(*some, strict=True)
            yield References([decoded(each) for each in stored], pushed)


def _stored_in(database: Database, table: Table, base: reference.Address | None) -> Iterator[Sequence[Answer[Any]]]:
    from sqlalchemy import literal_column, select

    schema = database.schema
    page = next((name for name in ("dag_run_id", "id") if name in table.columns), None)
    pushed = "timestamp" if "timestamp" in table.columns else None
    x = clause(schema, table.name, [name for name in (page, pushed, "value") if name], alias="x")
    # A condition, which the database works out once, and not a column that must not be NULL: that would be twice.
    mentions = database.dialect.mentions(x.c.value, table.form, _below(base))
    root = database.dialect.whole(x.c.value, table.form)
    pushed_at = database.dialect.stamp(x.c.timestamp) if pushed else literal_column("NULL")
    query = select(root.label("root"), pushed_at.label("pushed_at")).select_from(x).where(mentions)
    if page is None or table not in schema.live:
        yield from database.batches(query)
        return
    for within in database.ranges(x.c[page], x, ()):
        yield from database.batches(query.where(*within))


def referred(stored: Any) -> set[str]:
    """The unique parts of the objects that a small value mentions. A pickle is searched as text, never loaded."""
    text = decoded(stored)
    return _names(text, reference.unwrap(text))


def decoded(stored: Any) -> str:
    """The text of a value that may be bytes, or the memoryview that psycopg2 makes of them."""
    return stored if isinstance(stored, str) else bytes(stored).decode("utf-8", errors="replace")


def _names(text: str, unwrapped: tuple[str, int] | None) -> set[str]:
    return reference.mentioned(text) | (reference.mentioned(unwrapped[0]) if unwrapped else set())


def _below(base: reference.Address | None) -> list[str]:
    """LIKE patterns for values that may name something under the base path, in any spelling of the way there."""
    if base is None:
        return []
    last = base.location.bucket or base.location.name.rpartition("/")[2]
    plain = re.match(r"[\w.-]*", last, re.ASCII)  # JSON may spell out what is not ASCII
    if not plain or not plain[0]:
        return []
    # JSON may have a backslash before the slash.
    return [f"%{last}/%", f"%{last}_/%"] if plain[0] == last else [f"%{plain[0]}%"]
