"""What verify-backend says about a container whose Airflow is set up well, and about each way to get it wrong."""

from __future__ import annotations

import re
from importlib.metadata import version
from pathlib import Path

import pytest

from tests.airflow.verifying import OURS, STOCK, Home

pytestmark = pytest.mark.xdist_group("verify-backend")

AIRFLOW = tuple(map(int, re.findall(r"\d+", version("apache-airflow"))[:2]))
IS_2 = AIRFLOW < (3,)
READS_CONTROL_KEYS_RAW = (3, 0) <= AIRFLOW < (3, 4)

FROM_BASE = "airflow.models.xcom" if IS_2 else "airflow.sdk.bases.xcom"
TRIED = ("round-trip", "dataframe", "threshold-edge", "control-keys", "purge", "lost-object")


def test_ours_on_local_files_passes_and_leaves_nothing_behind(tmp_path: Path):
    home = Home.at(tmp_path / "home")
    before = home.tree()
    done = home.verify()
    assert (done.code, done.failed, done.only("unknown")) == (0, {}, {}), done.err
    assert home.tree() == before, "not even the base path, which was not there"
    assert {name: done.statuses[name] for name in TRIED} == dict.fromkeys(TRIED, "ok")
    assert "an object" in done.checks["round-trip"]["detail"]
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


def test_a_local_folder_in_a_container_is_a_warning(tmp_path: Path):
    home = Home.at(tmp_path / "home")
    done = home.verify("--read-only", settings={"KUBERNETES_SERVICE_HOST": "10.0.0.1"})
    assert done.code == 0
    assert "in a container" in done.only("warn")["local-files"] and "shared volume" in done.only("warn")["local-files"]
