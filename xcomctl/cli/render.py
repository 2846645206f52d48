"""The only room that knows what stdout looks like: data, and nothing else.

What a program reads goes straight to stdout. rich draws tables for people and never touches anything else: off a
terminal it wraps and cuts, and it takes `[1]` in a key for markup.
"""

from __future__ import annotations

import csv
import io
import json
import math
import os
import shutil
import sys
import textwrap
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from enum import Enum
from functools import lru_cache
from typing import Any, Literal, TypeAlias

from xcomctl.cli import report
from xcomctl.cli.drawing import Column, drawn, telling
from xcomctl.cli.options import Color, Output

Record: TypeAlias = Mapping[str, Any]

WIDE = 10_000
"""The width of a table that no terminal limits: wide enough that nothing is cut."""

UNMAPPED = ("map_index", -1)

WRITTEN_AT_ONCE = 32_768
HELD_SECONDS = 0.2
"""Rows are written when there are so many bytes of them, or when the last ones were so long ago."""

_ESCAPES = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"})
_UNICODE_BREAKS = set("\x85\u2028\u2029")
_UNITS = ("B", "KiB", "MiB", "GiB", "TiB")


def chosen(output: Output) -> Output:
    """What `auto` means here: a table on a terminal, plain off it."""
    if output is not Output.AUTO:
        return output
    return Output.TABLE if sys.stdout.isatty() else Output.PLAIN


def takes_pages(output: Output) -> bool:
    """Whether `lines` may write it: the plain format, but on a terminal, which gets each row at once."""
    return chosen(output) is Output.PLAIN and not sys.stdout.isatty()


def records(
    rows: Iterable[Record],
    columns: Sequence[str],
    output: Output,
    color: Color,
    *,
    headers: bool = True,
    spare: Sequence[str] | None = None,
) -> int:
    """Write rows of the same columns, in one of all formats, and tell how many. Without `headers` CSV and tables begin
    with a row. With `spare` a table may leave out columns, as `table` says.
    """
    seen = 0

    def counted() -> Iterator[Record]:
        nonlocal seen
        for row in rows:
            seen += 1
            yield row

    form = chosen(output)
    picked = ({column: row[column] for column in columns} for row in counted())
    if form is Output.JSON:
        _stream(_array(picked))
    elif form is Output.JSONL:
        _stream(_json(row) + "\n" for row in picked)
    elif form is Output.YAML:
        _stream(_items(picked))
    elif form is Output.CSV:
        _stream(_csv(picked, columns, headers=headers))
    elif form is Output.PLAIN:
        _stream(_line(row.values()) for row in picked)
    else:
        table(picked, columns, color, headers=headers, spare=spare)
    return seen


def lines(pages: Iterable[tuple[int, str | None, Iterable[Record]]], columns: Sequence[str]) -> None:
    """Write the plain format from pages of so many lines, whose fields were joined by tabs, without the last line end.

    A page is written as it is if nothing in it is escaped in that format, else from its rows.
    """
    _stream(piece for page in pages for piece in _lines(*page, columns))


def _lines(count: int, text: str | None, rows: Iterable[Record], columns: Sequence[str]) -> Iterator[str]:
    if text is None or not _is_plain(text, count, len(columns)):
        yield from (_line(row[column] for column in columns) for row in rows)
    elif count:
        yield text + "\n"


def _is_plain(text: str, lines: int, columns: int) -> bool:
    """Whether these are so many lines of so many cells, in which nothing is escaped."""
    ends = max(lines - 1, 0)
    is_whole = text.count("\n") == ends and text.count("\t") == lines * (columns - 1)
    return is_whole and "\\" not in text and "\r" not in text


def _line(cells: Iterable[object]) -> str:
    return "\t".join(map(_cell, cells)) + "\n"


def document(value: object, output: Output) -> None:
    """Write one JSON-able value: as YAML, on one line as JSONL, else as indented JSON."""
    write(as_document(value, output))


def as_document(value: object, output: Output) -> str:
    """What `document` writes."""
    indent = None if output is Output.JSONL else 2
    return _yaml(_plain(value)) if output is Output.YAML else _json(value, indent) + "\n"


def as_csv(rows: Iterable[Record], columns: Sequence[str]) -> str:
    """Rows as the text of a CSV file."""
    return "".join(_csv(rows, columns))


