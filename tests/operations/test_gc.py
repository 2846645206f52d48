"""gc on real databases and stores: it deletes orphans, only orphans, and says what it did."""

from __future__ import annotations

import json
import pickle
import shutil
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.lab import s3
from tests.lab.database import Database, Databases
from tests.lab.folder import Folder
from tests.lab.world import World
from tests.operations.scene import AT_ONCE, BASE_FOLDER, Around, Scene
from xcomctl.backend.storage import open_store
from xcomctl.backend.storage.other import OtherStore
from xcomctl.errors import ExitCode, MetadataError, StorageError
from xcomctl.model import StoredObject
from xcomctl.operations.gc import Fate, Gate, batches

RUN = "manual__2026-01-02T03:04:05+00:00"


on_files = pytest.mark.stores("file")
on_one_database = pytest.mark.databases("sqlite-3.3")


def test_orphans_go_and_all_else_stays(scene: Scene):
    live = {scene.push("d", RUN, "t", -1, key) for key in ("a", "b")} | {scene.push("d", f"{RUN} x/y#?", "g.t", 3)}
    orphans = {scene.leak("d", "gone"), scene.leak("d", f"{RUN} [a*]", suffix=".gz")}
    strangers = {scene.put("readme.txt"), scene.put(f"d/{RUN}/t/_SUCCESS"), scene.put(f"{uuid4()}")}
    held = {scene.leak("never heard of")}
    outside = f"{scene.raw.url}/pre/xcom2/d/r/t/{uuid4()}"
    scene.raw.put(outside.removeprefix(f"{scene.raw.url}/"))
    account = scene.collect()
    assert scene.urls() == live | strangers | held
    assert {outside.removeprefix(f"{scene.raw.url}/")} <= scene.raw.keys("pre/xcom2/")
    counts = {name: tally.count for name, tally in account.tallies.items()}
    assert counts == {
        "listed": 9,
        "live": 3,
        "archived": 0,
        "young": 0,
        "unknown": 3,
        "excluded": 0,
        "held": 1,
        "candidates": 2,
        "marked": 0,
        "deletable": 2,
        "deleted": 2,
        "revived": 0,
        "vanished": 0,
        "healed": 0,
        "freed": 0,
    }
    assert account.tallies["deleted"].bytes == 6
    assert account.exit_code is ExitCode.OK and account.failures == []
    assert orphans & scene.urls() == set()
    again = scene.collect()
    assert again.tallies["deleted"].count == 0 and again.exit_code is ExitCode.OK


@on_files
def test_each_way_of_losing_a_row_leaves_an_orphan(scene: Scene):
    kept = scene.push("d", "kept")
    gone = scene.push("d", "deleted")
    scene.world.delete_run("d", "deleted")
    overwritten = scene.push("d", "rewritten")
    current = scene.push("d", "rewritten")
    removed = scene.push("d", "removed")
    scene.world.delete_xcom("d", "removed", "t", -1, "k")
    scene.collect()
    assert scene.urls() == {kept, current}
    assert {gone, overwritten, removed} & scene.urls() == set()


@on_files
def test_archives_of_db_clean_keep_their_objects(scene: Scene):
    archived = scene.push("d")
    scene.world.db_clean()
    live = scene.push("d", "later")
    orphan = scene.leak("d")
    account = scene.collect()
    assert scene.urls() == {archived, live} and orphan not in scene.urls()
    assert (account.tallies["live"].count, account.tallies["archived"].count) == (2, 1)
    scene.collect(replace(AT_ONCE, ignore_archives=True))
    assert scene.urls() == {live}


@on_files
@pytest.mark.databases("*-2.11")
def test_a_pickled_reference_keeps_its_object(scene: Scene):
    url = scene.leak("d")
    scene.world.push("d", "r", "t", value=pickle.dumps(url))
    scene.leak("d")
    scene.collect()
    assert scene.urls() == {url}


@on_files
@pytest.mark.databases("*-3.3", "*-3.4")
def test_state_stores_keep_their_objects(scene: Scene):
    live, task, asset = scene.push("d"), scene.leak("d"), scene.leak("d")
    scene.world.task_state("d", "r", "t", "k", json.dumps(task))
    scene.world.asset_state("a", "k", asset)
    scene.leak("d")
    scene.collect()
    assert scene.urls() == {live, task, asset}


@on_files
@pytest.mark.databases("*-3.4")
def test_the_objects_of_earlier_attempts_stay(scene: Scene):
    first = scene.push("d")
    scene.world.retry("d", "r", "t")
    orphan = scene.leak("d")
    account = scene.collect()
    assert scene.urls() == {first} and orphan not in scene.urls()
    assert account.tallies["live"].count == 1


