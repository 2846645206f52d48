"""What stdout looks like: every format byte for byte, on a terminal and off it; and what stays off stdout."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from tests.cli.conftest import PATIENCE_SECONDS, XCOMCTL, Result, Run, place
from tests.lab.database import Databases
from tests.lab.world import Push, World
from tests.operations.scene import Scene
from xcomctl.backend.storage import Stores
from xcomctl.cli import render
from xcomctl.cli.options import Color, Output
from xcomctl.model import XComKey
from xcomctl.operations import fetching

pytestmark = [pytest.mark.databases("sqlite-3.3"), pytest.mark.stores("file")]

ROOT = str(Path(__file__).parents[2])
BASE = "s3://bucket/xcom"
TEXT = st.text().filter(lambda text: "\0" not in text)
"""Python's own reader of CSV stops at NUL until 3.11."""

FORMATS = ("plain", "csv", "json", "jsonl", "yaml", "table")
NAMES = ["dag_id", "run_id", "key", "map_index", "size_bytes", "reference"]
ROWS = [
    ["d", "r", "\x1b[31m", -1, 38, f"{BASE}/d/r/t/\ud800 é"],
    ["null", "~", "1", -1, 4, None],
    ["tab\tnew\nline", "back\\slash", "a\rb", 0, 3, None],
    ["é😀", '"quoted", [red]', "=1+1", 7, 2048, None],
]
"""What a CSV, a TSV, JSON, YAML, a terminal or rich could take for something else."""

RECORDS = [dict(zip(NAMES, row, strict=True)) for row in ROWS]

GOLDEN = {
    "plain": (
        "d\tr\t\x1b[31m\t-1\t38\ts3://bucket/xcom/d/r/t/\\ud800 é\n"
        "null\t~\t1\t-1\t4\t\n"
        "tab\\tnew\\nline\tback\\\\slash\ta\\rb\t0\t3\t\n"
        'é😀\t"quoted", [red]\t=1+1\t7\t2048\t\n'
    ),
    "csv": (
        "dag_id,run_id,key,map_index,size_bytes,reference\n"
        "d,r,\x1b[31m,-1,38,s3://bucket/xcom/d/r/t/\\ud800 é\n"
        "null,~,1,-1,4,\n"
        '"tab\tnew\nline",back\\slash,"a\rb",0,3,\n'
        'é😀,"""quoted"", [red]",=1+1,7,2048,\n'
    ),
    "jsonl": (
        '{"dag_id": "d", "run_id": "r", "key": "\\u001b[31m", "map_index": -1, "size_bytes": 38,'
        ' "reference": "s3://bucket/xcom/d/r/t/\\ud800 é"}\n'
        '{"dag_id": "null", "run_id": "~", "key": "1", "map_index": -1, "size_bytes": 4, "reference": null}\n'
        '{"dag_id": "tab\\tnew\\nline", "run_id": "back\\\\slash", "key": "a\\rb", "map_index": 0, "size_bytes": 3,'
        ' "reference": null}\n'
        '{"dag_id": "é😀", "run_id": "\\"quoted\\", [red]", "key": "=1+1", "map_index": 7, "size_bytes": 2048,'
        ' "reference": null}\n'
    ),
    "json": (
        '[{"dag_id": "d", "run_id": "r", "key": "\\u001b[31m", "map_index": -1, "size_bytes": 38,'
        ' "reference": "s3://bucket/xcom/d/r/t/\\ud800 é"},\n'
        ' {"dag_id": "null", "run_id": "~", "key": "1", "map_index": -1, "size_bytes": 4, "reference": null},\n'
        ' {"dag_id": "tab\\tnew\\nline", "run_id": "back\\\\slash", "key": "a\\rb", "map_index": 0, "size_bytes": 3,'
        ' "reference": null},\n'
        ' {"dag_id": "é😀", "run_id": "\\"quoted\\", [red]", "key": "=1+1", "map_index": 7, "size_bytes": 2048,'
        ' "reference": null}]\n'
    ),
    "yaml": (
        '- dag_id: d\n  run_id: r\n  key: "\\e[31m"\n  map_index: -1\n  size_bytes: 38\n'
        '  reference: "s3://bucket/xcom/d/r/t/\\uD800 é"\n'
        "- dag_id: 'null'\n  run_id: '~'\n  key: '1'\n  map_index: -1\n  size_bytes: 4\n  reference: null\n"
        '- dag_id: "tab\\tnew\\nline"\n  run_id: back\\slash\n  key: "a\\rb"\n  map_index: 0\n  size_bytes: 3\n'
        "  reference: null\n"
        "- dag_id: é😀\n  run_id: '\"quoted\", [red]'\n  key: =1+1\n  map_index: 7\n  size_bytes: 2048\n"
        "  reference: null\n"
    ),
    "table": (
        "                                                                                                       \n"
        " dag_id           run_id            key          map_index      size   reference                       \n"
        " ───────────────────────────────────────────────────────────────────────────────────────────────────── \n"
        " d                r                 \\u001b[31m          -1      38 B   s3://bucket/xcom/d/r/t/\\ud800 é \n"
        " null             ~                 1                   -1       4 B                                   \n"
        " tab\\tnew\\nline   back\\\\slash       a\\rb                 0       3 B                                   \n"
        ' é😀              "quoted", [red]   =1+1                 7   2.0 KiB                                   \n'
        "                                                                                                       \n"
    ),
}

