"""A model of garbage collection and of everything that may happen meanwhile, and an exhaustive search through it.

The model knows one task that pushes one XCom. Its attempts upload objects and commit rows that refer to them, crash,
are retried and linger as zombies; rows are deleted, purged, archived and restored; a reader opens an object some time
after it read the reference; a second deployment may share the prefix; and gc runs again and again, one run at a time as
its lease demands, and may break off anywhere. Every step is atomic, only a tick of the clock takes time, and all
interleavings are tried. gc judges each name for itself, so what it cannot do to one object or reader it cannot do to
many.

There is no horizon. The state holds ages instead of times, each only up to the largest that any rule compares it with,
so there are finitely many states although the clock never stops: what the search finds safe is safe for ever, for as
many attempts and writes as the world allows.

Data are lost when a row refers to an object that gc has removed for good, or when a reader does not find the object
whose reference it holds because gc has removed it. What Airflow purges itself is not lost: it was meant to go.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple, TypeAlias

Root: TypeAlias = Literal["xcom", "archive", "other deployment"]
"""Where rows are that may hold references. Each root is read in a step of its own."""

TICK = "a tick passes"
DELETES = "gc deletes"


@dataclass(frozen=True, slots=True)
class Protocol:
    """What gc does. By default it is as careless as can be: what has no row now is deleted now."""

    lists_first: bool = True
    """Objects are listed before rows are read: a row that is committed between the two is seen."""
    roots: tuple[Root, ...] = ("xcom",)
    """All that may hold references, in the direction in which Airflow moves rows: none slips past the reading."""
    reads_every_attempt: bool = True
    """Rows of superseded attempts hold references too."""
    grace: int = 0
    """Objects younger than this are left alone: their rows may be on their way."""
    sightings_apart: int = 0
    """How long ago an earlier run must have seen the orphan: whoever read its row before has finished by then."""
    first_seen: Literal["rows", "listing"] = "rows"
    """A sighting counts from the end of the reading of rows: the listing may have been long before."""
    ripe_at: Literal["reading", "judging"] = "reading"
    """A mark must be old enough when the reading of rows begins: the reading itself may take long."""
    confirms_marks: bool = True
    """A mark vanishes when its object is seen referenced. Else a stale mark is reason enough to delete."""
    marks_versions: bool = True
    """A mark is for one version of an object: what has since been written under its name is seen for the first time."""
    owner_rest: int | None = None
    """How long the attempt that a name belongs to must be over: its zombie may write the name again."""
    rested_before: Literal["listing", "question"] = "listing"
    """The rest ends before the listing begins. Whoever asks later does not know what was written after the reading."""
    condition: Literal["none", "generation", "etag"] = "none"
    """What the store compares before it deletes: a number that each write has for itself, or a hash of the content."""
    rereads_rows: bool = False
    """The rows are read again, in the primary database, just before the deletes."""
    trash_time: int = 0
    """How long a deleted object can be brought back: as long as a backup of the database may be restored."""
    heeds_restore: bool = True
    """A restore of the database ends the run and voids all marks: they tell of rows that are no more."""

    @property
    def itinerary(self) -> tuple[str, ...]:
        """What a run looks at before it judges, in order."""
        looks = ("listing", *self.roots) if self.lists_first else (*self.roots, "listing")
        return (*looks, "owners") if self.rested_before == "question" else looks


@dataclass(frozen=True, slots=True)
class World:
    """What Airflow, its users and the store may do. All times are upper bounds, in ticks."""

    attempts: int = 1
    """How many attempts the task may have."""
    writes: int = 1
    """How often one attempt may push: a task that is rescheduled or deferred pushes again."""
    names: Literal["write", "attempt", "task"] = "write"
    """What has a name of its own: each write before Airflow 3.4, each attempt since, the task in other backends."""
    rows_per_attempt: bool = False
    """Each attempt has a row of its own, as in Airflow 3.4, instead of one for the task."""
    commit_time: int = 1
    """From an object's becoming visible to the commit of its row, if that happens at all."""
    upload_time: int = 0
    """From the start of a multipart upload, which the object is dated from, to its becoming visible."""
    zombie_time: int | None = None
    """How long a worker may go on when its attempt is over. None: it stops at once."""
    reading_time: int | None = None
    """From the reading of a row to the opening of its object. None: nobody reads."""
    replica_lag: int = 0
    """How old the state may be that gc reads rows from."""
    clock_ahead: int = 0
    """How far gc's clock is ahead of the store's."""
    repeats_bytes: bool = False
    """Different writes may have the same content, and so the same ETag."""
    archives: bool = False
    """Rows may be moved to an archive table, in one transaction."""
    second_deployment: bool = False
    """Another deployment has an object under the same prefix, and its row in another database."""
    backup_age: int = 0
    """How old the backup may be that the database is restored from. 0: it is never restored."""


