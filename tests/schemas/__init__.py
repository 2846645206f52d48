"""The tables of real Airflow databases that concern XComs, as DDL, and how to make them.

`<label>.<dialect>.sql` is written by dump.py from a database that `airflow db migrate` made; never by hand.
"""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import create_engine
from sqlalchemy.pool import NullPool

_FOLDER = Path(__file__).parent

_SETTINGS = {
    "sqlite": ("PRAGMA synchronous = OFF",),
    "postgresql": (),
    "mysql": ("SET foreign_key_checks = 0",),  # the tables stand in the order of their names
}


def names() -> list[str]:
    """Every schema there is, as `<dialect>-<label>`: `postgresql-3.3`, `sqlite-3.3-upgraded`."""
    return sorted("-".join(found.stem.rsplit(".", 1)[::-1]) for found in _FOLDER.glob("*.sql"))


def statements(dialect: str, label: str) -> list[str]:
    """The statements of one schema, without their semicolons."""
    lines = (_FOLDER / f"{label}.{dialect}.sql").read_text().splitlines()
    script = "\n".join(line for line in lines if not line.startswith("--"))
    return [statement.strip() for statement in script.split(";\n") if statement.strip()]


def load(url: str, label: str, schema: str | None = None) -> None:
    """Make the tables of `label` in the empty database at `url`, with its row in `alembic_version`.

    `schema` is a PostgreSQL schema to make for them; without it they go where the database puts them.
    """
    engine = create_engine(url, poolclass=NullPool)
    with engine.begin() as connection:
        if schema:
            connection.exec_driver_sql(f'CREATE SCHEMA "{schema}"')
            connection.exec_driver_sql(f'SET search_path = "{schema}"')
        for setting in _SETTINGS[engine.dialect.name]:
            connection.exec_driver_sql(setting)
        for statement in statements(engine.dialect.name, label):
            connection.exec_driver_sql(statement)
