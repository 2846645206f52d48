"""What keeps an unreferenced object all the same: DAGs that no catalogue knows, attempts that may still write."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime, timedelta

from xcomctl.backend.reference import Placement
from xcomctl.catalog import Catalog
from xcomctl.catalog.selection import is_like

OWNER_REST = timedelta(hours=1)
"""How long a task instance must be over before the names that it may reuse are collected (Airflow 3.4): more than
its missed heartbeats (300 s), the life of its token (600 s) and the retries of its last request."""


class Doubt:
    """What the catalogues know of the DAGs and task instances that orphans are named after, as far as it was asked."""

    def __init__(self, catalogs: Sequence[Catalog], include_unknown_dags: Sequence[str], now: datetime) -> None:
        self._catalogs = catalogs
        self._included = include_unknown_dags
        self._now = now
        self._asked: set[str] = set()
        self.unknown_dags: set[str] = set()
        self.unfinished_owners: set[str] = set()

    def ask(self, orphans: Collection[Placement]) -> None:
        """Look these up."""
        dag_ids = {orphan.dag_id for orphan in orphans} - self._asked
        known = {dag_id for catalog in self._catalogs for dag_id in catalog.tasks.known_dags(dag_ids)}
        self._asked |= dag_ids
        self.unknown_dags |= {d for d in dag_ids - known if not is_like(d, self._included, empty=False)}
        self.unfinished_owners |= unfinished_owners(orphans, self._catalogs, self._now)

    def covers(self, placement: Placement) -> bool:
        """Whether this object, which was asked about, is held."""
        return placement.dag_id in self.unknown_dags or placement.owner in self.unfinished_owners


def unfinished_owners(placements: Iterable[Placement], catalogs: Sequence[Catalog], now: datetime) -> set[str]:
    """The task instances that may still write one of these names: at work, or over for too short a time."""
    owners = {placement.owner for placement in placements if placement.owner is not None}
    return {owner for catalog in catalogs for owner in catalog.tasks.unfinished(owners, now - OWNER_REST)}
