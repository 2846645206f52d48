"""What one migration did, kept while it runs, so that one that breaks off can still be reported."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import chain

from xcomctl.catalog.catalog import Row
from xcomctl.errors import ExitCode, XcomctlError
from xcomctl.operations.gc import Tally, counted
from xcomctl.operations.migrate.terms import Plan, Skip

NOTHING = Tally()


@dataclass(slots=True)
class Account:
    """The counts of one run. `skipped` adds to what the plan has skipped; its bytes are those of the texts."""

    plan: Plan
    operation_id: str
    migrated: Tally = NOTHING
    failed: Tally = NOTHING
    skipped: dict[Skip, Tally] = field(default_factory=dict)
    perhaps_changed: bool = False
    failures: list[dict[str, object]] = field(default_factory=list)
    stopped: str | None = None

    def moved(self, size_bytes: int) -> None:
        """A row refers to its value now."""
        self.migrated += Tally(1, size_bytes)

    def skip(self, reason: Skip, size_bytes: int) -> None:
        """A row stays as it is, for good reason."""
        self.skipped[reason] = self.skipped.get(reason, NOTHING) + Tally(1, size_bytes)

    def fail(self, code: str, row: Row, error: XcomctlError) -> None:
        """A row stays as it is, and should not have."""
        xcom = row.xcom
        self.failed += Tally(1, xcom.size_bytes)
        names = ("dag_id", "run_id", "task_id", "map_index", "key")
        identity = {name: getattr(xcom, name) for name in names}
        self.failures.append({"code": code, **identity, "message": error.message})

    def complain(self, code: str, message: str) -> None:
        """Something is wrong with the whole run."""
        self.failures.append({"code": code, "message": message})

    @property
    def done(self) -> int:
        """How many of the movable rows have been handled."""
        return self.migrated.count + self.failed.count + sum(tally.count for tally in self.skipped.values())

    @property
    def has_changed(self) -> bool:
        """Whether any row is, or may be, another than before."""
        return bool(self.migrated.count) or self.perhaps_changed

    @property
    def exit_code(self) -> ExitCode:
        """What the shell is told: partial only when something was changed, storage when nothing could be."""
        if self.plan.refusals:
            return ExitCode.REFUSED
        if self.failures:
            return ExitCode.PARTIAL if self.has_changed else ExitCode.STORAGE
        return ExitCode.OK

    @property
    def by_reason(self) -> dict[Skip, Tally]:
        """What was skipped, by why."""
        found: dict[Skip, Tally] = {}
        for reason, tally in chain(self.plan.skipped.items(), self.skipped.items()):
            found[reason] = found.get(reason, NOTHING) + tally
        return {reason: found[reason] for reason in Skip if reason in found}

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
        return {
            "schema": 1,
            "command": "migrate",
            "operation_id": self.operation_id,
            "dry_run": self.plan.rules.dry_run,
            "status": "partial" if self.stopped == "signal" else self.exit_code.status,
            **counted(self.tallies),
            "skipped_by_reason": {reason.value: tally.count for reason, tally in self.by_reason.items()},
            "failures": self.failures,
            "refusals": [{"gate": each.gate.value, "message": each.message} for each in self.plan.refusals],
            "stopped": self.stopped,
        }
