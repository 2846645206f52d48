"""Every command that prints data, asked of one small Airflow, in which all but ids and the time of day is fixed."""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.cli.conftest import place
from tests.lab.database import Databases
from tests.lab.folder import Folder
from tests.lab.world import WHEN, World
from tests.operations.scene import BASE_FOLDER, Scene

GOLDEN = Path(__file__).with_name("golden")
FINGERPRINTS = Path(__file__).with_name("fingerprints")
FORMATS = ("plain", "csv", "json", "jsonl", "yaml", "table")
DELETE = ("gc", "--yes", "--single-pass", "--max-delete", "100%", "--dag-id", "gone", "-o", "json")
RECORDS = [{"id": 1, "name": "[red]é[/red]", "ratio": 0.5}, {"id": 2, "name": ":smile:\t\x1b[31m", "ratio": None}]

DAY = f"{WHEN:%Y-%m-%d}"

_ID = re.compile(r"\d{8}T\d{6}Z-[0-9a-f]{8}")
_AGE = re.compile(r"(?:\d+[dhms])+, older than 3d( *)")
_TIME = re.compile(r"(20\d\d-\d\d-\d\d)([T ])\d\d:\d\d:\d\d(?:\.\d+)?")


@dataclass(frozen=True)
class Asked:
    """A command line, how it ends, and what JSON it prints: an array of records, a report, or a value."""

    words: tuple[str, ...]
    code: int
    prints: type


@dataclass(frozen=True)
class Showcase:
    """What to ask, by name; and what of the answer is not the same each time, made the same."""

    asked: dict[str, Asked]
    folder: Path

    def settled(self, out: bytes) -> str:
        """Ids, the folder's random letters, ages, and every time but those of rows and objects are made alike."""
        text = out.decode().replace(self.folder.name, "xcomctl-SHOWCASE")
        text = _ID.sub("20000101T000000Z-00000000", text)
        text = _AGE.sub(lambda found: "AGE".ljust(len(found[0])) if found[1] else "AGE", text)
        return _TIME.sub(lambda found: found[0] if found[1] == DAY else f"2000-01-01{found[2]}00:00:00", text)


@contextmanager
def showcase(databases: Databases, run: Callable[..., bytes]) -> Iterator[Showcase]:
    """The Airflow, with one finished run of gc in its past, that `run` was told to do."""
    folder = Path(tempfile.mkdtemp(prefix="xcomctl-", dir="/tmp"))
    store = Folder(folder)
    (folder / BASE_FOLDER).mkdir(parents=True)
    try:
        with (
            databases.fresh("sqlite-3.3") as database,
            databases.fresh("sqlite-2.11") as older,
            World(database) as world,
            World(older) as before,
            Scene(database, world, store) as scene,
        ):
            _fill(scene)
            _fill_older(before)
            yield Showcase(_asked(scene, older.url, _deleted(scene, run)), folder)
    finally:
        shutil.rmtree(folder)


def _put(scene: Scene, name: str, body: bytes = b"[1, 2, 3]") -> str:
    url = scene.put(name, body)
    os.utime(scene.raw.path / BASE_FOLDER / name, (WHEN.timestamp(), WHEN.timestamp()))
    return url


def _uuid(number: int) -> str:
    return f"00000000-0000-4000-8000-{number:012}"


def _fill(scene: Scene) -> None:
    for number in range(3):
        url = _put(scene, f"etl/r {number}/load/{_uuid(number)}")
        scene.world.push("etl", f"r {number}", "load", key="table", value=json.dumps(url))
    scene.world.push("etl", "r 0", "load", 2, "records", value=json.dumps(RECORDS))
    scene.world.push("etl", "r 1", "load", key="[b]large[/b]", value=json.dumps("x" * 2000))
    lost = f"{scene.base.text}/etl/r 2/load/{_uuid(9)}"
    scene.world.push("etl", "r 2", "load", key="lost", value=json.dumps(lost))
    scene.world.push("gone", "r", "t", value="1")
    _put(scene, f"etl/r 9/load/{_uuid(10)}")
    _put(scene, f"gone/r/t/{_uuid(11)}")


def _fill_older(world: World) -> None:
    for key, value in (("fails", b"gar\tbage"), ("changes", b"[NaN]"), ("passes", b"1")):
        world.push("etl", "r", "load", key=key, value=value)


def _deleted(scene: Scene, run: Callable[..., bytes]) -> str:
    """The id of a run of gc that deleted one object, whose place is taken since."""
    report = json.loads(run(*DELETE, *place(scene)))
    assert report["deleted"] == 1
    _put(scene, f"gone/r/t/{_uuid(11)}", b"other")
    return str(report["operation_id"])


def _asked(scene: Scene, older: str, operation: str) -> dict[str, Asked]:
    at = place(scene)
    orphan = f"{scene.base.text}/etl/r 9/load/{_uuid(10)}"
    files = [str(scene.raw.path / name) for name in ("one.json", "two.json")]
    for file in files:
        shutil.copy(FINGERPRINTS / Path(file).name, file)
    cells = ("etl", "r 0", "load", "--key", "records", "--map-index", "2")
    return {
        "ls": Asked(("ls", *at), 0, list),
        "ls-check": Asked(("ls", "--check", *at), 0, list),
        "du": Asked(("du", "--by", "key,run_id", "--threshold", "1k", *at), 0, list),
        "du-by": Asked(("du", "--by", "dag_id,task_id,day,state,size", *at), 0, list),
        "du-storage": Asked(("du", "--by", "dag_id,run_id", "--storage", *at), 0, list),
        "get": Asked(("get", *cells, *at), 0, object),
        "get-explain": Asked(("get", "etl", "r 1", "load", "--key", "table", "--explain", *at), 0, list),
        "fsck": Asked(("fsck", *at), 1, list),
        "gc": Asked(("gc", "-n", "--single-pass", "--max-delete", "100%", *at), 0, dict),
        "gc-due": Asked(("gc", "-n", *at), 0, dict),
        "gc-refused": Asked(("gc", "-n", "--single-pass", "--max-delete", "0", *at), 5, dict),
        "gc-history": Asked(("gc", "--history", *at), 0, list),
        "gc-explain": Asked(("gc", "--explain", orphan, *at), 0, list),
        "restore": Asked(("restore", operation, "-n", *at), 3, dict),
        "migrate": Asked(("migrate", "-n", "--threshold", "1k", "--allow", "backend", *at), 0, dict),
        "rm": Asked(("rm", "-n", "--dag-id", "etl", *at), 0, dict),
        "preflight": Asked(("preflight", "--target", "3.3.2", "--db", older), 1, list),
        "verify-backend": Asked(("verify-backend", "--compare", *files), 1, list),
    }
