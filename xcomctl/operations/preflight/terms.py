"""The words of a preflight: which Airflow it is for, and what may become of a row on the way there."""

from __future__ import annotations

import re
from dataclasses import dataclass, fields
from enum import Enum

from xcomctl.catalog.treatments import LAST_READ, PRE_RELEASES, TREATMENTS, Treatment, treatment_of
from xcomctl.errors import UsageError
from xcomctl.model import Severity

_VERSION = re.compile(r"(\d{1,4})\.(\d{1,4})(?:\.(\d{1,4}))?((?:\.?(?:a|b|rc|dev|post)\d*)+)?")


class Kind(str, Enum):
    """What is found. The values are the `id` of the findings."""

    NAN = "nan"
    """NaN or Infinity, which Python's JSON has, and JSON has not."""
    NUL = "nul"
    """The escape of U+0000, which PostgreSQL's texts cannot hold."""
    SURROGATE = "surrogate"
    """The escape of half a surrogate pair."""
    NUMBER = "number"
    """A number that the database's JSON does not hold, or holds in another form."""
    INVALID_JSON = "invalid_json"
    NOT_UTF8 = "not_utf8"
    EMPTY = "empty"
    TOO_LARGE = "too_large"
    TOO_DEEP = "too_deep"
    PICKLED = "pickled"
    ARCHIVED = "archived"
    """A pickle whose place in `_xcom_archive` is taken."""
    CHANGED = "changed"
    """Some other change of the text."""
    DATABASE = "database"
    """The database cannot run this migration, whatever its rows are."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """What becomes of a value, and why."""

    kind: Kind
    severity: Severity
    detail: str


@dataclass(frozen=True, slots=True)
class Finding:
    """A row that the upgrade fails on, changes or moves, and what helps; without names it concerns the database.

    An error aborts the upgrade, a warning is a value that changes or leaves the table.
    """

    id: Kind
    severity: Severity
    dag_id: str | None
    run_id: str | None
    task_id: str | None
    map_index: int | None
    key: str | None
    size_bytes: int | None
    detail: str
    hint: str


FIELDS = tuple(field.name for field in fields(Finding))


@dataclass(frozen=True, slots=True)
class Target:
    """The Airflow to upgrade to. `note` says where its migration is inferred from an older one, else ''."""

    version: str
    treatment: Treatment
    note: str = ""


def target_of(text: str) -> Target:
    """The target that a version names. Raises `UsageError` for none, and for one that has no such migration."""
    matched = _VERSION.fullmatch(text.strip())
    if matched is None:
        raise UsageError(f"--target {text!r} is not a version of Airflow", hint=f"write 3.3.2; known are {known()}")
    major, minor, patch = (int(part or 0) for part in matched.groups()[:3])
    version = (major, minor, patch)
    if version < TREATMENTS[0].since or major > max(LAST_READ)[0]:
        raise UsageError(f"--target {text}: no upgrade from Airflow 2 to that is known", hint=f"known are {known()}")
    last = LAST_READ.get((major, minor), LAST_READ[max(LAST_READ)])
    if version in PRE_RELEASES and matched.group(4) is None:
        note = f"of {text} only {PRE_RELEASES[version]} was there to be read; it is taken to treat values alike"
        return Target(text, treatment_of(version), note)
    if version <= last:
        return Target(text, treatment_of(version))
    newest = ".".join(map(str, last))
    note = f"{text} is newer than this xcomctl; it is taken to treat values as {newest} does"
    return Target(text, treatment_of(last), note)


def known() -> str:
    """The versions whose migration was read, in words."""
    last = [".".join(map(str, patch)) for patch in LAST_READ.values()]
    return ", ".join(f"{each.rpartition('.')[0]}.0 to {each}" if not each.endswith(".0") else each for each in last)
