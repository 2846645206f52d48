"""What can go wrong, and the number that the shell is told.

Every error that a user can cause or meet is an `XcomctlError`: one line of what and why, and a hint of
what to do. Only `xcomctl.cli` turns them into output.
"""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """The exit codes of every command. New ones may be added: treat an unknown one as a failure."""

    OK = 0
    NO = 1
    USAGE = 2
    PARTIAL = 3
    NOT_FOUND = 4
    REFUSED = 5
    METADATA = 10
    LOCKED = 11
    STORAGE = 12
    INTERRUPTED = 130
    BROKEN_PIPE = 141
    TERMINATED = 143

    @property
    def meaning(self) -> str:
        """What it says of every command that answers with it."""
        return _MEANINGS[self]

    @property
    def status(self) -> str:
        """How the report of an acting command says it."""
        return {ExitCode.OK: "success", ExitCode.PARTIAL: "partial", ExitCode.REFUSED: "refused"}.get(self, "error")


_MEANINGS = {
    ExitCode.OK: "Done, or there was nothing to do.",
    ExitCode.NO: "The answer is no: a check failed, or the question on the terminal was declined.",
    ExitCode.USAGE: "The command line asks for something impossible; nothing was changed.",
    ExitCode.PARTIAL: "Something was changed, and not all was done; to run it again is to go on.",
    ExitCode.NOT_FOUND: "There is no such thing, or the object of a reference is gone.",
    ExitCode.REFUSED: "A gate is shut, and nothing was changed.",
    ExitCode.METADATA: "Airflow's database or configuration cannot be reached or understood.",
    ExitCode.LOCKED: "Another run is at work; nothing was changed.",
    ExitCode.STORAGE: "Object storage failed or refused, or the output could not be written.",
    ExitCode.INTERRUPTED: "Ended by Ctrl-C.",
    ExitCode.BROKEN_PIPE: "Whoever read the output has gone.",
    ExitCode.TERMINATED: "Ended by SIGTERM.",
}

SIGNALS = (ExitCode.INTERRUPTED, ExitCode.BROKEN_PIPE, ExitCode.TERMINATED)
"""What every command may answer with."""


class XcomctlError(Exception):
    """The root of all errors that are reported as one line and a hint."""

    exit_code = ExitCode.NO

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class UsageError(XcomctlError):
    """The command line asks for something impossible. Decided before anything is read."""

    exit_code = ExitCode.USAGE


class NotFoundError(XcomctlError):
    """There is no such XCom."""

    exit_code = ExitCode.NOT_FOUND


class DanglingError(NotFoundError):
    """The XCom's row is there, and the object that it refers to is not."""


class MetadataError(XcomctlError):
    """Airflow's database or configuration cannot be reached or understood."""

    exit_code = ExitCode.METADATA


class StorageError(XcomctlError):
    """Object storage cannot be reached, refused, or holds something unreadable."""

    exit_code = ExitCode.STORAGE


class NoFolderError(StorageError):
    """A folder of local files is not there. Buckets have no folders, so there an empty listing says the same."""


class ForbiddenError(StorageError):
    """The store knows the credentials, and these may not do this here. Wrong or expired ones are a `StorageError`."""


class BrokenStateError(StorageError):
    """One of gc's own objects is not what a run wrote."""


class LockedError(XcomctlError):
    """Another run holds the lease, or has taken this run's away before it changed anything."""

    exit_code = ExitCode.LOCKED
