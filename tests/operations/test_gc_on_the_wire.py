"""gc where the way to its store, or to its database, is bad: whatever breaks, nothing live is lost and no report lies.

After every fault clean runs must complete the work as if nothing had been, and an undo must bring all of it back. By
default each kind of request meets some fault; with XCOMCTL_TEST_LONG=1 each request of each step meets every one.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from itertools import cycle
from pathlib import Path
from typing import Any

import pytest

from tests import schemas
from tests.backend.storage.kinds import CONDITIONAL
from tests.lab import postgres, s3
from tests.lab.database import Database, Databases
from tests.lab.effort import LONG
from tests.lab.folder import Folder
from tests.lab.proxy import Answer, Cut, Delay, Fault, FaultProxy, HoldAfter, Lost, Reply, Request, Reset, Rule, Silent
from tests.lab.s3_answers import Refuse, missing_keys, repeated_page, stripped, substituted, truncated_page
from tests.lab.world import World
from tests.operations.broken_postgres import BrokenPostgres
from tests.operations.scene import BASE_FOLDER, Around, Scene
from tests.operations.wire import (
    PATIENCE_SECONDS,
    PHASES,
    TRIES,
    Bad,
    Before,
    Line,
    Stock,
    Trial,
    disturbed,
    kind,
    line,
    litter,
    lost,
    struck,
    trial_on,
    undisturbed,
    unfinished,
    untrue,
)
from xcomctl.backend.storage import Store
from xcomctl.backend.storage.local import LocalStore
from xcomctl.errors import ExitCode
from xcomctl.model import Deletion, Removal, StoredObject, WayBack

WAYS = ("trash", "versions")
LATE_SECONDS = 1.5 * PATIENCE_SECONDS
TOLD_TWICE = "versions" if CONDITIONAL else "trash"
"""How deletes are undone whose answers get lost: without conditions two markers may stay, for a person to undo."""


def denied() -> Fault:
    return Answer(403, "AccessDenied")


def slow_down() -> Fault:
    return Answer(503, "SlowDown")


BADS = {
    "lost": Bad(Lost, mends=True),
    "denied": Bad(denied),
    "reset": Bad(Reset, mends=True),
    "lost each time": Bad(Lost, TRIES),
    "silent": Bad(Silent, mends=True),
    "slow down each time": Bad(slow_down, TRIES),
    "done and silent": Bad(HoldAfter, mends=True),
    "lost from here on": Bad(Lost, None),
    "late": Bad(lambda: Delay(LATE_SECONDS), mends=True, lasts=LATE_SECONDS),
    "cut": Bad(Cut),
    "slow down": Bad(slow_down, mends=True),
    "done and silent each time": Bad(HoldAfter, TRIES),
    "reset from here on": Bad(Reset, None),
    "internal error": Bad(lambda: Answer(500, "InternalError"), mends=True),
    "denied from here on": Bad(denied, None),
}

POINTS = {
    "mark": {"PUT run": (1,), "PUT marks": (1,), "PUT claim": (1,), "TIME": (4,)},
    "sweep": {
        **{f"LIST {part}": (1,) for part in ("lease", "canary", "marks", "audit")},
        **{f"GET {part}": (1,) for part in ("claim", "lease", "versioning", "marks", "run")},
        "LIST base": (1, 2),
        "HEAD canary": (1, 2),
        "VERSIONS canary": (1,),
        "TIME": (1, 5, 7),
        "PUT lease": (1,),
        "PUT canary": (1, 2),
        "PUT run": (1, 2),
        "PUT claim": (1,),
        "PUT marks": (1,),
        "POST delete": (-4, -1),
    },
    "heal": {
        "GET intent": (1,),
        "GET outcome": (1,),
        "HEAD object": (1, 2),
        "PUT object": (1,),
        "POST delete": (-2,),
        "VERSIONS object": (1,),
        "UNHIDE": (1,),
        "PUT returned": (1,),
    },
    "empty": {"LIST trash": (1,), "POST delete": (-2,), "PUT emptied": (1,)},
    "restore": {
        "GET run": (1,),
        "PUT lease": (1,),
        "GET intent": (1,),
        "GET outcome": (2,),
        "PUT marks": (1,),
        "HEAD object": (1,),
        "PUT object": (1, 3),
        "VERSIONS object": (2,),
        "UNHIDE": (1,),
        "PUT returned": (1, 2),
        "POST delete": (-2,),
    },
}
"""Of each kind of request in each phase the ones that meet a fault, in the order of their coming; -1 is the last."""

DEEDS = {
    "PUT intent": (1, 2),
    "PUT trash": (1, 3),
    "POST delete": (-3, -2),
    "DELETE object": (1,),
    "PUT outcome": (1, 2),
}
DEADLY = ("denied", "lost each time", "lost from here on")
"""What the sweep does for good meets all of these."""

ONE_WAY = {
    **dict.fromkeys(("PUT trash", "LIST trash", "PUT object", "HEAD object", "DELETE object"), "trash"),
    **dict.fromkeys(("VERSIONS object", "VERSIONS canary", "UNHIDE"), "versions"),
    **({} if CONDITIONAL else {"POST delete": "trash"}),
}


@dataclass(frozen=True, slots=True)
class Point:
    """The `nth` request of a kind in a phase, and what happens to it."""

    phase: str
    kind: str
    nth: int
    bad: str
    way: str

    def __str__(self) -> str:
        return f"{self.phase} {self.way}, {self.kind} {self.nth}, {self.bad}"


def points() -> Iterator[Point]:
    """Every kind of request meets some fault, and every fault some kinds."""
    bads, ways = cycle(BADS), cycle(WAYS)
    for phase, kinds in POINTS.items():
        for wanted, numbers in kinds.items():
            for nth in numbers:
                yield Point(phase, wanted, nth, next(bads), ONE_WAY.get(wanted) or next(ways))
    for wanted, numbers in DEEDS.items():
        for nth in numbers:
            for bad in DEADLY:
                yield Point("sweep", wanted, nth, bad, ONE_WAY.get(wanted) or next(ways))


@dataclass
class Wire:
    """A line to a server, and the requests of each step there when nothing disturbs it."""

    line: Line
    databases: Databases
    known: dict[tuple[str, str], Sequence[str]] = field(default_factory=dict)

    def trial(self, way: str) -> AbstractContextManager[Trial]:
        return trial_on(self.line, self.databases, way)

    def kinds(self, phase: str, way: str) -> Sequence[str]:
        """The kinds of the requests, in the order of their coming."""
        if (phase, way) not in self.known:
            with self.trial(way) as trial:
                self.known[phase, way] = [kind(seen) for seen in undisturbed(trial, PHASES[phase])]
        return self.known[phase, way]

    def wrong_at(self, point: Point) -> list[str]:
        """What is wrong after one fault."""
        kinds = self.kinds(point.phase, point.way)
        numbers = [number for number, each in enumerate(kinds, 1) if each == point.kind]
        nth = point.nth - 1 if point.nth > 0 else point.nth
        assert -len(numbers) <= nth < len(numbers), f"no {point} among {kinds}"
        with self.trial(point.way) as trial:
            return list(disturbed(trial, PHASES[point.phase], BADS[point.bad], numbers[nth]))


@pytest.fixture(scope="module")
def wire(ministack: s3.S3Server, databases: Databases) -> Iterator[Wire]:
    with line(ministack) as opened:
        yield Wire(opened, databases)


@pytest.fixture(scope="module")
def real_wire(seaweedfs: s3.S3Server, databases: Databases) -> Iterator[Wire]:
    with line(seaweedfs) as opened:
        yield Wire(opened, databases)


@pytest.mark.parametrize("point", [*points()], ids=str)
def test_one_fault(wire: Wire, point: Point):
    assert wire.wrong_at(point) == []


@pytest.mark.parametrize(
    "point",
    [
        Point("sweep", "LIST base", 2, "cut", "trash"),
        Point("sweep", "PUT trash", 1, "lost each time", "trash"),
        Point("sweep", "POST delete", -3, "done and silent each time", "trash"),
        Point("sweep", "POST delete", -3, "lost", "versions"),
        Point("sweep", "PUT outcome", 1, "lost from here on", "versions"),
        Point("restore", "PUT object", 2, "lost each time", "trash"),
        Point("restore", "UNHIDE", 2, "lost", "versions"),
    ],
    ids=str,
)
def test_one_fault_at_a_real_server(real_wire: Wire, point: Point):
    assert real_wire.wrong_at(point) == []


@pytest.mark.long
@pytest.mark.parametrize("way", sorted({"trash", TOLD_TWICE}))
@pytest.mark.parametrize("phase", PHASES)
@pytest.mark.parametrize("bad", BADS)
def test_a_fault_at_each_request(wire: Wire, phase: str, way: str, bad: str):
    wrong: list[str] = []
    for number in range(1, len(wire.kinds(phase, way)) + 1):
        with wire.trial(way) as trial:
            wrong += disturbed(trial, PHASES[phase], BADS[bad], number)
    assert not wrong, "\n".join(wrong)


@dataclass(frozen=True, slots=True)
class Paged:
    """The store is asked for pages of so few keys. What it says of the later ones goes through another fault."""

    then: Fault | None = None
    size: int = 3

    def __call__(self, request: Request, proxy: FaultProxy) -> Reply:
        asked = replace(request, target=f"{request.target}&max-keys={self.size}")
        return self.then(asked, proxy) if self.then and _is_later(request) else proxy.forward(asked)


def _is_later(request: Request) -> bool:
    """Whether a page is asked for that is not the first of all."""
    return re.search(f"token|start-after|prefix={BASE_FOLDER}/[^&]", request.query) is not None


def listed(fault: Fault) -> Rule:
    """What befalls every listing of the base path."""
    return Rule(fault, query=f"prefix={BASE_FOLDER}/(?!_xcomctl)[^&]*(&(?!max-keys)|$)")


@dataclass(frozen=True, slots=True)
class Spoilt:
    """What a store says that is not true, or refuses; and how a run ends that hears it."""

    rules: Sequence[Rule]
    code: int
    says: str = ""
    phases: Sequence[str] = ("sweep",)
    way: str = "trash"
    old: bool = False
    """Whether the objects must be older than the second in which the listing begins."""


LOOKING = ("mark", "sweep")
UNQUOTED = substituted(rb"(<ETag>)(?:&quot;|\")(.*?)(?:&quot;|\")(</ETag>)", rb"\1\2\3")
SPOILT = {
    "pages": Spoilt([listed(Paged())], 0, phases=LOOKING),
    "a page without a way on": Spoilt([listed(truncated_page())], 12, "without a way on", LOOKING),
    "a page that comes twice": Spoilt([listed(Paged(repeated_page()))], 12, "without a way on", LOOKING),
    "a page of another prefix": Spoilt(
        [listed(Paged(substituted(rb"<Key>p", rb"<Key>q")))], 12, "what is not in it", LOOKING
    ),
    "a page that is none": Spoilt(
        [listed(Paged(substituted(rb"(?s).+", b"<html>busy</html>")))], 12, "that is no page", LOOKING
    ),
    "a page that is cut": Spoilt([listed(Paged(Cut()))], 12, "cannot list", LOOKING),
    "a page that is denied": Spoilt([listed(Paged(denied()))], 12, "AccessDenied", LOOKING),
    "a listing without canaries": Spoilt([listed(missing_keys("/canary/"))], 5, "incomplete-listing", LOOKING),
    "a listing without one canary": Spoilt([listed(missing_keys("canary/orphan"))], 5, "incomplete-listing"),
    "a listing without a live object": Spoilt(
        [listed(missing_keys("run 1/"))], 5, "incomplete-listing", LOOKING, old=True
    ),
    "a page without live objects": Spoilt([listed(Paged(missing_keys("/run ")))], 5, "incomplete-listing", old=True),
    "an empty listing": Spoilt([listed(missing_keys(""))], 5, "incomplete-listing", LOOKING),
    "a listing without an orphan": Spoilt([listed(missing_keys("gone/"))], 0, phases=LOOKING),
    "no date": Spoilt([Rule(stripped("date"))], 12, "does not tell the time", LOOKING),
    "no last change": Spoilt([listed(substituted(rb"<LastModified>.*?</LastModified>", b""))], 0, phases=LOOKING),
    "tags without quotes": Spoilt([listed(UNQUOTED)], 0, phases=LOOKING),
    "nothing is allowed": Spoilt([Rule(denied())], 12, "AccessDenied", (*LOOKING, "restore")),
    "always too fast": Spoilt([Rule(slow_down())], 12, "SlowDown", (*LOOKING, "restore")),
    "no write is allowed": Spoilt([Rule(denied(), method="PUT")], 12, "cannot keep its state", (*LOOKING, "restore")),
    "no canary is allowed": Spoilt([Rule(denied(), method="PUT", path="canary")], 12, "cannot put its canary"),
    "no copy is allowed": Spoilt([Rule(denied(), method="PUT", path="/trash/")], 12, "cannot copy"),
    "no deletion is allowed": Spoilt([Rule(denied(), method="POST|DELETE")], 12, "cannot delete", way="versions"),
    "no intent can be written": Spoilt([Rule(denied(), path="intent")], 12, "cannot keep its state"),
    "no outcome can be written": Spoilt([Rule(denied(), method="PUT", path="outcome")], 3, "cannot keep its state"),
    "some may not go": Spoilt([Rule(Refuse("/gone/"))], 3, "AccessDenied"),
    "some may not be hidden": Spoilt([Rule(Refuse("/gone/"))], 3, "AccessDenied", way="versions"),
    "none may go": Spoilt([Rule(denied(), "DELETE"), Rule(Refuse("/gone"))], 12, "AccessDenied"),
    "the store fails for some": Spoilt([Rule(Refuse("/gone/", "InternalError"))], 3, "InternalError"),
    "a batch goes, and nobody says what": Spoilt(
        [Rule(substituted(rb"<Deleted><Key>[^<]*</Key>", rb"<Deleted>"), query="^delete$", body="/gone/")],
        3,
        "did not say",
        way=TOLD_TWICE,
    ),
    "a batch is lost": Spoilt([Rule(Lost(), query="^delete$", body="/gone/")], 3, "cannot delete", way=TOLD_TWICE),
    "a batch is silent": Spoilt(
        [Rule(HoldAfter(), body="<Key>.*/gone/", first=TRIES)], 3, "cannot delete", way=TOLD_TWICE
    ),
    "nothing may be healed": Spoilt([Rule(denied(), "PUT", path="/gone")], 3, "cannot restore", ("heal",)),
    "nothing may be unhidden": Spoilt([Rule(denied(), query="versionId")], 3, "cannot restore", ("heal",), "versions"),
    "nothing comes back": Spoilt([Rule(denied(), "PUT", path="/gone")], 12, "cannot restore", ("restore",)),
    "the trash may not be emptied": Spoilt([Rule(Refuse("/trash/"))], 3, "cannot delete", ("empty",)),
}


@pytest.mark.parametrize("name", SPOILT)
def test_what_a_store_says(wire: Wire, name: str):
    spoilt = SPOILT[name]
    for phase in spoilt.phases:
        with wire.trial(spoilt.way) as trial:
            time.sleep(1.1 if spoilt.old else 0)
            before, ran = struck(trial, PHASES[phase], list(spoilt.rules))
            assert (ran.code, spoilt.says in ran.says) == (spoilt.code, True), (phase, ran.code, ran.says)
            wrong = [*lost(trial.stock), *untrue(trial.stock, before, ran), *unfinished(trial, PHASES[phase])]
            assert wrong == []


def test_objects_that_may_not_even_be_looked_up(wire: Wire):
    """Many rows lead nowhere, as where the credentials see only a part of the objects."""
    with wire.trial("trash") as trial:
        for number in range(11):
            trial.stock.live(f"hidden {number}", json.dumps)
        rules = [listed(missing_keys("/hidden ")), Rule(Answer(404, "NoSuchKey"), method="HEAD", path="/hidden ")]
        time.sleep(1.1)
        before, ran = struck(trial, PHASES["sweep"], rules)
        assert ran.code == ExitCode.REFUSED and "dangling: 11 of 12 references lead to no object" in ran.says
        assert [*lost(trial.stock), *untrue(trial.stock, before, ran), *unfinished(trial, PHASES["sweep"])] == []


class Interrupted(Around):
    """A store around which something happens once: when all objects were listed, or when the first batch is gone."""

    def __init__(self, real: Store, moment: str, act: Callable[[], None]) -> None:
        super().__init__(real)
        self._acts = {moment: act}

    def _reach(self, moment: str) -> None:
        self._acts.pop(moment, lambda: None)()

    def objects(self, prefix: str) -> Iterator[StoredObject]:
        yield from self.real.objects(prefix)
        if prefix.endswith(f"/{BASE_FOLDER}/"):
            self._reach("listed")

    def remove(self, removals: Sequence[Removal], way: WayBack, *, look_first: bool, **how: Any) -> Iterator[Deletion]:
        yield from self.real.remove(removals, way, look_first=look_first, **how)
        if not any("/canary/" in removal.object.name for removal in removals):
            self._reach("first batch")


@pytest.fixture(scope="module")
def server() -> Iterator[postgres.PostgresServer]:
    with postgres.own_server() as own:
        yield own


@pytest.fixture(scope="module")
def airflow_url(server: postgres.PostgresServer) -> Iterator[str]:
    """One database is enough: each test has a base path of its own."""
    with postgres.fresh_database(server) as url:
        schemas.load(url, "3.3")
        yield url


@pytest.fixture
def broken(airflow_url: str) -> Iterator[BrokenPostgres]:
    broken = BrokenPostgres(airflow_url)
    yield broken
    broken.start()


@contextmanager
def at_home(url: str, folder: Path) -> Iterator[Trial]:
    """A trial with its objects in local files."""
    (folder / BASE_FOLDER).mkdir(parents=True)
    with World(Database(url, "postgresql", "3.3")) as world:
        stock = Stock.of(Scene(world.database, world, Folder(folder)))
        yield Trial(stock, stock.scene.catalog, LocalStore)


@pytest.mark.parametrize(
    ("moment", "what", "codes"),
    [
        ("listed", "end_sessions", {0}),
        ("listed", "end_in_mid_query", {10}),
        ("listed", "crash", {0, 10}),
        ("listed", "stop", {10}),
        ("listed", "restart", {0}),
        ("first batch", "end_sessions", {0}),
        ("first batch", "end_in_mid_query", {3}),
        ("first batch", "crash", {0, 3}),
        ("first batch", "stop", {3}),
        ("first batch", "restart", {0}),
    ],
)
def test_a_database_that_goes_away(
    airflow_url: str, tmp_path: Path, broken: BrokenPostgres, moment: str, what: str, codes: Collection[int]
):
    with at_home(airflow_url, tmp_path) as trial:
        assert trial.collect().code == 0
        trial.opened = lambda: Interrupted(LocalStore(), moment, getattr(broken, what))
        before, ran = Before.of(trial), trial.collect()
        trial.opened = LocalStore
        broken.start()
        assert ran.code in codes, ran.says
        wrong = [*lost(trial.stock), *untrue(trial.stock, before, ran), *litter(trial.stock)]
        assert [*wrong, *unfinished(trial, PHASES["sweep"])] == []


@pytest.mark.parametrize("name", ["mark", "sweep"])
def test_a_session_that_ends_at_any_statement(airflow_url: str, tmp_path: Path, broken: BrokenPostgres, name: str):
    phase = PHASES[name]
    with at_home(airflow_url, tmp_path / "undisturbed") as trial:
        phase.prepare(trial)
        with broken.ending_at(0) as statements:
            assert phase.act(trial).code == 0
    wrong: list[str] = []
    for number in range(1, len(statements) + 1, 1 if LONG else 4):
        with at_home(airflow_url, tmp_path / str(number)) as trial:
            phase.prepare(trial)
            before = Before.of(trial)
            with broken.ending_at(number):
                ran = phase.act(trial)
            found = [*lost(trial.stock), *untrue(trial.stock, before, ran), *litter(trial.stock)]
            found += [] if ran.code in (0, 3, 10) else [f"it ends with {ran.code}: {ran.says}"]
            found += unfinished(trial, phase)
        wrong += [f"{number}, {statements[number - 1]}: {each}" for each in found]
    assert wrong == []
