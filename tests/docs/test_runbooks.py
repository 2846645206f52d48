"""The runbooks hold: their manifests and alerts say what is so, their DAGs run, and their stories end as they tell."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.cli.conftest import Run
from tests.cli.test_docs import below, words_of
from tests.docs.pages import ROOT, Page
from tests.docs.stage import run
from tests.lab.sandbox import Built
from tests.lab.world import World
from xcomctl.errors import ExitCode
from xcomctl.operations.gc import Gate

CRON, KUBERNETES, MANAGED, RESTORED, UPGRADE = (
    Page(ROOT / f"docs/runbooks/{name}.md")
    for name in ("cron", "kubernetes", "managed-airflow", "after-a-database-restore", "upgrade-2-to-3")
)
DOCUMENTS: list[Any] = [yaml.safe_load(body) for page in (KUBERNETES, CRON) for body in page.blocks("yaml")]
SANDBOX = [pytest.mark.xdist_group("demo"), pytest.mark.one_airflow]


def kind(name: str) -> Any:
    (found,) = (each for each in DOCUMENTS if each.get("kind") == name)
    return found


def codes_in(page: Page) -> set[int]:
    table = below(page.text, "| exit code |")
    cells = re.findall(r"^\| ([\d, ]+) \|", table, re.MULTILINE)
    return {int(code) for cell in cells for code in cell.split(",")}


@pytest.mark.parametrize("page", [CRON, KUBERNETES], ids=lambda page: page.name)
def test_every_exit_code_of_gc_has_its_advice(page: Page):
    """Nothing is asked by its name (4), and nobody is there to interrupt it (130) or to stop reading (141)."""
    elsewhere = {ExitCode.NOT_FOUND, ExitCode.INTERRUPTED, ExitCode.BROKEN_PIPE}
    assert codes_in(page) == {code.value for code in ExitCode if code not in elsewhere}


def test_a_refusal_fails_the_job_at_once_and_an_outage_does_not():
    job = kind("CronJob")["spec"]["jobTemplate"]["spec"]
    pod = job["template"]["spec"]
    (at_once,) = (rule["onExitCodes"] for rule in job["podFailurePolicy"]["rules"] if rule["action"] == "FailJob")
    assert set(at_once["values"]) == {ExitCode.USAGE, ExitCode.PARTIAL, ExitCode.REFUSED, ExitCode.LOCKED}
    assert at_once["operator"] == "In" and at_once["containerName"] in {each["name"] for each in pod["containers"]}
    assert pod["restartPolicy"] == "Never", "a pod failure policy wants that"
    assert kind("CronJob")["spec"]["concurrencyPolicy"] == "Forbid" and job["backoffLimit"] > 0


def test_the_pod_needs_no_disk_and_ends_in_time():
    job = kind("CronJob")["spec"]["jobTemplate"]["spec"]
    pod = job["template"]["spec"]
    for container in (*pod["initContainers"], *pod["containers"]):
        assert container["securityContext"]["readOnlyRootFilesystem"] is True
        assert [mount["mountPath"] for mount in container["volumeMounts"]] == ["/tmp"]
    assert all(set(volume) == {"name", "emptyDir"} for volume in pod["volumes"])
    (gc,) = pod["containers"]
    budget = int(gc["command"][gc["command"].index("--time-budget") + 1].removesuffix("m")) * 60
    assert job["activeDeadlineSeconds"] > 2 * budget
    assert kind("ServiceAccount")["metadata"]["name"] == pod["serviceAccountName"]


def test_the_alerts_are_about_metrics_that_there_are(fresh: Built, tmp_path: Path):
    code, output = run(fresh.sandbox, ("gc", "--yes", "--metrics-file", "m.prom"), tmp_path)
    assert code == 0, output
    written = (tmp_path / "m.prom").read_text()
    metrics = set(re.findall(r"^# TYPE (\w+) gauge$", written, re.MULTILINE))
    (groups,) = (each["groups"] for each in DOCUMENTS if "groups" in each)
    asked = [rule["expr"] for group in groups for rule in group["rules"]]
    assert len(asked) == 4 and {name for expr in asked for name in re.findall(r"xcomctl_\w+", expr)} <= metrics
    for label in re.findall(r"xcomctl_gc_bytes(\{[^}]*\})", " ".join(asked)):
        assert f"xcomctl_gc_bytes{label} " in written


test_the_alerts_are_about_metrics_that_there_are.pytestmark = SANDBOX  # type: ignore[attr-defined]


def test_the_gates_of_a_restored_database_are_gates():
    assert words_of(below(RESTORED.text, "| gate | it saw |")) <= {gate.value for gate in Gate}


class TestOnTheSandbox:
    pytestmark = SANDBOX

    @pytest.mark.parametrize("number", [0, 1])
    def test_a_dag_of_the_page_runs(self, fresh: Built, number: int):
        """Airflow runs it as it stands there; its task fails where its command does."""
        dag = MANAGED.blocks("python")[number]
        (dag_id,) = re.findall(r'DAG\("(\w+)"', dag)
        (fresh.sandbox.dags / f"{dag_id}.py").write_text(dag)
        done = airflow(fresh, "dags", "test", dag_id, "2026-05-01")
        assert done.returncode == 0, done.stdout[-4000:]
        with closing(sqlite3.connect(fresh.sandbox.database)) as database:
            states = database.execute("select state from task_instance where dag_id = ?", (dag_id,)).fetchall()
        assert states == [("success",)], done.stdout[-4000:]
        if dag_id == "xcom_gc":
            assert [each.name for each in fresh.sandbox.control.glob("*/marks/*")] != []

    def test_after_a_restore_gc_refuses_what_it_took_comes_back_and_gc_goes_on(self, fresh: Built, tmp_path: Path):
        """The page's commands, in its order, on a database that really went back."""
        sandbox = fresh.sandbox

        def do(*words: str, code: int = 0) -> str:
            ended, output = run(sandbox, words, tmp_path)
            assert ended == code, output
            return output

        backup = tmp_path / "backup.db"
        shutil.copy(sandbox.database, backup)
        with closing(sqlite3.connect(sandbox.database)) as database, database:
            ((run_id,),) = database.execute("select run_id from dag_run order by id limit 1").fetchall()
            database.execute("delete from xcom where run_id = ?", (run_id,))
            for table in ("dag_run", "log"):
                later(database, table)
        do("gc", "--single-pass", "--yes", "--max-delete", "40%")
        assert len(sandbox.all_objects()) == 28
        shutil.copy(backup, sandbox.database)

        assert "restored-database" in do("gc", "--dry-run", code=ExitCode.REFUSED)
        assert len(json.loads(do("ls", "--state", "dangling", "-o", "json"))) == 7
        do("gc", "--history")
        do("restore", "OPERATION_ID", "--dry-run")
        do("restore", "OPERATION_ID", "--yes")
        assert len(sandbox.all_objects()) == 42
        assert json.loads(do("ls", "--state", "dangling", "-o", "json")) == []
        do("gc", "--dry-run", "--allow", "restored-database")
        do("gc", "--yes", "--allow", "restored-database")
        assert len(sandbox.all_objects()) == 42, "all sightings begin anew"
        do("gc", "--dry-run")


