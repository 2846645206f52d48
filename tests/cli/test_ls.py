"""`xcomctl ls`: which rows it lists, in what order, how many, and what it says of their objects."""

from __future__ import annotations

import json
import pickle
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from uuid import uuid4

import pytest

from tests.cli.conftest import Run, place
from tests.lab import s3
from tests.lab.database import Databases
from tests.lab.world import WHEN, Push, World
from tests.operations.scene import Scene

pytestmark = [pytest.mark.databases("sqlite-3.3"), pytest.mark.stores("file")]

BASE = "s3://bucket/xcom"
FIELDS = ["dag_id", "run_id", "task_id", "map_index", "key", "state", "size_bytes", "timestamp", "reference"]
ROW_FIELDS = [*FIELDS, "try_number"]
CHECKED_FIELDS = [*ROW_FIELDS, "object_size_bytes", "object_modified_at"]


@dataclass(frozen=True, slots=True)
class Listed:
    """A database whose rows are told by their tasks."""

    url: str

    @property
    def place(self) -> tuple[str, ...]:
        return "--db", self.url, "--base-path", BASE


@pytest.fixture(scope="module")
def listed(databases: Databases) -> Iterator[Listed]:
    """One row for every filter. Tests only look at it."""
    now = datetime.now(timezone.utc)
    with databases.fresh("sqlite-3.3") as database, World(database) as world:
        ago = [now - timedelta(hours=1), *(now - timedelta(days=days) for days in (2, 10, 40))]
        reference, elsewhere = (json.dumps(f"{base}/d/r/t/{uuid4()}") for base in (BASE, "s3://other/xcom"))
        world.push("etl_a", "r1", "fresh", value="1", timestamp=ago[0])
        world.push("etl_a", "r2", "mapped", 3, value='"x"', timestamp=ago[1])
        world.push("etl_b", "r1", "large", key="model", value=json.dumps("x" * 1_999_998), timestamp=ago[2])
        world.push("ml", "r3", "stored", key="model", value=reference, timestamp=ago[3])
        world.push("ML", "r[3]", "strange", key="_", value=elsewhere, timestamp=ago[3])
        yield Listed(database.url)


FILTERS = [
    ("--dag-id", "etl_*", "fresh mapped large"),
    ("--dag-id", "etl_?", "fresh mapped large"),
    ("--dag-id", "etl?a", "fresh mapped"),
    ("--dag-id", "[em]*_b", "large"),
    ("--dag-id", "ml", "stored"),
    ("--run-id", "r1", "fresh large"),
    ("--run-id", "r[3]", "stored strange"),
    ("--task-id", "*ed", "mapped stored"),
    ("--key", "model", "large stored"),
    ("--key", "_", "strange"),
    ("--map-index", "3", "mapped"),
    ("--map-index", "-1", "fresh large stored strange"),
    ("--exclude-dag-id", "etl_*", "stored strange"),
    ("--exclude-key", "[!m]*", "large stored"),
    ("--older-than", "7d", "large stored strange"),
    ("--older-than", "36h", "mapped large stored strange"),
    ("--older-than", "5w", "stored strange"),
    ("--older-than", "9d12h30m", "large stored strange"),
    ("--since", "90m", "fresh"),
    ("--since", "7d", "fresh mapped"),
    ("--until", "7d", "large stored strange"),
    ("--until", "2020-01-01", ""),
    ("--larger-than", "1MB", "large"),
    ("--larger-than", "2B", "mapped large stored strange"),
    ("--smaller-than", "1MiB", "fresh mapped stored strange"),
    ("--smaller-than", "1", "fresh"),
    ("--state", "inline", "fresh mapped large"),
    ("--state", "external", "stored"),
    ("--state", "foreign", "strange"),
    ("--state", "pickled", ""),
]


