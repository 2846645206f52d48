"""The whole database of an Airflow 2, for a real upgrade: tests/schemas has only what concerns XComs.

    python -m tests.upgrades.whole --python AIRFLOW_2_11_2

writes `2.11.postgresql.sql` beside this file, from a database that `airflow db migrate` made.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from sqlalchemy import create_engine, inspect
from sqlalchemy.pool import NullPool

from tests.schemas.dump import DDL, SCRATCH, migrate

FILE = Path(__file__).with_name("2.11.postgresql.sql")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", required=True, metavar="PATH_TO_VENV_PYTHON")
    wanted = parser.parse_args()
    with SCRATCH["postgresql"]() as url:
        version = migrate(wanted.python, url)
        engine = create_engine(url, poolclass=NullPool)
        ddl = DDL["postgresql"](engine, sorted(inspect(engine).get_table_names()))
        with engine.connect() as connection:
            (head,) = connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalars()
    ddl.append(f"INSERT INTO alembic_version (version_num) VALUES ('{head}')")
    header = f"-- Made by `airflow db migrate` of Airflow {version}; see whole.py.\n\n"
    FILE.write_text(header + "".join(f"{statement.strip()};\n\n" for statement in ddl).rstrip() + "\n")


def load(url: str) -> None:
    """Make these tables in the empty database at `url`."""
    script = "\n".join(line for line in FILE.read_text().splitlines() if not line.startswith("--"))
    engine = create_engine(url, poolclass=NullPool)
    with engine.begin() as connection:
        for statement in script.split(";\n"):
            if statement.strip():
                connection.exec_driver_sql(statement)


if __name__ == "__main__":
    main()
