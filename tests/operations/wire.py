"""gc on a bad line: a small Airflow in a bucket behind a proxy, a fault at one request, and what is true afterwards.

A trial is one world and what runs in it. A phase says what is done there before, what is disturbed, and what the world
looks like once a clean run has completed the work. What is wrong is told in sentences, so that a test may try many
points and name all that fail.
"""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import partial
from typing import TypeAlias
from unittest import mock
from uuid import uuid4

from botocore import retryhandler
from s3fs import S3FileSystem

from tests.lab import s3
from tests.lab.database import Databases
from tests.lab.proxy import Fault, FaultProxy, Rule, Seen
from tests.lab.world import World
from tests.operations.scene import AT_ONCE, BASE_FOLDER, Scene
from xcomctl.backend.reference import HALF_WRITTEN, OWN_FOLDER
from xcomctl.backend.storage import Store
from xcomctl.backend.storage.s3 import S3Store
from xcomctl.catalog import Catalog
from xcomctl.errors import ExitCode, XcomctlError
from xcomctl.ledger import lease
from xcomctl.ledger.audit import records
from xcomctl.operations import restoring
from xcomctl.operations.gc import Account, Rules, batches
from xcomctl.operations.restoring import Restoration

PATIENCE_SECONDS = 0.7
"""How long the client of a line waits for an answer."""

TRIES = 2
"""How often it asks at most."""

TWO_SIGHTINGS = replace(AT_ONCE, single_pass=False, confirm_after=timedelta(seconds=-5))
"""As cron runs it, without the time between; a Date header has whole seconds."""

NO_TRASH = replace(TWO_SIGHTINGS, keep_trash=timedelta(seconds=-5))
NOTHING_NEW = replace(NO_TRASH, older_than=timedelta(days=1))
"""Empty the trash, and mark nothing."""

Contents: TypeAlias = Mapping[str, bytes]
"""Bodies by key."""


@dataclass(frozen=True, slots=True)
class Line:
    """A server and a proxy in front of it; one client goes there directly, one by the proxy and soon loses patience."""

    raw: s3.Bucket
    proxy: FaultProxy
    direct: S3FileSystem
    hasty: S3FileSystem

    def bucket(self) -> s3.Bucket:
        """A fresh one, seen without the proxy."""
        name = f"xcomctl-{uuid4().hex[:16]}"
        self.raw.client.create_bucket(Bucket=name)
        return replace(self.raw, name=name)


@contextmanager
def line(server: s3.S3Server) -> Iterator[Line]:
    """The clients are the costly part, and serve every trial of a module."""
    with FaultProxy(int(server.endpoint.rpartition(":")[2])) as proxy:
        bucket = s3.bucket(server)
        hasty = {"retries": {"total_max_attempts": TRIES}, "read_timeout": PATIENCE_SECONDS}
        behind = replace(bucket, server=replace(server, endpoint=proxy.endpoint))
        yield Line(bucket, proxy, _client(bucket.options), _client({**behind.options, "config_kwargs": hasty}))


def _client(options: Mapping[str, object]) -> S3FileSystem:
    client = S3FileSystem(**options, use_listings_cache=False, skip_instance_cache=True)
    with mock.patch.object(retryhandler, "delay_exponential", lambda *_, **__: 0.01):
        client.connect()
    return client


@dataclass(frozen=True, slots=True)
class Ran:
    """How one run ended: as the shell is told, and as it says itself unless an error ended it."""

    code: int
    told: Account | Restoration | None
    message: str = ""
    requests: Sequence[Seen] = ()

    @property
    def failed(self) -> set[str]:
        """The URLs of what it failed at."""
        return {failure["url"] for failure in (self.told.failures if self.told else ()) if "url" in failure}

    @property
    def says(self) -> str:
        """All that it gives as a reason."""
        plan = self.told.plan if isinstance(self.told, Account) else None
        gates = [f"{refusal.gate.value}: {refusal.message}" for refusal in (plan.refusals if plan else ())]
        return "; ".join([self.message, *gates])