@on_files
@pytest.mark.databases("*-3.4")
def test_a_name_that_may_be_written_again_waits_for_its_owner(scene: Scene):
    live = scene.push("d")
    now = datetime.now(timezone.utc)
    urls = {}
    for task_id, state, ended_at in (
        ("running", "running", None),
        ("just over", "success", now),
        ("long over", "success", now - timedelta(hours=2)),
    ):
        scene.world.task("d", "r", task_id, state=state, end_date=ended_at, updated_at=ended_at or now)
        owner = scene.world.attempt("d", "r", task_id)
        urls[task_id] = scene.put(f"d/r/{task_id}/ti-{owner}/return_value.json")
    gone = scene.put(f"d/r/t/ti-{uuid4()}/return_value.json.gz")
    fresh = scene.put(f"d/r/t/write-{uuid4()}/return_value.json")
    account = scene.collect()
    assert scene.urls() == {live, urls["running"], urls["just over"]}
    assert account.tallies["held"].count == 2
    assert {gone, fresh, urls["long over"]} & scene.urls() == set()


@on_files
@on_one_database
@pytest.mark.parametrize(
    "spelled",
    [
        "s3://conn@elsewhere/x/d/r/t/{leaf}",
        "file://other/d/r/t/{leaf}",
        "file:/mnt/xcom/d/../d/r/t/{leaf}",
        "gs://bucket//d//r//t//{leaf}",
        "just the name {leaf} in a sentence",
    ],
)
def test_no_spelling_hides_a_reference(scene: Scene, spelled):
    """Of the collectors' losses most began with two spellings of one path."""
    live, doubted = scene.push("d"), scene.leak("d")
    scene.world.push("d", "r", "t", key="odd", value=json.dumps(spelled.format(leaf=doubted[-36:])))
    scene.leak("d")
    scene.collect(replace(AT_ONCE, allow=frozenset({Gate.TWO_SPELLINGS})))
    assert scene.urls() == {live, doubted}


@on_files
@on_one_database
def test_only_old_objects_go(scene: Scene):
    live = scene.push("d")
    old, young = scene.leak("d"), scene.leak("d")
    for url, days in ((live, 20), (old, 8), (young, 6)):
        scene.age(url, days)
    account = scene.collect(replace(AT_ONCE, older_than=timedelta(days=7)))
    assert scene.urls() == {live, young}
    assert account.tallies["young"].count == 1


@on_files
@on_one_database
def test_without_a_single_pass_nothing_is_deletable(scene: Scene):
    urls = {scene.push("d"), scene.leak("d")}
    account = scene.collect(replace(AT_ONCE, single_pass=False))
    assert scene.urls() == urls
    assert account.tallies["candidates"].count == 1 and account.tallies["deletable"].count == 0


@on_files
@on_one_database
def test_candidates_are_narrowed_by_their_dag(scene: Scene):
    live = {scene.push(dag_id) for dag_id in ("etl_a", "etl_b", "ml")}
    orphans = {dag_id: scene.leak(dag_id) for dag_id in ("etl_a", "etl_b", "ml")}
    account = scene.collect(replace(AT_ONCE, dag_ids=("etl_*",), exclude_dag_ids=("*_b",)))
    assert scene.urls() == live | {orphans["etl_b"], orphans["ml"]}
    assert account.tallies["excluded"].count == 2


@on_files
@on_one_database
def test_dags_that_no_database_knows_are_held_until_they_are_named(scene: Scene):
    live, held, other = scene.push("d"), scene.leak("old_dag"), scene.leak("other team's")
    scene.collect()
    assert scene.urls() == {live, held, other}
    account = scene.collect(replace(AT_ONCE, include_unknown_dags=("old_*",)))
    assert scene.urls() == {live, other} and account.tallies["held"].count == 1


@on_files
def test_two_deployments_on_one_base_path_are_given_together(scene: Scene, databases: Databases):
    mine = scene.push("d")
    with databases.fresh("sqlite-2.11") as database, World(database) as world:
        other = Scene(database, world, scene.raw)
        theirs = other.push("d", "their run")
        scene.leak("d")
        catalogs = [scene.catalog, other.catalog]
        scene.collect(catalogs=catalogs)
    assert scene.urls() == {mine, theirs}


