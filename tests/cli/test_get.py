"""`xcomctl get`: the value of one XCom, wherever it is and however it is wrapped."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import pickle
import zipfile
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import pytest

from tests.cli.conftest import Result, Run, place
from tests.lab.world import WHEN, Push
from tests.operations.scene import Scene

pytestmark = [pytest.mark.databases("sqlite-3.3"), pytest.mark.stores("file")]

VALUE = {"a": {"b": [1.5, "é", None]}, "c.d": True}
TEXT = json.dumps(VALUE).encode()
SHOWN = json.dumps(VALUE, indent=2, ensure_ascii=False) + "\n"
GET = ("get", "d", "r", "t")


def store(scene: Scene, body: bytes, suffix: str = "", task_id: str = "t") -> str:
    """An object with its row; its URL."""
    url = scene.put(f"d/r/{task_id}/{uuid4()}{suffix}", body)
    scene.world.push("d", "r", task_id, value=json.dumps(url))
    return url


def zipped(body: bytes) -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        archive.writestr("file", body)
    return target.getvalue()


def test_an_inline_value(cli: Run, scene: Scene):
    scene.world.push("d", "r", "t", value=TEXT.decode())
    assert cli(*GET, *place(scene)) == Result(0, SHOWN.encode())
    assert cli(*GET, *place(scene), "-o", "plain").out == cli(*GET, *place(scene), "-o", "json").out == SHOWN.encode()
    assert cli(*GET, *place(scene), "-o", "jsonl").out == json.dumps(VALUE, ensure_ascii=False).encode() + b"\n"
    assert cli(*GET, *place(scene), "-o", "yaml").text == "a:\n  b:\n  - 1.5\n  - é\n  - null\nc.d: true\n"


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_a_large_value_is_printed_as_it_was_written(cli: Run, scene: Scene, tmp_path: Path, suffix: str):
    """It is the same value, and not indented anew; a part of it is."""
    body = json.dumps({"rows": [{"name": f"é {n}", "x": n / 7} for n in range(40_000)]}).encode()
    store(scene, gzip.compress(body) if suffix else body, suffix)
    for output in ("json", "jsonl", "plain"):
        assert cli(*GET, *place(scene), "-o", output) == Result(0, body + b"\n")
    assert cli(*GET, *place(scene), "-O", str(tmp_path / "x")).code == 0
    assert (tmp_path / "x").read_bytes() == body + b"\n"
    assert cli(*GET, *place(scene), "-o", "json", "--path", "rows[1]").text == '{\n  "name": "é 1",\n  "x": %r\n}\n' % (
        1 / 7
    )


@pytest.mark.parametrize(
    "odd",
    [
        {"__classname__": "builtins.tuple", "__version__": 1, "__data__": [1, 2]},
        float("nan"),
        float("-inf"),
    ],
)
def test_what_a_large_value_wraps_is_shown(cli: Run, scene: Scene, odd: object):
    value = {"odd": odd, "long": ["x" * 1000] * 2000}
    store(scene, json.dumps(value).encode())
    shown = cli(*GET, *place(scene), "-o", "json")
    assert shown.json["odd"] in ([1, 2], "NaN", "-Infinity") and shown.json["long"] == value["long"]
    escaped = json.dumps(value).replace('"__', '"\\u005f_').encode()
    store(scene, escaped, task_id="escaped")
    assert cli("get", "d", "r", "escaped", *place(scene), "-o", "json").out == shown.out


def test_a_large_value_in_several_lines_is_one_line_as_jsonl(cli: Run, scene: Scene):
    value = {"long": ["x" * 1000] * 2000}
    store(scene, json.dumps(value, indent=1).encode())
    assert cli(*GET, *place(scene), "-o", "jsonl").out == json.dumps(value).encode() + b"\n"
    assert cli(*GET, *place(scene), "-o", "json").out == json.dumps(value, indent=1).encode() + b"\n"


@pytest.mark.parametrize("text", ["190", "8.5", "null", "true", '"text"', "[]", "{}", '"\\ud800"', '"[red]"', '"123"'])
def test_any_json_is_a_value(cli: Run, scene: Scene, text):
    scene.world.push("d", "r", "t", value=text)
    found = cli(*GET, *place(scene))
    assert (found.json, found.code, found.err) == (json.loads(text), 0, "")


@pytest.mark.parametrize(
    ("body", "suffix", "note"),
    [
        (TEXT, "", ""),
        (gzip.compress(TEXT), ".gz", ""),
        (bz2.compress(TEXT), ".bz2", ""),
        (lzma.compress(TEXT), ".xz", ""),
        (zipped(TEXT), ".zip", ""),
        (gzip.compress(TEXT), "", "compressed with gzip, though the name does not say so\n"),
        (TEXT, ".gz", "named .gz but not compressed\n"),
        (bz2.compress(TEXT), ".gz", "named .gz but compressed with bz2\n"),
        (json.dumps(TEXT.decode()).encode(), "", "double-encoded JSON, unwrapped once\n"),
        (gzip.compress(json.dumps(TEXT.decode()).encode()), ".gz", "double-encoded JSON, unwrapped once\n"),
    ],
    ids=["plain", "gz", "bz2", "xz", "zip", "gzip-unnamed", "gz-in-name-only", "bz2-as-gz", "doubled", "doubled-gz"],
)
def test_an_external_value(cli: Run, scene: Scene, tmp_path: Path, body, suffix, note):
    """Unpacked for the eye; with --raw byte for byte what is stored."""
    store(scene, body, suffix)
    assert cli(*GET, *place(scene)) == Result(0, SHOWN.encode(), note)
    assert cli(*GET, *place(scene), "-q") == Result(0, SHOWN.encode())
    assert cli(*GET, *place(scene), "--raw") == Result(0, body)
    file = tmp_path / "value"
    assert cli(*GET, *place(scene), "--raw", "-O", str(file)) == Result(0, b"") and file.read_bytes() == body
    assert cli(*GET, *place(scene), "-O", str(file), "-q") == Result(0, b"") and file.read_bytes() == SHOWN.encode()
    assert cli(*GET, *place(scene), XCOMCTL_RAW="1", XCOMCTL_OUTPUT_FILE=str(file)) == Result(0, b"")
    assert file.read_bytes() == body


@pytest.mark.stores("ministack")
def test_an_external_value_in_a_bucket(cli: Run, scene: Scene):
    store(scene, gzip.compress(TEXT), ".gz")
    assert cli(*GET, *place(scene)) == Result(0, SHOWN.encode())
    assert gzip.decompress(cli(*GET, *place(scene), "--raw").out) == TEXT


def test_a_foreign_value_is_fetched_and_so_called(cli: Run, scene: Scene):
    url = f"file://{scene.raw.path}/elsewhere/d/r/t/{uuid4()}"
    scene.raw.put(url.removeprefix(f"{scene.raw.url}/"), TEXT)
    scene.world.push("d", "r", "t", value=json.dumps(url))
    found = cli(*GET, *place(scene))
    assert found.json == VALUE
    assert found.err == (
        "foreign: Airflow, as configured, does not follow this reference and hands its URL to the task\n"
    )
    scene.world.push("d", "r", "t", value=json.dumps(json.dumps(store(scene, TEXT, task_id="other"))))
    doubled = cli(*GET, *place(scene))
    assert doubled.json == VALUE and doubled.err.startswith("foreign: ")


def test_which_xcom_is_meant(cli: Run, scene: Scene):
    pushed = [(-1, "return_value"), (-1, "accuracy"), (0, "return_value"), (2, "accuracy")]
    for number, (map_index, key) in enumerate(pushed):
        scene.world.push("d", "r", "t", map_index, key, value=str(number))
    for number, (map_index, key) in enumerate(pushed):
        asked = (*GET, *place(scene), "--key", key, "--map-index", str(map_index))
        assert cli(*asked).out == f"{number}\n".encode()
    assert cli(*GET, *place(scene)).out == b"0\n"
    assert cli(*GET, *place(scene), XCOMCTL_KEY="accuracy", XCOMCTL_MAP_INDEX="2").out == b"3\n"


def test_the_latest_run(cli: Run, scene: Scene):
    for day, run_id in enumerate(["b", "c", "a"]):
        scene.world.run("d", run_id, WHEN + timedelta(days=day))
        scene.world.push("d", run_id, "t", value=f'"{run_id}"')
    latest = ("get", "d", "latest", "t", *place(scene))
    assert cli(*latest, "-v").json == "a"
    assert "reading d a t return_value\n" in cli(*latest, "-v").err
    scene.world.push("d", "latest", "t", value='"so named"')
    assert cli(*latest).json == "so named"
    cli(*latest, "--key", "k").failed(4, "no run holds the XCom d latest t k", "this task pushed: return_value")
    assert cli(*latest, "--key", "k").err.count("return_value") == 1


@pytest.mark.parametrize(
    ("path", "part"),
    [("a.b[0]", 1.5), (".a.b[-2]", "é"), ("a.b", [1.5, "é", None]), ('["c.d"]', True), ("a.b[2]", None)],
)
def test_a_part_of_the_value(cli: Run, scene: Scene, path, part):
    store(scene, gzip.compress(TEXT), ".gz")
    assert cli(*GET, *place(scene), "--path", path) == Result(
        0, json.dumps(part, indent=2, ensure_ascii=False).encode() + b"\n"
    )
    assert cli(*GET, *place(scene), XCOMCTL_PATH=path).json == part


def test_a_part_that_is_not_there(cli: Run, scene: Scene):
    store(scene, TEXT)
    cli(*GET, *place(scene), "--path", "a.x").failed(4, 'no key "x" in a', "its keys are b")
    cli(*GET, *place(scene), "--path", "a.b[9]").failed(4, "no index 9 in a.b", "a list of 3")
    cli(*GET, *place(scene), "--path", "a..b").failed(2, "makes no sense from '..b' on", "a.b[0]")
    cli(*GET, *place(scene), "--path", "a[" + "9" * 30 + "]").failed(2, "makes no sense")


@pytest.mark.parametrize("other", [("--path", "a"), ("--explain",), ("--all-attempts",)])
def test_raw_is_all_or_nothing(cli: Run, other):
    cli(*GET, "--db", "sqlite:////nonexistent", "--raw", *other).failed(2, "--raw goes with none of", "leave out one")


def test_raw_on_a_terminal(terminal: Run, scene: Scene, tmp_path: Path):
    """Text may be looked at; what could upset a terminal may not."""
    body = gzip.compress(TEXT)
    store(scene, body, ".gz")
    refused = terminal(*GET, *place(scene), "--raw", "--color", "never")
    assert refused.code == 2
    assert refused.lines == [
        "xcomctl: the bytes are binary, and stdout is a terminal",
        "hint: write them to a file with -O FILE",
    ]
    file = tmp_path / "value.gz"
    assert terminal(*GET, *place(scene), "--raw", "-O", str(file)) == Result(0, b"") and file.read_bytes() == body
    store(scene, b'"\x1b[31m"', task_id="escape")
    assert terminal("get", "d", "r", "escape", *place(scene), "--raw").code == 2
    store(scene, TEXT, task_id="text")
    assert terminal("get", "d", "r", "text", *place(scene), "--raw") == Result(0, TEXT)


def test_a_file_that_cannot_be_written(cli: Run, scene: Scene, tmp_path: Path):
    store(scene, TEXT)
    missing = tmp_path / "no folder" / "value"
    cli(*GET, *place(scene), "-O", str(missing)).failed(12, f"cannot write {missing}: No such file or directory", "-O")
    cli(*GET, *place(scene), "--raw", "-O", str(tmp_path)).failed(12, "Is a directory", "-O")


def test_explain(cli: Run, scene: Scene):
    url = store(scene, gzip.compress(TEXT))
    explained = cli(*GET, *place(scene), "--explain", "-o", "json")
    steps = {row["step"]: row["finding"] for row in explained.json}
    assert list(steps) == ["row", "state", "reference", "object", "compression", "note", "value", "Airflow"]
    assert steps["state"].startswith("external") and steps["reference"] == url
    assert steps["compression"] == "gzip" and "fetches the object" in steps["Airflow"]
    assert cli(*GET, *place(scene), "--explain").column[0].startswith("row\td r t return_value, ")
    scene.raw.delete(url.removeprefix(f"{scene.raw.url}/"))
    lost = cli(*GET, *place(scene), "--explain", "-o", "json")
    steps = {row["step"]: row["finding"] for row in lost.json}
    assert "is gone" in steps["fails"] and "hands the URL to the task" in steps["Airflow"]


def wrapped(class_name: str, version: int, data: object) -> dict[str, object]:
    """A value as Airflow's serializers wrap it."""
    return {"__classname__": class_name, "__version__": version, "__data__": data}


