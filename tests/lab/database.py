"""Fresh Airflow databases, cheap enough to give every test its own.

SQLite copies a prepared file, in a millisecond. A server makes a database once for each schema and process, and
empties it between tests, in 10 to 20 ms.
"""

from __future__ import annotations

import shutil
import uuid
from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pytest
from sqlalchemy import create_engine, inspect, text
from sqlalchemy.engine import make_url

from tests import schemas
from tests.lab import mariadb, postgres
from tests.lab.tables import Tables


@dataclass(frozen=True, slots=True)
class Database:
    """An Airflow database: `dialect` is SQLAlchemy's name, `label` the schema's in tests/schemas."""

    url: str
    dialect: str
    label: str
    schema: str | None = None
    """The PostgreSQL schema that the tables are in, as `[database] sql_alchemy_schema` names it."""


class Databases:
    """Makes databases; the servers start when the first of their databases is wanted, and stop at `close`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._until_close = ExitStack()
        self._idle: dict[str, list[Tables]] = defaultdict(list)

    def close(self) -> None:
        self._until_close.close()

    @cached_property
    def postgres(self) -> postgres.PostgresServer:
        return self._until_close.enter_context(postgres.server())

    @cached_property
    def mariadb(self) -> mariadb.MariaDBServer:
        """The MariaDB server; the test that wants it is skipped where there is none."""
        return mariadb.server() or pytest.skip(mariadb.ABSENT)

    @contextmanager
    def fresh(self, name: str, schema: str | None = None) -> Iterator[Database]:
        """A database without rows, of the schema `<dialect>-<label>`, such as `postgresql-3.3`.

        `schema` is a PostgreSQL schema to put the tables into.
        """
        dialect, _, label = name.partition("-")
        if schema:
            with self.empty(dialect) as url:
                schemas.load(url, label, schema)
                yield Database(url, dialect, label, schema)
        elif dialect == "sqlite":
            with self.empty(dialect) as url:
                shutil.copyfile(self._prepared_file(label), make_url(url).database or "")
                yield Database(url, dialect, label)
        else:
            tables = self._idle[name].pop() if self._idle[name] else self._made(dialect, label)
            yield Database(tables.engine.url.render_as_string(hide_password=False), dialect, label)
            if tables.restore():
                self._idle[name].append(tables)

    @contextmanager
    def empty(self, dialect: str) -> Iterator[str]:
        """The URL of a database with nothing in it."""
        if dialect == "sqlite":
            path = self._folder / f"{uuid.uuid4().hex}.db"
            path.touch()
            yield f"sqlite:///{path}"
            path.unlink(missing_ok=True)
        elif dialect == "postgresql":
            with postgres.fresh_database(self.postgres) as url:
                yield url
        else:
            with mariadb.fresh_database(self.mariadb) as url:
                yield url

    def _prepared_file(self, label: str) -> Path:
        path = self._folder / f"{label}.db"
        if not path.exists():
            schemas.load(f"sqlite:///{path}", label)
        return path

    def _made(self, dialect: str, label: str) -> Tables:
        url = self._until_close.enter_context(self.empty(dialect))
        schemas.load(url, label)
        tables = Tables(url)
        self._until_close.callback(tables.engine.dispose)
        return tables


def forget_deleted_rows(database: Database) -> None:
    """What tests before have deleted still fills blocks."""
    engine = create_engine(database.url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        for name in inspect(engine).get_table_names():
            if name.startswith("xcom") or name in ("dag_run", "task_instance", "legacy_task_data_owner"):
                connection.execute(text(f"VACUUM FULL ANALYZE {name}"))
    engine.dispose()
