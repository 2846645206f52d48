"""What people who tried to make gc lose data found, each once."""

from __future__ import annotations

import json
import pickle
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from uuid import uuid4

import pytest

from tests.lab import s3
from tests.lab.database import Database
from tests.lab.folder import Folder
from tests.lab.world import World
from tests.operations.scene import AT_ONCE, Around, Scene
from xcomctl.backend.storage.local import LocalStore
from xcomctl.errors import ExitCode
from xcomctl.model import Deletion
from xcomctl.operations.gc import Gate

pytestmark = pytest.mark.stores("file")
URL = "file:///elsewhere/d/r/t/{leaf}"


@pytest.fixture
def scene(database: Database, world: World, store: s3.Bucket | Folder) -> Scene:
    return Scene(database, world, store)


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
    account.enter(Deletion(account.plan.deletable[0].object, error="timed out", unknown=True))
    assert account.exit_code is ExitCode.PARTIAL
