"""A DAG with a loop, which Airflow 3.4 brings: each round reads what the one before it has pushed.

The tests copy it into a DAG folder.
"""

from __future__ import annotations

from typing import Any

from airflow.sdk import dag, task, task_group


@dag(schedule=None, catchup=False)
def rounds() -> None:
    @task_group
    def accumulate() -> None:
        @task
        def add(*, loop: Any) -> list[int]:
            return [*([] if loop.index == 0 else loop.previous), loop.index]

        add()

    accumulate.loop(max_iterations=3)


rounds()
