"""Each gate refuses with exit code 5, changes nothing, and is lifted only by its name."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from fractions import Fraction
from pathlib import Path
from uuid import uuid4

import pytest

from tests import schemas
from tests.cli.conftest import tree
from tests.lab import postgres
from tests.lab.database import Database, Databases
from tests.lab.folder import Folder
from tests.lab.world import World
from tests.operations.scene import AT_ONCE, BASE_FOLDER, Around, Scene
from xcomctl.backend.reference import parse_base
from xcomctl.catalog import open_catalog
from xcomctl.errors import ExitCode, StorageError
from xcomctl.model import StoredObject
from xcomctl.operations.gc import Account, Gate, Limit, Rules, collecting
from xcomctl.operations.gc.canary import LIVE

pytestmark = [pytest.mark.databases("sqlite-3.3"), pytest.mark.stores("file")]


def contents(scene: Scene) -> dict[str, tuple[object, ...]]:
    """Every file of the store, with its time."""
    return {name: facts for name, facts in tree(scene.raw.path).items() if Path(name).is_file()}


def refused(scene: Scene, gate: Gate, rules: Rules = AT_ONCE, store: object = None) -> Account:
    """A run that this gate and no other refuses, first looked at and then really tried, and that deletes when it is
    lifted; the account of the refused one."""
    before = contents(scene)
    looked = scene.collect(replace(rules, dry_run=True), store=store)
    account = scene.collect(rules, store=store)
    assert [refusal.gate for refusal in account.plan.refusals] == [gate], account.plan.refusals
    assert account.exit_code is ExitCode.REFUSED and account.document()["status"] == "refused"
    assert account.document()["refusals"] == [{"gate": gate.value, "message": account.plan.refusals[0].message}]
    assert contents(scene) == before
    if gate not in (Gate.CANARY, Gate.INCOMPLETE_LISTING, Gate.STORE_KIND):  # which need a canary, or a real run
        assert [refusal.gate for refusal in looked.plan.refusals] == [gate]
    others = frozenset(Gate) - {gate}
    with_others = scene.collect(replace(rules, allow=others), store=store)
    assert [refusal.gate for refusal in with_others.plan.refusals] == [gate]
    assert contents(scene) == before
    lifted = scene.collect(replace(rules, allow=frozenset({gate})), store=store)
    assert lifted.exit_code is ExitCode.OK and lifted.tallies["deleted"].count, lifted.failures
    return account


class TestRows:
    def test_no_row_refers_to_anything(self, scene: Scene):
        scene.leak("d")
        scene.world.push("d", "r", "t", value="1")
        refused(scene, Gate.EMPTY_ROOTS)

    def test_rows_and_objects_do_not_belong_together(self, scene: Scene):
        scene.leak("d")
        scene.world.push("d", "r", "t", value=json.dumps(f"s3://elsewhere/d/r/t/{uuid4()}"))
        refused(scene, Gate.NO_OVERLAP)

    def test_references_that_lead_nowhere(self, scene: Scene):
        """More than ten, and more than one in a hundred: a listing without rights to all, or another bucket."""
        scene.push("d")
        scene.leak("d")
        for number in range(10):
            scene.world.push("d", "lost", "t", number, value=json.dumps(f"{scene.base.text}/d/lost/t/{uuid4()}"))
        assert scene.plan().refusals == ()
        scene.world.push("d", "lost", "t", 10, value=json.dumps(f"{scene.base.text}/d/lost/t/{uuid4()}"))
        assert "11 of 12 references lead to no object" in refused(scene, Gate.DANGLING).plan.refusals[0].message

    def test_one_in_a_hundred_may_lead_nowhere(self, scene: Scene):
        for number in range(1100):
            url = f"{scene.base.text}/d/r/t/{uuid4()}"
            scene.world.push("d", "r", "t", number, value=json.dumps(url))
            if number >= 11:
                scene.raw.put(url.removeprefix(f"{scene.raw.url}/"))
        scene.leak("d")
        assert scene.plan().refusals == ()

    def test_a_young_reference_may_be_newer_than_the_listing(self, scene: Scene):
        scene.push("d")
        scene.age(scene.leak("d"), 8)
        now = datetime.now(timezone.utc)
        for number in range(11):
            url = f"{scene.base.text}/d/r/t/{uuid4()}"
            scene.world.push("d", "r", "t", number, value=json.dumps(url), timestamp=now)
        assert scene.plan(replace(AT_ONCE, older_than=timedelta(days=7))).refusals == ()

    @pytest.mark.parametrize(
        "spelled",
        [
            "s3a://bucket/x/d/r/t/{leaf}",
            "file://conn@{path}/{leaf}",
            "file:{path}//d/r/t/{leaf}",
            "FILE://{path}/d/r/t/{leaf}",
        ],
    )
    def test_one_object_under_two_spellings(self, scene: Scene, spelled: str):
        live = scene.push("d")
        scene.leak("d")
        path, leaf = scene.base.location.name, live[-36:]
        scene.world.push("d", "r", "t", key="odd", value=json.dumps(spelled.format(path=path, leaf=leaf)))
        refused(scene, Gate.TWO_SPELLINGS)
        assert live in scene.urls()

    @pytest.mark.parametrize(
        "value",
        [
            "{base}/d/r/t",
            "{base}/d/r/t/",
            "{base}/exports",
            "{base}/d/../d",
            ["{base}/d"],
            {"path": "{base}/d/r/t/"},
            {"{base}/d": 1},
        ],
    )
    def test_a_value_that_means_more_than_one_object(self, scene: Scene, value: object):
        """Somebody's own data below the base path: which objects it means cannot be told."""
        scene.push("d")
        scene.leak("d")
        scene.world.push("d", "r", "t", key="odd", value=json.dumps(value).replace("{base}", scene.base.text))
        refused(scene, Gate.AMBIGUOUS)

    @pytest.mark.parametrize(
        "value", ["s3://data/lake/", "{base}2/d/r/t", "{parent}", "see {base}/d for more", "/pre/xcom/d"]
    )
    def test_data_elsewhere_is_plain(self, scene: Scene, value: str):
        scene.push("d")
        orphan = scene.leak("d")
        parent = scene.base.text.rpartition("/")[0]
        scene.world.push("d", "r", "t", key="odd", value=json.dumps(value.format(base=scene.base.text, parent=parent)))
        assert scene.collect().plan.refusals == () and orphan not in scene.urls()

    def test_a_value_that_names_an_object_of_its_own_is_plain(self, scene: Scene):
        scene.push("d")
        orphan, report = scene.leak("d"), scene.put("reports/today.csv")
        scene.world.push("d", "r", "t", key="report", value=json.dumps(report))
        assert scene.collect().plan.refusals == ()
        assert orphan not in scene.urls() and report in scene.urls()


