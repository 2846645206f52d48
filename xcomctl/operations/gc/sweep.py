"""Do what a plan says, batch by batch, each looked up in the databases once more, and keep account of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from uuid import uuid4

from xcomctl.backend.reference import Placement, place
from xcomctl.backend.storage import Store
from xcomctl.catalog import Catalog
from xcomctl.errors import ExitCode, XcomctlError
from xcomctl.model import Deletion
from xcomctl.operations.gc.evidence import unfinished_owners
from xcomctl.operations.gc.terms import Plan, Tally

BATCH = 500
NOTHING = Tally()
STATUS = {
    ExitCode.OK: "success",
    ExitCode.PARTIAL: "partial",
    ExitCode.REFUSED: "refused",
    ExitCode.STORAGE: "error",
}


@dataclass(slots=True)
class Account:
    """What one run did, kept while it runs, so that a run that breaks off can still be reported."""

    plan: Plan
    operation_id: str
    deleted: Tally = NOTHING
    revived: Tally = NOTHING
    vanished: Tally = NOTHING
    perhaps_changed: bool = False
    failures: list[dict[str, str]] = field(default_factory=list)

    def enter(self, outcome: Deletion) -> None:
        """Count what became of one object."""
        if outcome.error is not None:
            url = replace(self.plan.base.location, name=outcome.object.name).url
            self.failures.append({"code": "delete_failed", "url": url, "message": outcome.error})
            self.perhaps_changed |= outcome.unknown
        elif outcome.vanished:
            self.vanished += Tally.of(outcome.object)
        elif outcome.changed:
            self.revived += Tally.of(outcome.object)
        else:
            self.deleted += Tally.of(outcome.object)

    def break_off(self, error: XcomctlError) -> None:
        """The run could not go on after it had changed something."""
        self.failures.append({"code": "broke_off", "message": error.message})

    @property
    def exit_code(self) -> ExitCode:
        """What the shell is told: partial only when something was changed, storage when nothing could be."""
        if self.plan.refusals:
            return ExitCode.REFUSED
        if self.failures:
            return ExitCode.PARTIAL if self.deleted.count or self.perhaps_changed else ExitCode.STORAGE
        return ExitCode.OK

    @property
    def tallies(self) -> dict[str, Tally]:
        """Every count of the report, by its name."""
        fates = {fate.value: tally for fate, tally in self.plan.fates.items()}
        return {
            "listed": self.plan.listed,
            **fates,
            "live": self.plan.kept_by_rows,
            "marked": Tally(),
            "deletable": Tally.of(*self.plan.deletable),
            "deleted": self.deleted,
            "revived": self.revived,
            "vanished": self.vanished,
        }

    def document(self) -> dict[str, object]:
        """The report as programs read it."""
        counts: dict[str, object] = {}
        for name, tally in self.tallies.items():
            counts |= {name: tally.count, f"{name}_bytes": tally.bytes}
        return {
            "schema": 1,
            "command": "gc",
            "operation_id": self.operation_id,
            "dry_run": self.plan.rules.dry_run,
            "status": STATUS[self.exit_code],
            **counts,
            "failures": self.failures,
            "refusals": [{"gate": refusal.gate.value, "message": refusal.message} for refusal in self.plan.refusals],
        }


def run(account: Account, catalogs: Sequence[Catalog], store: Store) -> Iterator[Deletion]:
    """Apply the account's plan and enter each outcome; an error is raised only before the first change."""
    try:
        for outcome in apply(account.plan, catalogs, store):
            account.enter(outcome)
            yield outcome
    except XcomctlError as error:
        if not account.deleted.count:
            raise
        account.break_off(error)


def apply(plan: Plan, catalogs: Sequence[Catalog], store: Store) -> Iterator[Deletion]:
    """Delete what the plan says, batch by batch, and yield what became of every object.

    The rows of a batch are read once more just before it goes; whatever has a row again, or an owner at work, is kept.
    """
    folder = plan.base.location.folder
    for start in range(0, len(plan.deletable), BATCH):
        batch = plan.deletable[start : start + BATCH]
        placements = {found.name: place(found.name[len(folder) :]) for found in batch}
        revived = _revived([p for p in placements.values() if p], catalogs, store.now(folder))
        kept = {name for name, placement in placements.items() if placement is None or placement.unique in revived}
        yield from (Deletion(found, changed=True) for found in batch if found.name in kept)
        yield from store.delete([found for found in batch if found.name not in kept])


def new_operation_id() -> str:
    """A name for one run that sorts by time."""
    return f"{datetime.now(timezone.utc):%Y%m%dT%H%M%SZ}-{uuid4().hex[:8]}"


def _revived(placements: Sequence[Placement], catalogs: Sequence[Catalog], now: datetime) -> set[str]:
    """The unique parts of those objects that have a row now, or an owner that may still write."""
    referenced = {unique for catalog in catalogs for unique in catalog.still_referenced(placements)}
    owners = unfinished_owners(placements, catalogs, now)
    return referenced | {p.unique for p in placements if p.owner in owners}
