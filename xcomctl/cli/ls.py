"""`xcomctl ls`: the XComs there are."""

from __future__ import annotations

import sys
from datetime import datetime, timezone
from typing import Annotated, Optional

from xcomctl.cli import render, report
from xcomctl.cli.opening import opened
from xcomctl.cli.options import Display, Place, Rows, RowState, choose, flag, takes

TERMINAL_LIMIT = 50


@takes(Place, Rows, Display)
def ls(
    place: Place,
    rows: Rows,
    display: Display,
    sort: Annotated[
        Optional[str],
        flag("--sort", metavar="[-]FIELD", help="Sort by a field; with - before it descending."),
    ] = None,
    limit: Annotated[
        Optional[int], flag("--limit", metavar="N", min=0, help="At most N rows; 0 is all. 50 on a terminal.")
    ] = None,
    columns: Annotated[
        Optional[str], flag("--columns", metavar="A,B", help="Only these fields, in this order.")
    ] = None,
    check: Annotated[bool, flag("--check", help="Look each object up: is it there, how large, how old?")] = False,
    all_attempts: Annotated[
        bool, flag("--all-attempts", help="Also the XComs of earlier attempts (Airflow 3.4).")
    ] = False,
) -> None:
    """List XComs: where each value is, how large its row is, and what it refers to.

    Reads no large value. `state` is inline, external (Airflow follows the reference), foreign (a reference that
    Airflow, as configured, does not follow), pickled, or with --check dangling (its object is gone).

    Examples:

      xcomctl ls --dag-id 'etl_*' --since 7d

      xcomctl ls --sort -size_bytes --limit 20

      xcomctl ls --state dangling -o json
    """
    said = report.start(display)
    from xcomctl.operations import listing

    selected = rows.filter(datetime.now(timezone.utc))
    check = check or RowState.DANGLING in (rows.state or ())
    offered = listing.FIELDS if check else listing.ROW_FIELDS
    shown = choose(columns.split(","), offered, "--columns") if columns else offered
    if sort is not None:
        choose([sort.removeprefix("-")], offered, "--sort")
    deployment = opened(place, said, databases=1)
    stores = deployment.stores if check else None
    xcoms = listing.list_xcoms(
        deployment.catalog, selected, stores, all_attempts=all_attempts, unreadable=said.unreadable
    )
    limit = min(limit, sys.maxsize) if limit is not None else (TERMINAL_LIMIT if sys.stdout.isatty() else 0)
    first, cut = listing.ordered(xcoms, sort, limit)
    render.records(
        ({name: getattr(xcom, name) for name in shown} for xcom in first), shown, display.output, display.color
    )
    if cut():
        said.note(f"the first {limit}; --limit 0 shows all")
