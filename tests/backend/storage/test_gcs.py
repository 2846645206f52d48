"""Google Cloud Storage through gcsfs, against a server that pages, counts generations, honours conditions."""

from __future__ import annotations

import asyncio
import tracemalloc
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime, timedelta, timezone
from http.server import BaseHTTPRequestHandler
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.backend.storage import kinds
from tests.lab.gcs import Answer, Blob, Fault, GCSServer, Json, Request, Verb
from xcomctl.backend.storage import Store, gcs, gcs_requests
from xcomctl.errors import StorageError
from xcomctl.model import Deletion, Kept, Outcome, Removal, StoredObject, WayBack

WRITTEN = datetime(2026, 3, 1, 12, 30, 15, 250_000, timezone.utc)

NAMES = st.one_of(
    st.sampled_from(["a/../b", "../a", "a/./b", "a//b", "/a", "a/", "{}", "%2F", "a%2Fb", "%2e%2e", "o", "a#17"]),
    st.lists(st.sampled_from(":+/[]*?#%&= .{}~'\"\\|\x7fäß\u2028😀xy"), min_size=1, max_size=12).map("".join),
    st.text(st.characters(exclude_characters="\r\n", exclude_categories=["Cs"]), min_size=1, max_size=40),
).filter(lambda name: name not in (".", ".."))
"""What Google takes for a name: any UTF-8 without line breaks, but not `.` and `..` alone."""


def opened(server: GCSServer, bucket: str = "lab") -> Store:
    return kinds.opened(f"gs://{bucket}/xcom", server.options)


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


def remove(cloud: Store, objects: Iterable[StoredObject], way: WayBack = WayBack.VERSIONS) -> list[Deletion]:
    """What became of each; the copies are `_xcomctl/0` and so on."""
    removals = [Removal(found, f"_xcomctl/{number}") for number, found in enumerate(objects)]
    return list(cloud.remove(removals, way, look_first=False))


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
    assert remove(cloud, listed.values(), WayBack.TRASH) == [Deletion(found) for found in listed.values()]
    assert len(server.names("lab")) == len(written) and not written & server.names("lab")
    kept = [Kept(found, WayBack.TRASH, f"_xcomctl/{number}") for number, found in enumerate(listed.values())]
    assert {returned.outcome for returned in cloud.bring_back(kept)} == {Outcome.RESTORED}
    assert {name: server.get("lab", name) for name in server.names("lab")} == {n: n.encode() for n in written}
    cloud.discard([*written])
    assert server.names("lab") == set()


def test_now_is_the_servers_time(cloud: Store) -> None:
    assert abs(cloud.now("xcom/") - datetime.now(timezone.utc)) < timedelta(seconds=5)