ZONE = wrapped("builtins.tuple", 1, ["UTC", "pendulum.tz.timezone.Timezone", 1, True])
TYPED = {
    "at": wrapped("datetime.datetime", 2, {"timestamp": 1767323045.0, "tz": ZONE}),
    "price": wrapped("decimal.Decimal", 1, "1.10"),
    "pair": wrapped("builtins.tuple", 1, [1, wrapped("builtins.set", 1, ["x"])]),
    "mine": wrapped("my_package.models.Order", 1, {"id": 7}),
}


def test_the_types_of_airflow_for_people(terminal: Run, scene: Scene):
    store(scene, json.dumps(TYPED).encode())
    assert terminal(*GET, *place(scene)).lines == [
        "{",
        '  "at": datetime 2026-01-02T03:04:05+00:00,',
        '  "price": Decimal 1.10,',
        '  "pair": tuple (1, set {"x"}),',
        '  "mine": my_package.models.Order v1 {"id": 7}',
        "}",
    ]


def test_the_types_of_airflow_for_programs(cli: Run, scene: Scene):
    store(scene, json.dumps(TYPED).encode())
    assert cli(*GET, *place(scene)).json == {
        "at": "2026-01-02T03:04:05+00:00",
        "price": "1.10",
        "pair": [1, ["x"]],
        "mine": TYPED["mine"],
    }
    assert cli(*GET, *place(scene), "--path", "mine.id").json == 7


