"""References that follow their objects to another base path, or come from a backend that somebody wrote by hand."""

from __future__ import annotations

import gzip
import json
import os
import pickle
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from tests.backend.storage.kinds import address_of
from tests.lab import gcs, s3
from tests.operations.moving import UNPROVED, codes, followed, migrate, reasons, values
from tests.operations.scene import AT_ONCE, BASE_FOLDER, Around, Scene
from xcomctl.backend.reference import parse
from xcomctl.backend.rules import rules
from xcomctl.errors import ExitCode
from xcomctl.model import Filter, State
from xcomctl.operations.migrate import Account, Rules

BODY = json.dumps({"a": ["ünï", 1e-07], "b": "long " * 100}).encode()
OLD = "old/xcom"


def old_object(scene: Scene, name: str | None = None, body: bytes = BODY, suffix: str = "") -> str:
    """An object below the old base path; its URL."""
    name = name or f"d/r/t/{uuid4()}{suffix}"
    scene.raw.put(f"{OLD}/{name}", body)
    return f"{scene.raw.url}/{OLD}/{name}"


def refer(scene: Scene, url: str, key: str = "k") -> None:
    scene.world.push("d", "r", "t", key=key, value=json.dumps(url))


def moved_from(scene: Scene, url: str | None = None, **changes: Any) -> Rules:
    old = address_of(url or f"{scene.raw.url}/{OLD}")
    return replace(UNPROVED, relocate=old, keeps_codec="codec" not in changes, **changes)


def reference(scene: Scene, key: str = "k") -> str:
    (found,) = scene.catalog.rows(Filter(keys=(key,)))
    assert found.reference is not None
    return found.reference


def states(scene: Scene) -> list[State]:
    return sorted(xcom.state for xcom in scene.catalog.rows(Filter()))


@pytest.mark.stores("file")
class TestAnyDatabase:
    def test_rows_refer_to_copies_under_new_names(self, scene: Scene):
        for key in ("a", "b"):
            refer(scene, old_object(scene), key)
        before = scene.raw.keys(OLD)
        account = migrate(scene, moved_from(scene))
        assert (account.migrated.count, account.migrated.bytes, account.failures) == (2, 2 * len(BODY), [])
        assert states(scene) == [State.EXTERNAL] * 2
        assert {followed(scene, value) for value in values(scene).values()} == {BODY}
        assert scene.raw.keys(OLD) == before and len(scene.urls()) == 2
        assert not {url[-36:] for url in scene.urls()} & {key[-36:] for key in before}
        assert migrate(scene, moved_from(scene)).plan.selected.count == 0

    def test_runs_that_are_not_over_stay(self, scene: Scene):
        refer(scene, old_object(scene))
        scene.world.run("d", "r", state="running")
        assert reasons(migrate(scene, moved_from(scene))) == {"run_unfinished": 1}

    @pytest.mark.databases("*-2.11")
    def test_a_pickled_reference_is_read_and_never_loaded(self, scene: Scene):
        scene.world.push("d", "r", "t", value=pickle.dumps(old_object(scene)))
        scene.world.push("d", "r", "t", key="other", value=pickle.dumps({"url": old_object(scene)}))
        assert migrate(scene, moved_from(scene)).migrated.count == 1
        assert states(scene) == [State.EXTERNAL, State.PICKLED]


