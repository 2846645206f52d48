"""Move values from their rows to object storage.

`migrating` looks and holds the lease, its `carry_out` moves row by row; what it moved, and why not the rest, is in its
account.
"""

from xcomctl.operations.migrate.account import Account
from xcomctl.operations.migrate.migration import Migration, migrating
from xcomctl.operations.migrate.terms import Gate, Plan, Rules, Skip

__all__ = ["Account", "Gate", "Migration", "Plan", "Rules", "Skip", "migrating"]
