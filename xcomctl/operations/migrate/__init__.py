"""Move values: from their rows to object storage, back, or from one place in storage to another.

`migrating` looks and holds the lease, its `carry_out` moves row by row; what it moved, and why not the rest, is in its
account.
"""

from xcomctl.operations.migrate.account import Account
from xcomctl.operations.migrate.judging import judged
from xcomctl.operations.migrate.migration import Migration, migrating
from xcomctl.operations.migrate.move import Move
from xcomctl.operations.migrate.moves import move_of
from xcomctl.operations.migrate.outward import kept_by_itself, kept_by_text
from xcomctl.operations.migrate.terms import Destination, Failure, Gate, Plan, Rules, Skip

__all__ = [
    "Account",
    "Destination",
    "Failure",
    "Gate",
    "Migration",
    "Move",
    "Plan",
    "Rules",
    "Skip",
    "judged",
    "kept_by_itself",
    "kept_by_text",
    "migrating",
    "move_of",
]
