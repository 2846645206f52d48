"""What preflight finds, advises and proves, on real databases; what each value becomes is in tests/upgrades."""

from __future__ import annotations

import json
import pickle
import re
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise

import pytest
from sqlalchemy.engine import make_url

from tests import schemas
from tests.lab import postgres
from tests.lab.database import Database
from tests.lab.shells import words_of
from tests.lab.world import Push, World
from xcomctl.backend.reference import parse_base
from xcomctl.catalog import database as catalog_database
from xcomctl.catalog import open_catalog
from xcomctl.catalog.treatments import CAST, TREATMENTS
from xcomctl.errors import UsageError
from xcomctl.model import Filter, Severity
from xcomctl.operations.preflight import Finding, Kind, Survey, target_of

BASE = parse_base("file:///xcom")
ALL = Filter()
pytestmark = pytest.mark.databases("postgresql-2.11")


def survey(database: Database, target: str = "3.3.2", selected: Filter = ALL) -> Survey:
    return Survey(open_catalog(database.url, database.schema, BASE), BASE, target_of(target), selected)


def findings(database: Database, target: str = "3.3.2", **selected: tuple[str, ...]) -> dict[str, Finding]:
    found = list(survey(database, target, Filter(**selected)).findings())  # type: ignore[arg-type]
    assert len(found) == len({each.key for each in found})
    return {str(each.key): each for each in found}


@pytest.mark.databases("*-2.9", "*-2.11")
def test_nothing_is_found_where_all_is_well(world: World):
    world.push("d", "r", "t", value='{"a": [1, "x", null, "e+5"]}')
    world.push("d", "r", "t", key="none", value=None)
    quiet = survey(world.database, "3.0.6")
    assert list(quiet.findings()) == [] and quiet.is_needed and not quiet.fails
    assert quiet.caster.dimensions().rows == 2


@pytest.mark.databases("*-2.11")
def test_pickles_and_what_is_no_json_are_found_in_every_database(world: World):
    world.push("d", "r", "t", key="pickle", value=pickle.dumps({"a": 1}))
    world.push("d", "r", "t", key="garbage", value=b"{'a'")
    world.push("d", "r", "t", key="empty", value=b"")
    world.push("d", "r", "t", key="nan", value=b"[NaN]")
    found = findings(world.database, "3.0.6")
    assert {key: each.severity for key, each in found.items()} == {
        "pickle": Severity.WARNING,
        "garbage": Severity.ERROR,
        "empty": Severity.ERROR,
        "nan": Severity.ERROR,
    }
    assert found["nan"].id is Kind.NAN and found["pickle"].id is Kind.PICKLED
    changed = findings(world.database, "3.1.0")["nan"]
    assert (changed.id, changed.severity) == (Kind.NAN, Severity.WARNING)


@pytest.mark.databases("mysql-2.11")
def test_mariadb_cannot_run_the_migrations_that_need_mysql(world: World):
    world.push("d", "r", "t", value=b"[NaN]")
    seen = survey(world.database)
    (finding,) = seen.findings()
    assert (finding.id, finding.severity, finding.dag_id) == (Kind.DATABASE, Severity.ERROR, None) and seen.fails
    with pytest.raises(Exception, match=r"1582"):
        world.sql("SELECT " + TREATMENTS[-1].mysql.mend.replace("{t}", "'x'"))  # type: ignore[union-attr]


@pytest.mark.databases("*-3.3")
def test_a_database_of_airflow_3_has_it_behind_it(world: World):
    world.push("d", "r", "t", value='{"a": 1}')
    done = survey(world.database)
    assert list(done.findings()) == [] and not done.is_needed and not done.fails


def test_archives_of_the_clean_up_are_not_looked_at(world: World):
    world.push("d", "r", "t", value=b"garbage")
    world.db_clean()
    assert findings(world.database) == {}