class Object(NamedTuple):
    """An object in the store. In a sighting its age is 0, for nobody asks again."""

    name: str
    version: int
    content: int
    owner: int
    age: int


class Row(NamedTuple):
    """A row that refers to an object. The attempt is 0 when all attempts share the row."""

    root: Root
    attempt: int
    name: str


class Attempt(NamedTuple):
    """An attempt and its worker. `age` is that of the upload or uncommitted object, `over` counts from the end."""

    worker: Literal["idle", "uploading", "uncommitted", "stopped"] = "idle"
    writes: int = 0
    age: int = 0
    over: int | None = None


class Reader(NamedTuple):
    """A task that has read a reference and not yet opened its object, or in vain."""

    name: str
    age: int = 0
    disappointed: bool = False


class Mark(NamedTuple):
    """What gc keeps of an orphan from run to run."""

    name: str
    version: int
    age: int


class Trashed(NamedTuple):
    """An object that gc has deleted and that can be brought back."""

    thing: Object
    age: int


class Run(NamedTuple):
    """How far a run has come: its looks, and the orphans among the listed objects or, before that, the references."""

    looks: int = 0
    orphans: frozenset[Object] = frozenset()
    references: frozenset[str] = frozenset()
    ripe: frozenset[Mark] = frozenset()
    age: int = 0


@dataclass(frozen=True, slots=True)
class State:
    """All that is at one moment. `removed` are the names whose object gc has removed for good."""

    attempts: tuple[Attempt, ...] = (Attempt(),)
    objects: frozenset[Object] = frozenset()
    rows: frozenset[Row] = frozenset()
    reader: Reader | None = None
    run: Run | None = None
    marks: frozenset[Mark] = frozenset()
    trash: frozenset[Trashed] = frozenset()
    removed: frozenset[str] = frozenset()
    past: tuple[frozenset[Row], ...] = ()
    """The rows as each of the last ticks found them, oldest first."""

    def has(self, name: str) -> bool:
        """Whether the store shows an object of this name."""
        return any(thing.name == name for thing in self.objects)


Step: TypeAlias = tuple[str, State]
"""What happens, and the state after it."""


@dataclass(frozen=True, slots=True)
class Case:
    """A protocol in a world."""

    protocol: Protocol
    world: World

    def beginning(self) -> State:
        """The first attempt is running and has done nothing yet."""
        if not self.world.second_deployment:
            return State()
        name, grace = "object of the other deployment", self.protocol.grace
        neighbour = Object(name, version=-1, content=-1, owner=-1, age=grace)
        return State(objects=frozenset({neighbour}), rows=frozenset({Row("other deployment", 0, name)}))

    def steps(self, state: State) -> Iterator[Step]:
        """Everything that may happen next."""
        yield TICK, after_a_tick(self, state)
        yield from worker_steps(self, state)
        yield from attempt_steps(self, state)
        yield from row_steps(self, state)
        yield from restore_steps(self, state)
        yield from reader_steps(self, state)
        yield from gc_steps(self, state)


def loss(state: State) -> str | None:
    """What has been lost, if anything has."""
    for row in state.rows:
        if row.name in state.removed:
            return f"a row of {row.root} refers to {row.name}, which gc has removed for good"
    if state.reader is not None and state.reader.disappointed:
        return f"the reader of {state.reader.name} does not find it, because gc has removed it"
    return None


