"""Completion: the scripts that are handed out are current, and real shells complete with them, names included."""

from __future__ import annotations

import os
import socket
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.conftest import XCOMCTL, Run
from tests.lab import shells
from tests.lab.database import Databases
from tests.lab.world import World
from xcomctl.cli.app import command_line
from xcomctl.cli.completing import Typed

LINES = [
    ("xcomctl l", ["ls"]),
    ("xcomctl ls --so", ["--sort"]),
    ("xcomctl ls --exclude-", ["--exclude-dag-id", "--exclude-key"]),
    ("xcomctl ls --output ", ["auto", "table", "plain", "json", "jsonl", "csv", "yaml"]),
    ("xcomctl get -o js", ["json", "jsonl"]),
    ("xcomctl ls --state inline --state d", ["dangling"]),
    ("xcomctl completions ", ["bash", "zsh", "fish"]),
    ("xcomctl help e", ["environment", "exit-codes"]),
    ("xcomctl gc --single", ["--single-pass"]),
    ("xcomctl ls --dag-id ", ["etl", "report"]),
    ("xcomctl ls --dag-id e", ["etl"]),
    ("xcomctl rm --exclude-dag-id r", ["report"]),
    ("xcomctl ls --dag-id etl --task-id ", ["load", "train"]),
    ("xcomctl ls --dag-id report --task-id ", ["sum"]),
    ("xcomctl ls --task-id train --key ", ["cost"]),
    ("xcomctl migrate --exclude-key ", ["cost", "return_value", "total"]),
    ("xcomctl get etl latest t", ["train"]),
    ("xcomctl get report l", ["latest"]),
    ("xcomctl ls --columns dag_id,r", ["dag_id,run_id", "dag_id,reference"]),
    ("xcomctl ls --check --columns object_s", ["object_size_bytes"]),
    ("xcomctl ls --columns object_s", []),
    ("xcomctl ls --sort -m", ["-map_index"]),
    ("xcomctl ls --dag-id nope --task-id ", []),
    ("xcomctl du --by dag_id,k", ["dag_id,key"]),
    ("xcomctl du --by key --columns ke", ["key"]),
    ("xcomctl gc --allow rep", ["replica"]),
    ("xcomctl migrate --allow back", ["backend"]),
    ("xcomctl rm --allow rep", ["replica"]),
    ("xcomctl fsck --only dan", ["dangling"]),
    ("xcomctl fsck --columns seve", ["severity"]),
    ("xcomctl preflight --columns seve", ["severity"]),
    ("xcomctl verify-backend --columns stat", ["status"]),
    ("xcomctl gc --history --columns operation", ["operation_id"]),
]

BASH = """
source "$1"
COMP_LINE=$2 COMP_POINT=${#2}
_xcomctl xcomctl 2>/dev/null
printf '%s\\n' "${COMPREPLY[@]}"
"""
ZSH = """
compdef() { :; }
compadd() { print -rl -- $values; }
words=("${(@z)2}")
[[ $2 == *" " ]] && words+=("")
CURRENT=$#words PREFIX=$words[-1]
"""
SOURCED = ZSH + 'source "$1"; _xcomctl'
AUTOLOADED = ZSH + 'fpath=("${1:h}"); autoload -Uz _xcomctl; _xcomctl'
FISH = "source $argv[1]; complete --do-complete=$argv[2]"

RUNS = (
    "r:2026-01-01T00:00:00+00:00",
    "r it's $HOME",
    'r"\\`id`!bang',
    "rünï 😀 ~;&|#",
    "r[1]*?(p){b}<e>",
    "r=b,c",
)
"""Runs whose names a shell would take for something else."""

BEGUN = ("r", "'r", '"r')
BREAKS = " \t\n\"'><=;|&(:"


def push(world: World) -> None:
    """The XComs of two DAGs."""
    for dag, run, task, key in (
        ("etl", "a", "load", "return_value"),
        ("etl", "a", "train", "cost"),
        ("report", "b", "sum", "total"),
    ):
        world.push(dag, run, task, key=key, value='"x"')


@pytest.fixture(scope="module")
def airflow(databases: Databases) -> Iterator[str]:
    """The URL of an Airflow with two DAGs, and others that have a run with a name to quote."""
    with databases.fresh("sqlite-3.3") as database, World(database) as world:
        push(world)
        for number, run in enumerate(RUNS):
            world.run(f"runs{number}", run)
        yield database.url


@pytest.fixture
def airflow_of_two(databases: Databases) -> Iterator[str]:
    """The URL of an Airflow with two DAGs."""
    with databases.fresh("sqlite-3.3") as database, World(database) as world:
        push(world)
        yield database.url


@pytest.mark.parametrize("shell", shells.FILES)
def test_the_scripts_are_current(cli: Run, shell):
    printed = cli("completions", shell)
    assert (printed.code, printed.err) == (0, "")
    assert (shells.SCRIPTS / shells.FILES[shell]).read_bytes() == printed.out, "run `make docs`"