@pytest.mark.databases("sqlite-3.3")
class TestAnyStore:
    pytestmark = pytest.mark.stores("file", "ministack", "seaweedfs")

    @pytest.mark.parametrize("suffix", ["", ".gz"])
    def test_the_store_copies(self, scene: Scene, suffix: str):
        refer(scene, old_object(scene, body=gzip.compress(BODY) if suffix else BODY, suffix=suffix))

        class Copying(Around):
            def create(self, name: str, data: bytes) -> None:
                assert f"/{BASE_FOLDER}/" not in f"/{name}", "nothing needs to be written from here"
                self.real.create(name, data)

        account = migrate(scene, moved_from(scene), Copying(scene.store))
        assert (account.failures, account.migrated.count) == ([], 1)
        assert reference(scene).endswith(suffix) and followed(scene, *values(scene).values()) == BODY
        assert scene.collect(AT_ONCE).tallies["deleted"].count == 0

    def test_where_it_cannot_they_are_read_and_written(self, scene: Scene):
        refer(scene, old_object(scene))

        class Old(Around):
            def copy(self, *names: object) -> None:
                self.real.open(f"{names[1]} is not there")

        assert codes(migrate(scene, moved_from(scene), Old(scene.store))) == ["dangling"]

        class Refusing(Around):
            def copy(self, *names: object) -> None:
                raise FileExistsError

        assert migrate(scene, moved_from(scene), Refusing(scene.store)).migrated.count == 1
        assert followed(scene, *values(scene).values()) == BODY

    @pytest.mark.parametrize("codec", [None, "gzip", "xz"])
    def test_another_compression(self, scene: Scene, codec: str | None):
        for key, suffix, body in (("plain", "", BODY), ("zipped", ".gz", gzip.compress(BODY))):
            url = scene.leak("d", suffix=suffix)
            scene.raw.put(url.removeprefix(f"{scene.raw.url}/"), body)
            refer(scene, url, key)
        account = migrate(scene, moved_from(scene, scene.base.text, codec=codec))
        kept = 0 if codec == "xz" else 1
        assert (account.failures, account.migrated.count, reasons(account).get("in_place", 0)) == ([], 2 - kept, kept)
        assert {followed(scene, value) for value in values(scene).values()} == {BODY}


@pytest.mark.databases("sqlite-3.3")
@pytest.mark.stores("file")
class TestFromAnotherStore:
    @pytest.fixture(params=["ministack", "seaweedfs", "gcs"])
    def target(self, request: pytest.FixtureRequest) -> Iterator[s3.Bucket | gcs.Bucket]:
        if request.param == "gcs":
            with gcs.GCSServer("bucket") as server:
                yield gcs.Bucket(server, "bucket")
            return
        yield s3.bucket(request.getfixturevalue(request.param))

    def test_what_a_store_cannot_copy_is_read_and_written(self, scene: Scene, target: Any):
        there = Scene(scene.database, scene.world, target)
        refer(scene, old_object(scene))
        account = migrate(there, moved_from(scene))
        assert (account.failures, account.migrated.count) == ([], 1)
        assert reference(there).startswith(there.base.text) and followed(there, *values(there).values()) == BODY


@pytest.mark.databases("sqlite-3.3")
@pytest.mark.stores("file")
class TestWhatIsInPlace:
    def test_a_bucket_that_somebody_copied(self, scene: Scene):
        """As with `aws s3 sync`: the rows of a restored database still name the old one, which may be gone."""
        name = f"d/r/t/{uuid4()}"
        refer(scene, f"s3://gone@long-gone/{OLD}/{name}")
        url = scene.put(name, BODY)
        account = migrate(scene, moved_from(scene, f"s3://gone@long-gone/{OLD}"))
        assert (account.failures, account.migrated.count, reference(scene)) == ([], 1, url)
        assert scene.urls() == {url}

    def test_a_copy_that_is_another_is_not_trusted(self, scene: Scene):
        name = f"d/r/t/{uuid4()}"
        refer(scene, old_object(scene, name))
        url = scene.put(name, BODY[:-1])
        assert migrate(scene, moved_from(scene)).migrated.count == 1
        assert reference(scene) != url and followed(scene, *values(scene).values()) == BODY

    def test_a_copy_that_was_cut_short_is_not_trusted(self, scene: Scene):
        name = f"d/r/t/{uuid4()}"
        refer(scene, f"s3://gone@long-gone/{OLD}/{name}")
        scene.put(name, BODY[:-1])
        account = migrate(scene, moved_from(scene, f"s3://gone@long-gone/{OLD}"))
        assert (account.migrated.count, account.exit_code) == (0, ExitCode.STORAGE) and states(scene) == [State.FOREIGN]

    def test_what_refers_to_the_base_path_stays(self, scene: Scene):
        scene.push("d")
        assert reasons(migrate(scene, moved_from(scene, scene.base.text))) == {"in_place": 1}


