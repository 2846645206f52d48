"""`xcomctl preflight` as people and scripts meet it."""

from __future__ import annotations

import pickle

import pytest

from tests.cli.conftest import Run
from tests.lab.world import Push, World

pytestmark = pytest.mark.databases("postgresql-2.11")

FIELDS = ["id", "severity", "dag_id", "run_id", "task_id", "map_index", "key", "size_bytes", "detail", "hint"]


@pytest.fixture
def bad(world: World) -> World:
    """An aborting value, one that changes, one that moves, one that only looks otherwise afterwards, a harmless one."""
    for key, value in (
        ("aborts", b"gar\tbage"),
        ("changes", b"[NaN]"),
        ("moves", pickle.dumps(1)),
        ("number", b"-0.0"),
        ("fine", b"1"),
    ):
        world.push("d", "r", "t", key=key, value=value)
    return world


def test_json_is_an_array_of_findings(cli: Run, bad: World):
    done = cli("preflight", "--target", "3.3.2", "--db", bad.database.url, "-o", "json")
    assert done.code == 1 and [list(each) for each in done.json] == [FIELDS] * 4
    assert [(each["id"], each["severity"], each["key"]) for each in done.json] == [
        ("invalid_json", "error", "aborts"),
        ("nan", "warning", "changes"),
        ("pickled", "warning", "moves"),
        ("number", "info", "number"),
    ]
    assert done.json[0]["size_bytes"] == 8 and done.json[0]["map_index"] == -1
    assert done.json[0]["hint"].startswith("xcomctl rm --archive --base-path URL --dag-id d ")


def test_the_summary_is_on_stderr(cli: Run, bad: World):
    done = cli("preflight", "--target", "3.3.2", "--db", bad.database.url)
    assert "error invalid_json: 1 row, 8 B" in done.err and "warning pickled: 1 row" in done.err
    assert "it rewrites 5 rows," in done.err and " on disk), in one transaction; the largest" in done.err
    assert "proved on a copy, rolled back: of 3 rows that pass and 1 that fail all did as said" in done.err
    assert done.err.endswith("the upgrade to 3.3.2 would fail\n")
    assert [line.split("\t")[0] for line in done.column] == ["invalid_json", "nan", "pickled", "number"]
    assert "after an update of every row" in cli("preflight", "--target", "3.2.0", "--db", bad.database.url).err


def test_a_limit_shows_fewer_and_changes_neither_counts_nor_exit_code(cli: Run, bad: World):
    bad.push("d", "r", "a", key="first", value=b"[NaN]")
    whole = cli("preflight", "--target", "3.3.2", "--db", bad.database.url, "-o", "jsonl")
    cut = cli("preflight", "--target", "3.3.2", "--db", bad.database.url, "-o", "jsonl", "--limit", "1")
    assert cut.code == whole.code == 1
    assert cut.column == whole.column[:1] and '"nan"' in cut.column[0]
    assert cut.err.replace("the first 1 of 5; --limit 0 shows all\n", "") == whole.err


def test_what_only_changes_passes(cli: Run, bad: World):
    bad.delete_xcom("d", "r", "t", key="aborts")
    done = cli("preflight", "--target", "3.3.2", "--db", bad.database.url, "-o", "json")
    assert done.code == 0 and len(done.json) == 3 and done.err.endswith("the upgrade to 3.3.2 would pass\n")
    older = cli("preflight", "--target", "3.0.0", "--db", bad.database.url, "-o", "json")
    assert older.code == 1 and [each["key"] for each in older.json if each["severity"] == "error"] == ["changes"]


def test_filters_narrow_the_answer_and_it_says_so(cli: Run, bad: World):
    done = cli("preflight", "--target", "3.3.2", "--db", bad.database.url, "-o", "json", "--key", "c*")
    assert (done.code, len(done.json)) == (0, 1)
    assert "would pass, as far as the filters let it see" in done.err


def test_nothing_found_is_an_empty_array_and_quiet_is_silent(cli: Run, world: World):
    world.push("d", "r", "t", value=b"1")
    done = cli("preflight", "--target", "3.3.2", "--db", world.database.url, "-o", "json", "-q")
    assert (done.code, done.text, done.err) == (0, "[]\n", "")


def test_the_environment_gives_target_and_limit(cli: Run, bad: World):
    settings = {"XCOMCTL_TARGET": "3.3.2", "XCOMCTL_LIMIT": "2", "XCOMCTL_DB": bad.database.url}
    done = cli("preflight", "-o", "jsonl", **settings)
    assert done.code == 1 and len(done.column) == 2


@pytest.mark.parametrize(("words", "message"), [((), "needs the version"), (("--target", "2.11.2"), "no upgrade from")])
def test_usage_is_decided_before_the_database(cli: Run, words: tuple[str, ...], message: str):
    cli("preflight", *words, "--db", "postgresql://nobody@127.0.0.1:1/none").failed(2, message, "3.3.2")


def test_a_newer_target_is_answered_with_a_note(cli: Run, bad: World):
    done = cli("preflight", "--target", "3.3.9", "--db", bad.database.url)
    assert done.code == 1 and "3.3.9 is newer than this xcomctl" in done.err


@pytest.mark.databases("*-3.3")
def test_airflow_3_needs_no_preflight(cli: Run, world: World):
    world.push("d", "r", "t", value="1")
    done = cli("preflight", "--target", "3.3.2", "--db", world.database.url, "-o", "json")
    assert (done.code, done.text) == (0, "[]\n") and "is of Airflow 3 already" in done.err


@pytest.mark.databases("sqlite-2.11", "mysql-2.11")
def test_other_databases_say_what_was_not_checked(cli: Run, bad: World):
    done = cli("preflight", "--target", "3.0.6", "--db", bad.database.url, "-o", "json")
    assert done.code == 1 and done.err.count("not checked: ") >= 2 and "proved" not in done.err
    assert {each["key"] for each in done.json if each["severity"] == "error"} == {"aborts", "changes"}


@pytest.mark.databases("mysql-2.11")
def test_mariadb_is_told_that_it_cannot(cli: Run, bad: World):
    done = cli("preflight", "--target", "3.3.2", "--db", bad.database.url, "-o", "json")
    assert done.code == 1 and [each["id"] for each in done.json] == ["database"]
    assert "MariaDB does not understand" in done.json[0]["detail"]


def test_it_streams(process: Run, world: World):
    world.push_many([Push("d", "r", "t", number, "k", b"[NaN]") for number in range(2_500)])
    done = process("preflight", "--target", "3.3.2", "--db", world.database.url, "-o", "jsonl")
    assert done.code == 0 and len(done.column) == 2_500
    assert "warning nan: 2,500 rows" in done.err


def test_a_terminal_gets_a_table(terminal: Run, bad: World):
    shown = terminal("preflight", "--target", "3.3.2", "--db", bad.database.url, "--limit", "1")
    assert shown.code == 1 and any("invalid_json" in line and "error" in line for line in shown.lines)
