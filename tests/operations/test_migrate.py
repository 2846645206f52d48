"""Values that move from their rows to storage: byte for byte, once, and only where nothing speaks against it."""

from __future__ import annotations

import json
import pickle
from collections.abc import Iterator
from dataclasses import replace
from uuid import uuid4

import pytest

from tests.lab.world import Push
from tests.operations.moving import LARGE, UNPROVED, codes, followed, migrate, migrating, reasons, values
from tests.operations.scene import AT_ONCE, Around, Scene
from xcomctl.errors import ExitCode, LockedError, StorageError
from xcomctl.ledger.lease import held, holder
from xcomctl.model import Filter, State, StoredObject
from xcomctl.operations.gc import collecting
from xcomctl.operations.migrate import Gate

pytestmark = pytest.mark.stores("file")


class TestMoving:
    @pytest.mark.parametrize("codec", [None, "gzip"])
    def test_each_value_is_in_storage_as_it_was_in_its_row(self, scene: Scene, codec: str | None):
        for number in range(7):
            scene.world.push("d", f"r {number}", "t", key="large", value=LARGE)
            scene.world.push("d", f"r {number}", "t", key="small", value="[1, 2]")
        before = values(scene)
        account = migrate(scene, replace(UNPROVED, codec=codec))
        after = values(scene)
        assert (account.exit_code, account.migrated.count, account.failures) == (ExitCode.OK, 7, [])
        assert {key: followed(scene, value) for key, value in after.items()} == before
        states = [xcom.state for xcom in scene.catalog.rows(Filter())]
        assert sorted(states) == [State.EXTERNAL] * 7 + [State.INLINE] * 7
        assert len(scene.urls()) == 7 and all(url.endswith(".gz") == bool(codec) for url in scene.urls())
        again = migrate(scene, replace(UNPROVED, codec=codec))
        assert (again.migrated.count, values(scene)) == (0, after)

    @pytest.mark.databases("*-3.4")
    def test_every_attempt_moves(self, scene: Scene):
        scene.world.push("d", "r", "t", key="old", value=LARGE, legacy=True)
        scene.world.push("d", "r", "t", value=LARGE)
        scene.world.retry("d", "r", "t")
        scene.world.push("d", "r", "t", value=LARGE)
        scene.world.task("d", "r", "t", state="success")
        before = values(scene)
        assert migrate(scene).migrated.count == 3
        assert {key: followed(scene, value) for key, value in values(scene).items()} == before

    @pytest.mark.databases("sqlite-3.3")
    @pytest.mark.stores("file", "ministack", "seaweedfs")
    def test_what_has_moved_is_no_orphan(self, scene: Scene):
        scene.world.push("d", "r", "t", value=LARGE)
        migrate(scene)
        assert scene.collect(replace(AT_ONCE)).tallies["deleted"].count == 0 and len(scene.urls()) == 1

    @pytest.mark.databases("sqlite-3.3", "postgresql-3.3", "mysql-3.3")
    def test_many_rows_of_one_run(self, scene: Scene, monkeypatch: pytest.MonkeyPatch):
        """More than are judged at a time, in pages of fewer: what is read is not held while it is written."""
        monkeypatch.setattr("xcomctl.catalog.database.ROWS_PER_PAGE", 400)
        monkeypatch.setattr("xcomctl.catalog.database.ROWS_PER_FETCH", 10)
        monkeypatch.setattr("xcomctl.operations.migrate.judging.ROWS_AT_ONCE", 30)
        scene.world.push_many(Push("d", f"r {number % 3}", "t", number, key="k", value=LARGE) for number in range(1200))
        assert migrate(scene).migrated.count == 1200 == len(scene.urls())
        assert {xcom.state for xcom in scene.catalog.rows(Filter())} == {State.EXTERNAL}

    @pytest.mark.databases("sqlite-3.3")
    def test_a_dry_run_changes_nothing(self, scene: Scene):
        scene.world.push("d", "r", "t", value=LARGE)
        before = values(scene)
        account = migrate(scene, replace(UNPROVED, dry_run=True))
        assert (account.plan.movable.count, values(scene), scene.raw.keys("")) == (1, before, set())