@pytest.mark.databases("sqlite-3.3")
@pytest.mark.stores("file")
class TestWhatIsLeftAlone:
    def test_a_users_own_path(self, scene: Scene):
        own = [
            f"{scene.raw.url}/{OLD}/data.csv",
            f"{scene.raw.url}/{OLD}/d/r/t/part-0001.parquet",
            f"{scene.raw.url}/{OLD}",
            f"{scene.raw.url}/other/d/r/t/{uuid4()}",
            f"see {scene.raw.url}/{OLD}/d/r/t/{uuid4()}",
            f"s3://conn@bucket/{OLD}/d/r/t/{uuid4()}",
            f"{scene.raw.url}/{OLD}/../secret/d/r/t/{uuid4()}",
        ]
        for number, url in enumerate(own):
            refer(scene, url, f"k{number}")
        scene.world.push("d", "r", "t", key="list", value=json.dumps([old_object(scene)]))
        before = values(scene)
        account = migrate(scene, moved_from(scene))
        assert (account.plan.selected.count, values(scene)) == (0, before)

    def test_another_connection(self, scene: Scene):
        for conn in ("", "one@", "two@"):
            refer(scene, f"s3://{conn}bucket/{OLD}/d/r/t/{uuid4()}", f"k{conn}")
        for old, selected in (("one@", 2), ("three@", 1), ("", 3)):
            rules = replace(moved_from(scene, f"s3://{old}bucket/{OLD}"), dry_run=True)
            assert migrate(scene, rules).plan.selected.count == selected

    @pytest.mark.stores("ministack")
    def test_a_way_up_is_no_name_of_a_backend(self, scene: Scene):
        for number, way in enumerate(("d/r/t/../../x", "d/./r/t", "d//r/t", "../d/r/t")):
            refer(scene, f"{scene.raw.url}/{OLD}/{way}/{uuid4()}", f"k{number}")
        assert migrate(scene, moved_from(scene)).plan.selected.count == 0

    def test_a_pipe_is_no_object(self, scene: Scene):
        """Whoever opens one for reading waits until somebody writes."""
        url = old_object(scene)
        path = Path(url.removeprefix("file://"))
        path.unlink()
        os.mkfifo(path)
        refer(scene, url)
        account = migrate(scene, moved_from(scene))
        assert (codes(account), reference(scene)) == (["read_failed"], url)

    def test_an_object_that_is_gone(self, scene: Scene):
        url = old_object(scene)
        scene.raw.delete(url.removeprefix(f"{scene.raw.url}/"))
        refer(scene, url)
        account = migrate(scene, moved_from(scene))
        assert (codes(account), account.exit_code, reference(scene)) == (["dangling"], ExitCode.PARTIAL, url)

    def test_a_row_that_refers_to_another_object_since(self, scene: Scene):
        refer(scene, old_object(scene))
        other = old_object(scene)

        class Slow(Around):
            def copy(self, *names: object) -> None:
                self.real.copy(*names)
                refer(scene, other)

        assert codes(migrate(scene, moved_from(scene), Slow(scene.store))) == ["changed"]
        assert reference(scene) == other


OWN = """
[files]
reference = "mine://{dag_id}/{key}_{uuid}.json"
root = "%s"
object = "{dag_id}/{key}_{uuid}.json"
"""


def adopted(scene: Scene, name: str, relocate: str | None = None, own: Path | None = None) -> Account:
    return migrate(scene, replace(UNPROVED, rule=rules(own)[name], relocate=address_of(relocate) if relocate else None))