@dataclass
class Stock:
    """What lies below the base path of a scene: what must never go, and what gc may take. All bodies differ."""

    scene: Scene
    kept: dict[str, bytes] = field(default_factory=dict)
    orphans: dict[str, bytes] = field(default_factory=dict)

    @classmethod
    def of(cls, scene: Scene, odd: str = "\t") -> Stock:
        """Rows plain and nested, a stranger, a DAG that nobody knows, three orphans; `odd` is in the name of one."""
        stock = cls(scene)
        stock.live("run 1", json.dumps)
        stock.live("run 2", lambda url: json.dumps({"a": [json.dumps(url)]}))
        for name in ("readme.txt", f"never heard of/r/t/{uuid4()}"):
            stock._put(stock.kept, name)
        for run_id in ("gone", "gone [a*]?#", f"gone {odd}"):
            stock.leak(run_id)
        return stock

    def live(self, run_id: str, spelled: Callable[[str], str]) -> None:
        """An object with its row."""
        key = self._put(self.kept, f"d/{run_id}/t/{uuid4()}")
        self.refer(key, run_id, spelled)

    def leak(self, run_id: str) -> str:
        """An object without a row; its key."""
        return self._put(self.orphans, f"d/{run_id}/t/{uuid4()}")

    def refer(self, key: str, run_id: str, spelled: Callable[[str], str] = json.dumps) -> None:
        """A row for an object."""
        self.scene.world.push("d", run_id, "t", value=spelled(f"{self.scene.raw.url}/{key}"))

    def _put(self, into: dict[str, bytes], name: str) -> str:
        key = f"{BASE_FOLDER}/{name}"
        into[key] = json.dumps(name).encode()
        self.scene.put(name, into[key])
        return key

    @property
    def everything(self) -> dict[str, bytes]:
        return {**self.kept, **self.orphans}

    def keys(self) -> set[str]:
        """What is there now, but for what is gc's own."""
        return {key for key in self.scene.raw.keys(f"{BASE_FOLDER}/") if OWN_FOLDER not in key}

    def contents(self) -> dict[str, bytes]:
        return {key: self.scene.raw.get(key) for key in self.keys()}

    def own(self, part: str) -> set[str]:
        """gc's own objects of one part: `lease`, `canary`, `trash`."""
        return {key for key in self.scene.raw.keys("pre/") if f"/{part}/" in key and OWN_FOLDER in key}


@dataclass
class Trial:
    """One world in a bucket of its own, and what runs in it, each run as if in a process of its own."""

    stock: Stock
    catalog: Catalog
    opened: Callable[[], Store]
    """The store as a fresh process knows it: not at all."""
    proxy: FaultProxy | None = None
    proxied: Callable[[], Store] | None = None

    @property
    def scene(self) -> Scene:
        return self.stock.scene

    def collect(self, rules: Rules = TWO_SIGHTINGS) -> Ran:
        return self._run(lambda: self.scene.collect(rules, [self.catalog], self.opened()))

    def restore(self, operation_id: str) -> Ran:
        def run() -> Restoration:
            scope = self.scene.scope([self.catalog], self.opened())
            with restoring.restoring(scope, operation_id, dry_run=False) as restoration:
                list(restoration.carry_out())
            return restoration

        return self._run(run)

    def restore_all(self) -> list[Ran]:
        """Undo every operation."""
        return [self.restore(each) for each in self.operations()]

    def operations(self) -> list[str]:
        """Those that removed something, the oldest first."""
        control = self.scene.scope([self.catalog]).control
        return [record.operation_id for record in records(control) if record.has_removed]

    def _run(self, run: Callable[[], Account | Restoration]) -> Ran:
        begun = len(self.requests)
        try:
            with other_process(), small_batches():
                told = run()
        except XcomctlError as error:
            return Ran(error.exit_code, None, error.message, self.requests[begun:])
        except Exception as error:
            return Ran(ExitCode.NO, None, f"a traceback: {error!r}", self.requests[begun:])
        return Ran(told.exit_code, told, str(told.failures or ""), self.requests[begun:])

    @property
    def requests(self) -> list[Seen]:
        return self.proxy.requests if self.proxy else []


