"""One container waits for what is not there yet; several are told apart; and it all costs little time."""

from __future__ import annotations

import json
import resource
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.airflow.test_verify_backend import FROM_BASE, IS_2
from tests.airflow.verifying import OURS, STOCK, Home
from tests.cli.test_docs_verify import COMMANDS

TEAM = f"from {FROM_BASE} import BaseXCom\n\nclass Backend(BaseXCom):\n    pass\n"

IMPORTED = f"import {'airflow.models.xcom' if IS_2 else STOCK.rpartition('.')[0]}"
"""What imports Airflow's own class where it is configured: Airflow 2 refuses to begin at its own module."""


@pytest.mark.one_airflow
def test_it_waits_until_the_class_is_there(tmp_path: Path):
    """git-sync brings the file a while after the container has started; a failed import is not tried twice."""
    home = Home.at(tmp_path / "home", "team.Backend")
    process = home.start("--wait", "90s", "--read-only", "-o", "json")
    first = process.stderr.readline()
    assert first.startswith("not yet: backend-class: Airflow cannot import team.Backend")
    home.module("team", TEAM)
    out, err = process.communicate(timeout=90)
    assert process.returncode == 0, out + err
    assert {c["id"]: c["status"] for c in json.loads(out)}["backend-class"] == "ok", "only the last attempt is printed"


@pytest.mark.one_airflow
def test_it_does_not_wait_longer_than_it_is_told(tmp_path: Path):
    done = Home.at(tmp_path / "home", "team.Backend").verify("--wait", "1s")
    assert (done.code, set(done.failed)) == (1, {"backend-class"})


def test_fingerprints_tell_containers_apart_without_a_secret(tmp_path: Path):
    secret = "do-not-show-this"
    extra = {"aws_session_token": secret, "endpoint_url": "http://minio:9000"}
    conn = {"conn_type": "aws", "login": "AKIAIOSFODNN7EXAMPLE", "password": secret, "extra": extra}
    settings = {"AIRFLOW_CONN_STORE": json.dumps(conn)}
    scheduler = Home.at(tmp_path / "scheduler", path="s3://store@bucket/xcom", compression="gzip")
    worker = Home.at(tmp_path / "worker", path="s3://store@bucket/xcoms", threshold="1000")
    broken = Home.at(tmp_path / "broken", "absent.Backend", path="s3://store@bucket/xcom", compression="gzip")
    files = []
    for home in (scheduler, worker, broken):
        done = home.verify("--fingerprint", settings=settings)
        assert done.code == 0 and secret not in done.out + done.err and "AKIAIOSFODNN7EXAMPLE" not in done.out
        files.append(home.folder / "taken.json")
        files[-1].write_text(done.out)
    taken = json.loads(files[0].read_text())
    assert taken["connection"] == {
        "id": "store",
        "type": "aws",
        "endpoint": "minio:9000",
        "source": "from the environment",
        "error": None,
        "visible": True,
    }
    assert taken["options"]["common.io.xcom_objectstorage_compression"] == {
        "value": "gzip",
        "source": str(scheduler.folder / "airflow.cfg"),
        "error": None,
    }
    assert ("core.enable_xcom_pickling" in taken["options"]) == IS_2
    assert taken["class"]["name"] == "xcomctl.backend.xcom.XComBackend" and len(taken["class"]["sha256"]) == 64
    assert "No module named 'absent'" in json.loads(files[2].read_text())["class"]["error"]

    copied = tmp_path / "copied.json"
    copied.write_bytes(files[0].read_bytes())
    same = scheduler.verify("--compare", str(files[0]), str(copied))
    assert (same.code, set(same.statuses.values())) == (0, {"ok"})
    apart = scheduler.verify("--compare", str(files[0]), str(files[1]))
    assert (apart.code, set(apart.failed)) == (1, {"base-path", "threshold", "compression"})
    assert "s3://store@bucket/xcoms" in apart.failed["base-path"] and str(files[1]) in apart.failed["base-path"]
    assert set(scheduler.verify("--compare", str(files[0]), str(files[2])).failed) >= {"backend-class"}


