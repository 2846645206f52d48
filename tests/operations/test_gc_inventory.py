"""What is packed comes back as it was, wherever it lies."""

from __future__ import annotations

import errno
import tempfile
from datetime import datetime, timedelta, timezone
from typing import Any
from uuid import UUID

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xcomctl.errors import StorageError
from xcomctl.model import UNDATED, Objects, StoredObject
from xcomctl.numbers import Hashes, hashed, hashes_of, microseconds, moment
from xcomctl.operations.gc import inventory
from xcomctl.operations.gc.inventory import Inventory

NOW = datetime(2026, 1, 2, 3, 4, 5, 678901, timezone.utc)

times = st.one_of(st.just(UNDATED), st.datetimes(min_value=datetime(1, 1, 1), timezones=st.just(timezone.utc)))
leaves = st.one_of(
    st.uuids(version=4).map(str),
    st.uuids(version=4).map(lambda uuid: f"{uuid}.gz"),
    st.uuids(version=4).map(lambda uuid: str(uuid).upper()),
    st.text(max_size=40),
    st.sampled_from(["0" * 36, "-" * 36, "0" * 8 + "-" * 4 + "0" * 24]),
)
names = st.builds(
    "{}{}".format, st.sampled_from(["", "/", "x/", "dag/run/task/", "d/r\u00fcn \U0001f600\n/t/"]), leaves
)
versions = st.one_of(
    st.none(),
    st.text(max_size=40),
    st.uuids().map(lambda uuid: f'"{uuid.hex}"'),
    st.sampled_from(
        ['"' + "A" * 32 + '"', '"' + "a" * 31 + '"', '"' + "a" * 33 + '"', '"' + "a" * 32 + '-2"', " " * 34]
    ),
)
objects = st.builds(StoredObject, names, st.integers(0, 2**62), times, versions)
plain = st.builds(
    StoredObject,
    st.uuids(version=4).map(lambda uuid: f"xcom/dag/run/task/{uuid}.gz"),
    st.integers(0, 2**40),
    times,
    st.uuids().map(lambda uuid: f'"{uuid.hex}"'),
)


def example(number: int) -> StoredObject:
    uuid = UUID(int=number * 2**64 + 7, version=4)
    return StoredObject(f"xcom/d/r/t/{uuid}", number, NOW + timedelta(microseconds=number), f'"{number:032x}"')


def filled(count: int, at_once: int = 10) -> Inventory:
    found = Inventory()
    for start in range(0, count, at_once):
        some = [example(number) for number in range(start, min(start + at_once, count))]
        found.add(Objects.of(some), {"numbers": np.arange(len(some))})
    return found


@given(st.lists(st.one_of(st.lists(objects, max_size=6), st.lists(plain, max_size=6)), max_size=4))
def test_objects_come_back(blocks: list[list[StoredObject]]):
    found = Inventory()
    for some in blocks:
        found.add(Objects.of(some), {"numbers": hashes_of([each.name for each in some])})
    assert list(found) == [each for some in blocks for each in some] and len(found) == sum(map(len, blocks))
    assert list(found.names()) == [each.name for each in found]
    for block, some in zip(found.blocks(), (some for some in blocks if some), strict=True):
        assert block.columns["numbers"].tolist() == [hash(each.name) for each in some]
        assert list(block.objects(np.array([len(some) - 1]))) == [some[-1]]


def test_what_all_backends_write_takes_little():
    inside = filled(10_000, inventory.BLOCK)
    assert sum(inside._spool._lengths) < 70 * 10_000


def test_many_lie_in_a_temporary_file(monkeypatch: Any):
    monkeypatch.setattr(inventory, "MEMORY_BYTES", 1000)
    found = filled(100)
    assert isinstance(found._spool._file.fileno(), int)
    first = iter(found)
    assert next(first) == example(0)
    assert list(found) == list(map(example, range(100)))
    assert list(first) == list(map(example, range(1, 100)))


def test_without_a_place_for_files_memory_must_do(monkeypatch: Any):
    monkeypatch.setattr(inventory, "MEMORY_BYTES", 1000)
    monkeypatch.setattr(tempfile, "tempdir", "/nowhere")
    assert list(filled(100)) == list(map(example, range(100)))


def test_a_full_disk_is_an_error_in_one_line(monkeypatch: Any):
    class Full:
        def seek(self, *_: object) -> int:
            return 0

        def write(self, _: bytes) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

    found = filled(10)
    found._spool._file = Full()  # type: ignore[assignment]
    with pytest.raises(StorageError, match="No space left on device"):
        found.add(Objects.of([example(1)]), {})


@given(st.lists(st.lists(objects, max_size=4), min_size=1, max_size=3))
def test_columns_are_the_objects(blocks: list[list[StoredObject]]):
    all_of_them = [each for some in blocks for each in some]
    found = Objects.joined([Objects.of(some) for some in blocks])
    assert list(found) == all_of_them and Objects.of(found) is found
    assert [found[place] for place in range(len(found))] == all_of_them
    assert list(found[1:3]) == all_of_them[1:3]
    assert list(found.at(np.arange(len(found))[::-1])) == all_of_them[::-1]


@given(times)
def test_times_come_back(at: datetime):
    assert moment(microseconds(at)) == at


@given(st.lists(st.text(max_size=5)), st.lists(st.text(max_size=5)))
def test_a_set_of_hashes_is_that_of_its_names(held: list[str], asked: list[str]):
    found = Hashes([hashes_of(held[:2]), hashes_of(held[2:])])
    assert found.holding(hashes_of(asked)).tolist() == [name in held for name in asked]
    assert all(name in found for name in held) and (hashed("") in {hash("")})
