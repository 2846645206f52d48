"""What the store says of the objects that rows refer to: whether they are there, and with `--deep` what is in them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

from xcomctl.backend import payload
from xcomctl.backend.reference import Address, parse, place
from xcomctl.backend.storage import Stores
from xcomctl.catalog import Catalog
from xcomctl.catalog.catalog import Row
from xcomctl.errors import XcomctlError
from xcomctl.ledger import Control
from xcomctl.ledger.audit import records, removed_by
from xcomctl.model import Severity, State
from xcomctl.operations.concurrency import at_once
from xcomctl.operations.fsck.terms import Finding, Kind, of_row
from xcomctl.operations.gc import Scope
from xcomctl.operations.rows import meaning

LOOKUPS_AT_ONCE = 16
READS_AT_ONCE = 4
"""A value is held in memory whole while it is read."""


@dataclass(slots=True)
class Lost:
    """Tells which rows refer to what is not there any more, and how it came to that."""

    scope: Scope
    catalog: Catalog
    _removed_in: dict[str, str] | None = None

    def findings(self, rows: Sequence[Row]) -> Iterator[Finding]:
        """Of rows whose objects a listing did not show those that still refer to nothing, looked up one by one.

        A younger object is not in the listing, and a row may be gone with its object by now.
        """
        found = at_once(self._is_there, rows, LOOKUPS_AT_ONCE)
        lost = [row for row, is_there in zip(rows, found, strict=True) if not is_there]
        referring = self._still_referring(lost)
        yield from (self._finding(row) for row in lost if row in referring)

    def _is_there(self, row: Row) -> bool:
        name = name_of(row)
        return not name or self.scope.store.stat(name) is not None

    def _still_referring(self, rows: Sequence[Row]) -> set[Row]:
        """Those that the database still has; those whose object's name tells no row are taken to be there."""
        placed = {row: place(self.scope.relative(name_of(row))) for row in rows}
        referred = self.catalog.still_referenced([each for each in placed.values() if each is not None])
        return {row for row, placement in placed.items() if placement is None or placement.unique in referred}

    def _finding(self, row: Row) -> Finding:
        operation_id = self.removed_in.get(name_of(row))
        if operation_id is None:
            return gone(row)
        detail = f"its object is gone: gc removed it in {operation_id}, when no row referred to it"
        return of_row(row.xcom, Kind.DANGLING, Severity.ERROR, detail, f"xcomctl restore {operation_id}")

    @property
    def removed_in(self) -> dict[str, str]:
        """Which operation of gc removed what, of all that has not come back."""
        if self._removed_in is None:
            with suppress(XcomctlError):  # a check of rows does not depend on gc's own notes
                self._removed_in = dict(_removals(self.scope.control))
        return self._removed_in or {}


def _removals(control: Control) -> Iterator[tuple[str, str]]:
    for run in records(control):
        if run.has_removed and not run.is_emptied:
            removed = (each for each in removed_by(control, run) if each.settled is None)
            yield from ((each.kept.object.name, run.operation_id) for each in removed)


def gone(row: Row) -> Finding:
    """A row whose object is not there."""
    detail = "its object is gone: Airflow hands tasks the URL as if it were the value"
    hint = f"run the task again, or do without: xcomctl rm --archive {meaning(row.xcom)}"
    return of_row(row.xcom, Kind.DANGLING, Severity.ERROR, detail, hint)


def name_of(row: Row) -> str:
    """The name of the object that a row refers to; empty where it refers to none."""
    address = parse(row.xcom.reference or "")
    return address.location.name if address is not None else ""


def read_through(rows: Iterable[Row], stores: Stores) -> Iterator[Finding | None]:
    """Each row's object read, decompressed and parsed: a finding where that fails, None where it is a value."""
    return at_once(partial(_read, stores), rows, READS_AT_ONCE)


def _read(stores: Stores, row: Row) -> Finding | None:
    address = parse(row.xcom.reference or "")
    if address is None:
        return None
    try:
        payload.parse(payload.decompress(_bytes(stores, address), address.location.name).data)
    except FileNotFoundError:
        return None if row.xcom.state is State.EXTERNAL else gone(row)
    except payload.PayloadError as error:
        hint = f"{error.hint}: xcomctl get --explain" if error.hint else "xcomctl get --explain shows what it is"
        return of_row(row.xcom, Kind.CORRUPT, Severity.ERROR, error.message, hint)
    except XcomctlError as error:
        return of_row(row.xcom, Kind.UNREADABLE, Severity.ERROR, error.message, error.hint or "xcomctl verify-backend")
    return None


def _bytes(stores: Stores, address: Address) -> bytes:
    with stores.of(address).open(address.location.name) as body:
        return body.read()
