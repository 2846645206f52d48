"""The words of a check of what is stored: what may be wrong with a row or an object, how bad that is, what helps."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, fields
from datetime import timedelta
from enum import Enum

from xcomctl.masking import userinfo_in
from xcomctl.model import Filter, Severity, XCom
from xcomctl.operations.gc import OLDER_THAN


class Kind(str, Enum):
    """What is found. The values are the `id` of the findings."""

    DANGLING = "dangling"
    OUTSIDE_BASE = "outside_base"
    OTHER_CONNECTION = "other_connection"
    DOUBLE_ENCODED = "double_encoded"
    CONTROL_KEY = "control_key"
    CORRUPT = "corrupt"
    UNREADABLE = "unreadable"
    PICKLED = "pickled"
    NEAR_LIMIT = "near_limit"
    HANDWRITTEN = "handwritten"
    EXPIRY = "expiry"
    GATE = "gate"
    ORPHAN = "orphan"
    HELD = "held"
    ARCHIVE = "archive"
    VERSIONS = "versions"


ABOUT = {
    Kind.DANGLING: "the object is gone: Airflow hands tasks the URL as if it were the value",
    Kind.OUTSIDE_BASE: "the reference lies outside the base path: Airflow hands tasks the URL",
    Kind.OTHER_CONNECTION: "the reference names the place below the base path by another connection or protocol: "
    "Airflow hands tasks the URL",
    Kind.DOUBLE_ENCODED: "a JSON string within a JSON string: Airflow unwraps it once",
    Kind.CONTROL_KEY: "Airflow reads this key from the row, and finds a URL there: branches or links go wrong",
    Kind.CORRUPT: "the object is there, but is no value that Airflow could read",
    Kind.UNREADABLE: "it could not be read, so nothing is known of it",
    Kind.PICKLED: "a pickle: Airflow 3 cannot read it",
    Kind.NEAR_LIMIT: "the value is nearly as large as the database takes: a little more, and the task fails",
    Kind.HANDWRITTEN: "it looks like a reference of a hand-written XCom backend, which Airflow does not follow",
    Kind.EXPIRY: "the bucket deletes objects by itself, whether rows refer to them or not",
    Kind.GATE: "gc would refuse to collect anything here",
    Kind.ORPHAN: "no row refers to the object",
    Kind.HELD: "no row refers to these objects, but gc does not take them for orphans",
    Kind.ARCHIVE: "rows in an archive table keep their objects from gc",
    Kind.VERSIONS: "deleted objects go on costing until the bucket lets go of them",
}
"""What each kind means, for people."""

NEEDS_STORAGE = frozenset({Kind.DANGLING, Kind.EXPIRY, Kind.GATE, Kind.ORPHAN, Kind.HELD, Kind.VERSIONS})
"""What cannot be told without a look at all objects."""

NEEDS_PLAN = frozenset({Kind.GATE, Kind.ORPHAN, Kind.HELD})
"""What gc tells."""

ALL = frozenset(Kind)

NEEDS_ROWS = ALL - NEEDS_PLAN - {Kind.CORRUPT, Kind.UNREADABLE, Kind.ARCHIVE, Kind.VERSIONS}
"""What the rows tell, or the oldest of them."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What is wrong, or worth knowing, and what helps. Without names it concerns the whole.

    `size_bytes` is that of the row, or of the object where that is what is found.
    """

    id: Kind
    severity: Severity
    dag_id: str | None
    run_id: str | None
    task_id: str | None
    map_index: int | None
    key: str | None
    size_bytes: int | None
    reference: str | None
    detail: str
    hint: str


FIELDS = tuple(each.name for each in fields(Finding))


@dataclass(frozen=True, slots=True)
class Questions:
    """What to look for, among which rows. `older_than` is how old an orphan must be to count.

    With `deep` every object that a row refers to is read.
    """

    selected: Filter = field(default_factory=Filter)
    kinds: frozenset[Kind] = ALL
    older_than: timedelta = OLDER_THAN
    deep: bool = False

    @property
    def needs_storage(self) -> bool:
        """Whether all objects must be listed."""
        return bool(self.kinds & NEEDS_STORAGE)

    @property
    def needs_storage_alone(self) -> bool:
        """Whether nothing can be told without a look at all objects."""
        return self.kinds <= NEEDS_STORAGE

    @property
    def needs_plan(self) -> bool:
        """Whether gc must be asked what it would do."""
        return bool(self.kinds & NEEDS_PLAN)

    @property
    def needs_rows(self) -> bool:
        """Whether all rows must be looked at."""
        return bool(self.kinds & NEEDS_ROWS)


def of_row(xcom: XCom, kind: Kind, severity: Severity, detail: str, hint: str) -> Finding:
    """A finding about a row. The key and secret that a URL may have are never said."""
    reference, secret = xcom.reference, userinfo_in(xcom.reference or "")
    if secret is not None and reference is not None:
        reference, detail, hint = (_without(secret, text) for text in (reference, detail, hint))
    return Finding(
        kind,
        severity,
        xcom.dag_id,
        xcom.run_id,
        xcom.task_id,
        xcom.map_index,
        xcom.key,
        xcom.size_bytes,
        reference,
        detail,
        hint,
    )


def _without(secret: str, text: str) -> str:
    """In whatever case: Airflow turns the name of a connection into that of a variable."""
    return re.sub(re.escape(secret), "***", text, flags=re.IGNORECASE)


def of_all(kind: Kind, severity: Severity, detail: str, hint: str, size_bytes: int | None = None) -> Finding:
    """A finding about no single row."""
    return Finding(kind, severity, None, None, None, None, None, size_bytes, None, detail, hint)