@contextmanager
def other_process() -> Iterator[None]:
    """To everybody, what runs in this block is a process of its own, which has ended when the block has."""
    where = lease._this_process().rpartition("/")[0]
    with subprocess.Popen(["sleep", "600"]) as stand_in:
        identity = f"{where}/{lease._process(stand_in.pid)}"
        try:
            with mock.patch.object(lease, "_this_process", lambda: identity):
                yield
        finally:
            stand_in.kill()


@contextmanager
def small_batches(size: int = 2) -> Iterator[None]:
    with mock.patch.object(batches, "BATCH", size), mock.patch.object(restoring, "BATCH", size):
        yield


@contextmanager
def trial_on(line: Line, databases: Databases, way: str) -> Iterator[Trial]:
    """A trial in a fresh bucket, whose way back is `trash` or `versions`.

    A key that XML cannot carry is deleted by a request of its own. With versions there is none: no server of the lab
    lists the versions of such a key, and aiohttp repeats a DELETE in silence, so that its result looks like somebody
    else's.
    """
    bucket = line.bucket()
    if way == "versions":
        on = {"Status": "Enabled"}
        bucket.client.put_bucket_versioning(Bucket=bucket.name, VersioningConfiguration=on)
    with databases.fresh("sqlite-3.3") as database, World(database) as world:
        stock = Stock.of(Scene(database, world, bucket), odd="\a" if way == "trash" else "x y+%20")
        direct, hasty = (partial(S3Store, bucket.name, client) for client in (line.direct, line.hasty))
        yield Trial(stock, stock.scene.catalog, direct, line.proxy, hasty)


@dataclass(frozen=True, slots=True)
class Phase:
    """What is disturbed. `prepare` says what ran before, `act` is disturbed, `finish` are clean runs afterwards.

    `end` is what lies below the base path in the end; `undone` says that all that was removed can still come back.
    """

    prepare: Callable[[Trial], object]
    act: Callable[[Trial], Ran]
    finish: Callable[[Trial], Sequence[Ran]]
    end: Callable[[Stock], Contents]
    undone: bool = True


def _swept(trial: Trial) -> None:
    for _ in range(2):
        assert trial.collect().code == 0


def _missed(trial: Trial) -> None:
    """One of the objects that were swept has a row again."""
    _swept(trial)
    key = min(trial.stock.orphans)
    trial.stock.refer(key, "again")
    trial.stock.kept[key] = trial.stock.orphans.pop(key)


def _collected(trial: Trial, rules: Rules = TWO_SIGHTINGS) -> list[Ran]:
    """Until all is gone that has been seen twice."""
    first = trial.collect(rules)
    marked = isinstance(first.told, Account) and first.told.tallies["marked"].count
    return [first, trial.collect(rules)] if marked else [first]


def _last_removal(trial: Trial) -> str:
    return trial.operations()[-1]


PHASES: Mapping[str, Phase] = {
    "mark": Phase(lambda trial: None, Trial.collect, _collected, lambda stock: stock.kept),
    "sweep": Phase(Trial.collect, Trial.collect, _collected, lambda stock: stock.kept),
    "heal": Phase(_missed, Trial.collect, _collected, lambda stock: stock.kept),
    "empty": Phase(
        _swept,
        lambda trial: trial.collect(NO_TRASH),
        lambda trial: _collected(trial, NO_TRASH),
        lambda stock: stock.kept,
        undone=False,
    ),
    "restore": Phase(
        _swept,
        lambda trial: trial.restore(_last_removal(trial)),
        Trial.restore_all,
        lambda stock: stock.everything,
    ),
}


@dataclass(frozen=True, slots=True)
class Bad:
    """A fault, and how many requests in a row meet it; None is all from there on.

    `mends` says that the client asks again and is answered, so that nobody need notice. `lasts` is how long a request
    may still take effect after the run has ended.
    """

    fault: Callable[[], Fault]
    times: int | None = 1
    mends: bool = False
    lasts: float = 0


