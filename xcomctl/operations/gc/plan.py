"""Look at everything and decide: list the objects, then read all rows, and subtract.

The order is the proof. Airflow writes the object first and the row later, and uses a name once: an object that was
listed before the rows were read, is older than any write lasts, and has no row, never gets one. Whoever read its row
before has opened it by the time that a second run sees the same. In doubt it is kept.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from itertools import islice

from xcomctl.backend.reference import place
from xcomctl.ledger import Claim, Mark, Marks, Removed
from xcomctl.ledger.audit import records, removed_by
from xcomctl.ledger.claim import read_claim
from xcomctl.ledger.marks import NEVER, read_marks
from xcomctl.model import Objects, Watch
from xcomctl.numbers import MICROSECOND, Flags, hashes_of, microseconds
from xcomctl.operations.gc.canary import Canaries
from xcomctl.operations.gc.candidates import Candidates
from xcomctl.operations.gc.causes import Causes
from xcomctl.operations.gc.evidence import Evidence, gather
from xcomctl.operations.gc.gates import beforehand, is_restored, refusals
from xcomctl.operations.gc.inventory import BLOCK
from xcomctl.operations.gc.orphans import Orphans
from xcomctl.operations.gc.scope import Scope
from xcomctl.operations.gc.sorting import Sorted, sorted_out
from xcomctl.operations.gc.tally import Tally
from xcomctl.operations.gc.terms import Fate, Plan, Rules


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
    marks = Marks() if rules.single_pass or is_restored(claimed, claim) else read_marks(scope.control, claim.base)
    evidence = gather(scope, rules, canaries.live if canaries else None, watch)
    sorting = _Sorting(scope, rules, evidence, marks)
    for some in sorted_out(scope, rules, evidence):
        sorting.enter(some)
    healable, outdated = _removed_before(scope, rules, evidence)
    plan = Plan(
        base=scope.base,
        rules=rules,
        references=evidence.live.references + evidence.archived.references,
        fates=sorting.fates,
        candidates=sorting.candidates,
        deletable=sorting.candidates.that(lambda block: block.columns["is_due"]),
        other_marks=sorting.marks,
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


@dataclass(slots=True)
class _Sorting:
    """The listing by its fates. `marks` are those that stay although their objects are not candidates of this run."""

    scope: Scope
    rules: Rules
    evidence: Evidence
    known: Marks
    fates: dict[Fate, Tally] = field(default_factory=lambda: dict.fromkeys(Fate, Tally()))
    marks: list[Mark] = field(default_factory=list)
    revived: Tally = field(default_factory=Tally)
    candidates: Candidates = field(init=False)
    _causes: Causes = field(init=False)

    def __post_init__(self) -> None:
        self.candidates = Candidates(self.scope.base.location.folder)
        self._causes = Causes(self.scope.catalogs, self.evidence)

    def enter(self, some: Sorted) -> None:
        """Take in a block."""
        for fate in Fate:
            self.fates[fate] += some.tally(fate)
        self._enter_revived(some)
        self._enter_excluded(some)
        self._enter_candidates(some.orphans_of(Fate.CANDIDATE))

    def _enter_revived(self, some: Sorted) -> None:
        places = (some.those(Fate.LIVE, Fate.ARCHIVED) & self.known.may_hold(some.block.columns["uniques"])).nonzero()[
            0
        ]
        found = some.block.objects(places)
        marked = self.known.first_seen(self._relative(found), found) != NEVER
        self.revived += Tally(int(marked.sum()), int(found.sizes[marked].sum()))

    def _enter_excluded(self, some: Sorted) -> None:
        """This run does not choose them, and sees orphans all the same: their marks stay."""
        import numpy as np

        excluded = some.orphans_of(Fate.EXCLUDED)
        covers = self.evidence.doubt.covers
        held = np.fromiter(map(covers, excluded.placements), np.bool_, len(excluded))
        found = excluded.that(~held).objects
        self.marks += self.known.on(self._relative(found), found)

    def _enter_candidates(self, orphans: Orphans) -> None:
        """The wait counts from the end of one reading of the rows to the start of the next."""
        import numpy as np

        first_seen = self.known.first_seen(self._relative(orphans.objects), orphans.objects)
        seen_before = first_seen != NEVER
        first_seen = np.where(seen_before, first_seen, microseconds(self.evidence.seen_at))
        wait = self.rules.confirm_after if not self.rules.single_pass else timedelta()
        due = first_seen + wait // MICROSECOND
        is_due = (seen_before & (due <= microseconds(self.evidence.rows_at))) | self.rules.single_pass
        times = {"first_seen": first_seen, "due": due, "seen_before": seen_before, "is_due": is_due}
        self.candidates.add(orphans, self._causes.of(orphans.placements), times)

    def _relative(self, found: Objects) -> list[str]:
        """The names of some objects below the base path."""
        start = len(self.scope.base.location.folder)
        return [name[start:] for name in found.names]


def _removed_before(scope: Scope, rules: Rules, evidence: Evidence) -> tuple[list[Removed], dict[str, Tally]]:
    """Of what earlier runs removed, what a row refers to now, and by operation the copies kept for long enough.

    An operation is emptied as a whole, so not before all that is missed of it has come back.
    """
    healable: list[Removed] = []
    outdated: dict[str, Tally] = {}
    for record in records(scope.control):
        if not record.has_removed or record.is_emptied:
            continue
        removed = (each for each in removed_by(scope.control, record) if each.settled is None)
        missed, copies = list[Removed](), Tally()
        while some := list(islice(removed, BLOCK)):
            missed += _missed(some, scope, evidence)
            copies += Tally.of(*(each.kept.object for each in some if each.kept.is_copy))
        healable += missed
        if not missed and record.started_at < evidence.seen_at - rules.keep_trash:
            outdated[record.operation_id] = copies
    return healable, outdated


def _missed(removed: Sequence[Removed], scope: Scope, evidence: Evidence) -> Iterator[Removed]:
    """Those that a row refers to and that are no longer there."""
    placed = [(each, place(scope.relative(each.kept.object.name))) for each in removed]
    known = [(each, placement.unique) for each, placement in placed if placement is not None]
    uniques = hashes_of([unique for _, unique in known])
    referred: Flags = evidence.live.names.holding(uniques) | evidence.archived.names.holding(uniques)
    missed = referred & ~evidence.listing.uniques.holding(uniques)
    return (known[at][0] for at in missed.nonzero()[0])
