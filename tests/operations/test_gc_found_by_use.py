"""What people who tried to make gc lose data found, each once."""

from __future__ import annotations

import json
import pickle
import shutil
import time
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from uuid import uuid4

import pytest

from tests.lab import s3
from tests.lab.database import Database, Databases
from tests.lab.folder import Folder
from tests.lab.world import World
from tests.operations.scene import AT_ONCE, BASE_FOLDER, Around, Scene
from xcomctl.backend.reference import Address, parse_base
from xcomctl.backend.storage.local import LocalStore
from xcomctl.catalog import open_catalog
from xcomctl.errors import ExitCode
from xcomctl.ledger.claim import Claim, write_claim
from xcomctl.model import Deletion
from xcomctl.operations.gc import Gate, Limit, collecting

pytestmark = pytest.mark.stores("file")
URL = "file:///elsewhere/d/r/t/{leaf}"


def test_an_archive_that_is_made_while_gc_runs_keeps_its_objects(scene: Scene):
    """`airflow db clean` may move rows into a new table after gc has looked which tables there are."""
    live, archived = scene.push("d"), scene.push("d", "old")
    scene.leak("d")

    class Slow(Around):
        def objects(self, prefix):
            yield from self.real.objects(prefix)
            scene.world.db_clean()
            scene.world.push("d", "r", "t", key="again", value=json.dumps(live))

    catalog = scene.catalog
    account = scene.planned(catalogs=[catalog], store=Slow(scene.store))
    list(scene.run(account, [catalog]))
    assert scene.urls() == {live, archived}
    assert account.exit_code is ExitCode.OK and account.tallies["deleted"].count == 1


FORMS = {
    "within a list": lambda url: json.dumps([1, url]),
    "within a dict": lambda url: json.dumps({"a": {"b": url}}),
    "a key": lambda url: json.dumps({url: 1}),
    "double-encoded dict": lambda url: json.dumps(json.dumps({"a": url})),
    "a sentence": lambda url: json.dumps(f"see {url}, please"),
}
BYTES = {
    "no JSON at all": lambda url: url.encode(),
    "JSON cut short": lambda url: f'{{"a": "{url}'.encode(),
    "JSON after blanks": lambda url: f'  \n"{url}"'.encode(),
    **{f"pickle {n}": (lambda url, n=n: pickle.dumps({"a": [url]}, protocol=n)) for n in range(6)},
}


def test_a_reference_counts_in_whatever_form_it_is(scene: Scene):
    forms = {**FORMS, **(BYTES if scene.database.label == "2.11" else {})}
    kept = {scene.push("d")}
    for key, form in forms.items():
        url = scene.leak("d", key)
        kept.add(url)
        scene.world.push("d", "r", "t", key=key, value=form(url))
    scene.leak("d")
    scene.collect()
    assert scene.urls() == kept


@pytest.mark.databases("*-3.4")
def test_a_reused_name_counts_within_other_values(scene: Scene):
    kept = {scene.push("d")}
    for number in range(2):
        url = scene.put(f"d/r/t/ti-{uuid4()}/k{number}.json.gz")
        kept.add(url)
        value = {"a": url, "b": "other.json", "c": [url]}
        scene.world.push("d", "r", "t", key=f"k{number}", value=json.dumps(value))
    scene.put(f"d/r/t/ti-{uuid4()}/k.json")
    scene.collect()
    assert scene.urls() == kept


@pytest.mark.databases("sqlite-3.3", "mysql-3.3", "sqlite-2.11", "postgresql-2.11", "postgresql-3.3", "mysql-2.11")
def test_a_reference_as_long_as_a_path_can_be(scene: Scene):
    """JSON spells a letter of two bytes in six: a path of 4096 bytes may take 12,000 in its row."""
    live = scene.push("d")
    doubted = scene.leak("d")
    long = "file:///" + "/".join("\u00e9" * 120 for _ in range(15)) + "/" + doubted[-36:]
    scene.world.push("d", "r", "t", key="long", value=json.dumps(long))
    scene.leak("d")
    scene.collect(replace(AT_ONCE, allow=frozenset({Gate.TWO_SPELLINGS})))
    assert scene.urls() == {live, doubted}


