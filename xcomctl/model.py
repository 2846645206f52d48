"""The values that flow between the rooms: frozen, plain, without behaviour that needs another room.

Sizes are bytes, times are aware datetimes in UTC, `map_index` is -1 for a task that is not mapped.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from enum import Enum
from itertools import chain
from typing import TYPE_CHECKING, TypeAlias, overload

from xcomctl.numbers import microseconds, moment

if TYPE_CHECKING:
    from xcomctl.numbers import Numbers

StorageOptions: TypeAlias = dict[str, object]
"""What fsspec's constructor of a file system takes; the values may hold secrets and are never printed."""

Watch: TypeAlias = Callable[[str, int], None]
"""Told of a step, and how many things it has handled so far."""


def unwatched(step: str, done: int) -> None:
    """Nobody looks."""


class State(str, Enum):
    """Where an XCom's value is, as far as its row tells."""

    INLINE = "inline"
    EXTERNAL = "external"
    FOREIGN = "foreign"
    PICKLED = "pickled"
    DANGLING = "dangling"


class Severity(str, Enum):
    """How bad a finding is: something is wrong, or needs a look, or is worth knowing."""

    ERROR = "error"
    WARNING = "warning"
    INFO = "info"


CONTROL_KEYS = ("skipmixin_key", "past_depends_met", "pipeline_inlets", "pipeline_outlets")
CONTROL_PREFIX = "_link_"
"""What the scheduler, the API server and the lineage of Airflow read from the row, without an XCom backend: a reference
in `skipmixin_key` makes branches run that were skipped (apache/airflow#50491)."""


def is_control_key(key: str) -> bool:
    """Whether Airflow itself reads XComs of this key from the row."""
    return key in CONTROL_KEYS or key.startswith(CONTROL_PREFIX)


LONGEST_LINK = 2048


def is_link(value: object) -> bool:
    """Whether a value is what an operator's link is: the API server reads it from the row, and its key may be any."""
    is_url = isinstance(value, str) and value.startswith(("http://", "https://"))
    return is_url and len(str(value)) <= LONGEST_LINK and not any(map(str.isspace, str(value)))


@dataclass(frozen=True, slots=True)
class XComKey:
    """What names an XCom in Airflow."""

    dag_id: str
    run_id: str
    task_id: str
    map_index: int = -1
    key: str = "return_value"

    def __str__(self) -> str:
        mapped = f"[{self.map_index}]" if self.map_index >= 0 else ""
        return f"{self.dag_id} {self.run_id} {self.task_id}{mapped} {self.key}"


@dataclass(frozen=True, slots=True)
class XCom:
    """One row. `size_bytes` is the stored size: a lower bound where the database compresses.

    `try_number` is None before Airflow 3.4. The object's size and time are known only after a look at it. `archive` is
    the archive table that holds the row, None where Airflow reads it; one that lost its task instance has no names.
    """

    dag_id: str
    run_id: str
    task_id: str
    map_index: int
    key: str
    state: State
    size_bytes: int
    timestamp: datetime
    reference: str | None = None
    try_number: int | None = None
    object_size_bytes: int | None = None
    object_modified_at: datetime | None = None
    archive: str | None = None

    @property
    def identity(self) -> dict[str, object]:
        """What names it, by its fields."""
        return {name: getattr(self, name) for name in ("dag_id", "run_id", "task_id", "map_index", "key")}

    @property
    def is_nameless(self) -> bool:
        """Whether nothing tells any more which task pushed it; `dag_id`, `run_id` and `task_id` are empty then."""
        return not self.dag_id


UNDATED = datetime.max.replace(tzinfo=timezone.utc)
"""The time of an object whose store does not tell one: younger than any age."""


@dataclass(frozen=True, slots=True)
class StoredObject:
    """An object as a listing shows it.

    `name` is the raw key in its bucket, or the absolute path of a local file. `version` is what a
    conditional delete compares: an S3 ETag as listed, a GCS generation, a local inode, size and time.
    """

    name: str
    size_bytes: int
    modified_at: datetime
    version: str | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Objects(Sequence[StoredObject]):
    """Many objects, by columns: a fifth of the time that making each of them takes. `times` are in microseconds."""

    names: Sequence[str]
    sizes: Numbers
    times: Numbers
    versions: Sequence[str | None]

    @classmethod
    def of(cls, objects: Sequence[StoredObject]) -> Objects:
        """These objects, which may be such columns already."""
        import numpy as np

        if isinstance(objects, Objects):
            return objects
        sizes = np.array([each.size_bytes for each in objects], np.int64)
        times = np.array([microseconds(each.modified_at) for each in objects], np.int64)
        return cls([each.name for each in objects], sizes, times, [each.version for each in objects])

    @classmethod
    def joined(cls, some: Sequence[Objects]) -> Objects:
        """All of these, in their order."""
        import numpy as np

        names = list(chain.from_iterable(each.names for each in some))
        versions = list(chain.from_iterable(each.versions for each in some))
        sizes, times = ([getattr(each, field) for each in some] for field in ("sizes", "times"))
        return cls(names, np.concatenate(sizes), np.concatenate(times), versions)

    def at(self, places: Numbers) -> Objects:
        """Those at some places."""
        names, versions, chosen = self.names, self.versions, places.tolist()
        return Objects(
            [names[at] for at in chosen], self.sizes[places], self.times[places], [versions[at] for at in chosen]
        )

    def __len__(self) -> int:
        return len(self.names)

    def __iter__(self) -> Iterator[StoredObject]:
        return map(StoredObject, self.names, self.sizes.tolist(), map(moment, self.times.tolist()), self.versions)

    @overload
    def __getitem__(self, place: int) -> StoredObject: ...
    @overload
    def __getitem__(self, place: slice) -> Objects: ...
    def __getitem__(self, place: int | slice) -> StoredObject | Objects:
        if isinstance(place, slice):
            return Objects(self.names[place], self.sizes[place], self.times[place], self.versions[place])
        at = moment(int(self.times[place]))
        return StoredObject(self.names[place], int(self.sizes[place]), at, self.versions[place])