@on_one_database
@on_files
def test_a_store_without_safe_deletes_is_only_looked_at(scene: Scene):
    import fsspec

    memory = fsspec.filesystem("memory", skip_instance_cache=True)
    base = scene.base
    live = f"d/r/t/{uuid4()}"
    for name in (live, f"d/r/t/{uuid4()}"):
        memory.pipe(f"{base.location.folder}{name}".lstrip("/"), b"x")
    scene.world.push("d", "r", "t", value=json.dumps(f"{base.text}/{live}"))
    store = OtherStore("", memory)
    rooted = _Rooted(store)
    looked = scene.plan(replace(AT_ONCE, dry_run=True), store=rooted)
    assert len(looked.deletable) == 1 and looked.refusals == ()
    refused = scene.plan(store=rooted)
    assert [refusal.gate for refusal in refused.refusals] == [Gate.STORE_KIND]


class _Rooted(Around):
    """A memory file system's names, as absolute as those of files."""

    def objects(self, prefix):
        for found in self.real.objects(prefix.lstrip("/")):
            yield replace(found, name="/" + found.name)


def test_a_row_that_appears_after_the_plan_keeps_its_object(scene: Scene):
    live, orphan, revived = scene.push("d"), scene.leak("d"), scene.leak("d", RUN, "t")
    account = scene.planned()
    scene.world.push("d", RUN, "t", value=json.dumps(revived))
    list(scene.run(account))
    assert scene.urls() == {live, revived} and orphan not in scene.urls()
    assert (account.tallies["deleted"].count, account.tallies["revived"].count) == (1, 1)
    assert account.exit_code is ExitCode.OK


@on_files
@on_one_database
def test_every_batch_is_looked_up_again(scene: Scene, monkeypatch):
    monkeypatch.setattr(batches, "BATCH", 2)
    live = scene.push("d")
    orphans = [scene.leak("d", f"run {number}") for number in range(5)]
    account = scene.planned()
    outcomes = scene.run(account)
    first = next(outcomes)
    left = sorted(scene.urls() - {live, f"file://{first.object.name}"})
    for url in left:
        dag_id, run_id, task_id, _ = url.removeprefix(f"{scene.base.text}/").split("/")
        scene.world.push(dag_id, run_id, task_id, value=json.dumps(url))
    list(outcomes)
    assert account.tallies["deleted"].count + account.tallies["revived"].count == len(orphans)
    assert account.tallies["revived"].count >= 3


@on_files
@on_one_database
def test_an_object_that_changed_after_the_listing_is_kept(scene: Scene):
    live, changed = scene.push("d"), scene.leak("d")
    account = scene.planned()
    scene.put(changed.removeprefix(f"{scene.base.text}/"), b"another value")
    list(scene.run(account))
    assert scene.urls() == {live, changed}
    assert account.tallies["revived"].count == 1


@on_files
@on_one_database
def test_a_listing_that_breaks_off_deletes_nothing(scene: Scene):
    urls = {scene.push("d"), scene.leak("d")}
    shutil.move(str(scene.raw.path / BASE_FOLDER), str(scene.raw.path / "moved"))
    with pytest.raises(StorageError):
        scene.collect()
    shutil.move(str(scene.raw.path / "moved"), str(scene.raw.path / BASE_FOLDER))
    assert scene.urls() == urls


@on_files
@on_one_database
def test_a_database_that_fails_before_the_first_delete_is_an_error(scene: Scene):
    urls = {scene.push("d"), scene.leak("d")}
    account, catalogs = scene.planned(), [scene.catalog]
    scene.world.sql("DROP TABLE xcom")
    with pytest.raises(MetadataError):
        list(scene.run(account, catalogs))
    assert scene.urls() == urls


@on_files
@on_one_database
def test_a_run_that_breaks_off_half_way_is_partial(scene: Scene, monkeypatch):
    monkeypatch.setattr(batches, "BATCH", 2)
    live = scene.push("d")
    for number in range(5):
        scene.leak("d", f"run {number}")
    account = scene.planned()
    outcomes = scene.run(account)
    next(outcomes)
    scene.world.sql("ALTER TABLE xcom RENAME TO hidden")
    list(outcomes)
    scene.world.sql("ALTER TABLE hidden RENAME TO xcom")
    assert account.exit_code is ExitCode.PARTIAL
    assert [failure["code"] for failure in account.failures] == ["broke_off"]
    assert account.tallies["deleted"].count == 2 and live in scene.urls() and len(scene.urls()) == 4
    assert scene.collect().exit_code is ExitCode.OK
    assert scene.urls() == {live}