def as_table(columns: Sequence[str], rows: Sequence[Sequence[str]], color: Color) -> str:
    """Cells of text as the text of a table."""
    cells = zip(*rows, strict=True) if rows else ((),) * len(columns)
    canvas = console(color)
    return _printed(
        drawn([Column(name, name, each) for name, each in zip(columns, cells, strict=True)], canvas.width), canvas
    )


def table(
    rows: Iterable[Record],
    columns: Sequence[str],
    color: Color,
    *,
    headers: bool = True,
    spare: Sequence[str] | None = None,
) -> None:
    """Draw a table for a person: sizes and times readable, numbers to the right, names folded where it is narrow.

    With `spare` it leaves out the columns that say nothing, and of those that are spare, from the last on, what would
    crowd the others.
    """
    found = list(rows)
    canvas = console(color)
    shown = [_column(name, title, found) for name, title in zip(columns, _titles(columns), strict=True)]
    if spare is not None and found:
        shown = telling(shown, spare, canvas.width)
    write(_printed(drawn(shown, canvas.width, headers=headers), canvas))


def _column(name: str, title: str, rows: Sequence[Record]) -> Column:
    """The column of some rows. Names can be folded; numbers, times and the like cannot."""
    values = [row[name] for row in rows]
    cells = [_readable(name, value) for value in values]
    folds = any(type(value) is str for value in values)
    says_something = any(value is not None and (name, value) != UNMAPPED for value in values)
    return Column(name, title, cells, _side(values), folds, says_something)


def _titles(columns: Sequence[str]) -> list[str]:
    """What people call the columns: sizes say themselves that they are bytes, and what they are sizes of."""
    names = [column.removesuffix("_bytes") for column in columns]
    taken = {"size": "bytes"}  # by which rows are told apart
    return [
        taken.get(name, f"{name} size") if name in columns and name != column else name
        for name, column in zip(names, columns, strict=True)
    ]


def _side(values: Iterable[object]) -> Literal["left", "right"]:
    """Numbers stand to the right."""
    kinds = {type(value) for value in values} - {type(None)}
    return "right" if kinds and kinds <= {int, float} else "left"


def console(color: Color) -> Any:
    """A rich console for what goes to stdout, as wide as COLUMNS or the terminal say, else as the content needs.

    It draws lines in Unicode whatever the locale is: what is written is UTF-8.
    """
    from rich.console import Console

    colored = report.is_colored(sys.stdout, color)
    return Console(
        file=io.StringIO(),
        force_terminal=colored,
        color_system="standard" if colored else None,
        no_color=not colored,
        width=_width(),
        highlight=False,
        markup=False,
        emoji=False,
    )


def indented(text: str) -> str:
    """A line below its heading; what does not fit goes on below it, further in. Words stay whole, to be copied."""
    folded = textwrap.wrap(
        text, _width(), initial_indent="  ", subsequent_indent="    ", break_long_words=False, break_on_hyphens=False
    )
    return "\n".join(folded)


def _width() -> int:
    """As wide as COLUMNS or the terminal say, else as the content needs."""
    return shutil.get_terminal_size((80, 24)).columns if _is_limited() else WIDE


def _is_limited() -> bool:
    return sys.stdout.isatty() or os.environ.get("COLUMNS", "").isdecimal()


def _stream(pieces: Iterable[str]) -> None:
    """Write text as it comes: to a terminal at once, else some at a time.

    So a short and quick answer that ends in an error is not written at all.
    """
    at_once = sys.stdout.isatty()
    held: list[str] = []
    length, written_at = 0, time.monotonic()
    for piece in pieces:
        held.append(piece)
        length += len(piece)
        if at_once or length > WRITTEN_AT_ONCE or time.monotonic() - written_at > HELD_SECONDS:
            write("".join(held))
            held, length, written_at = [], 0, time.monotonic()
    write("".join(held))


def _printed(drawn: object, canvas: Any) -> str:
    """What rich would print, as text: stdout may have another encoding, and rich an exit of its own."""
    with canvas.capture() as captured:
        canvas.print(drawn)
    return str(captured.get())


def write(text: str) -> None:
    """Write text to stdout as UTF-8; half a surrogate pair, which JSON may hold, as its JSON escape."""
    write_bytes(text.encode("utf-8", errors="backslashreplace"))


