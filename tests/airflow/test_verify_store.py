"""What verify-backend says about a bucket: whose credentials, which verbs, which clock; and what it leaves there."""

from __future__ import annotations

import json
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from email.utils import format_datetime
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.airflow.conftest import xcomctl
from tests.airflow.test_verify_backend import CONNECTION, IS_2, TRIED
from tests.airflow.verifying import OURS, STOCK, Home
from tests.lab import s3
from tests.lab.proxy import Answer, FaultProxy, Hold, HoldAfter, Reply, Rewrite, Rule, Silent, without
from xcomctl.demo.sandbox import Sandbox

DENIED = Answer(403, "AccessDenied")
VERBS = ("put", "head", "get", "list", "delete")


@pytest.fixture
def bucket(ministack: s3.S3Server) -> s3.Bucket:
    return s3.bucket(ministack)


@pytest.fixture
def proxy(ministack: s3.S3Server) -> Iterator[FaultProxy]:
    with FaultProxy(int(urlsplit(ministack.endpoint).port or 0)) as between:
        yield between


def connection(bucket: s3.Bucket, endpoint: str | None = None, **more: object) -> str:
    return bucket.server.connection(endpoint, **more)


def home_on(bucket: s3.Bucket, tmp_path: Path, backend: str = OURS) -> Home:
    return Home.at(tmp_path / "home", backend, path=f"s3://store@{bucket.name}/xcom")


@pytest.mark.parametrize("backend", [OURS, STOCK], ids=["ours", "stock"])
def test_a_bucket_that_works(bucket: s3.Bucket, tmp_path: Path, backend: str):
    home = home_on(bucket, tmp_path, backend)
    settings = {"AIRFLOW_CONN_STORE": connection(bucket), "AIRFLOW__SCHEDULER__ALLOWED_RUN_ID_PATTERN": ".*"}
    done = home.verify(settings=settings)
    assert (done.code, done.failed, done.only("unknown")) == (0, {}, {}), done.err
    assert "of type aws, from the environment" in done.checks["connection"]["detail"]
    assert "the connection's own (explicit)" in done.checks["credentials"]["detail"]
    assert [done.statuses[name] for name in (*VERBS, "clock", "reachable", "purge")] == ["ok"] * 8
    if backend == OURS or not IS_2:  # on Airflow 2 the stock class takes strings for numbers
        assert "in 2 runs" in done.checks["round-trip"]["detail"], "one with letters that only some Airflows allow"
    assert bucket.keys() == set() and home.tree() == set()
    assert bucket.server.secret not in done.out + done.err


@pytest.mark.xdist_group("migrated")
def test_a_connection_from_the_metadata_database(migrated: Sandbox, bucket: s3.Bucket):
    add = [sys.executable, "-m", "airflow", "connections", "add", "verified", "--conn-json", connection(bucket)]
    subprocess.run(add, env=migrated.environment(), check=True, capture_output=True)
    base = {"AIRFLOW__COMMON_IO__XCOM_OBJECTSTORAGE_PATH": f"s3://verified@{bucket.name}/xcom"}
    done = xcomctl(migrated, "verify-backend", "-o", "json", **base)
    told = {check["id"]: check for check in json.loads(done.stdout)}
    assert done.returncode == 0, done.stdout
    assert "from the metadata database" in told["connection"]["detail"]
    assert told["credentials"]["detail"] == "the connection's own (explicit)"
    assert bucket.keys() == set() and bucket.server.secret not in done.stdout + done.stderr


def test_where_buckets_keep_versions_none_is_left(bucket: s3.Bucket, tmp_path: Path):
    bucket.client.put_bucket_versioning(Bucket=bucket.name, VersioningConfiguration={"Status": "Enabled"})
    done = home_on(bucket, tmp_path, STOCK).verify("-q", settings={"AIRFLOW_CONN_STORE": connection(bucket)})
    assert (done.code, done.out, done.err) == (0, "", "")
    kept = bucket.client.list_object_versions(Bucket=bucket.name)
    assert (kept.get("Versions", []), kept.get("DeleteMarkers", [])) == ([], [])


