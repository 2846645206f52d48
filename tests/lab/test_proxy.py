"""The faults of the proxy, as a client without retries meets them; and that nothing else is changed on the way."""

from __future__ import annotations

import re
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from http.client import HTTPConnection

import pytest
from botocore.exceptions import (
    ClientError,
    ConnectionClosedError,
    HTTPClientError,
    PaginationError,
)

from tests.lab import s3
from tests.lab.gcs import GCSServer
from tests.lab.process import free_ports
from tests.lab.proxy import (
    Answer,
    Cut,
    Delay,
    FaultProxy,
    Hold,
    HoldAfter,
    Lost,
    Reply,
    Request,
    Reset,
    Rewrite,
    Rule,
    Seen,
    Silent,
)
from tests.lab.s3_answers import (
    Refuse,
    before,
    missing_keys,
    repeated_page,
    stripped,
    substituted,
    through,
    truncated_page,
)

pytestmark = pytest.mark.stores("ministack")
BOTH = pytest.mark.stores("ministack", "seaweedfs")

AWKWARD = "a b+%?#é[*]&<c>"
SOON = 10
"""Seconds in which what is awaited happens, or the test fails."""


@pytest.fixture
def proxy(store: s3.Bucket) -> Iterator[FaultProxy]:
    """In front of `store`, which tells what is really there."""
    with before(store) as proxy:
        yield proxy


@pytest.fixture
def bucket(store: s3.Bucket, proxy: FaultProxy) -> s3.Bucket:
    return through(proxy, store)


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(64) as pool:
        yield pool


def delete(bucket: s3.Bucket, *keys: str, quiet: bool = False) -> tuple[set[str], dict[str, str]]:
    """Delete in one request; which keys were deleted, and the code of those that were not."""
    objects = {"Objects": [{"Key": key} for key in keys], "Quiet": quiet}
    result = bucket.client.delete_objects(Bucket=bucket.name, Delete=objects)
    deleted = {each["Key"] for each in result.get("Deleted", ())}
    return deleted, {each["Key"]: each["Code"] for each in result.get("Errors", ())}


def pages(bucket: s3.Bucket, size: int = 2) -> Iterator[list[str]]:
    """The keys of the bucket, page by page."""
    found = bucket.client.get_paginator("list_objects_v2").paginate(Bucket=bucket.name, MaxKeys=size)
    return ([each["Key"] for each in page.get("Contents", ())] for page in found)


def connection(proxy: FaultProxy) -> closing[HTTPConnection]:
    """For requests that no S3 client would send."""
    return closing(HTTPConnection(proxy.endpoint.removeprefix("http://"), timeout=SOON))


@BOTH
def test_requests_and_answers_pass_unchanged(store: s3.Bucket, bucket: s3.Bucket, proxy: FaultProxy) -> None:
    large = bytes(range(256)) * (5 << 12)
    bucket.put(AWKWARD, b"[1]")
    bucket.put("large", large)
    assert store.get(AWKWARD) == bucket.get(AWKWARD) == b"[1]"
    assert store.get("large") == bucket.get("large") == large
    assert bucket.client.head_object(Bucket=bucket.name, Key=AWKWARD)["ContentLength"] == 3
    assert bucket.keys() == {AWKWARD, "large"}
    bucket.delete("large")
    assert delete(bucket, AWKWARD) == ({AWKWARD}, {})
    assert store.keys() == set()
    assert Counter(seen.method for seen in proxy.requests) == {"PUT": 2, "GET": 3, "HEAD": 1, "DELETE": 1, "POST": 1}
    assert Seen("HEAD", f"/{bucket.name}/{AWKWARD}", "", 200) in proxy.requests
    assert not proxy.faults


@pytest.mark.stores("seaweedfs")
def test_a_wrong_signature_stays_wrong(store: s3.Bucket, proxy: FaultProxy) -> None:
    stranger = replace(store.server, endpoint=proxy.endpoint, secret="guessed").client()
    with pytest.raises(ClientError, match="SignatureDoesNotMatch"):
        stranger.list_objects_v2(Bucket=store.name)


