"""The batches of a sweep, several under way at a time.

What makes one safe is the order within it: the lease is held still, its rows are looked up once more, its intent is
written, it is deleted, its outcome is written. Where copies or anything else before the delete take long, its rows are
looked up again right before. The first goes alone: what is wrong with all shows there. Batches become more while the
store keeps up, and fewer when it asks for that. Whatever breaks begins no other; those under way come to their end, and
are told.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import islice
from math import inf
from threading import Event, Lock

from xcomctl.backend.reference import Placement
from xcomctl.errors import XcomctlError
from xcomctl.ledger import Lease
from xcomctl.ledger.audit import Batch, batch_of, write_intent, write_outcome
from xcomctl.model import Deletion, Removal
from xcomctl.operations.concurrency import Crew
from xcomctl.operations.gc.account import Account
from xcomctl.operations.gc.candidates import Candidate
from xcomctl.operations.gc.doubt import unfinished_owners
from xcomctl.operations.gc.scope import Scope

BATCH = 1000
"""The most that S3 deletes in one request."""

AT_ONCE = 12
"""The most batches under way: while some are deleted, others are looked up or written down."""

BREATH_SECONDS = 5.0
"""How long nothing may happen before the lease is looked after."""

FRESH_SECONDS = 1.0
"""No delete is sent on a look at the rows that began longer ago."""

PAUSES_SECONDS = (1.0, 2.0, 4.0, 8.0, 16.0, 30.0)
"""How long a store that is too busy is left alone, each time about so long."""

Pace = Callable[[], str | None]
"""Asked before each batch: why to stop here, or None to go on."""


@dataclass(slots=True)
class Width:
    """How many batches may be under way: more with each that went well, half as many when the store asks for it."""

    most: int
    allowed: float = 1.0
    slow_downs: int = 0
    _slowed_at: float = 0.0
    _lock: Lock = field(default_factory=Lock)

    def widen(self) -> None:
        """One more for each batch that went well; after a slow-down one more for each round of them."""
        with self._lock:
            self.allowed = min(self.most, self.allowed + (1 / self.allowed if self.slow_downs else 1))

    def narrow(self, begun_at: float) -> None:
        """Half as many, unless they have become fewer since that request began."""
        with self._lock:
            self.slow_downs += 1
            if begun_at > self._slowed_at:
                self.allowed = max(1.0, self.allowed / 2)
                self._slowed_at = time.monotonic()


@dataclass(frozen=True, slots=True)
class Swept:
    """What became of one batch; `error` is what was wrong beside it."""

    number: int
    outcomes: Sequence[Deletion]
    error: XcomctlError | None = None


class Sweep:
    """All that is due goes, as long as the lease is held and `pace` has no reason to stop."""

    def __init__(self, account: Account, scope: Scope, lease: Lease, pace: Pace) -> None:
        self._account = account
        self._scope = scope
        self._lease = lease
        self._pace = pace
        self._crew: Crew[Swept] = Crew()
        self._width = Width(AT_ONCE)
        self._looking = Lock()
        self._error: XcomctlError | None = None
        self._ending = Event()
        """No other batch begins."""
        self._left = Event()
        """Nobody waits for the batches under way any more."""

    def outcomes(self) -> Iterator[Deletion]:
        """What became of each object, batch by batch as they are done. Raises the first error when all are done."""
        deletable = iter(self._account.plan.deletable)
        batches = enumerate(iter(lambda: tuple(islice(deletable, BATCH)), ()), start=1)
        try:
            while self._begun(batches) or self._crew.under_way:
                yield from self._taken()
        except BaseException:
            self._left.set()
            self._ending.set()
            raise
        if self._error is not None:
            raise self._error

    def _begun(self, batches: Iterator[tuple[int, Sequence[Candidate]]]) -> bool:
        """Begin as many as there is room for; whether there was any."""
        begun = False
        while not self._ending.is_set() and self._crew.under_way < int(self._width.allowed):
            following = next(batches, None)
            if following is None or not self._may_begin():
                break
            self._crew.begin(partial(self._swept, *following))
            begun = True
        return begun

    def _may_begin(self) -> bool:
        self._account.stopped = self._pace()
        if self._account.stopped is not None:
            self._ending.set()
            return False
        try:
            self._lease.keep()
        except XcomctlError as error:
            self._end(error)
        return self._error is None

    def _taken(self) -> Iterator[Deletion]:
        """The outcomes of the batch that is done first, entered; none where the wait for it is long."""
        try:
            swept = self._crew.result(BREATH_SECONDS)
            if swept is None:
                self._lease.keep()
                return
        except XcomctlError as error:
            self._end(error)
            return
        for outcome in swept.outcomes:
            self._account.enter(outcome)
        self._account.unanswered.discard(swept.number)
        self._account.slow_downs = self._width.slow_downs
        if swept.error is not None:
            self._end(swept.error)
        yield from swept.outcomes

    def _end(self, error: XcomctlError) -> None:
        self._error = self._error or error
        self._ending.set()

    def _swept(self, number: int, candidates: Sequence[Candidate]) -> Swept:
        """One batch. Whatever has a row again, or an owner at work, is kept."""
        plan, control = self._account.plan, self._scope.control
        self._lease.require()
        looked_at = time.monotonic()
        revived = self._revived(candidates)
        kept = [Deletion(each.object, changed=True) for each in candidates if each.placement.unique in revived]
        going = [each for each in candidates if each.placement.unique not in revived]
        if not going:
            return Swept(number, kept)
        causes = {each.object.name: each.cause.value for each in going}
        batch = batch_of(control, self._account.operation_id, number, [each.object for each in going], causes)
        write_intent(control, batch, plan.way)
        if self._left.is_set():
            return Swept(number, kept)
        self._account.unanswered.add(number)
        outcomes, error = self._removed(batch, {each.object.name: each for each in going}, looked_at)
        try:
            write_outcome(control, batch, outcomes)
        except XcomctlError as unwritten:
            error = error or unwritten
        return Swept(number, [*kept, *outcomes], error)

    def _removed(
        self, batch: Batch, candidates: Mapping[str, Candidate], looked_at: float
    ) -> tuple[Sequence[Deletion], XcomctlError | None]:
        """What became of each. What the store was too busy for is tried again after a pause, if still an orphan."""
        outcomes: dict[str, Deletion] = {}
        asked = batch.removals
        for pause in (*PAUSES_SECONDS, None):
            begun_at = time.monotonic()
            try:
                for deletion in self._asked(asked, candidates, looked_at):
                    outcomes[deletion.object.name] = _told(deletion, outcomes.get(deletion.object.name))
            except XcomctlError as error:
                for each in asked:
                    outcomes.setdefault(each.object.name, Deletion(each.object, error=error.message))
                return list(outcomes.values()), error
            asked = tuple(each for each in asked if outcomes[each.object.name].slow_down)
            if not asked:
                self._width.widen()
                break
            self._width.narrow(begun_at)
            if pause is None or self._ending.wait(pause * random.uniform(0.5, 1.5)):  # noqa: S311
                break
            looked_at = -inf  # no look outlives a pause
        return list(outcomes.values()), None

    def _asked(
        self, removals: Sequence[Removal], candidates: Mapping[str, Candidate], looked_at: float
    ) -> Iterator[Deletion]:
        plan = self._account.plan
        spared = partial(self._spared, candidates, looked_at)
        return self._scope.store.remove(removals, plan.way, look_first=plan.look_first, spared=spared)

    def _spared(
        self, candidates: Mapping[str, Candidate], looked_at: float, removals: Sequence[Removal]
    ) -> Collection[str]:
        """Which must stay, told anew where it is long since anybody looked: a copy may take minutes."""
        if time.monotonic() - looked_at < FRESH_SECONDS:
            return ()
        self._lease.require()
        revived = self._revived([candidates[each.object.name] for each in removals])
        return {each.object.name for each in removals if candidates[each.object.name].placement.unique in revived}

    def _revived(self, candidates: Sequence[Candidate]) -> set[str]:
        """The unique parts of those objects that have a row now, or an owner that may still write.

        The databases are asked about one batch after the other, on one connection each.
        """
        placements: list[Placement] = [candidate.placement for candidate in candidates]
        catalogs, has_owner = self._scope.catalogs, any(placement.owner for placement in placements)
        with self._looking:
            found = {unique for catalog in catalogs for unique in catalog.still_referenced(placements)}
            owners = unfinished_owners(placements, catalogs, self._scope.now()) if has_owner else set()
        return found | {placement.unique for placement in placements if placement.owner in owners}


def _told(deletion: Deletion, before: Deletion | None) -> Deletion:
    """What became of an object that was asked for twice, where nobody knows whether the first request was done."""
    if before is None or not before.unknown:
        return deletion
    if deletion.vanished:
        return Deletion(deletion.object)
    return replace(before, slow_down=False) if deletion.changed else deletion