@pytest.mark.one_airflow
def test_versions_that_nobody_may_ask_for_are_found_by_their_markers(bucket, proxy, tmp_path: Path):
    bucket.client.put_bucket_versioning(Bucket=bucket.name, VersioningConfiguration={"Status": "Enabled"})
    home = home_on(bucket, tmp_path)
    settings = {"AIRFLOW_CONN_STORE": connection(bucket, proxy.endpoint)}
    proxy.rules = [Rule(DENIED, "GET", query="^versioning")]
    done = home.verify(settings=settings)
    assert (done.code, done.statuses["nothing-left"]) == (0, "ok"), done.failed
    kept = bucket.client.list_object_versions(Bucket=bucket.name)
    assert (kept.get("Versions", []), kept.get("DeleteMarkers", [])) == ([], [])
    proxy.rules = [Rule(DENIED, "GET", query="^versioning"), Rule(DENIED, "GET", query="^versions")]
    done = home.verify(settings=settings)
    assert (done.code, done.failed) == (0, {})
    assert "keeps versions" in done.only("warn")["nothing-left"]


@pytest.mark.one_airflow
def test_nobody_but_gc_needs_to_list(bucket: s3.Bucket, proxy: FaultProxy, tmp_path: Path):
    """Without s3:ListBucket the store says 403 of what is not there, too."""

    def forbidden(reply: Reply) -> Reply:
        return replace(reply, status=403) if reply.status == 404 else reply

    proxy.rules = [Rule(DENIED, "GET", query="list-type"), Rule(Rewrite(forbidden), "HEAD"), Rule(Rewrite(forbidden))]
    settings = {"AIRFLOW_CONN_STORE": connection(bucket, proxy.endpoint)}
    done = home_on(bucket, tmp_path).verify(settings=settings)
    assert (done.code, done.failed) == (0, {})
    assert set(done.only("warn")) >= {"list"} and set(done.only("unknown")) == {"clock", "purge"}
    assert done.statuses["lost-object"] == "ok"
    proxy.rules = []
    assert bucket.keys() == set()


@pytest.mark.one_airflow
def test_a_store_that_says_nothing_is_asked_no_more(bucket: s3.Bucket, proxy: FaultProxy, tmp_path: Path):
    proxy.rules = [Rule(Silent())]
    settings = {"AIRFLOW_CONN_STORE": connection(bucket, proxy.endpoint)}
    done = home_on(bucket, tmp_path).verify(settings=settings)
    assert set(done.failed) == {"put", "nothing-left"} and "no answer within 20 s" in done.failed["put"]
    assert {done.checks[name]["detail"] for name in ("list", "clock")} == {"the store did not answer put"}
    assert sum(check["ms"] for check in done.checks.values() if check["id"] != "airflow") < 55_000


@pytest.mark.one_airflow
def test_a_proxy_of_the_connection_stands_where_the_store_does_not_answer(bucket, proxy, tmp_path: Path):
    extra = {"region_name": "us-east-1", "endpoint_url": "http://nowhere.invalid:9000"}
    extra["config_kwargs"] = {"proxies": {"http": proxy.endpoint}}
    conn = {"conn_type": "aws", "login": bucket.server.key, "password": bucket.server.secret, "extra": extra}
    done = home_on(bucket, tmp_path).verify("--read-only", settings={"AIRFLOW_CONN_STORE": json.dumps(conn)})
    assert "through the connection's own proxy" in done.checks["reachable"]["detail"]


