"""The rows of `xcom` that the migration would change, move or fail on: found by pages, judged one by one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from xcomctl.catalog.casting.mysql import MysqlTrial
from xcomctl.catalog.casting.postgresql import PostgresTrial
from xcomctl.catalog.casting.rehearsal import Rehearsed, rehearse
from xcomctl.catalog.casting.sqlite import SqliteTrial
from xcomctl.catalog.casting.terms import Trial, Verdict
from xcomctl.catalog.catalog import Catalog, Row
from xcomctl.catalog.database import ROWS_PER_PAGE
from xcomctl.catalog.engine import is_out_of_reach
from xcomctl.catalog.schema import Form, Table
from xcomctl.catalog.selection import conditions, matches
from xcomctl.catalog.source import Source, clause, source_of
from xcomctl.catalog.treatments import Treatment
from xcomctl.errors import MetadataError
from xcomctl.model import Filter, Watch, unwatched

if TYPE_CHECKING:
    from sqlalchemy.sql import ColumnElement, Select

ROWS_AT_ONCE = 500
BYTES_AT_ONCE = 64_000_000
"""How much one statement tries at most, unless one value is larger: no statement lasts for minutes."""

SAMPLED_ROWS = 200
SAMPLED_BYTES = 100_000
"""How many of the newest rows are rehearsed, unless they are larger: some megabytes are copied in all."""

ARCHIVE = "_xcom_archive"
KEY = ("dag_run_id", "task_id", "map_index", "key")


@dataclass(frozen=True, slots=True)
class Dimensions:
    """How much the migration has to do: rows and the bytes of their values, of all and of the largest.

    `table_bytes` is what the table takes on disk with its indexes, None where the database does not tell.
    """

    rows: int
    bytes: int
    largest_bytes: int
    table_bytes: int | None


class Caster:
    """One database of Airflow 2, and one version of the migration."""

    def __init__(self, catalog: Catalog, treatment: Treatment) -> None:
        self._catalog = catalog
        self._database = catalog.database
        self._treatment = treatment
        self._trial = _trial_of(catalog, treatment)

    @property
    def table(self) -> Table | None:
        """The table that the migration is for; None where it has been."""
        return next((table for table in self._catalog.schema.live if table.form is Form.BYTES), None)

    @property
    def obstacle(self) -> str | None:
        """Why the upgrade fails whatever the rows are, or None."""
        return self._trial.obstacle()

    @property
    def unchecked(self) -> Sequence[str]:
        """What could make this upgrade fail or change a value, and is not looked for."""
        return self._trial.unchecked()

    def verdicts(self, selected: Filter, watch: Watch = unwatched) -> Iterator[tuple[Row, Verdict]]:
        """The rows that a filter means and that are not harmless, by primary key, with what becomes of them."""
        if self.table is None:
            return
        source = source_of(self.table, self._catalog.schema)
        where = conditions(selected, source, self._database.dialect)
        query = self._catalog.keyed(source)
        for done, within in enumerate(self._database.blocks(source.order, source.rows, where)):
            watch(f"times {ROWS_PER_PAGE:,} rows tried", done)
            rows = (self._catalog.row(source, found) for found in self._doubtful(source, query, [*where, *within]))
            for some in _batches(row for row in rows if matches(selected, row.xcom)):
                yield from self._judged(some)

    def rehearse(self, passing: Sequence[Row], failing: Sequence[Row]) -> Rehearsed | None:
        """Run the migration on a copy of some rows and of the newest ones; None where that cannot be rolled back.

        Raises `MetadataError` where this user may not make a temporary table, or the database is a standby.
        """
        if self.table is None or self._database.engine.dialect.name != "postgresql":
            return None
        known = {row.key for row in (*passing, *failing)}
        more = [row for row in self._newest(self.table) if row.key not in known]
        return rehearse(self._database, self._treatment, [*passing, *more], failing)

    def _newest(self, table: Table) -> list[Row]:
        """Some of the newest rows that are not large, and that should pass."""
        source = source_of(table, self._catalog.schema)
        size = self._database.dialect.size(source.value, table.form)
        latest = [column.desc() for column in source.order]
        query = self._catalog.keyed(source).where(size <= SAMPLED_BYTES).order_by(None).order_by(*latest)
        rows = [self._catalog.row(source, found) for found in self._database.fetch(query.limit(SAMPLED_ROWS))]
        verdicts = zip(rows, self._trial.verdicts(rows), strict=True)
        return [row for row, verdict in verdicts if verdict and not verdict.pickled and verdict.failure is None]

    def dimensions(self) -> Dimensions:
        """Of the whole table: the migration knows no filter."""
        from sqlalchemy import func, select

        if self.table is None:
            return Dimensions(0, 0, 0, None)
        x = clause(self._catalog.schema, self.table.name, ("value",), alias="x")
        size = self._database.dialect.size(x.c.value, self.table.form)
        query = select(func.count().label("rows"), func.sum(size).label("sum"), func.max(size).label("max"))
        (found,) = self._database.fetch(query.select_from(x))
        rows, size_bytes, largest_bytes = tuple(found)
        return Dimensions(rows, int(size_bytes or 0), largest_bytes or 0, self._on_disk())

    def _on_disk(self) -> int | None:
        if self._database.engine.dialect.name != "postgresql":
            return None
        name = self._database.table_name("xcom").replace("'", "''")
        return int(self._database.scalar(f"SELECT pg_total_relation_size('{name}')") or 0)

    def _doubtful(self, source: Source, query: Select[Any], where: Sequence[ColumnElement[Any]]) -> Iterator[Any]:
        """The rows of a page that are not surely harmless; all of a part of it where one makes the question fail."""
        found = self._suspects(query.where(*where))
        if found is not None:
            yield from found
            return
        for within in self._database.blocks(source.order, source.rows, where, ROWS_AT_ONCE):
            part = query.where(*where, *within)
            found = self._suspects(part)
            yield from self._database.fetch(part) if found is None else found

    def _suspects(self, query: Select[Any]) -> Sequence[Any] | None:
        """Those of some rows that are not surely harmless; None where one of them makes every question fail."""
        from sqlalchemy import literal_column

        for condition in self._trial.doubtful:
            try:
                return self._database.fetch(query.where(literal_column(condition)))
            except MetadataError as error:
                if is_out_of_reach(error):
                    raise
        return None

    def _judged(self, rows: Sequence[Row]) -> Iterator[tuple[Row, Verdict]]:
        verdicts = zip(rows, self._trial.verdicts(rows), strict=True)
        found = [(row, verdict) for row, verdict in verdicts if verdict is not None and not verdict.is_harmless]
        archived = self._archived([row for row, verdict in found if verdict.pickled])
        for row, verdict in found:
            yield row, replace(verdict, is_archived=row.key in archived)

    def _archived(self, rows: Sequence[Row]) -> set[tuple[Any, ...]]:
        """The keys of those rows that the archive has already, so that the migration cannot put them there."""
        from sqlalchemy import select

        if not rows or ARCHIVE not in self._catalog.schema.tables:
            return set()
        archive = clause(self._catalog.schema, ARCHIVE, KEY)
        query = select(*(archive.c[name] for name in KEY)).where(_among(archive, rows))
        return {tuple(found) for found in self._database.fetch(query)}


def _among(table: Any, rows: Sequence[Row]) -> ColumnElement[bool]:
    from sqlalchemy import tuple_

    return tuple_(*(table.c[name] for name in KEY)).in_([row.key for row in rows])


def _trial_of(catalog: Catalog, treatment: Treatment) -> Trial:
    database = catalog.database
    if database.engine.dialect.name == "postgresql":
        return PostgresTrial(database, treatment)
    if database.engine.dialect.name == "sqlite":
        return SqliteTrial(database, treatment)
    return MysqlTrial(database, treatment)


def _batches(rows: Iterator[Row]) -> Iterator[list[Row]]:
    """The rows, as many at a time as one statement tries."""
    held: list[Row] = []
    held_bytes = 0
    for row in rows:
        if held and (len(held) == ROWS_AT_ONCE or held_bytes + row.xcom.size_bytes > BYTES_AT_ONCE):
            yield held
            held, held_bytes = [], 0
        held.append(row)
        held_bytes += row.xcom.size_bytes
    if held:
        yield held
