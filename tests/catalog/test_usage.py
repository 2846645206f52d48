"""What the database adds up is what Python adds up row by row, whatever the rows, the filter and the names."""

from __future__ import annotations

import json
import pickle
from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from itertools import product
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import event

from tests.catalog.test_catalog import blocks
from tests.lab.database import Database, Databases, forget_deleted_rows
from tests.lab.world import WHEN, Push, World
from xcomctl.backend.reference import come_back, parse_base
from xcomctl.catalog import Catalog, open_catalog
from xcomctl.catalog.usage import DAY, NAMES, Question, size_class, usage
from xcomctl.model import Filter, State, is_control_key
from xcomctl.operations.rows import unfinished

BASE = "s3://conn@bucket/x_c%om"
BASES = (BASE, "file:///base/x_c.m", "s3://bucket", "gs://bucket/é", "s3://bucket/back\\slash", None)
"""Base paths with what LIKE, JSON and the rules of paths take for something else."""

LEAF = "0d760203-28d1-4226-81c7-7786b50e4773"
THRESHOLD = 20


def strings(base: str) -> Iterator[str]:
    """The beginnings of references, and what only looks so."""
    yield from (f"{base}/d/r/t/{LEAF}", f"{base}/d/r/t/{LEAF}.gz", f"{base}/any", f"{base}/d/r/t/", base)
    yield from (f"{base}{rest}" for rest in ("/", "//", "/.", "/./", "/./x", "//x", "/a/..", "/../x", "/..x/y", "/a//"))
    yield from (f"{base}x/d/r/t/{LEAF}", f"{base.upper()}/d/r/t/{LEAF}", f"{base}/d/é/t/{LEAF}", f"{base}/line\nend")
    other = base.replace("conn@", "other@").replace("s3://", "s3a://")
    yield from (f"{other}/d/r/t/{LEAF}", f"{base.replace('_', 'X')}/d", f"{base.replace('%', 'anything')}/d/r/t/{LEAF}")


def texts(base: str) -> Iterator[str]:
    """JSON texts with these strings: encoded once, twice, with every letter spelled out, and amid other things."""
    for string in strings(base):
        yield from (json.dumps(string), json.dumps(string, ensure_ascii=False), json.dumps(json.dumps(string)))
        spelled = json.dumps(string).replace(":", "\\u003a")
        yield from (spelled, json.dumps(spelled), json.dumps(string).replace("/", "\\/"), json.dumps([string]))
    yield from ("null", "190", "8.13", "true", "[]", '{"a": "b:c/d"}', '""', '"plain"', '"a:b/c"', '"caf\\u00e9: 1/2"')
    yield from ('"http://example.org/a"', '"back\\\\slash: a/b"', '"\\"quoted\\""', '"file:/base/x"', '"😀"', '"://"')
    yield from (json.dumps("x" * 1000), json.dumps(f"{base}/{'x' * 9000}"), json.dumps(["y" * 30_000]), '"12:00 a/b"')


BROKEN = (b'"%s/x', b'"%s/x" ', b'"%s/\xff"', b'"%s/a\nb"', b'"%s/a"b"', b'"%s/a\0b"', b' "%s/x"', b"", b'"', b"\x80")
"""What no JSON is, and bytes can be all the same."""


def names() -> Iterator[tuple[str, str, str, int, str]]:
    """Names that collations, LIKE and globs mix up."""
    dags = ("etl", "ETL", "etl_a", "etlXa", "dåg", "é%")
    keys = ("return_value", "Return_value", "k", "k ", "skipmixin_key", "SKIPMIXIN_KEY", "_link_x", "XlinkX")
    yield from product(dags, ("r", "r 2", "[r]", ".."), ("t", "T", "a.b"), (-1, 2), keys)


STRIDE = 25
"""Shares no factor with the number of names, so that all of them come in turn."""


def fill(world: World, base: str, count: int = 300) -> None:
    """So many rows, each with another text, and names, times and runs in turn."""
    values: list[str | bytes | None] = [*texts(base)]
    if world.database.label == "2.11":
        values += [each.replace(b"%s", base.encode()) for each in BROKEN]
        values += [pickle.dumps(value, protocol) for value in (base, {"a": base}, "x" * 9000) for protocol in (2, 4)]
    places = list(names())
    pushes = [
        Push(*places[number * STRIDE % len(places)], values[number % len(values)], WHEN + timedelta(hours=number % 60))
        for number in range(count)
    ]
    legacy = [push for number, push in enumerate(pushes) if number % 5 == 0] if world.database.label == "3.4" else []
    world.push_many([push for push in pushes if push not in legacy])
    if legacy:
        world.push_many(legacy, legacy=True)
    quoted = "`key`" if world.database.dialect == "mysql" else "key"
    for table in open_catalog(world.database.url, world.database.schema, None).schema.live:
        world.sql(f"UPDATE {table.name} SET value = NULL WHERE {quoted} = 'k'")
        if "dag_result" in table.columns:
            world.sql(f"UPDATE {table.name} SET dag_result = TRUE WHERE {quoted} = 'XlinkX'")
    world.run("ETL", "r", state="running")
    world.task("etl", "r", "T", state="running")
    world.task("etl_a", "r", "T", 7, state=None)
    if world.database.label == "3.4":
        world.retry("etl", "r 2", "t")
        world.push_many([Push("etl", "r 2", "t", key="again", value="1")])


