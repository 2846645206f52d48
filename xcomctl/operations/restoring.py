"""Undo one run of gc: bring back what it removed, and never write over anything."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from xcomctl.errors import ExitCode, XcomctlError
from xcomctl.ledger import Lease, Record, Removed
from xcomctl.ledger.audit import TRASH, record_of, removed_by, write_returns
from xcomctl.ledger.lease import held, holder, require_free
from xcomctl.ledger.marks import read_marks, write_marks
from xcomctl.model import Outcome, Return, StoredObject
from xcomctl.operations.gc import Scope, Tally, counted, new_operation_id
from xcomctl.operations.gc.collection import require_listing

BATCH = 500

WHY = {
    Outcome.OCCUPIED: "there is another object in its place, which was left alone",
    Outcome.MISSING: "what was kept of it is not there any more",
}


@dataclass(slots=True)
class Restoration:
    """What one restore found, and what it did."""

    scope: Scope
    operation_id: str
    record: Record
    selected: tuple[Removed, ...]
    lease: Lease | None
    returned: dict[Outcome, Tally] = field(default_factory=lambda: dict.fromkeys(Outcome, Tally()))
    failures: list[dict[str, str]] = field(default_factory=list)

    def carry_out(self) -> Iterator[Return]:
        """Bring back, batch by batch. What comes back is no longer marked: its sightings begin anew."""
        try:
            self._unmark()
            for number, start in enumerate(range(0, len(self.selected), BATCH), start=1):
                yield from self._batch(number, self.selected[start : start + BATCH])
        except XcomctlError as error:
            if not any(tally.count for tally in self.returned.values()):
                raise
            self.failures.append({"code": "broke_off", "message": error.message})

    def _batch(self, number: int, removed: Sequence[Removed]) -> Iterator[Return]:
        if self.lease is not None:
            self.lease.require()
            self.lease.keep()
        returns = list(self.scope.store.bring_back([each.kept for each in removed]))
        for each, returned in zip(removed, returns, strict=True):
            occupied = returned.outcome is Outcome.OCCUPIED
            self._enter(each, returned, self.scope.store.stat(returned.kept.object.name) if occupied else None)
        write_returns(self.scope.control, self.record.operation_id, self.operation_id, number, returns)
        yield from returns

    def look(self) -> None:
        """What a dry run can tell: which places are taken, and which copies are not in the trash any more."""
        there = {each.name for each in self.scope.control.listed(f"{TRASH}{self.record.operation_id}/")}
        taken = {each.name: each for each in self.scope.store.objects(self.scope.base.location.folder)}
        for each in self.selected:
            found = taken.get(each.kept.object.name)
            if found is not None:
                self._enter(each, Return(each.kept, Outcome.OCCUPIED), found)
            elif each.kept.is_copy and each.kept.kept_as not in there:
                self._enter(each, Return(each.kept, Outcome.MISSING))

    def _enter(self, removed: Removed, returned: Return, in_its_place: StoredObject | None = None) -> None:
        self.returned[returned.outcome] += Tally.of(returned.kept.object)
        if returned.outcome in (Outcome.MISSING, Outcome.OCCUPIED) and not removed.is_certain:
            return  # the run was broken off, and this object was never removed, or by another run
        if in_its_place is not None and in_its_place.size_bytes == returned.kept.object.size_bytes:
            return  # an earlier restore was broken off, or another run has removed it too, and was undone
        if returned.outcome is not Outcome.RESTORED:
            message = returned.message or WHY[returned.outcome]
            url = replace(self.scope.base.location, name=returned.kept.object.name).url
            self.failures.append({"code": f"restore_{returned.outcome.value}", "url": url, "message": message})

    def _unmark(self) -> None:
        base = self.scope.base.location.url
        names = {self.scope.relative(each.kept.object.name) for each in self.selected}
        marks = read_marks(self.scope.control, base)
        if any(mark.name in names for mark in marks):
            left = (mark for mark in marks if mark.name not in names)
            write_marks(self.scope.control, base, self.operation_id, left)

    @property
    def has_changed(self) -> bool:
        """Whether anything has come back."""
        return bool(self.returned[Outcome.RESTORED].count) and self.lease is not None

    @property
    def exit_code(self) -> ExitCode:
        """Partial when some came back and some did not, or were there; storage when none could."""
        if self.failures:
            is_partial = self.returned[Outcome.RESTORED].count or self.returned[Outcome.OCCUPIED].count
            return ExitCode.PARTIAL if is_partial else ExitCode.STORAGE
        return ExitCode.OK

    @property
    def tallies(self) -> dict[str, Tally]:
        """Every count of the report, by its name."""
        selected = Tally.of(*(each.kept.object for each in self.selected))
        return {"selected": selected, **{outcome.value: tally for outcome, tally in self.returned.items()}}

    def document(self) -> dict[str, object]:
        """The report as programs read it."""
        return {
            "schema": 1,
            "command": "restore",
            "operation_id": self.operation_id,
            "dry_run": self.lease is None,
            "status": self.exit_code.status,
            **counted(self.tallies),
            "failures": self.failures,
            "refusals": [],
            "restored_operation_id": self.record.operation_id,
        }


@contextmanager
def restoring(scope: Scope, operation_id: str, *, dry_run: bool) -> Iterator[Restoration]:
    """What an operation removed and has not come back since, ready to be carried out.

    Raises `NotFoundError` for an operation that is not there, `LockedError` while another run is at work.
    """
    mine = holder(new_operation_id(), "restore")
    record = record_of(scope.control, operation_id)
    require_listing(scope)
    if dry_run:
        require_free(scope.control, mine)
        restoration = Restoration(scope, mine.operation_id, record, _selected(scope, record), None)
        restoration.look()
        yield restoration
        return
    with held(scope.control, mine) as lease:
        yield Restoration(scope, mine.operation_id, record, _selected(scope, record), lease)


def _selected(scope: Scope, record: Record) -> tuple[Removed, ...]:
    """What has not come back yet. Only below this base path: the audit is a file, and somebody may have changed it."""
    folder = scope.base.location.folder
    waiting = (each for each in removed_by(scope.control, record) if each.settled != Outcome.RESTORED.value)
    return tuple(each for each in waiting if each.kept.object.name.startswith(folder))
