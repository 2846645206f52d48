"""What goes on around gc: tasks that push and read, retries, deletions, clean-ups, backups, in any Airflow's rows.

Every rule of Airflow that gc relies on is a constant or a method here. Rows are those of a real database, objects those
of a bucket in memory, and what lies in the future waits in a queue until the clock comes there.
"""

from __future__ import annotations

import heapq
import json
import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from functools import partial
from random import Random
from typing import NamedTuple
from uuid import UUID

from sqlalchemy.engine import make_url

from tests.lab.memory import Bucket
from tests.lab.world import Task, Value, World
from xcomctl.backend.reference import Address

BEGINNING = datetime(2026, 3, 1, tzinfo=timezone.utc)

WRITING = timedelta(hours=3)
"""From an object's being visible to the commit of its row, at most."""

UPLOADING = timedelta(hours=2)
"""From the start of a multipart upload, which the object is dated from, to its being visible, at most."""

READING = timedelta(hours=19, minutes=50)
"""From the reading of a row to the opening of its object, at most."""

LINGERING = timedelta(minutes=30)
"""How long a worker may go on when its task is over, at most."""

WAITS = tuple(timedelta(hours=hours) for hours in (0.2, 2, 6, 21, 26, 120, 384))
"""From a pause within a run to more than what is kept in the trash."""

STEADY = ("steady", "daily", "t", -1)
"""A task whose objects nobody deletes: its rows show that database and bucket belong together."""


class Slot(NamedTuple):
    """Where an XCom belongs."""

    task: Task
    key: str


SLOTS = (
    *(Slot(("a", "r1", "t", -1), key) for key in ("k", "l")),
    *(Slot((dag, "r2", "t", -1), "k") for dag in ("a", "b")),
)
"""Two keys of one task, two runs of one DAG, two DAGs."""


class Upload(NamedTuple):
    """An object whose row is to come: under its slot, from Airflow 3.4 on of that very attempt."""

    name: str
    slot: Slot
    attempt: UUID | None


class Progress(NamedTuple):
    """The newest run, and the newest log entry."""

    run: int
    log: int

    def is_behind(self, earlier: Progress) -> bool:
        """Whether the log tells that this was before, from which nobody deletes the newest entries."""
        return self.log < earlier.log


class Backup(NamedTuple):
    """A copy of the database."""

    taken_at: datetime
    copy: sqlite3.Connection


@dataclass(order=True, slots=True)
class Event:
    """Something that will happen. `slot` is the task that waits for it, if one does."""

    at: datetime
    number: int
    act: Callable[[], None] = field(compare=False)
    task: Task | None = field(compare=False, default=None)


