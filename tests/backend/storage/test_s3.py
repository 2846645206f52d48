"""S3's own: delete markers, answers that are lost on the way, batches, and what is refused."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace

import pytest

from tests.backend.storage.kinds import CONDITIONAL, Lab, VersionedS3, is_restored, opened, require_conditions
from tests.lab import s3
from tests.lab.proxy import Answer, FaultProxy, Lost, Reply, Rewrite, Rule, without
from tests.lab.s3_answers import Refuse, stripped
from xcomctl.backend.reference import OWN_FOLDER
from xcomctl.backend.storage.clock import time_of
from xcomctl.backend.storage.s3 import S3Store
from xcomctl.errors import StorageError
from xcomctl.model import Deletion, Outcome, Removal, StoredObject, WayBack

BUCKETS = ("ministack-trash", "ministack-versions", "seaweedfs-trash", "seaweedfs-versions")


def on(*kinds: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("lab", kinds, indirect=True)


@contextmanager
def through_a_proxy(lab: Lab, **more: object) -> Iterator[FaultProxy]:
    """Let the store meet what a test declares; its bucket stays as near as it was."""
    assert isinstance(lab.raw, s3.Bucket)
    server = lab.raw.server
    with FaultProxy(int(server.endpoint.rpartition(":")[2])) as proxy:
        seen = replace(lab.raw, server=replace(server, endpoint=proxy.endpoint))
        near, lab.store = lab.store, opened(seen.url, {**seen.options, **more})
        yield proxy
        lab.store = near


@pytest.mark.parametrize("date", [None, "", "yesterday", "-0000", "Sat, 99 Nov 2026 10:00:00 GMT"])
def test_a_date_that_is_none_tells_no_time(date: str | None) -> None:
    with pytest.raises(StorageError, match=r"s3://b does not tell the time"):
        time_of("s3://b", date)


def test_a_date_without_a_zone_is_one_of_utc() -> None:
    assert time_of("s3://b", "Sat, 21 Nov 2026 10:00:00 -0000") == time_of("s3://b", "Sat, 21 Nov 2026 10:00:00 GMT")


@on("ministack-versions", "seaweedfs-versions")
class TestDeleteMarkers:
    """A bucket with versions hides an object behind a marker."""

    def test_the_handle_is_the_markers_version(self, lab: VersionedS3) -> None:
        (deletion,) = lab.remove(lab.put("d/x").values()).values()
        (marker,) = [each for each in lab.versions() if "ETag" not in each]
        assert deletion.handle == marker["VersionId"]

    @pytest.mark.parametrize("forgetful", [False, True])
    @pytest.mark.parametrize("written_again", [False, True])
    def test_what_somebody_else_has_deleted_since_comes_back_and_their_markers_stay(
        self, lab: VersionedS3, forgetful: bool, written_again: bool
    ) -> None:
        deletions = lab.remove(lab.put("d/x").values())
        if written_again:
            lab.raw.put("d/x", b"another")
        lab.raw.delete("d/x")
        before = {each["VersionId"] for each in lab.versions()}
        assert lab.bring_back(deletions.values(), forgetful=forgetful)["d/x"].outcome is Outcome.RESTORED
        assert lab.raw.get("d/x") == b"d/x" and {each["VersionId"] for each in lab.versions()} > before

    def test_only_the_bytes_that_were_removed_come_back(self, lab: VersionedS3) -> None:
        deletions = lab.remove(lab.put("d/x").values())
        lab.lose_what_is_kept()
        lab.raw.put("d/x", b"another")
        lab.raw.delete("d/x")
        assert lab.bring_back(deletions.values(), forgetful=True)["d/x"].outcome is Outcome.MISSING
        assert lab.keys() == set()

    def test_of_a_discarded_object_nothing_is_left(self, lab: VersionedS3) -> None:
        """Neither a version nor a marker, whether it was there, was hidden, or never was."""
        for name in ("_xcomctl/a", "_xcomctl/a", "_xcomctl/b", "_xcomctl/bb"):
            lab.store.write(name, b"x")
        lab.raw.delete("_xcomctl/b")
        lab.store.discard(["_xcomctl/a", "_xcomctl/b", "_xcomctl/never"])
        assert [each["Key"] for each in lab.versions()] == ["_xcomctl/bb"]


@on("ministack-versions")
class TestVersions:
    """What takes many requests, or a state of a bucket that SeaweedFS does not know."""

    def test_every_page_of_versions_is_discarded(self, lab: VersionedS3) -> None:
        for _ in range(1003):
            lab.raw.put("_xcomctl/lease", b"x")
        lab.store.discard(["_xcomctl/lease"])
        assert lab.versions() == []

    def test_a_bucket_that_keeps_no_more_versions_gets_no_markers(self, lab: VersionedS3) -> None:
        lab.store.write("_xcomctl/a", b"x")
        lab.version("Suspended")
        lab.store = opened(lab.bucket.url, lab.bucket.options)
        assert lab.way is WayBack.TRASH
        lab.store.write("_xcomctl/a", b"x")
        lab.store.discard(["_xcomctl/a"])
        assert lab.versions() == []


@on(*BUCKETS)
def test_a_delete_whose_answer_was_lost_is_a_delete(lab: Lab) -> None:
    """botocore asks again, and the store refuses what it has done already: nothing was changed by anybody else."""
    listed = lab.put("d/x", "d/y")
    with through_a_proxy(lab) as proxy:
        proxy.rules = [Rule(Lost(), "POST", query="delete", first=1)]
        deletions = lab.remove(listed.values())
        assert proxy.faults[Lost] == 1
    assert deletions == {key: Deletion(found, handle=deletions[key].handle) for key, found in listed.items()}
    assert all(map(is_restored, lab.bring_back(deletions.values()).values()))
    assert lab.raw.get("d/x") == b"d/x" and lab.copies() == set()


@on("ministack-trash", "seaweedfs-trash")
def test_so_it_is_where_a_key_is_deleted_alone(lab: Lab) -> None:
    """SeaweedFS says of what is not there that the condition does not hold, as if it had changed."""
    listed = lab.put("d/bell\x07/x")
    with through_a_proxy(lab) as proxy:
        proxy.rules = [Rule(Lost(), "DELETE", first=1)]
        deletions = lab.remove(listed.values())
        assert proxy.faults[Lost] == 1
    assert list(deletions.values()) == [Deletion(found) for found in listed.values()]
    assert all(map(is_restored, lab.bring_back(deletions.values()).values()))


@on(*BUCKETS)
def test_a_delete_that_is_never_answered_may_have_happened(lab: Lab) -> None:
    listed = lab.put("d/x")
    with through_a_proxy(lab, config_kwargs={"retries": {"max_attempts": 0}}) as proxy:
        proxy.rules = [Rule(Lost(), "POST", query="delete")]
        deletions = lab.remove(listed.values())
    assert deletions["d/x"].error is not None and deletions["d/x"].unknown and not deletions["d/x"].changed
    assert lab.kept_bytes() == [b"d/x"]
    if CONDITIONAL or lab.way is WayBack.TRASH:  # else s3fs, asking again, has set one marker upon another
        assert lab.bring_back(deletions.values())["d/x"].outcome is Outcome.RESTORED


@on("ministack-trash", "ministack-versions")
def test_a_key_that_is_refused_is_told_and_the_others_go(lab: Lab) -> None:
    listed = lab.put("d/x", "d/y")
    with through_a_proxy(lab) as proxy:
        proxy.rules = [Rule(Refuse("d/y"), "POST", query="delete")]
        deletions = lab.remove(listed.values())
    assert deletions["d/x"].error is None
    assert deletions["d/y"] == Deletion(listed["d/y"], error="AccessDenied: injected")
    assert lab.keys() == {"d/y"}
    assert lab.kept_bytes() == [b"d/x"], "no copy of what was kept after all"


@on("ministack-trash")
def test_what_cannot_be_copied_is_not_deleted(lab: Lab) -> None:
    listed = lab.put("d/x")
    with through_a_proxy(lab) as proxy:
        proxy.rules = [Rule(Answer(403, "AccessDenied"), "PUT")]
        (deletion,) = lab.remove(listed.values()).values()
    assert deletion.error is not None and "cannot copy s3://" in deletion.error and not deletion.unknown
    assert lab.keys() == {"d/x"} and lab.copies() == set()


@on("ministack-trash", "seaweedfs-trash")
def test_what_changes_after_the_copy_is_kept_and_the_copy_dropped(lab: Lab) -> None:
    if not CONDITIONAL:
        pytest.skip("this botocore cannot send a condition on a delete")
    listed = lab.put("d/x")

    def write_again(reply: Reply) -> Reply:
        lab.raw.put("d/x", b"written again")
        return reply

    with through_a_proxy(lab) as proxy:
        proxy.rules = [Rule(Rewrite(write_again), "PUT")]
        assert lab.remove(listed.values()) == {"d/x": Deletion(listed["d/x"], changed=True)}
    assert lab.raw.get("d/x") == b"written again" and lab.copies() == set()


@on("ministack-trash", "ministack-versions")
def test_what_cannot_be_looked_at_is_not_deleted(lab: Lab) -> None:
    listed = lab.put("d/x")
    with through_a_proxy(lab) as proxy:
        proxy.rules = [Rule(Answer(403, "AccessDenied"), "HEAD")]
        (deletion,) = lab.remove(listed.values(), look_first=True).values()
    assert deletion.error is not None and "cannot look up s3://" in deletion.error and not deletion.unknown
    assert lab.keys() == {"d/x"} and lab.copies() == set()


@on("ministack-trash")
def test_a_copy_that_cannot_be_dropped_is_no_failure(lab: Lab) -> None:
    """It goes with the trash; what was deleted, and what came back, has to be told."""
    listed = lab.put("d/x", "d/y")
    with through_a_proxy(lab) as proxy:
        proxy.rules = [Rule(Refuse("d/y"), "POST", query="delete"), Rule(Answer(403, "AccessDenied"), "POST", after=1)]
        deletions = lab.remove(listed.values())
        assert [deletion.error is None for deletion in deletions.values()] == [True, False]
        proxy.rules = [Rule(Answer(403, "AccessDenied"), "POST")]
        assert is_restored(lab.bring_back([deletions["d/x"]])["d/x"])
    assert lab.keys() == {"d/x", "d/y"}


@on("seaweedfs-trash")
def test_an_object_that_comes_between_the_look_and_the_copy_stays(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    if not CONDITIONAL:
        pytest.skip("this botocore cannot send a condition on a copy's target")
    deletions = lab.remove(lab.put("d/x").values())
    lab.raw.put("d/x", b"another")
    look_up = lab.store.stat
    monkeypatch.setattr(lab.store, "stat", lambda name: None if name == "d/x" else look_up(name))
    assert lab.bring_back(deletions.values())["d/x"].outcome is Outcome.OCCUPIED
    assert lab.raw.get("d/x") == b"another" and len(lab.copies()) == 1


@on("ministack-trash", "ministack-versions")
def test_more_keys_than_one_request_may_have(lab: Lab) -> None:
    listed = lab.put(*(f"many/{number:04}" for number in range(1003)))
    with through_a_proxy(lab) as proxy:
        deletions = lab.remove(listed.values())
        assert len([seen for seen in proxy.requests if seen.query.startswith("delete")]) == 2
    assert deletions == {key: Deletion(found, handle=deletions[key].handle) for key, found in listed.items()}
    assert lab.keys() == set() and len(lab.copies()) == (1003 if lab.way is WayBack.TRASH else 0)
    last = "many/1002"
    assert is_restored(lab.bring_back([deletions[last]])[last]) and lab.raw.get(last) == last.encode()


@on("seaweedfs-trash", "seaweedfs-versions")
def test_who_is_refused_changes_nothing(lab: Lab) -> None:
    assert isinstance(lab.raw, s3.Bucket)
    listed = lab.put("d/x", "d/y")
    removed = lab.remove([listed["d/y"]])
    way = lab.way
    trusted, lab.store = lab.store, opened(lab.raw.url, {**lab.raw.options, "secret": "guessed-secret"})
    assert lab.way is WayBack.TRASH, "who may not ask is told of no versions"
    for look_first in (False, True):
        refused = lab.remove([listed["d/x"]], look_first=look_first)["d/x"]
        assert refused.error is not None and not refused.unknown and not refused.changed
    kept = replace(lab.kept(removed["d/y"]), way=way)
    (returned,) = lab.store.bring_back([kept])
    assert returned.outcome is Outcome.FAILED and "cannot" in returned.message
    attempts: list[Callable[[], None]] = [
        lambda: lab.store.write("_xcomctl/a", b"x"),
        lambda: lab.store.discard(["d/x"]),
    ]
    for attempt in attempts:
        with pytest.raises(StorageError) as error:
            attempt()
        assert "guessed-secret" not in f"{error.value.message} {error.value.hint}"
    lab.store = trusted
    assert lab.keys() == {"d/x"} and lab.kept_bytes() == [b"d/y"]


@on("ministack-versions")
def test_a_refused_delete_of_a_version_is_an_error(lab: Lab) -> None:
    lab.store.write("_xcomctl/a", b"x")
    with through_a_proxy(lab) as proxy:
        proxy.rules = [Rule(Refuse("_xcomctl/a"), "POST", query="delete")]
        with pytest.raises(StorageError, match=r"cannot delete s3://.*/_xcomctl/a: AccessDenied: injected"):
            lab.store.discard(["_xcomctl/a"])


@on("ministack-trash")
def test_an_object_without_etag_is_removed_by_its_name(lab: Lab) -> None:
    (found,) = lab.put("d/x").values()
    anyhow: StoredObject = replace(found, version=None)
    assert lab.remove([anyhow]) == {"d/x": Deletion(anyhow)}
    assert lab.kept_bytes() == [b"d/x"]


WHOLE = b"x" * 70_000


def other_etag(reply: Reply) -> Reply:
    """As where a key of KMS encrypts."""
    return replace(reply, headers=(*without(reply.headers, "etag"), ("ETag", f'"{"0" * 32}"')))


@on("ministack-trash", "seaweedfs-trash", "seaweedfs-versions")
class TestCreate:
    """A new object costs one request, where its answer tells what the store holds."""

    def test_an_etag_that_is_the_md5_is_enough(self, lab: Lab) -> None:
        with through_a_proxy(lab) as proxy:
            lab.store.create("d/x", WHOLE)
            assert [seen.method for seen in proxy.requests] == ["PUT"]
        assert lab.raw.get("d/x") == WHOLE

    @pytest.mark.parametrize("spoil", [Rewrite(other_etag), stripped("etag")])
    def test_else_it_is_looked_for(self, lab: Lab, spoil: Rewrite) -> None:
        with through_a_proxy(lab) as proxy:
            proxy.rules = [Rule(spoil, "PUT")]
            lab.store.create("d/x", WHOLE)
            assert [seen.method for seen in proxy.requests] == ["PUT", "HEAD"]
        assert lab.raw.get("d/x") == WHOLE

    def test_what_is_not_there_then_was_not_written(self, lab: Lab) -> None:
        with through_a_proxy(lab) as proxy:
            proxy.rules = [Rule(stripped("etag"), "PUT"), Rule(Answer(404, "NoSuchKey"), "HEAD")]
            with pytest.raises(StorageError, match="was written, and is not there as it was sent"):
                lab.store.create("d/x", WHOLE)

    def test_nor_was_what_is_shorter(self, lab: Lab) -> None:
        def cut(reply: Reply) -> Reply:
            lab.raw.put("d/x", WHOLE[1:])
            return other_etag(reply)

        with through_a_proxy(lab) as proxy:
            proxy.rules = [Rule(Rewrite(cut), "PUT")]
            with pytest.raises(StorageError, match="was written, and is not there as it was sent"):
                lab.store.create("d/x", WHOLE)

    def test_an_object_whose_answer_was_lost_is_no_other_object(self, lab: Lab) -> None:
        with through_a_proxy(lab) as proxy:
            proxy.rules = [Rule(Lost(), "PUT", first=1)]
            lab.store.create("d/x", WHOLE)
            assert proxy.faults[Lost] == 1
        assert lab.raw.get("d/x") == WHOLE


@on(*BUCKETS)
def test_batches_at_once_are_no_others(lab: Lab) -> None:
    """gc removes several from threads of its own; one that changed, and one that is gone, in each."""
    require_conditions(lab)
    keys = [f"{batch}/{number:02}" for batch in "abcdefgh" for number in range(20)]
    listed = lab.put(*keys)
    for batch in "abcdefgh":
        lab.raw.put(f"{batch}/03", b"written again")
        lab.raw.delete(f"{batch}/05")
    way = lab.way

    def removed(batch: str) -> list[Deletion]:
        removals = [Removal(listed[key], f"{OWN_FOLDER}trash/{key}") for key in keys if key[0] == batch]
        return list(lab.store.remove(removals, way, look_first=not CONDITIONAL))

    with ThreadPoolExecutor(8) as threads:
        deletions = {each.object.name: each for some in threads.map(removed, "abcdefgh") for each in some}
    assert deletions.keys() == set(keys)
    for key, deletion in deletions.items():
        assert (deletion.error, deletion.changed) == (None, key.endswith("/03"))
        assert deletion.vanished == key.endswith("/05")
    assert lab.keys() == {key for key in keys if key.endswith("/03")}


@on("ministack-trash")
def test_others_who_use_the_client_are_answered_by_botocore(lab: Lab) -> None:
    (found,) = lab.put("d/x").values()
    lab.remove([found])
    assert isinstance(lab.store, S3Store)
    lab.put("d/y")
    filesystem = lab.store._filesystem
    answer = filesystem.call_s3("delete_objects", Bucket=lab.store._bucket, Delete={"Objects": [{"Key": "d/y"}]})
    assert [each["Key"] for each in answer["Deleted"]] == ["d/y"]
