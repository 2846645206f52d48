"""What only a file system can do: links, folders, permissions, and other processes in the same folder."""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.backend.storage.kinds import TRASH, Lab
from tests.lab.folder import Folder
from xcomctl.backend.storage.local import LocalStore
from xcomctl.errors import NoFolderError, StorageError
from xcomctl.model import Deletion, Outcome

NOBODY = 65534


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that another user may enter, so that root can test what is refused to others."""
    with tempfile.TemporaryDirectory() as made:
        Path(made).chmod(0o777)
        yield Path(made)


@pytest.fixture
def lab(folder: Path) -> Lab:
    return Lab(Folder(folder))


@pytest.fixture
def unprivileged(folder: Path) -> Iterator[None]:
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


def test_a_missing_folder_is_an_error(folder: Path) -> None:
    with pytest.raises(NoFolderError, match="does not exist") as error:
        list(LocalStore().objects(f"{folder}/missing/"))
    assert error.value.hint is not None and "mounted" in error.value.hint


def test_a_file_in_the_place_of_a_folder_is_an_error(folder: Path) -> None:
    (folder / "base").write_text("x")
    with pytest.raises(StorageError):
        list(LocalStore().objects(f"{folder}/base/"))


def test_links_are_neither_followed_nor_listed(folder: Path) -> None:
    (folder / "out").mkdir()
    (folder / "out/live").write_text("x")
    (folder / "base").mkdir()
    (folder / "base/link").symlink_to(folder / "out")
    (folder / "base/file").symlink_to(folder / "out/live")
    assert list(LocalStore().objects(f"{folder}/base/")) == []


class TestFolders:
    """Folders are the user's, but for those called `_xcomctl`."""

    def test_empty_folders_stay(self, lab: Lab, folder: Path) -> None:
        lab.remove(lab.put("d/r/t/x").values())
        assert (folder / "d/r/t").is_dir()

    def test_xcomctls_own_go_when_they_are_empty(self, lab: Lab, folder: Path) -> None:
        for name in ("_xcomctl/h/a/1", "_xcomctl/h/a/2", "_xcomctl/i", "d/r/t/x"):
            lab.store.write(f"{folder}/{name}", b"x")
        lab.store.discard([f"{folder}/_xcomctl/h/a/1"])
        assert (folder / "_xcomctl/h/a/2").exists()
        lab.store.discard([f"{folder}/_xcomctl/h/a/2"])
        assert [path.name for path in (folder / "_xcomctl").iterdir()] == ["i"]
        lab.store.discard([f"{folder}/_xcomctl/i", f"{folder}/d/r/t/x"])
        assert sorted(path.name for path in folder.rglob("*")) == ["d", "r", "t"]

    def test_they_go_with_the_last_that_comes_back(self, lab: Lab, folder: Path) -> None:
        deletions = lab.remove(lab.put("d/r/t/x").values())
        (folder / "d/r/t").rmdir()
        lab.bring_back(deletions.values())
        assert sorted(path.name for path in folder.rglob("*")) == ["d", "r", "t", "x"]

    def test_one_that_another_run_removes_is_made_again(
        self, lab: Lab, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        listed = lab.put("d/x")
        make, unlucky = os.makedirs, {f"{folder}/{TRASH}".rstrip("/"), f"{folder}/_xcomctl/other"}

        def make_and_lose(path: str, exist_ok: bool = False) -> None:
            make(path, exist_ok=exist_ok)
            if path in unlucky:
                unlucky.remove(path)
                Path(path).rmdir()

        monkeypatch.setattr(os, "makedirs", make_and_lose)
        assert lab.remove(listed.values()) == {"d/x": Deletion(listed["d/x"])}
        lab.store.write(f"{folder}/_xcomctl/other/claim.json", b"x")
        assert not unlucky and len(lab.copies()) == 2

    def test_one_that_cannot_be_made_is_an_error_and_no_vanished_file(
        self, lab: Lab, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        listed = lab.put("d/x")
        monkeypatch.setattr(os, "makedirs", lambda path, exist_ok: None)
        (deletion,) = lab.remove(listed.values()).values()
        assert deletion == Deletion(listed["d/x"], error="No such file or directory")
        assert lab.keys() == {"d/x"}


class TestPermissions:
    """What is refused is named, and changes nothing."""

    def test_a_folder_that_cannot_be_read_stops_the_listing(self, folder: Path, unprivileged: None) -> None:
        (folder / "closed").mkdir(mode=0o000)
        with pytest.raises(StorageError, match="Permission denied"):
            list(LocalStore().objects(f"{folder}/"))

    def test_a_file_that_cannot_be_read_is_an_error(self, folder: Path, unprivileged: None) -> None:
        (folder / "closed").touch(mode=0o000)
        with pytest.raises(StorageError, match="Permission denied"):
            LocalStore().open(f"{folder}/closed")

    def test_a_file_that_cannot_be_removed_is_named_and_the_others_go(
        self, lab: Lab, folder: Path, unprivileged: None
    ) -> None:
        listed = lab.put("closed/x", "open/x")
        (folder / "closed").chmod(0o500)
        deletions = lab.remove(listed.values())
        errors = {key: deletion.error for key, deletion in deletions.items()}
        assert errors == {"closed/x": "Permission denied", "open/x": None}
        assert lab.keys() == {"closed/x"} and lab.kept_bytes() == [b"open/x"]

    def test_a_file_that_cannot_come_back_stays_kept(self, lab: Lab, folder: Path, unprivileged: None) -> None:
        deletions = lab.remove(lab.put("closed/x", "open/x").values())
        (folder / "closed").chmod(0o500)
        returns = lab.bring_back(deletions.values())
        assert (returns["closed/x"].outcome, returns["closed/x"].message) == (Outcome.FAILED, "Permission denied")
        assert returns["open/x"].outcome is Outcome.RESTORED
        assert lab.kept_bytes() == [b"closed/x"]

    def test_what_cannot_be_written_or_discarded_is_an_error(self, lab: Lab, folder: Path, unprivileged: None) -> None:
        lab.store.write(f"{folder}/_xcomctl/a", b"before")
        (folder / "_xcomctl").chmod(0o500)
        with pytest.raises(StorageError, match=r"cannot write file:///.*/_xcomctl/a: Permission denied"):
            lab.store.write(f"{folder}/_xcomctl/a", b"x")
        with pytest.raises(StorageError, match=r"cannot delete file:///.*/_xcomctl/a: Permission denied") as error:
            lab.store.discard([f"{folder}/_xcomctl/a"])
        assert error.value.hint is not None and lab.raw.get("_xcomctl/a") == b"before"


class TestOneName:
    """What stands in the place of a file by now is left alone."""

    def test_an_object_replaced_by_a_folder_is_not_removed(self, lab: Lab, folder: Path) -> None:
        (listed,) = lab.put("x").values()
        (folder / "x").unlink()
        (folder / "x").mkdir()
        assert lab.remove([listed]) == {"x": Deletion(listed, vanished=True)}
        assert (folder / "x").is_dir()

    @pytest.mark.parametrize("kind", ["folder", "link to nowhere"])
    def test_nothing_comes_back_over_it(self, lab: Lab, folder: Path, kind: str) -> None:
        deletions = lab.remove(lab.put("d/x").values())
        (folder / "d/x").mkdir() if kind == "folder" else (folder / "d/x").symlink_to("nowhere")
        assert lab.bring_back(deletions.values())["d/x"].outcome is Outcome.OCCUPIED
        assert lab.kept_bytes() == [b"d/x"]

    def test_nor_below_a_file(self, lab: Lab, folder: Path) -> None:
        deletions = lab.remove(lab.put("d/x").values())
        (folder / "d").rmdir()
        (folder / "d").write_text("a file")
        assert lab.bring_back(deletions.values())["d/x"].outcome is Outcome.FAILED
        assert lab.raw.get("d") == b"a file" and lab.kept_bytes() == [b"d/x"]

    def test_nor_over_one_that_comes_between_the_look_and_the_move(
        self, lab: Lab, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        deletions = lab.remove(lab.put("d/x").values())
        lab.raw.put("d/x", b"another")
        monkeypatch.setattr(os.path, "lexists", lambda path: False)
        assert lab.bring_back(deletions.values())["d/x"].outcome is Outcome.OCCUPIED
        assert lab.raw.get("d/x") == b"another" and lab.kept_bytes() == [b"d/x"]

    def test_where_there_are_no_hard_links_it_comes_back_too(self, lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
        def refuse(source: str, target: str, *, follow_symlinks: bool) -> None:
            raise OSError(errno.EPERM, "Operation not permitted")

        deletions = lab.remove(lab.put("d/x", "d/y").values())
        lab.raw.put("d/y", b"another")
        monkeypatch.setattr(os, "link", refuse)
        returns = lab.bring_back(deletions.values())
        assert [returned.outcome for returned in returns.values()] == [Outcome.RESTORED, Outcome.OCCUPIED]
        assert lab.raw.get("d/x") == b"d/x" and lab.raw.get("d/y") == b"another"

    def test_a_file_that_comes_back_is_the_same_as_before(self, lab: Lab) -> None:
        """Its age too, so that what was brought back is not younger than its row."""
        listed = lab.put("d/x")
        lab.bring_back(lab.remove(listed.values()).values())
        assert lab.listed() == listed

    def test_a_write_that_fails_leaves_nothing(self, lab: Lab, folder: Path) -> None:
        (folder / "_xcomctl/a").mkdir(parents=True)
        with pytest.raises(StorageError, match="cannot write"):
            lab.store.write(f"{folder}/_xcomctl/a", b"x")
        assert lab.copies() == set()
