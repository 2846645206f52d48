"""Which tables hold XComs, and in what form: found by looking, since the version may lie between two releases."""

from __future__ import annotations

import re
import warnings
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from xcomctl.catalog.engine import connected, shown
from xcomctl.errors import MetadataError

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection, Engine
    from sqlalchemy.engine.reflection import Inspector

HEADS = {
    "686269002441": "2.9.2",
    "22ed7efa9da2": "2.10.0",
    "5f2621c13b39": "2.10.3",
    "29ce7909c52b": "3.0.0",
    "fe199e1abd77": "3.0.3",
    "cc92b33c6709": "3.1.0",
    "509b94a1042d": "3.1.8",
    "1d6611b6ab7c": "3.2.0",
    "d2f4e1b3c5a7": "3.3.0",
    "9cffe90fa0c0": "3.4.0",
}
"""Alembic heads and the first Airflow that has each (airflow.utils.db._REVISION_HEADS_MAP of 2.11.2 to 3.4.0b2)."""

LIVE = ("xcom", "xcom_v1", "xcom_v2")
STATE_STORES = ("task_state_store", "asset_state_store")
_ARCHIVE = re.compile(
    r"_airflow_deleted__(?:xcom|xcom_v1|xcom_v2|_xcom_archive|task_state_store|asset_state_store)__.+|_xcom_archive"
)

_ARCHIVED_TASKS = re.compile(r"_airflow_deleted__task_instance__.+")


class Form(Enum):
    """How a table stores values: JSON text as bytes (Airflow 2), as JSON (3), or as plain text (state stores)."""

    BYTES = "bytes"
    JSON = "json"
    TEXT = "text"


@dataclass(frozen=True, slots=True)
class Table:
    """A table with a `value` column."""

    name: str
    columns: frozenset[str]
    form: Form

    @property
    def is_xcom(self) -> bool:
        """Whether its rows belong to tasks, and not to what tasks and assets keep for themselves."""
        return not any(state_store in self.name for state_store in STATE_STORES)


@dataclass(frozen=True, slots=True)
class Schema:
    """Where one database keeps references.

    `live` are the tables that Airflow reads, newest first; `archives` what `airflow db clean` of any of these tables
    and the upgrade to 3.0 left behind; `unknown` the names that look like XCom tables and are none of these, and
    `suspects` those of them that have values; `guarded` are tables of which row-level security may hide rows.
    `dag_run`, `task_instance`, `log` and `job` are the columns of those tables, empty when they are missing.
    `namespace` is where all of them are, `named` what somebody said of it.
    """

    named: str | None
    namespace: str | None
    head: str | None
    live: tuple[Table, ...]
    archives: tuple[Table, ...]
    state_stores: tuple[Table, ...]
    unknown: tuple[str, ...]
    suspects: tuple[Table, ...]
    guarded: tuple[str, ...]
    dag_run: frozenset[str]
    task_instance: frozenset[str]
    log: frozenset[str]
    job: frozenset[str]
    tables: frozenset[str]
    archived_tasks: tuple[tuple[str, frozenset[str]], ...] = ()
    """The archives of task instances, by name, each with its columns."""

    @property
    def xcom_archives(self) -> tuple[Table, ...]:
        """The archives whose rows are XComs."""
        return tuple(each for each in self.archives if {"key", "timestamp"} <= each.columns and each.is_xcom)

    @property
    def version(self) -> str | None:
        """The first Airflow with this alembic head; None for a head that this xcomctl does not know."""
        return HEADS.get(self.head or "")

    @property
    def missing(self) -> tuple[str, ...]:
        """Tables that this version of Airflow has, and that are not there, or that this user may not see on MySQL."""
        version = tuple(int(part) for part in (self.version or "0").split("."))
        expected = {"xcom_v1", "xcom_v2"} if version >= (3, 4) or self.has_attempts else {"xcom"}
        if version >= (3, 3):
            expected |= set(STATE_STORES)
        return tuple(sorted(expected - self.tables))

    @property
    def has_attempts(self) -> bool:
        """Whether every attempt of a task keeps its own XComs (Airflow 3.4)."""
        return any(table.name == "xcom_v2" for table in self.live)

    @property
    def roots(self) -> tuple[Table, ...]:
        """The tables whose values Airflow may read, the older first: the direction in which it moves rows."""
        return (*reversed(self.live), *self.state_stores)


