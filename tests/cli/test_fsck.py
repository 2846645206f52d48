"""`xcomctl fsck` as people and cron run it: what it says, that what it says helps, how it ends."""

from __future__ import annotations

import json
import os
import pickle
import re
import shlex
import signal
import subprocess
import time
from datetime import datetime, timezone
from pathlib import Path
from uuid import uuid4

import pytest

from tests.cli.conftest import XCOMCTL, Result, Run, place, storage_options, tree
from tests.lab import s3
from tests.lab.database import Databases
from tests.lab.gcs import Bucket, GCSServer
from tests.lab.shells import words_of
from tests.lab.world import Push, World
from tests.operations.scene import BASE_FOLDER, Scene
from xcomctl.operations.fsck import FIELDS, Kind

pytestmark = [pytest.mark.databases("sqlite-3.3"), pytest.mark.stores("file")]

UNPROVED = ("--allow", "backend")
"""Whether Airflow reads what migrate writes is tried where an Airflow is."""

AT_ONCE = ("--single-pass", "--max-delete", "100%")
NAMES = [
    ("d", "scheduled__2026-01-01T00:00:00+00:00", "t", "k"),
    ("it's", 'a "b" $c `d`', "group.t-1", "key with spaces"),
    ("-d", "--run-id", "-t", "-k"),
    ("d*", "[r]", "t?", "[!k]*"),
    ("dé", "r;ls", "t\\n", "k\\"),
]


def url_of(scene: Scene, *names: str, base: str | None = None) -> str:
    return "/".join((base or scene.base.text, *(names or ("d", "r", "t")), str(uuid4())))


def refer(scene: Scene, url: str, key: str = "k", *, encodings: int = 1) -> None:
    value = url
    for _ in range(encodings):
        value = json.dumps(value)
    scene.world.push("d", "r", "t", key=key, value=value)


def found(cli: Run, scene: Scene, *words: str, base_of_airflow: bool = False) -> list[dict[str, str]]:
    at, airflows = list(place(scene)), {}
    if base_of_airflow:
        option = at.index("--base-path")
        del at[option : option + 2]
        airflows = {"AIRFLOW__COMMON_IO__XCOM_OBJECTSTORAGE_PATH": scene.base.text}
    done = cli("fsck", *at, "-o", "json", *words, **airflows)
    assert done.code in (0, 1), done.err
    assert (done.code == 1) == any(each["severity"] == "error" for each in done.json)
    return list(done.json)


def of(kind: str, listed: list[dict[str, str]]) -> list[dict[str, str]]:
    return [each for each in listed if each["id"] == kind]


def obey(cli: Run, scene: Scene, hint: str, *more: str) -> Result:
    """Run the command at the end of a hint, as a shell takes it apart."""
    words = words_of(hint[hint.rindex("xcomctl ") :])
    done = cli(*words[1:], *place(scene), *more)
    assert done.code == 0, (hint, done.err)
    return done


