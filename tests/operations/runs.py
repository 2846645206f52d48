"""Runs of gc and of restore in a world that goes on meanwhile: what befalls them, and whether what they say is true."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from fractions import Fraction
from itertools import count
from typing import NamedTuple
from unittest.mock import patch

from sqlalchemy import event
from sqlalchemy.exc import OperationalError

from tests.lab.memory import Bucket, Crash, Deed, Fault, MemoryStore, is_gone
from tests.operations.life import READING, Life, Progress
from xcomctl.backend.reference import OWN_FOLDER
from xcomctl.catalog import Catalog, database, open_catalog
from xcomctl.errors import XcomctlError
from xcomctl.ledger import Control, control_folder, lease
from xcomctl.ledger.audit import TRASH
from xcomctl.ledger.control import CLAIM
from xcomctl.model import Deletion, Outcome
from xcomctl.operations import restoring
from xcomctl.operations.gc import Account, Gate, Limit, Pace, Rules, Scope, batches, collecting, collection
from xcomctl.operations.restoring import Restoration

RULES = Rules(
    older_than=timedelta(hours=24),
    confirm_after=timedelta(hours=20),
    keep_trash=timedelta(days=14),
    max_delete=Limit(share=Fraction(1)),
    include_unknown_dags=("*",),
)

BATCH = 2
"""So few that a run has several batches."""


class Point(NamedTuple):
    """A step of a run: its n-th of a kind. Queries are a kind, and requests about gc's own objects others."""

    kind: str
    number: int


class Trouble(NamedTuple):
    """What happens just before a step: to the request itself, or elsewhere in the world.

    A refusal that lasts is the end of the network: nothing gets through to the bucket any more.
    """

    point: Point
    what: Fault | Callable[[], None]
    lasts: bool = False


@dataclass(slots=True)
class Run:
    """One process of xcomctl, and what became of it."""

    bucket: Bucket
    number: int
    folder: str
    began_at: datetime
    troubles: Sequence[Trouble]
    store: MemoryStore = field(init=False)
    asked: Counter[str] = field(default_factory=Counter)
    is_cut_off: bool = False
    is_disturbed: bool = False
    was_killed: bool = False
    error: XcomctlError | None = None
    account: Account | None = None
    deletions: list[Deletion] = field(default_factory=list)
    restoration: Restoration | None = None

    def __post_init__(self) -> None:
        self.store = MemoryStore(self.bucket, self.befalls)

    def befalls(self, verb: str, name: str) -> Fault | None:
        """What happens now, in the order in which it was declared; a fault of this request is the end of it."""
        is_own = not name.startswith(self.folder) or f"/{OWN_FOLDER}/" in name
        kind = f"own {verb}" if is_own else verb
        here = Point(kind, self.asked[kind])
        self.asked[kind] += 1
        for trouble in self.troubles:
            if trouble.point != here:
                continue
            self.is_disturbed = True
            if isinstance(trouble.what, Fault):
                self.is_cut_off |= trouble.lasts and trouble.what is Fault.REFUSED
                return trouble.what
            trouble.what()
        return Fault.REFUSED if self.is_cut_off else None

    def befalls_query(self, *_: object) -> None:
        """The same of a query, which may fail or be the last that the process does."""
        fault = self.befalls("query", self.folder)
        if fault in (Fault.KILLED, Fault.KILLED_AFTER):
            self.store.kill()
        if fault is not None and not self.is_cut_off:
            raise OperationalError("SELECT", {}, Exception("the server closed the connection unexpectedly"))

    @property
    def is_done(self) -> bool:
        """Whether it came to its end, and changed what it wanted to."""
        ended = self.error is None and not self.was_killed and self.account is not None
        return ended and not self.account.plan.refusals and not self.account.failures

    def deeds(self, *verbs: str, below: str) -> list[Deed]:
        """What this run really did to the names below a prefix."""
        return [deed for deed in self.store.deeds if deed.verb in verbs and deed.name.startswith(below)]


