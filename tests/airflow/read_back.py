"""A DAG that reads XComs as any task of the sandbox reads them, and writes what it got to a file.

The test copies it into the sandbox's DAG folder, beside a `wanted.json`: a list of what names an XCom.
"""

from __future__ import annotations

import json
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

try:
    from airflow.sdk import dag, task
except ImportError:  # Airflow 2
    from airflow.decorators import dag, task

HERE = Path(__file__).parent


@dag(schedule=None, start_date=datetime(2026, 1, 1, tzinfo=timezone.utc), catchup=False)
def read_back() -> None:
    @task
    def read_all() -> None:
        try:
            from airflow.sdk.execution_time.xcom import XCom
        except ImportError:  # Airflow 2
            from airflow.models.xcom import XCom

        values = [XCom.get_one(**wanted) for wanted in json.loads((HERE / "wanted.json").read_text())]
        (HERE / "read.json").write_text(json.dumps(values, default=for_comparison))

    read_all()


def for_comparison(value: Any) -> object:
    """What `xcomctl get -o json` promises to print for a value that JSON does not know."""
    if isinstance(value, datetime):
        return value.isoformat()
    if hasattr(value, "dtypes"):  # a DataFrame
        return {
            "columns": list(value.columns),
            "dtypes": {name: str(dtype) for name, dtype in value.dtypes.items()},
            "rows": len(value),
            "data": value.to_dict("records"),
        }
    return str(value)


read_back()
