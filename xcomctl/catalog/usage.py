"""What rows take, added up by the database, which gives one answer for many rows.

The rows whose state it does not tell are looked at one by one.
"""

from __future__ import annotations

import sys
from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any

from xcomctl.backend.reference import come_back
from xcomctl.catalog.catalog import Catalog, Row
from xcomctl.catalog.database import ROWS_PER_FETCH
from xcomctl.catalog.selection import conditions, is_like, matches, sized
from xcomctl.catalog.source import Source, source_of
from xcomctl.catalog.states import told_state
from xcomctl.catalog.tasks import Coordinates
from xcomctl.model import Filter, State, is_control_key

if TYPE_CHECKING:
    from sqlalchemy.engine import Row as Answer
    from sqlalchemy.sql import ColumnElement, Select

    from xcomctl.catalog.dialect import Dialect

    Column = ColumnElement[Any]

NAMES = ("dag_id", "run_id", "task_id", "key")
DAY = "day"
ROWS_PER_PAGE = 20_000
SIZES = (1024, 10 * 1024, 100 * 1024, 1024**2, 10 * 1024**2, 100 * 1024**2, 1024**3)
"""Where one class of sizes ends and the next begins, in bytes."""


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

    `size_class` is how many of `SIZES` they reach. They are movable where they reach the threshold and nothing speaks
    against it that `migrate` sees without reading values: what is in the row, not read from there by Airflow itself, of
    a run that is over, under names that an object can have.
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
    for read in pages(catalog, question):
        yield from read()


def pages(catalog: Catalog, question: Question) -> Iterator[Callable[[], Sequence[Share]]]:
    """The same as what reads it page by page, each in any thread."""
    for table in catalog.schema.live:
        yield from _Counting(catalog, source_of(table, catalog.schema), question).pages()


