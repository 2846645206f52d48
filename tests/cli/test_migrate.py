"""`xcomctl migrate` as people and cron meet it."""

from __future__ import annotations

import json

import pytest

from tests.cli.conftest import Run, place, tree
from tests.operations.scene import Scene
from xcomctl.model import Filter, State

pytestmark = [pytest.mark.databases("sqlite-3.3"), pytest.mark.stores("file")]

LARGE = json.dumps("long " * 500)
UNPROVED = ("migrate", "--threshold", "1k", "--allow", "backend")


@pytest.fixture
def full(scene: Scene) -> Scene:
    """Three large values, a small one, and a large one of a run that goes on."""
    scene.push("d", "external")
    for number in range(3):
        scene.world.push("d", f"r {number}", "t", value=LARGE)
    scene.world.push("d", "r 0", "t", key="small", value="1")
    scene.world.push("d", "running", "t", value=LARGE)
    scene.world.run("d", "running", state="running")
    return scene


def states(scene: Scene) -> list[State]:
    return sorted(xcom.state for xcom in scene.catalog.rows(Filter()))


def test_the_report(cli: Run, full: Scene):
    done = cli(*UNPROVED, "--yes", *place(full), "-o", "json")
    report = done.json
    assert (done.code, report["command"], report["status"], report["dry_run"]) == (0, "migrate", "success", False)
    counts = ("selected", "movable", "migrated", "skipped", "failed")
    assert [report[name] for name in counts] == [4, 3, 3, 1, 0]
    assert report["migrated_bytes"] == 3 * len(LARGE)
    assert (report["skipped_by_reason"], report["failures"], report["refusals"]) == ({"run_unfinished": 1}, [], [])
    assert "VACUUM" in done.err
    assert states(full) == [State.EXTERNAL] * 4 + [State.INLINE] * 2
    assert report["operation_id"] in cli("gc", "--history", *place(full)).text


def test_a_dry_run_writes_nothing_and_tells_all(cli: Run, full: Scene):
    before = tree(full.raw.path)
    done = cli(*UNPROVED, "-n", *place(full), "-o", "json")
    assert (done.code, done.json["movable"], done.json["migrated"]) == (0, 3, 0)
    assert "dry run: a run now would move 3 values" in done.err
    assert tree(full.raw.path) == before and states(full).count(State.EXTERNAL) == 1


def test_filters_choose_rows(cli: Run, full: Scene):
    done = cli(*UNPROVED, "--yes", "--run-id", "r [01]", *place(full), "-o", "json")
    assert done.json["migrated"] == 2
    assert cli(*UNPROVED, "--yes", "--older-than", "1000w", *place(full), "-o", "json").json["selected"] == 0


def test_it_asks(cli: Run, terminal: Run, full: Scene):
    cli(*UNPROVED, *place(full)).failed(2, "there is no terminal", "--yes")
    before = states(full)
    assert terminal(*UNPROVED, *place(full), typed=b"n\n").code == 1 and states(full) == before
    assert terminal(*UNPROVED, *place(full), typed=b"y\n").code == 0 and states(full) != before


def test_a_time_budget_ends_it_between_batches(cli: Run, full: Scene):
    done = cli(*UNPROVED, "--yes", "--time-budget", "0s", *place(full), "-o", "json")
    assert (done.code, done.json["migrated"], done.json["stopped"]) == (0, 0, "time-budget")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--threshold", "x"), "is not a size"),
        (("--compression", "rar"), "there is no 'rar'"),
        (("--allow", "all"), "there is no 'all'"),
        (("--jobs", "0"), "Invalid value for '--jobs'"),
    ],
)
def test_refused_before_anything_is_read(cli: Run, full: Scene, words: tuple[str, ...], says: str):
    before = tree(full.raw.path)
    cli("migrate", "--yes", "--threshold", "1k", *words, *place(full)).failed(2, says)
    assert tree(full.raw.path) == before


def test_without_a_threshold_it_is_airflows(cli: Run, full: Scene):
    cli("migrate", "--yes", *place(full)).failed(2, "threshold is -1", "--threshold")
    threshold = {"AIRFLOW__COMMON_IO__XCOM_OBJECTSTORAGE_THRESHOLD": "1000"}
    assert cli("migrate", "-n", "--allow", "backend", *place(full), "-o", "json", **threshold).json["movable"] == 3


def test_a_refusal_is_5_and_changes_nothing(cli: Run, full: Scene):
    full.world.sql("UPDATE alembic_version SET version_num = 'abc'")
    before = full.raw.keys("")
    done = cli(*UNPROVED, "--yes", *place(full), "-o", "json")
    assert (done.code, done.json["status"], done.json["migrated"]) == (5, "refused", 0)
    assert [refusal["gate"] for refusal in done.json["refusals"]] == ["unknown-head"]
    assert full.raw.keys("") == before and states(full).count(State.EXTERNAL) == 1
    allowed = cli(*UNPROVED, "--yes", "--allow", "unknown-head", *place(full), "-o", "json")
    assert allowed.json["migrated"] == 3


def test_a_database_that_may_not_be_written(cli: Run, full: Scene):
    full.world.sql("CREATE TRIGGER no BEFORE UPDATE ON xcom BEGIN SELECT RAISE(ABORT, 'not here'); END")
    done = cli(*UNPROVED, "--yes", *place(full), "-o", "json")
    assert (done.code, done.json["status"], done.json["migrated"], done.json["failed"]) == (12, "error", 0, 3)
    assert {failure["code"] for failure in done.json["failures"]} == {"swap_failed"}
    assert all("not here" in failure["message"] for failure in done.json["failures"])