class TestSkipping:
    def test_what_airflow_itself_reads_stays(self, scene: Scene):
        for key in ("skipmixin_key", "past_depends_met", "_link_SomeLink", "pipeline_inlets"):
            scene.world.push("d", "r", "t", key=key, value=LARGE)
        scene.world.push("d", "r", "t", key="link", value=json.dumps("https://example.org/" + "x" * 2000))
        before = values(scene)
        assert reasons(migrate(scene)) == {"control_key": 4, "link": 1}
        assert values(scene) == before

    @pytest.mark.parametrize(("run", "task"), [("running", "success"), ("queued", "success"), ("success", "running")])
    def test_a_run_that_is_not_over_is_left_alone(self, scene: Scene, run: str, task: str):
        scene.world.push("d", "r", "t", value=LARGE)
        scene.world.push("d", "over", "t", value=LARGE)
        scene.world.run("d", "r", state=run)
        scene.world.task("d", "r", "t", state=task)
        account = migrate(scene)
        assert (account.migrated.count, reasons(account)) == (1, {"run_unfinished": 1})

    @pytest.mark.databases("*-2.11")
    def test_a_number_too_long_for_python_moves(self, scene: Scene):
        scene.world.push("d", "r", "t", value=b"9" * 5000)
        assert migrate(scene).migrated.count == 1 and values(scene) != {}

    @pytest.mark.databases("*-2.11")
    def test_what_is_no_json_stays(self, scene: Scene):
        scene.world.push("d", "r", "t", key="pickled", value=pickle.dumps("x" * 2000))
        scene.world.push("d", "r", "t", key="broken", value=b'{"a": ' + b"1" * 2000)
        before = values(scene)
        account = migrate(scene)
        assert (reasons(account), codes(account), account.exit_code) == ({"pickled": 1}, ["not_json"], ExitCode.PARTIAL)
        assert values(scene) == before

    @pytest.mark.databases("*-2.11")
    def test_json_is_utf_8(self, scene: Scene):
        """Python's reader also takes UTF-16 and a mark at the beginning, as Airflow's own does not everywhere."""
        text = json.dumps(["ünï"] * 1000, ensure_ascii=False)
        half = b'["' + b"\xed\xa0\x80" * 1000 + b'"]'
        for key, value in {
            "utf16": text.encode("utf-16"),
            "le": text.encode("utf-16-le"),
            "utf32": text.encode("utf-32"),
            "mark": b"\xef\xbb\xbf" + text.encode(),
            "half": half,
            "latin": text.encode("latin-1"),
        }.items():
            scene.world.push("d", "r", "t", key=key, value=value)
        before = values(scene)
        account = migrate(scene)
        assert (codes(account), account.exit_code) == (["not_json"] * 6, ExitCode.PARTIAL)
        assert values(scene) == before and scene.urls() == set()

    @pytest.mark.databases("*-2.11", "*-3.3")
    def test_a_string_of_json_moves_only_where_it_is_read_alike(self, scene: Scene):
        """common-io >=1.5.4 on Airflow 2 hands what such a string says to a task when it is in the row."""
        for number, value in enumerate([json.dumps(LARGE), json.dumps("1" * 5000), json.dumps(json.dumps(LARGE))]):
            scene.world.push("d", "r", "t", key=f"k{number}", value=value)
        scene.world.push("d", "r", "t", value=json.dumps("long " * 500))
        account = migrate(scene)
        kept = 3 if scene.database.label == "2.11" else 0
        assert (account.migrated.count, reasons(account).get("string_of_json", 0)) == (4 - kept, kept)

    @pytest.mark.databases("sqlite-3.3", "mysql-3.3", "postgresql-3.3")
    def test_a_reference_stays(self, scene: Scene):
        scene.push("d")
        before = values(scene)
        assert reasons(migrate(scene, replace(UNPROVED, threshold=1))) == {"reference": 1}
        assert values(scene) == before

    @pytest.mark.databases("sqlite-3.3", "sqlite-2.11", "mysql-3.3", "postgresql-2.11", "postgresql-3.[34]")
    def test_a_reference_that_only_airflow_understands_stays(self, scene: Scene):
        """As an object's value it would be data to the class that follows it in the row, however JSON spells it."""
        for number, url in enumerate([f"sftp://c@/xcom/d/r/t/{uuid4()}", f"own-scheme://b/d/r/t/{uuid4()}.gz"]):
            for spelled in (
                json.dumps(url),
                json.dumps(url).replace("/", "\\/"),
                json.dumps(url).replace(":", "\\u003a"),
            ):
                scene.world.push("d", "r", "t", key=f"k{number}{len(spelled)}", value=spelled)
        before = values(scene)
        assert reasons(migrate(scene, replace(UNPROVED, threshold=1))) == {"reference": 6}
        assert values(scene) == before and scene.urls() == set()

    @pytest.mark.databases("sqlite-3.3")
    @pytest.mark.parametrize("run_id", ["a//b", "..", "a/./b", "a/../b", "/a", "a/"])
    def test_a_name_that_airflow_would_not_find_again_stays(self, scene: Scene, run_id: str):
        scene.world.push("d", run_id, "t", value=LARGE)
        assert reasons(migrate(scene)) == {"unsafe_name": 1} and scene.urls() == set()