def opened(database: Database, base: str | None) -> Catalog:
    return open_catalog(database.url, database.schema, parse_base(base) if base else None)


Sums = Counter[tuple[object, ...]]


def told(catalog: Catalog, question: Question) -> tuple[Sums, Sums, dict[tuple[object, ...], int]]:
    """Counts and bytes of each group, and its largest, as the database adds them up."""
    counts, sizes, largest = Counter(), Counter(), {}
    for share in usage(catalog, question):
        group = (*(share.names[name] for name in question.by), share.state, share.size_class, share.is_movable)
        counts[group] += share.count
        sizes[group] += share.size_bytes
        largest[group] = max(largest.get(group, 0), share.largest_bytes)
    return counts, sizes, largest


def counted(catalog: Catalog, question: Question) -> tuple[Sums, Sums, dict[tuple[object, ...], int]]:
    """The same, row by row."""
    rows = list(catalog.addressed(question.selected))
    at_work = unfinished(rows, catalog)
    counts, sizes, largest = Counter(), Counter(), {}
    for row in rows:
        xcom = row.xcom
        movable = question.threshold_bytes is not None and xcom.size_bytes >= question.threshold_bytes
        movable = movable and xcom.state is State.INLINE and not is_control_key(xcom.key) and not row.is_dag_result
        movable = movable and row not in at_work and come_back(xcom.dag_id, xcom.run_id, xcom.task_id)
        fields = {DAY: xcom.timestamp.date().isoformat(), **{name: getattr(xcom, name) for name in NAMES}}
        group = (*(fields[name] for name in question.by), xcom.state, size_class(xcom.size_bytes), movable)
        counts[group] += 1
        sizes[group] += xcom.size_bytes
        largest[group] = max(largest.get(group, 0), xcom.size_bytes)
    return counts, sizes, largest


FILTERS = [
    Filter(),
    Filter(dag_ids=("etl*",)),
    Filter(dag_ids=("etl_a", "é%"), exclude_keys=("K",)),
    Filter(dag_ids=("[eE]tl",), run_ids=("r",)),
    Filter(run_ids=("[r]",), task_ids=("t",)),
    Filter(keys=("k",)),
    Filter(keys=("skip*", "_link?x"), exclude_dag_ids=("etl",)),
    Filter(exclude_dag_ids=("ETL*",), exclude_keys=("return_*",)),
    Filter(map_index=2),
    Filter(since=WHEN + timedelta(hours=20)),
    Filter(until=WHEN + timedelta(hours=40), since=WHEN + timedelta(hours=5), task_ids=("*.b",)),
    Filter(larger_than=100),
    Filter(smaller_than=300, larger_than=10),
    Filter(smaller_than=0),
    Filter(states=(State.EXTERNAL,)),
    Filter(states=(State.INLINE, State.PICKLED), dag_ids=("*",)),
    Filter(states=(State.FOREIGN,), larger_than=30),
    Filter(dag_ids=("😀",)),
    Filter(dag_ids=("nothing",)),
]
BY = [(), ("dag_id",), ("key",), ("task_id", "run_id"), (DAY,), (DAY, "key", "dag_id"), (*NAMES, DAY)]


def check(database: Database, base: str | None, questions: list[Question]) -> None:
    catalog = opened(database, base)
    try:
        for question in questions:
            assert told(catalog, question) == counted(catalog, question), question
    finally:
        catalog.database.engine.dispose()


@pytest.mark.parametrize("base", BASES)
def test_every_filter_and_every_name(database: Database, world: World, base: str | None):
    fill(world, base or BASE)
    questions = [
        Question(selected, BY[number % len(BY)], THRESHOLD if number % 2 else None)
        for number, selected in enumerate(FILTERS)
    ]
    questions += [Question(Filter(), by, THRESHOLD) for by in BY]
    check(database, base, questions)
    assert base is None or {State.EXTERNAL, State.FOREIGN, State.INLINE} <= states(database, base)


def states(database: Database, base: str) -> set[State]:
    return {share.state for share in usage(opened(database, base), Question(Filter()))}


