"""Airflow's own connections open the store, wherever Airflow keeps them; one that is missing is an error."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.metadata import version
from uuid import uuid4

import pytest

from tests.airflow.conftest import xcomctl
from tests.lab import s3
from tests.lab.database import Databases
from tests.lab.world import World
from xcomctl.catalog import open_catalog
from xcomctl.demo.sandbox import Sandbox
from xcomctl.model import Filter

pytestmark = pytest.mark.xdist_group("migrated")


@pytest.fixture(scope="module")
def bucket(ministack: s3.S3Server) -> s3.Bucket:
    made = s3.bucket(ministack)
    for task_id in ("a", "b"):
        made.put(f"xcom/train_models/r/{task_id}/{uuid4()}", b'{"answer": 42}')
    return made


@pytest.fixture(scope="module")
def as_json(bucket: s3.Bucket) -> str:
    return bucket.server.connection()


def collected(migrated: Sandbox, base: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """A dry run that lists the bucket: enough to show whose credentials are used."""
    return xcomctl(migrated, "gc", "--dry-run", "-v", "-o", "json", "--base-path", base, **environment)


def test_a_connection_from_the_environment(migrated: Sandbox, bucket: s3.Bucket, as_json: str) -> None:
    done = collected(migrated, f"s3://from_env@{bucket.name}/xcom", AIRFLOW_CONN_FROM_ENV=as_json)
    assert json.loads(done.stdout)["listed"] == 2, done.stderr
    assert bucket.server.secret not in done.stdout + done.stderr


def test_a_connection_from_the_metadata_database(migrated: Sandbox, bucket: s3.Bucket, as_json: str) -> None:
    """Outside a task, Airflow 3.1 and newer ask the database only in a process that is marked for it."""
    add = [sys.executable, "-m", "airflow", "connections", "add", "from_database", "--conn-json", as_json]
    subprocess.run(add, env=migrated.environment(), check=True, capture_output=True)
    done = collected(migrated, f"s3://from_database@{bucket.name}/xcom")
    assert json.loads(done.stdout)["listed"] == 2, done.stderr


def test_a_missing_connection_is_an_error_and_ambient_credentials_are_not_used(
    migrated: Sandbox, bucket: s3.Bucket
) -> None:
    """The Amazon hook by itself would warn, and go on with what the environment holds."""
    server = bucket.server
    ambient = {
        "AWS_ACCESS_KEY_ID": server.key,
        "AWS_SECRET_ACCESS_KEY": server.secret,
        "AWS_ENDPOINT_URL": server.endpoint,
        "AWS_DEFAULT_REGION": server.region,
    }
    assert json.loads(collected(migrated, f"s3://{bucket.name}/xcom", **ambient).stdout)["listed"] == 2
    done = collected(migrated, f"s3://nobody@{bucket.name}/xcom", **ambient)
    assert done.returncode == 10
    assert done.stdout == ""
    assert "connection nobody cannot be resolved" in done.stderr and "hint: " in done.stderr
    assert "Traceback" not in done.stderr


def test_references_follow_to_another_connection(
    migrated: Sandbox, ministack: s3.S3Server, as_json: str, databases: Databases
) -> None:
    """Airflow 2.8 to 2.9.1 left the connection out of a reference: then the object stays, and the row alone changes."""
    bucket = s3.bucket(ministack)
    bare, other = f"d/r/t/{uuid4()}", f"d/r/t/{uuid4()}"
    bucket.put(f"xcom/{bare}", b'"bare"')
    bucket.put(f"old/{other}", b'"other"')
    base = f"s3://new@{bucket.name}/xcom"
    settings = {
        "AIRFLOW_CONN_NEW": as_json,
        "AIRFLOW_CONN_OLD": as_json,
        "AIRFLOW__COMMON_IO__XCOM_OBJECTSTORAGE_PATH": base,
    }
    schema = ".".join(version("apache-airflow").split(".")[:2])
    with databases.fresh(f"sqlite-{schema}") as database, World(database) as world:
        world.push("d", "r", "t", key="bare", value=json.dumps(f"s3://{bucket.name}/xcom/{bare}"))
        world.push("d", "r", "t", key="other", value=json.dumps(f"s3://old@{bucket.name}/old/{other}"))
        for old in (f"s3://{bucket.name}/xcom", f"s3://old@{bucket.name}/old"):
            words = ("migrate", "--yes", "-o", "json", "--db", database.url, "--relocate", old)
            done = xcomctl(migrated, *words, **settings)
            report = json.loads(done.stdout)
            assert (done.returncode, report["migrated"], report["failures"]) == (0, 1, []), done.stderr
        references = {xcom.key: xcom.reference for xcom in open_catalog(database.url, None, None).rows(Filter())}
    assert references["bare"] == f"{base}/{bare}"
    copied = str(references["other"]).removeprefix(f"s3://new@{bucket.name}/")
    assert copied.startswith("xcom/d/r/t/") and bucket.get(copied) == b'"other"'
    assert {key for key in bucket.keys("") if "_xcomctl" not in key} == {f"xcom/{bare}", f"old/{other}", copied}
