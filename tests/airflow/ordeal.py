"""A DAG that goes through what a run goes through: branches, mapped tasks, a failure and a retry. At its end one task
pulls all that the others pushed. It runs unchanged on Airflow 2.9 to 3.4.

The tests copy it and `every_value.py` into a DAG folder. What was pushed, and what was pulled, is written beside them.
"""

from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from every_value import BALLAST, EDGE, MAKERS, NUMBERS, pulled, told

try:
    from airflow.sdk import dag, task
except ImportError:  # Airflow 2
    from airflow.decorators import dag, task

HERE = Path(__file__).parent


@dag(schedule=None, start_date=datetime(2026, 1, 1, tzinfo=timezone.utc), catchup=False)
def ordeal() -> None:
    @task
    def every_value(ti: Any = None, dag_run: Any = None) -> None:
        """Push what the run asks for, and what it told to the world."""
        names = dag_run.conf["values"]
        for name in names:
            ti.xcom_push(key=name, value=MAKERS[name]())
        ti.xcom_push(key="below", value="x" * (EDGE - 3))
        ti.xcom_push(key="edge", value="x" * (EDGE - 2))
        told_here = {name: told(MAKERS[name]()) for name in names}
        (HERE / f"pushed-{ti.run_id}.json").write_text(json.dumps(told_here))

    @task(retries=1, retry_delay=timedelta(0))
    def stumbles(ti: Any = None) -> dict[str, Any]:
        """Fails at every odd try, and has pushed before it does."""
        ti.xcom_push(key="progress", value={"try": ti.try_number, "ballast": BALLAST})
        if ti.try_number % 2:
            raise RuntimeError("this is what the first try is for")
        return {"try": ti.try_number, "ballast": BALLAST}

    @task.branch
    def choose() -> list[str]:
        return ["followed"]

    @task
    def followed() -> str:
        return "followed"

    @task
    def avoided() -> str:
        return "avoided"

    @task
    def avoided_each(number: int) -> int:
        return number

    @task
    def numbers() -> list[int]:
        return NUMBERS

    @task
    def square(number: int) -> dict[str, Any]:
        return {"square": number * number, "ballast": BALLAST}

    @task
    def total(squares: Any) -> int:
        return sum(each["square"] for each in squares)

    @task(trigger_rule="none_failed_min_one_success")
    def pull_all(ti: Any = None) -> None:
        """Pull from every task, and say what came."""
        names = json.loads((HERE / f"pushed-{ti.run_id}.json").read_text())
        progress, ended = (ti.xcom_pull(task_ids="stumbles", key=key) for key in ("progress", "return_value"))
        squares = ti.xcom_pull(task_ids="square", map_indexes=list(range(len(NUMBERS))))
        got = {
            "values": {name: pulled(ti, name, {"task_ids": "every_value"}) for name in names},
            "edges": [len(ti.xcom_pull(task_ids="every_value", key=key)) for key in ("below", "edge")],
            "tries": [progress["try"], ended["try"]],
            "ballast": len(progress["ballast"]) + len(ended["ballast"]),
            "followed": ti.xcom_pull(task_ids="followed"),
            "chosen": ti.xcom_pull(task_ids="choose"),
            "avoided": ti.xcom_pull(task_ids="avoided"),
            "squares": [each["square"] for each in squares],
            "total": ti.xcom_pull(task_ids="total"),
        }
        (HERE / f"pulled-{ti.run_id}.json").write_text(json.dumps(got))

    drawn = numbers()
    decided = choose()
    sides = [followed(), avoided(), avoided_each.expand(number=drawn)]
    decided >> sides
    [every_value(), stumbles(), total(square.expand(number=drawn)), *sides] >> pull_all()


ordeal()
