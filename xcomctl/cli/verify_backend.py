"""`xcomctl verify-backend`: is XCom storage really working in this container, and the same as in the others?"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Annotated

from xcomctl.cli import render, report, signals
from xcomctl.cli.options import Display, flag, takes
from xcomctl.errors import ExitCode


@dataclass(frozen=True)
class Trial:
    """What is tried."""

    read_only: Annotated[bool, flag("--read-only", help="Write nothing: what writes is skipped.")] = False


@takes(Trial, Display)
def verify_backend(trial: Trial, display: Display) -> ExitCode:
    """Check that XCom storage really works here."""
    report.start(display)
    from xcomctl.operations.verify import FIELDS, Container, Status, verify

    container = Container(read_only=trial.read_only, in_haste=display.quiet)
    failed = 0
    with signals.heeded():
        checks = list(verify(container))
    failed = sum(check.status is Status.FAIL for check in checks)
    render.records((asdict(check) for check in checks), FIELDS, display.output, display.color)
    return ExitCode.NO if failed else ExitCode.OK
