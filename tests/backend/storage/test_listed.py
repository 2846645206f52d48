"""A large listing: parted as may be, it has everything once, and an incomplete one is an error."""

from __future__ import annotations

import random
import time
from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import Any

import pytest
from fsspec.asyn import get_loop

from tests.backend.storage.kinds import Lab, opened
from tests.backend.storage.test_s3 import through_a_proxy
from tests.lab.proxy import Answer, Cut, Lost, Reset, Rule, Silent
from tests.lab.s3_answers import repeated_page, substituted, truncated_page
from xcomctl.backend.storage import Store, s3_listing, s3_pages
from xcomctl.backend.storage.s3_pages import Page
from xcomctl.errors import ForbiddenError, StorageError
from xcomctl.model import UNDATED, Objects, StoredObject

BOTH = ("ministack-trash", "seaweedfs-trash")
STRANGE = (
    "d/a/r+s t/50%25 %2F/x",
    "d/a",
    "d/a-b/x",
    "d/a.b",
    "d/日本 😀 é/x",
    "d/quote'\"<&>/x",
    "d/[*]?#&=~/x",
)
ONLY_S3 = ("/lead", "d/a/", "d//double", "d/./x", "d/../x", "d/bell\x07", "d/line\nbreak\r", "d/tab\t")
HINTS = ("d/", "d/a/", "d/nothing/", "d/50%/", "e/", "zzz/", "d/a/r+s t/", "dag_1/", "dag_1/run_00700/", "~/")


