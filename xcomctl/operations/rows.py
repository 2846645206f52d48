"""What all operations that act on rows have in common: which rows nobody is at work on, and how they are accounted for.

An account is kept while an operation runs, so that one that breaks off can still be reported.
"""

from __future__ import annotations

import re
import shlex
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from itertools import chain, islice
from typing import ClassVar, Generic, Protocol, TypeVar

from xcomctl.catalog import Catalog
from xcomctl.catalog.catalog import Row
from xcomctl.errors import ExitCode, XcomctlError
from xcomctl.model import XCom
from xcomctl.operations.gc import Tally, counted

NOTHING = Tally()
_GLOB = re.compile(r"([*?[])")
BATCH_BYTES = 32 * 1024 * 1024


def unfinished(rows: Sequence[Row], catalog: Catalog) -> set[Row]:
    """The rows whose run is not over, or whose task is at work although it is."""
    runs = catalog.tasks.unfinished_runs({(row.xcom.dag_id, row.xcom.run_id) for row in rows})
    tasks = catalog.tasks.at_work({(row.xcom.dag_id, row.xcom.run_id, row.xcom.task_id) for row in rows})
    return {
        row
        for row in rows
        if (row.xcom.dag_id, row.xcom.run_id) in runs or (row.xcom.dag_id, row.xcom.run_id, row.xcom.task_id) in tasks
    }


def some_at_a_time(rows: Iterator[Row], count: int) -> Iterator[Sequence[Row]]:
    """The rows, at most so many together."""
    while some := list(islice(rows, count)):
        yield some


def batches(rows: Iterator[Row], count: int, most_bytes: int = BATCH_BYTES) -> Iterator[Sequence[Row]]:
    """The rows of one table, at most so many together, and fewer where they are large."""
    batch: list[Row] = []
    size_bytes = 0
    for row in rows:
        is_full = len(batch) == count or size_bytes + row.xcom.size_bytes > most_bytes
        if batch and (is_full or row.table != batch[0].table):
            yield batch
            batch, size_bytes = [], 0
        batch.append(row)
        size_bytes += row.xcom.size_bytes
    if batch:
        yield batch


def meaning(xcom: XCom) -> str:
    """The filters that mean a row and no other, for a shell: names are globs there, and these mean themselves."""
    names = [("--dag-id", xcom.dag_id), ("--run-id", xcom.run_id), ("--task-id", xcom.task_id), ("--key", xcom.key)]
    if xcom.map_index >= 0:
        names.append(("--map-index", str(xcom.map_index)))
    return " ".join(word(flag, literal(name)) for flag, name in names)


def literal(name: str) -> str:
    """The glob that means one name."""
    return _GLOB.sub(r"[\1]", name)


def word(flag: str, value: str) -> str:
    """An option with its value, for a shell."""
    return flag + ("=" if value[:1] in ("", "-") else " ") + _quoted(value)


def _quoted(text: str) -> str:
    """A word for a shell. What no terminal shows, and nobody could copy, is spelled as bash and zsh read it.

    >>> print(_quoted("it's"), _quoted("a\\nb"))
    'it'"'"'s' $'a\\x0ab'
    """
    return shlex.quote(text) if text.isprintable() else f"$'{''.join(map(_spelled, text))}'"


def _spelled(letter: str) -> str:
    if letter in "\\'":
        return f"\\{letter}"
    if letter.isprintable():
        return letter
    number = ord(letter)
    return f"\\x{number:02x}" if number < 0x80 else f"\\U{number:08x}"


SkipT = TypeVar("SkipT", bound=Enum)


class Refused(Protocol):
    """A gate that is shut, and what it saw."""

    @property
    def gate(self) -> Enum:
        """What `--allow` lifts."""

    @property
    def message(self) -> str:
        """In one line."""


class Ruled(Protocol):
    """By what rules a run goes."""

    @property
    def dry_run(self) -> bool:
        """Whether it only looks."""


class Planned(Protocol[SkipT]):
    """What a run found before it began, as far as every account tells it."""

    @property
    def rules(self) -> Ruled:
        """By what rules it goes."""

    @property
    def skipped(self) -> dict[SkipT, Tally]:
        """What speaks against some rows from the start."""

    @property
    def refusals(self) -> Sequence[Refused]:
        """What speaks against the whole."""


PlanT = TypeVar("PlanT", bound=Planned)  # type: ignore[type-arg]  # of any reasons


@dataclass(slots=True)
class RowsAccount(Generic[PlanT, SkipT]):
    """The counts of one run. `skipped` adds to what the plan has skipped; an account says what its bytes are of."""

    COMMAND: ClassVar[str]
    IN_VAIN: ClassVar[ExitCode]

    plan: PlanT
    operation_id: str
    failed: Tally = NOTHING
    skipped: dict[SkipT, Tally] = field(default_factory=dict)
    perhaps_changed: bool = False
    failures: list[dict[str, object]] = field(default_factory=list)
    stopped: str | None = None

    def skip(self, reason: SkipT, size_bytes: int) -> None:
        """A row stays as it is, for good reason."""
        self.skipped[reason] = self.skipped.get(reason, NOTHING) + Tally(1, size_bytes)

    def fail(self, code: str, row: Row, error: XcomctlError) -> None:
        """A row stays as it is, and should not have."""
        self.failed += Tally(1, row.xcom.size_bytes)
        self.failures.append({"code": code, **row.xcom.identity, "message": error.message})

    def complain(self, code: str, message: str) -> None:
        """Something is wrong with the whole run."""
        self.failures.append({"code": code, "message": message})

    @property
    @abstractmethod
    def changed(self) -> Tally:
        """What surely is another than before."""

    @property
    @abstractmethod
    def tallies(self) -> Mapping[str, Tally]:
        """Every count of the report, by its name."""

    @property
    def done(self) -> int:
        """How many of the rows that were to change have been handled."""
        return self.changed.count + self.failed.count + sum(tally.count for tally in self.skipped.values())

    @property
    def has_changed(self) -> bool:
        """Whether any row is, or may be, another than before."""
        return bool(self.changed.count) or self.perhaps_changed

    @property
    def exit_code(self) -> ExitCode:
        """What the shell is told: partial only when something was changed."""
        if self.plan.refusals:
            return ExitCode.REFUSED
        if self.failures:
            return ExitCode.PARTIAL if self.has_changed else self.in_vain
        return ExitCode.OK

    @property
    def in_vain(self) -> ExitCode:
        """What the shell is told when there are failures, and nothing was changed."""
        return self.IN_VAIN

    @property
    def by_reason(self) -> dict[SkipT, Tally]:
        """What was skipped, by why."""
        found: dict[SkipT, Tally] = {}
        for reason, tally in chain(self.plan.skipped.items(), self.skipped.items()):
            found[reason] = found.get(reason, NOTHING) + tally
        return found

    def document(self) -> dict[str, object]:
        """The report as programs read it."""
        return {
            "schema": 1,
            "command": self.COMMAND,
            "operation_id": self.operation_id,
            "dry_run": self.plan.rules.dry_run,
            "status": "partial" if self.stopped == "signal" else self.exit_code.status,
            **counted(self.tallies),
            "skipped_by_reason": {reason.value: tally.count for reason, tally in self.by_reason.items()},
            "failures": self.failures,
            "refusals": [{"gate": each.gate.value, "message": each.message} for each in self.plan.refusals],
            "stopped": self.stopped,
        }
