"""`xcomctl gc` as people and cron run it: what it prints, what it asks, how it ends, what it leaves alone."""

from __future__ import annotations

import json
import os
import signal
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.conftest import Run, place, tree
from tests.lab import s3
from tests.lab.database import Databases
from tests.lab.folder import Folder
from tests.lab.world import World
from tests.operations.scene import BASE_FOLDER, Scene

pytestmark = [pytest.mark.databases("sqlite-3.3"), pytest.mark.stores("file")]

COUNTS = ["listed", "live", "candidates", "unknown", "held", "marked", "deletable", "deleted", "revived"]
"""Those of the contract; there may be more."""

NOBODY = 65534
AT_ONCE = ("gc", "--single-pass", "--max-delete", "100%")
LOUD = "warning: --unsafe-windows: objects of writes that are still under way may be deleted"


@pytest.fixture
def leaky(scene: Scene) -> Scene:
    """Four live objects and one orphan, all 30 days old."""
    for number in range(4):
        scene.push("d", f"run {number}")
    scene.leak("d")
    age(scene)
    return scene


def age(scene: Scene, days: float = 30) -> None:
    for url in scene.urls():
        scene.age(url, days)


def everything(scene: Scene) -> dict[str, tuple[object, ...]]:
    """All that a command could change, with its times."""
    return tree(scene.raw.path, Path(scene.database.url.removeprefix("sqlite:///")))


def files(scene: Scene) -> dict[str, object]:
    """All that a run could change but the times of folders, which gc's canaries pass through."""
    return {name: (mode, content) for name, (_, mode, content) in everything(scene).items() if Path(name).is_file()}


def test_the_report(cli: Run, leaky: Scene):
    done = cli(*AT_ONCE, *place(leaky), "--yes", "-o", "json")
    report = done.json
    assert done.code == 0 and done.err.startswith("deleted 1 object, 3 B; no bytes are free until the trash is emptied")
    assert f"`xcomctl restore {report['operation_id']}` undoes this run" in done.err
    assert list(report)[:5] == ["schema", "command", "operation_id", "dry_run", "status"]
    end = list(report).index("failures")
    assert list(report)[end + 1] == "refusals"
    assert (report["schema"], report["command"], report["dry_run"], report["status"]) == (1, "gc", False, "success")
    counts = {name: report[name] for name in list(report)[5:end]}
    assert all(type(count) is int for count in counts.values())
    assert counts.keys() >= {*COUNTS, *(f"{name}_bytes" for name in COUNTS)}
    found = [report[name] for name in COUNTS]
    assert found == [5, 4, 1, 0, 0, 0, 1, 1, 0]
    assert [report[f"{name}_bytes"] for name in COUNTS] == [3 * count for count in found]
    assert report["failures"] == report["refusals"] == []
    assert len(leaky.urls()) == 4


def test_every_run_has_an_id_of_its_own(cli: Run, leaky: Scene):
    asked = (*AT_ONCE, *place(leaky), "--dry-run", "-o", "json")
    assert cli(*asked).json["operation_id"] != cli(*asked).json["operation_id"]


def test_the_report_in_other_forms(cli: Run, leaky: Scene):
    asked = (*AT_ONCE, *place(leaky), "--dry-run")
    plain = [line.split("\t") for line in cli(*asked).column]
    assert {name for name, _, _ in plain} >= set(COUNTS)
    assert ["listed", "5", "15"] in plain and ["candidates", "1", "3"] in plain
    assert cli(*asked, "-o", "csv").text.startswith("what,objects,size_bytes\nlisted,5,15\n")
    document = cli(*asked, "-o", "json").json
    assert json.loads(cli(*asked, "-o", "jsonl").column[0]).keys() == document.keys()
    assert "command: gc\n" in cli(*asked, "-o", "yaml").text


def test_a_dry_run_writes_nothing_and_tells_all(cli: Run, leaky: Scene):
    before = everything(leaky)
    planned = cli(*AT_ONCE, *place(leaky), "--dry-run", "-o", "json")
    assert planned.code == 0 and "nothing was changed" in planned.err
    assert planned.json["dry_run"] is True and planned.json["status"] == "success"
    assert (planned.json["deletable"], planned.json["deleted"]) == (1, 0)
    assert cli("gc", *place(leaky), "-n", "-o", "json").json["candidates"] == 1
    assert cli(*AT_ONCE, *place(leaky), "-o", "json", XCOMCTL_DRY_RUN="1").json["dry_run"] is True
    assert everything(leaky) == before