class TestHints:
    """The command that a hint ends in mends what was found."""

    @pytest.mark.parametrize("names", NAMES, ids=[names[0] for names in NAMES])
    @pytest.mark.databases("sqlite-3.3", "postgresql-3.4", "mysql-2.11")
    def test_dangling(self, cli: Run, scene: Scene, names: tuple[str, str, str, str]):
        """Only that row goes, though its names look like options or globs."""
        scene.push("d", "kept", "t", key="k")
        dag_id, run_id, task_id, key = names
        scene.world.push(dag_id, run_id, task_id, key=key, value=json.dumps(url_of(scene, *names[:3])))
        scene.world.push("dx", "r", "tx", key="kx", value="1")
        (lost,) = of("dangling", found(cli, scene))
        obey(cli, scene, lost["hint"], "--yes")
        assert of("dangling", found(cli, scene)) == []
        left = cli("ls", *place(scene), "-o", "json").json
        assert {each["key"] for each in left} == {"k", "kx"}

    def test_of_one_mapped_task_only_that_one_goes(self, cli: Run, scene: Scene):
        scene.push("d", "r", "t", 0)
        scene.world.push("d", "r", "t", 1, "k", value=json.dumps(url_of(scene)))
        (lost,) = of("dangling", found(cli, scene))
        obey(cli, scene, lost["hint"], "--yes")
        assert [row["map_index"] for row in cli("ls", *place(scene), "-o", "json").json] == [0]

    def test_what_gc_removed_is_restored(self, cli: Run, scene: Scene):
        scene.push("d", key="kept")
        url = scene.leak("d")
        scene.age(url, 10)
        assert cli("gc", *AT_ONCE, "--older-than", "7d", "--yes", *place(scene)).code == 0
        refer(scene, url, "again")
        (lost,) = of("dangling", found(cli, scene))
        obey(cli, scene, lost["hint"], "--yes")
        assert found(cli, scene, "--deep") == []

    def test_outside_the_base(self, cli: Run, scene: Scene):
        for number, prefix in enumerate(("old/xcom", "it's old")):
            url = url_of(scene, base=f"{scene.raw.url}/{prefix}")
            scene.raw.put(url.removeprefix(f"{scene.raw.url}/"), b"[1]")
            refer(scene, url, f"k{number}")
        for outside in of("outside_base", found(cli, scene)):
            obey(cli, scene, outside["hint"], "--yes", *UNPROVED)
        assert found(cli, scene, "--deep") == []

    @pytest.mark.parametrize("encodings", [2, 3])
    def test_a_reference_encoded_too_often(self, cli: Run, scene: Scene, encodings: int):
        refer(scene, scene.leak("d"), encodings=encodings)
        (twice,) = of("double_encoded", found(cli, scene))
        obey(cli, scene, twice["hint"], "--yes", *UNPROVED)
        assert found(cli, scene, "--deep") == []

    def test_one_that_another_task_handed_on(self, cli: Run, scene: Scene):
        refer(scene, scene.leak("other", "run", "elsewhere"), encodings=2)
        (twice,) = of("double_encoded", found(cli, scene))
        obey(cli, scene, twice["hint"], "--yes", *UNPROVED)
        assert of("double_encoded", found(cli, scene)) == []

    def test_what_no_backend_names_so_is_removed(self, cli: Run, scene: Scene):
        refer(scene, scene.put("by hand.json"), encodings=2)
        (twice,) = of("double_encoded", found(cli, scene))
        obey(cli, scene, twice["hint"], "--yes")
        assert of("double_encoded", found(cli, scene)) == []

    @pytest.mark.stores("ministack")
    def test_another_connection(self, cli: Run, scene: Scene):
        scene.push("d", key="fine")
        refer(scene, scene.leak("d").replace("s3://", "s3://other@"))
        refer(scene, scene.leak("d").replace("s3://", "s3a://"), "protocol")
        by_airflow = of("other_connection", found(cli, scene, base_of_airflow=True))
        assert [other["severity"] for other in by_airflow] == ["error", "error"]
        for other in by_airflow:
            obey(cli, scene, other["hint"], "--yes", *UNPROVED)
        assert found(cli, scene, "--deep") == []

    @pytest.mark.stores("ministack")
    def test_a_base_path_that_somebody_says_may_lack_airflows_connection(self, cli: Run, scene: Scene):
        refer(scene, scene.leak("d").replace("s3://", "s3://airflows@"))
        lost = f"{scene.base.text}/d/r/t/{uuid4()}".replace("s3://", "s3://airflows@")
        refer(scene, lost, "lost")
        listed = found(cli, scene)
        others, (dangling,) = of("other_connection", listed), of("dangling", listed)
        assert [other["severity"] for other in others] == ["info", "info"] and dangling["severity"] == "error"
        assert others[0]["hint"].endswith(f"--base-path {scene.base.text.replace('s3://', 's3://airflows@')}")
        assert dangling["reference"] == lost

    @pytest.mark.databases("sqlite-3.3", "postgresql-3.4", "mysql-2.11")
    def test_control_keys(self, cli: Run, scene: Scene):
        scene.push("d", key="fine")
        refer(scene, scene.leak("d"), "skipmixin_key")
        (control,) = found(cli, scene)
        assert control["id"] == "control_key"
        obey(cli, scene, control["hint"], "--yes")
        assert of("control_key", found(cli, scene)) == []

    def test_control_keys_of_another_base_path(self, cli: Run, scene: Scene):
        url = url_of(scene, base=f"{scene.raw.url}/old")
        scene.raw.put(url.removeprefix(f"{scene.raw.url}/"), b"[1]")
        refer(scene, url, "skipmixin_key")
        control, outside = found(cli, scene)
        obey(cli, scene, outside["hint"], "--yes", *UNPROVED)
        obey(cli, scene, control["hint"], "--yes")
        assert [each["id"] for each in found(cli, scene) if each["severity"] == "error"] == []

    @pytest.mark.databases("mysql-2.11")
    def test_values_near_the_limit(self, cli: Run, scene: Scene):
        scene.world.sql("ALTER TABLE xcom MODIFY value BLOB")
        refer(scene, "x" * 60_000)
        (near,) = found(cli, scene)
        assert near["id"] == "near_limit"
        obey(cli, scene, near["hint"], "--yes", *UNPROVED)
        assert found(cli, scene, "--deep") == []

    @pytest.mark.databases("mysql-2.11")
    def test_those_that_must_stay_in_their_rows(self, cli: Run, scene: Scene):
        scene.world.sql("ALTER TABLE xcom MODIFY value BLOB")
        scene.world.push("d", "r", "t", key="p", value=pickle.dumps("x" * 60_000))
        refer(scene, "x" * 60_000, "skipmixin_key")
        for near in of("near_limit", found(cli, scene)):
            obey(cli, scene, near["hint"], "--yes")
        assert of("near_limit", found(cli, scene)) == []

    @pytest.mark.databases("sqlite-2.11")
    def test_pickles(self, cli: Run, scene: Scene):
        scene.world.push("d", "r", "t", value=pickle.dumps({"a": 1}))
        (pickled,) = found(cli, scene)
        obey(cli, scene, pickled["hint"], "--yes")
        assert of("pickled", found(cli, scene)) == []

    def test_hand_written_backends(self, cli: Run, scene: Scene):
        unique = uuid4()
        scene.raw.put(f"hand/r/t/data_{unique}.json", b"[1]")
        refer(scene, f"xcom_s3://r/t/data_{unique}.json")
        (written,) = found(cli, scene)
        obey(cli, scene, written["hint"].replace("s3://BUCKET", f"{scene.raw.url}/hand"), "--yes", *UNPROVED)
        assert found(cli, scene, "--deep") == []

    def test_orphans(self, cli: Run, scene: Scene):
        scene.push("d", key="kept")
        scene.age(scene.leak("d"), 10)
        soon = ("--yes", "--confirm-after", "0s", "--unsafe-windows", "--max-delete", "1")
        for hint in ("this marks it, and a run a day later deletes it: xcomctl gc", "on this deletes it: xcomctl gc"):
            (orphan,) = found(cli, scene)
            assert orphan["hint"].endswith(hint)
            obey(cli, scene, orphan["hint"], *soon)
        assert found(cli, scene) == []

    def test_objects_that_are_held(self, cli: Run, scene: Scene):
        scene.push("d", key="kept")
        for dag_id in ("gone [1]", "-gone"):
            scene.age(scene.leak(dag_id), 10)
        (held,) = found(cli, scene)
        obey(cli, scene, held["hint"], *AT_ONCE, "--older-than", "7d", "--yes")
        assert found(cli, scene) == []

    @pytest.mark.parametrize("body", [b"", b"[1", b"\x1f\x8b\x08 no gzip"])
    def test_damaged_objects(self, cli: Run, scene: Scene, body: bytes):
        scene.push("d", key="kept")
        refer(scene, scene.put(f"d/r/t/{uuid4()}", body))
        (corrupt,) = found(cli, scene, "--deep")
        obey(cli, scene, corrupt["hint"], "--yes")
        assert of("corrupt", found(cli, scene, "--deep")) == []

    @pytest.mark.stores("ministack")
    def test_a_rule_that_expires_objects(self, cli: Run, scene: Scene):
        """Rows that go before their objects do not dangle."""
        assert isinstance(scene.raw, s3.Bucket)
        scene.push("d", key="old")
        now = datetime.now(timezone.utc)
        scene.world.push("d", "r", "t", key="new", value=json.dumps(scene.leak("d")), timestamp=now)
        rule = {"ID": "x", "Status": "Enabled", "Filter": {"Prefix": ""}, "Expiration": {"Days": 30}}
        scene.raw.client.put_bucket_lifecycle_configuration(
            Bucket=scene.raw.name, LifecycleConfiguration={"Rules": [rule]}
        )
        (warned,) = found(cli, scene)
        assert (warned["id"], warned["severity"]) == ("expiry", "warning")
        obey(cli, scene, warned["hint"], "--yes")
        assert [(each["id"], each["severity"]) for each in found(cli, scene)] == [("expiry", "info")]

    def test_gates_are_told_by_gc_too(self, cli: Run, scene: Scene):
        scene.world.dag("d")
        scene.age(scene.leak("d"), 10)
        (gate,) = of("gate", found(cli, scene))
        words = shlex.split(gate["hint"][gate["hint"].rindex("xcomctl ") :])
        done = cli(*words[1:], *place(scene))
        assert done.code == 5 and "empty-roots" in done.err