def test_a_long_value_is_shortened_on_a_terminal_only(cli: Run, terminal: Run, scene: Scene):
    store(scene, json.dumps(list(range(1000))).encode())
    assert cli(*GET, *place(scene)).json == list(range(1000))
    shown = terminal(*GET, *place(scene)).text
    assert "… 980 more items" in shown and "999" not in shown
    assert json.loads(terminal(*GET, *place(scene), "-o", "json").text) == list(range(1000))


def test_what_a_terminal_would_obey_is_escaped(terminal: Run, scene: Scene):
    store(scene, json.dumps({"\x1b[31m[red]": "\x07\u202e\x9b"}).encode())
    assert terminal(*GET, *place(scene)).text == '{"\\u001b[31m[red]": "\\u0007\\u202e\\u009b"}\n'


@pytest.fixture
def frame(scene: Scene) -> Scene:
    """A DataFrame as Airflow stores it, of 30 rows."""
    import pandas

    data = pandas.DataFrame({"city": [f"[c{number}]" for number in range(30)], "people": range(30)})
    parquet = data.to_parquet()
    store(scene, gzip.compress(json.dumps(wrapped("pandas.core.frame.DataFrame", 1, parquet.hex())).encode()), ".gz")
    return scene


def test_a_dataframe_on_a_terminal_is_a_table_with_its_types(terminal: Run, frame: Scene):
    lines = terminal(*GET, *place(frame)).lines
    assert lines[0] == "DataFrame: 30 rows, 2 columns"
    assert [line.split() for line in lines[2:4]] == [["city", "people"], ["object", "int64"]]
    assert [line.split() for line in lines[5:25]] == [[f"[c{number}]", str(number)] for number in range(20)]
    assert lines[-1] == "… 10 more rows"


