"""A MariaDB or MySQL server: only the one that XCOMCTL_TEST_MYSQL names, for no package brings one.

The variable holds the URL of an administrator, such as mysql+pymysql://root@127.0.0.1:3306/.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from sqlalchemy import create_engine
from sqlalchemy.engine import make_url
from sqlalchemy.pool import NullPool

ABSENT = "XCOMCTL_TEST_MYSQL names no server: MariaDB not tested"


@dataclass(frozen=True, slots=True)
class MariaDBServer:
    """`url` is that of an administrator who may create databases."""

    url: str


def server() -> MariaDBServer | None:
    """The server that the environment names, if it names one."""
    url = os.environ.get("XCOMCTL_TEST_MYSQL")
    return MariaDBServer(url) if url else None


@contextmanager
def fresh_database(server: MariaDBServer) -> Iterator[str]:
    """The URL of a new and empty database. Dropped at the end."""
    name = f"xcomctl_{uuid.uuid4().hex[:16]}"
    _administer(server.url, f"CREATE DATABASE {name}")
    try:
        yield make_url(server.url).set(database=name).render_as_string(hide_password=False)
    finally:
        _administer(server.url, f"DROP DATABASE {name}")


def _administer(url: str, statement: str) -> None:
    engine = create_engine(url, poolclass=NullPool)
    with engine.begin() as connection:
        # A test that left a transaction open fails here; by default it would hold everybody up for a day.
        connection.exec_driver_sql("SET lock_wait_timeout = 10")
        connection.exec_driver_sql(statement)
