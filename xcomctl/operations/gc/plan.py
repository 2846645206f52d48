"""Look at everything and decide: list the objects, then read all rows, and subtract.

The order is the proof. Airflow writes the object first and the row later, and uses a name once: an object that was
listed before the rows were read, is older than any write lasts, and has no row, never gets one. Whoever read its row
before has opened it by the time that a second run sees the same. In doubt it is kept.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from xcomctl.backend.reference import Placement, place
from xcomctl.catalog.selection import is_like
from xcomctl.ledger import Claim, Mark, Removed
from xcomctl.ledger.audit import records, removed_by
from xcomctl.ledger.claim import read_claim
from xcomctl.ledger.marks import read_marks
from xcomctl.model import StoredObject, Watch
from xcomctl.operations.gc.canary import Canaries
from xcomctl.operations.gc.causes import Causes
from xcomctl.operations.gc.evidence import Evidence, gather, hashed
from xcomctl.operations.gc.gates import beforehand, is_restored, refusals
from xcomctl.operations.gc.scope import Scope
from xcomctl.operations.gc.terms import Candidate, Fate, Plan, Rules, Tally

Marks = Mapping[str, Mark]
Orphan = tuple[StoredObject, Placement]


def make_plan(
    scope: Scope, rules: Rules, watch: Watch = lambda step, done: None, canaries: Canaries | None = None
) -> Plan:
    """Look at all objects under the base path, and then at all rows of all catalogues.

    Writes nothing. Raises `StorageError` or `MetadataError` when either cannot be read completely.
    """
    return look(scope, rules, watch, canaries)[0]


def look(
    scope: Scope, rules: Rules, watch: Watch = lambda step, done: None, canaries: Canaries | None = None
) -> tuple[Plan, Evidence]:
    """The plan, and all that it was made from."""
    claimed, claim = read_claim(scope.control), claim_of(scope)
    marks = {} if rules.single_pass or is_restored(claimed, claim) else read_marks(scope.control, claim.base)
    evidence = gather(scope, rules, canaries.live if canaries else None, watch)
    sorting = _sorted_out(scope, rules, evidence, marks)
    healable, outdated = _removed_before(scope, rules, evidence)
    candidates = tuple(_candidates(sorting.orphans, scope, rules, evidence, marks))
    plan = Plan(
        base=scope.base,
        rules=rules,
        references=evidence.live.references + evidence.archived.references,
        fates=sorting.fates,
        candidates=candidates,
        deletable=tuple(each for each in candidates if _is_due(each, rules, evidence)),
        marks=(
            *sorting.marks,
            *(_marked(candidate, scope) for candidate in candidates),
        ),
        revived=sorting.revived,
        healable=tuple(healable),
        outdated=outdated,
        claim=claim,
        way=scope.store.way_back(rules.keep_trash),
        condition=scope.store.condition,
        look_first=canaries is None or not canaries.conditions_hold,
        seen_at=evidence.seen_at,
    )
    found = [*refusals(plan, evidence, scope, claimed), *(canaries.refusals(scope, evidence) if canaries else ())]
    refused = tuple(refusal for refusal in found if refusal.gate not in rules.allow)
    return replace(plan, refusals=refused), evidence


def claim_of(scope: Scope) -> Claim:
    """What a run here claims."""
    return Claim(scope.base.location.url, tuple(catalog.database.epoch() for catalog in scope.catalogs))


def is_refused_beforehand(scope: Scope, rules: Rules) -> bool:
    """Whether a gate is shut already, so that not even a canary need be written."""
    found = beforehand(scope, claim_of(scope), read_claim(scope.control))
    return any(refusal.gate not in rules.allow for refusal in found)


def fate_of(found: StoredObject, placement: Placement | None, evidence: Evidence, rules: Rules) -> Fate:
    """What one listed object is to this run."""
    if placement is None:
        return Fate.UNKNOWN
    if evidence.live.holds(placement):
        return Fate.LIVE
    if evidence.archived.holds(placement) and not rules.ignore_archives:
        return Fate.ARCHIVED
    if found.modified_at > evidence.listing.started_at - rules.older_than:
        return Fate.YOUNG
    if not _chosen(placement.dag_id, rules):
        return Fate.EXCLUDED
    return Fate.HELD if evidence.doubt.covers(placement) else Fate.CANDIDATE


@dataclass(slots=True)
class _Sorting:
    """The listing by its fates. `marks` are those that stay although their objects are not candidates of this run."""

    fates: dict[Fate, Tally] = field(default_factory=lambda: dict.fromkeys(Fate, Tally()))
    orphans: list[Orphan] = field(default_factory=list)
    marks: list[Mark] = field(default_factory=list)
    revived: Tally = field(default_factory=Tally)


def _sorted_out(scope: Scope, rules: Rules, evidence: Evidence, marks: Marks) -> _Sorting:
    sorting = _Sorting()
    for found, placement in evidence.listing.objects:
        fate = fate_of(found, placement, evidence, rules)
        sorting.fates[fate] += Tally.of(found)
        if placement is None:
            continue
        if fate is Fate.CANDIDATE:
            sorting.orphans.append((found, placement))
        mark = _mark_on(found, scope, marks)
        if mark is not None and fate is Fate.EXCLUDED and not evidence.doubt.covers(placement):
            sorting.marks.append(mark)  # this run does not choose it, and sees an orphan all the same
        elif mark is not None and fate in (Fate.LIVE, Fate.ARCHIVED):
            sorting.revived += Tally.of(found)
    return sorting


def _candidates(
    orphans: Sequence[Orphan], scope: Scope, rules: Rules, evidence: Evidence, marks: Marks
) -> Iterator[Candidate]:
    causes = Causes([placement for _, placement in orphans], scope.catalogs, evidence)
    for found, placement in orphans:
        mark = _mark_on(found, scope, marks)
        first_seen = mark.first_seen if mark is not None else evidence.seen_at
        due_at = first_seen if rules.single_pass else first_seen + rules.confirm_after
        yield Candidate(found, placement, causes.of(placement), first_seen, due_at, seen_before=mark is not None)


def _mark_on(found: StoredObject, scope: Scope, marks: Marks) -> Mark | None:
    """The mark on an object, if it is still the one that was marked."""
    mark = marks.get(scope.relative(found.name)) if marks else None
    if mark is None or (mark.version, mark.modified_at) != (found.version, found.modified_at):
        return None
    return mark


def _marked(candidate: Candidate, scope: Scope) -> Mark:
    found = candidate.object
    return Mark(scope.relative(found.name), found.version, found.modified_at, candidate.first_seen)


def _is_due(candidate: Candidate, rules: Rules, evidence: Evidence) -> bool:
    """Whether it may go now: the wait counts from the end of one reading of the rows to the start of the next."""
    return rules.single_pass or (candidate.seen_before and candidate.due_at <= evidence.rows_at)


def _removed_before(scope: Scope, rules: Rules, evidence: Evidence) -> tuple[list[Removed], dict[str, list[Removed]]]:
    """Of what earlier runs removed, what a row refers to now, and by operation what was kept for long enough.

    An operation is emptied as a whole, so not before all that is missed of it has come back.
    """
    healable: list[Removed] = []
    outdated: dict[str, list[Removed]] = {}
    for record in records(scope.control):
        if not record.has_removed or record.is_emptied:
            continue
        removed = [each for each in removed_by(scope.control, record) if each.settled is None]
        missed = [each for each in removed if _is_missed(each, scope, evidence)]
        healable += missed
        if not missed and record.started_at < evidence.seen_at - rules.keep_trash:
            outdated[record.operation_id] = removed
    return healable, outdated


def _is_missed(removed: Removed, scope: Scope, evidence: Evidence) -> bool:
    """Whether a row refers to what is no longer there."""
    placement = place(scope.relative(removed.kept.object.name))
    if placement is None or hashed(placement.unique) in evidence.listing.uniques:
        return False
    return evidence.live.holds(placement) or evidence.archived.holds(placement)


def _chosen(dag_id: str, rules: Rules) -> bool:
    return is_like(dag_id, rules.dag_ids, empty=True) and not is_like(dag_id, rules.exclude_dag_ids, empty=False)