def test_a_dataframe_for_programs(cli: Run, frame: Scene):
    records = [{"city": f"[c{number}]", "people": number} for number in range(30)]
    dtypes = {"city": "object", "people": "int64"}
    assert cli(*GET, *place(frame)).json == {"columns": list(dtypes), "dtypes": dtypes, "rows": 30, "data": records}
    as_csv = cli(*GET, *place(frame), "-o", "csv").text
    assert as_csv == "city,people\n" + "".join(f"[c{number}],{number}\n" for number in range(30))
    assert cli(*GET, *place(frame), "--path", "data[3].city").json == "[c3]"


def test_a_list_of_objects_as_csv_loses_nothing(cli: Run, scene: Scene):
    store(scene, json.dumps([{"a": 1, "b": [1, "x"]}, {"a": None, "c": "é,\r"}]).encode())
    assert cli(*GET, *place(scene), "-o", "csv").text == 'a,b,c\n1,"[1, ""x""]",\n,,"é,\r"\n'


@pytest.mark.parametrize("text", ["1", "[]", "[1]", '[{"a": 1}, 2]', '{"a": 1}'])
def test_what_has_no_rows_is_no_csv(cli: Run, scene: Scene, text):
    store(scene, text.encode())
    cli(*GET, *place(scene), "-o", "csv").failed(2, "can be written as CSV", "-o json takes any value")


@pytest.mark.parametrize(
    ("body", "suffix", "says", "hint"),
    [
        (gzip.compress(TEXT)[:-9], ".gz", "the gzip data is corrupt or cut short", "run the task again"),
        (b"a,b\n1,2\n", "", "not JSON", "it looks like CSV; --raw gives the bytes as they are"),
        (b"PAR1\x00", ".gz", "not JSON", "it looks like parquet"),
        (b"", "", "not JSON", "it is empty"),
        (b'{"a": 1', "", "not JSON", "JSON that is damaged or cut short"),
        (pickle.dumps(1), "", "not JSON", "it looks like a pickle"),
        (b"[" * 100_000, "", "nested too deeply", "--raw gives the bytes"),
    ],
    ids=["corrupt-gzip", "csv", "parquet", "empty", "cut", "pickle", "deep"],
)
def test_an_object_that_is_no_value(cli: Run, scene: Scene, body, suffix, says, hint):
    url = store(scene, body, suffix)
    cli(*GET, *place(scene)).failed(12, says, hint)
    assert url in cli(*GET, *place(scene)).err
    assert cli(*GET, *place(scene), "--raw") == Result(0, body)


