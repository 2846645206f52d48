"""gc, and back: whatever the store and its way back, nothing is different afterwards."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path

import pytest

from tests.backend.storage.kinds import KEEP, KINDS, fresh_lab
from tests.lab.database import Database
from tests.lab.world import World
from tests.operations.scene import AT_ONCE, BASE_FOLDER, Scene
from xcomctl.backend.reference import parse
from xcomctl.operations.restoring import restoring

FREE_WHEN = {
    "versions": "noncurrent versions expire",
    "soft-delete": "the bucket's soft delete ends",
    "trash": "the trash is emptied",
    "rename": "the trash is emptied",
}
RUNS = ("r", "manual__2026-01-01T00:00:00+00:00", "[a*]?#", "x y+%20", "ünïcödé 😀", "a/b/c")


@pytest.mark.databases("sqlite-3.3")
@pytest.mark.parametrize("kind", KINDS)
def test_the_world_is_as_before(
    database: Database, world: World, request: pytest.FixtureRequest, tmp_path: Path, kind: str
):
    with fresh_lab(kind, tmp_path, request.getfixturevalue) as lab:
        scene = Scene(database, world, lab.raw)
        for run_id in RUNS:
            scene.push("d", run_id)
            scene.leak("d", run_id)
        before = contents(scene)
        time.sleep(1.1)  # the Date header, by which ages are told, has whole seconds
        account = scene.collect(replace(AT_ONCE, keep_trash=KEEP))
        assert (account.tallies["deleted"].count, account.failures) == (len(RUNS), [])
        way = kind.partition("-")[2]
        assert account.plan.way.value == way
        assert (account.freed.bytes, account.document()["bytes_free_when"]) == (0, FREE_WHEN[way])
        assert set(contents(scene)) == {parse(url).location.name for url in references(world)}
        with restoring(scene.scope(), account.operation_id, dry_run=False) as restoration:
            assert len(list(restoration.carry_out())) == len(RUNS)
        assert contents(scene) == before
        for url in references(world):
            with scene.store.open(parse(url).location.name) as body:
                assert body.read() == before[parse(url).location.name]


def contents(scene: Scene) -> dict[str, bytes]:
    """The bytes of everything under the base path, by the names that xcomctl goes by."""
    folder = scene.base.location.folder.removesuffix(f"{BASE_FOLDER}/")
    return {f"{folder}{key}": scene.raw.get(key) for key in scene.raw.keys(f"{BASE_FOLDER}/")}


def references(world: World) -> list[str]:
    return [json.loads(str(value)) for (value,) in world.sql("SELECT value FROM xcom")]