class TestDatabase:
    def test_a_table_that_may_hold_references(self, scene: Scene):
        live, kept = scene.push("d"), scene.leak("d")
        scene.leak("d")
        scene.world.sql("CREATE TABLE xcom_v9 (value text)")
        scene.world.sql("INSERT INTO xcom_v9 VALUES (:value)", value=json.dumps(kept))
        refused(scene, Gate.UNKNOWN_TABLE)
        assert scene.urls() == {live, kept}

    def test_one_without_values(self, scene: Scene):
        scene.push("d")
        scene.leak("d")
        scene.world.sql("CREATE TABLE my_xcom_backup (id int)")
        refused(scene, Gate.UNKNOWN_TABLE)

    @pytest.mark.parametrize(
        "change", ["UPDATE alembic_version SET version_num = 'abc'", "DELETE FROM alembic_version"]
    )
    def test_a_schema_of_an_unknown_version(self, scene: Scene, change: str):
        scene.push("d")
        scene.leak("d")
        scene.world.sql(change)
        refused(scene, Gate.UNKNOWN_HEAD)

    def test_a_table_that_should_be_there(self, scene: Scene):
        scene.push("d")
        scene.leak("d")
        scene.world.sql("DROP TABLE task_state_store")
        refused(scene, Gate.MISSING_TABLE)

    @pytest.mark.databases("postgresql-3.3")
    def test_rows_that_a_policy_hides(self, scene: Scene):
        """A role that sees its own rows only would take all the others' objects for orphans."""
        scene.push("d")
        scene.leak("d")
        role = f"reader_{uuid4().hex[:8]}"
        for statement in (
            "ALTER TABLE xcom ENABLE ROW LEVEL SECURITY",
            "CREATE POLICY own ON xcom USING (dag_id = 'mine')",
            f"CREATE ROLE {role} LOGIN",
            f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {role}",
        ):
            scene.world.sql(statement)
        try:
            url = scene.database.url.replace("postgres:@", f"{role}:@").replace("postgres@", f"{role}@")
            account = scene.collect(catalogs=[open_catalog(url, None, scene.base)])
            assert Gate.HIDDEN_ROWS in {refusal.gate for refusal in account.plan.refusals}
            assert account.exit_code is ExitCode.REFUSED
        finally:
            scene.world.sql("DROP POLICY own ON xcom")
            scene.world.sql("ALTER TABLE xcom DISABLE ROW LEVEL SECURITY")
            scene.world.sql(f"DROP OWNED BY {role}")
            scene.world.sql(f"DROP ROLE {role}")

    def test_a_wrong_clock(self, scene: Scene):
        scene.push("d")
        scene.leak("d")

        class Ahead(Around):
            def now(self, prefix: str) -> datetime:
                return self.real.now(prefix) + timedelta(minutes=6)

        refused(scene, Gate.CLOCK, store=Ahead(scene.store))

    def test_the_state_stores_in_the_same_place(self, scene: Scene):
        scene.push("d")
        scene.leak("d")
        for path in (scene.base.text, f"{scene.base.text}/states", scene.base.text.rpartition("/")[0]):
            scope = replace(scene.scope(), state_base=parse_base(path))
            with collecting(scope, AT_ONCE) as collection:
                assert [r.gate for r in collection.account.plan.refusals] == [Gate.STATE_STORE_OVERLAP], path
            with collecting(scope, replace(AT_ONCE, allow=frozenset({Gate.STATE_STORE_OVERLAP}))) as collection:
                assert collection.account.plan.refusals == ()
        scope = replace(scene.scope(), state_base=parse_base(f"{scene.base.text}-states"))
        with collecting(scope, AT_ONCE) as collection:
            assert collection.account.plan.refusals == ()