def undisturbed(trial: Trial, phase: Phase) -> Sequence[Seen]:
    """The requests of the disturbed step when nothing disturbs it."""
    _, ran = struck(trial, phase, [])
    assert ran.code == 0, ran.message
    return ran.requests


PARTS = ("lease", "canary", "marks", "claim", "run.json", "intent", "outcome", "returned", "emptied", "trash", "audit")


def kind(seen: Seen) -> str:
    """What a request is for, in two words: `PUT lease`, `LIST base`, `POST delete`; `TIME` is asked by a look."""
    place = f"{seen.path}?{seen.query}"
    verbs = {"max-keys=1&": "TIME", "list-type": "LIST", "versions": "VERSIONS", "versionId": "UNHIDE"}
    verb = next((verb for mark, verb in verbs.items() if mark in seen.query), seen.method)
    rest = {"LIST": "base", "POST": "delete"}.get(verb, "versioning" if seen.query == "versioning" else "object")
    part = next((part for part in PARTS if part in place), rest)
    return verb if verb in ("TIME", "UNHIDE") else f"{verb} {part.removesuffix('.json')}"


@dataclass(frozen=True, slots=True)
class Before:
    """What was there before a step."""

    keys: frozenset[str]
    trash: frozenset[str]

    @classmethod
    def of(cls, trial: Trial) -> Before:
        return cls(frozenset(trial.stock.keys()), frozenset(trial.stock.own("trash")))


def disturbed(trial: Trial, phase: Phase, bad: Bad, number: int) -> Iterator[str]:
    """All that is wrong after a fault at the request of this number; then after clean runs, and after an undo."""
    before, ran = struck(trial, phase, [Rule(bad.fault(), after=number - 1, first=bad.times)], bad.lasts)
    met = ran.requests[number - 1] if number <= len(ran.requests) else None
    wrong = [*lost(trial.stock), *untrue(trial.stock, before, ran)]
    if bad.mends and ran.code != 0:
        wrong.append(f"asking again was of no use: {ran.code} {ran.message}")
    if not bad.lasts and (bad.mends or (bad.times and met and not _is_discard(met))):
        wrong.extend(litter(trial.stock))
    wrong.extend(unfinished(trial, phase))
    yield from (f"request {number}, {met}: {each}" for each in wrong)


def struck(trial: Trial, phase: Phase, rules: list[Rule], lasts: float = 0) -> tuple[Before, Ran]:
    """Take the disturbed step of a phase by the proxy, under these rules; all else goes directly."""
    assert trial.proxy is not None and trial.proxied is not None
    phase.prepare(trial)
    before = Before.of(trial)
    trial.proxy.rules = rules
    try:
        ran = phase.act(replace(trial, opened=trial.proxied))
    finally:
        trial.proxy.rules = []
    time.sleep(lasts)
    return before, ran


def _is_discard(seen: Seen) -> bool:
    """Whether this is a part of removing what gc has put there."""
    return seen.query in ("delete", "versioning") or seen.query.startswith("versions")


def unfinished(trial: Trial, phase: Phase) -> Iterator[str]:
    """What is wrong after clean runs, and after everything was undone."""
    for ran in phase.finish(trial):
        if ran.code != 0:
            yield f"a clean run ends with {ran.code}: {ran.says}"
    end = phase.end(trial.stock)
    if trial.stock.contents() != end:
        yield f"in the end: {_difference(trial.stock.contents(), end)}"
    yield from litter(trial.stock)
    if phase.undone:
        yield from not_undone(trial)
    yield from clutter(trial)


def not_undone(trial: Trial) -> Iterator[str]:
    """What did not come back, byte for byte."""
    for ran in trial.restore_all():
        if ran.code != 0:
            yield f"restore ends with {ran.code}: {ran.message}"
    if trial.stock.contents() != trial.stock.everything:
        yield f"after restore: {_difference(trial.stock.contents(), trial.stock.everything)}"


