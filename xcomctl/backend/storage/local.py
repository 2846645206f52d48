"""Local files: what lies below a folder. Symbolic links are neither followed nor listed, empty folders stay.

Airflow makes a folder and opens a file in it in two steps, so removing an empty folder could fail a task.
"""

from __future__ import annotations

import errno
import io
import os
import shutil
import stat
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import AbstractContextManager, suppress
from datetime import datetime, timedelta, timezone
from typing import BinaryIO, TypeVar

from xcomctl.backend.reference import HALF_WRITTEN, OWN_FOLDER
from xcomctl.backend.storage.paging import in_pages
from xcomctl.errors import NoFolderError, StorageError
from xcomctl.model import Deletion, Kept, Outcome, Removal, Return, Spared, StoredObject, WayBack, nothing_spared

NO_LINKS = (errno.EPERM, errno.EXDEV, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK)
"""What file systems without hard links answer."""

FILES_AT_ONCE = 100
"""Between two looks whether any of them must stay."""

HINTS = {
    errno.ENOSPC: "the volume is full",
    errno.EDQUOT: "the quota is used up",
    errno.EFBIG: "the file system, or ulimit -f, allows no file of this size",
    errno.EROFS: "the volume is mounted read-only",
}

T = TypeVar("T")


class LocalStore:
    """The files of this machine. The version of a file is its inode, size and time of change."""

    deletes = True
    condition = "unchanged inode, size and modification time"

    def now(self, prefix: str) -> datetime:
        """The machine's time, which also dates the files of a local disk."""
        return datetime.now(timezone.utc)

    def objects(self, prefix: str) -> Iterator[StoredObject]:
        """Every regular file below the folder `prefix`, an absolute path ending in a slash."""
        for files in self.listed(prefix):
            yield from files

    def listed(self, prefix: str, folders: Collection[str] = ()) -> Iterator[Sequence[StoredObject]]:
        """The same, folder by folder; no hint makes that quicker."""
        folder = prefix.rstrip("/") or "/"
        _require_folder(folder)
        below = [folder]
        while below:
            yield from in_pages(self._scan(below.pop(), below))

    def _scan(self, folder: str, folders: list[str]) -> Iterator[StoredObject]:
        """The files of one folder; its sub-folders are added to `folders`."""
        try:
            with os.scandir(folder) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        folders.append(entry.path)
                    elif entry.is_file(follow_symlinks=False):
                        yield from self._entry(entry)
        except OSError as error:
            if isinstance(error, FileNotFoundError) and f"/{OWN_FOLDER}/" in f"{folder}/":
                return  # xcomctl's own folders come and go
            raise StorageError(
                f"cannot list {folder}: {error.strerror}",
                hint="the listing must be complete: nothing was changed",
            ) from error

    def _entry(self, entry: os.DirEntry[str]) -> Iterator[StoredObject]:
        try:
            yield _object(entry.path, entry.stat(follow_symlinks=False))
        except FileNotFoundError:
            return  # purged by its task between the listing and this look

    def stat(self, name: str) -> StoredObject | None:
        """The file as it is now, or None when there is none."""
        try:
            status = os.lstat(name)
        except (OSError, ValueError) as error:
            if _cannot_be(error):
                return None
            raise _refused("look up", name, error) from error
        return _object(name, status) if stat.S_ISREG(status.st_mode) else None

    def open(self, name: str) -> AbstractContextManager[BinaryIO]:
        """The file, opened for reading; a pipe or a device is none, and would not let go of who opens it."""
        try:
            file = os.fdopen(os.open(name, os.O_RDONLY | os.O_NONBLOCK), "rb")
            if stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                return file
            file.close()
            raise OSError(errno.EINVAL, "it is no regular file")
        except (OSError, ValueError) as error:
            if _cannot_be(error):
                raise FileNotFoundError(name) from None
            raise _refused("read", name, error) from error

    def write(self, name: str, data: bytes) -> None:
        """Write beside, and move into place."""
        beside = f"{name}.{os.getpid()}{HALF_WRITTEN}"
        try:
            _write_whole(beside, data)
            os.replace(beside, name)
        except OSError as error:
            with suppress(OSError):
                os.unlink(beside)
            raise _refused("write", name, error) from error

    def create(self, name: str, data: bytes) -> None:
        """Write beside, and link into place, which fails where there is a file."""
        self._create(name, lambda beside: _write_whole(beside, data))

    def copy(self, source: object, name_there: str, name: str) -> None:
        """Copied file by file: a link would share later writes."""
        with self.open(name_there) as file:
            self._create(name, lambda beside: _copy_whole(file, beside))

    def _create(self, name: str, fill: Callable[[str], None]) -> None:
        beside = f"{name}.{os.getpid()}{HALF_WRITTEN}"
        try:
            fill(beside)
            _move_to_nothing(beside, name)
        except FileExistsError:
            raise FileExistsError(name) from None
        except OSError as error:
            raise _refused("write", name, error) from error
        finally:
            with suppress(OSError):
                os.unlink(beside)

    def discard(self, names: Sequence[str]) -> None:
        """Unlink, and remove the folders that this leaves empty as far as they are xcomctl's own."""
        for name in names:
            try:
                os.unlink(name)
                _prune(os.path.dirname(name))
            except FileNotFoundError:
                continue
            except OSError as error:
                raise _refused("delete", name, error) from error

    def way_back(self, keep: timedelta) -> WayBack:
        """A file moves within its file system, which takes no time and no space."""
        return WayBack.RENAME

    def expiry(self, prefix: str) -> timedelta | None:
        """None: files have no rules of their own."""
        return None

    def remove(
        self, removals: Sequence[Removal], way: WayBack, *, look_first: bool, spared: Spared = nothing_spared
    ) -> Iterator[Deletion]:
        """Move each file that is still the one that was listed: here every removal looks first."""
        for start in range(0, len(removals), FILES_AT_ONCE):
            some = removals[start : start + FILES_AT_ONCE]
            staying = spared(some)
            for removal in some:
                stays = removal.object.name in staying
                yield Deletion(removal.object, changed=True) if stays else self._move(removal)

    def bring_back(self, kept: Sequence[Kept]) -> Iterator[Return]:
        """Move each file back where nothing is in its place."""
        for each in kept:
            try:
                yield Return(each, self._move_back(each))
            except OSError as error:
                yield Return(each, Outcome.FAILED, error.strerror or str(error))
            except StorageError as error:
                yield Return(each, Outcome.FAILED, error.message)

    def _move(self, removal: Removal) -> Deletion:
        listed = removal.object
        try:
            current = self.stat(listed.name)
            if current is not None and current.version != listed.version:
                return Deletion(listed, changed=True)
            if current is None:
                return Deletion(listed, vanished=True)
            _in_folder(os.path.dirname(removal.kept_as), lambda: os.rename(listed.name, removal.kept_as))
        except OSError as error:
            if isinstance(error, FileNotFoundError) and not os.path.lexists(listed.name):
                return Deletion(listed, vanished=True)
            return Deletion(listed, error=error.strerror or str(error))
        except StorageError as error:
            return Deletion(listed, error=error.message)
        return Deletion(listed)

    def _move_back(self, kept: Kept) -> Outcome:
        name = kept.object.name
        if os.path.lexists(name):
            return Outcome.OCCUPIED
        found = self.stat(kept.kept_as)
        if found is None:
            return Outcome.MISSING
        if found.version != kept.object.version:
            raise StorageError("what was kept of it has been changed since")
        os.makedirs(os.path.dirname(name), exist_ok=True)
        try:
            _move_to_nothing(kept.kept_as, name)
        except FileExistsError:
            return Outcome.OCCUPIED
        _prune(os.path.dirname(kept.kept_as))
        return Outcome.RESTORED


