"""A small Airflow with its objects, for each database and store in turn."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.lab import s3
from tests.lab.database import Database
from tests.lab.folder import Folder
from tests.lab.world import World
from tests.operations.scene import Scene


@pytest.fixture
def scene(database: Database, world: World, store: s3.Bucket | Folder) -> Iterator[Scene]:
    with Scene(database, world, store) as scene:
        yield scene
