"""The words of a collection: what may go, what keeps it, and what refuses the run."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum
from fractions import Fraction

from xcomctl.backend.reference import Address, Placement
from xcomctl.ledger import Claim, Mark, Removed
from xcomctl.model import StoredObject, WayBack

OLDER_THAN = timedelta(days=3)
OLDER_THAN_FLOOR = timedelta(hours=24)
SINGLE_PASS_OLDER_THAN = timedelta(days=7)
CONFIRM_AFTER = timedelta(hours=20)
CONFIRM_AFTER_FLOOR = timedelta(hours=1)
KEEP_TRASH = timedelta(days=14)
KEEP_TRASH_FLOOR = timedelta(hours=24)


class Gate(str, Enum):
    """What refuses a run before anything is changed."""

    UNKNOWN_TABLE = "unknown-table"
    UNKNOWN_HEAD = "unknown-head"
    MISSING_TABLE = "missing-table"
    HIDDEN_ROWS = "hidden-rows"
    REPLICA = "replica"
    CLOCK = "clock"
    FOREIGN_CLAIM = "foreign-claim"
    RESTORED_DATABASE = "restored-database"
    STALE_DATABASE = "stale-database"
    STATE_STORE_OVERLAP = "state-store-overlap"
    EMPTY_ROOTS = "empty-roots"
    NO_OVERLAP = "no-overlap"
    DANGLING = "dangling"
    TWO_SPELLINGS = "two-spellings"
    AMBIGUOUS = "ambiguous"
    INCOMPLETE_LISTING = "incomplete-listing"
    CANARY = "canary"
    MAX_DELETE = "max-delete"
    STORE_KIND = "store-kind"


class Fate(str, Enum):
    """What one listed object is to this run. The values are the names of the counts in its report."""

    LIVE = "live"
    ARCHIVED = "archived"
    YOUNG = "young"
    UNKNOWN = "unknown"
    EXCLUDED = "excluded"
    HELD = "held"
    CANDIDATE = "candidates"


class Cause(str, Enum):
    """Why an object is an orphan, as far as the databases still tell."""

    DAG_DELETED = "dag-deleted"
    RUN_DELETED = "run-deleted"
    TASK_DELETED = "task-deleted"
    DB_CLEAN = "db-clean"
    OVERWRITTEN = "overwritten"
    NEVER_COMMITTED = "never-committed"
    ROW_DELETED = "row-deleted"


@dataclass(frozen=True, slots=True)
class Limit:
    """The most that one run may delete: a number of objects, or a share of those listed."""

    count: int | None = None
    share: Fraction | None = None

    def allows(self, deletable: int, listed: int) -> bool:
        """Whether so many of so many may go."""
        return deletable <= (self.count if self.count is not None else (self.share or 0) * listed)

    def __str__(self) -> str:
        return str(self.count) if self.count is not None else f"{float(100 * (self.share or 0)):g}%"


@dataclass(frozen=True, slots=True)
class Rules:
    """What makes an object an orphan that may go, and which gates are lifted. Globs match DAG ids."""

    older_than: timedelta = OLDER_THAN
    confirm_after: timedelta = CONFIRM_AFTER
    keep_trash: timedelta = KEEP_TRASH
    single_pass: bool = False
    max_delete: Limit = Limit(share=Fraction(1, 5))
    allow: frozenset[Gate] = frozenset()
    dag_ids: tuple[str, ...] = ()
    exclude_dag_ids: tuple[str, ...] = ()
    include_unknown_dags: tuple[str, ...] = ()
    ignore_archives: bool = False
    dry_run: bool = False

    def facts(self) -> dict[str, object]:
        """These rules as the audit records them."""
        return {
            "older_than_seconds": self.older_than.total_seconds(),
            "confirm_after_seconds": self.confirm_after.total_seconds(),
            "keep_trash_seconds": self.keep_trash.total_seconds(),
            "single_pass": self.single_pass,
            "max_delete": str(self.max_delete),
            "allow": sorted(gate.value for gate in self.allow),
            "dag_ids": self.dag_ids,
            "exclude_dag_ids": self.exclude_dag_ids,
            "include_unknown_dags": self.include_unknown_dags,
            "ignore_archives": self.ignore_archives,
        }


@dataclass(frozen=True, slots=True)
class Tally:
    """A number of objects and their bytes."""

    count: int = 0
    bytes: int = 0

    def __add__(self, other: Tally) -> Tally:
        return Tally(self.count + other.count, self.bytes + other.bytes)

    @classmethod
    def of(cls, *objects: StoredObject) -> Tally:
        """The tally of some objects."""
        return cls(len(objects), sum(found.size_bytes for found in objects))


def counted(tallies: Mapping[str, Tally]) -> dict[str, object]:
    """Tallies as every report has them: each count a flat number, and its bytes beside it."""
    counts: dict[str, object] = {}
    for name, tally in tallies.items():
        counts |= {name: tally.count, f"{name}_bytes": tally.bytes}
    return counts


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why nothing may be deleted: a gate, and what it saw."""

    gate: Gate
    message: str


@dataclass(frozen=True, slots=True)
class Candidate:
    """An orphan that may go once it has been seen as one for long enough, which it has at `due_at`."""

    object: StoredObject
    placement: Placement
    cause: Cause
    first_seen: datetime
    due_at: datetime
    seen_before: bool


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run found, and what it would do. The fates share out the objects listed.

    `marks` are what the next run goes by. `revived` had a mark and is referred to again. Of what earlier runs removed
    `healable` is referred to again, and `outdated`, by operation, was kept for long enough. `look_first` says that no
    condition of the store on a delete can be relied on.
    """

    base: Address
    rules: Rules
    references: int
    fates: Mapping[Fate, Tally]
    candidates: tuple[Candidate, ...]
    deletable: tuple[Candidate, ...]
    marks: Collection[Mark]
    revived: Tally
    healable: tuple[Removed, ...]
    outdated: Mapping[str, Sequence[Removed]]
    claim: Claim
    way: WayBack
    condition: str | None
    look_first: bool
    seen_at: datetime
    refusals: tuple[Refusal, ...] = ()

    @property
    def kept_by_rows(self) -> Tally:
        """The objects that any row refers to, those of archives included."""
        archived = Tally() if self.rules.ignore_archives else self.fates[Fate.ARCHIVED]
        return self.fates[Fate.LIVE] + archived

    @property
    def listed(self) -> Tally:
        """All objects under the base path, but for gc's own."""
        return sum(self.fates.values(), Tally())

    @property
    def trash(self) -> Tally:
        """What the trash holds longer than it is to be kept."""
        removed = (each.kept for some in self.outdated.values() for each in some)
        return Tally.of(*(kept.object for kept in removed if kept.is_copy))

    @property
    def waiting(self) -> tuple[Candidate, ...]:
        """The candidates that a later run may delete."""
        going = {candidate.object.name for candidate in self.deletable}
        return tuple(each for each in self.candidates if each.object.name not in going)
