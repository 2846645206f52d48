"""Orphans that may go, packed as the listing is: millions of them are shown, marked and deleted one after the other."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import TypeAlias

from xcomctl.backend.reference import Placement, place
from xcomctl.model import StoredObject
from xcomctl.numbers import Flags, hashes_of, moment
from xcomctl.operations.gc.inventory import Block, Column, Inventory
from xcomctl.operations.gc.orphans import Orphans
from xcomctl.operations.gc.tally import Tally

Choice: TypeAlias = Callable[[Block], Flags]


class Cause(str, Enum):
    """Why an object is an orphan, as far as the databases still tell."""

    DAG_DELETED = "dag-deleted"
    RUN_DELETED = "run-deleted"
    TASK_DELETED = "task-deleted"
    DB_CLEAN = "db-clean"
    OVERWRITTEN = "overwritten"
    NEVER_COMMITTED = "never-committed"
    ROW_DELETED = "row-deleted"


@dataclass(frozen=True, slots=True)
class Candidate:
    """An orphan that may go once it has been seen as one for long enough, which it has at `due_at`."""

    object: StoredObject
    placement: Placement
    cause: Cause
    first_seen: datetime
    due_at: datetime
    seen_before: bool


CAUSES = tuple(Cause)


@dataclass(frozen=True, slots=True)
class DagShare:
    """The candidates of one DAG, and when the oldest was written."""

    dag_id: str
    objects: Tally
    oldest: datetime


class Candidates:
    """Some candidates, to be gone through as often as one likes; `shares` are those of all DAGs, chosen or not."""

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._packed = Inventory()
        self._chosen: Choice | None = None
        self.shares: dict[str, DagShare] = {}

    def __len__(self) -> int:
        return self.tally.count

    def __iter__(self) -> Iterator[Candidate]:
        for block in self._packed.blocks():
            yield from self._unpacked(block)

    @property
    def tally(self) -> Tally:
        """How many, and their bytes."""
        return sum((_tally(block, self._choice(block)) for block in self._packed.blocks()), Tally())

    def add(self, orphans: Orphans, causes: Sequence[Cause], times: Mapping[str, Column]) -> None:
        """Add some, with their `first_seen` and `due` in microseconds, and whether `seen_before` and `is_due`."""
        import numpy as np

        codes = {cause: number for number, cause in enumerate(CAUSES)}
        columns: dict[str, Column] = {
            "uniques": hashes_of([each.unique for each in orphans.placements]),
            "causes": np.array([codes[cause] for cause in causes], np.uint8),
            **times,
        }
        self._packed.add(orphans.objects, columns)
        self._share(orphans)

    def that(self, chosen: Choice) -> Candidates:
        """Those of these that are chosen besides."""
        before, found = self._choice, Candidates(self._folder)
        found._packed, found.shares = self._packed, self.shares
        found._chosen = lambda block: before(block) & chosen(block)
        return found

    def by_cause(self) -> Mapping[str, Tally]:
        """These by why they are orphans."""
        return {CAUSES[number].value: tally for number, tally in self._by("causes").items()}

    def by_due(self) -> Mapping[datetime, Tally]:
        """These by when they may go."""
        return {moment(at): tally for at, tally in self._by("due").items()}

    def _by(self, name: str) -> dict[int, Tally]:
        import numpy as np

        found: dict[int, Tally] = {}
        for block in self._packed.blocks():
            column, chosen = block.columns[name], self._choice(block)
            for value in np.unique(column[chosen]).tolist():
                found[value] = found.get(value, Tally()) + _tally(block, chosen & (column == value))
        return found

    def _choice(self, block: Block) -> Flags:
        import numpy as np

        return np.ones(len(block), np.bool_) if self._chosen is None else self._chosen(block)

    def _unpacked(self, block: Block) -> Iterator[Candidate]:
        places = self._choice(block).nonzero()[0]
        causes, first_seen, due, before = (
            block.columns[name].tolist() for name in ("causes", "first_seen", "due", "seen_before")
        )
        for at, found in zip(places.tolist(), block.objects(places), strict=True):
            placement = place(found.name[len(self._folder) :])
            if placement is not None:
                times = moment(first_seen[at]), moment(due[at])
                yield Candidate(found, placement, CAUSES[causes[at]], *times, before[at])

    def _share(self, orphans: Orphans) -> None:
        """Add these to what is known of their DAGs."""
        import numpy as np

        dags: dict[str, int] = {}
        of = np.array([dags.setdefault(each.dag_id, len(dags)) for each in orphans.placements], np.int64)
        for dag_id, number in dags.items():
            sizes, times = (column[of == number] for column in (orphans.objects.sizes, orphans.objects.times))
            objects, oldest = Tally(len(sizes), int(sizes.sum())), moment(int(times.min()))
            share = self.shares.get(dag_id, DagShare(dag_id, Tally(), oldest))
            self.shares[dag_id] = DagShare(dag_id, share.objects + objects, min(share.oldest, oldest))


def _tally(block: Block, chosen: Flags) -> Tally:
    return Tally(int(chosen.sum()), int(block.sizes[chosen].sum()))