class TestOwnership:
    def test_another_database_than_at_the_last_run(self, scene: Scene, databases: Databases):
        """Two deployments on one base path: each would collect the other's objects."""
        mine = scene.push("d")
        scene.collect()
        with databases.fresh("sqlite-3.3") as database, World(database) as world:
            other = Scene(database, world, scene.raw)
            other.push("d", "their run")
            other.leak("d")
            before = contents(scene)
            account = other.collect()
            assert [refusal.gate for refusal in account.plan.refusals] == [Gate.FOREIGN_CLAIM]
            assert contents(scene) == before and mine in scene.urls()
            both = other.collect(catalogs=[scene.catalog, other.catalog])
            assert both.exit_code is ExitCode.OK and both.tallies["deleted"].count == 1
        assert [refusal.gate for refusal in scene.collect().plan.refusals] == [Gate.FOREIGN_CLAIM]
        assert scene.collect(replace(AT_ONCE, allow=frozenset({Gate.FOREIGN_CLAIM}))).exit_code is ExitCode.OK
        assert scene.collect().exit_code is ExitCode.OK

    @pytest.mark.databases("postgresql-3.3", "mysql-3.3")
    def test_on_a_server_too(self, scene: Scene, databases: Databases):
        scene.push("d")
        assert scene.collect().exit_code is ExitCode.OK
        assert scene.collect().exit_code is ExitCode.OK
        with databases.fresh("sqlite-3.3") as database, World(database) as world:
            other = Scene(database, world, scene.raw)
            assert [refusal.gate for refusal in other.collect().plan.refusals] == [Gate.FOREIGN_CLAIM]

    def test_a_control_folder_of_another_base_path(self, scene: Scene):
        """Its marks would be taken for this one's."""
        scene.push("d")
        scene.collect()
        (claim,) = scene.raw.path.rglob("claim.json")
        claim.write_text(claim.read_text().replace(scene.base.location.url, "file:///elsewhere"))
        account = scene.collect()
        assert [refusal.gate for refusal in account.plan.refusals] == [Gate.FOREIGN_CLAIM]
        assert "file:///elsewhere" in account.plan.refusals[0].message

    @pytest.mark.databases("sqlite-3.3", "mysql-3.3", "postgresql-3.3")
    def test_a_database_that_was_put_back(self, scene: Scene):
        """What rows it has lost nobody knows; the marks of before are worth nothing."""
        live = [scene.push("d", f"run {number}") for number in range(3)]
        scene.leak("d")
        scene.world.sql("DROP TABLE IF EXISTS log")
        scene.world.sql("CREATE TABLE log (id integer PRIMARY KEY)")
        scene.world.sql("INSERT INTO log VALUES (7)")
        twice = replace(AT_ONCE, single_pass=False, confirm_after=timedelta(seconds=-2))
        assert scene.collect(twice).tallies["marked"].count == 1
        scene.world.delete_run("d", "run 2")
        scene.world.sql("DELETE FROM log")
        before = scene.urls()
        account = scene.collect(twice)
        assert [refusal.gate for refusal in account.plan.refusals] == [Gate.RESTORED_DATABASE]
        assert scene.urls() == before
        lifted = scene.collect(replace(twice, allow=frozenset({Gate.RESTORED_DATABASE})))
        assert (lifted.tallies["deletable"].count, lifted.tallies["marked"].count) == (0, 2)
        assert scene.collect(twice).tallies["deleted"].count == 2
        assert scene.urls() == set(live[:2])
        scene.world.sql("DROP TABLE log")

    @pytest.mark.parametrize("days", [1, 20])
    def test_a_copy_from_before(self, scene: Scene, days: int):
        """Of another stage, or a forgotten backup: what has been pushed since looks like orphans, sooner or later."""
        rules = replace(AT_ONCE, older_than=timedelta(days=7))
        for number in range(50):
            scene.age(scene.push("d", f"known {number}"), 30)
        scene.age(scene.leak("d", "run 0"), 31)
        since = [scene.leak("d", f"run {number}") for number in range(1, 19)]
        for url in since:
            scene.age(url, days)
        assert scene.plan(rules).refusals == (), "one more would be nine in ten of the newest twenty"
        scene.age(scene.leak("d", "run 19"), days)
        account = refused(scene, Gate.STALE_DATABASE, rules)
        assert account.plan.refusals[0].message.startswith("19 of the 20 newest objects are of runs that no database")

    def test_a_copy_that_nobody_works_with(self, scene: Scene):
        """Three objects are enough if no job has been at work for long when they were written."""
        rules = replace(AT_ONCE, older_than=timedelta(days=7))
        scene.age(scene.push("d"), 30)
        scene.age(scene.leak("d", "old"), 30)
        scene.world.sql("CREATE TABLE job (latest_heartbeat TIMESTAMP)")
        beat = datetime.now(timezone.utc) - timedelta(days=10)
        scene.world.sql("INSERT INTO job VALUES (:at)", at=f"{beat:%Y-%m-%d %H:%M:%S.%f}")
        for days in (9.1, 9.1, 9.1, 8, 8, -1, -1):
            scene.age(scene.leak("d"), days)
        assert scene.plan(rules).refusals == (), "workers may go on for a day, and the future tells nothing"
        scene.age(scene.leak("d"), 8)
        account = refused(scene, Gate.STALE_DATABASE, rules)
        assert "more than a day after the last heartbeat" in account.plan.refusals[0].message

    @pytest.mark.parametrize(
        ("dag_id", "run_id", "more", "logged"),
        [("d", "r", 0, ()), ("strange", "s", 0, ()), ("d", "s", 2, ()), ("d", "s", 0, ("s",))],
    )
    def test_new_objects_without_rows_are_usual(
        self, scene: Scene, dag_id: str, run_id: str, more: int, logged: tuple[str, ...]
    ):
        """Tasks that fail, or clean up after themselves; DAGs that are held anyway; runs that were deleted."""
        rules = replace(AT_ONCE, older_than=timedelta(days=7))
        scene.age(scene.push("d"), 8)
        scene.world.sql("CREATE TABLE log (id integer PRIMARY KEY, dag_id text, run_id text)")
        for run in logged:
            scene.world.sql("INSERT INTO log (dag_id, run_id) VALUES ('d', :run)", run=run)
        for _ in range(11):
            scene.leak(dag_id, run_id)
        for _ in range(more):
            scene.push("d")
        assert scene.plan(rules).refusals == ()

    def test_the_newest_run_may_be_deleted(self, scene: Scene):
        scene.push("d", "run 0")
        scene.push("d", "run 1")
        scene.world.sql("CREATE TABLE log (id integer PRIMARY KEY)")
        scene.world.sql("INSERT INTO log VALUES (7)")
        scene.collect()
        scene.world.delete_run("d", "run 1")
        assert scene.collect().plan.refusals == ()


