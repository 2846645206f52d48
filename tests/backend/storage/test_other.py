"""Stores that xcomctl only reads, by way of fsspec's memory and local file systems."""

from __future__ import annotations

import os
import uuid
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from fsspec.implementations.local import LocalFileSystem
from fsspec.implementations.memory import MemoryFileSystem

from xcomctl.backend.storage.other import OtherStore
from xcomctl.errors import StorageError
from xcomctl.model import Deletion, Kept, Outcome, Removal, Return, WayBack

WRITTEN = datetime(2026, 3, 1, 12, 30, 15, tzinfo=timezone.utc)

NAMES = ["xcom/d/r:2026+00:00/t/1", "xcom/d/a b/t[0]*?/#2", "xcom/d/%2F/ü😀", "xcom/e", "xcomb/x", "top"]


@pytest.fixture
def bucket() -> str:
    """All memory file systems share their objects, so each test has a bucket of its own."""
    return uuid.uuid4().hex


def filled(bucket: str, *names: str) -> OtherStore:
    filesystem = MemoryFileSystem()
    for name in names:
        filesystem.pipe_file(f"{bucket}/{name}", name.encode())
    return OtherStore(bucket, filesystem)


def names(store: OtherStore, prefix: str) -> set[str]:
    return {listed.name for listed in store.objects(prefix)}


def test_names_come_back_as_they_are(bucket: str) -> None:
    store = filled(bucket, *NAMES)
    assert names(store, "") == set(NAMES)
    for name in NAMES:
        found = store.stat(name)
        assert found is not None and (found.name, found.size_bytes) == (name, len(name.encode()))
        with store.open(name) as body:
            assert body.read() == name.encode()


@pytest.mark.parametrize(
    ("prefix", "expected"),
    [
        ("xcom/", NAMES[:4]),
        ("xcom", NAMES[:5]),
        ("xcom/d/a b/t[", NAMES[1:2]),
        ("xcom/d/a b/t[0]*?/", NAMES[1:2]),
    ],
)
def test_a_prefix_may_end_anywhere(bucket: str, prefix: str, expected: list[str]) -> None:
    assert names(filled(bucket, *NAMES), prefix) == set(expected)


def test_a_folder_that_nothing_was_written_to_is_empty(bucket: str) -> None:
    assert names(filled(bucket, "other/x"), "xcom/") == set()


@pytest.mark.parametrize("prefix", ["", "xcom/"])
def test_a_missing_bucket_is_an_error(bucket: str, prefix: str) -> None:
    with pytest.raises(StorageError, match=f"cannot list memory:///{bucket}.*does not exist") as refused:
        names(OtherStore(bucket, MemoryFileSystem()), prefix)
    assert refused.value.hint == "check the container's name"


def test_an_object_that_hides_a_folder_is_an_error(bucket: str) -> None:
    with pytest.raises(StorageError, match="an object and a folder at once"):
        names(filled(bucket, "xcom/a/b", "xcom/a"), "xcom/a/")


def test_a_folder_that_is_refused_is_an_error(bucket: str) -> None:
    class Guarded(MemoryFileSystem):
        def ls(self, path: str, detail: bool = True, **kwargs: Any) -> Any:
            if path.endswith("secret"):
                raise PermissionError("no rights to list it")
            return super().ls(path, detail=detail, **kwargs)

    filled(bucket, "xcom/a", "xcom/secret/b")
    with pytest.raises(StorageError, match=r"cannot list memory:///.*/xcom/secret: no rights to list it"):
        names(OtherStore(bucket, Guarded()), "xcom/")


def test_without_a_time_an_object_is_new(bucket: str) -> None:
    store = filled(bucket, "xcom/a")
    (listed,) = store.objects("xcom/")
    found = store.stat("xcom/a")
    assert found is not None
    for seen in (listed, found):
        assert store.now("xcom/") - seen.modified_at < timedelta(seconds=5)


def test_the_time_of_the_last_change_is_told_where_it_is_known(tmp_path: Path) -> None:
    (tmp_path / "xcom").mkdir()
    (tmp_path / "xcom" / "a").write_bytes(b"12345")
    os.utime(tmp_path / "xcom" / "a", (WRITTEN.timestamp(), WRITTEN.timestamp()))
    store = OtherStore(str(tmp_path), LocalFileSystem())
    (listed,) = store.objects("xcom/")
    assert (listed.name, listed.size_bytes, listed.modified_at) == ("xcom/a", 5, WRITTEN)
    assert listed == store.stat("xcom/a")


@pytest.mark.parametrize(
    "told", [WRITTEN, WRITTEN.replace(tzinfo=None), WRITTEN.astimezone(timezone(timedelta(hours=5)))]
)
def test_a_time_is_utc_whatever_the_store_tells(bucket: str, told: datetime) -> None:
    class Dated(MemoryFileSystem):
        def info(self, path: str, **kwargs: Any) -> Any:
            return {**super().info(path, **kwargs), "last_modified": told}

    filled(bucket, "a")
    found = OtherStore(bucket, Dated()).stat("a")
    assert found is not None and found.modified_at == WRITTEN
    assert found.modified_at.utcoffset() == timedelta(0)


def test_what_is_not_an_object_is_not_there(bucket: str) -> None:
    store = filled(bucket, "xcom/a")
    for name in ("xcom/gone", "xcom"):
        assert store.stat(name) is None
        with pytest.raises(FileNotFoundError, match=name):
            store.open(name)


def test_nothing_is_written_or_deleted(bucket: str) -> None:
    store = filled(bucket, "xcom/a", "xcom/b")
    listed = list(store.objects("xcom/"))
    assert not store.deletes
    removals = [Removal(found, "_xcomctl/0") for found in listed]
    assert list(store.remove(removals, store.way_back(timedelta(days=7)), look_first=False)) == [
        Deletion(found, error="gc does not delete on this kind of store") for found in listed
    ]
    with pytest.raises(StorageError, match="cannot write"):
        store.write("xcom/a", b"x")
    with pytest.raises(StorageError, match="cannot delete"):
        store.discard(["xcom/a"])
    assert names(store, "xcom/") == {"xcom/a", "xcom/b"}


def test_nothing_comes_back(bucket: str) -> None:
    store = filled(bucket, "xcom/a")
    (found,) = store.objects("xcom/")
    kept = Kept(found, WayBack.TRASH, "_xcomctl/0")
    assert list(store.bring_back([kept])) == [Return(kept, Outcome.MISSING)]