@pytest.fixture
def ill(scene: Scene) -> Scene:
    """Two dangling rows, one string in a string, one orphan, and what is fine."""
    scene.push("d", key="fine")
    for number in range(2):
        refer(scene, url_of(scene), f"lost {number}")
    scene.world.push("d", "r", "t", 3, "twice", value=json.dumps(json.dumps("a")))
    scene.age(scene.leak("d"), 10)
    return scene


class TestAnswers:
    def test_json_is_an_array_of_findings(self, cli: Run, ill: Scene):
        done = cli("fsck", *place(ill), "-o", "json")
        assert done.code == 1 and [tuple(each) for each in done.json] == [FIELDS] * 4
        assert [each["id"] for each in done.json].count("dangling") == 2
        assert (
            done.err.splitlines()[-3:]
            == [
                "error dangling: 2 findings, 0 B",
                "info double_encoded: 1 finding, 7 B",
                "info orphan: 1 finding, 3 B",
            ]
            or "error dangling: 2 findings" in done.err
        )

    def test_json_lines_and_the_others_say_the_same(self, cli: Run, ill: Scene):
        whole = found(cli, ill)
        lines = [json.loads(line) for line in cli("fsck", *place(ill), "-o", "jsonl").column]
        plain = [line.split("\t") for line in cli("fsck", *place(ill), "-o", "plain").column]
        assert lines == whole and [row[0] for row in plain] == [each["id"] for each in whole]
        assert cli("fsck", *place(ill), "-o", "csv", "--columns", "id,key").column[0] == "id,key"

    def test_groups_by_cause_with_counts_examples_and_help(self, cli: Run, ill: Scene):
        text = cli("fsck", *place(ill), "-o", "table").text
        first, *others = text.split("\n\n")
        head, about, one, two, *hints = first.splitlines()
        assert re.fullmatch(r"error dangling: 2, \d+ B", head) and "the object is gone" in about
        assert "d r t lost 0: " in one and "d r t lost 1: " in two
        assert len(hints) == 2 and all(hint.startswith("  help: run the task again") for hint in hints)
        assert [other.split(":")[0] for other in others] == ["info double_encoded", "info orphan"]
        assert "d r t[3] twice: " in text and "xcomctl gc" in text

    @pytest.mark.parametrize(("examples", "shown"), [("0", 0), ("1", 1), ("9", 2)])
    def test_examples(self, cli: Run, ill: Scene, examples: str, shown: int):
        text = cli("fsck", *place(ill), "-o", "table", "--only", "dangling", "--examples", examples).text
        assert text.count(" d r t lost ") == shown and "help" in text
        assert (f"… and {2 - shown} more" in text) == (0 < shown < 2)

    def test_a_limit_changes_neither_counts_nor_exit_code(self, cli: Run, ill: Scene):
        whole, cut = (cli("fsck", *place(ill), "-o", "jsonl", "--limit", limit) for limit in ("0", "1"))
        assert whole.code == cut.code == 1 and cut.column == whole.column[:1]
        assert cut.err.replace("the first 1 of 4; --limit 0 shows all\n", "") == whole.err

    def test_one_kind_only(self, cli: Run, ill: Scene):
        assert {each["id"] for each in found(cli, ill, "--only", "orphan")} == {"orphan"}
        assert cli("fsck", *place(ill), "--only", "orphan", "--only", "double_encoded").code == 0

    def test_another_kind_is_refused_before_anything_is_read(self, cli: Run):
        cli("fsck", "--only", "nope", "--db", "postgresql://nobody@127.0.0.1:1/none").failed(
            2, "there is no 'nope'", ", ".join(kind.value for kind in Kind)
        )

    def test_nothing_is_wrong(self, cli: Run, scene: Scene):
        scene.push("d")
        assert cli("fsck", *place(scene), "-o", "table").text == "nothing is wrong\n"
        for form, nothing in (("json", "[]\n"), ("jsonl", ""), ("plain", ""), ("table", "")):
            done = cli("fsck", *place(scene), "-o", form, "-q")
            assert (done.code, done.text, done.err) == (0, nothing, "")

    def test_quiet_says_what_is_wrong(self, cli: Run, ill: Scene):
        done = cli("fsck", *place(ill), "-q", "-o", "table")
        assert done.code == 1 and "error dangling: 2" in done.text and done.err == ""

    def test_a_terminal_gets_groups_in_colour(self, terminal: Run, ill: Scene):
        shown = terminal("fsck", *place(ill), columns=60)
        assert shown.code == 1 and "\x1b[31m" in shown.text
        assert any(line.startswith("error dangling: 2") for line in shown.lines)
        for environment in ({"NO_COLOR": "1"}, {"TERM": "dumb"}):
            assert "\x1b[3" not in terminal("fsck", *place(ill), **environment).text
        assert "\x1b[3" not in terminal("fsck", *place(ill), "--color", "never").text

    def test_a_terminal_obeys_no_name(self, cli: Run, scene: Scene):
        scene.push("d", key="fine")
        evil = "\x1b]0;owned\x07\x9b31m\u202e\n[red]"
        scene.world.push("d", "r", "t", key=evil, value=json.dumps(url_of(scene)))
        for form in ("table", "plain", "csv"):
            text = cli("fsck", *place(scene), "-o", form).text
            assert form != "table" or not re.search("[\x1b\x07\x9b\u202e]", text)
        assert found(cli, scene)[0]["key"] == evil
        (lost,) = of("dangling", found(cli, scene))
        obey(cli, scene, lost["hint"], "--yes")
        assert of("dangling", found(cli, scene)) == []

    def test_no_key_of_a_store_is_said(self, cli: Run, scene: Scene):
        refer(scene, f"s3://AKIAKEY:hunter2hunter2@bucket/old/d/r/t/{uuid4()}")
        for form in ("json", "table", "plain"):
            done = cli("fsck", "--deep", *place(scene), "-o", form)
            assert "outside_base" in done.text and "hunter2" not in done.text + done.err

    def test_older_than_is_about_orphans_and_rows(self, cli: Run, ill: Scene):
        assert of("orphan", found(cli, ill, "--older-than", "9d")) != []
        assert of("orphan", found(cli, ill, "--older-than", "11d")) == []

    def test_the_environment_says_the_same(self, cli: Run, ill: Scene):
        at = {"XCOMCTL_DB": ill.database.url, "XCOMCTL_BASE_PATH": ill.base.text}
        done = cli("fsck", "-o", "jsonl", XCOMCTL_ONLY="dangling", XCOMCTL_LIMIT="1", **at)
        assert done.code == 1 and len(done.column) == 1 and "the first 1 of 2" in done.err

    def test_without_a_base_path_a_note_says_so(self, cli: Run, ill: Scene):
        done = cli("fsck", "--db", ill.database.url, "-o", "json")
        assert "there is no base path: only rows are looked at" in done.err and done.code == 0
        assert {each["id"] for each in done.json} == {"outside_base", "double_encoded"}

    def test_without_a_base_path_nobody_is_told_that_nothing_dangles(self, cli: Run, ill: Scene):
        asked = ("fsck", "-q", "--db", ill.database.url, "--only", "dangling,orphan")
        cli(*asked).failed(10, "nobody says the object storage path", "--base-path")

    def test_what_dangles_is_no_state_of_a_row(self, cli: Run, ill: Scene):
        cli("fsck", *place(ill), "--state", "dangling").failed(2, "what dangles", "--only dangling")

    def test_questions_about_rows_ask_no_store(self, cli: Run, ill: Scene):
        at = (
            "--db",
            ill.database.url,
            "--base-path",
            "s3://nowhere/x",
            "--storage-option",
            "endpoint_url=http://127.0.0.1:1",
        )
        done = cli("fsck", *at, "--only", "double_encoded", "--only", "control_key,pickled", "-o", "json")
        assert (done.code, [each["id"] for each in done.json]) == (0, ["double_encoded"])

    def test_a_name_that_no_terminal_shows_is_meant_all_the_same(self, cli: Run, scene: Scene):
        names = ("d\u202eRTL", "r\n1", "t\tab", "k\x1b[31m")
        scene.world.push(*names[:3], key=names[3], value=json.dumps(url_of(scene)))
        shown = cli("fsck", *place(scene), "-o", "table").text
        (command,) = re.findall(r"help: .*(xcomctl rm .*)", shown)
        done = cli(*words_of(command)[1:], *place(scene), "--dry-run", "-o", "json")
        assert done.json["selected"] == 1


