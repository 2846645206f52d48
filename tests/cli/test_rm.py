"""`xcomctl rm` as people and cron meet it."""

from __future__ import annotations

import signal

import pytest

from tests.cli.conftest import Run, place, tree
from tests.lab.world import Push
from tests.operations.scene import Scene
from xcomctl.model import Filter
from xcomctl.operations.gc import CONFIRM_AFTER

pytestmark = [pytest.mark.databases("sqlite-3.3"), pytest.mark.stores("file")]

ALL = ("rm", "--dag-id", "*")
GC = ("gc", "--yes", "--older-than", "0s", "--confirm-after", "0s", "--unsafe-windows", "--max-delete", "100%")


@pytest.fixture
def full(scene: Scene) -> Scene:
    """Two external values, an old and a young one, three inline ones, and one of a run that goes on."""
    scene.age(scene.push("d", "r 0", key="old"), 30)
    scene.push("d", "r 0", key="young")
    for number in range(3):
        scene.world.push("d", f"r {number}", "t", value='"12345678"')
    scene.world.push("d", "running", "t", value="1")
    scene.world.run("d", "running", state="running")
    return scene


def keys(scene: Scene) -> list[str]:
    return sorted(f"{xcom.run_id} {xcom.key}" for xcom in scene.catalog.rows(Filter()))


def test_the_report(cli: Run, full: Scene):
    done = cli(*ALL, "--yes", *place(full), "-o", "json")
    report = done.json
    assert (done.code, report["command"], report["status"], report["dry_run"]) == (0, "rm", "success", False)
    counts = ("selected", "removable", "removed", "skipped", "failed", "marked", "unmarked")
    assert [report[name] for name in counts] == [6, 5, 5, 1, 0, 1, 1]
    assert all(isinstance(report[f"{name}_bytes"], int) for name in counts)
    assert (report["skipped_by_reason"], report["unmarked_by_reason"]) == ({"run_unfinished": 1}, {"young": 1})
    assert (report["failures"], report["refusals"], report["archives"], report["stopped"]) == ([], [], [], None)
    (due,) = report["due"]
    assert (due["objects"], due["bytes"]) == (1, 3) and f"deletable from {due['at'][:19]}" in done.err
    assert keys(full) == ["running return_value"] and len(full.urls()) == 2
    (line,) = cli("gc", "--history", *place(full), "-o", "json").json
    assert (line["operation_id"], line["command"], line["status"]) == (report["operation_id"], "rm", "success")


def test_one_later_gc_deletes_what_was_marked(cli: Run, full: Scene):
    """And only what was marked: the other object is seen for the first time."""
    assert cli(*ALL, "--yes", "-q", *place(full)).code == 0
    assert cli("gc", "--yes", *place(full), "-o", "json", "--allow", "empty-roots").json["deleted"] == 0
    full.push("d", "kept")
    report = cli(*GC, *place(full), "-o", "json").json
    assert (report["deleted"], report["marked"], len(full.urls())) == (1, 1, 2)


def test_the_due_time_is_gcs_own(cli: Run, full: Scene):
    cli(*ALL, "--yes", "-q", *place(full))
    full.push("d", "kept")
    due = cli("gc", "-n", *place(full), "-o", "json").json["due"]
    assert [each["objects"] for each in due] == [1] and CONFIRM_AFTER.total_seconds() == 20 * 3600


def test_a_dry_run_writes_nothing_and_tells_all(cli: Run, full: Scene):
    before, rows = tree(full.raw.path), keys(full)
    done = cli(*ALL, "-n", *place(full), "-o", "json")
    assert (done.code, done.json["removable"], done.json["removed"]) == (0, 5, 0)
    assert "dry run: a run now would remove 5 rows" in done.err and "of which 2 refer to an object" in done.err
    assert tree(full.raw.path) == before and keys(full) == rows


@pytest.mark.parametrize(
    ("words", "says", "hint"),
    [
        ((), "without a filter", "--dag-id '*'"),
        (("--exclude-dag-id", "x"), "without a filter", "--older-than"),
        (("--exclude-key", "x", "--archive"), "without a filter", "--older-than"),
        (("--state", "dangling"), "dangling", "ls --state dangling"),
        (("--dag-id", "*", "--allow", "all"), "there is no 'all'", "foreign-claim"),
        (("--dag-id", "*", "--allow", "max-delete"), "there is no 'max-delete'", "one of"),
        (("--dag-id", "*", "--time-budget", "soon"), "is not an age", "write"),
        (("--older-than", "x"), "is not an age", "write"),
    ],
)
def test_refused_before_anything_is_read(cli: Run, full: Scene, words: tuple[str, ...], says: str, hint: str):
    before, rows = tree(full.raw.path), keys(full)
    cli("rm", "--yes", *words, *place(full)).failed(2, says, hint)
    cli("rm", "--yes", *words, "--db", "sqlite:////nowhere").failed(2, says, hint)
    assert tree(full.raw.path) == before and keys(full) == rows


def test_filters_choose_rows(cli: Run, full: Scene):
    assert cli("rm", "--run-id", "r [12]", "--yes", *place(full), "-o", "json").json["removed"] == 2
    assert cli("rm", "--older-than", "1000w", "--yes", *place(full), "-o", "json").json["selected"] == 0
    assert cli("rm", "--state", "external", "--yes", *place(full), "-o", "json").json["removed"] == 2
    assert keys(full) == ["r 0 return_value", "running return_value"]


