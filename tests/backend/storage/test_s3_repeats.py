"""Requests that are made after an example: they are what botocore would send, and what fails is botocore's to ask."""

from __future__ import annotations

import re
from base64 import b64encode
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import md5
from inspect import isawaitable
from typing import Any

import pytest
from aiobotocore.awsrequest import AioAWSResponse
from fsspec.asyn import sync
from hypothesis import given, settings
from hypothesis import strategies as st
from s3fs import S3FileSystem

from tests.backend.storage.kinds import CONDITIONAL, Lab
from tests.backend.storage.test_s3 import BUCKETS, on, through_a_proxy
from tests.lab.proxy import Answer, Cut, Fault, FaultProxy, Lost, Reply, Request, Reset, Rewrite, Rule
from tests.lab.s3_answers import stripped
from xcomctl.backend.storage import s3_repeats
from xcomctl.backend.storage.s3 import S3Store
from xcomctl.backend.storage.s3_repeats import Repeats
from xcomctl.errors import StorageError
from xcomctl.model import Outcome, Removal

STRANGE = (
    "a//b", "/a", "a/", "./a", "../a", "a/./b/../c", "a b+c%20d", "a?b#c&d=e;f", "ключ/😀", "a\nb\rc\td", "~-._!*'()",
    "a\\b", "\x01", "a" * 900, "trash/airflow/xcom/d/manual__2024-01-01T00:00:00+00:00/t/2383c7d0-7bce-4c82.gz",
)  # fmt: skip
CONFIGURED: Mapping[str, dict[str, Any]] = {
    "path": {"config_kwargs": {"s3": {"addressing_style": "path"}}},
    "virtual": {"config_kwargs": {"s3": {"addressing_style": "virtual"}}},
    "https": {"client_kwargs": {"endpoint_url": "https://store.example"}},
    "amazon": {"client_kwargs": {"region_name": "eu-central-1"}},
    "below a path": {"client_kwargs": {"endpoint_url": "http://store.example/s3/"}},
    "a token": {"token": "session token"},
    "nobody": {"anon": True, "key": None, "secret": None},
    "encryption": {"s3_additional_kwargs": {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": "key"}},
    "requester pays": {"requester_pays": True},
    "the oldest signature": {"config_kwargs": {"signature_version": "s3"}},
}
ITS_OWN = re.compile("authorization|x-amz-date|date|amz-sdk-.*|traceparent|x-amzn-trace-id", re.IGNORECASE)
"""Headers that no two requests share. A signature is compared by who verifies it: SeaweedFS does."""
FEATURES = re.compile(r" m/\S+")
"""What botocore says in its name of how it was used, in another order or number each time."""
COPIED = b"<CopyObjectResult><ETag>&quot;1&quot;</ETag></CopyObjectResult>"
Call = Callable[..., Awaitable[Mapping[str, Any]]]
Sent = tuple[str, str, dict[str, str], bytes]


@dataclass
class Raw:
    """The body of an answer, and its headers as the oldest aiobotocore reads them."""

    body: bytes
    raw_headers: tuple[tuple[bytes, bytes], ...] = ((b"ETag", b'"1"'),)

    async def read(self) -> bytes:
        return self.body


@dataclass
class Wire:
    """Where aiohttp would be: it notes what is sent, and says that it was done."""

    sent: list[Sent] = field(default_factory=list)
    _sessions: dict[None, Any] = field(default_factory=dict)
    """s3fs looks here whether it has to open a new one."""

    async def send(self, request: Any) -> AioAWSResponse:
        told = {name.lower(): _text(value) for name, value in request.headers.items()}
        headers = {name: FEATURES.sub("", value) for name, value in told.items() if not ITS_OWN.fullmatch(name)}
        body = request.body.read() if hasattr(request.body, "read") else request.body or b""
        self.sent.append((request.method, request.url, headers, await body if isawaitable(body) else body))
        return AioAWSResponse(request.url, 200, {"ETag": '"1"'}, Raw(COPIED if "x-amz-copy-source" in headers else b""))

    async def close(self) -> None:
        """There is nothing to close."""


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value


@contextmanager
def wired(configured: Mapping[str, Any]) -> Iterator[tuple[S3FileSystem, Wire]]:
    """A filesystem that reaches nobody."""
    options = {"key": "k", "secret": "s", "client_kwargs": {"endpoint_url": "http://127.0.0.1:1"}, **configured}
    client_kwargs = {"region_name": "us-east-1", **options.pop("client_kwargs")}
    filesystem = S3FileSystem(client_kwargs=client_kwargs, skip_instance_cache=True, **options)
    sync(filesystem.loop, filesystem.set_session)
    wire = Wire()
    endpoint = filesystem.s3._endpoint
    before, endpoint.http_session = endpoint.http_session, wire
    try:
        yield filesystem, wire
    finally:
        endpoint.http_session = before


def asked(call: Call, method: str, key: str, other: str, body: bytes) -> Awaitable[Mapping[str, Any]]:
    """The same request by whom it may be."""
    told: dict[str, dict[str, object]] = {
        "copy_object": {"CopySource": {"Bucket": "bucket", "Key": other}, "CopySourceIfMatch": f'"{len(other)}"'},
        "put_object": {"Body": body, "ContentMD5": b64encode(md5(body).digest()).decode()},
        "head_object": {},
    }
    return call(method, Key=key, **told[method])


@pytest.mark.parametrize("method", ["copy_object", "head_object", "put_object"])
class TestWhatIsSent:
    """Byte for byte, but for headers that no two requests share."""

    @pytest.mark.parametrize("configured", CONFIGURED)
    def test_is_what_botocore_sends(self, method: str, configured: str) -> None:
        with wired(CONFIGURED[configured]) as (filesystem, wire):
            assert_same(filesystem, wire, method, [(name, f"{name}?", name.encode()) for name in STRANGE])

    @settings(deadline=None)
    @given(st.lists(st.tuples(NAMES := st.text(min_size=1, max_size=50), NAMES, st.binary()), min_size=2, max_size=9))
    def test_whatever_the_names(self, method: str, told: list[tuple[str, str, bytes]]) -> None:
        with wired({}) as (filesystem, wire):
            assert_same(filesystem, wire, method, told)


def assert_same(filesystem: S3FileSystem, wire: Wire, method: str, told: list[tuple[str, str, bytes]]) -> None:
    async def plain(method: str, **arguments: Any) -> Mapping[str, Any]:
        return await filesystem._call_s3(method, Bucket="bucket", **arguments)

    async def sent(call: Call) -> list[Sent]:
        wire.sent.clear()
        for each in told:
            await asked(call, method, *each)
        return list(wire.sent)

    made = Counter[str]()
    repeats = Repeats(filesystem, "bucket")
    expected = sync(filesystem.loop, sent, plain)
    filesystem.s3.meta.events.register_last("before-call", lambda **_: made.update(["botocore"]), unique_id="counted")
    assert sync(filesystem.loop, sent, repeats.call) == expected
    assert made["botocore"] == 1 and len(expected) == len(told)


@on(*BUCKETS)
def test_stores_take_them(lab: Lab) -> None:
    """SeaweedFS verifies each signature."""
    names = [f"d/{number} {sign}" for number, sign in enumerate(("x", "+", "ключ", "a=b", "100%"))]
    for name in names:
        lab.store.create(name, name.encode())
    assert sorted(lab.keys()) == sorted(names) and all(lab.raw.get(name) == name.encode() for name in names)
    listed = lab.listed()
    assert {type(each.error) for each in lab.remove(listed.values(), look_first=True).values()} == {type(None)}
    assert lab.keys() == set() and lab.kept_bytes() == sorted(name.encode() for name in names)
    assert isinstance(lab.store, S3Store)
    assert not any(lab.store._repeats._in_vain.values()) and lab.store._repeats._examples


def emptied(reply: Reply) -> Reply:
    return Reply(200, (), b"")


def failing(reply: Reply) -> Reply:
    return Reply(200, (), b"<Error><Code>InternalError</Code></Error>")


@dataclass(frozen=True)
class Says:
    """Somebody on the way answers as if it was done; the store is never asked."""

    reply: Reply

    def __call__(self, request: Request, proxy: FaultProxy) -> Reply:
        proxy.happened(self)
        return self.reply


PAGE = (("Content-Type", "text/html"), ("ETag", '"1"'))
NO_COPIES = {
    "nothing": Reply(200, (), b""),
    "nothing, no content": Reply(204, (), b""),
    "nothing, in part": Reply(206, (), b""),
    "a page": Reply(200, PAGE, b"<html><body>please log in</body></html>"),
    "a page that names it": Reply(200, PAGE, b"<!DOCTYPE html><p><CopyObjectResult></CopyObjectResult><br></html>"),
    "more than it": Reply(200, PAGE, COPIED + b"\nupstream connect error"),
    "it, and no tag": Reply(200, PAGE, b"<CopyObjectResult></CopyObjectResult>"),
    "it, in another": Reply(200, PAGE, b"<html>" + COPIED + b"</html>"),
}


FAULTS: tuple[Fault, ...] = (
    Answer(500, "InternalError"), Answer(503, "SlowDown"), Answer(400, "RequestTimeout"), Answer(307, "Redirect"),
    Reset(), Lost(), Cut(), Rewrite(emptied), Rewrite(failing), stripped("etag"),
)  # fmt: skip


@on("ministack-trash")
@pytest.mark.parametrize("learned", [False, True])
@pytest.mark.parametrize("said", NO_COPIES)
def test_nothing_goes_whose_copy_is_not_there(lab: Lab, said: str, learned: bool) -> None:
    listed = lab.put("d/1", "d/2", "d/3")
    with through_a_proxy(lab, config_kwargs={"retries": {"total_max_attempts": 1}}) as proxy:
        if learned:
            lab.remove([listed.pop("d/1")])
        before = lab.keys()
        proxy.rules = [Rule(Says(NO_COPIES[said]), "PUT", "trash/")]
        deletions = lab.remove(listed.values())
        assert proxy.faults[Says] >= len(listed) and all(each.error for each in deletions.values())
        assert lab.keys() == before
        proxy.rules = []
        removed = lab.remove(lab.listed().values())
        proxy.rules = [Rule(Says(NO_COPIES[said]), "PUT", "d/")]
        returned = lab.bring_back(removed.values())
        assert {each.outcome for each in returned.values()} == {Outcome.FAILED}
    assert {each.outcome for each in lab.bring_back(removed.values()).values()} == {Outcome.RESTORED}
    assert lab.keys() == before


@on("ministack-trash")
@pytest.mark.parametrize("said", NO_COPIES)
def test_nothing_is_written_that_is_not_there(lab: Lab, said: str) -> None:
    with through_a_proxy(lab) as proxy:
        proxy.rules = [Rule(Says(NO_COPIES[said]), "PUT")]
        with pytest.raises(StorageError, match="d/x"):
            lab.store.write("d/x", b"whole")
        with pytest.raises(StorageError, match="d/x"):
            lab.store.create("d/x", b"whole")
    assert lab.keys() == set()


@on("ministack-trash")
class TestWhatFails:
    """The second request, which is made after the first, meets what is declared."""

    @pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: f"{type(fault).__name__}-{fault}"[:40])
    def test_is_asked_again_by_botocore(self, lab: Lab, fault: Fault) -> None:
        with through_a_proxy(lab) as proxy:
            proxy.rules = [Rule(fault, "PUT", "d/[234]", first=1)]
            for number in range(1, 5):
                lab.store.create(f"d/{number}", b"whole %d" % number)
            assert sum(proxy.faults.values()) == 1
            assert lab.keys() == {f"d/{number}" for number in range(1, 5)}
            listed = lab.listed()
            proxy.rules = [Rule(fault, "PUT", "trash/op/000001/000[234]", first=1)]
            deletions = lab.remove(listed.values())
            assert all(not (each.error or each.changed or each.vanished) for each in deletions.values())
        assert lab.keys() == set() and lab.kept_bytes() == [b"whole %d" % number for number in range(1, 5)]

    def test_so_is_what_is_refused(self, lab: Lab) -> None:
        with through_a_proxy(lab) as proxy:
            lab.store.create("d/0", b"mine")
            proxy.rules = [Rule(Answer(403, "AccessDenied"), "PUT", "d/1")]
            with pytest.raises(StorageError, match="AccessDenied"):
                lab.store.create("d/1", b"mine")
            lab.store.create("d/2", b"mine")
        assert lab.keys() == {"d/0", "d/2"}

    @pytest.mark.skipif(not CONDITIONAL, reason="this botocore cannot send If-None-Match")
    def test_so_is_what_would_overwrite(self, lab: Lab) -> None:
        lab.store.create("d/0", b"mine")
        lab.raw.put("d/1", b"another's")
        with pytest.raises(FileExistsError):
            lab.store.create("d/1", b"mine")
        lab.store.create("d/2", b"mine")
        assert [lab.raw.get(f"d/{number}") for number in range(3)] == [b"mine", b"another's", b"mine"]

    def test_what_changed_or_went_since_is_not_copied(self, lab: Lab) -> None:
        listed = lab.put(*(f"d/{number}" for number in range(100)))
        lab.raw.put("d/70", b"written again")
        lab.raw.delete("d/80")
        removals = [Removal(each, f"trash/{each.name}") for each in listed.values()]
        told = {each.object.name: each for each in lab.store.remove(removals, lab.way, look_first=False)}
        assert [name for name, each in told.items() if each.changed] == ["d/70"]
        assert [name for name, each in told.items() if each.vanished] == ["d/80"]
        copies = {f"trash/d/{number}" for number in range(100) if number not in (70, 80)}
        assert lab.keys() == {"d/70", *copies}

    def test_is_left_to_botocore_where_it_always_fails(self, lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
        """As where a store tells no ETag. What was written all the same is refused then, and found to be ours."""
        monkeypatch.setattr(s3_repeats, "IN_VAIN", 3)
        with through_a_proxy(lab) as proxy:
            proxy.rules = [Rule(stripped("etag"), "PUT")]
            for number in range(9):
                lab.store.create(f"d/{number}", b"whole")
            puts = Counter(seen.path.rpartition("/")[2] for seen in proxy.requests if seen.method == "PUT")
        # An example is a success, and what was refused is none.
        expected = [1, 2, 1, 2, 1, 2, 1, 1, 1] if CONDITIONAL else [1, 2, 2, 2, 1, 1, 1, 1, 1]
        assert [puts[str(number)] for number in range(9)] == expected

    def test_one_request_each_where_nothing_fails(self, lab: Lab) -> None:
        listed = lab.put(*(f"d/{number:03}" for number in range(300)))
        with through_a_proxy(lab) as proxy:
            lab.remove(listed.values())
            copies = [seen.path for seen in proxy.requests if seen.method == "PUT"]
        assert len(copies) == len(set(copies)) == 300
