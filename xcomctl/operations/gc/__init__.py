"""Collect orphans: objects that no row of any database refers to.

`collecting` looks and holds the lease, its `carry_out` does what the plan says. `explain` tells all about one object.
"""

from xcomctl.model import Watch
from xcomctl.operations.gc.account import BYTES_FREE_WHEN, Account, by_cause, by_dag, due, new_operation_id
from xcomctl.operations.gc.batches import Pace
from xcomctl.operations.gc.candidates import Candidate, Cause
from xcomctl.operations.gc.collection import Collection, collecting
from xcomctl.operations.gc.explain import Step, explain
from xcomctl.operations.gc.plan import make_plan
from xcomctl.operations.gc.scope import Scope, scope_of
from xcomctl.operations.gc.tally import Tally, counted
from xcomctl.operations.gc.terms import (
    CONFIRM_AFTER,
    CONFIRM_AFTER_FLOOR,
    KEEP_TRASH,
    KEEP_TRASH_FLOOR,
    OLDER_THAN,
    OLDER_THAN_FLOOR,
    SINGLE_PASS_OLDER_THAN,
    Fate,
    Gate,
    Limit,
    Plan,
    Refusal,
    Rules,
)

__all__ = [
    "BYTES_FREE_WHEN",
    "CONFIRM_AFTER",
    "CONFIRM_AFTER_FLOOR",
    "KEEP_TRASH",
    "KEEP_TRASH_FLOOR",
    "OLDER_THAN",
    "OLDER_THAN_FLOOR",
    "SINGLE_PASS_OLDER_THAN",
    "Account",
    "Candidate",
    "Cause",
    "Collection",
    "Fate",
    "Gate",
    "Limit",
    "Pace",
    "Plan",
    "Refusal",
    "Rules",
    "Scope",
    "Step",
    "Tally",
    "Watch",
    "by_cause",
    "by_dag",
    "collecting",
    "counted",
    "due",
    "explain",
    "make_plan",
    "new_operation_id",
    "scope_of",
]