class TestReadOnly:
    def test_nothing_is_changed(self, cli: Run, ill: Scene):
        database = Path(ill.database.url.removeprefix("sqlite:///"))
        before = tree(ill.raw.path, database)
        assert cli("fsck", "--deep", *place(ill)).code == 1
        assert tree(ill.raw.path, database) == before

    def test_gc_at_work_is_no_hindrance(self, cli: Run, ill: Scene):
        from xcomctl.ledger.lease import held, holder

        with held(ill.scope().control, holder("20260101T000000Z-00000000", "gc")):
            assert {each["id"] for each in found(cli, ill)} == {"dangling", "double_encoded", "orphan"}

    def test_where_gc_keeps_its_state(self, cli: Run, ill: Scene):
        elsewhere = ("--control", f"{ill.raw.url}/kept/elsewhere")
        assert cli("gc", *AT_ONCE, "--older-than", "7d", "--yes", *place(ill), *elsewhere).code == 0
        assert of("gate", found(cli, ill, *elsewhere)) == []

    @pytest.mark.stores("ministack", "seaweedfs")
    def test_buckets(self, cli: Run, scene: Scene):
        scene.push("d", key="fine")
        refer(scene, url_of(scene), "lost")
        refer(scene, scene.put(f"d/r/t/{uuid4()}.gz", b"[1]"), "wrong")
        before = scene.raw.keys()
        assert [each["id"] for each in found(cli, scene, "--deep")] == ["dangling", "corrupt"]
        assert scene.raw.keys() == before