NOTHING = {
    "plain": "",
    "csv": "dag_id,run_id,key,map_index,size_bytes,reference\n",
    "json": "[]\n",
    "jsonl": "",
    "yaml": "[]\n",
}


@pytest.fixture(scope="module")
def nasty(databases: Databases) -> Iterator[tuple[str, ...]]:
    """The options and columns that list `ROWS`."""
    with databases.fresh("sqlite-3.3") as database, World(database) as world:
        values = [json.dumps(ROWS[0][-1]), "null", '"x"', json.dumps("x" * 2046)]
        world.push_many(
            Push(dag_id, run_id, "t", map_index, key, value)
            for (dag_id, run_id, key, map_index, _, _), value in zip(ROWS, values, strict=True)
        )
        yield "--db", database.url, "--base-path", BASE, "--columns", ",".join(NAMES)


@pytest.mark.parametrize("form", FORMATS)
def test_every_format_byte_for_byte_and_twice_the_same(cli: Run, nasty, form):
    listed = cli("ls", *nasty, "-o", form)
    assert listed == Result(0, GOLDEN[form].encode())
    assert cli("ls", *nasty, "--output", form) == cli("ls", *nasty, XCOMCTL_OUTPUT=form) == listed


@pytest.mark.parametrize("form", ["plain", "json", "yaml"])
def test_the_same_bytes_whatever_the_locale_and_the_hash_seed(process: Run, nasty, form):
    strange = {"PYTHONIOENCODING": "latin-1", "PYTHONHASHSEED": "7", "TZ": "Asia/Kolkata", "TERM": "dumb"}
    assert process("ls", *nasty, "-o", form, **strange) == Result(0, GOLDEN[form].encode())


def test_programs_read_back_what_the_rows_are(cli: Run, nasty):
    def out(form: str) -> str:
        return cli("ls", *nasty, "-o", form).text

    assert json.loads(out("json")) == RECORDS
    assert [json.loads(line) for line in out("jsonl").splitlines()] == RECORDS
    assert yaml.safe_load(out("yaml")) == RECORDS
    as_text = [["" if cell is None else str(cell).replace("\ud800", "\\ud800") for cell in row] for row in ROWS]
    assert list(csv.reader(io.StringIO(out("csv"), newline=""))) == [NAMES, *as_text]
    unescaped = [[_unescaped(cell) for cell in line.split("\t")] for line in out("plain").split("\n")[:-1]]
    assert unescaped == as_text


def _unescaped(cell: str) -> str:
    signs = {"t": "\t", "n": "\n", "r": "\r", "\\": "\\"}
    return re.sub(r"\\([tnr\\])", lambda escape: signs[escape[1]], cell)


@given(st.text())
def test_any_text_comes_back_from_plain(text):
    cell = render._cell(text)
    assert not {"\t", "\n", "\r"} & set(cell) and _unescaped(cell) == text


@given(st.lists(st.tuples(TEXT, TEXT)))
def test_any_text_comes_back_from_csv(rows):
    written = render.as_csv([{"a": a, "b": b} for a, b in rows], ("a", "b"))
    assert list(csv.reader(io.StringIO(written, newline=""))) == [["a", "b"], *([a, b] for a, b in rows)]


@given(st.lists(TEXT))
def test_any_text_comes_back_from_json_and_yaml(texts):
    assert json.loads(render.as_document(texts, Output.JSON)) == texts
    assert json.loads(render.as_document(texts, Output.JSONL)) == texts
    assert yaml.safe_load(render.as_document(texts, Output.YAML)) == texts