# Time


def after_a_tick(case: Case, state: State) -> State:
    """All ages grow, up to what any rule compares them with, and what has lasted its time ends."""
    protocol, world = case.protocol, case.world
    trash = frozenset(Trashed(thing, age + 1) for thing, age in state.trash if age < protocol.trash_time)
    left = {thing.name for thing in state.objects} | {thing.name for thing, _ in trash}
    return replace(
        state,
        attempts=tuple(_older_attempt(case, attempt) for attempt in state.attempts),
        objects=frozenset(thing._replace(age=min(thing.age + 1, protocol.grace)) for thing in state.objects),
        reader=_older_reader(world, state.reader),
        run=_older_run(protocol, state.run),
        marks=frozenset(mark._replace(age=min(mark.age + 1, protocol.sightings_apart)) for mark in state.marks),
        trash=trash,
        removed=state.removed | {thing.name for thing, _ in state.trash if thing.name not in left},
        past=_last(max(world.replica_lag, world.backup_age), (*state.past, state.rows)),
    )


def _older_attempt(case: Case, attempt: Attempt) -> Attempt:
    """A worker gives up an upload or a commit that takes too long, and stops when its time as a zombie is over."""
    limits = {"uploading": case.world.upload_time, "uncommitted": case.world.commit_time}
    if attempt.worker in limits:
        in_time = attempt.age < limits[attempt.worker]
        attempt = attempt._replace(age=attempt.age + 1) if in_time else _free(case.world, attempt)
    over, zombie_time, rest = attempt.over, case.world.zombie_time or 0, case.protocol.owner_rest or 0
    if over is None:
        return attempt
    attempt = attempt if over < zombie_time else _stopped(case.world, attempt)
    return attempt._replace(over=min(over + 1, max(zombie_time, rest)))


def _free(world: World, attempt: Attempt) -> Attempt:
    """The worker can push again, if it may."""
    return attempt._replace(worker="idle" if attempt.writes < world.writes else "stopped", age=0)


def _stopped(world: World, attempt: Attempt) -> Attempt:
    """The worker does nothing any more; how often it has pushed no longer matters."""
    return attempt._replace(worker="stopped", writes=world.writes, age=0)


def _older_reader(world: World, reader: Reader | None) -> Reader | None:
    """A reader that has not opened its object in time never does; then there may be another."""
    if reader is None or reader.age == world.reading_time:
        return None
    return reader._replace(age=reader.age + 1)


def _older_run(protocol: Protocol, run: Run | None) -> Run | None:
    """A run is as old as its first look, where sightings count from that."""
    if run is None or protocol.first_seen == "rows":
        return run
    return run._replace(age=min(run.age + 1, protocol.sightings_apart))


def _last(ticks: int, past: tuple[frozenset[Row], ...]) -> tuple[frozenset[Row], ...]:
    """The moments that are at most so many ticks ago, among them the very beginning of the oldest tick."""
    return past[-ticks - 1 :] if ticks else ()


# Airflow and its users


def worker_steps(case: Case, state: State) -> Iterator[Step]:
    """A worker uploads an object, which becomes visible as a whole, and then commits the row that refers to it."""
    for number, attempt in enumerate(state.attempts):
        if attempt.worker == "idle":
            begun = attempt._replace(worker="uploading", writes=attempt.writes + 1)
            if case.world.upload_time:
                yield f"attempt {number} starts an upload", _with_attempt(state, number, begun)
            else:
                yield from _appearances(case, state, number, begun)
        elif attempt.worker == "uploading":
            yield from _appearances(case, state, number, attempt)
        elif attempt.worker == "uncommitted":
            yield _commit(case, state, number, attempt)


