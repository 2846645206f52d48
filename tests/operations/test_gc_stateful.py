"""gc in a world that does not wait for it: whatever happens, no data are lost and no report is wrong.

The code is gc's own, the rows are in a real database; time, processes and the bucket are the test's.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import ClassVar, NamedTuple
from unittest.mock import patch

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from tests.lab.database import Databases
from tests.lab.effort import LONG
from tests.lab.memory import Bucket, Clock, Fault, Kind
from tests.lab.world import World
from tests.operations.life import BEGINNING, Life
from tests.operations.runs import RULES, Operator, Point, Run, Trouble
from xcomctl.backend.reference import parse_base
from xcomctl.model import WayBack
from xcomctl.operations.gc import Gate, Rules

KINDS = tuple(
    Kind(way, version, condition)
    for way, version in (
        (WayBack.TRASH, "etag"),
        (WayBack.TRASH, "generation"),
        (WayBack.VERSIONS, "etag"),
        (WayBack.VERSIONS, "generation"),
        (WayBack.SOFT_DELETE, "generation"),
        (WayBack.RENAME, "generation"),
    )
    for condition in ("honoured", "ignored", "none")
    if way is not WayBack.RENAME or condition == "honoured"
)

DEEDS = (
    *("push", "push", "push", "push", "finish", "clear", "retry", "migrate", "wait", "wait"),
    *("delete_row", "delete_row", "delete_run", "delete_dag", "db_clean", "drop_archives", "back_up", "put_back"),
    *("gc", "restore", "break_table"),
)
"""What may happen at any time, the likelier the more often it is here."""


class Deed(NamedTuple):
    """Something that happens: see `Life`."""

    what: str
    pick: int
    choice: int


PICKS = st.integers(0, 31)
CHOICES = st.integers(0, 7)


class Drawn(NamedTuple):
    """What is to befall a run, at one of the steps that it will have."""

    kind: int
    number: int
    what: Sequence[Deed] | Fault
    lasts: bool


SOME_DEEDS = st.lists(st.builds(Deed, st.sampled_from(DEEDS), PICKS, CHOICES), min_size=1, max_size=3).map(tuple)
"""A few things that happen one after the other."""

PAUSE = st.tuples(SOME_DEEDS, CHOICES).map(lambda drawn: (*drawn[0], Deed("wait", 0, drawn[1])))

TROUBLES = st.lists(
    st.builds(Drawn, PICKS, PICKS, st.one_of(st.sampled_from(Fault), SOME_DEEDS, PAUSE), st.booleans()), max_size=2
)
"""What befalls a run: its own requests fail, or things happen meanwhile, often while it pauses."""


class Machine(RuleBasedStateMachine):
    """A world, gc, and what must be so after every step."""

    databases: ClassVar[Databases]
    schema: ClassVar[str] = "sqlite-3.3"
    rules_of_gc: ClassVar[Rules] = RULES

    def __init__(self) -> None:
        super().__init__()
        self.until_end = ExitStack()
        self.has_begun = False

    @initialize(kind=st.integers(0, 63), slow_uploads=st.booleans())
    def begin(self, kind: int, slow_uploads: bool) -> None:
        database = self.until_end.enter_context(self.databases.fresh(self.schema))
        world = self.until_end.enter_context(World(database))
        base = parse_base("s3://bucket/pre/xcom")
        assert base is not None
        bucket = Bucket(KINDS[kind % len(KINDS)], Clock(BEGINNING))
        self.life = Life(world, bucket, base, slow_uploads=slow_uploads)
        self.until_end.callback(self.life.close)
        self.operator = Operator(self.life, self.rules_of_gc)
        self.until_end.enter_context(self.operator.in_this_world())
        self.has_begun = True

    @rule(pushes=st.lists(st.tuples(PICKS, CHOICES), min_size=1, max_size=4))
    def push(self, pushes: list[tuple[int, int]]) -> None:
        for pick, choice in pushes:
            self.life.act("push", pick, choice)

    @rule(pick=PICKS, choice=CHOICES)
    def finish(self, pick: int, choice: int) -> None:
        self.life.act("finish", pick, choice)

    @rule(pick=PICKS, choice=CHOICES)
    def clear(self, pick: int, choice: int) -> None:
        self.life.act("clear", pick, choice)

    @rule(pick=PICKS, choice=CHOICES)
    def retry(self, pick: int, choice: int) -> None:
        self.life.act("retry", pick, choice)

    @rule(pick=PICKS, choice=CHOICES)
    def migrate(self, pick: int, choice: int) -> None:
        self.life.act("migrate", pick, choice)

    @rule(pick=PICKS, choice=CHOICES)
    def back_up(self, pick: int, choice: int) -> None:
        self.life.act("back_up", pick, choice)

    @rule(pick=PICKS, choice=CHOICES)
    def put_back(self, pick: int, choice: int) -> None:
        self.life.act("put_back", pick, choice)

    @rule(what=st.sampled_from(("row", "row", "run", "dag")), pick=PICKS)
    def delete(self, what: str, pick: int) -> None:
        self.life.act(f"delete_{what}", pick, 0)

    @rule(what=st.sampled_from(("db_clean", "db_clean", "drop_archives")), choice=CHOICES)
    def tidy_up(self, what: str, choice: int) -> None:
        self.life.act(what, 0, choice)

    @rule(choice=CHOICES)
    def wait(self, choice: int) -> None:
        self.life.act("wait", 0, choice)

    @rule(
        after=st.none() | CHOICES,
        troubles=TROUBLES,
        batches=st.sampled_from((None, None, None, 0, 1)),
        dry_run=st.sampled_from((False,) * 7 + (True,)),
    )
    def gc(self, after, troubles, batches, dry_run) -> None:
        if after is not None:
            self.life.act("wait", 0, after)
        self.operator.collect(self._at_steps(troubles), batches=batches, dry_run=dry_run)

    @rule(
        before=SOME_DEEDS,
        first=st.sampled_from((None, 4)),
        between=SOME_DEEDS,
        then=st.sampled_from((None, 0)),
        troubles=TROUBLES,
    )
    def confirm(self, before, first: int | None, between, then: int | None, troubles) -> None:
        """Two runs, far enough apart to delete; something happens before the first, and just before the second."""
        self._happen(before)
        self.gc(first, [], None, False)
        self.life.act("wait", 0, 3)
        self._happen(between)
        self.gc(then, troubles, None, False)

    @rule(
        deeds=SOME_DEEDS,
        waits=st.lists(st.integers(3, 4), min_size=1, max_size=3),
        troubles=TROUBLES,
        later=CHOICES,
        pick=st.just(-1) | PICKS,
        again=st.booleans(),
        at_once=st.booleans(),
    )
    def lose_the_database(self, deeds, waits, troubles, later: int, pick: int, again: bool, at_once: bool) -> None:
        """A backup is put back that is older than what was done since, which is then done again; and gc runs."""
        self.life.act("back_up", 0, 0)
        self._happen(deeds)
        for wait in waits:
            self.gc(wait, troubles, None, False)
        self.life.act("wait", 0, later)
        self.life.act("put_back", pick, 0)
        self._happen(deeds if again else ())
        if at_once:
            self.gc(None, [], None, False)

    @rule(pick=PICKS, troubles=TROUBLES)
    def restore(self, pick: int, troubles) -> None:
        operations = self.operator.operations(self.life.bucket)
        if operations:
            chosen = operations[pick % len(operations)]
            self.operator.restore(chosen, self._at_steps(troubles, chosen))

    def _at_steps(self, drawn: Sequence[Drawn], operation_id: str | None = None) -> list[Trouble]:
        """The troubles, each at a step that the run will have if none comes before."""
        if not drawn:
            return []
        asked = self.operator.rehearsed(operation_id)
        kinds = sorted(asked)
        placed = []
        for each in drawn if kinds else ():
            kind = kinds[each.kind % len(kinds)]
            what = each.what if isinstance(each.what, Fault) else partial(self._happen, each.what)
            placed.append(Trouble(Point(kind, each.number % asked[kind]), what, each.lasts))
        return placed

    def _happen(self, deeds: Iterable[Deed]) -> None:
        """Something happens, perhaps while gc runs."""
        for what, pick, choice in deeds:
            if self.life.is_broken:
                return
            if what == "gc":
                self.operator.collect()
            elif what == "restore":
                self.restore(pick, [])
            elif what != "break_table":
                self.life.act(what, pick, choice)
            elif self.life.runs_at_work:
                self.life.break_table()

    @invariant()
    def no_data_are_lost(self) -> None:
        missing = [name for name in self.life.referred() if not self._is_right(name)]
        assert self.life.revived.issuperset(missing), f"a row refers to {missing}"
        if missing:
            back = self.operator.all_restored()
            for name in missing:
                assert name in back.objects and back.objects[name].body == self.life.bodies[name][-1], name

    def _is_right(self, name: str) -> bool:
        return self.life.is_intact(name) or name in self.life.purged or self._is_excused(name)

    def _is_excused(self, name: str) -> bool:
        removed_at = self.life.removed.get(name)
        kept_since = self.life.clock.now - self.rules_of_gc.keep_trash
        return name in self.life.revived and removed_at is not None and removed_at < kept_since

    @invariant()
    def what_is_not_gcs_is_left_alone(self) -> None:
        assert self.life.strangers_are_as_they_were()

    def teardown(self) -> None:
        try:
            if self.has_begun and sys.exc_info()[0] is None:
                self.conclude()
        finally:
            self.until_end.close()

    def conclude(self) -> None:
        """Left alone, gc takes exactly what is orphaned, and cleans up after itself."""
        life, bucket = self.life, self.life.bucket
        life.settle()
        life.go_on(timedelta(hours=26))
        self.clean_run()
        life.go_on(timedelta(hours=20, minutes=1))
        self.clean_run()
        referred = set(life.referred())
        there = {name for name in bucket.below(life.folder) if name not in life.strangers}
        assert there <= referred, "orphans are left"
        lost = {name for name in referred if not self._is_right(name)}
        assert not lost
        life.go_on(timedelta(days=15))
        self.clean_run()
        assert not bucket.below(f"{self.operator.control}trash/")
        self.no_data_are_lost()
        self.what_is_not_gcs_is_left_alone()

    def clean_run(self) -> Run:
        for _ in range(2):
            run = self.operator.collect()
            assert run.error is None and not run.was_killed and run.account, run.error
            gates = {refusal.gate for refusal in run.account.plan.refusals}
            assert gates <= {Gate.RESTORED_DATABASE}, run.account.plan.refusals
            if not gates:
                break
        assert not gates
        assert not self.life.bucket.below(f"{self.operator.control}lease/")
        assert not self.life.bucket.below(f"{self.life.folder}_xcomctl/")
        return run


def attack(databases: Databases, schema: str, rules_of_gc: Rules = RULES, **effort: object) -> None:
    machine = type("Machine", (Machine,), {"schema": schema, "databases": databases, "rules_of_gc": rules_of_gc})
    usual = {"stateful_step_count": 40, "deadline": None, "suppress_health_check": list(HealthCheck)}
    run_state_machine_as_test(machine, settings=settings(**{**usual, "print_blob": True, **effort}))


@pytest.mark.parametrize("schema", ["sqlite-2.11", "sqlite-3.3", "sqlite-3.4"])
def test_whatever_happens(databases: Databases, schema: str) -> None:
    """In CI always the same, so that it says the same of the same code."""
    attack(databases, schema, max_examples=500 if LONG else 25, derandomize=not LONG)


class Twin(NamedTuple):
    """gc with one of its rules broken: what is put in place of what, or other rules."""

    schema: str = "sqlite-3.3"
    rules: Rules = RULES
    broken: Mapping[str, object] = {}


GC = "xcomctl.operations.gc"

TWINS = {
    "any age": Twin(rules=replace(RULES, older_than=timedelta(0))),
    "no wait between two sightings": Twin(rules=replace(RULES, confirm_after=timedelta(0))),
    "conditions are believed in": Twin("sqlite-3.4", broken={f"{GC}.canary._conditions_hold": lambda *_: True}),
    "archives are not read": Twin(broken={"xcomctl.catalog.Catalog.archived_references": lambda _: iter(())}),
    "no intent is written": Twin(broken={f"{GC}.batches.write_intent": lambda *_: None}),
    "nothing heals": Twin(broken={f"{GC}.sweep._heal": lambda *_: None}),
}

SUBTLE_TWINS = {
    "a backup is not noticed": Twin(broken={"xcomctl.ledger.Claim.ahead_of": lambda *_: None}),
    "an attempt at work owns nothing": Twin(
        "sqlite-3.4", broken={f"{GC}.{room}.unfinished_owners": lambda *_: set() for room in ("doubt", "batches")}
    ),
    "no last look at the rows": Twin(broken={f"{GC}.batches.Sweep._revived": lambda *_: set()}),
    "no lease bars another": Twin(broken={"xcomctl.ledger.lease.Holder.bars": lambda *_: False}),
}
"""What only a rare order of events shows, since other rules stand behind these."""


@pytest.mark.parametrize("name", [*TWINS, *(pytest.param(each, marks=pytest.mark.long) for each in SUBTLE_TWINS)])
def test_a_broken_rule_is_found(databases: Databases, name: str) -> None:
    """The attack bites: it finds what each of these rules is for."""
    twin = {**TWINS, **SUBTLE_TWINS}[name]
    with ExitStack() as patches:
        for where, what in twin.broken.items():
            patches.enter_context(patch(where, what))
        with pytest.raises(AssertionError):
            attack(
                databases,
                twin.schema,
                twin.rules,
                max_examples=1000,
                derandomize=True,
                phases=[Phase.generate],
                report_multiple_bugs=False,
            )
