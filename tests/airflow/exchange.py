"""Write a value of every type through an XCom backend, or read what was written, outside of any task.

    python exchange.py CLASS write|read FILE [write|read FILE…]

Beside it lies `every_value.py`. FILE holds what rows would hold, by hook and name; what came is printed as JSON, a line
for each file.
"""

from __future__ import annotations

import json
import sys
import warnings
from collections.abc import Callable
from functools import partial
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

from every_value import MAKERS, attempt, kept

WHERE = {"dag_id": "exchanged", "run_id": "r 1", "task_id": "t"}


def backend(name: str) -> Any:
    import_module("airflow.models.xcom")  # in Airflow 2 nothing of it can be imported before this
    module, _, attribute = name.rpartition(".")
    return getattr(import_module(module), attribute)


def writers(cls: Any) -> dict[str, Callable[[str, Any], str]]:
    """How a value gets into a row, by the name of the hook; Airflow 3.4 brought the second one."""

    def serialized(key: str, value: Any) -> str:
        row = cls.serialize_value(value, key=key, map_index=-1, **WHERE)
        return row.decode() if isinstance(row, bytes) else json.dumps(row)

    def stored(key: str, value: Any) -> str:
        return json.dumps(cls.store_value(XComCoordinate(**WHERE, ti_id=uuid4()), key, value))

    try:
        from airflow.sdk.bases.xcom import XComCoordinate
    except ImportError:
        return {"serialize_value": serialized}
    return {"serialize_value": serialized, "store_value": stored}


def read(cls: Any, hook: str, key: str, row: str) -> Any:
    if hook == "store_value":
        return cls.load_value(json.loads(row))
    try:
        from airflow.sdk.execution_time.comms import XComResult
    except ImportError:  # Airflow 2
        return cls.deserialize_value(SimpleNamespace(key=key, value=row.encode(), map_index=-1, **WHERE))
    return cls.deserialize_value(XComResult(key=key, value=json.loads(row)))


def write_all(cls: Any, file: Path) -> dict[str, Any]:
    rows: dict[str, dict[str, str]] = {}
    refused = {}
    for hook, write in writers(cls).items():
        rows[hook] = {}
        for name, make in MAKERS.items():
            try:
                rows[hook][name] = write(name, make())
            except Exception as error:
                refused[name] = f"{type(error).__name__}: {error}"[:200]
    file.write_text(json.dumps(rows))
    return {"expected": {name: kept(MAKERS[name]()) for name in rows["serialize_value"]}, "refused": refused}


def read_all(cls: Any, file: Path) -> dict[str, Any]:
    rows = json.loads(file.read_text())
    return {
        hook: {name: attempt(partial(read, cls, hook, name, row)) for name, row in named.items()}
        for hook, named in rows.items()
    }


def main(name: str, *jobs: str) -> None:
    cls = backend(name)
    for verb, file in zip(jobs[::2], jobs[1::2], strict=True):
        found = {"write": write_all, "read": read_all}[verb](cls, Path(file))
        print(json.dumps({**found, "is_ours_loaded": "xcomctl.backend.xcom" in sys.modules}))


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    main(*sys.argv[1:])