@contextmanager
def silent() -> Iterator[int]:
    """The port of a server that takes every connection and never says a word."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen(64)
        yield server.getsockname()[1]


@pytest.mark.parametrize("module", ["database", "class", "class that asks a database"])
def test_a_fingerprint_does_not_wait_for_who_never_answers(tmp_path: Path, module: str):
    """On Airflow 3.0 to 3.3 the class is imported as Airflow starts, else where it is asked for.

    A class that asks PostgreSQL as it is imported waits in C, where no alarm is heard.
    """
    home = Home.at(tmp_path / "home", OURS if module == "database" else "hangs.Backend", path="s3://store@bucket/xcom")
    code = (
        "import sys; from xcomctl.operations.verify import fingerprint\n"
        f"fingerprint.{'CHECK_SECONDS' if module == 'database' else 'IMPORT_SECONDS'} = 15\n"
        "from xcomctl.cli import main; sys.exit(main(['verify-backend', '--fingerprint']))"
    )
    with silent() as port:
        asks = f"import psycopg2\npsycopg2.connect(host='127.0.0.1', port={port}, user='u')\n"
        home.module("hangs", "import time\ntime.sleep(600)\n" if module == "class" else asks)
        url = f"postgresql+psycopg2://u:hunter2@127.0.0.1:{port}/airflow"
        settings = {"AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": url} if module == "database" else {}
        words, environment = [sys.executable, "-c", code], home.environment(settings)
        done = subprocess.run(words, env=environment, capture_output=True, timeout=120, check=True)
    taken = json.loads(done.stdout)
    parts = ("connection",) if module == "database" else ("airflow", "class")
    late, refused = "no answer within 15 s", "timeout expired"  # Airflow 3.3 tries again and again
    expected = {"database": ("the metadata database does not answer",), "class": (late,)}.get(module, (late, refused))
    assert any(text in (taken[part]["error"] or "") for part in parts for text in expected)
    assert done.stderr == b"" and b"hunter2" not in done.stdout


@pytest.mark.parametrize("broken", [None, "InvalidToken"])
def test_a_connection_that_cannot_be_read_is_told_from_one_that_is_elsewhere(tmp_path: Path, broken: str | None):
    """Without a database Airflow 3 asks the API server; a connection that is there and is no JSON nobody can read."""
    home = Home.at(tmp_path / "home", path="s3://store@bucket/xcom")
    settings = {"AIRFLOW_CONN_STORE": "{no JSON"} if broken else {}
    taken = json.loads(home.verify("--fingerprint", settings=settings).out)
    assert taken["connection"]["error"] and taken["connection"]["visible"] == (IS_2 or broken is not None)


def test_it_takes_no_more_than_half_again_the_time_of_importing_airflow_s_own_class(tmp_path: Path):
    """Of the processor, since the clock on the wall tells what else the machine does; the best of some of each."""
    home = Home.at(tmp_path / "home", STOCK)
    (home.folder / "xcom").mkdir()
    own, theirs = [], []
    for _ in range(2):
        theirs.append(cost(home, "-c", IMPORTED))
        own.append(cost(home, "-m", "xcomctl", "verify-backend", "-q"))
    assert min(own) <= 1.5 * min(theirs), (own, theirs)


def cost(home: Home, *words: str) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, *words], env=home.environment({}), capture_output=True, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


@pytest.mark.one_airflow
@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_the_commands_of_the_documented_snippets_are_silent_where_all_is_well(tmp_path: Path, words: tuple[str, ...]):
    home = Home.at(tmp_path / "home")
    (home.folder / "xcom").mkdir()
    done = home.verify(*words[2:])
    assert words[:2] == ("xcomctl", "verify-backend")
    assert (done.code, done.out, done.err) == (0, "", "")
