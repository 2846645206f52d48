"""What one migration did. Bytes are those of the texts, or of what is stored where a text was not read."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from xcomctl.catalog.catalog import Row
from xcomctl.catalog.rewriting import Text
from xcomctl.errors import ExitCode, XcomctlError
from xcomctl.operations.gc import Tally
from xcomctl.operations.migrate.move import Carried
from xcomctl.operations.migrate.terms import OUTAGES, Failure, Plan, Skip
from xcomctl.operations.rows import NOTHING, RowsAccount


@dataclass(slots=True)
class Account(RowsAccount[Plan, Skip]):
    """The counts of one run."""

    COMMAND: ClassVar[str] = "migrate"
    IN_VAIN: ClassVar[ExitCode] = ExitCode.STORAGE

    migrated: Tally = NOTHING
    reclaimable_bytes: int = 0
    outages: bool = True
    """Whether every failure so far is one of the store or of the database."""
    tables: set[str] = field(default_factory=set)

    def moved(self, text: Text, made: Carried) -> None:
        """A row holds what it was to hold."""
        self.migrated += Tally(1, made.size_bytes)
        self.reclaimable_bytes += max(0, text.space_bytes - len(made.new))
        self.tables.add(text.row.table.name)

    def fail(self, code: str, row: Row, error: XcomctlError) -> None:
        """A row stays as it is, and should not have."""
        self.outages &= code in OUTAGES
        RowsAccount.fail(self, Failure(code).value, row, error)

    @property
    def changed(self) -> Tally:
        """What has moved."""
        return self.migrated

    @property
    def in_vain(self) -> ExitCode:
        """Storage, or the database, only when that is why nothing was changed at all."""
        return self.IN_VAIN if self.outages else ExitCode.PARTIAL

    @property
    def tallies(self) -> dict[str, Tally]:
        """Every count of the report, by its name."""
        return {
            "selected": self.plan.selected,
            "movable": self.plan.movable,
            "migrated": self.migrated,
            "skipped": sum(self.by_reason.values(), NOTHING),
            "failed": self.failed,
        }

    def document(self) -> dict[str, object]:
        """The report as programs read it."""
        return {**RowsAccount.document(self), "reclaimable_bytes": self.reclaimable_bytes}