@pytest.mark.parametrize(("flag", "value", "tasks"), FILTERS)
def test_every_filter_as_flag_and_as_environment_variable(cli: Run, listed: Listed, flag, value, tasks):
    asked = ("ls", *listed.place, "--columns", "task_id")
    as_flag = cli(*asked, flag, value)
    as_variable = cli(*asked, **{f"XCOMCTL_{flag.strip('-').replace('-', '_').upper()}": value})
    assert sorted(as_flag.column) == sorted(tasks.split())
    assert (as_flag.code, as_flag.err) == (0, "")
    assert as_variable == as_flag


@pytest.mark.parametrize(
    ("words", "tasks"),
    [
        (("--dag-id", "etl_a", "--dag-id", "ml"), "fresh mapped stored"),
        (("--dag-id", "etl_*", "--exclude-dag-id", "etl_a", "--exclude-dag-id", "x"), "large"),
        (("--state", "external", "--state", "foreign"), "stored strange"),
        (("--since", "20d", "--older-than", "1d"), "mapped large"),
        (("--until", "1d", "--older-than", "9d"), "large stored strange"),
        (("--key", "model", "--larger-than", "1k", "--smaller-than", "5MB"), "large"),
        (("--dag-id", "nothing"), ""),
    ],
)
def test_filters_together(cli: Run, listed: Listed, words, tasks):
    found = cli("ls", *listed.place, "--columns", "task_id", *words)
    assert sorted(found.column) == sorted(tasks.split())


def test_repeatable_filters_are_words_in_their_environment_variable(cli: Run, listed: Listed):
    found = cli("ls", *listed.place, "--columns", "task_id", XCOMCTL_DAG_ID="etl_a ml", XCOMCTL_STATE="inline external")
    assert sorted(found.column) == ["fresh", "mapped", "stored"]


@pytest.mark.parametrize(
    ("size", "larger", "smaller"),
    [
        ("512k", "a b c d", "a"),
        ("512kB", "a b c d", "a"),
        ("512KiB", "b c d", "a b"),
        ("1MB", "c d", "a b c"),
        ("1 MiB", "d", "a b c d"),
        ("0.001GB", "c d", "a b c"),
        ("524288", "b c d", "a b"),
    ],
)
def test_units_of_size(cli: Run, scene: Scene, size, larger, smaller):
    sizes = {"a": 512_000, "b": 524_288, "c": 1_000_000, "d": 1_048_576}
    scene.world.push_many(Push("d", "r", task, value=json.dumps("x" * (n - 2))) for task, n in sizes.items())
    asked = ("ls", *place(scene), "--columns", "task_id")
    assert cli(*asked, "--larger-than", size).column == larger.split()
    assert cli(*asked, "--smaller-than", size).column == smaller.split()


@pytest.mark.parametrize(
    ("since", "tasks"),
    [
        ("2026-01-02T11:00", ["noon", "later"]),
        ("2026-01-02 11:00:00", ["noon", "later"]),
        ("2026-01-02", ["noon", "later"]),
        ("2026-01-02T12:00:00Z", ["noon", "later"]),
        ("2026-01-02T12:00:00.000001Z", ["later"]),
        ("2026-01-02T13:00:00+01:00", ["noon", "later"]),
        ("2026-01-02T13:00:00", ["later"]),
        ("2026-01-02T12:00:00-01:00", ["later"]),
    ],
)
def test_times_without_a_zone_are_utc_wherever_the_machine_is(cli: Run, scene: Scene, since, tasks):
    noon = datetime(2026, 1, 2, 12, tzinfo=timezone.utc)
    scene.world.push("d", "r", "noon", timestamp=noon)
    scene.world.push("d", "r2", "later", timestamp=noon + timedelta(hours=2))
    found = cli("ls", *place(scene), "--columns", "task_id", "--since", since, TZ="America/New_York")
    assert found.column == tasks