def test_nothing_to_do_is_success(cli: Run, scene: Scene):
    scene.push("d")
    age(scene)
    before = scene.urls()
    done = cli(*AT_ONCE, *place(scene), "--yes", "-o", "json")
    assert (done.code, done.json["status"], done.json["deletable"]) == (0, "success", 0)
    assert scene.urls() == before


@pytest.mark.parametrize("more", [("--yes",), ("--dry-run",), ("--yes", "-o", "json")])
def test_quiet_success_prints_nothing(cli: Run, leaky: Scene, more):
    done = cli(*AT_ONCE, *place(leaky), "-q", *more)
    assert (done.code, done.out, done.err) == (0, b"", "")
    assert len(leaky.urls()) == (5 if "--dry-run" in more else 4)


def test_a_quiet_refusal_is_not_silent(cli: Run, leaky: Scene):
    done = cli("gc", "--single-pass", "--max-delete", "0", *place(leaky), "-q", "--yes", "-o", "json")
    assert (done.code, done.json["status"]) == (5, "refused") and "max-delete" in done.err


class TestConsent:
    """Without a terminal and without --yes: 2, before anything is read."""

    @pytest.mark.parametrize(
        ("words", "says", "hint"),
        [
            ((), "gc asks before it deletes, and there is no terminal", "--yes"),
            (("--single-pass",), "gc asks before it deletes, and there is no terminal", "--yes"),
        ],
    )
    def test_refused_before_anything_is_read(self, cli: Run, process: Run, leaky: Scene, words, says, hint):
        before = everything(leaky)
        cli("gc", *words, "--db", "sqlite:////nonexistent", "--base-path", "s3://nowhere/x").failed(2, says, hint)
        process("gc", *words, *place(leaky)).failed(2, says, hint)
        assert everything(leaky) == before

    def test_no_safety_is_lifted_by_the_environment(self, cli: Run, leaky: Scene):
        lifted = dict.fromkeys(("XCOMCTL_YES", "XCOMCTL_SINGLE_PASS", "XCOMCTL_UNSAFE_WINDOWS"), "1")
        cli("gc", *place(leaky), **lifted).failed(2, "there is no terminal")
        assert cli("gc", "--yes", *place(leaky), "-o", "json", **lifted).json["deleted"] == 0
        cli(*AT_ONCE, *place(leaky), **lifted).failed(2, "there is no terminal")
        cli(*AT_ONCE, "--older-than", "6d", *place(leaky), "--yes", **lifted).failed(2, "below the floor")
        gates = {"XCOMCTL_ALLOW": "max-delete", "XCOMCTL_INCLUDE_UNKNOWN_DAG": "*"}
        leaky.age(leaky.leak("unheard of"), 30)
        done = cli("gc", "--single-pass", "--max-delete", "0", *place(leaky), "--yes", "-o", "json", **gates)
        assert (done.code, done.json["held"]) == (5, 1)

    @pytest.mark.parametrize("answer", ["y", "yes", "YES"])
    def test_yes_on_a_terminal(self, terminal: Run, leaky: Scene, answer):
        done = terminal(*AT_ONCE, *place(leaky), typed=f"{answer}\n".encode())
        assert done.code == 0 and len(leaky.urls()) == 4
        assert f"Delete 1 object, 3 B, under {leaky.base.text}? [y/N] {answer}\n" in done.text
        assert "deleted" in done.text

    @pytest.mark.parametrize("answer", [b"n\n", b"\n", b"yep\n", b"\x04"])
    def test_anything_else_is_a_no(self, terminal: Run, leaky: Scene, answer):
        before = files(leaky)
        done = terminal(*AT_ONCE, *place(leaky), typed=answer)
        assert done.code == 1 and done.text.rstrip().endswith("nothing was deleted")
        assert files(leaky) == before

    def test_control_c_at_the_question_is_130(self, terminal: Run, leaky: Scene):
        before = files(leaky)
        done = terminal(*AT_ONCE, *place(leaky), typed=b"\x03")
        assert done.code == 130 and "Traceback" not in done.text
        assert files(leaky) == before

    def test_a_terminal_is_not_asked_what_it_need_not_answer(self, terminal: Run, leaky: Scene):
        assert "[y/N]" not in terminal(*AT_ONCE, *place(leaky), "--dry-run").text
        assert "[y/N]" not in terminal("gc", "--single-pass", "--max-delete", "0", *place(leaky)).text
        assert "[y/N]" not in terminal(*AT_ONCE, *place(leaky), "--yes").text
        assert "[y/N]" not in terminal(*AT_ONCE, *place(leaky)).text
        assert len(leaky.urls()) == 4