@pytest.mark.parametrize(("form", "bytes_"), NOTHING.items())
def test_no_rows_at_all(cli: Run, nasty, form, bytes_):
    assert cli("ls", *nasty, "--dag-id", "nothing", "-o", form) == Result(0, bytes_.encode())


def test_off_a_terminal_auto_is_plain(cli: Run, nasty):
    assert cli("ls", *nasty).out == GOLDEN["plain"].encode()
    assert cli("ls", *nasty, "-o", "auto", COLUMNS="20", FORCE_COLOR="1").out == GOLDEN["plain"].encode()


def test_on_a_terminal_auto_is_a_table(terminal: Run, nasty):
    shown = terminal("ls", *nasty, columns=110)
    assert shown.lines == [line.rstrip() for line in GOLDEN["table"].splitlines()]
    assert "\x1b[31m" not in shown.text and shown.code == 0


@pytest.mark.parametrize("form", ["plain", "csv", "json", "jsonl", "yaml"])
def test_a_program_that_a_terminal_hides_gets_the_same_bytes(terminal: Run, nasty, form):
    shown = terminal("ls", *nasty, "-o", form, "--color", "always")
    assert shown.out.replace(b"\r", b"") == GOLDEN[form].encode().replace(b"\r", b"")


def test_a_long_reference_is_never_cut(cli: Run, terminal: Run, scene: Scene):
    url = f"{BASE}/d/{'x' * 5000}/t/[red]y[/red]"
    scene.world.push("d", "r", "t", value=json.dumps(url))
    asked = ("ls", "--db", scene.database.url, "--base-path", BASE)
    assert f" {url} " in cli(*asked, "-o", "table").text
    narrow = terminal(*asked, "--columns", "dag_id,reference", columns=60).lines
    assert "".join(line[3:].strip() for line in narrow[3:]) == url
    assert max(len(line) for line in narrow) <= 60


@pytest.mark.parametrize("columns", [20, 40, 100])
def test_wide_signs_take_two_places_and_none_turns_a_line_around(terminal: Run, scene: Scene, columns: int):
    keys = ["表" * 30, "👩‍👩‍👧" * 9, "\u202egpj.exe\u2066", "\x9b31m\x07\x1b]0;title\x07", "[bold]:smile:[/bold]"]
    for key in keys:
        scene.world.push("d", "r", "t", key=key, value="1")
    shown = terminal("ls", *place(scene), "--columns", "dag_id,key,size_bytes", columns=columns)
    assert shown.code == 0 and max(map(cell_len, shown.lines)) <= columns
    assert not re.search("[\u202e\u2066\x9b\x07]|\x1b\\]", shown.text)
    drawn = "".join(line.replace(" ", "") for line in shown.lines)
    assert drawn.count("表") == 30 and drawn.count("👧") == 9
    if columns > 20:
        assert "\\u202egpj.exe\\u2066" in drawn and "[bold]:smile:[/bold]" in drawn


def test_a_wide_dataframe_on_a_narrow_terminal_loses_no_column(monkeypatch: pytest.MonkeyPatch):
    names = [f"column_{number}\nint64" for number in range(30)]
    rows = [[str(1000 * row + number) for number in range(30)] for row in range(3)]
    monkeypatch.setenv("COLUMNS", "60")
    drawn = render.as_table(names, rows, Color.NEVER)
    assert max(map(len, drawn.splitlines())) <= 60
    assert [line.split() for line in drawn.splitlines() if line.strip()] == [
        [*name.split(), cell] for row in rows for name, cell in zip(names, row, strict=True)
    ]


CLOSED = [
    ("ls",),
    ("ls", "-o", "table"),
    ("ls", "-o", "json"),
    ("ls", "-o", "yaml"),
    ("get", "null", "~", "t", "--key", "1"),
    ("get", "null", "~", "t", "--key", "1", "--raw"),
    ("completions", "bash"),
    ("--help",),
    ("--version",),
]


@pytest.mark.parametrize("words", CLOSED, ids=" ".join)
def test_a_reader_who_has_gone_is_141_and_no_traceback(bare, nasty, words):
    where = dict(zip(("XCOMCTL_DB", "XCOMCTL_BASE_PATH"), nasty[1:4:2], strict=True))
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = subprocess.run(
            [*XCOMCTL, *words], stdout=writer, stderr=subprocess.PIPE, env={**bare, **where}, check=False
        )
    finally:
        os.close(writer)
    assert (done.returncode, done.stderr) == (141, b"")


