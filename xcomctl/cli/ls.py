"""`xcomctl ls`: the XComs there are."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Annotated, Optional

from xcomctl.cli import render, report, suggest
from xcomctl.cli.opening import opened
from xcomctl.cli.options import TERMINAL_LIMIT, Display, Output, Place, Rows, Table, choose, flag, in_full, takes
from xcomctl.model import State

OBJECT = "object_"
"""How the fields begin that only a look at the object tells."""

SPARE = ("timestamp", "reference")
"""What a table need not show where it is narrow, the last first."""


@dataclass(frozen=True)
class Shape:
    """How rows are listed."""

    sort: Annotated[
        Optional[str],
        flag(
            "--sort",
            metavar="[-]FIELD",
            autocompletion=suggest.one_of(suggest.fields),
            help="Sort by a field; with - before it descending.",
        ),
    ] = None
    limit: Annotated[
        Optional[int], flag("--limit", metavar="N", min=0, help="At most N rows; 0 is all. 50 on a terminal.")
    ] = None
    check: Annotated[bool, flag("--check", help="Look each object up: is it there, how large, how old?")] = False
    all_attempts: Annotated[bool, flag("--all-attempts", help="Also the XComs of earlier attempts (Airflow 3.4).")] = (
        False
    )
    archive: Annotated[
        bool, flag("--archive", help="What archive tables hold instead, and which (in the column `archive`).")
    ] = False

    def sorted_by(self, offered: Sequence[str]) -> str | None:
        """The field to sort by, with its sign. Raises `UsageError` for one that is not there."""
        if self.sort is None:
            return None
        name = self.sort.removeprefix("-")
        (field,) = choose([in_full(name.lower(), offered)], offered, "--sort")
        return f"-{field}" if self.sort != name else field

    @property
    def rows(self) -> int:
        """The most rows to show; 0 is all."""
        if self.limit is None:
            return TERMINAL_LIMIT if sys.stdout.isatty() else 0
        return min(self.limit, sys.maxsize)


@takes(Place, Rows, Shape, Table, Display)
def ls(place: Place, rows: Rows, shape: Shape, table: Table, display: Display) -> None:
    """List XComs: where each value is, how large its row is, and what it refers to.

    Reads no large value. `state` is inline, external (Airflow follows the reference), foreign (a reference that
    Airflow, as configured, does not follow), pickled, or with --check dangling (its object is gone). --archive lists
    what `airflow db clean`, `xcomctl rm --archive` and the upgrade to Airflow 3 have put aside.

    Examples:

      xcomctl ls --dag-id 'etl_*' --since 7d
        What these DAGs have pushed in the last week.

      xcomctl ls --sort -size_bytes --limit 20
        The twenty largest rows.

      xcomctl ls --state dangling -o json
        The references whose object is gone, for a program.

      xcomctl ls --archive --columns dag_id,run_id,key,archive
        What archive tables hold, and which of them.

    Exit status:

      0 2 10 12
    """
    said = report.start(display)
    from xcomctl.operations import listing

    selected = rows.filter(datetime.now(timezone.utc))
    about_objects = OBJECT in f"{table.columns or ''},{shape.sort or ''}".lower()
    check = shape.check or State.DANGLING in selected.states or about_objects
    offered = listing.fields_of(checked=check, archived=shape.archive)
    columns = table.chosen(offered)
    question = listing.Question(selected, shape.sorted_by(offered), shape.rows, shape.all_attempts, shape.archive)
    deployment = opened(place, said, databases=1)
    stores = deployment.stores if check else None
    with said.progress() as watch:
        if not check and render.takes_pages(display.output):
            pages = listing.list_lines(deployment.catalog, question, columns, watch)
            if pages is not None:
                shown = ((page.rows, page.text, listing.records(page.xcoms(), columns)) for page in pages)
                render.lines(shown, columns)
                return
        found = listing.list_xcoms(deployment.catalog, question, stores, said.unreadable, watch)
        records = listing.records(found.xcoms, columns)
        spare = None if table.columns else SPARE
        count = render.records(records, columns, display.output, display.color, headers=table.headers, spare=spare)
    if not count and render.chosen(display.output) is Output.TABLE:
        said.note("there is no such XCom")
    if found.cut():
        said.note(f"the first {shape.rows}; --limit 0 shows all")
