"""A team leaves its hand-written backend: Airflow runs a DAG with that class, and from there on its rows are listed,
read through xcomctl's class by a rule, moved, and read by Airflow's own class.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.airflow.conftest import NAMES, rows_of, xcomctl
from tests.airflow.test_verify_handwritten import COMPOSER, TUTORIAL, surroundings
from tests.airflow.verifying import OURS, STOCK
from tests.lab import gcs, s3
from xcomctl.demo.sandbox import Sandbox

pytestmark = pytest.mark.xdist_group("migrated")

DAG = """
from datetime import datetime, timezone

try:
    from airflow.sdk import dag, task
except ImportError:
    from airflow.decorators import dag, task

@dag(schedule=None, start_date=datetime(2026, 1, 1, tzinfo=timezone.utc), catchup=False)
def leaving():
    @task
    def number(n):
        return {"n": n, "text": "grüße"}

    @task
    def total(one, other):
        return [one["n"] + other["n"], "12"]

    total(number(1), number(2))

leaving()
"""
DATE = "2026-03-01"
PUSHED = {"number": {"n": 1, "text": "grüße"}, "number__1": {"n": 2, "text": "grüße"}, "total": [3, "12"]}
"""By the tasks."""


@dataclass(frozen=True, slots=True)
class Team:
    """An Airflow of a team that has a class of its own, and the bucket that this class writes to."""

    sandbox: Sandbox
    bucket: s3.Bucket

    def airflow(self, dag_id: str, backend: str, **settings: str) -> None:
        environment = {
            **self.sandbox.environment(),
            **surroundings(self.bucket),
            "PYTHONPATH": str(self.sandbox.folder / "team"),
            "AIRFLOW__CORE__XCOM_BACKEND": backend,
            **settings,
        }
        command = [sys.executable, "-m", "airflow", "dags", "test", dag_id, DATE]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]

    def read(self, names: list[tuple[str, str, str, int, str]], backend: str, **settings: str) -> list[Any]:
        """What a task gets for each of these XComs."""
        told = self.sandbox.dags / "read.json"
        told.unlink(missing_ok=True)
        wanted = [dict(zip(NAMES, each, strict=True)) for each in names]
        (self.sandbox.dags / "wanted.json").write_text(json.dumps(wanted))
        self.airflow("read_back", backend, **settings)
        values = json.loads(told.read_text())
        assert isinstance(values, list)
        return values


@pytest.fixture
def team(migrated: Sandbox, ministack: s3.S3Server) -> Team:
    folder = migrated.folder / "team"
    folder.mkdir(exist_ok=True)
    for module, source in (("tutorial", TUTORIAL.replace("    PURGE", "")), ("composer", COMPOSER)):
        (folder / f"{module}.py").write_text(source)
    migrated.dags.mkdir(exist_ok=True)
    for dag_id in ("leaving", "leaving_gcs"):
        (migrated.dags / f"{dag_id}.py").write_text(DAG.replace("leaving", dag_id))
    shutil.copy(Path(__file__).with_name("read_back.py"), migrated.dags)
    return Team(migrated, s3.bucket(ministack))


def test_a_team_leaves_its_own_class(team: Team) -> None:
    team.airflow("leaving", "tutorial.S3XComBackend")
    rows = [row for row in rows_of(team.sandbox) if row.dag_id == "leaving"]
    before = {row.names: json.loads(row.value) for row in rows}
    assert len(before) == 3 and all(value.startswith("xcom_s3://") for value in before.values())
    written = team.bucket.keys()

    listed = xcomctl(team.sandbox, "ls", "--dag-id", "leaving", "-o", "json")
    assert listed.returncode == 0, listed.stderr
    told = {each["task_id"]: each for each in json.loads(listed.stdout)}
    assert set(told) == set(PUSHED) and {each["state"] for each in told.values()} == {"inline"}

    in_use = surroundings(team.bucket)
    rule = {"AIRFLOW__XCOMCTL__RULES": f"s3=s3://{team.bucket.name}"}
    names = list(before)
    assert team.read(names, OURS, **rule) == [PUSHED[each[2]] for each in names]

    done = xcomctl(
        team.sandbox,
        "migrate",
        "--dag-id",
        "leaving",
        "--rule",
        "s3",
        "--relocate",
        f"s3://{team.bucket.name}",
        "--yes",
        **in_use,
    )
    assert done.returncode == 0, done.stderr
    after = {row.names: row.object(team.sandbox) for row in rows_of(team.sandbox) if row.dag_id == "leaving"}
    assert after.keys() == before.keys() and all(file is not None and file.is_file() for file in after.values())
    assert team.bucket.keys() == written, "the team's own objects stay"
    assert team.read(names, STOCK) == [PUSHED[each[2]] for each in names]


def test_another_leaves_the_one_on_gcs_whose_bucket_is_in_a_variable(team: Team) -> None:
    """Without Google's provider no class of Airflow's opens gs://, but the commands do."""
    with gcs.GCSServer("team-xcoms") as server:
        in_use = {"AIRFLOW_VAR_XCOM_BACKEND_DATA_GCS_NAME": "team-xcoms", "STORAGE_EMULATOR_HOST": server.endpoint}
        team.airflow("leaving_gcs", "composer.GCSXComBackend", **in_use)
        rows = [row for row in rows_of(team.sandbox) if row.dag_id == "leaving_gcs"]
        assert len(rows) == 3 and all(json.loads(row.value).startswith("gcs://") for row in rows)
        written = server.names("team-xcoms")
        listed = xcomctl(team.sandbox, "ls", "--dag-id", "leaving_gcs", "-o", "json")
        assert {each["task_id"] for each in json.loads(listed.stdout)} == {row.task_id for row in rows}
        done = xcomctl(team.sandbox, "migrate", "--dag-id", "leaving_gcs", "--rule", "gcs-variable", "--yes", **in_use)
        assert done.returncode == 0, done.stderr
        assert server.names("team-xcoms") == written and len(written) == 3, "the team's own objects stay"
    names = [row.names for row in rows]
    assert team.read(names, STOCK) == [PUSHED[each[2]] for each in names]
