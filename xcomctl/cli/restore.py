"""`xcomctl restore`: bring back what one run of gc deleted."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from xcomctl.cli import report, signals
from xcomctl.cli.accounts import tell_some, told
from xcomctl.cli.opening import opened
from xcomctl.cli.options import Control, Display, Place, flag, takes
from xcomctl.cli.report import Report
from xcomctl.errors import ExitCode, UsageError

if TYPE_CHECKING:
    from xcomctl.operations.restoring import Restoration


@takes(Place, Control, Display)
def restore(
    place: Place,
    control: Control,
    display: Display,
    operation_id: Annotated[str, typer.Argument(help="The run to undo, as its report and `gc --history` name it.")],
    dry_run: Annotated[bool, flag("-n", "--dry-run", help="Show what would come back, and change nothing.")] = False,
    yes: Annotated[bool, flag("-y", "--yes", env="", help="Do not ask.")] = False,
) -> ExitCode:
    """Bring back what one run of gc deleted.

    An object that has been written again in the meantime is left as it is. No database is needed. What comes back and
    is still an orphan is marked anew by the next gc.

    Examples:

      xcomctl restore 20261120T031502Z-5f2c9a1e --dry-run
        What would come back; nothing is changed.

      xcomctl restore 20261120T031502Z-5f2c9a1e --yes
        Brings it back without asking.

    Exit status:

      0 2 3 10 11 12
      1  The question was answered with no.
      4  There is no such run.
    """
    said = report.start(display)
    if not dry_run and not yes and not sys.stdin.isatty():
        raise UsageError("restore asks before it writes, and there is no terminal", hint="--yes agrees beforehand")
    from xcomctl.operations.gc import scope_of
    from xcomctl.operations.restoring import restoring

    with signals.heeded():
        scope = scope_of(opened(place, said, databases=0, control=control.control))
        with restoring(scope, operation_id, dry_run=dry_run) as restoration:
            _tell(restoration, said)
            if not dry_run:
                count = len(restoration.selected)
                if count and not yes and not said.confirm(f"Bring back {count} objects under {scope.base.text}?"):
                    said.note("nothing was changed")
                    return ExitCode.NO
                with signals.postponed() as noted:
                    _carry_out(restoration, said)
                    stopped = noted.exit_code
                code = told(restoration, display, said)
                return stopped or code
        return told(restoration, display, said)


def _tell(restoration: Restoration, said: Report) -> None:
    for removed in restoration.selected:
        said.detail(f"removed {removed.kept.object.name}", cause=removed.cause, way_back=removed.kept.way.value)
    if restoration.lease is None:
        lost = restoration.tallies["missing"].count + restoration.tallies["occupied"].count
        said.note(f"dry run: {len(restoration.selected) - lost} objects would be brought back; nothing was changed")
        tell_some(restoration.failures, said)


def _carry_out(restoration: Restoration, said: Report) -> None:
    with said.progress() as watch:
        for done, returned in enumerate(restoration.carry_out(), start=1):
            watch("objects handled", done)
            said.detail(f"{returned.outcome.value} {returned.kept.object.name}")
    tell_some(restoration.failures, said)
