"""References as Airflow writes them, and strings that only look like them."""

from __future__ import annotations

import json
import string
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xcomctl.backend.reference import (
    Address,
    Location,
    address_of,
    below,
    may_refer,
    mentioned,
    parse,
    parse_base,
    parse_other,
    place,
    recognise,
    unique_part,
    unwrap,
)

LEAF = "0d760203-28d1-4226-81c7-7786b50e4773"
ATTEMPT = "ti-01a1f6c0-a793-7d39-a4ab-95bb3ef80dcf"
BASE = parse_base("s3://conn@bucket/xcom")
assert BASE is not None

ids = st.text(string.ascii_letters + string.digits + "_-.é", min_size=1, max_size=20).filter(
    lambda text: text not in (".", "..") and not text.lstrip("-").isdecimal()
)
run_ids = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=30).filter(
    lambda text: text.strip("/") == text and "//" not in text and not {".", ".."} & set(text.split("/"))
)
leaves = st.builds(lambda codec: f"{uuid4()}{codec}", st.sampled_from(["", ".gz", ".zst", ".zip"]))
keys = st.text(string.ascii_letters + "%._-~", min_size=1, max_size=20)
owned = st.builds(lambda kind, key: f"{kind}-{uuid4()}/{key}.json", st.sampled_from(["ti", "write"]), keys)
bases = st.sampled_from(["s3://bucket", "s3://conn@bucket/a/b", "gs://bucket/x", "file:///data/xcom", "abfs://c@k/x"])


@given(bases, ids, run_ids, ids, leaves)
def test_a_new_name_is_one_that_is_read_back(base_url, dag_id, run_id, task_id, leaf):
    base = parse_base(base_url)
    assert base is not None
    address = address_of(base, dag_id, run_id, task_id, leaf)
    assert address is not None and address.text == f"{base_url}/{dag_id}/{run_id}/{task_id}/{leaf}"
    assert address.follows(base)
    placement = place(address.location.name[len(base.location.folder) :])
    assert placement is not None and (placement.dag_id, placement.run_id, placement.task_id) == (
        dag_id,
        run_id,
        task_id,
    )


@pytest.mark.parametrize(
    "names", [("d", "a//b", "t"), ("d", "..", "t"), (".", "r", "t"), ("d", "r", "a/b"), ("", "r", "t")]
)
def test_a_name_that_would_not_come_back_is_none(names: tuple[str, str, str]):
    base = parse_base("s3://bucket/x")
    assert base is not None and address_of(base, *names, LEAF) is None


@given(bases, ids, run_ids, ids, st.one_of(leaves, owned))
def test_any_run_and_task_is_read_back_from_its_reference(base_url, dag_id, run_id, task_id, leaf):
    base = parse_base(base_url)
    url = f"{base_url}/{dag_id}/{run_id}/{task_id}/{leaf}"
    address = recognise(url, base)
    assert base is not None and address is not None
    assert address.follows(base)
    assert base.location.holds(address.location)
    placement = place(address.location.name[len(base.location.folder) :])
    assert placement is not None
    assert (placement.dag_id, placement.run_id, placement.task_id) == (dag_id, run_id, task_id)
    assert placement.unique == unique_part(url)
    assert placement.unique in mentioned(url)


@given(st.text())
def test_any_string_survives_its_json(text):
    assert unwrap(json.dumps(text))[1] >= 1
    if not text.startswith('"'):
        assert unwrap(json.dumps(text)) == (text, 1)


@given(st.text(max_size=40), st.sampled_from([None, BASE]))
def test_no_string_breaks_the_recogniser(text, base):
    recognise(text, base)
    place(text)
    unwrap(text)
    mentioned(text)


@pytest.mark.parametrize(
    "url",
    [
        "s3://bucket/report.csv",
        "s3://bucket/dag/run/task/data.parquet",
        "https://example.org/" + LEAF,
        "file://airflow/xcoms/d/r/t/" + LEAF,
        "snowflake://acct?&table=T",
        "/data/xcom/d/r/t/" + LEAF,
        LEAF,
        "s3://",
        "",
    ],
)
def test_plain_data_is_no_reference(url):
    assert recognise(url, BASE) is None


@pytest.mark.parametrize(
    ("url", "followed"),
    [
        (f"s3://conn@bucket/xcom/d/r/t/{LEAF}", True),
        (f"s3://conn@bucket/xcom/d/r/t/{ATTEMPT}/return_value.json.gz", True),
        ("s3://conn@bucket/xcom/what a task returned", True),
        (f"s3://bucket/xcom/d/r/t/{LEAF}", False),
        (f"s3://other@bucket/xcom/d/r/t/{LEAF}", False),
        (f"s3a://conn@bucket/xcom/d/r/t/{LEAF}", False),
        (f"s3://conn@bucket/xcom2/d/r/t/{LEAF}", False),
        (f"s3://conn@bucket2/xcom/d/r/t/{LEAF}", False),
        (f"file:/data/xcom/d/r/t/{LEAF}", False),
    ],
)
def test_airflow_follows_only_what_is_spelled_like_its_base_path(url, followed):
    address = recognise(url, BASE)
    assert address is not None and address.follows(BASE) is followed


