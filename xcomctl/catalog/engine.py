"""How a metadata database is reached: the driver that is installed, read-only where that is possible."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from functools import partial
from hashlib import sha256
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from xcomctl.errors import MetadataError
from xcomctl.masking import Mask

if TYPE_CHECKING:
    from sqlalchemy.engine import URL, Connection, Engine
    from sqlalchemy.exc import DBAPIError

DRIVERS = {
    "postgresql": {"psycopg2": "psycopg2", "psycopg": "psycopg", "pg8000": "pg8000"},
    "mysql": {"mysqldb": "MySQLdb", "pymysql": "pymysql", "mysqlconnector": "mysql.connector"},
    "mariadb": {"mysqldb": "MySQLdb", "pymysql": "pymysql"},
    "sqlite": {"pysqlite": "sqlite3"},
}
"""For each database SQLAlchemy's synchronous drivers, and the module that each needs, in order of preference."""

CONNECT_SECONDS = 10
LOCK_SECONDS = 5

READS_AT_ONCE = 3
"""So many connections that read are kept, once they were needed at the same time."""

IDLE_SECONDS = 60

FRESH_SECONDS = 1.0
"""A connection that was in use so lately is taken to be alive."""

_MYSQL = (
    f"SET innodb_lock_wait_timeout = {LOCK_SECONDS}",
    "SET time_zone = '+00:00'",
    f"SET time_zone = '+00:00' /*M!100300 , idle_transaction_timeout = {IDLE_SECONDS} */",
)

SETTINGS = {
    "postgresql": (
        f"SET lock_timeout = '{LOCK_SECONDS}s'",
        f"SET idle_in_transaction_session_timeout = '{IDLE_SECONDS}s'",
    ),
    "mysql": _MYSQL,
    "mariadb": _MYSQL,
}
"""What a session that writes is told first. Only MariaDB reads what its comment says; MySQL knows no such limit."""

LOCKED = ("55P03", "40P01", "40001", 1205, 1213)
"""What PostgreSQL and MySQL call a lock that was waited for in vain, and a deadlock."""

_DENIED_BY_POSTGRESQL = re.compile(r'permission denied for (table|view|schema|database) "?([^\s"]+)')
_DENIED_BY_MYSQL = re.compile(
    r"(?P<right>[A-Z, ]+) command denied to user \S+ for (?:column '[^']*' in )?table (?P<table>\S+)"
)
_LOCKING = re.compile(r"\bFOR (?:NO KEY |KEY )?(?:UPDATE|SHARE)\b")
_OF_TABLES = {"": "SELECT", "LOCK": "SELECT, UPDATE", "UPDATE": "SELECT, UPDATE", "DELETE": "SELECT, DELETE"}
_RIGHTS = {
    "table": (_OF_TABLES, ""),
    "view": (_OF_TABLES, ""),
    "schema": ({"": "USAGE", "CREATE": "CREATE"}, "SCHEMA "),
    "database": ({"": "CONNECT", "CREATE": "TEMPORARY"}, "DATABASE "),
}
"""What PostgreSQL leaves to guess: which right is missing, by what the statement does."""


def open_engine(url_text: str) -> Engine:
    """An engine for the database of a URL, which nothing has been asked yet.

    Raises `MetadataError` for a URL that cannot be read, a missing driver or a missing SQLite file.
    """
    from sqlalchemy import create_engine, event
    from sqlalchemy.pool import QueuePool

    url = _with_installed_driver(_parsed(url_text))
    # A connection serves one short transaction after the other; between them the server may have been restarted.
    engine = create_engine(
        _read_only(url),
        poolclass=QueuePool,
        pool_size=READS_AT_ONCE,
        pool_pre_ping=True,
        connect_args=_connect_arguments(url),
    )
    if url.get_backend_name() == "sqlite":
        event.listen(engine, "connect", _give_digest)
    return engine


def open_writing_engine(url: URL, at_once: int = 1) -> Engine:
    """An engine that may change the database whose reading engine has this URL. Each statement commits by itself.

    It has so many connections; but one on SQLite, which lets one write at a time. Who finds none free waits.
    """
    from sqlalchemy import create_engine, event
    from sqlalchemy.pool import QueuePool

    if url.drivername.startswith("sqlite") and url.query.get("mode") == "ro":
        url = url.update_query_dict({"mode": "rw"})
    engine = create_engine(
        url,
        poolclass=QueuePool,
        pool_size=1 if url.drivername.startswith("sqlite") else at_once,
        max_overflow=0,
        pool_timeout=None,
        connect_args=_connect_arguments(url),
        isolation_level="AUTOCOMMIT",
    )
    event.listen(engine, "connect", partial(_prepare, url.get_backend_name()))
    event.listen(engine, "checkin", _note_use)
    event.listen(engine, "checkout", partial(_require_alive, engine))
    return engine


