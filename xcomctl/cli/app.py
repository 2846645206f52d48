"""The command tree: every command is a file of this room, and is named here."""

from __future__ import annotations

from typing import Any

import typer

from xcomctl import __version__
from xcomctl.cli import completions, demo, du, fsck, gc, get, help, ls, migrate, preflight, restore, rm, verify_backend
from xcomctl.cli.manual import Command, Page, manual_of, options
from xcomctl.cli.options import did_you_mean
from xcomctl.cli.topics import TOPICS
from xcomctl.errors import ExitCode, UsageError

SUMMARY = "See, mend and collect the Airflow XComs that live outside the metadata database."


class Group(typer.core.TyperGroup):
    """All commands: their list, and what was meant by a name that is none of theirs."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Write the help into what Typer prints."""
        page = Page()
        page.line(f"Usage: {ctx.command_path} [OPTIONS] COMMAND [ARGS]...")
        page.paragraph(SUMMARY)
        page.heading("Examples")
        page.example(
            "xcomctl ls --since 7d --check", "What was pushed in the last week, and whether its objects are there."
        )
        page.example("xcomctl help gc", "How gc decides; `xcomctl gc --help` has its options.")
        page.heading("Commands")
        commands = ((name, self.get_command(ctx, name)) for name in self.list_commands(ctx))
        page.terms((name, manual_of(command.help or "").summary) for name, command in commands if command)
        page.heading("Help topics, by `xcomctl help TOPIC`")
        page.terms((name, topic.summary) for name, topic in TOPICS.items())
        codes = ", ".join(str(int(code)) for code in ExitCode)
        page.paragraph(f"Exit codes: {codes}. `xcomctl help exit-codes` tells their meaning.")
        options(page, self, ctx)
        formatter.write(page.text)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The command that a word names. Raises `UsageError` for one that names none."""
        word = args[0]
        if not ctx.resilient_parsing and not word.startswith("-") and self.get_command(ctx, word) is None:
            meant = did_you_mean(word, self.list_commands(ctx)) if word != "version" else "did you mean --version?"
            raise UsageError(f"no such command {word!r}", hint=meant or "xcomctl --help lists them")
        return super().resolve_command(ctx, args)


app = typer.Typer(
    name="xcomctl",
    cls=Group,
    help=SUMMARY,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"xcomctl {__version__}")
        raise typer.Exit


@app.callback(help=SUMMARY)
def _root(
    version: bool = typer.Option(False, "--version", callback=_print_version, is_eager=True, help="Show the version."),
) -> None:
    """All commands."""


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
    help.help,
):
    app.command(cls=Command)(command)

COMMANDS = tuple(command.name or command.callback.__name__.replace("_", "-") for command in app.registered_commands)  # type: ignore[union-attr]


def command_line() -> Any:
    """The command tree as Typer runs it."""
    return typer.main.get_command(app)
