"""What migration 0049 makes of each value, asked of the database that holds it: it reads, and changes nothing.

Harmless values are settled where they are, a page at a time. Only what may be changed, or fails, is looked at row by
row; and only small values that something is wrong with are fetched.
"""

from xcomctl.catalog.casting.caster import Caster, Dimensions
from xcomctl.catalog.casting.rehearsal import Rehearsed
from xcomctl.catalog.casting.terms import Failure, Verdict

__all__ = ["Caster", "Dimensions", "Failure", "Rehearsed", "Verdict"]
