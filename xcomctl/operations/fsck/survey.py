"""One check: the objects are listed, then the rows are read, and what does not fit is told as it is found."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from xcomctl.backend.reference import parse
from xcomctl.backend.rules import rules
from xcomctl.catalog import Catalog
from xcomctl.catalog.catalog import Row
from xcomctl.catalog.limits import value_limit
from xcomctl.catalog.selection import matches_object
from xcomctl.model import Severity, State, Watch, WayBack
from xcomctl.operations.deployment import Deployment
from xcomctl.operations.fsck.judging import Judge, refers
from xcomctl.operations.fsck.objects import Listed, Lost, Reader
from xcomctl.operations.fsck.terms import Finding, Kind, Questions, of_all
from xcomctl.operations.gc import KEEP_TRASH, Candidate, Fate, Plan, Rules, Scope, Tally
from xcomctl.operations.gc.evidence import Evidence
from xcomctl.operations.gc.listing import Listing, list_objects
from xcomctl.operations.gc.plan import look
from xcomctl.operations.rows import literal, word

ROWS_PER_WORD = 1000
MISSING_AT_ONCE = 500
UNKNOWN_NAMED = 3


@dataclass(slots=True)
class Check:
    """What one look at a deployment found; `counts` are complete when the findings are consumed.

    `scope` is None where there is no base path, or no question about storage: then only rows are looked at.
    """

    deployment: Deployment
    scope: Scope | None
    questions: Questions
    watch: Watch
    counts: dict[tuple[Kind, Severity], Tally] = field(default_factory=dict)
    rows: int = 0
    _oldest: datetime | None = None

    @property
    def fails(self) -> bool:
        """Whether anything is wrong."""
        return any(severity is Severity.ERROR for _, severity in self.counts)

    def findings(self) -> Iterator[Finding]:
        """What is wrong, of the rows first. Raises `MetadataError` and `StorageError`."""
        for finding in self._all():
            if finding.id in self.questions.kinds:
                name = finding.id, finding.severity
                self.counts[name] = self.counts.get(name, Tally()) + Tally(1, finding.size_bytes or 0)
                yield finding

    def _all(self) -> Iterator[Finding]:
        questions, scope = self.questions, self.scope
        plan, evidence, listing = self._look()
        listed = Listed(scope.base, listing) if scope is not None and listing is not None else None
        for catalog in self.deployment.catalogs:
            lost = Lost(catalog, scope)
            if questions.needs_rows:
                yield from self._of_rows(catalog, lost, listed)
            if questions.deep:
                yield from self._of_values(catalog, lost)
        if Kind.ARCHIVE in questions.kinds:
            for catalog in self.deployment.catalogs:
                yield from _of_archives(catalog)
        if scope is not None and questions.needs_storage:
            yield from _of_bucket(scope, self._oldest)
        if plan is not None and evidence is not None and scope is not None:
            yield from self._of_objects(scope, plan, evidence)

    def _look(self) -> tuple[Plan | None, Evidence | None, Listing | None]:
        """What gc would make of the objects, and what it goes by; only the objects where no more is wanted."""
        if self.scope is None or not self.questions.needs_storage:
            return None, None, None
        if not self.questions.needs_plan:
            return None, None, list_objects(self.scope, self.watch)
        selected = self.questions.selected
        rules = Rules(
            older_than=self.questions.older_than,
            dag_ids=selected.dag_ids,
            exclude_dag_ids=selected.exclude_dag_ids,
            dry_run=True,
        )
        plan, evidence = look(self.scope, rules, self.watch)
        return plan, evidence, evidence.listing

    def _of_rows(self, catalog: Catalog, lost: Lost, listed: Listed | None) -> Iterator[Finding]:
        missing = list[Row]()
        for row, findings in self._judged(catalog):
            yield from findings
            if listed is not None and self._lies_below(row) and not listed.holds(row):
                missing.append(row)
            if len(missing) == MISSING_AT_ONCE:
                yield from self._lost(lost, missing)
                missing.clear()
        yield from self._lost(lost, missing)

    def _lies_below(self, row: Row) -> bool:
        """Whether its object is to be found in a listing of the base path, by whatever connection the row says."""
        if row.xcom.state is not State.FOREIGN:
            return row.xcom.state is State.EXTERNAL
        address, base = parse(row.xcom.reference or ""), self.deployment.base
        return address is not None and base is not None and base.location.holds(address.location)

    def _lost(self, lost: Lost, missing: Sequence[Row]) -> Iterator[Finding]:
        return lost.among(missing, self.scope.store) if self.scope is not None and missing else iter(())

    def _judged(self, catalog: Catalog) -> Iterator[tuple[Row, Iterator[Finding]]]:
        limit = value_limit(catalog)
        judge = Judge(self.deployment.base, self.deployment.base_is_airflows, limit, tuple(rules(None).values()))
        near_bytes = limit.near_bytes if limit is not None else None
        for row in catalog.notable(self.questions.selected, near_bytes):
            self.rows += 1
            if self.rows % ROWS_PER_WORD == 0:
                self.watch("rows looked at", self.rows)
            if self._lies_below(row):
                self._oldest = min(self._oldest or row.xcom.timestamp, row.xcom.timestamp)
            yield row, judge.findings(row)

    def _of_values(self, catalog: Catalog, lost: Lost) -> Iterator[Finding]:
        """Every object that a row refers to, read; but none of what may be a task's own data."""
        pointing = catalog.pointing(self.questions.selected, all_attempts=False)
        rows = (row for row in pointing if refers(row.xcom, self.deployment.base))
        vanished = list[Row]()
        for done, (row, told) in enumerate(Reader(self.deployment.stores).through(rows), start=1):
            self.watch("objects read", done)
            if isinstance(told, Finding):
                yield told
            elif not told:
                vanished.append(row)
            if len(vanished) == MISSING_AT_ONCE:
                yield from lost.of(vanished)
                vanished.clear()
        yield from lost.of(vanished)

    def _of_objects(self, scope: Scope, plan: Plan, evidence: Evidence) -> Iterator[Finding]:
        yield from (_gate(refusal.gate.value, refusal.message) for refusal in plan.refusals)
        selected = self.questions.selected
        if selected.of_rows_alone:
            return
        orphans = [each for each in plan.candidates if matches_object(selected, each.object, each.placement)]
        yield from (_orphan(each, scope) for each in sorted(orphans, key=lambda each: each.object.name))
        if plan.fates[Fate.HELD].count:
            yield _held(plan.fates[Fate.HELD], evidence)


