"""One preflight: the findings as they come, and what is to be said when they are through."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from itertools import islice

from xcomctl.backend.reference import Address, Location
from xcomctl.catalog import Catalog
from xcomctl.catalog.casting import Caster, Rehearsed, Verdict
from xcomctl.catalog.catalog import Row
from xcomctl.errors import MetadataError
from xcomctl.model import Filter, Severity, Watch, unwatched
from xcomctl.operations.gc import Tally
from xcomctl.operations.migrate import judged, kept_by_itself, kept_by_text
from xcomctl.operations.preflight.advising import Circumstances, hint_for
from xcomctl.operations.preflight.judging import judge
from xcomctl.operations.preflight.terms import Finding, Judgement, Kind, Target

ROWS_AT_ONCE = 500
SAMPLED = 100
SAMPLED_FAILING = 20
SAMPLED_BYTES = 100_000
"""Of the findings so many are kept for the proof, unless they are larger."""

ANY_BASE = Address("file:///xcom", "file", None, Location("file", "", "/xcom"))
"""Names that make no object's URL do not with any base path."""


@dataclass(slots=True)
class Survey:
    """What one look at a database found; all but the first four is complete when the findings are consumed.

    `passing` and `failing` are the rows of the proof; `unproved` says why there was none.
    """

    catalog: Catalog
    base: Address | None
    target: Target
    selected: Filter
    counts: dict[tuple[Kind, Severity], Tally] = field(default_factory=dict)
    passing: list[Row] = field(default_factory=list)
    failing: list[Row] = field(default_factory=list)
    rehearsed: Rehearsed | None = None
    unproved: str = ""

    @property
    def caster(self) -> Caster:
        """Who asks the database."""
        return Caster(self.catalog, self.target.treatment)

    @property
    def is_needed(self) -> bool:
        """Whether the database is still of Airflow 2."""
        return self.caster.table is not None

    @property
    def fails(self) -> bool:
        """Whether the upgrade would."""
        return any(severity is Severity.ERROR for _, severity in self.counts)

    def findings(self, watch: Watch = unwatched) -> Iterator[Finding]:
        """The rows that the upgrade fails on, changes or moves, by primary key."""
        caster = self.caster
        if not self.is_needed:
            return
        if caster.obstacle is not None:
            yield self._obstacle(caster.obstacle)
            return
        verdicts = caster.verdicts(self.selected, watch)
        while some := list(islice(verdicts, ROWS_AT_ONCE)):
            yield from self._advised(some)
        yield from self._proved()

    def _proved(self) -> Iterator[Finding]:
        """What a rehearsal with a sample contradicts: rows that fail though they should pass."""
        try:
            self.rehearsed = self.caster.rehearse(self.passing, self.failing)
        except MetadataError as error:
            self.unproved = error.message
        if self.rehearsed is None:
            return
        for row, error_text in self.rehearsed.surprises:
            if error_text:  # a row that passes although it should fail needs no advice
                detail = f"the migration itself fails on it, though its parts do not: {error_text}"
                judgement = Judgement(Kind.INVALID_JSON, Severity.ERROR, detail)
                self._count(judgement, row.xcom.size_bytes)
                yield _finding(row, judgement, hint_for(row, judgement, (None, None), self._circumstances))

    def _advised(self, some: list[tuple[Row, Verdict]]) -> Iterator[Finding]:
        by_itself = partial(kept_by_itself, base=self.base or ANY_BASE)
        kept = judged((row for row, _ in some), by_itself, self.catalog)
        for (row, verdict), (_, skip) in zip(some, kept, strict=True):
            judgement = judge(verdict, self.target.treatment)
            self._count(judgement, row.xcom.size_bytes)
            self._sample(row, verdict, judgement)
            skips = skip, kept_by_text(verdict.value) if verdict.value is not None else None
            yield _finding(row, judgement, hint_for(row, judgement, skips, self._circumstances))

    @property
    def _circumstances(self) -> Circumstances:
        return Circumstances(self.base is not None, self.catalog.schema.version is not None)

    def _obstacle(self, why: str) -> Finding:
        judgement = Judgement(Kind.DATABASE, Severity.ERROR, f"{why}; the rows were not looked at")
        self._count(judgement, 0)
        hint = "Airflow supports MySQL and PostgreSQL: move the database there, or choose another --target"
        return Finding(judgement.kind, judgement.severity, None, None, None, None, None, None, judgement.detail, hint)

    def _count(self, judgement: Judgement, size_bytes: int) -> None:
        name = judgement.kind, judgement.severity
        self.counts[name] = self.counts.get(name, Tally()) + Tally(1, size_bytes)

    def _sample(self, row: Row, verdict: Verdict, judgement: Judgement) -> None:
        """Keep a row for the proof. Pickles never reach the cast."""
        if verdict.pickled or row.xcom.size_bytes > SAMPLED_BYTES:
            return
        kept, most = (self.failing, SAMPLED_FAILING) if verdict.failure else (self.passing, SAMPLED)
        if len(kept) < most:
            kept.append(row)


def _finding(row: Row, judgement: Judgement, hint: str) -> Finding:
    xcom = row.xcom
    return Finding(
        id=judgement.kind,
        severity=judgement.severity,
        dag_id=xcom.dag_id,
        run_id=xcom.run_id,
        task_id=xcom.task_id,
        map_index=xcom.map_index,
        key=xcom.key,
        size_bytes=xcom.size_bytes,
        detail=judgement.detail,
        hint=hint,
    )
