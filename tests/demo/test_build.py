from __future__ import annotations

import sqlite3
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from tests.lab.sandbox import Built
from xcomctl.demo.build import AGE, RUNS, build
from xcomctl.demo.sandbox import DAG_ID, Sandbox
from xcomctl.errors import MetadataError

pytestmark = pytest.mark.xdist_group("demo")


def test_each_step_is_told_as_it_begins_and_when_it_is_done(built: Built) -> None:
    titles = [step.title for step in built.steps]
    assert titles[::2] == titles[1::2]
    assert [step.seconds is None for step in built.steps] == [True, False] * (len(titles) // 2)
    assert Counter(title.split(" 2026")[0] for title in titles[::2]) == {
        "airflow db migrate": 1,
        f"airflow dags test {DAG_ID}": RUNS,
        "delete the first run, as the UI does": 1,
        "make all objects look older": 1,
    }


def test_one_run_is_gone_from_the_database_and_its_objects_are_not(built: Built) -> None:
    with sqlite3.connect(built.sandbox.database) as database:
        states = dict(database.execute("select run_id, state from dag_run"))
    runs_in_storage = {path.name for path in (built.sandbox.objects / DAG_ID).iterdir()}

    assert list(states.values()) == ["success"] * (RUNS - 1)
    assert len(runs_in_storage) == RUNS
    (deleted,) = runs_in_storage - set(states)
    assert deleted in built.steps[-3].detail


def test_every_run_leaves_each_kind_of_large_xcom_in_storage(built: Built) -> None:
    for run in (built.sandbox.objects / DAG_ID).iterdir():
        objects = built.sandbox.objects_of_run(run.name)
        tasks = Counter(path.relative_to(run).parts[0] for path in objects)
        assert tasks == {"load_samples": 1, "score_region": 3, "tabulate": 1, "write_report": 2}
        assert max(path.stat().st_size for path in objects) > 2_000_000


def test_all_objects_look_as_old_as_is_said(built: Built) -> None:
    ages = [time.time() - path.stat().st_mtime for path in built.sandbox.all_objects()]
    assert min(ages) >= AGE.total_seconds()
    assert max(ages) < AGE.total_seconds() + 3600


def test_a_run_that_fails_is_an_error_that_names_the_log(tmp_path: Path) -> None:
    sandbox = Sandbox.at(tmp_path / "sandbox")
    steps = build(sandbox.folder)
    assert next(steps).title == "airflow db migrate"
    dag = sandbox.dags / f"{DAG_ID}.py"
    dag.write_text(dag.read_text().replace("return max(", "raise RuntimeError('no best') or max("))

    with pytest.raises(MetadataError, match=rf"dags test {DAG_ID} 2026-01-01.*DagRun failed") as failed:
        list(steps)

    assert failed.value.hint is not None and str(sandbox.airflow_log) in failed.value.hint
    assert "no best" in sandbox.airflow_log.read_text()


def test_without_pandas_the_dag_leaves_the_data_frame_out(built: Built) -> None:
    script = f"import sys; sys.modules['pandas'] = None; from {DAG_ID} import *; print(train_models().task_ids)"
    shown = subprocess.run(
        [sys.executable, "-c", script],
        env=built.sandbox.environment(),
        cwd=built.sandbox.dags,
        capture_output=True,
        text=True,
        check=True,
    )
    task_ids = shown.stdout.splitlines()[-1]
    assert "tabulate" not in task_ids and "write_report" in task_ids
