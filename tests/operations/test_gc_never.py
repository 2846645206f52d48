"""Collectors have lost people's data before. Each test is one such loss as it would look here, and does not happen."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from uuid import uuid4

import pytest

from tests.lab.database import Databases
from tests.lab.world import World
from tests.operations.scene import AT_ONCE, BASE_FOLDER, Around, Scene
from xcomctl.backend.storage import open_store
from xcomctl.errors import ExitCode
from xcomctl.model import StoredObject
from xcomctl.operations.gc import Fate, Gate, Rules

pytestmark = [pytest.mark.databases("sqlite-3.3"), pytest.mark.stores("file")]

TWICE = Rules(older_than=timedelta(days=3), confirm_after=timedelta(seconds=-2), max_delete=AT_ONCE.max_delete)
"""Two sightings, without the time between them."""


def old(scene: Scene, url: str) -> str:
    scene.age(url, 30)
    return url


class Interfering(Around):
    """The real store, with something that happens once after its listing."""

    def __init__(self, scene: Scene, happens) -> None:
        super().__init__(scene.store)
        self._happens = happens

    def objects(self, prefix: str) -> Iterator[StoredObject]:
        yield from self.real.objects(prefix)
        if prefix.endswith(f"{BASE_FOLDER}/"):
            self._happens()
            self._happens = lambda: None


def test_two_catalogues_on_one_prefix(scene: Scene, databases: Databases):
    """apache/iceberg#17213: each of two tables took the other's files for orphans, over 100 tables were lost.

    The other deployment was never declared: DAGs that this one does not know are held, and what it does know must be
    seen twice; as soon as both have run once, the claim stands between them.
    """
    mine = old(scene, scene.push("mine"))
    with databases.fresh("sqlite-2.11") as database, World(database) as world:
        other = Scene(database, world, scene.raw)
        theirs = {old(other, other.push(dag_id, "their run")) for dag_id in ("theirs", "mine")}
        assert scene.collect(TWICE).tallies["held"].count == 1
        account = other.collect(TWICE)
        assert [refusal.gate for refusal in account.plan.refusals] == [Gate.FOREIGN_CLAIM]
        together = [scene.catalog, other.catalog]
        assert scene.collect(TWICE, together).exit_code is ExitCode.OK
        assert scene.collect(TWICE, together).tallies["deleted"].count == 0
        assert [r.gate for r in scene.collect(TWICE).plan.refusals] == [Gate.FOREIGN_CLAIM]
    assert scene.urls() == {mine} | theirs


def test_a_sibling_whose_name_begins_alike(scene: Scene):
    """apache/iceberg PR #17448: `startsWith` without the slash at the end also matched the sibling table."""
    siblings = {f"{scene.raw.url}/pre/{name}/d/r/t/{uuid4()}" for name in ("xcom2", "xcom-old", "xcom.bak", "xco")}
    for url in siblings:
        scene.raw.put(url.removeprefix(f"{scene.raw.url}/"))
        scene.age(url, 30)
    live, orphan = old(scene, scene.push("d")), old(scene, scene.leak("d"))
    for _ in range(2):
        account = scene.collect(TWICE)
    assert account.tallies["listed"].count == 2 and orphan not in scene.urls()
    assert {f"{scene.raw.url}/{key}" for key in scene.raw.keys("pre/xc")} == siblings | {live}


@pytest.mark.parametrize(
    "spelled",
    [
        "s3a://b/x/{rest}",
        "file://conn@{rest}",
        "sftp://c@{rest}",
        "x-own:///{rest}",
        "{rest}",
        "//{rest}",
        "FILE:///{rest}",
    ],
)
def test_another_authority_or_a_relative_path(scene: Scene, spelled: str):
    """Iceberg's documentation: a changed authority "will lead to data loss"; treeverse/lakeFS#4658: relative addresses
    were compared with absolute ones, and live objects were marked."""
    anchor, live = old(scene, scene.push("d")), old(scene, scene.leak("d"))
    rest = live.removeprefix(f"{scene.base.text}/")
    scene.world.push("d", "r", "t", key="odd", value=json.dumps(spelled.format(rest=rest)))
    old(scene, scene.leak("d"))
    for allow in (frozenset(), frozenset({Gate.TWO_SPELLINGS})):
        for _ in range(2):
            scene.collect(replace(TWICE, allow=allow))
            assert {anchor, live} <= scene.urls()