class TestFailures:
    def test_a_folder_that_is_not_there(self, cli: Run, ill: Scene):
        ill.raw.path.joinpath(BASE_FOLDER).rename(ill.raw.path / "away")
        cli("fsck", *place(ill), "-o", "json").failed(12, "does not exist", "mounted")

    def test_a_database_that_is_down(self, cli: Run, scene: Scene):
        cli("fsck", "--db", "postgresql://nobody@127.0.0.1:1/none", "--base-path", scene.base.text).failed(10, "")

    def test_a_database_that_is_no_airflows(self, cli: Run, databases: Databases, scene: Scene):
        with databases.empty("sqlite") as url:
            assert cli("fsck", "--db", url, "--base-path", scene.base.text).code == 10

    @pytest.mark.parametrize("status", [401, 403, 500])
    def test_a_bucket_that_may_not_be_listed(self, cli: Run, databases: Databases, status: int):
        with (
            GCSServer("bucket") as server,
            databases.fresh("sqlite-3.3") as database,
            World(database) as world,
            Scene(database, world, Bucket(server, "bucket")) as scene,  # type: ignore[arg-type]
        ):
            scene.push("d")
            server.faults["list", "bucket"] = status
            done = cli("fsck", *place(scene), "-o", "json")
            assert done.code == 12 and done.out == b"" and "hint: " in done.err

    @pytest.mark.stores("ministack")
    def test_a_bucket_that_is_not_there(self, cli: Run, scene: Scene):
        assert isinstance(scene.raw, s3.Bucket)
        scene.push("d")
        elsewhere = scene.base.text.replace(scene.raw.name, "no-such-bucket")
        at = ("--db", scene.database.url, "--base-path", elsewhere, *storage_options(scene.raw.options))
        assert cli("fsck", *at).code == 12

    def test_a_database_that_another_has_locked(self, cli: Run, ill: Scene):
        """SQLite lets nobody read while one writes its pages."""
        with ill.world.locked("DELETE FROM xcom"):
            assert {each["id"] for each in found(cli, ill)} >= {"dangling", "orphan"}

    def test_a_database_that_another_has_for_itself(self, cli: Run, ill: Scene):
        with ill.world.locked("BEGIN EXCLUSIVE"):
            cli("fsck", *place(ill), "-o", "json").failed(10, "locked")

    def test_a_reader_who_has_gone(self, bare: dict[str, str], ill: Scene):
        reader, writer = os.pipe()
        os.close(reader)
        with os.fdopen(writer) as gone:
            done = subprocess.run(
                [*XCOMCTL, "fsck", *place(ill), "-o", "jsonl"],
                stdout=gone,
                stderr=subprocess.PIPE,
                env=bare,
                check=False,
            )
        assert done.returncode == 141 and b"Traceback" not in done.stderr

    @pytest.mark.parametrize(("number", "codes"), [(signal.SIGINT, {130}), (signal.SIGTERM, {143, -signal.SIGTERM})])
    def test_it_is_interrupted_while_a_store_says_nothing(
        self, bare: dict[str, str], databases: Databases, number: signal.Signals, codes: set[int]
    ):
        with (
            GCSServer("bucket") as server,
            databases.fresh("sqlite-3.3") as database,
            World(database) as world,
            Scene(database, world, Bucket(server, "bucket")) as scene,  # type: ignore[arg-type]
        ):
            name = scene.push("d").removeprefix("gs://bucket/")
            server.faults["read", name] = "silent"
            words = [*XCOMCTL, "fsck", "--deep", *place(scene), "-o", "jsonl"]
            process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=bare)
            while not server.calls["read"]:
                assert process.poll() is None
                time.sleep(0.05)
            process.send_signal(number)
            _, err = process.communicate(timeout=20)
            assert process.returncode in codes and b"Traceback" not in err

    def test_it_streams(self, process: Run, scene: Scene):
        scene.push("d", key="fine")
        scene.world.push_many(Push("d", "r", "t", number, "k", json.dumps(url_of(scene))) for number in range(2_500))
        done = process("fsck", *place(scene), "-o", "jsonl", "--only", "dangling")
        assert done.code == 1 and len(done.column) == 2_500
        assert "error dangling: 2,500 findings" in done.err
