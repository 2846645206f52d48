"""`xcomctl help`: what `--help` shows, and the pages that belong to no single command."""

from __future__ import annotations

from typing import Annotated, Any, Optional

import typer

from xcomctl.cli import render
from xcomctl.cli.options import did_you_mean
from xcomctl.cli.topics import TOPICS
from xcomctl.errors import UsageError


def _offered(ctx: typer.Context, incomplete: str) -> list[str]:
    names = [*TOPICS, *_tree(ctx).list_commands(ctx)]
    return [name for name in dict.fromkeys(names) if name.startswith(incomplete)]


def help(
    context: typer.Context,
    topic: Annotated[
        Optional[str], typer.Argument(metavar="TOPIC", help="A topic, or a command.", autocompletion=_offered)
    ] = None,
) -> None:
    """Explain a topic or a command.

    Without a topic it lists the commands and the topics. What is both a topic and a command, as gc is, is explained
    here as a topic; `xcomctl gc --help` has the options.

    Examples:

      xcomctl help environment
        Every environment variable that a flag listens to.

      xcomctl help exit-codes
        What each exit code says.

      xcomctl help ls
        The same as `xcomctl ls --help`.

    Exit status:

      0
      2  There is no such topic or command.
      12  The output could not be written.
    """
    tree = _tree(context)
    root: Any = context.parent or context
    if topic is None:
        render.write(tree.get_help(root) + "\n")
    elif topic in TOPICS:
        render.write(TOPICS[topic].page(tree))
    else:
        command = tree.get_command(root, topic)
        if command is None:
            meant = did_you_mean(topic, [*TOPICS, *tree.list_commands(root)])
            raise UsageError(f"no such topic {topic!r}", hint=meant or "xcomctl help lists them")
        render.write(command.get_help(type(root)(command, info_name=topic, parent=root)) + "\n")


def _tree(context: typer.Context) -> Any:
    """All commands."""
    return context.find_root().command