def _note_use(connection: Any, record: Any) -> None:
    """When a connection was last in use."""
    record.info["used_at"] = monotonic()


def _require_alive(engine: Engine, connection: Any, record: Any, proxy: object) -> None:
    """Ask a connection that has not been in use for a while whether it is alive; the pool replaces one that is not.

    To ask before each statement, as `pool_pre_ping` does, doubles the way to the server and back.
    """
    from sqlalchemy.exc import DisconnectionError

    if monotonic() - record.info.get("used_at", monotonic()) < FRESH_SECONDS:
        return
    try:
        is_alive = engine.dialect.do_ping(connection)
    except Exception as error:  # SQLAlchemy 2 raises what the driver does; 1.4 returns False
        raise DisconnectionError(str(error)) from error
    if not is_alive:
        raise DisconnectionError


def _prepare(backend: str, connection: Any, record: object) -> None:
    """Wait for nobody's lock for long, and hold none for long where the process stands still."""
    if backend == "sqlite":
        _give_digest(connection, record)
        return
    cursor = connection.cursor()
    for statement in SETTINGS[backend]:
        cursor.execute(statement)
    cursor.close()
    connection.commit()


def _give_digest(connection: Any, record: object) -> None:
    """SQLite has no digest of its own."""
    connection.create_function("xcomctl_sha256", 1, _sha256, deterministic=True)


def _sha256(data: bytes | None) -> str | None:
    return None if data is None else sha256(data).hexdigest()


def shown(url: URL) -> str:
    """The URL as it may be printed: without password, and without options, which may hold one."""
    if url.drivername.startswith("sqlite"):
        return f"sqlite:///{unquote((url.database or '').removeprefix('file://'))}"
    return str(url.set(query={}).render_as_string(hide_password=True))


@contextmanager
def connected(engine: Engine) -> Iterator[Connection]:
    """A connection whose every failure is a `MetadataError` that shows no password."""
    from sqlalchemy.exc import DBAPIError, SQLAlchemyError

    try:
        with engine.connect() as connection:
            yield connection
    except DBAPIError as error:
        raise MetadataError(
            f"{shown(engine.url)}: {_without_secret(_first_line(error.orig), engine.url)}",
            hint=_missing_right(error, engine.url) or _hint(str(error.orig)),
        ) from error
    except SQLAlchemyError as error:
        raise MetadataError(
            f"{shown(engine.url)}: {_without_secret(_first_line(error), engine.url)}", hint="check --db"
        ) from error


@contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """The same to read rows: drivers raise ValueError for a time that Python has not, as in the year 12026."""
    try:
        with connected(engine) as connection:
            yield connection
    except ValueError as error:
        raise MetadataError(
            f"{shown(engine.url)}: a row holds what cannot be read: {_first_line(error)}", hint="mend that row"
        ) from error


def is_out_of_reach(error: MetadataError) -> bool:
    """Whether the connection is what failed; else the database was reached, and refused what it was asked."""
    cause = error.__cause__
    return getattr(cause, "connection_invalidated", False) or getattr(cause, "statement", None) is None


def is_locked(error: MetadataError) -> bool:
    """Whether somebody else's lock stood in the way: to ask again, or for less at a time, may help."""
    told = getattr(error.__cause__, "orig", None)
    codes = (getattr(told, "sqlstate", None), getattr(told, "pgcode", None), *getattr(told, "args", ())[:1])
    return "database is locked" in error.message or any(
        code in LOCKED for code in codes if isinstance(code, (str, int))
    )


def _parsed(text: str) -> URL:
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError

    if text.startswith("postgres://"):  # what Heroku and others still hand out, and Airflow repairs as well
        text = "postgresql://" + text[len("postgres://") :]
    try:
        url = make_url(text)
    except (ArgumentError, ValueError) as error:
        raise MetadataError(
            "the database URL cannot be read", hint="write dialect://user:password@host:port/database"
        ) from error
    if "@" in (url.host or ""):
        raise MetadataError("the database URL has an @ in its user or password", hint="write %40 in its place")
    return url


