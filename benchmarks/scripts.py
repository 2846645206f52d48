"""What people would write: the libraries that they have, used as their documentation says.

`python -m benchmarks.scripts NAME ARGUMENT…` runs one in a process of its own, and prints what it has found as JSON.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any
from uuid import uuid4

from benchmarks import xcoms

_PER_PAGE = 10_000


def filesystem(endpoint: str) -> Any:
    """s3fs as its documentation opens it."""
    import s3fs

    place = {"endpoint_url": endpoint, "region_name": "us-east-1"}
    return s3fs.S3FileSystem(key="xcomctl", secret="xcomctl-secret", client_kwargs=place)


def orphans(endpoint: str, url: str) -> dict[str, int]:
    """`find` of everything, Airflow's own XComModel page by page, and the difference of two sets."""
    os.environ["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"] = url
    listed = set(filesystem(endpoint).find(f"{xcoms.BUCKET}/{xcoms.PREFIX}"))

    from airflow.models.xcom import XComModel
    from airflow.utils.session import create_session
    from sqlalchemy import select

    referenced = set()
    with create_session() as session:
        for xcom in session.scalars(select(XComModel).execution_options(yield_per=_PER_PAGE)):
            if isinstance(xcom.value, str) and xcom.value.startswith("s3://"):
                referenced.add(xcom.value.removeprefix("s3://"))
            session.expunge(xcom)
    return {"objects": len(listed), "references": len(referenced), "orphans": len(listed - referenced)}


def moved(endpoint: str, url: str, rows: str) -> dict[str, float]:
    """Each row of Airflow's model: its value into an ObjectStoragePath, and its URL into the row."""
    os.environ["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"] = url
    extra = {"endpoint_url": endpoint, "region_name": "us-east-1"}
    connection = {"conn_type": "aws", "login": "xcomctl", "password": "xcomctl-secret", "extra": extra}
    os.environ["AIRFLOW_CONN_BENCH"] = json.dumps(connection)

    from airflow.models.xcom import XComModel
    from airflow.sdk import ObjectStoragePath
    from airflow.utils.session import create_session
    from sqlalchemy import select

    done = 0
    base = ObjectStoragePath(xcoms.BASE.replace("://", "://bench@"))
    began = time.perf_counter()
    with create_session() as session:
        found = session.scalars(select(XComModel).order_by(XComModel.dag_run_id, XComModel.task_id).limit(int(rows)))
        for xcom in found.all():
            path = base / xcom.dag_id / xcom.run_id / xcom.task_id / str(uuid4())
            with path.open("wb") as file:
                file.write(json.dumps(xcom.value).encode())
            xcom.value = str(path)
            session.commit()
            done += 1
    return {"moved": done, "seconds": time.perf_counter() - began}


SCRIPTS: dict[str, Callable[..., Mapping[str, float]]] = {"orphans": orphans, "moved": moved}


def main(words: Iterable[str]) -> None:
    """Run one."""
    name, *arguments = words
    print(json.dumps(SCRIPTS[name](*arguments)))


if __name__ == "__main__":
    main(sys.argv[1:])
