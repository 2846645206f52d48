"""The words of a migration: which rows move, what keeps the others where they are, and what refuses the run."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import Enum

from xcomctl.backend.reference import Address
from xcomctl.model import Filter
from xcomctl.operations.gc import Tally

WRITING = timedelta(minutes=10)
"""From the upload of an object to the change of its row, at most: far less than what gc calls young (3 days)."""


class Gate(str, Enum):
    """What refuses a run before anything is changed."""

    UNKNOWN_HEAD = "unknown-head"
    REPLICA = "replica"
    STORE_KIND = "store-kind"
    BACKEND = "backend"


class Skip(str, Enum):
    """Why a row that is large enough stays as it is. The values are the names of the counts in the report."""

    CONTROL_KEY = "control_key"
    """Airflow itself reads it, and not through an XCom backend."""
    DAG_RESULT = "dag_result"
    """Whoever asks the API for the result of a run gets what is in the row."""
    REFERENCE = "reference"
    PICKLED = "pickled"
    RUN_UNFINISHED = "run_unfinished"
    BELOW_THRESHOLD = "below_threshold"
    LINK = "link"
    """A web address, which the UI may read from the row."""
    NOT_JSON = "not_json"
    UNSAFE_NAME = "unsafe_name"
    """A DAG, run or task so called that Airflow could not find the object."""
    CHANGED = "changed"
    """It was pushed again, or was deleted, while it was moved."""


@dataclass(frozen=True, slots=True)
class Rules:
    """Which rows move, and how their objects are written. Sizes are bytes of JSON text, before compression."""

    selected: Filter = field(default_factory=Filter)
    threshold: int = 0
    codec: str | None = None
    jobs: int = 8
    allow: frozenset[Gate] = frozenset()
    dry_run: bool = False

    def facts(self) -> dict[str, object]:
        """These rules as the audit records them."""
        return {
            "threshold": self.threshold,
            "compression": self.codec,
            "allow": sorted(gate.value for gate in self.allow),
            "filter": {name: str(getattr(self.selected, name)) for name in self.selected.__slots__},
        }


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why nothing may be moved: a gate, and what it saw."""

    gate: Gate
    message: str


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run found. Sizes are stored ones, a lower bound where the database compresses; the texts are read later.

    `selected` are all rows that are large enough, `movable` those of them that nothing speaks against so far.
    """

    base: Address
    rules: Rules
    selected: Tally
    movable: Tally
    skipped: dict[Skip, Tally]
    seen_at: datetime
    refusals: tuple[Refusal, ...] = ()
