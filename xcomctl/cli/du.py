"""`xcomctl du`: what XComs take, and what moving the large ones would do."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Annotated, Any, Optional

from xcomctl.cli import render, report, suggest
from xcomctl.cli.drawing import Bar
from xcomctl.cli.findings import counted
from xcomctl.cli.opening import opened
from xcomctl.cli.options import TERMINAL_LIMIT, Display, Output, Place, Rows, Table, flag, listed, size, takes
from xcomctl.cli.report import Report
from xcomctl.errors import UsageError
from xcomctl.model import Filter, State

if TYPE_CHECKING:
    from xcomctl.catalog import Catalog
    from xcomctl.operations.usage import Usage

BAR = "share"
SPARE = ("objects", "external", "inline", "largest_bytes")
"""What a table need not show where it is narrow, the last first."""


@dataclass(frozen=True)
class Measure:
    """What is added up, and how it is told apart."""

    by: Annotated[
        str,
        flag(
            "--by",
            metavar="A,B",
            autocompletion=suggest.list_of(suggest.groupings),
            help="Any of dag_id, run_id, task_id, key, day, state, size.",
        ),
    ] = "dag_id"
    threshold: Annotated[
        Optional[str], flag("--threshold", metavar="SIZE", help="Say what `migrate --threshold` would move.")
    ] = None
    exact: Annotated[
        bool, flag("--exact", help="Let the database read every value for its real size; else as stored, compressed.")
    ] = False
    storage: Annotated[
        bool, flag("--storage", help="Count the objects below the base path as well, whether referred to or not.")
    ] = False
    limit: Annotated[
        Optional[int], flag("--limit", metavar="N", min=0, help="At most N groups; 0 is all. 50 on a terminal.")
    ] = None

    @property
    def groups(self) -> int | None:
        """The most groups to show; None is all."""
        if self.limit is None:
            return TERMINAL_LIMIT if sys.stdout.isatty() else None
        return self.limit or None


@takes(Measure, Place, Rows, Table, Display)
def du(measure: Measure, place: Place, rows: Rows, table: Table, display: Display) -> None:
    """Add up what XComs take: in the database, by DAG or whatever else tells them apart, and in storage.

    The largest come first. Sizes are as stored, so less than the values where the database compresses them; --exact
    is told the real ones by the database, which reads every value for that. Rows of earlier attempts count (Airflow
    3.4), archives do not. No value leaves the database. As a table, a histogram of the rows' sizes follows.

    Examples:

      xcomctl du
        What each DAG's XComs take, the largest first.

      xcomctl du --by dag_id,key --threshold 1MB
        By DAG and key, and what migrating would move.

      xcomctl du --by day --since 30d --dag-id 'etl_*'
        Day by day, of some DAGs.

      xcomctl du --by dag_id --storage -o json
        With the objects below the base path, for a program.

    Exit status:

      0 2 10 12
    """
    said = report.start(display)
    from xcomctl.catalog.usage import Question
    from xcomctl.operations import usage

    by = listed(measure.by, usage.BY, "--by")
    threshold = size(measure.threshold, "--threshold") if measure.threshold is not None else None
    selected = rows.filter(datetime.now(timezone.utc))
    _require_answers(by, selected, measure)
    asked = Question(selected, threshold_bytes=threshold, exact=measure.exact)
    fields = usage.fields_of(by, with_movable=threshold is not None, with_objects=measure.storage)
    columns = table.chosen(fields)
    deployment = opened(place, said, databases=1)
    storage = (deployment.base_store(), deployment.required_base()) if measure.storage else None
    with said.progress() as watch:
        found = usage.measure(deployment.catalog, asked, by, watch, storage)
    _show(found, columns, measure.groups, table, display)
    if measure.groups is not None and len(found.groups) > measure.groups:
        said.note(f"the first {measure.groups} of {len(found.groups)}; --limit 0 shows all")
    _tell(found, measure, said)
    _tell_near_limit(deployment.catalog, found, said)


def _require_answers(by: Sequence[str], selected: Filter, measure: Measure) -> None:
    """Ask nothing that neither rows nor names of objects can tell."""
    from xcomctl.operations.usage import require_names

    if State.DANGLING in selected.states:
        raise UsageError(
            "du looks no object up, so it knows of none that is gone", hint="`xcomctl ls --state dangling`"
        )
    if measure.storage:
        require_names(by, selected)


def _show(found: Usage, columns: tuple[str, ...], limit: int | None, table: Table, display: Display) -> None:
    records = found.records()[:limit]
    if render.chosen(display.output) is not Output.TABLE:
        render.records(records, columns, display.output, display.color, headers=table.headers)
        return
    shown = columns if table.columns else _readable(found, columns)
    most = max((_bytes(record) for record in records), default=0)
    drawn = [{**record, BAR: Bar(_bytes(record), most)} for record in records]
    render.table(drawn, shown, display.color, headers=table.headers, spare=None if table.columns else SPARE)
    if not table.columns:
        render.table(_histogram(found), ("row_size", "count", "size_bytes", BAR), display.color, headers=table.headers)


def _bytes(record: dict[str, Any]) -> int:
    """What the bar of a group stands for."""
    return int(record["size_bytes"]) + int(record.get("objects_bytes", 0))


def _readable(found: Usage, columns: tuple[str, ...]) -> tuple[str, ...]:
    """The columns that a person is shown: of the states only what is there, without the bytes of references."""
    absent = {name for state, tally in found.states.items() if not tally.count for name in (state, f"{state}_bytes")}
    of_references = {"inline_bytes", "external_bytes", "foreign_bytes", "pickled_bytes"}
    kept = tuple(name for name in columns if name not in absent | of_references)
    return (*kept, BAR)


def _histogram(found: Usage) -> list[dict[str, Any]]:
    most = max((tally.bytes for _, tally in found.histogram()), default=0)
    return [
        {
            "row_size": name,
            "count": tally.count,
            "size_bytes": tally.bytes,
            BAR: Bar(tally.bytes, most),
        }
        for name, tally in found.histogram()
    ]


def _tell(found: Usage, measure: Measure, said: Report) -> None:
    total = found.total
    exactly = "" if measure.exact else " as stored"
    said.note(
        f"{counted(total.rows.count)}, {render.readable_size(total.rows.bytes)}{exactly}",
        rows=total.rows.count,
        bytes=total.rows.bytes,
    )
    if measure.storage:
        said.note(f"{counted(total.objects.count, 'object')}, {render.readable_size(total.objects.bytes)}")
    if measure.threshold:
        least = "" if measure.exact else "about " if found.is_parsed else "at least "
        said.note(
            f"`xcomctl migrate --threshold {measure.threshold}` would move {least}{counted(total.movable.count)}, "
            f"{render.readable_size(total.movable.bytes)}, of runs that are over",
            hint="each value's own text decides, and links stay: --exact lets the database read them",
        )


def _tell_near_limit(catalog: Catalog, found: Usage, said: Report) -> None:
    from xcomctl.operations.usage import near_limit

    near = near_limit(catalog, found)
    if near is not None:
        limit = f"{near.limit.source} takes {render.readable_size(near.limit.bytes)} at most"
        said.warning(
            f"{counted(near.rows.count)} within 10% of what the database holds: {limit}",
            hint=f"`xcomctl ls --larger-than {near.limit.near_bytes}` lists them, `xcomctl migrate` moves them",
        )
