"""`xcomctl verify-backend`: is XCom storage really working in this container, and the same as in the others?"""

from __future__ import annotations

import gc
import json
import os
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn, Optional

import typer

from xcomctl.cli import render, report, signals, suggest
from xcomctl.cli.opening import hush
from xcomctl.cli.options import Display, Output, Table, duration, flag, takes
from xcomctl.cli.report import Report
from xcomctl.errors import ExitCode, StorageError, UsageError, XcomctlError

if TYPE_CHECKING:
    from xcomctl.operations.verify import Check, Container

_UNTIL = "_XCOMCTL_WAIT_UNTIL"
"""What one attempt tells the next: until when, by the clock that all processes of a machine share."""

PAUSE_SECONDS = 2.0

_CONTAINERS = "Comparing containers"

_LONGEST = 1_000_000
"""So many bytes no fingerprint has."""


@dataclass(frozen=True)
class Trial:
    """What is tried, and for how long."""

    read_only: Annotated[bool, flag("--read-only", help="Write nothing: what writes is skipped.")] = False
    wait: Annotated[
        Optional[str], flag("--wait", metavar="AGE", help="Try again until nothing fails, for at most 60s, 5m.")
    ] = None
    rule: Annotated[
        Optional[str],
        flag(
            "--rule",
            metavar="NAME[=URL]",
            help="Where a hand-written class has its objects: s3, gcs, minio, gcs-variable…, as for migrate.",
        ),
    ] = None
    rules: Annotated[
        Optional[Path],
        flag("--rules", metavar="FILE", autocompletion=suggest.files, help="Rules of your own, in TOML."),
    ] = None

    @property
    def waits_until(self) -> float | None:
        """When to stop trying, by the monotonic clock; as an earlier attempt has said, if this is not the first."""
        inherited = os.environ.pop(_UNTIL, None)
        if self.wait is None:
            return None
        own = time.monotonic() + duration(self.wait, "--wait").total_seconds()
        with suppress(ValueError):
            return min(own, float(inherited or "none"))
        return own


@dataclass(frozen=True)
class Comparing:
    """What tells containers apart."""

    fingerprint: Annotated[
        bool,
        flag("--fingerprint", panel=_CONTAINERS, help="Check nothing; print what this container is made of, as JSON."),
    ] = False
    compare: Annotated[
        bool, flag("--compare", panel=_CONTAINERS, help="Tell the fingerprints in FILES apart, field by field.")
    ] = False


@takes(Trial, Comparing, Table, Display)
def verify_backend(
    trial: Trial,
    comparing: Comparing,
    table: Table,
    display: Display,
    files: Annotated[
        Optional[list[Path]],
        typer.Argument(metavar="FILES", autocompletion=suggest.files, help="With --compare: fingerprints."),
    ] = None,
) -> ExitCode:
    """Check that XCom storage really works in this container, and is the same as in the others.

    Named checks, each ok, warn, fail, skipped or unknown: what Airflow is told and by whom, the class that it really
    resolves, the store with each of its verbs, and values that go out through that class, come back and are purged.
    Nothing is left behind. Exits 1 if a check failed, and 0 otherwise: fit for a health check, an init container and a
    probe. With -q only failures are printed, and no DataFrame is tried, since pandas takes as long to load as all else.

    Examples:

      xcomctl verify-backend
        All checks, in this container.

      xcomctl verify-backend -q --wait 60s
        For an init container: says only what fails, and gives it a minute.

      xcomctl verify-backend --fingerprint > worker.json
        What this container is made of.

      xcomctl verify-backend --compare scheduler.json worker.json api-server.json
        In what containers differ.

    Exit status:

      0  No check failed.
      1  A check failed, or something stood in the way of the checks.
      2
    """
    said = report.start(display)
    _require_sense(trial, comparing, files or ())
    columns = _columns(table)
    until = trial.waits_until
    hush(said)
    os.environ.setdefault("PGCONNECT_TIMEOUT", "10")  # whoever connects: libpq waits in C, where no alarm is heard
    try:
        with signals.heeded():
            if comparing.fingerprint:
                return _leave(_print_fingerprint(display))
            checks = _compared(files or ()) if comparing.compare else _settled(_container(trial, display), until, said)
        with _writing():
            _tell(checks, columns, table, display, said)
    except (UsageError, BrokenPipeError):
        raise
    except (XcomctlError, OSError) as error:
        said.error(error)
        return ExitCode.NO
    code = ExitCode.NO if _failed(checks) else ExitCode.OK
    return code if comparing.compare else _leave(code)


