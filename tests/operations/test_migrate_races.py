"""A task that pushes, clears and deletes the very rows that are moved there and back, as fast as it can.

No update is lost, no reader gets another value than was pushed last, and no row refers to what is not there.
"""

from __future__ import annotations

import json
import random
import threading
import time
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.engine import Connection, Engine

from tests.lab.effort import LONG
from tests.operations.moving import UNPROVED, followed, migrate
from tests.operations.scene import Scene
from xcomctl.errors import XcomctlError
from xcomctl.operations.migrate import Destination

SECONDS = 120 if LONG else 8
SLOTS = 12
DIRECTIONS = (
    replace(UNPROVED, threshold=0, jobs=4),
    replace(UNPROVED, to=Destination.INLINE, jobs=4),
)

pytestmark = [
    pytest.mark.databases("postgresql-3.3", "postgresql-2.11", "mysql-3.3", "mysql-2.11"),
    pytest.mark.stores("file"),
]


@dataclass
class Slot:
    """One XCom: how often it was pushed, and how often that had begun; odd when it was deleted last."""

    number: int
    key: dict[str, Any]
    begun: int = 0
    done: int = 0
    is_there: bool = True

    def value(self, push: int) -> str:
        return json.dumps({"slot": self.number, "push": push, "text": "x" * random.Random(push).randrange(3000)})


@dataclass
class Race:
    """The rows, who changes them, who reads them."""

    scene: Scene
    engine: Engine
    slots: list[Slot]
    until: float = field(default_factory=lambda: time.monotonic() + SECONDS)
    wrong: list[str] = field(default_factory=list)
    pushes: int = 0
    reads: int = 0

    @property
    def is_on(self) -> bool:
        return time.monotonic() < self.until and not self.wrong

    def guarded(self, work: Any) -> None:
        try:
            while self.is_on:
                work()
        except Exception as error:  # a thread's failure is the test's
            self.wrong.append(f"{work.__name__}: {type(error).__name__}: {error}")

    def push(self) -> None:
        """As Airflow does: what is there is deleted, and the new value inserted, in one transaction."""
        slot = random.choice(self.slots)
        deed = random.random()
        slot.begun += 1
        with self.engine.begin() as connection:
            connection.execute(text(f"DELETE FROM xcom WHERE {WHERE}"), slot.key)
            if deed < 0.85:
                self.insert(connection, slot, slot.begun)
        slot.is_there = deed < 0.85
        slot.done = slot.begun
        self.pushes += 1

    def insert(self, connection: Connection, slot: Slot, push: int) -> None:
        value: Any = slot.value(push)
        place = ":value"
        if self.scene.database.label == "2.11":
            value = value.encode()
        elif self.scene.database.dialect == "postgresql":
            place = "CAST(:value AS JSONB)"
        columns = "dag_id, run_id, task_id, map_index, `key`, dag_run_id, value, timestamp"
        query = f"INSERT INTO xcom ({columns}) VALUES (:dag_id, :run_id, :task_id, -1, 'k', :dag_run_id, {place}, :at)"
        if self.scene.database.dialect == "postgresql":
            query = query.replace("`", "")
        connection.execute(text(query), {**slot.key, "value": value, "at": "2026-01-01 00:00:00"})

    def read(self) -> None:
        """A task downstream: what it gets was there when it asked."""
        slot = random.choice(self.slots)
        before = slot.done
        with self.engine.connect() as connection:
            whole = "CAST(value AS TEXT)" if self.is_jsonb else "value"
            stored = connection.execute(text(f"SELECT {whole} FROM xcom WHERE {WHERE}"), slot.key).scalar()
        if stored is not None:
            told = json.loads(followed(self.scene, bytes(stored) if not isinstance(stored, str) else stored.encode()))
            if told["slot"] != slot.number or not before <= told["push"] <= slot.begun:
                self.wrong.append(f"slot {slot.number}: read push {told['push']} between {before} and {slot.begun}")
        self.reads += 1

    @property
    def is_jsonb(self) -> bool:
        return (self.scene.database.dialect, self.scene.database.label) == ("postgresql", "3.3")


WHERE = "dag_id = :dag_id AND run_id = :run_id AND task_id = :task_id AND dag_run_id = :dag_run_id"


@pytest.fixture
def race(scene: Scene) -> Race:
    slots = []
    for number in range(SLOTS):
        scene.world.push("d", f"r{number}", "t", key="k", value=Slot(number, {}).value(0))
        ((run,),) = scene.world.sql("SELECT id FROM dag_run WHERE run_id = :run_id", run_id=f"r{number}")
        slots.append(Slot(number, {"dag_id": "d", "run_id": f"r{number}", "task_id": "t", "dag_run_id": run}))
    return Race(scene, create_engine(scene.database.url, pool_size=4), slots)


def test_nothing_is_lost(race: Race):
    threads = [threading.Thread(target=race.guarded, args=(work,)) for work in (race.push, race.read, race.read)]
    for thread in threads:
        thread.start()
    moved, tried, codes = 0, 0, set()
    while race.is_on:
        for rules in DIRECTIONS:
            try:
                account = migrate(race.scene, rules)
            except XcomctlError as error:  # a lock that was waited for, a deadlock
                codes.add(error.message)
                continue
            moved, tried = moved + account.migrated.count, tried + account.plan.movable.count
            codes |= {str(failure["code"]) for failure in account.failures}
    for thread in threads:
        thread.join()
    assert race.wrong == []
    assert codes <= {"changed", "swap_failed"}, codes
    assert moved > SECONDS and min(race.pushes, race.reads) > 10 * SECONDS, (moved, race)
    for slot in race.slots:
        with race.engine.connect() as connection:
            whole = "CAST(value AS TEXT)" if race.is_jsonb else "value"
            rows = connection.execute(text(f"SELECT {whole} FROM xcom WHERE {WHERE}"), slot.key).scalars().all()
        told = [json.loads(followed(race.scene, r.encode() if isinstance(r, str) else bytes(r)))["push"] for r in rows]
        assert told == ([slot.done] if slot.is_there else []), slot
    race.engine.dispose()
    print(f"{race.pushes} pushes, {race.reads} reads, {moved} moved, {sorted(codes)}")
