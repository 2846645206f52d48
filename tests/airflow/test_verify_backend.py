"""What verify-backend says about a container whose Airflow is set up well, and about each way to get it wrong."""

from __future__ import annotations

import json
import re
import socket
import sqlite3
import time
from importlib.metadata import version
from pathlib import Path

import pytest

from tests.airflow import provider
from tests.airflow.verifying import OURS, STOCK, Home
from tests.lab import s3

pytestmark = pytest.mark.xdist_group("verify-backend")

AIRFLOW = tuple(map(int, re.findall(r"\d+", version("apache-airflow"))[:2]))
IS_2 = AIRFLOW < (3,)
READS_CONTROL_KEYS_RAW = (3, 0) <= AIRFLOW < (3, 4)

FROM_BASE = "airflow.models.xcom" if IS_2 else "airflow.sdk.bases.xcom"
CONNECTION = (
    "id, conn_id, conn_type, description, host, schema, login, password, port, is_encrypted, is_extra_encrypted, extra,"
    " team_name, team_id"
)
"""The columns of Airflow's table, of every version."""

TRIED = ("round-trip", "dataframe", "threshold-edge", "control-keys", "purge", "lost-object")


def test_ours_on_local_files_passes_and_leaves_nothing_behind(tmp_path: Path):
    home = Home.at(tmp_path / "home")
    before = home.tree()
    done = home.verify()
    assert (done.code, done.failed, done.only("unknown")) == (0, {}, {}), done.err
    assert home.tree() == before, "not even the base path, which was not there"
    assert {name: done.statuses[name] for name in TRIED} == dict.fromkeys(TRIED, "ok")
    assert "an object and the row" in done.checks["round-trip"]["detail"]
    assert "100 bytes go out, 99 stay" in done.checks["threshold-edge"]["detail"]
    assert "DanglingError" in done.checks["lost-object"]["detail"]
    assert done.checks["nothing-left"]["detail"] == "nothing is left behind"


def test_quiet_success_is_silence_and_quiet_failure_names_what_failed(tmp_path: Path):
    home = Home.at(tmp_path / "home")
    (home.folder / "xcom").mkdir()
    done = home.verify("-q")
    assert (done.code, done.out, done.err) == (0, "", "")
    assert home.tree() == {"xcom"}
    done = home.verify("-q", "-o", "json", settings={"AIRFLOW__COMMON_IO__XCOM_OBJECTSTORAGE_THRESHOLD": "-1"})
    assert (done.code, set(done.checks), done.err) == (1, {"threshold"}, "")


def test_the_stock_class_passes_with_its_known_faults(tmp_path: Path):
    home = Home.at(tmp_path / "home", STOCK, threshold="0", compression="gzip")
    done = home.verify()
    assert (done.code, done.failed) == (0, {}), done.err
    warned = done.only("warn")
    assert "as if it were the value" in warned["lost-object"] and OURS in warned["lost-object"]
    assert ("control-keys" in warned, "threshold" in warned) == (READS_CONTROL_KEYS_RAW, READS_CONTROL_KEYS_RAW)
    if READS_CONTROL_KEYS_RAW:
        assert "50491" in warned["control-keys"] and OURS in warned["threshold"]
    assert done.checks["threshold-edge"]["detail"] == "every value goes out"
    assert home.tree() == set()


def test_the_stock_class_reads_small_strings_twice_on_airflow_2(tmp_path: Path):
    done = Home.at(tmp_path / "home", STOCK).verify("-o", "json")
    assert (done.code, done.failed) == (0, {}), done.err
    assert (done.statuses["round-trip"], IS_2) in (("warn", True), ("ok", False))
    assert not IS_2 or "would get 12 instead of '12'" in done.only("warn")["round-trip"]


def test_read_only_writes_nothing(tmp_path: Path):
    home = Home.at(tmp_path / "home")
    there = home.folder / "xcom" / "d" / "r" / "t" / "0f3c9a5e-7d52-4b8e-9c61-3f6f1c1c2d3e"
    there.parent.mkdir(parents=True)
    there.write_text('"value"')
    for folder in (home.folder / "xcom", there.parent):
        folder.chmod(0o555)
    before = {path: path.stat().st_mtime_ns for path in (home.folder / "xcom").rglob("*")}
    done = home.verify("--read-only")
    assert done.code == 0, done.failed
    assert {path: path.stat().st_mtime_ns for path in (home.folder / "xcom").rglob("*")} == before
    skipped = done.only("skipped")
    assert {"put", "delete", "cleanup", *TRIED, "nothing-left"} <= set(skipped)
    assert all("--read-only" in skipped[name] for name in ("put", "delete", *TRIED))
    assert [done.statuses[name] for name in ("head", "get", "list")] == ["ok"] * 3