def _with_installed_driver(url: URL) -> URL:
    """The URL with a synchronous driver that is installed: the one it names, else any other."""
    backend, _, named = url.drivername.partition("+")
    drivers = DRIVERS.get(backend)
    if drivers is None:
        raise MetadataError(f"{backend} is not a database that Airflow uses", hint=f"one of {', '.join(DRIVERS)}")
    wanted = [named, *drivers] if named in drivers else list(drivers)
    for driver in wanted:
        if _importable(drivers[driver]):
            return url.set(drivername=f"{backend}+{driver}")
    missing = named if named in drivers else next(iter(drivers))
    package = {
        "psycopg2": "psycopg2-binary",
        "mysqldb": "mysqlclient",
        "mysqlconnector": "mysql-connector-python",
    }
    raise MetadataError(f"no driver for {backend} is installed", hint=f"pip install {package.get(missing, missing)}")


def _importable(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        return False


def _read_only(url: URL) -> URL:
    """SQLite creates a missing file unless it is told not to."""
    if not url.drivername.startswith("sqlite") or url.database is None:
        return url
    if url.database.startswith("file:"):
        return url
    path = Path(url.database)
    if not path.is_file():
        raise MetadataError(f"there is no SQLite file {path}", hint="check --db; four slashes start an absolute path")
    _roll_back(path)
    return url.set(database=path.absolute().as_uri(), query={"mode": "ro", "uri": "true"})


def _roll_back(path: Path) -> None:
    """Undo what a process that was killed has left half done: SQLite does so by itself for whoever may write."""
    import sqlite3

    if Path(f"{path}-journal").exists():
        with suppress(sqlite3.Error), closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=rw", uri=True)) as file:
            file.execute("SELECT count(*) FROM sqlite_master").fetchone()


def _connect_arguments(url: URL) -> dict[str, object]:
    if url.drivername.startswith("sqlite"):
        return {"timeout": CONNECT_SECONDS, "check_same_thread": False}  # the pool gives it to one thread at a time
    if url.drivername.endswith(("pg8000", "mysqlconnector")):
        return {}
    arguments: dict[str, object] = {"connect_timeout": CONNECT_SECONDS} if "connect_timeout" not in url.query else {}
    if url.drivername.endswith(("mysqldb", "pymysql")):
        arguments["init_command"] = "SET time_zone = '+00:00'"  # as Airflow does: its times are in UTC
    return arguments


def _first_line(error: object) -> str:
    if isinstance(error, Exception) and len(error.args) > 1 and isinstance(error.args[1], str):
        return error.args[1].strip().splitlines()[0]  # MySQL's drivers: (number, text)
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def _without_secret(text: str, url: URL) -> str:
    mask = Mask()
    mask.hide(url.password or "")
    return mask(text)


def _missing_right(error: DBAPIError, url: URL) -> str | None:
    """The statement that gives this user what was denied, where the database tells of what."""
    text = _first_line(error.orig)
    user = url.username or "USER"
    if found := _DENIED_BY_POSTGRESQL.search(text):
        kind, name = found.groups()
        rights, on = _RIGHTS[kind]
        right = rights.get(_deed(str(error.statement or "")), rights[""])
        return f'GRANT {right} ON {on}{name} TO "{user}"; docs/database-roles.md has what each command needs'
    if found := _DENIED_BY_MYSQL.search(text):
        right, table = found["right"], found["table"].replace("`", "").replace("'", "").rpartition(".")[2]
        return f"GRANT {right} ON {url.database}.{table} TO {user}; docs/database-roles.md has what each command needs"
    if "to database" in text and "Access denied" in text:
        return f"GRANT SELECT ON {url.database}.* TO {user}, or check its name; docs/database-roles.md has the others"
    return None


def _deed(statement: str) -> str:
    """What a statement does: the first word, or that it locks what it reads."""
    if _LOCKING.search(statement):
        return "LOCK"
    return (statement.split() or [""])[0].upper()


def _hint(text: str) -> str:
    """What to do about a driver's message, told by the words that the three databases use."""
    lowered = text.lower()
    if any(word in lowered for word in ("password", "access denied", "authentication", 'role "')):
        return "check user and password in --db or XCOMCTL_DB"
    if any(word in lowered for word in ("permission denied", "denied to user", "command denied")):
        return "the user needs SELECT on Airflow's tables; to change rows UPDATE and DELETE, for an archive CREATE"
    if any(word in lowered for word in ("read-only transaction", "read-only option", "read only transaction")):
        return "this session or server only reads: name the primary, and a user whose sessions may write, with --db"
    if any(word in lowered for word in ("does not exist", "unknown database", "not a database")):
        return "check the database name in --db, and --db-schema"
    return "is the database up, and reachable from here? check --db or XCOMCTL_DB"