@pytest.mark.parametrize("field", FIELDS[:-1])
def test_sorted_by_any_field_both_ways(cli: Run, listed: Listed, field):
    def by(sort: str, *more: str) -> list[object]:
        return [row[field] for row in cli("ls", *listed.place, "--sort", sort, *more, "-o", "json").json]

    rising, falling = by(field), by(f"-{field}")
    assert len(rising) == 5 and rising == sorted(rising) and falling == rising[::-1]
    assert (by(field, "--limit", "2"), by(f"-{field}", "--limit", "2")) == (rising[:2], falling[:2])


def test_what_is_not_known_sorts_before_all_that_is(cli: Run, listed: Listed):
    asked = ("ls", *listed.place, "--columns", "reference", "--sort")
    rising, falling = cli(*asked, "reference").column, cli(*asked, "-reference").column
    assert rising[:3] == ["", "", ""] == falling[2:]
    assert rising[3:] == falling[1::-1] == sorted(rising[3:])


def test_a_limit_and_the_note_about_it(cli: Run, listed: Listed):
    asked = ("ls", *listed.place, "--columns", "task_id")
    everything = cli(*asked)
    assert len(everything.column) == 5 and everything.err == ""
    two = cli(*asked, "--limit", "2")
    assert two.column == everything.column[:2]
    assert two.err == "the first 2; --limit 0 shows all\n"
    assert cli(*asked, "--limit", "2", "-q").err == ""
    assert cli(*asked, XCOMCTL_LIMIT="2") == two
    for enough in ("0", "5", "6", str(2**70)):
        assert cli(*asked, "--limit", enough) == everything


def test_a_terminal_gets_fifty_rows_and_a_pipe_all(cli: Run, terminal: Run, scene: Scene):
    scene.world.push_many(Push("d", "r", "t", number) for number in range(60))
    asked = ("ls", *place(scene), "--columns", "dag_id,map_index")
    assert len(cli(*asked).column) == 60
    shown = terminal(*asked)
    rows = [line.split() for line in shown.text.splitlines() if line.lstrip().startswith("d ")]
    assert [row[1] for row in rows] == [str(number) for number in range(50)]
    assert shown.text.endswith("the first 50; --limit 0 shows all\n") and shown.code == 0
    assert sum(line.lstrip().startswith("d ") for line in terminal(*asked, "--limit", "0").text.splitlines()) == 60


def test_columns_are_those_asked_for_in_that_order(cli: Run, listed: Listed):
    asked = ("ls", *listed.place, "--task-id", "mapped", "--columns", "map_index,dag_id")
    assert cli(*asked).out == b"3\tetl_a\n"
    assert cli(*asked, "-o", "csv").out == b"map_index,dag_id\n3,etl_a\n"
    assert cli(*asked, "-o", "json").out == b'[{"map_index": 3, "dag_id": "etl_a"}]\n'
    assert cli(*asked[:-2], XCOMCTL_COLUMNS="map_index,dag_id") == cli(*asked)


@pytest.mark.parametrize("flag", ["--columns", "--sort"])
def test_an_unknown_column_is_told_the_known_ones(cli: Run, listed: Listed, flag):
    cli("ls", *listed.place, flag, "weight").failed(2, "there is no 'weight'", ", ".join(ROW_FIELDS))
    assert cli("ls", *listed.place, flag, "SIZE") == cli("ls", *listed.place, flag, "size_bytes")
    cli("ls", *listed.place, "--check", flag, "x").failed(2, "'x'", ", ".join(CHECKED_FIELDS))


def test_the_fields_of_a_row_stand_in_the_order_of_the_contract(cli: Run, scene: Scene):
    url = scene.push("d", key="k")
    (row,) = cli("ls", *place(scene), "-o", "json").json
    assert list(row) == ROW_FIELDS
    assert row == {
        "dag_id": "d",
        "run_id": "r",
        "task_id": "t",
        "map_index": -1,
        "key": "k",
        "state": "external",
        "size_bytes": len(url) + 2,
        "timestamp": WHEN.isoformat(),
        "reference": url,
        "try_number": None,
    }
    (checked,) = cli("ls", *place(scene), "--check", "-o", "json").json
    assert list(checked) == CHECKED_FIELDS
    assert checked.items() >= row.items() and checked["object_size_bytes"] == 3
    assert abs(datetime.fromisoformat(checked["object_modified_at"]) - datetime.now(timezone.utc)).seconds < 60