def test_a_missing_connection_fails_where_the_database_is_and_is_unknown_where_it_is_not(
    bucket: s3.Bucket, tmp_path: Path
):
    server = bucket.server
    ambient = {
        "AWS_ACCESS_KEY_ID": server.key,
        "AWS_SECRET_ACCESS_KEY": server.secret,
        "AWS_ENDPOINT_URL": server.endpoint,
        "AWS_DEFAULT_REGION": server.region,
    }
    home = home_on(bucket, tmp_path)
    done = home.verify(settings=ambient)
    told = done.failed if IS_2 else done.only("unknown")
    assert set(told) == {"connection"} and done.code == int(IS_2)
    assert "no metadata database is at hand" in told["connection"]
    assert IS_2 or "as a task" in told["connection"]
    assert done.checks["credentials"]["detail"] == "needs connection"
    assert done.checks["put"]["status"] == "skipped"
    assert not (home.folder / "airflow.db").exists(), "a database that is not there is not made"

    with sqlite3.connect(home.folder / "airflow.db") as database:
        database.execute(f"create table connection ({CONNECTION})")
    done = home.verify(settings=ambient)
    assert (done.code, set(done.failed)) == (1, {"connection"})
    assert "nor in the metadata database" in done.failed["connection"]
    assert "AIRFLOW_CONN_STORE" in done.failed["connection"].partition(" | ")[2]


def test_whose_credentials_they_really_are(bucket: s3.Bucket, tmp_path: Path):
    home = home_on(bucket, tmp_path)
    bare = connection(bucket, login=None, password=None)
    done = home.verify("--read-only", settings={"AIRFLOW_CONN_STORE": bare})
    assert set(done.failed) == {"credentials"}
    assert "anonymous: the connection store has no credentials" in done.failed["credentials"]
    assert done.checks["list"]["detail"] == "needs credentials"
    ambient = {"AWS_ACCESS_KEY_ID": bucket.server.key, "AWS_SECRET_ACCESS_KEY": bucket.server.secret}
    done = home.verify("--read-only", settings={"AIRFLOW_CONN_STORE": bare, **ambient})
    assert done.code == 0, done.failed
    assert "from the environment: the connection store has none" in done.checks["credentials"]["detail"]


def denials() -> list[object]:
    of_object, of_bucket = "xcom/_xcomctl", "list-type"
    return [
        pytest.param([Rule(DENIED, "PUT")], {"put"}, {"head", "get", "delete"}, id="put"),
        pytest.param(
            [Rule(DENIED, "HEAD", path=of_object), Rule(DENIED, "POST", query="delete")],
            {"head", "delete"},
            set(),
            id="head-delete",
        ),
        pytest.param(
            [Rule(DENIED, "GET", path=of_object), Rule(DENIED, "GET", query=of_bucket)],
            {"get", "round-trip"},
            set(),
            id="get-list",
        ),
    ]


@pytest.mark.one_airflow
@pytest.mark.parametrize(("rules", "failed", "skipped"), denials())
def test_each_verb_is_tried_apart(bucket, proxy, tmp_path, rules, failed, skipped, request):
    request_id = request.node.callspec.id
    home = home_on(bucket, tmp_path, STOCK)
    proxy.rules = rules
    done = home.verify("-o", "json", settings={"AIRFLOW_CONN_STORE": connection(bucket, proxy.endpoint)})
    proxy.rules = []
    assert set(done.failed) - {"nothing-left"} == failed
    told = {name: done.failed[name] for name in failed if name in VERBS}
    assert all("AccessDenied" in each or "403" in each or "Forbidden" in each for each in told.values()), told
    assert skipped <= set(done.only("skipped"))
    if "list" in request_id:
        assert "AccessDenied" in done.only("warn")["list"]
        assert done.statuses["clock"] == "unknown"
    if "delete" not in failed:
        assert bucket.keys() == set()
    else:
        assert {done.statuses[name] for name in TRIED} == {"skipped"}, "no trial that could not be deleted"
        assert len(bucket.keys()) == 2 and "cannot delete" in done.failed["nothing-left"]


