"""Check what is stored: rows that Airflow cannot follow, objects that are gone, damaged or of no use. Changes nothing.

`Check.findings` tells them as they are found.
"""

from xcomctl.operations.fsck.survey import Check
from xcomctl.operations.fsck.terms import ABOUT, FIELDS, Finding, Kind, Questions

__all__ = ["ABOUT", "FIELDS", "Check", "Finding", "Kind", "Questions"]