@pytest.mark.databases("sqlite-3.3", "postgresql-3.3", "mysql-3.3")
class TestMeanwhile:
    """What happens between the reading of a row and its swap."""

    @pytest.mark.parametrize("deed", ["push", "delete"])
    def test_a_row_that_changes_wins(self, scene: Scene, deed: str):
        scene.world.push("d", "r", "t", value=LARGE)
        world = scene.world

        class Slow(Around):
            def create(self, name: str, data: bytes) -> None:
                self.real.create(name, data)
                if deed == "push":
                    world.push("d", "r", "t", value='"new"')
                else:
                    world.delete_xcom("d", "r", "t")

        account = migrate(scene, store=Slow(scene.store))
        assert (account.migrated.count, codes(account), account.exit_code) == (0, ["changed"], ExitCode.PARTIAL)
        assert list(values(scene).values()) == ([b'"new"'] if deed == "push" else [])

    def test_a_store_that_refuses_some(self, scene: Scene):
        for number in range(4):
            scene.world.push("d", f"r {number}", "t", value=LARGE)
        before = values(scene)

        class Refusing(Around):
            def create(self, name: str, data: bytes) -> None:
                if "/r 2/" in name:
                    raise StorageError("the store is full")
                self.real.create(name, data)

        account = migrate(scene, store=Refusing(scene.store))
        assert (account.exit_code, account.migrated.count, account.failed.count) == (ExitCode.PARTIAL, 3, 1)
        (failure,) = account.failures
        assert (failure["code"], failure["run_id"], failure["message"]) == ("write_failed", "r 2", "the store is full")
        assert {key: followed(scene, value) for key, value in values(scene).items()} == before
        assert migrate(scene).migrated.count == 1

    def test_a_lease_that_is_lost_ends_it(self, scene: Scene, monkeypatch: pytest.MonkeyPatch):
        """What has moved has moved; the rest is for the next run."""
        monkeypatch.setattr("xcomctl.operations.migrate.migration.BATCH", 1)
        for number in range(4):
            scene.world.push("d", f"r {number}", "t", value=LARGE)
        with migrating(scene) as migration:
            moving = migration.carry_out()
            next(moving)
            scene.scope().control.discard([scene.scope().control.name_of(each) for each in leases(scene)])
            assert migration.lease is not None
            migration.lease.signed = dict.fromkeys(migration.lease.signed, 0.0)
            list(moving)
        account = migration.account
        assert (account.exit_code, account.migrated.count) == (ExitCode.PARTIAL, 1)
        assert [failure["code"] for failure in account.failures] == ["broke_off"]
        assert migrate(scene).migrated.count == 3


def leases(scene: Scene) -> list[StoredObject]:
    return scene.scope().control.listed("lease/")


@pytest.mark.databases("sqlite-3.3")
class TestLease:
    def test_not_beside_gc(self, scene: Scene):
        scene.push("d")
        with held(scene.scope().control, holder("gc's", "gc")), pytest.raises(LockedError):
            migrate(scene)

    def test_gc_not_beside_it(self, scene: Scene):
        scene.push("d")
        with migrating(scene), pytest.raises(LockedError), collecting(scene.scope(), AT_ONCE):
            pass

    def test_beside_another(self, scene: Scene):
        scene.push("d")
        with migrating(scene), migrating(scene) as second:
            assert second.lease is not None


@pytest.fixture
def configured(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> Iterator[Scene]:
    """Airflow in this environment, told to use the base path of the scene."""
    pytest.importorskip("airflow.providers.common.io", reason="no Airflow is installed here")
    monkeypatch.setenv(
        "AIRFLOW__CORE__XCOM_BACKEND", "airflow.providers.common.io.xcom.backend.XComObjectStorageBackend"
    )
    monkeypatch.setenv("AIRFLOW__COMMON_IO__XCOM_OBJECTSTORAGE_PATH", scene.base.text)
    monkeypatch.setenv("AIRFLOW__COMMON_IO__XCOM_OBJECTSTORAGE_THRESHOLD", "1000")
    yield scene


@pytest.mark.databases("sqlite-3.3")
class TestProof:
    """The installed Airflow reads what was written, or nothing is."""

    PROVED = replace(UNPROVED, allow=frozenset())

    @pytest.mark.parametrize("codec", [None, "gzip", "bz2", "xz", "zip"])
    def test_airflow_reads_the_result(self, configured: Scene, codec: str | None):
        for number in range(3):
            configured.world.push("d", f"r {number}", "t", value=LARGE)
        account = migrate(configured, replace(self.PROVED, codec=codec))
        assert (account.plan.refusals, account.failures, account.migrated.count) == ((), [], 3)

    @pytest.mark.parametrize(
        ("variable", "value"),
        [("AIRFLOW__CORE__XCOM_BACKEND", ""), ("AIRFLOW__COMMON_IO__XCOM_OBJECTSTORAGE_PATH", "file:///elsewhere")],
    )
    def test_what_airflow_would_not_read_is_not_written(
        self, configured: Scene, monkeypatch: pytest.MonkeyPatch, variable: str, value: str
    ):
        configured.world.push("d", "r", "t", value=LARGE)
        monkeypatch.setenv(variable, value) if value else monkeypatch.delenv(variable)
        before = values(configured)
        account = migrate(configured, self.PROVED)
        assert account.exit_code is ExitCode.REFUSED
        assert [refusal.gate for refusal in account.plan.refusals] == [Gate.BACKEND]
        assert "the URL as if it were the value" in account.plan.refusals[0].message
        assert values(configured) == before and configured.urls() == set()