@pytest.mark.databases("sqlite-3.3")
def test_the_state_store_in_the_same_folder_is_left_alone(scene: Scene):
    """Its objects lie below a map index, and nothing but their own row knows them."""
    live = scene.push("d")
    states = {scene.put(f"d/r/t/{index}/{uuid4()}") for index in (-1, 0, 12)}
    scene.leak("d")
    scene.collect()
    assert scene.urls() == {live} | states


@pytest.mark.databases("sqlite-3.3", "sqlite-3.4", "mysql-3.4")
def test_a_table_that_should_be_there_is_missed(scene: Scene):
    """MySQL hides the tables that a user has no grant on."""
    scene.push("d")
    scene.leak("d")
    scene.world.sql(f"DROP TABLE {'xcom_v1' if scene.database.label == '3.4' else 'task_state_store'}")
    before = scene.urls()
    account = scene.collect()
    assert [refusal.gate for refusal in account.plan.refusals] == [Gate.MISSING_TABLE]
    assert scene.urls() == before


@pytest.mark.databases("sqlite-3.3", "postgresql-3.3", "mysql-3.3", "sqlite-3.4")
@pytest.mark.parametrize("cleaned", ["task_state_store", "asset_state_store"])
def test_what_db_clean_archives_of_the_state_stores_keeps_its_objects(scene: Scene, cleaned: str):
    live, state = scene.push("d"), scene.leak("d")
    if cleaned == "task_state_store":
        scene.world.task_state("d", "r", "t", "k", json.dumps(state))
    else:
        scene.world.asset_state("a", "k", state)
    scene.world.sql(f"CREATE TABLE _airflow_deleted__{cleaned}__20260203040506 AS SELECT * FROM {cleaned}")
    scene.world.sql(f"DELETE FROM {cleaned}")
    scene.leak("d")
    account = scene.collect()
    assert scene.urls() == {live, state} and account.tallies["archived"].count == 1


@pytest.mark.databases("*-2.11")
def test_an_archived_pickle_keeps_its_object(scene: Scene):
    """On SQLite an archive has lost the type of its columns, and a pickle may hold zero bytes."""
    pickled = {scene.leak("d", f"r{protocol}") for protocol in range(6)}
    for protocol, url in enumerate(sorted(pickled)):
        scene.world.push("d", f"p{protocol}", "t", value=pickle.dumps({"a": [url]}, protocol=protocol))
    assert scene.world.db_clean()
    live = scene.push("d", "later")
    scene.leak("d")
    scene.collect()
    assert scene.urls() == {live} | pickled


@pytest.mark.databases("sqlite-3.3-upgraded", "postgresql-3.3-upgraded")
def test_the_archive_of_an_archive_keeps_its_objects(scene: Scene):
    """`airflow db clean` archives `_xcom_archive` too, under a name with three underscores."""
    live, pickled = scene.push("d"), scene.leak("d")
    scene.world.archive_pickle("d", "r", "t", pickle.dumps(pickled))
    scene.world.sql("CREATE TABLE _airflow_deleted___xcom_archive__20260203040506 AS SELECT * FROM _xcom_archive")
    scene.world.sql("DELETE FROM _xcom_archive")
    scene.leak("d")
    account = scene.collect()
    assert account.plan.refusals == () and scene.urls() == {live, pickled}


@pytest.mark.databases("sqlite-3.3", "postgresql-3.3", "mysql-3.3")
def test_clocks_that_differ_are_refused(scene: Scene):
    scene.push("d")
    scene.leak("d")

    class Ahead(LocalStore):
        def now(self, prefix):
            return datetime.now(timezone.utc) + timedelta(days=30)

    plan = scene.plan(store=Ahead())
    assert {refusal.gate for refusal in plan.refusals} == {Gate.CLOCK}
    assert scene.plan().refusals == ()


@pytest.mark.databases("sqlite-3.3")
def test_what_others_have_deleted_is_not_counted_as_ours(scene: Scene):
    scene.push("d")
    gone, ours = scene.leak("d"), scene.leak("d")
    account = scene.planned()
    scene.raw.delete(gone.removeprefix(f"{scene.raw.url}/"))
    list(scene.run(account))
    assert (account.tallies["deleted"].count, account.tallies["vanished"].count) == (1, 1)
    assert ours not in scene.urls() and account.exit_code is ExitCode.OK