class TestListing:
    def hiding(self, scene: Scene, hidden: str) -> object:
        """The real store, whose listing lacks some objects."""

        class Hiding(Around):
            def objects(self, prefix: str) -> Iterator[StoredObject]:
                return (found for found in self.real.objects(prefix) if hidden not in found.name)

        return Hiding(scene.store)

    def test_it_lacks_what_was_just_written(self, scene: Scene):
        scene.push("d")
        scene.leak("d")
        before = contents(scene)
        account = scene.collect(store=self.hiding(scene, "/canary/"))
        assert [refusal.gate for refusal in account.plan.refusals] == [Gate.INCOMPLETE_LISTING]
        assert contents(scene) == before

    def test_it_lacks_what_a_row_refers_to(self, scene: Scene):
        scene.push("d")
        hidden = scene.push("d", "hidden")
        scene.leak("d")
        store = self.hiding(scene, "/hidden/")
        for rules in (AT_ONCE, replace(AT_ONCE, dry_run=True)):
            account = scene.collect(rules, store=store)
            assert [refusal.gate for refusal in account.plan.refusals] == [Gate.INCOMPLETE_LISTING]
            assert hidden.removeprefix("file://") in account.plan.refusals[0].message
        assert scene.collect(store=scene.store).exit_code is ExitCode.OK

    def test_one_that_breaks_off_is_an_error_of_the_store(self, scene: Scene):
        urls = {scene.push("d"), scene.leak("d")}

        class Breaking(Around):
            def objects(self, prefix: str) -> Iterator[StoredObject]:
                yield next(self.real.objects(prefix))
                raise StorageError("the listing broke off")

        with pytest.raises(StorageError):
            scene.collect(store=Breaking(scene.store))
        assert scene.urls() == urls and not list(scene.raw.path.rglob("lease/*"))


