"""Many values on their way at once: the same moves, no more is held than may be, and a fault stays one row's."""

from __future__ import annotations

import json
import threading
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest

from tests.operations.moving import UNPROVED, codes, followed, migrate, migrating, values
from tests.operations.scene import Around, Scene
from xcomctl.errors import ExitCode, StorageError
from xcomctl.operations.concurrency import weighed
from xcomctl.operations.migrate import migration

ROWS = 40
EVERYTHING = replace(UNPROVED, threshold=0)

pytestmark = pytest.mark.stores("file")


@pytest.fixture
def full(scene: Scene) -> Scene:
    for number in range(ROWS):
        scene.world.push(
            "d", "r", "t", number, value=json.dumps({"number": number, "text": "x" * (number * 97 % 5000)})
        )
    return scene


def told(scene: Scene) -> dict[tuple[str, ...], bytes]:
    """What a reader gets for each row."""
    return {key: followed(scene, value) for key, value in values(scene).items()}


@pytest.mark.databases("sqlite-3.3", "postgresql-3.3", "postgresql-2.11", "mysql-3.3", "postgresql-3.4")
@pytest.mark.parametrize("jobs", [1, 16])
def test_the_same_moves_however_many_at_once(full: Scene, jobs: int):
    before = told(full)
    account = migrate(full, replace(EVERYTHING, jobs=jobs))
    assert (account.migrated.count, account.failures, account.exit_code) == (ROWS, [], ExitCode.OK)
    assert account.migrated.bytes == sum(map(len, before.values()))
    assert told(full) == before and len(full.urls()) == ROWS


@pytest.mark.databases("sqlite-3.3", "postgresql-3.3")
def test_a_store_that_fails_now_and_then_fails_those_rows(full: Scene):
    class Failing(Around):
        written = 0
        lock = threading.Lock()

        def create(self, name: str, data: bytes) -> None:
            with self.lock:
                self.written += 1
                number = self.written
            if number % 4 == 0:
                raise StorageError("the store is out of order")
            self.real.create(name, data)

    before = told(full)
    account = migrate(full, replace(EVERYTHING, jobs=8), Failing(full.store))
    assert (account.migrated.count, codes(account)) == (ROWS * 3 // 4, ["write_failed"] * (ROWS // 4))
    assert account.exit_code is ExitCode.PARTIAL and told(full) == before
    assert migrate(full, EVERYTHING).migrated.count == ROWS // 4 and told(full) == before


@pytest.mark.databases("postgresql-3.3")
def test_a_stop_between_batches_settles_what_was_begun(full: Scene, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(migration, "BATCH", 10)
    answers = iter([None, None, "signal"])
    with migrating(full, replace(EVERYTHING, jobs=8)) as moving:
        settled = list(moving.carry_out(lambda: next(answers)))
    assert (len(settled), moving.account.migrated.count, moving.account.stopped) == (20, 20, "signal")
    assert migrate(full, EVERYTHING).migrated.count == ROWS - 20


@pytest.mark.databases("postgresql-3.3", "sqlite-3.3")
def test_large_values_are_not_held_all_at_once(scene: Scene, monkeypatch: pytest.MonkeyPatch):
    """PostgreSQL keeps such a value in a hundredth of its length, so that its stored size tells nothing."""
    size, count = 4_000_000, 24
    monkeypatch.setattr(migration, "IN_FLIGHT_BYTES", 2 * size + 1000)
    for number in range(count):
        scene.world.push("d", "r", "t", number, value=json.dumps("x" * size))
    tracemalloc.start()
    try:
        account = migrate(scene, replace(EVERYTHING, jobs=12))
        _, highest = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert account.migrated.count == count
    assert highest < 7 * size, f"{highest:,} bytes for values of {size:,}"


def test_what_is_under_way_weighs_no_more_than_it_may():
    lock, held, most = threading.Lock(), [0], [0]
    release = threading.Event()

    def work(weight: int) -> int:
        with lock:
            held[0] += weight
            most[0] = max(most[0], held[0])
        release.wait(0.01)
        with lock:
            held[0] -= weight
        return weight

    weights = [3, 1, 4, 1, 5, 9, 2, 6, 30, 5, 3, 5]
    with ThreadPoolExecutor(8) as pool:
        assert list(weighed(pool, work, weights, lambda weight: weight, 10)) == weights
    assert most[0] == 30, "alone"


def test_who_leaves_early_begins_nothing_more():
    begun: list[Any] = []
    with ThreadPoolExecutor(1) as pool:
        results = weighed(pool, begun.append, range(100), lambda _: 1, 10)
        next(results)
        results.close()
    assert len(begun) <= 12
