"""What speaks against moving a row, as far as it shows without its value."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from xcomctl.catalog import Catalog
from xcomctl.catalog.catalog import Row
from xcomctl.operations.migrate.terms import Skip
from xcomctl.operations.rows import some_at_a_time, unfinished

ROWS_AT_ONCE = 500


def judged(
    rows: Iterable[Row], kept_by_itself: Callable[[Row], Skip | None], catalog: Catalog
) -> Iterator[tuple[Row, Skip | None]]:
    """Each row with what keeps it where it is, or None. Asks the database about many runs and tasks at a time."""
    for some in some_at_a_time(iter(rows), ROWS_AT_ONCE):
        kept = {row: kept_by_itself(row) for row in some}
        at_work = unfinished([row for row, skip in kept.items() if skip is None], catalog)
        for row, skip in kept.items():
            yield row, skip or (Skip.RUN_UNFINISHED if row in at_work else None)
