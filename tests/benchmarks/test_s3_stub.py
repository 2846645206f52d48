"""The stub answers as Amazon S3 does what botocore, s3fs and obstore ask, xcomctl's own store among them."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from hashlib import md5
from typing import Any

import obstore
import pytest
import s3fs
from botocore.exceptions import ClientError
from obstore.store import S3Store as Obstore

from benchmarks.s3.__main__ import ORPHAN_AGE, ROW_AGE, preload
from benchmarks.s3.bucket import Bucket as Held
from benchmarks.s3.bucket import Content
from benchmarks.s3.serving import Connection
from benchmarks.s3.verbs import RESET, S3, Request
from tests.lab.process import free_ports
from tests.lab.s3 import Bucket, S3Server

ODD = ("a", "a/b", "a-b", "a b+c", "ünï/😀", "q?x=1&y=<z>", "p%41", "quote\"'", "run__2026-01-01T00:00:00+00:00/x")
OLD = datetime(2020, 5, 17, tzinfo=timezone.utc)


@pytest.fixture
def bucket() -> Iterator[Bucket]:
    with stub() as bucket:
        yield bucket


@contextmanager
def stub(*, versioned: bool = False, latency: float = 0) -> Iterator[Bucket]:
    """A bucket on a stub in a thread of this process."""
    server, (port,) = S3(versioned=versioned), free_ports(1)
    server.buckets["bench"] = Held()
    loop = asyncio.new_event_loop()
    listening = loop.run_until_complete(
        loop.create_server(lambda: Connection(server, latency), "127.0.0.1", port, backlog=64)
    )
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    at = S3Server(f"http://127.0.0.1:{port}")
    yield Bucket(at, "bench", at.client())
    loop.call_soon_threadsafe(listening.close)
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


def filesystem(bucket: Bucket) -> Any:
    return s3fs.S3FileSystem(**bucket.options, skip_instance_cache=True, use_listings_cache=False)


def fast(bucket: Bucket) -> Obstore:
    server = bucket.server
    return Obstore(
        bucket.name,
        endpoint=server.endpoint,
        access_key_id=server.key,
        secret_access_key=server.secret,
        region=server.region,
        virtual_hosted_style_request=False,
        client_options={"allow_http": True},
    )


def code(refused: pytest.ExceptionInfo[ClientError]) -> str:
    return refused.value.response["Error"]["Code"]


def test_botocore_lists_in_byte_order_page_by_page(bucket: Bucket):
    for key in ODD:
        bucket.put(key, key.encode())
    pages = bucket.client.get_paginator("list_objects_v2").paginate(Bucket="bench", PaginationConfig={"PageSize": 2})
    found = [entry for page in pages for entry in page["Contents"]]
    assert [entry["Key"] for entry in found] == sorted(ODD, key=str.encode)
    assert all(entry["Size"] == len(entry["Key"].encode()) for entry in found)
    assert found[0]["ETag"] == f'"{md5(b"a").hexdigest()}"'
    after = bucket.client.list_objects_v2(Bucket="bench", StartAfter="a-b", Prefix="a")
    assert [entry["Key"] for entry in after["Contents"]] == ["a/b"] and after["KeyCount"] == 1


def test_delimiters_roll_up_and_count_as_keys(bucket: Bucket):
    for key in ("x/1/a", "x/1/b", "x/2", "x/3/c", "x/4", "y"):
        bucket.put(key)
    token: dict[str, str] = {}
    told = []
    while True:
        page = bucket.client.list_objects_v2(Bucket="bench", Prefix="x/", Delimiter="/", MaxKeys=2, **token)
        told += [entry["Prefix"] for entry in page.get("CommonPrefixes", ())]
        told += [entry["Key"] for entry in page.get("Contents", ())]
        if not page["IsTruncated"]:
            break
        token = {"ContinuationToken": page["NextContinuationToken"]}
    assert sorted(told) == ["x/1/", "x/2", "x/3/", "x/4"]


def test_an_empty_listing(bucket: Bucket):
    page = bucket.client.list_objects_v2(Bucket="bench", Prefix="nothing/", MaxKeys=1)
    assert page["KeyCount"] == 0 and not page["IsTruncated"] and "Contents" not in page
    assert page["ResponseMetadata"]["HTTPHeaders"]["date"].endswith("GMT")


def test_conditions_on_writes_and_deletes(bucket: Bucket):
    client = bucket.client
    etag = client.put_object(Bucket="bench", Key="k", Body=b"1")["ETag"]
    for refuse in (
        lambda: client.put_object(Bucket="bench", Key="k", Body=b"2", IfNoneMatch="*"),
        lambda: client.put_object(Bucket="bench", Key="k", Body=b"2", IfMatch='"other"'),
        lambda: client.delete_object(Bucket="bench", Key="k", IfMatch='"other"'),
        lambda: client.get_object(Bucket="bench", Key="k", IfMatch='"other"'),
        lambda: client.copy_object(
            Bucket="bench", Key="c", CopySource={"Bucket": "bench", "Key": "k"}, CopySourceIfMatch='"other"'
        ),
    ):
        with pytest.raises(ClientError) as refused:
            refuse()
        assert code(refused) == "PreconditionFailed"
    assert bucket.get("k") == b"1" and bucket.keys() == {"k"}
    client.put_object(Bucket="bench", Key="k", Body=b"22", IfMatch=etag)
    client.delete_object(Bucket="bench", Key="k", IfMatch=f'"{md5(b"22").hexdigest()}"')
    assert bucket.keys() == set()


def test_what_is_not_there(bucket: Bucket):
    client = bucket.client
    for ask in (
        lambda: client.get_object(Bucket="bench", Key="k"),
        lambda: client.copy_object(Bucket="bench", Key="c", CopySource={"Bucket": "bench", "Key": "k"}),
        lambda: client.put_object(Bucket="bench", Key="k", Body=b"2", IfMatch='"other"'),
    ):
        with pytest.raises(ClientError) as refused:
            ask()
        assert code(refused) == "NoSuchKey"
    with pytest.raises(ClientError) as refused:
        client.head_object(Bucket="bench", Key="k")
    assert code(refused) == "404"
    with pytest.raises(ClientError) as refused:
        client.list_objects_v2(Bucket="other")
    assert code(refused) == "NoSuchBucket"
    client.delete_object(Bucket="bench", Key="k")


def test_batches_are_deleted_key_by_key(bucket: Bucket):
    for key in ("a", "b", "c<&>"):
        bucket.put(key, b"1")
    right = f'"{md5(b"1").hexdigest()}"'
    asked = [{"Key": "a", "ETag": right}, {"Key": "b", "ETag": '"x"'}, {"Key": "c<&>"}, {"Key": "never"}]
    answer = bucket.client.delete_objects(Bucket="bench", Delete={"Objects": asked})
    assert [each["Key"] for each in answer["Deleted"]] == ["a", "c<&>", "never"]
    assert [(each["Key"], each["Code"]) for each in answer["Errors"]] == [("b", "PreconditionFailed")]
    assert bucket.keys() == {"b"}
    quiet = bucket.client.delete_objects(Bucket="bench", Delete={"Objects": [{"Key": "b"}], "Quiet": True})
    assert "Deleted" not in quiet and bucket.keys() == set()


def test_a_bucket_that_nobody_has_configured(bucket: Bucket):
    client = bucket.client
    assert "Status" not in client.get_bucket_versioning(Bucket="bench")
    assert client.get_bucket_location(Bucket="bench")["LocationConstraint"] is None
    for ask, refusal in (
        (client.get_bucket_lifecycle_configuration, "NoSuchLifecycleConfiguration"),
        (client.get_bucket_policy, "NoSuchBucketPolicy"),
    ):
        with pytest.raises(ClientError) as refused:
            ask(Bucket="bench")
        assert code(refused) == refusal


def test_heads_ranges_and_copies(bucket: Bucket):
    bucket.put("k", b"0123456789")
    head = bucket.client.head_object(Bucket="bench", Key="k")
    assert head["ContentLength"] == 10 and abs(head["LastModified"] - datetime.now(timezone.utc)) < timedelta(minutes=1)
    part = bucket.client.get_object(Bucket="bench", Key="k", Range="bytes=2-4")
    assert part["Body"].read() == b"234" and part["ContentRange"] == "bytes 2-4/10"
    assert bucket.client.get_object(Bucket="bench", Key="k", Range="bytes=-3")["Body"].read() == b"789"
    copied = bucket.client.copy_object(Bucket="bench", Key="c", CopySource={"Bucket": "bench", "Key": "k"})
    assert copied["CopyObjectResult"]["ETag"] == head["ETag"] and bucket.get("c") == b"0123456789"


def test_s3fs(bucket: Bucket):
    files = filesystem(bucket)
    for key in ODD[2:]:
        files.pipe(f"bench/{key}", key.encode())
    assert set(files.find("bench")) == {f"bench/{key}" for key in ODD[2:]}
    assert {each["name"] for each in files.ls("bench/ünï", detail=True)} == {"bench/ünï/😀"}
    assert files.cat("bench/a b+c") == b"a b+c" and files.info("bench/p%41")["size"] == 4
    files.copy("bench/a-b", "bench/copied")
    files.rm(["bench/a-b", "bench/copied"])
    assert not files.exists("bench/a-b") and files.exists("bench/p%41")


def test_obstore(bucket: Bucket):
    store = fast(bucket)
    names = [f"dag_{number % 3}/run+{number:04}/x" for number in range(2500)]
    for name in names[:20]:
        obstore.put(store, name, name.encode())
    bodies = Content(b"1", OLD)
    for name in names[20:]:
        bucket.put(name, bodies.body)
    listed = [entry for page in obstore.list(store) for entry in page]
    assert [entry["path"] for entry in listed] == sorted(names)
    shards = obstore.list_with_delimiter(store)["common_prefixes"]
    assert list(shards) == ["dag_0", "dag_1", "dag_2"]
    assert sum(len(page) for shard in shards for page in obstore.list(store, prefix=shard)) == len(names)
    later = [entry["path"] for page in obstore.list(store, offset=sorted(names)[-2]) for entry in page]
    assert later == sorted(names)[-1:]
    assert bytes(obstore.get(store, names[0]).bytes()) == names[0].encode()
    assert bytes(obstore.get_range(store, names[0], start=1, length=3)) == b"ag_"
    with pytest.raises(obstore.exceptions.AlreadyExistsError):
        obstore.put(store, names[0], b"2", mode="create")
    obstore.copy(store, names[0], "copied")
    obstore.delete(store, names)
    assert bucket.keys() == {"copied"}


def test_a_bucket_that_says_it_keeps_versions():
    with stub(versioned=True) as bucket:
        bucket.put("k")
        assert bucket.client.get_bucket_versioning(Bucket="bench")["Status"] == "Enabled"
        (deleted,) = bucket.client.delete_objects(Bucket="bench", Delete={"Objects": [{"Key": "k"}]})["Deleted"]
        assert deleted["DeleteMarker"] and deleted["DeleteMarkerVersionId"] and bucket.keys() == set()


def test_every_answer_takes_its_time():
    with stub(latency=0.2) as bucket:
        began = time.monotonic()
        bucket.put("k")
        assert bucket.get("k") == b"null" and time.monotonic() - began >= 0.4


def test_what_is_preloaded_is_old_and_comes_back(bucket: Bucket):
    server = S3()
    server.buckets["bench"] = Held()
    preload(server.buckets["bench"], 100)
    server.remember()
    before = list(server.buckets["bench"].keys)
    ages = {datetime.now(timezone.utc) - each.modified for each in server.buckets["bench"].objects.values()}
    assert len(before) == 100 and min(ages) >= ROW_AGE and max(ages) >= ORPHAN_AGE
    server.buckets["bench"].delete(before[0])
    server.answer(Request("POST", RESET, "", {}, {}, b""))
    assert server.buckets["bench"].keys == before
