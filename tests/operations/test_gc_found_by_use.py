"""What people who tried to make gc lose data found, each once."""

from __future__ import annotations

import json
import pickle
from datetime import datetime, timedelta, timezone
from uuid import uuid4

import pytest

from tests.lab import s3
from tests.lab.database import Database
from tests.lab.folder import Folder
from tests.lab.world import World
from tests.operations.scene import AT_ONCE, Scene
from xcomctl.backend.storage.local import LocalStore
from xcomctl.errors import ExitCode
from xcomctl.model import Deletion
from xcomctl.operations.gc import Account, Gate, make_plan, run

pytestmark = pytest.mark.stores("file")
URL = "file:///elsewhere/d/r/t/{leaf}"


@pytest.fixture
def scene(database: Database, world: World, store: s3.Bucket | Folder) -> Scene:
    return Scene(database, world, store)


def test_an_archive_that_is_made_while_gc_runs_keeps_its_objects(scene: Scene):
    """`airflow db clean` may move rows into a new table after gc has looked which tables there are."""
    live, archived = scene.push("d"), scene.push("d", "old")
    scene.leak("d")
    real = scene.store

    class Slow:
        def __getattr__(self, attribute):
            return getattr(real, attribute)

        def objects(self, prefix):
            yield from real.objects(prefix)
            scene.world.db_clean()
            scene.world.push("d", "r", "t", key="again", value=json.dumps(live))

    catalog = scene.catalog
    account = Account(make_plan([catalog], Slow(), scene.base, AT_ONCE), "operation")
    list(run(account, [catalog], real))
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
    scene.collect()
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


@pytest.mark.databases("mysql-3.3")
def test_a_replica_is_refused(scene: Scene):
    scene.push("d")
    scene.leak("d")
    assert not scene.catalog.is_replica()
    catalog = scene.catalog
    catalog.is_replica = lambda: True  # no second server runs here: that a real one is told apart is not shown
    plan = make_plan([catalog], scene.store, scene.base, AT_ONCE)
    assert [refusal.gate for refusal in plan.refusals] == [Gate.REPLICA]


@pytest.mark.databases("sqlite-3.3", "postgresql-3.3", "mysql-3.3")
def test_clocks_that_differ_are_refused(scene: Scene):
    scene.push("d")
    scene.leak("d")

    class Ahead(LocalStore):
        def now(self, prefix):
            return datetime.now(timezone.utc) + timedelta(days=30)

    plan = make_plan([scene.catalog], Ahead(), scene.base, AT_ONCE)
    assert {refusal.gate for refusal in plan.refusals} == {Gate.CLOCK}
    assert scene.plan().refusals == ()


@pytest.mark.databases("sqlite-3.3")
def test_what_others_have_deleted_is_not_counted_as_ours(scene: Scene):
    scene.push("d")
    gone, ours = scene.leak("d"), scene.leak("d")
    account = Account(scene.plan(), "operation")
    scene.raw.delete(gone.removeprefix(f"{scene.raw.url}/"))
    list(run(account, [scene.catalog], scene.store))
    assert (account.tallies["deleted"].count, account.tallies["vanished"].count) == (1, 1)
    assert ours not in scene.urls() and account.exit_code is ExitCode.OK


@pytest.mark.databases("sqlite-3.3")
def test_an_answer_that_is_lost_is_not_taken_for_nothing_changed(scene: Scene):
    scene.push("d")
    scene.leak("d")
    account = Account(scene.plan(), "operation")
    account.enter(Deletion(account.plan.deletable[0], error="timed out", unknown=True))
    assert account.exit_code is ExitCode.PARTIAL
