"""How a table is drawn for people: what is a number or a time keeps its line, names are folded, nothing is lost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

NARROWEST = 8
"""A column of names has so many signs at least, where they are longer; else names go beside values."""

READABLE = 16
"""A column of names that has so many is easy to read, though folded."""

BETWEEN = 3
"""What separates two columns, in signs."""

BAR_WIDTH = 12


@dataclass(frozen=True, slots=True)
class Bar:
    """An amount, to be drawn as its share of the most that there is.

    >>> str(Bar(3, 8))
    '████▌'
    """

    amount: int
    most: int

    def __str__(self) -> str:
        full, eighths = divmod(round(8 * BAR_WIDTH * self.amount / self.most) if self.most else 0, 8)
        return "█" * full + " ▏▎▍▌▋▊▉"[eighths].strip()


@dataclass(frozen=True, slots=True)
class Column:
    """A column as it is drawn: its cells, on which side they stand, and whether they may be folded."""

    name: str
    title: str
    cells: Sequence[str]
    side: Literal["left", "right"] = "left"
    folds: bool = True
    says_something: bool = True

    @property
    def width(self) -> int:
        """In signs, with what separates it from the next."""
        from rich.cells import cell_len

        return max(map(cell_len, (*self.title.split("\n"), *self.cells))) + BETWEEN

    @property
    def least_width(self) -> int:
        """How narrow it can be drawn."""
        return min(self.width, NARROWEST + BETWEEN) if self.folds else self.width

    @property
    def good_width(self) -> int:
        """How narrow it is still easy to read."""
        return min(self.width, READABLE + BETWEEN) if self.folds else self.width


def drawn(columns: Sequence[Column], width: int, *, headers: bool = True) -> Any:
    """The columns as something that rich prints, within a width: a table, or where that would lose some, lines."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    if sum(column.least_width for column in columns) > width:
        return _beside(columns)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_header=headers)
    for column in columns:
        table.add_column(Text(column.title), justify=column.side, overflow="fold", no_wrap=not column.folds)
    for cells in zip(*(column.cells for column in columns), strict=True):
        table.add_row(*map(Text, cells))
    return table


def telling(columns: Sequence[Column], spare: Sequence[str], width: int) -> list[Column]:
    """The columns that say something, without those that can be spared, the last first, where it would be narrow."""
    left = [column for column in columns if column.says_something]
    for name in reversed(spare):
        needed = sum(column.width if column.name in spare else column.good_width for column in left)
        if needed > width:
            left = [column for column in left if column.name != name]
    return left


def _beside(columns: Sequence[Column]) -> Any:
    """Each row as lines of a name and a value."""
    from rich.table import Table
    from rich.text import Text

    lines = Table(box=None, pad_edge=False, show_header=False)
    lines.add_column(overflow="fold")
    lines.add_column(overflow="fold")
    for cells in zip(*(column.cells for column in columns), strict=True):
        for column, cell in zip(columns, cells, strict=True):
            lines.add_row(Text(column.title.replace("\n", " ")), Text(cell))
        lines.add_row("", "")
    return lines
