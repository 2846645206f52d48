"""What is wrong is found, as what it is; what is harmless is not."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import pickle
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from typing import Any
from uuid import uuid4

import pytest
from fsspec.implementations.memory import MemoryFileSystem

from tests.backend.storage.kinds import address_of
from tests.lab import gcs, s3
from tests.lab.database import Database
from tests.lab.folder import Folder
from tests.lab.world import Push, World
from tests.operations.scene import AT_ONCE, BASE_FOLDER, Around, Scene
from xcomctl.backend import payload
from xcomctl.backend.storage import Stores
from xcomctl.backend.storage.other import OtherStore
from xcomctl.catalog import Catalog, open_catalog
from xcomctl.errors import ForbiddenError, StorageError
from xcomctl.ledger import Control, control_folder
from xcomctl.model import Filter, Severity, unwatched
from xcomctl.operations.deployment import Deployment
from xcomctl.operations.fsck import ABOUT, Check, Finding, Kind, Questions
from xcomctl.operations.fsck.objects import AT_EASE_BYTES
from xcomctl.operations.fsck.terms import ALL
from xcomctl.operations.gc import Scope

USUAL = Questions()
DEEP = Questions(deep=True)
NOW = datetime.now(timezone.utc)
OLD = "old/xcom"

pytestmark = pytest.mark.stores("file")
on_one_database = pytest.mark.databases("sqlite-3.3")
on_any_store = pytest.mark.stores("file", "ministack", "seaweedfs")


@pytest.fixture
def scene(database: Database, world: World, store: s3.Bucket | Folder) -> Iterator[Scene]:
    if isinstance(store, Folder):
        (store.path / BASE_FOLDER).mkdir(parents=True)
    with Scene(database, world, store) as scene:
        yield scene


def checked(
    scene: Scene,
    questions: Questions = USUAL,
    store: Any = None,
    catalogs: tuple[Catalog, ...] = (),
    stores: Stores | None = None,
) -> Check:
    scope = scene.scope(catalogs, store)
    stores = stores or Stores(scene.base, dict(scene.raw.options))
    deployment = Deployment(scope.catalogs, scope.base, stores, None)
    return Check(deployment, scope, questions, unwatched)


def findings(scene: Scene, questions: Questions = USUAL, **more: Any) -> list[Finding]:
    return list(checked(scene, questions, **more).findings())


def told(scene: Scene, questions: Questions = USUAL, **more: Any) -> list[tuple[str, str, str | None]]:
    """Each finding: what, how bad, and the key of its row."""
    found = findings(scene, questions, **more)
    return sorted((each.id.value, each.severity.value, each.key or "") for each in found)


def refer(scene: Scene, url: str, key: str = "k", dag_id: str = "d", encodings: int = 1) -> str:
    value = url
    for _ in range(encodings):
        value = json.dumps(value)
    scene.world.push(dag_id, "r", "t", key=key, value=value)
    return url


def old_url(scene: Scene, dag_id: str = "d") -> str:
    """An object as a task left it below another base path."""
    name = f"{OLD}/{dag_id}/r/t/{uuid4()}"
    scene.raw.put(name, b"[1]")
    return f"{scene.raw.url}/{name}"


def lost_url(scene: Scene, dag_id: str = "d", run_id: str = "r", task_id: str = "t") -> str:
    return f"{scene.base.text}/{dag_id}/{run_id}/{task_id}/{uuid4()}"


def test_every_kind_has_a_meaning():
    assert ABOUT.keys() == ALL == set(Kind)


class TestNothingIsWrong:
    def test_where_nothing_is_there(self, scene: Scene):
        assert told(scene, DEEP) == []

    @on_any_store
    def test_with_what_tasks_push(self, scene: Scene):
        scene.push("d", "scheduled__2026-01-01T00:00:00+00:00", "group.t [1]", key="a 'b' \"c\"")
        for map_index in range(3):
            scene.push("d", "r", "mapped", map_index)
        for number, value in enumerate(
            [
                "https://airflow.example/dags/d?x=1",
                "s3://lake/2026/part-0000.parquet",
                f"s3://lake/exports/{uuid4()}.csv",
                "gs://lake/folder/",
                f"{scene.raw.url}/data/file.json",
                str(uuid4()),
                "",
                "null",
                {"url": f"{scene.base.text}/d/r/t"[:4]},
                [1.5, None, "ünï 😀"],
                "x" * 100_000,
            ]
        ):
            scene.world.push("d", "r", "t", key=f"k{number}", value=json.dumps(value))
        for key in ("skipmixin_key", "_link_S3Link", "past_depends_met"):
            scene.world.push("d", "r", "t", key=key, value=json.dumps("https://example.org"))
        assert told(scene, DEEP) == []

    @pytest.mark.databases("*-3.4")
    def test_with_the_attempts_and_names_of_airflow_3_4(self, scene: Scene):
        scene.push("d")
        scene.world.retry("d", "r", "t")
        scene.push("d")
        attempt = scene.world.attempt("d", "r", "t")
        url = scene.put(f"d/r/t/ti-{attempt}/return_value.json")
        refer(scene, url, "return_value")
        scene.world.push("d", "older", "t", value=json.dumps(scene.leak("d", "older")), legacy=True)
        assert told(scene, DEEP) == []

    @pytest.mark.databases("*-3.4")
    def test_with_what_an_attempt_lost_that_airflow_shows_no_more(self, scene: Scene):
        refer(scene, f"{scene.base.text}/d/r/t/{uuid4()}", "k")
        assert told(scene, DEEP)[0][0] == "dangling"
        scene.world.retry("d", "r", "t")
        scene.push("d")
        assert told(scene, DEEP) == []

    @on_one_database
    def test_with_what_is_written_meanwhile(self, scene: Scene):
        """A row whose object is younger than the listing."""

        class Growing(Around):
            def objects(self, prefix: str) -> Iterator[Any]:
                yield from self.real.objects(prefix)
                url = scene.leak("d")
                scene.world.push("d", "r", "t", key="young", value=json.dumps(url), timestamp=NOW)

        assert told(scene, DEEP, store=Growing(scene.store)) == []

    @pytest.mark.parametrize("again", [False, True])
    def test_with_rows_that_go_meanwhile(self, scene: Scene, again: bool):
        """The row is read, and gone with its object when that is looked up; or another value was pushed since."""
        scene.push("d", key="kept")
        url = scene.push("d", key="going")
        scene.raw.delete(url.removeprefix(f"{scene.raw.url}/"))

        class Going(Around):
            def stat(self, name: str) -> Any:
                scene.world.delete_xcom("d", "r", "t", key="going")
                if again:
                    scene.push("d", key="going")
                return self.real.stat(name)

        assert told(scene, store=Going(scene.store)) == []

    def test_with_young_orphans(self, scene: Scene):
        scene.push("d")
        scene.leak("d")
        assert told(scene) == []


class TestRows:
    def test_a_reference_to_nothing(self, scene: Scene):
        scene.push("d", key="there")
        url = refer(scene, lost_url(scene), "lost")
        (found,) = findings(scene)
        assert (found.id, found.severity, found.key, found.reference) == (Kind.DANGLING, Severity.ERROR, "lost", url)
        assert found.hint.endswith("xcomctl rm --archive --dag-id d --run-id r --task-id t --key lost")
        assert checked(scene).fails is False  # not before it has looked

    def test_one_that_another_task_handed_on(self, scene: Scene):
        """The row of one task names an object of another, whose row is gone."""
        refer(scene, lost_url(scene, "other", task_id="elsewhere"), "handed on")
        assert ("dangling", "error", "handed on") in told(scene)

    @on_one_database
    def test_what_gc_removed_comes_back_by_restore(self, scene: Scene):
        url = scene.leak("d")
        scene.push("d", key="kept")
        account = scene.collect(AT_ONCE)
        assert account.tallies["deleted"].count == 1
        refer(scene, url, "again")
        found = [each for each in findings(scene) if each.id is Kind.DANGLING]
        assert [each.key for each in found] == ["again"] and account.operation_id in found[0].detail
        assert found[0].hint == f"xcomctl restore {account.operation_id}"

    def test_references_that_airflow_does_not_follow(self, scene: Scene):
        refer(scene, old_url(scene), "outside")
        refer(scene, scene.leak("d"), "twice", encodings=2)
        refer(scene, scene.leak("d"), "thrice", encodings=3)
        refer(scene, f"s3://conn@elsewhere/base/d/r/t/ti-{uuid4()}/k.json", "owned")
        assert told(scene) == [
            ("double_encoded", "error", "thrice"),
            ("double_encoded", "error", "twice"),
            ("outside_base", "error", "outside"),
            ("outside_base", "error", "owned"),
        ]

    def test_what_may_be_a_tasks_own_data_is_told_as_such_and_not_read(self, scene: Scene):
        refer(scene, f"s3://lake/exports/{uuid4()}", "_link_Own")
        (found,) = findings(scene, DEEP)
        assert (found.id, found.severity) == (Kind.OUTSIDE_BASE, Severity.INFO)

    @pytest.mark.stores("ministack")
    @on_one_database
    def test_another_connection(self, scene: Scene):
        url = scene.leak("d").replace("s3://", "s3://other@")
        refer(scene, url)
        gate, found = sorted(findings(scene), key=lambda each: each.severity.value, reverse=True)
        assert gate.id is Kind.GATE and gate.detail.startswith("two-spellings: ")
        assert (found.id, found.severity) == (Kind.OTHER_CONNECTION, Severity.ERROR)
        assert "s3://other@" in found.detail and f"s3://other@{scene.raw.name}" in found.hint

    def test_keys_that_airflow_reads_from_the_row(self, scene: Scene):
        for key in ("skipmixin_key", "_link_S3Link"):
            refer(scene, scene.leak("d"), key)
        refer(scene, old_url(scene), "past_depends_met")
        assert told(scene) == [
            ("control_key", "error", "_link_S3Link"),
            ("control_key", "error", "past_depends_met"),
            ("control_key", "error", "skipmixin_key"),
            ("outside_base", "error", "past_depends_met"),
        ]

    def test_strings_in_strings(self, scene: Scene):
        scene.world.push("d", "r", "t", key="twice", value=json.dumps(json.dumps("a")))
        assert told(scene) == [("double_encoded", "info", "twice")]

    @pytest.mark.databases("*-2.11")
    def test_pickles(self, scene: Scene):
        scene.world.push("d", "r", "t", key="string", value=pickle.dumps(scene.leak("d")))
        scene.world.push("d", "r", "t", key="dict", value=pickle.dumps({"a": 1}))
        assert told(scene) == [("pickled", "warning", "dict"), ("pickled", "warning", "string")]

    def test_references_of_hand_written_backends(self, scene: Scene):
        refer(scene, f"xcom_s3://r/t/data_{uuid4()}.json", "s3")
        refer(scene, f"gcs://r/t/{uuid4()}.json", "composer")
        refer(scene, f"gcs://other/t/{uuid4()}.json", "own data")
        found = {each.key: each for each in findings(scene)}
        assert found.keys() == {"s3", "composer"}
        assert {(each.id, each.severity) for each in found.values()} == {(Kind.HANDWRITTEN, Severity.WARNING)}
        assert found["s3"].hint.endswith("xcomctl migrate --rule s3 --relocate s3://BUCKET")
        assert found["composer"].hint.endswith("xcomctl migrate --rule gcs-variable")

    @pytest.mark.databases("mysql-2.11")
    def test_values_near_what_a_blob_holds(self, scene: Scene):
        scene.world.sql("ALTER TABLE xcom MODIFY value BLOB")
        for key, length in (("fits", 50_000), ("near", 60_000)):
            scene.world.push("d", "r", "t", key=key, value=json.dumps("x" * length))
        (found,) = findings(scene)
        assert (found.id, found.severity, found.key) == (Kind.NEAR_LIMIT, Severity.WARNING, "near")
        assert "BLOB takes 65,535" in found.detail

    def test_archives(self, scene: Scene):
        scene.push("d")
        (archive,) = scene.world.db_clean()
        scene.push("d")
        (found,) = findings(scene)
        assert (found.id, found.severity, found.dag_id) == (Kind.ARCHIVE, Severity.INFO, None)
        assert found.detail.startswith(f"{archive} holds 1 rows") and (found.size_bytes or 0) > 0

    @pytest.mark.databases("*-upgraded")
    def test_what_the_upgrade_put_aside(self, scene: Scene):
        scene.world.archive_pickle("d", "r", "t", pickle.dumps(1))
        (found,) = findings(scene)
        assert found.id is Kind.ARCHIVE and "_xcom_archive" in found.detail and "upgrade" in found.hint

    @on_one_database
    def test_filters_choose_rows(self, scene: Scene):
        scene.push("d")
        for dag_id in ("a", "b"):
            refer(scene, lost_url(scene, dag_id), dag_id=dag_id, key=f"k {dag_id}")
        assert told(scene, Questions(Filter(dag_ids=("a",)))) == [("dangling", "error", "k a")]
        assert told(scene, Questions(Filter(keys=("* b",)))) == [("dangling", "error", "k b")]

    @on_one_database
    def test_more_than_a_batch_of_lost_objects_and_each_is_told_once(self, scene: Scene, monkeypatch):
        monkeypatch.setattr("xcomctl.operations.fsck.survey.MISSING_AT_ONCE", 7)
        scene.world.push_many(Push("d", "r", "t", number, "k", json.dumps(lost_url(scene))) for number in range(50))
        found = [each for each in findings(scene, DEEP) if each.id is Kind.DANGLING]
        assert sorted(each.map_index or 0 for each in found) == list(range(50))


class TestWithoutABasePath:
    def rows(self, scene: Scene, questions: Questions = USUAL) -> list[tuple[str, str, str]]:
        catalog = open_catalog(scene.database.url, None, None)
        deployment = Deployment((catalog,), None, Stores(None, dict(scene.raw.options)), None)
        check = Check(deployment, None, questions, unwatched)
        found = sorted((each.id.value, each.severity.value, each.key or "") for each in check.findings())
        catalog.database.engine.dispose()
        return found

    def test_only_rows_are_looked_at(self, scene: Scene):
        refer(scene, lost_url(scene), "a reference")
        refer(scene, scene.leak("d"), "skipmixin_key")
        refer(scene, scene.leak("d"), "twice", encodings=2)
        refer(scene, f"s3://lake/{uuid4()}", "own")
        expected = [
            ("control_key", "error", "skipmixin_key"),
            ("double_encoded", "error", "twice"),
            ("outside_base", "info", "own"),
            ("outside_base", "warning", "a reference"),
            ("outside_base", "warning", "skipmixin_key"),
        ]
        assert self.rows(scene) == expected
        assert self.rows(scene, DEEP) == sorted([*expected, ("dangling", "error", "a reference")])


@on_one_database
class TestObjects:
    def test_orphans_are_those_of_gc(self, scene: Scene):
        scene.push("d", key="kept")
        urls = [scene.leak("d") for _ in range(3)]
        for url in urls[1:]:
            scene.age(url, 10)
        found = findings(scene)
        assert {(each.id, each.severity) for each in found} == {(Kind.ORPHAN, Severity.INFO)}
        assert {each.reference for each in found} == set(urls[1:]) and found[0].size_bytes == 3
        assert (found[0].dag_id, found[0].run_id, found[0].task_id, found[0].key) == ("d", "r", "t", None)
        assert told(scene, Questions(older_than=timedelta(days=11))) == []

    def test_filters_choose_orphans_by_their_names_and_age(self, scene: Scene):
        scene.push("d", key="kept")
        for run_id, days in (("a", 5), ("b", 50)):
            scene.age(scene.leak("d", run_id), days)

        def runs(**chosen: Any) -> list[str | None]:
            questions = Questions(Filter(**chosen))
            return sorted(each.run_id for each in findings(scene, questions) if each.id is Kind.ORPHAN)

        assert runs() == ["a", "b"] and runs(run_ids=("b",)) == ["b"]
        assert runs(since=NOW - timedelta(days=9)) == ["a"] and runs(until=NOW - timedelta(days=9)) == ["b"]
        assert runs(larger_than=4) == [] and runs(smaller_than=4) == ["a", "b"]
        assert runs(keys=("kept",)) == [] and runs(map_index=1) == []
        assert runs(dag_ids=("e",)) == runs(exclude_dag_ids=("d",)) == []

    def test_marked_ones_say_when_they_go(self, scene: Scene):
        scene.push("d", key="kept")
        scene.age(scene.leak("d"), 10)
        (before,) = findings(scene)
        assert before.hint == "this marks it, and a run a day later deletes it: xcomctl gc"
        scene.collect(replace(AT_ONCE, single_pass=False, older_than=timedelta(days=3)))
        (after,) = findings(scene)
        assert after.hint.startswith("from 20") and after.hint.endswith("UTC on this deletes it: xcomctl gc")

    def test_objects_of_unknown_dags_are_held(self, scene: Scene):
        scene.push("d", key="kept")
        for dag_id in ("gone [x]", "-dash"):
            scene.age(scene.leak(dag_id), 10)
        (found,) = findings(scene)
        assert (found.id, found.severity) == (Kind.HELD, Severity.INFO)
        assert found.hint.endswith("xcomctl gc --include-unknown-dag=-dash --include-unknown-dag 'gone [[]x]'")

    def test_gates_that_are_shut(self, scene: Scene):
        scene.age(scene.leak("d"), 10)
        scene.world.dag("d")
        assert ("gate", "warning", "") in told(scene)
        (gate,) = [each for each in findings(scene) if each.id is Kind.GATE]
        assert gate.detail.startswith("empty-roots: ")

    def test_two_databases_share_a_base_path(self, scene: Scene, databases: Any):
        with databases.fresh("sqlite-3.4") as database, World(database) as world:
            other = Scene(database, world, scene.raw)
            other.push("other")
            refer(other, lost_url(scene, "other"), "lost", "other")
            scene.push("d")
            with other:
                catalogs = (scene.catalog, other.catalog)
                assert told(scene, DEEP, catalogs=catalogs) == [("dangling", "error", "lost")]

    @pytest.mark.parametrize(
        ("asked", "rows", "objects"),
        [
            ({Kind.DANGLING}, True, True),
            ({Kind.ORPHAN}, False, True),
            ({Kind.CONTROL_KEY}, True, False),
            ({Kind.ARCHIVE}, False, False),
        ],
    )
    def test_only_what_is_asked_is_looked_at(self, scene: Scene, monkeypatch, asked, rows: bool, objects: bool):
        scene.push("d")
        looked = []

        class Watched(Around):
            def objects(self, prefix: str) -> Any:
                looked.append("objects")
                return self.real.objects(prefix)

        real = Catalog.notable
        monkeypatch.setattr(Catalog, "notable", lambda *args: (looked.append("rows"), real(*args))[1])
        assert told(scene, Questions(kinds=frozenset(asked)), store=Watched(scene.store)) == []
        assert ("rows" in looked, "objects" in looked) == (rows, objects)

    def test_it_changes_nothing(self, scene: Scene):
        scene.push("d")
        scene.age(scene.leak("d"), 10)
        refer(scene, lost_url(scene), "lost")
        before = scene.raw.keys("")
        assert told(scene, DEEP) and scene.raw.keys("") == before


@on_one_database
@pytest.mark.stores("ministack")
class TestBuckets:
    def lifecycle(self, scene: Scene, *rules: dict[str, Any]) -> None:
        named = [{"ID": str(number), "Status": "Enabled", **rule} for number, rule in enumerate(rules)]
        scene.raw.client.put_bucket_lifecycle_configuration(
            Bucket=scene.raw.name, LifecycleConfiguration={"Rules": named}
        )

    def test_versions(self, scene: Scene):
        scene.push("d")
        scene.raw.client.put_bucket_versioning(Bucket=scene.raw.name, VersioningConfiguration={"Status": "Enabled"})
        assert told(scene) == [("versions", "info", "")]

    @pytest.mark.parametrize(("days", "severity"), [(30, "info"), (3, "warning")])
    def test_a_rule_that_expires_objects(self, scene: Scene, days: int, severity: str):
        url = scene.leak("d")
        scene.world.push("d", "r", "t", value=json.dumps(url), timestamp=NOW - timedelta(days=5))
        self.lifecycle(scene, {"Filter": {"Prefix": "pre/"}, "Expiration": {"Days": days}})
        (found,) = findings(scene)
        assert (found.id.value, found.severity.value) == ("expiry", severity)
        assert f"after {days} days" in found.detail and f"--state external --older-than {days - 1}d" in found.hint

    def test_a_rule_where_no_row_refers_to_anything(self, scene: Scene):
        scene.leak("d")
        self.lifecycle(scene, {"Filter": {"Prefix": ""}, "Expiration": {"Days": 9}})
        (found,) = [each for each in findings(scene) if each.id is Kind.EXPIRY]
        assert found.detail == "a lifecycle rule deletes objects after 9 days"

    def test_rules_that_are_about_something_else(self, scene: Scene):
        scene.push("d")
        days = {"Expiration": {"Days": 1}}
        self.lifecycle(
            scene,
            {"Filter": {"Prefix": "logs/"}, **days},
            {"Filter": {"Prefix": ""}, **days, "Status": "Disabled"},
            {"Filter": {"Tag": {"Key": "a", "Value": "b"}}, **days},
            {"Filter": {"Prefix": ""}, "NoncurrentVersionExpiration": {"NoncurrentDays": 1}},
        )
        assert told(scene) == []

    def test_the_shortest_rule_counts_wherever_its_prefix_is_written(self, scene: Scene):
        scene.world.push("d", "r", "t", value=json.dumps(scene.leak("d")), timestamp=NOW)
        self.lifecycle(
            scene,
            {"Filter": {"Prefix": ""}, "Expiration": {"Days": 90}},
            {"Prefix": "pre/xcom/d/", "Expiration": {"Days": 9}},
            {"Filter": {"And": {"Prefix": "pre", "ObjectSizeGreaterThan": 10}}, "Expiration": {"Days": 40}},
        )
        (found,) = findings(scene)
        assert "after 9 days" in found.detail


@on_one_database
class TestGoogle:
    @pytest.fixture
    def google(self, database: Database, world: World) -> Iterator[Scene]:
        with gcs.GCSServer("bucket") as server, Scene(database, world, gcs.Bucket(server, "bucket")) as scene:  # type: ignore[arg-type]
            yield scene

    def server(self, scene: Scene) -> gcs.GCSServer:
        return scene.raw.server

    def test_what_is_wrong_there(self, google: Scene):
        google.push("d")
        assert told(google, DEEP) == []
        refer(google, lost_url(google), "lost")
        assert told(google, DEEP) == [("dangling", "error", "lost")]

    def test_a_bucket_that_keeps_what_is_deleted(self, google: Scene):
        google.push("d")
        self.server(google).versioning = True
        assert told(google) == [("versions", "info", "")]
        self.server(google).versioning = False
        self.server(google).soft_delete = timedelta(days=30)
        assert told(google) == [("versions", "info", "")]

    def test_a_rule_that_deletes_by_age(self, google: Scene):
        google.world.push("d", "r", "t", value=json.dumps(google.leak("d")), timestamp=NOW)
        self.server(google).lifecycle = [
            {"action": {"type": "SetStorageClass"}, "condition": {"age": 1}},
            {"action": {"type": "Delete"}, "condition": {"age": 2, "matchesSuffix": [".log"]}},
            {"action": {"type": "Delete"}, "condition": {"age": 2, "isLive": False}},
            {"action": {"type": "Delete"}, "condition": {"age": 4, "matchesPrefix": ["logs/"]}},
            {"action": {"type": "Delete"}, "condition": {"age": 30, "matchesPrefix": ["logs/", "pre/"]}},
            {"action": {"type": "Delete"}, "condition": {"numNewerVersions": 1}},
        ]
        (found,) = findings(google)
        assert (found.id, found.severity) == (Kind.EXPIRY, Severity.INFO) and "after 30 days" in found.detail

    def test_who_may_not_ask_for_the_policy_is_told_of_none(self, google: Scene):
        google.push("d")
        self.server(google).faults["bucket", "bucket"] = 403
        assert told(google) == []


VALUE = json.dumps({"a": [1, "ünï"]}).encode()
PACKED = {"": VALUE, ".gz": gzip.compress(VALUE, mtime=0), ".bz2": bz2.compress(VALUE), ".xz": lzma.compress(VALUE)}
OTHERS = ("zip", "zstd", "lz4")


@on_one_database
class TestDeep:
    def put(self, scene: Scene, body: bytes, suffix: str = "", key: str = "k") -> str:
        url = scene.put(f"d/r/t/{uuid4()}{suffix}", body)
        return refer(scene, url, key)

    @pytest.mark.parametrize("suffix", PACKED)
    def test_values_in_every_compression(self, scene: Scene, suffix: str):
        self.put(scene, PACKED[suffix], suffix)
        assert told(scene, DEEP) == []

    @pytest.mark.parametrize("codec", OTHERS)
    def test_values_in_compressions_of_packages(self, scene: Scene, codec: str):
        try:
            packed = payload.compress(VALUE, codec)
        except payload.PayloadError as error:
            pytest.skip(error.message)
        self.put(scene, packed, payload.SUFFIX_OF[codec])
        assert told(scene, DEEP) == []

    @pytest.mark.parametrize(
        ("body", "suffix", "says"),
        [
            (PACKED[".gz"][:-9], ".gz", "corrupt or cut short"),
            (PACKED[".gz"][:20] + b"\0\0" + PACKED[".gz"][22:], ".gz", "corrupt or cut short"),
            (VALUE, ".gz", "named .gz but not compressed"),
            (PACKED[".gz"], "", "the name does not say so"),
            (PACKED[".bz2"], ".gz", "named .gz but compressed with bz2"),
            (VALUE[:-3], "", "not JSON"),
            (b"a,b\n1,2\n", "", "not JSON"),
            (pickle.dumps(1), "", "not JSON"),
            (b"\xff\xfe", "", "not JSON"),
            (b"", "", "not JSON"),
            (b"[" * 100_000, "", "too deeply"),
        ],
    )
    def test_objects_that_are_no_values(self, scene: Scene, body: bytes, suffix: str, says: str):
        self.put(scene, VALUE, key="good")
        self.put(scene, body, suffix, key="bad")
        assert told(scene) == []
        (found,) = findings(scene, DEEP)
        assert (found.id, found.severity, found.key) == (Kind.CORRUPT, Severity.ERROR, "bad")
        assert says in found.detail and "xcomctl rm --archive " in found.hint

    def test_one_that_may_not_be_read(self, scene: Scene):
        self.put(scene, VALUE, key="good")
        secret = self.put(scene, VALUE, key="secret").rpartition("/")[2]

        class Forbidding(Around):
            def open(self, name: str) -> Any:
                if name.endswith(secret):
                    raise ForbiddenError("403 for this one", hint="ask for it")
                return self.real.open(name)

        class Some(Stores):
            def of(self, address: Any) -> Any:
                return Forbidding(super().of(address))

        found = findings(scene, DEEP, stores=Some(scene.base, {}))
        assert [(each.id, each.key, each.detail, each.hint) for each in found] == [
            (Kind.UNREADABLE, "secret", "403 for this one", "ask for it")
        ]

    def test_a_missing_package_damages_nothing(self, scene: Scene, monkeypatch: pytest.MonkeyPatch):
        def missing(data: bytes) -> bytes:
            raise ImportError("lz4")

        monkeypatch.setitem(payload.codec._CODECS, "lz4", missing)
        self.put(scene, b"\x04\x22\x4d\x18", ".lz4")
        (found,) = findings(scene, DEEP)
        assert found.id is Kind.UNREADABLE and found.hint == "pip install lz4"

    def test_a_connection_that_leads_nowhere(self, scene: Scene):
        refer(scene, f"s3://nowhere@bucket/base/d/r/t/{uuid4()}")
        found = {each.id: each for each in findings(scene, DEEP)}
        assert found.keys() == {Kind.OUTSIDE_BASE, Kind.UNREADABLE} and "nowhere" in found[Kind.UNREADABLE].detail

    def test_foreign_objects_are_looked_up(self, scene: Scene):
        refer(scene, old_url(scene), "there")
        gone = refer(scene, old_url(scene), "gone")
        scene.raw.delete(gone.removeprefix(f"{scene.raw.url}/"))
        assert [each.key for each in findings(scene, DEEP) if each.id is Kind.DANGLING] == ["gone"]
        assert told(scene, Questions(kinds=frozenset({Kind.DANGLING}))) == []

    @pytest.mark.parametrize("row_too", [False, True])
    def test_an_object_that_vanishes_after_the_listing(self, scene: Scene, row_too: bool):
        url = self.put(scene, VALUE)

        class Vanishing(Stores):
            def of(self, address: Any) -> Any:
                (scene.raw.path / url.removeprefix(f"{scene.raw.url}/")).unlink(missing_ok=True)
                if row_too:
                    scene.world.delete_xcom("d", "r", "t", key="k")
                return super().of(address)

        expected = [] if row_too else [("dangling", "error", "k")]
        assert told(scene, DEEP, stores=Vanishing(scene.base, {})) == expected

    def test_large_ones_are_read_one_after_the_other(self, scene: Scene, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setattr("xcomctl.operations.fsck.objects.AT_EASE_BYTES", 1000)
        assert AT_EASE_BYTES > 1000
        at_once, most = [0], [0]
        real = payload.parse

        def parse(data: bytes) -> Any:
            at_once[0] += 1
            most[0] = max(most[0], at_once[0])
            try:
                return real(data)
            finally:
                at_once[0] -= 1

        monkeypatch.setattr("xcomctl.operations.fsck.objects.payload.parse", parse)
        for number in range(8):
            self.put(scene, json.dumps(["x" * 20] * 20_000).encode(), key=f"k{number}")
        assert told(scene, DEEP) == [] and most == [1]

    def test_progress_is_told(self, scene: Scene):
        for number in range(3):
            self.put(scene, VALUE, key=f"k{number}")
        steps: list[tuple[str, int]] = []
        check = checked(scene, DEEP)
        check.watch = lambda step, done: steps.append((step, done))
        assert list(check.findings()) == []
        assert [done for step, done in steps if step == "objects read"] == [1, 2, 3]


@on_one_database
def test_a_store_that_is_only_read(database: Database, world: World):
    """As Azure's is; fsspec's own in memory stands for it."""
    bucket, files = uuid4().hex, MemoryFileSystem()
    base = address_of(f"abfs://{bucket}/{BASE_FOLDER}")

    def put(key: str, body: bytes | None = VALUE, run_id: str = "r") -> None:
        name = f"{BASE_FOLDER}/d/{run_id}/t/{uuid4()}"
        if body is not None:
            files.pipe_file(f"{bucket}/{name}", body)
        if key:
            world.push("d", run_id, "t", key=key, value=json.dumps(f"abfs://{bucket}/{name}"))

    put("fine")
    put("lost", None)
    put("bad", b"[1")
    put("", run_id="orphan")
    store = OtherStore(bucket, files)
    catalog = open_catalog(database.url, None, base)
    scope = Scope((catalog,), store, base, Control(store, control_folder(base, None)))

    class Memory(Stores):
        def of(self, address: Any) -> Any:
            return store

    questions = Questions(older_than=timedelta(seconds=-5), deep=True)
    found = Check(Deployment((catalog,), base, Memory(base, {}), None), scope, questions, unwatched).findings()
    assert [(each.id.value, each.key) for each in found] == [("dangling", "lost"), ("corrupt", "bad"), ("orphan", None)]
    catalog.database.engine.dispose()


@on_one_database
class TestWhatCannotBeRead:
    def test_a_listing_that_breaks_off_is_no_finding(self, scene: Scene):
        scene.push("d")

        class Refusing(Around):
            def objects(self, prefix: str) -> Iterator[Any]:
                raise StorageError("403")
                yield

        with pytest.raises(StorageError):
            findings(scene, store=Refusing(scene.store))

    def test_a_folder_that_is_not_there_is_no_heap_of_dangling_rows(self, scene: Scene):
        scene.push("d")
        scene.raw.path.rename(scene.raw.path.with_name("away"))
        with pytest.raises(StorageError, match="does not exist"):
            findings(scene)