class Operator:
    """Whoever runs gc and restore over one `Life`. After each run what it says is compared with what it did."""

    def __init__(self, life: Life, rules: Rules = RULES) -> None:
        self.life = life
        self.rules = rules
        self.control = control_folder(life.base, None)
        self.must_allow = False
        self.back_at: dict[str, datetime] = {}
        self._at_work: list[Run] = []
        self._numbers = count(1)

    @contextmanager
    def in_this_world(self) -> Iterator[None]:
        """Let processes, clocks and the names of operations be those of this world, and batches and pages small."""
        clock = self.life.clock
        with ExitStack() as patches:
            for where, name, value in (
                (lease, "_clocks", lambda: {"wall": clock.now.timestamp()}),
                (lease, "_this_process", lambda: f"here/{self._process(self._at_work[-1].number)}"),
                (lease, "_process", self._process),
                (collection, "new_operation_id", self._operation_id),
                (restoring, "new_operation_id", self._operation_id),
                (batches, "BATCH", BATCH),
                (batches, "AT_ONCE", 1),  # so that its steps come in one order
                (restoring, "BATCH", BATCH),
                (database, "ROWS_PER_PAGE", 2),
            ):
                patches.enter_context(patch.object(where, name, value))
            yield

    def collect(self, troubles: Sequence[Trouble] = (), *, batches: int | None = None, dry_run: bool = False) -> Run:
        """One run of gc. What it says is compared with what it did, and what follows for the next is noted."""
        set_backs = self.life.set_backs
        run = self._collect(self.life.bucket, troubles, batches, dry_run)
        require_truth(run, self.life.folder, self.control)
        if run.account is not None:
            gates = {refusal.gate for refusal in run.account.plan.refusals}
            self.must_allow |= Gate.RESTORED_DATABASE in gates
            if run.is_done and not dry_run and set_backs == self.life.set_backs:
                self.must_allow = False
                self.life.noticed()
        return run

    def _collect(self, bucket: Bucket, troubles: Sequence[Trouble], batches: int | None, dry_run: bool) -> Run:
        rules = replace(self.rules, allow=self.rules.allow | self._lifted(), dry_run=dry_run)
        with self._process_of_run(bucket, troubles) as (run, scope), collecting(scope, rules) as collected:
            run.account = collected.account
            if not collected.account.plan.refusals and not dry_run:
                for deletion in collected.carry_out(_pace(batches)):
                    run.deletions.append(deletion)
        return run

    def rehearsed(self, operation_id: str | None = None) -> Counter[str]:
        """How many steps of each kind a run of gc, or a restore, would have now if nothing befell it."""
        bucket = self.life.bucket.fork()
        if operation_id is None:
            return self._collect(bucket, (), None, False).asked
        return self.restore(operation_id, bucket=bucket).asked

    def restore(self, operation_id: str, troubles: Sequence[Trouble] = (), bucket: Bucket | None = None) -> Run:
        """Undo one run of gc."""
        with (
            self._process_of_run(bucket or self.life.bucket, troubles) as (run, scope),
            restoring.restoring(scope, operation_id, dry_run=False) as run.restoration,
        ):
            returns = list(run.restoration.carry_out())
            back = {each.kept.object.name for each in returns if each.outcome is Outcome.RESTORED}
            assert back <= {deed.name for deed in run.store.deeds if deed.verb == "restore"}
        return run

    def operations(self, bucket: Bucket) -> list[str]:
        """The runs that may have removed something, the oldest first."""
        audit = f"{self.control}audit/"
        return sorted({n[len(audit) :].split("/")[0] for n in bucket.below(audit) if n.endswith(".intent.jsonl")})

    def all_restored(self) -> Bucket:
        """What the bucket would be if every operation were undone."""
        bucket = self.life.bucket.fork()
        for operation_id in self.operations(bucket):
            run = self.restore(operation_id, bucket=bucket)
            assert run.error is None, run.error
        return bucket

    @contextmanager
    def _process_of_run(self, bucket: Bucket, troubles: Sequence[Trouble]) -> Iterator[tuple[Run, Scope]]:
        """A process that may be killed, or end with an error, and takes what it holds open with it."""
        life = self.life
        run = Run(bucket, next(self._numbers), life.folder, life.clock.now, troubles)
        self._at_work.append(run)
        life.runs_at_work += 1
        catalog = open_catalog(life.world.database.url, None, life.base)
        event.listen(catalog.database.engine, "before_cursor_execute", run.befalls_query)
        try:
            yield run, self._scope(catalog, run.store)
        except Crash:
            run.was_killed = True
        except XcomctlError as error:
            run.error = error
        finally:
            catalog.database.engine.dispose()
            self._at_work.remove(run)
            life.mend_table()
            if bucket is life.bucket:
                self._note(run)
            life.run_ended()

    def _lifted(self) -> set[Gate]:
        """The gates that one may lift, knowing why they are shut.

        One was, by the run before, because of a backup. The other will be, where gc has taken all that a backup's rows
        refer to.
        """
        none_belongs = not any(name in self.life.bucket.objects for name in self.life.referred())
        lifted = {Gate.RESTORED_DATABASE} if self.must_allow else set()
        return lifted | ({Gate.NO_OVERLAP} if none_belongs else set())

    def _scope(self, catalog: Catalog, store: MemoryStore) -> Scope:
        base, clock = self.life.base, self.life.clock
        return Scope((catalog,), store, base, Control(store, self.control), machine_time=lambda: clock.now)

    def _note(self, run: Run) -> None:
        """Remember what went and what came back. What came back goes only after two sightings more."""
        if run.account is not None and run.deeds("write", below=f"{self.control}{CLAIM}"):
            (epoch,) = run.account.plan.claim.epochs
            self.life.claimed = Progress(epoch.newest_run or 0, epoch.newest_log or 0)
        for deed in run.store.deeds:
            if deed.verb == "restore":
                self.back_at[deed.name] = self.life.clock.now
            elif deed.verb == "remove" and not deed.name.startswith(f"{self.life.folder}{OWN_FOLDER}/"):
                self.life.removed[deed.name] = run.began_at
                self._require_waited(deed)

    def _require_waited(self, deed: Deed) -> None:
        """Whoever read its row has opened it, and who brought it back has seen it for two sightings."""
        life, forever = self.life, timedelta(days=9999)
        waited = deed.at - self.back_at.get(deed.name, deed.at - forever)
        assert waited >= self.rules.confirm_after, f"{deed.name} was brought back {waited} ago"
        if deed.name not in life.revived_meanwhile | life.revived_unnoticed:
            unread = deed.at - life.last_referred.get(deed.name, deed.at - forever)
            assert unread >= READING, f"whoever read the row of {deed.name} {unread} ago does not find it"

    def _process(self, number: int) -> str:
        """A process as the system tells of it: nothing once it is no more."""
        return f"{number}@lab" if any(run.number == number for run in self._at_work) else ""

    def _operation_id(self) -> str:
        return f"{self.life.clock.now:%Y%m%dT%H%M%SZ}-{next(self._numbers):08}"