def test_being_told_to_stop_is_143_to_a_shell(terminal: Run, leaky: Scene):
    before = files(leaky)
    assert terminal(*AT_ONCE, *place(leaky), typed=signal.SIGTERM).code == 143
    assert files(leaky) == before


@pytest.mark.parametrize(
    ("words", "age_", "floor"),
    [
        (("--dry-run",), "1h", "1d"),
        (("--dry-run",), "23h59m", "1d"),
        (("--single-pass", "--yes"), "3d", "7d for a single pass"),
        (("--single-pass", "--dry-run"), "6d23h", "7d for a single pass"),
    ],
)
def test_the_floors_of_age(cli: Run, leaky: Scene, words, age_, floor):
    before = everything(leaky)
    cli("gc", *words, "--older-than", age_, *place(leaky)).failed(
        2, f"--older-than {age_} is below the floor of {floor}"
    )
    cli("gc", *words, *place(leaky), XCOMCTL_OLDER_THAN=age_).failed(2, f"is below the floor of {floor}")
    assert everything(leaky) == before
    done = cli("gc", *words, "--older-than", age_, *place(leaky), "--unsafe-windows", "--max-delete", "1")
    assert done.code == 0 and done.err.splitlines()[0] == LOUD
    assert cli("gc", *words, "--older-than", age_, *place(leaky), "--unsafe-windows", "-q").err == f"{LOUD}\n"


@pytest.mark.parametrize(
    ("words", "young"),
    [
        (("--dry-run",), 1),
        (("--dry-run", "--older-than", "1d"), 0),
        (("--dry-run", "--older-than", "2d1h"), 1),
        (("--single-pass", "--dry-run"), 2),
        (("--single-pass", "--dry-run", "--older-than", "8d"), 3),
    ],
)
def test_the_ages_that_are_meant(cli: Run, scene: Scene, words, young):
    scene.push("d")
    for days in (2, 4, 7.5):
        scene.age(scene.leak("d"), days)
    report = cli("gc", *words, *place(scene), "--max-delete", "100%", "-o", "json").json
    assert (report["young"], report["candidates"]) == (young, 3 - young)


@pytest.mark.parametrize(
    ("most", "code"),
    [("2", 0), ("1", 5), ("0", 5), ("33%", 5), ("34%", 0), ("33.4%", 0), ("100%", 0), (" 2 ", 0)],
)
def test_the_most_that_may_go(cli: Run, leaky: Scene, most, code):
    leaky.age(leaky.leak("d"), 30)
    done = cli("gc", "--single-pass", "--max-delete", most, *place(leaky), "--yes", "-o", "json")
    assert done.code == code
    assert len(leaky.urls()) == (4 if code == 0 else 6)
    assert cli("gc", "--single-pass", *place(leaky), "-n", XCOMCTL_MAX_DELETE="0").code == (0 if code == 0 else 5)


@pytest.mark.parametrize("most", ["", "abc", "-1", "5%%", "1e3", "%", "1.5", "9" * 5000])
def test_a_limit_that_is_none(cli: Run, leaky: Scene, most):
    cli("gc", "-n", *place(leaky), "--max-delete", most).failed(
        2, "is neither a number nor a share", "write 500, or 20%"
    )


@pytest.mark.parametrize("words", [("--keep-trash", "23h"), ("--keep-trash", "0s")])
def test_the_trash_has_a_floor(cli: Run, leaky: Scene, words):
    refused = cli("gc", "--yes", *place(leaky), *words)
    assert refused.code == 2 and "below the floor of 24h" in refused.err
    assert cli("gc", "--yes", *place(leaky), *words, "--unsafe-windows").code == 0


@pytest.mark.parametrize("option", ["--dag-id", "--exclude-dag-id"])
def test_a_list_is_not_one_dag(cli: Run, leaky: Scene, option: str):
    refused = cli("gc", "--yes", *place(leaky), option, "a,b")
    assert refused.code == 2 and "repeat the flag" in refused.err


def test_one_question_at_a_time(cli: Run, leaky: Scene):
    assert cli("gc", "--history", "--explain", "x", *place(leaky)).code == 2


