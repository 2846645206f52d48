"""The lab as fixtures. A server starts when a test first asks for it, once in each process of pytest."""

from __future__ import annotations

from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path

import pytest

from tests import schemas
from tests.lab import effort, s3
from tests.lab.database import Database, Databases
from tests.lab.effort import LONG
from tests.lab.folder import Folder
from tests.lab.sandbox import Built
from tests.lab.world import World

MATRIX = tuple(
    f"{dialect}-{label}" for dialect in ("sqlite", "postgresql", "mysql") for label in ("2.11", "3.3", "3.4")
)
STORES = ("file", "ministack", "seaweedfs")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "databases(*globs): what `database` and `world` are, e.g. 'sqlite-*', '*-3.3'")
    config.addinivalue_line("markers", "stores(*globs): what `store` is: file, ministack, seaweedfs")
    config.addinivalue_line("markers", "long: takes many minutes, and is left out unless XCOMCTL_TEST_LONG=1")
    config.addinivalue_line("markers", "one_airflow: says the same with every Airflow; `make matrix` leaves it out")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    left_out = [] if LONG else [item for item in items if item.get_closest_marker("long")]
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if item not in set(left_out)]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run the test for databases and stores in turn: those that its markers' globs match, or the default ones."""
    has_database, has_store = (fixture in metafunc.fixturenames for fixture in ("database", "store"))
    databases = effort.databases(_matched(metafunc, "database", MATRIX, schemas.names())) if has_database else []
    stores = _matched(metafunc, "store", STORES, list(STORES)) if has_store else []
    if databases and stores:
        metafunc.parametrize(("database", "store"), effort.together(databases, stores), indirect=True, scope="function")
    elif databases or stores:
        fixture = "database" if databases else "store"
        metafunc.parametrize(fixture, databases or stores, indirect=True, scope="function")


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Name bytes by their argument: gzip writes the time into them, and pytest-xdist refuses names that differ."""
    return argname if isinstance(val, bytes) else None


def _matched(metafunc: pytest.Metafunc, fixture: str, default: tuple[str, ...], known: list[str]) -> list[str]:
    marker = metafunc.definition.get_closest_marker(f"{fixture}s")
    globs = marker.args if marker else default
    unmatched = [glob for glob in globs if not any(fnmatchcase(name, glob) for name in known)]
    if unmatched:
        raise ValueError(f"{metafunc.definition.nodeid}: no {fixture} is named {unmatched}, but {known}")
    return [name for name in known if any(fnmatchcase(name, glob) for glob in globs)]


@pytest.fixture(scope="session")
def databases(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Databases]:
    """Makes databases: `with databases.fresh("sqlite-3.3") as database`."""
    made = Databases(tmp_path_factory.mktemp("databases"))
    yield made
    made.close()


@pytest.fixture
def database(request: pytest.FixtureRequest, databases: Databases) -> Iterator[Database]:
    """A fresh Airflow database for the test, on each dialect and schema in turn."""
    with databases.fresh(request.param) as fresh:
        yield fresh


@pytest.fixture
def world(database: Database) -> Iterator[World]:
    """The rows of `database`, to be filled by the test."""
    with World(database) as world:
        yield world


@pytest.fixture(scope="session")
def ministack() -> Iterator[s3.S3Server]:
    with s3.ministack() as server:
        yield server


@pytest.fixture(scope="session")
def seaweedfs() -> Iterator[s3.S3Server]:
    with s3.seaweedfs() as server:
        yield server


@pytest.fixture
def store(request: pytest.FixtureRequest, tmp_path: Path) -> s3.Bucket | Folder:
    """A fresh bucket or folder for the test, of each kind in turn."""
    if request.param == "file":
        folder = Folder(tmp_path / "store")
        folder.path.mkdir()
        return folder
    return s3.bucket(request.getfixturevalue(request.param))


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """A sandbox that the installed Airflow really built. Who changes it puts it back."""
    return Built.at(tmp_path_factory.mktemp("demo") / "sand box")
