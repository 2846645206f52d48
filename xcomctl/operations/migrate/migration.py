"""One migration from its lease to its report: count, let somebody agree, move row by row.

Each row moves by itself: its text goes into a new object under a name that never existed, and when that is surely there
the row is swapped for the URL, if it still is what was read. Whatever breaks in between leaves the row as it was and at
most an object that no row refers to, which gc collects. So to run it again is to go on.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from uuid import uuid4

from xcomctl.backend import payload
from xcomctl.backend.reference import Address, address_of
from xcomctl.catalog.catalog import Row
from xcomctl.catalog.engine import is_out_of_reach
from xcomctl.catalog.rewriting import Rewriter, Text
from xcomctl.errors import MetadataError, StorageError, XcomctlError
from xcomctl.ledger import Lease
from xcomctl.ledger.audit import write_run
from xcomctl.ledger.control import lead_here
from xcomctl.ledger.lease import held, holder, require_free
from xcomctl.operations.gc import Pace, Scope, Watch, new_operation_id
from xcomctl.operations.migrate.account import Account
from xcomctl.operations.migrate.judging import judged, kept_by_text
from xcomctl.operations.migrate.planning import make_plan
from xcomctl.operations.migrate.proof import Pair, read_back
from xcomctl.operations.migrate.terms import WRITING, Gate, Rules, Skip

BATCH = 50
BATCH_BYTES = 32 * 1024 * 1024
SAMPLED = 20
SAMPLED_BYTES = 1024 * 1024


@dataclass(slots=True)
class Migration:
    """A migration that has looked. Without a lease, as in a dry run, it can do nothing more."""

    account: Account
    scope: Scope
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
        rewriter = Rewriter(self.scope.catalog)
        with ThreadPoolExecutor(self.account.plan.rules.jobs) as pool:
            for batch in _batches(self._movable(rewriter)):
                self.account.stopped = pace()
                if self.account.stopped is not None:
                    return
                lease.keep()
                self._move(rewriter, batch, pool)
                yield from batch

    def _move(self, rewriter: Rewriter, batch: Sequence[Row], pool: ThreadPoolExecutor) -> None:
        """Some rows: read, then upload, then swap."""
        deadline = rewriter.now() + WRITING
        texts = [text for row in batch if (text := self._read(rewriter, row)) is not None]
        for text, address in zip(texts, pool.map(self._upload, texts), strict=True):
            if isinstance(address, Address):
                self._swap(rewriter, text, address, deadline)
            else:
                self.account.fail("write_failed", text.row, address)

    def _movable(self, rewriter: Rewriter) -> Iterator[Row]:
        rules = self.account.plan.rules
        rows = rewriter.rows(rules.selected, at_least=rules.threshold)
        return (row for row, skip in judged(rows, self.scope.catalog, self.scope.base) if skip is None)

    def _read(self, rewriter: Rewriter, row: Row) -> Text | None:
        """The text of a row that is to move; what keeps it is entered."""
        try:
            text = rewriter.text(row)
        except XcomctlError as error:
            self.account.fail("read_failed", row, error)
            return None
        skip = kept_by_text(text, self.account.plan.rules) if text is not None else Skip.CHANGED
        if skip is not None:
            self.account.skip(skip, len(text.data) if text is not None else row.xcom.size_bytes)
            return None
        return text

    def _upload(self, text: Text) -> Address | XcomctlError:
        """The address of a new object with this text, or what went wrong."""
        xcom, codec = text.row.xcom, self.account.plan.rules.codec
        leaf = f"{uuid4()}{payload.SUFFIX_OF[codec] if codec else ''}"
        address = address_of(self.scope.base, xcom.dag_id, xcom.run_id, xcom.task_id, leaf)
        if address is None:
            return XcomctlError("its names do not make the URL of an object")
        try:
            self.scope.store.create(address.location.name, payload.compress(text.data, codec) if codec else text.data)
        except FileExistsError:
            return XcomctlError(f"an object of a new name is there already: {address.location.url}")
        except XcomctlError as error:
            return error
        return address

    def _swap(self, rewriter: Rewriter, text: Text, address: Address, deadline: datetime) -> None:
        """Let the row refer to its object, if it still is what was uploaded; else gc collects the object."""
        try:
            swapped = rewriter.swap(text, json.dumps(address.text), deadline)
        except MetadataError as error:
            self.account.fail("swap_failed", text.row, error)
            self.account.perhaps_changed |= is_out_of_reach(error)
            return
        if not swapped:
            self.account.skip(Skip.CHANGED, len(text.data))
            return
        self.account.moved(len(text.data))
        self._remember(Pair(text.data.decode(errors="surrogatepass"), address.text))

    def _remember(self, pair: Pair) -> None:
        """Keep a random sample of what was moved, each row as likely as any other."""
        if len(pair.value) > SAMPLED_BYTES:
            return
        self._moved += 1
        if len(self._sample) < SAMPLED:
            self._sample.append(pair)
        elif (place := random.randrange(self._moved)) < SAMPLED:  # noqa: S311
            self._sample[place] = pair

    def _prove(self) -> None:
        """Let Airflow read some of what was moved."""
        if not self._sample or Gate.BACKEND in self.account.plan.rules.allow:
            return
        for pair, wrong in zip(self._sample, read_back(self._sample), strict=True):
            if wrong is not None:
                self.account.complain("not_read_back", f"{pair.reference}: {wrong}")

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


@contextmanager
def migrating(scope: Scope, rules: Rules, watch: Watch = lambda step, done: None) -> Iterator[Migration]:
    """Look at all rows, and hold a lease beside other migrations but not beside gc, unless this is a dry run.

    Raises `MetadataError`, `StorageError`, and `LockedError` while gc is at work.
    """
    operation_id = new_operation_id()
    mine = holder(operation_id, "migrate", shared=True)
    if rules.dry_run:
        require_free(scope.control, mine)
        yield Migration(Account(make_plan(scope, rules, watch), operation_id), scope, None)
        return
    with held(scope.control, mine) as lease:
        yield Migration(Account(make_plan(scope, rules, watch), operation_id), scope, lease)


def _batches(rows: Iterator[Row]) -> Iterator[Sequence[Row]]:
    """Some rows at a time, fewer where they are large."""
    batch: list[Row] = []
    size_bytes = 0
    for row in rows:
        if batch and (len(batch) == BATCH or size_bytes + row.xcom.size_bytes > BATCH_BYTES):
            yield batch
            batch, size_bytes = [], 0
        batch.append(row)
        size_bytes += row.xcom.size_bytes
    if batch:
        yield batch
