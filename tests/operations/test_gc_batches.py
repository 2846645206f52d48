"""Batches of a sweep that are under way together: each keeps its order, and what breaks one begins no other."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest

from tests.lab.database import Databases
from tests.lab.proxy import Answer, FaultProxy, Reply, Request, Rule
from tests.operations.scene import Around, Scene
from tests.operations.wire import Line, line, trial_on
from xcomctl.errors import ExitCode, MetadataError
from xcomctl.ledger.audit import record_of, removed_by
from xcomctl.model import Deletion
from xcomctl.operations.gc import batches
from xcomctl.operations.gc.batches import Sweep

pytestmark = [pytest.mark.databases("sqlite-3.3"), pytest.mark.stores("file")]

LIVE, ORPHANS = 12, 24


class Told(Around):
    """The real store, which tells of each step of each batch, and takes its time to remove."""

    def __init__(self, real: Any) -> None:
        super().__init__(real)
        self.steps: list[tuple[str, frozenset[str]]] = []
        self.under_way = 0
        self.most = 0
        self.lock = threading.Lock()

    def write(self, name: str, data: bytes) -> None:
        self.real.write(name, data)
        step = next((step for step in ("intent", "outcome") if f".{step}." in name), None)
        if step is not None:
            self.steps.append((step, frozenset(json.loads(each)["name"] for each in data.splitlines())))

    def remove(self, removals: Any, way: Any, *, look_first: bool, **how: Any) -> Iterator[Deletion]:
        with self.lock:
            self.under_way += 1
            self.most = max(self.most, self.under_way)
        self.steps.append(("removal", frozenset(each.object.name for each in removals)))
        time.sleep(0.05)
        found = list(self.real.remove(removals, way, look_first=look_first, **how))
        with self.lock:
            self.under_way -= 1
        yield from found


@pytest.fixture
def leaky(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> Scene:
    """Live objects, and orphans for a dozen batches."""
    monkeypatch.setattr(batches, "BATCH", 2)
    for number in range(LIVE):
        scene.push("d", f"live {number}")
    for number in range(ORPHANS):
        scene.world.run("d", f"gone {number}")
        scene.leak("d", f"gone {number}")
    return scene


def swept(scene: Scene, store: Around) -> Any:
    account = scene.planned()
    assert account.plan.refusals == ()
    list(scene.run(account, store=store))
    return account


def in_audit(scene: Scene, operation_id: str) -> set[str]:
    """What a run has surely removed, as its audit tells."""
    control = scene.scope().control
    found = list(removed_by(control, record_of(control, operation_id)))
    assert all(each.is_certain for each in found)
    return {each.kept.object.name for each in found}


@pytest.mark.parametrize("at_once", [1, 8])
def test_the_same_goes_however_many_are_under_way(leaky: Scene, monkeypatch: pytest.MonkeyPatch, at_once: int):
    monkeypatch.setattr(batches, "AT_ONCE", at_once)
    names = {url.removeprefix("file://") for url in leaky.urls() if "gone" in url}
    store = Told(leaky.store)
    account = swept(leaky, store)
    assert (account.deleted.count, account.failures, account.exit_code) == (ORPHANS, [], ExitCode.OK)
    assert len(leaky.urls()) == LIVE and in_audit(leaky, "operation") == names
    assert store.most == 1 if at_once == 1 else 2 < store.most <= at_once
    assert [step for step, _ in store.steps[:3]] == ["intent", "removal", "outcome"], "the first goes alone"
    for batch in {batch for _, batch in store.steps}:
        assert [step for step, of in store.steps if of == batch] == ["intent", "removal", "outcome"]


def test_a_database_that_fails_lets_those_under_way_end_and_begins_no_other(leaky: Scene):
    class Failing(Told):
        def remove(self, removals: Any, way: Any, *, look_first: bool, **how: Any) -> Iterator[Deletion]:
            with self.lock:
                self.removals = getattr(self, "removals", 0) + 1
                if self.removals == 4:
                    leaky.world.sql("ALTER TABLE xcom RENAME TO hidden")
            return super().remove(removals, way, look_first=look_first, **how)

    store = Failing(leaky.store)
    account = swept(leaky, store)
    leaky.world.sql("ALTER TABLE hidden RENAME TO xcom")
    assert account.exit_code is ExitCode.PARTIAL and [f["code"] for f in account.failures] == ["broke_off"]
    assert 6 <= account.deleted.count < ORPHANS and account.deleted.count == ORPHANS + LIVE - len(leaky.urls())
    assert len(in_audit(leaky, "operation")) == account.deleted.count and not account.unanswered
    assert leaky.collect().deleted.count == ORPHANS - account.deleted.count


class Copying(Told):
    """The real store, where copies take so long that the look before them says nothing any more."""

    def __init__(self, real: Any, meanwhile: Callable[[Sequence[str]], None]) -> None:
        super().__init__(real)
        self.meanwhile = meanwhile

    def remove(self, removals: Any, way: Any, *, look_first: bool, **how: Any) -> Iterator[Deletion]:
        self.meanwhile([each.object.name for each in removals])
        return super().remove(removals, way, look_first=look_first, **how)


def test_what_has_a_row_since_it_was_copied_stays(leaky: Scene, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(batches, "FRESH_SECONDS", 0)
    revived: list[str] = []

    def push(names: Sequence[str]) -> None:
        if len(revived) < 3:
            revived.append(f"file://{names[0]}")
            run_id = names[0].split("/")[-3]
            leaky.world.push("d", run_id, "t", value=json.dumps(revived[-1]))

    account = swept(leaky, Copying(leaky.store, push))
    assert account.exit_code is ExitCode.OK and account.deleted.count == ORPHANS - 3
    assert set(revived) <= leaky.urls() and len(leaky.urls()) == LIVE + 3


def test_nothing_goes_when_nobody_can_look_again(leaky: Scene, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(batches, "FRESH_SECONDS", 0)
    hidden: list[bool] = []

    def hide(names: Sequence[str]) -> None:
        if not hidden:
            hidden.append(True)
            leaky.world.sql("ALTER TABLE xcom RENAME TO hidden")

    with pytest.raises(MetadataError):
        swept(leaky, Copying(leaky.store, hide))
    leaky.world.sql("ALTER TABLE hidden RENAME TO xcom")
    assert len(leaky.urls()) == LIVE + ORPHANS and leaky.collect().deleted.count == ORPHANS


def test_a_look_is_good_for_a_moment(leaky: Scene):
    """A batch that takes no time is looked up once."""
    looks: list[int] = []
    find = Sweep._revived

    def counted(sweep: Sweep, candidates: Sequence[Any]) -> set[str]:
        looks.append(len(candidates))
        return find(sweep, candidates)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Sweep, "_revived", counted)
        patch.setattr(batches, "FRESH_SECONDS", 60)
        assert swept(leaky, Told(leaky.store)).deleted.count == ORPHANS
    assert sum(looks) == ORPHANS


def test_who_loses_the_lease_begins_no_other(leaky: Scene):
    class Losing(Told):
        def remove(self, removals: Any, way: Any, *, look_first: bool, **how: Any) -> Iterator[Deletion]:
            control = leaky.scope().control
            control.discard([control.name_of(each) for each in control.listed("lease/")])
            return super().remove(removals, way, look_first=look_first, **how)

    account = swept(leaky, Losing(leaky.store))
    assert account.exit_code is ExitCode.PARTIAL and "lease was lost" in account.failures[0]["message"]
    assert account.deleted.count == 2 and len(leaky.urls()) == LIVE + ORPHANS - 2
    assert leaky.collect().deleted.count == ORPHANS - 2


def test_whoever_leaves_early_begins_nothing_more(leaky: Scene):
    """As a second Ctrl-C does."""
    store = Told(leaky.store)
    outcomes = leaky.run(leaky.planned(), store=store)
    for _ in range(7):
        next(outcomes)
    outcomes.close()
    time.sleep(0.5)
    left = len(leaky.urls())
    time.sleep(0.3)
    assert len(leaky.urls()) == left > LIVE
    assert leaky.collect().exit_code is ExitCode.OK and len(leaky.urls()) == LIVE


@pytest.fixture(scope="module")
def wire(ministack) -> Iterator[Line]:
    with line(ministack) as opened:
        yield opened


@pytest.mark.parametrize("way", ["trash", "versions"])
@pytest.mark.parametrize("busy", [Answer(503, "SlowDown"), Answer(500, "SlowDown"), Answer(509, "Bandwidth")], ids=repr)
def test_a_store_that_is_too_busy_is_asked_again_later(
    wire: Line, databases: Databases, monkeypatch, way: str, busy: Answer
):
    monkeypatch.setattr(batches, "BATCH", 2)
    monkeypatch.setattr(batches, "PAUSES_SECONDS", (0.02,) * 30)
    with trial_on(wire, databases, way) as trial:
        for number in range(ORPHANS):
            trial.scene.leak("steady", f"gone {number}")
            trial.scene.push("steady", f"live {number}")
        before = wire.proxy.faults[Answer]
        wire.proxy.rules = [Rule(busy, query="^delete$", body="/steady/gone", after=2, first=20)]
        account = trial.scene.collect(store=trial.proxied())
        assert account.failures == [] and account.exit_code is ExitCode.OK
        assert account.slow_downs == wire.proxy.faults[Answer] - before == 20, (
            "who sends it again looks for new rows before"
        )
        assert account.deleted.count >= ORPHANS
        assert not [url for url in trial.scene.urls() if "steady/gone" in url]


@pytest.mark.parametrize("way", ["trash", "versions"])
def test_what_has_a_row_since_the_store_was_too_busy_stays(wire: Line, databases: Databases, monkeypatch, way: str):
    monkeypatch.setattr(batches, "PAUSES_SECONDS", (0.02,) * 5)
    monkeypatch.setattr(batches, "FRESH_SECONDS", 60)
    busy = Answer(503, "SlowDown")
    with trial_on(wire, databases, way) as trial:
        trial.scene.push("steady", "live")
        again, gone = trial.scene.leak("steady", "again"), trial.scene.leak("steady", "gone")

        def refuse(request: Request, proxy: FaultProxy) -> Reply:
            trial.scene.world.push("steady", "again", "t", value=json.dumps(again))
            return busy(request, proxy)

        wire.proxy.rules = [Rule(refuse, query="^delete$", body="/steady/again", first=1)]
        account = trial.scene.collect(store=trial.proxied())
        assert account.slow_downs == 1 and {again, gone} & trial.scene.urls() == {again}


def test_a_width_grows_by_one_halves_once_a_round_and_grows_slowly_then():
    width = batches.Width(8)
    for _ in range(20):
        width.widen()
    assert width.allowed == 8
    begun_at = time.monotonic()
    for _ in range(8):
        width.narrow(begun_at)
    assert (width.allowed, width.slow_downs) == (4, 8)
    for _ in range(4):
        width.widen()
    assert 4.5 < width.allowed <= 5
    for _ in range(9):
        width.narrow(time.monotonic())
    assert width.allowed == 1
