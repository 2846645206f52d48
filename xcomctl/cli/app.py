"""The command tree: every command is a file of this room, and is named here."""

from __future__ import annotations

import os
from typing import Any

import typer

from xcomctl import __version__
from xcomctl.cli import completions, demo, du, fsck, gc, get, ls, migrate, preflight, restore, rm, verify_backend

app = typer.Typer(
    name="xcomctl",
    help="See, mend and collect the Airflow XComs that live outside the metadata database.",
    epilog="Exit codes: 0 done, 1 the answer is no, 2 usage, 3 partial, 4 not found, 5 refused, 10 database, "
    "11 locked, 12 storage.",
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"xcomctl {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: bool = typer.Option(False, "--version", callback=_print_version, is_eager=True, help="Show the version."),
) -> None:
    """See, mend and collect the Airflow XComs that live outside the metadata database."""


for command in (
    ls.ls,
    get.get,
    du.du,
    fsck.fsck,
    gc.gc,
    restore.restore,
    migrate.migrate,
    preflight.preflight,
    rm.rm,
    verify_backend.verify_backend,
    completions.completions,
    demo.demo,
):
    app.command()(command)


def command_line() -> Any:
    """The command tree as Typer runs it, ready for a shell that asks for completions."""
    if "_XCOMCTL_COMPLETE" in os.environ:
        from typer import completion

        completion.completion_init()
    return typer.main.get_command(app)
