"""Why an object is an orphan, as far as the databases still tell: an explanation, on which nothing else depends."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

from xcomctl.backend.reference import Placement
from xcomctl.catalog import Catalog
from xcomctl.numbers import hashes_of
from xcomctl.operations.gc.candidates import Cause
from xcomctl.operations.gc.evidence import Evidence

Task = tuple[str, str, str]

BROKEN = frozenset({"failed", "up_for_retry", "upstream_failed", "removed", "restarting"})
"""The states in which an attempt may have written an object and never its row."""


class Causes:
    """What the databases know of the tasks that orphans are named after, asked for many at a time."""

    def __init__(self, catalogs: Sequence[Catalog], evidence: Evidence) -> None:
        self._catalogs = catalogs
        self._evidence = evidence

    def of(self, orphans: Sequence[Placement]) -> list[Cause]:
        """The likeliest causes. Of tasks of runs that are gone nothing more is asked."""
        runs, tasks = [_run(orphan) for orphan in orphans], [_task(orphan) for orphan in orphans]
        known = {run for each in self._catalogs for run in each.tasks.known_runs(set(runs))}
        dags = {dag_id for each in self._catalogs for dag_id in each.tasks.known_dags({run[0] for run in runs})}
        states: dict[Task, set[str]] = {}
        for task, some in _states({task for task in tasks if task[:2] in known}, self._catalogs):
            states.setdefault(task, set()).update(some)
        archived = self._evidence.archived.names.holding(hashes_of([orphan.unique for orphan in orphans]))
        referring = self._evidence.live.folders.holding(hashes_of(list(map("/".join, tasks))))

        def cause(task: Task, is_archived: bool, refers: bool) -> Cause:
            if is_archived:
                return Cause.DB_CLEAN
            if task[:2] not in known:
                return Cause.RUN_DELETED if task[0] in dags else Cause.DAG_DELETED
            if task not in states:
                return Cause.TASK_DELETED
            if refers:
                return Cause.OVERWRITTEN
            return Cause.NEVER_COMMITTED if states[task] <= BROKEN else Cause.ROW_DELETED

        return list(map(cause, tasks, archived.tolist(), referring.tolist()))


def _states(tasks: Collection[Task], catalogs: Sequence[Catalog]) -> Iterator[tuple[Task, set[str]]]:
    for catalog in catalogs:
        yield from catalog.tasks.task_states(tasks).items()


def _run(orphan: Placement) -> tuple[str, str]:
    return orphan.dag_id, orphan.run_id


def _task(orphan: Placement) -> Task:
    return orphan.dag_id, orphan.run_id, orphan.task_id
