"""Which rows make the upgrade from Airflow 2 to 3 fail, or change, what becomes of them, and what helps.

A `Survey` looks at one database for one target; its findings come as a stream, and what they add up to stands in it
when they are through. It changes nothing.
"""

from xcomctl.operations.preflight.survey import Survey
from xcomctl.operations.preflight.terms import FIELDS, Finding, Kind, Target, target_of

__all__ = ["FIELDS", "Finding", "Kind", "Survey", "Target", "target_of"]