def _require_folder(folder: str) -> None:
    try:
        if stat.S_ISDIR(os.stat(folder).st_mode):
            return
    except (FileNotFoundError, NotADirectoryError):
        raise NoFolderError(
            f"folder {folder} does not exist",
            hint="check the base path, and that the volume is mounted in this container",
        ) from None
    except OSError as error:
        raise _refused("list", folder, error) from error
    raise StorageError(f"{folder} is not a folder", hint="check the base path and --control")


def _in_folder(folder: str, make: Callable[[], T]) -> T:
    """What `make` makes in a folder that need not be there, and that another run may be pruning just now."""
    for _ in range(5):
        with suppress(FileNotFoundError):
            os.makedirs(folder, exist_ok=True)
            return make()
    return make()


def _write_whole(name: str, data: bytes) -> None:
    _copy_whole(io.BytesIO(data), name)


def _copy_whole(source: BinaryIO, name: str) -> None:
    with _in_folder(os.path.dirname(name), lambda: open(name, "wb")) as file:
        shutil.copyfileobj(source, file)
        file.flush()
        os.fsync(file.fileno())


def _move_to_nothing(source: str, target: str) -> None:
    """Move a file to where none is. A hard link never replaces one, as a rename would, where there are hard links."""
    try:
        os.link(source, target, follow_symlinks=False)
    except OSError as error:
        if error.errno not in NO_LINKS:
            raise
        if os.path.lexists(target):
            raise FileExistsError(target) from error
        os.rename(source, target)
        return
    os.unlink(source)


def _prune(folder: str) -> None:
    """Remove empty folders upwards, the one called OWN_FOLDER the last."""
    while f"/{OWN_FOLDER}/" in f"{folder}/":
        try:
            os.rmdir(folder)
        except OSError:
            return
        folder = os.path.dirname(folder)


def _object(name: str, status: os.stat_result) -> StoredObject:
    modified_at = datetime.fromtimestamp(status.st_mtime, timezone.utc)
    version = f"{status.st_ino:x}-{status.st_size:x}-{status.st_mtime_ns:x}"
    return StoredObject(name, status.st_size, modified_at, version)


def _cannot_be(error: OSError | ValueError) -> bool:
    """Whether there is no such file: it is missing, or no file can have a name so long, or with such characters."""
    missing = (FileNotFoundError, NotADirectoryError, IsADirectoryError, ValueError)
    return isinstance(error, missing) or error.errno == errno.ENAMETOOLONG


def _refused(verb: str, name: str, error: Exception) -> StorageError:
    return StorageError(
        f"cannot {verb} file://{name}: {getattr(error, 'strerror', error)}",
        hint=HINTS.get(getattr(error, "errno", None) or 0, "check the permissions of the user that runs xcomctl"),
    )
