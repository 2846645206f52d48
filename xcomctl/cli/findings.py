"""How findings are summed up for people, whichever command has found them: the worst first."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import TYPE_CHECKING, TypeVar

from xcomctl.cli import render
from xcomctl.cli.report import Report
from xcomctl.model import Severity

if TYPE_CHECKING:
    from xcomctl.operations.gc import Tally

KindT = TypeVar("KindT", bound=Enum)
T = TypeVar("T")


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
