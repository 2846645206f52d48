"""The questions that operations ask a metadata database. One `Catalog` a database; it holds no connection open."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeVar

from xcomctl.backend import payload, reference
from xcomctl.catalog.database import COORDINATES_PER_QUERY, Database, chunks, open_database, utc
from xcomctl.catalog.mentions import References, decoded, references_in, referred
from xcomctl.catalog.schema import Form, Schema, Table
from xcomctl.catalog.selection import conditions, matches
from xcomctl.catalog.source import Source, clause, source_of
from xcomctl.catalog.tasks import Coordinates, Tasks
from xcomctl.errors import NotFoundError
from xcomctl.model import Filter, State, XCom, XComKey

if TYPE_CHECKING:
    from sqlalchemy.engine import Row as Answer
    from sqlalchemy.sql import ColumnElement, Select

    from xcomctl.catalog.dialect import OfValue

T = TypeVar("T")
LATEST = "latest"
NEARBY_ROWS, NEARBY_SHOWN = 100, 5
"""So many rows of a task are looked at for a hint, and so many of what they are called are told."""

EPOCH = datetime.fromtimestamp(0, timezone.utc)


@dataclass(frozen=True, slots=True)
class StoredValue:
    """A row with its whole value: JSON text, or bytes on Airflow 2; None where the column is NULL."""

    xcom: XCom
    data: str | bytes | None


@dataclass(frozen=True, slots=True)
class Row:
    """An XCom, and the primary key of its row in one of the tables. `is_dag_result`: the result of a whole run.

    `string` is what the value is where that is a short string, of JSON or pickled, and `encodings` how often JSON
    encodes it, 0 for a pickle. `digest` is the database's own of
    the value's text, where it was asked for; None where the value is NULL.
    """

    xcom: XCom
    table: Table
    key: tuple[Any, ...]
    is_dag_result: bool
    string: str | None = None
    encodings: int = 0
    digest: str | None = None


def open_catalog(url: str, namespace: str | None, base: reference.Address | None) -> Catalog:
    """The catalogue of one database. Raises `MetadataError` when it cannot be reached or is not Airflow's."""
    return Catalog(open_database(url, namespace), base)


