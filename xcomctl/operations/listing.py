"""Which XComs there are: rows as the catalogue streams them, looked up in storage when that is asked for."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields, replace
from itertools import chain, islice
from typing import TypeVar

from xcomctl.backend.reference import parse
from xcomctl.backend.storage import Stores
from xcomctl.catalog import Catalog
from xcomctl.errors import XcomctlError
from xcomctl.model import Filter, State, XCom

FIELDS = tuple(field.name for field in fields(XCom))
ROW_FIELDS = tuple(name for name in FIELDS if not name.startswith("object_"))
"""The columns of a row, in the order of the contract; those of its object come with `--check`."""

REFERENCES = (State.EXTERNAL, State.FOREIGN)
LOOKUPS_AT_ONCE = 16
ROWS_PER_LOOKUP = 256

T = TypeVar("T")


def list_xcoms(
    catalog: Catalog,
    selected: Filter,
    stores: Stores | None,
    *,
    all_attempts: bool = False,
    unreadable: Callable[[XCom, XcomctlError], None],
) -> Iterator[XCom]:
    """The XComs that a filter means, in the order of their runs. With `stores` each object is looked up as well.

    `unreadable` is told of a foreign reference whose store does not open: it says nothing about the configured one.
    """
    if stores is None:
        yield from catalog.rows(selected, all_attempts=all_attempts)
        return
    # Which row dangles is known only after the look, so every reference is a candidate until then.
    asked = replace(selected, states=(*selected.states, *REFERENCES)) if selected.states else selected
    rows = catalog.rows(asked, all_attempts=all_attempts)
    for xcom in _checked(rows, stores, unreadable):
        if not selected.states or xcom.state in selected.states:
            yield xcom


def ordered(xcoms: Iterable[XCom], sort: str | None, limit: int) -> tuple[Iterator[XCom], Callable[[], bool]]:
    """The XComs sorted by a field (descending with `-` before it) and cut after `limit`, 0 meaning all.

    Also a function that tells, once they are consumed, whether any were cut off. With a limit only so many are held
    in memory; sorting without one holds all.
    """
    seen = _Counted(xcoms)
    if sort is None:
        return islice(seen, limit or None), lambda: bool(limit) and next(iter(seen), None) is not None
    field, descending = sort.removeprefix("-"), sort.startswith("-")
    key = _sort_key(field)
    if not limit:
        return iter(sorted(seen, key=key, reverse=descending)), lambda: False
    best = heapq.nlargest(limit, seen, key=key) if descending else heapq.nsmallest(limit, seen, key=key)
    return iter(best), lambda: seen.count > limit


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


def _checked(rows: Iterator[XCom], stores: Stores, unreadable: Callable[[XCom, XcomctlError], None]) -> Iterator[XCom]:
    """Rows with what the store says of their objects, a few requests at a time, in their own order."""
    with ThreadPoolExecutor(LOOKUPS_AT_ONCE) as pool:
        for first in rows:
            some = chain((first,), islice(rows, ROWS_PER_LOOKUP - 1))
            yield from pool.map(lambda xcom: _looked_up(xcom, stores, unreadable), some)


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
