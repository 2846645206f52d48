"""The words of a verification: what is asked of a container, and what it may answer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from enum import Enum
from typing import Generic, TypeVar

Subject = TypeVar("Subject")

CHECK_SECONDS = 20.0
"""How long a check may take before it counts as failed."""

IMPORT_SECONDS = 90.0
"""The same for what imports Airflow: on a cold, small container that alone takes half a minute."""


class Status(str, Enum):
    """How a check ended. Only `fail` makes the answer a no."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"
    SKIPPED = "skipped"
    """It does not apply here, or needs a check that did not pass."""
    UNKNOWN = "unknown"
    """It cannot be told from here; the hint says from where."""


@dataclass(frozen=True, slots=True)
class Check:
    """One line of the answer. `ms` is how long it took."""

    id: str
    status: Status
    detail: str
    hint: str | None
    ms: int


FIELDS = tuple(field.name for field in fields(Check))


@dataclass(frozen=True, slots=True)
class Answer:
    """What a check finds: one line of what is, and one of what to do."""

    status: Status
    detail: str
    hint: str | None = None


def ok(detail: str) -> Answer:
    """All is well."""
    return Answer(Status.OK, detail)


def warn(detail: str, hint: str | None = None) -> Answer:
    """It works, and somebody should look at it."""
    return Answer(Status.WARN, detail, hint)


def fail(detail: str, hint: str | None = None) -> Answer:
    """It does not work, or not as somebody meant it to."""
    return Answer(Status.FAIL, detail, hint)


def skipped(detail: str, hint: str | None = None) -> Answer:
    """It does not apply here."""
    return Answer(Status.SKIPPED, detail, hint)


def unknown(detail: str, hint: str | None = None) -> Answer:
    """It cannot be told from here."""
    return Answer(Status.UNKNOWN, detail, hint)


@dataclass(frozen=True, slots=True)
class Probe(Generic[Subject]):
    """One check as it stands in the list: who answers it, and which others it depends on.

    Those that it `needs` must have passed, or warned; those `unless_failed` may as well not apply here. Once somebody
    whom it `asks` has let a check wait until its time was up, no other check asks there.
    """

    id: str
    ask: Callable[[Subject], Answer]
    needs: tuple[str, ...] = ()
    unless_failed: tuple[str, ...] = ()
    seconds: float = CHECK_SECONDS
    asks: str = ""
