"""Completion: the scripts that are handed out are current, and the shells really complete with them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import Run

SCRIPTS = Path(__file__).parents[2] / "completions"
FILES = {"bash": "xcomctl.bash", "zsh": "_xcomctl", "fish": "xcomctl.fish"}

LINES = [
    ("xcomctl l", ["ls"]),
    (
        "xcomctl ",
        ["ls", "get", "du", "gc", "restore", "migrate", "preflight", "rm", "verify-backend", "completions", "demo"],
    ),
    ("xcomctl ls --so", ["--sort"]),
    ("xcomctl ls --exclude-", ["--exclude-dag-id", "--exclude-key"]),
    ("xcomctl ls --output ", ["auto", "table", "plain", "json", "jsonl", "csv", "yaml"]),
    ("xcomctl get -o js", ["json", "jsonl"]),
    ("xcomctl ls --state inline --state d", ["dangling"]),
    ("xcomctl completions ", ["bash", "zsh", "fish"]),
    ("xcomctl gc --single", ["--single-pass"]),
]

BASH = """
source "$1"
words=$2
COMP_WORDS=($words)
[[ $words == *" " ]] && COMP_WORDS+=("")
COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
_xcomctl_completion xcomctl
printf '%s\\n' "${COMPREPLY[@]}"
"""

ZSH = """
compdef() { :; }
_arguments() { print -rl -- "$@"; }
words=(${=2})
[[ $2 == *" " ]] && words+=("")
CURRENT=$#words
"""
SOURCED = ZSH + 'source "$1"; _xcomctl_completion'
AUTOLOADED = ZSH + 'fpath=("${1:h}"); autoload -Uz _xcomctl; _xcomctl'

FISH = "source $argv[1]; complete --do-complete=$argv[2]"


@pytest.mark.parametrize("shell", FILES)
def test_the_scripts_are_current(cli: Run, shell):
    printed = cli("completions", shell)
    assert (printed.code, printed.err) == (0, "")
    assert (SCRIPTS / FILES[shell]).read_bytes() == printed.out, "run `make completions`"


@pytest.mark.parametrize(("line", "offered"), LINES)
def test_bash_completes(bare, line, offered):
    assert complete(bare, "bash", ["--norc", "--noprofile", "-c", BASH, "bash"], line) == offered


@pytest.mark.parametrize("script", [SOURCED, AUTOLOADED], ids=["sourced", "autoloaded"])
@pytest.mark.parametrize(("line", "offered"), LINES)
def test_zsh_completes(bare, script, line, offered):
    """zsh is given one description of all that is offered: `*: :(("ls":"List XComs…" …))`."""
    shown = "\n".join(complete(bare, "zsh", ["-f", "-c", script, "zsh"], line))
    assert [f'"{each}"' in shown for each in offered] == [True] * len(offered)
    assert shown.startswith("*: :((") and shown.count('":"') <= len(offered)


@pytest.mark.parametrize(("line", "offered"), LINES)
def test_fish_completes(bare, line, offered):
    shown = complete(bare, "fish", ["--no-config", "-c", FISH], line)
    assert sorted(each.partition("\t")[0] for each in shown) == sorted(offered)


def complete(bare: dict[str, str], shell: str, arguments: list[str], line: str) -> list[str]:
    """What a real shell makes of a line that ends in a press of TAB, with the tested xcomctl on its path."""
    found = shutil.which(shell)
    if found is None:
        pytest.skip(f"{shell} is not installed: its completion script is not tried")
    path = f"{Path(sys.executable).parent}{os.pathsep}{bare['PATH']}"
    done = subprocess.run(
        [found, *arguments, str(SCRIPTS / FILES[shell]), line],
        env={**bare, "PATH": path},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stderr == ""
    return done.stdout.splitlines()
