"""What a verification is without an Airflow: its runner, the traps that need none, and the comparison."""

from __future__ import annotations

import copy
import json
import os
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import astuple
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from xcomctl.errors import StorageError, UsageError
from xcomctl.operations.verify import Container, Status, inside, sources, versions
from xcomctl.operations.verify.compare import compare
from xcomctl.operations.verify.environment import environment
from xcomctl.operations.verify.options import wrong_with
from xcomctl.operations.verify.runner import Overdue, run
from xcomctl.operations.verify.terms import Answer, Check, Probe, fail, ok, skipped, unknown, warn


def answers(*probes: Probe[None]) -> dict[str, Check]:
    return {check.id: check for check in run(probes, None)}


def saying(answer: Answer) -> Any:
    return lambda _: answer


class TestRunner:
    def test_what_needs_a_check_that_did_not_pass_is_skipped(self):
        probes = [
            Probe("bad", saying(fail("broken"))),
            Probe("vague", saying(unknown("who knows"))),
            Probe("odd", saying(warn("works"))),
            Probe("absent", saying(skipped("there is no such thing here"))),
            Probe("a", saying(ok("")), ("bad",)),
            Probe("b", saying(ok("")), ("a",)),
            Probe("c", saying(ok("")), ("vague",)),
            Probe("d", saying(ok("")), ("odd",)),
            Probe("e", saying(ok("")), ("absent",)),
            Probe("f", saying(ok("")), unless_failed=("absent", "odd")),
            Probe("g", saying(ok("")), unless_failed=("absent", "bad")),
        ]
        told = {name: (check.status.value, check.detail) for name, check in answers(*probes).items()}
        assert [told[name] for name in "abcdefg"] == [
            ("skipped", "needs bad"),
            ("skipped", "needs bad"),
            ("skipped", "needs vague"),
            ("ok", ""),
            ("skipped", "there is no such thing here"),
            ("ok", ""),
            ("skipped", "needs bad"),
        ]

    def test_an_exception_is_a_failure_of_one_line(self):
        def raises(_: None) -> Answer:
            raise ValueError("first line\nTraceback second")

        def refuses(_: None) -> Answer:
            raise StorageError("cannot write", hint="ask")

        def leaves(_: None) -> Answer:
            raise SystemExit(3)

        told = answers(Probe("a", raises), Probe("b", refuses), Probe("c", leaves), Probe("d", saying(ok("still"))))
        assert [astuple(check)[:4] for check in told.values()] == [
            ("a", Status.FAIL, "ValueError: first line", None),
            ("b", Status.FAIL, "cannot write", "ask"),
            ("c", Status.FAIL, "SystemExit: 3", None),
            ("d", Status.OK, "still", None),
        ]

    def test_a_check_that_hangs_ends_even_where_errors_are_caught(self):
        def stubborn(_: None) -> Answer:
            while True:
                try:
                    time.sleep(60)
                except Exception:
                    continue

        def deaf(_: None) -> Answer:
            for _ in range(2):
                try:
                    time.sleep(60)
                except Overdue:
                    continue
            return ok("")

        began = time.monotonic()
        told = answers(Probe("a", stubborn, seconds=0.2), Probe("b", deaf, seconds=0.2), Probe("c", saying(ok(""))))
        assert time.monotonic() - began < 10
        assert told["a"].status is Status.FAIL and told["a"].detail == "no answer within 0.2 s"
        assert 200 <= told["a"].ms < 5000
        assert told["c"].status is Status.OK
        time.sleep(1.1)  # no alarm is left to ring

    def test_secrets_are_masked(self):
        container = Container()
        container.hide("pass/word", "")
        (told,) = run([Probe("a", saying(fail("pass/word at s3://k:v@b", "pass%2Fword")))], None, container.masked)
        assert (told.detail, told.hint) == ("*** at s3://***@b", "***")


