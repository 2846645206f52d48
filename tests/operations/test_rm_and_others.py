"""rm beside everybody else: who clears a run, pushes a row anew, or deletes it, while rm is after the same rows.

What rm deleted the database itself tells, by a trigger: the value as it was, and what its run and tasks were up to.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.exc import DBAPIError

from tests.lab.database import Database
from tests.lab.effort import LONG
from tests.lab.world import World
from xcomctl.catalog import open_catalog
from xcomctl.catalog.removing import Remover, Settled
from xcomctl.model import Filter
from xcomctl.operations.rm import Rules, removing

SECONDS = 120 if LONG else 3
WRITERS = 4
RUNS = 6
KEYS = ("a", "b", "c")

LOG = (
    "CREATE TABLE deleted_by_rm (run_id VARCHAR(250), xcom_key VARCHAR(250), value TEXT, run VARCHAR(20), working INT)"
)
FACTS = """
(SELECT state FROM dag_run r WHERE r.id = OLD.dag_run_id),
(SELECT COUNT(*) FROM task_instance t WHERE t.dag_id = OLD.dag_id AND t.run_id = OLD.run_id
    AND t.task_id = OLD.task_id AND (t.state IS NULL OR t.state <> 'success'))
"""
TRIGGERS = {
    "postgresql": (
        f"""CREATE FUNCTION note() RETURNS trigger AS $$ BEGIN
            IF current_setting('application_name') <> 'writer' THEN
                INSERT INTO deleted_by_rm SELECT OLD.run_id, OLD.key, OLD.value::text, {FACTS};
            END IF; RETURN OLD; END $$ LANGUAGE plpgsql""",
        "CREATE TRIGGER note BEFORE DELETE ON xcom FOR EACH ROW EXECUTE FUNCTION note()",
    ),
    "mysql": (
        f"""CREATE TRIGGER note BEFORE DELETE ON xcom FOR EACH ROW
            INSERT INTO deleted_by_rm SELECT OLD.run_id, OLD.key, OLD.value, {FACTS} FROM DUAL WHERE @writer IS NULL""",
    ),
}
LOCKED = ("deadlock", "lock", "restart", "changed since last read")


@dataclass
class Airflow:
    """Writers at work on the same few runs, each with a connection of its own."""

    world: World
    engine: Engine
    wrong: list[str] = field(default_factory=list)
    deeds: int = 0
    stop: threading.Event = field(default_factory=threading.Event)
    turns: dict[str, threading.Lock] = field(default_factory=dict)

    def work(self, seed: int) -> None:
        dice = random.Random(seed)
        while not self.stop.is_set():
            run_id = f"r {dice.randrange(RUNS)}"
            deed: Callable[[Connection, str, random.Random], None] = dice.choice(
                [self.clear_and_run, self.clear_and_run, self.push, self.edit, self.delete]
            )
            with self.turns[run_id]:  # Airflow, too, has one scheduler at a time look at a run
                try:
                    with self.engine.connect() as connection:
                        deed(connection, run_id, dice)
                except DBAPIError as error:
                    if not any(word in str(error).lower() for word in LOCKED):
                        self.wrong.append(str(error))
                self.deeds += 1

    def clear_and_run(self, connection: Connection, run_id: str, dice: random.Random) -> None:
        """What is there once the run is cleared must be there until it is over again."""
        with connection.begin():
            steps = [
                "UPDATE dag_run SET state = 'queued' WHERE run_id = :run",
                "UPDATE task_instance SET state = NULL WHERE run_id = :run",
            ]
            for step in steps if dice.random() < 0.7 else steps[::-1]:
                connection.execute(text(step), {"run": run_id})
        before = self.held(connection, run_id)
        time.sleep(dice.random() * 0.02)
        for _ in range(dice.randrange(3)):
            key = dice.choice(KEYS)
            before[key] = self.put(connection, run_id, key, dice)
            time.sleep(dice.random() * 0.01)
        after = self.held(connection, run_id)
        if before != after:
            self.wrong.append(f"{run_id}: {before} became {after} while it was at work")
        with connection.begin():
            connection.execute(text("UPDATE task_instance SET state = 'success' WHERE run_id = :run"), {"run": run_id})
            connection.execute(text("UPDATE dag_run SET state = 'success' WHERE run_id = :run"), {"run": run_id})

    def push(self, connection: Connection, run_id: str, dice: random.Random) -> None:
        self.put(connection, run_id, dice.choice(KEYS), dice)

    def put(self, connection: Connection, run_id: str, key: str, dice: random.Random) -> str:
        """As `XCom.set`: delete and insert."""
        value = str(dice.randrange(10**9))
        place = {"run": run_id, "xcom_key": key}
        with connection.begin():
            connection.execute(text(f"DELETE FROM xcom WHERE run_id = :run AND {self.key} = :xcom_key"), place)
            insert = f"""INSERT INTO xcom (dag_run_id, dag_id, run_id, task_id, map_index, {self.key}, value, timestamp)
                SELECT id, dag_id, run_id, 't', -1, :xcom_key, {self.json}, CURRENT_TIMESTAMP(6)
                FROM dag_run WHERE run_id = :run"""
            connection.execute(text(insert), {**place, "value": value})
        return value

    def edit(self, connection: Connection, run_id: str, dice: random.Random) -> None:
        """As the REST API of 3.0: another value, at the same time."""
        with connection.begin():
            connection.execute(
                text(f"UPDATE xcom SET value = {self.json} WHERE run_id = :run AND {self.key} = :xcom_key"),
                {"run": run_id, "xcom_key": dice.choice(KEYS), "value": str(dice.randrange(10**9))},
            )

    def delete(self, connection: Connection, run_id: str, dice: random.Random) -> None:
        with connection.begin():
            place = {"run": run_id, "xcom_key": dice.choice(KEYS)}
            connection.execute(text(f"DELETE FROM xcom WHERE run_id = :run AND {self.key} = :xcom_key"), place)

    def held(self, connection: Connection, run_id: str) -> dict[str, str]:
        with connection.begin():
            found = connection.execute(text(f"SELECT {self.key}, value FROM xcom WHERE run_id = :r"), {"r": run_id})
            return {key: str(value) for key, value in found}

    @property
    def key(self) -> str:
        return "`key`" if self.engine.dialect.name == "mysql" else "key"

    @property
    def json(self) -> str:
        return "CAST(:value AS JSONB)" if self.engine.dialect.name == "postgresql" else ":value"


@contextmanager
def at_work(world: World, database: Database) -> Iterator[Airflow]:
    """An Airflow whose writers are at work while the block lasts."""
    world.sql(LOG)
    for statement in TRIGGERS[database.dialect]:
        world.sql(statement.replace(":", "\\:"))
    for number in range(RUNS):
        for key in KEYS:
            world.push("d", f"r {number}", "t", key=key, value="1")
    arguments = (
        {"application_name": "writer"} if database.dialect == "postgresql" else {"init_command": "SET @writer = 1"}
    )
    engine = create_engine(database.url, pool_size=WRITERS, connect_args=arguments)
    airflow = Airflow(world, engine, turns={f"r {number}": threading.Lock() for number in range(RUNS)})
    threads = [threading.Thread(target=airflow.work, args=(seed,)) for seed in range(WRITERS)]
    try:
        for thread in threads:
            thread.start()
        yield airflow
    finally:
        airflow.stop.set()
        for thread in threads:
            thread.join()
        drop = "DROP FUNCTION note CASCADE" if database.dialect == "postgresql" else "DROP TRIGGER note"
        world.sql(drop)
        engine.dispose()


@pytest.mark.databases("postgresql-3.3", "mysql-3.3")
@pytest.mark.parametrize("archive", [False, True])
def test_only_what_was_read_goes_and_only_while_nobody_is_at_work(
    database: Database, world: World, archive: bool, monkeypatch: pytest.MonkeyPatch
):
    taken: list[tuple[str, str, str | None]] = []
    real = Remover.remove

    def remove(self, rows, archive=None):
        time.sleep(random.random() * 0.01)  # the longer it thinks, the more happens
        settled = real(self, rows, archive)
        taken.extend((r.xcom.run_id, r.xcom.key, r.digest) for r, fate in settled.items() if fate is Settled.REMOVED)
        return settled

    monkeypatch.setattr(Remover, "remove", remove)
    catalog = open_catalog(database.url, None, None)
    reasons: dict[str, int] = {}
    archives: list[str] = []
    runs = locked = 0
    with at_work(world, database) as airflow:
        ends_at = time.monotonic() + SECONDS
        while time.monotonic() < ends_at:
            with removing([catalog], None, Rules(Filter(dag_ids=("d",)), archive=archive)) as removal:
                list(removal.carry_out())
            runs += 1
            archives += removal.account.archives
            locked += removal.account.failed.count
            for reason, tally in removal.account.skipped.items():
                reasons[reason.value] = reasons.get(reason.value, 0) + tally.count
    assert airflow.wrong == []
    digest = {"postgresql": "encode(sha256(convert_to(value, 'UTF8')), 'hex')", "mysql": "sha2(value, 256)"}
    told = world.sql(f"SELECT run_id, xcom_key, {digest[database.dialect]}, run, working FROM deleted_by_rm")
    assert sorted(row[:3] for row in told) == sorted(taken) and len(taken) > 10
    assert {row[3:] for row in told} == {("success", 0)}
    archived = [row for name in archives for row in world.sql(f"SELECT run_id, value FROM {name}")]
    assert len(archived) == (len(taken) if archive else 0)
    assert airflow.deeds > 50 and (not LONG or {"changed", "run_unfinished"} <= reasons.keys())
    print(f"{airflow.deeds} deeds, {runs} runs, {len(taken)} rows, kept {reasons}, locked {locked}")
