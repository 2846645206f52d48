"""What `xcomctl rm --archive` makes is an archive to the installed Airflow: it exports it, and drops it."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import FOREIGN
from tests.lab.database import Databases
from tests.lab.world import World
from xcomctl.catalog import open_catalog
from xcomctl.model import Filter
from xcomctl.operations.rm import Rules, removing


@pytest.fixture
def label() -> str:
    """The schema of the installed Airflow, as far as the clean-up of XComs is concerned."""
    airflow = pytest.importorskip("airflow", reason="no Airflow is installed here")
    version = tuple(map(int, airflow.__version__.split(".")[:2]))
    return "2.11" if version < (3,) else "3.4" if version >= (3, 4) else "3.3"


def airflow(home: Path, url: str, *words: str) -> None:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(FOREIGN)}
    subprocess.run(
        [sys.executable, "-m", "airflow", "db", *words],
        env={**kept, "AIRFLOW_HOME": str(home), "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": url},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=True,
    )


def test_airflow_exports_and_drops_it(databases: Databases, tmp_path: Path, label: str):
    with databases.fresh(f"sqlite-{label}") as database, World(database) as world:
        for number in range(3):
            world.push("d", f"r {number}", "t", value='{"a": 1}')
        catalog = open_catalog(database.url, None, None)
        with removing([catalog], None, Rules(Filter(dag_ids=("d",)), archive=True)) as removal:
            list(removal.carry_out())
        (archive,) = removal.account.archives
        airflow(tmp_path, database.url, "export-archived", "--export-format", "csv", "--output-path", str(tmp_path))
        with (tmp_path / f"{archive}.csv").open(newline="") as file:
            exported = "b'{\"a\": 1}'" if label == "2.11" else '{"a": 1}'  # of bytes Airflow writes the repr
            assert [row["value"] for row in csv.DictReader(file)] == [exported] * 3
        airflow(tmp_path, database.url, "drop-archived", "--yes", "--tables", "xcom")
        assert archive not in world.tables() and "dag_run" in world.tables()
