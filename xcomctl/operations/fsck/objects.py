"""What the store says of the objects that rows refer to: whether they are there, and with `--deep` what is in them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field
from functools import partial
from threading import Lock

from xcomctl.backend import payload
from xcomctl.backend.reference import Address, Placement, parse, unique_part
from xcomctl.backend.storage import Store, Stores
from xcomctl.catalog import Catalog
from xcomctl.catalog.catalog import Row
from xcomctl.errors import XcomctlError
from xcomctl.ledger import Control
from xcomctl.ledger.audit import records, removed_by
from xcomctl.model import Severity, State
from xcomctl.operations.concurrency import at_once
from xcomctl.operations.fsck.terms import Finding, Kind, of_row
from xcomctl.operations.gc import Scope
from xcomctl.operations.gc.listing import Listing
from xcomctl.operations.rows import meaning

LOOKUPS_AT_ONCE = 16
READS_AT_ONCE = 4
AT_EASE_BYTES = 8 * 1024 * 1024
"""A value is held in memory whole while it is read: those larger than this one after the other."""


class Listed:
    """The names of the objects that a listing showed."""

    def __init__(self, base: Address, listing: Listing) -> None:
        self._names = frozenset(listing.objects.names())
        self._spelled, self._folder = base.text.rstrip("/") + "/", base.location.folder

    def holds(self, row: Row) -> bool:
        """Whether the object that a row refers to is among them; most references are spelled as the base path is."""
        url = row.xcom.reference or ""
        below = url[len(self._spelled) :] if url.startswith(self._spelled) else ""
        return (bool(below) and self._folder + below in self._names) or name_of(row) in self._names


@dataclass(slots=True)
class Lost:
    """Tells which rows of a database refer to what is not there any more, and how it came to that; each row once."""

    catalog: Catalog
    scope: Scope | None
    _told: set[tuple[object, ...]] = field(default_factory=set)
    _removed_in: dict[str, str] | None = None

    def among(self, rows: Sequence[Row], store: Store) -> Iterator[Finding]:
        """Of rows whose objects a listing did not show those that still refer to nothing, looked up one by one.

        A younger object is not in the listing, and a row may be gone with its object by now.
        """
        found = at_once(partial(_is_there, store), rows, LOOKUPS_AT_ONCE)
        yield from self.of([row for row, is_there in zip(rows, found, strict=True) if not is_there])

    def of(self, rows: Sequence[Row]) -> Iterator[Finding]:
        """Of rows whose objects are not there those that the database still has, and that were not told yet."""
        for row in self._still_referring(rows):
            named = (row.table.name, *row.key)
            if named not in self._told:
                self._told.add(named)
                yield self._finding(row)

    def _still_referring(self, rows: Sequence[Row]) -> Iterator[Row]:
        """Those whose object's name tells no row are taken to be there."""
        uniques = {row: unique_part(row.xcom.reference or "") for row in rows}
        placements = [
            Placement(row.xcom.dag_id, row.xcom.run_id, row.xcom.task_id, unique)
            for row, unique in uniques.items()
            if unique is not None
        ]
        referred = self.catalog.still_referenced(placements)
        return (row for row, unique in uniques.items() if unique is None or unique in referred)

    def _finding(self, row: Row) -> Finding:
        operation_id = self.removed_in.get(name_of(row)) if row.xcom.state is State.EXTERNAL else None
        if operation_id is None:
            return _gone(row)
        detail = f"gc removed its object in {operation_id}, when no row referred to it"
        return of_row(row.xcom, Kind.DANGLING, Severity.ERROR, detail, f"xcomctl restore {operation_id}")

    @property
    def removed_in(self) -> dict[str, str]:
        """Which operation of gc removed what, of all that has not come back."""
        if self._removed_in is None:
            self._removed_in = {}
            if self.scope is not None:
                with suppress(XcomctlError):  # a check of rows does not depend on gc's own notes
                    self._removed_in = dict(_removals(self.scope.control))
        return self._removed_in


def _removals(control: Control) -> Iterator[tuple[str, str]]:
    for run in records(control):
        if run.has_removed and not run.is_emptied:
            removed = (each for each in removed_by(control, run) if each.settled is None)
            yield from ((each.kept.object.name, run.operation_id) for each in removed)


def _is_there(store: Store, row: Row) -> bool:
    name = name_of(row)
    return not name or store.stat(name) is not None


def _gone(row: Row) -> Finding:
    return of_row(row.xcom, Kind.DANGLING, Severity.ERROR, f"nothing is at {row.xcom.reference}", _anew(row))


def _anew(row: Row) -> str:
    """What helps where a value is lost."""
    return f"run the task again, or do without: xcomctl rm --archive {meaning(row.xcom)}"


def name_of(row: Row) -> str:
    """The name of the object that a row refers to; empty where it refers to none."""
    address = parse(row.xcom.reference or "")
    return address.location.name if address is not None else ""


@dataclass(slots=True)
class Reader:
    """Reads, decompresses and parses the objects that rows refer to, some at a time."""

    stores: Stores
    _one_large: Lock = field(default_factory=Lock)

    def through(self, rows: Iterable[Row]) -> Iterator[tuple[Row, Finding | bool]]:
        """Each row with a finding where its object is no value, else with whether it is there."""
        return at_once(self._read, rows, READS_AT_ONCE)

    def _read(self, row: Row) -> tuple[Row, Finding | bool]:
        address = parse(row.xcom.reference or "")
        if address is None:
            return row, True
        try:
            wrong = self._wrong_with(address)
        except FileNotFoundError:
            return row, False
        except payload.PayloadError as error:
            if isinstance(error.__cause__, ImportError):
                return row, _unreadable(row, error)
            wrong = error.message
        except XcomctlError as error:
            return row, _unreadable(row, error)
        return row, of_row(row.xcom, Kind.CORRUPT, Severity.ERROR, wrong, _anew(row)) if wrong else True

    def _wrong_with(self, address: Address) -> str | None:
        """What Airflow stumbles over though the value can be read. Raises `PayloadError` where it cannot."""
        name = address.location.name
        with self.stores.of(address).open(name) as body:
            data = body.read(AT_EASE_BYTES)
            with self._one_large if len(data) == AT_EASE_BYTES else nullcontext():
                plain = payload.decompress(data + body.read(), name)
                payload.parse(plain.data)
        return ", ".join(plain.notes) or None


def _unreadable(row: Row, error: XcomctlError) -> Finding:
    hint = error.hint or "xcomctl verify-backend says what is amiss"
    return of_row(row.xcom, Kind.UNREADABLE, Severity.ERROR, error.message, hint)
