"""What is promised of every store, on local files and on two S3 servers: raw keys, whole listings, true answers."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta, timezone

import pytest

from tests.backend.storage.kinds import CONDITIONAL, Lab, opened
from tests.lab import s3
from tests.lab.folder import Folder
from xcomctl.backend.storage.local import LocalStore
from xcomctl.errors import StorageError
from xcomctl.model import Deletion

RUN = "manual__2026-01-02T03:04:05+00:00"
NASTY = (
    f"d/{RUN}/t/plain",
    f"d/{RUN} with [a*b?c]#%&=+/t/x",
    "d/50%25 %2F %/t/x",
    "d/\u65e5\u672c \U0001f600 \u00e9/t/x",
    "d/quote'\"<&>/t/x",
    "d/~!@$^(){}|;,/t/x",
)
ONLY_S3 = ("d//double/x", "d/./x", "d/a/../x", "d/tab\tnew\nline/x", "d/bell\x07/x", "d/trailing/")


@pytest.fixture
def lab(store: s3.Bucket | Folder) -> Lab:
    return Lab(store)


def test_any_key_is_listed_looked_up_read_and_deleted(lab: Lab) -> None:
    for number, key in enumerate(NASTY):
        lab.raw.put(key, f"value {number}".encode())
    listed = lab.listed()
    assert set(listed) == set(NASTY)
    for number, key in enumerate(NASTY):
        name = lab.prefix + key
        found = lab.store.stat(name)
        assert found is not None and (found.name, found.version) == (name, listed[key].version)
        assert abs(found.modified_at - listed[key].modified_at) < timedelta(seconds=1)
        assert listed[key].size_bytes == len(f"value {number}")
        with lab.store.open(name) as body:
            assert body.read() == f"value {number}".encode()
    first, *others = listed.values()
    assert list(lab.remove([first]).values()) == [Deletion(first)]
    assert set(lab.listed().values()) == set(others)
    assert list(lab.remove(others).values()) == [Deletion(found) for found in others]
    assert lab.keys() == set()


@pytest.mark.stores("ministack")
@pytest.mark.parametrize("key", ONLY_S3)
def test_keys_that_only_a_bucket_can_hold(lab: Lab, key: str) -> None:
    lab.raw.put(key, b"value")
    lab.raw.put("d/x", b"another")
    listed = lab.listed()
    assert set(listed) == {key, "d/x"}
    with lab.store.open(key) as body:
        assert body.read() == b"value"
    assert lab.remove([listed[key]]) == {key: Deletion(listed[key])}
    assert lab.keys() == {"d/x"}


def test_deleting_a_key_never_takes_it_for_a_pattern(lab: Lab) -> None:
    for key in ("run[ab]/z", "runa/z", "runb/z", "run*/z", "run?/z"):
        lab.raw.put(key)
    listed = lab.listed()
    lab.remove([listed["run[ab]/z"], listed["run*/z"], listed["run?/z"]])
    assert lab.keys() == {"runa/z", "runb/z"}


def test_a_listing_has_all_pages(lab: Lab) -> None:
    keys = {f"many/{number:04}" for number in range(1100)}
    for key in keys:
        lab.raw.put(key)
    lab.raw.put("many2/other")
    assert set(lab.listed("many/")) == set(keys)


def test_a_condition_is_named_where_it_can_be_sent(lab: Lab) -> None:
    assert (lab.store.condition is not None) == (isinstance(lab.store, LocalStore) or CONDITIONAL)


def test_what_is_not_there(lab: Lab) -> None:
    lab.raw.put("a")
    assert lab.store.stat(lab.prefix + "b") is None
    assert lab.store.stat(lab.prefix + "a/b") is None
    with pytest.raises(FileNotFoundError):
        lab.store.open(lab.prefix + "b")


def test_ages_are_told_by_one_clock(lab: Lab) -> None:
    lab.raw.put("a")
    (listed,) = lab.listed().values()
    now = lab.store.now(lab.prefix)
    assert listed.modified_at.tzinfo is not None
    assert timedelta(seconds=-2) <= now - listed.modified_at < timedelta(minutes=1)
    assert abs(now - datetime.now(timezone.utc)) < timedelta(minutes=1)


@pytest.mark.stores("ministack", "seaweedfs")
def test_a_missing_bucket_is_an_error_and_no_missing_object(store: s3.Bucket) -> None:
    missing = opened("s3://no-such-bucket-here/x", store.options)
    attempts: list[Callable[[], object]] = [
        lambda: list(missing.objects("x/")),
        lambda: missing.stat("x/a"),
        lambda: missing.open("x/a"),
        lambda: missing.now("x/"),
    ]
    for ask in attempts:
        with pytest.raises(StorageError, match="no-such-bucket-here"):
            ask()


@pytest.mark.stores("seaweedfs")
def test_denied_requests_are_errors_that_show_no_secret(store: s3.Bucket) -> None:
    store.put("a")
    denied = opened(store.url, {**store.options, "secret": "guessed-secret"})
    attempts: list[Callable[[], object]] = [
        lambda: list(denied.objects("")),
        lambda: denied.stat("a"),
        lambda: denied.open("a"),
    ]
    for ask in attempts:
        with pytest.raises(StorageError) as error:
            ask()
        assert "guessed-secret" not in f"{error.value.message} {error.value.hint}"
        assert error.value.hint is not None


@pytest.mark.stores("ministack")
def test_an_endpoint_where_nobody_listens(store: s3.Bucket) -> None:
    options = {**store.options, "client_kwargs": {"endpoint_url": "http://127.0.0.1:1", "region_name": "us-east-1"}}
    options["config_kwargs"] = {"connect_timeout": 1, "retries": {"max_attempts": 0}}
    with pytest.raises(StorageError):
        list(opened(store.url, options).objects(""))
