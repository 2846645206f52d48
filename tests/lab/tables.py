"""Writing rows into tables that differ between versions and databases.

A caller says what it knows of a row in Python's terms. Columns that the table lacks are left out, required
ones that the caller did not name get a neutral value, and each value takes the form in which Airflow stores it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import TYPE_CHECKING
from uuid import UUID

from sqlalchemy import create_engine, event, text
from sqlalchemy.engine import Connection, Engine, make_url
from sqlalchemy.exc import DBAPIError

if TYPE_CHECKING:
    from sqlalchemy.engine.interfaces import DBAPIConnection  # not in SQLAlchemy 1.4

_NEUTRAL: tuple[tuple[str, object], ...] = (
    *(("bool", False), ("tinyint(1)", False), ("int", 0), ("float", 0.0), ("double", 0.0)),
    *(("json", "{}"), ("char", ""), ("text", ""), ("time", datetime(2026, 1, 1, tzinfo=timezone.utc))),
    *(("binary", b""), ("blob", b""), ("bytea", b"")),
)
_BYTES = ("binary", "blob", "bytea")

_COLUMNS = {
    "sqlite": """
        SELECT m.name, p.name, p.type,
            p."notnull" AND p.dflt_value IS NULL AND NOT (p.name = 'id' AND p.type = 'INTEGER')
        FROM sqlite_master m JOIN pragma_table_info(m.name) p WHERE m.type = 'table'""",
    "postgresql": """
        SELECT table_name, column_name, data_type, is_nullable = 'NO' AND column_default IS NULL
        FROM information_schema.columns WHERE table_schema = current_schema()""",
    "mysql": """
        SELECT table_name, column_name, column_type,
            is_nullable = 'NO' AND column_default IS NULL AND extra NOT LIKE '%auto_increment%'
        FROM information_schema.columns WHERE table_schema = database()""",
}
"""Each column of each table with its type, and whether an INSERT has to name it."""

_UNCHECKED = {
    "postgresql": (("SET LOCAL lock_timeout = '1s'", "SET LOCAL session_replication_role = replica"), ()),
    "mysql": (("SET lock_wait_timeout = 1, foreign_key_checks = 0",), ("SET foreign_key_checks = 1",)),
}
"""What switches foreign keys off, and on again; and no waiting for a transaction that a test left open."""


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table in one database."""

    dialect: str
    kind: str
    required: bool

    def stored(self, value: object) -> object:
        """The value as a parameter for this column. Raises TypeError for bytes where the column holds text."""
        holds_bytes = any(part in self.kind for part in _BYTES)
        if isinstance(value, datetime) and self.dialect != "postgresql":
            naive = value.astimezone(timezone.utc).replace(tzinfo=None)
            return naive if self.dialect == "mysql" else naive.isoformat(" ", "microseconds")
        if isinstance(value, UUID):
            return value.bytes if holds_bytes else value.hex if self.kind == "char(32)" else str(value)
        if isinstance(value, str) and holds_bytes:
            return value.encode()
        if isinstance(value, bytes) and not holds_bytes:
            raise TypeError(f"a column of type {self.kind} cannot hold bytes")
        return value

    def neutral(self) -> object:
        """A value that means nothing."""
        return next(value for part, value in _NEUTRAL if part in self.kind)


class Tables:
    """The tables of one database, by name, as they were when this was made."""

    def __init__(self, url: str, schema: str | None = None) -> None:
        self.engine = _engine(url, schema)
        self.quote = self.engine.dialect.identifier_preparer.quote
        with self.engine.connect() as connection:
            self.columns = self._describe(connection)
            self._heads = _heads(connection)

    def _describe(self, connection: Connection) -> dict[str, dict[str, Column]]:
        found: dict[str, dict[str, Column]] = {}
        dialect = self.engine.dialect.name
        for table, name, kind, required in connection.execute(text(_COLUMNS[dialect])):
            found.setdefault(str(table), {})[str(name)] = Column(dialect, str(kind).lower(), bool(required))
        return found

    def insert(self, connection: Connection, table: str, rows: Sequence[Mapping[str, object]]) -> None:
        """Insert rows that name the same columns, many in one go."""
        if not rows:
            return
        columns = self.columns[table]
        given = {name: columns[name] for name in rows[0] if name in columns}
        filled = {name: column.neutral() for name, column in columns.items() if column.required and name not in given}
        names = [*given, *filled]
        rest = {name: columns[name].stored(value) for name, value in filled.items()}
        values = [{**rest, **{name: column.stored(row[name]) for name, column in given.items()}} for row in rows]
        listed = ", ".join(self.quote(name) for name in names)
        parameters = ", ".join(f":{name}" for name in names)
        connection.execute(text(f"INSERT INTO {self.quote(table)} ({listed}) VALUES ({parameters})"), values)

    def update(self, connection: Connection, table: str, row: Mapping[str, object], **where: object) -> None:
        """Set those columns of `row` that the table has, in the rows where the others are equal."""
        columns = self.columns[table]
        known = {name: columns[name].stored(value) for name, value in row.items() if name in columns}
        if not known:
            return
        changed = ", ".join(f"{self.quote(name)} = :{name}" for name in known)
        chosen = " AND ".join(f"{self.quote(name)} = :where_{name}" for name in where)
        values = {**known, **{f"where_{name}": columns[name].stored(value) for name, value in where.items()}}
        connection.execute(text(f"UPDATE {self.quote(table)} SET {changed} WHERE {chosen}"), values)

    def restore(self) -> bool:
        """Delete all rows but `alembic_version`'s, and all tables that came later; numbering goes on.

        False when that cannot be done at once, or the columns or the version are others than before.
        """
        alone, checked = _UNCHECKED[self.engine.dialect.name]
        try:
            with self.engine.begin() as connection:
                for statement in alone:
                    connection.exec_driver_sql(statement)
                for table in self._describe(connection).keys() - self.columns.keys():
                    connection.exec_driver_sql(f"DROP TABLE {self.quote(table)}")
                for table in self.columns.keys() - {"alembic_version"}:
                    connection.exec_driver_sql(f"DELETE FROM {self.quote(table)}")
                for statement in checked:
                    connection.exec_driver_sql(statement)
                return self._describe(connection) == self.columns and _heads(connection) == self._heads
        except DBAPIError:
            return False


def _heads(connection: Connection) -> list[object]:
    return list(connection.execute(text("SELECT version_num FROM alembic_version")).scalars())


def _engine(url: str, schema: str | None) -> Engine:
    """An engine whose sessions are set as Airflow sets its own; no test needs its rows after a power cut."""
    dialect = make_url(url).get_backend_name()
    # Without it psycopg2 sends one INSERT at a time.
    batched = {"executemany_mode": "values_plus_batch"} if dialect == "postgresql" else {}
    engine = create_engine(url, **batched)
    session = {
        "sqlite": ("PRAGMA foreign_keys = ON", "PRAGMA synchronous = OFF"),
        "postgresql": (f'SET search_path = "{schema or "public"}"', "SET synchronous_commit = off"),
        "mysql": ("SET time_zone = '+00:00'",),
    }[dialect]

    def set_up(connection: DBAPIConnection, _: object) -> None:
        cursor = connection.cursor()
        for statement in session:
            cursor.execute(statement)
        cursor.close()
        connection.commit()  # else SQLAlchemy rolls PostgreSQL's setting back

    event.listen(engine, "connect", set_up)
    return engine
