"""Google Cloud Storage through gcsfs, against a server that pages, counts generations, honours conditions."""

from __future__ import annotations

import asyncio
import tracemalloc
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta, timezone
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.lab.gcs import GCSServer, Json
from xcomctl.backend.reference import parse
from xcomctl.backend.storage import Store, gcs, open_store
from xcomctl.errors import StorageError
from xcomctl.model import Deletion, StoredObject

WRITTEN = datetime(2026, 3, 1, 12, 30, 15, 250_000, timezone.utc)

NAMES = st.one_of(
    st.sampled_from(["a/../b", "../a", "a/./b", "a//b", "/a", "a/", "{}", "%2F", "a%2Fb", "%2e%2e", "o", "a#17"]),
    st.lists(st.sampled_from(":+/[]*?#%&= .{}~'\"\\|\x7fäß\u2028😀xy"), min_size=1, max_size=12).map("".join),
    st.text(st.characters(exclude_characters="\r\n", exclude_categories=["Cs"]), min_size=1, max_size=40),
).filter(lambda name: name not in (".", ".."))
"""What Google takes for a name: any UTF-8 without line breaks, but not `.` and `..` alone."""


def opened(server: GCSServer, bucket: str = "lab") -> Store:
    address = parse(f"gs://{bucket}/xcom")
    assert address is not None
    return open_store(address, server.options)


@pytest.fixture
def server() -> Iterator[GCSServer]:
    """A server with the bucket `lab`, whose listings have three objects to a page."""
    with GCSServer("lab", page_size=3) as server:
        yield server


