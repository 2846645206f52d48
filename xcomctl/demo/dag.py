"""A DAG whose XComs show every kind that xcomctl meets. It runs unchanged on Airflow 2.9 to 3.4.

What is larger than 1 KB goes to object storage, and its row holds a reference; the rest stays in its row.
"""

from __future__ import annotations

from datetime import datetime, timezone
from decimal import Decimal
from importlib.util import find_spec
from random import Random

try:
    from airflow.sdk import dag, task, task_group
except ImportError:  # Airflow 2
    from airflow.decorators import dag, task, task_group

MODELS = ("a", "b", "c")
REGIONS = ("north", "south", "west")


@dag(schedule=None, start_date=datetime(2026, 1, 1, tzinfo=timezone.utc), catchup=False)
def train_models() -> None:
    """Train three models, choose the best, and leave XComs small and large behind."""

    @task
    def load_samples(run_id=None) -> list[float]:
        """A few MB, which nobody wants in a database."""
        random = Random(run_id)
        return [random.random() for _ in range(150_000)]

    @task
    def training_model(model: str, ti=None, run_id=None) -> None:
        """A number pushed by hand: small, so it stays in the row."""
        ti.xcom_push(key="model_accuracy", value=round(Random(f"{run_id} {model}").uniform(0.8, 1.0), 4))

    @task_group
    def processing_tasks() -> None:
        for model in MODELS:
            training_model.override(task_id=f"training_model_{model}")(model)

    @task
    def choose_best(ti=None) -> str:
        trained = [f"processing_tasks.training_model_{model}" for model in MODELS]
        accuracies = ti.xcom_pull(key="model_accuracy", task_ids=trained)
        return max(zip(accuracies, MODELS, strict=True))[1]

    @task(multiple_outputs=True)
    def write_report(best: str) -> dict[str, object]:
        """One XCom for each key and one for the whole: `losses` is stored twice."""
        return {
            "model": best,
            "trained_at": datetime.now(timezone.utc),
            "cost": Decimal("12.50"),
            "losses": [1 / (epoch + 1) for epoch in range(1000)],
        }

    @task
    def score_region(region: str, run_id=None) -> list[float]:
        """Mapped: the three objects share a folder, and only their rows tell them apart."""
        random = Random(f"{run_id} {region}")
        return [random.random() for _ in range(500)]

    @task
    def tabulate(best: str) -> object:
        """A DataFrame, which Airflow stores as Parquet in hexadecimal inside JSON."""
        import pandas

        return pandas.DataFrame({"model": list(MODELS), "best": [model == best for model in MODELS]})

    best = choose_best()
    load_samples() >> processing_tasks() >> best
    write_report(best)
    score_region.expand(region=REGIONS)
    # Airflow installs neither pandas nor pyarrow: without them this task is left out.
    if find_spec("pandas") and find_spec("pyarrow"):
        tabulate(best)


train_models()