def clutter(trial: Trial) -> Iterator[str]:
    """What stays in the trash for ever: it is emptied, and something is left."""
    if not trial.stock.own("trash"):
        return
    ran = trial.collect(NOTHING_NEW)
    if ran.code != 0 or trial.stock.own("trash"):
        yield f"the trash cannot be emptied: {ran.code} {ran.message} {sorted(trial.stock.own('trash'))}"


def lost(stock: Stock) -> Iterator[str]:
    """Live objects that are gone, or others than they were."""
    found = stock.contents()
    hurt = [key for key, body in stock.kept.items() if key not in found and not _is_missed(stock, key)]
    hurt += [key for key, body in found.items() if stock.everything.get(key) != body]
    if hurt:
        yield f"LOST: {hurt}"


def _is_missed(stock: Stock, key: str) -> bool:
    """Whether it was swept before its row came, and waits to be healed."""
    return "/gone" in key


def litter(stock: Stock) -> Iterator[str]:
    """What a run leaves that the next one, or nobody, should find. A half-written file is in nobody's way."""
    for part in ("lease", "canary"):
        found = sorted(name for name in stock.own(part) if not name.endswith(HALF_WRITTEN))
        if found:
            yield f"a {part} stays: {found}"


def untrue(stock: Stock, before: Before, ran: Ran) -> Iterator[str]:
    """Where the exit code or the report does not say what has really happened.

    Of what did not come back for sure, a restore says for each object that it failed.
    """
    now = stock.keys()
    changes = now ^ before.keys
    if isinstance(ran.told, Restoration):
        changes = {key for key in changes if not _is_among(key, ran.failed)}
    if ran.code not in (ExitCode.OK, ExitCode.PARTIAL):
        if ran.code not in (ExitCode.STORAGE, ExitCode.METADATA, ExitCode.LOCKED, ExitCode.REFUSED):
            yield f"exit code {ran.code}: {ran.message}"
        if changes or before.trash - stock.own("trash"):
            yield f"exit code {ran.code} ({ran.message}), and yet it changed {changes or 'the trash'}"
    if ran.told is not None:
        yield from _miscounted(ran, before.keys - now, now - before.keys)
    if ran.code == ExitCode.PARTIAL and ran.told is not None and not ran.told.failures:
        yield "partial, and no failure is told"


def _miscounted(ran: Ran, removed: AbstractSet[str], returned: AbstractSet[str]) -> Iterator[str]:
    told = ran.told
    assert told is not None
    counts = {name: tally.count for name, tally in told.tallies.items()}
    if isinstance(told, Restoration):
        yield from _off("restored", counts["restored"], returned, ran.failed)
        return
    yield from _off("deleted", counts["deleted"], removed, ran.failed)
    yield from _off("healed", counts["healed"], returned, ran.failed)
    if counts["vanished"] or counts["revived"]:
        yield f"nobody else was at work, and yet it tells of {counts}"
    if ran.code == ExitCode.OK and len(removed) != len(told.plan.deletable):
        yield f"success, and of {len(told.plan.deletable)} due {len(removed)} are gone"


def _off(what: str, count: int, really: AbstractSet[str], failed: AbstractSet[str]) -> Iterator[str]:
    """A count must be what really happened, but for what is told as a failure: that may have happened or not."""
    certain = {key for key in really if not _is_among(key, failed)}
    if not len(certain) <= count <= len(really):
        yield f"{count} {what}, and in truth {sorted(really)}; failed: {sorted(failed)}"


def _is_among(key: str, urls: AbstractSet[str]) -> bool:
    return any(url.endswith(f"/{key}") for url in urls)


def _difference(found: Contents, wanted: Contents) -> str:
    missing, surplus = sorted(wanted.keys() - found.keys()), sorted(found.keys() - wanted.keys())
    return f"missing {missing}, surplus {surplus}, other {[k for k in found if wanted.get(k, found[k]) != found[k]]}"