class TestCanary:
    def test_an_object_that_is_referred_to_is_taken_for_an_orphan(self, scene: Scene, monkeypatch):
        scene.push("d")
        scene.leak("d")
        monkeypatch.setattr("xcomctl.operations.gc.evidence.unique_part", lambda name: None)
        refused(scene, Gate.CANARY)

    def test_an_orphan_is_taken_for_an_object_that_is_referred_to(self, scene: Scene, monkeypatch):
        """With every name alike, all would be kept for ever: harmless, and worth knowing."""
        scene.push("d")
        scene.leak("d")
        monkeypatch.setattr("xcomctl.numbers.hashed", lambda text: 1)
        account = scene.collect()
        assert Gate.CANARY in {refusal.gate for refusal in account.plan.refusals}

    def test_conditions_are_believed_only_when_they_hold(self, scene: Scene):
        scene.push("d")
        scene.leak("d")

        class Ignoring(Around):
            """A store that deletes whatever is there, as Ceph RGW 16 and rclone do."""

            def remove(self, removals, way, *, look_first, **how):
                current = [replace(r, object=self.real.stat(r.object.name) or r.object) for r in removals]
                yield from self.real.remove(removals if look_first else current, way, look_first=look_first, **how)

        account = scene.collect(store=Ignoring(scene.store))
        assert account.plan.look_first and account.document()["conditional"] is False
        assert account.tallies["deleted"].count == 1
        scene.leak("d")
        assert scene.collect().document()["conditional"] is True

    def test_none_is_left_behind(self, scene: Scene):
        scene.push("d")
        scene.leak("d")
        scene.put(f"_xcomctl/canary/live/{uuid4()}", LIVE)  # by a run that was killed
        account = scene.collect()
        assert account.tallies["listed"].count == 2
        assert not [url for url in scene.urls() if "_xcomctl" in url]
        assert not (scene.raw.path / BASE_FOLDER / "_xcomctl").exists()

    def test_a_base_path_that_cannot_be_written_to(self, scene: Scene):
        scene.push("d")
        scene.leak("d")

        class Closed(Around):
            def write(self, name: str, data: bytes) -> None:
                if name.startswith(scene.base.location.folder):
                    raise StorageError(f"cannot write {name}: AccessDenied")
                self.real.write(name, data)

        with pytest.raises(StorageError, match="canary") as caught:
            scene.collect(store=Closed(scene.store))
        assert "--allow canary" in str(caught.value.hint)
        account = scene.collect(replace(AT_ONCE, allow=frozenset({Gate.CANARY})), store=Closed(scene.store))
        assert account.tallies["deleted"].count == 1 and account.plan.look_first


