"""Rows that go with their objects: the row first, gc's mark then, and only where nothing else refers to the object."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta, timezone

import pytest

from tests.lab import s3
from tests.lab.database import Database
from tests.lab.folder import Folder
from tests.lab.world import Push, World
from tests.operations.scene import AT_ONCE, BASE_FOLDER, Around, Scene
from xcomctl.catalog import open_catalog
from xcomctl.errors import ExitCode, LockedError, MetadataError, StorageError
from xcomctl.ledger.claim import Claim, read_claim, write_claim
from xcomctl.ledger.lease import held, holder
from xcomctl.ledger.marks import read_marks
from xcomctl.model import Epoch, Filter, StoredObject
from xcomctl.operations.gc import CONFIRM_AFTER, Gate, Limit, Scope, collecting
from xcomctl.operations.gc import Rules as GcRules
from xcomctl.operations.rm import GATES, Account, Rules, removing

ALL = Rules(Filter(dag_ids=("*",)))
NEXT_RUN = GcRules(confirm_after=timedelta(seconds=-5), max_delete=Limit(count=100))
"""The run of gc that comes after the wait."""


@pytest.fixture
def scene(database: Database, world: World, store: s3.Bucket | Folder) -> Scene:
    if isinstance(store, Folder):
        (store.path / BASE_FOLDER).mkdir(parents=True)
    return Scene(database, world, store)


pytestmark = pytest.mark.stores("file")
on_one_database = pytest.mark.databases("sqlite-3.3")


def remove(scene: Scene, rules: Rules = ALL, scope: Scope | None = None) -> Account:
    used = scope or scene.scope()
    with removing(used.catalogs, used, rules) as removal:
        list(removal.carry_out())
    return removal.account


def old(scene: Scene, dag_id: str = "d", run_id: str = "r", task_id: str = "t", key: str = "k") -> str:
    """An XCom whose object was written long ago."""
    url = scene.push(dag_id, run_id, task_id, key=key)
    scene.age(url, 30)
    return url


def keys(scene: Scene) -> set[str]:
    return {xcom.key for xcom in scene.catalog.rows(Filter(), all_attempts=True)}


def marks(scene: Scene) -> set[str]:
    return {f"{scene.base.text}/{mark.name}" for mark in read_marks(scene.scope().control, scene.base.location.url)}


def unmarked(account: Account) -> dict[str, int]:
    return {why.value: tally.count for why, tally in account.unmarked.items()}


def reasons(account: Account) -> dict[str, int]:
    return {reason.value: tally.count for reason, tally in account.by_reason.items()}


class TestRemoving:
    def test_rows_go_and_their_objects_are_marked(self, scene: Scene):
        gone = {old(scene, run_id=f"r {number}", key="gone") for number in range(3)}
        kept = {old(scene, key="kept"), old(scene, "other", key="kept")}
        scene.world.push("d", "r", "t", key="gone", value="1")
        account = remove(scene, Rules(Filter(keys=("gone",))))
        assert (account.exit_code, account.removed.count, account.failures) == (ExitCode.OK, 4, [])
        assert keys(scene) == {"kept"} and scene.urls() == gone | kept
        assert (account.marked.count, marks(scene)) == (3, gone)
        assert account.marked.bytes == 3 * len(b"[1]")
        again = remove(scene, Rules(Filter(keys=("gone",))))
        assert (again.removed.count, again.marked.count, marks(scene)) == (0, 0, gone)

    def test_one_later_run_of_gc_deletes_what_was_marked(self, scene: Scene):
        gone, kept = old(scene, key="gone"), old(scene, key="kept")
        remove(scene, Rules(Filter(keys=("gone",))))
        sooner = scene.collect(replace(NEXT_RUN, confirm_after=CONFIRM_AFTER))
        assert (sooner.tallies["deleted"].count, scene.urls()) == (0, {gone, kept})
        account = scene.collect(NEXT_RUN)
        assert (account.plan.refusals, account.tallies["deleted"].count, scene.urls()) == ((), 1, {kept})

    @on_one_database
    def test_the_mark_is_the_one_that_gc_would_make(self, scene: Scene):
        old(scene, key="kept")
        old(scene, key="gone")
        remove(scene, Rules(Filter(keys=("gone",))))
        (ours,) = read_marks(scene.scope().control, scene.base.location.url)
        scene.scope().control.discard(["marks/" + n.rpartition("/")[2] for n in scene.raw.keys("") if "/marks/" in n])
        assert list(read_marks(scene.scope().control, scene.base.location.url)) == []
        scene.collect(GcRules())
        (theirs,) = read_marks(scene.scope().control, scene.base.location.url)
        assert replace(ours, first_seen=theirs.first_seen) == theirs

    @on_one_database
    def test_the_mark_lets_gc_delete_after_the_usual_time(self, scene: Scene):
        before = datetime.now(timezone.utc)
        old(scene)
        account = remove(scene)
        ((due_at, tally),) = account.due.items()
        assert tally.count == 1 and before + CONFIRM_AFTER <= due_at <= datetime.now(timezone.utc) + CONFIRM_AFTER

    @on_one_database
    def test_other_marks_stay(self, scene: Scene):
        leaked = scene.leak("d")
        scene.age(leaked, 30)
        old(scene, key="kept")
        gone = old(scene, key="gone")
        scene.collect(GcRules())
        before = set(read_marks(scene.scope().control, scene.base.location.url))
        assert marks(scene) == {leaked}
        remove(scene, Rules(Filter(keys=("gone",))))
        after = set(read_marks(scene.scope().control, scene.base.location.url))
        assert marks(scene) == {leaked, gone} and before <= after

    @pytest.mark.databases("*-3.4")
    def test_every_attempt_goes_and_all_their_objects_are_marked(self, scene: Scene):
        urls = {old(scene)}
        scene.world.retry("d", "r", "t")
        scene.world.task("d", "r", "t", state="success")
        urls |= {old(scene)}
        account = remove(scene)
        assert (account.removed.count, account.marked.count, marks(scene)) == (2, 2, urls)

    @pytest.mark.databases("sqlite-3.3", "postgresql-3.3", "mysql-3.3", "postgresql-3.4")
    def test_many_rows(self, scene: Scene, monkeypatch: pytest.MonkeyPatch):
        """More than a page, a look, and a batch, and marked in more than one go."""
        monkeypatch.setattr("xcomctl.catalog.database.ROWS_PER_PAGE", 400)
        monkeypatch.setattr("xcomctl.operations.rm.planning.ROWS_AT_ONCE", 130)
        monkeypatch.setattr("xcomctl.operations.rm.removal.MARKED_AT_ONCE", 7)
        urls = {old(scene, run_id=f"r {number}", key="k 1") for number in range(20)}
        scene.world.push_many(
            Push("d", f"r {number % 20}", "t", number, key="k 2", value="1") for number in range(1200)
        )
        scene.world.push("d", "r 1", "t", key="kept")
        account = remove(scene, Rules(Filter(keys=("k ?",))))
        assert (account.removed.count, account.marked.count, marks(scene)) == (1220, 20, urls)
        assert keys(scene) == {"kept"}

    @on_one_database
    def test_a_dry_run_changes_nothing(self, scene: Scene):
        old(scene)
        before = scene.raw.keys("")
        account = remove(scene, replace(ALL, dry_run=True))
        assert (account.plan.removable.count, account.plan.referring.count, account.removed.count) == (1, 1, 0)
        assert keys(scene) == {"k"} and scene.raw.keys("") == before

    @on_one_database
    def test_without_a_base_path_only_rows_go(self, scene: Scene):
        old(scene)
        catalog = open_catalog(scene.database.url, None, None)
        with removing([catalog], None, ALL) as removal:
            list(removal.carry_out())
        assert (removal.account.removed.count, unmarked(removal.account)) == (1, {"left_to_gc": 1})


class TestSkipping:
    @pytest.mark.parametrize(("run", "task"), [("running", "success"), ("queued", "success"), ("success", "running")])
    def test_a_run_that_is_not_over_is_left_alone(self, scene: Scene, run: str, task: str):
        scene.world.push("d", "r", "t", key="kept")
        scene.world.push("d", "over", "t", key="gone")
        scene.world.run("d", "r", state=run)
        scene.world.task("d", "r", "t", state=task)
        account = remove(scene)
        assert (account.removed.count, reasons(account), keys(scene)) == (1, {"run_unfinished": 1}, {"kept"})

    @pytest.mark.databases("sqlite-3.4", "postgresql-3.4")
    def test_an_older_row_never_takes_the_place_of_a_newer_one(self, scene: Scene):
        scene.world.push("d", "r", "t", value="1", legacy=True)
        scene.world.push_many([Push("d", "r", "t", value="2", timestamp=datetime.now(timezone.utc))])
        recent = Rules(Filter(since=datetime.now(timezone.utc) - timedelta(days=1)))
        account = remove(scene, recent)
        assert (account.removed.count, reasons(account)) == (0, {"hides_older": 1})
        assert remove(scene).removed.count == 2


class TestUnmarked:
    def test_what_another_row_refers_to(self, scene: Scene):
        url = old(scene, key="gone")
        scene.world.push("d", "other", "t", key="kept", value=json.dumps(url))
        account = remove(scene, Rules(Filter(keys=("gone",))))
        assert (account.removed.count, unmarked(account), marks(scene)) == (1, {"referenced": 1}, set())
        assert scene.collect(AT_ONCE).tallies["deleted"].count == 0 and scene.urls() == {url}

    def test_what_an_archive_refers_to(self, scene: Scene):
        url = old(scene, key="gone")
        scene.world.db_clean()
        scene.world.push("d", "r", "t", key="gone", value=json.dumps(url))
        account = remove(scene)
        assert (account.removed.count, unmarked(account), marks(scene)) == (1, {"archived": 1}, set())

    @on_one_database
    def test_what_is_not_an_orphan_to_gc(self, scene: Scene):
        young = scene.push("d", key="young")
        missing = old(scene, key="missing")
        scene.raw.delete(missing.removeprefix(f"{scene.raw.url}/"))
        elsewhere = f"{scene.raw.url}/elsewhere/d/r/t/0d760203-28d1-4226-81c7-7786b50e4773"
        strange = scene.put("readme.txt")
        own = f"{scene.base.text}/_xcomctl/canary/live/0d760203-28d1-4226-81c7-7786b50e4773"
        for key, url in (("elsewhere", elsewhere), ("strange", strange), ("own", own)):
            scene.world.push("d", "r", "t", key=key, value=json.dumps(url))
        account = remove(scene)
        assert (account.removed.count, marks(scene)) == (5, set())
        assert unmarked(account) == {"young": 1, "missing": 1, "elsewhere": 3}
        assert young in scene.urls()

    @pytest.mark.databases("*-3.4")
    def test_what_its_task_may_write_again(self, scene: Scene):
        """Airflow 3.4 uses a name again within an attempt, which must be over for an hour."""
        attempt = scene.world.attempt("d", "r", "t")
        url = scene.put(f"d/r/t/ti-{attempt}/k.json")
        scene.age(url, 30)
        scene.world.push("d", "r", "t", value=json.dumps(url))
        scene.world.task("d", "r", "t", state="success", end_date=datetime.now(timezone.utc))
        assert unmarked(remove(scene)) == {"held": 1}
        scene.world.push("d", "r", "t", value=json.dumps(url))
        scene.world.task("d", "r", "t", state="success", end_date=datetime(2026, 1, 1, tzinfo=timezone.utc))
        assert remove(scene).marked.count == 1

    @on_one_database
    def test_what_cannot_be_marked_is_left_to_gc(self, scene: Scene):
        """The store fails once the rows are gone."""
        old(scene)

        class Failing(Around):
            def write(self, name: str, data: bytes) -> None:
                if "/marks/" in name:
                    raise StorageError("the store is full")
                self.real.write(name, data)

        account = remove(scene, scope=scene.scope(store=Failing(scene.store)))
        assert (account.exit_code, account.removed.count, unmarked(account)) == (ExitCode.PARTIAL, 1, {"left_to_gc": 1})
        assert [failure["code"] for failure in account.failures] == ["mark_failed"]
        old(scene, key="kept")
        assert scene.collect(GcRules()).tallies["marked"].count == 1

    @on_one_database
    def test_what_comes_to_be_referred_to_while_it_is_marked(self, scene: Scene):
        """Rows are read after the objects are listed, and after their own rows are gone."""
        url = old(scene, key="gone")

        class Slow(Around):
            def objects(self, prefix: str) -> Iterator[StoredObject]:
                found = list(self.real.objects(prefix))
                if prefix.endswith("/d/r/"):
                    scene.world.push("d", "r", "t", key="new", value=json.dumps(url))
                yield from found

        account = remove(scene, Rules(Filter(keys=("gone",))), scene.scope(store=Slow(scene.store)))
        assert (unmarked(account), marks(scene)) == ({"referenced": 1}, set())


@pytest.mark.databases("sqlite-3.3", "postgresql-3.3", "mysql-3.3", "sqlite-2.11")
@pytest.mark.stores("file", "ministack", "seaweedfs")
def test_on_every_store(scene: Scene, monkeypatch: pytest.MonkeyPatch):
    """Buckets cannot be told to look old."""
    from xcomctl.operations.rm import removal

    at_once = replace(AT_ONCE, single_pass=False, confirm_after=timedelta(seconds=-5))
    real = removal.Marking
    monkeypatch.setattr(removal, "Marking", lambda *words: real(*words, rules=at_once))
    gone = {scene.push("d", run, "g.t", key="gone") for run in ("r", "a/b [c*] ?#", "ünï")}
    kept = {scene.push("d", "r", "g.t", key="kept")}
    account = remove(scene, Rules(Filter(keys=("gone",))))
    assert (account.removed.count, account.marked.count, marks(scene)) == (3, 3, gone)
    assert (scene.collect(at_once).tallies["deleted"].count, scene.urls()) == (3, kept)


class TestArchiving:
    def test_rows_move_and_their_objects_stay(self, scene: Scene):
        url = old(scene)
        scene.world.push("d", "r", "t", key="inline", value="[1]")
        account = remove(scene, replace(ALL, archive=True))
        assert (account.removed.count, keys(scene), unmarked(account)) == (2, set(), {"archived": 1})
        (name,) = account.archives
        assert name in {table.name for table in scene.catalog.schema.archives}
        assert len(scene.world.sql(f"SELECT * FROM {name}")) == 2
        kept = scene.collect(AT_ONCE)
        assert (kept.tallies["archived"].count, kept.tallies["deleted"].count, scene.urls()) == (1, 0, {url})

    @pytest.mark.databases("sqlite-3.4", "postgresql-3.4", "mysql-3.4")
    def test_each_table_has_its_own(self, scene: Scene):
        scene.world.push("d", "r", "t", key="old", legacy=True)
        scene.world.push("d", "r", "t", key="new")
        account = remove(scene, replace(ALL, archive=True))
        assert [name.split("__")[1] for name in account.archives] == ["xcom_v1", "xcom_v2"]

    @on_one_database
    def test_nothing_to_move_makes_no_table(self, scene: Scene):
        scene.world.push("d", "r", "t")
        scene.world.run("d", "r", state="running")
        before = scene.world.tables()
        assert remove(scene, replace(ALL, archive=True)).archives == [] and scene.world.tables() == before


class TestGates:
    @on_one_database
    def test_another_database_is_claimed(self, scene: Scene):
        old(scene)
        control = scene.scope().control
        claim = Claim(scene.base.location.url, (Epoch("postgresql:another"),))
        write_claim(control, claim, datetime.now(timezone.utc))
        account = remove(scene)
        assert account.exit_code is ExitCode.REFUSED and keys(scene) == {"k"}
        assert [refusal.gate for refusal in account.plan.refusals] == [Gate.FOREIGN_CLAIM]
        allowed = remove(scene, replace(ALL, allow=frozenset({Gate.FOREIGN_CLAIM})))
        assert (allowed.removed.count, unmarked(allowed), marks(scene)) == (1, {"left_to_gc": 1}, set())
        assert read_claim(control) == claim

    @on_one_database
    def test_a_mark_lays_a_claim(self, scene: Scene):
        """What is marked was seen in these databases, and no other gc may go by it."""
        old(scene)
        remove(scene)
        claim = read_claim(scene.scope().control)
        assert claim is not None and [epoch.database for epoch in claim.epochs] == [f"sqlite:///{_path(scene)}"]

    @pytest.mark.databases("sqlite-3.3", "postgresql-3.3")
    def test_an_unknown_schema(self, scene: Scene):
        old(scene)
        scene.world.sql("CREATE TABLE xcom_of_somebody (value TEXT)")
        scene.world.sql("UPDATE alembic_version SET version_num = 'abc'")
        account = remove(scene)
        assert {refusal.gate for refusal in account.plan.refusals} == {Gate.UNKNOWN_HEAD, Gate.UNKNOWN_TABLE}
        assert keys(scene) == {"k"} and account.exit_code is ExitCode.REFUSED
        scene.world.sql("UPDATE alembic_version SET version_num = 'd2f4e1b3c5a7'")

    @on_one_database
    def test_other_databases_of_the_base_path_are_read_too(self, scene: Scene, databases):
        url = old(scene, key="gone")
        with databases.fresh("sqlite-2.11") as second, World(second) as world:
            world.push("e", "r", "t", value=json.dumps(url))
            catalogs = [scene.catalog, open_catalog(second.url, None, scene.base)]
            account = remove(scene, ALL, scene.scope(catalogs))
            assert (account.removed.count, unmarked(account)) == (1, {"referenced": 1})
            assert len(world.sql("SELECT 1 FROM xcom")) == 1
        assert len(GATES) == len(set(GATES))


def _path(scene: Scene) -> str:
    return scene.database.url.removeprefix("sqlite:///")


@on_one_database
class TestLease:
    def test_not_beside_gc(self, scene: Scene):
        old(scene)
        with held(scene.scope().control, holder("gc's", "gc")), pytest.raises(LockedError):
            remove(scene)
        assert keys(scene) == {"k"}

    def test_gc_not_beside_it(self, scene: Scene):
        old(scene)
        used = scene.scope()
        with removing(used.catalogs, used, ALL), pytest.raises(LockedError), collecting(scene.scope(), AT_ONCE):
            pass

    def test_beside_a_migration_and_another(self, scene: Scene):
        old(scene)
        used = scene.scope()
        migration = holder("m", "migrate", shared=True)
        with removing(used.catalogs, used, ALL), held(scene.scope().control, migration):
            assert remove(scene).removed.count == 1

    def test_who_has_lost_it_marks_nothing(self, scene: Scene):
        """gc may have run meanwhile, and have dropped a mark."""
        old(scene)
        used = scene.scope()
        with removing(used.catalogs, used, ALL) as removal:
            control = scene.scope().control
            control.discard([control.name_of(each) for each in control.listed("lease/")])
            list(removal.carry_out())
        account = removal.account
        assert (account.exit_code, account.removed.count, marks(scene)) == (ExitCode.PARTIAL, 1, set())
        assert [failure["code"] for failure in account.failures] == ["mark_failed"]


class TestRefusedByTheDatabase:
    @on_one_database
    def test_nothing_changed_is_an_error(self, scene: Scene):
        scene.world.push("d", "r", "t")
        scene.world.sql("CREATE TRIGGER no BEFORE DELETE ON xcom BEGIN SELECT RAISE(ABORT, 'not here'); END")
        with pytest.raises(MetadataError, match="not here"):
            remove(scene)
        assert keys(scene) == {"return_value"}

    @on_one_database
    def test_what_fails_after_a_change_is_told(self, scene: Scene, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setattr("xcomctl.operations.rm.removal.ROWS_AT_ONCE", 1)
        for number in range(9):
            scene.world.push("d", "r", "t", key=f"k{number}")
        refused = "WHEN OLD.key IN ('k1', 'k3', 'k4', 'k5') BEGIN SELECT RAISE(ABORT, 'not here'); END"
        scene.world.sql(f"CREATE TRIGGER no BEFORE DELETE ON xcom {refused}")
        account = remove(scene)
        assert (account.exit_code, account.removed.count, account.failed.count) == (ExitCode.PARTIAL, 2, 4)
        assert keys(scene) == {"k1", "k3", "k4", "k5", "k6", "k7", "k8"}
        codes = [failure["code"] for failure in account.failures]
        assert codes == ["delete_failed"] * 4 + ["broke_off"]

    @pytest.mark.databases("postgresql-3.3", "mysql-3.3")
    def test_a_locked_row_keeps_only_itself(self, scene: Scene, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setattr("xcomctl.operations.rm.removal.LOCKED_SECONDS", 0.5)
        for number in range(12):
            scene.world.push("d", f"r {number}", "t", key=f"k{number}")
        ((number,),) = scene.world.sql("SELECT dag_run_id FROM xcom WHERE run_id = 'r 5'")
        key = "`key`" if scene.database.dialect == "mysql" else "key"
        row = f"dag_run_id = {number} AND task_id = 't' AND map_index = -1 AND {key} = 'k5'"
        with scene.world.locked(f"UPDATE xcom SET timestamp = timestamp WHERE {row}"):
            account = remove(scene)
        assert (account.exit_code, account.removed.count, keys(scene)) == (ExitCode.PARTIAL, 11, {"k5"})
        assert [(failure["code"], failure["key"]) for failure in account.failures] == [("locked", "k5")]
        assert remove(scene).removed.count == 1