class Catalog:
    """One metadata database. `base` is the configured base path: it tells which references Airflow follows."""

    def __init__(self, database: Database, base: reference.Address | None) -> None:
        self.database = database
        self._base = base
        self._dialect = database.dialect
        self.tasks = Tasks(database)

    def __str__(self) -> str:
        return str(self.database)

    @property
    def schema(self) -> Schema:
        """Its tables, as they were when they were last looked at."""
        return self.database.schema

    @property
    def plain_base(self) -> str | None:
        """The beginning of the references that Airflow follows, as they are spelled; None where JSON may escape it."""
        spelled = self._base.text.rstrip("/") if self._base is not None else ""
        return spelled if spelled and spelled.isascii() and json.dumps(spelled) == f'"{spelled}"' else None

    def rows(self, selected: Filter, *, all_attempts: bool = False) -> Iterator[XCom]:
        """The XComs that a filter means, streamed in the order of their runs; large values are not read."""
        for source, where in self.sources(selected, all_attempts=all_attempts):
            for within in self.database.ranges(source.page, source.rows, where):
                yield from self.rows_of(source, [*where, *within], selected)

    def sources(
        self, selected: Filter, *, all_attempts: bool = False
    ) -> Iterator[tuple[Source, list[ColumnElement[Any]]]]:
        """The tables that Airflow reads, each with the conditions that narrow it to what a filter means."""
        for table in self.schema.live:
            source = source_of(table, self.schema)
            yield source, [*conditions(selected, source, self._dialect), *_live(source, all_attempts)]

    def rows_of(self, source: Source, where: Sequence[ColumnElement[Any]], selected: Filter) -> Iterator[XCom]:
        """The XComs of one table that fulfil conditions, and that a filter means, in their order."""
        for row in self.database.stream(self._listing(source).where(*where)):
            xcom = self._xcom(row)
            if matches(selected, xcom):
                yield xcom

    def addressed(self, selected: Filter, *, at_least: int | None = None, digested: bool = False) -> Iterator[Row]:
        """The rows that a filter means, of every attempt, by primary key; those of older tables first.

        With `at_least` only those whose text may be so large in bytes. To be `digested` means to be read whole.
        """

        def reaches(value: ColumnElement[Any], form: Form) -> ColumnElement[Any]:
            return self._dialect.reaches(value, form, at_least or 0)

        return self._addressed(selected, reaches if at_least is not None else None, digested=digested)

    def pointing(self, selected: Filter, *, all_attempts: bool = True) -> Iterator[Row]:
        """The rows that a filter means whose value is a short string, and so may be a reference."""

        def is_short_string(value: ColumnElement[Any], form: Form) -> ColumnElement[Any]:
            return self._dialect.small_string(value, form, pickled=True).is_not(None)

        rows = self._addressed(selected, is_short_string, all_attempts=all_attempts)
        return (row for row in rows if row.string is not None)

    def notable(self, selected: Filter, at_least: int | None) -> Iterator[Row]:
        """The rows that a filter means, of the attempts that Airflow shows, in which something may be wrong.

        They are a short string that holds a URL or JSON, or a pickle, or as large as that.
        """
        from sqlalchemy import or_

        def is_notable(value: ColumnElement[Any], form: Form) -> ColumnElement[Any]:
            dialect = self._dialect
            told = [dialect.small_odd_string(value, form).is_not(None), dialect.is_pickle(value, form)]
            return or_(*told, *([dialect.size(value, form) >= at_least] if at_least is not None else []))

        return self._addressed(selected, is_notable, all_attempts=False)

    def _addressed(
        self, selected: Filter, condition: OfValue | None, *, digested: bool = False, all_attempts: bool = True
    ) -> Iterator[Row]:
        for table in reversed(self.schema.live):
            source = source_of(table, self.schema)
            where = [*conditions(selected, source, self._dialect), *_live(source, all_attempts)]
            told = [condition(source.value, table.form)] if condition is not None else []
            query = self.keyed(source, digested=digested).where(*where, *told)
            for row in self.database.pages(source.page, source.rows, query, where, at_rest=True):
                found = self.row(source, row)
                if matches(selected, found.xcom):
                    yield found

    def keyed(self, source: Source, *, digested: bool = False, exact: bool = False) -> Select[Any]:
        """The listing of a table together with the primary keys of its rows, in their order; `row` reads it.

        With `exact` the sizes are those of the texts, which the database must read.
        """
        from sqlalchemy import false, null

        keys = [column.label(f"key_{number}") for number, column in enumerate(source.order)]
        result = source.is_dag_result if source.is_dag_result is not None else false()
        short = self._dialect.small_string(source.value, source.table.form, pickled=True)
        digest = self._dialect.digest(source.value, source.table.form) if digested else null()
        last = (result.label("is_dag_result"), short.label("short"), digest.label("digest"))
        return self._listing(source, *keys, *last, exact=exact)

    def row(self, source: Source, found: Answer[Any]) -> Row:
        """What `keyed` selected of a source, as a row."""
        key = tuple(found)[-3 - len(source.order) : -3]
        string, encodings = _string(found.short)
        result = bool(found.is_dag_result)
        return Row(self._xcom(found), source.table, key, result, string, encodings, found.digest)

    def archived(self, selected: Filter) -> Iterator[XCom]:
        """The XComs in archives that a filter means, one archive after the other."""
        for table in self.schema.xcom_archives:
            source = source_of(table, self.schema)
            query = self._listing(source).where(*conditions(selected, source, self._dialect))
            for row in self.database.stream(query):
                xcom = replace(self._xcom(row), archive=table.name)
                if matches(selected, xcom):
                    yield xcom

    def archive_sizes(self) -> Iterator[tuple[str, int, int]]:
        """Each archive of XComs that is not empty: its name, its rows, and the bytes of their values as stored."""
        from sqlalchemy import func, select

        for table in self.schema.xcom_archives:
            x = clause(self.schema, table.name, ("value",))
            size = self._dialect.size(x.c.value, table.form)
            rows, size_bytes = tuple(self.database.fetch(select(func.count(), func.sum(size)).select_from(x))[0])
            if rows:
                yield table.name, int(rows), int(size_bytes or 0)

    def values(self, key: XComKey, *, all_attempts: bool = False) -> list[StoredValue]:
        """The row that a key names, with its value; with `all_attempts` that of every attempt (Airflow 3.4).

        Raises `NotFoundError`, whose hint says what is there instead.
        """
        sources = [source_of(table, self.schema) for table in self.schema.live]
        found = [each for source in sources for each in self._named(source, key, _live(source, all_attempts))]
        if not found:
            raise NotFoundError(f"there is no XCom {key}", hint=self._what_is_there(key))
        return sorted(found, key=lambda value: value.xcom.try_number or 0)

    def archived_values(self, key: XComKey, archive: str | None = None) -> list[StoredValue]:
        """The archived rows that a key names, with their values: those of the newest archive last.

        `archive` names the only one that counts. Raises `NotFoundError`, whose hint says what is there instead.
        """
        tables = self.schema.xcom_archives
        chosen = [table for table in tables if archive in (None, table.name)]
        if archive is not None and not chosen:
            hint = f"there are {', '.join(each.name for each in tables)}" if tables else "there is none"
            raise NotFoundError(f"there is no archive {archive}", hint=hint)
        found = [
            StoredValue(replace(each.xcom, archive=table.name), each.data)
            for table in chosen
            for each in self._named(source_of(table, self.schema), key)
        ]
        if not found:
            raise NotFoundError(
                f"no archive holds the XCom {key}", hint=f"`xcomctl ls --archive --dag-id {key.dag_id}`"
            )
        return sorted(found, key=lambda each: (_archived_at(each.xcom.archive or ""), each.xcom.timestamp))

    def latest_archived_run(self, named: XComKey) -> str:
        """The run that `latest` means among archives: one really so called, else that of the row pushed last."""
        selected = Filter((named.dag_id,), (), (named.task_id,), (named.key,), named.map_index)
        exact = (x for x in self.archived(selected) if (x.dag_id, x.task_id, x.key) == _in_any_run(named))
        held = {xcom.run_id: xcom.timestamp for xcom in sorted(exact, key=lambda xcom: xcom.timestamp)}
        if not held:
            raise NotFoundError(
                f"no archive holds the XCom {named}", hint="`xcomctl ls --archive` shows what they hold"
            )
        return LATEST if LATEST in held else max(held, key=lambda run_id: held[run_id])

    def _named(self, source: Source, key: XComKey, where: Sequence[ColumnElement[Any]] = ()) -> Iterator[StoredValue]:
        """The rows of one table that a key names, with their values."""
        whole = self._dialect.whole(source.value, source.table.form).label("whole")
        for row in self.database.fetch(self._listing(source, whole).where(*self._same(source, key), *where)):
            xcom = self._xcom(row)
            if _is_named(xcom, key):
                yield StoredValue(xcom, _stored(row.whole))

    def latest_run(self, named: XComKey) -> str:
        """The run that `latest` means: one really so called, else the newest that holds this XCom.

        The newest by `run_after` on Airflow 3, by `execution_date` on 2.
        """
        held: list[Answer[Any]] = []
        for table in self.schema.live:
            source = source_of(table, self.schema)
            if self.database.fetch(self._listing(source).where(*self._same(source, named)).limit(1)):
                return LATEST
            held += self.database.fetch(self._newest_run(source, named))
        if not held:
            raise NotFoundError(f"no run holds the XCom {named}", hint=self._what_is_there(named))
        return str(max(held, key=lambda row: str(row.started_at)).run_id)

    def references(self) -> Iterator[References]:
        """Every value that refers to objects or to a place under the base path, in any table that Airflow reads."""
        return references_in(self.database, self.schema.roots, self._base)

    def archived_references(self) -> Iterator[References]:
        """The same of the archives and of what may be such, to be read last: rows move from the others to these.

        The tables are looked at anew: `airflow db clean` may have made one since.
        """
        self.database.look_again()
        return references_in(self.database, (*self.schema.archives, *self.schema.suspects), self._base)

    def still_referenced(self, placements: Collection[reference.Placement]) -> set[str]:
        """Of some objects the unique parts that a row under their own coordinates refers to now, in any attempt."""
        unaskable = [p for p in placements if not self._dialect.can_hold(p.dag_id + p.run_id + p.task_id)]
        found = {placement.unique for placement in unaskable}  # in doubt they are
        coordinates = sorted({(p.dag_id, p.run_id, p.task_id) for p in placements if p not in unaskable})
        for table in self.schema.live:
            source = source_of(table, self.schema)
            for some in chunks(coordinates, COORDINATES_PER_QUERY):
                found.update(unique for row in self._mentioning(source, some) for unique in referred(row.root))
        return found

    def rows_mentioning(self, unique: str) -> Iterator[str]:
        """Each row that mentions the end of an object's name, in words: its table, and where it has one its XCom."""
        from sqlalchemy import literal_column, select

        for table in (*self.schema.live, *self.schema.archives, *self.schema.suspects, *self.schema.state_stores):
            own = table in self.schema.live
            source = source_of(table, self.schema) if own else None
            x = source.rows if source else clause(self.schema, table.name, ("value",), alias="x")
            value = source.value if source else x.c.value
            root = self._dialect.small_mention(value, table.form)
            names = (source.dag_id, source.run_id, source.task_id, source.key) if source else [literal_column("''")]
            found = self._dialect.contains(value, table.form, f"%{unique}%")
            query = select(root.label("root"), *names).select_from(x).where(root.is_not(None), found)
            for row in self.database.stream(query):
                if unique in referred(row.root):
                    yield " ".join((f"{self}: {table.name}", *map(str, row[1:]))).rstrip()

    def _listing(self, source: Source, *more: ColumnElement[Any], exact: bool = False) -> Select[Any]:
        from sqlalchemy import select

        dialect, form = self._dialect, source.table.form
        size = dialect.text_size if exact else dialect.size
        columns = (
            source.dag_id.label("dag_id"),
            source.run_id.label("run_id"),
            source.task_id.label("task_id"),
            source.map_index.label("map_index"),
            source.key.label("xcom_key"),
            source.timestamp.label("pushed_at"),
            source.try_number.label("try_number"),
            size(source.value, form).label("size_bytes"),
            dialect.small_string(source.value, form).label("string"),
            dialect.is_pickle(source.value, form).label("is_pickle"),
        )
        return select(*columns, *more).select_from(source.rows).order_by(*source.order)

    def _xcom(self, row: Answer[Any]) -> XCom:
        state, address = self._state(row)
        return XCom(
            dag_id=row.dag_id,
            run_id=row.run_id,
            task_id=row.task_id,
            map_index=row.map_index,
            key=row.xcom_key,
            state=state,
            size_bytes=row.size_bytes or 0,
            timestamp=utc(row.pushed_at) or EPOCH,
            reference=address.text if address else None,
            try_number=row.try_number,
        )

    def _state(self, row: Answer[Any]) -> tuple[State, reference.Address | None]:
        if row.is_pickle:
            return State.PICKLED, None
        return self.judged(decoded(row.string)) if row.string is not None else (State.INLINE, None)

    def judged(self, stored: str) -> tuple[State, reference.Address | None]:
        """Where a small value is: Airflow follows a reference only if it is encoded once, and below the base path."""
        unwrapped = reference.unwrap(stored)
        address = reference.recognise(unwrapped[0], self._base) if unwrapped else None
        if unwrapped is None or address is None:
            return State.INLINE, None
        followed = unwrapped[1] == 1 and self._base is not None and address.follows(self._base)
        return (State.EXTERNAL if followed else State.FOREIGN), address

    def _newest_run(self, source: Source, named: XComKey) -> Select[Any]:
        from sqlalchemy import and_, func, select

        column = "run_after" if "run_after" in self.schema.dag_run else "execution_date"
        run = clause(self.schema, "dag_run", ("dag_id", "run_id", column), alias="r")
        started_at = func.coalesce(run.c[column], source.timestamp)
        same_run = and_(run.c.dag_id == source.dag_id, run.c.run_id == source.run_id)
        return (
            select(source.run_id.label("run_id"), started_at.label("started_at"))
            .select_from(source.rows.outerjoin(run, same_run))
            .where(*self._same(source, named, any_run=True), *_live(source, False))
            .order_by(started_at.desc())
            .limit(1)
        )

    def _same(self, source: Source, key: XComKey, *, any_run: bool = False) -> list[ColumnElement[Any]]:
        """The condition that a row has these names, as far as the database can tell."""
        names = ((source.dag_id, key.dag_id), (source.task_id, key.task_id), (source.key, key.key))
        run = () if any_run else ((source.run_id, key.run_id),)
        return [
            source.map_index == key.map_index,
            *(column == name for column, name in (*names, *run) if self._dialect.can_hold(name)),
        ]

    def _what_is_there(self, key: XComKey) -> str:
        """A hint: the XComs of the same task and run, or where to look when there are none."""
        selected = Filter((key.dag_id,), () if key.run_id == LATEST else (key.run_id,), (key.task_id,))
        rows = islice(self.rows(selected), NEARBY_ROWS)
        near = list(dict.fromkeys(x.key if x.map_index < 0 else f"{x.key} --map-index {x.map_index}" for x in rows))
        if near:
            return f"this task pushed: {', '.join(near[:NEARBY_SHOWN])}{', …' if len(near) > NEARBY_SHOWN else ''}"
        return f"`xcomctl ls --dag-id {key.dag_id}` shows what there is"

    def _mentioning(self, source: Source, coordinates: Sequence[Coordinates]) -> Sequence[Answer[Any]]:
        """The rows of some tasks whose value may refer to an object."""
        from sqlalchemy import select

        root = self._dialect.small_mention(source.value, source.table.form)
        here = self.database.among((source.dag_id, source.run_id, source.task_id), coordinates)
        return self.database.fetch(select(root.label("root")).select_from(source.rows).where(here, root.is_not(None)))


