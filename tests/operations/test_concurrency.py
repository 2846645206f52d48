"""What is made ahead of who takes it."""

from __future__ import annotations

from collections.abc import Iterator
from threading import Event, current_thread

import pytest

from xcomctl.operations.concurrency import ahead


def test_items_come_in_their_order_and_few_are_in_being():
    made = list[int]()

    def items() -> Iterator[int]:
        for number in range(20):
            made.append(number)
            yield number

    taken = list[int]()
    for number in ahead(items(), 3):
        taken.append(number)
        assert len(made) <= len(taken) + 2
    assert taken == made == [*range(20)]


def test_the_next_is_made_while_one_is_looked_at():
    is_made = Event()

    def items() -> Iterator[int]:
        yield 1
        is_made.set()
        yield 2

    assert [is_made.wait(30) for _ in ahead(items(), 2)] == [True, True]


def test_all_are_made_in_one_thread_and_not_in_this():
    (thread,) = {*ahead((current_thread() for _ in range(5)), 2)}
    assert thread is not current_thread()


def test_a_failure_comes_after_what_was_made_before_it():
    def items() -> Iterator[int]:
        yield 1
        raise OSError("gone")

    taking = ahead(items(), 2)
    assert next(taking) == 1
    with pytest.raises(OSError, match="gone"):
        next(taking)


def test_who_leaves_early_lets_no_more_be_made():
    made, is_closed = list[int](), Event()

    def items() -> Iterator[int]:
        try:
            for number in range(1000):
                made.append(number)
                yield number
        finally:
            is_closed.set()

    taking = ahead(items(), 2)
    next(taking)
    del taking
    assert is_closed.wait(30)
    assert len(made) <= 3


def test_none_is_an_item_too():
    assert [*ahead([None, None], 1)] == [None, None]
