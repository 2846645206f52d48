"""What people who tried to break xcomctl found, each once."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Run
from tests.lab.database import Database
from tests.lab.world import WHEN, World
from xcomctl.cli import report


def place(database: Database) -> tuple[str, ...]:
    return ("--db", database.url, "--base-path", "file:///no/such/base")


@pytest.mark.databases("sqlite-3.3", "postgresql-3.3", "mysql-3.3")
def test_a_time_with_a_zone_means_the_same_moment_on_every_database(cli: Run, database: Database, world: World):
    """MySQL's drivers cut the zone off a parameter."""
    world.push("d", "r", "t", value="1", timestamp=WHEN)
    for since, until, found in (
        ("2026-01-02T05:04:05+02:00", "2026-01-01T22:04:06-05:00", 1),
        ("2026-01-02T05:04:06+02:00", "2026-01-03", 0),
        ("2026-01-01", "2026-01-01T22:04:05-05:00", 0),
    ):
        done = cli("ls", *place(database), "-o", "json", "--since", since, "--until", until)
        assert len(done.json) == found, (since, until)


@pytest.mark.databases("sqlite-3.3", "postgresql-3.3", "mysql-2.11", "mysql-3.3", "mysql-3.4")
@pytest.mark.parametrize("name", ["return_value ", "return_value\t", "\U0001f600", "RETURN_VALUE"])
def test_a_name_is_only_itself(cli: Run, database: Database, world: World, name: str):
    """MySQL pads names with spaces, and fails on what its utf8mb3 cannot hold."""
    world.push("d", "r", "t", value="1")
    for run_id in ("r", "latest"):
        assert cli("get", "d", run_id, "t", "--key", name, *place(database)).code == 4
    assert cli("get", f"d{name[-1]}", "r", "t", *place(database)).code == 4
    for words in (("--key", name), ("--dag-id", f"{name}*"), ("--run-id", name)):
        done = cli("ls", *place(database), "-o", "json", *words)
        assert (done.code, done.json) == (0, []), done.err


def test_a_secret_is_not_shown_even_as_a_part_of_what_a_library_says(capsys: pytest.CaptureFixture[str]):
    report.hide(["ya29.S3CRET/+", "abc"])
    said = report.Report()
    said.error(ConnectionError("url: /tokeninfo?access_token=ya29.S3CRET%2F%2B, header ya29.S3CRET/+, abc"))
    assert "S3CRET" not in (shown := capsys.readouterr().err)
    assert shown.count("***") == 2 and "abc" in shown


@pytest.mark.databases("sqlite-3.4")
def test_a_token_does_not_reach_stderr(cli: Run, database: Database, world: World):
    """gcsfs asks Google about a token, and its error quotes the address with the token in it."""
    url = "gs://b/x/d/r/t/0d760203-28d1-4226-81c7-7786b50e4773"
    world.push("d", "r", "t", value=json.dumps(url))
    where = ("--db", database.url, "--base-path", "gs://b/x", "--storage-option", "token=ya29.S3CRET")
    done = cli("ls", "--check", *where, "--debug")
    assert done.code == 12
    assert "S3CRET" not in done.err + done.text


@pytest.mark.databases("sqlite-3.3")
def test_yaml_is_one_list(cli: Run, database: Database, world: World):
    import yaml

    assert yaml.safe_load(cli("ls", *place(database), "-o", "yaml").text) == []
    for number in range(3):
        world.push("d", f"r{number}", "t", value="1")
    rows = yaml.safe_load(cli("ls", *place(database), "-o", "yaml", "--columns", "run_id,reference").text)
    assert rows == [{"run_id": f"r{number}", "reference": None} for number in range(3)]


@pytest.mark.databases("sqlite-3.3")
def test_an_unknown_schema_head_is_said_and_read_all_the_same(cli: Run, database: Database, world: World):
    world.push("d", "r", "t", value="1")
    world.sql("UPDATE alembic_version SET version_num = 'deadbeef1234'")
    for command in (("ls",), ("get", "d", "r", "t")):
        done = cli(*command, *place(database))
        assert done.code == 0
        said = done.err.splitlines()
        assert "alembic head deadbeef1234" in said[0] and said[1].startswith("hint: ")
        assert cli(*command, *place(database), "-q").err == ""


@pytest.mark.databases("sqlite-2.11")
def test_json_is_json_whatever_the_value(cli: Run, database: Database, world: World):
    world.push("d", "r", "t", value=b'[NaN, {"a": -Infinity}, 1e400, 1.5]')

    def refuse(constant: str) -> None:
        pytest.fail(f"{constant} is not JSON")

    done = cli("get", "d", "r", "t", *place(database), "-o", "json")
    assert json.loads(done.text, parse_constant=refuse) == ["NaN", {"a": "-Infinity"}, "Infinity", 1.5]


def test_a_dash_is_stdout(cli: Run, tmp_path: Path, monkeypatch, databases):
    monkeypatch.chdir(tmp_path)
    with databases.fresh("sqlite-3.3") as database, World(database) as world:
        world.push("d", "r", "t", value="[1]")
        assert cli("get", "d", "r", "t", *place(database), "--raw", "-O", "-").out == b"[1]"
    assert not (tmp_path / "-").exists()