class Life:
    """One Airflow, its users and its operators, over a database and a bucket.

    A deed takes a `pick` among what there is and a `choice` of how it goes. `bodies` are what was written under a name,
    `purged` the names that Airflow itself has deleted, `last_referred` tells when each last had a row; `revived` have
    rows again since a backup was put back, and `removed` tells when the run began by which gc took an object away.
    `claimed` is how far the database had come at the last run of gc that took note of it.
    """

    def __init__(self, world: World, bucket: Bucket, base: Address, *, slow_uploads: bool) -> None:
        self.world, self.bucket, self.base, self.clock = world, bucket, base, bucket.clock
        self.bodies: dict[str, list[bytes]] = {}
        self.purged: set[str] = set()
        self.last_referred: dict[str, datetime] = {}
        self.revived: set[str] = set()
        self.revived_meanwhile: set[str] = set()
        self.revived_unnoticed: set[str] = set()
        self.claimed: Progress | None = None
        self.removed: dict[str, datetime] = {}
        self.runs_at_work = 0
        self.is_set_back = False
        self.set_backs = 0
        self.is_broken = False
        self.has_attempts = "xcom_v2" in world.tables()
        self._begun_before = UPLOADING if slow_uploads else timedelta(0)
        self._over: set[UUID] = set()
        self._future: list[Event] = []
        self._random = Random(0)
        self._numbers = 0
        self._backups: list[Backup] = []
        self._path = make_url(world.database.url).database or ""
        # Whatever happens meanwhile happens in the thread of the batch that is under way: one at a time.
        self._rows = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False)
        self.world.sql("CREATE TABLE log (id INTEGER PRIMARY KEY)")
        self._begin()

    def close(self) -> None:
        for connection in (self._rows, *(backup.copy for backup in self._backups)):
            connection.close()

    def _begin(self) -> None:
        """What is there before anything happens, among it whatever is none of gc's business."""
        self.strangers = [
            *(f"{self.folder}{name}" for name in ("readme.txt", "a/r1/t/_SUCCESS", f"a/r1/t/-1/{self._uuid()}")),
            *(f"pre/xcom2/a/r1/t/{self._uuid()}", "pre/_xcomctl/another/lease/x.json", f"a/r1/t/{self._uuid()}"),
        ]
        for name in self.strangers:
            self.bucket.put(name, b"not ours")
        self.world.run("steady", "hourly")
        self._busy()
        self._steady()
        if "task_state_store" in self.world.tables():
            upload = self._upload(Slot(STEADY, "state"), f"{self._uuid()}")
            self.world.task_state(*STEADY[:3], "k", json.dumps(self._url(upload.name)))
        if self.has_attempts:
            upload = self._upload(SLOTS[0], f"{self._uuid()}")
            self.world.push(*SLOTS[0].task, "old", value=json.dumps(self._url(upload.name)), legacy=True)

    def act(self, deed: str, pick: int, choice: int) -> None:
        """Do one of the things below, a minute after whatever was before."""
        self.go_on(timedelta(minutes=1))
        self._note_rows()
        getattr(self, deed)(pick, choice)

    # What tasks do

    def push(self, pick: int, choice: int) -> None:
        """A task uploads an object. Its row comes at once, as late as may be, or (every other time) never."""
        slot = SLOTS[pick % len(SLOTS)]
        self._finish_clearing(slot.task)
        attempt = self._at_work(slot.task)
        again = self.has_attempts and pick // len(SLOTS) % 4 != 3
        leaf = f"ti-{attempt}/{slot.key}.json" if again else self._fresh(f"/{slot.key}.json")
        self._follow(self._upload(slot, leaf, attempt), choice)

    def finish(self, pick: int, choice: int) -> None:
        """A task is over. Its worker may not know, and push once more."""
        slot = SLOTS[pick % len(SLOTS)]
        if not self._exists(slot.task) or self._attempt(slot.task) in self._over:
            return
        attempt = self._attempt(slot.task)
        self._end(slot.task)
        if choice % 2:
            self._later(LINGERING, partial(self._push_as_zombie, slot, attempt))

    def clear(self, pick: int, choice: int) -> None:
        """A task starts again, and what it has pushed goes: until Airflow 3.3 objects first, from 3.4 on rows first.

        Some backends leave the objects; the worker may die in between, or be slow.
        """
        task = SLOTS[pick % len(SLOTS)].task
        self._finish_clearing(task)
        if not self._exists(task):
            return
        if self.has_attempts and self._attempt(task) in self._over:
            self._supersede(task)
            return
        names = [name for slot in SLOTS if slot.task == task for name in self._names_at(slot)]
        rows, objects = partial(self._delete_rows, names), partial(self._purge, names)
        first, second = (rows, objects) if self.has_attempts else (objects, rows)
        how = choice % 4
        if how == 0:
            rows()
            return
        first()
        if how == 1:
            second()
        elif how == 2:
            self._later(timedelta(minutes=10), second, task)

    def retry(self, pick: int, choice: int) -> None:
        """The next attempt. From Airflow 3.4 on it leaves alone what the one before has pushed."""
        task = SLOTS[pick % len(SLOTS)].task
        if not self.has_attempts:
            self.clear(pick, choice)
        elif self._exists(task):
            self._supersede(task)

    def migrate(self, pick: int, choice: int) -> None:
        """A value moves out of the database, or back into it, if its row is still what it was; first there must be one.

        The object is uploaded under a name of its own, and the row changes some time later.
        """
        slot = SLOTS[pick % len(SLOTS)]
        old = self._stored(slot)
        if old is None:
            self._at_work(slot.task)
            self.world.push(*slot.task, slot.key, value='"small"', timestamp=self.clock.now)
        elif self._named_by(old) is None:
            upload = self._upload(slot, f"{self._uuid()}")
            swap = partial(self._swap, slot, old, json.dumps(self._url(upload.name)))
            self._later((timedelta(0), timedelta(hours=1), WRITING)[choice % 3], swap)
        else:
            self._swap(slot, old, '"small"')

    # What people do

    def delete_row(self, pick: int, choice: int) -> None:
        names = self.referred(archives=False)
        steady = self._steady_names()
        names = [name for name in names if name not in steady]
        if names:
            self._delete_rows([names[pick % len(names)]])

    def delete_run(self, pick: int, choice: int) -> None:
        self.world.delete_run(*SLOTS[pick % len(SLOTS)].task[:2])

    def delete_dag(self, pick: int, choice: int) -> None:
        self.world.delete_dag(SLOTS[pick % len(SLOTS)].task[0])

    def db_clean(self, pick: int, choice: int) -> None:
        """Old rows move to an archive; there are always some new ones."""
        before = self.clock.now - (timedelta(0), timedelta(days=1))[choice % 2]
        self.world.db_clean(before, f"{self.clock.now:%Y%m%d%H%M%S}")
        self._steady()

    def drop_archives(self, pick: int, choice: int) -> None:
        for table in sorted(self._tables("_airflow_deleted__%")):
            self._rows.execute(f"DROP TABLE {table}")

    def back_up(self, pick: int, choice: int) -> None:
        """Copy the database; then Airflow goes on."""
        if self.is_set_back:
            return
        copy = sqlite3.connect(":memory:", check_same_thread=False)
        self._rows.backup(copy)
        self._backups.append(Backup(self.clock.now, copy))
        self._busy()

    def put_back(self, pick: int, choice: int) -> None:
        """Put the database back to how it was at a backup. gc is run again before it has come as far as it was.

        Nobody notices where it had not come as far then: two backups were put back, the newer one after the older.
        """
        if not self._backups:
            return
        before = set(self.referred())
        self._backups[pick % len(self._backups)].copy.backup(self._rows)
        back = set(self.referred()) - before
        self.revived |= back
        self.is_set_back = True
        self.set_backs += 1
        if self.runs_at_work:
            self.revived_meanwhile |= back
        if self.claimed is None or not self.progress.is_behind(self.claimed):
            self.revived_unnoticed |= back

    def wait(self, pick: int, choice: int) -> None:
        """Time passes, and with it comes what was to come."""
        self.go_on(WAITS[choice % len(WAITS)])
        self._busy()

    def go_on(self, duration: timedelta) -> None:
        end = self.clock.now + duration
        while self._future and self._future[0].at <= end:
            event = heapq.heappop(self._future)
            self.clock.now = max(self.clock.now, event.at)
            self._note_rows()
            event.act()
        self.clock.now = end

    def break_table(self) -> None:
        """The database is no longer what it was: somebody migrates it, or it fails."""
        self.is_broken = True
        self._rows.execute(f"ALTER TABLE {self._newest_table} RENAME TO away")

    def mend_table(self) -> None:
        if self.is_broken:
            self._rows.execute(f"ALTER TABLE away RENAME TO {self._newest_table}")
        self.is_broken = False

    def run_ended(self) -> None:
        """No run of gc goes by what it saw before a backup was put back."""
        self.runs_at_work -= 1
        if not self.runs_at_work:
            self.revived_meanwhile.clear()

    def noticed(self) -> None:
        """A run of gc has seen all that came back."""
        self.is_set_back = False
        self.revived_unnoticed.clear()

    # What is so

    @property
    def progress(self) -> Progress:
        """How far the database has come."""
        counts = (self._rows.execute(f"SELECT max(id) FROM {table}").fetchone()[0] for table in ("dag_run", "log"))
        return Progress(*counts)

    @property
    def folder(self) -> str:
        return self.base.location.folder

    def referred(self, *, archives: bool = True) -> list[str]:
        """The names of all objects that any row refers to, in a fixed order."""
        tables = [*self._tables("xcom%"), *self._tables("task_state_store"), *self._tables("away")]
        tables += self._tables("_airflow_deleted__%") if archives else []
        values = (row[0] for table in tables for row in self._rows.execute(f"SELECT value FROM {table}"))
        names = {name for value in values if (name := self._named_by(value))}
        return sorted(names, key=self._position)

    def is_intact(self, name: str) -> bool:
        """Whether an object is there, and is what was last written under its name."""
        content = self.bucket.objects.get(name)
        return content is not None and content.body == self.bodies[name][-1]

    def settle(self) -> None:
        """All that was to come has come, and no task is at work any more."""
        self.go_on(max(WRITING, READING, LINGERING))
        for slot in SLOTS[::2]:
            if self._exists(slot.task) and self._attempt(slot.task) not in self._over:
                self._end(slot.task)
        self._rows.execute(
            "UPDATE task_instance SET state = 'failed', end_date = ? WHERE state = 'running'", [self._stamp()]
        )

    def strangers_are_as_they_were(self) -> bool:
        return all(
            self.bucket.objects.get(name) == (b"not ours", BEGINNING, self.bucket.objects[name].version)
            for name in self.strangers
        )

    # How it is done

    def _note_rows(self) -> None:
        """Who reads a row does so just before it changes, if that is the worst moment."""
        self.last_referred.update(dict.fromkeys(self.referred(), self.clock.now))

    def _upload(self, slot: Slot, leaf: str, attempt: UUID | None = None) -> Upload:
        """Bytes that are sometimes those of the upload before."""
        self._numbers += 1
        body = json.dumps(f"value {self._numbers // 2}").encode()
        name = f"{self.folder}{'/'.join(slot.task[:3])}/{leaf}"
        self.bucket.put(name, body, self.clock.now - self._begun_before)
        self.bodies.setdefault(name, []).append(body)
        self.purged.discard(name)
        return Upload(name, slot, attempt)

    def _follow(self, upload: Upload, choice: int) -> None:
        delays = (timedelta(0), WRITING)
        if choice % 4 < len(delays):
            self._later(delays[choice % 4], partial(self._commit, upload))

    def _commit(self, upload: Upload) -> None:
        """The row of an object, in place of any that has its key, unless its task is no more."""
        value = json.dumps(self._url(upload.name))
        if upload.attempt is not None:
            self._upsert(upload.attempt, upload.slot.key, value)
        elif self._exists(upload.slot.task):
            self.world.push(*upload.slot.task, upload.slot.key, value=value, timestamp=self.clock.now)

    def _upsert(self, attempt: UUID, key: str, value: str) -> None:
        """As Airflow 3.4 does: each attempt has its own rows, also when it is not the live one any more."""
        if self._rows.execute("SELECT 1 FROM task_instance WHERE id = ?", [attempt.hex]).fetchone():
            self._rows.execute("DELETE FROM xcom_v2 WHERE task_instance_id = ? AND key = ?", [attempt.hex, key])
            self._rows.execute(
                "INSERT INTO xcom_v2 (id, task_instance_id, key, value, timestamp) VALUES (?, ?, ?, ?, ?)",
                [self._uuid().hex, attempt.hex, key, value, self._stamp()],
            )

    def _push_as_zombie(self, slot: Slot, attempt: UUID | None) -> None:
        leaf = f"ti-{attempt}/{slot.key}.json" if attempt else self._fresh("")
        self._commit(self._upload(slot, leaf, attempt))

    def _swap(self, slot: Slot, old: Value, new: str) -> None:
        if self._stored(slot) == old:
            self.world.push(*slot.task, slot.key, value=new, timestamp=self.clock.now)

    def _purge(self, names: list[str]) -> None:
        for name in names:
            self.purged.add(name)
            if name in self.bucket.objects:
                self.bucket.delete(name)

    def _delete_rows(self, names: list[str]) -> None:
        for table in self._tables("xcom%"):
            for name in names:
                self._rows.execute(f"DELETE FROM {table} WHERE CAST(value AS TEXT) LIKE ?", [f"%{name}%"])

    def _at_work(self, task: Task) -> UUID | None:
        """The attempt that is running, begun if need be. Before Airflow 3.4 it has no rows of its own."""
        if self._attempt(task) in self._over:
            self._supersede(task)
        self.world.task(*task, state="running", end_date=None, updated_at=self.clock.now)
        return self._attempt(task)

    def _attempt(self, task: Task) -> UUID | None:
        return self.world.attempt(*task) if self.has_attempts else None

    def _supersede(self, task: Task) -> None:
        if self._attempt(task) not in self._over:
            self._end(task, "failed")
        self.world.retry(*task)

    def _end(self, task: Task, state: str = "success") -> None:
        if self.has_attempts:
            self._over.add(self.world.attempt(*task))
        self.world.task(*task, state=state, end_date=self.clock.now, updated_at=self.clock.now)

    def _exists(self, task: Task) -> bool:
        where = "dag_id = ? AND run_id = ? AND task_id = ?"
        return bool(self._rows.execute(f"SELECT 1 FROM task_instance WHERE {where}", task[:3]).fetchone())

    def _steady(self) -> None:
        self._at_work(STEADY)
        self._commit(self._upload(Slot(STEADY, "k"), self._fresh("/k.json"), self._attempt(STEADY)))

    def _steady_names(self) -> set[str]:
        return {name for name in self.bodies if name.startswith(f"{self.folder}steady/")}

    def _busy(self) -> None:
        """Airflow has made a thousand runs and log entries more.

        Not after a backup was put back, until gc has noticed: nobody can tell once it has come as far as it was.
        """
        if not self.is_set_back:
            self._rows.execute("UPDATE dag_run SET id = (SELECT max(id) FROM dag_run) + 1000 WHERE run_id = 'hourly'")
            self._rows.execute("INSERT INTO log SELECT coalesce(max(id), 0) + 1000 FROM log")

    def _later(self, delay: timedelta, act: Callable[[], None], task: Task | None = None) -> None:
        if not delay:
            act()
            return
        self._numbers += 1
        heapq.heappush(self._future, Event(self.clock.now + delay, self._numbers, act, task))

    def _finish_clearing(self, task: Task) -> None:
        """A worker does one thing after the other."""
        waiting = [event for event in self._future if event.task == task]
        for event in waiting:
            self._future.remove(event)
            event.act()
        heapq.heapify(self._future)

    def _names_at(self, slot: Slot) -> Iterator[str]:
        name = self._named_by(self._stored(slot))
        return iter([name] if name else [])

    def _stored(self, slot: Slot) -> Value:
        try:
            return self.world.stored(*slot.task, slot.key) if self._exists(slot.task) else None
        except LookupError:
            return None

    def _named_by(self, value: object) -> str | None:
        """The name of the object that a row's value refers to."""
        text = value.decode() if isinstance(value, bytes) else str(value)
        url = json.loads(text) if text.startswith('"') else text
        prefix = f"{self.base.location.scheme}://{self.base.location.bucket}/"
        return str(url).removeprefix(prefix) if str(url).startswith(prefix) else None

    def _url(self, name: str) -> str:
        return f"{self.base.location.scheme}://{self.base.location.bucket}/{name}"

    def _position(self, name: str) -> tuple[int, str]:
        return self.bucket.order.get(name, 0), name

    def _fresh(self, rest: str) -> str:
        return f"write-{self._uuid()}{rest}" if self.has_attempts and rest else f"{self._uuid()}"

    def _uuid(self) -> UUID:
        return UUID(int=self._random.getrandbits(128), version=4)

    def _stamp(self) -> str:
        return self.clock.now.replace(tzinfo=None).isoformat(" ", "microseconds")

    def _tables(self, pattern: str) -> list[str]:
        found = self._rows.execute("SELECT name FROM sqlite_master WHERE type = 'table' AND name LIKE ?", [pattern])
        return sorted(name for (name,) in found)

    @property
    def _newest_table(self) -> str:
        return "xcom_v2" if self.has_attempts else "xcom"
