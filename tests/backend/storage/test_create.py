"""What a migration writes, on every kind of store: a new object, whole, and never over another one."""

from __future__ import annotations

import os
from uuid import uuid4

import pytest

from tests.backend.storage.kinds import CONDITIONAL, Lab, opened
from xcomctl.errors import StorageError

RUNS = ("r", "manual__2026-01-01T00:00:00+00:00", "[a*]?#", "x y+%20", "ünïcödé 😀", "a/b/c")


@pytest.mark.parametrize("body", [b"", b"1", os.urandom(3_000_000)], ids=["empty", "one byte", "large"])
def test_what_is_written_is_there(lab: Lab, body: bytes) -> None:
    names = [f"{lab.prefix}d/{run}/t/{uuid4()}.gz" for run in RUNS]
    for name in names:
        lab.store.create(name, body)
    assert {each.name for each in lab.listed().values()} == set(names)
    for name in names:
        with lab.store.open(name) as written:
            assert written.read() == body


def test_an_object_that_is_there_is_never_written_over(lab: Lab) -> None:
    if not CONDITIONAL and lab.raw.url.startswith("s3:"):
        pytest.skip("this botocore cannot send If-None-Match: what is left is a name that is new each time")
    (before,) = lab.put("d/r/t/x").values()
    with pytest.raises(FileExistsError):
        lab.store.create(before.name, b"another")
    assert lab.listed()["d/r/t/x"] == before


@pytest.mark.parametrize("body", [b"", b"1", os.urandom(3_000_000)], ids=["empty", "one byte", "large"])
def test_what_is_copied_is_there_twice(lab: Lab, body: bytes) -> None:
    there = opened(lab.raw.url, lab.raw.options)
    for run in RUNS:
        old, new = f"{lab.prefix}old/{run}/{uuid4()}", f"{lab.prefix}new/{run}/{uuid4()}.gz"
        lab.store.create(old, body)
        lab.store.copy(there, old, new)
        for name in (old, new):
            with lab.store.open(name) as written:
                assert written.read() == body
    assert len(lab.keys()) == 2 * len(RUNS)


def test_a_copy_never_goes_over_an_object(lab: Lab) -> None:
    before = lab.put("d/r/t/x", "d/r/t/y")
    with pytest.raises(FileExistsError):
        lab.store.copy(lab.store, before["d/r/t/x"].name, before["d/r/t/y"].name)
    assert lab.listed() == before


def test_nothing_is_copied_of_what_is_not_there(lab: Lab) -> None:
    lab.put("d/r/t/x")
    with pytest.raises(FileNotFoundError):
        lab.store.copy(lab.store, f"{lab.prefix}gone", f"{lab.prefix}new")
    assert lab.keys() == {"d/r/t/x"}


@pytest.mark.parametrize("lab", ["ministack-trash", "gcs-trash"], indirect=True)
def test_a_bucket_that_is_not_there(lab: Lab) -> None:
    with pytest.raises(StorageError, match=r"cannot write|no such bucket"):
        opened(f"{lab.raw.url.partition(':')[0]}://no-such-bucket", lab.raw.options).create("d/r/t/x", b"1")


@pytest.mark.parametrize("lab", ["file-rename"], indirect=True)
def test_a_file_where_a_folder_should_be(lab: Lab) -> None:
    lab.put("d")
    with pytest.raises(StorageError, match="cannot write"):
        lab.store.create(f"{lab.prefix}d/r/t/x", b"1")
    assert lab.keys() == {"d"}
