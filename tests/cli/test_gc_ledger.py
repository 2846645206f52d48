"""`xcomctl gc` from one run to the next: marks, undo, questions, and what cron needs of it."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import signal
import subprocess
import time
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from tests.cli.conftest import XCOMCTL, Run, place, tree
from tests.cli.test_gc import age
from tests.lab.database import Databases
from tests.lab.world import World
from tests.operations.scene import BASE_FOLDER, Scene

pytestmark = [pytest.mark.databases("sqlite-3.3"), pytest.mark.stores("file")]

AT_ONCE = ("gc", "--yes", "--confirm-after", "0s", "--unsafe-windows", "--max-delete", "100%", "-o", "json")
"""Two of these in a row delete: the marks are those of real runs, without the time between them."""


@pytest.fixture
def leaky(scene: Scene) -> Scene:
    """Four live objects and one orphan, all 30 days old."""
    for number in range(4):
        scene.push("d", f"run {number}")
    scene.leak("d", "gone")
    age(scene)
    return scene


def orphans(scene: Scene) -> set[str]:
    live = {str(json.loads(str(value))) for (value,) in scene.world.sql("SELECT value FROM xcom")}
    return scene.urls() - live


def contents(scene: Scene) -> dict[str, tuple[object, ...]]:
    """Every file below the base path with its time and bytes."""
    base = scene.raw.path / BASE_FOLDER
    return {name: facts for name, facts in tree(base).items() if Path(name).is_file()}


class TestMarks:
    def test_the_first_run_marks_and_says_when(self, cli: Run, leaky: Scene):
        before = contents(leaky)
        done = cli("gc", "--yes", *place(leaky), "-o", "json")
        report = done.json
        assert (done.code, report["candidates"], report["marked"], report["deletable"]) == (0, 1, 1, 0)
        (due,) = report["due"]
        assert (due["objects"], due["bytes"]) == (1, 3)
        wait = datetime.fromisoformat(due["at"]) - datetime.now(timezone.utc)
        assert timedelta(hours=19.9) < wait < timedelta(hours=20)
        assert re.search(r"^1 object, 3 B: deletable from \S+ on, if still orphans then$", done.err, re.MULTILINE)
        assert contents(leaky) == before

    def test_the_second_deletes_what_is_due(self, cli: Run, leaky: Scene):
        (orphan,) = orphans(leaky)
        assert cli(*AT_ONCE, *place(leaky)).json["deleted"] == 0
        later = leaky.leak("d", "later")
        leaky.age(later, 30)
        done = cli(*AT_ONCE, *place(leaky))
        report = done.json
        assert (report["candidates"], report["deletable"], report["deleted"], report["marked"]) == (2, 1, 1, 1)
        assert "deleted 1 object, 3 B; no bytes are free until the trash is emptied" in done.err
        assert orphans(leaky) == {later} and orphan not in leaky.urls()

    def test_not_before_its_time(self, cli: Run, leaky: Scene):
        cli("gc", "--yes", *place(leaky), "-q")
        report = cli("gc", "--yes", *place(leaky), "--confirm-after", "1h", "-o", "json").json
        assert (report["marked"], report["deletable"]) == (1, 0)
        assert cli("gc", "--yes", *place(leaky), "-o", "json", XCOMCTL_CONFIRM_AFTER="1h").json["due"] == report["due"]

    def test_what_was_revived_in_between_loses_its_mark(self, cli: Run, leaky: Scene):
        (orphan,) = orphans(leaky)
        cli(*AT_ONCE, *place(leaky))
        leaky.world.push("d", "gone", "t", value=json.dumps(orphan))
        report = cli(*AT_ONCE, *place(leaky)).json
        assert (report["revived"], report["deleted"], report["live"]) == (1, 0, 5)
        leaky.world.delete_run("d", "gone")
        assert cli(*AT_ONCE, *place(leaky)).json["deletable"] == 0

    def test_what_was_written_again_in_between_starts_anew(self, cli: Run, leaky: Scene):
        (orphan,) = orphans(leaky)
        cli(*AT_ONCE, *place(leaky))
        leaky.put(orphan.removeprefix(f"{leaky.base.text}/"), b"[1, 2]")
        leaky.age(orphan, 10)
        report = cli(*AT_ONCE, *place(leaky)).json
        assert (report["deletable"], report["marked"]) == (0, 1)

    def test_a_filter_of_one_run_leaves_the_marks_of_others(self, cli: Run, leaky: Scene):
        leaky.world.dag("other")
        cli(*AT_ONCE, *place(leaky))
        assert cli(*AT_ONCE, *place(leaky), "--dag-id", "other").json["excluded"] == 1
        assert cli(*AT_ONCE, *place(leaky)).json["deleted"] == 1

    def test_a_dry_run_knows_the_marks_and_leaves_them(self, cli: Run, leaky: Scene):
        cli(*AT_ONCE, *place(leaky))
        before = tree(leaky.raw.path)
        planned = cli(*AT_ONCE, *place(leaky), "--dry-run").json
        assert (planned["deletable"], planned["deleted"]) == (1, 0)
        assert tree(leaky.raw.path) == before

    def test_marks_that_cannot_be_read_count_for_nothing(self, cli: Run, leaky: Scene):
        cli(*AT_ONCE, *place(leaky))
        (marks,) = leaky.raw.path.rglob("marks/*")
        marks.write_bytes(marks.read_bytes()[:-9])
        report = cli(*AT_ONCE, *place(leaky)).json
        assert (report["deletable"], report["marked"]) == (0, 1)
        assert cli(*AT_ONCE, *place(leaky)).json["deleted"] == 1

    @pytest.mark.parametrize("wait", ["59m", "0s"])
    def test_the_floor(self, cli: Run, leaky: Scene, wait: str):
        cli("gc", "-n", *place(leaky), "--confirm-after", wait).failed(2, f"--confirm-after {wait} is below the floor")


class TestControl:
    def test_beside_the_base_path_by_default(self, cli: Run, leaky: Scene):
        cli(*AT_ONCE, *place(leaky))
        (control,) = (leaky.raw.path / "pre/_xcomctl").iterdir()
        assert {each.name for each in control.iterdir()} == {"claim.json", "marks", "audit"}

    def test_elsewhere_by_name(self, cli: Run, leaky: Scene):
        named = f"{leaky.raw.url}/state"
        for _ in range(2):
            report = cli(*AT_ONCE, *place(leaky), "--control", named).json
        assert report["deleted"] == 1
        assert [each.name for each in leaky.raw.path.rglob("pre/_xcomctl/*/*")] == ["elsewhere.json"]
        assert (leaky.raw.path / "state/claim.json").exists()
        assert cli("gc", "--history", *place(leaky), XCOMCTL_CONTROL=named).text.count("\tsuccess\t") == 2

    @pytest.mark.parametrize(
        ("named", "says"),
        [
            ("{base}/state", "lies inside the base path"),
            ("{base}", "lies inside the base path"),
            ("s3://elsewhere/state", "is in another store"),
            ("state", "is not the URL of a folder"),
        ],
    )
    def test_where_it_cannot_be(self, cli: Run, leaky: Scene, named: str, says: str):
        before = tree(leaky.raw.path)
        cli("gc", "--yes", *place(leaky), "--control", named.format(base=leaky.base.text)).failed(2, says)
        assert tree(leaky.raw.path) == before

    def test_nobody_has_to_name_it_twice(self, cli: Run, leaky: Scene):
        """A run without `--control` goes on where the one with it has stopped, and so does whoever asks."""
        (orphan,) = orphans(leaky)
        named = ("--control", f"{leaky.raw.url}/elsewhere")
        for _ in range(2):
            report = cli(*AT_ONCE, *place(leaky), *named).json
        assert report["deleted"] == 1
        assert report["operation_id"] in cli("gc", "--history", *place(leaky)).text
        assert "removed by" in cli("gc", "--explain", orphan, *place(leaky)).text
        assert cli("restore", str(report["operation_id"]), *place(leaky), "--yes", "-o", "json").json["restored"] == 1

    def test_what_lies_elsewhere_is_not_left_behind(self, cli: Run, leaky: Scene):
        """Another folder has no marks, no claim and no trash: to begin there takes a word."""
        cli(*AT_ONCE, *place(leaky))
        other = ("--control", f"{leaky.raw.url}/elsewhere")
        refused = cli(*AT_ONCE, *place(leaky), *other)
        assert (refused.code, refused.json["refusals"][0]["gate"]) == (5, "foreign-claim")
        assert "_xcomctl/" in refused.json["refusals"][0]["message"]
        assert cli(*AT_ONCE, *place(leaky), *other, "--allow", "foreign-claim").code == 0
        assert cli(*AT_ONCE, *place(leaky)).json["deleted"] == 1, "its mark is in the new folder"
        third = ("--control", f"{leaky.raw.url}/third")
        assert cli(*AT_ONCE, *place(leaky), *third).code == 5

    @pytest.mark.parametrize("said", ["{", "[]", '{"control": 1}', '{"control": "x"}'])
    def test_a_word_that_cannot_be_read_is_an_error(self, cli: Run, leaky: Scene, said: str):
        cli(*AT_ONCE, *place(leaky), "--control", f"{leaky.raw.url}/elsewhere")
        (pointer,) = leaky.raw.path.rglob("elsewhere.json")
        pointer.write_text(said)
        done = cli(*AT_ONCE, *place(leaky))
        assert done.code == 12 and "elsewhere.json cannot be read" in done.err

    def test_one_that_cannot_be_listed_is_no_empty_history(self, cli: Run, leaky: Scene):
        cli(*AT_ONCE, *place(leaky))
        (audit,) = leaky.raw.path.rglob("audit")
        shutil.rmtree(audit)
        audit.write_bytes(b"a file where a folder should be")
        done = cli("gc", "--history", *place(leaky))
        assert done.code == 12 and "is not a folder" in done.err

    def test_one_that_cannot_be_written_is_12(self, cli: Run, leaky: Scene):
        (leaky.raw.path / "file").write_text("in the way")
        before = contents(leaky)
        named = f"{leaky.raw.url}/file/state"
        cli("gc", "--yes", *place(leaky), "--control", named).failed(12, "gc cannot keep its state", "--control")
        assert contents(leaky) == before


class TestRestore:
    def collected(self, cli: Run, scene: Scene) -> str:
        cli(*AT_ONCE, *place(scene))
        report = cli(*AT_ONCE, *place(scene)).json
        assert report["deleted"] and report["way_back"] == "rename"
        return str(report["operation_id"])

    def test_the_world_is_as_before(self, cli: Run, leaky: Scene):
        for name in ("[a*]?#", "x y+%20", "ünïcödé 😀", "a/b/c"):
            leaky.age(leaky.leak("d", name), 30)
        before = contents(leaky)
        operation = self.collected(cli, leaky)
        assert contents(leaky) != before
        done = cli("restore", operation, "--base-path", leaky.base.text, "--yes", "-o", "json")
        report = done.json
        assert (done.code, report["command"], report["status"], report["restored"]) == (0, "restore", "success", 5)
        assert report["restored_operation_id"] == operation != report["operation_id"]
        assert contents(leaky) == before
        assert cli("restore", operation, *place(leaky), "--yes", "-o", "json").json["selected"] == 0

    def test_what_came_back_is_not_taken_at_once_again(self, cli: Run, leaky: Scene):
        operation = self.collected(cli, leaky)
        assert cli("restore", operation, *place(leaky), "-y", "-q").code == 0
        report = cli(*AT_ONCE, *place(leaky)).json
        assert (report["deletable"], report["marked"]) == (0, 1)

    def test_it_never_overwrites(self, cli: Run, leaky: Scene):
        (orphan,) = orphans(leaky)
        operation = self.collected(cli, leaky)
        leaky.put(orphan.removeprefix(f"{leaky.base.text}/"), b'"new"')
        before = contents(leaky)
        report = cli("restore", operation, *place(leaky), "--yes", "-o", "json").json
        assert (report["restored"], report["occupied"], report["status"]) == (0, 1, "partial")
        assert [failure["code"] for failure in report["failures"]] == ["restore_occupied"]
        assert contents(leaky) == before

    def test_a_dry_run_knows_which_places_are_taken(self, cli: Run, leaky: Scene):
        (orphan,) = orphans(leaky)
        operation = self.collected(cli, leaky)
        leaky.put(orphan.removeprefix(f"{leaky.base.text}/"), b'"new"')
        done = cli("restore", operation, *place(leaky), "-n", "-o", "json")
        assert (done.code, done.json["occupied"]) == (3, 1)
        assert "0 objects would be brought back" in done.err and "left alone" in done.err

    def test_a_dry_run_changes_nothing(self, cli: Run, leaky: Scene):
        operation = self.collected(cli, leaky)
        before = tree(leaky.raw.path)
        done = cli("restore", operation, *place(leaky), "-n", "-o", "json")
        assert (done.json["selected"], done.json["dry_run"], done.json["restored"]) == (1, True, 0)
        assert tree(leaky.raw.path) == before

    def test_what_the_trash_has_lost_is_named(self, cli: Run, leaky: Scene):
        operation = self.collected(cli, leaky)
        (kept,) = (each for each in leaky.raw.path.rglob("trash/*/*/*") if each.is_file())
        kept.unlink()
        done = cli("restore", operation, *place(leaky), "--yes", "-o", "json")
        assert (done.code, done.json["missing"], done.json["status"]) == (12, 1, "error")
        assert done.json["failures"][0]["code"] == "restore_missing"

    def test_an_operation_that_is_none(self, cli: Run, leaky: Scene):
        for unknown in ("nothing", "20261120T000000Z-00000000", "../x", ""):
            cli("restore", unknown, *place(leaky), "--yes").failed(4, "there is no operation", "--history")

    def test_it_asks(self, cli: Run, terminal: Run, leaky: Scene):
        operation = self.collected(cli, leaky)
        cli("restore", operation, *place(leaky)).failed(2, "restore asks before it writes", "--yes")
        no = terminal("restore", operation, *place(leaky), typed=b"n\n")
        assert no.code == 1 and "Bring back 1 object" in no.text and len(leaky.urls()) == 4
        assert terminal("restore", operation, *place(leaky), typed=b"y\n").code == 0
        assert len(leaky.urls()) == 5

    def test_a_removed_object_that_is_referred_to_again_heals(self, cli: Run, leaky: Scene):
        (orphan,) = orphans(leaky)
        self.collected(cli, leaky)
        leaky.world.push("d", "put back", "t", value=json.dumps(orphan))
        done = cli("gc", "--yes", *place(leaky), "-o", "json")
        assert (done.code, done.json["healed"], done.json["healed_bytes"]) == (0, 1, 3)
        assert orphan in leaky.urls()
        assert cli("gc", "--yes", *place(leaky), "-o", "json").json["healed"] == 0

    def test_what_a_run_removed_heals_though_its_record_is_lost(self, cli: Run, leaky: Scene):
        (orphan,) = orphans(leaky)
        cli(*AT_ONCE, *place(leaky))
        operation = cli(*AT_ONCE, *place(leaky)).json["operation_id"]
        (record,) = leaky.raw.path.rglob(f"{operation}/run.json")
        record.write_text(record.read_text()[:40])
        leaky.world.push("d", "again", "t", value=json.dumps(orphan))
        assert (operation, "unknown") in {
            (run["operation_id"], run["status"]) for run in cli("gc", "--history", *place(leaky), "-o", "json").json
        }
        assert cli(*AT_ONCE, *place(leaky)).json["healed"] == 1
        assert orphan in leaky.urls()

    def test_the_trash_is_emptied_in_time(self, cli: Run, leaky: Scene):
        operation = self.collected(cli, leaky)
        keep = ("--keep-trash", "1d")
        assert cli("gc", "--yes", *place(leaky), *keep, "-o", "json").json["freed"] == 0
        run = next(leaky.raw.path.rglob(f"audit/{operation}/run.json"))
        old = (datetime.now(timezone.utc) - timedelta(days=2)).isoformat()
        run.write_text(re.sub(r'("started_at": ")[^"]+', rf"\g<1>{old}", run.read_text()))
        assert cli("gc", "--yes", *place(leaky), "-o", "json").json["freed"] == 0
        report = cli("gc", "--yes", *place(leaky), *keep, "-o", "json").json
        assert (report["freed"], report["freed_bytes"]) == (1, 3)
        assert not [each for each in leaky.raw.path.rglob("trash/**/*") if each.is_file()]
        assert cli("gc", "--yes", *place(leaky), *keep, "-o", "json").json["freed"] == 0
        cli("restore", operation, *place(leaky), "--yes", "-q")
        assert len(leaky.urls()) == 4


class TestQuestions:
    def test_history(self, cli: Run, leaky: Scene):
        assert cli("gc", "--history", "--base-path", leaky.base.text, "-o", "json").json == []
        first = cli(*AT_ONCE, *place(leaky)).json["operation_id"]
        second = cli(*AT_ONCE, *place(leaky)).json["operation_id"]
        runs = cli("gc", "--history", "--base-path", leaky.base.text, "-o", "json").json
        assert {run["operation_id"]: run["deleted"] for run in runs} == {first: 0, second: 1}
        assert {run["status"] for run in runs} == {"success"} and {run["trash"] for run in runs} == {"empty", "kept"}

    @pytest.mark.parametrize("spelled", ["url", "key", "name"])
    def test_explain_a_candidate(self, cli: Run, leaky: Scene, spelled: str):
        (orphan,) = orphans(leaky)
        name = orphan.removeprefix(f"{leaky.base.text}/")
        asked = {"url": orphan, "key": orphan.removeprefix("file://"), "name": name}[spelled]
        before = tree(leaky.raw.path)
        told = self.told(cli, leaky, asked)
        assert told["layout"] == "DAG d, run gone, task t, written once"
        assert told["row"] == "none in any table of any database refers to it"
        assert (told["DAG"], told["cause"]) == ("known", "run-deleted")
        assert told["age"].startswith("30d") and told["age"].endswith(", older than 3d")
        assert told["mark"].startswith("none") and told["verdict"].startswith("candidate: the next run marks it")
        assert tree(leaky.raw.path) == before
        cli(*AT_ONCE, *place(leaky))
        told = self.told(cli, leaky, asked)
        assert told["mark"].startswith("an orphan since") and "deletable from" in told["verdict"]
        cli(*AT_ONCE, *place(leaky))
        told = self.told(cli, leaky, asked)
        assert "is not there" in told["object"] and "run-deleted, way back: rename" in told["history"]

    def test_explain_what_is_kept(self, cli: Run, leaky: Scene):
        live = leaky.push("d", "run 9", key="why not")
        told = self.told(cli, leaky, live)
        assert told["row"].endswith("xcom d run 9 t why not") and told["verdict"].startswith("live: ")
        assert self.told(cli, leaky, leaky.leak("d"))["verdict"].startswith("young: ")
        foreign = leaky.leak("unheard of")
        leaky.age(foreign, 30)
        assert self.told(cli, leaky, foreign)["verdict"].startswith("held: ")
        assert self.told(cli, leaky, leaky.put("d/readme.txt"))["verdict"] == "unknown: never deleted"
        cli("gc", "--explain", "nothing/like/it", *place(leaky)).failed(4, "there is no object")

    def told(self, cli: Run, scene: Scene, asked: str) -> dict[str, str]:
        done = cli("gc", "--explain", asked, *place(scene), "-o", "json")
        assert done.code == 0, done.err
        return {step["about"]: step["found"] for step in done.json}


@pytest.mark.databases("sqlite-3.3", "sqlite-2.11", "sqlite-3.4")
def test_every_candidate_has_a_cause(cli: Run, scene: Scene):
    scene.push("d", "kept")
    scene.leak("d", "deleted")
    scene.push("d", "again")
    scene.push("d", "again")
    scene.push("d", "row gone")
    scene.world.delete_xcom("d", "row gone", "t", -1, "k")
    scene.world.task("d", "broken", "t", state="failed")
    scene.leak("d", "broken")
    scene.leak("d", "kept", "no such task")
    scene.leak("no such DAG")
    scene.push("d", "archived", key="old")
    scene.world.sql(
        "UPDATE xcom SET timestamp = '2020-01-01' WHERE key = 'old'"
    ) if scene.database.label != "3.4" else None
    age(scene)
    report = cli("gc", "-n", *place(scene), "--include-unknown-dag", "*", "-o", "json").json
    causes = {each["cause"]: each["objects"] for each in report["causes"]}
    assert causes == {
        "run-deleted": 1,
        "overwritten": 1,
        "row-deleted": 1,
        "never-committed": 1,
        "task-deleted": 1,
        "dag-deleted": 1,
    }
    (d, none) = report["dags"]
    assert (d["dag_id"], d["objects"], d["bytes"]) == ("d", 5, 15) and none["dag_id"] == "no such DAG"
    assert datetime.fromisoformat(d["oldest"]) < datetime.now(timezone.utc) - timedelta(days=29)


def test_an_archive_is_a_cause_when_it_is_ignored(cli: Run, scene: Scene):
    archived = scene.push("d")
    scene.world.db_clean()
    scene.push("d", "later")
    age(scene)
    assert archived
    report = cli("gc", "-n", *place(scene), "--ignore-archives", "--max-delete", "2", "-o", "json").json
    assert [each["cause"] for each in report["causes"]] == ["db-clean"]


class TestCron:
    def test_the_metrics(self, cli: Run, leaky: Scene, tmp_path: Path):
        file = tmp_path / "xcomctl.prom"
        asked = (*AT_ONCE, *place(leaky), "--metrics-file", str(file))
        cli(*asked)
        cli(*asked)
        text = file.read_text()
        assert text.endswith("# EOF\n")
        samples = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
        assert float(samples['xcomctl_gc_objects{what="deleted"}']) == 1
        assert float(samples['xcomctl_gc_bytes{what="listed"}']) == 15
        assert float(samples["xcomctl_gc_exit_code"]) == 0
        success = float(samples["xcomctl_gc_last_success_timestamp_seconds"])
        assert abs(success - time.time()) < 60
        refused = cli(
            "gc",
            "--yes",
            "--max-delete",
            "0",
            "--allow",
            "max-delete",
            *place(leaky),
            "--db",
            "sqlite:////none",
            "--metrics-file",
            str(file),
        )
        assert refused.code == 10
        samples = dict(line.rsplit(" ", 1) for line in file.read_text().splitlines() if not line.startswith("#"))
        assert float(samples["xcomctl_gc_exit_code"]) == 10
        assert float(samples["xcomctl_gc_last_success_timestamp_seconds"]) == success
        assert list(tmp_path.glob("*.part")) == []

    def test_a_refusal_is_in_the_metrics(self, cli: Run, leaky: Scene, tmp_path: Path):
        file = tmp_path / "m.prom"
        cli("gc", "--single-pass", "--yes", "--max-delete", "0", *place(leaky), "--metrics-file", str(file))
        assert 'xcomctl_gc_refused{gate="max-delete"} 1\n' in file.read_text()

    def test_a_time_budget_stops_between_batches_and_the_next_run_goes_on(self, cli: Run, leaky: Scene, monkeypatch):
        monkeypatch.setattr("xcomctl.operations.gc.batches.BATCH", 2)
        for number in range(4):
            leaky.age(leaky.leak("d", f"gone {number}"), 30)
        asked = (*AT_ONCE, *place(leaky), "--time-budget", "0s")
        cli(*asked)
        done = cli(*asked)
        assert (done.code, done.json["stopped"], done.json["deletable"], done.json["deleted"]) == (
            0,
            "time-budget",
            5,
            2,
        )
        assert "the next run goes on" in done.err
        assert cli(*asked).json["deleted"] == 2
        done = cli(*asked)
        assert (done.json["deleted"], done.json["stopped"]) == (1, None)

    def test_several_databases_must_go_on_being_given(self, cli: Run, leaky: Scene, databases: Databases):
        with databases.fresh("sqlite-2.11") as database, World(database) as world:
            Scene(database, world, leaky.raw).push("d", "their run")
            cli(*AT_ONCE, *place(leaky), "--db", database.url)
            before = contents(leaky)
            alone = cli(*AT_ONCE, *place(leaky))
            assert (alone.code, [each["gate"] for each in alone.json["refusals"]]) == (5, ["foreign-claim"])
            assert database.url.rpartition("/")[2] in alone.json["refusals"][0]["message"]
            assert contents(leaky) == before
            assert cli(*AT_ONCE, *place(leaky), "--db", database.url).code == 0
            assert cli(*AT_ONCE, *place(leaky), "--allow", "foreign-claim").code == 0


class TestTwoAtOnce:
    def start(self, scene: Scene, bare: dict[str, str], *words: str) -> subprocess.Popen[bytes]:
        command = [*XCOMCTL, *AT_ONCE, *place(scene), *words]
        return subprocess.Popen(
            command, env=bare, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )

    def stopped_at_work(self, scene: Scene, bare: dict[str, str]) -> subprocess.Popen[bytes]:
        """A real gc that is stopped while it holds the lease."""
        started = self.start(scene, bare)
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            if list(scene.raw.path.rglob("lease/*.json")):
                started.send_signal(signal.SIGSTOP)
                if list(scene.raw.path.rglob("lease/*.json")):
                    return started
                started.send_signal(signal.SIGCONT)
            if started.poll() is not None:
                started = self.start(scene, bare)
        raise AssertionError("it was never seen at work")

    def test_the_second_is_told_who_is_at_work(self, cli: Run, leaky: Scene, bare: dict[str, str]):
        started = self.stopped_at_work(leaky, bare)
        before = contents(leaky)
        try:
            cli("gc", "--yes", *place(leaky)).failed(11, "is at work here", "minutes after its last sign of life")
            assert cli(*AT_ONCE, *place(leaky), "--dry-run").code == 11
            cli("restore", "x", *place(leaky), "--dry-run").failed(4, "there is no operation")
            assert contents(leaky) == before
        finally:
            started.send_signal(signal.SIGCONT)
        out, err = started.communicate(timeout=60)
        assert started.returncode == 0, err
        assert json.loads(out)["status"] == "success"
        assert cli(*AT_ONCE, *place(leaky)).code == 0

    def test_one_that_was_killed_stands_in_nobodys_way(self, cli: Run, leaky: Scene, bare: dict[str, str]):
        started = self.stopped_at_work(leaky, bare)
        started.kill()
        started.wait()
        assert cli(*AT_ONCE, *place(leaky)).code == 0
        cli(*AT_ONCE, *place(leaky))
        assert len(leaky.urls()) == 4 and not list(leaky.raw.path.rglob("lease/*"))
        assert not (leaky.raw.path / BASE_FOLDER / "_xcomctl").exists()


def test_sigterm_finishes_the_batch_and_reports(scene: Scene, bare: dict[str, str]):
    """The batch in hand is done, written down and reported; the exit code is that of the signal."""
    scene.push("d", "live")
    for number in range(7):
        scene.world.run("d", f"gone {number}")
    for number in range(3000):
        scene.leak("d", f"gone {number % 7}")
    age(scene)
    words = ("--single-pass", "--max-delete", "100%", "--yes", "-o", "json")
    command = [*XCOMCTL, "gc", *words, *place(scene)]
    started = subprocess.Popen(
        command, env=bare, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    deadline = time.monotonic() + 60
    while not list(scene.raw.path.rglob("audit/*/*.outcome.jsonl")) and time.monotonic() < deadline:
        time.sleep(0.005)
    started.send_signal(signal.SIGTERM)
    out, err = started.communicate(timeout=60)
    assert started.returncode == 143, err
    report = json.loads(out)
    assert report["stopped"] == "signal" and report["status"] == "partial"
    assert 0 < report["deleted"] < 3000 and len(scene.urls()) == 3001 - report["deleted"]
    intents = len(list(scene.raw.path.rglob("audit/*/*.intent.jsonl")))
    assert intents == len(list(scene.raw.path.rglob("audit/*/*.outcome.jsonl")))


class TestFoundByUse:
    """What somebody found who tried to make it lie."""

    def collected(self, cli: Run, scene: Scene) -> str:
        cli(*AT_ONCE, *place(scene))
        return str(cli(*AT_ONCE, *place(scene)).json["operation_id"])

    def test_what_is_gone_for_good_is_missing_each_time(self, cli: Run, leaky: Scene):
        operation = self.collected(cli, leaky)
        cli(*AT_ONCE, *place(leaky), "--keep-trash", "0s")
        asked = ("restore", operation, *place(leaky), "-o", "json")
        for more in ("-n", "-y", "-y", "-n"):
            done = cli(*asked, more)
            assert (done.code, done.json["missing"], done.json["status"]) == (12, 1, "error")

    def test_what_a_broken_run_never_removed_is_not_missing(self, cli: Run, leaky: Scene):
        operation = self.collected(cli, leaky)
        folder = next(leaky.raw.path.rglob(f"audit/{operation}"))
        next(folder.glob("*.outcome.jsonl")).unlink()
        for kept in list(leaky.raw.path.rglob("trash/*/*/*")):
            kept.unlink()
        done = cli("restore", operation, *place(leaky), "-y", "-o", "json")
        assert (done.code, done.json["missing"], done.json["failures"]) == (0, 1, [])
        intent = json.loads(next(folder.glob("*.intent.jsonl")).read_text())
        told = cli("gc", "--explain", intent["name"], *place(leaky), "-o", "json").json
        assert told[-1]["found"].startswith(f"was to be removed, with unknown outcome, by {operation}")

    def test_a_refused_run_marks_nothing_and_says_so(self, cli: Run, leaky: Scene):
        leaky.world.sql("CREATE TABLE xcom_copy (value text)")
        report = cli("gc", "-y", *place(leaky), "-o", "json").json
        assert (report["status"], report["candidates"], report["marked"], report["due"]) == ("refused", 1, 0, [])

    def test_a_dry_run_leaves_the_metrics_alone(self, cli: Run, leaky: Scene, tmp_path: Path):
        file = tmp_path / "m.prom"
        assert cli("gc", "-n", *place(leaky), "--metrics-file", str(file)).code == 0
        assert not file.exists()

    def test_metrics_that_cannot_be_written_are_said_first(self, cli: Run, leaky: Scene, tmp_path: Path):
        before = tree(leaky.raw.path)
        for place_ in (tmp_path, tmp_path / "none/m.prom", Path("/dev/null")):
            cli("gc", "-y", *place(leaky), "--metrics-file", str(place_)).failed(2, "--metrics-file")
        assert tree(leaky.raw.path) == before and Path("/dev/null").is_char_device()

    @pytest.mark.parametrize(
        ("streams", "code"), [(">&-", 0), ("2>&-", 0), ("2>/dev/full", 0), (">/dev/full", 3), ("<&- >&- 2>&-", 0)]
    )
    def test_streams_that_are_closed_or_full(
        self, cli: Run, leaky: Scene, bare: dict[str, str], streams: str, code: int
    ):
        cli(*AT_ONCE, *place(leaky))
        command = f"exec {shlex.join([*XCOMCTL, *AT_ONCE, *place(leaky)])} {streams}"
        assert subprocess.run(["sh", "-c", command], env=bare, check=False).returncode == code
        assert len(leaky.urls()) == 4

    def test_a_control_folder_on_another_file_system(self, cli: Run, leaky: Scene):
        other = next((d for d in ("/dev/shm", "/run") if Path(d).stat().st_dev != leaky.raw.path.stat().st_dev), None)
        if other is None:
            pytest.skip("there is one file system only")
        named = ("--control", f"file://{other}/xcomctl")
        cli("gc", "-y", *place(leaky), *named).failed(2, "on another file system", "renamed")

    def test_a_person_is_shown_what_they_agree_to(self, terminal: Run, cli: Run, leaky: Scene):
        cli(*AT_ONCE, *place(leaky))
        asked = [word for word in AT_ONCE if word not in ("--yes", "-o", "json")]
        shown = terminal(*asked, *place(leaky), typed=b"n\n").text
        before = shown.partition("[y/N]")[0]
        for said in ("run-deleted: 1 object", "DAG d: 1 object", "way back: rename; no bytes are free until"):
            assert said in before

    def test_a_password_in_a_base_path_is_not_shown(self, cli: Run, leaky: Scene):
        done = cli("gc", "-n", "--db", leaky.database.url, "--base-path", "s3://key:S3CRET@bucket/x")
        assert done.code == 10 and "S3CRET" not in done.err

    def test_a_restore_needs_the_base_path_to_be_there(self, cli: Run, leaky: Scene):
        operation = self.collected(cli, leaky)
        (leaky.raw.path / BASE_FOLDER).rename(leaky.raw.path / "pre/away")
        cli("restore", operation, *place(leaky), "-y").failed(12, "does not exist", "mounted")

    def test_explain_looks_only_below_the_base_path(self, cli: Run, leaky: Scene):
        cli("gc", "--explain", "file:///etc/passwd", *place(leaky)).failed(2, "is not below the base path")
