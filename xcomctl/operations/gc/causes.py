"""Why an object is an orphan, as far as the databases still tell: an explanation, on which nothing else depends."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

from xcomctl.backend.reference import Placement
from xcomctl.catalog import Catalog
from xcomctl.operations.gc.evidence import Evidence
from xcomctl.operations.gc.terms import Cause

Task = tuple[str, str, str]

BROKEN = frozenset({"failed", "up_for_retry", "upstream_failed", "removed", "restarting"})
"""The states in which an attempt may have written an object and never its row."""


class Causes:
    """What the databases know of the tasks that some orphans are named after."""

    def __init__(self, orphans: Collection[Placement], catalogs: Sequence[Catalog], evidence: Evidence) -> None:
        tasks = {_task(orphan) for orphan in orphans}
        dag_ids = {dag_id for dag_id, _, _ in tasks}
        runs = {task[:2] for task in tasks}
        self._archived = evidence.archived
        self._dags = {dag_id for each in catalogs for dag_id in each.tasks.known_dags(dag_ids)}
        self._runs = {run for each in catalogs for run in each.tasks.known_runs(runs)}
        self._states: dict[Task, set[str]] = {}
        for task, states in _states(tasks, catalogs):
            self._states.setdefault(task, set()).update(states)
        self._referring = {task for each in catalogs for task in each.referring_tasks(tasks)}

    def of(self, orphan: Placement) -> Cause:
        """The likeliest cause."""
        task = _task(orphan)
        if self._archived.holds(orphan):
            return Cause.DB_CLEAN
        if task[:2] not in self._runs:
            return Cause.RUN_DELETED if orphan.dag_id in self._dags else Cause.DAG_DELETED
        if task not in self._states:
            return Cause.TASK_DELETED
        if task in self._referring:
            return Cause.OVERWRITTEN
        return Cause.NEVER_COMMITTED if self._states[task] <= BROKEN else Cause.ROW_DELETED


def _states(tasks: Collection[Task], catalogs: Sequence[Catalog]) -> Iterator[tuple[Task, set[str]]]:
    for catalog in catalogs:
        yield from catalog.tasks.task_states(tasks).items()


def _task(orphan: Placement) -> Task:
    return orphan.dag_id, orphan.run_id, orphan.task_id
