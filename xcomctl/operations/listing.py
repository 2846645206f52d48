"""Which XComs there are: rows as the catalogue streams them, looked up in storage when that is asked for."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from functools import partial
from itertools import islice
from operator import attrgetter
from typing import TypeVar

from xcomctl.backend.reference import parse
from xcomctl.backend.storage import Stores
from xcomctl.catalog import Catalog
from xcomctl.catalog.lines import Lines, Page
from xcomctl.errors import XcomctlError
from xcomctl.masking import without_userinfo
from xcomctl.model import Filter, State, Watch, XCom, unwatched
from xcomctl.operations.concurrency import at_once

ARCHIVE_FIELD = "archive"
FIELDS = tuple(field.name for field in fields(XCom) if field.name != ARCHIVE_FIELD)
ROW_FIELDS = tuple(name for name in FIELDS if not name.startswith("object_"))
"""The columns of a row, in the order of the contract; those of its object come with `--check`."""

NAMES = ("dag_id", "run_id", "task_id", "map_index")
"""What an archived row does not tell that has lost its task instance."""

REFERENCES = (State.EXTERNAL, State.FOREIGN)
LOOKUPS_AT_ONCE = 16

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Listing:
    """The XComs that were asked for; `cut`, once they are consumed, tells whether a limit left some out."""

    xcoms: Iterator[XCom]
    cut: Callable[[], bool]


@dataclass(frozen=True, slots=True)
class Question:
    """Which XComs, in which order (a field, descending with `-` before it; None is that of their runs), and how many.

    A `limit` of 0 is all of them. `all_attempts` adds those of earlier attempts on Airflow 3.4. With `archived` it is
    about those in archives, of every attempt, and about no others.
    """

    selected: Filter
    sort: str | None = None
    limit: int = 0
    all_attempts: bool = False
    archived: bool = False

    def rows(self, catalog: Catalog, selected: Filter) -> Iterator[XCom]:
        """The rows of a database that a filter means, where they are looked for."""
        return catalog.archived(selected) if self.archived else catalog.rows(selected, all_attempts=self.all_attempts)

    @property
    def needs_objects(self) -> bool:
        """Whether the answer depends on what storage says of every object, not only of those shown."""
        by = (self.sort or "").removeprefix("-")
        return bool(self.selected.states) or by == "state" or by.startswith("object_")


def fields_of(*, checked: bool, archived: bool) -> tuple[str, ...]:
    """The columns that a listing offers."""
    return (*(FIELDS if checked else ROW_FIELDS), *((ARCHIVE_FIELD,) if archived else ()))


def records(xcoms: Iterable[XCom], columns: Sequence[str]) -> Iterator[dict[str, object]]:
    """What a listing shows of each: no password that a URL may hold, and None for the names that are lost."""
    values = attrgetter(*columns, "is_nameless")
    for xcom in xcoms:
        *found, is_nameless = values(xcom)
        record: dict[str, object] = dict(zip(columns, found, strict=True))
        if xcom.reference is not None and "reference" in record:
            record["reference"] = without_userinfo(xcom.reference)
        if is_nameless:
            record.update((name, None) for name in NAMES if name in record)
        yield record


def list_xcoms(
    catalog: Catalog,
    question: Question,
    stores: Stores | None,
    unreadable: Callable[[XCom, XcomctlError], None],
    watch: Watch = unwatched,
) -> Listing:
    """The XComs that a question means. With `stores` each object is looked up as well, if possible only those shown.

    `unreadable` is told of a foreign reference whose store does not open: it says nothing about the configured one.
    `watch` is told how many rows were read.
    """
    selected = question.selected
    if stores is None:
        rows = _watched(question.rows(catalog, selected), watch)
        return ordered(rows, question.sort, question.limit)
    if not question.needs_objects:
        listing = ordered(_watched(question.rows(catalog, selected), watch), question.sort, question.limit)
        return Listing(_checked(listing.xcoms, stores, unreadable), listing.cut)
    # Which row dangles is known only after the look, so every reference is a candidate until then.
    asked = replace(selected, states=(*selected.states, *REFERENCES)) if selected.states else selected
    rows = _watched(_checked(question.rows(catalog, asked), stores, unreadable), watch)
    wanted = (xcom for xcom in rows if not selected.states or xcom.state in selected.states)
    return ordered(wanted, question.sort, question.limit)


def list_lines(
    catalog: Catalog, question: Question, columns: Sequence[str], watch: Watch = unwatched
) -> Iterator[Page] | None:
    """The same as pages of lines with some columns, without any look at objects; None where rows must be looked at."""
    lines = Lines(catalog, question.selected, columns, all_attempts=question.all_attempts)
    if question.sort is not None or question.limit or question.archived or not lines.are_told:
        return None
    return _watched_pages(at_once(lambda read: read(), lines.pages(), catalog.database.dialect.pages_at_once), watch)


def _watched_pages(pages: Iterable[Page], watch: Watch) -> Iterator[Page]:
    done = 0
    for page in pages:
        done += page.rows
        watch("rows read", done)
        yield page


def _watched(xcoms: Iterable[XCom], watch: Watch) -> Iterator[XCom]:
    for done, xcom in enumerate(xcoms, start=1):
        watch("rows read", done)
        yield xcom


def ordered(xcoms: Iterable[XCom], sort: str | None, limit: int) -> Listing:
    """The XComs sorted and cut. With a limit only so many are held in memory; sorting without one holds all."""
    seen = _Counted(xcoms)
    if sort is None:
        return Listing(islice(seen, limit or None), lambda: bool(limit) and next(seen, None) is not None)
    field, descending = sort.removeprefix("-"), sort.startswith("-")
    key = _sort_key(field)
    if not limit:
        return Listing(iter(sorted(seen, key=key, reverse=descending)), lambda: False)
    best = heapq.nlargest(limit, seen, key=key) if descending else heapq.nsmallest(limit, seen, key=key)
    return Listing(iter(best), lambda: seen.count > limit)


class _Counted(Iterator[T]):
    """An iterator that knows how many it gave."""

    def __init__(self, items: Iterable[T]) -> None:
        self.count = 0
        self._items = iter(items)

    def __next__(self) -> T:
        item = next(self._items)
        self.count += 1
        return item


def _sort_key(field: str) -> Callable[[XCom], tuple[bool, str | int | float]]:
    """What a field sorts by; an unknown value comes before all known ones."""

    def key(xcom: XCom) -> tuple[bool, str | int | float]:
        value = getattr(xcom, field)
        if value is None:
            return (False, 0)
        if isinstance(value, State):
            return (True, value.value)
        return (True, value if isinstance(value, (str, int)) else value.timestamp())

    return key


def _checked(rows: Iterable[XCom], stores: Stores, unreadable: Callable[[XCom, XcomctlError], None]) -> Iterator[XCom]:
    """Rows with what the store says of their objects, a few requests at a time, in their own order."""
    return at_once(partial(_looked_up, stores=stores, unreadable=unreadable), rows, LOOKUPS_AT_ONCE)


def _looked_up(xcom: XCom, stores: Stores, unreadable: Callable[[XCom, XcomctlError], None]) -> XCom:
    address = parse(xcom.reference) if xcom.reference is not None else None
    if address is None:
        return xcom
    try:
        found = stores.of(address).stat(address.location.name)
    except XcomctlError as error:
        if xcom.state is State.EXTERNAL:
            raise
        unreadable(xcom, error)
        return xcom
    if found is None:
        return replace(xcom, state=State.DANGLING)
    return replace(xcom, object_size_bytes=found.size_bytes, object_modified_at=found.modified_at)
