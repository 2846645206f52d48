"""Real shells with a person at them: somebody types a line, presses TAB, and looks what has become of the line."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import shutil
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPTS = ROOT / "completions"
FILES = {"bash": "xcomctl.bash", "zsh": "_xcomctl", "fish": "xcomctl.fish"}
UNPACKED = ROOT / ".servers/shells/run"
TAB, START_OF_LINE, CLEAR_LINE = "\t", "\x01", "\x15"
PATIENCE_SECONDS = 30

READY = {
    "bash": """args() { printf '<<%s>>\\n' "$@"; echo '<''END>'; }; PS1='@@ '; source "$SCRIPT"\n""",
    "zsh": """args() { printf '<<%s>>\\n' "$@"; echo '<''END>'; }; PS1='@@ '; unsetopt beep; autoload -Uz compinit
fpath=("${SCRIPT:h}" $fpath); compinit -u -d "$HOME/zcompdump"\n""",
    "fish": """function args; printf '<<%s>>\\n' $argv; echo '<''END>'; end; function fish_prompt; echo '@@ '; end
set -g fish_greeting; set -g fish_autosuggestion_enabled 0; source $SCRIPT\n""",
}


def shell(name: str) -> str:
    """The program, installed or unpacked; the test that wants it is skipped where there is none."""
    found = shutil.which(name) or (str(UNPACKED / name) if (UNPACKED / name).exists() else None)
    return found or pytest.skip(f"{name} is not installed, and `make test` could not unpack it: it is not tried")


def environment(bare: Mapping[str, str]) -> dict[str, str]:
    """An environment where `xcomctl` is the one that is tested."""
    return {**bare, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{bare['PATH']}"}


class Session:
    """An interactive shell on a terminal of its own."""

    def __init__(self, screen: int) -> None:
        self._screen = screen

    def arguments(self, *typed: str) -> list[str]:
        """What a line amounts to as arguments, when a TAB has been pressed at the end of each piece of it."""
        for each in typed:
            self._type(each + TAB)
        self._type(START_OF_LINE + "args \r")
        shown = self._until("<END>")
        return re.findall(r"<<(.*?)>>\r?\n", shown, re.DOTALL)[1:]

    def _type(self, keys: str) -> None:
        os.write(self._screen, keys.encode())

    def _until(self, end: str) -> str:
        shown, deadline = b"", time.monotonic() + PATIENCE_SECONDS
        while end not in shown.decode(errors="replace"):
            if time.monotonic() > deadline:
                raise TimeoutError(f"still waiting, having seen {shown!r}")
            if select.select([self._screen], [], [], 0.2)[0]:
                shown += os.read(self._screen, 65536)
        return shown.decode(errors="replace")


@contextmanager
def session(name: str, bare: Mapping[str, str], **variables: str) -> Iterator[Session]:
    """A shell that somebody has just opened, with xcomctl's completions in it."""
    program, home = shell(name), Path(bare["HOME"])
    rc = {"bash": home / "rc", "zsh": home / ".zshrc", "fish": home / "config.fish"}[name]
    rc.write_text(READY[name])
    options = {
        "bash": ["--noprofile", "--rcfile", str(rc), "-i"],
        "zsh": ["-d", "-i"],
        "fish": ["-C", f"source '{rc}'"],
    }
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 50, 250, 0, 0))
    script = str(SCRIPTS / FILES[name])
    started = subprocess.Popen(
        [program, *options[name]],
        env={**environment(bare), "TERM": "xterm", "SCRIPT": script, "ZDOTDIR": str(home), **variables},
        stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True, cwd=home,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # noqa: PLW1509
    )  # fmt: skip
    os.close(theirs)
    try:
        opened = Session(ours)
        opened._until("@@ ")
        yield opened
    finally:
        started.kill()
        started.wait()
        os.close(ours)


def words_of(command: str) -> list[str]:
    """A command line as a real bash takes it apart; nothing of it is run."""
    script = f"printf '%s\\0' {command}"
    done = subprocess.run(["bash", "--norc", "-c", script], env={"LC_ALL": "C.UTF-8"}, capture_output=True, check=True)
    return done.stdout.decode().split("\0")[:-1]