@pytest.mark.one_airflow
@pytest.mark.parametrize(
    ("status", "code"), [(403, "InvalidAccessKeyId"), (400, "ExpiredToken"), (403, "AccessDenied")]
)
def test_read_only_does_not_take_wrong_credentials_for_narrow_ones(bucket, proxy, tmp_path: Path, status, code):
    proxy.rules = [Rule(Answer(status, code))]
    settings = {"AIRFLOW_CONN_STORE": connection(bucket, proxy.endpoint)}
    done = home_on(bucket, tmp_path).verify("--read-only", settings=settings)
    if code == "AccessDenied":  # of everything: perhaps nothing is there, and nobody may list it
        assert (done.code, done.statuses["list"], done.statuses["head"]) == (0, "warn", "unknown")
    else:
        assert done.code == 1 and code in done.failed["list"]
    proxy.rules = [Rule(DENIED, "GET", query="list-type")]
    done = home_on(bucket, tmp_path).verify("--read-only", settings=settings)
    assert (done.code, done.statuses["head"]) == (0, "ok"), "the store says that there is no such object"


@pytest.mark.one_airflow
def test_a_store_that_is_not_there_is_told_soon(bucket: s3.Bucket, tmp_path: Path):
    settings = {"AIRFLOW_CONN_STORE": connection(bucket, "http://127.0.0.1:9")}
    done = home_on(bucket, tmp_path).verify(settings=settings)
    assert set(done.failed) == {"reachable"} and "nobody answers at 127.0.0.1:9" in done.failed["reachable"]
    assert {done.checks[name]["detail"] for name in ("put", "head", "get", "list")} == {"needs reachable"}
    assert sum(check["ms"] for check in done.checks.values() if check["id"] != "airflow") < 20_000


@pytest.mark.one_airflow
def test_a_store_in_another_time(bucket: s3.Bucket, proxy: FaultProxy, tmp_path: Path):
    def late(reply: Reply) -> Reply:
        there = format_datetime(datetime.now(timezone.utc) - timedelta(minutes=2), usegmt=True)
        return replace(reply, headers=(*without(reply.headers, "date"), ("Date", there)))

    proxy.rules = [Rule(Rewrite(late))]
    settings = {"AIRFLOW_CONN_STORE": connection(bucket, proxy.endpoint)}
    done = home_on(bucket, tmp_path).verify("--read-only", settings=settings)
    assert done.code == 0, done.failed
    assert "clock is 1" in done.only("warn")["clock"] and "NTP" in done.only("warn")["clock"]


@pytest.mark.one_airflow
def test_an_object_still_on_its_way_when_the_signal_comes_is_deleted_too(bucket, proxy, tmp_path: Path):
    """The request has been sent; the store makes an object of it after the tidying up has begun."""
    hold = Hold()
    proxy.rules = [Rule(hold, "PUT", path="group.verify_backend")]
    settings = {"AIRFLOW_CONN_STORE": connection(bucket, proxy.endpoint)}
    process = home_on(bucket, tmp_path, STOCK).start("-o", "json", **settings)
    assert hold.reached.wait(120)
    process.terminate()
    while not any(seen.method == "POST" and seen.query == "delete" for seen in proxy.requests):
        time.sleep(0.02)
    hold.release.set()
    _, err = process.communicate(timeout=60)
    assert process.returncode == 143 and "Traceback" not in err
    assert any(seen.method == "PUT" and "group.verify_backend" in seen.path and seen.status for seen in proxy.requests)
    assert bucket.keys() == set()


@pytest.mark.parametrize("number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.one_airflow)])
def test_a_verification_that_is_killed_leaves_nothing_behind(bucket, proxy, tmp_path, number):
    """The class has written its object, and not yet said so, when the signal comes."""
    hold = HoldAfter()
    proxy.rules = [Rule(hold, "PUT", path="group.verify_backend")]
    settings = {"AIRFLOW_CONN_STORE": connection(bucket, proxy.endpoint)}
    process = home_on(bucket, tmp_path, STOCK).start("-o", "json", **settings)
    assert hold.reached.wait(120) and len(bucket.keys()) == 2
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 128 + number, err
    assert "Traceback" not in out + err
    assert bucket.keys() == set()
