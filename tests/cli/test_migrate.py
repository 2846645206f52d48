"""`xcomctl migrate` as people and cron meet it."""

from __future__ import annotations

import json
import resource
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.cli.conftest import XCOMCTL, Run, place, tree
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


def test_a_time_budget_ends_it_between_batches(cli: Run, full: Scene, monkeypatch: pytest.MonkeyPatch):
    """But one batch is moved, so that a budget that is too small gets on as well."""
    monkeypatch.setattr("xcomctl.operations.migrate.migration.BATCH", 1)
    done = cli(*UNPROVED, "--yes", "--time-budget", "0s", *place(full), "-o", "json")
    assert (done.code, done.json["migrated"], done.json["stopped"]) == (0, 1, "time-budget")


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


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--to", "nowhere"), "Invalid value for '--to'"),
        (("--relocate", "data.csv"), "is no URL of a bucket or folder"),
        (("--rule", "mine"), "there is no 'mine'"),
        (("--rule", "s3", "--rules", "/no/such/file"), "cannot read the rules"),
        (("--rule", "s3-flat"), "does not tell where the objects are"),
        (("--rules", "/no/such/file"), "--rule says which"),
        (("--relocate", "s3://key:hunter2@b/x"), "has a key and a secret"),
        (("--to", "inline", "--relocate", "s3://b/x"), "--to inline goes with neither"),
        (("--to", "inline", "--rule", "s3"), "--to inline goes with neither"),
    ],
)
def test_directions_that_cannot_be_taken(cli: Run, full: Scene, words: tuple[str, ...], says: str):
    before = tree(full.raw.path)
    done = cli("migrate", "--yes", *words, *place(full))
    done.failed(2, says)
    assert "hunter2" not in done.err and tree(full.raw.path) == before


def test_there_and_back(cli: Run, full: Scene):
    cli(*UNPROVED, "--yes", *place(full), "-q")
    done = cli("migrate", "--to", "inline", "--dag-id", "d", "--run-id", "r *", "--yes", *place(full), "-o", "json")
    report = done.json
    assert (done.code, report["selected"], report["migrated"], report["migrated_bytes"]) == (0, 3, 3, 3 * len(LARGE))
    assert states(full) == [State.EXTERNAL] + [State.INLINE] * 5
    assert "VACUUM" not in done.err


def test_a_dry_run_says_where_to(cli: Run, full: Scene):
    dry = ("--dry-run", *place(full))
    assert "1 value back into its row" in cli("migrate", "--to", "inline", *dry).err
    assert f"0 values to {full.base.text}" in cli("migrate", "--relocate", "s3://b/x", *dry, "--allow", "backend").err


def test_the_report_says_what_the_disk_gets_back(cli: Run, full: Scene):
    done = cli(*UNPROVED, "--yes", *place(full), "-o", "json")
    reclaimable = done.json["reclaimable_bytes"]
    assert 3 * (len(LARGE) - 300) < reclaimable < 3 * len(LARGE)
    assert "of its disk back after VACUUM, and not before" in done.err


def test_relocated_and_adopted(cli: Run, full: Scene, tmp_path: Path):
    name = "d/r/t/0d760203-28d1-4226-81c7-7786b50e4773"
    full.raw.put(f"old/{name}", b"[1]")
    full.raw.put("mine/d_0d760203-28d1-4226-81c7-7786b50e4774", b"[2]")
    full.world.push("d", "r", "t", key="old", value=json.dumps(f"{full.raw.url}/old/{name}"))
    full.world.push("d", "r", "t", key="mine", value='"mine://d/0d760203-28d1-4226-81c7-7786b50e4774"')
    rules = tmp_path / "rules.toml"
    text = (
        f'[a]\nreference = "mine://{{dag_id}}/{{uuid}}"\nroot = "{full.raw.url}/mine"\nobject = "{{dag_id}}_{{uuid}}"'
    )
    rules.write_text(text)
    words = ("migrate", "--yes", "--allow", "backend", "--key", "old", "--key", "mine", *place(full), "-o", "json")
    assert cli(*words, "--relocate", f"{full.raw.url}/old").json["migrated"] == 1
    assert cli(*words, "--rule", "a", "--rules", str(rules)).json["migrated"] == 1
    for key, value in (("old", "[1]"), ("mine", "[2]")):
        got = cli("get", "d", "r", "t", "--key", key, *place(full), "-o", "json")
        assert (got.code, got.json) == (0, json.loads(value))
    history = cli("gc", "--history", *place(full), "-o", "json").json
    assert [line["migrated"] for line in history] == [1, 1]


def test_a_value_that_is_no_json_is_named(cli: Run, full: Scene):
    url = full.put("d/r/t/0d760203-28d1-4226-81c7-7786b50e4773", b"a,b")
    full.world.push("d", "r", "t", key="csv", value=json.dumps(url))
    done = cli("migrate", "--to", "inline", "--key", "csv", "--yes", *place(full), "-o", "json")
    (failure,) = done.json["failures"]
    assert (done.code, done.json["status"], failure["code"], failure["key"]) == (3, "partial", "not_json", "csv")


def test_a_report_that_cannot_be_written_is_partial(full: Scene, bare: Mapping[str, str]):
    with Path("/dev/full").open("wb") as nowhere:
        words = [*XCOMCTL, *UNPROVED, "--yes", *place(full), "-o", "json"]
        done = subprocess.run(words, env=bare, stdout=nowhere, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 3 and "the report could not be written" in done.stderr
    assert states(full).count(State.EXTERNAL) == 4


@pytest.mark.databases("postgresql-3.3")
def test_a_store_that_takes_no_more_half_way(full: Scene, bare: Mapping[str, str]):
    """The kernel refuses the large file, and lets the small ones through."""
    full.world.push("d", "r 1", "t", key="huge", value=json.dumps("x" * 2_000_000))
    words = [*XCOMCTL, *UNPROVED, "--yes", *place(full), "-o", "json"]

    def limited() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))

    done = subprocess.run(words, env=bare, preexec_fn=limited, capture_output=True, text=True, check=False)
    report = json.loads(done.stdout)
    (failure,) = report["failures"]
    assert (done.returncode, report["migrated"], report["failed"]) == (3, 3, 1)
    assert (failure["code"], failure["key"]) == ("write_failed", "huge") and "File too large" in failure["message"]
    assert not [url for url in full.urls() if url.endswith(".part")]
    again = subprocess.run(words, env=bare, capture_output=True, text=True, check=False)
    assert (again.returncode, json.loads(again.stdout)["migrated"]) == (0, 1)
