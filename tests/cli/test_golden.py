"""Every command in every format: what it prints, byte for byte, against files beside this one.

XCOMCTL_WRITE_GOLDEN=1 writes the files anew, for `git diff` to show what has changed.
"""

from __future__ import annotations

import csv
import io
import json
import os
import re
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.cli.conftest import XCOMCTL, Run
from tests.cli.showcase import FORMATS, GOLDEN, Asked, Showcase, showcase
from tests.lab.database import Databases

COMMANDS = (
    *(
        "ls",
        "ls-check",
        "du",
        "du-by",
        "du-storage",
        "get",
        "get-explain",
        "fsck",
        "gc",
        "gc-due",
        "gc-refused",
        "gc-history",
        "gc-explain",
    ),
    *("restore", "migrate", "rm", "preflight", "verify-backend"),
)
RECORDS = (
    *("ls", "ls-check", "du", "du-by", "du-storage", "get-explain", "fsck", "gc-history", "gc-explain"),
    *("preflight", "verify-backend"),
)
CHOOSING = tuple(name for name in RECORDS if name != "get-explain")
REPORTS = ("gc", "gc-due", "gc-refused", "restore", "migrate", "rm")
SECOND = {
    "du-by": "state",
    "fsck": "severity",
    "gc-explain": "found",
    "preflight": "severity",
    "verify-backend": "status",
    "gc-history": "command",
}
"""The name of a column, where it is not `run_id`."""

AS_THEY_ARE = ("get", "fsck")
"""What a terminal folds by itself: a value, and commands to be copied."""

STRANGE = {"LC_ALL": "C", "LANG": "", "PYTHONIOENCODING": "latin-1", "PYTHONHASHSEED": "7", "TZ": "Asia/Kolkata"}


@pytest.fixture(scope="module")
def shown(databases: Databases, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Showcase]:
    """Made once: nothing that is asked changes it."""
    environment = {**os.environ, "AIRFLOW_HOME": str(tmp_path_factory.mktemp("home"))}

    def run(*words: str) -> bytes:
        return subprocess.run([*XCOMCTL, *words], env=environment, stdout=subprocess.PIPE, check=True).stdout

    with showcase(databases, run) as made:
        yield made


def ask(run: Run, asked: Asked, *more: str, **environment: str) -> bytes:
    done = run(*asked.words, *more, **environment)
    assert done.code == asked.code, done.err
    return done.out


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("name", COMMANDS)
def test_every_byte_twice(cli: Run, shown: Showcase, name: str, form: str):
    asked = shown.asked[name]
    first = shown.settled(ask(cli, asked, "-o", form))
    golden = GOLDEN / f"{name}.{form}"
    if os.environ.get("XCOMCTL_WRITE_GOLDEN"):
        golden.parent.mkdir(exist_ok=True)
        golden.write_bytes(first.encode())
    assert first.encode() == golden.read_bytes()
    assert shown.settled(ask(cli, asked, XCOMCTL_OUTPUT=form)) == first


def test_no_golden_file_is_left_over():
    assert {file.name for file in GOLDEN.iterdir()} == {f"{name}.{form}" for name in COMMANDS for form in FORMATS}


@pytest.mark.parametrize("name", COMMANDS)
def test_the_formats_say_the_same(cli: Run, shown: Showcase, name: str):
    asked = shown.asked[name]
    read = {form: shown.settled(ask(cli, asked, "-o", form)) for form in FORMATS}
    document = json.loads(read["json"], parse_constant=pytest.fail)
    assert isinstance(document, asked.prints) and yaml.safe_load(read["yaml"]) == document
    lines = [json.loads(line) for line in read["jsonl"].splitlines()]
    assert lines == (document if name in RECORDS else [document])
    rows = list(csv.reader(io.StringIO(read["csv"], newline="")))
    if name in RECORDS:
        assert rows[0] == list(document[0]) and len(rows) == len(document) + 1
        assert len(read["plain"].splitlines()) == len(document)
    if name in REPORTS:
        assert rows[0][0::2] == ["what", "size_bytes"]
        counts = {what: int(count) for what, count, _ in rows[1:]}
        assert counts == {what: document[what] for what in counts}
        assert [line.split("\t") for line in read["plain"].splitlines()] == rows[1:]


@pytest.mark.parametrize("name", CHOOSING)
def test_columns_are_chosen(cli: Run, shown: Showcase, name: str):
    asked = shown.asked[name]
    every = json.loads(shown.settled(ask(cli, asked, "-o", "json")))
    first, second = next(iter(every[0])), SECOND.get(name, "run_id")
    chosen = json.loads(shown.settled(ask(cli, asked, "-o", "json", "--columns", f" {second.upper()} , {first}")))
    assert chosen == [{second: row[second], first: row[first]} for row in every]
    assert ask(cli, asked, "-o", "csv", XCOMCTL_COLUMNS=first).startswith(f"{first}\n".encode())
    for wrong, says in (("nope", "there is no 'nope'"), (f"{first},", "there is no ''"), ("", "there is no ''")):
        cli(*asked.words, "--columns", wrong).failed(2, says, ", ".join(every[0]))
    cli(*asked.words, "--columns", f"{first},{second},{first}").failed(2, f"names {first} twice", "once")


