"""How much to try: what CI can afford, or everything."""

import os
from collections.abc import Sequence
from itertools import combinations

import sqlalchemy

LONG = os.environ.get("XCOMCTL_TEST_LONG") == "1"
"""Whether to try every step, request and deed instead of a sample, which takes hours instead of minutes."""

REPEATED = ("sqlite-3.3", "postgresql-2.11", "postgresql-3.4", "mysql-2.11")
"""What the oldest SQLAlchemy is tried on: the servers of Airflow 2, with which it comes, and each schema once.

Which statement fits which schema is the same question with every SQLAlchemy, and answered with the newest.
"""


def databases(named: list[str]) -> list[str]:
    """Those of the named databases that are worth it here; all of them where the sample has none of them."""
    if LONG or not sqlalchemy.__version__.startswith("1."):
        return named
    return [name for name in named if name in REPEATED] or named


def together(databases: Sequence[str], stores: Sequence[str]) -> list[tuple[str, str]]:
    """As few of all combinations as let every two of dialect, schema and store meet.

    All three need not: what knows the database knows nothing of the store, and import-linter sees to that.
    """
    every = [(database, store) for database in databases for store in stores]
    if LONG:
        return every
    missing = {pair for each in every for pair in _pairs(*each)}
    chosen = set()
    while missing:
        best = max(every, key=lambda each: len(missing & _pairs(*each)))
        chosen.add(best)
        missing -= _pairs(*best)
    return [each for each in every if each in chosen]


def _pairs(database: str, store: str) -> set[tuple[object, ...]]:
    return set(combinations(enumerate((*database.split("-", 1), store)), 2))
