"""A DAG that goes through what a run goes through: branches, mapped tasks, a failure and a retry. At its end one task
pulls all that the others pushed. It runs unchanged on Airflow 2.9 to 3.4.

The tests copy it and `every_value.py` into a DAG folder. What was pushed, and what was pulled, is written beside them.
"""

from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from every_value import BALLAST, EDGE, MAKERS, NUMBERS, kept, pulled

try:
    from airflow.sdk import dag, task
except ImportError:  # Airflow 2
    from airflow.decorators import dag, task

HERE = Path(__file__).parent


@dag(schedule=None, start_date=datetime(2026, 1, 1, tzinfo=timezone.utc), catchup=False)
def ordeal() -> None:
    @task
    def every_value(ti: Any = None, dag_run: Any = None) -> None:
        """Push what the run asks for, and two texts at the edge of a threshold."""
        names = dag_run.conf["values"]
        for name in names:
            ti.xcom_push(key=name, value=MAKERS[name]())
        ti.xcom_push(key="below", value="x" * (EDGE - 3))
        ti.xcom_push(key="edge", value="x" * (EDGE - 2))
        expected = {name: kept(MAKERS[name]()) for name in names}
        (HERE / f"expected-{ti.run_id}.json").write_text(json.dumps(expected))

    @task
    def numbers() -> list[int]:
        return NUMBERS

    @task.branch
    def choose() -> list[str]:
        return ["stumbles"]

    @task(retries=1, retry_delay=timedelta(0))
    def stumbles(ti: Any = None) -> dict[str, Any]:
        """Fails at every odd try, and has pushed before it does."""
        ti.xcom_push(key="progress", value={"try": ti.try_number, "ballast": BALLAST})
        if ti.try_number % 2:
            raise RuntimeError("this is what the first try is for")
        return {"try": ti.try_number, "ballast": BALLAST}

    @task
    def avoided() -> str:
        return "nobody chose this"

    @task
    def avoided_each(number: int) -> int:
        return number

    @task
    def square(number: int) -> dict[str, Any]:
        return {"square": number * number, "ballast": BALLAST}

    @task(trigger_rule="none_failed_min_one_success")
    def pull_all(squares: Any, ti: Any = None, dag_run: Any = None) -> None:
        """Pull from every task, and say what came."""
        tries = [ti.xcom_pull(task_ids="stumbles", key=key) for key in ("progress", "return_value")]
        mapped = ti.xcom_pull(task_ids="square", map_indexes=list(range(len(NUMBERS))))
        got = {
            "values": {name: pulled(ti, name, {"task_ids": "every_value"}) for name in dag_run.conf["values"]},
            "edges": [len(ti.xcom_pull(task_ids="every_value", key=key)) for key in ("below", "edge")],
            "tries": [each["try"] for each in tries],
            "ballast": [len(each["ballast"]) for each in tries],
            "avoided": ti.xcom_pull(task_ids="avoided"),
            "squares": [each["square"] for each in mapped],
            "sum": sum(each["square"] for each in squares),
        }
        (HERE / f"pulled-{ti.run_id}.json").write_text(json.dumps(got))

    drawn = numbers()
    stumbled, mapped = stumbles(), square.expand(number=drawn)
    sides = [stumbled, avoided(), avoided_each.expand(number=drawn)]
    choose() >> sides
    [every_value(), *sides] >> pull_all(mapped)


ordeal()