def test_names_that_airflow_passes_over(tmp_path: Path):
    """apache/airflow#49154: the threshold without its prefix; and the option's older name, a wrong section."""
    home = Home.at(tmp_path / "home", threshold=None)
    home.configure(xcom={"backend": STOCK}, common_io={"xcom_objectstorage_compression": "gzip"})
    (home.folder / "airflow.cfg").write_text(
        (home.folder / "airflow.cfg")
        .read_text()
        .replace("[common.io]", "[common.io]\nxcom_objectstore_path = s3://b/x")
    )
    variables = {"xcom_objectstorage_threshold": "0", "AIRFLOW__COMMON.IO__XCOM_OBJECTSTORAGE_THRESHOLD": "0"}
    done = home.verify(settings=variables)
    assert done.code == 1
    assert set(done.failed) == {"option-names", "threshold"}
    told = done.failed["option-names"]
    assert all(name in told for name in (*variables, "[xcom] backend", "[common.io] xcom_objectstore_path"))
    assert "AIRFLOW__COMMON_IO__XCOM_OBJECTSTORAGE_THRESHOLD" in told.partition(" | ")[2]
    assert "xcom_objectstorage_threshold = -1 (Airflow's default)" in done.failed["threshold"]
    assert "no value will ever be external" in done.failed["threshold"]
    assert {done.checks[name]["detail"] for name in TRIED} == {"needs threshold"}


def test_options_that_cannot_work_each_fail_with_the_right_name(tmp_path: Path):
    home = Home.at(tmp_path / "home", STOCK, path="file://xcom/here", compression="gz", threshold="1MB")
    done = home.verify()
    assert set(done.failed) == {"threshold", "compression", "base-path"}
    assert "1MB" in done.failed["threshold"] and "number of bytes" in done.failed["threshold"]
    assert "did you mean gzip?" in done.failed["compression"]
    assert "xcom for a host" in done.failed["base-path"] and "file:///xcom/here" in done.failed["base-path"]
    below = ("state-store", "local-files", "provider", "connection")
    assert {done.checks[name]["detail"] for name in below} == {"needs base-path"}
    assert done.checks["put"]["detail"] == "needs credentials" or done.statuses["put"] == "skipped"


def test_a_secret_in_the_base_path_is_told_but_not_repeated(tmp_path: Path):
    home = Home.at(tmp_path / "home", STOCK, path="s3://AKIAEXAMPLE:do-not-show@bucket/x", compression="snappy")
    done = home.verify()
    assert set(done.failed) == {"compression", "base-path"}
    assert "snappy" in done.failed["compression"] and "54182" in done.failed["compression"]
    assert "credentials" in done.failed["base-path"] and "s3://connection@bucket" in done.failed["base-path"]
    printed = home.verify("--fingerprint")
    for text in (done.out + done.err, printed.out + printed.err):
        assert "do-not-show" not in text and "AKIAEXAMPLE" not in text


def test_a_codec_whose_package_is_missing_and_a_state_store_in_the_same_place(tmp_path: Path):
    home = Home.at(tmp_path / "home", STOCK, compression="zstd")
    home.module("zstandard", "raise ImportError('not in this image')")
    home.module("backports", "raise ImportError('not in this image')")
    home.module("compression", "raise ImportError('not in this image')")
    home.configure(common__io={"state_store_objectstorage_path": f"file://{home.folder}/xcom/state"})
    done = home.verify()
    assert set(done.failed) == {"compression", "state-store"}
    assert "pip install zstandard" in done.failed["compression"]
    assert "overlap" in done.failed["state-store"]


def test_a_scheme_whose_provider_is_missing(tmp_path: Path):
    home = Home.at(tmp_path / "home", path="gs://conn@bucket/xcom")
    done = home.verify(settings={"KUBERNETES_SERVICE_HOST": "10.0.0.1"})
    assert {"provider", "connection"} == set(done.failed) | set(done.only("unknown"))
    assert "pip install 'apache-airflow-providers-google'" in done.failed["provider"]
    assert done.checks["credentials"]["detail"] == "needs provider"


@pytest.mark.one_airflow
def test_a_scheme_that_only_a_provider_knows_is_not_looked_into(tmp_path: Path):
    home = Home.at(tmp_path / "home", path="sftp://conn@host/xcom")
    provider.install(home.folder / "plugins")
    done = home.verify()
    assert (done.code, set(done.only("unknown"))) == (0, {"base-path"}), done.failed
    assert "opened by lab_provider.files" in done.checks["base-path"]["detail"]
    assert {done.statuses[name] for name in ("provider", "connection", "put", "cleanup", *TRIED)} == {"skipped"}


