"""Two DAGs of the installed Airflow: one pushes a value of every type that it can, the other pulls them all.

The test copies this file and `every_value.py` into a DAG folder. What was pushed, and what was pulled, is written
beside them.
"""

from __future__ import annotations

import json
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from every_value import MAKERS, pulled

try:
    from airflow.sdk import dag, task

    EARLIER = "run_id"
except ImportError:  # Airflow 2
    from airflow.decorators import dag, task

    EARLIER = "include_prior_dates"

HERE = Path(__file__).parent
PUSHED, PULLED = HERE / "pushed.json", HERE / "pulled.json"


@dag(schedule=None, start_date=datetime(2026, 1, 1, tzinfo=timezone.utc), catchup=False)
def every_type() -> None:
    @task
    def push(ti: Any = None) -> None:
        pushed, refused = [], {}
        for name, make in MAKERS.items():
            try:
                ti.xcom_push(key=name, value=make())
                pushed.append(name)
            except Exception as error:
                refused[name] = f"{type(error).__name__}: {error}"[:200]
        PUSHED.write_text(json.dumps({"run_id": ti.run_id, "pushed": pushed, "refused": refused}))

    push()


@dag(schedule=None, start_date=datetime(2026, 1, 1, tzinfo=timezone.utc), catchup=False)
def pull_every_type() -> None:
    @task
    def pull(ti: Any = None) -> None:
        said = json.loads(PUSHED.read_text())
        where = {"dag_id": "every_type", "task_ids": "push", EARLIER: said["run_id"]}
        PULLED.write_text(json.dumps({name: pulled(ti, name, where) for name in said["pushed"]}))

    pull()


every_type()
pull_every_type()
