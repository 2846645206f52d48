"""What one run did, kept while it runs, so that a run that breaks off can still be reported."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from uuid import uuid4

from xcomctl.errors import ExitCode, XcomctlError
from xcomctl.model import Deletion, Outcome, Return, StoredObject, WayBack
from xcomctl.operations.gc.candidates import DagShare
from xcomctl.operations.gc.tally import Tally, counted
from xcomctl.operations.gc.terms import Plan

NOTHING = Tally()
BYTES_FREE_WHEN = {
    WayBack.VERSIONS: "noncurrent versions expire",
    WayBack.SOFT_DELETE: "the bucket's soft delete ends",
    WayBack.TRASH: "the trash is emptied",
    WayBack.RENAME: "the trash is emptied",
}
"""When the bytes of a removed object stop being paid for."""


@dataclass(slots=True)
class Account:
    """The counts of one run. `freed` are the bytes that nothing keeps any more: those of the trash that was emptied.

    `stopped` says why a run ended before all that is due was gone: its time was up, or it was told to. `unanswered` are
    the batches that are being deleted just now, `slow_downs` how often the store asked for fewer requests.
    """

    plan: Plan
    operation_id: str
    deleted: Tally = NOTHING
    revived: Tally = NOTHING
    vanished: Tally = NOTHING
    healed: Tally = NOTHING
    freed: Tally = NOTHING
    stopped: str | None = None
    perhaps_changed: bool = False
    unanswered: set[int] = field(default_factory=set)
    slow_downs: int = 0
    failures: list[dict[str, str]] = field(default_factory=list)

    def enter(self, outcome: Deletion) -> None:
        """Count what became of one object."""
        if outcome.error is not None:
            self._fail("delete_failed", outcome.object, outcome.error)
            self.perhaps_changed |= outcome.unknown
        elif outcome.vanished:
            self.vanished += Tally.of(outcome.object)
        elif outcome.changed:
            self.revived += Tally.of(outcome.object)
        else:
            self.deleted += Tally.of(outcome.object)

    def enter_return(self, returned: Return) -> None:
        """Count what became of one removed object that is referred to again."""
        if returned.outcome is Outcome.RESTORED:
            self.healed += Tally.of(returned.kept.object)
        elif returned.outcome is not Outcome.OCCUPIED:
            message = returned.message or "what was kept of it is not there any more"
            self._fail("heal_failed", returned.kept.object, message)
            self.perhaps_changed |= returned.outcome is Outcome.FAILED

    def break_off(self, error: XcomctlError) -> None:
        """The run could not go on after it had changed something."""
        self.failures.append({"code": "broke_off", "message": error.message})

    def _fail(self, code: str, found: StoredObject, message: str) -> None:
        url = replace(self.plan.base.location, name=found.name).url
        self.failures.append({"code": code, "url": url, "message": message})

    @property
    def has_changed(self) -> bool:
        """Whether anything is, or may be, another than before."""
        surely = self.deleted.count or self.healed.count or self.freed.count
        return bool(surely or self.perhaps_changed or self.unanswered)

    @property
    def exit_code(self) -> ExitCode:
        """What the shell is told: partial only when something was changed, storage when nothing could be."""
        if self.plan.refusals:
            return ExitCode.REFUSED
        if self.failures:
            return ExitCode.PARTIAL if self.has_changed else ExitCode.STORAGE
        return ExitCode.OK

    @property
    def tallies(self) -> dict[str, Tally]:
        """Every count of the report, by its name."""
        plan = self.plan
        fates = {fate.value: tally for fate, tally in plan.fates.items()}
        return {
            "listed": plan.listed,
            **fates,
            "live": plan.kept_by_rows,
            "marked": NOTHING if plan.rules.single_pass or plan.refusals else plan.waiting.tally,
            "deletable": plan.deletable.tally,
            "deleted": self.deleted,
            "revived": plan.revived + self.revived,
            "vanished": self.vanished,
            "healed": self.healed,
            "freed": self.freed,
        }

    def document(self) -> dict[str, object]:
        """The report as programs read it."""
        return {
            "schema": 1,
            "command": "gc",
            "operation_id": self.operation_id,
            "dry_run": self.plan.rules.dry_run,
            "status": "partial" if self.stopped == "signal" else self.exit_code.status,
            **counted(self.tallies),
            "failures": self.failures,
            "refusals": [{"gate": refusal.gate.value, "message": refusal.message} for refusal in self.plan.refusals],
            "way_back": self.plan.way.value,
            "bytes_free_when": BYTES_FREE_WHEN[self.plan.way],
            "conditional": not self.plan.look_first,
            "stopped": self.stopped,
            "slow_downs": self.slow_downs,
            "due": [{"at": at.isoformat(), **_amounts(tally)} for at, tally in due(self.plan)],
            "causes": [{"cause": cause, **_amounts(tally)} for cause, tally in by_cause(self.plan).items()],
            "dags": [
                {"dag_id": share.dag_id, **_amounts(share.objects), "oldest": share.oldest.isoformat()}
                for share in by_dag(self.plan)
            ],
        }


def due(plan: Plan) -> list[tuple[datetime, Tally]]:
    """What becomes deletable when, the soonest first; nothing in a single pass, or where no mark was made."""
    return [] if plan.rules.single_pass or plan.refusals else sorted(plan.waiting.by_due().items())


def by_cause(plan: Plan) -> dict[str, Tally]:
    """The candidates by why they are orphans."""
    return dict(sorted(plan.candidates.by_cause().items()))


def by_dag(plan: Plan) -> list[DagShare]:
    """The candidates by their DAG."""
    return [share for _, share in sorted(plan.candidates.shares.items())]


def new_operation_id() -> str:
    """A name for one run that sorts by time."""
    return f"{datetime.now(timezone.utc):%Y%m%dT%H%M%SZ}-{uuid4().hex[:8]}"


def _amounts(tally: Tally) -> dict[str, object]:
    return {"objects": tally.count, "bytes": tally.bytes}