def _appearances(case: Case, state: State, number: int, attempt: Attempt) -> Iterator[Step]:
    """The new object replaces the one of its name. It is as old as its upload."""
    name, version = _name(case.world, number, attempt), number * case.world.writes + attempt.writes
    uploaded = _with_attempt(state, number, attempt._replace(worker="uncommitted", age=0))
    others = {thing for thing in state.objects if thing.name != name}
    for content in (0, version) if case.world.repeats_bytes else (version,):
        thing = Object(name, version, content, number, age=min(attempt.age, case.protocol.grace))
        label = f"attempt {number} makes {name} visible: version {version}, content {content}"
        yield label, replace(uploaded, objects=frozenset({*others, thing}), removed=state.removed - {name})


def _commit(case: Case, state: State, number: int, attempt: Attempt) -> Step:
    """The new row replaces the one of its task or attempt."""
    row = Row("xcom", number if case.world.rows_per_attempt else 0, _name(case.world, number, attempt))
    others = {other for other in state.rows if other[:2] != row[:2]}
    freed = _with_attempt(state, number, _free(case.world, attempt))
    return f"attempt {number} commits its row -> {row.name}", replace(freed, rows=frozenset({*others, row}))


def _name(world: World, number: int, attempt: Attempt) -> str:
    """What the object is called that this attempt is pushing."""
    return {"task": "object", "attempt": f"object-{number}", "write": f"object-{number}.{attempt.writes}"}[world.names]


def _with_attempt(state: State, number: int, attempt: Attempt) -> State:
    """The state with another account of one attempt."""
    return replace(state, attempts=(*state.attempts[:number], attempt, *state.attempts[number + 1 :]))


def attempt_steps(case: Case, state: State) -> Iterator[Step]:
    """An attempt ends, well or badly, whatever its worker is doing; then the next one may start."""
    number = len(state.attempts) - 1
    attempt = state.attempts[number]
    if attempt.over is None:
        left = attempt if case.world.zombie_time is not None else _stopped(case.world, attempt)
        yield f"attempt {number} is over", _with_attempt(state, number, left._replace(over=0))
    elif number + 1 < case.world.attempts:
        yield f"attempt {number + 1} starts", replace(state, attempts=(*state.attempts, Attempt()))


def row_steps(case: Case, state: State) -> Iterator[Step]:
    """Rows go at any time: with their object, as in a retry, or without it, or into an archive."""
    for row in state.rows:
        if row.root == "other deployment":
            continue
        rest = state.rows - {row}
        yield f"the row -> {row.name} is deleted from {row.root}, its object stays", replace(state, rows=rest)
        if row.root == "xcom":
            objects = frozenset(thing for thing in state.objects if thing.name != row.name)
            yield f"Airflow purges {row.name} with its row", replace(state, objects=objects, rows=rest)
        if row.root == "xcom" and case.world.archives:
            yield f"the row -> {row.name} is archived", replace(state, rows=rest | {row._replace(root="archive")})


def restore_steps(case: Case, state: State) -> Iterator[Step]:
    """The database is restored from a backup, and what its rows refer to is brought back from the trash."""
    for rows in set(_last(case.world.backup_age, state.past)) - {state.rows}:
        missing = {row.name for row in rows if not state.has(row.name)}
        found = {trashed.thing.name: trashed for trashed in sorted(state.trash, key=_newest_last)}
        back = frozenset(trashed for name, trashed in found.items() if name in missing)
        objects = state.objects | {thing for thing, _ in back}
        restored = replace(state, rows=rows, objects=objects, trash=state.trash - back)
        if case.protocol.heeds_restore:
            restored = replace(restored, run=None, marks=frozenset())
        yield f"the database is restored, with rows -> {sorted(row.name for row in rows)}", restored


def _newest_last(trashed: Trashed) -> tuple[int, int]:
    """Of several objects of one name the one that was deleted last is brought back."""
    return -trashed.age, trashed.thing.version


def reader_steps(case: Case, state: State) -> Iterator[Step]:
    """A task reads a row and opens its object some time later. What is in the trash cannot be opened."""
    reader = state.reader
    if reader is None and case.world.reading_time is not None:
        for name in {row.name for row in state.rows if row.root == "xcom"}:
            yield f"a reader reads the row -> {name}", replace(state, reader=Reader(name))
    elif reader is not None and not reader.disappointed:
        by_gc = reader.name in state.removed or any(thing.name == reader.name for thing, _ in state.trash)
        left = reader._replace(disappointed=True) if by_gc and not state.has(reader.name) else None
        yield f"the reader opens {reader.name}", replace(state, reader=left)