class TestShells:
    """What a shell is given, without a terminal: the same in all."""

    def test_bash(self, bare, airflow_of_two):
        for line, offered in LINES:
            shown = batch(bare, "bash", ["--norc", "--noprofile", "-c", BASH, "bash"], line, airflow_of_two)
            assert [each for each in shown if each] == offered, line

    def test_bash_with_an_alias(self, bare, airflow_of_two):
        script = BASH.replace("_xcomctl xcomctl", "_xcomctl k")
        shown = batch(bare, "bash", ["--norc", "--noprofile", "-c", script, "bash"], "k ls --sor", airflow_of_two)
        assert script != BASH and shown == ["--sort"]

    @pytest.mark.parametrize("script", [SOURCED, AUTOLOADED], ids=["sourced", "autoloaded"])
    def test_zsh(self, bare, script, airflow_of_two):
        for line, offered in LINES:
            assert batch(bare, "zsh", ["-f", "-c", script, "zsh"], line, airflow_of_two) == offered, line

    def test_fish(self, bare, airflow_of_two):
        for line, offered in LINES:
            shown = batch(bare, "fish", ["--no-config", "-c", FISH], line, airflow_of_two)
            assert sorted(each.partition("\t")[0] for each in shown) == sorted(offered), line


def batch(bare: dict[str, str], shell: str, arguments: list[str], line: str, url: str) -> list[str]:
    """What a real shell makes of a line that ends in a press of TAB, with the tested xcomctl on its path."""
    done = subprocess.run(
        [shells.shell(shell), *arguments, str(shells.SCRIPTS / shells.FILES[shell]), line],
        env={**shells.environment(bare), "XCOMCTL_DB": url},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stderr == ""
    return done.stdout.splitlines()


class TestTyping:
    """Somebody types at a terminal, presses TAB, and the line that comes of it is what the shell then runs."""

    @pytest.fixture(params=list(shells.FILES))
    def session(self, request, bare, airflow) -> Iterator[shells.Session]:
        with shells.session(request.param, bare, XCOMCTL_DB=airflow) as opened:
            yield opened

    def test_names_arrive_right_however_they_are_begun(self, session):
        for number, run in enumerate(RUNS):
            for begun in BEGUN if number < 2 else BEGUN[number % 3 :][:1]:
                assert session.arguments(f"xcomctl get runs{number} {begun}") == ["get", f"runs{number}", run]

    def test_a_word_is_completed_also_behind_a_colon_and_an_equals_sign(self, session):
        (at, *_) = RUNS
        assert session.arguments("xcomctl get runs0 r:2026-01-01T00:") == ["get", "runs0", at]
        assert session.arguments("xcomctl ls --run-id=r:2026") == ["ls", f"--run-id={at}"]

    def test_piece_by_piece(self, session):
        assert session.arguments("xcomctl verify-b", "--read") == ["verify-backend", "--read-only"]
        assert session.arguments("xcomctl ls --columns dag_id,run_i") == ["ls", "--columns", "dag_id,run_id"]
        assert session.arguments("xcomctl ls --dag-id et", "--task-id tr") == [
            "ls", "--dag-id", "etl", "--task-id", "train",
        ]  # fmt: skip

    @pytest.mark.parametrize("shell", ["bash", "zsh"])
    def test_a_list_goes_on_behind_its_last_word(self, shell, bare):
        """fish sets a space behind every word."""
        with shells.session(shell, bare) as session:
            assert session.arguments("xcomctl ls --columns dag_i", ",run_i") == ["ls", "--columns", "dag_id,run_id"]

    def test_files(self, session, bare):
        (Path(bare["HOME"]) / "report file.json").touch()
        assert session.arguments("xcomctl get -O rep") == ["get", "-O", "report file.json"]


class TestSilence:
    """Nothing on stderr, exit code 0, no suggestion, at once: whatever is wrong."""

    def offered(self, bare, *words: str, **environment: str) -> tuple[list[str], float]:
        started = time.monotonic()
        done = subprocess.run(
            [*XCOMCTL, *words],
            env={**bare, "_XCOMCTL_COMPLETE": "zsh", **environment},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout.splitlines()[1:], time.monotonic() - started

    @pytest.mark.parametrize(
        "url",
        [
            "",
            "nonsense",
            "postgresql://u:hunter2hunter2@127.0.0.1:1/db",
            "postgresql://127.0.0.1:port/db",
            "sqlite:////nonexistent/db",
            "mysql://u@127.0.0.1:1/db",
            "$NOT_SET",
        ],
    )
    def test_no_database(self, bare, url):
        assert self.offered(bare, "ls", "--dag-id", "", XCOMCTL_DB=url)[0] == []
        assert self.offered(bare, "ls", "--db", url, "--run-id", "")[0] == []

    def test_a_file_that_is_no_database(self, bare, tmp_path):
        (tmp_path / "x.db").write_text("no database" * 1000)
        assert self.offered(bare, "ls", "--dag-id", "", XCOMCTL_DB=f"sqlite:///{tmp_path}/x.db")[0] == []
        sqlite3.connect(tmp_path / "empty.db").close()
        assert self.offered(bare, "ls", "--key", "", XCOMCTL_DB=f"sqlite:///{tmp_path}/empty.db")[0] == []
        assert self.offered(bare, "ls", "--dag-id", "", XCOMCTL_DB=f"sqlite:///{tmp_path}/none.db")[0] == []
        assert not (tmp_path / "none.db").exists()

    @pytest.mark.parametrize("scheme", ["postgresql", "mysql+pymysql"])
    def test_a_silent_host(self, bare, scheme):
        """It takes the connection, and says nothing; libpq waits in C."""
        with socket.create_server(("127.0.0.1", 0)) as silent:
            url = f"{scheme}://u:p@127.0.0.1:{silent.getsockname()[1]}/db"
            nothing, _ = self.offered(bare, "ls", "--dag-i")
            offered, seconds = self.offered(bare, "ls", "--dag-id", "", XCOMCTL_DB=url)
        assert (offered, nothing) == ([], ["--dag-id\tOnly these DAGs; repeatable."])
        assert seconds < 3  # about one on a machine that does nothing else

    def test_a_locked_file(self, bare, airflow_of_two):
        file = sqlite3.connect(airflow_of_two.removeprefix("sqlite:///"))
        file.execute("BEGIN EXCLUSIVE")
        offered, seconds = self.offered(bare, "ls", "--dag-id", "", XCOMCTL_DB=airflow_of_two)
        file.close()
        assert offered == [] and seconds < 3
        assert self.offered(bare, "ls", "--dag-id", "", XCOMCTL_DB=airflow_of_two)[0] == ["etl\t", "report\t"]

    def test_half_a_line(self, bare, airflow_of_two):
        for words in (["lss", ""], ["ls", "--limit", "many", "--dag-id", "x"], ["get", "--nope"], ["--", "--"], []):
            self.offered(bare, *words, XCOMCTL_DB=airflow_of_two)
        for shell in ("nonsense", "", "bash", "fish", "complete_bash"):
            self.offered(bare, "ls", _XCOMCTL_COMPLETE=shell)

    def test_where_the_database_is_said(self, bare, airflow_of_two):
        both = ["etl\t", "report\t"]
        words = ("ls", "--dag-id", "")
        assert self.offered(bare, "ls", "--db", airflow_of_two, "--dag-id", "")[0] == both
        assert self.offered(bare, *words, AIRFLOW__DATABASE__SQL_ALCHEMY_CONN=airflow_of_two)[0] == both
        assert self.offered(bare, "ls", "--db", "$MINE", "--dag-id", "", MINE=airflow_of_two)[0] == both

    def test_airflow_is_not_asked_only_its_file_is_read(self, bare, home, airflow_of_two):
        (home / "airflow.cfg").write_text("[database]\nsql_alchemy_conn_cmd = echo %s\n[core\nno ini")
        assert self.offered(bare, "ls", "--dag-id", "")[0] == []
        (home / "airflow.cfg").write_text(f"[database]\nsql_alchemy_conn = {airflow_of_two.replace('%', '%%')}\n")
        assert [each.strip() for each in self.offered(bare, "ls", "--dag-id", "")[0]] == ["etl", "report"]


def test_every_value_that_is_a_file_is_completed_as_one(bare):
    """Typer says of some types that they are files, and not in all its versions."""
    taking = {"output_file", "rules", "metrics_file", "folder", "files"}
    completed = {
        parameter.name
        for command in command_line().commands.values()
        for parameter in command.params
        if parameter.metavar in ("FILE", "FILES") or parameter.name == "folder"
        if getattr(parameter, "_custom_shell_complete", None)
    }
    assert completed == taking


@pytest.mark.parametrize(
    ("line", "words", "head"),
    [
        ("xcomctl ls a\\ b 'c d", ["xcomctl", "ls", "a b", "c d"], ""),
        ("x r:1:", ["x", "r:1:"], "r:1:"),
        ("x r\\:1", ["x", "r:1"], ""),
        ("x --run-id='r:1", ["x", "--run-id=r:1"], "--run-id="),
        ('x "a\\$b\\c', ["x", "a$b\\c"], ""),
        ("x a\\", ["x", "a"], ""),
        ("x ''", ["x", ""], ""),
        ("x  y ", ["x", "y", ""], ""),
    ],
)
def test_what_bash_has_been_typed(line, words, head):
    typed = Typed.read(line)
    assert (typed.words, typed.head(BREAKS)) == (words, head)


def test_old_scripts_find_nothing_and_say_nothing(process: Run):
    shown = process(_XCOMCTL_COMPLETE="complete_bash", COMP_WORDS="xcomctl ls", COMP_CWORD="1", PATH=os.environ["PATH"])
    assert (shown.code, shown.err) == (0, "")
