"""Two DAGs of the installed Airflow: one pushes a value of every type that it can, the other pulls them all.

The test copies this file into a DAG folder. What was pushed, and what was pulled, is written beside it.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

try:
    from airflow.sdk import dag, task

    EARLIER = "run_id"
except ImportError:  # Airflow 2
    from airflow.decorators import dag, task

    EARLIER = "include_prior_dates"

HERE = Path(__file__).parent
PUSHED, PULLED = HERE / "pushed.json", HERE / "pulled.json"
AT = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=timezone.utc)


def frame() -> Any:
    import pandas

    columns = {"a": [1, 2], "b": ["x", None], "c": [1.5, float("nan")]}
    return pandas.DataFrame({**columns, "t": pandas.to_datetime([AT, AT])})


def numpy(kind: str) -> Any:
    import numpy as np

    return getattr(np, kind)(7)


def pendulum() -> Any:
    import pendulum as library

    return library.datetime(2026, 1, 2, tz="Europe/Berlin")


MAKERS: dict[str, Callable[[], Any]] = {
    "text": lambda: "plain ünï 😀 \n \\ \" '",
    "empty": lambda: "",
    "json_text": lambda: json.dumps({"a": [1, None]}),
    "digits": lambda: "123",
    "url": lambda: "s3://somebody/else.csv",
    "none": lambda: None,
    "true": lambda: True,
    "integer": lambda: 42,
    "bignum": lambda: 2**63 - 1,
    "beyond": lambda: 10**30,
    "float": lambda: 8.13821232560654,
    "tiny": lambda: 1e-07,
    "large_float": lambda: 1e22,
    "nan": lambda: float("nan"),
    "infinity": lambda: [float("inf"), float("-inf")],
    "nul": lambda: "a\0b",
    "surrogate": lambda: "\ud83d",
    "list": lambda: [1, [2, {"a": []}], "x"],
    "dict": lambda: {"b": 1, "a": {"nested": [None]}},
    "tuple": lambda: (1, "two", 3.0),
    "nested_tuple": lambda: {"t": [(1, 2), (3, (4,))]},
    "set": lambda: {1, 2, 3},
    "frozenset": lambda: frozenset({"a"}),
    "datetime": lambda: AT,
    "offset": lambda: datetime(2026, 1, 2, tzinfo=timezone(timedelta(hours=5, minutes=30))),
    "naive": lambda: datetime(2026, 1, 2),
    "date": AT.date,
    "timedelta": lambda: timedelta(days=3, microseconds=5),
    "decimal": lambda: Decimal("12.340"),
    "uuid": lambda: UUID("0d760203-28d1-4226-81c7-7786b50e4773"),
    "bytes": lambda: b"\x00\xff",
    "frame": frame,
    "int64": lambda: numpy("int64"),
    "float64": lambda: numpy("float64"),
    "pendulum": pendulum,
    "mixed": lambda: {"when": AT, "how_much": [Decimal("1.5"), {"df": frame()}]},
    "long": lambda: ["x" * 100_000] * 3,
}


def told(value: Any) -> Any:
    """What a value is, so that it can be compared: its type, and all that is in it."""
    kind = f"{type(value).__module__}.{type(value).__qualname__}"
    if hasattr(value, "dtypes"):
        return [kind, str(value.dtypes.to_dict()), repr(value.to_dict("records"))]
    if isinstance(value, dict):
        return [kind, sorted([name, told(each)] for name, each in value.items())]
    if isinstance(value, (list, tuple)):
        return [kind, *map(told, value)]
    return [kind, repr(sorted(value, key=repr) if isinstance(value, (set, frozenset)) else value)]


def pulled(ti: Any, name: str, where: dict[str, Any]) -> Any:
    """What Airflow gives, or what it says: not every version reads all that it writes."""
    try:
        return told(ti.xcom_pull(key=name, **where))
    except Exception as error:
        return ["error", type(error).__name__, str(error)]


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