@pytest.mark.stores("ministack")
@on_one_database
def test_per_key_refusals_are_named_and_counted(scene: Scene):
    live, stuck, gone = scene.push("d"), scene.leak("d"), scene.leak("d")
    account = scene.planned()
    name = stuck.removeprefix(f"{scene.raw.url}/")

    class Denying(Around):
        """The real store, told of an object whose deletion its owner forbids."""

        def remove(self, removals, way, *, look_first, **how):
            allowed = [removal for removal in removals if removal.object.name != name]
            yield from self.real.remove(allowed, way, look_first=look_first, **how)
            yield from (replace_error(removal.object) for removal in removals if removal.object.name == name)

    list(scene.run(account, store=Denying(scene.store)))
    assert scene.urls() == {live, stuck} and gone not in scene.urls()
    assert account.exit_code is ExitCode.PARTIAL
    assert account.failures == [{"code": "delete_failed", "url": stuck, "message": "AccessDenied: Access Denied"}]
    assert account.document()["status"] == "partial"


@pytest.mark.stores("seaweedfs")
@on_one_database
def test_a_store_that_refuses_every_delete_is_a_storage_error(scene: Scene):
    urls = {scene.push("d"), scene.leak("d"), scene.leak("d")}
    account = scene.planned()
    denied = open_store(scene.base, {**scene.raw.options, "secret": "guessed"})
    with pytest.raises(StorageError):
        list(scene.run(account, store=denied))
    account = scene.planned()
    stuck = _Refusing(scene.store, denied)
    list(scene.run(account, store=stuck))
    assert (account.exit_code, account.document()["status"]) == (ExitCode.STORAGE, "error")
    assert len(account.failures) == 2 and scene.urls() == urls


class _Refusing(Around):
    """A store that may be looked at, but whose credentials do not cover deletion."""

    def __init__(self, real, denied):
        super().__init__(real)
        self.remove = denied.remove


def replace_error(found: StoredObject):
    from xcomctl.model import Deletion

    return Deletion(found, error="AccessDenied: Access Denied")


ids = st.sampled_from(["d1", "d2"])
kinds = st.sampled_from(["live", "orphan", "young", "unknown", "held", "doubled", "archived"])


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(kinds, ids, st.integers(0, 3)), max_size=25))
@pytest.mark.databases("sqlite-2.11", "sqlite-3.3", "sqlite-3.4")
@on_files
def test_in_any_world_exactly_the_orphans_go(database: Database, databases: Databases, tmp_path: Path, things):
    folder = Folder(tmp_path / uuid4().hex)
    (folder.path / BASE_FOLDER).mkdir(parents=True)
    with databases.fresh(f"sqlite-{database.label}") as fresh, World(fresh) as world:
        scene = Scene(fresh, world, folder)
        world.dag("d1")
        world.dag("d2")
        expected = {scene.push("d1", "anchor")}
        for number, (kind, dag_id, run) in enumerate(things):
            expected |= _made(scene, kind, dag_id, f"run {run}", f"k{number}")
        account = scene.collect(replace(AT_ONCE, older_than=timedelta(days=1)))
        assert not account.plan.refusals
        assert scene.urls() == expected


def _made(scene: Scene, kind: str, dag_id: str, run_id: str, key: str) -> set[str]:
    """One thing of a kind, and what of it must still be there afterwards."""
    if kind == "live":
        return {scene.push(dag_id, run_id, "t", -1, key)}
    if kind == "unknown":
        return {scene.put(f"{dag_id}/{run_id}/{key}.parquet")}
    url = scene.leak("unheard of" if kind == "held" else dag_id, run_id)
    if kind != "young":
        scene.age(url, 2)
    if kind == "doubled":
        scene.world.push(dag_id, run_id, "t", -1, key, value=json.dumps(json.dumps(url)))
    if kind == "archived":
        scene.world.push(dag_id, run_id, "t", -1, key, value=json.dumps(url))
        scene.world.db_clean(suffix=key)
        scene.world.push("d1", "anchor", "t", -1, f"again {key}", value=json.dumps(url))
    return set() if kind == "orphan" else {url}


def test_the_listing_comes_first_and_the_rows_second(database: Database, world: World, store: s3.Bucket | Folder):
    """An object and its row that appear while the listing runs must both be seen, or neither."""
    scene = Scene(database, world, store)
    scene.push("d")
    late = scene.leak("d", RUN, "late")

    class Slow(Around):
        def objects(self, prefix):
            yield from self.real.objects(prefix)
            scene.world.push("d", RUN, "late", value=json.dumps(late))

    plan = scene.plan(store=Slow(scene.store))
    assert not plan.deletable and plan.fates[Fate.LIVE].count == 2