@pytest.mark.databases("*-2.11", "*-3.3", "*-3.4")
def test_page_by_page(database: Database, world: World, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("xcomctl.catalog.database.ROWS_PER_PAGE", 7)
    monkeypatch.setattr("xcomctl.catalog.usage.ROWS_PER_FETCH", 2)
    fill(world, BASE, 60)
    check(database, BASE, [Question(selected, ("dag_id",), 10) for selected in FILTERS])


@pytest.mark.databases("*-3.3-upgraded", "*-3.4-upgraded")
def test_what_an_upgrade_has_left(database: Database, world: World):
    fill(world, BASE, 100)
    check(database, BASE, [Question(Filter(), (*NAMES, DAY), THRESHOLD)])


def test_no_rows_at_all(database: Database, world: World):
    assert list(usage(opened(database, BASE), Question(Filter(), ("dag_id",), 1))) == []


def test_exact_is_the_length_of_the_text(database: Database, world: World):
    values = [
        json.dumps(["z" * 90_000]),
        json.dumps([f"item {number}" for number in range(9_000)]),
        '"é"',
        "8.5",
        "null",
    ]
    values += [
        json.dumps(json.dumps(["a" * 200] * 90)),
        json.dumps(f"{BASE}/d"),
        json.dumps("http://a/" + "y" * 99),
    ]
    world.push_many(Push("d", "r", "t", number, value=value) for number, value in enumerate(values))
    lengths = [len(_stored(world, number)) for number in range(len(values))]
    catalog = opened(database, BASE)
    exact = list(usage(catalog, Question(Filter(), ("task_id",), 1000, exact=True)))
    assert sum(share.size_bytes for share in exact) == sum(lengths)
    assert max(share.largest_bytes for share in exact) == max(lengths)
    large = [length for length in lengths if length >= 1000]
    assert (sum(s.count for s in exact if s.is_movable), sum(s.size_bytes for s in exact if s.is_movable)) == (
        len(large),
        sum(large),
    )
    bound = Filter(larger_than=90_000)
    asked = usage(catalog, Question(bound, exact=True))
    assert sum(share.count for share in asked) == sum(length >= 90_000 for length in lengths) >= 1
    as_stored = list(usage(catalog, Question(Filter(), ("task_id",), 1000)))
    assert sum(share.count for share in as_stored) == len(values)
    if database.dialect == "postgresql" and database.label != "2.11":
        assert sum(share.size_bytes for share in as_stored) < sum(lengths) / 2


ROWS_THEMSELVES = 30
"""Blocks of the small rows and their indexes; the values fill more than 2,000."""


@pytest.mark.databases("postgresql-2.11", "postgresql-3.3", "postgresql-3.4")
def test_no_value_is_read_but_for_exact_sizes(database: Database, world: World):
    value = json.dumps([uuid4().hex for _ in range(20_000)])
    world.push_many(Push("d", "r", f"t{number}", value=value) for number in range(30))
    forget_deleted_rows(database)
    catalog = opened(database, BASE)
    # Of bytes the first is looked at, to tell a pickle: that is one chunk and its index, of 300 chunks a value.
    allowed = ROWS_THEMSELVES + (30 * 3 * 4 if database.label == "2.11" else 0)
    assert max(read(catalog, Question(Filter(), (*NAMES, DAY), 1000))) <= allowed
    if database.label != "2.11":  # the length of bytes is at hand
        assert max(read(catalog, Question(Filter(), exact=True))) > 1000


def read(catalog: Catalog, question: Question) -> list[int]:
    """How many blocks PostgreSQL touches for each statement."""
    asked: list[tuple[str, object]] = []

    def note(*told: Any) -> None:
        asked.append((told[2], told[3]))

    event.listen(catalog.database.engine, "before_cursor_execute", note)
    assert sum(share.count for share in usage(catalog, question)) == 30
    event.remove(catalog.database.engine, "before_cursor_execute", note)
    return [blocks(catalog, statement, values) for statement, values in asked if statement.startswith("SELECT")]


def _stored(world: World, map_index: int) -> bytes:
    value = world.stored("d", "r", "t", map_index)
    assert value is not None
    return value if isinstance(value, bytes) else value.encode()


LETTERS = st.one_of(
    st.sampled_from(["/", "//", "..", ".", ":", "\\", '"', "é", "%", "_", "\n", "u00", "file:", "s3://", "x", LEAF]),
    st.characters(blacklist_categories=("Cs",), blacklist_characters="\0"),
)
STRINGS = st.tuples(
    st.sampled_from(["", *(f"{base}/" for base in BASES if base)]), st.lists(LETTERS, max_size=6).map("".join)
).map("".join)


def _encoded(string: str, how: int) -> str:
    text = json.dumps(string, ensure_ascii=how % 2 == 0)
    return json.dumps(text) if how > 1 else text


@pytest.mark.parametrize("name", ["sqlite-3.3", "sqlite-2.11", "postgresql-3.3", "postgresql-2.11", "mysql-3.3"])
def test_any_string_has_the_state_that_python_tells(databases: Databases, name: str):
    @settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.lists(st.tuples(STRINGS, st.integers(0, 3)), min_size=20, max_size=60), st.sampled_from(BASES[:4]))
    def holds(found: list[tuple[str, int]], base: str):
        with databases.fresh(name) as database, World(database) as world:
            values = [_encoded(*each) for each in found]
            world.push_many(Push("d", "r", "t", number, value=value) for number, value in enumerate(values))
            check(database, base, [Question(Filter(), ("task_id",), 40)])

    holds()
