from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import pytest

from xcomctl.demo.build import build
from xcomctl.demo.sandbox import Sandbox

NAMES = ("dag_id", "run_id", "task_id", "map_index", "key")

# The truth in the database's own words, oldest first: one query for each of Airflow's schemas.
_UNTIL_3_3 = "select dag_id, run_id, task_id, map_index, key, cast(value as text) from xcom order by timestamp"
_SINCE_3_4 = (
    "select ti.dag_id, ti.run_id, ti.task_id, ti.region_index, x.key, cast(x.value as text)"
    " from xcom_v2 x join task_instance ti on ti.id = x.task_instance_id order by x.timestamp"
)


@dataclass(frozen=True, slots=True)
class Row:
    """An XCom as the database holds it."""

    dag_id: str
    run_id: str
    task_id: str
    map_index: int
    key: str
    value: str

    @property
    def names(self) -> tuple[str, str, str, int, str]:
        return self.dag_id, self.run_id, self.task_id, self.map_index, self.key

    def object(self, sandbox: Sandbox) -> Path | None:
        """The file that the value refers to, if it is in storage."""
        prefix = f'"file://{sandbox.objects}/'
        return Path(json.loads(self.value).removeprefix("file://")) if self.value.startswith(prefix) else None


def rows_of(sandbox: Sandbox) -> list[Row]:
    """All XComs, oldest first."""
    with sqlite3.connect(sandbox.database) as database:
        tables = {name for (name,) in database.execute("select name from sqlite_master")}
        return [Row(*row) for row in database.execute(_SINCE_3_4 if "xcom_v2" in tables else _UNTIL_3_3)]


def files_of(sandbox: Sandbox) -> set[Path]:
    return {Path(where, name) for where, _, names in os.walk(sandbox.objects) for name in names}


def xcomctl(sandbox: Sandbox, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    """Run the real command in the sandbox's environment, as a user does in a shell."""
    return subprocess.run(
        [sys.executable, "-m", "xcomctl", *arguments],
        env=sandbox.environment() | settings,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="session")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Sandbox:
    """A sandbox with its database, where nothing has run yet."""
    built = Sandbox.at(tmp_path_factory.mktemp("airflow") / "migrated")
    steps = build(built.folder)
    assert {step.title for step in islice(steps, 2)} == {"airflow db migrate"}
    steps.close()
    return built


@pytest.fixture(scope="session")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Sandbox:
    """A sandbox that the installed Airflow built: five runs, and what a sixth left behind."""
    built = Sandbox.at(tmp_path_factory.mktemp("airflow") / "sandbox")
    for _ in build(built.folder):
        pass
    return built
