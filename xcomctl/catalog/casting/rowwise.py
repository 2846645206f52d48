"""A database that is asked row by row, by statements in which the migration's own expressions stand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from xcomctl.catalog.casting.terms import READ_BYTES, Verdict
from xcomctl.catalog.catalog import Row
from xcomctl.catalog.database import Database
from xcomctl.catalog.treatments import TEXT, Sanitising, Treatment


class RowByRow:
    """Values of one database, and what a version of the migration makes of them."""

    def __init__(self, database: Database, treatment: Treatment) -> None:
        self._database = database
        self._treatment = treatment

    def verdicts(self, rows: Sequence[Row]) -> list[Verdict | None]:
        """What becomes of each row; None for one that is gone."""
        return [self._verdict(row) for row in rows]

    def _verdict(self, row: Row) -> Verdict | None:
        raise NotImplementedError

    def _asked(self, question: str, sanitising: Sanitising, row: Row) -> tuple[Any, ...] | None:
        """The answer to a question about a row; None where it is gone."""
        from sqlalchemy import text

        statement = (
            question.replace("__READ__", str(READ_BYTES))
            .replace("__TABLE__", self._database.table_name("xcom"))
            .replace("__ALWAYS__", sanitising.always.replace(TEXT, "t"))
            .replace("__MEND__", (sanitising.mend or TEXT).replace(TEXT, "s"))
        )
        found = self._database.fetch(text(statement), dict(zip(("run", "task", "map", "key"), row.key, strict=True)))
        return tuple(found[0]) if found else None