class TestLimits:
    def test_too_many_would_go(self, scene: Scene):
        for number in range(3):
            scene.push("d", f"run {number}")
        scene.leak("d")
        scene.leak("d")
        refused(scene, Gate.MAX_DELETE, replace(AT_ONCE, max_delete=Limit(share=Fraction(1, 5))))
        scene.leak("d")
        scene.leak("d")
        refused(scene, Gate.MAX_DELETE, replace(AT_ONCE, max_delete=Limit(count=1)))

    def test_a_share_is_of_all_that_was_listed(self, scene: Scene):
        for number in range(4):
            scene.push("d", f"run {number}")
        orphan = scene.leak("d")
        account = scene.collect(replace(AT_ONCE, max_delete=Limit(share=Fraction(1, 5))))
        assert account.exit_code is ExitCode.OK and orphan not in scene.urls()

    def test_an_empty_base_path_is_nothing_to_do(self, scene: Scene):
        scene.world.push("d", "r", "t", value="1")
        (scene.raw.path / BASE_FOLDER).mkdir(parents=True)
        account = scene.collect()
        assert account.exit_code is ExitCode.OK and account.tallies["listed"].count == 0


def test_a_replica(store: Folder):
    """A standby may lack the newest rows."""
    orphan = f"{BASE_FOLDER}/d/r/t/{uuid4()}"
    store.put(orphan)

    def prepare(url: str) -> None:
        schemas.load(url, "3.3")
        with World(Database(url, "postgresql", "3.3")) as world:
            Scene(world.database, world, store).push("d")
        assert not open_catalog(url, None, None).database.is_replica()

    with postgres.standby(prepare) as server:
        database = Database(server.url, "postgresql", "3.3")
        with World(database) as world:
            account = Scene(database, world, store).collect()
    assert [refusal.gate for refusal in account.plan.refusals] == [Gate.REPLICA]
    assert account.exit_code is ExitCode.REFUSED and orphan in store.keys(BASE_FOLDER)


def test_every_gate_is_tested_here():
    text = Path(__file__).read_text(encoding="utf-8")
    here = {gate for gate in Gate if f"Gate.{gate.name}" in text.split("def test_every_gate")[0]}
    assert here == set(Gate)
