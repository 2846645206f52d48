"""xcomctl as a real process that is killed, stopped or signalled anywhere: the next run completes what it began.

Nothing live goes, no lease and no canary stays in anybody's way, and an undo brings back all that went, byte for byte.
By default the points are a fixed sample; with XCOMCTL_TEST_LONG=1 they are all there are.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import pytest

from tests.cli.conftest import Result
from tests.cli.killing import GC, Befalls, asking, release, running, wait_until
from tests.lab import s3
from tests.lab.database import Databases
from tests.lab.effort import LONG
from tests.lab.folder import Folder
from tests.lab.proxy import Hold, HoldAfter, Rule
from tests.lab.world import World
from tests.operations.scene import AT_ONCE, BASE_FOLDER, Scene
from tests.operations.wire import PHASES, Line, Stock, Trial, line, litter, lost, trial_on, unfinished
from xcomctl.backend.storage.local import LocalStore
from xcomctl.errors import ExitCode

Environment = Mapping[str, str]


@pytest.fixture
def at_home(databases: Databases, tmp_path: Path) -> Iterator[Trial]:
    """A trial on local files."""
    with home(databases, tmp_path / "lake") as trial:
        yield trial


@contextmanager
def home(databases: Databases, folder: Path) -> Iterator[Trial]:
    (folder / BASE_FOLDER).mkdir(parents=True)
    with databases.fresh("sqlite-3.3") as database, World(database) as world:
        stock = Stock.of(Scene(database, world, Folder(folder)))
        yield Trial(stock, stock.scene.catalog, LocalStore)


@pytest.fixture(scope="module")
def wire(ministack: s3.S3Server) -> Iterator[Line]:
    with line(ministack) as opened:
        yield opened


@pytest.fixture
def in_a_bucket(wire: Line, databases: Databases, request: pytest.FixtureRequest) -> Iterator[Trial]:
    """A trial in a bucket, whose way back a test may name for it, indirectly."""
    with trial_on(wire, databases, getattr(request, "param", "trash")) as trial:
        yield trial


def at(nth: int = 1, **pattern: str) -> Befalls:
    """The first request that a pattern matches, or a later one."""
    return lambda fault: Rule(fault, **pattern, after=nth - 1, first=1)


AT = {
    "lease": at(method="PUT", path="/lease/"),
    "canary": at(method="PUT", path="/canary/orphan/"),
    "listing": at(2, query=f"prefix={BASE_FOLDER}/&(?!max-keys)"),
    "old marks": at(method="GET", path="/marks/"),
    "run": at(method="PUT", path="/run.json"),
    "marks": at(method="PUT", path="/marks/"),
    "claim": at(method="PUT", path="/claim.json"),
    "intent": at(method="PUT", path="intent"),
    "copy": at(method="PUT", path="/trash/"),
    "batch": at(query="^delete$", body="/d/gone"),
    "single": at(method="DELETE", path="/d/gone"),
    "outcome": at(method="PUT", path="outcome"),
    "second intent": at(2, method="PUT", path="intent"),
    "report": at(2, method="PUT", path="/run.json"),
    "farewell": at(query="^delete$", body="/lease/"),
    "copy back": at(2, method="PUT", path="/d/gone"),
    "unhiding": at(2, method="DELETE", query="versionId"),
    "returned": at(method="PUT", path="/returned-"),
}
"""Requests by what they are for."""

WAYS = ("trash", "versions")
EFFECTS = ("never", "before", "after")
"""When a request takes effect of which the sender is killed."""

KILLED = [
    *(("mark", "canary", "before", "trash"), ("mark", "marks", "never", "trash"), ("mark", "claim", "after", "trash")),
    *(("sweep", "lease", "after", "versions"), ("sweep", "listing", "never", "trash")),
    *(("sweep", "intent", "before", "trash"), ("sweep", "intent", "after", "versions")),
    *(("sweep", "copy", "before", "trash"), ("sweep", "copy", "after", "trash")),
    *(("sweep", "batch", effect, way) for effect in EFFECTS for way in WAYS),
    *(("sweep", "single", "before", "trash"), ("sweep", "outcome", "never", "versions")),
    *(("sweep", "second intent", "before", "trash"), ("sweep", "farewell", "never", "trash")),
    *(("restore", "copy back", "before", "trash"), ("restore", "copy back", "after", "trash")),
    *(("restore", "unhiding", "before", "versions"), ("restore", "returned", "never", "trash")),
]


def words_of(phase: str, trial: Trial) -> tuple[str, ...]:
    """The command line of a step."""
    return ("restore", trial.operations()[-1], "--yes") if phase == "restore" else GC


def wrong(trial: Trial, phase: str) -> list[str]:
    """What is wrong now, after clean runs, and after an undo."""
    return [*lost(trial.stock), *unfinished(trial, PHASES[phase])]


def gone(trial: Trial) -> int:
    """How many orphans are not there any more."""
    return len(trial.stock.orphans.keys() - trial.stock.keys())


class TestKilled:
    @pytest.mark.parametrize(
        ("phase", "deeds"), [("mark", range(1, 16, 4)), ("sweep", range(2, 28, 4)), ("restore", range(3, 15, 4))]
    )
    def test_before_a_deed(self, databases: Databases, bare: Environment, tmp_path: Path, phase: str, deeds: range):
        found: list[str] = []
        for deed in count(1) if LONG else deeds:
            with home(databases, tmp_path / str(deed)) as trial:
                PHASES[phase].prepare(trial)
                under = trial.scene.raw.path
                with running(trial, bare, words_of(phase, trial), UNDER=under, AT=deed, SIGNAL="SIGKILL") as victim:
                    done = victim.ended()
                found += [f"{deed}: {each}" for each in wrong(trial, phase)]
            if done.code != -signal.SIGKILL:
                break
        assert found == []
        assert (done.code == 0 and deed > deeds[-1]) if LONG else done.code == -signal.SIGKILL, done.err

    @pytest.mark.parametrize("deed", range(30, 90, 1 if LONG else 13))
    def test_amid_many_batches(self, at_home: Trial, bare: Environment, deed: int):
        """Of several batches under way some are done, some are half done, and some have only an intent."""
        for number in range(20):
            at_home.scene.world.run("d", f"more {number}")
            at_home.stock.leak(f"more {number}")
        PHASES["sweep"].prepare(at_home)
        with running(at_home, bare, GC, UNDER=at_home.scene.raw.path, AT=deed, SIGNAL="SIGKILL") as victim:
            assert victim.ended().code == -signal.SIGKILL
        assert 0 < gone(at_home) < len(at_home.stock.orphans)
        assert wrong(at_home, "sweep") == []

    @pytest.mark.parametrize(("phase", "point", "effect", "in_a_bucket"), KILLED, indirect=["in_a_bucket"])
    def test_at_a_request(self, in_a_bucket: Trial, bare: Environment, phase: str, point: str, effect: str):
        """What was asked takes effect never, before the process is killed, or only after."""
        PHASES[phase].prepare(in_a_bucket)
        with asking(in_a_bucket, bare, words_of(phase, in_a_bucket), AT[point], done=effect == "before") as victim:
            victim.kill()
        if effect == "after":
            release(in_a_bucket, victim.hold)
        assert wrong(in_a_bucket, phase) == []

    @pytest.mark.long
    @pytest.mark.parametrize("way", WAYS)
    @pytest.mark.parametrize("effect", EFFECTS)
    @pytest.mark.parametrize("phase", ["mark", "sweep", "restore"])
    def test_at_each_request(
        self, wire: Line, databases: Databases, bare: Environment, phase: str, effect: str, way: str
    ):
        found: list[str] = []
        for number in count(1):
            with trial_on(wire, databases, way) as trial:
                PHASES[phase].prepare(trial)
                hold = HoldAfter() if effect == "before" else Hold()
                wire.proxy.rules = [Rule(hold, after=number - 1, first=1)]
                with running(trial, bare, words_of(phase, trial), hold) as victim:
                    if not victim.asks():
                        break
                    victim.kill()
                if effect == "after":
                    release(trial, hold)
                wire.proxy.rules = []
                found += [f"{number}: {each}" for each in wrong(trial, phase)]
        assert found == [] and number > 20


class TestStopped:
    """SIGSTOP, as when a machine sleeps or somebody looks with a debugger."""

    @pytest.mark.parametrize("deed", range(3, 28) if LONG else (3, 14, 21))
    def test_another_run_has_to_wait(self, at_home: Trial, bare: Environment, deed: int):
        """Whatever the first is about to do: who comes meanwhile is told, and changes nothing."""
        PHASES["sweep"].prepare(at_home)
        folder = at_home.scene.raw
        with running(at_home, bare, GC, UNDER=folder.path, AT=deed, SIGNAL="SIGSTOP") as victim:
            victim.await_stop()
            before = {key: folder.get(key) for key in sorted(folder.keys())}
            assert at_home.collect().code == at_home.collect(AT_ONCE).code == ExitCode.LOCKED
            assert {key: folder.get(key) for key in sorted(folder.keys())} == before
            victim.send(signal.SIGCONT)
            done = victim.ended()
        assert (done.code, done.json["deleted"], done.json["status"]) == (0, 3, "success"), done.err
        assert wrong(at_home, "sweep") == []

    @pytest.mark.parametrize(("deed", "code", "deleted"), [(3, 11, 0), (7, 3, 2)])
    def test_who_has_lost_the_lease_goes_no_further(
        self, at_home: Trial, bare: Environment, deed: int, code: int, deleted: int
    ):
        """Stopped among its canaries, or within its first batch, for longer than its lease lasts."""
        PHASES["sweep"].prepare(at_home)
        under = f"{at_home.scene.raw.path}/{BASE_FOLDER}/"  # the lease itself is not there
        with running(at_home, bare, GC, UNDER=under, AT=deed, SIGNAL="SIGSTOP", REFRESH=0.1) as victim:
            victim.await_stop()
            time.sleep(0.2)
            end_leases(at_home)
            victim.send(signal.SIGCONT)
            done = victim.ended()
        assert (done.code, gone(at_home)) == (code, deleted), done.err
        assert code == ExitCode.LOCKED or (done.json["deleted"], done.json["status"]) == (deleted, "partial")
        assert wrong(at_home, "sweep") == []

    def test_a_restore_keeps_others_waiting_too(self, at_home: Trial, bare: Environment):
        PHASES["restore"].prepare(at_home)
        words = words_of("restore", at_home)
        with running(at_home, bare, words, UNDER=at_home.scene.raw.path, AT=7, SIGNAL="SIGSTOP") as victim:
            victim.await_stop()
            codes = {at_home.collect().code, at_home.restore(at_home.operations()[-1]).code}
            assert codes == {ExitCode.LOCKED}
            victim.send(signal.SIGCONT)
            done = victim.ended()
        assert (done.code, done.json["restored"], gone(at_home)) == (0, 3, 0), done.err
        assert wrong(at_home, "restore") == []

    @pytest.mark.parametrize("point", ["canary", "intent", "copy", "batch"])
    def test_somebody_else_has_done_it_meanwhile(self, in_a_bucket: Trial, bare: Environment, point: str):
        """The lease is over, another run has done all there was to do, and what waited is done all the same."""
        PHASES["sweep"].prepare(in_a_bucket)
        with asking(in_a_bucket, bare, GC, AT[point]) as victim:
            victim.send(signal.SIGSTOP)
            end_leases(in_a_bucket)
            assert in_a_bucket.collect().code == 0 and gone(in_a_bucket) == 3
            release(in_a_bucket, victim.hold)
            victim.send(signal.SIGCONT)
            done = victim.ended()
        assert done.code in (0, 3, 5, 11), done.err
        assert wrong(in_a_bucket, "sweep") == []

    def test_a_row_that_comes_meanwhile_brings_its_object_back(self, at_home: Trial, bare: Environment):
        """The last look at the rows was before: the next run heals what this one takes."""
        PHASES["sweep"].prepare(at_home)
        with running(at_home, bare, GC, UNDER=at_home.scene.raw.path, AT=17, SIGNAL="SIGSTOP") as victim:
            victim.await_stop()
            assert gone(at_home) == 0
            key = min(at_home.stock.orphans)
            at_home.stock.refer(key, "again")
            at_home.stock.kept[key] = at_home.stock.orphans.pop(key)
            victim.send(signal.SIGCONT)
            assert victim.ended().code == 0
        assert wrong(at_home, "heal") == []


class TestSignalled:
    """SIGTERM, as when a pod is moved, and Ctrl-C; what was asked last is done, and its answer comes late or never."""

    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
    @pytest.mark.parametrize("point", ["lease", "canary", "old marks"])
    def test_at_once_while_nothing_is_changed(
        self, in_a_bucket: Trial, bare: Environment, point: str, number: signal.Signals
    ):
        PHASES["sweep"].prepare(in_a_bucket)
        with asking(in_a_bucket, bare, GC, AT[point], done=True) as victim:
            victim.send(number)
            done = victim.ended()
        assert (done.code, done.out, gone(in_a_bucket)) == (128 + number, b"", 0), done.err
        assert [*litter(in_a_bucket.stock), *wrong(in_a_bucket, "sweep")] == []

    @pytest.mark.parametrize(
        ("point", "number", "deleted"),
        [
            ("marks", signal.SIGTERM, 0),
            ("intent", signal.SIGINT, 2),
            ("batch", signal.SIGTERM, 2),
            ("outcome", signal.SIGINT, 2),
            ("report", signal.SIGTERM, 3),
        ],
    )
    def test_after_the_batch_in_hand(
        self, in_a_bucket: Trial, bare: Environment, point: str, number: signal.Signals, deleted: int
    ):
        PHASES["sweep"].prepare(in_a_bucket)
        with asking(in_a_bucket, bare, GC, AT[point], done=True) as victim:
            victim.send(number)
            time.sleep(0.1)
            victim.hold.release.set()
            done = victim.ended()
        assert (done.code, done.json["deleted"], gone(in_a_bucket)) == (128 + number, deleted, deleted), done.err
        assert done.json["stopped"] == ("signal" if deleted < 3 else None)
        assert [*litter(in_a_bucket.stock), *wrong(in_a_bucket, "sweep")] == []

    def test_a_restore_brings_back_all_that_it_began(self, in_a_bucket: Trial, bare: Environment):
        PHASES["restore"].prepare(in_a_bucket)
        with asking(in_a_bucket, bare, words_of("restore", in_a_bucket), AT["copy back"], done=True) as victim:
            victim.send(signal.SIGTERM)
            time.sleep(0.1)
            victim.hold.release.set()
            done = victim.ended()
        assert (done.code, done.json["restored"], gone(in_a_bucket)) == (128 + signal.SIGTERM, 3, 0), done.err
        assert [*litter(in_a_bucket.stock), *wrong(in_a_bucket, "restore")] == []

    def test_on_the_way_out(self, in_a_bucket: Trial, bare: Environment):
        PHASES["sweep"].prepare(in_a_bucket)
        with asking(in_a_bucket, bare, GC, AT["farewell"], done=True) as victim:
            victim.send(signal.SIGTERM)
            done = victim.ended()
        assert (done.code, gone(in_a_bucket)) == (128 + signal.SIGTERM, 3), done.err
        assert [*litter(in_a_bucket.stock), *wrong(in_a_bucket, "sweep")] == []


class TestTwoAtOnce:
    """Whoever sees the other gives way, so both may; the work is done once, then or by the next run."""

    @pytest.mark.parametrize("turn", range(10 if LONG else 3))
    def test_on_files(self, at_home: Trial, bare: Environment, turn: int):
        PHASES["sweep"].prepare(at_home)
        with running(at_home, bare, GC) as one, running(at_home, bare, GC) as other:
            self.check(at_home, [one.ended(), other.ended()])

    @pytest.mark.parametrize("point", ["lease", "who else"])
    def test_in_a_bucket(self, in_a_bucket: Trial, bare: Environment, point: str):
        """Both write their lease, or look who else is there, at the same time."""
        PHASES["sweep"].prepare(in_a_bucket)
        pattern = {"method": "PUT", "path": "/lease/"} if point == "lease" else {"query": "/lease/&(?!max-keys)"}
        hold = Hold()
        in_a_bucket.proxy.rules = [Rule(hold, **pattern, first=2)]
        before = in_a_bucket.proxy.faults[Hold]
        with running(in_a_bucket, bare, GC) as one, running(in_a_bucket, bare, GC) as other:
            wait_until(lambda: in_a_bucket.proxy.faults[Hold] == before + 2)
            hold.release.set()
            self.check(in_a_bucket, [one.ended(), other.ended()])

    def check(self, trial: Trial, both: list[Result]) -> None:
        assert all(done.code in (0, 11) for done in both), [done.err for done in both]
        done_by = [done.json["deleted"] for done in both if done.code == 0]
        assert sum(done_by) == gone(trial) and sorted(done_by) in ([], [3], [0, 3])
        assert len(trial.stock.own("trash")) == sum(done_by)
        assert wrong(trial, "sweep") == []


def end_leases(trial: Trial) -> None:
    """As when the time is over that a lease lasts without a sign of life."""
    for lease in trial.stock.own("lease"):
        trial.scene.raw.delete(lease)