def test_a_table_in_a_locale_that_lacks_its_signs(process: Run, nasty):
    drawn = process("ls", *nasty, "-o", "table", PYTHONIOENCODING="latin-1")
    assert (drawn.code, drawn.err) == (0, "") and "é😀" in drawn.text


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("form", ["plain", "yaml", "table"])
def test_head_takes_one_line_of_many(bare, scene: Scene, form, unbuffered):
    scene.world.push_many(Push("d", "a run with a long name " * 5, "t", number) for number in range(2000))
    listing = [*XCOMCTL, "ls", *place(scene), "-o", form]
    first = subprocess.Popen(
        listing, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env={**bare, "PYTHONUNBUFFERED": unbuffered}
    )
    head = subprocess.run(["head", "-1"], stdin=first.stdout, capture_output=True, check=True)
    assert first.stdout is not None and first.stderr is not None
    first.stdout.close()
    assert (first.wait(), first.stderr.read()) == (141, b"")
    first.stderr.close()
    assert head.stdout.count(b"\n") == 1


def test_colours_are_for_terminals(terminal: Run, cli: Run):
    wrong = ("ls", "--limit", "1", "--since", "never")
    red = "\x1b[31mxcomctl: \x1b[0m"
    assert terminal(*wrong).text.startswith(red)
    assert terminal(*wrong, NO_COLOR="1").text.startswith("xcomctl: ")
    assert terminal(*wrong, "--color", "never").text.startswith("xcomctl: ")
    assert cli(*wrong).err.startswith("xcomctl: ")
    assert cli(*wrong, "--color", "always").err.startswith(red) and cli(*wrong, XCOMCTL_COLOR="always").err.startswith(
        red
    )


@pytest.mark.parametrize(
    ("settings", "colored"),
    [
        ({}, False),
        ({"FORCE_COLOR": "1"}, True),
        ({"FORCE_COLOR": ""}, False),
        ({"FORCE_COLOR": "1", "NO_COLOR": "1"}, False),
        ({"FORCE_COLOR": "1", "NO_COLOR": ""}, True),
        ({"XCOMCTL_COLOR": "always", "NO_COLOR": "1"}, True),
        ({"XCOMCTL_COLOR": "never", "FORCE_COLOR": "1"}, False),
    ],
    ids=str,
)
def test_one_rule_of_colours_for_both_streams(process: Run, nasty, settings: dict[str, str], colored: bool):
    drawn = process("ls", *nasty, "-o", "table", **settings)
    assert (b"\x1b[" in drawn.out) is colored
    assert re.sub(r"\x1b\[\d*m", "", drawn.text).splitlines()[1].split() == GOLDEN["table"].splitlines()[1].split()
    assert process("ls", "--since", "never", **settings).err.startswith("\x1b[31m") is colored
    assert process("ls", "--nope", **settings).err.startswith("\x1b[31m") is colored


def test_an_empty_no_color_on_a_terminal_is_none(terminal: Run, nasty):
    assert "\x1b[1m" in terminal("ls", *nasty, NO_COLOR="").text
    assert "\x1b" not in terminal("ls", *nasty, NO_COLOR="0").text


SLOW = """
import time
from xcomctl.cli import render
from xcomctl.cli.options import Color, Output

def rows():
    for number in range(3):
        yield {"number": number}
        if number == 1:
            time.sleep(0.3)
    if FAILS:
        raise OSError("gone")
    input()

render.records(rows(), ("number",), Output("FORM"), Color.AUTO)
"""


@pytest.mark.parametrize("form", ["plain", "csv", "json", "jsonl", "yaml"])
def test_rows_that_come_slowly_are_shown_before_the_last(bare, form):
    code = SLOW.replace("FAILS", "False").replace("FORM", form)
    running = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={**bare, "PYTHONPATH": ROOT}
    )
    assert running.stdin is not None and running.stdout is not None
    first = os.read(running.stdout.fileno(), 4096)
    rest, _ = running.communicate(b"\n", timeout=PATIENCE_SECONDS)
    assert running.returncode == 0 and (first + rest).decode() == "".join(_three(form)) and b"1" in first