# gc


def gc_steps(case: Case, state: State) -> Iterator[Step]:
    """A run looks at everything in turn, judges, reads the batch's rows again and deletes. It may end at any point."""
    protocol, run = case.protocol, state.run or Run()
    looks_left = len(protocol.itinerary) - run.looks
    if state.run is not None:
        yield "gc ends its run", replace(state, run=None)
    if looks_left > 0:
        for label, seen in _looks(case, state, run):
            done = seen._replace(looks=run.looks + 1)
            yield label, replace(state, run=done) if looks_left > 1 else _judged(protocol, state, done)
    elif looks_left == 0 and protocol.rereads_rows:
        yield "gc reads the rows once more", _reread(protocol, state, run)
    else:
        yield from _deletions(protocol, state, run)


def _looks(case: Case, state: State, run: Run) -> Iterator[tuple[str, Run]]:
    """The next look of the itinerary, and what it leaves of the orphans."""
    protocol, look = case.protocol, case.protocol.itinerary[run.looks]
    if look == "listing":
        yield "gc lists the objects", run._replace(orphans=_listed(case, state, run), references=frozenset())
    elif look == "owners":
        yield "gc asks for the owners", run._replace(orphans=_rested(protocol, state, run.orphans))
    else:
        ripe = _ripe(protocol, state) if look == protocol.roots[0] else run.ripe
        for references in _views(case, state, look):
            seen = _subtracted(protocol, run._replace(ripe=ripe), references)
            yield f"gc reads the rows of {look} -> {sorted(references)}", seen


def _listed(case: Case, state: State, run: Run) -> frozenset[Object]:
    """The objects that are old enough by gc's clock, and not among the references if these are known already."""
    grace, ahead = case.protocol.grace, case.world.clock_ahead
    old = (thing for thing in state.objects if thing.age + ahead >= grace and thing.name not in run.references)
    orphans = frozenset(thing._replace(age=0) for thing in old)
    return _rested(case.protocol, state, orphans) if case.protocol.rested_before == "listing" else orphans


def _rested(protocol: Protocol, state: State, orphans: frozenset[Object]) -> frozenset[Object]:
    """Those orphans whose attempt has been over for long enough."""
    rest = protocol.owner_rest
    if rest is None:
        return orphans
    over = {number for number, each in enumerate(state.attempts) if each.over is not None and each.over >= rest}
    return frozenset(thing for thing in orphans if thing.owner in over)


def _views(case: Case, state: State, root: str) -> set[frozenset[str]]:
    """What a reading of this root may find: the references of now or, on a replica, of some moment before."""
    first = 0 if case.protocol.reads_every_attempt else len(state.attempts) - 1
    moments = (state.rows, *_last(case.world.replica_lag, state.past))
    return {frozenset(row.name for row in rows if row.root == root and row.attempt >= first) for rows in moments}


def _subtracted(protocol: Protocol, run: Run, references: frozenset[str]) -> Run:
    """What is referenced is no orphan."""
    if not protocol.lists_first:
        return run._replace(references=run.references | references)
    orphans = {thing for thing in run.orphans if thing.name not in references}
    if not protocol.confirms_marks:
        orphans |= {thing for thing in run.orphans if _mark(protocol, thing) in run.ripe}
    return run._replace(orphans=frozenset(orphans))


def _mark(protocol: Protocol, thing: Object) -> Mark:
    """A fresh mark for this object."""
    return Mark(thing.name, thing.version if protocol.marks_versions else 0, age=0)


def _ripe(protocol: Protocol, state: State) -> frozenset[Mark]:
    """The marks that are old enough now, as they were when fresh."""
    return frozenset(mark._replace(age=0) for mark in state.marks if mark.age >= protocol.sightings_apart)


