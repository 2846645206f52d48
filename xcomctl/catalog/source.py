"""One table of XComs as a query sees it: whichever Airflow wrote it, with the same columns under the same names."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from xcomctl.catalog.schema import Schema, Table

if TYPE_CHECKING:
    from sqlalchemy.sql import ColumnElement, FromClause
    from sqlalchemy.sql.expression import TableClause

    Column = ColumnElement[Any]

_TASK_INSTANCE = (
    "id",
    "dag_id",
    "run_id",
    "task_id",
    "map_index",
    "region_index",
    "try_number",
    "working_set",
)


@dataclass(frozen=True, slots=True)
class Source:
    """What to select from, and the columns that every source has.

    `page` is the number or uuid that ranges are made of; `order` makes two runs list alike; `live` is the condition
    on rows of the attempt that Airflow shows, None where there is but one attempt; `is_dag_result` tells the result of
    a whole run (Airflow 3.3), None before.
    """

    table: Table
    rows: FromClause
    dag_id: Column
    run_id: Column
    task_id: Column
    map_index: Column
    key: Column
    value: Column
    timestamp: Column
    page: Column
    order: Sequence[Column]
    try_number: Column
    live: Column | None
    is_dag_result: Column | None = None


def source_of(table: Table, schema: Schema) -> Source:
    """The source for one of the schema's XCom tables, archives included."""
    if "task_instance_id" in table.columns and "dag_id" not in table.columns:
        return _attempts(table, schema) if table in schema.live else _archived_attempts(table, schema)
    return _coordinates(table, schema)


def clause(schema: Schema, name: str, columns: Sequence[str], *, alias: str | None = None) -> Any:
    """A table with the columns that a query names, in the schema's namespace."""
    from sqlalchemy import column, table

    named: TableClause = table(name, *(column(each) for each in columns), schema=schema.namespace)
    return named.alias(alias) if alias else named


def _attempts(table: Table, schema: Schema) -> Source:
    """`xcom_v2` and its archives: the task instance knows where a value belongs (Airflow 3.4)."""
    from sqlalchemy import true

    result = ("dag_result",) if "dag_result" in table.columns else ()
    x = clause(schema, table.name, ("id", "task_instance_id", "key", "value", "timestamp", *result), alias="x")
    ti = _task_instance(schema)
    return Source(
        table=table,
        rows=x.join(ti, ti.c.id == x.c.task_instance_id),
        dag_id=ti.c.dag_id,
        run_id=ti.c.run_id,
        task_id=ti.c.task_id,
        map_index=ti.c[_index_of(schema.task_instance)],
        key=x.c.key,
        value=x.c.value,
        timestamp=x.c.timestamp,
        page=x.c.id,
        order=(x.c.id,),
        try_number=ti.c.try_number,
        live=ti.c.working_set.is_(true()) if "working_set" in schema.task_instance else None,
        is_dag_result=x.c.dag_result if result else None,
    )


def _archived_attempts(table: Table, schema: Schema) -> Source:
    """An archive of `xcom_v2`. The task instance may still be there, be archived as well, or be gone without trace."""
    from sqlalchemy import func, null

    source = _attempts(table, schema)
    x, ti = source.rows.left, source.rows.right  # type: ignore[attr-defined]
    archived = _archived_task_instances(schema)
    rows = x.outerjoin(ti, ti.c.id == x.c.task_instance_id)
    sides = [ti] if archived is None else [ti, archived]
    if archived is not None:
        rows = rows.outerjoin(archived, archived.c.id == x.c.task_instance_id)
    index = _index_of(schema.task_instance)

    def told(name: str, otherwise: object) -> Any:
        return func.coalesce(
            *(side.c[index if side is ti and name == "map_index" else name] for side in sides), otherwise
        )

    return replace(
        source,
        rows=rows,
        dag_id=told("dag_id", ""),
        run_id=told("run_id", ""),
        task_id=told("task_id", ""),
        map_index=told("map_index", -1),
        try_number=told("try_number", null()),
        live=None,
    )


def _archived_task_instances(schema: Schema) -> Any:
    """All that archives tell of task instances, one by one under the names of the live ones; None without archives."""
    from sqlalchemy import select, union

    names = ("id", "dag_id", "run_id", "task_id", "try_number")
    known = [(name, columns) for name, columns in schema.archived_tasks if {*names} <= columns]
    queries = []
    for name, columns in known:
        index = _index_of(columns)
        ti = clause(schema, name, (*names, index))
        queries.append(select(*(ti.c[each] for each in names), ti.c[index].label("map_index")))
    if not queries:
        return None
    return (queries[0] if len(queries) == 1 else union(*queries)).subquery("archived_ti")


def _index_of(columns: Collection[str]) -> str:
    """What a table of task instances calls the map index: 3.4 renamed it."""
    return "region_index" if "region_index" in columns else "map_index"


def _coordinates(table: Table, schema: Schema) -> Source:
    """`xcom` and what became of it: the row says itself where its value belongs."""
    from sqlalchemy import literal_column

    names = ("dag_run_id", "dag_id", "run_id", "task_id", "map_index", "key", "value", "timestamp")
    result = ("dag_result",) if "dag_result" in table.columns else ()
    x = clause(schema, table.name, (*names, *result), alias="x")
    legacy = table.name == "xcom_v1" and {"legacy_task_data_owner", "task_instance"} <= schema.tables
    owner, ti = (_owner(schema), _task_instance(schema)) if legacy else (None, None)
    rows = x if owner is None or ti is None else _owned(x, owner, ti)
    return Source(
        table=table,
        rows=rows,
        dag_id=x.c.dag_id,
        run_id=x.c.run_id,
        task_id=x.c.task_id,
        map_index=x.c.map_index,
        key=x.c.key,
        value=x.c.value,
        timestamp=x.c.timestamp,
        page=x.c.dag_run_id,
        order=(x.c.dag_run_id, x.c.task_id, x.c.map_index, x.c.key),
        try_number=literal_column("NULL") if ti is None else ti.c.try_number,
        live=None if owner is None else _not_superseded(schema, x, owner, ti),
        is_dag_result=x.c.dag_result if result else None,
    )


def _task_instance(schema: Schema) -> Any:
    return clause(schema, "task_instance", [c for c in _TASK_INSTANCE if c in schema.task_instance], alias="ti")


def _owner(schema: Schema) -> Any:
    columns = ("dag_id", "run_id", "task_id", "map_index", "task_instance_id")
    return clause(schema, "legacy_task_data_owner", columns, alias="o")


def _owned(x: Any, owner: Any, ti: Any) -> Any:
    from sqlalchemy import and_

    same = and_(*(owner.c[name] == x.c[name] for name in ("dag_id", "run_id", "task_id", "map_index")))
    return x.outerjoin(owner, same).outerjoin(ti, ti.c.id == owner.c.task_instance_id)


def _not_superseded(schema: Schema, x: Any, owner: Any, ti: Any) -> Any:
    """Airflow 3.4 shows an old row while its attempt is the live one and has not pushed the key again."""
    from sqlalchemy import and_, or_, select, true

    v2 = clause(schema, "xcom_v2", ("id", "task_instance_id", "key"), alias="newer")
    pushed_again = (
        select(v2.c.id).where(v2.c.task_instance_id == owner.c.task_instance_id, v2.c.key == x.c.key).exists()
    )
    unowned = owner.c.task_instance_id.is_(None)
    return or_(unowned, and_(ti.c.working_set.is_(true()), ~pushed_again))