def _live(source: Source, all_attempts: bool) -> list[ColumnElement[Any]]:
    return [] if all_attempts or source.live is None else [source.live]


def _is_named(xcom: XCom, key: XComKey) -> bool:
    """Whether a row has exactly these names: MySQL's collations leave out spaces at the end."""
    return (xcom.dag_id, xcom.run_id, xcom.task_id, xcom.key) == (key.dag_id, key.run_id, key.task_id, key.key)


def _in_any_run(key: XComKey) -> tuple[str, str, str]:
    return key.dag_id, key.task_id, key.key


def _archived_at(name: str) -> str:
    """The time in an archive's name, as digits; empty where it has none: it sorts before all others."""
    stamp = re.search(r"__(\d{14})(?:__b\d+)?$", name)
    return stamp[1] if stamp else ""


def _string(stored: Any) -> tuple[str | None, int]:
    """The string that a small value is, of JSON or pickled, and how often JSON encodes it."""
    if stored is None:
        return None, 0
    held = reference.unwrap(stored) if isinstance(stored, str) else payload.string_of(bytes(stored))
    return held or (None, 0)


def _stored(value: Any) -> str | bytes | None:
    """The whole value. SQLite keeps the JSON numbers of Airflow 3 as numbers."""
    if value is None or isinstance(value, (str, bytes)):
        return value
    return json.dumps(value) if isinstance(value, (int, float)) else bytes(value)