def test_a_dangling_xcom_is_no_data(cli: Run, terminal: Run, scene: Scene):
    url = store(scene, TEXT)
    scene.raw.delete(url.removeprefix(f"{scene.raw.url}/"))
    for more in [(), ("--raw",), ("-o", "json"), ("--path", "a")]:
        cli(*GET, *place(scene), *more).failed(4, f"the object of d r t return_value is gone: {url}", "dangling")
    assert terminal(*GET, *place(scene)).code == 4


def test_a_base_folder_that_is_not_mounted_is_no_dangling_xcom(cli: Run, scene: Scene):
    store(scene, TEXT)
    (scene.raw.path / "pre").rename(scene.raw.path / "unmounted")
    cli(*GET, *place(scene)).failed(12, f"folder {scene.raw.path}/pre/xcom does not exist", "mounted")


def test_no_such_xcom_says_what_there_is(cli: Run, scene: Scene):
    scene.world.push("d", "r", "t", 0, value="1")
    scene.world.push("d", "r", "t", key="two\nlines", value="1")
    cli(*GET, *place(scene)).failed(4, "there is no XCom d r t return_value", "return_value --map-index 0")
    cli(*GET, *place(scene), "--map-index", "1").failed(4, "d r t[1] return_value", "return_value --map-index 0")
    cli("get", "d", "r", "T", *place(scene)).failed(4, "d r T", "`xcomctl ls --dag-id d` shows what there is")
    assert "\x1b" not in cli(*GET, *place(scene), "--key", "\x1b[31m").err
    cli("get", "D", "r", "t", *place(scene)).failed(4, "D r t", "`xcomctl ls --dag-id D` shows what there is")


@pytest.mark.databases("*-2.11")
def test_a_pickled_row_is_shown_as_such_and_never_loaded(cli: Run, scene: Scene, tmp_path: Path):
    class Trap:
        def __reduce__(self):
            return Path.touch, (tmp_path / "sprung",)

    body = pickle.dumps({"a": Trap()})
    scene.world.push("d", "r", "t", value=body)
    cli(*GET, *place(scene)).failed(1, "is pickled: pickle (protocol 4, ", "never unpickles")
    assert cli(*GET, *place(scene), "--raw") == Result(0, body)
    steps = {row["step"]: row["finding"] for row in cli(*GET, *place(scene), "--explain", "-o", "json").json}
    assert "pickled" in steps["state"] and "unpickles it on Airflow 2" in steps["Airflow"]
    assert not (tmp_path / "sprung").exists()


@pytest.mark.databases("*-3.4")
def test_the_live_attempt_or_all_of_them(cli: Run, terminal: Run, scene: Scene):
    for value in ("1", "2"):
        scene.world.push_many([Push("d", "r", "t", value=value)])
        scene.world.retry("d", "r", "t")
    scene.world.push_many([Push("d", "r", "t", value="3")])
    assert cli(*GET, *place(scene)).out == b"3\n"
    attempts = [{"try_number": number, "value": number} for number in (1, 2, 3)]
    assert cli(*GET, *place(scene), "--all-attempts").json == attempts
    assert cli(*GET, *place(scene), "-o", "yaml", XCOMCTL_ALL_ATTEMPTS="1").text.startswith("- try_number: 1\n")
    if scene.database.dialect == "sqlite":
        assert terminal(*GET, *place(scene), "--all-attempts").lines == [
            "try 1",
            "1",
            "",
            "try 2",
            "2",
            "",
            "try 3",
            "3",
        ]


def test_names_that_look_like_something_else(cli: Run, scene: Scene):
    """Names are data: no glob, no option, no path."""
    names = ("-d", "run *[a]?/../x", "g.t%_")
    scene.world.push(*names, key="--key", value="1")
    scene.world.push("xd", "run ab/../x", "gxtyz", key="--key", value="2")
    assert cli("get", *place(scene), "--key", "--key", "--", *names).out == b"1\n"
    cli("get", *place(scene), "*", "*", "*").failed(4, "there is no XCom * * *")