def write_bytes(data: bytes) -> None:
    """Write bytes to stdout as they are. With PYTHONUNBUFFERED its buffer is none, and may take only a part."""
    if sys.stdout.isatty():
        report.clear_line()
    sys.stdout.flush()
    rest = memoryview(data)
    while rest:
        rest = rest[sys.stdout.buffer.write(rest) :]
    sys.stdout.buffer.flush()


def colored(text: str, name: str, color: Color) -> str:
    """Text in one of the terminal's colours, where colours are wanted on stdout."""
    code = {"red": 31, "yellow": 33, "cyan": 36}[name]
    return f"\x1b[{code}m{text}\x1b[0m" if report.is_colored(sys.stdout, color) else text


def readable_size(count: int) -> str:
    """A number of bytes as a person says it.

    >>> readable_size(2_027_235)
    '1.9 MiB'
    """
    amount = float(count)
    for unit in _UNITS:
        if amount < 1024 or unit == _UNITS[-1]:
            return f"{count} B" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1024
    raise AssertionError("the last unit takes everything")


def _array(rows: Iterable[Record]) -> Iterator[str]:
    """The text of one JSON array, row by row."""
    opened = False
    for row in rows:
        yield (",\n " if opened else "[") + _json(row)
        opened = True
    yield "]\n" if opened else "[]\n"


def _items(rows: Iterable[Record]) -> Iterator[str]:
    """The text of one YAML list, item by item."""
    empty = True
    for row in rows:
        empty = False
        yield _yaml([_plain(row)])
    if empty:
        yield _yaml([])


def _csv(rows: Iterable[Record], columns: Sequence[str], *, headers: bool = True) -> Iterator[str]:
    """The lines of a CSV file, its header first."""
    if headers:
        yield _csv_line(columns)
    for row in rows:
        yield _csv_line([_plain(row.get(column)) for column in columns])


def _csv_line(cells: Sequence[object]) -> str:
    buffer = io.StringIO()
    # Only with both signs in its line end does the writer of Python 3.12 and before quote a cell that has one of them.
    csv.writer(buffer, lineterminator="\r\n").writerow([_csv_cell(cell) for cell in cells])
    return buffer.getvalue().removesuffix("\r\n") + "\n"


def _csv_cell(cell: object) -> object:
    """As JSON spells it what is no text and no number; nothing for null."""
    if cell is None:
        return ""
    return _json(cell) if isinstance(cell, (dict, list, bool)) else cell


def _json(value: object, indent: int | None = None) -> str:
    """JSON that every parser reads: what JSON has no number for (NaN, Infinity) is a string of that name."""
    try:
        return _encoder(indent).encode(value)
    except ValueError:
        return json.dumps(_finite(_plain(value)), ensure_ascii=False, indent=indent)


@lru_cache
def _encoder(indent: int | None) -> json.JSONEncoder:
    return json.JSONEncoder(default=_plain, ensure_ascii=False, indent=indent, allow_nan=False)


def _finite(value: object) -> object:
    if isinstance(value, float) and not math.isfinite(value):
        return json.dumps(value)
    if isinstance(value, Mapping):
        return {key: _finite(inner) for key, inner in value.items()}
    return [_finite(inner) for inner in value] if isinstance(value, list) else value


def _yaml(value: object) -> str:
    import yaml

    class Dumper(yaml.SafeDumper):
        """In double quotes Unicode's own line breaks are escaped; without, PyYAML folds them into spaces."""

        def represent_text(self, text: str) -> yaml.ScalarNode:
            style = '"' if _UNICODE_BREAKS & set(text) else None
            return self.represent_scalar("tag:yaml.org,2002:str", text, style=style)

    Dumper.add_representer(str, Dumper.represent_text)
    return str(yaml.dump(value, Dumper=Dumper, allow_unicode=True, sort_keys=False))


def _plain(value: object) -> object:
    """A value in the types that every format knows."""
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, Mapping):
        return {key: _plain(inner) for key, inner in value.items()}
    return [_plain(inner) for inner in value] if isinstance(value, (list, tuple)) else value


def _cell(value: object) -> str:
    return str(_csv_cell(_plain(value))).translate(_ESCAPES)


def _readable(column: str, value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, datetime):
        return value.strftime("%Y-%m-%d %H:%M:%S")
    if column.endswith("_bytes") and isinstance(value, int):
        return readable_size(value)
    from xcomctl.backend.payload import visible

    return visible(_cell(value))
