"""What helps a row, as the command that does it: worked out from what `migrate` itself would refuse."""

from __future__ import annotations

from dataclasses import dataclass

from xcomctl.catalog.catalog import Row
from xcomctl.model import Severity
from xcomctl.operations.migrate import Failure, Skip
from xcomctl.operations.preflight.terms import Judgement, Kind
from xcomctl.operations.rows import meaning

READABLE = (Kind.NAN, Kind.NUL, Kind.SURROGATE, Kind.NUMBER, Kind.TOO_LARGE, Kind.CHANGED)
"""What Python's json reads all the same, so that migrate moves it: the object holds the text as it is."""

MOVABLE = (None, Skip.RUN_UNFINISHED)
"""What keeps migrate from moving a row for long: nothing, or only that its run is not over."""


@dataclass(frozen=True, slots=True)
class Circumstances:
    """What the commands must be told. An upgrade that failed leaves an alembic head between two releases."""

    has_base: bool
    knows_head: bool

    @property
    def flags(self) -> str:
        """What stands before the filters."""
        return ("" if self.has_base else "--base-path URL ") + ("" if self.knows_head else "--allow unknown-head ")


Kept = tuple[Skip | None, Skip | Failure | None]


def hint_for(row: Row, judgement: Judgement, skips: Kept, told: Circumstances) -> str:
    """What to do about a row. `skips` are what keeps migrate from moving it: of the row, and of its value."""
    if judgement.kind is Kind.PICKLED:
        return "what is still needed must be pushed again with [core] enable_xcom_pickling = False"
    skip, of_value = skips
    movable = judgement.kind in READABLE and skip in MOVABLE and of_value is None
    command = "migrate --threshold 0" if movable else "rm --archive"
    when = "once its run is over: " if skip is Skip.RUN_UNFINISHED else ""
    why = "to keep it as it is: " if movable else "nothing keeps it as it is; to do without: "
    if judgement.severity is Severity.ERROR:
        why = ""
    return f"{when}{why}xcomctl {command} {told.flags}{meaning(row.xcom)}"
