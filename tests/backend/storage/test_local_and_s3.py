"""What is promised of every store, on local files and on two S3 servers: raw keys, whole listings, true answers."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path

import botocore
import pytest

from tests.lab import s3
from tests.lab.folder import Folder
from xcomctl.backend.reference import parse_base
from xcomctl.backend.storage import Store, open_store
from xcomctl.backend.storage.local import LocalStore
from xcomctl.backend.storage.s3 import S3Store
from xcomctl.errors import StorageError
from xcomctl.model import StoredObject

RUN = "manual__2026-01-02T03:04:05+00:00"
NASTY = (
    f"d/{RUN}/t/plain",
    f"d/{RUN} with [a*b?c]#%&=+/t/x",
    "d/50%25 %2F %/t/x",
    "d/\u65e5\u672c \U0001f600 \u00e9/t/x",
    "d/quote'\"<&>/t/x",
    "d/~!@$^(){}|;,/t/x",
)
NOBODY = 65534
ONLY_S3 = ("d//double/x", "d/./x", "d/a/../x", "d/tab\tnew\nline/x", "d/bell\x07/x", "d/trailing/")
CONDITIONAL = tuple(int(part) for part in botocore.__version__.split(".")[:2]) >= (1, 36)


class Lab:
    """A store under test, and the folder or bucket that it is."""

    def __init__(self, raw: s3.Bucket | Folder) -> None:
        address = parse_base(raw.url)
        assert address is not None
        self.raw = raw
        self.store: Store = open_store(address, raw.options)
        self.prefix = address.location.folder

    def listed(self, below: str = "") -> dict[str, StoredObject]:
        objects = self.store.objects(self.prefix + below)
        return {found.name[len(self.prefix) :]: found for found in objects}


@pytest.fixture
def lab(store: s3.Bucket | Folder) -> Lab:
    return Lab(store)


def test_any_key_is_listed_looked_up_read_and_deleted(lab: Lab):
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
    (deletion,) = lab.store.delete([first])
    assert (deletion.object, deletion.error, deletion.changed) == (first, None, False)
    assert set(lab.listed().values()) == set(others)
    assert all(deletion.error is None for deletion in lab.store.delete(others))
    assert lab.raw.keys() == set()


@pytest.mark.stores("ministack")
@pytest.mark.parametrize("key", ONLY_S3)
def test_keys_that_only_a_bucket_can_hold(lab: Lab, key):
    lab.raw.put(key, b"value")
    lab.raw.put("d/x", b"another")
    listed = lab.listed()
    assert set(listed) == {key, "d/x"}
    with lab.store.open(key) as body:
        assert body.read() == b"value"
    (deletion,) = lab.store.delete([listed[key]])
    assert deletion.error is None
    assert lab.raw.keys() == {"d/x"}


def test_deleting_a_key_never_takes_it_for_a_pattern(lab: Lab):
    for key in ("run[ab]/z", "runa/z", "runb/z", "run*/z", "run?/z"):
        lab.raw.put(key)
    listed = lab.listed()
    list(lab.store.delete([listed["run[ab]/z"], listed["run*/z"], listed["run?/z"]]))
    assert lab.raw.keys() == {"runa/z", "runb/z"}


def test_a_listing_has_all_pages(lab: Lab):
    keys = {f"many/{number:04}" for number in range(1100)}
    for key in keys:
        lab.raw.put(key)
    lab.raw.put("many2/other")
    assert set(lab.listed("many/")) == set(keys)
    deletions = list(lab.store.delete(list(lab.listed("many/").values())))
    assert len(deletions) == 1100 and not any(deletion.error for deletion in deletions)
    assert lab.raw.keys() == {"many2/other"}


def test_what_has_changed_since_it_was_listed_is_kept(lab: Lab):
    if isinstance(lab.store, S3Store) and not CONDITIONAL:
        assert lab.store.condition is None
        pytest.skip(f"botocore {botocore.__version__} cannot send conditions: the plan says so")
    lab.raw.put("a", b"old")
    lab.raw.put("b", b"old")
    listed = lab.listed()
    lab.raw.put("a", b"new and longer")
    outcomes = {d.object.name[len(lab.prefix) :]: d for d in lab.store.delete(list(listed.values()))}
    assert outcomes["a"].changed and outcomes["a"].error is None
    assert not outcomes["b"].changed and outcomes["b"].error is None
    assert lab.raw.keys() == {"a"} and lab.raw.get("a") == b"new and longer"


def test_what_is_gone_already_is_no_failure(lab: Lab):
    lab.raw.put("a")
    (listed,) = lab.listed().values()
    lab.raw.delete("a")
    (deletion,) = lab.store.delete([listed])
    assert deletion.error is None


def test_what_is_not_there(lab: Lab):
    lab.raw.put("a")
    assert lab.store.stat(lab.prefix + "b") is None
    assert lab.store.stat(lab.prefix + "a/b") is None
    with pytest.raises(FileNotFoundError):
        lab.store.open(lab.prefix + "b")


def test_ages_are_told_by_one_clock(lab: Lab):
    lab.raw.put("a")
    (listed,) = lab.listed().values()
    now = lab.store.now(lab.prefix)
    assert listed.modified_at.tzinfo is not None
    assert timedelta(seconds=-2) <= now - listed.modified_at < timedelta(minutes=1)
    assert abs(now - datetime.now(timezone.utc)) < timedelta(minutes=1)


@pytest.mark.stores("ministack", "seaweedfs")
def test_a_missing_bucket_is_an_error_and_no_missing_object(store: s3.Bucket):
    address = parse_base("s3://no-such-bucket-here/x")
    missing = open_store(address, store.options)
    for ask in (
        lambda: list(missing.objects("x/")),
        lambda: missing.stat("x/a"),
        lambda: missing.open("x/a"),
        lambda: missing.now("x/"),
    ):
        with pytest.raises(StorageError, match="no-such-bucket-here"):
            ask()


@pytest.mark.stores("seaweedfs")
def test_denied_requests_are_errors_that_show_no_secret(store: s3.Bucket):
    store.put("a")
    options = {**store.options, "secret": "guessed-secret"}
    denied = open_store(parse_base(store.url), options)
    for ask in (lambda: list(denied.objects("")), lambda: denied.stat("a"), lambda: denied.open("a")):
        with pytest.raises(StorageError) as error:
            ask()
        assert "guessed-secret" not in f"{error.value.message} {error.value.hint}"
        assert error.value.hint is not None
    (deletion,) = denied.delete([StoredObject("a", 4, datetime.now(timezone.utc), '"x"')])
    assert deletion.error is not None
    assert store.keys() == {"a"}


@pytest.mark.stores("ministack")
def test_an_endpoint_where_nobody_listens(store: s3.Bucket):
    options = {**store.options, "client_kwargs": {"endpoint_url": "http://127.0.0.1:1", "region_name": "us-east-1"}}
    options["config_kwargs"] = {"connect_timeout": 1, "retries": {"max_attempts": 0}}
    with pytest.raises(StorageError):
        list(open_store(parse_base(store.url), options).objects(""))


class TestLocalFiles:
    """What only a file system can do."""

    @pytest.fixture
    def folder(self) -> Iterator[Path]:
        """A folder that another user may enter, so that root can test what is refused to others."""
        with tempfile.TemporaryDirectory() as made:
            Path(made).chmod(0o777)
            yield Path(made)

    @pytest.fixture
    def unprivileged(self, folder: Path) -> Iterator[None]:
        """Run the test as nobody where it would run as root, who is refused nothing."""
        before = os.geteuid()
        if before == 0:
            os.seteuid(NOBODY)
        try:
            yield
        finally:
            os.seteuid(before)
            for path in folder.rglob("*"):
                path.chmod(0o777)

    def test_a_missing_folder_is_an_error(self, folder):
        with pytest.raises(StorageError, match="does not exist") as error:
            list(LocalStore().objects(f"{folder}/missing/"))
        assert "mounted" in error.value.hint

    def test_links_are_neither_followed_nor_listed(self, folder):
        (folder / "out").mkdir()
        (folder / "out/live").write_text("x")
        (folder / "base").mkdir()
        (folder / "base/link").symlink_to(folder / "out")
        (folder / "base/file").symlink_to(folder / "out/live")
        assert list(LocalStore().objects(f"{folder}/base/")) == []

    def test_empty_folders_stay(self, folder):
        (folder / "d/r/t").mkdir(parents=True)
        (folder / "d/r/t/x").write_text("x")
        list(LocalStore().delete(list(LocalStore().objects(f"{folder}/"))))
        assert (folder / "d/r/t").is_dir()

    def test_a_folder_that_cannot_be_read_stops_the_listing(self, folder, unprivileged):
        (folder / "closed").mkdir(mode=0o000)
        with pytest.raises(StorageError, match="Permission denied"):
            list(LocalStore().objects(f"{folder}/"))

    def test_a_file_that_cannot_be_read_is_an_error(self, folder, unprivileged):
        (folder / "closed").touch(mode=0o000)
        with pytest.raises(StorageError, match="Permission denied"):
            LocalStore().open(f"{folder}/closed")

    def test_a_file_that_cannot_be_deleted_is_named_and_the_others_go(self, folder, unprivileged):
        for name in ("closed", "open"):
            (folder / name).mkdir()
            (folder / name / "x").touch()
        listed = list(LocalStore().objects(f"{folder}/"))
        (folder / "closed").chmod(0o500)
        errors = {deletion.object.name: deletion.error for deletion in LocalStore().delete(listed)}
        assert errors == {f"{folder}/closed/x": "Permission denied", f"{folder}/open/x": None}
        assert (folder / "closed/x").exists() and not (folder / "open/x").exists()

    def test_a_file_in_the_place_of_a_folder_is_an_error(self, folder):
        (folder / "base").write_text("x")
        with pytest.raises(StorageError):
            list(LocalStore().objects(f"{folder}/base/"))

    def test_an_object_replaced_by_a_folder_is_not_deleted(self, folder):
        (folder / "x").write_text("x")
        (listed,) = LocalStore().objects(f"{folder}/")
        (folder / "x").unlink()
        (folder / "x").mkdir()
        (deletion,) = LocalStore().delete([listed])
        assert (folder / "x").is_dir() and deletion.object == listed