def test_a_refusal_is_5_with_a_report_and_is_lifted_by_its_name(cli: Run, leaky: Scene):
    leaky.world.sql("UPDATE alembic_version SET version_num = 'abc'")
    before = everything(leaky)
    asked = ("gc", "--single-pass", *place(leaky), "--max-delete", "0", "-o", "json")
    for more in ["--yes", "--dry-run"]:
        done = cli(*asked, more)
        assert (done.code, done.json["status"], done.json["deleted"]) == (5, "refused", 0)
        assert [list(refusal) for refusal in done.json["refusals"]] == [["gate", "message"]] * 2
        assert [refusal["gate"] for refusal in done.json["refusals"]] == ["unknown-head", "max-delete"]
        assert "the unknown schema abc" in done.json["refusals"][0]["message"]
        assert done.err.splitlines()[0].startswith("warning: refused by the gate unknown-head: ")
        assert done.err.splitlines()[-1] == "warning: nothing was changed; --allow GATE lifts a gate"
    assert everything(leaky) == before
    assert cli(*asked, "--yes", "--allow", "max-delete").code == 5 and everything(leaky) == before
    done = cli(*asked, "--yes", "--allow", "max-delete", "--allow", "unknown-head")
    assert (done.code, done.json["deleted"], done.json["refusals"]) == (0, 1, [])


def test_an_unknown_gate_is_told_the_known_ones(cli: Run):
    gates = (
        "unknown-table, unknown-head, missing-table, hidden-rows, replica, clock, foreign-claim, restored-database, "
        "stale-database, state-store-overlap, empty-roots, no-overlap, dangling, two-spellings, ambiguous, "
        "incomplete-listing, canary, max-delete, store-kind"
    )
    cli("gc", "-n", "--db", "sqlite:////nonexistent", "--allow", "all").failed(2, "--allow: there is no 'all'", gates)


def test_candidates_are_narrowed_and_never_the_rows(cli: Run, scene: Scene):
    """A row of a DAG that is left out still keeps its object."""
    live = scene.push("a")
    orphans = {dag_id: scene.leak(dag_id) for dag_id in ("a", "b", "c", "gone")}
    scene.world.push("b", "r", "t", value=json.dumps(live))
    scene.world.dag("c")
    age(scene)
    asked = (*AT_ONCE, *place(scene), "--dry-run", "-o", "json")
    assert cli(*asked, "--dag-id", "[ab]").json["candidates"] == 2
    assert cli(*asked, XCOMCTL_DAG_ID="a b", XCOMCTL_EXCLUDE_DAG_ID="b").json["candidates"] == 1
    assert cli(*asked, "--dag-id", "b").json["live"] == 1
    held = cli(*asked).json
    assert (held["candidates"], held["held"]) == (3, 1)
    assert cli(*asked, "--include-unknown-dag", "g*").json["candidates"] == 4
    assert cli(*AT_ONCE, *place(scene), "--yes", "--dag-id", "a", "-q").code == 0
    assert scene.urls() == {live, orphans["b"], orphans["c"], orphans["gone"]}


def test_several_databases_on_one_base_path(cli: Run, leaky: Scene, databases: Databases):
    with databases.fresh("sqlite-2.11") as database, World(database) as world:
        other = Scene(database, world, leaky.raw)
        theirs = other.push("d", "their run")
        leaky.age(theirs, 30)
        alone = cli(*AT_ONCE, *place(leaky), "--dry-run", "-o", "json").json
        assert (alone["live"], alone["candidates"]) == (4, 2)
        together = (*AT_ONCE, *place(leaky), "--db", database.url, "-o", "json")
        both = cli(*together, "--dry-run").json
        assert (both["live"], both["candidates"]) == (5, 1)
        urls = f"{leaky.database.url} {database.url}"
        by_variable = cli(*AT_ONCE, "-n", "-o", "json", XCOMCTL_DB=urls, XCOMCTL_BASE_PATH=leaky.base.text).json
        assert (by_variable["live"], by_variable["candidates"]) == (5, 1)
        cli(*together, "--db", "sqlite:////nonexistent.db", "--yes").failed(10, "there is no SQLite file")
        assert cli(*together, "--yes").json["deleted"] == 1
        assert theirs in leaky.urls()


def test_verbose_names_each_orphan(cli: Run, leaky: Scene):
    (orphan,) = leaky.urls() - live_urls(leaky)
    name = orphan.removeprefix("file://")
    done = cli(*AT_ONCE, *place(leaky), "--yes", "-v")
    lines = done.err.splitlines()
    assert any(line.startswith(f"orphan {name}") for line in lines) and f"deleted {name}" in lines
    assert f"5 objects under {leaky.base.text}, 4 references in the databases" in lines
    assert any(line.startswith("deletes are conditional: ") for line in lines)


def live_urls(scene: Scene) -> set[str]:
    return {str(json.loads(str(value))) for (value,) in scene.world.sql("SELECT value FROM xcom")}


