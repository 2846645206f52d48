"""Where a backend under test puts its values, and what is there: rows and objects, each asked without xcomctl."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import create_engine, text
from sqlalchemy.pool import NullPool

from tests.airflow.deployment import AIRFLOW
from tests.lab import s3
from tests.lab.folder import Folder

STOCK = "airflow.providers.common.io.xcom.backend.XComObjectStorageBackend"
OURS = "xcomctl.backend.XComBackend"
BACKEND = os.environ.get("XCOMCTL_TEST_BACKEND", OURS)
"""The class under test. With the stock class the tests show what that one does differently."""

_OLD = "select task_id, map_index, key, null, {} from xcom where dag_id = :dag and run_id = :run order by 1, 2, 3"
_ROWS = {
    (2, 0): _OLD.format("convert_from(value, 'UTF8')"),
    (3, 0): _OLD.format("cast(value as text)"),
    (3, 4): (
        "select ti.task_id, ti.region_index, x.key, ti.try_number, cast(x.value as text) from xcom_v2 x"
        " join task_instance ti on ti.id = x.task_instance_id where ti.dag_id = :dag and ti.run_id = :run"
        " order by 1, 2, 3, 4"
    ),
}


def copy_parts(folder: Path, *names: str) -> None:
    """Put programs and DAGs that lie beside this into a folder of an Airflow."""
    for name in names:
        shutil.copy(Path(__file__).with_name(name), folder)


@dataclass(frozen=True, slots=True)
class Row:
    """An XCom as the database holds it; `attempt` is None before Airflow 3.4, which forgets all but the newest."""

    task_id: str
    map_index: int
    key: str
    attempt: int | None
    value: str

    @property
    def names(self) -> tuple[str, int, str]:
        return self.task_id, self.map_index, self.key


@dataclass(frozen=True, slots=True, repr=False)
class Seen:
    """What was there when a run had ended. Without repr: there are megabytes in it."""

    base: str
    rows: tuple[Row, ...]
    objects: frozenset[str]
    states: dict[str, str]
    expected: dict[str, Any]
    pulled: dict[str, Any]

    def key(self, row: Row) -> str | None:
        """The object that a row refers to, below the base."""
        prefix = f'"{self.base}/'
        return row.value.removeprefix(prefix)[:-1] if row.value.startswith(prefix) else None

    def objects_of(self, task_id: str) -> frozenset[str]:
        return frozenset(key for row in self.rows if row.task_id == task_id and (key := self.key(row)))

    @property
    def referred(self) -> frozenset[str]:
        return frozenset(key for row in self.rows if (key := self.key(row)))


@dataclass(frozen=True, slots=True)
class Combination:
    """A kind of store, and a threshold in bytes."""

    kind: str
    threshold: int

    def __str__(self) -> str:
        return f"{self.kind}-{self.threshold}"


@dataclass(frozen=True, slots=True)
class Stage:
    """A combination and its store; each has a base of its own in it."""

    combination: Combination
    store: s3.Bucket | Folder

    @property
    def folder(self) -> str:
        return f"xcom-{self.combination.threshold}"

    @property
    def base(self) -> str:
        place = f"s3://lab@{self.store.name}" if isinstance(self.store, s3.Bucket) else self.store.url
        return f"{place}/{self.folder}"

    @property
    def settings(self) -> dict[str, str]:
        return {
            "AIRFLOW__COMMON_IO__XCOM_OBJECTSTORAGE_PATH": self.base,
            "AIRFLOW__COMMON_IO__XCOM_OBJECTSTORAGE_THRESHOLD": str(self.combination.threshold),
        }

    def read(self, reference: str) -> bytes:
        return self.store.get(f"{self.folder}/{reference.removeprefix(self.base).lstrip('/')}")

    def seen(self, url: str, dag_id: str, run_id: str, states: dict[str, str], expected: Path, pulled: Path) -> Seen:
        query = next(query for since, query in reversed(_ROWS.items()) if since <= AIRFLOW)
        engine = create_engine(url, poolclass=NullPool)
        with engine.connect() as database:
            rows = tuple(Row(*row) for row in database.execute(text(query), {"dag": dag_id, "run": run_id}))
        objects = frozenset(key.removeprefix(f"{self.folder}/") for key in self.store.keys(f"{self.folder}/"))
        told = (json.loads(path.read_text()) for path in (expected, pulled))
        return Seen(self.base, rows, objects, states, *told)