@dataclass(frozen=True, slots=True)
class _Counting:
    """One table, asked one question."""

    catalog: Catalog
    source: Source
    question: Question

    def pages(self) -> Iterator[Callable[[], Sequence[Share]]]:
        """What reads the table, page by page: what the database can tell is added up there."""
        for page in self.catalog.database.ranges(self.source.page, self.source.rows, self._where(), ROWS_PER_PAGE):
            yield partial(self._page, page)

    def _page(self, page: Sequence[Column]) -> Sequence[Share]:
        return list(self._together(page))

    def _together(self, page: Sequence[Column]) -> Iterator[Share]:
        """A page that the database adds up, but for the rows whose state it does not tell."""
        found = [self._added_up(answer) for answer in self.catalog.database.fetch(self._groups(page))]
        yield from self._judged([share for share in found if share is not None and self._is_meant(share)])
        if None in found:
            yield from self._one_by_one([*page, self._unclear()])

    def _groups(self, page: Sequence[Column]) -> Select[Any]:
        """What a page's rows add up to. The large ones are told apart by task, which tells whether they may move."""
        from sqlalchemy import and_, case, func, literal, not_, select

        each = [*self._names().values(), self._short(), self._is_pickle(), self._is_timed()]
        each += [self._size(), self._is_result()]
        labelled = (column.label(f"r{place}") for place, column in enumerate(each))
        row = select(*labelled).select_from(self.source.rows).where(*self._where(), *page)
        # The limit keeps databases from working out each of these anew wherever it is named.
        *told, short, is_pickle, is_timed, size, is_result = row.limit(sys.maxsize).subquery("each_row").c
        threshold = self.question.threshold_bytes
        large = literal(0) if threshold is None else case((and_(size >= threshold, not_(is_result)), 1), else_=0)
        names = (
            self._dialect.name(column if name in self._asked() else case((large == 1, column)))
            for name, column in zip(self._names(), told, strict=True)
        )
        group = (*names, self._state(short, is_pickle, is_timed), _size_class(size), large)
        sums = (func.count(), func.sum(size), func.max(size))
        query = select(*(column.label(f"c{place}") for place, column in enumerate((*group, *sums))))
        # Not to be streamed: for a cursor PostgreSQL plans to sort the page, which takes ten times as long.
        return query.group_by(*(f"c{place}" for place in range(len(group))))

    def _added_up(self, answer: Answer[Any]) -> Share | None:
        """One answer to `_groups`; None where the database does not tell the state."""
        *names, state, reached, is_large, count, size_bytes, largest_bytes = tuple(answer)
        if state is None:
            return None
        named = {name: _text(told) for name, told in zip(self._names(), names, strict=True) if told is not None}
        sizes = int(count), int(size_bytes), int(largest_bytes)
        return Share(named, State(_text(state)), int(reached), *sizes, is_movable=bool(is_large))

    def _one_by_one(self, where: Sequence[Column]) -> Iterator[Share]:
        """Rows as Python tells them."""
        query = self.catalog.keyed(self.source, exact=self.question.exact).where(*self._where(), *where)
        rows = (self.catalog.row(self.source, found) for found in self.catalog.database.stream(query))
        shares = (self._share_of(row) for row in rows if matches(self.question.selected, row.xcom))
        while some := list(islice(shares, ROWS_PER_FETCH)):
            yield from self._judged(some)

    def _judged(self, shares: Sequence[Share]) -> Iterator[Share]:
        """These, with what may be moved told from what is large: `migrate` leaves alone what is at work, and more."""
        may_move = {_task(share) for share in shares if share.is_movable and _is_mere_value(share)}
        tasks = self.catalog.tasks
        unfinished = tasks.unfinished_runs({(dag_id, run_id) for dag_id, run_id, _ in may_move})
        at_work = tasks.at_work(may_move)
        may_move = {task for task in may_move - at_work if task[:2] not in unfinished and come_back(*task)}
        for share in shares:
            is_movable = share.is_movable and _is_mere_value(share) and _task(share) in may_move
            yield replace(share, is_movable=is_movable)

    def _share_of(self, row: Row) -> Share:
        xcom, threshold = row.xcom, self.question.threshold_bytes
        is_large = threshold is not None and xcom.size_bytes >= threshold and not row.is_dag_result
        told = {name: getattr(xcom, name) for name in NAMES} | {DAY: xcom.timestamp.date().isoformat()}
        reached = size_class(xcom.size_bytes)
        return Share(told, xcom.state, reached, 1, xcom.size_bytes, xcom.size_bytes, is_movable=is_large)

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
        selected = self.question.selected
        return [*conditions(selected, self.source, self._dialect), *sized(selected, self._size())]

    def _asked(self) -> set[str]:
        """What rows are told apart by: what was asked for, and what a filter is about."""
        return {*self.question.by, *_globs(self.question.selected)}

    def _names(self) -> dict[str, Column]:
        """The names that are selected: with a threshold all of them."""
        wanted = self._asked() | (set(NAMES) if self.question.threshold_bytes is not None else set())
        named = {name: getattr(self.source, name) for name in NAMES if name in wanted}
        return named | ({DAY: self._dialect.day(self.source.timestamp)} if DAY in wanted else {})

    def _size(self) -> Column:
        from sqlalchemy import func

        of = self._dialect.text_size if self.question.exact else self._dialect.size
        return func.coalesce(of(self.source.value, self.source.table.form), 0)

    def _is_result(self) -> Column:
        """Whether a row is the result of a whole run."""
        from sqlalchemy import false, func

        return false() if self.source.is_dag_result is None else func.coalesce(self.source.is_dag_result, false())

    def _short(self) -> Column:
        return self._dialect.told_string(self.source.value, self.source.table.form)

    def _is_pickle(self) -> Column:
        return self._dialect.is_pickle(self.source.value, self.source.table.form)

    def _is_timed(self) -> Column:
        """Whether the database tells if a row is of the time that is asked for."""
        from sqlalchemy import true

        selected, is_told = self.question.selected, self._dialect.tells_time
        asked = selected.since is not None or selected.until is not None
        return is_told(self.source.timestamp) if asked and is_told is not None else true()

    def _unclear(self) -> Column:
        """The condition that the database does not tell a row's state."""
        return self._state(self._short(), self._is_pickle(), self._is_timed()).is_(None)

    def _state(self, short: Column, is_pickle: Column, is_timed: Column) -> Column:
        """The state of a row where the database tells it and that the row is meant, else NULL."""
        from sqlalchemy import case

        state = told_state(self._dialect, self.source.table.form, self.catalog.plain_base, short, is_pickle)
        return case((is_timed, state))

    @property
    def _dialect(self) -> Dialect:
        return self.catalog.database.dialect


def _size_class(size: Column) -> Column:
    from sqlalchemy import case

    return case(*((size < limit, reached) for reached, limit in enumerate(SIZES)), else_=len(SIZES))


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


def _task(share: Share) -> Coordinates:
    return share.names["dag_id"], share.names["run_id"], share.names["task_id"]


def _is_mere_value(share: Share) -> bool:
    """Whether rows hold values, which Airflow does not read from the rows itself."""
    return share.state is State.INLINE and not is_control_key(share.names["key"])


def _text(name: Any) -> str:
    """A name or a day, which a dialect may give as bytes."""
    return name.decode() if isinstance(name, bytes) else str(name)
