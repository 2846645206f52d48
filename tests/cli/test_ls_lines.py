"""What the database writes as lines is, to the last byte, what is shown row by row: of any rows, columns and filter."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from datetime import timedelta, timezone
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.catalog.test_usage import BASE, FILTERS, LEAF, STRINGS, fill
from tests.cli.conftest import Run, place
from tests.lab.database import Database, Databases
from tests.lab.world import WHEN, Push, World
from tests.operations.scene import Scene
from xcomctl.backend.reference import parse_base
from xcomctl.catalog import Catalog, open_catalog
from xcomctl.catalog.lines import FIELDS, Lines, Page
from xcomctl.cli import render
from xcomctl.cli.options import Color, Output
from xcomctl.model import Filter
from xcomctl.operations import listing
from xcomctl.operations.listing import Question, list_lines, list_xcoms

COLUMNS = [FIELDS, ("state",), ("reference",), ("key", "dag_id"), ("size_bytes", "reference", "state"), FIELDS[::-1]]
STRANGE = ("tab\there", "line\nend", "back\\slash", 'quo"te', "return\r", "é😀", "\x1a", "\x1c", "://a:b@c", " ", "'%_")
URLS = (
    f"{BASE}/d/s3://user:word@host/{LEAF}",
    f"{BASE}/a\tb/{LEAF}",
    f"{BASE}/a\\b/{LEAF}",
    f"s3://u:p@b/d/r/t/{LEAF}",
)
SPELLED = (
    f'"{BASE}/d/r/t/{LEAF}"'.replace("/", "\\/"),
    f'"{BASE}/d/r/t/{LEAF}"'.replace("/", "\\u002f").replace("s3", "\\u0073\\u0033"),
    f'"s3\\u003a//other/d/r/t/{LEAF}"',
    f'"file:/other/d/r/t/{LEAF}"',
    f'"s3:\\n//other/d/r/t/{LEAF}"',
)
"""URLs as JSON need not spell them, and one that is none."""


def fill_strangely(world: World) -> None:
    """Names, references and times that lines must not take apart or put together otherwise."""
    database = world.database
    able = [name for name in STRANGE if database.dialect != "mysql" or "😀" not in name]
    values = [
        *(json.dumps(url) for url in URLS),
        json.dumps(json.dumps(URLS[0])),
        *SPELLED,
        '"http://example.org/a"',
        "1",
    ]
    world.push_many(
        Push("strange", "r", name, -1, name, values[number % len(values)], WHEN + timedelta(microseconds=number % 3))
        for number, name in enumerate(able)
    )
    world.push_many(Push("spelled", "r", "t", number, value=value) for number, value in enumerate(values))
    world.push_many(
        Push("timed", "r", "t", number, value=values[number], timestamp=at)
        for number, at in enumerate((WHEN.replace(microsecond=0), WHEN.replace(microsecond=120), WHEN))
    )
    if database.dialect == "sqlite":
        table = "xcom_v2" if database.label.startswith("3.4") else "xcom"
        for key, at in enumerate(("2026-01-02T03:04:05.678901Z", "2026-01-02 03:04:05+01:00", "2026-01-02 03:04:05")):
            world.push("respelled", "r", "t", key=str(key), value=json.dumps(URLS[0]))
            world.sql(f"UPDATE {table} SET timestamp = :at WHERE key = :key", at=at, key=str(key))
            world.sql(f"UPDATE {table} SET key = :to WHERE key = :key", key=str(key), to=key * "\t" + "\n")
        world.push("zero\0name", "r", "t", key="a\0b", value=json.dumps(f"{BASE}/d/r/t/{uuid4()}"))
        world.sql(f"UPDATE {table} SET value = :value WHERE key = 'k '", value=f'"{BASE}/d"\0"')


def opened(database: Database, base: str | None) -> Catalog:
    return open_catalog(database.url, database.schema, parse_base(base) if base else None)


def records(catalog: Catalog, question: Question, columns: tuple[str, ...]) -> Iterator[dict[str, object]]:
    found = list_xcoms(catalog, question, None, lambda xcom, error: pytest.fail(str(error)))
    return listing.records(found.xcoms, columns)


def written(pages: Iterator[Page], columns: tuple[str, ...]) -> Iterator[tuple[int, str | None, Iterator[object]]]:
    return ((page.rows, page.text, listing.records(page.xcoms(), columns)) for page in pages)


def check(catalog: Catalog, question: Question, columns: tuple[str, ...], shown) -> bool:
    """Whether there are lines at all; these are then the rows."""
    pages = list_lines(catalog, question, columns)
    if pages is None:
        return False
    render.lines(written(pages, columns), columns)
    by_line = shown.readouterr().out
    render.records(records(catalog, question, columns), columns, Output.PLAIN, Color.NEVER)
    assert by_line == shown.readouterr().out, (question, columns)
    return True


@pytest.mark.parametrize("base", [BASE, "file:///base/x_c.m", "s3://user:word@bucket/x", "gs://bucket/é", None])
def test_every_filter_and_every_column(database: Database, world: World, base: str | None, capsysbinary):
    fill(world, base or BASE)
    fill_strangely(world)
    catalog = opened(database, base)
    told = [
        check(catalog, Question(selected, all_attempts=bool(number % 2)), COLUMNS[number % len(COLUMNS)], capsysbinary)
        for number, selected in enumerate([*FILTERS, *[Filter()] * 2 * len(COLUMNS)])
    ]
    assert any(told) == (base != "s3://user:word@bucket/x")
    catalog.database.engine.dispose()


@pytest.mark.databases("*-2.11", "*-3.3", "*-3.4")
def test_page_by_page(database: Database, world: World, monkeypatch: pytest.MonkeyPatch, capsysbinary):
    monkeypatch.setattr("xcomctl.catalog.lines.ROWS_PER_PAGE", 7)
    fill(world, BASE, 100)
    fill_strangely(world)
    catalog = opened(database, BASE)
    assert all(check(catalog, Question(Filter()), columns, capsysbinary) for columns in COLUMNS)
    assert sum(page.rows for page in list_lines(catalog, Question(Filter()), FIELDS) or ()) > 100
    catalog.database.engine.dispose()


@pytest.mark.databases("*-3.3")
def test_an_ordinary_page_is_text(database: Database, world: World):
    values = [json.dumps(f"{BASE}/d/é/t/{uuid4()}") for _ in range(9)]
    values += ['"http://example.org/a"', '"12:00 a/b"', json.dumps(f"s3://other/d/r/t/{uuid4()}"), "1", "null"]
    world.push_many(Push("d", "r", "t", number, value=value) for number, value in enumerate(values))
    (page,) = list_lines(opened(database, BASE), Question(Filter()), FIELDS) or ()
    assert page.rows == len(values) and page.text is not None and page.text.count("\n") == page.rows - 1
    assert page.text.count("\texternal\t") == 9 and page.text.count("\tforeign\t") == 1


@pytest.mark.databases("*-2.11", "*-3.3")
def test_a_page_with_much_in_doubt_is_read_row_by_row(database: Database, world: World, capsysbinary):
    """All that is in doubt of a page is held at once, and PostgreSQL keeps a megabyte of it in some kilobytes."""
    values = ["2026-01-01 12:00:00 INFO /opt/airflow: all is well\n" * 3000, '{"url": "s3://b/x"}' * 50]
    world.push_many(Push("d", "r", "t", number, value=json.dumps(value)) for number, value in enumerate(values))
    catalog = opened(database, BASE)
    assert [page.text is not None for page in list_lines(catalog, Question(Filter()), FIELDS) or ()] == [True]
    world.push("d", "r", "u", value=json.dumps("http://example.org/?" + "all=well&" * 1000))
    assert [page.text for page in list_lines(catalog, Question(Filter()), FIELDS) or ()] == [None]
    assert check(catalog, Question(Filter()), FIELDS, capsysbinary)
    catalog.database.engine.dispose()


@pytest.mark.databases("sqlite-3.3")
def test_what_the_database_cannot_write_is_read_row_by_row(database: Database, world: World, capsysbinary):
    world.push("d", "r", "t", value="1")
    world.sql("UPDATE xcom SET value = :value", value=f'"{BASE}/d/r/t/{LEAF}'.encode() + b'\xff"')
    catalog = opened(database, BASE)
    assert [page.text for page in list_lines(catalog, Question(Filter()), FIELDS) or ()] == [None]
    assert check(catalog, Question(Filter()), FIELDS, capsysbinary)
    catalog.database.engine.dispose()


@pytest.mark.databases("sqlite-3.3")
def test_what_lines_cannot_tell(database: Database, world: World):
    catalog = opened(database, BASE)
    for question in (Question(Filter(), sort="key"), Question(Filter(), limit=5), Question(Filter(), archived=True)):
        assert list_lines(catalog, question, FIELDS) is None
    assert not Lines(catalog, Filter(), (*FIELDS, "object_size_bytes")).are_told
    assert not Lines(catalog, Filter(dag_ids=("[a]",)), FIELDS).are_told


NAMES = st.text(st.characters(blacklist_categories=("Cs",), blacklist_characters="\0"), min_size=1, max_size=8)


@pytest.mark.parametrize("name", ["sqlite-3.3", "sqlite-2.11", "postgresql-3.3", "postgresql-2.11"])
def test_any_names_and_values(databases: Databases, name: str, capsysbinary):
    pushed = st.tuples(NAMES, STRINGS, st.booleans(), st.integers(0, 10**6))

    @settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.lists(pushed, min_size=5, max_size=40))
    def holds(found: list[tuple[str, str, bool, int]]):
        with databases.fresh(name) as database, World(database) as world:
            world.push_many(
                Push(
                    "d", "r", "t", number, key, json.dumps(text, ensure_ascii=ascii_only), WHEN + timedelta(0, 0, more)
                )
                for number, (key, text, ascii_only, more) in enumerate(found)
            )
            catalog = opened(database, BASE)
            assert check(catalog, Question(Filter()), FIELDS, capsysbinary)
            catalog.database.engine.dispose()

    holds()


@pytest.mark.databases("sqlite-3.3")
@pytest.mark.stores("file")
def test_from_end_to_end(cli: Run, scene: Scene):
    scene.push("d")
    scene.world.push("d", "r", "tab\there", value='"http://example.org"', timestamp=WHEN.astimezone(timezone.utc))
    asked = ("ls", *place(scene))
    assert cli(*asked) == cli(*asked, "--limit", str(sys.maxsize))
    assert cli(*asked, "--no-headers").out == cli(*asked).out
    for form in ("csv", "jsonl"):
        rows = cli(*asked, "-o", form).out.decode().splitlines()
        assert len(rows) == 2 + (form == "csv")
