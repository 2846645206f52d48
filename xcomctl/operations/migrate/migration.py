"""One migration from its lease to its report: count, let somebody agree, move row by row.

Each row moves by itself: its value is put where it is to be, a new object under a name that never existed, and when it
is surely there the row is swapped for what it is to hold, if it still is what was read. Whatever breaks in between
leaves the row as it was and at most an object that no row refers to, which gc collects. So to run it again is to go on.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial

from xcomctl.backend import payload
from xcomctl.backend.reference import parse
from xcomctl.catalog.catalog import Row
from xcomctl.catalog.engine import is_out_of_reach
from xcomctl.catalog.rewriting import READ_AT_ONCE, Rewriter, Text
from xcomctl.errors import MetadataError, StorageError, XcomctlError
from xcomctl.ledger import Lease
from xcomctl.ledger.audit import write_run
from xcomctl.ledger.control import lead_here
from xcomctl.ledger.lease import held, holder, require_free
from xcomctl.operations.concurrency import weighed
from xcomctl.operations.gc import Pace, Scope, Watch, new_operation_id
from xcomctl.operations.migrate.account import Account
from xcomctl.operations.migrate.judging import judged
from xcomctl.operations.migrate.move import Carried, ImmovableError, Move
from xcomctl.operations.migrate.planning import make_plan
from xcomctl.operations.migrate.proof import read_back
from xcomctl.operations.migrate.terms import WRITING, Failure, Gate, Pair, Rules, Skip
from xcomctl.operations.rows import batches

BATCH = 1000
BATCH_BYTES = 256 * 1024 * 1024
"""The most that one step of a run is about, as stored: between two it may be stopped."""

IN_FLIGHT_BYTES = 64 * 1024 * 1024
"""The most that is held of all values, but for one that is larger by itself."""

SWAPS_AT_ONCE = 4
SAMPLED = 20
SAMPLED_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True)
class _Settled:
    """What became of one row: what was made for it, or why nothing was; and whether it now holds that."""

    text: Text
    made: Carried | Skip | ImmovableError
    swapped: bool | MetadataError = False


@dataclass(slots=True)
class Migration:
    """A migration that has looked. Without a lease, as in a dry run, it can do nothing more."""

    account: Account
    scope: Scope
    move: Move
    lease: Lease | None
    _moved: int = 0
    _sample: list[Pair] = field(default_factory=list)

    def carry_out(self, pace: Pace = lambda: None) -> Iterator[Row]:
        """Move what can be moved, and yield each row when it is settled; an error is raised only before the first."""
        if self.lease is None:
            return
        try:
            yield from self._steps(self.lease, pace)
            self._prove()
        except XcomctlError as error:
            if not self.account.has_changed:
                raise
            self.account.complain("broke_off", error.message)
        with suppress(StorageError):  # the history lacks it then, and nothing else does
            lead_here(self.scope.control, self.scope.base)
            write_run(self.scope.control, self.account.operation_id, self._facts())

    def _steps(self, lease: Lease, pace: Pace) -> Iterator[Row]:
        rows = judged(self.move.rows(), self.move.kept, self.scope.catalog)
        movable = (row for row, skip in rows if skip is None)
        jobs = self.account.plan.rules.jobs
        with closing(Rewriter(self.scope.catalog, SWAPS_AT_ONCE)) as rewriter, ThreadPoolExecutor(jobs) as pool:
            rewriter.require_rights()
            for batch in batches(movable, BATCH, BATCH_BYTES):
                self.account.stopped = pace()
                if self.account.stopped is not None:
                    return
                lease.keep()
                self._batch(rewriter, batch, pool)
                yield from batch

    def _batch(self, rewriter: Rewriter, batch: Sequence[Row], pool: ThreadPoolExecutor) -> None:
        """Some rows: read, carried to where they are to be, and swapped, each as soon as it can be."""
        texts = self._read(rewriter, batch)
        for done in weighed(pool, partial(self._settled, rewriter), texts, _weight, IN_FLIGHT_BYTES):
            self._enter(done)

    def _read(self, rewriter: Rewriter, batch: Sequence[Row]) -> Iterator[tuple[Text, datetime]]:
        """The values that are to move, and until when their rows may change."""
        for start in range(0, len(batch), READ_AT_ONCE):
            some = batch[start : start + READ_AT_ONCE]
            deadline = rewriter.now() + WRITING
            for row, text in self._texts(rewriter, some):
                if text is not None:
                    yield text, deadline
                else:
                    self.account.fail(Failure.CHANGED, row, XcomctlError("it was deleted while it was moved"))
                del text

    def _texts(self, rewriter: Rewriter, rows: Sequence[Row]) -> Iterator[tuple[Row, Text | None]]:
        """The values of some rows; where they cannot be read together, one by one."""
        left = list(rows)
        with suppress(XcomctlError):
            for row, text in rewriter.texts(rows):
                left.remove(row)
                yield row, text
        for row in left:
            try:
                found = rewriter.text(row)
            except XcomctlError as error:
                self.account.fail(Failure.READ_FAILED, row, error)
            else:
                yield row, found

    def _settled(self, rewriter: Rewriter, read: tuple[Text, datetime]) -> _Settled:
        """One row: it holds what was made for it, if it still is what was read; else gc collects what was written."""
        text, deadline = read
        made = self._carried(rewriter, text)
        if not isinstance(made, Carried):
            return _Settled(text, made)
        try:
            return _Settled(text, made, rewriter.swap(text, made.new, deadline))
        except MetadataError as error:
            return _Settled(text, made, error)

    def _carried(self, rewriter: Rewriter, text: Text) -> Carried | Skip | ImmovableError:
        try:
            return self.move.carried(text, rewriter)
        except ImmovableError as error:
            return error
        except XcomctlError as error:
            return ImmovableError(Failure.WRITE_FAILED, error.message)

    def _enter(self, done: _Settled) -> None:
        """Count what became of one row."""
        text, made = done.text, done.made
        if isinstance(made, Skip):
            self.account.skip(made, len(text.data))
        elif isinstance(made, ImmovableError):
            self.account.fail(made.code, text.row, made)
        elif isinstance(done.swapped, MetadataError):
            self.account.fail(Failure.SWAP_FAILED, text.row, done.swapped)
            self.account.perhaps_changed |= is_out_of_reach(done.swapped)
        elif done.swapped:
            self.account.moved(text, made)
            self._remember(made)
        else:
            message = "it was pushed anew or deleted while it was moved"
            self.account.fail(Failure.CHANGED, text.row, XcomctlError(message))

    def _remember(self, made: Carried) -> None:
        """Keep a random sample of what was moved to storage, each row as likely as any other."""
        if made.reference is None or made.size_bytes > SAMPLED_BYTES:
            return
        self._moved += 1
        place = len(self._sample) if len(self._sample) < SAMPLED else random.randrange(self._moved)  # noqa: S311
        if place < SAMPLED:
            value = made.value.decode(errors="surrogatepass") if made.value is not None else None
            self._sample[place : place + 1] = [Pair(made.reference, value)]

    def _prove(self) -> None:
        """Let Airflow read some of what was moved."""
        if not self._sample or Gate.BACKEND in self.account.plan.rules.allow:
            return
        pairs = [whole for pair in self._sample if (whole := self._whole(pair)) is not None]
        for pair, wrong in zip(pairs, read_back(pairs), strict=True):
            if wrong is not None:
                self.account.complain("not_read_back", f"{pair.reference}: {wrong}")

    def _whole(self, pair: Pair) -> Pair | None:
        """The pair with its value, which a store may have copied and nobody here has read; None where it is no text."""
        address = parse(pair.reference)
        if pair.value is not None or address is None:
            return pair
        try:
            with self.scope.store.open(address.location.name) as body:
                data = payload.decompress(body.read(), address.location.name).data
            return Pair(pair.reference, data.decode())
        except (XcomctlError, FileNotFoundError, UnicodeDecodeError) as error:
            self.account.complain("not_read_back", f"{pair.reference}: {error}")
            return None

    def _facts(self) -> dict[str, object]:
        plan = self.account.plan
        return {
            "command": "migrate",
            "started_at": plan.seen_at.isoformat(),
            "base": plan.base.location.url,
            "rules": plan.rules.facts(),
            "report": self.account.document(),
            "finished_at": self.scope.now().isoformat(),
        }


def _weight(read: tuple[Text, datetime]) -> int:
    return len(read[0].data)


@contextmanager
def migrating(scope: Scope, rules: Rules, move: Move, watch: Watch = lambda step, done: None) -> Iterator[Migration]:
    """Look at all rows, and hold a lease beside other migrations but not beside gc, unless this is a dry run.

    Raises `MetadataError`, `StorageError`, and `LockedError` while gc is at work.
    """
    operation_id = new_operation_id()
    mine = holder(operation_id, "migrate", shared=True)
    if rules.dry_run:
        require_free(scope.control, mine)
        yield Migration(Account(make_plan(scope, rules, move, watch), operation_id), scope, move, None)
        return
    with held(scope.control, mine) as lease:
        yield Migration(Account(make_plan(scope, rules, move, watch), operation_id), scope, move, lease)