@pytest.mark.parametrize("url", [f"sftp://c@/xcom/d/r/t/{LEAF}", f"x-own://b/d/r/t/{ATTEMPT}/k.json.gz"])
def test_what_only_airflow_understands_is_kept_and_never_opened(url):
    assert recognise(url, BASE) is None and parse(url) is None and parse_base(url) is None
    assert may_refer(url) and unique_part(url) in mentioned(f"see {url}") | mentioned(json.dumps(url))
    assert not may_refer(url.partition("://")[2]) and not may_refer(url.rpartition("/")[0])


@pytest.mark.parametrize(
    ("url", "conn_id", "name"),
    [
        ("sftp://c@host/xcom", "c", "/host/xcom"),
        ("SFTP://host/xcom", None, "/host/xcom"),
        ("sftp:///xcom", None, "//xcom"),
    ],
)
def test_airflow_says_what_it_calls_an_object(url, conn_id, name):
    address = parse_other(url, lambda told: told.partition(":/")[2])
    assert address == Address(url, url.partition(":")[0], conn_id, Location("sftp", "", name))
    assert below(address, "d").text == f"{url}/d" and below(address, "d").location.name == f"{name}/d"
    assert below(address, "d").follows(address)


@pytest.mark.parametrize("text", ["", "sftp://", "sftp:/x", "/x", "x"])
def test_what_is_no_url_is_none_in_other_schemes_either(text):
    assert parse_other(text, lambda told: told) is None


def test_the_base_path_itself_is_no_reference():
    assert recognise("s3://conn@bucket/xcom", BASE) is None
    assert recognise("s3://conn@bucket/xcom/", BASE) is None


@pytest.mark.parametrize(
    ("text", "location"),
    [
        ("s3://conn@bucket/xcom/", Location("s3", "bucket", "xcom")),
        ("s3a://bucket", Location("s3", "bucket", "")),
        ("gcs://bucket/x/", Location("gs", "bucket", "x")),
        ("file:///data//xcom/", Location("file", "", "/data/xcom")),
        ("file://conn@/data", Location("file", "", "/data")),
    ],
)
def test_a_base_path_has_one_canonical_place(text, location):
    base = parse_base(text)
    assert base is not None and base.location == location


@pytest.mark.parametrize(
    "text", ["/data/xcom", "data", "foo://bucket", "s3:///key", "file://host/data", "file:", "s3://"]
)
def test_what_is_no_base_path_is_not_taken_for_one(text):
    assert parse_base(text) is None


def test_keys_are_taken_as_they_are():
    address = parse("s3://bucket/a?b#c%20d//e/../f")
    assert address is not None and address.location.name == "a?b#c%20d//e/../f"


@pytest.mark.parametrize(
    "name",
    [
        f"dag/run/task/{LEAF}.txt",
        f"dag/task/{LEAF}",
        f"dag/run//{LEAF}",
        f"dag/run/task/-1/{LEAF}",
        f"dag/run/task/12/{LEAF}",
        f"dag/run\0/task/{LEAF}",
        f"dag/run\udcff/task/{LEAF}",
        f"dag/run/task/{LEAF.upper()}",
        "dag/run/task/01a1f6c0-a793-7d39-a4ab-95bb3ef80dcf",
        f"dag/run/task/{ATTEMPT}/return_value",
        f"dag/run/task/{ATTEMPT}",
        f"dag/{ATTEMPT}/k.json",
        "dag/run/task/_SUCCESS",
        "",
    ],
)
def test_names_that_no_backend_makes_are_unknown(name):
    assert place(name) is None


def test_a_reused_name_has_an_owner_and_a_fresh_one_has_none():
    placements = [place(f"d/r/t/{leaf}") for leaf in (f"{ATTEMPT}/k.json", f"write-{LEAF}/k.json", LEAF)]
    assert [placement and placement.owner for placement in placements] == [ATTEMPT[3:], None, None]


def test_the_codec_does_not_change_what_is_unique():
    assert unique_part(f"x/{LEAF}.gz") == unique_part(f"y/{LEAF}") == LEAF


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_json_within_json_is_unwrapped_as_deep_as_airflow_nests_it(depth):
    text = f"s3://bucket/{LEAF}"
    for _ in range(depth):
        text = json.dumps(text)
    assert unwrap(text) == (f"s3://bucket/{LEAF}", depth)


@pytest.mark.parametrize("text", ["1", "null", '{"a": 1}', "[]", '"broken', "plain", ""])
def test_only_strings_are_unwrapped(text):
    assert unwrap(text) is None


def test_whatever_mentions_an_object_counts_as_its_reference():
    pickled = b"\x80\x04\x95)\x00\x8c\x1ds3://bucket/x/" + LEAF.encode() + b"\x94."
    assert LEAF in mentioned(pickled.decode("utf-8", errors="replace"))
    assert LEAF in mentioned(f"see s3://bucket/{LEAF}, please")
    key = f"{ATTEMPT}/a.json.b.json"
    assert key in mentioned(f"s3://bucket/d/r/t/{key}")
