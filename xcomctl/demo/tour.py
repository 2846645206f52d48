"""What a visitor is shown: the real commands, each in a process of its own, and what they really say."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from xcomctl.demo.sandbox import DAG_ID, Sandbox

COLLECT_NOW = ("gc", "--single-pass")
"""A single pass takes only what is 7 days old; the sandbox's objects look ten days old."""

COLUMNS = "task_id,map_index,key,state,size_bytes,object_size_bytes"


@dataclass(frozen=True, slots=True)
class Shown:
    """A command that was run: why, as it is typed, all that it said, and its exit code."""

    caption: str
    command: str
    output: str
    exit_code: int


def tour(sandbox: Sandbox, *, columns: int = 110) -> Iterator[Shown]:
    """Run the commands of the tour on a built sandbox, one by one. None of them changes anything."""
    as_on_a_terminal = {"XCOMCTL_OUTPUT": "table", "COLUMNS": str(columns), "PYTHONUNBUFFERED": "1"}
    for caption, arguments in _stops(with_frame=any("tabulate" in path.parts for path in sandbox.all_objects())):
        done = subprocess.run(
            [sys.executable, "-m", "xcomctl", *arguments],
            env=sandbox.environment() | as_on_a_terminal,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            check=False,
        )
        yield Shown(caption, shlex.join(("xcomctl", *arguments)), done.stdout, done.returncode)


def play_lines(sandbox: Sandbox) -> tuple[str, str, str]:
    """Three lines for a new shell, to go on where the tour ends."""
    commands = Path(sys.executable).parent
    on_path = shutil.which("xcomctl") == str(commands / "xcomctl")
    path = "" if on_path else f' PATH="{commands}{os.pathsep}$PATH"'
    return (
        f'export AIRFLOW_HOME="{sandbox.folder}"{path}',
        "xcomctl ls --check --state external",
        shlex.join(("xcomctl", *COLLECT_NOW)),
    )


def _stops(*, with_frame: bool) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Why a command is shown, and its arguments. The DataFrame is there only where pandas is installed."""
    xcoms_of_a_run = 14 if with_frame else 13
    yield (
        "The newest run: small values are in their rows, large ones in storage.",
        ("ls", "--check", "--sort", "-timestamp", "--limit", str(xcoms_of_a_run), "--columns", COLUMNS),
    )
    yield "The best model of the newest run, read from its row.", ("get", DAG_ID, "latest", "choose_best")
    if with_frame:
        yield "A DataFrame, read from storage.", ("get", DAG_ID, "latest", "tabulate")
    yield "What takes how much, in the database and in storage.", ("du", "--by", "task_id", "--storage")
    yield "Whether anything is wrong.", ("fsck", "--examples", "0")
    yield "What the deleted run left behind, and what gc would do about it.", ("gc", "--dry-run")
