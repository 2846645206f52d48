"""Classes as teams write them: what does not apply to them is skipped, and what they write is found and deleted."""

from __future__ import annotations

import json
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.airflow.test_verify_backend import FROM_BASE, IS_2, TRIED
from tests.airflow.verifying import Home
from tests.lab import gcs, s3
from tests.lab.proxy import FaultProxy, HoldAfter, Rule

pytestmark = pytest.mark.xdist_group("verify-handwritten")

VARIABLE = "airflow.models" if IS_2 else "airflow.sdk"

COMPOSER = f'''
"""The Cloud Composer guide's: gcs://, with the bucket in an Airflow Variable."""
import json
import uuid

import gcsfs
from {FROM_BASE} import BaseXCom

class GCSXComBackend(BaseXCom):
    PREFIX = "gcs://"

    @staticmethod
    def _path(name):
        from {VARIABLE} import Variable
        return Variable.get("XCOM_BACKEND_DATA_GCS_NAME") + "/" + name

    @staticmethod
    def serialize_value(value, *, key=None, task_id=None, dag_id=None, run_id=None, map_index=None):
        name = f"{{run_id}}/{{task_id}}/{{uuid.uuid4()}}.json"
        gcsfs.GCSFileSystem().pipe_file(GCSXComBackend._path(name), json.dumps(value).encode())
        return BaseXCom.serialize_value(GCSXComBackend.PREFIX + name)

    @staticmethod
    def deserialize_value(result):
        stored = BaseXCom.deserialize_value(result)
        if isinstance(stored, str) and stored.startswith(GCSXComBackend.PREFIX):
            name = stored.removeprefix(GCSXComBackend.PREFIX)
            return json.loads(gcsfs.GCSFileSystem().cat_file(GCSXComBackend._path(name)))
        return stored
'''

TUTORIAL = f'''
"""The Astronomer tutorial's: xcom_s3://, with the bucket in the class; this team has added a purge."""
import json
import os
import uuid

import botocore.session
from {FROM_BASE} import BaseXCom

class S3XComBackend(BaseXCom):
    PREFIX = "xcom_s3://"
    BUCKET = os.environ["TEAM_BUCKET"]

    @staticmethod
    def _client():
        return botocore.session.Session().create_client("s3")

    @staticmethod
    def serialize_value(value, *, key=None, task_id=None, dag_id=None, run_id=None, map_index=None):
        name = f"{{run_id}}/{{task_id}}/data_{{uuid.uuid4()}}.json"
        body = json.dumps(value, default=lambda frame: frame.to_dict("list")).encode()
        S3XComBackend._client().put_object(Bucket=S3XComBackend.BUCKET, Key=name, Body=body)
        return BaseXCom.serialize_value(S3XComBackend.PREFIX + name)

    @staticmethod
    def deserialize_value(result):
        stored = BaseXCom.deserialize_value(result)
        if isinstance(stored, str) and stored.startswith(S3XComBackend.PREFIX):
            name = stored.removeprefix(S3XComBackend.PREFIX)
            return json.load(S3XComBackend._client().get_object(Bucket=S3XComBackend.BUCKET, Key=name)["Body"])
        return stored

    PURGE
'''

PURGE = """
    @staticmethod
    def purge(xcom, session=None):
        name = xcom.value.removeprefix(S3XComBackend.PREFIX)
        S3XComBackend._client().delete_object(Bucket=S3XComBackend.BUCKET, Key=name)
"""