def test_a_write_that_is_not_committed_yet(scene: Scene):
    """delta-io/delta-rs f1727c903: vacuum deleted files whose transaction was still to come."""
    anchor, uploaded = old(scene, scene.push("d")), scene.leak("d")
    for _ in range(2):
        assert scene.collect(TWICE).tallies["young"].count == 1
    scene.world.push("d", "r", "late", value=json.dumps(uploaded))
    assert scene.urls() == {anchor, uploaded}


def test_a_write_that_looks_old_and_is_not_committed_yet(scene: Scene):
    """A multipart upload is dated from its start, and a clock may be wrong: the second sighting needs neither."""
    anchor, uploaded = old(scene, scene.push("d")), old(scene, scene.leak("d"))
    assert scene.collect(TWICE).tallies["marked"].count == 1
    scene.world.push("d", "r", "late", value=json.dumps(uploaded))
    account = scene.collect(TWICE)
    assert (account.tallies["revived"].count, account.tallies["deleted"].count) == (1, 0)
    assert scene.urls() == {anchor, uploaded}


def test_a_row_that_is_committed_while_gc_reads(scene: Scene):
    """Listing and rows are not one moment: what is written between them must not look unreferenced."""
    anchor, orphan = old(scene, scene.push("d")), old(scene, scene.leak("d"))
    scene.collect(TWICE)

    def commit() -> None:
        scene.world.push("d", "r", "late", value=json.dumps(orphan))

    account = scene.collect(TWICE, store=Interfering(scene, commit))
    assert account.tallies["deleted"].count == 0 and scene.urls() == {anchor, orphan}


def test_an_old_object_is_let_go_while_somebody_reads_it(scene: Scene):
    """Rails PR #57030: an old blob that was detached a moment ago was eligible at once. Whoever has read the row opens
    the object later; so the first run only marks it, however old it is."""
    anchor, read = old(scene, scene.push("d")), old(scene, scene.push("d", "read"))
    scene.world.delete_run("d", "read")
    scene.collect(TWICE)
    assert scene.urls() == {anchor, read}
    scene.collect(TWICE)
    assert scene.urls() == {anchor}


def test_a_dry_run_deletes_nothing(scene: Scene):
    """bloomreach/s4cmd#312: `--dry-run` really deleted."""
    urls = {old(scene, scene.push("d")), old(scene, scene.leak("d"))}
    everything = scene.raw.keys()
    for rules in (replace(AT_ONCE, dry_run=True), replace(TWICE, dry_run=True)):
        for _ in range(2):
            assert scene.collect(rules).tallies["candidates"].count == 1
    assert scene.urls() == urls and scene.raw.keys() == everything


@pytest.mark.stores("file", "ministack", "seaweedfs")
def test_a_name_that_is_a_pattern_deletes_only_itself(scene: Scene):
    """fsspec's `rm` takes `[`, `*` and `?` for a glob: it deleted what matched, and left the object that was meant."""
    leaf = str(uuid4())
    live = [scene.put(f"d/{run}/t/{leaf[:-1]}{number}") for number, run in enumerate(("runa", "runb", "run"))]
    for number, url in enumerate(live):
        scene.world.push("d", f"run {number}", "t", value=json.dumps(url))
    orphans = {scene.put(f"d/{run}/t/{uuid4()}") for run in ("run[ab]", "run*", "run?", "{runa,runb}")}
    account = scene.collect()
    assert account.tallies["deleted"].count == len(orphans)
    assert scene.urls() == set(live)


@pytest.mark.stores("seaweedfs")
def test_a_refusal_is_not_success(scene: Scene):
    """`s3fs.rm` returned an empty list, without an error, when every key was denied."""
    urls = {scene.push("d"), scene.leak("d")}
    account = scene.planned()
    denied = open_store(scene.base, {**scene.raw.options, "secret": "guessed"})

    class Refusing(Around):
        """A store that lets everything be done but deletes."""

        remove = staticmethod(denied.remove)

    list(scene.run(account, store=Refusing(scene.store)))
    assert account.exit_code is ExitCode.STORAGE and account.tallies["deleted"].count == 0
    assert len(account.failures) == 1 and scene.urls() == urls


