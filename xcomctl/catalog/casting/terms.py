"""What a database says of a value that the migration will cast."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from xcomctl.catalog.catalog import Row

READ_BYTES = 16_384
"""A value up to this size is read where something is wrong with it, for what Python says of it."""


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a value does not become JSON, in the database's words. `state` is PostgreSQL's SQLSTATE, '' elsewhere."""

    message: str
    detail: str = ""
    state: str = ""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What becomes of one value.

    `pickled`: it is moved to `_xcom_archive`; `is_archived`: that has such a row already, so that this fails.
    `failure`: it aborts the upgrade; `was_json`: it would not, without what the migration does to it first.
    `altered`: the migration changes its text; `nul`: that has the escape of U+0000; `token`: it has NaN or Infinity,
    if only in a string. `respelled`: a number in it is written in a form that the database's JSON does not keep;
    `unequal`: so that Python reads another number, as far as the value was read.
    `value`: the value itself, where it is small and not harmless.
    """

    pickled: bool = False
    failure: Failure | None = None
    was_json: bool = True
    altered: bool = False
    nul: bool = False
    token: bool = False
    respelled: bool = False
    unequal: bool = False
    is_archived: bool = False
    value: bytes | None = None

    @property
    def is_harmless(self) -> bool:
        """Whether the value comes out as it went in."""
        return not (self.pickled or self.failure or self.altered or self.respelled)


class Trial(Protocol):
    """How one kind of database is asked."""

    @property
    def doubtful(self) -> Sequence[str]:
        """SQL conditions on `x.value`, each false for harmless values alone, in the order in which to try them.

        A value that is not harmless may make one fail, the later ones less often.
        """

    def verdicts(self, rows: Sequence[Row]) -> list[Verdict | None]:
        """What becomes of each row; None for one that is gone."""

    def unchecked(self) -> Sequence[str]:
        """What could make this upgrade fail or change a value, and was not looked for."""

    def obstacle(self) -> str | None:
        """Why the upgrade fails whatever the rows are, or None."""
