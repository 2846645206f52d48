"""`xcomctl completions`: what a shell needs to complete the command line."""

from __future__ import annotations

from enum import Enum
from typing import Annotated

import typer

from xcomctl.cli import render

ZSH_AUTOLOADED = """
# Sourced, this file registers; found in fpath, it is itself what completes.
if [[ "$funcstack[1]" = _xcomctl ]]; then
  _xcomctl_completion
fi
"""


class Shell(str, Enum):
    """The shells that there is a script for."""

    BASH = "bash"
    ZSH = "zsh"
    FISH = "fish"


def completions(shell: Annotated[Shell, typer.Argument(help="The shell to print the script for.")]) -> None:
    """Print a completion script.

    Examples:

      xcomctl completions bash > ~/.local/share/bash-completion/completions/xcomctl
        For bash with the package bash-completion; or `source <(xcomctl completions bash)`.

      xcomctl completions zsh > "${fpath[1]}/_xcomctl"
        For zsh, before its compinit.

      xcomctl completions fish > ~/.config/fish/completions/xcomctl.fish
        For fish.

    Exit status:

      0 2
    """
    render.write(script(shell))


def script(shell: Shell) -> str:
    """The script that asks xcomctl itself, so that it never goes stale."""
    from typer import completion

    written: str = completion.get_completion_script(
        prog_name="xcomctl", complete_var="_XCOMCTL_COMPLETE", shell=shell.value
    )
    return written.rstrip("\n") + "\n" + (ZSH_AUTOLOADED if shell is Shell.ZSH else "")