def test_a_local_folder_in_a_container_is_a_warning(tmp_path: Path):
    home = Home.at(tmp_path / "home")
    done = home.verify("--read-only", settings={"KUBERNETES_SERVICE_HOST": "10.0.0.1"})
    assert done.code == 0
    assert "in a container" in done.only("warn")["local-files"] and "shared volume" in done.only("warn")["local-files"]


SECRET = "do-not/show+me"


@pytest.mark.one_airflow
@pytest.mark.parametrize(
    "settings",
    [
        {"AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"postgresql+psycopg2//u:{SECRET}@127.0.0.1/airflow"},
        {"AIRFLOW__DATABASE__SQL_ALCHEMY_CONN_CMD": f"sh -c 'echo {SECRET}; exit 3'"},
        {"AIRFLOW__COMMON_IO__XCOM_OBJECTSTORAGE_PATH": f"s3://key:{SECRET}@bucket/x"},
        {"AIRFLOW__XCOMCTL__READ_PATHS": f"s3://key:{SECRET}@bucket/x,nonsense"},
        {"AIRFLOW__CORE__FERNET_KEY": SECRET, "AIRFLOW__COMMON_IO__XCOM_OBJECTSTORAGE_PATH": f"no{SECRET}"},
    ],
    ids=["malformed", "command", "path", "read-paths", "fernet"],
)
def test_no_secret_is_told_however_it_is_written(tmp_path: Path, settings: dict[str, str]):
    home = Home.at(tmp_path / "home", path="s3://store@bucket/x", threshold=None)
    if any(name.startswith("AIRFLOW__DATABASE") for name in settings):
        home.configure(database={})
        home.sections.pop("database")
        home.configure()
    printed = [home.verify("--read-only", settings=settings), home.verify("--fingerprint", settings=settings)]
    assert printed[0].failed
    assert not any(part in each.out + each.err for each in printed for part in (SECRET, "do-not", "show+me"))


@pytest.mark.one_airflow
def test_wrong_options_of_our_own_class_are_told_at_once(tmp_path: Path):
    """A task would find them out one by one: read_paths with its first foreign reference, a flag with its purge."""
    home = Home.at(tmp_path / "home")
    wrong = {"purge_errors": "ignore", "control_keys_inline": "maybe", "read_paths": "bucket", "rules": "s3,nope"}
    home.configure(xcomctl=wrong)
    done = home.verify("-q", "-o", "json")
    assert set(done.failed) == {"own-options"}
    assert all(f"[xcomctl] {name}" in done.failed["own-options"] for name in wrong)
    home.configure(xcomctl={**dict.fromkeys(wrong, ""), "purge_errors": "log", "control_keys_inline": "True"})
    home.configure(xcomctl={"rules": "s3"})
    assert "does not tell where the objects are" in home.verify("-q", "-o", "json").failed["own-options"]
    done = home.verify(settings={"AIRFLOW__XCOMCTL__RULES": "", "AIRFLOW__XCOMCTL__MISSING_OBJECTS": "url"})
    assert (done.code, done.failed) == (0, {})
    assert "missing_objects | did you mean missing_object?" in done.only("warn")["own-options"]


def test_earlier_places_whose_connection_is_not_defined_are_told(tmp_path: Path):
    home = Home.at(tmp_path / "home")
    home.configure(xcomctl={"read_paths": "s3://earlier@bucket/x", "rules": "s3=s3://team@bucket"})
    with sqlite3.connect(home.folder / "airflow.db") as database:
        database.execute(f"create table connection ({CONNECTION})")
    told = home.verify("-q", "-o", "json").failed
    assert set(told) == {"own-options"} and "no Airflow connection earlier, team" in told["own-options"]
    defined = dict.fromkeys(("AIRFLOW_CONN_EARLIER", "AIRFLOW_CONN_TEAM"), "aws://")
    assert home.verify("-q", settings=defined).code == 0


@pytest.mark.one_airflow
def test_a_task_that_is_handed_the_url_by_option_is_a_warning(tmp_path: Path):
    home = Home.at(tmp_path / "home")
    home.configure(xcomctl={"missing_object": "url"})
    done = home.verify()
    assert done.code == 0 and "as if it were the value" in done.only("warn")["lost-object"]


@pytest.mark.one_airflow
def test_small_slips_of_the_pen(tmp_path: Path):
    home = Home.at(tmp_path / "home", f"'{OURS}'")
    done = home.verify("--read-only")
    assert set(done.failed) == {"backend-option"} and f"| write {OURS}" in done.failed["backend-option"]
    home = Home.at(tmp_path / "spaced", STOCK)
    spaced = f"file://{tmp_path}/spaced/xcom "
    done = home.verify(settings={"AIRFLOW__COMMON_IO__XCOM_OBJECTSTORAGE_PATH": spaced})
    assert set(done.failed) == {"base-path"} and "remove a space" in done.failed["base-path"]


@pytest.mark.one_airflow
def test_a_line_s_end_after_a_value(tmp_path: Path):
    """As `kubectl create secret --from-file` leaves it."""
    home = Home.at(tmp_path / "home", None)
    done = home.verify("-q", "-o", "json", settings={"AIRFLOW__CORE__XCOM_BACKEND": f"{OURS}\n"})
    assert set(done.failed) == {"backend-option"} and "remove a newline" in done.failed["backend-option"]
    settings = {"AIRFLOW__CORE__XCOM_BACKEND": STOCK, "AIRFLOW__COMMON_IO__XCOM_OBJECTSTORAGE_COMPRESSION": "gzip\n"}
    done = home.verify("-q", "-o", "json", settings=settings)
    assert set(done.failed) == {"compression"} and "remove a newline" in done.failed["compression"]


@pytest.mark.one_airflow
def test_a_threshold_that_is_too_large_to_try_is_a_warning(tmp_path: Path):
    done = Home.at(tmp_path / "home", threshold="100000000").verify("--read-only")
    assert done.code == 0
    done = Home.at(tmp_path / "home", threshold="100000000").verify()
    assert done.code == 0 and "100000000 bytes, which is too large to try" in done.only("warn")["round-trip"]


@pytest.mark.one_airflow
def test_a_database_that_is_silent_holds_nothing_up_and_is_waited_for(tmp_path: Path):
    """It accepts the connection and says nothing: psycopg2 would wait for ever, where no signal reaches it."""
    home = Home.at(tmp_path / "home", path="s3://store@bucket/xcom")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"postgresql+psycopg2://u:{SECRET.replace('/', '%2F')}@127.0.0.1:{silent.getsockname()[1]}/airflow"
        home.configure(database={"sql_alchemy_conn": url.replace("%", "%%")})
        began = time.monotonic()
        done = home.verify("--read-only")
        assert time.monotonic() - began < 60
        told = done.failed if IS_2 else done.only("unknown")
        assert "the metadata database does not answer" in told["connection"] and SECRET not in done.out + done.err
        process = home.start("--read-only", "--wait", "60s", "-o", "json")
        line = next(line for line in process.stderr if line.startswith("not yet"))
        process.terminate()
        process.communicate(timeout=60)
    assert line.startswith("not yet: connection: ") and "the metadata database does not answer" in line


@pytest.mark.skipif(not IS_2, reason="Airflow 3 pickles no XComs")
def test_pickled_rows_of_airflow_2_work_and_are_a_warning(tmp_path: Path):
    home = Home.at(tmp_path / "home", STOCK)
    home.configure(core={"enable_xcom_pickling": "True"})
    done = home.verify()
    assert (done.code, done.failed) == (0, {})
    assert "Airflow 3" in done.only("warn")["pickling"] and home.tree() == set()


@pytest.mark.skipif(IS_2, reason="only workers of Airflow 3 have one of their own")
def test_a_connection_that_only_workers_find(ministack: s3.S3Server, tmp_path: Path):
    bucket = s3.bucket(ministack)
    home = Home.at(tmp_path / "home", path=f"s3://store@{bucket.name}/xcom")
    server = bucket.server
    extra = {"endpoint_url": server.endpoint, "region_name": server.region}
    conn = {"conn_type": "aws", "login": server.key, "password": server.secret, "extra": extra}
    (tmp_path / "connections.json").write_text(json.dumps({"store": conn}))
    local = "airflow.secrets.local_filesystem.LocalFilesystemBackend"
    kwargs = json.dumps({"connections_file_path": str(tmp_path / "connections.json")})
    home.configure(workers={"secrets_backend": local, "secrets_backend_kwargs": kwargs})
    done = home.verify()
    assert (done.code, done.failed, done.only("unknown")) == (0, {}, {}), done.err
    assert "from LocalFilesystemBackend" in done.checks["connection"]["detail"]
    assert server.secret not in done.out + done.err and bucket.keys() == set()
