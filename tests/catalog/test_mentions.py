"""No value that may keep an object alive is left in the database, whatever stands around what it mentions."""

from __future__ import annotations

import json
import re

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.lab.database import Databases
from tests.lab.world import Push, World
from xcomctl.backend.reference import mentioned, parse_base, place
from xcomctl.catalog import open_catalog
from xcomctl.catalog.dialect import GUARD_BYTES
from xcomctl.errors import MetadataError

BASE = "s3://conn@bucket/x_c%om"
LEAF = "0d760203-28d1-4226-81c7-7786b50e4773"
OWNED = f"ti-{LEAF}/key.json"
SIGNS = re.compile(rb"-4[ -~]{3}-[ -~]{4}-[ -~]{12}|ti-[ -~]{8}-[ -~]{4}-[ -~]{4}-[ -~]{4}-[ -~]{12}/|bucket/")
"""What a value shows that names an object as XCom backends do, or leads to the bucket of the base path."""

PIECES = st.one_of(
    st.sampled_from(
        ["/", "..", "-", "-4", "ti-", LEAF, LEAF[9:], OWNED, LEAF.upper(), f"{BASE}/", "bucket/", "é", "%", "_", "[*?]"]
    ),
    st.characters(blacklist_categories=("Cs",), blacklist_characters="\0"),
)
TEXTS = st.lists(PIECES, max_size=8).map("".join)
BYTES = st.lists(st.one_of(st.binary(max_size=3), PIECES.map(str.encode)), max_size=8).map(b"".join)


@pytest.mark.parametrize("name", ["sqlite-3.3", "sqlite-2.11", "postgresql-3.3", "postgresql-2.11", "mysql-3.3"])
def test_every_sign_of_an_object_is_found(databases: Databases, name: str):
    holds_bytes = name.endswith("2.11")

    @settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.lists(st.one_of(TEXTS, TEXTS.map(json.dumps), BYTES if holds_bytes else TEXTS), min_size=10, max_size=60))
    def holds(found: list[str | bytes]):
        values = [
            each if isinstance(each, bytes) else json.dumps(each, ensure_ascii=len(each) % 2 == 0) for each in found
        ]
        with databases.fresh(name) as database, World(database) as world:
            world.push_many(Push("d", "r", "t", number, value=value) for number, value in enumerate(values))
            catalog = open_catalog(database.url, None, parse_base(BASE))
            handed_on = [mention for page in catalog.references() for mention in page]
            catalog.database.engine.dispose()
        raw = [each if isinstance(each, bytes) else each.encode() for each in values]
        assert len(handed_on) >= sum(SIGNS.search(each) is not None for each in raw if len(each) < GUARD_BYTES)
        names = {unique for each in raw for unique in mentioned(each.decode(errors="replace"))}
        assert names <= {unique for mention in handed_on for unique in mention.names}

    holds()


@pytest.mark.parametrize("name", ["sqlite-2.11", "postgresql-2.11", "mysql-2.11"])
def test_bytes_that_are_no_text(databases: Databases, name: str):
    around = [b"", b"\0", b"\x80\x04\x00", b"\xff\xfe", b"\xc3", b"\n", b"\xe2\x82", b"\0" * 9]
    values = [before + unique.encode() + after for before in around for after in around for unique in (LEAF, OWNED)]
    with databases.fresh(name) as database, World(database) as world:
        world.push_many(Push("d", "r", "t", number, value=value) for number, value in enumerate([*values, b"\0none"]))
        catalog = open_catalog(database.url, None, parse_base(BASE))
        names = [mention.names for page in catalog.references() for mention in page]
        catalog.database.engine.dispose()
    assert len(names) == len(values) and all(names)


@pytest.mark.parametrize("name", ["sqlite-3.3", "sqlite-2.11", "postgresql-3.3", "postgresql-2.11", "mysql-3.3"])
@pytest.mark.parametrize("unique", [f"{who}-01920000-0000-7000-8000-000000000001/k.json" for who in ("ti", "write")])
def test_json_may_spell_a_slash_otherwise(databases: Databases, name: str, unique: str):
    """As PHP's does; of these names only the folder is told by letters that nobody escapes."""
    url = f"s3://elsewhere/x/d/r/t/{unique}"
    spelled = json.dumps(url).replace("/", "\\/")
    values = [spelled, f'{{"a": [{spelled}]}}', json.dumps(spelled)]
    with databases.fresh(name) as database, World(database) as world:
        world.push_many(Push("d", "r", "t", number, value=value) for number, value in enumerate(values))
        catalog = open_catalog(database.url, None, parse_base(BASE))
        names = [mention.names for page in catalog.references() for mention in page]
        placement = place(f"d/r/t/{unique}")
        assert placement is not None and catalog.still_referenced([placement]) == {unique}
        catalog.database.engine.dispose()
    assert names == [{unique}] * len(values)


@pytest.mark.parametrize("stored", ["", "yesterday", 7, b"\x00", "0000-00-00 00:00:00.000000"])
def test_a_time_that_is_none_tells_nothing(databases: Databases, stored: object):
    with databases.fresh("sqlite-3.3") as database, World(database) as world:
        world.push("d", "r", "t", value=json.dumps(f"{BASE}/d/r/t/{LEAF}"))
        world.sql("UPDATE xcom SET timestamp = :at", at=stored)
        catalog = open_catalog(database.url, None, parse_base(BASE))
        (mention,) = (mention for page in catalog.references() for mention in page)
        assert mention.names == {LEAF} and mention.stored_at is None
        catalog.database.engine.dispose()


def test_a_time_that_python_has_not_is_an_error(databases: Databases):
    with databases.fresh("postgresql-3.3") as database, World(database) as world:
        world.push("d", "r", "t", value=json.dumps(f"{BASE}/d/r/t/{LEAF}"))
        world.sql("UPDATE xcom SET timestamp = '12026-01-01 00:00+00'")
        catalog = open_catalog(database.url, None, parse_base(BASE))
        with pytest.raises(MetadataError, match="a row holds what cannot be read: year 12026 is out of range"):
            list(catalog.references())
        catalog.database.engine.dispose()
