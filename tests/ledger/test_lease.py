"""The lease: one run at a time, and no dead one in the way of the living."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from xcomctl.backend.storage.local import LocalStore
from xcomctl.errors import LockedError
from xcomctl.ledger import Control
from xcomctl.ledger.lease import LIFE, Holder, held, holder, holders, require_free

ELSEWHERE = "another machine/4026531836/1@2"


@pytest.fixture
def control(tmp_path: Path) -> Control:
    return Control(LocalStore(), f"{tmp_path}/control/")


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, float]]:
    """The clocks of this process, to be moved by the test."""
    clocks = {"monotonic": 1000.0, "wall": 2000.0}
    monkeypatch.setattr("xcomctl.ledger.lease._clocks", lambda: dict(clocks))
    yield clocks


def elsewhere(operation_id: str, *, shared: bool = False) -> Holder:
    """A run on another machine, of which nothing is known but its lease."""
    return replace(holder(operation_id, "gc", shared=shared), host="elsewhere", process=ELSEWHERE)


def _hold(control: Control, mine: Holder) -> None:
    with held(control, mine):
        pass


def let_pass(control: Control, by: timedelta) -> None:
    """Make every lease look older by the store's clock."""
    for each in control.listed("lease/"):
        seconds = each.modified_at.timestamp() - by.total_seconds()
        os.utime(each.name, (seconds, seconds))


def test_one_at_a_time(control: Control):
    with held(control, elsewhere("a")):
        with (
            pytest.raises(LockedError, match=r"gc a of .* on elsewhere is at work here"),
            held(control, holder("b", "gc")),
        ):
            pass
        with pytest.raises(LockedError):
            require_free(control, holder("b", "gc"))
        assert [each.operation_id for each in holders(control)] == ["a"]
    assert holders(control) == [] and control.listed("lease/") == []
    with held(control, holder("b", "gc")):
        pass


def test_those_that_share_stand_beside_each_other_and_against_one_that_does_not(control: Control):
    with (
        held(control, elsewhere("a", shared=True)),
        held(control, holder("b", "migrate", shared=True)),
        pytest.raises(LockedError),
    ):
        _hold(control, holder("c", "gc"))
    with held(control, elsewhere("d")), pytest.raises(LockedError), held(control, holder("e", "migrate", shared=True)):
        pass


def test_one_that_gave_no_sign_of_life_is_taken_over(control: Control, clock: dict[str, float]):
    with held(control, elsewhere("stopped")) as stopped:
        let_pass(control, LIFE - timedelta(seconds=5))
        with pytest.raises(LockedError), held(control, holder("b", "gc")):
            pass
        let_pass(control, timedelta(seconds=10))
        require_free(control, holder("b", "gc"))
        with held(control, elsewhere("b")):
            clock["wall"] += LIFE.total_seconds()
            with pytest.raises(LockedError, match="the lease was lost"):
                stopped.keep()


@pytest.mark.parametrize("moving", ["monotonic", "wall"])
def test_a_sign_of_life_is_given_in_time(control: Control, clock: dict[str, float], moving: str):
    """One clock stands still while a machine sleeps, the other may be set."""
    with held(control, elsewhere("a")) as lease:
        let_pass(control, LIFE / 2)
        lease.keep()
        (before,) = control.listed("lease/")
        clock[moving] += LIFE.total_seconds() / 4
        lease.keep()
        (after,) = control.listed("lease/")
        assert after.modified_at > before.modified_at + LIFE / 3


def test_two_that_each_think_the_other_dead_do_not_both_go_on(control: Control, clock: dict[str, float]):
    """The one that wakes up has its lease still, since the other died before removing it: it sees the other."""
    with held(control, elsewhere("asleep")) as asleep:
        other = elsewhere("awake")
        control.write_facts(other.name, {name: getattr(other, name) for name in Holder.__dataclass_fields__})
        clock["monotonic"] += LIFE.total_seconds()
        with pytest.raises(LockedError, match="awake"):
            asleep.keep()
        control.discard([other.name])


def test_a_dead_process_of_this_machine_is_in_nobodys_way(control: Control):
    here = holder("x", "gc").process.rpartition("/")[0]
    if not here:
        pytest.skip("only Linux tells of other processes")
    dead = replace(holder("dead", "gc"), process=f"{here}/{2**22 + 1}@1")
    reused = replace(holder("reused", "gc"), process=f"{here}/{os.getpid()}@1")
    for each in (dead, reused):
        control.write_facts(each.name, {name: getattr(each, name) for name in Holder.__dataclass_fields__})
    with held(control, holder("b", "gc")):
        assert [each.operation_id for each in holders(control)] == ["b"]


def test_of_many_at_once_at_most_one_gets_it(control: Control):
    inside, most, got = 0, 0, 0
    wrong: list[Exception] = []
    lock, start = threading.Lock(), threading.Barrier(8)

    def run(number: int) -> None:
        nonlocal inside, most, got
        start.wait()
        for attempt in range(10):
            try:
                with held(control, elsewhere(f"{number}-{attempt}")):
                    with lock:
                        inside, got = inside + 1, got + 1
                        most = max(most, inside)
                    with lock:
                        inside -= 1
            except LockedError:
                continue
            except Exception as error:
                wrong.append(error)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert most == 1 and got and control.listed("lease/") == []