def _leave(code: ExitCode) -> NoReturn:
    """End at once, as a task's process does: a class may have left threads, or handlers, that would never end."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _require_sense(trial: Trial, comparing: Comparing, files: Sequence[Path]) -> None:
    if comparing.compare and len(files) < 2:
        raise UsageError("--compare needs two fingerprints or more", hint="--compare scheduler.json worker.json")
    if files and not comparing.compare:
        raise UsageError(f"there is nothing to do with {files[0]}", hint="say --compare to tell fingerprints apart")
    if comparing.compare and comparing.fingerprint:
        raise UsageError("--fingerprint and --compare are two things to do", hint="say one of them")
    if trial.wait is not None and (comparing.compare or comparing.fingerprint):
        raise UsageError("--wait goes with the checks of this container", hint="leave it out")
    if trial.rules is not None and trial.rule is None:
        raise UsageError("--rules says where rules are, and --rule which one", hint="say --rule NAME too")
    if trial.wait is not None:
        duration(trial.wait, "--wait")


def _settled(container: Container, until: float | None, said: Report) -> list[Check]:
    """The checks of this container, tried again while there is time and one may yet end otherwise."""
    checks = _verified(container, said)
    if until is not None and (waits_for := _unsettled(checks, container)):
        _try_again(until, waits_for, said)
    return checks


def _verified(container: Container, said: Report) -> list[Check]:
    from xcomctl.operations.verify import verify

    checks = []
    gc.disable()  # Airflow makes objects by the million as it is imported, and no garbage: a tenth of the time is saved
    try:
        with said.progress() as watch:
            for check in verify(container):
                checks.append(check)
                said.detail(f"{check.status.value} {check.id}: {check.detail}", ms=check.ms)
                watch("checks", len(checks))
    finally:
        gc.enable()
    return checks


def _container(trial: Trial, display: Display) -> Container:
    """This container, with the rule that finds a hand-written class's objects. Raises `UsageError` for a wrong one."""
    from xcomctl.operations.verify import Container

    container = Container(read_only=trial.read_only, in_haste=display.quiet)
    if trial.rule is None:
        return container
    from xcomctl.backend.reference import parse_base
    from xcomctl.backend.rules import rules

    known = rules(trial.rules)
    name, equals, url = trial.rule.partition("=")
    if name not in known:
        raise UsageError(f"--rule: there is no rule {name!r}", hint=f"one of {', '.join(known)}")
    container.rule, container.rule_root = known[name], parse_base(url)
    if equals and container.rule_root is None:
        raise UsageError(f"--rule {name}: {url!r} is no URL of object storage", hint="write s3://connection@bucket")
    return container


def _compared(files: Sequence[Path]) -> list[Check]:
    from xcomctl.operations.verify.compare import compare

    _require_apart(files)
    return list(compare({str(file): _read(file) for file in files}))


def _require_apart(files: Sequence[Path]) -> None:
    """However they are spelled, and through every link."""
    seen: dict[tuple[int, int], Path] = {}
    for file in files:
        with suppress(OSError):  # why it cannot be read is said when it is
            found = file.stat()
            other = seen.setdefault((found.st_dev, found.st_ino), file)
            if other is not file:
                raise UsageError(
                    f"{file} and {other} are one file, which would be compared with itself",
                    hint="take a fingerprint in each container",
                )


def _read(file: Path) -> Any:
    """Whatever JSON it holds: in UTF-8, or as PowerShell writes it, in UTF-16."""
    try:
        with file.open("rb") as opened:
            data = opened.read(_LONGEST + 1)
        if len(data) > _LONGEST:
            raise ValueError(f"it has more than {_LONGEST} bytes")
        return json.loads(data)
    except OSError as error:
        raise UsageError(f"cannot read {file}: {error.strerror}", hint="check --compare") from error
    except (ValueError, RecursionError) as error:
        raise UsageError(
            f"{file} holds no fingerprint: no JSON, {error}",
            hint="xcomctl verify-backend --fingerprint > FILE writes one",
        ) from error


def _print_fingerprint(display: Display) -> ExitCode:
    from xcomctl.operations.verify.fingerprint import fingerprint

    taken = fingerprint()
    with _writing():
        render.document(taken, display.output)
    return ExitCode.OK


def _unsettled(checks: Sequence[Check], container: Container) -> Check | None:
    """The first check that may yet end otherwise: one that failed, or one that waits for the metadata database."""
    return next(
        (c for c in checks if c in _failed(checks) or (container.awaits_database and c.id == "connection")), None
    )


@contextmanager
def _writing() -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        report.drop_unwritable(sys.stdout)
        raise StorageError(f"cannot write: {error.strerror or error}", hint="is the disk full?") from error


def _try_again(until: float, first: Check, said: Report) -> None:
    """Become a new process, if there is time left: this one never imports anew what once failed to be imported."""
    left = until - time.monotonic()
    if left <= 0:
        return
    said.note(f"not yet: {first.id}: {first.detail}; trying for another {left:.0f} s")
    time.sleep(min(PAUSE_SECONDS, left))
    sys.stdout.flush()
    os.environ[_UNTIL] = repr(until)
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])  # noqa: S606


def _columns(table: Table) -> Sequence[str]:
    """The fields of a check to show. A mistake is told before any check is tried."""
    from xcomctl.operations.verify import FIELDS

    return table.chosen(FIELDS)


def _tell(checks: Sequence[Check], columns: Sequence[str], table: Table, display: Display, said: Report) -> None:
    shown = _failed(checks) if display.quiet else checks
    if shown or (display.output is not Output.AUTO and not display.quiet):
        found = (asdict(check) for check in shown)
        render.records(found, columns, display.output, display.color, headers=table.headers)
    counts = Counter(check.status.value for check in checks)
    said.note(f"{len(checks)} checks: {', '.join(f'{count} {status}' for status, count in counts.items())}", **counts)


def _failed(checks: Sequence[Check]) -> list[Check]:
    from xcomctl.operations.verify import Status

    return [check for check in checks if check.status is Status.FAIL]