@pytest.fixture
def cloud(server: GCSServer) -> Store:
    return opened(server)


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let gcsfs try again at once instead of after a second and more."""
    monkeypatch.setattr("gcsfs.retry.asyncio", SimpleNamespace(sleep=lambda seconds: asyncio.sleep(0)))


def names(found: Iterator[StoredObject]) -> list[str]:
    return [listed.name for listed in found]


def test_an_object_is_listed_with_its_size_time_and_generation(server: GCSServer, cloud: Store) -> None:
    server.put("lab", "xcom/a", b"12345", updated=WRITTEN)
    (listed,) = cloud.objects("xcom/")
    assert (listed.name, listed.size_bytes, listed.modified_at) == ("xcom/a", 5, WRITTEN)
    assert listed.modified_at.utcoffset() == timedelta(0)
    assert listed == cloud.stat("xcom/a")
    server.put("lab", "xcom/a", b"12345", updated=WRITTEN)
    assert cloud.stat("xcom/a") != listed, "equal bytes written again are another generation"


@pytest.mark.parametrize(
    ("told", "microsecond"),
    [("15Z", 0), ("15.2Z", 200_000), ("15.250Z", 250_000), ("15.250123456Z", 250_123)],
)
def test_a_time_may_have_any_number_of_digits(told: str, microsecond: int) -> None:
    class DatedServer(GCSServer):
        def page(self, bucket: str, query: Mapping[str, str]) -> Json:
            item = {"name": "a", "size": "1", "generation": "7", "updated": f"2026-03-01T12:30:{told}"}
            return {"kind": "storage#objects", "items": [item]}

    with DatedServer("lab") as server:
        (listed,) = opened(server).objects("")
    assert listed == StoredObject("a", 1, WRITTEN.replace(microsecond=microsecond), "7")


def test_every_page_is_read(server: GCSServer, cloud: Store) -> None:
    for number in range(8):
        server.put("lab", f"xcom/{number}")
        server.put("lab", f"other/{number}")
    assert names(cloud.objects("xcom/")) == [f"xcom/{number}" for number in range(8)]
    assert server.calls["list"] == 3
    assert names(cloud.objects("nothing/")) == []


def test_a_prefix_is_taken_as_it_is(server: GCSServer, cloud: Store) -> None:
    for name in ("a[1]*?/x", "a1/x", "a[1]*?/y#1", "a[1]*?z"):
        server.put("lab", name)
    assert names(cloud.objects("a[1]*?/")) == ["a[1]*?/x", "a[1]*?/y#1"]


@pytest.fixture(scope="module")
def shared() -> Iterator[tuple[GCSServer, Store]]:
    with GCSServer("lab", page_size=3) as server:
        yield server, opened(server)


@settings(max_examples=60, deadline=None)
@given(written=st.sets(NAMES, min_size=1, max_size=7))
def test_every_name_survives_the_round_trip(shared: tuple[GCSServer, Store], written: set[str]) -> None:
    server, cloud = shared
    for name in written:
        server.put("lab", name, name.encode())
    listed = {found.name: found for found in cloud.objects("")}
    assert set(listed) == written
    for name in written:
        assert cloud.stat(name) == listed[name]
        with cloud.open(name) as body:
            assert body.read() == name.encode()
    assert list(cloud.delete([*listed.values()])) == [Deletion(found) for found in listed.values()]
    assert server.names("lab") == set()


def test_now_is_the_servers_time(cloud: Store) -> None:
    assert abs(cloud.now("xcom/") - datetime.now(timezone.utc)) < timedelta(seconds=5)


def test_what_is_not_there_is_told_apart_from_an_error(cloud: Store) -> None:
    assert cloud.stat("xcom/gone") is None
    with pytest.raises(FileNotFoundError, match="gs://lab/xcom/gone"):
        cloud.open("xcom/gone")


@pytest.mark.parametrize("name", [".", ".."])
def test_a_name_that_a_url_would_resolve_is_never_asked_for(server: GCSServer, cloud: Store, name: str) -> None:
    assert cloud.stat(name) is None
    with pytest.raises(FileNotFoundError):
        cloud.open(name)
    assert list(cloud.delete([StoredObject(name, 1, WRITTEN, "1")])) == [Deletion(StoredObject(name, 1, WRITTEN, "1"))]
    assert server.calls.keys() == {"list"}, "only the bucket itself was looked for"


def test_a_missing_bucket_is_an_error(server: GCSServer) -> None:
    attempts = {
        "list": lambda cloud: list(cloud.objects("xcom/")),
        "now": lambda cloud: cloud.now("xcom/"),
        "stat": lambda cloud: cloud.stat("xcom/a"),
        "open": lambda cloud: cloud.open("xcom/a"),
    }
    for attempt in attempts.values():
        with pytest.raises(StorageError, match=r"cannot list gs://elsewhere/xcom/.*no such bucket") as refused:
            attempt(opened(server, "elsewhere"))
        assert refused.value.hint == "check the bucket's name"


def test_a_refusal_is_one_line_and_a_hint(server: GCSServer, cloud: Store) -> None:
    server.put("lab", "a")
    server.faults |= {("list", "lab"): 403, ("stat", "a"): 403, ("read", "a"): 403}
    attempts = {
        "list": lambda: list(cloud.objects("a")),
        "look up": lambda: cloud.stat("a"),
        "read": lambda: cloud.open("a"),
    }
    for verb, attempt in attempts.items():
        with pytest.raises(StorageError) as refused:
            attempt()
        assert refused.value.message == f"cannot {verb} gs://lab/a: Declared by the test."
        assert refused.value.hint == f"the credentials may not {verb} here"


def test_each_delete_has_an_answer_of_its_own(server: GCSServer, cloud: Store) -> None:
    for name in ("changed", "denied", "gone", "held", "there"):
        server.put("lab", name)
    listed = list(cloud.objects(""))
    server.put("lab", "changed", b"written again")
    server.delete("lab", "gone")
    server.faults |= {("delete", "denied"): 403, ("delete", "held"): 400}
    changed, denied, gone, held, there = cloud.delete(listed)
    assert [deletion.object for deletion in (changed, denied, gone, held, there)] == listed
    assert (changed.changed, changed.error) == (True, None)
    assert (denied.changed, denied.error) == (False, "cannot delete gs://lab/denied: Declared by the test.")
    assert (gone.changed, gone.error) == (False, None)
    assert held.error is not None and "400" in held.error
    assert (there.changed, there.error) == (False, None)
    assert server.names("lab") == {"changed", "denied", "held"}


def test_an_object_without_a_generation_is_kept(server: GCSServer, cloud: Store) -> None:
    server.put("lab", "a")
    (deletion,) = cloud.delete([StoredObject("a", 4, WRITTEN)])
    assert deletion.changed and server.names("lab") == {"a"}


def test_more_deletes_than_go_at_once(server: GCSServer, cloud: Store) -> None:
    for number in range(2 * gcs.DELETES_AT_ONCE + 3):
        server.put("lab", str(number))
    listed = list(cloud.objects(""))
    assert list(cloud.delete(listed)) == [Deletion(found) for found in listed]
    assert server.names("lab") == set()


@pytest.mark.usefixtures("hasty")
def test_a_delete_whose_answer_is_lost_is_a_delete(server: GCSServer, cloud: Store) -> None:
    server.put("lab", "a")
    server.faults["delete", "a"] = "lost"
    assert [deletion.error for deletion in cloud.delete(list(cloud.objects("")))] == [None]
    assert server.calls["delete"] == 2 and server.names("lab") == set()


@pytest.mark.usefixtures("hasty")
def test_a_failing_server_is_asked_again_and_then_named(server: GCSServer, cloud: Store) -> None:
    server.put("lab", "a")
    server.faults |= {("list", "lab"): 503, ("read", "a"): 503}
    with pytest.raises(StorageError, match="503") as failed:
        list(cloud.objects("a"))
    assert failed.value.hint == "check the endpoint and the credentials"
    with pytest.raises(StorageError, match="503"):
        cloud.open("a")
    assert server.calls == {"list": 6, "read": 6}


@pytest.mark.usefixtures("hasty")
def test_a_silent_server_is_asked_again(server: GCSServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gcs, "SILENCE", 0.1)
    server.put("lab", "a")
    server.faults |= {("list", "lab"): "silent", ("read", "a"): "silent"}
    cloud = opened(server)
    assert names(cloud.objects("")) == ["a"]
    with cloud.open("a") as body:
        assert body.read() == b"null"
    assert server.calls == {"list": 2, "read": 2}


class StuckServer(GCSServer):
    """Answers every page with the same way on."""

    def page(self, bucket: str, query: Mapping[str, str]) -> Json:
        return {**super().page(bucket, query), "nextPageToken": "again"}


class ForeignServer(GCSServer):
    """Answers with JSON that is no listing, as a proxy might."""

    def page(self, bucket: str, query: Mapping[str, str]) -> Json:
        return {"status": "ok"}


@pytest.mark.parametrize(
    ("kind", "message"), [(StuckServer, "a page without a way on"), (ForeignServer, "not a storage#objects")]
)
def test_a_listing_that_cannot_be_complete_is_an_error(kind: type[GCSServer], message: str) -> None:
    with kind("lab") as server, pytest.raises(StorageError, match=message):
        list(opened(server).objects(""))


def test_a_body_that_breaks_off_is_an_error(server: GCSServer, cloud: Store) -> None:
    server.put("lab", "a", bytes(100_000))
    server.faults["read", "a"] = "cut"
    with cloud.open("a") as body, pytest.raises(StorageError, match="broke off"):
        body.read()


def test_a_body_is_never_in_memory_as_a_whole(server: GCSServer, cloud: Store) -> None:
    size = 32 * 2**20
    server.put("lab", "a", bytes(size))
    tracemalloc.start()
    try:
        with cloud.open("a") as body:
            assert sum(len(part) for part in iter(lambda: body.read(2**18), b"")) == size
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < size / 4


def test_a_body_may_be_left_unread(server: GCSServer, cloud: Store) -> None:
    server.put("lab", "a", b"\x1f\x8b" + bytes(2**20))
    for _ in range(150):  # more than the connections that aiohttp keeps open at once
        with cloud.open("a") as body:
            assert body.read(2) == b"\x1f\x8b"


def test_what_gcsfs_writes_is_found(server: GCSServer, cloud: Store) -> None:
    from gcsfs.core import GCSFileSystem

    written = GCSFileSystem(**server.options, skip_instance_cache=True)
    written.pipe_file("lab/xcom/a b", b'{"a":\n\n1}')
    assert written.cat_file("lab/xcom/a b", 2, 4) == b'a"'
    assert written.ls("lab", detail=False) == ["lab/xcom"]
    assert names(cloud.objects("")) == ["xcom/a b"]
    with cloud.open("xcom/a b") as body:
        assert body.read() == b'{"a":\n\n1}'
