"""The words of a collection: what may go, what keeps it, and what refuses the run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from enum import Enum
from fractions import Fraction

from xcomctl.backend.reference import Address
from xcomctl.model import StoredObject

OLDER_THAN = timedelta(days=3)
OLDER_THAN_FLOOR = timedelta(hours=24)
SINGLE_PASS_OLDER_THAN = timedelta(days=7)


class Gate(str, Enum):
    """What refuses a run before anything is changed."""

    UNKNOWN_TABLE = "unknown-table"
    UNKNOWN_HEAD = "unknown-head"
    MISSING_TABLE = "missing-table"
    REPLICA = "replica"
    CLOCK = "clock"
    EMPTY_ROOTS = "empty-roots"
    NO_OVERLAP = "no-overlap"
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
    single_pass: bool = False
    max_delete: Limit = Limit(share=Fraction(1, 5))
    allow: frozenset[Gate] = frozenset()
    dag_ids: tuple[str, ...] = ()
    exclude_dag_ids: tuple[str, ...] = ()
    include_unknown_dags: tuple[str, ...] = ()
    ignore_archives: bool = False
    dry_run: bool = False


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


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why nothing may be deleted: a gate, and what it saw."""

    gate: Gate
    message: str


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run found, and what it would delete. The fates share out the objects listed."""

    base: Address
    rules: Rules
    references: int
    fates: Mapping[Fate, Tally]
    deletable: tuple[StoredObject, ...]
    refusals: tuple[Refusal, ...]
    condition: str | None

    @property
    def kept_by_rows(self) -> Tally:
        """The objects that any row refers to, those of archives included."""
        return self.fates[Fate.LIVE] + self.fates[Fate.ARCHIVED]

    @property
    def listed(self) -> Tally:
        """All objects under the base path."""
        return sum(self.fates.values(), Tally())


Watch = Callable[[str, int], None]
"""Told of a step, and how many things it has handled so far."""
