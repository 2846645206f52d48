"""gc's own state, kept in the bucket that it collects: claim, lease, marks, audit and trash.

Whoever comes next, in a fresh pod with an empty disk, goes on from here. Every object is written whole and can be read
by a person: JSON, or lines of it. Nothing in this room decides what is an orphan.
"""

from xcomctl.ledger.audit import Batch, Record, Removed
from xcomctl.ledger.claim import Claim
from xcomctl.ledger.control import Control, control_folder
from xcomctl.ledger.lease import Holder, Lease
from xcomctl.ledger.marks import Mark, Marks

__all__ = ["Batch", "Claim", "Control", "Holder", "Lease", "Mark", "Marks", "Record", "Removed", "control_folder"]
