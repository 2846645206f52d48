"""The hooks of `xcomctl.backend.XComBackend`, called as Airflow calls them, in a process of the installed Airflow."""

from __future__ import annotations

import ast
import gzip
import json
import os
import pickle
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import pytest

from tests.airflow import provider
from tests.lab import gcs, s3
from tests.lab.proxy import Answer, FaultProxy, Rule
from xcomctl.backend.provider import OPTIONS
from xcomctl.backend.reference import parse_base, place

pytestmark = pytest.mark.xdist_group("airflow-hooks")

IS_2 = version("apache-airflow").startswith("2.")
IS_3_4 = tuple(map(int, version("apache-airflow").split(".")[:2])) >= (3, 4)
UPATH = tuple(map(int, version("universal-pathlib").split(".")[:2]))
COMMON, OURS = "AIRFLOW__COMMON_IO__XCOM_OBJECTSTORAGE_", "AIRFLOW__XCOMCTL__"
NAMES = "key='k', task_id='t', dag_id='d', run_id='r', map_index=-1"


LOADED = """
import sys
import airflow.providers.common.io.xcom.backend
try:
    import airflow.sdk.execution_time.xcom
except ImportError:
    import airflow.models.xcom
before = set(sys.modules)
from xcomctl.backend import XComBackend
print("loaded", *sorted(set(sys.modules) - before))
"""


CONFIGURED = """
try:
    from airflow.sdk.execution_time.xcom import XCom
except ImportError:
    from airflow.models.xcom import XCom
large, small = (str(XCom.serialize_value("x" * size, key="k")) for size in (1048574, 1048573))
print(XCom.__name__, "file://" in large, "file://" in small)
"""


@dataclass
class Reply:
    """What a piece of code gave: the value of its last line, or an error; and what xcomctl logged."""

    value: Any = None
    error: tuple[str, str] | None = None
    log: str = ""

    def failed(self, kind: str, *parts: str) -> None:
        assert self.error is not None, self.value
        assert self.error[0] == kind and all(part in self.error[1] for part in parts), self.error