@pytest.mark.stores("file")
class TestRules:
    @pytest.fixture
    def own(self, scene: Scene, tmp_path: Path) -> Path:
        path = tmp_path / "rules.toml"
        path.write_text(OWN % f"{scene.raw.url}/{OLD}")
        return path

    def test_what_somebody_elses_backend_wrote_is_airflows_then(self, scene: Scene, own: Path):
        names = {
            f"d/k_{uuid4()}.json": body for body in (BODY, b"[NaN]", b"a,b\n1,2\n", gzip.compress(BODY), b"\x80\x04K*.")
        }
        for number, (name, body) in enumerate(names.items()):
            scene.raw.put(f"{OLD}/{name}", body)
            scene.world.push("d", f"r{number}", "t", key="k", value=json.dumps(f"mine://{name}"))
        scene.world.push("d", "r", "t", key="k", value=json.dumps(f"mine://other/k_{uuid4()}.json"))
        account = adopted(scene, "files", own=own)
        assert (account.failures, account.migrated.count, reasons(account)) == ([], 3, {"payload_not_json": 2})
        assert {followed(scene, value) for value in values(scene).values() if b"mine:" not in value} == {BODY, b"[NaN]"}
        assert len(scene.raw.keys(OLD)) == 5

    @pytest.mark.databases("*-2.11")
    def test_a_pickled_reference(self, scene: Scene, own: Path):
        name = f"d/k_{uuid4()}.json"
        scene.raw.put(f"{OLD}/{name}", BODY)
        scene.world.push("d", "r", "t", key="k", value=pickle.dumps(f"mine://{name}"))
        assert adopted(scene, "files", own=own).migrated.count == 1
        assert followed(scene, *values(scene).values()) == BODY


@pytest.mark.databases("sqlite-3.3")
@pytest.mark.stores("ministack")
class TestBuiltInRules:
    RUN = "scheduled__2026-01-01T00:00:00+00:00"

    @pytest.mark.parametrize(
        ("name", "text", "key"),
        [
            ("s3-flat", "xcom_s3://data_{uuid}", "data_{uuid}"),
            ("s3", "xcom_s3://{run}/t/data_{uuid}.json", "{run}/t/data_{uuid}.json"),
            ("minio", "xcom_minio://{run}/t/data_{uuid}.json", "{run}/t/data_{uuid}.json"),
            ("s3-and-gcs", "s3_and_gs://d/{run}/t/-1/k_data_{uuid}.json", "d/{run}/t/-1/k_data_{uuid}.json"),
        ],
    )
    def test_those_of_s3(self, scene: Scene, name: str, text: str, key: str):
        parts = {"run": self.RUN, "uuid": str(uuid4())}
        scene.raw.put(key.format(**parts), BODY)
        scene.world.push("d", self.RUN, "t", key="k", value=json.dumps(text.format(**parts)))
        scene.world.push("d", self.RUN, "t", key="csv", value=json.dumps(f"xcom_s3://{self.RUN}/t/data_{uuid4()}.csv"))
        account = adopted(scene, name, relocate=scene.raw.url)
        assert (account.failures, account.migrated.count) == ([], 1)
        assert reasons(account) == ({"payload_not_json": 1} if name == "s3" else {})
        address = parse(reference(scene))
        assert address is not None and scene.raw.get(address.location.name) == BODY

    def test_the_bucket_in_an_airflow_variable(self, scene: Scene, monkeypatch: pytest.MonkeyPatch):
        with gcs.GCSServer("their-bucket") as server:
            bucket = gcs.Bucket(server, "their-bucket")
            there = Scene(scene.database, scene.world, bucket)
            uuid = uuid4()
            bucket.put(f"{self.RUN}/t/{uuid}.json", BODY)
            scene.world.push("d", self.RUN, "t", key="k", value=json.dumps(f"gcs://{self.RUN}/t/{uuid}.json"))
            scene.world.push("d", self.RUN, "t", key="own", value=json.dumps(f"gcs://bucket/t/{uuid}.json"))
            monkeypatch.setenv("AIRFLOW_VAR_XCOM_BACKEND_DATA_GCS_NAME", "their-bucket")
            account = adopted(there, "gcs-variable")
            assert (account.failures, account.plan.selected.count, account.migrated.count) == ([], 1, 1)
            assert bucket.get(reference(there).removeprefix(f"{bucket.url}/")) == BODY
