"""Everything that gc goes by for one object, in the order in which it decides."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta

from xcomctl.backend.reference import Placement, parse, place
from xcomctl.errors import NotFoundError, UsageError
from xcomctl.ledger.audit import records, removed_by
from xcomctl.ledger.marks import read_marks
from xcomctl.model import Objects, StoredObject, Watch
from xcomctl.operations.gc.causes import Causes
from xcomctl.operations.gc.evidence import Evidence, gather_for
from xcomctl.operations.gc.listing import listing_of
from xcomctl.operations.gc.scope import Scope
from xcomctl.operations.gc.sorting import sorted_out
from xcomctl.operations.gc.terms import Fate, Rules


@dataclass(frozen=True, slots=True)
class Step:
    """One fact: what was looked at, what was found, and what follows."""

    about: str
    found: str


def explain(scope: Scope, rules: Rules, key_or_url: str, watch: Watch = lambda step, done: None) -> Iterator[Step]:
    """The whole derivation for one object, named by its URL, its key, or its name below the base path.

    Raises `NotFoundError` where neither the object nor any trace of it is to be found.
    """
    name = _name(scope, key_or_url)
    if not name.startswith(scope.base.location.folder):
        raise UsageError(f"{key_or_url} is not below the base path {scope.base.text}", hint="gc decides only there")
    found = scope.store.stat(name)
    history = list(_history(scope, name))
    if found is None and not history:
        raise NotFoundError(
            f"there is no object {name}, and gc has never removed one", hint="`xcomctl gc -v -n` lists orphans"
        )
    if found is not None:
        yield from _standing(scope, rules, found, watch)
    else:
        yield Step("object", f"{name} is not there")
    yield from history


def _name(scope: Scope, key_or_url: str) -> str:
    """The object's raw name, from whatever of it a person has at hand."""
    address = parse(key_or_url)
    if address is not None:
        return address.location.name
    folder = scope.base.location.folder
    return key_or_url if key_or_url.startswith(folder) else folder + key_or_url.lstrip("/")


def _standing(scope: Scope, rules: Rules, found: StoredObject, watch: Watch) -> Iterator[Step]:
    placement = place(scope.relative(found.name))
    yield Step("object", f"{found.name}, {found.size_bytes} bytes, of {found.modified_at.isoformat()}")
    if placement is None:
        yield Step("layout", "no name that an XCom backend makes")
        yield Step("verdict", "unknown: never deleted")
        return
    owner = f", may be written again by the task instance {placement.owner}" if placement.owner else ", written once"
    yield Step("layout", f"DAG {placement.dag_id}, run {placement.run_id}, task {placement.task_id}{owner}")
    now = scope.now()
    evidence = gather_for(listing_of(scope, now, [[found]]), scope, rules, watch)
    evidence.doubt.ask([placement])
    yield from _evidence(scope, placement, evidence)
    age, limit = now - found.modified_at, rules.older_than
    yield Step("age", f"{spoken(age)}, {'older' if age >= limit else 'not older'} than {spoken(limit)}")
    yield from _verdict(scope, rules, found, placement, evidence)


def _evidence(scope: Scope, placement: Placement, evidence: Evidence) -> Iterator[Step]:
    rows = [row for catalog in scope.catalogs for row in catalog.rows_mentioning(placement.unique)]
    for row in rows:
        yield Step("row", row)
    if not rows:
        yield Step("row", "none in any table of any database refers to it")
    yield Step("DAG", "unknown to every database" if placement.dag_id in evidence.doubt.unknown_dags else "known")
    if placement.owner in evidence.doubt.unfinished_owners:
        yield Step("owner", "at work, or over for less than an hour")


def _verdict(
    scope: Scope, rules: Rules, found: StoredObject, placement: Placement, evidence: Evidence
) -> Iterator[Step]:
    ((_, fate),) = (each for some in sorted_out(scope, rules, evidence) for each in some)
    if fate is not Fate.CANDIDATE:
        yield Step("verdict", f"{fate.value}: {KEPT[fate]}")
        return
    yield Step("cause", Causes(scope.catalogs, evidence).of([placement])[0].value)
    marks = read_marks(scope.control, scope.base.location.url)
    mark = next(marks.on([scope.relative(found.name)], Objects.of([found])), None)
    if rules.single_pass:
        yield Step("verdict", "candidate: a single pass deletes it")
    elif mark is None:
        yield Step("mark", "none: no run has seen it as an orphan yet")
        yield Step("verdict", f"candidate: the next run marks it, one {spoken(rules.confirm_after)} later deletes it")
    else:
        yield Step("mark", f"an orphan since {mark.first_seen.isoformat()}")
        due_at = mark.first_seen + rules.confirm_after
        when = "the next run deletes it" if due_at <= evidence.rows_at else f"deletable from {due_at.isoformat()}"
        yield Step("verdict", f"candidate: {when}")


def spoken(time: timedelta) -> str:
    """A time as flags take it, in its two largest units.

    >>> spoken(timedelta(days=20, hours=1, seconds=3)), spoken(timedelta(hours=20)), spoken(timedelta(seconds=2.5))
    ('20d1h', '20h', '2s')
    """
    left, parts = int(abs(time).total_seconds()), []
    for unit, seconds in (("d", 86400), ("h", 3600), ("m", 60), ("s", 1)):
        count, left = divmod(left, seconds)
        parts.append((count, unit))
    first = next((place for place, (count, _) in enumerate(parts) if count), len(parts) - 1)
    shown = "".join(f"{count}{unit}" for count, unit in parts[first : first + 2] if count) or "0s"
    return f"-{shown}" if time < timedelta() else shown


KEPT = {
    Fate.LIVE: "a row refers to it, so it is kept",
    Fate.ARCHIVED: "an archive refers to it, so it is kept; --ignore-archives lifts that",
    Fate.YOUNG: "its row may still be on its way",
    Fate.EXCLUDED: "left out by --dag-id or --exclude-dag-id",
    Fate.HELD: "no database knows its DAG, or its task may write it again; --include-unknown-dag frees the former",
    Fate.UNKNOWN: "never deleted",
}


def _history(scope: Scope, name: str) -> Iterator[Step]:
    """What runs have done to it."""
    for record in records(scope.control):
        for removed in removed_by(scope.control, record):
            if removed.kept.object.name == name:
                way, since = removed.kept.way.value, f", {removed.settled} since" if removed.settled else ""
                emptied = ", its trash emptied since" if record.is_emptied else ""
                verb = "removed by" if removed.is_certain else "was to be removed, with unknown outcome, by"
                told = f"{verb} {record.operation_id} ({removed.cause}, way back: {way}){since}{emptied}"
                yield Step("history", told)