def test_a_pickle_whose_place_in_the_archive_is_taken_aborts(world: World):
    world.push("d", "r", "t", key="taken", value=pickle.dumps(1))
    world.push("d", "r", "t", key="free", value=pickle.dumps(1))
    world.sql("CREATE TABLE _xcom_archive AS SELECT * FROM xcom WHERE key = 'taken'")
    found = findings(world.database)
    assert (found["taken"].id, found["taken"].severity) == (Kind.ARCHIVED, Severity.ERROR)
    assert found["free"].id is Kind.PICKLED
    world.sql("DROP TABLE _xcom_archive")


def test_filters_choose_rows(world: World):
    for dag_id in ("a_x", "aBx", "other"):
        world.push(dag_id, "r", "t", key=dag_id, value=b"garbage")
    assert findings(world.database, dag_ids=("a_*",)).keys() == {"a_x"}
    assert findings(world.database, exclude_dag_ids=("other",)).keys() == {"a_x", "aBx"}


ADVICE = {
    "nan": (b" NaN ", "xcomctl migrate --threshold 0 "),
    "no json for python either": (b"{NaN: 1}", "xcomctl rm --archive "),
    "garbage": (b"garbage", "xcomctl rm --archive "),
    "half a pair": (b'"\\ud83d"', "xcomctl migrate --threshold 0 "),
    "link": (b'"http://x/\\ud83d"', "xcomctl rm --archive "),
    "skipmixin_key": (b'"\\ud83d"', "xcomctl rm --archive "),
    "changed": (b"[NaN]", "to keep it as it is: xcomctl migrate --threshold 0 "),
    "_link_changed": (b"[NaN]", "nothing keeps it as it is; to do without: xcomctl rm --archive "),
}


def test_the_advice_is_what_migrate_would_do(world: World):
    for key, (value, _) in ADVICE.items():
        world.push("d", "r", "t", key=key, value=value)
    world.push("d", "goes on", "t", key="unfinished", value=b'"\\ud83d"')
    world.push("d", "goes on", "t", key="unfinished garbage", value=b"garbage")
    world.run("d", "goes on", state="running")
    found = findings(world.database)
    assert {key: found[key].hint.partition("--dag-id")[0] for key in ADVICE} == {k: a for k, (_, a) in ADVICE.items()}
    assert found["unfinished"].hint.startswith("once its run is over: xcomctl migrate ")
    assert found["unfinished garbage"].hint.startswith("once its run is over: xcomctl rm ")


@pytest.mark.parametrize("name", ["it's", 'a "b" $(c)', "-n", "*[x]?", "ü 😀", "\\", "a\nb"])
def test_names_in_the_advice_come_through_a_shell_as_they_are(world: World, name: str):
    world.push(name, "r", "t", map_index=3, key=name, value=b"garbage")
    words = words_of(findings(world.database)[name].hint)
    assert words[:3] == ["xcomctl", "rm", "--archive"] and words[-2:] == ["--map-index", "3"]
    said = dict(pairwise(words)) | dict(word.split("=", 1) for word in words if "=" in word)
    literal = re.sub(r"([*?[])", r"[\1]", name)
    assert (said["--dag-id"], said["--key"]) == (literal, literal)


