"""Write `<dialect>.json`: what migration 0049 of each Airflow does to every value of the corpus, by doing it.

    python -m tests.upgrades.record WHEEL… [--dialect postgresql]

A wheel is one of apache-airflow-core, such as `pip download --no-deps apache-airflow-core==3.1.8` gets. The module
of the migration is taken from it as it is and run by alembic, once for each value, on a table `xcom` that holds it
alone, in a transaction that is rolled back. Python has an Airflow 3, whose types the modules import.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import json
import re
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

from alembic.config import Config
from alembic.operations import Operations
from alembic.runtime.environment import EnvironmentContext
from sqlalchemy import create_engine, text
from sqlalchemy.engine import Connection
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool

from tests import schemas
from tests.schemas.dump import SCRATCH
from tests.upgrades.corpus import CORPUS

LONGEST = 500
_MODULE = re.compile(r"airflow/migrations/versions/0049_.*\.py")
_VERSION = re.compile(r"apache_airflow_core-([^-]+)-")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("wheel", nargs="+", type=Path)
    parser.add_argument("--dialect", choices=SCRATCH, action="append", help="default: postgresql and sqlite")
    wanted = parser.parse_args()
    for dialect in wanted.dialect or ("postgresql", "sqlite"):
        with SCRATCH[dialect]() as url:
            if url is None:
                sys.exit("there is no such server")
            write(url, wanted.wheel)


def write(url: str, wheels: list[Path]) -> None:
    """Record all wheels on the empty database at `url`."""
    engine = create_engine(url, poolclass=NullPool)
    dialect = engine.dialect.name
    with engine.begin() as connection:
        connection.exec_driver_sql(table_of(dialect))
    found: dict[str, dict[str, object]] = {}
    same: dict[str, str] = {}
    for version, source in sorted((read(wheel) for wheel in wheels), key=lambda each: order(each[0])):
        code = re.sub(r"(?m)^#.*\n", "", source)
        if code in same:
            found[version] = {"as": same[code]}
            continue
        same[code] = version
        module = loaded(source)
        with engine.connect() as connection:
            found[version] = {name: outcome(connection, module, value) for name, value in CORPUS.items()}
    with engine.connect() as connection:
        server = ".".join(str(part) for part in connection.dialect.server_version_info or ())
    target = Path(__file__).with_name(f"{dialect}.json")
    document = {"server": f"{dialect} {server}", "targets": found}
    target.write_text(json.dumps(document, indent=1, ensure_ascii=True) + "\n")


def order(version: str) -> tuple[tuple[int, ...], int, str]:
    """Releases in their order, a pre-release before its release."""
    numbers, pre = re.fullmatch(r"([\d.]+)(.*)", version).groups()  # type: ignore[union-attr]
    return tuple(map(int, numbers.split("."))), 0 if pre else 1, pre


def read(wheel: Path) -> tuple[str, str]:
    """The version of a wheel, and the source of its migration."""
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (each for each in archive.namelist() if _MODULE.fullmatch(each))
        version = _VERSION.match(wheel.name)
        return version[1] if version else wheel.name, archive.read(name).decode()


def loaded(source: str) -> ModuleType:
    """The migration as a module."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "migration.py")
        path.write_text(source)
        spec = importlib.util.spec_from_file_location("migration", path)
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    return module


def table_of(dialect: str) -> str:
    """The table `xcom` of Airflow 2.11 without its foreign keys, which need the rows of all others."""
    (created,) = (s for s in schemas.statements(dialect, "2.11") if re.match(r"CREATE TABLE .?xcom\b", s))
    kept = [line for line in created.splitlines() if not re.search(r"FOREIGN KEY|REFERENCES", line)]
    return re.sub(r",\s*\)", "\n)", "\n".join(kept))


def outcome(connection: Connection, module: ModuleType, value: bytes | None) -> dict[str, object]:
    """What the migration makes of one value."""
    insert = text(
        "INSERT INTO xcom (dag_run_id, task_id, map_index, key, dag_id, run_id, value, timestamp)"
        " VALUES (1, 't', -1, 'k', 'd', 'r', :value, '2026-01-01 00:00:00')"
    )
    with rolled_back(connection):
        connection.execute(insert, {"value": value})
        try:
            with EnvironmentContext(Config(), None) as environment:  # type: ignore[arg-type]
                environment.configure(connection=connection)
                with Operations.context(environment.get_context()):
                    module.upgrade()
            return after(connection, value)
        except DBAPIError as error:
            state = getattr(error.orig, "pgcode", None)
            return {"aborts": str(error.orig).splitlines()[0][:LONGEST], **({"state": state} if state else {})}


def after(connection: Connection, value: bytes | None) -> dict[str, object]:
    archived = connection.exec_driver_sql("SELECT value FROM _xcom_archive").scalars().all()
    as_bytes = "CAST(value AS BLOB)" if connection.dialect.name == "sqlite" else "CAST(value AS TEXT)"
    stored = connection.exec_driver_sql(f"SELECT {as_bytes} FROM xcom").scalars().all()
    if archived:
        assert bytes(archived[0]) == value and not stored
        return {"archived": True}
    became = stored[0].decode(errors="backslashreplace") if isinstance(stored[0], bytes) else stored[0]
    if became is not None and len(became) > LONGEST:
        return {"sha256": hashlib.sha256(became.encode()).hexdigest()}
    return {"becomes": became}


@contextmanager
def rolled_back(connection: Connection) -> Iterator[None]:
    """What happens in here has not happened."""
    sqlite = connection.dialect.name == "sqlite"
    if sqlite:  # its driver begins no transaction before DDL
        connection.connection.driver_connection.isolation_level = None  # type: ignore[union-attr]
        connection.exec_driver_sql("BEGIN")
    try:
        yield
    finally:
        if sqlite:
            connection.exec_driver_sql("ROLLBACK")
        connection.rollback()


if __name__ == "__main__":
    main()