def test_the_composer_guide_s_class_on_gcs(tmp_path: Path):
    home = Home.at(tmp_path / "home", "team.GCSXComBackend", path=None, threshold=None)
    home.module("team", COMPOSER)
    with gcs.GCSServer("team-xcoms") as server:
        settings = {"AIRFLOW_VAR_XCOM_BACKEND_DATA_GCS_NAME": "team-xcoms", "STORAGE_EMULATOR_HOST": server.endpoint}
        done = home.verify(settings=settings)
        assert (done.code, done.failed) == (0, {}), "a trial would stay, so none is made"
        assert "--rule NAME" in done.only("unknown")["cleanup"]
        assert {done.checks[name]["detail"] for name in TRIED} == {"needs cleanup"}
        for name in ("threshold", "compression", "base-path", "put", "clock"):
            assert done.checks[name]["detail"] == "team.GCSXComBackend does not read [common.io]"
        assert server.names("team-xcoms") == set()

        done = home.verify("-q", "-o", "json", "--rule", "gcs-variable", settings=settings)
        assert (done.code, done.out) == (0, ""), done.out
        assert server.names("team-xcoms") == set()
        done = home.verify("--rule", "gcs-variable", settings=settings)
        assert "an object" in done.checks["round-trip"]["detail"]
        assert "has no purge" in done.only("warn")["purge"] and "xcomctl gc" in done.only("warn")["purge"]
        assert done.statuses["lost-object"] == "ok" and done.statuses["threshold-edge"] == "skipped"
        assert done.failed == {} and "does not take a DataFrame" in done.only("warn")["dataframe"]
        assert server.names("team-xcoms") == set()


def test_the_tutorial_s_class_on_s3_with_and_without_a_purge(ministack: s3.S3Server, tmp_path: Path):
    bucket = s3.bucket(ministack)
    settings = surroundings(bucket)
    home = Home.at(tmp_path / "home", "team.S3XComBackend", path=None, threshold=None)
    home.module("team", TUTORIAL.replace("    PURGE", PURGE))
    done = home.verify("-q", "-o", "json", settings=settings)
    assert (done.code, done.out) == (0, ""), done.out
    assert bucket.keys() == set(), "by its own purge"
    home.module("team", TUTORIAL.replace("    PURGE", ""))
    done = home.verify("--rule", f"s3=s3://{bucket.name}", settings=settings)
    assert done.failed == {} and "instead of a DataFrame" in done.only("warn")["dataframe"]
    assert done.statuses["round-trip"] == "ok"
    assert bucket.keys() == set(), "by the rule"


def test_a_verification_that_is_killed_leaves_no_object_of_a_known_rule(ministack: s3.S3Server, tmp_path: Path):
    """The class has written its object, and not yet said where, when the signal comes."""
    bucket, hold = s3.bucket(ministack), HoldAfter()
    home = Home.at(tmp_path / "home", "team.S3XComBackend", path=None, threshold=None)
    home.module("team", TUTORIAL.replace("    PURGE", "").replace('("s3")', '("s3", endpoint_url=os.environ["PROXY"])'))
    with FaultProxy(int(urlsplit(ministack.endpoint).port or 0)) as proxy:
        proxy.rules = [Rule(hold, "PUT")]
        settings = {**surroundings(bucket), "PROXY": proxy.endpoint}
        process = home.start("--rule", f"s3=s3://{bucket.name}", **settings)
        assert hold.reached.wait(120) and len(bucket.keys()) == 1
        process.terminate()
        _, err = process.communicate(timeout=60)
    assert process.returncode == 143, err
    assert bucket.keys() == set()


def surroundings(bucket: s3.Bucket) -> dict[str, str]:
    """What the class and any AWS client finds around it."""
    server = bucket.server
    return {
        "TEAM_BUCKET": bucket.name,
        "AWS_ACCESS_KEY_ID": server.key,
        "AWS_SECRET_ACCESS_KEY": server.secret,
        "AWS_ENDPOINT_URL": server.endpoint,
        "AWS_DEFAULT_REGION": server.region,
    }


OTHER = """
[other]
reference = "blob://{uuid}"
root = "gs://team-xcoms"
object = "{uuid}"
"""


def test_a_rule_that_does_not_fit_is_a_failure_that_names_what_stays(tmp_path: Path):
    home = Home.at(tmp_path / "home", "team.GCSXComBackend", path=None, threshold=None)
    home.module("team", COMPOSER)
    (tmp_path / "rules.toml").write_text(OTHER)
    with gcs.GCSServer("team-xcoms") as server:
        settings = {"AIRFLOW_VAR_XCOM_BACKEND_DATA_GCS_NAME": "team-xcoms", "STORAGE_EMULATOR_HOST": server.endpoint}
        of_file = ("--rule", "other", "--rules", str(tmp_path / "rules.toml"))
        done = home.verify("-q", "-o", "json", *of_file, settings=settings)
        (left,) = server.names("team-xcoms")
    assert set(done.failed) == {"round-trip", "nothing-left"} and left in done.failed["nothing-left"]
    assert left in done.failed["round-trip"] and "correct --rule" in done.failed["round-trip"]