def test_an_empty_catalogue(scene: Scene):
    """Neon's scrubber learned to refuse where no tenant is active: a wrong or new database has no rows at all."""
    urls = {old(scene, scene.leak("d")) for _ in range(3)}
    scene.world.dag("d")
    account = scene.collect(replace(TWICE, allow=frozenset({Gate.MAX_DELETE})))
    assert Gate.EMPTY_ROOTS in {refusal.gate for refusal in account.plan.refusals}
    assert scene.urls() == urls


def test_a_stale_catalogue(scene: Scene):
    """ClickHouse/ClickHouse#114194: an old pointer was taken for the root. A database that was put back from a backup
    lacks the rows of since then; their objects are still marked by nobody, and the gate stands before the rest."""
    anchor = old(scene, scene.push("d"))
    scene.world.sql("CREATE TABLE log (id integer PRIMARY KEY)")
    scene.world.sql("INSERT INTO log VALUES (7)")
    newer = old(scene, scene.push("d", "after the backup"))
    scene.collect(TWICE)
    scene.world.delete_run("d", "after the backup")
    scene.world.sql("DELETE FROM log")
    for _ in range(3):
        account = scene.collect(TWICE)
        assert [refusal.gate for refusal in account.plan.refusals] == [Gate.RESTORED_DATABASE]
    assert scene.urls() == {anchor, newer}


@pytest.mark.databases("sqlite-3.3", "sqlite-3.4", "sqlite-2.11")
def test_files_that_another_table_knows(scene: Scene):
    """trinodb/trino#19965: live statistics files were deleted, because only one kind of metadata was read."""
    kept = {old(scene, scene.push("d")), old(scene, scene.push("d", "archived", key="a"))}
    scene.world.db_clean()
    kept.add(old(scene, scene.push("d", "now")))
    if scene.database.label != "2.11":
        state = old(scene, scene.leak("d"))
        scene.world.task_state("d", "now", "t", "k", json.dumps(state))
        kept.add(state)
    old(scene, scene.leak("d"))
    for _ in range(2):
        scene.collect(TWICE)
    assert scene.urls() == kept


def test_an_object_without_a_date(scene: Scene):
    """apache/iceberg-rust PR #2755: what does not tell its age is never touched."""
    anchor, undated = old(scene, scene.push("d")), old(scene, scene.leak("d"))

    class Undated(Around):
        def objects(self, prefix: str) -> Iterator[StoredObject]:
            from xcomctl.model import UNDATED

            return (replace(found, modified_at=UNDATED) for found in self.real.objects(prefix))

    for _ in range(2):
        account = scene.collect(TWICE, store=Undated(scene.store))
        assert account.plan.fates[Fate.YOUNG].count == 1
    assert scene.urls() == {anchor, undated}


def test_what_the_catalogue_does_not_name_as_its_own(scene: Scene):
    """apache/amoro PR #4293: files of another table in the same directory; here, names that no XCom backend makes."""
    anchor = old(scene, scene.push("d"))
    strangers = {
        old(scene, scene.put(name))
        for name in (f"d/r/t/{uuid4()}.parquet", f"{uuid4()}", f"d/{uuid4()}", "d/r/t/_SUCCESS", f"d/r/t/1/{uuid4()}")
    }
    for _ in range(2):
        scene.collect(TWICE)
    assert scene.urls() == {anchor} | strangers


def test_a_database_that_fails_half_way_is_not_an_empty_one(scene: Scene):
    """Flink's rule: any error in reading means that nothing is deleted."""
    urls = {old(scene, scene.push("d")), old(scene, scene.leak("d"))}
    scene.collect(TWICE)
    catalog = scene.catalog
    real = catalog.archived_references

    def failing():
        scene.world.sql("ALTER TABLE xcom RENAME TO hidden")
        return real()

    catalog.archived_references = failing
    with pytest.raises(Exception, match="xcom"):
        scene.collect(TWICE, [catalog])
    scene.world.sql("ALTER TABLE hidden RENAME TO xcom")
    assert scene.urls() == urls
