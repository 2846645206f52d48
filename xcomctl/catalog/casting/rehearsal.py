"""The migration itself, on a copy of some rows, in a transaction of PostgreSQL that is rolled back."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from xcomctl.catalog.casting.postgresql import asking
from xcomctl.catalog.catalog import Row
from xcomctl.catalog.database import Database
from xcomctl.catalog.engine import connected
from xcomctl.catalog.treatments import CAST, Treatment

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

TABLE = "pg_temp.xcomctl_rehearsal"

_COPY = """
CREATE TEMPORARY TABLE xcomctl_rehearsal ON COMMIT DROP AS
SELECT x.dag_run_id, x.task_id, x.map_index, x.key, x.value FROM __SOURCE__ AS x
JOIN jsonb_to_recordset(current_setting('xcomctl.asked')::jsonb)
    AS each(number int, dag_run_id int, task_id text, map_index int, key text)
ON each.dag_run_id = x.dag_run_id AND each.task_id = x.task_id AND each.map_index = x.map_index AND each.key = x.key
"""


@dataclass(frozen=True, slots=True)
class Rehearsed:
    """How many rows were taken through the migration, and those that came out otherwise than said, with the error."""

    passed: int
    failed: int
    surprises: tuple[tuple[Row, str], ...]


def rehearse(database: Database, treatment: Treatment, passing: Sequence[Row], failing: Sequence[Row]) -> Rehearsed:
    """Take rows through the migration: those that should pass together, each that should fail by itself.

    Raises `MetadataError` where this user may not make a temporary table, or the database is a standby.
    """
    surprises: list[tuple[Row, str]] = []
    with connected(database.engine) as connection, _rolled_back(connection):
        if passing and _error(connection, database, treatment, passing) is not None:
            for row in passing:
                error = _error(connection, database, treatment, [row])
                surprises += [(row, error)] if error is not None else []
        for row in failing:
            if _error(connection, database, treatment, [row]) is None:
                surprises.append((row, ""))
    return Rehearsed(len(passing), len(failing), tuple(surprises))


@contextmanager
def _rolled_back(connection: Connection) -> Iterator[None]:
    transaction = connection.begin()
    try:
        yield
    finally:
        transaction.rollback()


def _error(connection: Connection, database: Database, treatment: Treatment, rows: Sequence[Row]) -> str | None:
    """What the migration says of a copy of these rows, None where it passes; the copy is gone afterwards."""
    from sqlalchemy.exc import DBAPIError

    savepoint = connection.begin_nested()
    connection.execute(*asking(rows))
    connection.exec_driver_sql(_COPY.replace("__SOURCE__", database.table_name("xcom")))
    try:
        for statement in (*treatment.statements, CAST):
            connection.exec_driver_sql(statement.replace("__TABLE__", TABLE))
    except DBAPIError as error:
        if error.connection_invalidated:
            raise
        return (str(error.orig).strip().splitlines() or ["?"])[0]
    finally:
        if savepoint.is_active:
            savepoint.rollback()
    return None