def test_bad_rows_on_many_pages_are_all_found_in_order(world: World, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(catalog_database, "ROWS_PER_PAGE", 7)
    bad = {11, 12, 40, 41, 69}
    values = {n: b"garbage" if n in bad else b"[NaN]" if n % 10 == 5 else b"1" for n in range(70)}
    world.push_many([Push("d", "r", "t", n, "k", value) for n, value in values.items()])
    found = list(survey(world.database).findings())
    assert [each.map_index for each in found if each.severity is Severity.ERROR] == sorted(bad)
    assert [each.map_index for each in found] == sorted({*bad, *range(5, 70, 10)})


def test_a_value_above_the_limit_of_jsonb_is_found(world: World):
    world.push("d", "r", "t", value=b"1")
    half = "repeat('x', 140000000)"
    for key, text in (
        ("array", f"'[\"' || {half} || '\",\"' || {half} || '\"]'"),
        ("fine", "'\"' || repeat('x', 1000)|| '\"'"),
    ):
        world.sql(
            "INSERT INTO xcom (dag_run_id, dag_id, run_id, task_id, map_index, key, value, timestamp)"
            f" SELECT dag_run_id, dag_id, run_id, task_id, map_index, :key, convert_to({text}, 'UTF8'), timestamp"
            " FROM xcom WHERE key = 'return_value'",
            key=key,
        )
    found = findings(world.database)
    assert {key: (each.id, each.severity) for key, each in found.items()} == {"array": (Kind.TOO_LARGE, Severity.ERROR)}
    assert found["array"].size_bytes == 280_000_007
    assert "268435455" in findings(world.database, "3.0.0")["array"].detail
    with pytest.raises(Exception, match="268435455"):
        world.sql(CAST.replace("__TABLE__", "xcom"))


@contextmanager
def reader(world: World, *also: str) -> Iterator[str]:
    """The URL of a user who may only read."""
    url = make_url(world.database.url)
    for statement in (
        "CREATE ROLE xcomctl_reader LOGIN PASSWORD 'secret'",
        f"REVOKE TEMPORARY ON DATABASE {url.database} FROM PUBLIC",
        "GRANT USAGE ON SCHEMA public TO xcomctl_reader",
        "GRANT SELECT ON ALL TABLES IN SCHEMA public TO xcomctl_reader",
        *also,
    ):
        world.sql(statement)
    try:
        yield url.set(username="xcomctl_reader", password="secret").render_as_string(hide_password=False)
    finally:
        world.sql("DROP OWNED BY xcomctl_reader")
        world.sql("DROP ROLE xcomctl_reader")
        world.sql(f"GRANT TEMPORARY ON DATABASE {url.database} TO PUBLIC")


@pytest.mark.xdist_group("reader")
def test_who_may_only_read_gets_the_prediction_and_is_told_that_it_is_not_proved(world: World):
    world.push("d", "r", "t", key="bad", value=b"garbage")
    world.push("d", "r", "t", key="nan", value=b"[NaN]")
    proved = survey(world.database)
    wanted = list(proved.findings())
    assert proved.rehearsed is not None and (proved.rehearsed.passed, proved.rehearsed.failed) == (1, 1)
    with reader(world) as url:
        as_reader = Survey(open_catalog(url, None, BASE), BASE, target_of("3.3.2"), Filter())
        assert list(as_reader.findings()) == wanted
        assert as_reader.rehearsed is None and "permission denied" in as_reader.unproved
        assert "secret" not in as_reader.unproved


def test_a_standby_predicts_the_same():
    def prepare(url: str) -> None:
        schemas.load(url, "2.11")
        with World(Database(url, "postgresql", "2.11")) as world:
            world.push("d", "r", "t", key="bad", value=b"garbage")
            world.push("d", "r", "t", key="nan", value=b"[NaN]")

    with postgres.standby(prepare) as server:
        there = Survey(open_catalog(server.url, None, BASE), BASE, target_of("3.3.2"), Filter())
        assert [(each.key, each.id) for each in there.findings()] == [("bad", Kind.INVALID_JSON), ("nan", Kind.NAN)]
        assert "read-only" in there.unproved or "recovery" in there.unproved


def test_nothing_is_changed(world: World):
    world.push("d", "r", "t", key="nan", value=b"[NaN]")
    world.push("d", "r", "t", key="pickle", value=pickle.dumps(1))
    tables, rows = world.tables(), world.sql("SELECT xmin, xmax, * FROM xcom ORDER BY key")
    seen = survey(world.database)
    assert len(list(seen.findings())) == 2 and seen.rehearsed is not None
    assert world.tables() == tables and world.sql("SELECT xmin, xmax, * FROM xcom ORDER BY key") == rows
    assert world.sql("SELECT count(*) FROM pg_class WHERE relname LIKE 'xcomctl%'") == [(0,)]


def test_tables_in_a_schema_of_another_name(databases):
    with databases.fresh("postgresql-2.11", "Air flow") as database, World(database) as world:
        world.push("d", "r", "t", key="bad", value=b"garbage")
        seen = survey(database)
        assert [each.key for each in seen.findings()] == ["bad"]
        assert seen.unproved == "" and seen.caster.dimensions().table_bytes


TARGETS = {
    "3.0.0": "3.0.0",
    "3.0.6": "3.0.0",
    "3.1": "3.1.0",
    "3.1.2": "3.1.0",
    "3.1.7": "3.1.3",
    "3.2.0rc1": "3.1.8",
    "3.3.1": "3.1.8",
    "3.4.0b2": "3.3.2",
}


@pytest.mark.parametrize("target", TARGETS)
def test_a_target_has_the_treatment_of_its_version(target: str):
    found = target_of(target)
    assert (".".join(map(str, found.treatment.since)), found.note) == (TARGETS[target], "")


@pytest.mark.parametrize(
    "target", {"3.2.9": (3, 1, 8), "3.3.3": (3, 3, 2), "3.4.1": (3, 3, 2), "3.12.0": (3, 3, 2)}.items()
)
def test_a_newer_version_is_taken_for_the_newest_known_one(target: tuple[str, tuple[int, int, int]]):
    found = target_of(target[0])
    assert found.treatment.since == target[1] and f"{target[0]} is newer than this xcomctl" in found.note


def test_of_a_version_that_was_read_before_its_release_that_is_said():
    assert "3.4.0b2" in target_of("3.4.0").note and target_of("3.4").note and not target_of("3.4.0b2").note


@pytest.mark.parametrize("target", ["2.11.2", "4.0.0", "three", "", "3", "3.1.8; x", "-1.0.0"])
def test_what_is_no_target_names_what_is_known(target: str):
    with pytest.raises(UsageError) as raised:
        target_of(target)
    assert "3.0.0 to 3.0.6" in str(raised.value.hint) and "3.3.2" in str(raised.value.hint)


def test_findings_are_plain_values(world: World):
    world.push("d", "r", "t", key="k", value=b"garbage")
    finding = findings(world.database)["k"]
    assert json.loads(json.dumps([finding.id, finding.severity, finding.size_bytes])) == ["invalid_json", "error", 7]


@pytest.mark.parametrize("name", ["a*", "x[1]", "q?", "[", "[!a]", "]*["])
def test_advice_is_about_this_row_alone(world: World, name: str):
    """Names in it are globs, and must not mean others."""
    for key in (name, "abc", "x1", "qq", "b"):
        world.push(name, name, name, key=key, value=b"{broken" if key == name else b"1")
    (finding,) = survey(world.database).findings()
    words = shlex.split(finding.hint)
    asked = {flag.strip("-").replace("-", "_") + "s": (value,) for flag, value in pairwise(words) if flag[:2] == "--"}
    selected = Filter(**{each: asked[each] for each in ("dag_ids", "run_ids", "task_ids", "keys")})
    rows = list(open_catalog(world.database.url, None, BASE).rows(selected))
    assert [(row.dag_id, row.key) for row in rows] == [(name, name)]


@pytest.mark.parametrize(("value", "severity"), [(b"[1e+16]", Severity.INFO), (b"[1e+23]", Severity.WARNING)])
def test_a_number_that_becomes_another_is_a_warning(world: World, value: bytes, severity: Severity):
    world.push("d", "r", "t", value=value)
    (finding,) = survey(world.database).findings()
    assert (finding.id, finding.severity) == (Kind.NUMBER, severity)


@pytest.mark.databases("sqlite-2.11")
@pytest.mark.parametrize("digits", ["9223372036854775808", "-12345678901234567890", "9" * 400])
def test_sqlite_takes_a_large_integer_for_a_float(world: World, digits: str):
    world.push("d", "r", "t", value=digits.encode())
    (finding,) = survey(world.database).findings()
    assert (finding.id, finding.severity) == (Kind.NUMBER, Severity.WARNING)


def test_a_number_too_long_for_python_is_helped_by_what_the_advice_says(world: World):
    world.push("d", "r", "t", value=b"9" * 140_000)
    (finding,) = survey(world.database).findings()
    assert (finding.severity, " migrate " in finding.hint) == (Severity.ERROR, True)