@pytest.mark.parametrize(
    ("login", "kind", "hidden"),
    [
        ("AKIAIOSFODNN7EXAMPLE", "aws", True),
        ("prod", "aws", False),
        ("0f3c9a5e-7d52-4b8e-9c61-3f6f1c1c2d3e", "wasb", False),
    ],
)
def test_a_login_that_is_a_name_is_none_to_hide(login: str, kind: str, hidden: bool):
    """Else a bucket called prod and one called test would look the same in fingerprints."""
    connection = SimpleNamespace(login=login, password="pass-word", conn_type=kind, extra='{"token": "t0ken"}')
    assert set(inside.secrets_of(connection)) == {"pass-word", "t0ken", *([login] if hidden else [])}


class TestSources:
    @pytest.fixture(autouse=True)
    def _home(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in [name for name in os.environ if "AIRFLOW" in name or "XCOM" in name]:
            monkeypatch.delenv(name)
        monkeypatch.setenv("AIRFLOW_HOME", str(tmp_path))

    @pytest.mark.parametrize(
        ("name", "meant"),
        [
            ("AIRFLOW__XCOM__BACKEND", sources.BACKEND),
            ("XCOM_BACKEND", sources.BACKEND),
            ("AIRFLOW_CORE_XCOM_BACKEND", sources.BACKEND),
            ("airflow__core__xcom_backend", sources.BACKEND),
            ("AIRFLOW__COMMON.IO__XCOM_OBJECTSTORAGE_PATH", sources.BASE_PATH),
            ("AIRFLOW__COMMON_IO__XCOM_OBJECTSTORE_PATH", sources.BASE_PATH),
            ("AIRFLOW__CORE__XCOM_OBJECTSTORAGE_PATH", sources.BASE_PATH),
            ("xcom_objectstorage_threshold", sources.THRESHOLD),
            ("AIRFLOW__COMMON_IO__XCOM_OBJECTSTORAGE_TRESHOLD", sources.THRESHOLD),
            ("AIRFLOW__COMMON_IO__XCOM_OBJECTSTORAGE_COMPRESSION_CMD", sources.COMPRESSION),
            ("AIRFLOW__COMMON_IO__XCOM_OBJECTSTORAGE_PATH__SECRET", sources.BASE_PATH),
            ("AIRFLOW__COMMON_IO__XCOM_OBJECTSTORAGE_COMPRESSION_CODEC", sources.COMPRESSION),
            ("AIRFLOW__COMMON_IO__OBJECTSTORAGE_PATH", sources.BASE_PATH),
            ("AIRFLOW__PROVIDERS_COMMON_IO__XCOM_OBJECTSTORAGE_PATH", sources.BASE_PATH),
            ("AIRFLOW__CORE__XCOMBACKEND", sources.BACKEND),
            ("AIRFLOW__COMMON_IO__XCOM_OBJECTSTORAGE_PATHS", sources.BASE_PATH),
            ("AIRFLOW__COMMON_IO__XCOM_OBJECTSTORAGE_COMPRESION", sources.COMPRESSION),
            ("AIRFLOW__COMMONIO__XCOM_OBJECT_STORAGE_COMPRESSION", sources.COMPRESSION),
        ],
    )
    def test_a_near_miss(self, name: str, meant: sources.Name, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setenv(name, "x")
        assert sources.near_misses() == [sources.NearMiss(name, meant)]

    def test_what_is_none(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
        for option in sources.OPTIONS:
            monkeypatch.setenv(sources.variable_of(option), "x")
        for name in (
            "XCOM_BACKEND_BUCKET_NAME",
            "MY_XCOM_OBJECTSTORAGE_PATH",
            "XCOMCTL_BASE_PATH",
            "XCOM_BUCKET",
            "OBJECTSTORAGE_PATH",
        ):
            monkeypatch.setenv(name, "x")
        (tmp_path / "airflow.cfg").write_text("[core]\nxcom_backend = a.B\n[common.io]\nxcom_objectstorage_path = x\n")
        assert sources.near_misses() == []

    def test_where_an_option_comes_from(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
        assert sources.source_of(sources.THRESHOLD) == "default"
        file = tmp_path / "airflow.cfg"
        file.write_text("[common.io]\nxcom_objectstorage_threshold = 5\n[xcom]\nbackend = a.B\n")
        assert (sources.source_of(sources.THRESHOLD), sources.written(sources.THRESHOLD)) == (str(file), "5")
        assert sources.near_misses() == [sources.NearMiss("[xcom] backend", sources.BACKEND)]
        monkeypatch.setenv("AIRFLOW__COMMON_IO__XCOM_OBJECTSTORAGE_THRESHOLD", "6")
        assert sources.source_of(sources.THRESHOLD) == "AIRFLOW__COMMON_IO__XCOM_OBJECTSTORAGE_THRESHOLD"
        file.write_text("no section")
        assert sources.source_of(sources.BACKEND) == "default"


@pytest.mark.parametrize(
    ("path", "what", "hint"),
    [
        ("/mnt/xcom", "no scheme", "write file:///mnt/xcom"),
        ("xcom", "no scheme", "write s3://"),
        ("file://airflow/xcoms", "airflow for a host", "file:///airflow/xcoms"),
        ("file:///", "root of the file system", "file:///folder"),
        ("s3://key:secret@bucket/x", "credentials", "s3://connection@bucket"),
        ("s3:///x", "names no bucket", "s3://connection@bucket/x"),
        ("abfss://box@account.dfs.core.windows.net/x", "box for a connection", "abfss://connection@box/x"),
        ("ftp://host/x", "know no ftp://", "known are"),
        ("s3://bucket/a/../x", "no segment ..", "the folder's own name"),
        ("file:///data/_xcomctl/x", "no segment ..", "the folder's own name"),
    ],
)
def test_a_base_path_that_is_misread(path: str, what: str, hint: str):
    wrong = wrong_with(path)
    assert wrong is not None and what in wrong[0] and hint in wrong[1]
    assert "secret" not in " ".join(wrong)


@pytest.mark.parametrize("path", ["s3://b", "s3://conn@b/x", "gs://b/x/", "abfs://conn@box/x", "file:///data/xcom"])
def test_a_base_path_that_is_read_as_meant(path: str):
    assert wrong_with(path) is None


@pytest.mark.parametrize(
    ("airflow", "common_io", "upath", "sdk", "told"),
    [
        ((2, 11, 2), "1.3.0", "0.2.6", None, "xcom_objectstore_*"),
        ((2, 11, 0), "1.6.1", "0.2.6", None, "cannot be imported"),
        ((2, 10, 5), "1.6.0", "0.2.4", None, "excludes"),
        ((3, 0, 0), "1.5.3", "0.2.6", "1.1.0", "twice"),
        ((3, 0, 6), "1.6.0", "0.2.6", "1.0.6", "mapped tasks"),
        ((3, 1, 8), "1.11.0", "0.3.10", "1.1.8", "refuses the paths"),
        ((3, 3, 2), "1.11.0", "0.2.6", "1.3.2", "need universal-pathlib 0.3.8"),
    ],
)
def test_versions_that_are_known_to_be_bad(airflow, common_io, upath, sdk, told: str):
    def told_of(airflow: tuple[int, ...], *found: str | None) -> list[str]:
        container = Container(version=airflow, backend=type("XComBackend", (), {"__module__": "xcomctl.backend.xcom"}))
        installed = dict(zip((versions.COMMON_IO, versions.UPATH, versions.TASK_SDK), found, strict=True))
        return [why for why, _ in versions.known_bad(container, installed)]

    (why,) = told_of(airflow, common_io, upath, sdk)
    assert told in why
    assert told_of((3, 3, 2), "1.11.0", "0.3.10", "1.3.2") == []
    assert told_of((2, 11, 2), "1.6.4", "0.2.6", None) == []


@pytest.fixture(scope="module")
def taken(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A fingerprint of a container whose Airflow does not start."""
    home = tmp_path_factory.mktemp("home")
    (home / "airflow").mkdir()
    (home / "airflow" / "__init__.py").write_text("raise RuntimeError('this image is broken')\n")
    (home / "airflow.cfg").write_text(
        "[core]\nxcom_backend = a.B\n[common.io]\nxcom_objectstorage_path = s3://k:hunter2@b/x\n"
    )
    kept = {name: value for name, value in os.environ.items() if "AIRFLOW" not in name and "XCOMCTL_" not in name}
    path = os.pathsep.join(filter(None, (str(home), str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH"))))
    environment = {**kept, "AIRFLOW_HOME": str(home), "PYTHONPATH": path}
    words = [sys.executable, "-m", "xcomctl", "verify-backend"]
    told = subprocess.run([*words, "-o", "json"], env=environment, capture_output=True, text=True, check=False)
    first = json.loads(told.stdout)[0]
    assert (told.returncode, first["id"], first["status"]) == (1, "airflow", "fail")
    assert "this image is broken" in first["detail"] and "Traceback" not in told.stdout + told.stderr
    done = subprocess.run([*words, "--fingerprint"], env=environment, capture_output=True, text=True, check=True)
    assert "hunter2" not in done.stdout + done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_a_fingerprint_where_airflow_is_broken(taken: dict[str, Any]):
    assert "this image is broken" in taken["airflow"]["error"]
    assert taken["class"]["name"] is None and taken["class"]["error"]
    assert taken["options"]["core.xcom_backend"]["value"] == "a.B"
    assert taken["options"]["common.io.xcom_objectstorage_path"]["value"] == "s3://***@b/x"
    errors = {told["error"] for told in (*taken["options"].values(), *taken["xcomctl_options"].values())}
    assert errors == {taken["class"]["error"]} == {"not tried, for Airflow does not start"}


def test_a_fingerprint_where_airflow_hangs(tmp_path: Path):
    (tmp_path / "airflow").mkdir()
    (tmp_path / "airflow" / "__init__.py").write_text("import time\ntime.sleep(600)\n")
    code = (
        "import sys; from xcomctl.operations.verify import fingerprint; fingerprint.IMPORT_SECONDS = 0.5\n"
        "from xcomctl.cli import main; sys.exit(main(['verify-backend', '--fingerprint']))"
    )
    path = os.pathsep.join(filter(None, (str(tmp_path), str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH"))))
    words = [sys.executable, "-c", code]
    done = subprocess.run(words, env={**os.environ, "PYTHONPATH": path}, capture_output=True, timeout=60, check=True)
    taken = json.loads(done.stdout)
    assert taken["airflow"]["error"] == "no answer within 0.5 s"
    assert taken["class"]["error"] and taken["packages"] and taken["codecs"]


class TestEnvironment:
    @pytest.fixture(autouse=True)
    def _nothing_set(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in environment():
            monkeypatch.delenv(name, raising=False)
            monkeypatch.delenv(name.lower(), raising=False)

    @pytest.mark.parametrize(
        ("name", "value", "told"),
        [
            ("AWS_ENDPOINT_URL_S3", "http://minio:9000/", "http://minio:9000"),
            ("AWS_ENDPOINT_URL", "https://k:hunter2@minio/hunter2?x=hunter2", "https://minio"),
            ("AWS_ENDPOINT_URL", "https://k:hun/ter2@minio", "set"),
            ("AWS_ENDPOINT_URL", "https://k:12/hunter2@minio", "set"),
            ("STORAGE_EMULATOR_HOST", "default", "default"),
            ("STORAGE_EMULATOR_HOST", "gcs:4443", "gcs:4443"),
            ("HTTPS_PROXY", "http://k:hunter2@proxy:3128", "http://proxy:3128"),
            ("http_proxy", "k:hunter2@proxy:3128", "proxy:3128"),
            ("AWS_REGION", "eu-west-1", "eu-west-1"),
            ("AWS_PROFILE", " ", None),
            ("GOOGLE_APPLICATION_CREDENTIALS", "/etc/key.json", "/etc/key.json"),
            ("GOOGLE_APPLICATION_CREDENTIALS", '{"private_key": "hunter2"}', "set"),
            ("AWS_SECRET_ACCESS_KEY", "hunter2", "set"),
            ("AZURE_STORAGE_CONNECTION_STRING", "AccountKey=hunter2", "set"),
        ],
    )
    def test_what_is_told(self, name: str, value: str, told: str | None, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setenv(name, value)
        found = environment()
        assert {each: value for each, value in found.items() if value} == ({name.upper(): told} if told else {})


class TestCompare:
    @pytest.fixture
    def sound(self, taken: dict[str, Any]) -> dict[str, Any]:
        """As of a container that works."""
        sound = copy.deepcopy(taken)
        sound["airflow"] = {"version": "3.3.2", "error": None}
        sound["class"] = {"name": "team.Backend", "file": "/a/team.py", "sha256": "00" * 32, "error": None}
        sound["codecs"] = ["gzip", "zstd"]
        sound["packages"] |= {"apache-airflow-providers-common-io": "1.11.0", "fsspec": "2026.9.0"}
        sound["packages"]["apache-airflow-providers-amazon"] = "9.39.0"
        sound["scheme"] = "s3"
        sound["connection"] = {"id": "c", "type": "aws", "endpoint": "e:1", "source": "from x", "error": None}
        sound["connection"]["visible"] = True
        sound["environment"] = dict.fromkeys(sound["environment"])
        sound["options"]["core.enable_xcom_pickling"] = {"value": "False", "source": "default"}
        for told in (*sound["options"].values(), *sound["xcomctl_options"].values()):
            told["error"] = None
        return sound

    @staticmethod
    def told(*taken: dict[str, Any]) -> dict[str, str]:
        found = list(compare({f"{number}.json": each for number, each in enumerate(taken)}))
        assert all(check.ms == 0 and check.detail for check in found)
        return {check.id: check.status.value for check in found if check.status is not Status.OK}

    def test_the_same_but_for_the_host(self, sound: dict[str, Any]):
        assert self.told(sound, sound | {"hostname": "another"}) == {}

    @pytest.mark.parametrize(
        ("path", "value", "check", "status"),
        [
            (("class", "name"), "team.Other", "backend-class", "fail"),
            (("class", "error"), "ImportError: x", "backend-class", "fail"),
            (("class", "sha256"), "11" * 32, "class-file", "fail"),
            (("options", "common.io.xcom_objectstorage_path", "value"), "s3://b/y", "base-path", "fail"),
            (("options", "common.io.xcom_objectstorage_threshold", "value"), "7", "threshold", "fail"),
            (("options", "common.io.xcom_objectstorage_compression", "value"), "gzip", "compression", "fail"),
            (("options", "common.io.xcom_objectstorage_path", "source"), "elsewhere", None, None),
            (("airflow", "version"), "3.3.1", "airflow", "warn"),
            (("airflow", "version"), "3.2.2", "airflow", "fail"),
            (("airflow", "version"), None, "airflow", "fail"),
            (("airflow", "error"), "broken", "airflow", "fail"),
            (("codecs",), ["gzip"], "codecs", "warn"),
            (("near_misses",), ["XCOM_BACKEND"], "option-names", "warn"),
            (("options", "common.io.xcom_objectstorage_path", "value"), "s3://***@b/x//", None, None),
            (("options", "common.io.xcom_objectstorage_path", "error"), "command failed", "base-path", "fail"),
            (("options", "core.enable_xcom_pickling", "value"), "True", "pickling", "fail"),
            (("options", "core.enable_xcom_pickling", "value"), "f", None, None),
            (("environment", "AWS_ENDPOINT_URL"), "http://e:1", "endpoint-variables", "fail"),
            (("environment", "STORAGE_EMULATOR_HOST"), "gcs:1", "endpoint-variables", "warn"),
            (("environment", "AWS_REGION"), "eu-west-1", "environment", "warn"),
            (("environment", "HTTPS_PROXY"), "http://p:1", "environment", "warn"),
            (
                ("packages", "apache-airflow-providers-common-io"),
                None,
                "package-apache-airflow-providers-common-io",
                "fail",
            ),
            (("packages", "apache-airflow-providers-amazon"), None, "package-apache-airflow-providers-amazon", "fail"),
            (("packages", "pandas"), "0.0", "package-pandas", "warn"),
            (("packages", "fsspec"), "2026.9.1", "package-fsspec", "warn"),
            (("python",), "3.99.0", "python", "warn"),
            (("xcomctl_options", "missing_object", "value"), "url", "xcomctl-options", "warn"),
            (("connection", "endpoint"), "f:1", "connection", "fail"),
            (("connection", "source"), "from y", None, None),
            (("connection", "error"), "InvalidToken, from the metadata database", "connection", "fail"),
            (("connection",), None, "connection", "fail"),
        ],
    )
    def test_one_difference(self, sound: dict[str, Any], path: tuple[str, ...], value: object, check, status):
        other = copy.deepcopy(sound)
        inner = other
        for part in path[:-1]:
            inner = inner[part]
        inner[path[-1]] = value
        assert self.told(sound, sound, other) == ({check: status} if check else {})

    def test_a_connection_that_is_only_not_visible(self, sound: dict[str, Any]):
        hidden = {"id": "c", "type": None, "endpoint": None, "error": "it is nowhere"}
        assert self.told(sound, sound | {"connection": hidden | {"visible": False}}) == {"connection": "warn"}
        assert self.told(sound, sound | {"connection": hidden}) == {"connection": "warn"}
        assert self.told(sound, sound | {"connection": hidden | {"id": "d"}}) == {"connection": "fail"}

    @pytest.mark.parametrize("whose", [0, 1])
    def test_a_codec_that_one_lacks_and_one_compresses_with(self, sound: dict[str, Any], whose: int):
        both = [copy.deepcopy(sound), copy.deepcopy(sound) | {"codecs": ["gzip"]}]
        both[whose]["options"]["common.io.xcom_objectstorage_compression"]["value"] = "zstd"
        assert self.told(*both) == {"compression": "fail", "codecs": "fail"}

    def test_a_local_folder_on_several_hosts(self, sound: dict[str, Any]):
        local = sound | {"scheme": "file", "connection": None}
        assert self.told(local, local) == {}
        assert self.told(local, local | {"hostname": "another"}) == {"local-files": "warn"}

    def test_who_is_broken_is_left_out(self, sound: dict[str, Any], taken: dict[str, Any]):
        broken = {
            **taken,
            "packages": sound["packages"],
            "codecs": sound["codecs"],
            "environment": sound["environment"],
        }
        found = {check.id: check for check in compare({"a": sound, "b": broken, "c": sound})}
        assert {name for name, check in found.items() if check.status is not Status.OK} == {"airflow"}
        assert "this image is broken" in found["airflow"].detail and "a: " not in found["airflow"].detail
        for name in ("backend-class", "class-file", "base-path", "connection", "xcomctl-options"):
            assert found[name].detail.endswith("; left out: b")
        older = copy.deepcopy(sound)
        older["airflow"]["version"] = "3.1.0"
        told = {check.id: check for check in compare({"a": sound, "b": broken, "c": older})}
        assert "c: 3.1.0" in told["airflow"].detail and "this image is broken" in told["airflow"].detail
        alone = {check.id: check.status for check in compare({"a": sound, "b": broken})}
        assert alone["base-path"] is alone["backend-class"] is Status.SKIPPED and alone["python"] is Status.OK
        nowhere = broken | {"airflow": {"version": None, "error": "not installed"}, "packages": {"s3fs": None}}
        assert set(self.told(sound, nowhere, sound)) == {"airflow"}

    def test_a_class_that_is_not_there_has_no_file_that_differs(self, sound: dict[str, Any]):
        other = sound | {"class": {"name": None, "file": None, "sha256": None, "error": "ImportError: x"}}
        assert self.told(sound, other, sound) == {"backend-class": "fail"}

    def test_other_versions_of_xcomctl_tell_more_or_less(self, sound: dict[str, Any]):
        newer = sound | {"mood": {"good": True}, "packages": sound["packages"] | {"polars": "1.0"}}
        newer["environment"] = sound["environment"] | {"AWS_NEW": "x"}
        assert self.told(sound, newer, sound) == {"package-polars": "skipped"}
        for lacking in sound.keys() - {"schema", "class"}:
            less = {name: value for name, value in sound.items() if name != lacking}
            assert "fail" not in self.told(sound, less, sound).values()
            assert set(self.told(sound, less).values()) <= {"skipped"}
        assert set(self.told(sound, {"schema": 1, "class": {}}).values()) == {"skipped"}

    def test_a_newer_schema(self, sound: dict[str, Any]):
        with pytest.raises(UsageError, match="newer xcomctl") as raised:
            self.told(sound, {"schema": 2})
        assert "upgrade" in str(raised.value.hint)

    @pytest.mark.parametrize(
        "wrong", [[], {}, {"schema": 1}, {"schema": True, "class": {}}, {"schema": 0}, "text", None]
    )
    def test_what_is_no_fingerprint(self, sound: dict[str, Any], wrong: Any):
        with pytest.raises(UsageError, match="holds no fingerprint"):
            self.told(sound, wrong)

    @pytest.mark.parametrize("wrong", [3, [3], [None], [["a"]], True])
    def test_no_wrong_type_is_a_fault_of_xcomctl(self, sound: dict[str, Any], wrong: object):
        """Wherever it is; what is not read may be anything."""
        for name in sound.keys() - {"schema"}:
            with pytest.raises(UsageError, match="holds no fingerprint"):
                self.told(sound, sound | {name: wrong})
            for inner in sound[name] if isinstance(sound[name], dict) else ():
                if (name, inner) not in (("class", "file"), ("connection", "source"), ("connection", "visible")):
                    with pytest.raises(UsageError, match="holds no fingerprint"):
                        self.told(sound, sound | {name: sound[name] | {inner: wrong}})

    @pytest.mark.parametrize("wrong", [{"a": 3}, {"a": {"value": 3}}, {"value": [3], "name": {}, "id": 1}, {"b": None}])
    def test_a_table_of_another_kind_is_no_fault_of_xcomctl_either(self, sound: dict[str, Any], wrong: dict[str, Any]):
        for name in sound.keys() - {"schema"}:
            for table in (wrong, sound[name] | wrong) if isinstance(sound[name], dict) else (wrong,):
                with suppress(UsageError):  # keys that are not known may hold anything
                    self.told(sound, sound | {name: table})

    @pytest.mark.parametrize("name", ["airflow", "packages", "class", "options", "xcomctl_options", "environment"])
    def test_nothing_instead_of_a_table(self, sound: dict[str, Any], name: str):
        with pytest.raises(UsageError, match="holds no fingerprint"):
            self.told(sound, sound | {name: None})


def test_it_loads_nothing_that_it_does_not_need():
    """A health check that loads SQLAlchemy or pandas by itself is twice as slow."""
    heavy = "{'airflow', 'sqlalchemy', 'fsspec', 's3fs', 'gcsfs', 'pandas', 'numpy', 'pyarrow', 'botocore', 'rich'}"
    code = f"import sys, xcomctl.operations.verify; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