FILES = f'''
"""On a local volume, with whatever purge a test gives it, and of what kind of value it makes files."""
import json
import os
import pathlib
import uuid

from {FROM_BASE} import BaseXCom

FOLDER = pathlib.Path(os.environ["TEAM_FOLDER"])

def is_large(value):
    return IS_LARGE

class FileXComBackend(BaseXCom):
    @staticmethod
    def serialize_value(value, *, key=None, task_id=None, dag_id=None, run_id=None, map_index=None):
        if not is_large(value):
            return BaseXCom.serialize_value(value)
        name = NAME
        (FOLDER / name).write_text(json.dumps(value if not hasattr(value, "to_dict") else value.to_dict("list")))
        return BaseXCom.serialize_value("team://" + name)

    @staticmethod
    def deserialize_value(result):
        stored = BaseXCom.deserialize_value(result)
        if not (isinstance(stored, str) and stored.startswith("team://")):
            return stored
        back = json.loads((FOLDER / stored.removeprefix("team://")).read_text())
        if isinstance(back, dict) and set(back) == {{"n", "text"}} and isinstance(back["n"], list):
            import pandas
            return pandas.DataFrame(back)
        return back

    @staticmethod
    def purge(xcom, session=None):
        PURGE
'''

RULES = """
[team]
reference = "team://{uuid}"
root = "ROOT"
object = "{uuid}"
"""


def team(
    tmp_path: Path, purge: str, is_large: str = "True", name: str = "str(uuid.uuid4())"
) -> tuple[Home, dict[str, str], Path]:
    home = Home.at(tmp_path / "home", "team.FileXComBackend", path=None, threshold=None)
    home.module("team", FILES.replace("IS_LARGE", is_large).replace("PURGE", purge).replace("NAME", name))
    folder = tmp_path / "volume"
    folder.mkdir()
    return home, {"TEAM_FOLDER": str(folder)}, folder


@pytest.mark.parametrize("purge", ["pass", "raise OSError('no')"])
def test_a_purge_that_deletes_nothing_leaves_one_object_and_says_which(tmp_path: Path, purge: str):
    home, settings, folder = team(tmp_path, purge)
    done = home.verify(settings=settings)
    (left,) = folder.iterdir()
    assert set(done.failed) == {"cleanup", "nothing-left"}
    assert f"team://{left.name}" in done.failed["nothing-left"]
    assert {done.checks[name]["detail"] for name in TRIED} == {"needs cleanup"}


@pytest.mark.one_airflow
def test_a_class_that_moves_only_dataframes_is_tried_with_one_also_in_haste(tmp_path: Path):
    """Else -q would say that all is well of a class that never wrote anything."""
    purge = "(FOLDER / xcom.value.removeprefix('team://')).unlink()"
    home, settings, folder = team(tmp_path, purge, "hasattr(value, 'to_dict')")
    done = home.verify(settings=settings)
    assert (done.code, done.failed) == (0, {})
    assert "came back from an object" in done.checks["dataframe"]["detail"]
    assert "from the row" in done.checks["round-trip"]["detail"]
    home.module("team", (home.folder / "plugins" / "team.py").read_text().replace("FOLDER /", "FOLDER / 'gone' /"))
    assert "does not take a DataFrame" in home.verify(settings=settings).only("warn")["dataframe"]
    home.module("team", (home.folder / "plugins" / "team.py").read_text().replace("hasattr(value, 'to_dict')", "False"))
    assert "was not seen to write" in home.verify(settings=settings).only("warn")["dataframe"]
    assert list(folder.iterdir()) == []
    (tmp_path / "again").mkdir()
    home, settings, folder = team(tmp_path / "again", "pass", "hasattr(value, 'to_dict')")
    done = home.verify("-q", "-o", "json", settings=settings)
    assert set(done.failed) == {"dataframe", "nothing-left"} and len(list(folder.iterdir())) == 1


