"""Rows as lines that the database itself writes: the fields that are asked for, joined by tabs, one row a line.

A page of lines is text only if it is told to the last letter what row by row would show. Where the database does not
tell a row's state it leaves marks, which are filled in here; a page that holds anything in doubt is no text at all.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from xcomctl.catalog.catalog import EPOCH, Catalog
from xcomctl.catalog.mentions import decoded
from xcomctl.catalog.selection import is_decided, sized
from xcomctl.catalog.source import Source
from xcomctl.catalog.states import told_state
from xcomctl.errors import MetadataError
from xcomctl.masking import without_userinfo
from xcomctl.model import Filter, State, XCom

if TYPE_CHECKING:
    from sqlalchemy.sql import ColumnElement, Select

    from xcomctl.catalog.dialect import Dialect

    Column = ColumnElement[Any]

FIELDS = (
    "dag_id",
    "run_id",
    "task_id",
    "map_index",
    "key",
    "state",
    "size_bytes",
    "timestamp",
    "reference",
    "try_number",
)
"""The fields of an XCom that lines can have."""

JUDGED = ("state", "reference")
ROWS_PER_PAGE = 20_000
STATE_MARK, REFERENCE_MARK = "\x1a", "\x1c"
"""What stands for the state and the reference of a row whose state the database does not tell."""

NO_LINE = "\x1d"
"""What stands for a line that the database cannot write, as of a row whose time is spelled in another way."""

LONGEST_DOUBT, TOO_LONG = 512, "-"
"""A page with a longer string in doubt is read row by row: all of a page's are held at once, and twice as long."""


@dataclass(frozen=True, slots=True)
class Page:
    """So many rows in their order; `text` is their lines without the last line end.

    It is None where it is in doubt; then `rows` may be 0 for not being known.
    """

    rows: int
    text: str | None
    xcoms: Callable[[], Iterator[XCom]]
    """Reads them one by one."""