def on(*kinds: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("lab", kinds, indirect=True)


def fill(lab: Lab, keys: Sequence[str]) -> None:
    with ThreadPoolExecutor(8) as together:
        list(together.map(lab.raw.put, keys))


def everything(store: Store, prefix: str = "", hints: Sequence[str] = ()) -> list[StoredObject]:
    return sorted((each for page in store.listed(prefix, hints) for each in page), key=lambda each: each.name)


def one_by_one(store: Store, prefix: str = "") -> list[StoredObject]:
    return sorted(store.objects(prefix), key=lambda each: each.name)


@contextmanager
def pages_of(size: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """As small as if the bucket were a hundred times as large."""
    ask = s3_pages.page
    with monkeypatch.context() as patch:
        patch.setattr("xcomctl.backend.storage.s3.page", lambda *a, **query: ask(*a, **{"MaxKeys": size, **query}))
        yield


def shapes() -> dict[str, list[str]]:
    """Where the objects lie: evenly, nearly all in one DAG, each in a run of its own, without folders, anywhere."""
    dice = random.Random(7)
    names = "abz019-. /_"
    return {
        "even": [f"dag_{n % 5}/run_{n % 40:05}/task/{n}" for n in range(700)],
        "one dag": [*(f"dag_1/run_{n % 3}/task/{n:04}" for n in range(700)), "dag_0/r/t/x", "dag_2/r/t/x", "direct"],
        "one large": [
            *(f"dag_1/r/t/{n:04}" for n in range(60)),
            *(f"dag_{n}/r/t/x" for n in range(2, 600)),
        ],
        "large runs": [f"dag_1/run_{max(n // 30, n - 300):03}/{n:04}" for n in range(700)],
        "many runs": [f"dag_1/manual__2026-{n % 12 + 1:02}-{n % 28 + 1:02}T00:00:00+{n}/x" for n in range(700)],
        "flat": [f"{n}" for n in range(500)],
        "anyhow": sorted(
            {"/".join(dice.choices(["a", "a-b", "a.", "aa", "b", "c d"], k=4)) + f"/{n}" for n in range(600)}
        ),
        "odd signs": sorted(f"{n}" + "".join(dice.choices(names, k=7)).replace("/", "/x") for n in range(500)),
    }


@on("ministack-trash")
@pytest.mark.parametrize("size", [7, 50])
@pytest.mark.parametrize("shape", shapes())
def test_everything_is_listed_once(lab: Lab, shape: str, size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = shapes()[shape]
    fill(lab, keys)
    with pages_of(size, monkeypatch):
        for hints in ((), HINTS, tuple({key.rpartition("/")[0] + "/" for key in keys})):
            assert [each.name for each in everything(lab.store, "", hints)] == sorted(keys)
        assert everything(lab.store, "dag_1/", HINTS) == one_by_one(lab.store, "dag_1/")


@on("seaweedfs-trash")
@pytest.mark.parametrize("shape", ["even", "one dag", "one large", "large runs", "anyhow"])
def test_so_it_is_where_the_order_is_that_of_folders(lab: Lab, shape: str, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = shapes()[shape]
    fill(lab, keys)
    with pages_of(20, monkeypatch):
        for hints in ((), HINTS):
            assert [each.name for each in everything(lab.store, "", hints)] == sorted(keys)


@on(*BOTH)
def test_the_page_is_what_botocore_reads_in_it(
    request: pytest.FixtureRequest, lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = [*STRANGE, *(ONLY_S3 if request.node.callspec.params["lab"] == "ministack-trash" else ())]
    fill(lab, keys)
    quick = everything(lab.store)
    assert [each.name for each in quick] == sorted(keys)
    assert quick == one_by_one(lab.store)
    monkeypatch.setattr(s3_pages, "_read_page", lambda body: None)
    assert everything(lab.store) == quick


@on("ministack-trash")
def test_others_who_list_by_the_same_client_are_answered(lab: Lab) -> None:
    fill(lab, ["d/x"])
    filesystem = lab.store._filesystem
    assert len(everything(lab.store)) == 1
    assert filesystem.call_s3("list_objects_v2", Bucket=lab.raw.name)["Contents"][0]["Key"] == "d/x"


@on("ministack-trash")
@pytest.mark.parametrize(
    "edit",
    [
        substituted(b"<LastModified>.*?</LastModified>", b""),
        substituted(b'&quot;|"(?=[0-9a-f]{32})|(?<=[0-9a-f]{32})"', b""),
        substituted(b"<EncodingType>url</EncodingType>", b""),
        substituted(b"<Contents>", b"<Contents >"),
        substituted(b"Z</LastModified>", b"+00:00</LastModified>"),
    ],
    ids=["no time", "bare ETag", "not encoded", "odd XML", "another time"],
)
def test_a_page_that_is_spelled_otherwise_is_read_by_botocore(
    lab: Lab, edit: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(lab, STRANGE)
    with through_a_proxy(lab) as proxy:
        proxy.rules = [Rule(edit, "GET", query="list-type=2")]  # type: ignore[arg-type]
        quick = everything(lab.store)
        monkeypatch.setattr(s3_pages, "_read_page", lambda body: None)
        assert quick == everything(lab.store)


@on("ministack-trash")
@pytest.mark.parametrize("fault", [truncated_page(), repeated_page()], ids=["cut short", "comes twice"])
def test_a_listing_that_breaks_off_is_an_error(lab: Lab, fault: object, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(lab, [f"d/{n:04}" for n in range(60)])
    with through_a_proxy(lab) as proxy, pages_of(20, monkeypatch):
        proxy.rules = [Rule(fault, "GET")]  # type: ignore[arg-type]
        with pytest.raises(StorageError, match="broke off"):
            everything(lab.store)


@on("ministack-trash")
@pytest.mark.parametrize(
    "edit",
    [
        substituted(b"<Key>d", b"<Key>elsewhere"),
        substituted(rb"(?s).+", b""),
        substituted(rb"(?s).+", b"<html>busy</html>"),
        substituted(b"<IsTruncated>.*?</IsTruncated>", b""),
    ],
    ids=["of another prefix", "empty", "no XML of a listing", "not told whether it goes on"],
)
@pytest.mark.parametrize("which", [{"first": 1}, {"after": 3}], ids=["the first page", "a later one"])
def test_what_no_page_may_say_is_an_error(
    lab: Lab, edit: object, which: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(lab, [f"d/{n:04}" for n in range(150)])
    with through_a_proxy(lab) as proxy, pages_of(20, monkeypatch):
        proxy.rules = [Rule(edit, "GET", query="^(?!.*delimiter).*max-keys=20", **which)]  # type: ignore[arg-type]
        with pytest.raises(StorageError, match=r"broke off|cannot list"):
            everything(lab.store, "d/")
        assert sum(proxy.faults.values()) > 0


@on("ministack-trash")
@pytest.mark.parametrize("refused", ["start-after=", "delimiter="])
@pytest.mark.parametrize("shape", ["one dag", "even"])
def test_who_is_refused_what_cutting_takes_reads_page_by_page(
    lab: Lab, shape: str, refused: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = shapes()[shape]
    fill(lab, keys)
    with through_a_proxy(lab) as proxy, pages_of(50, monkeypatch):
        proxy.rules = [Rule(Answer(501, "NotImplemented"), "GET", query=refused)]
        assert [each.name for each in everything(lab.store)] == sorted(keys)
        assert proxy.faults[Answer] > 0


@on("ministack-trash", "seaweedfs-trash")
def test_folders_that_are_told_twice_are_listed_once(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = shapes()["one dag"]
    fill(lab, keys)
    with through_a_proxy(lab) as proxy, pages_of(50, monkeypatch):
        twice = substituted(rb"(<CommonPrefixes>.*</CommonPrefixes>)", rb"\1\1")
        proxy.rules = [Rule(twice, "GET", query="delimiter=")]  # type: ignore[arg-type]
        assert [each.name for each in everything(lab.store)] == sorted(keys)


@on("ministack-trash")
@pytest.mark.parametrize("fault", [Reset(), Lost(), Cut(), Answer(503, "SlowDown")], ids=repr)
def test_what_goes_wrong_once_is_asked_again(lab: Lab, fault: object, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = shapes()["one dag"]
    fill(lab, keys)
    with through_a_proxy(lab) as proxy, pages_of(50, monkeypatch):
        proxy.rules = [Rule(fault, "GET", after=2, every=5)]  # type: ignore[arg-type]
        assert [each.name for each in everything(lab.store)] == sorted(keys)
        assert proxy.faults[type(fault)] > 0  # type: ignore[index]


@on("ministack-trash")
def test_who_may_not_list_is_told_so(lab: Lab) -> None:
    fill(lab, ["d/x"])
    with through_a_proxy(lab) as proxy:
        proxy.rules = [Rule(Answer(403, "AccessDenied"), "GET")]
        with pytest.raises(ForbiddenError, match="cannot list"):
            everything(lab.store)
    with pytest.raises(StorageError) as error:
        everything(opened("s3://no-such-bucket", lab.raw.options))
    assert error.value.hint == "does the bucket no-such-bucket exist?"


@on("ministack-trash")
def test_a_small_listing_takes_two_requests(lab: Lab) -> None:
    fill(lab, shapes()["even"][:50])
    with through_a_proxy(lab) as proxy:
        everything(lab.store, "", HINTS)
        assert len([seen for seen in proxy.requests if "list-type" in seen.query]) <= 2


@on("ministack-trash")
def test_many_requests_are_under_way_at_once(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """One DAG with all runs: without parts these would be a hundred pages one after the other."""
    fill(lab, shapes()["many runs"])
    under_way, most, ask = 0, 0, s3_pages.page

    async def counting(*args: object, **query: object) -> s3_pages.Page:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        try:
            return await ask(*args, **{"MaxKeys": 7, **query})  # type: ignore[arg-type]
        finally:
            under_way -= 1

    monkeypatch.setattr("xcomctl.backend.storage.s3.page", counting)
    assert len(everything(lab.store)) == 700
    assert 8 < most <= s3_listing.REQUESTS_AT_ONCE


@on("ministack-trash")
@pytest.mark.parametrize("shape", ["even", "one dag", "one large", "large runs", "many runs"])
def test_parts_are_pages_and_no_crumbs(lab: Lab, shape: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each request costs money, and more time here than at the store."""
    keys = shapes()[shape]
    fill(lab, keys)
    with through_a_proxy(lab) as proxy, pages_of(20, monkeypatch):
        for hints in ((), [f"dag_{n}/" for n in range(5)]):
            before = len(proxy.requests)
            everything(lab.store, "", hints)
            asked = [seen.query for seen in proxy.requests[before:] if "list-type" in seen.query]
            whole = [query for query in asked if "max-keys=20" in query]
            assert len(whole) <= 2 * len(keys) / 20 and len(asked) <= 4 * len(keys) / 20


@on("ministack-trash")
def test_who_leaves_early_waits_for_nothing(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(lab, shapes()["flat"][:100])
    with through_a_proxy(lab) as proxy, pages_of(20, monkeypatch):
        proxy.rules = [Rule(Silent(), "GET", after=2)]
        pages = lab.store.listed("")
        next(pages)
        started = time.monotonic()
        pages.close()  # type: ignore[attr-defined]
        assert time.monotonic() - started < 1


@on("file-rename", "gcs-trash")
def test_other_stores_list_in_pages(lab: Lab) -> None:
    fill(lab, [f"d/{n}/x" for n in range(20)])
    assert everything(lab.store, lab.prefix, HINTS) == one_by_one(lab.store, lab.prefix)
    assert len(everything(lab.store, lab.prefix)) == 20


SIGNS = ("a", "b-", "c.", "é", "\ufb01", "\uffee", "😀", "\U0001f680")


class InUTF16:
    """A store that orders names so, as no server of the lab does; it answers at most so many at a time."""

    def __init__(self, names: Collection[str], size: int) -> None:
        self._names = sorted(names, key=self._place)
        self._size = size

    async def ask(self, **query: Any) -> Page:
        prefix, after = query["Prefix"], self._place(query.get("ContinuationToken", query.get("StartAfter", "")))
        left = [name for name in self._names if name.startswith(prefix) and self._place(name) > after]
        if "Delimiter" in query:
            below = {name: name[len(prefix) :].partition("/") for name in left}
            folders = {f"{prefix}{first}/" for first, slash, _ in below.values() if slash}
            return Page(self._objects([name for name in left if not below[name][1]]), sorted(folders), None)
        page = left[: min(self._size, query.get("MaxKeys", self._size))]
        return Page(self._objects(page), [], page[-1] if len(left) > len(page) else None)

    def _place(self, name: str) -> bytes:
        return name.encode("utf-16-be")

    def _objects(self, names: Sequence[str]) -> Objects:
        return Objects.of([StoredObject(name, 1, UNDATED, None) for name in names])


@pytest.mark.parametrize("size", [1, 2, 7])
def test_a_store_that_orders_names_as_utf_16_is_listed_whole_or_not_at_all(size: int) -> None:
    """Where its pages by chance look as if they were in the order of bytes, nothing is missing."""
    whole = 0
    for seed in range(500):
        dice = random.Random(seed)
        names = {"/".join(dice.choices(SIGNS, k=dice.randint(1, 4))) for _ in range(dice.choice((9, 40)))}
        known = dice.sample(sorted(names), 5)
        with suppress(StorageError):
            pages = list(s3_listing.all_pages(get_loop(), InUTF16(names, size).ask, "", known))
            assert sorted(name for page in pages for name in page.names) == sorted(names), seed
            whole += 1
    assert whole > 0
