"""What rows take, added up by the database: of what is not a reference, it gives one answer for many rows.

Whether a string is a reference, and whether Airflow follows it, is told by one place, in Python. The database only
tells for sure what is no URL, and what is spelled as the base path is; the rows in between are looked at one by one.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from xcomctl.catalog.catalog import Catalog, Row
from xcomctl.catalog.selection import conditions, is_like, matches
from xcomctl.catalog.source import Source, source_of
from xcomctl.model import CONTROL_KEYS, CONTROL_PREFIX, Filter, State, is_control_key

if TYPE_CHECKING:
    from sqlalchemy.engine import Row as Answer
    from sqlalchemy.sql import ColumnElement, Select

    from xcomctl.catalog.dialect import Dialect

    Column = ColumnElement[Any]

NAMES = ("dag_id", "run_id", "task_id", "key")
DAY = "day"
SIZES = (1024, 10 * 1024, 100 * 1024, 1024**2, 10 * 1024**2, 100 * 1024**2, 1024**3)
"""Where one class of sizes ends and the next begins, in bytes."""

MAYBE_A_URL = "%:%/%"
ON_THE_WAY_UP = "%/..%"
"""A path with this may lead out of the folder that it begins with."""


@dataclass(frozen=True, slots=True)
class Question:
    """Which rows, told apart by which of `NAMES` and `day`.

    `threshold_bytes` is the size from which on a row counts as large. With `exact` sizes are those of the text, which
    the database must read; else those stored, a lower bound where it compresses.
    """

    selected: Filter
    by: Sequence[str] = ()
    threshold_bytes: int | None = None
    exact: bool = False


@dataclass(frozen=True, slots=True)
class Share:
    """Some rows that agree in what was asked for, and their sizes in bytes. Attempts all count (Airflow 3.4).

    `size_class` is how many of `SIZES` they reach. They are movable where they reach the threshold and `migrate` may
    move them: what is in the row, and not read from there by Airflow itself.
    """

    names: Mapping[str, str]
    state: State
    size_class: int
    count: int
    size_bytes: int
    largest_bytes: int
    is_movable: bool = False


def usage(catalog: Catalog, question: Question) -> Iterator[Share]:
    """What the rows take, in shares as they come; many may be of the same names. Raises `MetadataError`."""
    selected = question.selected
    told_by_database = catalog.database.dialect.compares_times or not (selected.since or selected.until)
    for table in catalog.schema.live:
        counting = _Counting(catalog, source_of(table, catalog.schema), question)
        if told_by_database:
            yield from counting.together()
        yield from counting.one_by_one(only_unclear=told_by_database)


@dataclass(frozen=True, slots=True)
class _Counting:
    """One table, asked one question."""

    catalog: Catalog
    source: Source
    question: Question

    def together(self) -> Iterator[Share]:
        """The rows whose state the database tells, added up page by page."""
        from sqlalchemy import func, select

        size, names = self._size(), self._names()
        group = (*names.values(), self._state(), self._size_class(), self._is_movable())
        sums = (func.count(), func.sum(size), func.max(size))
        labelled = [column.label(f"c{place}") for place, column in enumerate((*group, *sums))]
        query = select(*labelled).select_from(self.source.rows).where(*self._where())
        query = query.group_by(*(f"c{place}" for place in range(len(group))))
        # Not through a cursor: for one PostgreSQL plans to sort the page, which takes ten times as long.
        for row in self._pages(query, at_rest=True):
            *told, state, reached, movable, count, size_bytes, largest_bytes = tuple(row)
            if state is None:
                continue  # for `one_by_one`
            named = dict(zip(names, map(_text, told), strict=True))
            state, sizes = State(_text(state)), (int(count), int(size_bytes), int(largest_bytes))
            share = Share(named, state, int(reached), *sizes, is_movable=bool(movable) and state is State.INLINE)
            if self._is_meant(share):
                yield share

    def one_by_one(self, *, only_unclear: bool) -> Iterator[Share]:
        """The rows whose state only Python tells, or all of them."""
        unclear = [self._state().is_(None)] if only_unclear else []
        query = self.catalog.keyed(self.source, exact=self.question.exact)
        for found in self._pages(query.where(*self._where(), *unclear)):
            row = self.catalog.row(self.source, found)
            if matches(self.question.selected, row.xcom):
                yield self._share_of(row)

    def _pages(self, query: Select[Any], *, at_rest: bool = False) -> Iterator[Answer[Any]]:
        return self.catalog.database.pages(self.source.page, self.source.rows, query, self._where(), at_rest=at_rest)

    def _share_of(self, row: Row) -> Share:
        xcom, threshold = row.xcom, self.question.threshold_bytes
        is_large = threshold is not None and xcom.size_bytes >= threshold
        held = xcom.state is State.INLINE and not is_control_key(xcom.key) and not row.is_dag_result
        told = {name: getattr(xcom, name) for name in NAMES} | {DAY: xcom.timestamp.date().isoformat()}
        reached = size_class(xcom.size_bytes)
        return Share(told, xcom.state, reached, 1, xcom.size_bytes, xcom.size_bytes, is_movable=held and is_large)

    def _is_meant(self, share: Share) -> bool:
        """Whether the rows are meant, as far as their names tell: all else is a condition of the statement."""
        states = self.question.selected.states
        if states and share.state not in states:
            return False
        return all(
            is_like(share.names[name], included, empty=True) and not is_like(share.names[name], excluded, empty=False)
            for name, (included, excluded) in _globs(self.question.selected).items()
        )

    def _where(self) -> list[Column]:
        selected, size = self.question.selected, self._size()
        larger = [size >= selected.larger_than] if selected.larger_than is not None else []
        smaller = [size <= selected.smaller_than] if selected.smaller_than is not None else []
        return [*conditions(selected, self.source, self._dialect), *larger, *smaller]

    def _names(self) -> dict[str, Column]:
        """What the rows are told apart by: what was asked for, and what a filter is about."""
        wanted = {*self.question.by, *_globs(self.question.selected)}
        named = {name: self._dialect.name(getattr(self.source, name)) for name in NAMES if name in wanted}
        return named | ({DAY: self._dialect.day(self.source.timestamp)} if DAY in wanted else {})

    def _size(self) -> Column:
        from sqlalchemy import func

        of = self._dialect.text_size if self.question.exact else self._dialect.size
        return func.coalesce(of(self.source.value, self.source.table.form), 0)

    def _size_class(self) -> Column:
        from sqlalchemy import case

        size = self._size()
        return case(*((size < limit, reached) for reached, limit in enumerate(SIZES)), else_=len(SIZES))

    def _state(self) -> Column:
        """The state where the database tells it, else NULL."""
        from sqlalchemy import and_, case, literal, not_, null

        dialect, value, form = self._dialect, self.source.value, self.source.table.form
        told = [
            (dialect.is_pickle(value, form), State.PICKLED),
            (dialect.small_string(value, form).is_(None), State.INLINE),
        ]
        if self.catalog.plain_base is not None:
            folder = f'"{self.catalog.plain_base}/'
            below = dialect.starts_with(value, form, folder), not_(dialect.starts_with(value, form, f'{folder}"'))
            stays = not_(dialect.contains(value, form, ON_THE_WAY_UP))
            told.append((and_(*below, stays), State.EXTERNAL))
        told.append((not_(dialect.contains(value, form, MAYBE_A_URL)), State.INLINE))
        return case(*((condition, literal(state.value)) for condition, state in told), else_=null())

    def _is_movable(self) -> Column:
        """1 for what reaches the threshold and is nothing that Airflow itself reads from the row, else 0."""
        from sqlalchemy import and_, case, false, func, literal, not_

        key, threshold = self.source.key, self.question.threshold_bytes
        if threshold is None:
            return literal(0)
        read_by_airflow = [key.in_(CONTROL_KEYS), func.substr(key, 1, len(CONTROL_PREFIX)) == CONTROL_PREFIX]
        if self.source.is_dag_result is not None:
            read_by_airflow.append(func.coalesce(self.source.is_dag_result, false()))
        return case((and_(self._size() >= threshold, *map(not_, read_by_airflow)), 1), else_=0)

    @property
    def _dialect(self) -> Dialect:
        return self.catalog.database.dialect


def size_class(size_bytes: int) -> int:
    """How many of `SIZES` a size reaches.

    >>> size_class(0), size_class(1024), size_class(5_000_000_000)
    (0, 1, 7)
    """
    return bisect_right(SIZES, size_bytes)


def _globs(selected: Filter) -> dict[str, tuple[Sequence[str], Sequence[str]]]:
    """The names that a filter is about: the globs that must match, and those that must not."""
    globs = {
        "dag_id": (selected.dag_ids, selected.exclude_dag_ids),
        "run_id": (selected.run_ids, ()),
        "task_id": (selected.task_ids, ()),
        "key": (selected.keys, selected.exclude_keys),
    }
    return {name: both for name, both in globs.items() if any(both)}


def _text(name: Any) -> str:
    """A name or a day, which a dialect may give as bytes."""
    return name.decode() if isinstance(name, bytes) else str(name)
