"""Listings that are sorted, cut and looked up."""

from __future__ import annotations

import json
from datetime import timedelta
from uuid import uuid4

import pytest

from tests.lab.database import Database
from tests.lab.folder import Folder
from tests.lab.world import WHEN, Push, World
from xcomctl.backend.reference import parse_base
from xcomctl.backend.storage import Stores
from xcomctl.catalog import open_catalog
from xcomctl.errors import XcomctlError
from xcomctl.model import Filter, State, XCom
from xcomctl.operations.listing import LOOKUPS_AT_ONCE, Question, list_xcoms

pytestmark = [pytest.mark.databases("sqlite-3.3"), pytest.mark.stores("file")]
ROWS = 60


class Counting(Stores):
    """Stores that count how often they are asked."""

    asked = 0

    def of(self, address):
        self.asked += 1
        return super().of(address)


@pytest.fixture
def stores(world: World, store: Folder) -> Counting:
    """Sixty XComs, every third of which has lost its object."""
    pushes = []
    for number in range(ROWS):
        name = f"d/r{number:02}/t/{uuid4()}"
        if number % 3:
            store.put(name, b"x" * number)
        value = json.dumps(f"{store.url}/{name}")
        pushes.append(Push("d", f"r{number:02}", "t", value=value, timestamp=WHEN + timedelta(minutes=number)))
    world.push_many(pushes)
    return Counting(parse_base(store.url), {})


def listed(database: Database, store: Folder, stores: Stores | None, question: Question) -> tuple[list[XCom], bool]:
    def unreadable(xcom: XCom, error: XcomctlError) -> None:
        pytest.fail(f"{xcom}: {error}")

    listing = list_xcoms(open_catalog(database.url, None, parse_base(store.url)), question, stores, unreadable)
    return list(listing.xcoms), listing.cut()


def test_only_what_is_shown_is_looked_up(database, store, stores):
    found, cut = listed(database, store, stores, Question(Filter(), limit=5))
    assert [xcom.run_id for xcom in found] == ["r00", "r01", "r02", "r03", "r04"] and cut
    assert [xcom.state for xcom in found] == [State.DANGLING, *[State.EXTERNAL] * 2, State.DANGLING, State.EXTERNAL]
    assert stores.asked == 5


def test_only_what_is_shown_is_looked_up_when_rows_are_sorted(database, store, stores):
    found, cut = listed(database, store, stores, Question(Filter(), sort="-timestamp", limit=4))
    assert [xcom.run_id for xcom in found] == ["r59", "r58", "r57", "r56"] and cut
    assert [xcom.object_size_bytes for xcom in found] == [59, 58, None, 56]
    assert stores.asked == 4


def test_a_limit_on_dangling_rows_stops_soon_after_it_is_reached(database, store, stores):
    question = Question(Filter(states=(State.DANGLING,)), limit=3)
    found, cut = listed(database, store, stores, question)
    assert [xcom.run_id for xcom in found] == ["r00", "r03", "r06"] and cut
    assert stores.asked < 10 + 2 * LOOKUPS_AT_ONCE < ROWS


@pytest.mark.parametrize("sort", ["object_size_bytes", "-object_size_bytes", "state", "-state"])
def test_what_storage_says_can_be_sorted_by(database, store, stores, sort):
    found, cut = listed(database, store, stores, Question(Filter(), sort=sort))
    field, reverse = sort.removeprefix("-"), sort.startswith("-")
    values = [getattr(xcom, field) for xcom in found]
    expected = sorted(values, key=lambda value: (value is not None, value or 0), reverse=reverse)
    assert values == expected and len(found) == ROWS and not cut


@pytest.mark.parametrize(("limit", "cut"), [(0, False), (ROWS - 1, True), (ROWS, False), (ROWS + 1, False)])
@pytest.mark.parametrize("sort", [None, "run_id"])
def test_a_limit_tells_whether_it_left_any_out(database, store, stores, sort, limit, cut):
    found, was_cut = listed(database, store, None, Question(Filter(), sort=sort, limit=limit))
    assert len(found) == min(limit or ROWS, ROWS) and was_cut is cut
