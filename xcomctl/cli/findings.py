"""How findings are summed up for people, whichever command has found them: the worst first."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from enum import Enum
from itertools import islice
from typing import TYPE_CHECKING, TypeVar

from xcomctl.cli import render
from xcomctl.cli.report import Report
from xcomctl.model import Severity

if TYPE_CHECKING:
    from xcomctl.operations.gc import Tally

KindT = TypeVar("KindT", bound=Enum)
T = TypeVar("T")


def first(findings: Iterator[T], limit: int, said: Report) -> Iterator[T]:
    """The first findings, all where the limit is 0; the others are looked for as well, for they count."""
    yield from islice(findings, limit or None)
    left = sum(1 for _ in findings)
    if left:
        said.note(f"the first {limit} of {limit + left}; --limit 0 shows all")


def severity_first(by_name: Mapping[tuple[KindT, Severity], T]) -> list[tuple[tuple[KindT, Severity], T]]:
    """What is known of kinds of findings, the worst first; within a severity in the order in which it was found."""
    return sorted(by_name.items(), key=lambda item: list(Severity).index(item[0][1]))


def tell_counts(counts: Mapping[tuple[KindT, Severity], Tally], said: Report, of: str = "row") -> None:
    """How many findings there are of each kind, and how large they are."""
    for (kind, severity), tally in severity_first(counts):
        said.note(
            f"{severity.value} {kind.value}: {counted(tally.count, of)}, {render.readable_size(tally.bytes)}",
            severity=severity.value,
            id=kind.value,
            **{f"{of}s": tally.count, "bytes": tally.bytes},
        )


def counted(count: int, of: str = "row") -> str:
    """A number of things in words."""
    return f"{count:,} {of}{'' if count == 1 else 's'}"
