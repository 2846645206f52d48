"""The backend in a running Airflow: branches, mapped tasks, a retry and clears, with a real scheduler."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, text

from tests.airflow.deployment import AIRFLOW, Deployment
from tests.airflow.every_value import BALLAST, MAKERS, NUMBERS
from tests.lab import s3
from tests.lab.database import Databases
from tests.lab.effort import LONG
from tests.lab.folder import Folder
from tests.lab.proxy import FaultProxy
from xcomctl.demo.sandbox import Sandbox, prepare

pytestmark = pytest.mark.xdist_group("airflow-backend")

STOCK = "airflow.providers.common.io.xcom.backend.XComObjectStorageBackend"
BACKEND = os.environ.get("XCOMCTL_TEST_BACKEND", STOCK)
"""The class under test: with the stock class these tests show what it does differently."""
DAG_ID, RUN_ID = "ordeal", "run 1: über+all"
ROWS = {
    (2, 11): "select task_id, map_index, key, 1, convert_from(value, 'UTF8') from xcom where dag_id = :dag",
    (3, 0): "select task_id, map_index, key, 1, cast(value as text) from xcom where dag_id = :dag",
    (3, 4): (
        "select ti.task_id, ti.region_index, x.key, ti.try_number, cast(x.value as text) from xcom_v2 x"
        " join task_instance ti on ti.id = x.task_instance_id where ti.dag_id = :dag"
    ),
}


@dataclass(frozen=True, slots=True)
class Row:
    """An XCom of the DAG as the database holds it; before 3.4 `attempt` says nothing."""

    task_id: str
    map_index: int
    key: str
    attempt: int
    value: str


@dataclass(frozen=True)
class Seen:
    """What was there when a run had ended."""

    base: str
    rows: tuple[Row, ...]
    objects: frozenset[str]
    states: dict[str, str]
    pushed: dict[str, Any]
    pulled: dict[str, Any]

    def key(self, row: Row) -> str | None:
        """The object that a row refers to, below the base."""
        value = json.loads(row.value)
        external = isinstance(value, str) and value.startswith(f"{self.base}/")
        return value.removeprefix(f"{self.base}/") if external else None

    @property
    def referred(self) -> frozenset[str]:
        return frozenset(key for row in self.rows if (key := self.key(row)))

    def objects_of(self, task_id: str) -> frozenset[str]:
        return frozenset(key for row in self.rows if row.task_id == task_id and (key := self.key(row)))


@dataclass(frozen=True, slots=True)
class Combination:
    """Where values go, and which."""

    kind: str
    threshold: int

    def __str__(self) -> str:
        return f"{self.kind}-{self.threshold}"

    @property
    def run_id(self) -> str:
        return f"{self} über+all:1" if False else f"manual__{self}+00:00"


COMBINATIONS = [Combination("s3", 0), Combination("file", 1_000_000)]
COMBINATIONS += [Combination("s3", 1_000_000), Combination("file", 0)] if LONG else []


@dataclass(frozen=True)
class Stage:
    """A combination, with Airflow set up for it."""

    deployment: Deployment
    combination: Combination
    store: s3.Bucket | Folder

    @property
    def base(self) -> str:
        return f"s3://lab@{self.store.name}/xcom" if isinstance(self.store, s3.Bucket) else f"{self.store.url}/xcom"

    @property
    def settings(self) -> dict[str, str]:
        return {
            "AIRFLOW__COMMON_IO__XCOM_OBJECTSTORAGE_PATH": self.base,
            "AIRFLOW__COMMON_IO__XCOM_OBJECTSTORAGE_THRESHOLD": str(self.combination.threshold),
        }

    def seen(self) -> Seen:
        run_id = self.combination.run_id
        engine = create_engine(self.deployment.url)
        with engine.connect() as connection:
            query = next(sql for since, sql in reversed(ROWS.items()) if since <= AIRFLOW)
            rows = tuple(Row(*row) for row in connection.execute(text(query), {"dag": DAG_ID}))
        engine.dispose()
        told = [self.deployment.sandbox.dags / f"{name}-{run_id}.json" for name in ("pushed", "pulled")]
        pushed, pulled = (json.loads(path.read_text()) if path.exists() else {} for path in told)
        objects = frozenset(key.removeprefix("xcom/") for key in self.store.keys("xcom/"))
        return Seen(self.base, rows, objects, self.deployment.states(DAG_ID, run_id), pushed, pulled)


@pytest.fixture(scope="module")
def bucket(seaweedfs: s3.S3Server) -> s3.Bucket:
    return s3.bucket(seaweedfs)


@pytest.fixture(scope="module")
def proxy(bucket: s3.Bucket) -> Iterator[FaultProxy]:
    """What stands between Airflow and the bucket, and counts."""
    with FaultProxy(int(bucket.server.endpoint.rpartition(":")[2])) as proxy:
        yield proxy


@pytest.fixture(scope="module")
def deployment(
    tmp_path_factory: pytest.TempPathFactory, databases: Databases, bucket: s3.Bucket, proxy: FaultProxy
) -> Iterator[Deployment]:
    sandbox = Sandbox.at(tmp_path_factory.mktemp("airflow") / "backend")
    prepare(sandbox)
    for dag in sandbox.dags.glob("*.py"):
        dag.unlink()
    for part in ("ordeal.py", "every_value.py"):
        shutil.copy(Path(__file__).with_name(part), sandbox.dags)
    server = bucket.server
    extra = {"endpoint_url": proxy.endpoint, "region_name": server.region}
    lab = json.dumps({"conn_type": "aws", "login": server.key, "password": server.secret, "extra": extra})
    settings = {
        "AIRFLOW_CONN_LAB": lab,
        "AIRFLOW__CORE__XCOM_BACKEND": BACKEND,
        "AIRFLOW__COMMON_IO__XCOM_OBJECTSTORAGE_PATH": f"s3://lab@{bucket.name}/xcom",
        "AIRFLOW__COMMON_IO__XCOM_OBJECTSTORAGE_THRESHOLD": "0",
    }
    with databases.empty("postgresql") as url:
        deployment = Deployment(sandbox, url, settings)
        deployment.prepare()
        with deployment.serving():
            yield deployment


@dataclass(frozen=True)
class Story:
    stage: Stage
    first: Seen
    cleared: Seen
    spared: Seen


@pytest.fixture(scope="module", params=COMBINATIONS, ids=str)
def story(
    request: pytest.FixtureRequest, deployment: Deployment, bucket: s3.Bucket, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Story]:
    combination: Combination = request.param
    store = bucket if combination.kind == "s3" else Folder(tmp_path_factory.mktemp("objects"))
    stage = Stage(deployment, combination, store)
    import time
    t=time.monotonic()
    def lap(w):
        nonlocal t
        print(w, round(time.monotonic()-t,1)); t=time.monotonic()
    with deployment.scheduling(**stage.settings):
        names = [name for name in MAKERS if name != "bytes"]
        if combination.threshold:
            names = [n for n in names if n not in ("nan","infinity","nul","surrogate","beyond")]
        deployment.run(DAG_ID, combination.run_id, {"values": names})
        lap("run")
        first = stage.seen()
        lap("seen")
        deployment.clear(DAG_ID, combination.run_id)
        lap("clear")
        cleared = stage.seen()
        deployment.clear(DAG_ID, combination.run_id, "avoided", "avoided_each")
        lap("clear2")
        spared = stage.seen()
    yield Story(stage, first, cleared, spared)


def test_x(story: Story):
    for seen in (story.first, story.cleared, story.spared):
        print(seen.states)
        print({k:v for k,v in seen.pulled.items() if k!="values"})
        for k,v in seen.pushed.items():
            if seen.pulled["values"][k]!=v: print(k, str(v)[:150], str(seen.pulled["values"][k])[:150])
        print(len(seen.rows), len(seen.objects), len(seen.referred), len(seen.objects-seen.referred), len(seen.referred-seen.objects))
        for r in seen.rows:
            if r.task_id!="every_value": print(r.task_id,r.map_index,r.key,r.attempt,r.value[:150])
        print(sorted(seen.objects)[:5])
    assert 0