def later(database: sqlite3.Connection, table: str) -> None:
    """One more row of a table: its newest, once more, as something that happened since."""
    columns = [name for _, name, *_ in database.execute(f"pragma table_info({table})")]
    values = {"id": f"(select max(id) + 1 from {table})", "run_id": "'later'", "logical_date": "null"}
    chosen = ", ".join(values.get(name, f'"{name}"') for name in columns)
    database.execute(f"insert into {table} select {chosen} from {table} order by id desc limit 1")


def airflow(built: Built, *words: str) -> subprocess.CompletedProcess[str]:
    """Airflow's own command in the sandbox, with the commands of this environment on the path."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    connection = {"AIRFLOW_CONN_AIRFLOW_DB": f"sqlite:///{built.sandbox.database}"}
    return subprocess.run(
        [sys.executable, "-m", "airflow", *words],
        env=built.sandbox.environment() | connection | {"PATH": path, "AIRFLOW__LOGGING__LOGGING_LEVEL": "INFO"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )


def commands_of(page: Page, *first: str) -> list[Sequence[str]]:
    return [words for words in page.commands() if words[0] in first]


@pytest.mark.databases("postgresql-2.11")
def test_the_way_from_2_to_3_ends_with_a_database_that_would_pass(cli: Run, world: World, tmp_path: Path):
    """The page's preflight, the hint that it prints, and preflight again."""
    (tmp_path / "xcom").mkdir()
    place = {"XCOMCTL_DB": world.database.url, "XCOMCTL_BASE_PATH": (tmp_path / "xcom").as_uri()}
    world.push("my_dag", "my_run", "my_task", key="my_key", value=b'{"a": [1')
    world.push("my_dag", "my_run", "my_task", key="fine", value=b'{"a": 1}')
    asked, *_ = commands_of(UPGRADE, "preflight")
    found = cli(*asked, "-o", "json", **place)
    assert found.code == ExitCode.NO
    (finding,) = found.json
    hint = shlex.split(finding["hint"])[1:]
    (shown,) = (words for words in commands_of(UPGRADE, "rm") if "my_key" in words)
    assert sorted(hint) == sorted(word for word in shown if word != "--yes"), "the page shows the form of a hint"
    assert cli(*shown, **place).code == ExitCode.OK
    assert cli(*asked, **place).code == ExitCode.OK
    assert [each["key"] for each in cli("ls", "--archive", "-o", "json", **place).json] == ["my_key"]
