"""Which rows a filter means, and which objects: a condition for the database lets through too much, Python has the
last word.

LIKE has no character classes, and MySQL's collations take `a` for `A`, so the database only narrows.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from xcomctl.backend.reference import Placement
from xcomctl.catalog.dialect import Dialect
from xcomctl.catalog.source import Source
from xcomctl.model import Filter, StoredObject, XCom

if TYPE_CHECKING:
    from sqlalchemy.sql import ColumnElement

_GLOB = re.compile(r"[*?\[]")


def conditions(selected: Filter, source: Source, dialect: Dialect) -> list[ColumnElement[Any]]:
    """What the database can tell cheaply; every row that `matches` passes these too."""
    found = [
        _any_glob(column, patterns)
        for column, patterns in (
            (source.dag_id, selected.dag_ids),
            (source.run_id, selected.run_ids),
            (source.task_id, selected.task_ids),
            (source.key, selected.keys),
        )
        if patterns and all(map(dialect.can_hold, patterns))
    ]
    if selected.map_index is not None:
        found.append(source.map_index == selected.map_index)
    if selected.since is not None:
        found.append(_in_time(source.timestamp >= dialect.bound(selected.since), source, dialect))
    if selected.until is not None:
        found.append(_in_time(source.timestamp <= dialect.bound(selected.until), source, dialect))
    return found


def _in_time(within: ColumnElement[Any], source: Source, dialect: Dialect) -> ColumnElement[Any]:
    """A bound of time, which also a time keeps that the database does not tell."""
    from sqlalchemy import not_, or_

    if dialect.tells_time is None:
        return within
    return or_(within, not_(dialect.tells_time(source.timestamp)))


def sized(selected: Filter, size: ColumnElement[Any]) -> list[ColumnElement[Any]]:
    """The bounds of size, for whoever knows which size counts; a NULL has none."""
    from sqlalchemy import func

    size_bytes = func.coalesce(size, 0)
    larger = [size_bytes >= selected.larger_than] if selected.larger_than is not None else []
    smaller = [size_bytes <= selected.smaller_than] if selected.smaller_than is not None else []
    return [*larger, *smaller]


def is_decided(selected: Filter, dialect: Dialect) -> bool:
    """Whether `conditions` and `sized` let through no row that `matches` does not."""
    names = (selected.dag_ids, selected.run_ids, selected.task_ids, selected.keys)
    is_timed = selected.since is not None or selected.until is not None
    left = (*names, selected.exclude_dag_ids, selected.exclude_keys, selected.states)
    return not any(left) and (dialect.compares_times or not is_timed)


def matches(selected: Filter, xcom: XCom) -> bool:
    """Whether a row is meant. Bounds of time and size are included."""
    return (
        is_like(xcom.dag_id, selected.dag_ids, empty=True)
        and is_like(xcom.run_id, selected.run_ids, empty=True)
        and is_like(xcom.task_id, selected.task_ids, empty=True)
        and is_like(xcom.key, selected.keys, empty=True)
        and not is_like(xcom.dag_id, selected.exclude_dag_ids, empty=False)
        and not is_like(xcom.key, selected.exclude_keys, empty=False)
        and selected.map_index in (None, xcom.map_index)
        and (selected.since is None or xcom.timestamp >= selected.since)
        and (selected.until is None or xcom.timestamp <= selected.until)
        and (selected.larger_than is None or xcom.size_bytes >= selected.larger_than)
        and (selected.smaller_than is None or xcom.size_bytes <= selected.smaller_than)
        and (not selected.states or xcom.state in selected.states)
    )


def matches_object(selected: Filter, found: StoredObject, placement: Placement | None) -> bool:
    """Whether an object is meant, as far as its name, time and size tell; one of another layout has no names."""
    names = (selected.dag_ids, selected.exclude_dag_ids, selected.run_ids, selected.task_ids)
    named = not any(names) if placement is None else _matches_placement(selected, placement)
    return (
        named
        and (selected.since is None or found.modified_at >= selected.since)
        and (selected.until is None or found.modified_at <= selected.until)
        and (selected.larger_than is None or found.size_bytes >= selected.larger_than)
        and (selected.smaller_than is None or found.size_bytes <= selected.smaller_than)
    )


def _matches_placement(selected: Filter, placement: Placement) -> bool:
    return (
        is_like(placement.dag_id, selected.dag_ids, empty=True)
        and not is_like(placement.dag_id, selected.exclude_dag_ids, empty=False)
        and is_like(placement.run_id, selected.run_ids, empty=True)
        and is_like(placement.task_id, selected.task_ids, empty=True)
    )


def is_like(text: str, patterns: Sequence[str], *, empty: bool) -> bool:
    """Whether any glob matches, case-sensitively, or is the text itself; `empty` when there are none."""
    return any(text == pattern or fnmatchcase(text, pattern) for pattern in patterns) if patterns else empty


def is_glob(pattern: str) -> bool:
    """Whether a name may mean others than itself."""
    return _GLOB.search(pattern) is not None


def _any_glob(column: ColumnElement[Any], patterns: Sequence[str]) -> ColumnElement[Any]:
    from sqlalchemy import or_

    return or_(*(_glob(column, pattern) for pattern in patterns))


def _glob(column: ColumnElement[Any], pattern: str) -> ColumnElement[Any]:
    from sqlalchemy import or_

    if not is_glob(pattern):
        return column == pattern
    return or_(column == pattern, column.like(_like(pattern), escape="!"))


def _like(pattern: str) -> str:
    """A LIKE pattern that matches at least what the glob does: everything from a class on is left open."""
    literal = pattern.split("[", 1)
    escaped = re.sub(r"([!%_])", r"!\1", literal[0]).replace("*", "%").replace("?", "_")
    return escaped + ("%" if len(literal) > 1 else "")
