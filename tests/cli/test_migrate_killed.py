"""`xcomctl migrate` as a real process that is killed anywhere: every value stays whole, and the next run ends the same.

By default the points are a fixed sample; with XCOMCTL_TEST_LONG=1 they are all there are.
"""

from __future__ import annotations

import json
import re
import signal
import subprocess
from collections.abc import Mapping, Sequence
from itertools import count
from pathlib import Path

import pytest

from tests.cli.conftest import XCOMCTL, Result, place
from tests.cli.killing import harmful
from tests.lab.database import Databases
from tests.lab.effort import LONG
from tests.lab.folder import Folder
from tests.lab.world import World
from tests.operations.moving import followed, values
from tests.operations.scene import AT_ONCE, BASE_FOLDER, Scene
from xcomctl.model import Filter, State

ROWS = 5
BODY = json.dumps("long " * 100)
MIGRATE = ("migrate", "--yes", "--allow", "backend", "--jobs", "1", "--dag-id", "d")
OUT = (*MIGRATE, "--threshold", "0")
BACK = (*MIGRATE, "--to", "inline")
ELSEWHERE = (*MIGRATE, "--relocate")
EVERY = 1 if LONG else 13


def run(scene: Scene, environment: Mapping[str, str], words: Sequence[str], **harm: object) -> Result:
    done = subprocess.run(
        [*XCOMCTL, *words, *place(scene), "-o", "json"],
        env={**environment, **harmful(environment, harm)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
    )
    return Result(done.returncode, done.stdout, done.stderr.decode())


def filled(scene: Scene, direction: str) -> tuple[tuple[str, ...], State]:
    """The words of a migration that has something to do, and how it leaves all rows."""
    scene.push("steady")
    old = f"old/{BASE_FOLDER}"
    for number in range(ROWS):
        name = f"d/r{number}/t/0d760203-28d1-4226-81c7-7786b50e477{number}"
        value = BODY
        if direction != "out":
            folder = BASE_FOLDER if direction == "back" else old
            scene.raw.put(f"{folder}/{name}", BODY.encode())
            value = json.dumps(f"{scene.raw.url}/{folder}/{name}")
        scene.world.push("d", f"r{number}", "t", value=value)
    words = {"out": OUT, "back": BACK, "elsewhere": (*ELSEWHERE, f"{scene.raw.url}/{old}")}
    return words[direction], State.INLINE if direction == "back" else State.EXTERNAL


def told(scene: Scene) -> dict[tuple[str, ...], bytes]:
    """What a reader gets for each row."""
    return {key: followed(scene, value) for key, value in values(scene).items()}


@pytest.mark.parametrize("direction", ["out", "back", "elsewhere"])
@pytest.mark.parametrize("label", ["3.3", "2.11"] if LONG else ["3.3"])
def test_before_a_deed(databases: Databases, bare: Mapping[str, str], tmp_path: Path, direction: str, label: str):
    """A deed is a change to a file, or a swap that is about to be, or has just been."""
    for deed in count(1, EVERY):
        folder = tmp_path / str(deed)
        (folder / BASE_FOLDER).mkdir(parents=True)
        with databases.fresh(f"sqlite-{label}") as database, World(database) as world:
            scene = Scene(database, world, Folder(folder))
            words, end = filled(scene, direction)
            before, wanted = told(scene), 1 if end is State.INLINE else 1 + ROWS
            done = run(scene, bare, words, UNDER=folder, AT=deed, SIGNAL="SIGKILL")
            assert told(scene) == before, f"{deed} {done.err}"
            again = run(scene, bare, words)
            assert (again.code, again.json["failed"]) == (0, 0), f"{deed} {again.err}"
            assert {xcom.state for xcom in scene.catalog.rows(Filter(("d",)))} == {end}, deed
            assert told(scene) == before, deed
            in_flight = ROWS if direction == "back" else 2
            objects = {re.sub(r"\.\d+\.part$", "", url) for url in scene.urls()}
            assert len(objects) - wanted <= in_flight, f"{deed}: more than what was in flight"
            scene.collect(AT_ONCE)
            assert (told(scene), len(scene.urls())) == (before, wanted), deed
        if done.code != -signal.SIGKILL:
            break
    assert done.code == 0 and deed > 10, done.err
