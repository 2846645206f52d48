"""What speaks against moving a row, as far as it shows without its value, and then what shows in it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

from xcomctl.backend.reference import Address, address_of
from xcomctl.catalog import Catalog
from xcomctl.catalog.catalog import Row
from xcomctl.catalog.rewriting import Text
from xcomctl.model import State
from xcomctl.operations.migrate.terms import Rules, Skip

CONTROL_KEYS = ("skipmixin_key", "past_depends_met", "pipeline_inlets", "pipeline_outlets")
CONTROL_PREFIX = "_link_"
"""What the scheduler, the API server and the lineage of Airflow read from the row, without an XCom backend: a reference
in `skipmixin_key` makes branches run that were skipped (apache/airflow#50491)."""

ROWS_AT_ONCE = 500
ANY_LEAF = "00000000-0000-4000-8000-000000000000"


def judged(rows: Iterable[Row], catalog: Catalog, base: Address) -> Iterator[tuple[Row, Skip | None]]:
    """Each row with what keeps it where it is, or None. Asks the database about many runs and tasks at a time."""
    waiting = iter(rows)
    while some := list(islice(waiting, ROWS_AT_ONCE)):
        kept = {row: _kept_by_itself(row, base) for row in some}
        unfinished = _unfinished([row for row, skip in kept.items() if skip is None], catalog)
        for row, skip in kept.items():
            yield row, skip or (Skip.RUN_UNFINISHED if row in unfinished else None)


def kept_by_text(text: Text, rules: Rules) -> Skip | None:
    """What its value says against moving a row."""
    if len(text.data) < rules.threshold:
        return Skip.BELOW_THRESHOLD
    try:
        value = json.loads(text.data)
    except (ValueError, RecursionError):
        return Skip.NOT_JSON
    return Skip.LINK if isinstance(value, str) and value.startswith(("http://", "https://")) else None


def _kept_by_itself(row: Row, base: Address) -> Skip | None:
    xcom = row.xcom
    if xcom.key in CONTROL_KEYS or xcom.key.startswith(CONTROL_PREFIX):
        return Skip.CONTROL_KEY
    if row.is_dag_result:
        return Skip.DAG_RESULT
    if xcom.state in (State.EXTERNAL, State.FOREIGN):
        return Skip.REFERENCE
    if xcom.state is State.PICKLED:
        return Skip.PICKLED
    if address_of(base, xcom.dag_id, xcom.run_id, xcom.task_id, ANY_LEAF) is None:
        return Skip.UNSAFE_NAME
    return None


def _unfinished(rows: Sequence[Row], catalog: Catalog) -> set[Row]:
    """The rows whose run is not over, or whose task is at work although it is."""
    runs = catalog.tasks.unfinished_runs({(row.xcom.dag_id, row.xcom.run_id) for row in rows})
    tasks = catalog.tasks.at_work({(row.xcom.dag_id, row.xcom.run_id, row.xcom.task_id) for row in rows})
    return {
        row
        for row in rows
        if (row.xcom.dag_id, row.xcom.run_id) in runs or (row.xcom.dag_id, row.xcom.run_id, row.xcom.task_id) in tasks
    }