@pytest.mark.one_airflow
def test_a_value_that_comes_back_as_another_from_the_row_is_a_failure(tmp_path: Path):
    home, settings, _ = team(tmp_path, "pass", "False")
    source = (home.folder / "plugins" / "team.py").read_text()
    home.module("team", source.replace("return stored", "return int(stored) if stored == '12' else stored"))
    done = home.verify(settings=settings)
    assert set(done.failed) == {"round-trip"} and "would get 12 instead of '12'" in done.failed["round-trip"]


@pytest.mark.one_airflow
def test_a_rule_that_names_another_place_is_a_failure_that_names_what_stays(tmp_path: Path):
    home, settings, folder = team(tmp_path, "pass")
    other = tmp_path / "other"
    other.mkdir()
    (tmp_path / "rules.toml").write_text(RULES.replace("ROOT", f"file://{other}"))
    done = home.verify("--rule", "team", "--rules", str(tmp_path / "rules.toml"), settings=settings)
    (left,) = folder.iterdir()
    assert set(done.failed) == {"round-trip", "nothing-left"}
    assert f"no object at file://{other}/{left.name}" in done.failed["round-trip"]
    assert f"team://{left.name}" in done.failed["nothing-left"]


DELETED = "(FOLDER / xcom.value.removeprefix('team://')).unlink(missing_ok=True)"


@pytest.mark.one_airflow
@pytest.mark.parametrize(
    "name", ["f'{run_id}-{task_id}'", "f'{run_id}-{key}'", "f'{run_id}-{map_index}'"], ids=["task", "key", "map"]
)
def test_xcoms_that_overwrite_each_other_are_a_failure(tmp_path: Path, name: str):
    home, settings, _ = team(tmp_path, DELETED, name=name)
    done = home.verify("-q", "-o", "json", settings=settings)
    assert set(done.failed) == {"round-trip"} and "a name of its own" in done.failed["round-trip"]


def test_a_class_is_given_only_what_airflow_gives_it(tmp_path: Path):
    """On 3.x key and value, on 2.x the columns that a pull selects; and the value alone for mapped tasks."""
    home, settings, _ = team(tmp_path, DELETED)
    source = (home.folder / "plugins" / "team.py").read_text()
    assert home.verify("-q", settings=settings).code == 0
    asked = "key" if IS_2 else "task_id"
    home.module("team", source.replace("stored = BaseX", f"result.{asked}\n        stored = BaseX"))
    done = home.verify("-q", "-o", "json", settings=settings)
    assert "AttributeError" in str(done.failed) and asked in str(done.failed)
    asked = "task_id" if IS_2 else "key"
    home.module("team", source.replace("stored = BaseX", f"result.{asked}\n        stored = BaseX"))
    done = home.verify(settings=settings)
    assert done.code == 0 and "pull from mapped tasks" in done.only("warn")["round-trip"]


@pytest.mark.one_airflow
@pytest.mark.skipif(IS_2, reason="Airflow 2 asks its database for Variables")
def test_a_variable_that_only_the_api_server_knows_is_unknown(tmp_path: Path):
    home, settings, _ = team(tmp_path, DELETED)
    source = (home.folder / "plugins" / "team.py").read_text()
    asking = f"from {VARIABLE} import Variable\n        Variable.get('team_bucket')\n        name = "
    home.module("team", source.replace("name = ", asking, 1))
    done = home.verify(settings=settings)
    assert (done.code, set(done.only("unknown"))) == (0, {"cleanup"}), done.failed
    assert "as a task" in done.only("unknown")["cleanup"]
    assert home.verify("-q", settings={**settings, "AIRFLOW_VAR_TEAM_BUCKET": "b"}).code == 0


NOISE = """
import atexit, os, subprocess, threading, time
os.write(1, b"to the descriptor")
subprocess.run(["echo", "by a program"])
threading.Thread(target=time.sleep, args=(600,)).start()
atexit.register(time.sleep, 600)
"""


@pytest.mark.one_airflow
def test_a_class_that_is_loud_or_never_ends_disturbs_nothing(tmp_path: Path):
    home, settings, _ = team(tmp_path, DELETED)
    home.module("team", NOISE + (home.folder / "plugins" / "team.py").read_text().replace('"""', "#", 2))
    done = home.verify("-q", settings=settings)
    assert (done.code, done.out, done.err) == (0, "", "")
    assert json.loads(home.verify("--fingerprint", settings=settings).out)["class"]["name"] == "team.FileXComBackend"