def _orphan(orphan: Candidate, scope: Scope) -> Finding:
    placement, found = orphan.placement, orphan.object
    url = replace(scope.base.location, name=found.name).url
    detail = f"{orphan.cause.value}; written {found.modified_at:%Y-%m-%d %H:%M:%S} UTC"
    hint = f"from {orphan.due_at:%Y-%m-%d %H:%M:%S} UTC on this deletes it: xcomctl gc"
    if not orphan.seen_before:
        hint = "this marks it, and a run a day later deletes it: xcomctl gc"
    names = placement.dag_id, placement.run_id, placement.task_id
    return Finding(Kind.ORPHAN, Severity.INFO, *names, None, None, found.size_bytes, url, detail, hint)


def _held(held: Tally, evidence: Evidence) -> Finding:
    unknown = sorted(evidence.doubt.unknown_dags)
    detail = f"{held.count} objects without a row, of DAGs that no database knows or attempts that may still write"
    hint = "they stay"
    if unknown:
        detail += f": {', '.join(unknown[:UNKNOWN_NAMED])}{', …' if len(unknown) > UNKNOWN_NAMED else ''}"
        flags = " ".join(word("--include-unknown-dag", literal(dag_id)) for dag_id in unknown[:UNKNOWN_NAMED])
        hint = f"once you are sure that no other Airflow writes here: xcomctl gc {flags}"
    return of_all(Kind.HELD, Severity.INFO, detail, hint, held.bytes)


def _gate(gate: str, message: str) -> Finding:
    return of_all(
        Kind.GATE,
        Severity.WARNING,
        f"{gate}: {message}",
        "docs/gc.md says what shuts it and what lifts it; as gc tells it: xcomctl gc --dry-run",
    )


def _of_bucket(scope: Scope, oldest: datetime | None) -> Iterator[Finding]:
    """What the bucket does by itself: expire objects, keep deleted ones."""
    expiry = scope.store.expiry(scope.base.location.folder)
    if expiry is not None:
        yield _expiry(expiry, scope.now() - oldest if oldest is not None else None)
    way = scope.store.way_back(KEEP_TRASH)
    kept = {
        WayBack.VERSIONS: "the bucket keeps noncurrent versions",
        WayBack.SOFT_DELETE: "the bucket keeps what is deleted for some days",
    }.get(way)
    if kept is not None:
        hint = "a lifecycle rule for noncurrent versions sets for how long; xcomctl restore needs them till then"
        yield of_all(Kind.VERSIONS, Severity.INFO, f"{kept}, so a delete frees no bytes at once", hint)


def _expiry(expiry: timedelta, oldest: timedelta | None) -> Finding:
    detail = f"a lifecycle rule deletes objects after {expiry.days} days"
    rm = f"xcomctl rm --state external --older-than {max(expiry.days - 1, 1)}d"
    hint = f"lengthen the rule, or let this run daily, which removes the rows in time: {rm}"
    if oldest is None:
        return of_all(Kind.EXPIRY, Severity.INFO, detail, hint)
    if oldest >= expiry:
        detail += f", and a row of {oldest.days} days ago refers to one: what it deleted dangles"
        return of_all(Kind.EXPIRY, Severity.WARNING, detail, hint)
    return of_all(Kind.EXPIRY, Severity.INFO, f"{detail}; the oldest reference has {oldest.days} days", hint)


def _of_archives(catalog: Catalog) -> Iterator[Finding]:
    for table, rows, size_bytes in catalog.archive_sizes():
        detail = f"{table} holds {rows:,} rows; gc keeps what they refer to"
        hint = "`xcomctl ls --archive` shows them; `airflow db drop-archived` drops archives of db clean and of rm"
        if table == "_xcom_archive":
            hint = "`xcomctl ls --archive` shows them: pickles that the upgrade to Airflow 3 put aside"
        yield of_all(Kind.ARCHIVE, Severity.INFO, detail, hint, size_bytes)
