"""xcomctl rm as a real process that is killed anywhere: what is left is at most an orphan, and the next run goes on.

No row ever refers to an object that is gone, no row is lost that an archive should hold, and no lease stays in
anybody's way.
"""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Iterator, Mapping
from itertools import count
from pathlib import Path

import pytest

from tests.cli.conftest import Run, place
from tests.cli.killing import GC, running
from tests.lab.database import Databases
from tests.lab.effort import LONG
from tests.lab.folder import Folder
from tests.lab.world import World
from tests.operations.scene import BASE_FOLDER, Scene
from tests.operations.wire import Stock, Trial
from xcomctl.backend.storage.local import LocalStore
from xcomctl.ledger.marks import read_marks
from xcomctl.model import Filter, XCom

Environment = Mapping[str, str]

RM = ("rm", "--key", "gone", "--yes")
ROWS = 7


def trial_in(scene: Scene) -> Trial:
    """Seven rows that are to go, each with an old object, and as many that are to stay."""
    for number in range(ROWS):
        for key in ("gone", "kept"):
            scene.age(scene.push("d", f"r {number}", "t", key=key), 30)
    return Trial(Stock(scene), scene.catalog, LocalStore)


@pytest.fixture
def trial(databases: Databases, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Trial]:
    folder = tmp_path / "lake"
    (folder / BASE_FOLDER).mkdir(parents=True)
    with databases.fresh(getattr(request, "param", "sqlite-3.3")) as database, World(database) as world:
        yield trial_in(Scene(database, world, Folder(folder)))


def rows(trial: Trial) -> list[XCom]:
    return list(trial.scene.catalog.rows(Filter()))


def wrong(trial: Trial, *, archived: bool = False) -> list[str]:
    """What no state may ever show."""
    scene = trial.scene
    urls = scene.urls()
    dangling = [f"dangling: {xcom.reference}" for xcom in rows(trial) if xcom.reference not in urls]
    lost = [f"lost: {ROWS} kept rows"] if sum(xcom.key == "kept" for xcom in rows(trial)) != ROWS else []
    live = {xcom.reference for xcom in rows(trial)}
    names = [mark.name for mark in read_marks(scene.scope().control, scene.base.location.url)]
    marked = [f"marked: {name}" for name in names if f"{scene.base.text}/{name}" in live]
    if archived:
        scene.catalog.database.look_again()
        held = [xcom.run_id for xcom in (*scene.catalog.archived(Filter()), *rows(trial)) if xcom.key == "gone"]
        lost += [f"in {held.count(f'r {n}')} places: r {n}" for n in range(ROWS) if held.count(f"r {n}") != 1]
    return [*dangling, *lost, *marked]


def unfinished(trial: Trial, cli: Run, *words: str) -> list[str]:
    """What the next runs do not make good."""
    again = cli(*RM, *words, *place(trial.scene), "-o", "json")
    found = [f"again: {again.code} {again.err}"] if again.code else []
    found += [f"left: {xcom.run_id}" for xcom in rows(trial) if xcom.key == "gone"]
    found += wrong(trial, archived="--archive" in words)
    if "--archive" in words:
        return found
    time.sleep(1)  # a file must be older than nothing, by a clock of whole seconds
    for _ in range(2):
        collected = cli(*GC, *place(trial.scene), "-o", "json")
        found += [f"gc: {collected.code} {collected.err}"] if collected.code else []
    return [*found, *([f"not collected: {len(trial.scene.urls())}"] if len(trial.scene.urls()) != ROWS else [])]


class TestKilled:
    @pytest.mark.parametrize("words", [(), ("--archive",)])
    def test_before_a_deed(
        self, databases: Databases, bare: Environment, cli: Run, tmp_path: Path, words: tuple[str, ...]
    ):
        """A deed is a change to a file of the store: of the lease, the marks, the claim, the record."""
        found: list[str] = []
        for deed in count(1) if LONG else range(1, 40, 4):
            folder = tmp_path / str(deed)
            (folder / BASE_FOLDER).mkdir(parents=True)
            with databases.fresh("sqlite-3.3") as database, World(database) as world:
                trial = trial_in(Scene(database, world, Folder(folder)))
                with running(trial, bare, (*RM, *words), UNDER=folder, AT=deed, SIGNAL="SIGKILL") as victim:
                    done = victim.ended()
                found += [f"{deed}: {each}" for each in wrong(trial, archived=bool(words))]
                if done.code != -signal.SIGKILL:
                    break
                found += [f"{deed}: {each}" for each in unfinished(trial, cli, *words)]
        assert found == [] and done.code == 0 and deed > 3, done.err

    @pytest.mark.parametrize("words", [(), ("--archive",)])
    @pytest.mark.parametrize("statement", range(1, 60) if LONG else (5, 6, 12, 17))
    @pytest.mark.parametrize("trial", ["sqlite-3.3", "postgresql-3.3", "mysql-3.3"], indirect=True)
    def test_before_a_statement(
        self, trial: Trial, bare: Environment, cli: Run, words: tuple[str, ...], statement: int
    ):
        """Killed just before the database hears of it: of a lock, a copy, a delete or a commit."""
        with running(trial, bare, (*RM, *words), STATEMENT=statement, SIGNAL="SIGKILL") as victim:
            done = victim.ended()
        assert done.code in (-signal.SIGKILL, 0), done.err
        assert wrong(trial, archived=bool(words)) == []
        assert unfinished(trial, cli, *words) == []


class TestSignalled:
    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
    def test_after_the_batch_in_hand(self, trial: Trial, bare: Environment, cli: Run, number: signal.Signals):
        """Two rows a batch, and the signal comes within the second."""
        with running(trial, bare, RM, STATEMENT=9, SIGNAL=number.name) as victim:
            done = victim.ended()
        report = json.loads(done.out)
        assert (done.code, report["stopped"], report["status"]) == (128 + number, "signal", "partial"), done.err
        assert 0 < report["removed"] < ROWS and report["removed"] == 2 * ROWS - len(rows(trial))
        assert (report["marked"], report["unmarked_by_reason"]) == (0, {"left_to_gc": report["removed"]})
        assert trial.scene.scope().control.listed("lease/") == [] and wrong(trial) == []
        assert unfinished(trial, cli) == []


class TestTwoAtOnce:
    @pytest.mark.parametrize("turn", range(10 if LONG else 2))
    @pytest.mark.parametrize("trial", ["sqlite-3.3", "postgresql-3.3", "mysql-3.3"], indirect=True)
    def test_each_row_goes_once(self, trial: Trial, bare: Environment, cli: Run, turn: int):
        with running(trial, bare, RM) as one, running(trial, bare, RM) as other:
            both = [one.ended(), other.ended()]
        assert [done.code for done in both] == [0, 0], [done.err for done in both]
        assert sum(done.json["removed"] for done in both) == ROWS and wrong(trial) == []
        assert unfinished(trial, cli) == []
