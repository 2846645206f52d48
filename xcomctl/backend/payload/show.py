"""A viewed value for programs (`plain`, whole) and for people (`readable`, shortened where it is long)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TypeAlias

from xcomctl.backend.payload.base import Json, PayloadError, bounded, quoted, visible
from xcomctl.backend.payload.frame import read_table
from xcomctl.backend.payload.serde import Collection, DataFrame, Instance, Scalar, View

_BRACKETS = {"tuple": ("tuple (", ")"), "set": ("set {", "}"), "frozenset": ("frozenset {", "}")}


@dataclass(frozen=True, slots=True)
class Frame:
    """A DataFrame as a table to lay out: the cells are text, safe for a terminal.

    `rows` are the first of `total_rows`. `number` is what the text calls it; None when it is the whole value.
    """

    class_name: str
    columns: tuple[str, ...]
    dtypes: tuple[str, ...]
    total_rows: int
    rows: tuple[tuple[str, ...], ...]
    number: int | None = None


Block: TypeAlias = "str | Frame"


@bounded
def plain(value: View) -> Json:
    """The whole value as JSON has it; nothing is shortened.

    A datetime is its ISO text, a Decimal and a UUID are strings, a timedelta is seconds, a tuple or set a
    list, a numpy scalar a number; a DataFrame is `{"columns", "dtypes", "rows", "data"}`: `rows` is their
    count and `data` a list of records. A value of any other class stays wrapped as it was, and so does a
    DataFrame that cannot be read here.
    """
    return _plain(value)


def _plain(value: View) -> Json:
    match value:
        case list():
            return [_plain(item) for item in value]
        case Collection():
            return [_plain(item) for item in value.items]
        case dict():
            return {key: _plain(item) for key, item in value.items()}
        case Scalar():
            return value.plain
        case Instance():
            return value.wrapped
        case DataFrame():
            return _records(value)
        case _:
            return value


def _records(value: DataFrame) -> Json:
    try:
        table = read_table(value.parquet)
    except PayloadError:
        return value.wrapped
    return {
        "columns": list(table.columns),
        "dtypes": dict(zip(table.columns, table.dtypes, strict=True)),
        "rows": table.total_rows,
        "data": [dict(zip(table.columns, row, strict=True)) for row in table.rows],
    }


@bounded
def readable(
    value: View,
    *,
    max_rows: int = 20,
    max_items: int = 20,
    max_keys: int = 100,
    max_characters: int = 1000,
    width: int = 100,
) -> list[Block]:
    """Blocks to print one after the other: text that looks like JSON with the types in it, and tables.

    A DataFrame is one `Frame`. DataFrames inside a value are named in its text (`DataFrame 1`) and follow it
    as numbered frames. What is left out is counted in the text. Lists that fit `width` stay on one line.
    Controls that a terminal would obey are escaped.
    """
    printer = _Printer(max_rows, max_items, max_keys, max_characters, width)
    text = printer.text(value, 0)
    if isinstance(value, DataFrame) and printer.frames:
        return [replace(printer.frames[0], number=None)]
    return [text, *printer.frames]


@dataclass(frozen=True, slots=True)
class _Printer:
    max_rows: int
    max_items: int
    max_keys: int
    max_characters: int
    width: int
    frames: list[Frame] = field(default_factory=list)

    def text(self, value: View, depth: int) -> str:
        """The value as text, its further lines indented for `depth`."""
        match value:
            case str():
                return self.string(value)
            case dict():
                return self.fields(value, depth)
            case list():
                return self.sequence("[", value, "]", depth)
            case Collection():
                opening, closing = _BRACKETS[value.kind]
                return self.sequence(opening, value.items, closing, depth)
            case Scalar():
                return f"{self.label(value.kind)} {self.label(value.text)}"
            case DataFrame():
                return self.frame(value)
            case Instance():
                return self.instance(value, depth)
            case _:
                return json.dumps(value)

    def string(self, text: str) -> str:
        return quoted(text[: self.max_characters]) + _more(" ", len(text) - self.max_characters, "character")

    def label(self, text: str) -> str:
        return visible(text[: self.max_characters]) + ("…" if len(text) > self.max_characters else "")

    def sequence(self, opening: str, items: Sequence[View], closing: str, depth: int) -> str:
        parts = [self.text(item, depth + 1) for item in items[: self.max_items]]
        return self.enclosed(opening, parts, _more("", len(items) - self.max_items, "item"), closing, depth)

    def fields(self, fields: dict[str, View], depth: int) -> str:
        shown = list(fields.items())[: self.max_keys]
        parts = [f"{self.string(key)}: {self.text(item, depth + 1)}" for key, item in shown]
        return self.enclosed("{", parts, _more("", len(fields) - self.max_keys, "key"), "}", depth)

    def instance(self, value: Instance, depth: int) -> str:
        version = f" v{value.version}" if value.version else ""
        name = self.label(value.class_name) + version
        if isinstance(value.data, dict):
            return f"{name} {self.fields(value.data, depth)}"
        return f"{name} ({self.text(value.data, depth)})"

    def enclosed(self, opening: str, parts: list[str], more: str, closing: str, depth: int) -> str:
        """On one line if that fits and no part has several."""
        parts = [*parts, more] if more else parts
        length = sum(len(part) + 2 for part in parts)
        if length + 2 * depth <= self.width and not any("\n" in part for part in parts):
            return opening + ", ".join(parts) + closing
        margin = "\n" + "  " * depth
        return opening + ",".join(f"{margin}  {part}" for part in parts) + margin + closing

    def frame(self, value: DataFrame) -> str:
        """The name under which the table follows; without a table, the reason."""
        try:
            table = read_table(value.parquet, self.max_rows)
        except PayloadError as error:
            return f"{value.class_name} of {len(value.parquet):,} bytes ({error.message}; {error.hint})"
        number = len(self.frames) + 1
        rows = tuple(tuple(self.cell(cell) for cell in row) for row in table.rows)
        columns, dtypes = (tuple(map(self.label, names)) for names in (table.columns, table.dtypes))
        self.frames.append(Frame(value.class_name, columns, dtypes, table.total_rows, rows, number))
        return f"DataFrame {number} ({_count(table.total_rows, 'row')}, {_count(len(columns), 'column')})"

    def cell(self, cell: Json) -> str:
        return self.label(cell if isinstance(cell, str) else json.dumps(cell, ensure_ascii=False))


def _more(space: str, left_out: int, noun: str) -> str:
    return f"{space}… {_count(left_out, f'more {noun}')}" if left_out > 0 else ""


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
