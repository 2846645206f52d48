"""A real Airflow pushes a value of every type; xcomctl moves them; the real Airflow pulls what it had pushed."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from tests.airflow.conftest import xcomctl
from tests.lab.database import Databases
from xcomctl.catalog import open_catalog
from xcomctl.demo.sandbox import Sandbox, prepare
from xcomctl.model import Filter, State

pytestmark = pytest.mark.xdist_group("airflow-migrate")

SCHEMA = ".".join(version("apache-airflow").split(".")[:2])
INLINE = {"AIRFLOW__CORE__XCOM_BACKEND": ""}
"""Airflow's own default, with everything in its row."""
ALWAYS_REFUSED = {"bytes"}


@dataclass(frozen=True, slots=True)
class Home:
    """An Airflow on PostgreSQL, with the DAGs of `every_type.py`."""

    sandbox: Sandbox
    url: str

    @property
    def settings(self) -> dict[str, str]:
        return {"AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": self.url}

    def airflow(self, *words: str, **settings: str) -> None:
        environment = {**self.sandbox.environment(), **self.settings, **settings}
        default = not environment.get("AIRFLOW__CORE__XCOM_BACKEND", "set")
        if default:
            base = "airflow.models.xcom.BaseXCom" if SCHEMA < "3" else "airflow.sdk.execution_time.xcom.BaseXCom"
            environment["AIRFLOW__CORE__XCOM_BACKEND"] = base
        done = subprocess.run(
            [sys.executable, "-m", "airflow", *words], env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]

    def pulled(self, date: str, **settings: str) -> dict[str, Any]:
        """What a task downstream gets for every value."""
        told = self.sandbox.dags / "pulled.json"
        told.unlink(missing_ok=True)
        self.airflow("dags", "test", "pull_every_type", date, **settings)
        values = json.loads(told.read_text())
        assert isinstance(values, dict)
        return values

    def migrate(self, *words: str) -> dict[str, Any]:
        done = xcomctl(self.sandbox, "migrate", "--yes", "-o", "json", *words, **self.settings)
        assert done.stdout, done.stderr
        report = json.loads(done.stdout)
        assert isinstance(report, dict)
        return report

    def states(self) -> dict[str, State]:
        base_rows = open_catalog(self.url, None, None).rows(Filter(dag_ids=("every_type",)))
        return {xcom.key: xcom.state for xcom in base_rows}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, databases: Databases) -> Iterator[Home]:
    sandbox = Sandbox.at(tmp_path_factory.mktemp("airflow") / "types")
    prepare(sandbox)
    for dag in sandbox.dags.glob("*.py"):
        dag.unlink()
    for part in ("every_type.py", "every_value.py"):
        shutil.copy(Path(__file__).with_name(part), sandbox.dags)
    with databases.empty("postgresql") as url:
        home = Home(sandbox, url)
        home.airflow("db", "migrate")
        home.airflow("dags", "test", "every_type", "2026-01-02", **INLINE)
        yield home


def test_every_type_there_and_back(home: Home) -> None:
    """What cannot come back stays in storage, where it is pulled all the same."""
    said = json.loads((home.sandbox.dags / "pushed.json").read_text())
    assert set(said["refused"]) >= ALWAYS_REFUSED and len(said["pushed"]) > 25, said["refused"]
    before = home.pulled("2026-02-01", **INLINE)
    assert [name for name, told in before.items() if told == ["builtins.NoneType", "None"]] == ["none"], before
    unreadable = {name for name, (kind, *_) in before.items() if kind == "error"}
    assert unreadable <= {"offset", "pendulum"}, before

    others = [word for name in unreadable for word in ("--exclude-key", name)]
    kept = unreadable | ({"json_text", "digits"} if SCHEMA < "3" else set())  # strings of JSON stay on Airflow 2
    out = home.migrate("--threshold", "0", "--dag-id", "every_type", *others)
    assert (out["failures"], out["migrated"]) == ([], len(before) - len(kept)), out
    moved = {key for key, state in home.states().items() if state is State.FOREIGN}  # of a catalogue without base path
    assert moved == before.keys() - kept
    configured = home.pulled("2026-02-02")
    assert {key: configured[key] for key in moved} == {key: before[key] for key in moved}

    back = home.migrate("--to", "inline", "--dag-id", "every_type")
    assert (back["failures"], back["migrated"]) == ([], len(moved)), back
    assert set(home.states().values()) == {State.INLINE}
    assert home.pulled("2026-02-03", **INLINE) == before
