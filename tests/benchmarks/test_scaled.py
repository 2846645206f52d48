"""What gc plans for very many objects is the difference of two sets of names, which Python makes here by itself."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator

import psycopg2
import pytest

from benchmarks import xcoms
from benchmarks.lab import Lab
from benchmarks.scaled import GeneratedStore
from tests.lab.effort import LONG
from xcomctl.backend.reference import Address, parse_base
from xcomctl.backend.storage import Store, open_store
from xcomctl.catalog import open_catalog
from xcomctl.ledger import Control
from xcomctl.operations.gc.plan import make_plan
from xcomctl.operations.gc.scope import Scope
from xcomctl.operations.gc.terms import Fate, Rules

ROWS = 1_000_000 if LONG else 30_000
"""Seven tenths refer to an object, and there are three tenths as many orphans: as many objects as rows."""


@pytest.fixture
def lab() -> Iterator[Lab]:
    lab = Lab()
    yield lab
    lab.close()


def referred(url: str) -> set[str]:
    """The names in all rows, by the driver and Python's reader of JSON."""
    connection = psycopg2.connect(url.replace("+psycopg2", ""))
    with connection, connection.cursor("all") as cursor:
        cursor.execute("SELECT value::text FROM xcom WHERE pg_column_size(value) < 1000")
        values = (json.loads(text) for (text,) in cursor)
        start = f"s3://{xcoms.BUCKET}/"
        return {value[len(start) :] for value in values if isinstance(value, str) and value.startswith(start)}


def s3(lab: Lab, base: Address) -> Store:
    client = {"endpoint_url": lab.s3(ROWS), "region_name": "us-east-1"}
    return open_store(base, {"key": "k", "secret": "s", "client_kwargs": client, "skip_instance_cache": True})


def generated(lab: Lab, base: Address) -> Store:
    return GeneratedStore(ROWS, xcoms.orphans(ROWS))


@pytest.mark.parametrize("store_of", [s3, generated])
def test_the_plan_is_the_difference_of_two_sets(lab: Lab, store_of: Callable[[Lab, Address], Store]):
    base = parse_base(xcoms.BASE)
    assert base is not None
    url, store = lab.postgres(ROWS), store_of(lab, base)
    catalog, control = open_catalog(url, None, base), Control(store, f"{xcoms.PREFIX}_control/")
    plan = make_plan(Scope((catalog,), store, base, control), Rules(dry_run=True))
    names = {*xcoms.live_names(ROWS), *xcoms.orphan_names(ROWS)}
    orphans = names - referred(url)
    assert len(names) == ROWS and len(orphans) == xcoms.orphans(ROWS)
    assert plan.listed.count == ROWS and plan.fates[Fate.LIVE].count == ROWS - len(orphans)
    candidates = [each.object.name for each in plan.candidates]
    assert len(candidates) == len(orphans) and set(candidates) == orphans
