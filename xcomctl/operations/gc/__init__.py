"""Collect orphans: objects that no row of any database refers to. `make_plan` looks, `run` deletes what it said."""

from xcomctl.operations.gc.plan import make_plan
from xcomctl.operations.gc.sweep import Account, apply, new_operation_id, run
from xcomctl.operations.gc.terms import (
    OLDER_THAN,
    OLDER_THAN_FLOOR,
    SINGLE_PASS_OLDER_THAN,
    Fate,
    Gate,
    Limit,
    Plan,
    Refusal,
    Rules,
    Tally,
)

__all__ = [
    "OLDER_THAN",
    "OLDER_THAN_FLOOR",
    "SINGLE_PASS_OLDER_THAN",
    "Account",
    "Fate",
    "Gate",
    "Limit",
    "Plan",
    "Refusal",
    "Rules",
    "Tally",
    "apply",
    "make_plan",
    "new_operation_id",
    "run",
]
