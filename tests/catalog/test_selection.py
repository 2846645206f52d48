"""Filters: every one of them, on every database, and the same answer as plain Python gives."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from fnmatch import fnmatchcase

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.lab.database import Database
from tests.lab.world import WHEN, Push, World
from xcomctl.catalog import open_catalog
from xcomctl.catalog.selection import _like, is_like
from xcomctl.model import Filter, State

NAMES = ("etl_a", "etlXa", "ETL_a", "etl-b", "50%", "a[1]", "a1", "back\\slash")
PUSHES = [
    Push(
        name, f"run {number}", f"{name}.task", number - 1, f"key {number}",
        json.dumps("x" * 100 * number), WHEN + timedelta(hours=number),
    )
    for number, name in enumerate(NAMES)
]  # fmt: skip


def chosen(database: Database, selected: Filter) -> list[str]:
    return [xcom.dag_id for xcom in open_catalog(database.url, None, None).rows(selected)]


@pytest.mark.databases("sqlite-3.3", "postgresql-3.3", "mysql-3.3", "sqlite-2.11", "mysql-2.11", "postgresql-3.4")
def test_every_filter(database: Database, world: World):
    world.push_many(PUSHES)
    names = NAMES
    for pattern in ("etl_a", "etl*", "etl?a", "*[ab]", "a[1]", "50%", "E*", "nothing", "*\\*", "[!e]*"):
        expected = [name for name in names if name == pattern or fnmatchcase(name, pattern)]
        assert sorted(chosen(database, Filter(dag_ids=(pattern,)))) == sorted(expected), pattern
        rest = [name for name in names if name not in expected]
        assert sorted(chosen(database, Filter(exclude_dag_ids=(pattern,)))) == sorted(rest), pattern
    assert set(chosen(database, Filter(run_ids=("run 0", "run [34]")))) == {names[0], names[3], names[4]}
    assert chosen(database, Filter(task_ids=("etlXa.*",))) == ["etlXa"]
    assert chosen(database, Filter(keys=("key 1",))) == ["etlXa"]
    assert "etlXa" not in chosen(database, Filter(exclude_keys=("key 1",)))
    assert chosen(database, Filter(map_index=-1)) == ["etl_a"]
    assert chosen(database, Filter(map_index=0)) == ["etlXa"]
    hour = timedelta(hours=1)
    assert chosen(database, Filter(until=WHEN)) == ["etl_a"]
    assert set(chosen(database, Filter(since=WHEN + 6 * hour))) == {"a1", "back\\slash"}
    assert chosen(database, Filter(since=WHEN + hour, until=WHEN + hour)) == ["etlXa"]
    assert set(chosen(database, Filter(larger_than=600))) == {"a1", "back\\slash"}
    assert chosen(database, Filter(smaller_than=50)) == ["etl_a"]
    assert chosen(database, Filter(states=(State.EXTERNAL,))) == []
    assert len(chosen(database, Filter(states=(State.INLINE, State.EXTERNAL)))) == len(names)


@given(st.text("ab*?[]!_%\\", max_size=8), st.text("ab*?[]!_%\\", max_size=8))
def test_the_database_never_narrows_more_than_the_glob(pattern, text):
    if is_like(text, (pattern,), empty=False) and text != pattern:
        assert _matches_like(_like(pattern), text)


def _matches_like(pattern: str, text: str) -> bool:
    """LIKE with `!` as its escape, in Python."""
    if not pattern:
        return not text
    if pattern[0] == "%":
        return any(_matches_like(pattern[1:], text[start:]) for start in range(len(text) + 1))
    if not text:
        return False
    if pattern[0] == "!":
        return pattern[1] == text[0] and _matches_like(pattern[2:], text[1:])
    return pattern[0] in ("_", text[0]) and _matches_like(pattern[1:], text[1:])


def test_no_filter_means_everything():
    assert replace(Filter(), dag_ids=()) == Filter()
    assert is_like("anything", (), empty=True)