@pytest.mark.databases("sqlite-3.3")
def test_an_answer_that_is_lost_is_not_taken_for_nothing_changed(scene: Scene):
    scene.push("d")
    scene.leak("d")
    account = scene.planned()
    account.enter(Deletion(next(iter(account.plan.deletable)).object, error="timed out", unknown=True))
    assert account.exit_code is ExitCode.PARTIAL


@pytest.mark.databases("postgresql-3.3")
@pytest.mark.parametrize("first", ["public", "mine"])
def test_a_copy_of_xcom_in_another_schema_is_not_taken_for_it(scene: Scene, first: str):
    """An analyst's copy that comes first on the search path, or Airflow in a schema that is not on it."""
    copied, newer = scene.push("d"), None
    role = f"reader_{uuid4().hex[:8]}"
    for statement in (
        f"CREATE ROLE {role} LOGIN",
        f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {role}",
        f"CREATE SCHEMA {role} AUTHORIZATION {role}",
        f"CREATE TABLE {role}.xcom AS SELECT * FROM public.xcom",
        f"ALTER TABLE {role}.xcom OWNER TO {role}",
        f"ALTER ROLE {role} SET search_path = {'public' if first == 'public' else role + ', public'}",
    ):
        scene.world.sql(statement)
    try:
        newer = scene.push("d", "since the copy")
        url = scene.database.url.replace("postgres:@", f"{role}:@").replace("postgres@", f"{role}@")
        account = scene.collect(catalogs=[open_catalog(url, None, scene.base)])
        assert [refusal.gate for refusal in account.plan.refusals] == [Gate.UNKNOWN_TABLE]
        assert f"{role}.xcom" in account.plan.refusals[0].message
        said = scene.collect(catalogs=[open_catalog(url, "public", scene.base)])
        assert said.exit_code is ExitCode.OK and said.tallies["live"].count == 2
    finally:
        scene.world.sql(f"DROP OWNED BY {role} CASCADE")
        scene.world.sql(f"DROP ROLE {role}")
    assert scene.urls() == {copied, newer}


@pytest.mark.databases("postgresql-3.3")
@pytest.mark.parametrize("name", ["_airflow_deleted__xcom__20260101", "_XCom_Old"])
def test_an_archive_that_was_moved_to_another_schema_is_seen(scene: Scene, name: str):
    live = scene.push("d")
    scene.leak("d")
    elsewhere = f"archive_{uuid4().hex[:8]}"
    scene.world.sql(f"CREATE SCHEMA {elsewhere}")
    try:
        scene.world.sql(f'CREATE TABLE {elsewhere}."{name}" AS SELECT * FROM xcom')
        account = scene.collect()
        assert [refusal.gate for refusal in account.plan.refusals] == [Gate.UNKNOWN_TABLE]
        assert f"{elsewhere}.{name}; --db-schema says which" in account.plan.refusals[0].message
    finally:
        scene.world.sql(f"DROP SCHEMA {elsewhere} CASCADE")
    assert scene.collect().exit_code is ExitCode.OK and scene.urls() == {live}


@pytest.mark.databases("sqlite-3.3", "postgresql-3.3", "mysql-3.3")
@pytest.mark.parametrize("name", ["_airflow_deleted__xcom__1", "xcom_old", "_airflow_deleted__task_state_store__1"])
def test_an_archive_that_is_a_view_is_a_table_that_may_hold_references(scene: Scene, name: str):
    live, archived = scene.push("d"), scene.push("d", "archived")
    kind = "MATERIALIZED VIEW" if scene.database.dialect == "postgresql" else "VIEW"
    scene.world.sql("CREATE TABLE hidden AS SELECT * FROM xcom")
    try:
        scene.world.sql(f"CREATE {kind} {name} AS SELECT * FROM hidden")
        scene.world.delete_run("d", "archived")
        scene.leak("d")
        account = scene.collect()
        assert [refusal.gate for refusal in account.plan.refusals] == [Gate.UNKNOWN_TABLE]
        scene.collect(replace(AT_ONCE, allow=frozenset({Gate.UNKNOWN_TABLE})))
        assert scene.urls() == {live, archived}
    finally:
        scene.world.sql(f"DROP {kind} {name}")
        scene.world.sql("DROP TABLE hidden")


