"""gc's protocol loses nothing, whatever happens meanwhile, and with any of its rules weakened it does.

A claim names a world, a protocol that is safe in it, and twins: the same protocol with one rule weakened, by one tick
or altogether, which loses data in the same world. The safe half alone would prove little, for a model in which nothing
can go wrong is safe too; the twin shows that the danger is there, and that it is this rule that averts it.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from itertools import product

import pytest

from tests.protocol.model import DELETES, TICK, Case, Protocol, World, check, loss, transitions

BOTH_TABLES = ("xcom", "archive")
BOTH_DATABASES = ("xcom", "other deployment")

AIRFLOW_3_3 = World(attempts=2, reading_time=1, zombie_time=1)
AIRFLOW_3_4 = replace(AIRFLOW_3_3, writes=2, names="attempt", rows_per_attempt=True)
"""In both the row is committed one tick after the object at the latest, and opened one tick after it was read."""


@dataclass(frozen=True, slots=True)
class Claim:
    """In this world this protocol loses nothing, and would if one field had the other value."""

    title: str
    world: World
    safe: Protocol
    twins: tuple[tuple[str, object], ...]


CLAIMS = (
    Claim(
        "an object comes before its row",
        World(attempts=2, commit_time=2),
        Protocol(grace=3),
        (("grace", 2), ("grace", 0), ("lists_first", False)),
    ),
    Claim(
        "a multipart upload is dated from its start",
        World(attempts=2, commit_time=2, upload_time=2),
        Protocol(grace=5),
        (("grace", 4),),
    ),
    Claim(
        "a replica lags",
        World(attempts=2, commit_time=2, replica_lag=2),
        Protocol(grace=5),
        (("grace", 4),),
    ),
    Claim(
        "a replica lags, and the primary is asked before the deletes",
        World(attempts=2, commit_time=2, replica_lag=2),
        Protocol(grace=3, rereads_rows=True),
        (("grace", 2), ("rereads_rows", False)),
    ),
    Claim(
        "the clock of gc is ahead",
        World(attempts=2, commit_time=2, clock_ahead=2),
        Protocol(grace=5),
        (("grace", 4),),
    ),
    Claim(
        "attempts share a name",
        World(attempts=2, names="task", zombie_time=1, repeats_bytes=True),
        Protocol(grace=2, condition="generation"),
        (("grace", 1), ("condition", "none"), ("condition", "etag")),
    ),
    Claim(
        "attempts share a name, and the rows are read again before the deletes",
        World(attempts=2, names="task", zombie_time=1, repeats_bytes=True),
        Protocol(grace=2, condition="generation", rereads_rows=True),
        (("condition", "none"), ("condition", "etag")),
    ),
    Claim(
        "attempts share a name, but never a content",
        World(attempts=2, names="task", zombie_time=1),
        Protocol(grace=2, condition="etag"),
        (("grace", 1), ("condition", "none")),
    ),
    Claim(
        "an attempt writes its name twice",
        World(attempts=2, writes=2, names="attempt"),
        Protocol(grace=2, owner_rest=0),
        (("owner_rest", None), ("rested_before", "question")),
    ),
    Claim(
        "a zombie writes its name again",
        World(attempts=2, writes=2, names="attempt", zombie_time=1),
        Protocol(grace=2, owner_rest=2),
        (("owner_rest", 1), ("owner_rest", None), ("rested_before", "question")),
    ),
    Claim(
        "a zombie writes its name again, and the store tells writes apart",
        World(writes=2, names="attempt", zombie_time=1, repeats_bytes=True),
        Protocol(grace=2, condition="generation"),
        (("condition", "none"), ("condition", "etag")),
    ),
    Claim(
        "the owner is asked instead of the clock",
        World(attempts=2, zombie_time=2),
        Protocol(owner_rest=3),
        (("owner_rest", 2), ("owner_rest", None)),
    ),
    Claim(
        "two deployments share a prefix",
        World(second_deployment=True),
        Protocol(grace=2, roots=BOTH_DATABASES),
        (("roots", ("xcom",)),),
    ),
    Claim(
        "rows move to an archive",
        World(attempts=2, archives=True),
        Protocol(grace=2, roots=BOTH_TABLES),
        (("roots", ("xcom",)), ("roots", ("archive", "xcom"))),
    ),
    Claim(
        "superseded attempts keep their rows",
        World(attempts=2, names="attempt", rows_per_attempt=True),
        Protocol(grace=2),
        (("reads_every_attempt", False),),
    ),
    Claim(
        "a reader is on its way to the object",
        World(attempts=2, commit_time=1, reading_time=2),
        Protocol(grace=2, sightings_apart=3),
        (
            ("sightings_apart", 2),
            ("sightings_apart", 0),
            ("grace", 1),
            ("grace", 0),
            ("first_seen", "listing"),
            ("lists_first", False),
        ),
    ),
    Claim(
        "a reader cannot open what is in the trash",
        World(attempts=2, commit_time=1, reading_time=2),
        Protocol(grace=2, sightings_apart=3, trash_time=3),
        (("sightings_apart", 2), ("sightings_apart", 0)),
    ),
    Claim(
        "a reader is on its way to the object, and the owner is asked instead of the clock",
        World(attempts=2, reading_time=2, zombie_time=2),
        Protocol(sightings_apart=3, owner_rest=3),
        (("sightings_apart", 2), ("owner_rest", 2), ("owner_rest", None)),
    ),
    Claim(
        "two sightings need no clock",
        World(attempts=2, commit_time=2, upload_time=1, clock_ahead=1),
        Protocol(sightings_apart=3),
        (("sightings_apart", 2), ("confirms_marks", False)),
    ),
    Claim(
        "two sightings on a replica",
        World(commit_time=2, replica_lag=2),
        Protocol(sightings_apart=5),
        (("sightings_apart", 4), ("confirms_marks", False)),
    ),
    Claim(
        "the reading of rows takes long",
        World(attempts=2, archives=True),
        Protocol(sightings_apart=2, roots=BOTH_TABLES),
        (("ripe_at", "judging"), ("roots", ("archive", "xcom"))),
    ),
    Claim(
        "a marked name is written again",
        World(writes=2, names="attempt", zombie_time=1, repeats_bytes=True),
        Protocol(sightings_apart=2, condition="generation"),
        (("marks_versions", False), ("condition", "none"), ("condition", "etag")),
    ),
    Claim(
        "a marked name is written again by the next attempt",
        World(attempts=2, names="task"),
        Protocol(sightings_apart=2, condition="generation"),
        (("marks_versions", False), ("condition", "none")),
    ),
    Claim(
        "the database is restored",
        World(attempts=2, backup_age=2),
        Protocol(grace=2, trash_time=2),
        (("trash_time", 1), ("trash_time", 0), ("heeds_restore", False)),
    ),
    Claim(
        "the database is restored while somebody reads",
        replace(AIRFLOW_3_3, attempts=1, backup_age=1),
        Protocol(grace=2, sightings_apart=2, trash_time=1),
        (("sightings_apart", 1), ("heeds_restore", False)),
    ),
    Claim(
        "all of Airflow 3.3 with an archive",
        replace(AIRFLOW_3_3, archives=True),
        Protocol(grace=2, sightings_apart=2, roots=BOTH_TABLES),
        (("sightings_apart", 1), ("grace", 0), ("roots", ("xcom",))),
    ),
    Claim(
        "all of Airflow 3.3 with wrong times everywhere",
        replace(AIRFLOW_3_3, upload_time=1, replica_lag=1, clock_ahead=1),
        Protocol(grace=5, sightings_apart=2),
        (("sightings_apart", 1), ("grace", 4)),
    ),
    Claim(
        "all of Airflow 3.4",
        AIRFLOW_3_4,
        Protocol(grace=2, sightings_apart=2, owner_rest=2),
        (("sightings_apart", 1), ("owner_rest", 1), ("owner_rest", None), ("reads_every_attempt", False)),
    ),
    Claim(
        "all of Airflow 3.4 with wrong times everywhere, on a store that compares contents",
        replace(AIRFLOW_3_4, attempts=1, writes=3, upload_time=1, replica_lag=1, clock_ahead=1, repeats_bytes=True),
        Protocol(grace=5, sightings_apart=2, owner_rest=2, condition="etag"),
        (("sightings_apart", 1), ("owner_rest", 1), ("owner_rest", None)),
    ),
)
"""Without the second nets that they do not need: what a condition or another reading holds back is only kept longer."""

TWINS = [
    pytest.param(claim, field, value, id=f"{claim.title}-{field}={value}")
    for claim in CLAIMS
    for field, value in claim.twins
]

UP_TO_TWO = range(3)


def assert_safe(case: Case) -> None:
    """Nothing can be lost, all states were searched, and gc did delete something."""
    verdict = check(case)
    assert verdict.loss is None, f"{case}\n{verdict}"
    assert verdict.complete, f"{case}\n{verdict}"
    assert verdict.deletions, f"gc never deletes anything, which proves nothing: {case}"


def assert_loses(case: Case) -> None:
    """Something can be lost, and the trace leads there by steps that the model allows."""
    verdict = check(case)
    assert verdict.loss is not None, f"{case}\n{verdict}"
    state = case.beginning()
    for label, following in verdict.trace:
        assert loss(state) is None, f"{case}\n{verdict}"
        assert (label, following) in case.steps(state), f"{case}\n{verdict}"
        state = following
    assert loss(state) == verdict.loss, f"{case}\n{verdict}"


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.title)
def test_the_protocol_loses_nothing(claim: Claim):
    assert_safe(Case(claim.safe, claim.world))


@pytest.mark.parametrize(("claim", "field", "value"), TWINS)
def test_a_weaker_protocol_loses_data(claim: Claim, field: str, value: object):
    assert getattr(claim.safe, field) != value
    assert_loses(Case(replace(claim.safe, **{field: value}), claim.world))


def test_every_rule_has_a_twin():
    assert {field for claim in CLAIMS for field, _ in claim.twins} == {field.name for field in fields(Protocol)}


def test_every_danger_occurs():
    occurring = {
        each.name for claim in CLAIMS for each in fields(World) if getattr(claim.world, each.name) != each.default
    }
    assert occurring == {field.name for field in fields(World)}


@pytest.mark.parametrize(("commit_time", "upload_time"), [*product(UP_TO_TWO, UP_TO_TWO)])
def test_grace_is_more_than_the_sum_of_all_delays(commit_time: int, upload_time: int):
    for replica_lag, clock_ahead in product(UP_TO_TWO, UP_TO_TWO):
        world = World(
            commit_time=commit_time, upload_time=upload_time, replica_lag=replica_lag, clock_ahead=clock_ahead
        )
        delays = commit_time + upload_time + replica_lag + clock_ahead
        assert_safe(Case(Protocol(grace=delays + 1), world))
        assert_loses(Case(Protocol(grace=delays), world))


@pytest.mark.parametrize(("commit_time", "replica_lag"), [*product((1, 2), UP_TO_TWO)])
def test_sightings_without_grace_are_further_apart_than_commit_and_lag(commit_time: int, replica_lag: int):
    for upload_time, clock_ahead in product(UP_TO_TWO, UP_TO_TWO):
        world = World(
            commit_time=commit_time, upload_time=upload_time, replica_lag=replica_lag, clock_ahead=clock_ahead
        )
        assert_safe(Case(Protocol(sightings_apart=commit_time + replica_lag + 1), world))
        assert_loses(Case(Protocol(sightings_apart=commit_time + replica_lag), world))


@pytest.mark.parametrize(("reading_time", "replica_lag"), [*product((1, 2, 3), UP_TO_TWO)])
def test_with_grace_sightings_are_further_apart_than_a_reading(reading_time: int, replica_lag: int):
    world = World(reading_time=reading_time, replica_lag=replica_lag)
    enough = Protocol(grace=world.commit_time + replica_lag + 1, sightings_apart=reading_time + 1)
    assert_safe(Case(enough, world))
    assert_loses(Case(replace(enough, sightings_apart=reading_time), world))


@pytest.mark.parametrize("sightings_apart", range(1, 7))
def test_without_grace_no_distance_of_sightings_helps_readers(sightings_apart: int):
    assert_loses(Case(Protocol(sightings_apart=sightings_apart), World(reading_time=1)))


@pytest.mark.parametrize("zombie_time", range(5))
def test_owners_rest_longer_than_zombies_live(zombie_time: int):
    world = World(writes=2, names="attempt", zombie_time=zombie_time)
    assert_safe(Case(Protocol(grace=2, owner_rest=zombie_time + 1), world))
    assert_loses(Case(Protocol(grace=2, owner_rest=zombie_time), world))


@pytest.mark.parametrize("backup_age", range(1, 5))
def test_trash_is_kept_as_long_as_backups(backup_age: int):
    world = World(backup_age=backup_age)
    assert_safe(Case(Protocol(grace=2, trash_time=backup_age), world))
    assert_loses(Case(Protocol(grace=2, trash_time=backup_age - 1), world))


def test_a_mark_vanishes_when_its_object_is_referenced():
    case = Case(Protocol(sightings_apart=3), World(attempts=2, commit_time=2))
    saved = set()
    for before, label, after in transitions(case, {}):
        if label.startswith("gc reads the rows"):
            referenced = {row.name for row in before.rows}
            saved |= {mark for mark in before.marks if mark.name in referenced}
            assert after.objects == before.objects
            assert not referenced & {mark.name for mark in after.marks}
            assert after.run is None or not referenced & {orphan.name for orphan in after.run.orphans}
    assert {mark.age for mark in saved} == {0, 1, 2, 3}, "some of these marks were old enough for a delete"


def test_a_mark_grows_older_however_often_gc_runs():
    case = Case(Protocol(sightings_apart=2), World())
    run = ("gc lists the objects", "gc reads the rows")
    state = case.beginning()
    for beginning in ("attempt 0 makes object-0.1 visible", *run, TICK, *run, TICK, *run, DELETES):
        state = next(following for label, following in case.steps(state) if label.startswith(beginning))
    assert state.removed == {"object-0.1"}


def test_a_restore_brings_back_what_its_rows_refer_to():
    case = Case(Protocol(grace=2, trash_time=2), World(backup_age=2))
    brought_back = set()
    for before, label, after in transitions(case, {}):
        if label.startswith("the database is restored"):
            wanted = {row.name for row in after.rows} & {trashed.thing.name for trashed in before.trash}
            assert all(after.has(name) for name in wanted)
            brought_back |= wanted
    assert brought_back == {"object-0.1"}


def test_a_search_says_when_it_was_cut_off():
    case = Case(CLAIMS[0].safe, CLAIMS[0].world)
    verdict = check(case, limit=10)
    assert not verdict.complete and verdict.loss is None
    assert "not searched to the end" in str(verdict)


def test_a_trace_reads_like_a_story():
    verdict = check(Case(Protocol(lists_first=False, grace=2), World()))
    assert str(verdict).splitlines()[1:] == [
        "  t=0  attempt 0 makes object-0.1 visible: version 1, content 1",
        "  t=1  gc reads the rows of xcom -> []",
        "  t=1  attempt 0 commits its row -> object-0.1",
        "  t=2  gc lists the objects",
        "  t=2  gc deletes object-0.1: version 1, content 1",
    ]
    assert verdict.loss == "a row of xcom refers to object-0.1, which gc has removed for good"
