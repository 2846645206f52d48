"""xcomctl on a laptop: a process without Airflow, its configuration and its connections."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from tests.cli.conftest import Run, place, runner
from tests.cli.showcase import FORMATS
from tests.lab import s3
from tests.lab.database import Databases
from tests.lab.gcs import Bucket, GCSServer
from tests.lab.world import World
from tests.operations.scene import BASE_FOLDER, Scene

PYTHON = Path(__file__).parents[2] / ".servers/bare/bin/python"
AT_ONCE = ("--single-pass", "--max-delete", "100%", "--older-than", "0s", "--unsafe-windows", "--yes", "-o", "json")

pytestmark = [
    pytest.mark.databases("sqlite-3.3"),
    pytest.mark.skipif(not PYTHON.exists(), reason=f"no environment without Airflow at {PYTHON}: `make test` makes it"),
]


@pytest.fixture
def laptop(bare: dict[str, str]) -> Run:
    """Run a command line where Airflow cannot be imported."""
    return runner(bare, str(PYTHON), "-m", "xcomctl")


def works(run: Run, scene: Scene, *at: str, **environment: str) -> None:
    """List, look, add up, fetch, collect and bring back."""
    url = scene.push("d", "r", key="return_value")
    scene.leak("d", "gone")
    listed = run("ls", *at, "--check", "-o", "json", **environment)
    assert listed.code == 0, listed.err
    assert [(row["state"], row["object_size_bytes"]) for row in listed.json] == [("external", 3)]
    (took,) = run("du", "--threshold", "1k", "--storage", *at, "-o", "json", **environment).json
    assert (took["external"], took["movable"], took["objects"]) == (1, 0, 2)
    assert run("get", "d", "latest", "t", *at, **environment).json == [1]
    assert run("get", "d", "r", "t", "--raw", *at, **environment).out == b"[1]"
    checked = run("fsck", "--deep", *at, "-o", "json", **environment)
    assert (checked.code, checked.json) == (0, []), checked.err
    planned = run("gc", "-n", *at, "-o", "json", **environment)
    assert (planned.code, planned.json["listed"], planned.json["live"]) == (0, 2, 1), planned.err
    collected = run("gc", *AT_ONCE, *at, **environment)
    assert (collected.code, collected.json["deleted"], scene.urls()) == (0, 1, {url}), collected.err
    restored = run("restore", collected.json["operation_id"], "--yes", *at, "-o", "json", **environment)
    assert (restored.code, restored.json["restored"], len(scene.urls())) == (0, 1, 2), restored.err


def test_there_is_no_airflow():
    assert subprocess.run([PYTHON, "-c", "import airflow"], capture_output=True, check=False).returncode == 1


@pytest.mark.stores("file", "ministack")
@pytest.mark.databases("sqlite-3.3", "postgresql-2.11")
def test_with_options(laptop: Run, scene: Scene):
    works(laptop, scene, *place(scene))
    if scene.database.label == "2.11":
        assert laptop("preflight", "--target", "3.3.2", *place(scene)).code == 0


@pytest.mark.stores("ministack")
def test_s3_with_the_credentials_of_the_environment(laptop: Run, scene: Scene):
    assert isinstance(scene.raw, s3.Bucket)
    works(laptop, scene, "--db", scene.database.url, "--base-path", scene.base.text, **ambient(scene.raw.server))


def ambient(server: s3.S3Server) -> dict[str, str]:
    """What AWS's own tools are told by."""
    return {
        "AWS_ENDPOINT_URL": server.endpoint,
        "AWS_ACCESS_KEY_ID": server.key,
        "AWS_SECRET_ACCESS_KEY": server.secret,
        "AWS_DEFAULT_REGION": server.region,
    }


def test_gcs(laptop: Run, databases: Databases):
    with (
        GCSServer("bucket") as server,
        databases.fresh("sqlite-3.3") as database,
        World(database) as world,
        Scene(database, world, Bucket(server, "bucket")) as scene,  # type: ignore[arg-type]
    ):
        works(laptop, scene, *place(scene))
        emulated = ("--db", database.url, "--base-path", scene.base.text, "--storage-option", "token=anon")
        listed = laptop("ls", "--check", *emulated, "-o", "json", STORAGE_EMULATOR_HOST=server.endpoint)
        assert listed.code == 0 and listed.json[0]["object_size_bytes"] == 3


@pytest.mark.stores("file")
def test_the_same_bytes_with_the_oldest_libraries(laptop: Run, cli: Run, scene: Scene):
    for key, value in (("[red]é😀[/red]", '"x"'), ("\u202e\x1b[31m", "1"), ('a\tb,"c"', json.dumps("y" * 3000))):
        scene.world.push("d", "r", "t", key=key, value=value)
    for form in FORMATS:
        asked = ("ls", *place(scene), "-o", form)
        assert laptop(*asked, "--color", "always") == cli(*asked, "--color", "always")


@pytest.mark.stores("ministack")
def test_references_that_name_a_connection(laptop: Run, scene: Scene):
    """They are listed and kept by gc as they are; to read one takes a word on how its bucket is opened."""
    assert isinstance(scene.raw, s3.Bucket)
    plain = scene.leak("d")
    url = plain.replace("s3://", "s3://store@")
    scene.world.push("d", "r", "t", value=json.dumps(url))
    scene.leak("d", "gone")
    at = ("--db", scene.database.url, "--base-path", scene.base.text)
    environment = ambient(scene.raw.server)
    (row,) = laptop("ls", *at, "-o", "json", **environment).json
    assert (row["state"], row["reference"]) == ("foreign", url)
    refused = laptop("gc", *AT_ONCE, *at, **environment)
    assert (refused.code, [each["gate"] for each in refused.json["refusals"]]) == (5, ["two-spellings"])
    assert laptop("gc", *AT_ONCE, *at, "--allow", "two-spellings", **environment).json["deleted"] == 1
    assert scene.urls() == {plain}
    get = ("get", "d", "r", "t", *at)
    laptop(*get, **environment).failed(10, "the connection store is Airflow's", "--storage-option anon=false")
    assert laptop(*get, "--storage-option", "anon=false", **environment).json == [1]


@pytest.mark.stores("file")
def test_what_is_missing_is_said(laptop: Run, scene: Scene):
    """Nothing is guessed: without Airflow only what is said counts."""
    database = ("--db", scene.database.url)
    laptop("ls").failed(10, "Airflow is not installed here", "--db")
    laptop("gc", "-n", *database).failed(10, "", "--base-path")
    base = ("--base-path", f"s3://store@bucket/{BASE_FOLDER}")
    laptop("gc", "-n", *database, *base).failed(10, "Airflow is not installed here", "without store@")
    gcs = ("--base-path", f"gs://store@bucket/{BASE_FOLDER}")
    laptop("gc", "-n", *database, *gcs).failed(10, "the connection store is Airflow's", "token=google_default")
    scene.world.push("d", "r", "t", value="1")
    assert laptop("get", "d", "r", "t", *database).json == 1
    assert laptop("ls", *database, "-o", "json").json[0]["state"] == "inline"
    migrated = laptop("migrate", "--threshold", "0", "--yes", *place(scene))
    assert migrated.code in (5, 10) and "Airflow" in migrated.err, migrated.err
    assert laptop("rm", "--dag-id", "d", "--yes", *place(scene), "-o", "json").json["removed"] == 1