def test_a_server_that_does_not_tell_the_time_is_an_error(cloud: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(BaseHTTPRequestHandler, "send_response", BaseHTTPRequestHandler.send_response_only)
    with pytest.raises(StorageError, match="gs://lab does not tell the time"):
        cloud.now("xcom/")


def test_what_is_not_there_is_told_apart_from_an_error(cloud: Store) -> None:
    assert cloud.stat("xcom/gone") is None
    with pytest.raises(FileNotFoundError, match="gs://lab/xcom/gone"):
        cloud.open("xcom/gone")


@pytest.mark.parametrize("name", [".", ".."])
def test_a_name_that_a_url_would_resolve_is_never_asked_for(server: GCSServer, cloud: Store, name: str) -> None:
    assert cloud.stat(name) is None
    with pytest.raises(FileNotFoundError):
        cloud.open(name)
    never = StoredObject(name, 1, WRITTEN, "1")
    for way in (WayBack.TRASH, WayBack.VERSIONS):
        assert remove(cloud, [never], way) == [Deletion(never, vanished=True)]
    for way in (WayBack.TRASH, WayBack.VERSIONS, WayBack.SOFT_DELETE):
        (returned,) = cloud.bring_back([Kept(never, way, "_xcomctl/never")])
        assert returned.outcome is Outcome.MISSING
    assert server.calls.keys() <= {"list", "bucket", "rewrite", "stat"}, "only the bucket itself was looked for"
    assert server.calls["stat"] == 1, "and what was kept of it"


def test_a_missing_bucket_is_an_error(server: GCSServer) -> None:
    attempts = {
        "list": lambda cloud: list(cloud.objects("xcom/")),
        "now": lambda cloud: cloud.now("xcom/"),
        "stat": lambda cloud: cloud.stat("xcom/a"),
        "open": lambda cloud: cloud.open("xcom/a"),
    }
    with pytest.raises(StorageError, match=r"cannot write gs://elsewhere/xcom/a: there is no such bucket"):
        opened(server, "elsewhere").write("xcom/a", b"")
    for attempt in attempts.values():
        with pytest.raises(StorageError, match=r"cannot list gs://elsewhere/xcom/.*no such bucket") as refused:
            attempt(opened(server, "elsewhere"))
        assert refused.value.hint == "check the bucket's name"


def test_a_refusal_is_one_line_and_a_hint(server: GCSServer, cloud: Store) -> None:
    server.put("lab", "a")
    server.faults |= {("list", "lab"): 403, ("stat", "a"): 403, ("read", "a"): 403}
    server.faults |= {("write", "lab"): 403, ("delete", "a"): 403}
    attempts = {
        "list": lambda: list(cloud.objects("a")),
        "look up": lambda: cloud.stat("a"),
        "read": lambda: cloud.open("a"),
        "write": lambda: cloud.write("a", b""),
        "delete": lambda: cloud.discard(["a"]),
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
    changed, denied, gone, held, there = remove(cloud, listed)
    assert [deletion.object for deletion in (changed, denied, gone, held, there)] == listed
    assert changed == Deletion(changed.object, changed=True)
    assert denied == Deletion(denied.object, error="cannot delete gs://lab/denied: Declared by the test.")
    assert gone == Deletion(gone.object, vanished=True)
    assert held.error is not None and "400" in held.error and not held.unknown
    assert there == Deletion(there.object, handle=there.object.version)
    assert server.names("lab") == {"changed", "denied", "held"}


@pytest.mark.parametrize("way", [WayBack.TRASH, WayBack.VERSIONS])
def test_an_object_without_a_generation_is_kept(server: GCSServer, cloud: Store, way: WayBack) -> None:
    server.put("lab", "a")
    assert remove(cloud, [StoredObject("a", 4, WRITTEN)], way) == [
        Deletion(StoredObject("a", 4, WRITTEN), changed=True)
    ]
    assert server.names("lab") == {"a"}


def test_more_objects_than_go_at_once(server: GCSServer, cloud: Store) -> None:
    for number in range(2 * gcs.OBJECTS_AT_ONCE + 3):
        server.put("lab", str(number))
    listed = list(cloud.objects(""))
    assert remove(cloud, listed, WayBack.TRASH) == [Deletion(found) for found in listed]
    assert len(server.names("lab")) == len(listed)
    returns = cloud.bring_back([Kept(found, WayBack.TRASH, f"_xcomctl/{n}") for n, found in enumerate(listed)])
    assert {returned.outcome for returned in returns} == {Outcome.RESTORED}
    assert server.names("lab") == {found.name for found in listed}


@pytest.mark.usefixtures("hasty")
@pytest.mark.parametrize("fault", ["lost", "dropped"])
@pytest.mark.parametrize("way", [WayBack.TRASH, WayBack.VERSIONS])
def test_a_delete_whose_answer_is_lost_is_a_delete(server: GCSServer, cloud: Store, fault: Fault, way: WayBack) -> None:
    server.put("lab", "a")
    server.faults["delete", "a"] = fault
    (found,) = cloud.objects("")
    assert remove(cloud, [found], way) == [Deletion(found, handle=None if way is WayBack.TRASH else found.version)]
    assert server.calls["delete"] == 2 and "a" not in server.names("lab")


@pytest.mark.usefixtures("hasty")
def test_a_delete_that_fails_to_the_end_may_have_happened(server: GCSServer, cloud: Store) -> None:
    server.put("lab", "a")
    server.faults["delete", "a"] = 503
    (deletion,) = remove(cloud, cloud.objects(""), WayBack.TRASH)
    assert deletion.error is not None and "503" in deletion.error and deletion.unknown
    assert server.names("lab") == {"a", "_xcomctl/0"}, "the copy may be all that there is"


@pytest.mark.parametrize(("verb", "name"), [("rewrite", "a"), ("delete", "a")])
def test_of_what_is_refused_no_copy_is_left(server: GCSServer, cloud: Store, verb: Verb, name: str) -> None:
    server.put("lab", "a")
    server.faults[verb, name] = 403
    (deletion,) = remove(cloud, cloud.objects(""), WayBack.TRASH)
    assert deletion.error == f"cannot {'copy' if verb == 'rewrite' else verb} gs://lab/a: Declared by the test."
    assert not deletion.unknown and server.names("lab") == {"a"}


def test_what_has_changed_is_not_even_copied(server: GCSServer, cloud: Store) -> None:
    server.put("lab", "a")
    (found,) = cloud.objects("")
    server.put("lab", "a", b"written again")
    server.faults["delete", "a"] = 500
    assert remove(cloud, [found], WayBack.TRASH) == [Deletion(found, changed=True)]


def test_what_changes_after_the_copy_is_kept_and_the_copy_dropped() -> None:
    class BusyServer(GCSServer):
        """Somebody writes again what was just copied."""

        def serve(self, request: Request) -> Answer:
            answer = super().serve(request)
            if request.verb == "rewrite":
                self.put(request.bucket, request.name, b"written again")
            return answer

    with BusyServer("lab") as server:
        server.put("lab", "a")
        cloud = opened(server)
        (found,) = cloud.objects("")
        assert remove(cloud, [found], WayBack.TRASH) == [Deletion(found, changed=True)]
        assert server.names("lab") == {"a"} and server.get("lab", "a") == b"written again"


def test_a_copy_that_cannot_be_dropped_is_no_failure(server: GCSServer, cloud: Store) -> None:
    """It goes with the trash; what was kept, and what came back, has to be told."""
    server.put("lab", "a")
    (found,) = cloud.objects("")
    server.faults |= {("delete", "a"): 403, ("delete", "_xcomctl/0"): 403}
    assert [deletion.error is None for deletion in remove(cloud, [found], WayBack.TRASH)] == [False]
    server.delete("lab", "a")
    (returned,) = cloud.bring_back([Kept(found, WayBack.TRASH, "_xcomctl/0")])
    assert returned.outcome is Outcome.RESTORED and server.names("lab") == {"a", "_xcomctl/0"}


def test_a_copy_may_take_many_requests(server: GCSServer, cloud: Store) -> None:
    server.put("lab", "a", b"12345")
    server.rewrite_calls = 3
    (found,) = cloud.objects("")
    assert remove(cloud, [found], WayBack.TRASH) == [Deletion(found)]
    assert server.calls["rewrite"] == 3 and server.get("lab", "_xcomctl/0") == b"12345"
    (returned,) = cloud.bring_back([Kept(found, WayBack.TRASH, "_xcomctl/0")])
    assert returned.outcome is Outcome.RESTORED and server.calls["rewrite"] == 6
    assert server.get("lab", "a") == b"12345" and server.names("lab") == {"a"}


def test_a_look_does_what_an_emulator_does_not(cloud: Store) -> None:
    class CarelessServer(GCSServer):
        """Honours no precondition, as emulators do."""

        def require(self, generation: str | None, live: Blob | None) -> None:
            pass

    with CarelessServer("lab") as careless:
        careless.put("lab", "a")
        cloud = opened(careless)
        (found,) = cloud.objects("")
        careless.put("lab", "a", b"written again")
        for way in (WayBack.TRASH, WayBack.VERSIONS):
            (deletion,) = cloud.remove([Removal(found, "_xcomctl/0")], way, look_first=True)
            assert deletion == Deletion(found, changed=True)
        assert careless.names("lab") == {"a"}


def test_what_cannot_be_looked_at_is_not_deleted(server: GCSServer, cloud: Store) -> None:
    server.put("lab", "a")
    (found,) = cloud.objects("")
    server.faults["stat", "a"] = 403
    (deletion,) = cloud.remove([Removal(found, "_xcomctl/0")], WayBack.TRASH, look_first=True)
    assert deletion == Deletion(found, error="cannot look up gs://lab/a: Declared by the test.")
    assert server.names("lab") == {"a"}


WEEK = timedelta(days=7)


@pytest.mark.parametrize(
    ("versioning", "soft_delete", "way"),
    [
        (False, timedelta(), WayBack.TRASH),
        (False, WEEK - timedelta(seconds=1), WayBack.TRASH),
        (False, WEEK, WayBack.SOFT_DELETE),
        (True, timedelta(), WayBack.VERSIONS),
        (True, WEEK, WayBack.VERSIONS),
    ],
)
def test_the_way_back_is_what_the_bucket_does(versioning: bool, soft_delete: timedelta, way: WayBack) -> None:
    with GCSServer("lab", versioning=versioning, soft_delete=soft_delete) as server:
        cloud = opened(server)
        assert cloud.way_back(WEEK) is way
        server.put("lab", "a", b"12345")
        (found,) = cloud.objects("")
        (deletion,) = remove(cloud, [found], way)
        (returned,) = cloud.bring_back([Kept(found, way, "_xcomctl/0", deletion.handle)])
        assert returned.outcome is Outcome.RESTORED and server.get("lab", "a") == b"12345"


def test_who_may_not_ask_gets_a_copy(server: GCSServer, cloud: Store) -> None:
    server.soft_delete = WEEK
    server.faults["bucket", "lab"] = 403
    assert [cloud.way_back(WEEK), cloud.way_back(WEEK)] == [WayBack.TRASH] * 2
    assert server.calls == {"bucket": 1}, "a bucket is asked once"


def test_a_bucket_that_answers_something_else_gets_a_copy() -> None:
    class ForeignBucket(GCSServer):
        def resource(self, bucket: str) -> Json:
            return {"status": "ok"}

    with ForeignBucket("lab") as server:
        assert opened(server).way_back(WEEK) is WayBack.TRASH


@pytest.mark.parametrize("way", [WayBack.TRASH, WayBack.VERSIONS, WayBack.SOFT_DELETE])
def test_a_refused_return_is_told(server: GCSServer, cloud: Store, way: WayBack) -> None:
    found = StoredObject("a", 4, WRITTEN, "7")
    server.faults |= {(verb, name): 403 for verb in ("rewrite", "restore") for name in ("a", "_xcomctl/0")}
    (returned,) = cloud.bring_back([Kept(found, way, "_xcomctl/0", "7")])
    assert returned.outcome is Outcome.FAILED
    assert returned.message.startswith("cannot restore gs://lab/") and "Declared by the test." in returned.message


def test_what_may_be_there_or_not_is_not_called_missing(server: GCSServer, cloud: Store) -> None:
    server.faults["stat", "a"] = 403
    (returned,) = cloud.bring_back([Kept(StoredObject("a", 4, WRITTEN, "7"), WayBack.TRASH, "_xcomctl/0")])
    assert (returned.outcome, returned.message) == (Outcome.FAILED, "cannot look up gs://lab/a: Declared by the test.")


def test_of_a_discarded_object_no_version_is_left() -> None:
    with GCSServer("lab", page_size=3, versioning=True) as server:
        cloud = opened(server)
        for name in ("a", "b", "bb", "c"):
            for body in range(5):  # of more than one page
                cloud.write(name, str(body).encode())
        server.delete("lab", "b")
        cloud.discard(["b", "c", "never"])
        assert server.names("lab") == {"a", "bb"}
        assert {name for name, _ in server.kept("lab")} == {"a", "bb"}


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
    monkeypatch.setattr(gcs_requests, "SILENCE", 0.5)
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
