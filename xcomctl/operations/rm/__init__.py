"""Remove rows, and give the objects that they referred to gc's first mark.

`removing` looks and holds the lease, its `carry_out` removes batch by batch; what it removed, and why not the rest, is
in its account.
"""

from xcomctl.operations.rm.account import Account
from xcomctl.operations.rm.removal import Removal, removing
from xcomctl.operations.rm.terms import GATES, Plan, Rules, Skip, Unmarked

__all__ = ["GATES", "Account", "Plan", "Removal", "Rules", "Skip", "Unmarked", "removing"]
