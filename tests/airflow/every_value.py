"""A value of every type that Airflow can push, and how to tell what was pulled.

It lies beside the DAGs that use it: the tests copy them together into a DAG folder.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from typing import Any
from uuid import UUID

BALLAST = "x" * 1_200_000
EDGE = 1_000_000
"""Of the two texts at the edge one is as long as this in JSON, with its quotes, and the other one byte shorter."""
NUMBERS = [3, 4]
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
    """What Airflow gives, or what it says."""
    return attempt(lambda: ti.xcom_pull(key=name, **where))


def kept(value: Any) -> dict[str, Any]:
    """What Airflow itself makes of a value that goes to JSON and back: in an object, and in a row."""
    from airflow.utils.json import XComDecoder, XComEncoder

    def by_encoder() -> Any:
        return json.loads(json.dumps(value, cls=XComEncoder), cls=XComDecoder)

    def by_serde() -> Any:
        try:
            from airflow.sdk.serde import deserialize, serialize
        except ImportError:  # before Airflow 3.2
            from airflow.serialization.serde import deserialize, serialize
        return deserialize(json.loads(json.dumps(serialize(value))))

    try:
        from airflow import sdk as airflow_3
    except ImportError:
        airflow_3 = None
    return {"object": attempt(by_encoder), "row": attempt(by_serde if airflow_3 else by_encoder)}


def attempt(make: Callable[[], Any]) -> Any:
    """What a value is, or what went wrong: not every version reads all that it writes."""
    try:
        return told(make())
    except Exception as error:
        return ["error", type(error).__name__, str(error)]
