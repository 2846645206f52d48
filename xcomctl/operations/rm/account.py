"""What one removal did. Of rows the bytes are the stored ones, of objects their own."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import ClassVar

from xcomctl.errors import ExitCode
from xcomctl.operations.gc import Tally
from xcomctl.operations.rm.terms import Plan, Skip, Unmarked
from xcomctl.operations.rows import NOTHING, RowsAccount


@dataclass(slots=True)
class Account(RowsAccount[Plan, Skip]):
    """The counts of one run.

    `due` says when how many of the marked objects become deletable; `archives` are the tables that were made.
    """

    COMMAND: ClassVar[str] = "rm"
    IN_VAIN: ClassVar[ExitCode] = ExitCode.METADATA

    removed: Tally = NOTHING
    marked: Tally = NOTHING
    unmarked: dict[Unmarked, Tally] = field(default_factory=dict)
    due: dict[datetime, Tally] = field(default_factory=dict)
    archives: list[str] = field(default_factory=list)

    def mark(self, tally: Tally, due_at: datetime) -> None:
        """Objects have gc's first mark."""
        if tally.count:
            self.marked += tally
            self.due[due_at] = self.due.get(due_at, NOTHING) + tally

    def leave(self, why: Unmarked, tally: Tally) -> None:
        """Objects have no mark."""
        if tally.count:
            self.unmarked[why] = self.unmarked.get(why, NOTHING) + tally

    @property
    def changed(self) -> Tally:
        """What is gone."""
        return self.removed

    @property
    def tallies(self) -> dict[str, Tally]:
        """Every count of the report, by its name: rows, and of `marked` and `unmarked` objects."""
        return {
            "selected": self.plan.selected,
            "removable": self.plan.removable,
            "removed": self.removed,
            "skipped": sum(self.by_reason.values(), NOTHING),
            "failed": self.failed,
            "marked": self.marked,
            "unmarked": sum(self.unmarked.values(), NOTHING),
        }

    def document(self) -> dict[str, object]:
        """The report as programs read it."""
        return {
            **RowsAccount.document(self),
            "unmarked_by_reason": {why.value: self.unmarked[why].count for why in Unmarked if why in self.unmarked},
            "due": [
                {"at": at.isoformat(), "objects": tally.count, "bytes": tally.bytes}
                for at, tally in sorted(self.due.items())
            ],
            "archives": self.archives,
        }
