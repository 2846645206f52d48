"""What is predicted of a value is what migration 0049 did to it, for every version that differs: see record.py."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.lab.database import Databases
from tests.lab.world import Push, World
from tests.upgrades.corpus import CORPUS
from xcomctl.catalog import Catalog, open_catalog
from xcomctl.catalog import database as catalog_database
from xcomctl.catalog.treatments import LAST_READ, TREATMENTS
from xcomctl.model import Filter, Severity
from xcomctl.operations.preflight import Finding, Kind, Survey, Target, target_of

RECORDS: dict[str, dict[str, Any]] = {
    dialect: json.loads(Path(__file__).with_name(f"{dialect}.json").read_text())["targets"]
    for dialect in ("postgresql", "sqlite")
}
DISTINCT = [".".join(map(str, each.since)) for each in TREATMENTS]

UNSEEN = {
    "postgresql": {"order of keys", "huge exponent"},
    "sqlite": {"not utf-8", "latin-1", "encoded surrogate"},
}
"""What changes and is not told of: JSONB's order of keys, numbers that Python's json does not write so; and what is
said to be unchecked on SQLite."""


@pytest.fixture(scope="module", params=sorted(RECORDS))
def corpus(request: pytest.FixtureRequest, databases: Databases) -> Iterator[tuple[str, Catalog]]:
    """A database with every value of the corpus, under its name as key."""
    with databases.fresh(f"{request.param}-2.11") as database, World(database) as world:
        world.push_many([Push("d", "r", f"t{n:03}", key=name, value=CORPUS[name]) for n, name in enumerate(CORPUS)])
        yield request.param, open_catalog(database.url, None, None)


def found(catalog: Catalog, target: Target) -> dict[str, Finding]:
    return {str(finding.key): finding for finding in Survey(catalog, None, target, Filter()).findings()}


@pytest.mark.parametrize("rows_per_page", [10_000, 1], ids=["one page", "a page for each row"])
@pytest.mark.parametrize("version", DISTINCT)
def test_what_is_predicted_is_what_happened(
    corpus: tuple[str, Catalog], version: str, rows_per_page: int, monkeypatch: pytest.MonkeyPatch
):
    dialect, catalog = corpus
    monkeypatch.setattr(catalog_database, "ROWS_PER_PAGE", rows_per_page)
    findings = found(catalog, target_of(version))
    happened = {name: outcome(CORPUS[name], RECORDS[dialect][version][name]) for name in CORPUS}
    predicted = {name: prediction(findings.get(name)) for name in CORPUS}
    for name in UNSEEN[dialect]:
        assert (happened.pop(name), predicted.pop(name)) == ("changes", "stays")
    assert predicted == happened


def outcome(value: bytes | None, recorded: dict[str, Any]) -> str:
    """What happened to a value, as Python's json tells a change."""
    if "aborts" in recorded or "archived" in recorded:
        return "aborts" if "aborts" in recorded else "archived"
    if "becomes" not in recorded:  # too long to be recorded whole
        return "changes" if value is not None and b"NaN" in value else "stays"
    return "stays" if same(value, recorded["becomes"]) else "changes"


def same(before: bytes | None, after: str | None) -> bool:
    if before is None or after is None:
        return before is after
    try:
        return repr(json.loads(before)) == repr(json.loads(after))
    except ValueError:
        return False


def prediction(finding: Finding | None) -> str:
    if finding is None:
        return "stays"
    if finding.severity is Severity.ERROR:
        return "aborts"
    return "archived" if finding.id is Kind.PICKLED else "changes"


@pytest.mark.parametrize("dialect", sorted(RECORDS))
def test_every_version_that_was_read_is_taken_for_the_one_that_does_the_same(dialect: str):
    for version, recorded in RECORDS[dialect].items():
        numbers = re.match(r"\d+\.\d+\.\d+", version)
        assert numbers is not None
        treatment = target_of(version).treatment
        same_as = recorded.get("as", version)
        assert treatment is target_of(same_as).treatment
        assert not target_of(version).note


def test_the_last_versions_that_are_known_are_the_last_that_were_recorded():
    recorded = {tuple(map(int, re.findall(r"\d+", version)[:3])) for version in RECORDS["postgresql"]}
    assert set(LAST_READ.values()) == {max(v for v in recorded if v[:2] == minor) for minor in LAST_READ}


KINDS = {
    "empty": Kind.EMPTY,
    "nan with spaces around": Kind.NAN,
    "nan in another word": Kind.NAN,
    "high surrogate": Kind.SURROGATE,
    "surrogate and nan": Kind.SURROGATE,
    "raw nul": Kind.NOT_UTF8,
    "latin-1": Kind.NOT_UTF8,
    "overflowing exponent": Kind.NUMBER,
    "very deep": Kind.TOO_DEEP,
    "garbage": Kind.INVALID_JSON,
    "pickle 0": Kind.INVALID_JSON,
    "nul in a key": Kind.NUL,
    "nul and nan": Kind.NUL,
    "nested json and nan": Kind.NAN,
    "negative zero": Kind.NUMBER,
    "pickled reference": Kind.PICKLED,
}


@pytest.mark.parametrize("corpus", ["postgresql"], indirect=True)
def test_each_finding_names_its_cause(corpus: tuple[str, Catalog]):
    _, catalog = corpus
    findings = found(catalog, target_of("3.3.2"))
    assert {name: findings[name].id for name in KINDS} == KINDS
    assert "may refer to an object" in findings["pickled reference"].detail
    broken = found(catalog, target_of("3.1.8"))["nested json with nan"]
    assert (broken.id, broken.severity) == (Kind.NAN, Severity.ERROR) and "so breaks" in broken.detail
    assert found(catalog, target_of("3.2.0"))["nul"].id is Kind.NUL


@pytest.mark.parametrize("corpus", ["postgresql"], indirect=True)
@pytest.mark.parametrize("version", DISTINCT)
def test_the_migration_itself_on_a_copy_agrees(corpus: tuple[str, Catalog], version: str):
    _, catalog = corpus
    survey = Survey(catalog, None, target_of(version), Filter())
    assert list(survey.findings()) and not survey.unproved
    assert survey.rehearsed is not None and survey.rehearsed.surprises == ()
    assert survey.rehearsed.failed == 20 and survey.rehearsed.passed > 20