@dataclass(frozen=True, slots=True)
class Lines:
    """What a filter means, as lines of some fields, page by page. Each page is a short transaction of its own."""

    catalog: Catalog
    selected: Filter
    fields: Sequence[str]
    all_attempts: bool = False

    @property
    def are_told(self) -> bool:
        """Whether the database decides by itself which rows are meant, and has all fields."""
        base = f"{self.catalog.plain_base}/"
        is_shown = self.catalog.plain_base is None or without_userinfo(base) == base
        return set(self.fields) <= {*FIELDS} and is_shown and is_decided(self.selected, self._dialect)

    def pages(self) -> Iterator[Callable[[], Page]]:
        """What reads the pages, each in any thread."""
        database = self.catalog.database
        for source, narrowed in self.catalog.sources(self.selected, all_attempts=self.all_attempts):
            where = [*narrowed, *sized(self.selected, self._dialect.size(source.value, source.table.form))]
            for within in database.blocks(source.order, source.rows, where, ROWS_PER_PAGE):
                yield partial(self._page, source, [*where, *within])

    def _page(self, source: Source, where: Sequence[Column]) -> Page:
        xcoms = partial(self.catalog.rows_of, source, where, self.selected)
        try:
            rows, text, doubts = self._pasted(self._query(source, where))
        except MetadataError:  # as of SQLite, which hands on no text that is not UTF-8; what else fails, fails again
            return Page(0, None, xcoms)
        return Page(rows, self._filled(text, doubts), xcoms)

    def _pasted(self, query: Select[Any]) -> tuple[int, str, list[str]]:
        """How many rows an answer has, their lines, and the digits of values in doubt."""
        answer: Sequence[Any] = self.catalog.database.fetch(query, as_indexed=True)
        if self._dialect.pasted is not None:
            ((count, text, digits),) = answer
            return int(count), text or "", (digits or "").split()
        text = "\n".join([_text(line) for line, _ in answer])
        return len(answer), text, [_text(digits) for _, digits in answer if digits is not None]

    def _filled(self, text: str, doubts: Sequence[str]) -> str | None:
        """The lines with what is found out about the rows in doubt; None where anything else may be amiss."""
        if NO_LINE in text or TOO_LONG in doubts or not self._has_bare_urls(text):
            return None
        judged = [self.catalog.judged(decoded(bytes.fromhex(digits))) for digits in doubts]
        states = [state.value for state, _ in judged]
        urls = [without_userinfo(address.text) if address is not None else "" for _, address in judged]
        for field, mark, found in zip(JUDGED, (STATE_MARK, REFERENCE_MARK), (states, urls), strict=True):
            wanted = found if field in self.fields else []
            pieces = text.split(mark)
            if len(pieces) != len(wanted) + 1:
                return None
            text = "".join(part for both in zip(pieces, [*wanted, ""], strict=True) for part in both)
        return text

    def _has_bare_urls(self, text: str) -> bool:
        """Whether no line has a URL within a URL, whose password would be told."""
        base = self.catalog.plain_base
        return "reference" not in self.fields or base is None or text.count("://") == text.count(f"{base}/")

    def _query(self, source: Source, where: Sequence[Column]) -> Select[Any]:
        """How many lines there are, all of them, and the digits of all values in doubt; or each in a row of its own."""
        from sqlalchemy import func, select

        dialect, pasted = self._dialect, self._dialect.pasted
        columns = self._columns(source)
        query = select().select_from(source.rows).where(*where).order_by(*source.order)
        if pasted is not None:
            query, columns = _fenced(query, columns)
        if self._needs_state:
            form, base = source.table.form, self.catalog.plain_base
            state = told_state(dialect, form, base, columns["string"], columns["is_pickle"])
            columns = {**columns, "state": state}
        if pasted is not None:
            query, columns = _fenced(query, columns)
        line = func.coalesce(dialect.line([self._told(name, source, columns) for name in self.fields]), NO_LINE)
        doubt = self._doubt(source, columns)
        if pasted is None:
            return query.add_columns(line, doubt)
        return query.add_columns(func.count(), pasted(line, "\n"), pasted(doubt, " "))

    def _columns(self, source: Source) -> dict[str, Column]:
        """What the database has for the fields, and for telling the state."""
        from sqlalchemy import Text, case, cast, func, literal

        dialect, value, form = self._dialect, source.value, source.table.form
        at = source.timestamp
        known = {
            "dag_id": source.dag_id,
            "run_id": source.run_id,
            "task_id": source.task_id,
            "map_index": source.map_index,
            "key": source.key,
            "size_bytes": func.coalesce(dialect.size(value, form), 0),
            "timestamp": case((at.is_(None), literal(EPOCH.isoformat())), else_=dialect.moment(at)),
            "try_number": func.coalesce(cast(source.try_number, Text), ""),
        }
        found = {name: column for name, column in known.items() if name in self.fields}
        if self._needs_state:
            found["string"] = dialect.told_string(value, form)
            found["is_pickle"] = dialect.is_pickle(value, form)
            found["value"] = value
        return found

    def _told(self, name: str, source: Source, columns: Mapping[str, Column]) -> Column:
        """A field as a line has it."""
        from sqlalchemy import case, func

        if name == "state":
            return func.coalesce(columns["state"], STATE_MARK)
        if name == "reference":
            url = self._dialect.letters(columns["string"], source.table.form)
            state = columns["state"]
            return case((state == State.EXTERNAL.value, url), (state.is_(None), REFERENCE_MARK), else_="")
        return columns[name]

    def _doubt(self, source: Source, columns: Mapping[str, Column]) -> Column:
        """The digits of a value whose state is not told."""
        from sqlalchemy import case, func, null

        if not self._needs_state:
            return null()
        is_short = func.length(columns["string"]) <= LONGEST_DOUBT
        digits = case((is_short, self._dialect.digits(columns["value"], source.table.form)), else_=TOO_LONG)
        return case((columns["state"].is_(None), digits))

    @property
    def _needs_state(self) -> bool:
        return not {*JUDGED}.isdisjoint(self.fields)

    @property
    def _dialect(self) -> Dialect:
        return self.catalog.database.dialect


def _fenced(query: Select[Any], columns: Mapping[str, Column]) -> tuple[Select[Any], dict[str, Column]]:
    """The columns of a query, each worked out once wherever it is named: databases see through what has no limit."""
    from sqlalchemy import select

    labelled = (column.label(f"c{place}") for place, column in enumerate(columns.values()))
    inner = query.add_columns(*labelled).limit(sys.maxsize).subquery()
    return select().select_from(inner), dict(zip(columns, inner.c, strict=True))


def _text(found: str | bytes) -> str:
    return found if isinstance(found, str) else found.decode()