def _judged(protocol: Protocol, state: State, run: Run) -> State:
    """Orphans that were marked long enough ago are to be deleted; all orphans, and nothing else, are now marked."""
    if not protocol.sightings_apart:
        return replace(state, run=run if run.orphans else None)
    ripe = run.ripe if protocol.ripe_at == "reading" else _ripe(protocol, state)
    ages = {mark._replace(age=0): mark.age for mark in state.marks}
    fresh = {_mark(protocol, thing) for thing in run.orphans}
    marks = frozenset(mark._replace(age=ages.get(mark, run.age)) for mark in fresh)
    doomed = frozenset(thing for thing in run.orphans if _mark(protocol, thing) in ripe)
    return replace(state, marks=marks, run=Run(run.looks, orphans=doomed) if doomed else None)


def _reread(protocol: Protocol, state: State, run: Run) -> State:
    """Orphans that have a row by now are kept."""
    references = {row.name for row in state.rows if row.root in protocol.roots}
    orphans = frozenset(thing for thing in run.orphans if thing.name not in references)
    return replace(state, run=run._replace(looks=run.looks + 1, orphans=orphans) if orphans else None)


def _deletions(protocol: Protocol, state: State, run: Run) -> Iterator[Step]:
    """Whatever now has the name of an orphan is deleted, if the store finds the condition met."""
    for orphan in run.orphans:
        thing = next((thing for thing in state.objects if thing.name == orphan.name), None)
        if thing is None or not _condition_met(protocol, orphan, thing):
            continue
        orphans = run.orphans - {orphan}
        after = replace(state, objects=state.objects - {thing}, run=run._replace(orphans=orphans) if orphans else None)
        if protocol.trash_time:
            after = replace(after, trash=state.trash | {Trashed(thing, age=0)})
        else:
            after = replace(after, removed=state.removed | {thing.name})
        yield f"{DELETES} {thing.name}: version {thing.version}, content {thing.content}", after


def _condition_met(protocol: Protocol, seen: Object, thing: Object) -> bool:
    """Whether the store takes this object for the one that was seen."""
    if protocol.condition == "generation":
        return seen.version == thing.version
    return protocol.condition == "none" or seen.content == thing.content


# The search


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a search found. If it is complete and found no loss, there is none."""

    states: int
    complete: bool
    deletions: int
    loss: str | None = None
    trace: tuple[Step, ...] = ()
    """The shortest way to the loss."""

    def __str__(self) -> str:
        ending = self.loss or ("nothing is lost" if self.complete else "not searched to the end")
        lines, now = [f"{self.states} states, {self.deletions} ways to delete an object: {ending}"], 0
        for label, _ in self.trace:
            now += label == TICK
            lines += [] if label == TICK else [f"  t={now}  {label}"]
        return "\n".join(lines)


def transitions(case: Case, origins: dict[State, Step | None]) -> Iterator[tuple[State, str, State]]:
    """Every step from every reachable state, breadth first. Enters into `origins` how each state is reached."""
    beginning = case.beginning()
    origins[beginning] = None
    waiting = deque([beginning])
    while waiting:
        state = waiting.popleft()
        for label, following in case.steps(state):
            if following not in origins:
                origins[following] = (label, state)
                waiting.append(following)
            yield state, label, following


def check(case: Case, limit: int = 1_000_000) -> Verdict:
    """Search all states for a loss, or the first `limit` ones."""
    origins: dict[State, Step | None] = {}
    deletions = 0
    for _, label, state in transitions(case, origins):
        deletions += label.startswith(DELETES)
        if found := loss(state):
            return Verdict(len(origins), False, deletions, found, _trace(origins, state))
        if len(origins) > limit:
            return Verdict(len(origins), False, deletions)
    return Verdict(len(origins), True, deletions)


def _trace(origins: dict[State, Step | None], state: State) -> tuple[Step, ...]:
    """The steps that lead from the beginning to this state."""
    steps: list[Step] = []
    while (origin := origins[state]) is not None:
        label, before = origin
        steps.append((label, state))
        state = before
    return tuple(reversed(steps))