class WayBack(str, Enum):
    """What a store offers to bring a removed object back with. The values are what users see."""

    VERSIONS = "versions"
    """A delete hides the object behind a marker; its bytes are paid for until noncurrent versions expire."""
    SOFT_DELETE = "soft-delete"
    """The bucket itself keeps what was deleted for some days."""
    TRASH = "trash"
    """A copy in another folder of the same bucket, made before the delete."""
    RENAME = "rename"
    """The file moves to another folder of the same file system."""


@dataclass(frozen=True, slots=True)
class Removal:
    """One object to remove, and the name that its copy gets where the way back is a copy."""

    object: StoredObject
    kept_as: str


Spared: TypeAlias = "Callable[[Sequence[Removal]], Collection[str]]"
"""The names of those objects that must stay after all, as somebody refers to them by now."""


def nothing_spared(removals: Sequence[Removal]) -> Collection[str]:
    """For objects that nobody but xcomctl itself knows."""
    return ()


@dataclass(frozen=True, slots=True)
class Deletion:
    """What became of one object that was to be deleted. `error` is None when it is gone."""

    object: StoredObject
    error: str | None = None
    changed: bool = False
    """The object is another than the one that was listed, so it was kept."""
    vanished: bool = False
    """There was no such object any more."""
    unknown: bool = False
    """With an error: the store may have deleted it all the same, and its answer was lost."""
    handle: str | None = None
    """What the store calls this removal: the version id of a delete marker."""
    slow_down: bool = False
    """With an error: the store wants fewer requests, and may do it a little later."""


class Outcome(str, Enum):
    """What became of one object that was to come back."""

    RESTORED = "restored"
    OCCUPIED = "occupied"
    """There is an object of that name: it is never written over."""
    MISSING = "missing"
    """Neither the object nor what was kept of it is there any more."""
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Kept:
    """What is known of an object that was removed: where it was, as what, and what brings it back.

    `handle` is None when the answer to its removal was lost.
    """

    object: StoredObject
    way: WayBack
    kept_as: str
    handle: str | None = None

    @property
    def is_copy(self) -> bool:
        """Whether it lies in the trash; else the store itself keeps it."""
        return self.way in (WayBack.TRASH, WayBack.RENAME)


@dataclass(frozen=True, slots=True)
class Return:
    """What became of one object that was to come back; `message` says why it failed."""

    kept: Kept
    outcome: Outcome
    message: str = ""


@dataclass(frozen=True, slots=True)
class Epoch:
    """Which database this is, and how far it has come. A number is None where it is not told.

    `position` is PostgreSQL's place in its log, which only grows. Elsewhere the newest run and log entry tell: a run
    may be deleted, and all of the log, but not the newest of the log alone.
    """

    database: str
    position: int | None = None
    newest_run: int | None = None
    newest_log: int | None = None

    def is_behind(self, earlier: Epoch) -> bool:
        """Whether this was seen before `earlier`, though later: the database was put back."""
        if self.position is not None and earlier.position is not None and self.position < earlier.position:
            return True
        if self.newest_log is not None and earlier.newest_log is not None and self.newest_log < earlier.newest_log:
            return True
        pairs = ((self.newest_run, earlier.newest_run), (self.newest_log, earlier.newest_log))
        return all(before is not None and (now or 0) < before for now, before in pairs)

    @property
    def progress(self) -> str:
        """How far, in words."""
        where = f"log position {self.position}, " if self.position is not None else ""
        return f"{where}dag_run {self.newest_run}, log {self.newest_log}"


@dataclass(frozen=True, slots=True)
class Filter:
    """Which rows a command means. Globs match case-sensitively; an empty tuple matches everything."""

    dag_ids: tuple[str, ...] = ()
    run_ids: tuple[str, ...] = ()
    task_ids: tuple[str, ...] = ()
    keys: tuple[str, ...] = ()
    map_index: int | None = None
    exclude_dag_ids: tuple[str, ...] = ()
    exclude_keys: tuple[str, ...] = ()
    since: datetime | None = None
    until: datetime | None = None
    larger_than: int | None = None
    smaller_than: int | None = None
    states: tuple[State, ...] = ()

    @property
    def of_rows_alone(self) -> tuple[str, ...]:
        """The bounds in it that an object cannot be held against: what it is called tells nothing of these."""
        is_said = {
            "keys": bool(self.keys),
            "exclude_keys": bool(self.exclude_keys),
            "map_index": self.map_index is not None,
            "states": bool(self.states),
        }
        return tuple(name for name, said in is_said.items() if said)

    def facts(self) -> dict[str, str]:
        """These bounds as the audit records them."""
        return {name: str(getattr(self, name)) for name in self.__slots__}
