"""One world, looked at, opened and collected where any two of database, schema and kind of store meet."""

from __future__ import annotations

import gzip
import json

import pytest

from tests.lab import s3
from tests.lab.database import Database
from tests.lab.folder import Folder
from tests.lab.world import World
from tests.operations.scene import Scene
from xcomctl.backend import payload
from xcomctl.backend.storage import Stores
from xcomctl.errors import DanglingError, XcomctlError
from xcomctl.model import Filter, State, XCom, XComKey
from xcomctl.operations import fetching
from xcomctl.operations.listing import Question, list_xcoms

RUN = "manual__2026-01-02T03:04:05+00:00 [a*b]#é"
VALUE = {"answer": [42, 0.1, None, "é", {"nested": True}]}


def test_ls_get_and_gc(database: Database, world: World, store: s3.Bucket | Folder):
    scene = Scene(database, world, store)
    urls = {
        key: scene.leak("d", RUN, "g.t", suffix) for key, suffix in (("plain", ""), ("zipped", ".gz"), ("lost", ""))
    }
    body = json.dumps(VALUE).encode()
    scene.put(urls["plain"].removeprefix(f"{scene.base.text}/"), body)
    scene.put(urls["zipped"].removeprefix(f"{scene.base.text}/"), gzip.compress(body))
    scene.raw.delete(urls["lost"].removeprefix(f"{scene.raw.url}/"))
    for map_index, (key, url) in enumerate(urls.items()):
        world.push("d", RUN, "g.t", map_index, key, value=json.dumps(url))
    world.push("d", RUN, "g.t", key="inline", value=json.dumps(VALUE))
    orphan = scene.leak("d", RUN, "g.t")

    stores = Stores(scene.base, scene.raw.options)
    found = {xcom.key: xcom for xcom in list_xcoms(scene.catalog, Question(Filter()), stores, _fail).xcoms}
    assert {key: xcom.state for key, xcom in found.items()} == {
        "plain": State.EXTERNAL,
        "zipped": State.EXTERNAL,
        "lost": State.DANGLING,
        "inline": State.INLINE,
    }
    assert found["plain"].object_size_bytes == len(body) and found["plain"].reference == urls["plain"]

    for map_index, key in ((-1, "inline"), (0, "plain"), (1, "zipped")):
        assert _got(scene, stores, XComKey("d", "latest", "g.t", map_index, key)) == VALUE
    with pytest.raises(DanglingError):
        _got(scene, stores, XComKey("d", RUN, "g.t", 2, "lost"))

    account = scene.collect()
    assert account.tallies["deleted"].count == 1
    assert scene.urls() == {urls["plain"], urls["zipped"]} and orphan not in scene.urls()


def _got(scene: Scene, stores: Stores, key: XComKey) -> payload.Json:
    (stored,) = scene.catalog.values(fetching.resolved(scene.catalog, key))
    return payload.plain(fetching.decode(fetching.fetch(stored, stores)).value)


def _fail(xcom: XCom, error: XcomctlError) -> None:
    pytest.fail(f"{xcom}: {error}")