def test_check_finds_what_dangles_among_all_the_rest(cli: Run, scene: Scene):
    live, lost = scene.push("d", task_id="live"), scene.push("d", task_id="lost")
    scene.raw.delete(lost.removeprefix(f"{scene.raw.url}/"))
    foreign = f"file://{scene.raw.path}/elsewhere/d/r/t/{uuid4()}"
    scene.world.push("d", "r", "foreign", value=json.dumps(foreign))
    scene.world.push("d", "r", "inline", value="1")
    asked = ("ls", *place(scene), "--columns", "task_id,state,object_size_bytes")
    assert cli(*asked, "--check").column == [
        "foreign\tdangling\t",
        "inline\tinline\t",
        "live\texternal\t3",
        "lost\tdangling\t",
    ]
    dangling = cli(*asked, "--state", "dangling")
    assert dangling.column == ["foreign\tdangling\t", "lost\tdangling\t"]
    assert cli(*asked, XCOMCTL_STATE="dangling") == dangling == cli(*asked, "--check", "--state", "dangling")
    assert cli(*asked, "--check", "--state", "external").column == ["live\texternal\t3"]
    assert cli(*asked[:-2], XCOMCTL_CHECK="true", XCOMCTL_COLUMNS=asked[-1]) == cli(*asked, "--check")
    assert live in cli("ls", *place(scene)).text


@pytest.mark.parametrize("name", ["\\ud800", "\\u0000", "x" * 5000])
def test_a_reference_that_no_file_can_have_is_dangling(cli: Run, scene: Scene, name):
    scene.push("d", task_id="live")
    scene.world.push("d", "r", "strange", value=f'"{scene.base.text}/d/r/t/{name}"')
    found = cli("ls", *place(scene), "--check", "--columns", "task_id,state")
    assert (found.column, found.code) == (["live\texternal", "strange\tdangling"], 0)


@pytest.mark.stores("ministack")
def test_check_in_a_bucket(cli: Run, scene: Scene):
    live, lost = (scene.push("d", task_id=task) for task in ("live", "lost"))
    scene.raw.delete(lost.removeprefix(f"{scene.raw.url}/"))
    asked = ("ls", *place(scene), "--check", "--columns", "reference,state,object_size_bytes")
    assert sorted(cli(*asked).column) == sorted([f"{live}\texternal\t3", f"{lost}\tdangling\t"])


def test_a_foreign_store_that_does_not_open_is_a_warning(cli: Run, scene: Scene):
    scene.push("d", task_id="live")
    scene.world.push("d", "r", "foreign", value=json.dumps(f"abfs://other/d/r/t/{uuid4()}"))
    found = cli("ls", *place(scene), "--check", "--columns", "task_id,state")
    assert (found.column, found.code) == (["foreign\tforeign", "live\texternal"], 0)
    assert found.err.startswith("warning: cannot look up abfs://other/d/r/t/")
    assert found.err.count("\n") == 1


@pytest.mark.databases("*-2.11")
def test_pickled_rows_are_told(cli: Run, scene: Scene):
    scene.world.push("d", "r", "pickled", value=pickle.dumps({"a": 1}))
    scene.world.push("d", "r", "plain", value="1")
    asked = ("ls", *place(scene), "--columns", "task_id,state")
    assert cli(*asked).column == ["pickled\tpickled", "plain\tinline"]
    assert cli(*asked, "--state", "pickled").column == ["pickled\tpickled"]


