"""The words of a removal: which rows go, what keeps others, and why an object that they referred to has no mark."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum

from xcomctl.backend.reference import Address
from xcomctl.ledger import Claim
from xcomctl.model import Filter
from xcomctl.operations.gc import Gate, Refusal, Tally

GATES = (
    Gate.UNKNOWN_TABLE,
    Gate.UNKNOWN_HEAD,
    Gate.MISSING_TABLE,
    Gate.HIDDEN_ROWS,
    Gate.REPLICA,
    Gate.CLOCK,
    Gate.FOREIGN_CLAIM,
    Gate.RESTORED_DATABASE,
    Gate.STATE_STORE_OVERLAP,
    Gate.STORE_KIND,
)
"""gc's gates, as far as they show without a listing. Where one is lifted, rows go and no object is marked."""


class Skip(str, Enum):
    """Why a row that is meant stays. The values are the names of the counts in the report."""

    RUN_UNFINISHED = "run_unfinished"
    """Its run is not over, or its task is at work: what is mapped over it counts its rows."""
    HIDES_OLDER = "hides_older"
    """Airflow 3.4 would show an older row of the same key in its place."""
    CHANGED = "changed"
    """It was pushed anew, or went, while it was to be removed."""


class Unmarked(str, Enum):
    """Why the object of a removed row got no mark. Whatever is an orphan gc finds by itself, a run later."""

    REFERENCED = "referenced"
    """Another row refers to it."""
    ARCHIVED = "archived"
    """An archive refers to it."""
    YOUNG = "young"
    """gc looks only at what is older than 3 days."""
    HELD = "held"
    """No database knows its DAG any more, or its task was over for less than an hour and may write it again."""
    MISSING = "missing"
    """There is no such object."""
    ELSEWHERE = "elsewhere"
    """It is not below the base path, or has a name that no XCom backend makes: gc never touches it."""
    LEFT_TO_GC = "left_to_gc"
    """It was not looked at: there is no base path, a gate was lifted, or the run was broken off."""


@dataclass(frozen=True, slots=True)
class Rules:
    """Which rows go, and whether an archive keeps them."""

    selected: Filter = field(default_factory=Filter)
    archive: bool = False
    allow: frozenset[Gate] = frozenset()
    dry_run: bool = False

    def facts(self) -> dict[str, object]:
        """These rules as the audit records them."""
        return {
            "archive": self.archive,
            "allow": sorted(gate.value for gate in self.allow),
            "filter": self.selected.facts(),
        }


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run found. Sizes are stored ones, a lower bound where the database compresses.

    `selected` are all rows that are meant, `removable` those of them that nothing speaks against so far, `referring`
    those of the latter that refer to objects. `claim` is None where nothing is to be marked.
    """

    base: Address | None
    rules: Rules
    selected: Tally
    removable: Tally
    referring: Tally
    skipped: dict[Skip, Tally]
    seen_at: datetime
    claim: Claim | None
    refusals: tuple[Refusal, ...] = ()
