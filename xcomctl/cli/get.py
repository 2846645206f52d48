"""`xcomctl get`: one value."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from xcomctl.cli import render, report, suggest
from xcomctl.cli.opening import opened
from xcomctl.cli.options import MAX_INDEX, Display, Output, Place, flag, takes
from xcomctl.errors import StorageError, UsageError

if TYPE_CHECKING:
    from xcomctl.backend import payload
    from xcomctl.catalog import StoredValue
    from xcomctl.cli.report import Report
    from xcomctl.model import XComKey
    from xcomctl.operations.deployment import Deployment
    from xcomctl.operations.fetching import Decoded, Fetched


@dataclass(frozen=True)
class Wanted:
    """What is wanted of an XCom, and in what shape."""

    key: Annotated[
        str, flag("--key", metavar="KEY", autocompletion=suggest.keys, help="What the task pushed it as.")
    ] = "return_value"
    map_index: Annotated[
        int, flag("--map-index", metavar="N", min=-1, max=MAX_INDEX, help="Which of the mapped tasks.")
    ] = -1
    path: Annotated[Optional[str], flag("--path", metavar="A.B[0]", help="Only this part of the value.")] = None
    raw: Annotated[bool, flag("--raw", help="The exact bytes that are stored.")] = False
    output_file: Annotated[
        Optional[Path],
        flag(
            "-O",
            "--output-file",
            metavar="FILE",
            autocompletion=suggest.files,
            help="Write to a file instead of stdout.",
        ),
    ] = None
    explain: Annotated[bool, flag("--explain", help="Say how the value is found, and what Airflow makes of it.")] = (
        False
    )
    all_attempts: Annotated[bool, flag("--all-attempts", help="The values of every attempt (Airflow 3.4).")] = False
    archive: Annotated[bool, flag("--archive", help="From archive tables instead: the newest that holds it.")] = False
    archive_table: Annotated[
        Optional[str],
        flag("--archive-table", metavar="NAME", help="From this archive table, as `ls --archive` names it."),
    ] = None

    @property
    def is_archived(self) -> bool:
        """Whether it is looked for in archives."""
        return self.archive or self.archive_table is not None

    @property
    def file(self) -> Path | None:
        """The file to write to; None is stdout, which goes by the name of `-` too."""
        return None if self.output_file == Path("-") else self.output_file


@takes(Place, Wanted, Display)
def get(
    place: Place,
    wanted: Wanted,
    display: Display,
    dag_id: Annotated[str, typer.Argument(help="The DAG.", show_default=False, autocompletion=suggest.dag_ids)],
    run_id: Annotated[
        str,
        typer.Argument(
            help="The run, or `latest` that holds this XCom.",
            show_default=False,
            autocompletion=suggest.runs_and_latest,
        ),
    ],
    task_id: Annotated[
        str,
        typer.Argument(
            help="The task, with its groups: group.task.", show_default=False, autocompletion=suggest.task_ids
        ),
    ],
) -> None:
    """Fetch one XCom and show its value, from the row or from the object that it refers to.

    On a terminal values are shortened to be read; off it, and with -o json, they are whole. Airflow's own types are
    shown without importing their classes. An object that is gone is an error with exit code 4. With --archive `latest`
    is the run of which the XCom was pushed last.

    Examples:

      xcomctl get etl latest load
        The return value of the task `load`, of the newest run that has one.

      xcomctl get etl latest train --key model_accuracy -o json
        One key, as JSON for a program.

      xcomctl get etl latest train --path 'scores[0]'
        Only a part of the value.

      xcomctl get etl scheduled__2026-01-01T00:00:00+00:00 load --raw -O load.json.gz
        The very bytes of one run's value, in a file.

    Exit status:

      0 2 10 12
      4  There is no such XCom, or its object is gone.
    """
    said = report.start(display)
    _require_sense(wanted)
    from xcomctl.model import XComKey
    from xcomctl.operations import fetching

    deployment = opened(place, said, databases=1)
    named = XComKey(dag_id, run_id, task_id, wanted.map_index, wanted.key)
    key = fetching.resolved(deployment.catalog, named, archived=wanted.is_archived)
    said.detail(f"reading {key}")
    rows = _rows(deployment, key, wanted, said)
    if wanted.explain:
        _explain(rows, deployment, display)
        return
    with said.progress() as watch:
        fetched = [fetching.fetch(row, deployment.stores, watch) for row in rows]
    if wanted.raw:
        if wanted.file is None:
            _require_text(fetched[0].raw)
        _write([fetched[0].raw], wanted.file)
        return
    decoded = [fetching.decode(each, wanted.path) for each in fetched]
    for each, value in zip(fetched, decoded, strict=True):
        _tell(each, value, said)
    _write(_shown(fetched, decoded, wanted, display), wanted.file)


def _rows(deployment: Deployment, key: XComKey, wanted: Wanted, said: Report) -> Sequence[StoredValue]:
    """The rows that are meant: with --archive those of one table, and of these one unless all attempts are wanted."""
    if not wanted.is_archived:
        return deployment.catalog.values(key, all_attempts=wanted.all_attempts)
    found = deployment.catalog.archived_values(key, wanted.archive_table)
    newest = [row for row in found if row.xcom.archive == found[-1].xcom.archive]
    others = sorted({row.xcom.archive or "" for row in found} - {newest[0].xcom.archive or ""})
    also = f"; also in {', '.join(others)}, which --archive-table names" if others else ""
    said.note(f"from the archive {newest[0].xcom.archive}{also}")
    return newest if wanted.all_attempts else newest[-1:]


def _require_sense(wanted: Wanted) -> None:
    """Usage errors, before anything is read."""
    from xcomctl.backend import payload

    if wanted.raw and (wanted.path or wanted.explain or wanted.all_attempts):
        raise UsageError("--raw goes with none of --path, --explain and --all-attempts", hint="leave out one")
    if wanted.path is not None:
        payload.path_steps(wanted.path)


def _explain(rows: Sequence[StoredValue], deployment: Deployment, display: Display) -> None:
    from xcomctl.operations import fetching

    steps = [step for row in rows for step in fetching.explain(row, deployment.stores, deployment.base)]
    found = ({"step": step, "finding": text} for step, text in steps)
    render.records(found, ("step", "finding"), display.output, display.color)


def _tell(fetched: Fetched, decoded: Decoded, said: Report) -> None:
    """What a person should know beside the value."""
    from xcomctl.model import State

    for note in decoded.notes:
        said.note(note)
    if fetched.xcom.state is State.FOREIGN:
        said.note("foreign: Airflow, as configured, does not follow this reference and hands its URL to the task")
    if fetched.address is not None:
        said.detail(f"{len(fetched.raw)} bytes from {fetched.address.text}")


def _shown(fetched: Sequence[Fetched], decoded: Sequence[Decoded], wanted: Wanted, display: Display) -> Sequence[bytes]:
    """The values as text, in pieces. Plain is JSON here: a value has no rows and columns."""
    from xcomctl.backend import payload

    to_file = wanted.file is not None and display.output is Output.AUTO
    form = Output.JSON if to_file else render.chosen(display.output)
    text = _as_written(decoded, form) if not wanted.all_attempts else None
    if text is not None:
        return text, b"\n"
    if form is Output.TABLE:
        blocks = (
            _heading(each, wanted.all_attempts) + _readable(value, display)
            for each, value in zip(fetched, decoded, strict=True)
        )
        return [_encoded("\n".join(blocks))]
    values = [payload.plain(value.value) for value in decoded]
    if form is Output.CSV:
        return [_encoded(_csv(values))]
    attempts = [
        {"try_number": each.xcom.try_number, "value": value} for each, value in zip(fetched, values, strict=True)
    ]
    return [_encoded(render.as_document(attempts if wanted.all_attempts else values[0], form))]


def _as_written(decoded: Sequence[Decoded], form: Output) -> bytes | None:
    """The JSON of a large value as it is, where that is wanted: Python writes it anew far slower than it reads."""
    text = decoded[0].text
    is_one_line = form is Output.JSONL and text is not None and not (b"\n" in text or b"\r" in text)
    return text if is_one_line or form in (Output.JSON, Output.PLAIN) else None


def _encoded(text: str) -> bytes:
    """UTF-8; half a surrogate pair, which JSON may hold, as its JSON escape."""
    return text.encode("utf-8", errors="backslashreplace")


def _heading(fetched: Fetched, all_attempts: bool) -> str:
    return f"try {fetched.xcom.try_number}\n" if all_attempts else ""


def _readable(decoded: Decoded, display: Display) -> str:
    from xcomctl.backend import payload

    blocks = payload.readable(decoded.value)
    return "".join(block + "\n" if isinstance(block, str) else _frame(block, display) for block in blocks)


def _frame(frame: payload.Frame, display: Display) -> str:
    """A DataFrame as a table whose head has the types below the names."""
    number = f" {frame.number}" if frame.number is not None else ""
    title = f"DataFrame{number}: {frame.total_rows:,} rows, {len(frame.columns)} columns"
    columns = [f"{name}\n{dtype}" for name, dtype in zip(frame.columns, frame.dtypes, strict=True)]
    rest = frame.total_rows - len(frame.rows)
    more = f"… {rest:,} more rows\n" if rest > 0 else ""
    return f"{title}\n{render.as_table(columns, frame.rows, display.color)}{more}"


def _csv(values: Sequence[payload.Json]) -> str:
    """Records as CSV: a DataFrame, or a list of objects, with a column for every key that one of them has."""
    value = values[0]
    records = value.get("data") if isinstance(value, dict) and {"columns", "dtypes", "data"} <= set(value) else value
    rows = [row for row in records if isinstance(row, dict)] if isinstance(records, list) else []
    if not rows or len(values) > 1 or not isinstance(records, list) or len(rows) < len(records):
        raise UsageError("only a DataFrame or a list of objects can be written as CSV", hint="-o json takes any value")
    return render.as_csv(rows, list(dict.fromkeys(key for row in rows for key in row)))


def _write(pieces: Iterable[bytes], file: Path | None) -> None:
    """To stdout, or to a file."""
    if file is None:
        for piece in pieces:
            render.write_bytes(piece)
        return
    try:
        with file.open("wb") as target:
            target.writelines(pieces)
    except OSError as error:
        raise StorageError(f"cannot write {file}: {error.strerror}", hint="choose another file with -O") from error


def _require_text(data: bytes) -> None:
    if sys.stdout.isatty() and not _is_text(data):
        raise UsageError("the bytes are binary, and stdout is a terminal", hint="write them to a file with -O FILE")


def _is_text(data: bytes) -> bool:
    try:
        return data.decode().isprintable() or (b"\x1b" not in data and b"\x00" not in data)
    except UnicodeDecodeError:
        return False