@dataclass
class Hooks:
    """A process of Airflow's, and the options that it is to have."""

    process: subprocess.Popen[str]
    folder: Path
    options: dict[str, str] = field(default_factory=dict)

    @property
    def base(self) -> str:
        return f"file://{self.folder}/xcom"

    def run(self, code: str, **options: str) -> Reply:
        assert self.process.stdin and self.process.stdout
        request = {"env": {f"{COMMON}PATH": self.base, **self.options, **options}, "code": code}
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        told = json.loads(self.process.stdout.readline())
        if "error" in told:
            return Reply(error=tuple(told["error"]), log=told["log"])
        return Reply(value=ast.literal_eval(told["value"]), log=told["log"])

    def pushed(self, value: str, names: str = NAMES, **options: str) -> str:
        """The JSON text of the row of a value, given as Python."""
        done = self.run(f"text(XCom.serialize_value({value}, {names}))", **options)
        assert isinstance(done.value, str), done
        return done.value

    def pulled(self, stored: str, names: str = "", **options: str) -> Reply:
        """What a task gets for the JSON text of a row."""
        return self.run(f"XCom.deserialize_value(row(column({stored!r}), {names}))", **options)

    def purge(self, stored: str, **options: str) -> Reply:
        return self.run(f"XCom.purge(row(json.loads({stored!r}), key='k'))", **options)

    def files(self) -> set[Path]:
        return {path for path in self.folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[subprocess.Popen[str]]:
    settings = {
        "AIRFLOW_HOME": str(tmp_path_factory.mktemp("airflow-home")),
        "AIRFLOW__CORE__XCOM_BACKEND": "xcomctl.backend.XComBackend",
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "_AIRFLOW_PROCESS_CONTEXT": "server",
        "PYTHONPATH": os.pathsep.join(
            [
                str(Path(__file__).parents[2]),
                str(provider.install(tmp_path_factory.mktemp("packages"))),
                os.environ.get("PYTHONPATH", ""),
            ]
        ),
    }
    clean = {name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW")}
    command = [sys.executable, "-W", "ignore", "-m", "tests.airflow.hooks"]
    with subprocess.Popen(
        command, env=clean | settings, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as started:
        yield started
        started.kill()


@pytest.fixture
def hooks(process: subprocess.Popen[str], tmp_path: Path) -> Hooks:
    """Everything goes to files."""
    return Hooks(process, tmp_path, {f"{COMMON}THRESHOLD": "0"})


@pytest.fixture
def bucket(ministack: s3.S3Server) -> s3.Bucket:
    return s3.bucket(ministack)


@pytest.fixture
def proxy(ministack: s3.S3Server) -> Iterator[FaultProxy]:
    with FaultProxy(urlsplit(ministack.endpoint).port or 0) as between:
        yield between


def on(bucket: s3.Bucket, **more: str) -> dict[str, str]:
    """The options of an Airflow whose XComs are in this bucket."""
    return {
        f"{COMMON}PATH": f"s3://store@{bucket.name}/xcom",
        f"{COMMON}THRESHOLD": "0",
        "AIRFLOW_CONN_STORE": bucket.server.connection(),
        **more,
    }


class TestWriting:
    def test_an_object_and_its_reference_are_as_airflow_makes_them(self, hooks: Hooks):
        reference = json.loads(hooks.pushed("{'a': [1, 'ünï', float('nan')]}"))
        (file,) = hooks.files()
        assert reference == f"file://{file}"
        placed = place(str(file.relative_to(hooks.folder / "xcom")))
        assert placed is not None and (placed.dag_id, placed.run_id, placed.task_id) == ("d", "r", "t")
        assert file.read_bytes() == b'{"a": [1, "\\u00fcn\\u00ef", NaN]}'

    def test_what_is_not_told_has_the_names_that_airflow_gives_it(self, hooks: Hooks):
        assert json.loads(hooks.pushed("1", "")).startswith(f"{hooks.base}/NO_DAG_ID/NO_RUN_ID/NO_TASK_ID/")

    @pytest.mark.parametrize(
        ("size", "goes_out"), [(99, False), (100, True), (101, True)], ids=["below", "at it", "above"]
    )
    def test_the_threshold_is_the_first_size_that_goes_out(self, hooks: Hooks, size: int, goes_out: bool):
        stored = hooks.pushed(f"'x' * {size - 2}", **{f"{COMMON}THRESHOLD": "100"})
        assert (json.loads(stored) != "x" * (size - 2)) is goes_out
        assert len(hooks.files()) == goes_out

    def test_without_a_threshold_all_stays(self, hooks: Hooks):
        assert hooks.pushed("'x' * 5000", **{f"{COMMON}THRESHOLD": "-1"}) == json.dumps("x" * 5000)
        assert hooks.files() == set()

    @pytest.mark.parametrize("key", ["skipmixin_key", "past_depends_met", "_link_SomeOperator", "pipeline_outlets"])
    def test_what_airflow_reads_from_the_row_stays_there(self, hooks: Hooks, key: str):
        assert json.loads(hooks.pushed("{'followed': ['a']}", f"key='{key}'")) == {"followed": ["a"]}
        assert hooks.files() == set()
        everything = {f"{OURS}CONTROL_KEYS_INLINE": "False"}
        assert json.loads(hooks.pushed("{'followed': ['a']}", f"key='{key}'", **everything)).startswith("file://")

    def test_an_operators_link_stays_whatever_its_key(self, hooks: Hooks):
        assert json.loads(hooks.pushed("'https://console/job/1'", "key='job_link'")) == "https://console/job/1"

    @pytest.mark.parametrize("run_id", ["a//b", "../../x", ".", "/x", "a/../b"])
    @pytest.mark.parametrize("task_id", ["t", "7", "-1", ".."])
    def test_no_name_leads_out_of_its_place(self, hooks: Hooks, run_id: str, task_id: str):
        stored = hooks.pushed("[1]", f"dag_id='d', run_id={run_id!r}, task_id={task_id!r}")
        (file,) = hooks.files()
        assert place(str(file.relative_to(hooks.folder / "xcom"))) is not None
        assert hooks.pulled(stored).value == [1]
        assert hooks.run(f"Stock.deserialize_value(row(column({stored!r})))").value == [1]
        hooks.purge(stored)
        assert hooks.files() == set()

    def test_awkward_run_ids_are_spelled_as_they_are(self, hooks: Hooks):
        run_id = "scheduled__2026-01-01T00:00:00+00:00 ünï [a]*?#&%41"
        stored = hooks.pushed("[1]", f"dag_id='d', run_id={run_id!r}, task_id='g.t'")
        assert json.loads(stored).startswith(f"{hooks.base}/d/{run_id}/g.t/")
        assert hooks.pulled(stored).value == [1]

    def test_no_place_to_write_is_told_at_the_first_write(self, hooks: Hooks):
        for path in ("", "/no/scheme", "nothing://b/x"):
            done = hooks.run(f"XCom.serialize_value([1], {NAMES})", **{f"{COMMON}PATH": path})
            done.failed("UsageError", "[common.io] xcom_objectstorage_path", "s3://connection@bucket/path")

    @pytest.mark.parametrize("spelled", ["file:{}/xcom", "file:///{}/xcom", "file://{}//xcom", "file://{}/./xcom/"])
    def test_a_local_path_is_spelled_as_airflow_does(self, hooks: Hooks, spelled: str):
        settings = {f"{COMMON}PATH": spelled.format(hooks.folder)}
        stored = hooks.pushed("[1]", **settings)
        assert json.loads(stored).startswith(f"{hooks.base}/d/r/t/")
        assert hooks.pulled(stored, **settings).value == [1]
        hooks.purge(stored, **settings)
        assert hooks.files() == set()

    def test_a_prefix_that_begins_with_a_slash(self, hooks: Hooks, bucket: s3.Bucket):
        settings = on(bucket) | {f"{COMMON}PATH": f"s3://store@{bucket.name}//xcom"}
        stored = hooks.pushed("[1]", **settings)
        assert hooks.pulled(stored, **settings).value == [1]
        assert hooks.run(f"Stock.deserialize_value(row(column({stored!r})))", **settings).value == [1]
        hooks.purge(stored, **settings)
        assert list(bucket.keys()) == []

    @pytest.mark.parametrize("path", ["./xcom", "a/./b", "a//b", "xcom/.", "./", "a/../b", "x//", "a b#c?d"])
    def test_a_bucket_is_spelled_as_airflow_does(self, hooks: Hooks, bucket: s3.Bucket, path: str):
        """Airflow drops dots with universal-pathlib <0.3, and keeps them with newer ones."""
        settings = on(bucket) | {f"{COMMON}PATH": f"s3://store@{bucket.name}/{path}"}
        theirs = hooks.run(f"text(Stock.serialize_value([1], {NAMES}))", **settings).value
        (their_key,) = bucket.keys()
        ours = hooks.pushed("[2]", **settings)
        (our_key,) = bucket.keys() - {their_key}
        assert ours.rpartition("/")[0] == theirs.rpartition("/")[0]
        assert our_key.rpartition("/")[0] == their_key.rpartition("/")[0]
        for stored, value in ((ours, [2]), (theirs, [1])):
            assert hooks.pulled(stored, **settings).value == value
            assert hooks.run(f"Stock.deserialize_value(row(column({stored!r})))", **settings).value == value
            hooks.purge(stored, **settings)
        assert list(bucket.keys()) == []

    def test_a_text_that_begins_like_a_link_is_none(self, hooks: Hooks):
        assert json.loads(hooks.pushed("'https://x\\n' * 1000")).startswith("file://")
        assert json.loads(hooks.pushed("'https://' + 'x' * 3000")).startswith("file://")

    def test_no_secret_is_told(self, hooks: Hooks):
        done = hooks.run(f"XCom.serialize_value([1], {NAMES})", **{f"{COMMON}PATH": "nothing://key:hunter2@b/x"})
        done.failed("UsageError", "nothing://…@b/x", "without credentials, which an Airflow connection is for")
        assert done.error is not None and "hunter2" not in done.error[1]

    def test_a_threshold_that_is_no_number(self, hooks: Hooks):
        done = hooks.run(f"XCom.serialize_value([1], {NAMES})", **{f"{COMMON}THRESHOLD": "1MB"})
        done.failed("UsageError", "xcom_objectstorage_threshold = '1MB' is no number of bytes")

    @pytest.mark.skipif(not IS_2, reason="only Airflow 2 pickles")
    def test_no_reference_is_pickled(self, hooks: Hooks):
        pickling = {"AIRFLOW__CORE__ENABLE_XCOM_PICKLING": "True"}
        stored = hooks.pushed("[1]", **pickling)
        assert json.loads(stored).startswith("file://")
        assert hooks.run(f"Stock.deserialize_value(row(column({stored!r})))", **pickling).value == [1]


class TestOtherSchemes:
    """What xcomctl does not know, and a provider of this Airflow opens: here as local files."""

    @staticmethod
    def on(hooks: Hooks, scheme: str, userinfo: str = "lab@", more: str = "") -> dict[str, str]:
        base = f"{scheme}://{userinfo}host{hooks.folder}/xcom{more}"
        return {f"{COMMON}PATH": base, "AIRFLOW_CONN_LAB": "sftp://"}

    @pytest.mark.parametrize("scheme", ["sftp", "hdfs"])
    @pytest.mark.parametrize("userinfo", ["lab@", ""])
    @pytest.mark.parametrize("more", ["", "/"])
    def test_there_and_back(self, hooks: Hooks, scheme: str, userinfo: str, more: str):
        settings = self.on(hooks, scheme, userinfo, more)
        stored = hooks.pushed("[1]", **settings)
        (file,) = hooks.files()
        assert json.loads(stored) == f"{scheme}://{userinfo}{file}", "Airflow leaves the host to the connection"
        assert place(str(file.relative_to(hooks.folder / "xcom"))) is not None
        assert hooks.pulled(stored, **settings).value == [1]
        file.unlink()
        hooks.pulled(stored, **settings).failed("DanglingError", "XCom d r t is gone")
        stored = hooks.pushed("[1]", **settings)
        hooks.purge(stored, **settings)
        assert hooks.files() == set()

    @pytest.mark.parametrize("scheme", ["sftp", "hdfs"])
    def test_it_is_where_airflow_puts_it(self, hooks: Hooks, scheme: str):
        settings = self.on(hooks, scheme)
        theirs = hooks.run(f"text(Stock.serialize_value([1], {NAMES}))", **settings).value
        (file,) = hooks.files()
        assert theirs == json.dumps(f"{scheme}://lab@{file}")
        assert hooks.pulled(theirs, **settings).value == [1]
        ours = hooks.pushed("[2]", **settings)
        read = hooks.run(f"Stock.deserialize_value(row(column({ours!r})))", **settings).value
        assert read == ([2] if UPATH >= (0, 3) else json.loads(ours)), "older ones forget the host, and then miss it"
        hooks.purge(theirs, **settings)
        assert file not in hooks.files()

    def test_other_urls_are_data(self, hooks: Hooks):
        settings = self.on(hooks, "sftp")
        (hooks.folder / "mine").write_text("[1]")
        for url in (
            f"sftp://lab@host{hooks.folder}/mine",
            f"hdfs://x/y/{uuid4()}",
            "sftp://",
            "https://[x",
            "sftp://[x",
        ):
            assert hooks.pulled(json.dumps(url), **settings).value == url
            assert hooks.purge(json.dumps(url), **settings).error is None
        assert len(hooks.files()) == 1

    def test_the_root(self, hooks: Hooks):
        """The names of the row lead to a place where a test may write."""
        settings = self.on(hooks, "sftp") | {f"{COMMON}PATH": "sftp://lab@host/"}
        dag_id, *run_id, _ = hooks.folder.joinpath("t").parts[1:]
        stored = hooks.pushed("[1]", f"dag_id={dag_id!r}, run_id={'/'.join(run_id)!r}, task_id='t'", **settings)
        (file,) = hooks.files()
        assert json.loads(stored) == f"sftp://lab@{file}"
        assert hooks.pulled(stored, **settings).value == [1]

    def test_an_earlier_one_is_read(self, hooks: Hooks):
        stored = hooks.pushed("[1]", **self.on(hooks, "sftp"))
        settings = self.on(hooks, "hdfs", more="2") | {f"{OURS}READ_PATHS": self.on(hooks, "sftp")[f"{COMMON}PATH"]}
        assert hooks.pulled(stored, **settings).value == [1]
        hooks.purge(stored, **settings)
        assert len(hooks.files()) == 1

    @pytest.mark.parametrize("run_id", ["a//b", "../../x", ".", "a?b#c", "tab\t", "[", "%41"])
    def test_no_name_leads_out_of_its_place(self, hooks: Hooks, run_id: str):
        settings = self.on(hooks, "sftp")
        stored = hooks.pushed("[1]", f"dag_id='d', run_id={run_id!r}, task_id='t'", **settings)
        (file,) = hooks.files()
        assert place(str(file.relative_to(hooks.folder / "xcom"))) is not None
        assert hooks.pulled(stored, **settings).value == [1]

    def test_one_that_airflow_cannot_take_apart(self, hooks: Hooks):
        settings = self.on(hooks, "unheard-of")
        done = hooks.run(f"XCom.serialize_value([1], {NAMES})", **settings)
        why = "Unsupported filesystem: 'unheard-of'" if UPATH >= (0, 3) else "it cannot take unheard-of:// apart"
        done.failed("UsageError", "[common.io] xcom_objectstorage_path", why)

    def test_one_that_nobody_opens(self, hooks: Hooks):
        done = hooks.run(f"XCom.serialize_value([1], {NAMES})", **self.on(hooks, "nothing"))
        done.failed("UsageError", "no provider that is installed here knows nothing://", "s3://connection@bucket/path")
        done = hooks.pulled(f'"file:///d/r/t/{uuid4()}"', **{f"{OURS}READ_PATHS": "nothing://x/y"})
        done.failed("UsageError", "[xcomctl] read_paths", "no provider that is installed here knows nothing://")

    def test_one_whose_connection_is_not_there(self, hooks: Hooks):
        done = hooks.run(f"XCom.serialize_value([1], {NAMES})", **self.on(hooks, "sftp", "nobody@"))
        done.failed("MetadataError", "there is no Airflow connection nobody")


class TestCodecs:
    @pytest.mark.parametrize("codec", ["gzip", "bz2", "xz", "lzma", "zip", "zstd", "lz4"])
    def test_each_is_read_back_by_both(self, hooks: Hooks, codec: str):
        if codec in ("zstd", "lz4"):
            pytest.importorskip({"zstd": "zstandard", "lz4": "lz4"}[codec])
        compressed = {f"{COMMON}COMPRESSION": codec}
        stored = hooks.pushed("['x'] * 1000", **compressed)
        assert hooks.pulled(stored).value == ["x"] * 1000
        assert hooks.run(f"Stock.deserialize_value(row(column({stored!r})))").value == ["x"] * 1000
        (file,) = hooks.files()
        assert file.stat().st_size < 1000 or codec == "zip", "fsspec's zip only packs"

    def test_snappy_works_although_fsspec_has_no_ending_for_it(self, hooks: Hooks):
        pytest.importorskip("snappy")
        stored = hooks.pushed("['x'] * 1000", **{f"{COMMON}COMPRESSION": "snappy"})
        assert hooks.pulled(stored).value == ["x"] * 1000 and stored.endswith('.snappy"')

    @pytest.mark.parametrize(("wrong", "right"), [("gz", "gzip"), ("zst", "zstd"), ("GZ", "gzip"), ("brotli", "bz2")])
    def test_a_wrong_one_fails_where_something_is_to_be_compressed(self, hooks: Hooks, wrong: str, right: str):
        compressed = {f"{COMMON}COMPRESSION": wrong, f"{COMMON}THRESHOLD": "100"}
        assert hooks.pushed("'small'", **compressed) == '"small"'
        done = hooks.run(f"XCom.serialize_value('x' * 100, {NAMES})", **compressed)
        done.failed("UsageError", f"xcom_objectstorage_compression = '{wrong}'", right)
        assert hooks.files() == set()

    def test_what_is_cut_short_is_an_error(self, hooks: Hooks):
        stored = hooks.pushed("list(range(5000))", **{f"{COMMON}COMPRESSION": "gzip"})
        (file,) = hooks.files()
        file.write_bytes(file.read_bytes()[:-20])
        hooks.pulled(stored).failed("PayloadError", "XCom d r t", "cut short", json.loads(stored))


class TestReading:
    @pytest.mark.parametrize(
        "value", ["'plain'", "'s3://data/lake/file.csv'", "42", "None", "{'a': [1, 2]}", "'{\"a\": 1}'"]
    )
    def test_what_is_in_the_row(self, hooks: Hooks, value: str):
        stored = hooks.pushed(value, **{f"{COMMON}THRESHOLD": "-1"})
        assert hooks.pulled(stored).value == ast.literal_eval(value)

    def test_a_lost_object_is_an_error_that_names_the_xcom_and_the_url(self, hooks: Hooks):
        stored = hooks.pushed("[1]")
        (file,) = hooks.files()
        file.unlink()
        hooks.pulled(stored, "key='k'").failed(
            "DanglingError", "XCom d r t k is gone", json.loads(stored), "Run the task"
        )
        as_before = hooks.pulled(stored, **{f"{OURS}MISSING_OBJECT": "url"})
        assert as_before.value == json.loads(stored)

    def test_a_task_may_hand_on_a_url_below_the_base_path(self, hooks: Hooks):
        """It is followed where it leads to JSON, as Airflow does, and data where it does not."""
        for name in ("raw/file.csv", "raw", "", "d/r/t/_SUCCESS"):
            url = json.dumps(f"{hooks.base}/{name}")
            assert hooks.pulled(url).value == json.loads(url)
        folder = hooks.folder / "xcom" / "raw"
        folder.mkdir(parents=True)
        (folder / "table.csv").write_text("a,b\n1,2\n")
        (folder / "value.json").write_text("[42]")
        assert hooks.pulled(json.dumps(f"{hooks.base}/raw/table.csv")).value == f"{hooks.base}/raw/table.csv"
        assert hooks.pulled(json.dumps(f"{hooks.base}/raw")).value == f"{hooks.base}/raw"
        assert hooks.pulled(json.dumps(f"{hooks.base}/raw/value.json")).value == [42]

    def test_an_object_that_is_no_json_is_an_error(self, hooks: Hooks):
        stored = hooks.pushed("[1]")
        (file,) = hooks.files()
        for data, why in ((b"<html>", "HTML"), (b"", "empty"), (pickle.dumps([1]), "pickle"), (b"[1", "cut short")):
            file.write_bytes(data)
            hooks.pulled(stored).failed("PayloadError", "XCom d r t cannot be read", why)

    @pytest.mark.skipif(not IS_2, reason="Airflow 3 has JSON in its rows")
    def test_pickled_rows(self, hooks: Hooks):
        """A string is read opcode by opcode; all else is an error that names the row, even where Airflow unpickles."""
        pickling = {"AIRFLOW__CORE__ENABLE_XCOM_PICKLING": "True"}
        reference = json.loads(hooks.pushed("[1]"))
        read = "XCom.deserialize_value(row({!r}, dag_id='d', run_id='r', task_id='t', map_index=3, key='k'))"
        assert hooks.run(read.format(pickle.dumps(reference)), **pickling).value == [1]
        assert hooks.run(read.format(pickle.dumps("text")), **pickling).value == "text"
        done = hooks.run(read.format(pickle.dumps({"a": 1})), **pickling)
        done.failed("PayloadError", "XCom d r t[3] k is a pickle, which is never loaded")
        bomb = b"cos\nmkdir\n(S'" + str(hooks.folder / "boom").encode() + b"'\ntR."
        hooks.run(read.format(bomb), **pickling).failed("PayloadError", "XCom d r t[3] k is no JSON")
        assert not (hooks.folder / "boom").exists()

    @pytest.mark.skipif(not IS_2, reason="the scheduler of Airflow 3 reads rows without a backend")
    def test_a_lost_control_value_does_not_stop_the_scheduler(self, hooks: Hooks):
        stored = hooks.pushed("{'followed': []}", "key='skipmixin_key'", **{f"{OURS}CONTROL_KEYS_INLINE": "False"})
        (file,) = hooks.files()
        file.unlink()
        done = hooks.pulled(stored, "key='skipmixin_key'")
        assert done.value is None and done.error is None and "is taken for none: the object of XCom" in done.log
        file.write_bytes(b"[broken")
        assert hooks.pulled(stored, "key='skipmixin_key'").error is None
        pickled = "XCom.deserialize_value(row({!r}, key='skipmixin_key'))"
        assert hooks.run(pickled.format(pickle.dumps({"followed": ["a"]}))).value == {"followed": ["a"]}
        bomb = pickle.dumps(Path("boom"))
        done = hooks.run(pickled.format(bomb))
        assert done.value is None and "is a pickle, which is never loaded" in done.log


class TestOtherSpellings:
    @pytest.fixture
    def there(self, bucket: s3.Bucket) -> str:
        """The name of an object."""
        name = f"xcom/d/r/t/{uuid4()}"
        bucket.put(name, b'{"answer": 42}')
        return name

    @pytest.mark.parametrize("spelling", ["s3://store@{}", "s3://{}", "s3a://{}", "s3a://store@{}"])
    def test_of_the_base_path(self, hooks: Hooks, bucket: s3.Bucket, there: str, spelling: str):
        stored = json.dumps(f"{spelling.format(bucket.name)}/{there}")
        assert hooks.pulled(stored, **on(bucket)).value == {"answer": 42}
        strictly = hooks.pulled(stored, **on(bucket), **{f"{OURS}READ_RESPELLED": "False"})
        assert strictly.value == ({"answer": 42} if spelling == "s3://store@{}" else json.loads(stored))
        hooks.purge(stored, **on(bucket))
        assert list(bucket.keys()) == []

    def test_another_connection_or_prefix_is_data_unless_it_is_told(self, hooks: Hooks, bucket: s3.Bucket, there: str):
        old = {"AIRFLOW_CONN_OLD": bucket.server.connection()}
        stored = json.dumps(f"s3://old@{bucket.name}/{there}")
        assert hooks.pulled(stored, **on(bucket)).value == json.loads(stored)
        told = {f"{OURS}READ_PATHS": f"s3://elsewhere/x, s3://old@{bucket.name}/xcom"}
        moved = {f"{COMMON}PATH": f"s3://store@{bucket.name}/new"}
        for reference in (stored, json.dumps(f"s3://{bucket.name}/{there}")):
            assert hooks.pulled(reference, **{**on(bucket), **old, **told, **moved}).value == {"answer": 42}
        hooks.purge(stored, **{**on(bucket), **old, **told, **moved})
        assert list(bucket.keys()) == [there], "somebody else may refer to it"
        hooks.purge(stored, **{**on(bucket), **old, **told, **moved}, **{f"{OURS}PURGE_READ_PATHS": "True"})
        assert list(bucket.keys()) == []

    def test_a_lost_object_of_an_earlier_path_is_an_error(self, hooks: Hooks, bucket: s3.Bucket):
        told = {f"{OURS}READ_PATHS": f"s3://store@{bucket.name}/earlier"}
        gone = f"s3://store@{bucket.name}/earlier/d/r/t/{uuid4()}"
        hooks.pulled(json.dumps(gone), **on(bucket), **told).failed("DanglingError", "XCom d r t is gone", gone)

    def test_a_connection_that_is_not_there_is_an_error(self, hooks: Hooks, bucket: s3.Bucket, there: str):
        """Airflow's hook would go on with the credentials of the machine, which here are good ones."""
        server = bucket.server
        machine = {
            "AWS_ACCESS_KEY_ID": server.key,
            "AWS_SECRET_ACCESS_KEY": server.secret,
            "AWS_DEFAULT_REGION": server.region,
            "AWS_ENDPOINT_URL": server.endpoint,
        }
        stored = json.dumps(f"s3://nobody@{bucket.name}/{there}")
        base = {f"{COMMON}PATH": f"s3://nobody@{bucket.name}/xcom"}
        hooks.pulled(stored, **base, **machine).failed("MetadataError", "there is no Airflow connection nobody")
        ambient = {f"{OURS}REQUIRE_CONNECTION": "False"}
        assert hooks.pulled(stored, **base, **machine, **ambient).value == {"answer": 42}

    def test_paths_that_are_no_urls(self, hooks: Hooks):
        told = {f"{OURS}READ_PATHS": "bucket/xcom"}
        hooks.pulled('"s3://b/d/r/t/x"', **told).failed("UsageError", "[xcomctl] read_paths: 'bucket/xcom'")
        assert hooks.pulled('"plain"', **told).value == "plain", "a wrong option stops nothing that does not need it"


class TestWhoseObject:
    """The names of a row decide, where they are known: Airflow tells them whenever it reads or purges one."""

    ROW = "dag_id='d', run_id='r', task_id='t', map_index=-1, key='k'"
    OTHER = "dag_id='d', run_id='r', task_id='other', map_index=-1, key='k'"

    def test_a_tasks_own_file_at_the_root_of_the_bucket(self, hooks: Hooks, bucket: s3.Bucket):
        """Its path looks like an object's, and names neither its DAG nor its task."""
        name = f"exports/2026/orders/{uuid4()}.gz"
        bucket.put(name, b"a,b")
        root = on(bucket) | {f"{COMMON}PATH": f"s3://store@{bucket.name}"}
        for spelling in ("s3://", "s3://store@"):
            stored = json.dumps(f"{spelling}{bucket.name}/{name}")
            assert hooks.pulled(stored, self.ROW, **root).value == json.loads(stored)
            hooks.run(f"XCom.purge(row(json.loads({stored!r}), {self.ROW}))", **root)
            gone = json.dumps(f"{spelling}{bucket.name}/exports/2026/orders/{uuid4()}")
            assert hooks.pulled(gone, self.ROW, **root).value == json.loads(gone)
        assert list(bucket.keys()) == [name]

    def test_another_xcoms_object_is_not_purged(self, hooks: Hooks):
        stored = hooks.pushed("[1]")
        hooks.run(f"XCom.purge(row(json.loads({stored!r}), {self.OTHER}))")
        assert len(hooks.files()) == 1
        hooks.run(f"XCom.purge(row(json.loads({stored!r}), {self.ROW}))")
        assert hooks.files() == set()

    @pytest.mark.skipif(IS_2, reason="Airflow 2 purges with the whole row at hand")
    def test_airflow_tells_the_names_when_it_deletes(self, hooks: Hooks):
        stored = hooks.pushed("[1]")
        code = (
            "import airflow.sdk.execution_time.task_runner as runner\n"
            "from airflow.sdk.execution_time.comms import XComResult\n"
            "class Supervisor:\n"
            "    def send(self, message=None, **named):\n"
            f"        return XComResult(key='k', value={json.loads(stored)!r})\n"
            "runner.SUPERVISOR_COMMS = Supervisor()\n"
            "XCom.delete(key='k', dag_id='d', run_id='r', task_id={!r})"
        )
        hooks.run(code.replace("{!r}", "'other'"))
        assert len(hooks.files()) == 1
        assert hooks.run(code.replace("{!r}", "'t'")).error is None
        assert hooks.files() == set()

    def test_an_earlier_path_within_the_base_path_is_not_purged(self, hooks: Hooks):
        stored = hooks.pushed("[1]", **{f"{COMMON}PATH": f"{hooks.base}/old"})
        earlier = {f"{OURS}READ_PATHS": f"{hooks.base}/old"}
        assert hooks.pulled(stored, self.ROW, **earlier).value == [1]
        hooks.run(f"XCom.purge(row(json.loads({stored!r}), {self.ROW}))", **earlier)
        assert len(hooks.files()) == 1

    def test_the_innermost_path_opens(self, hooks: Hooks, bucket: s3.Bucket):
        name = f"old/d/r/t/{uuid4()}"
        bucket.put(name, b"[1]")
        paths = {f"{OURS}READ_PATHS": f"s3://wrong@{bucket.name},s3://store@{bucket.name}/old"}
        moved = {f"{COMMON}PATH": "s3://store@elsewhere/xcom"}
        assert hooks.pulled(json.dumps(f"s3://{bucket.name}/{name}"), **on(bucket) | paths | moved).value == [1]

    def test_a_container_without_a_base_path_hands_out_no_url(self, hooks: Hooks):
        stored = hooks.pushed("[1]")
        for path in ("", "/no/scheme"):
            done = hooks.pulled(stored, self.ROW, **{f"{COMMON}PATH": path})
            done.failed("UsageError", "XCom d r t k refers to file://", "xcom_objectstorage_path names no place")
        theirs = json.dumps(f"s3://lake/a/b/c/{uuid4()}")
        assert hooks.pulled(theirs, self.ROW, **{f"{COMMON}PATH": ""}).value == json.loads(theirs)

    def test_a_base_path_that_differs_is_told(self, hooks: Hooks):
        stored = hooks.pushed("[1]")
        done = hooks.pulled(stored, self.ROW, **{f"{COMMON}PATH": f"{hooks.base}2"})
        assert done.value == json.loads(stored) and "[xcomctl] read_paths may name earlier ones" in done.log

    def test_what_airflows_class_wrote_for_a_numbered_task(self, hooks: Hooks):
        stored = hooks.run("text(Stock.serialize_value([1], key='k', dag_id='d', run_id='r', task_id='7'))").value
        row = self.ROW.replace("'t'", "'7'")
        assert hooks.pulled(stored, row).value == [1]
        hooks.run(f"XCom.purge(row(json.loads({stored!r}), {row}))")
        assert hooks.files() == set()
        hooks.pulled(stored, row).failed("DanglingError", "XCom d r 7 k is gone")

    @pytest.mark.skipif(not IS_2, reason="Airflow 3 asks the API server")
    def test_a_key_that_was_asked_for_before_is_not_this_ones(self, hooks: Hooks):
        stored = hooks.pushed("[1]")
        (file,) = hooks.files()
        file.unlink()
        code = (
            "from xcomctl.backend import asking\n"
            "asking._LAST_KEY.set('skipmixin_key')\n"
            f"XCom.deserialize_value(row(column({stored!r})))"
        )
        hooks.run(code).failed("DanglingError", "XCom d r t is gone")


class TestHandWritten:
    """Formats that teams have written, here with their objects in files or in an S3 bucket."""

    NAMES = "dag_id='d', run_id='r:1', task_id='t', map_index=-1"

    def on(self, hooks: Hooks, name: str) -> dict[str, str]:
        return {f"{OURS}RULES": f"{name}=file://{hooks.folder}/theirs"}

    def put(self, hooks: Hooks, name: str, data: bytes) -> None:
        path = hooks.folder / "theirs" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)

    def test_json(self, hooks: Hooks):
        unique = uuid4()
        self.put(hooks, f"r:1/t/data_{unique}.json", b'{"a": 1}')
        stored = json.dumps(f"xcom_s3://r:1/t/data_{unique}.json")
        assert hooks.pulled(stored, self.NAMES, **self.on(hooks, "s3")).value == {"a": 1}
        assert hooks.pulled(stored, "", **self.on(hooks, "s3")).value == {"a": 1}
        assert hooks.pulled(stored, self.NAMES).value == json.loads(stored), "not without the rule"

    def test_tables(self, hooks: Hooks):
        unique = uuid4()
        self.put(hooks, f"r:1/t/data_{unique}.csv", b",a\n0,7\n1,8\n")
        self.put(hooks, f"data_{unique}", b",a\n0,7\n1,8\n")
        read = "XCom.deserialize_value(row(column({!r})))['a'].tolist()"
        tutorial, flat = f"xcom_s3://r:1/t/data_{unique}.csv", f"xcom_s3://data_{unique}"
        assert hooks.run(read.format(json.dumps(tutorial)), **self.on(hooks, "s3")).value == [7, 8]
        assert hooks.run(read.format(json.dumps(flat)), **self.on(hooks, "s3-flat")).value == [7, 8]

    def test_a_pickle_is_an_error_that_names_the_row(self, hooks: Hooks):
        unique = uuid4()
        self.put(hooks, f"r:1/t/data_{unique}.json", pickle.dumps({"a": 1}))
        done = hooks.pulled(json.dumps(f"xcom_s3://r:1/t/data_{unique}.json"), self.NAMES, **self.on(hooks, "s3"))
        done.failed("PayloadError", "XCom d r:1 t", "pickle", "never loaded")

    def test_one_that_looks_like_a_url_needs_the_rows_names(self, hooks: Hooks):
        """A user's own `gcs://bucket/folder/<uuid>.json` stays what it is."""
        unique, rule = uuid4(), self.on(hooks, "gcs-variable")
        self.put(hooks, f"r:1/t/{unique}.json", b"[1]")
        stored = json.dumps(f"gcs://r:1/t/{unique}.json")
        assert hooks.pulled(stored, self.NAMES, **rule).value == [1]
        assert hooks.pulled(stored, "", **rule).value == [1]
        theirs = json.dumps(f"gcs://bucket/folder/{uuid4()}.json")
        assert hooks.pulled(theirs, self.NAMES, **rule).value == json.loads(theirs)
        assert hooks.pulled(theirs, "", **rule).value == json.loads(theirs)

    def test_a_lost_one_is_an_error(self, hooks: Hooks):
        gone = f"gcs://r:1/t/{uuid4()}.json"
        rule = self.on(hooks, "gcs-variable")
        hooks.pulled(json.dumps(gone), self.NAMES, **rule).failed("DanglingError", "XCom d r:1 t is gone", gone)

    def test_it_is_never_purged(self, hooks: Hooks):
        """Several rows of a hand-written backend may refer to one object."""
        unique = uuid4()
        self.put(hooks, f"r:1/t/data_{unique}.json", b"[1]")
        hooks.purge(json.dumps(f"xcom_s3://r:1/t/data_{unique}.json"), **self.on(hooks, "s3"))
        assert len(hooks.files()) == 1

    def test_the_bucket_is_in_an_airflow_variable(self, hooks: Hooks, bucket: s3.Bucket):
        """As the Cloud Composer guide has it, with a rule of the team's own for another store."""
        unique = uuid4()
        bucket.put(f"r:1/t/{unique}.json", b"[1]")
        own = hooks.folder / "rules.toml"
        own.write_text(
            '[ours]\nreference = "gcs://{run_id}/{task_id}/{uuid}.json"\nroot = "s3://store@{bucket}"\n'
            'bucket = { variable = "xcom_bucket" }\nobject = "{run_id}/{task_id}/{uuid}.json"\n'
        )
        settings = {f"{OURS}RULES": "ours", f"{OURS}RULES_FILE": str(own), "AIRFLOW_VAR_XCOM_BUCKET": bucket.name}
        stored = json.dumps(f"gcs://r:1/t/{unique}.json")
        assert hooks.pulled(stored, self.NAMES, **on(bucket, **settings)).value == [1]

    def test_a_rule_that_there_is_not(self, hooks: Hooks):
        done = hooks.pulled('"xcom_s3://x"', **{f"{OURS}RULES": "s4"})
        done.failed("UsageError", "[xcomctl] rules: there is no rule 's4'", "gcs-variable")


class TestRefusals:
    """What a store says no to is no lost object, and names the XCom."""

    NAMES = "key='k', task_id='t', dag_id='d', run_id='r', map_index=3"

    @pytest.mark.parametrize("path", ["xcom", ""])
    def test_no_bucket(self, hooks: Hooks, bucket: s3.Bucket, path: str):
        gone = f"xcomctl-{uuid4()}"
        base = f"s3://store@{gone}/{path}".rstrip("/")
        settings = on(bucket) | {f"{COMMON}PATH": base}
        done = hooks.run(f"XCom.serialize_value([1], {self.NAMES})", **settings)
        option = f"[common.io] xcom_objectstorage_path = {base}"
        done.failed("StorageError", "XCom d r t[3] k cannot be written", f"there is no bucket {gone}", option)
        url = f"{base}/d/r/t/{uuid4()}"
        read = hooks.pulled(json.dumps(url), "key='k'", **settings)
        read.failed("StorageError", "XCom d r t k cannot be read", url, f"there is no bucket {gone}")
        assert hooks.pulled(json.dumps(url), **settings, **{f"{OURS}MISSING_OBJECT": "url"}).value == url
        theirs = f"{base}/mine.csv"
        assert hooks.pulled(json.dumps(theirs), **settings).value == theirs
        assert hooks.purge(json.dumps(url), **settings).error is None
        assert gone not in {each["Name"] for each in bucket.client.list_buckets()["Buckets"]}, "nor is it made"

    def test_no_permission(self, hooks: Hooks, bucket: s3.Bucket, proxy: FaultProxy):
        settings = on(bucket, AIRFLOW_CONN_REFUSED=bucket.server.connection(proxy.endpoint))
        settings |= {f"{COMMON}PATH": f"s3://refused@{bucket.name}/xcom"}
        stored = hooks.pushed("[1]", **settings)
        proxy.rules = [Rule(Answer(403, "AccessDenied", "not for you"))]
        read = hooks.pulled(stored, "key='k'", **settings)
        read.failed("StorageError", "XCom d r t k cannot be read", json.loads(stored), "refuses", "s3:ListBucket")
        written = hooks.run(f"XCom.serialize_value([1], {self.NAMES})", **settings)
        written.failed("StorageError", "XCom d r t[3] k cannot be written", "PermissionError: not for you", bucket.name)
        proxy.rules = [Rule(Answer(403, "AccessDenied"), path=f"^/{bucket.name}/?$")]
        bucket.delete(json.loads(stored).partition(f"{bucket.name}/")[2])
        lost = hooks.pulled(stored, **settings)
        assert lost.error is not None and lost.error[0] in ("DanglingError", "StorageError")
        assert "there is no bucket" not in lost.error[1], "one that may not be looked at is there"

    @pytest.mark.skipif(IS_2, reason="Airflow 2 refuses it before it asks a backend")
    def test_an_empty_key(self, hooks: Hooks):
        """The API server refuses it when the object has been written, which then is nobody's."""
        done = hooks.run("XCom.serialize_value([1], key='', task_id='t', dag_id='d', run_id='r')")
        done.failed("UsageError", "the XCom that d r t pushes has an empty key")
        if IS_3_4:
            done = hooks.run(TestNewHooks.WHERE.format(f"UUID('{uuid4()}')") + "XCom._store(where, -1, '', [1])")
            done.failed("UsageError", "the XCom that d r t pushes has an empty key")
        assert hooks.files() == set()

    def test_google_tells_whether_its_bucket_is_there(self, hooks: Hooks):
        """Airflow's provider for it is not installed here; its file system is."""
        pytest.importorskip("gcsfs")
        with gcs.GCSServer("there") as server:
            code = (
                "from gcsfs import GCSFileSystem\n"
                "from xcomctl.backend.objects import ASK_FOR_BUCKET\n"
                f"ASK_FOR_BUCKET['gs'](GCSFileSystem(**{server.options!r}), '%s') is not None"
            )
            assert hooks.run(code % "there").value is True
            hooks.run(code % "elsewhere").failed("FileNotFoundError")


class TestProcesses:
    """A file system that a process has opened is dead in its children, and cannot be opened where a loop runs."""

    def test_after_a_fork(self, hooks: Hooks, bucket: s3.Bucket):
        settings = on(bucket)
        stored = hooks.pushed("[1]", **settings)
        code = (
            "import os\n"
            "got, put = os.pipe()\n"
            "if os.fork() == 0:\n"
            "    try:\n"
            f"        value = XCom.deserialize_value(row(column({stored!r})))\n"
            f"        XCom.serialize_value(value, {NAMES})\n"
            "    except BaseException as error:\n"
            "        value = error\n"
            "    os.write(put, repr(value).encode())\n"
            "    os._exit(0)\n"
            "os.wait()\n"
            "os.read(got, 1000).decode()"
        )
        assert hooks.run(code, **settings).value == "[1]"
        assert hooks.pulled(stored, **settings).value == [1]

    def test_in_an_event_loop(self, hooks: Hooks, bucket: s3.Bucket):
        settings = on(bucket, AIRFLOW_CONN_LOOPED=bucket.server.connection())
        settings |= {f"{COMMON}PATH": f"s3://looped@{bucket.name}/xcom"}
        code = (
            "import asyncio\n"
            "async def there_and_back():\n"
            f"    return XCom.deserialize_value(row(XCom.serialize_value([1], {NAMES})))\n"
            "asyncio.run(there_and_back())"
        )
        assert hooks.run(code, **settings).value == [1]


class TestPurging:
    def test_the_object_goes(self, hooks: Hooks):
        stored = hooks.pushed("[1]")
        assert hooks.purge(stored).error is None and hooks.files() == set()
        assert hooks.purge(stored).error is None, "there is nothing left to do"

    def test_what_no_backend_wrote_stays(self, hooks: Hooks):
        """Airflow's own class deletes whatever a task has named, if it lies below the base path."""
        for name in ("raw/table.json", "d/r/t/model.json", f"d/r/t/5/{uuid4()}"):
            path = hooks.folder / "xcom" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("[1]")
            hooks.purge(json.dumps(f"{hooks.base}/{name}"))
        assert len(hooks.files()) == 3

    def test_what_lies_elsewhere_stays(self, hooks: Hooks):
        name = f"d/r/t/{uuid4()}"
        for folder in ("xcom2", "other"):
            path = hooks.folder / folder / name
            path.parent.mkdir(parents=True)
            path.write_text("[1]")
            hooks.purge(json.dumps(f"file://{path}"))
            hooks.purge(json.dumps(f"{hooks.base}/../{folder}/{name}"))
        assert len(hooks.files()) == 2

    @pytest.mark.parametrize("value", ["None", "[1]", "{}", "12", "''", "'x'"])
    def test_what_is_no_reference(self, hooks: Hooks, value: str):
        assert hooks.run(f"XCom.purge(row({value}, key='k'))").error is None

    def test_a_refusal_does_not_stop_the_task_unless_it_is_to(self, hooks: Hooks):
        """A file in the place of a folder is refused to everybody, the superuser too."""
        (hooks.folder / "xcom").write_text("")
        stored = json.dumps(f"{hooks.base}/d/r/t/{uuid4()}")
        done = hooks.purge(stored)
        assert done.error is None and "is left to `xcomctl gc`" in done.log and "NotADirectoryError" in done.log
        hooks.purge(stored, **{f"{OURS}PURGE_ERRORS": "raise"}).failed("NotADirectoryError")
        hooks.purge(stored, **{f"{OURS}PURGE_ERRORS": "perhaps"}).failed("UsageError", "none of log, raise")


@pytest.mark.skipif(not IS_2, reason="the web server of Airflow 3 has no backend")
class TestListing:
    """What the web server of Airflow 2 makes of each row, without opening an object."""

    LIST = "XCom.orm_deserialize_value(row({!r}))"

    def test_a_reference_is_its_url(self, hooks: Hooks):
        stored = hooks.pushed("[1]")
        (file,) = hooks.files()
        file.unlink()
        assert hooks.run(self.LIST.format(stored.encode())).value == json.loads(stored)

    def test_what_is_in_the_row(self, hooks: Hooks):
        assert hooks.run(self.LIST.format(b'{"a": [1]}')).value == {"a": [1]}
        assert hooks.run(self.LIST.format(None)).value is None

    def test_pickles_are_described(self, hooks: Hooks):
        pickling = {"AIRFLOW__CORE__ENABLE_XCOM_PICKLING": "True"}
        assert hooks.run(self.LIST.format(pickle.dumps("s3://b/x")), **pickling).value == "s3://b/x"
        assert "never" not in hooks.run(self.LIST.format(pickle.dumps({"a": 1})), **pickling).value
        assert hooks.run(self.LIST.format(pickle.dumps({"a": 1})), **pickling).value.startswith("pickle (protocol 4")
        assert hooks.run(self.LIST.format(b"{broken"), **pickling).value == "no JSON (7 bytes)"


@pytest.mark.skipif(not IS_3_4, reason="Airflow 3.4 has these hooks")
class TestNewHooks:
    WHERE = (
        "from airflow.sdk.bases.xcom import XComCoordinate\n"
        "from uuid import UUID\n"
        "where = XComCoordinate('d', 'r', 't', ti_id={})\n"
    )

    def test_an_object_belongs_to_an_attempt_and_a_key(self, hooks: Hooks):
        attempt = uuid4()
        code = self.WHERE.format(f"UUID('{attempt}')") + "XCom._store(where, -1, 'a/key', [1])"
        stored = hooks.run(code, **{f"{COMMON}COMPRESSION": "gzip"}).value
        assert stored == f"{hooks.base}/d/r/t/ti-{attempt}/a%2Fkey.json.gz"
        (file,) = hooks.files()
        assert gzip.decompress(file.read_bytes()) == b"[1]"
        assert hooks.run(f"XCom._load(row({stored!r}))").value == [1]
        assert hooks.run(f"Stock._load(row({stored!r}))").value == [1]
        hooks.purge(json.dumps(stored))
        assert hooks.files() == set()

    def test_in_a_scheme_of_a_provider(self, hooks: Hooks):
        attempt, settings = uuid4(), TestOtherSchemes.on(hooks, "sftp")
        where = self.WHERE.format(f"UUID('{attempt}')")
        theirs, stored = (
            hooks.run(f"{where}{kind}._store(where, -1, 'k', [1])", **settings).value for kind in ("Stock", "XCom")
        )
        (file,) = hooks.files()
        assert stored == theirs == f"sftp://lab@{file}"
        assert hooks.run(f"[kind._load(row({stored!r})) for kind in (XCom, Stock)]", **settings).value == [[1], [1]]
        hooks.purge(json.dumps(stored), **settings)
        assert hooks.files() == set()

    def test_another_tasks_has_a_name_of_its_own(self, hooks: Hooks):
        code = self.WHERE.format("None") + "[XCom._store(where, -1, 'k', n) for n in (1, 2)]"
        one, other = hooks.run(code).value
        assert one != other and "/write-" in one

    def test_long_names_are_cut_to_what_stores_allow(self, hooks: Hooks):
        code = self.WHERE.replace("'r'", "'r' * 900").format("None") + "XCom._store(where, -1, 'k', 1)"
        path = f"s3://{'b' * 60}/{'x' * 100}"
        code = (
            "from xcomctl.backend import objects\n"
            "written, write = [], objects.write\n"
            "objects.write = lambda store, location, data: written.append(location.name)\n"
            + code.replace("XCom._store", "stored = XCom._store")
            + "\nobjects.write = write\nlen(written[0].encode())"
        )
        done = hooks.run(code, **{f"{COMMON}PATH": path})
        assert done.value <= 1024

    @pytest.mark.parametrize("names", ["'d', '..', '7'", "'..', 'a/../b', '..'", "'d', '../../../../x', 't'"])
    def test_no_name_leads_out_of_its_place(self, hooks: Hooks, names: str):
        where = self.WHERE.replace("'d', 'r', 't'", names).format(f"UUID('{uuid4()}')")
        stored = hooks.run(where + "XCom._store(where, -1, 'k', 1)").value
        (file,) = hooks.files()
        assert place(str(file.relative_to(hooks.folder / "xcom"))) is not None
        assert hooks.run(f"[kind._load(row({stored!r})) for kind in (XCom, Stock)]").value == [1, 1]
        hooks.purge(json.dumps(stored))
        assert hooks.files() == set()

    def test_both_pairs_are_overridden_together(self, hooks: Hooks):
        """One alone would switch the layout, and make Airflow refuse loops."""
        code = (
            "from airflow.sdk.bases.xcom import _is_legacy_xcom_backend, _is_preferred_over\n"
            "[_is_legacy_xcom_backend(XCom), _is_preferred_over(XCom, 'load_value', 'deserialize_value')]"
        )
        assert hooks.run(code).value == [False, True]


class TestRequests:
    """What the store is asked, where each request is paid for."""

    @staticmethod
    def counted(hooks: Hooks, proxy: FaultProxy, code: str, settings: dict[str, str]) -> list[str]:
        """The methods of the requests that some code makes, once its connections are open."""
        before = len(proxy.requests)
        done = hooks.run(code, **settings)
        assert done.error is None, (done, proxy.requests)
        return [seen.method for seen in proxy.requests[before:]]

    def test_one_for_each_deed(self, hooks: Hooks, bucket: s3.Bucket, proxy: FaultProxy):
        settings = on(bucket, AIRFLOW_CONN_COUNTED=bucket.server.connection(proxy.endpoint))
        settings |= {f"{COMMON}PATH": f"s3://counted@{bucket.name}/xcom"}
        hooks.run(f"XCom.serialize_value([0], {NAMES})", **settings)  # opens what a process opens once
        stored: list[str] = []
        made = {}
        for name in ("XCom", "Stock"):
            write = f"text({name}.serialize_value([1, 2], {NAMES}))"
            made[name, "write"] = self.counted(hooks, proxy, write, settings)
            stored.append(hooks.pushed("[1, 2]", **settings))
            read = f"{name}.deserialize_value(row(column({stored[-1]!r})))"
            made[name, "read"] = self.counted(hooks, proxy, read, settings)
            purge = f"{name}.purge(row(json.loads({stored[-1]!r})))"
            made[name, "purge"] = self.counted(hooks, proxy, purge, settings)
        ours, theirs = ([made[name, deed] for deed in ("write", "read", "purge")] for name in ("XCom", "Stock"))
        looked = ours[1][:-1]
        assert (ours[0], ours[1][-1], ours[2]) == (["PUT"], "GET", ["DELETE"])
        assert looked in ([], ["HEAD"]), "the client may ask for the size, to read what is large in parts"
        assert len(theirs[0]) == 4 and all(len(mine) <= len(other) for mine, other in zip(ours, theirs, strict=True)), (
            made
        )


class TestPlace:
    def test_it_is_airflows_class_and_more(self, hooks: Hooks):
        assert hooks.run("[XCom.__name__, issubclass(XCom, Stock)]").value == ["XComBackend", True]

    def test_a_worker_loads_nothing_that_airflow_does_not(self, tmp_path: Path):
        clean = {name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW")}
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", LOADED],
            env={**clean, "AIRFLOW_HOME": str(tmp_path)},
            capture_output=True,
            text=True,
            check=True,
        )
        loaded = next(line for line in done.stdout.splitlines() if line.startswith("loaded")).split()[1:]
        assert "xcomctl.backend.xcom" in loaded
        assert {name.partition(".")[0] for name in loaded} - sys.stdlib_module_names == {"xcomctl"}

    def test_a_wrong_option_stops_no_process(self, hooks: Hooks):
        """It is told where it is needed: small values come and go."""
        wrong = {f"{OURS}{name}": "?" for name in ("MISSING_OBJECT", "READ_PATHS", "PURGE_ERRORS")}
        wrong |= {f"{COMMON}PATH": "?", f"{COMMON}COMPRESSION": "?", f"{COMMON}THRESHOLD": "100"}
        assert hooks.pulled(hooks.pushed("'x'", **wrong), **wrong).value == "x"

    def test_the_documented_configuration(self, tmp_path: Path):
        """The first block of the page, with files for a bucket, in the airflow.cfg of a new process."""
        page = (Path(__file__).parents[2] / "docs/backend.md").read_text("utf-8")
        config = page.partition("```ini\n")[2].partition("```")[0]
        config = config.replace("s3://my_connection@my-bucket", f"file://{tmp_path}")
        (tmp_path / "airflow.cfg").write_text(config)
        clean = {name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW")}
        told = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", CONFIGURED],
            env={**clean, "AIRFLOW_HOME": str(tmp_path)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert told.stdout.splitlines()[-1:] == ["XComBackend True False"], told.stderr
        (file,) = (tmp_path / "xcom").rglob("*.gz")
        assert json.loads(gzip.decompress(file.read_bytes())) == "x" * 1048574

    @pytest.mark.parametrize("name", ["control_keys_inline", "read_respelled"])
    def test_a_switch_is_on_or_off(self, hooks: Hooks, name: str):
        settings = {f"{OURS}{name.upper()}": "perhaps"}
        url = f"s3://b/xcom/d/r/t/{uuid4()}"
        settings |= {f"{COMMON}PATH": "s3://store@b/xcom"}
        code = f"XCom.serialize_value(1, key='skipmixin_key'), XCom.deserialize_value(row(column({json.dumps(url)!r})))"
        hooks.run(code, **settings).failed("UsageError", f"[xcomctl] {name} = 'perhaps' is neither True nor False")

    def test_airflow_lists_its_options(self, tmp_path: Path):
        """The provider's entry point tells them, and the environment overrides them."""
        environment = {**os.environ, "AIRFLOW_HOME": str(tmp_path), f"{OURS}READ_PATHS": "s3://told/by/environment"}
        airflow = [sys.executable, "-W", "ignore", "-m", "airflow", "config"]

        def told(*words: str) -> str:
            done = subprocess.run([*airflow, *words], env=environment, capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stderr
            return done.stdout.strip()

        listed = told("list", "--section", "xcomctl")
        assert "[xcomctl]" in listed and all(option in listed for option in OPTIONS)
        assert told("get-value", "xcomctl", "read_paths").splitlines()[-1] == "s3://told/by/environment"
        assert told("get-value", "xcomctl", "missing_object").splitlines()[-1] == "error"

    def test_a_base_path_is_read_as_everywhere_else(self, hooks: Hooks):
        base = parse_base(hooks.base)
        assert base is not None and json.loads(hooks.pushed("1")).startswith(base.text)