@pytest.mark.databases("*-3.4")
def test_the_live_attempt_or_all_of_them(cli: Run, scene: Scene):
    for value in ("1", "2"):
        scene.world.push_many([Push("d", "r", "t", value=value)])
        scene.world.retry("d", "r", "t")
    scene.world.push_many([Push("d", "r", "t", value="3")])
    asked = ("ls", *place(scene), "--columns", "task_id,try_number", "--sort", "try_number")
    assert cli(*asked).column == ["t\t3"]
    assert cli(*asked, "--all-attempts").column == ["t\t1", "t\t2", "t\t3"]
    assert cli(*asked, XCOMCTL_ALL_ATTEMPTS="1") == cli(*asked, "--all-attempts")


def test_a_missing_sqlite_file_is_an_error_and_stays_missing(cli: Run, tmp_path: Path):
    path = tmp_path / "airflow.db"
    cli("ls", "--db", f"sqlite:///{path}", "--base-path", BASE).failed(10, f"there is no SQLite file {path}", "--db")
    assert not path.exists()


def test_nothing_configured_at_all_makes_nothing(process: Run, home: Path):
    """Airflow's own default is a SQLite file in its home, which Airflow would make."""
    process("ls").failed(10, f"there is no SQLite file {home}/airflow.db", "--db")
    assert not list(home.glob("*.db"))


def test_the_database_of_the_environment(cli: Run, scene: Scene):
    scene.push("d")
    url, base = scene.database.url, scene.base.text
    by_flag = cli("ls", *place(scene))
    assert cli("ls", XCOMCTL_DB=url, XCOMCTL_BASE_PATH=base) == by_flag
    airflow = {"AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": url, "AIRFLOW__COMMON_IO__XCOM_OBJECTSTORAGE_PATH": base}
    assert cli("ls", **airflow) == by_flag
    assert cli("ls", XCOMCTL_DB=url, XCOMCTL_BASE_PATH=base, **dict.fromkeys(airflow, "nonsense://x/y")) == by_flag
    assert cli("ls", *place(scene), XCOMCTL_DB="nonsense", XCOMCTL_BASE_PATH="nonsense") == by_flag


def test_a_database_file_with_a_space_in_its_name(cli: Run, scene: Scene, tmp_path: Path):
    scene.push("d")
    moved = tmp_path / "air flow.db"
    moved.write_bytes(Path(scene.database.url.removeprefix("sqlite:///")).read_bytes())
    found = cli("ls", "--db", f"sqlite:///{moved}", "--base-path", scene.base.text)
    assert found == cli("ls", *place(scene)) and len(found.column) == 1
    assert cli("ls", XCOMCTL_DB=f"sqlite:///{moved}", XCOMCTL_BASE_PATH=scene.base.text) == found


def test_another_schema_than_the_default(cli: Run, databases: Databases):
    with databases.fresh("postgresql-3.3", schema="airflow_tables") as database, World(database) as world:
        world.push("d", "r", "t", value="1")
        asked = ("ls", "--db", database.url, "--columns", "dag_id")
        assert cli(*asked, "--db-schema", "airflow_tables").column == ["d"]
        assert cli(*asked, XCOMCTL_DB_SCHEMA="airflow_tables").column == ["d"]
        cli(*asked).failed(10, "holds no table xcom", "--db-schema")


def test_storage_options_reach_the_store(cli: Run, ministack: s3.S3Server, scene: Scene):
    bucket = s3.bucket(ministack)
    url = f"{bucket.url}/xcom/d/r/t/{uuid4()}"
    bucket.put(url.removeprefix(f"{bucket.url}/"), b"[1, 2]")
    scene.world.push("d", "r", "t", value=json.dumps(url))
    asked = ("ls", "--db", scene.database.url, "--base-path", f"{bucket.url}/xcom", "--check", "--columns")
    words = f"key={ministack.key} secret={ministack.secret} client_kwargs.endpoint_url={ministack.endpoint}"
    found = cli(*asked, "object_size_bytes", XCOMCTL_STORAGE_OPTION=f"{words} client_kwargs.region_name=us-east-1")
    assert (found.out, found.err, found.code) == (b"6\n", "", 0)