@pytest.mark.databases("sqlite-3.3")
@pytest.mark.parametrize("inner", ["d", "inner/deep"])
def test_one_base_path_within_another(scene: Scene, databases: Databases, inner: str):
    """The claim of the inner one's gc lies in plain sight of the outer one's, and the other way round."""
    outer = scene.push("d", "r")
    with databases.fresh("sqlite-3.3") as database, World(database) as world:
        nested = Nested(database, world, scene.raw, inner)
        theirs = nested.push("e", "their run")
        assert nested.collect().exit_code is ExitCode.OK
        account = scene.collect()
        assert [refusal.gate for refusal in account.plan.refusals] == [Gate.FOREIGN_CLAIM]
        if inner != "d":  # where the DAG that its name looks like is none, its objects are held even then
            scene.collect(replace(AT_ONCE, allow=frozenset({Gate.FOREIGN_CLAIM})))
        scene.collect()
        write_claim(scene.scope().control, Claim(scene.base.location.url, ()), datetime.now(timezone.utc))
        assert [refusal.gate for refusal in nested.collect().plan.refusals] == [Gate.FOREIGN_CLAIM]
    assert {outer, theirs} <= scene.urls()


class Nested(Scene):
    """A deployment whose base path lies within that of another."""

    def __init__(self, database: Database, world: World, raw: s3.Bucket | Folder, inner: str) -> None:
        super().__init__(database, world, raw)
        self.inner = inner

    @property
    def base(self) -> Address:
        base = parse_base(f"{self.raw.url}/{BASE_FOLDER}/{self.inner}")
        assert base is not None
        return base

    def put(self, name: str, body: bytes = b"[1]") -> str:
        self.raw.put(f"{BASE_FOLDER}/{self.inner}/{name}", body)
        return f"{self.base.text}/{name}"


@pytest.mark.databases("sqlite-3.3")
def test_a_dag_that_is_called_as_the_canaries_folder(scene: Scene):
    live = scene.push("_xcomctl", "canary", "live")
    other = scene.push("d")
    scene.leak("d")
    for rules in (AT_ONCE, replace(AT_ONCE, max_delete=Limit(count=0)), AT_ONCE):
        scene.collect(rules)
    assert {live, other} <= scene.urls()


@pytest.mark.databases("sqlite-3.3")
def test_what_is_referred_to_while_a_person_thinks_is_kept(scene: Scene):
    """The rows are read again after the question, all of them: not only those of the same task."""
    live, orphan, gone = scene.push("d"), scene.leak("d", "r", "t"), scene.leak("d", "r", "t")
    with collecting(scene.scope(), AT_ONCE) as collection:
        scene.world.push("another", "run", "task", value=json.dumps({"see": orphan}))
        collection.look_again()
        list(collection.carry_out())
    assert scene.urls() == {live, orphan} and gone not in scene.urls()


@pytest.mark.databases("sqlite-3.3")
@pytest.mark.parametrize("young", [0, 1])
def test_a_base_path_that_was_emptied_is_not_success(scene: Scene, young: int):
    """The mount point of a volume that is not mounted."""
    scene.push("d")
    shutil.rmtree(scene.raw.path / BASE_FOLDER)
    (scene.raw.path / BASE_FOLDER).mkdir(parents=True)
    for _ in range(young):
        scene.leak("d")
    account = scene.collect(replace(AT_ONCE, older_than=timedelta(days=7)))
    assert [refusal.gate for refusal in account.plan.refusals] == [Gate.NO_OVERLAP]


@pytest.mark.databases("sqlite-3.3")
@pytest.mark.stores("ministack")
def test_the_same_bytes_written_again_are_seen_anew(scene: Scene):
    """Equal bytes have an equal ETag, so a mark also knows when its object was written."""
    scene.push("d")
    orphan = scene.leak("d")
    twice = replace(AT_ONCE, single_pass=False, confirm_after=timedelta(seconds=-5))
    assert scene.collect(twice).tallies["marked"].count == 1
    time.sleep(1.1)
    scene.put(orphan.removeprefix(f"{scene.base.text}/"))
    assert scene.collect(twice).tallies["deletable"].count == 0
    assert scene.collect(twice).tallies["deleted"].count == 1