def test_it_asks(cli: Run, terminal: Run, full: Scene):
    cli(*ALL, *place(full)).failed(2, "there is no terminal", "--yes")
    rows = keys(full)
    refused = terminal(*ALL, *place(full), typed=b"n\n")
    assert refused.code == 1 and keys(full) == rows
    assert any("Remove 5 rows" in line for line in refused.lines)
    assert any("1 row" in line and "run_unfinished" in line for line in refused.lines)
    assert terminal(*ALL, *place(full), typed=b"y\n").code == 0 and len(keys(full)) == 1


def test_interrupted_while_it_asks(terminal: Run, full: Scene):
    rows = keys(full)
    assert terminal(*ALL, *place(full), typed=signal.SIGINT).code == 130 and keys(full) == rows
    assert [key for key in full.raw.keys("") if "/lease/" in key] == []


def test_quiet_success_says_nothing(cli: Run, full: Scene):
    done = cli(*ALL, "--yes", "-q", *place(full))
    assert (done.code, done.out, done.err) == (0, b"", "")


def test_archive(cli: Run, full: Scene):
    done = cli(*ALL, "--archive", "--yes", *place(full), "-o", "json")
    (archive,) = done.json["archives"]
    assert (done.json["removed"], done.json["marked"], done.json["unmarked_by_reason"]) == (5, 0, {"archived": 2})
    assert f"moved to {archive}" in done.err and "not marked, archived" in done.err
    assert len(cli("ls", "--archive", *place(full)).column) == 5 and len(full.urls()) == 2


def test_a_time_budget_ends_it_between_batches(cli: Run, full: Scene, monkeypatch: pytest.MonkeyPatch):
    """But one batch goes, so that a budget that is too small gets on as well."""
    monkeypatch.setattr("xcomctl.operations.rm.removal.ROWS_AT_ONCE", 1)
    done = cli(*ALL, "--yes", "--time-budget", "0s", *place(full), "-o", "json")
    assert (done.code, done.json["removed"], done.json["stopped"]) == (0, 1, "time-budget")
    assert "the next run goes on" in done.err


def test_a_refusal_is_5_and_changes_nothing(cli: Run, full: Scene):
    full.world.sql("UPDATE alembic_version SET version_num = 'abc'")
    before, rows = full.raw.keys(""), keys(full)
    for more in ((), ("-n",)):
        done = cli(*ALL, "--yes", *more, *place(full), "-o", "json")
        assert (done.code, done.json["status"], done.json["removed"]) == (5, "refused", 0)
        assert [refusal["gate"] for refusal in done.json["refusals"]] == ["unknown-head"]
        assert full.raw.keys("") == before and keys(full) == rows
    allowed = cli(*ALL, "--yes", "--allow", "unknown-head", *place(full), "-o", "json").json
    assert (allowed["removed"], allowed["unmarked_by_reason"]) == (5, {"left_to_gc": 2})


def test_gc_at_work_is_11(cli: Run, full: Scene):
    from xcomctl.ledger.lease import held, holder

    rows = keys(full)
    with held(full.scope().control, holder("gc's", "gc")):
        cli(*ALL, "--yes", *place(full)).failed(11, "gc gc's", "wait for it")
        cli(*ALL, "-n", *place(full)).failed(11, "gc gc's", "wait for it")
    assert keys(full) == rows


def test_a_database_that_refuses_is_10(cli: Run, full: Scene):
    full.world.sql("CREATE TRIGGER no BEFORE DELETE ON xcom BEGIN SELECT RAISE(ABORT, 'not here'); END")
    rows = keys(full)
    done = cli(*ALL, "--yes", *place(full))
    assert (done.code, done.out) == (10, b"") and "xcomctl: " in done.err and "not here" in done.err
    assert keys(full) == rows


def test_without_a_base_path(cli: Run, full: Scene):
    done = cli(*ALL, "--yes", "--db", full.database.url, "-o", "json")
    assert (done.code, done.json["removed"], done.json["unmarked_by_reason"]) == (0, 5, {"left_to_gc": 2})
    assert "no base path is configured" in done.err


def test_a_store_that_cannot_be_reached_is_12_and_no_row_goes(cli: Run, full: Scene):
    rows = keys(full)
    missing = ("--db", full.database.url, "--base-path", f"{full.raw.url}/not/mounted")
    cli(*ALL, "--yes", *missing).failed(12, "does not exist")
    assert keys(full) == rows


def test_a_table_for_people(cli: Run, terminal: Run, full: Scene):
    shown = terminal(*ALL, "--yes", *place(full))
    assert any(line.split()[:2] == ["removed", "5"] for line in shown.lines), shown.lines


def test_progress_on_a_terminal(terminal: Run, full: Scene):
    full.world.push_many(Push("d", f"r {number % 3}", "many", number, value="1") for number in range(2000))
    shown = terminal(*ALL, "--yes", *place(full))
    assert shown.code == 0 and "rows" in shown.text and "\r" in shown.text


def test_a_filter_of_the_environment_says_too_little(cli: Run, full: Scene):
    """It may be there for gc; beside one on the command line it counts."""
    before = keys(full)
    cli("rm", "--yes", *place(full), XCOMCTL_OLDER_THAN="0s").failed(2, "without a filter", "on the command line")
    assert keys(full) == before
    done = cli(*ALL, "--yes", *place(full), "-o", "json", XCOMCTL_KEY="old")
    assert (done.code, done.json["removed"]) == (0, 1)
