"""The words of a migration: which rows move, what keeps the others where they are, and what refuses the run."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import Enum

from xcomctl.backend.reference import Address
from xcomctl.backend.rules import Rule
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
    """Why a row that was selected stays as it is. The values are the names of the counts in the report."""

    CONTROL_KEY = "control_key"
    """Airflow itself reads it, and not through an XCom backend."""
    DAG_RESULT = "dag_result"
    """Whoever asks the API for the result of a run gets what is in the row."""
    REFERENCE = "reference"
    IN_PLACE = "in_place"
    """It refers to where it is to refer to."""
    FOREIGN = "foreign"
    """Airflow does not follow it; to relocate it makes Airflow do so."""
    PAYLOAD_NOT_JSON = "payload_not_json"
    """What its own backend wrote, and Airflow's would not read: a CSV, a pickle."""
    PICKLED = "pickled"
    RUN_UNFINISHED = "run_unfinished"
    BELOW_THRESHOLD = "below_threshold"
    STRING_OF_JSON = "string_of_json"
    """Airflow 2 reads such a string from its row as what it says, and from storage as a string (common-io >=1.5.4)."""
    LINK = "link"
    """A web address, which the UI may read from the row."""
    UNSAFE_NAME = "unsafe_name"
    """A DAG, run or task so called that Airflow could not find the object."""


class Failure(str, Enum):
    """Why a row that should have moved did not. The values are the `code` of a failure in the report."""

    NOT_JSON = "not_json"
    CHANGED = "changed"
    """It was pushed again, or was deleted, while it was moved."""
    DANGLING = "dangling"
    NOT_A_NUMBER = "not_a_number"
    """NaN or Infinity, which JSON has not, nor a column of Airflow 3."""
    NUL = "nul"
    """The character U+0000, which PostgreSQL's JSONB cannot hold."""
    TOO_LARGE = "too_large"
    NOT_THE_SAME = "not_the_same"
    """In the row it would be another value: a number beyond what the database holds, or a string that reads as JSON."""
    LOOKS_EXTERNAL = "looks_external"
    """In the row the value, a URL, would itself be taken for a reference."""
    REFUSED = "refused"
    """The database does not take the value."""
    READ_FAILED = "read_failed"
    WRITE_FAILED = "write_failed"
    SWAP_FAILED = "swap_failed"


OUTAGES = frozenset({Failure.READ_FAILED, Failure.WRITE_FAILED, Failure.SWAP_FAILED})
"""What is no fault of the row."""


class Destination(str, Enum):
    """Where values go."""

    STORAGE = "storage"
    INLINE = "inline"


@dataclass(frozen=True, slots=True)
class Rules:
    """Which rows move, and how their objects are written. Sizes are bytes of JSON text, before compression.

    `relocate` is the base path whose references are to refer to the configured one, `rule` the format of those that
    only a hand-written backend follows. `keeps_codec` leaves an object that is relocated compressed as it is.
    """

    selected: Filter = field(default_factory=Filter)
    to: Destination = Destination.STORAGE
    relocate: Address | None = None
    rule: Rule | None = None
    threshold: int = 0
    codec: str | None = None
    keeps_codec: bool = False
    jobs: int = 8
    allow: frozenset[Gate] = frozenset()
    dry_run: bool = False

    def facts(self) -> dict[str, object]:
        """These rules as the audit records them."""
        return {
            "to": self.to.value,
            "relocate": self.relocate.text if self.relocate is not None else None,
            "rule": self.rule.name if self.rule is not None else None,
            "threshold": self.threshold,
            "compression": "kept" if self.keeps_codec else self.codec,
            "allow": sorted(gate.value for gate in self.allow),
            "filter": self.selected.facts(),
        }


@dataclass(frozen=True, slots=True)
class Pair:
    """The URL of an object, and the JSON text of the value that it holds; None where that is to be read from there."""

    reference: str
    value: str | None


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why nothing may be moved: a gate, and what it saw."""

    gate: Gate
    message: str


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run found. Sizes are stored ones, a lower bound where the database compresses; the texts are read later.

    `selected` are all rows that the direction is about, `movable` those of them that nothing speaks against so far.
    """

    base: Address
    rules: Rules
    selected: Tally
    movable: Tally
    skipped: dict[Skip, Tally]
    seen_at: datetime
    refusals: tuple[Refusal, ...] = ()
