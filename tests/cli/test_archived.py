"""`ls --archive` and `get --archive`: what `airflow db clean` and others have put aside."""

from __future__ import annotations

import json
import pickle

import pytest

from tests.cli.conftest import Run, place
from tests.operations.scene import Scene

pytestmark = [pytest.mark.databases("sqlite-3.3"), pytest.mark.stores("file")]

OLDER, NEWER = ("_airflow_deleted__xcom__20260101000000", "_airflow_deleted__xcom__20260202000000")


@pytest.fixture
def cleaned(scene: Scene) -> Scene:
    """Two archives that hold the same XCom, and a third row that Airflow reads."""
    scene.world.push("d", "r", "t", value='{"is": "older"}')
    scene.push("d", key="external")
    scene.world.db_clean(suffix="20260101000000")
    scene.world.push("d", "r", "t", value='{"is": "newer"}')
    scene.world.db_clean(suffix="20260202000000")
    scene.world.push("d", "r", "t", value='{"is": "live"}')
    return scene


class TestLs:
    def test_each_row_names_its_archive(self, cli: Run, cleaned: Scene):
        found = cli("ls", "--archive", *place(cleaned), "-o", "json").json
        assert [(row["key"], row["state"], row["archive"]) for row in found] == [
            ("external", "external", OLDER),
            ("return_value", "inline", OLDER),
            ("return_value", "inline", NEWER),
        ]
        plain = cli("ls", *place(cleaned), "-o", "json").json
        assert [list(row) for row in plain] == [[name for name in found[0] if name != "archive"]]
        assert list(found[0])[-1] == "archive"

    def test_filters_sorting_and_columns(self, cli: Run, cleaned: Scene):
        words = ("ls", "--archive", "--key", "return_value", "--sort", "-archive", "--columns", "archive")
        assert cli(*words, *place(cleaned)).column == [NEWER, OLDER]
        assert cli(*words, "--limit", "1", *place(cleaned)).column == [NEWER]
        cli("ls", "--columns", "archive", *place(cleaned)).failed(2, "there is no 'archive'")

    def test_objects_are_looked_up(self, cli: Run, cleaned: Scene):
        words = ("ls", "--archive", "--check", "--key", "external", *place(cleaned), "-o", "json")
        (row,) = cli(*words).json
        assert (row["state"], row["object_size_bytes"]) == ("external", 3)
        (url,) = cleaned.urls()
        cleaned.raw.delete(url.removeprefix(f"{cleaned.raw.url}/"))
        assert [row["state"] for row in cli(*words).json] == ["dangling"]
        assert len(cli("ls", "--archive", "--state", "dangling", *place(cleaned), "-o", "json").json) == 1

    @pytest.mark.databases("sqlite-3.4")
    def test_names_that_are_lost_are_null(self, cli: Run, scene: Scene):
        scene.world.push("d", "r", "t", 3, value="1")
        scene.world.db_clean()
        scene.world.delete_run("d", "r")
        (row,) = cli("ls", "--archive", *place(scene), "-o", "json").json
        assert [row[name] for name in ("dag_id", "run_id", "task_id", "map_index", "try_number")] == [None] * 5
        assert row["key"] == "return_value"
        assert cli("ls", "--archive", "--sort", "dag_id", *place(scene)).code == 0

    @pytest.mark.databases("sqlite-3.3-upgraded")
    def test_pickles_are_listed(self, cli: Run, scene: Scene):
        scene.world.archive_pickle("d", "r", "t", pickle.dumps({"a": 1}))
        (row,) = cli("ls", "--archive", *place(scene), "-o", "json").json
        assert (row["state"], row["archive"]) == ("pickled", "_xcom_archive")


class TestGet:
    def test_the_newest_archive_is_taken_and_the_others_are_named(self, cli: Run, cleaned: Scene):
        done = cli("get", "d", "r", "t", "--archive", *place(cleaned), "-o", "json")
        assert (done.code, done.json) == (0, {"is": "newer"})
        assert f"from the archive {NEWER}; also in {OLDER}, which --archive-table names" in done.err
        assert cli("get", "d", "r", "t", *place(cleaned), "-o", "json").json == {"is": "live"}

    def test_any_archive_can_be_named(self, cli: Run, cleaned: Scene):
        done = cli("get", "d", "r", "t", "--archive-table", OLDER, *place(cleaned), "-o", "json")
        assert done.json == {"is": "older"} and "also in" not in done.err
        cli("get", "d", "r", "t", "--archive-table", "x", *place(cleaned)).failed(4, "there is no archive x", OLDER)

    def test_an_object_is_fetched(self, cli: Run, cleaned: Scene):
        words = ("get", "d", "latest", "t", "--key", "external", "--archive", *place(cleaned))
        assert cli(*words, "-o", "json").json == [1]
        (url,) = cleaned.urls()
        explained = {step["step"]: step["finding"] for step in cli(*words, "--explain", "-o", "json").json}
        assert explained["reference"] == url and explained["Airflow"] == f"does not read {OLDER}"
        cleaned.raw.delete(url.removeprefix(f"{cleaned.raw.url}/"))
        assert cli(*words).code == 4

    def test_none_is_4(self, cli: Run, cleaned: Scene):
        cli("get", "d", "r", "u", "--archive", *place(cleaned)).failed(
            4, "no archive holds the XCom d r u", "ls --archive"
        )

    @pytest.mark.databases("sqlite-3.3-upgraded")
    def test_a_pickle_is_described_and_never_loaded(self, cli: Run, scene: Scene, tmp_path):
        trap = tmp_path / "sprung"
        scene.world.archive_pickle("d", "r", "t", _trap(str(trap)))
        done = cli("get", "d", "r", "t", "--archive", *place(scene))
        assert done.code == 1 and "is pickled" in done.err and not trap.exists()
        assert cli("get", "d", "r", "t", "--archive", "--raw", *place(scene)).out == _trap(str(trap))

    @pytest.mark.databases("sqlite-3.4")
    def test_every_attempt(self, cli: Run, scene: Scene):
        scene.world.push("d", "r", "t", value="1")
        scene.world.retry("d", "r", "t")
        scene.world.push("d", "r", "t", value="2")
        scene.world.db_clean()
        found = cli("get", "d", "r", "t", "--archive", "--all-attempts", *place(scene), "-o", "json").json
        assert sorted(each["value"] for each in found) == [1, 2]


class Trap:
    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self):
        return open, (self.path, "w")


def _trap(path: str) -> bytes:
    return pickle.dumps(Trap(path))


def test_a_value_from_rm(cli: Run, scene: Scene):
    """There and back: what `rm --archive` puts aside, `get --archive` opens."""
    scene.world.push("d", "r", "t", value=json.dumps({"kept": True}))
    assert cli("rm", "--dag-id", "d", "--archive", "-y", "-q", *place(scene)).code == 0
    assert cli("get", "d", "r", "t", "--archive", *place(scene), "-o", "json").json == {"kept": True}
