"""`xcomctl du`: what it adds up, of rows and of objects, how it tells it, and what it says that moving would do."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections import Counter
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from typing import Any
from uuid import uuid4

import pytest

from tests.cli.conftest import PATIENCE_SECONDS, XCOMCTL, Result, Run, place
from tests.lab.database import Databases
from tests.lab.world import WHEN, Push, World
from tests.operations.scene import Scene
from xcomctl.cli import render
from xcomctl.operations.usage import SIZE_CLASSES

pytestmark = [pytest.mark.databases("sqlite-3.3"), pytest.mark.stores("file")]

BASE = "s3://bucket/xcom"
TOTALS = ["count", "size_bytes", "largest_bytes"]
BY_STATE = [
    *("inline", "inline_bytes", "external", "external_bytes", "foreign", "foreign_bytes"),
    *("pickled", "pickled_bytes"),
]


@pytest.fixture(scope="module")
def listed(databases: Databases) -> Iterator[tuple[str, ...]]:
    """Where some rows of every kind are. Tests only look at them."""
    now = datetime.now(timezone.utc)
    with databases.fresh("sqlite-3.3") as database, World(database) as world:
        ago = [now - timedelta(hours=1), *(now - timedelta(days=days) for days in (2, 10, 40))]
        reference, elsewhere = (json.dumps(f"{base}/d/r/t/{uuid4()}") for base in (BASE, "s3://other/xcom"))
        world.push("etl_a", "r1", "fresh", value="1", timestamp=ago[0])
        world.push("etl_a", "r2", "mapped", 3, value='"x"', timestamp=ago[1])
        world.push("etl_a", "r2", "mapped", 4, value='"y"', timestamp=ago[1])
        world.push("etl_b", "r1", "large", key="model", value=json.dumps("x" * 1_999_998), timestamp=ago[2])
        world.push("ml", "r3", "stored", key="model", value=reference, timestamp=ago[3])
        world.push("ML", "r[3]", "strange", key="_", value=elsewhere, timestamp=ago[3])
        yield "--db", database.url, "--base-path", BASE


def groups(run: Run, *words: str, **environment: str) -> list[dict[str, Any]]:
    found = run("du", *words, "-o", "json", **environment)
    assert found.code == 0, found.err
    assert isinstance(found.json, list)
    return found.json


def listing(run: Run, *words: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = run("ls", *words, "-o", "json").json
    return rows


def test_a_group_has_these_fields_in_this_order(cli: Run, listed):
    assert list(groups(cli, *listed)[0]) == ["dag_id", *TOTALS, *BY_STATE]
    more = ("--by", "key,dag_id", "--threshold", "1", "--by", "size,day")
    assert list(groups(cli, *listed, *more)[0]) == ["size", "day", *TOTALS, *BY_STATE, "movable", "movable_bytes"]
    by_state = groups(cli, *listed, "--by", "state", "--threshold", "1MB")
    assert list(by_state[0]) == ["state", *TOTALS, "movable", "movable_bytes"]


def test_the_largest_come_first_and_then_by_name(cli: Run, listed):
    found = groups(cli, *listed)
    assert [(each["dag_id"], each["count"]) for each in found] == [("etl_b", 1), ("ml", 1), ("ML", 1), ("etl_a", 3)]
    assert found[0]["size_bytes"] == found[0]["largest_bytes"] == found[0]["inline_bytes"] == 2_000_000
    assert (found[3]["size_bytes"], found[3]["largest_bytes"]) == (7, 3)
    assert [each["key"] for each in groups(cli, *listed, "--by", "key", "--dag-id", "etl_a")] == ["return_value"]
    equal = groups(cli, *listed, "--by", "run_id,task_id", "--key", "return_value")
    assert [(each["task_id"], each["size_bytes"]) for each in equal] == [("mapped", 6), ("fresh", 1)]
    assert groups(cli, *listed) == found


BY = ["dag_id", "run_id", "task_id", "key", "day", "state", "size"]


@pytest.mark.parametrize("by", [*BY, "day,state", "state,key,run_id", ",".join(reversed(BY)), " Dag_ID , STATE "])
def test_every_by_adds_up_what_ls_lists(cli: Run, listed, by: str):
    names = [name.strip().lower() for name in by.split(",")]
    found = groups(cli, *listed, "--by", by)
    rows = listing(cli, *listed)
    for row in rows:
        row["day"] = row["timestamp"][:10]
        row["size"] = "1MiB" if row["size_bytes"] > 10**6 else "<1KiB"
    counts = Counter(tuple(row[name] for name in names) for row in rows)
    assert {tuple(each[name] for name in names): each["count"] for each in found} == counts
    assert sum(each["size_bytes"] for each in found) == sum(row["size_bytes"] for row in rows)
    if "state" not in names:
        for state in ("inline", "external", "foreign", "pickled"):
            of_state = [row["size_bytes"] for row in rows if row["state"] == state]
            assert sum(each[state] for each in found) == len(of_state)
            assert sum(each[f"{state}_bytes"] for each in found) == sum(of_state)


FILTERS = [
    ("--dag-id", "etl_*"),
    ("--run-id", "r[3]"),
    ("--task-id", "*ed"),
    ("--key", "model"),
    ("--map-index", "3"),
    ("--exclude-dag-id", "etl_*"),
    ("--exclude-key", "[!m]*"),
    ("--older-than", "36h"),
    ("--since", "7d"),
    ("--until", "7d"),
    ("--larger-than", "1MB"),
    ("--smaller-than", "2B"),
    ("--state", "foreign"),
]


@pytest.mark.parametrize(("flag", "value"), FILTERS)
def test_every_filter_as_for_ls(cli: Run, listed, flag: str, value: str):
    found = groups(cli, *listed, "--by", "task_id", flag, value)
    rows = listing(cli, *listed, flag, value)
    assert {each["task_id"]: each["count"] for each in found} == Counter(row["task_id"] for row in rows) != {}
    name = f"XCOMCTL_{flag.strip('-').replace('-', '_').upper()}"
    assert groups(cli, *listed, "--by", "task_id", **{name: value}) == found


def test_every_option_has_its_environment_variable(cli: Run, listed):
    said = groups(cli, *listed, "--by", "key", "--threshold", "1k", "--exact", "--limit", "1")
    settings = {"XCOMCTL_BY": "key", "XCOMCTL_THRESHOLD": "1k", "XCOMCTL_EXACT": "1", "XCOMCTL_LIMIT": "1"}
    assert groups(cli, *listed, **settings) == said


def test_what_takes_the_same_comes_by_name(cli: Run, scene: Scene):
    for number, dag_id in enumerate(("b", "é", "a", "B")):
        scene.world.push(dag_id, "r", f"t{number}", value="1")
    found = groups(cli, *place(scene), "--by", "task_id,dag_id")
    assert [each["dag_id"] for each in found] == ["b", "é", "a", "B"]
    assert [each["dag_id"] for each in groups(cli, *place(scene))] == ["B", "a", "b", "é"]


def test_sizes_are_told_apart(cli: Run, scene: Scene):
    sizes = [3, 1023, 1024, 10 * 1024, 100 * 1024, 1024**2, 10 * 1024**2 - 1, 10 * 1024**2]
    for number, size in enumerate(sizes):
        scene.world.push("d", "r", "t", number, value=json.dumps("x" * (size - 2)))
    found = groups(cli, *place(scene), "--by", "size")
    told = {each["size"]: each["count"] for each in found}
    assert told == {"<1KiB": 2, "1KiB": 1, "10KiB": 1, "100KiB": 1, "1MiB": 2, "10MiB": 1}
    assert told.keys() <= set(SIZE_CLASSES)


WRONG = [
    (("--by", "nope"), "--by: there is no 'nope'", "dag_id, run_id, task_id, key, day, state, size"),
    (("--by", "dag_id,nope"), "there is no 'nope'", "one of"),
    (("--by", "map_index"), "there is no 'map_index'", "one of"),
    (("--by", ""), "there is no ''", "one of"),
    (("--by", "dag_id,"), "there is no ''", "one of"),
    (("--by", "key,KEY"), "--by names key twice", "once"),
    (("--columns", "size_bytes,movable"), "there is no 'movable'", "largest_bytes"),
    (("--columns", "count,count"), "--columns names count twice", "once"),
    (("--threshold", "much"), "--threshold 'much' is not a size", "1MB"),
    (("--threshold", ""), "--threshold '' is not a size", "1MB"),
    (("--limit", "-1"), "'--limit'", "--help"),
    (("--state", "dangling"), "no object", "ls --state dangling"),
    (("--storage", "--by", "dag_id,key"), "--storage does not go with key", "dag_id, run_id, task_id, day, size"),
    (("--storage", "--by", "state"), "--storage does not go with state", "objects can go by"),
    (("--storage", "--key", "k"), "--storage does not go with --key", "objects can go by"),
    (("--storage", "--exclude-key", "k"), "does not go with --exclude-key", "objects can go by"),
    (("--storage", "--map-index", "-1"), "does not go with --map-index", "objects can go by"),
    (("--storage", "--state", "inline"), "does not go with --state", "objects can go by"),
    (("--since", "never"), "--since 'never' is not a time", "2026"),
]


@pytest.mark.parametrize(("words", "says", "hint"), WRONG, ids=lambda words: " ".join(words) if words else "")
def test_what_is_wrong_is_said_before_anything_is_read(cli: Run, words, says, hint):
    cli("du", "--db", "sqlite:////nowhere/there.db", "--base-path", BASE, *words).failed(2, says, hint)


def test_what_cannot_be_opened(cli: Run, scene: Scene, tmp_path):
    missing = f"sqlite:///{tmp_path}/none.db"
    cli("du", "--db", missing, "--base-path", BASE).failed(10, "there is no SQLite file", "--db")
    cli("du", *place(scene), "--db", missing).failed(2, "reads one database", "--db once")
    scene.world.push("d", "r", "t", value="1")
    bare = {"AIRFLOW__COMMON_IO__XCOM_OBJECTSTORAGE_PATH": ""}
    without = cli("du", "--db", scene.database.url, "-o", "json", **bare)
    assert (without.code, without.json[0]["inline"]) == (0, 1)
    cli("du", "--db", scene.database.url, "--storage", **bare).failed(10, "object storage path", "--base-path")


@pytest.mark.parametrize(("form", "nothing"), [("json", "[]\n"), ("jsonl", ""), ("plain", ""), ("yaml", "[]\n")])
def test_no_rows_at_all(cli: Run, terminal: Run, scene: Scene, form: str, nothing: str):
    empty = cli("du", *place(scene), "--storage", "--threshold", "1k", "-o", form)
    assert (empty.code, empty.text) == (0, nothing)
    assert empty.err.startswith("0 rows, 0 B as stored\n0 objects, 0 B\n")
    drawn = terminal("du", *place(scene))
    assert drawn.code == 0 and "dag_id" in drawn.text and "█" not in drawn.text


def test_a_limit_and_its_note(cli: Run, terminal: Run, scene: Scene):
    scene.world.push_many(Push(f"d{number:02}", "r", "t", value=str(number)) for number in range(60))
    asked = ("du", *place(scene), "--columns", "dag_id")
    assert len(cli(*asked).column) == len(cli(*asked, "--limit", "0").column) == 60
    some = cli(*asked, "--limit", "3")
    assert (some.column, some.err.splitlines()[0]) == (["d10", "d11", "d12"], "the first 3 of 60; --limit 0 shows all")
    assert "60 rows" in some.err and "the first" not in cli(*asked, "--limit", "60").err
    assert cli(*asked, "--limit", "3", "-q").err == ""
    shown = terminal(*asked).text
    assert len(re.findall(r"\bd\d\d\b", shown)) == 50 and "the first 50 of 60; --limit 0 shows all" in shown
    assert len(re.findall(r"\bd\d\d\b", terminal(*asked, "--limit", "0").text)) == 60


def test_notes_are_facts_in_the_log(cli: Run, listed):
    logged = cli("du", *listed, "--threshold", "1MB", "--log-format", "json").err.splitlines()
    rows, moving = (json.loads(line) for line in logged)
    assert (rows["rows"], rows["bytes"]) == (6, sum(each["size_bytes"] for each in groups(cli, *listed)))
    assert moving["event"].startswith("`xcomctl migrate --threshold 1MB` would move at least 1 row, 1.9 MiB")
    assert "--exact" in moving["hint"]


def fill_movable(scene: Scene) -> None:
    """Large values that migrate moves, and of everything that it leaves alone one."""
    large, world = json.dumps("x" * 5000), scene.world
    for number in range(3):
        world.push("etl", f"r {number}", "t", number, value=json.dumps(f"{number}" * 7000))
        world.push("ml", "r", f"t{number}", value=large)
    world.push("ml", "r", "small", value=json.dumps("x" * 500))
    world.push("ml", "r", "http", value=json.dumps("http: //" + "x" * 3000))
    for key in ("skipmixin_key", "_link_x", "Skipmixin_Key"):
        world.push("ml", "r", "control", key=key, value=large)
    world.push("ml", "r", "reference", value=json.dumps(f"{scene.base.text}/{'x' * 3000}/{uuid4()}"))
    world.push("ml", "running", "t", value=large)
    world.run("ml", "running", state="running")
    world.push("ml", "over", "t", value=large)
    world.push("ml", "over", "t", 1, value=large)
    world.task("ml", "over", "t", 1, state="running")
    world.push("ml", "../up", "t", value=large)
    if "dag_result" in str(scene.catalog.schema.live[0].columns):
        world.push("ml", "r", "result", value=large)
        quoted = "task_instance_id IN (SELECT id FROM task_instance WHERE task_id = 'result')"
        condition = quoted if scene.database.label == "3.4" else "task_id = 'result'"
        world.sql(f"UPDATE {scene.catalog.schema.live[0].name} SET dag_result = TRUE WHERE {condition}")


MIGRATE = ("migrate", "--dry-run", "--allow", "backend", "-o", "json")


@pytest.mark.databases("*-2.11", "*-3.3", "*-3.4")
@pytest.mark.parametrize("more", [(), ("--dag-id", "ml"), ("--state", "inline", "--key", "*_*")])
def test_movable_is_what_migrate_would_move(cli: Run, scene: Scene, more: tuple[str, ...]):
    fill_movable(scene)
    for threshold in ("1k", "5002", "6kB", "1MB"):
        asked = (*place(scene), "--threshold", threshold, *more)
        plan = cli(*MIGRATE, *asked)
        assert plan.code == 0, plan.err
        exact, least = (groups(cli, *asked, *how) for how in (("--exact",), ()))
        movable = sum(each["movable"] for each in exact)
        assert movable == plan.json["movable"] == plan.json["selected"] - plan.json["skipped"]
        assert sum(each["movable"] for each in least) <= movable
        if scene.database.dialect != "postgresql" or scene.database.label == "2.11":
            assert least == exact
            assert sum(each["movable_bytes"] for each in least) == plan.json["movable_bytes"]
    assert sum(each["movable"] for each in groups(cli, *place(scene), "--threshold", "1k", "--exact")) == 8


def test_the_note_on_moving(cli: Run, scene: Scene):
    fill_movable(scene)
    stored = cli("du", *place(scene), "--threshold", "1k").err.splitlines()
    exact = cli("du", *place(scene), "--threshold", "1k", "--exact").err.splitlines()
    assert stored[0].endswith(" as stored") and not exact[0].endswith(" as stored")
    assert stored[1].startswith("`xcomctl migrate --threshold 1k` would move at least 8 rows, ")
    assert exact[1] == stored[1].replace("at least ", "")
    assert "migrate" not in cli("du", *place(scene)).err


@pytest.mark.databases("mysql-2.11", "mysql-3.3")
def test_values_near_the_limit_of_the_database(cli: Run, scene: Scene):
    """A BLOB, as before Airflow 2.9, holds 64 KiB, and a statement as much as the server was told."""
    world, asked = scene.world, ("du", *place(scene), "-o", "json")
    world.push_many(Push("d", "r", "t", number, value=json.dumps("x" * 60_000)) for number in range(2))
    assert "within 10%" not in cli(*asked).err
    if scene.database.label == "2.11":
        world.sql("ALTER TABLE xcom MODIFY value BLOB")
        limit = "BLOB takes 64.0 KiB at most"
    else:
        packet = int(str(world.sql("SELECT @@max_allowed_packet")[0][0]))
        for number in range(2):
            world.push("d", "r", "t", number, value=json.dumps("x" * (packet * 19 // 20)))
        limit = f"max_allowed_packet takes {render.readable_size(packet)} at most"
    near = cli(*asked)
    lines = near.err.splitlines()
    warning = f"warning: 2 rows within 10% of what the database holds: {limit}"
    assert near.code == 0 and warning in lines
    shown = re.search(r"`xcomctl (ls --larger-than \d+)`", lines[lines.index(warning) + 1])
    assert shown is not None and len(cli(*shown[1].split(), *place(scene)).column) == 2
    assert "warning: 2 rows" in cli(*asked, "-q").err
    assert "within 10%" not in cli(*asked, "--smaller-than", "50k").err
    assert "warning: 1 row within" in cli(*asked, "--map-index", "1").err


@pytest.mark.databases("postgresql-*", "sqlite-3.3")
def test_no_limit_is_near(cli: Run, scene: Scene):
    scene.world.push("d", "r", "t", value=json.dumps("x" * 20_000_000))
    assert cli("du", *place(scene)).err.splitlines()[1:] == []


@pytest.mark.stores("file", "ministack")
def test_the_side_of_the_objects(cli: Run, scene: Scene):
    scene.push("d", "r")
    scene.leak("d", "gone")
    scene.put("of another tool", b"x" * 100)
    scene.put("e/r/t/not a uuid", b"x" * 50)
    scene.raw.put("pre/elsewhere/d/r/t/x", b"not below the base path")
    scene.put("_xcomctl/0123/marks", b"xcomctl's own")
    asked = (*place(scene), "--storage")
    found = groups(cli, *asked, "--by", "dag_id,run_id,task_id")
    fields = ("dag_id", "run_id", "task_id", "objects", "objects_bytes", "external", "count")
    told = {tuple(each[name] for name in fields) for each in found}
    assert told == {(None, None, None, 2, 150, 0, 0), ("d", "r", "t", 1, 3, 1, 1), ("d", "gone", "t", 1, 3, 0, 0)}
    (in_all,) = groups(cli, *asked, "--by", "day", "--run-id", "g*")
    today = datetime.now(timezone.utc).date()
    assert in_all["objects"] == 1 and abs(datetime.fromisoformat(in_all["day"]).date() - today) <= timedelta(days=1)
    assert {each["size"]: each["objects"] for each in groups(cli, *asked, "--by", "size")} == {"<1KiB": 4}
    for words, objects in (
        (("--dag-id", "d"), 2),
        (("--exclude-dag-id", "x"), 2),
        (("--task-id", "other"), 0),
        (("--larger-than", "100"), 1),
        (("--smaller-than", "50"), 3),
        (("--since", "1d"), 4),
        (("--older-than", "1d"), 0),
    ):
        assert sum(each["objects"] for each in groups(cli, *asked, *words)) == objects, words
    noted = cli("du", *asked).err.splitlines()
    assert noted[1] == "4 objects, 156 B"


def test_a_folder_that_is_not_there_has_no_objects(cli: Run, scene: Scene):
    scene.world.push("d", "r", "t", value="1")
    at = ("--db", scene.database.url, "--base-path", f"{scene.base.text}/none/yet")
    cli("du", *at, "--storage", "-o", "json").failed(12, "", "")


@pytest.mark.parametrize("columns", [40, 80, 200])
def test_bars_on_a_terminal(terminal: Run, cli: Run, listed, columns: int):
    asked = ("du", *listed, "--by", "dag_id,key", "--threshold", "1MB")
    shown = terminal(*asked, columns=columns)
    notes = ("6 rows", "`xcomctl", "hint:")
    drawn = [line for line in shown.lines if not line.startswith(notes)]
    assert shown.code == 0 and max(map(len, drawn)) <= columns
    bars = re.findall("[█▏▎▍▌▋▊▉]+", "\n".join(drawn))
    assert len(bars) == 1 + 1 and all(1 <= len(bar) <= 12 for bar in bars)
    assert "pickled" not in shown.text and "row_size" in shown.text
    assert all(f"{name}" in "".join(drawn) for name in ("etl_a", "etl_b", "ml", "ML"))
    if columns == 200:
        assert bars[0] == "█" * 12
    assert terminal(*asked, "-o", "json", columns=columns).text.startswith("[{")
    chosen = terminal(*asked, "--columns", "dag_id,count", columns=columns).text
    assert "█" not in chosen and "row_size" not in chosen


def test_the_histogram_counts_all_rows(cli: Run, listed):
    drawn = cli("du", *listed, "--limit", "1", "-o", "table").text
    lines = [line.split() for line in drawn.partition("row_size")[2].splitlines()[2:] if line.strip()]
    assert [(line[0], line[1]) for line in lines] == [
        *(("<1KiB", "5"), ("1KiB", "0"), ("10KiB", "0"), ("100KiB", "0"), ("1MiB", "1")),
    ]
    assert "│" not in drawn and "─" not in cli("du", *listed, "-o", "table", "--no-headers").text


def test_pipes(bare: dict[str, str], listed):
    words = [*XCOMCTL, "du", *listed]
    piped = subprocess.run(
        f"{' '.join(words)} | head -1", shell=True, env=bare, capture_output=True, timeout=PATIENCE_SECONDS, check=True
    )
    assert (
        piped.stdout.startswith(b"etl_b\t1\t2000000\t2000000\t1\t2000000\t0\t0\t") and b"Traceback" not in piped.stderr
    )
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer) as gone:
        done = subprocess.run(words, stdout=gone, stderr=subprocess.PIPE, env=bare, check=False)
    assert done.returncode == 141 and b"Traceback" not in done.stderr


def test_progress_is_shown_and_goes(terminal: Run, scene: Scene):
    scene.world.push_many(Push("d", f"r {number % 90}", "t", number, value='"a:/b/c"') for number in range(60_000))
    shown = terminal("du", *place(scene)).text
    assert re.search("\r\x1b\\[K[0-9,]+ rows added up", shown)
    assert not re.search("rows added up(?!\r\x1b\\[K)", shown)
    assert "rows added up" not in terminal("du", *place(scene), "-q").text


@pytest.mark.databases("*-3.4")
def test_every_attempt_counts(cli: Run, scene: Scene):
    for value in ('"a"', '"bb"'):
        scene.world.push_many([Push("d", "r", "t", value=value)])
        scene.world.retry("d", "r", "t")
    (group,) = groups(cli, *place(scene), "--exact")
    assert (group["count"], group["size_bytes"]) == (2, 7)


def test_the_day_is_that_of_utc(cli: Run, scene: Scene):
    late = WHEN.replace(hour=23, minute=59)
    for number, moment in enumerate((late, late + timedelta(minutes=2))):
        scene.world.push("d", "r", "t", number, value="1", timestamp=moment)
    days = [each["day"] for each in groups(cli, *place(scene), "--by", "day", TZ="Asia/Kolkata")]
    assert days == ["2026-01-02", "2026-01-03"]


def test_success_with_quiet_says_nothing_but_data(cli: Run, listed):
    loud = cli("du", *listed, "-o", "json")
    assert cli("du", *listed, "-o", "json", "-q") == Result(0, loud.out)