@pytest.mark.parametrize("name", CHOOSING)
def test_headers_are_left_out(cli: Run, shown: Showcase, name: str):
    asked = shown.asked[name]
    with_, without = (ask(cli, asked, "-o", "csv", *more) for more in ((), ("--no-headers",)))
    assert shown.settled(with_).partition("\n")[2] == shown.settled(without)
    drawn = ask(cli, asked, "-o", "table", XCOMCTL_NO_HEADERS="1").decode()
    assert "─" not in drawn and f" {json.loads(ask(cli, asked, '-o', 'json'))[0].popitem()[0]} " not in drawn


def test_a_report_has_no_columns(cli: Run, shown: Showcase):
    cli(*shown.asked["gc"].words, "--columns", "listed").failed(2, "no columns to choose", "--history")


@pytest.mark.parametrize("columns", [40, 80, 200])
@pytest.mark.parametrize("name", [name for name in COMMANDS if name not in AS_THEY_ARE])
def test_no_width_loses_a_cell(cli: Run, shown: Showcase, name: str, columns: int):
    asked = shown.asked[name]
    fields = json.loads(ask(cli, asked, "-o", "json"))[0] if name.startswith(("ls", "du")) else ()
    all_of_them = ("--columns", ",".join(fields)) if fields else ()  # else ls and du spare some
    wide = ask(cli, asked, "-o", "table", *all_of_them).decode()
    narrow = ask(cli, asked, "-o", "table", *all_of_them, COLUMNS=str(columns)).decode()
    assert max(map(len, narrow.splitlines())) <= columns
    assert _signs(narrow) >= _signs(wide)


def test_ls_spares_what_a_narrow_terminal_cannot_hold(cli: Run, shown: Showcase):
    drawn = {width: ask(cli, shown.asked["ls"], "-o", "table", COLUMNS=width).decode() for width in ("80", "600")}
    head = {width: next(line for line in text.splitlines() if "run_id" in line) for width, text in drawn.items()}
    assert "reference" in head["600"] and "timestamp" in head["600"] and "state" in head["80"]
    assert "reference" not in head["80"] and "timestamp" not in head["80"]


def _signs(drawn: str) -> set[tuple[str, int]]:
    """Each sign of a cell, numbered, whatever lines it is on.

    But for digits, of which the time changes some, and for bars, which are as long as there is room.
    """
    counts = Counter(sign for sign in drawn if not sign.isdigit() and sign not in " \n─█▏▎▍▌▋▊▉")
    return {(sign, number) for sign, count in counts.items() for number in range(count)}


@pytest.mark.parametrize("name", ["ls", "get", "gc", "preflight"])
def test_a_terminal_gets_what_is_wide_enough_for_it_and_obeys_no_data(terminal: Run, shown: Showcase, name: str):
    asked = shown.asked[name]
    wide, dumb = (terminal(*asked.words, columns=300, TERM=term) for term in ("xterm", "dumb"))
    golden = [line.rstrip() for line in (GOLDEN / f"{name}.table").read_text().splitlines()]
    assert wide.code == dumb.code == asked.code
    assert set(golden) <= set(shown.settled("\n".join(wide.lines).encode()).splitlines())
    assert not re.search("\x1b(?!\\[[01]m)", wide.text) and "\x1b" not in dumb.text
    for more in (("--color", "never"), ()):
        plain = terminal(*asked.words, *more, columns=300, **({} if more else {"NO_COLOR": "1"}))
        assert "\x1b" not in plain.text


@pytest.mark.parametrize("form", ["json", "table", "csv"])
@pytest.mark.parametrize("name", ["ls", "get", "gc", "preflight"])
def test_whatever_the_locale(process: Run, shown: Showcase, name: str, form: str):
    asked = shown.asked[name]
    settled = shown.settled(ask(process, asked, "-o", form, **STRANGE))
    assert settled.encode() == (GOLDEN / f"{name}.{form}").read_bytes()


@pytest.mark.parametrize("name", COMMANDS)
def test_quiet_leaves_out_only_what_was_not_asked_for(cli: Run, shown: Showcase, name: str):
    asked = shown.asked[name]
    quiet = cli(*asked.words, "-q", "-o", "json")
    if asked.prints is dict and asked.code == 0:
        assert (quiet.code, quiet.out, quiet.err) == (0, b"", "")
    elif name == "verify-backend":
        assert {check["status"] for check in quiet.json} == {"fail"}
    else:
        assert shown.settled(quiet.out).encode() == (GOLDEN / f"{name}.json").read_bytes()
    if asked.code == 0:
        assert quiet.err == ""


@pytest.mark.parametrize("form", ["json", "table"])
@pytest.mark.parametrize("name", COMMANDS)
def test_a_full_disk_and_a_reader_who_has_gone(bare: dict[str, str], shown: Showcase, name: str, form: str):
    asked = shown.asked[name]
    words = [*XCOMCTL, *asked.words, "-o", form]
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(words, stdout=full, stderr=subprocess.PIPE, env=bare, check=False)
    *_, what, hint = done.stderr.decode().splitlines()
    assert done.returncode == (1 if name == "verify-backend" else 12)
    assert what == "xcomctl: cannot write: No space left on device" and hint.startswith("hint: ")
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer) as gone:
        done = subprocess.run(words, stdout=gone, stderr=subprocess.PIPE, env=bare, check=False)
    assert done.returncode == 141 and b"Traceback" not in done.stderr


@pytest.mark.parametrize("name", COMMANDS)
def test_every_line_of_the_log_is_json(cli: Run, shown: Showcase, name: str):
    logged = cli(*shown.asked[name].words, "-v", "--log-format", "json")
    lines = [json.loads(line) for line in logged.err.splitlines()]
    assert all(line.keys() >= {"time", "level", "event"} for line in lines)