def inspect_schema(engine: Engine, named: str | None) -> Schema:
    """Look at the tables of a database, in the namespace so named. Raises `MetadataError` when it is not Airflow's."""
    from sqlalchemy import inspect

    with connected(engine) as connection, warnings.catch_warnings():
        # SQLAlchemy 1.4 does not know PostgreSQL's uuid, whose type nothing here depends on.
        warnings.filterwarnings("ignore", "Did not recognize type")
        inspector = inspect(connection)
        elsewhere = () if named is not None else _elsewhere(connection)
        namespace = named or _own_namespace(connection)
        names = set(inspector.get_table_names(schema=namespace))
        views = _views(connection, inspector, namespace)
        live = tuple(_table(inspector, namespace, name) for name in ("xcom_v2", "xcom_v1", "xcom") if name in names)
        if not live:
            raise MetadataError(
                f"{shown(engine.url)} holds no table xcom: it is not Airflow's database",
                hint="check --db and --db-schema; a new Airflow needs `airflow db migrate`, this user SELECT",
            )
        archives = sorted(name for name in names if _ARCHIVE.fullmatch(name))
        unknown = sorted(n for n in names if "xcom" in n.lower() and n not in LIVE and n not in archives)
        unknown += sorted(v for v in views if _looks_like_roots(v))
        roots = [*LIVE, *STATE_STORES, *archives]
        return Schema(
            named=named,
            namespace=namespace,
            head=_head(connection, namespace) if "alembic_version" in names else None,
            live=live,
            archives=tuple(_table(inspector, namespace, name) for name in archives),
            state_stores=tuple(_table(inspector, namespace, name) for name in STATE_STORES if name in names),
            unknown=(*unknown, *elsewhere),
            suspects=tuple(
                _table(inspector, namespace, n)
                for n in unknown
                if "value" in _columns(inspector, namespace, n, names | views)
            ),
            guarded=tuple(name for name in roots if name in names and _is_guarded(connection, namespace, name)),
            dag_run=_columns(inspector, namespace, "dag_run", names),
            task_instance=_columns(inspector, namespace, "task_instance", names),
            log=_columns(inspector, namespace, "log", names),
            job=_columns(inspector, namespace, "job", names),
            tables=frozenset(names),
            archived_tasks=tuple(
                (name, _columns(inspector, namespace, name, names))
                for name in sorted(names)
                if _ARCHIVED_TASKS.fullmatch(name)
            ),
        )


def _looks_like_roots(name: str) -> bool:
    return "xcom" in name.lower() or any(state_store in name for state_store in STATE_STORES)


def _own_namespace(connection: Connection) -> str | None:
    """PostgreSQL's schema of Airflow's tables: the one that its own unqualified names lead to.

    Named in every query, so that no table of another schema on the search path is taken for one of them.
    """
    from sqlalchemy import text

    if connection.dialect.name != "postgresql":
        return None
    found = "SELECT relnamespace::regnamespace::text FROM pg_class WHERE oid = to_regclass(:name)"
    for name in ("alembic_version", *LIVE):
        namespace = connection.execute(text(found), {"name": name}).scalar()
        if namespace is not None:
            return str(namespace).strip('"')
    return None


def _elsewhere(connection: Connection) -> tuple[str, ...]:
    """Tables of XComs, and archives of such, in PostgreSQL's other schemas: which is Airflow's must be said."""
    from sqlalchemy import text

    if connection.dialect.name != "postgresql":
        return ()
    query = text(
        "SELECT relnamespace::regnamespace || '.' || relname FROM pg_class WHERE strpos(lower(relname), 'xcom') > 0 "
        "AND relkind IN ('r', 'p', 'v', 'm', 'f') AND relnamespace <> coalesce((SELECT relnamespace FROM pg_class "
        "WHERE oid = coalesce(to_regclass('alembic_version'), to_regclass('xcom'))), 0)"
    )
    return tuple(sorted(connection.execute(query).scalars()))


def _views(connection: Connection, inspector: Inspector, namespace: str | None) -> set[str]:
    """Views, which Airflow has none of: one that is named like an archive may be what somebody made of it."""
    from sqlalchemy import text

    if connection.dialect.name != "postgresql":
        return set(inspector.get_view_names(schema=namespace))
    query = "SELECT relname FROM pg_class WHERE relkind IN ('v', 'm', 'f') AND relnamespace::regnamespace::text = :name"
    return set(connection.execute(text(query), {"name": namespace}).scalars())


def _columns(inspector: Inspector, namespace: str | None, name: str, names: set[str]) -> frozenset[str]:
    if name not in names:
        return frozenset()
    return frozenset(column["name"] for column in inspector.get_columns(name, schema=namespace))


def _table(inspector: Inspector, namespace: str | None, name: str) -> Table:
    columns = {column["name"]: column["type"] for column in inspector.get_columns(name, schema=namespace)}
    if "value" not in columns:
        raise MetadataError(f"the table {name} has no column `value`", hint="check --db and --db-schema")
    untyped = inspector.dialect.name == "sqlite" and _has_no_type(columns["value"])
    as_stored = Form.BYTES if untyped or _holds_bytes(columns["value"]) else Form.JSON
    holds_text = any(state_store in name for state_store in STATE_STORES) and not _holds_json(columns["value"])
    return Table(name, frozenset(columns), Form.TEXT if holds_text else as_stored)


def _is_guarded(connection: Connection, namespace: str | None, name: str) -> bool:
    """Whether row-level security decides which rows this user sees."""
    from sqlalchemy import text

    if connection.dialect.name != "postgresql":
        return False
    quoted = connection.dialect.identifier_preparer.quote
    table = ".".join(quoted(part) for part in (namespace, name) if part)
    return bool(connection.execute(text("SELECT row_security_active(:name)"), {"name": table}).scalar())


def _holds_json(column_type: object) -> bool:
    return type(column_type).__name__.upper() in ("JSON", "JSONB")


def _holds_bytes(column_type: object) -> bool:
    from sqlalchemy.types import LargeBinary

    return isinstance(column_type, LargeBinary) or type(column_type).__name__.upper().endswith(("BLOB", "BYTEA"))


def _has_no_type(column_type: object) -> bool:
    """As where `CREATE TABLE AS` has copied bytes in SQLite."""
    from sqlalchemy.types import NullType

    return isinstance(column_type, NullType)


def _head(connection: Connection, namespace: str | None) -> str | None:
    from sqlalchemy import column, select, table

    version = table("alembic_version", column("version_num"), schema=namespace)
    heads = connection.execute(select(version.c.version_num)).scalars().all()
    return heads[0] if len(heads) == 1 else None
