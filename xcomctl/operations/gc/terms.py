"""The words of a collection: what may go, what keeps it, and what refuses the run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum
from fractions import Fraction

from xcomctl.backend.reference import Address
from xcomctl.ledger import Claim, Mark, Removed
from xcomctl.model import WayBack
from xcomctl.operations.gc.candidates import Candidates
from xcomctl.operations.gc.tally import Tally

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
class Refusal:
    """Why nothing may be deleted: a gate, and what it saw."""

    gate: Gate
    message: str


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run found, and what it would do. The fates share out the objects listed.

    `other_marks` are on objects that are no candidates of this run. `revived` had a mark and is referred to again. Of
    what earlier runs removed `healable` is referred to again, and `outdated`, by operation, are the copies that were
    kept for long enough. `look_first` says that no condition of the store on a delete can be relied on.
    """

    base: Address
    rules: Rules
    references: int
    fates: Mapping[Fate, Tally]
    candidates: Candidates
    deletable: Candidates
    other_marks: Sequence[Mark]
    revived: Tally
    healable: tuple[Removed, ...]
    outdated: Mapping[str, Tally]
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
        return sum(self.outdated.values(), Tally())

    @property
    def marks(self) -> Iterator[Mark]:
        """What the next run goes by."""
        yield from self.other_marks
        start = len(self.base.location.folder)
        for each in self.candidates:
            found = each.object
            yield Mark(found.name[start:], found.version, found.modified_at, each.first_seen)

    @property
    def waiting(self) -> Candidates:
        """The candidates that a later run may delete."""
        return self.candidates.that(lambda block: ~block.columns["is_due"])