def test_the_log_as_json(cli: Run, leaky: Scene):
    done = cli(*AT_ONCE, *place(leaky), "--yes", "-v", "--log-format", "json")
    lines = [json.loads(line) for line in done.err.splitlines()]
    assert {"time", "level", "event"} <= set.intersection(*(set(line) for line in lines))
    (orphan,) = [line for line in lines if line["event"].startswith("orphan ")]
    assert orphan["size_bytes"] == 3 and orphan["level"] == "debug" and orphan["modified_at"].endswith("+00:00")
    refused = cli("gc", "--single-pass", "--max-delete", "0", *place(leaky), "-n", "--log-format", "json")
    assert all(json.loads(line)["level"] in ("warning", "info") for line in refused.err.splitlines())


def test_a_database_that_cannot_be_read_changes_nothing(cli: Run, leaky: Scene):
    """10 before 12: the database is asked first, though it is read last."""
    before = everything(leaky)
    wrong = ("--db", "sqlite:////nonexistent.db", "--base-path")
    cli(*AT_ONCE, "--yes", *wrong, leaky.base.text).failed(10, "there is no SQLite file /nonexistent.db")
    cli(*AT_ONCE, "--yes", *wrong, "file:///nonexistent").failed(10, "there is no SQLite file /nonexistent.db")
    assert everything(leaky) == before


def test_a_store_that_cannot_be_read_changes_nothing(cli: Run, leaky: Scene):
    before = everything(leaky)
    asked = (*AT_ONCE, "--yes", "--db", leaky.database.url, "--base-path")
    cli(*asked, "file:///nonexistent").failed(12, "folder /nonexistent does not exist", "mounted")
    assert everything(leaky) == before


def test_no_base_path_at_all(cli: Run, leaky: Scene):
    cli(*AT_ONCE, "--yes", "--db", leaky.database.url).failed(10, "nobody says the object storage path", "--base-path")


@pytest.fixture
def open_to_all() -> Iterator[Folder]:
    """A folder that another user can get at: pytest's own are closed."""
    with tempfile.TemporaryDirectory(prefix="xcomctl-") as folder:
        Path(folder).chmod(0o755)
        yield Folder(Path(folder) / "store")


def test_what_cannot_be_deleted_is_partial_and_3(cli: Run, databases: Databases, open_to_all: Folder):
    """A user who may delete one orphan and not the other."""
    readable = open_to_all.path.parent / "airflow.db"
    with databases.fresh("sqlite-3.3") as database, World(database) as world:
        scene = Scene(database, world, open_to_all)
        live, gone, stuck = scene.push("d"), scene.leak("d", "gone"), scene.leak("d", "stuck")
        age(scene)
        readable.write_bytes(Path(database.url.removeprefix("sqlite:///")).read_bytes())
    for folder in open_to_all.path.rglob("*"):
        folder.chmod(0o777)
    (open_to_all.path / BASE_FOLDER / "d/stuck/t").chmod(0o555)
    asked = (*AT_ONCE, "--db", f"sqlite:///{readable}", "--base-path", scene.base.text, "-o", "json")
    assert cli(*asked, "--dry-run").json["deletable"] == 2
    me = os.geteuid()
    if me == 0:
        os.seteuid(NOBODY)  # root is refused nothing
    try:
        done = cli(*asked, "--yes", "-q")
    finally:
        os.seteuid(me)
    assert done.code == 3 and done.json["status"] == "partial"
    assert (done.json["deletable"], done.json["deleted"], done.json["refusals"]) == (2, 1, [])
    assert done.json["failures"] == [{"code": "delete_failed", "url": stuck, "message": "Permission denied"}]
    assert done.err.startswith(
        f"warning: {stuck}: Permission denied\nwarning: what failed was kept, as far as is known"
    )
    assert scene.urls() == {live, stuck} and gone not in scene.urls()


@pytest.mark.stores("ministack", "seaweedfs")
def test_in_a_bucket(cli: Run, scene: Scene):
    live = {scene.push("d", f"run {number}") for number in range(3)}
    orphan = scene.leak("d", "run [a*]?#%")
    assert isinstance(scene.raw, s3.Bucket)
    planned = cli(*AT_ONCE, *place(scene), "--yes", "-o", "json")
    assert (planned.code, planned.json["young"], planned.json["deleted"]) == (0, 1, 0)
    time.sleep(1.1)  # the Date header, by which ages are told, has whole seconds
    done = cli(*AT_ONCE, "--older-than", "0s", "--unsafe-windows", *place(scene), "--yes", "-o", "json")
    assert (done.code, done.json["deleted"], done.json["failures"]) == (0, 1, [])
    assert scene.urls() == live and orphan not in live