def test_many_ask_in_parallel(store: s3.Bucket, bucket: s3.Bucket, proxy: FaultProxy, pool: ThreadPoolExecutor) -> None:
    keys = [f"k{number}" for number in range(128)]
    list(pool.map(lambda key: bucket.put(key, key.encode()), keys))
    assert list(pool.map(bucket.get, keys)) == [key.encode() for key in keys]
    assert store.keys() == set(keys)
    assert Counter(seen.status for seen in proxy.requests) == {200: 256}


def test_all_clients_are_served_at_once(store: s3.Bucket, proxy: FaultProxy, pool: ThreadPoolExecutor) -> None:
    hold = Hold()
    proxy.rules = [Rule(hold)]
    answers = [pool.submit(status, proxy, f"/{store.name}") for _ in range(64)]
    await_that(lambda: proxy.faults[Hold] == 64)
    hold.release.set()
    assert {answer.result(SOON) for answer in answers} == {200}


def status(proxy: FaultProxy, target: str) -> int:
    with connection(proxy) as http:
        http.request("GET", target)
        return http.getresponse().status


def await_that(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + SOON
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_bodies_in_chunks_on_one_connection(store: s3.Bucket, proxy: FaultProxy) -> None:
    with connection(proxy) as http:
        for body in ([b"[1,", b"2]"], [], [b"null"]):
            http.request("PUT", f"/{store.name}/chunks", iter(body), encode_chunked=True)
            assert http.getresponse().read() == b""
            assert store.get("chunks") == b"".join(body)


def test_a_client_may_ask_before_it_sends_a_body(store: s3.Bucket, proxy: FaultProxy) -> None:
    head = f"PUT /{store.name}/asked HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n"
    with socket.create_connection(("127.0.0.1", int(proxy.endpoint.rpartition(":")[2])), SOON) as client:
        client.sendall(head.encode())
        assert client.recv(1024) == b"HTTP/1.1 100 Continue\r\n\r\n"
        client.sendall(b"null")
        assert client.recv(1024).startswith(b"HTTP/1.1 200 OK\r\n")
    assert store.get("asked") == b"null"


def test_answers_without_body_keep_the_connection(store: s3.Bucket, proxy: FaultProxy) -> None:
    store.put("k")
    key = f"/{store.name}/k"
    with connection(proxy) as http:
        for method, headers, status in (
            ("HEAD", {}, 200),
            ("GET", {"If-None-Match": "*"}, 304),
            ("DELETE", {}, 204),
            ("HEAD", {}, 404),
            ("GET", {}, 404),
        ):
            http.request(method, key, headers=headers)
            response = http.getresponse()
            assert (response.status, bool(response.read())) == (status, method == "GET" and status == 404)
    assert [seen.status for seen in proxy.requests] == [200, 304, 204, 404, 404]


def test_s3fs_goes_through(store: s3.Bucket, proxy: FaultProxy) -> None:
    from s3fs import S3FileSystem

    front = replace(store, server=replace(store.server, endpoint=proxy.endpoint))
    files = S3FileSystem(**front.options, skip_instance_cache=True)
    files.pipe({f"{store.name}/{name}": b"[1]" for name in ("a", AWKWARD)})
    assert files.cat_file(f"{store.name}/{AWKWARD}") == b"[1]"
    assert set(files.ls(store.name, detail=False)) == {f"{store.name}/a", f"{store.name}/{AWKWARD}"}
    files.rm([f"{store.name}/a"])
    assert store.keys() == {AWKWARD}
    assert {seen.method for seen in proxy.requests} >= {"PUT", "GET", "POST"}


def test_gcsfs_goes_through() -> None:
    from gcsfs.core import GCSFileSystem

    with GCSServer("b") as server, FaultProxy(int(server.endpoint.rpartition(":")[2])) as proxy:
        options = {**server.options, "endpoint_url": proxy.endpoint}
        files = GCSFileSystem(**options, skip_instance_cache=True)
        files.pipe_file(f"b/{AWKWARD}", b"[1]")
        assert files.cat_file(f"b/{AWKWARD}") == b"[1]"
        assert files.ls("b") == [f"b/{AWKWARD}"]
        assert server.get("b", AWKWARD) == b"[1]"
        assert {seen.status for seen in proxy.requests} <= {200, 206}


def test_an_answer_comes_without_the_store(store: s3.Bucket, bucket: s3.Bucket, proxy: FaultProxy) -> None:
    proxy.rules = [Rule(Answer(503, "SlowDown", "<no>"), method="PUT|HEAD")]
    with pytest.raises(ClientError) as caught:
        bucket.put("k")
    assert caught.value.response["Error"] == {"Code": "SlowDown", "Message": "<no>"}
    with pytest.raises(ClientError, match="503"):
        bucket.client.head_object(Bucket=bucket.name, Key="k")
    assert store.keys() == set()
    assert [(seen.method, seen.status) for seen in proxy.requests] == [("PUT", 503), ("HEAD", 503)]
    assert proxy.faults == {Answer: 2}


def test_a_reset_comes_before_the_store_is_asked(store: s3.Bucket, bucket: s3.Bucket, proxy: FaultProxy) -> None:
    proxy.rules = [Rule(Reset())]
    with pytest.raises(ConnectionClosedError) as caught:
        bucket.put("k")
    assert isinstance(cause(caught.value), ConnectionResetError)
    assert store.keys() == set()
    assert proxy.requests == [Seen("PUT", f"/{bucket.name}/k", "")]
    assert proxy.faults == {Reset: 1}


def cause(error: BaseException) -> BaseException:
    """What the socket said, below what urllib3 and botocore made of it."""
    while error.__context__:
        error = error.__context__
    return error


def test_an_answer_is_lost_after_the_store_did_it(store: s3.Bucket, bucket: s3.Bucket, proxy: FaultProxy) -> None:
    proxy.rules = [Rule(Lost())]
    with pytest.raises(ConnectionClosedError):
        bucket.put("k")
    assert store.keys() == {"k"}
    assert proxy.requests == [Seen("PUT", f"/{bucket.name}/k", "")]
    assert proxy.faults == {Lost: 1}


def test_a_body_is_cut(store: s3.Bucket, bucket: s3.Bucket, proxy: FaultProxy) -> None:
    bodies = {"small": b"null", "large": bytes(5 << 20)}
    for key, body in bodies.items():
        store.put(key, body)
        proxy.rules = [Rule(Cut(), first=1)]
        with pytest.raises(HTTPClientError):
            bucket.get(key)
        assert bucket.get(key) == body
    assert [seen.status for seen in proxy.requests] == [200, 200, 200, 200]
    assert proxy.faults == {Cut: 2}


def test_silence_lasts_until_the_proxy_stops(store: s3.Bucket, pool: ThreadPoolExecutor) -> None:
    with before(store) as proxy:
        proxy.rules = [Rule(Silent())]
        answer = pool.submit(through(proxy, store).put, "k")
        await_that(lambda: proxy.faults[Silent] == 1)
        time.sleep(0.1)
        assert not answer.done()
    assert isinstance(answer.exception(SOON), HTTPClientError)
    assert store.keys() == set()


def test_a_delay_takes_its_time(store: s3.Bucket, proxy: FaultProxy) -> None:
    proxy.rules = [Rule(Delay(0.2))]
    begin = time.monotonic()
    assert status(proxy, f"/{store.name}") == 200
    assert time.monotonic() - begin >= 0.2
    assert proxy.faults == {Delay: 1}


def test_a_hold_waits_before_or_after_the_store(
    store: s3.Bucket, bucket: s3.Bucket, proxy: FaultProxy, pool: ThreadPoolExecutor
) -> None:
    for key, hold, meanwhile in (("before", Hold(), False), ("after", HoldAfter(), True)):
        proxy.rules = [Rule(hold, method="PUT", path=f"/{key}$")]
        answer = pool.submit(bucket.put, key)
        assert hold.reached.wait(SOON)
        assert bool(store.keys(key)) is meanwhile
        bucket.put("another")
        assert [seen.status for seen in proxy.requests][-2:] == [None, 200]
        assert not answer.done()
        hold.release.set()
        answer.result(SOON)
        assert store.keys(key)
    assert proxy.faults == {Hold: 1, HoldAfter: 1}


def test_what_is_held_when_the_proxy_stops_never_reaches_the_store(store: s3.Bucket, pool: ThreadPoolExecutor) -> None:
    hold = Hold()
    with before(store) as proxy:
        proxy.rules = [Rule(hold)]
        answer = pool.submit(through(proxy, store).put, "k")
        assert hold.reached.wait(SOON)
    hold.release.set()
    assert isinstance(answer.exception(SOON), HTTPClientError)
    assert store.keys() == set()


def test_a_proxy_that_has_stopped_serves_nobody(store: s3.Bucket) -> None:
    with before(store) as proxy:
        kept = HTTPConnection(proxy.endpoint.removeprefix("http://"), timeout=SOON)
        kept.request("GET", f"/{store.name}")
        assert kept.getresponse().read()
    with closing(kept), pytest.raises(OSError):
        kept.request("GET", f"/{store.name}")
        kept.getresponse()
    with pytest.raises(ConnectionRefusedError):
        status(proxy, f"/{store.name}")


def test_a_store_that_is_gone_is_a_reset() -> None:
    (port,) = free_ports(1)
    with FaultProxy(port) as proxy, connection(proxy) as http:
        http.request("GET", "/")
        with pytest.raises(ConnectionResetError):
            http.getresponse()
        assert proxy.requests == [Seen("GET", "/", "")]


def test_an_answer_can_be_rewritten(store: s3.Bucket, proxy: FaultProxy) -> None:
    def shout(reply: Reply) -> Reply:
        return replace(reply, body=reply.body.upper() * 2)

    store.put("text", b"[a]")
    store.put("nothing", b"")
    proxy.rules = [Rule(Rewrite(shout))]
    with connection(proxy) as http:
        for key, body in (("text", b"[A][A]"), ("nothing", b"")):
            http.request("GET", f"/{store.name}/{key}")
            assert http.getresponse().read() == body
    assert proxy.faults == {Rewrite: 1}


def test_headers_and_parts_of_a_body_can_be_removed(store: s3.Bucket, bucket: s3.Bucket, proxy: FaultProxy) -> None:
    store.put("k")
    proxy.rules = [
        Rule(substituted(b"<LastModified>.*?</LastModified>", b""), query="list-type=2"),
        Rule(stripped("date", "last-modified"), method="HEAD"),
    ]
    (found,) = bucket.client.list_objects_v2(Bucket=bucket.name)["Contents"]
    assert found["Size"] == 4
    assert "LastModified" not in found
    head = bucket.client.head_object(Bucket=bucket.name, Key="k")
    assert "LastModified" not in head
    assert "date" not in head["ResponseMetadata"]["HTTPHeaders"]


@pytest.mark.parametrize(
    "rule, refused",
    [
        (Rule(Reset()), "123456789"),
        (Rule(Reset(), first=3), "123"),
        (Rule(Reset(), after=6), "789"),
        (Rule(Reset(), every=4), "48"),
        (Rule(Reset(), first=4, every=2, after=1), "35"),
    ],
)
def test_a_rule_counts_its_matches(rule: Rule, refused: str) -> None:
    assert "".join(str(match) for match in range(1, 10) if rule.meets(match)) == refused


@pytest.mark.parametrize(
    "pattern, matches",
    [
        ({}, True),
        ({"method": "PUT|POST", "path": "/b/a b$", "query": "^delete&prefix=x/", "body": "<Key>é</Key>"}, True),
        ({"method": "POS"}, False),
        ({"path": "/c/"}, False),
        ({"query": "list-type"}, False),
        ({"body": "<Key>e</Key>"}, False),
    ],
)
def test_a_rule_matches_what_was_meant(pattern: dict[str, str], matches: bool) -> None:
    request = Request("POST", "/b/a%20b?delete&prefix=x%2F", (), "<Key>é</Key>".encode())
    assert Rule(Reset(), **pattern).matches(request) is matches  # type: ignore[arg-type]


def test_every_rule_counts_and_the_first_one_decides(store: s3.Bucket, proxy: FaultProxy) -> None:
    def statuses(requests: int) -> list[int]:
        return [status(proxy, f"/{store.name}") for _ in range(requests)]

    proxy.rules = [Rule(Answer(503, "SlowDown"), every=3), Rule(Answer(500, "InternalError"), every=2)]
    assert statuses(6) == [200, 500, 503, 500, 200, 503]
    proxy.rules = [*proxy.rules, Rule(Answer(403, "AccessDenied"))]
    assert statuses(3) == [403, 500, 503]
    proxy.rules = []
    assert statuses(1) == [200]


def test_keys_of_a_batch_are_refused(store: s3.Bucket, bucket: s3.Bucket, proxy: FaultProxy) -> None:
    proxy.rules = [Rule(Refuse(f"^b$|{re.escape(AWKWARD)}"), query="^delete")]
    for quiet in (False, True):
        for key in ("a", "b", AWKWARD):
            store.put(key)
        errors = {"b": "AccessDenied", AWKWARD: "AccessDenied"}
        assert delete(bucket, "a", "b", AWKWARD, quiet=quiet) == (set() if quiet else {"a"}, errors)
        assert store.keys() == {"b", AWKWARD}
    assert proxy.faults == {Refuse: 2}


def test_a_batch_is_refused_as_a_whole_or_not_at_all(store: s3.Bucket, bucket: s3.Bucket, proxy: FaultProxy) -> None:
    store.put("a")
    store.put("b")
    proxy.rules = [Rule(Refuse("a", "InternalError"), query="^delete")]
    assert delete(bucket, "a") == (set(), {"a": "InternalError"})
    assert delete(bucket, "b") == ({"b"}, {})
    assert store.keys() == {"a"}
    assert proxy.faults == {Refuse: 1}


def test_a_page_is_truncated_without_a_token(store: s3.Bucket, bucket: s3.Bucket, proxy: FaultProxy) -> None:
    for key in "abc":
        store.put(key)
    proxy.rules = [Rule(truncated_page(), query="list-type=2")]
    page = bucket.client.list_objects_v2(Bucket=bucket.name, MaxKeys=2)
    assert page["IsTruncated"]
    assert "NextContinuationToken" not in page
    assert list(pages(bucket)) == [["a", "b"]]
    assert proxy.faults == {Rewrite: 2}


def test_a_page_is_repeated(store: s3.Bucket, bucket: s3.Bucket, proxy: FaultProxy) -> None:
    for key in "abcde":
        store.put(key)
    proxy.rules = [Rule(repeated_page(), query="list-type=2")]
    listing = pages(bucket)
    assert [next(listing), next(listing)] == [["a", "b"], ["c", "d"]]
    with pytest.raises(PaginationError, match="same next token"):
        next(listing)
    assert proxy.faults == {Rewrite: 1}


@BOTH
def test_a_listing_lacks_keys(store: s3.Bucket, bucket: s3.Bucket, proxy: FaultProxy) -> None:
    for key in ("a", AWKWARD, "c"):
        store.put(key)
    proxy.rules = [Rule(missing_keys(re.escape(AWKWARD)), query="list-type=2")]
    assert list(pages(bucket, 9)) == [["a", "c"]]
    assert bucket.client.list_objects_v2(Bucket=bucket.name)["KeyCount"] == 2
    assert proxy.faults == {Rewrite: 2}
