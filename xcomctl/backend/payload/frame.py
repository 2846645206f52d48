"""The parquet inside a wrapped DataFrame, as rows of JSON values. pyarrow is enough, pandas is not used."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import date, time, timedelta
from itertools import islice
from typing import Any

from xcomctl.backend.payload.base import Json, PayloadError, visible

_FIRST_SAFE_PYARROW = (14, 0, 1)
"""Older ones run code that a parquet file brings along: CVE-2023-47248."""

_BATCH_ROWS = 65_536


@dataclass(frozen=True, slots=True)
class Table:
    """Columns with pandas' names for their types, and rows: the first of `total_rows`, or all."""

    columns: tuple[str, ...]
    dtypes: tuple[str, ...]
    total_rows: int
    rows: tuple[tuple[Json, ...], ...]


def read_table(parquet: bytes, max_rows: int | None = None) -> Table:
    """The first rows of a DataFrame, or all of them; the columns of its index come first.

    Raises `PayloadError` when pyarrow is missing or too old, and when the parquet is damaged.
    """
    _require_pyarrow()
    try:
        return _read(parquet, max_rows)
    except Exception as error:  # pyarrow's errors have no common root, nor has damaged pandas metadata
        raise PayloadError(
            f"its parquet cannot be read: {visible(str(error))}", hint="run the task again to write it anew"
        ) from error


def _require_pyarrow() -> None:
    try:
        import pyarrow
    except ImportError as error:
        raise PayloadError("pyarrow is not installed", hint="install pyarrow to see it as a table") from error
    if tuple(int(part) for part in re.findall(r"\d+", pyarrow.__version__)[:3]) < _FIRST_SAFE_PYARROW:
        raise PayloadError(
            f"pyarrow {pyarrow.__version__} is not safe to open it", hint="install pyarrow 14.0.1 or later"
        )


def _read(parquet: bytes, max_rows: int | None) -> Table:
    from pyarrow import BufferReader
    from pyarrow.parquet import ParquetFile

    file = ParquetFile(BufferReader(parquet))
    schema = file.schema_arrow
    metadata = schema.pandas_metadata or {}
    index = [name for name in metadata.get("index_columns", ()) if isinstance(name, str)]
    order = sorted(range(len(schema.names)), key=lambda position: schema.names[position] not in index)
    pandas_types = {column["field_name"]: column for column in metadata.get("columns", ())}
    fields = [schema.field(position) for position in order]
    table = Table(
        columns=tuple(_column_name(field.name, schema.names, index) for field in fields),
        dtypes=tuple(_dtype(field, pandas_types.get(field.name)) for field in fields),
        total_rows=file.metadata.num_rows,
        rows=tuple(islice(_rows(file, order, max_rows), max_rows)),
    )
    return _with_range(table, metadata)


def _with_range(table: Table, metadata: dict[str, Any]) -> Table:
    """With the labels of an index that counts otherwise than from 0 on: pandas notes them, and stores no column."""
    for index in metadata.get("index_columns", ()):
        if not isinstance(index, dict) or index.get("kind") != "range":
            continue
        start, stop, step = (index.get(part) for part in ("start", "stop", "step"))
        name = index.get("name") or "index"
        if not (isinstance(start, int) and isinstance(stop, int) and isinstance(step, int) and step):
            continue
        labels = range(start, stop, step)
        if labels == range(table.total_rows) or len(labels) != table.total_rows or name in table.columns:
            continue
        rows = tuple((labels[position], *row) for position, row in enumerate(table.rows))
        return replace(table, columns=(name, *table.columns), dtypes=("int64", *table.dtypes), rows=rows)
    return table


def _column_name(name: str, names: list[str], index: list[str]) -> str:
    """pandas' own name for an index without one, as `reset_index` gives it."""
    return "index" if index == [name] == ["__index_level_0__"] and "index" not in names else name


def _dtype(field: Any, column: dict[str, Any] | None) -> str:
    """The dtype that pandas had, from what it noted in the file; Arrow's type where it noted none."""
    if column is None:
        return str(field.type)
    if column["pandas_type"] == "categorical":
        return "category"
    dtype = str(column["numpy_type"])
    if column["pandas_type"] == "datetimetz":
        return f"{dtype.rstrip(']')}, {column['metadata']['timezone']}]"
    return dtype


def _rows(file: Any, order: list[int], max_rows: int | None) -> Iterator[tuple[Json, ...]]:
    for group in range(file.num_row_groups):
        # Not `iter_batches`: with pyarrow 16 damaged columns of unequal length crash the process there.
        # And not with its threads, which until pyarrow 17 abort the process now and then as it exits.
        table = file.read_row_group(group, use_threads=False)
        table.validate(full=True)  # else damaged offsets are followed out of the buffer
        for batch in table.slice(0, max_rows).to_batches(max_chunksize=_BATCH_ROWS):
            columns = [_values(batch.column(position)) for position in order]
            yield from zip(*columns, strict=True)


def _values(column: Any) -> list[Json]:
    import pyarrow

    # Nanoseconds fit pandas' times and not Python's, and pandas need not be there: a span is rounded, a time is text.
    if pyarrow.types.is_duration(column.type):
        column = column.cast(pyarrow.duration("us"), safe=False)
    try:
        values = column.to_pylist()
    except ValueError:
        values = column.cast(pyarrow.string()).to_pylist()
    return [_json(value) for value in values]


def _json(value: object) -> Json:
    """A cell as JSON has it: times in ISO 8601, a timedelta in seconds, bytes in base64, the rest as text."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, dict):
        return {str(key): _json(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_json(item) for item in value]
    if isinstance(value, date | time):
        return value.isoformat()
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    return str(value)