def _three(form: str) -> list[str]:
    """What three numbers are in a format."""
    names = {"csv": "number\n", "json": '[{"number": 0},\n {"number": 1},\n {"number": 2}]\n'}
    lines = {"json": "", "jsonl": '{"number": %d}\n', "yaml": "- number: %d\n"}.get(form, "%d\n")
    return [names.get(form, ""), *(lines % number for number in range(3) if lines)]


def test_json_that_broke_off_is_no_json(bare):
    code = SLOW.replace("FAILS", "True").replace("FORM", "json")
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, env={**bare, "PYTHONPATH": ROOT}, check=False
    )
    assert done.returncode == 1 and done.stdout.startswith(b'[{"number": 0}')
    with pytest.raises(json.JSONDecodeError):
        json.loads(done.stdout)


def test_progress_and_rows_share_a_terminal(terminal: Run, scene: Scene):
    scene.world.push_many(Push("d", f"r {number % 9}", "t", number) for number in range(30_000))
    asked = ("ls", *place(scene), "--limit", "0", "--columns", "run_id,map_index", "-o", "plain")
    shown = terminal(*asked).text
    counted = re.findall("\r\x1b\\[K[0-9,]+ rows read", shown)
    assert counted and "rows read" not in terminal(*asked, "-q").text
    lines = re.sub("\r\x1b\\[K([0-9,]+ rows read)?", "", shown).splitlines()
    assert sorted(lines) == sorted(f"r {number % 9}\t{number}" for number in range(30_000))
    assert not re.search("rows read(?!\r\x1b\\[K)", shown)


def test_a_large_object_is_counted_as_it_is_read(scene: Scene):
    body = json.dumps("x" * 2_500_000).encode()
    url = scene.put("d/r/t/00000000-0000-4000-8000-000000000000", body)
    scene.world.push("d", "r", "t", value=json.dumps(url))
    (row,) = scene.catalog.values(XComKey("d", "r", "t", -1, "return_value"))
    told: list[tuple[str, int]] = []
    fetched = fetching.fetch(row, Stores(scene.base, {}), lambda step, done: told.append((step, done)))
    assert fetched.raw == body
    assert told == [("bytes read", 1 << 20), ("bytes read", 2 << 20), ("bytes read", len(body))]


def test_what_is_said_is_not_data(cli: Run, nasty):
    loud = cli("ls", *nasty, "-v", "--limit", "1", "-o", "json")
    assert len(loud.json) == 1
    assert loud.err.splitlines() == [
        f"database {nasty[1]}, schema of Airflow 3.3.0",
        f"base path {BASE}",
        "the first 1; --limit 0 shows all",
    ]
    assert cli("ls", *nasty, "--limit", "1", "-o", "json", XCOMCTL_VERBOSE="1") == loud


def test_the_log_as_json(cli: Run, nasty):
    logged = cli("ls", *nasty, "-v", "--limit", "1", "--log-format", "json")
    lines = [json.loads(line) for line in logged.err.splitlines()]
    assert [(line["level"], line["event"]) for line in lines][-1] == ("info", "the first 1; --limit 0 shows all")
    assert {frozenset(line) for line in lines} == {frozenset({"time", "level", "event"})}
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", line["time"]) for line in lines)
    failed = cli("ls", "--since", "never", XCOMCTL_LOG_FORMAT="json")
    (line,) = [json.loads(line) for line in failed.err.splitlines()]
    assert (line["level"], line["event"]) == ("error", "--since 'never' is not a time")
    assert line["hint"].startswith("write 2026-")


@pytest.mark.parametrize(
    ("words", "event"),
    [
        (("--nope",), "no such option"),
        (("nope",), "no such command"),
        (("get", "d"), "Missing argument"),
        (("ls", "--limit", "x"), "Invalid value for '--limit'"),
        (("ls", b"\xff".decode(errors="surrogateescape")), "an argument is not UTF-8"),
        (("ls", "--debug", "--db", "nonsense"), "the database URL cannot be read"),
    ],
)
def test_what_is_wrong_with_the_options_is_logged_as_json_too(cli: Run, words: tuple[str, ...], event: str):
    for more, settings in (
        ((), {"XCOMCTL_LOG_FORMAT": "json"}),
        (("--log-format=json",), {}),
        (("--log-format", "json"), {"XCOMCTL_LOG_FORMAT": "text"}),
    ):
        done = cli(*words, *more, **settings)
        (line,) = [json.loads(line) for line in done.err.splitlines()]
        assert done.code in (2, 10) and line["level"] == "error" and line["hint"]
        assert event in line["event"]
        assert ("traceback" in line) is ("--debug" in words)