def require_truth(run: Run, folder: str, control: str) -> None:
    """What a run says it did is what it did."""
    account = run.account
    own = f"{folder}{OWN_FOLDER}/"
    went = {deed.name: len(deed.body) for deed in run.deeds("remove", below=folder) if not deed.name.startswith(own)}
    if account is None or run.error is not None:
        assert not went, "an error is raised only before the first change"
        return
    told = {deletion.object.name for deletion in run.deletions if is_gone(deletion)}
    assert told <= went.keys()
    assert (account.deleted.count, account.deleted.bytes) == (len(told), sum(went[name] for name in told))
    doubtful = {deletion.object.name for deletion in run.deletions if deletion.unknown}
    if not run.was_killed and went.keys() - told - doubtful:
        assert account.failures, "what went without a word is a failure"
    if run.is_disturbed or run.was_killed:
        return
    assert went.keys() == told
    assert account.healed.count == len(run.deeds("restore", below=folder))
    freed = run.deeds("discard", below=f"{control}{TRASH}")
    assert (account.freed.count, account.freed.bytes) == (len(freed), sum(len(deed.body) for deed in freed))
    if account.plan.refusals or account.plan.rules.dry_run:
        assert not went and not run.deeds("restore", "copy", below="")
    else:
        assert account.plan.look_first == (run.bucket.kind.condition != "honoured" and not run.bucket.kind.is_file)


def _pace(batches: int | None) -> Pace:
    """Stop after so many batches."""
    asked = count()
    return lambda: "time-budget" if batches is not None and next(asked) >= batches else None
