"""`xcomctl demo`: see it work on a real Airflow, on this machine, in a minute."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from xcomctl.cli import render, report, suggest
from xcomctl.cli.options import Display, flag, takes
from xcomctl.errors import ExitCode

if TYPE_CHECKING:
    from xcomctl.cli.report import Report
    from xcomctl.demo.build import Step


@takes(Display)
def demo(
    display: Display,
    folder: Annotated[Path, typer.Argument(help="The folder of the sandbox.", autocompletion=suggest.files)] = Path(
        "xcomctl-demo"
    ),
    force: Annotated[bool, flag("--force", env="", help="Replace a sandbox that is there.")] = False,
) -> ExitCode:
    """Build a sandbox with a real Airflow, and look around in it.

    Makes an Airflow home on SQLite with object storage in local files, runs a DAG six times, deletes one run the way
    people do, makes the files look old, and then runs ls, get and gc --dry-run on what is there.

    Examples:

      xcomctl demo
        The sandbox in the folder xcomctl-demo.

      xcomctl demo /tmp/sandbox --force
        In another folder, in the place of a sandbox that is there.

    Exit status:

      0 2 10 12
      1  A command of the tour failed.
    """
    said = report.start(display)
    from xcomctl.demo.build import build
    from xcomctl.demo.sandbox import Sandbox
    from xcomctl.demo.tour import play_lines, tour

    for step in build(folder, force=force):
        _tell(step, said)
    sandbox = Sandbox.at(folder)
    codes = []
    for shown in tour(sandbox):
        codes.append(shown.exit_code)
        render.write(f"\n# {shown.caption}\n$ {shown.command}\n{shown.output}")
    render.write("\n# Go on playing, in any shell:\n" + "".join(f"{line}\n" for line in play_lines(sandbox)))
    return ExitCode.NO if any(codes) else ExitCode.OK


def _tell(step: Step, said: Report) -> None:
    if step.seconds is None:
        said.note(f"… {step.title}")
    else:
        said.note(f"  {step.seconds:.1f} s{': ' if step.detail else ''}{step.detail}")
