"""A terminal of its own for a process: what it shows there, and what is typed when it asks."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Mapping, Sequence

PATIENCE_SECONDS = 60
TAKE_TERMINAL = (
    "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execv(sys.argv[1], sys.argv[1:])"
)


def on_terminal(
    command: Sequence[str], environment: Mapping[str, str], typed: bytes | signal.Signals = b"", columns: int = 200
) -> tuple[int, bytes]:
    """The exit code, and what was shown. The terminal is the process's own: signs typed there become signals."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
    started = subprocess.Popen(
        [sys.executable, "-c", TAKE_TERMINAL, *command],
        env=environment,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    )
    os.close(theirs)
    try:
        return _watched(started, ours, typed)
    finally:
        os.close(ours)
        started.kill()
        started.wait()


def _watched(started: subprocess.Popen[bytes], screen: int, typed: bytes | signal.Signals) -> tuple[int, bytes]:
    """The exit code, and what the terminal showed; its line ends are those of a file."""
    shown = b""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        if not select.select([screen], [], [], 1)[0]:
            continue
        try:
            shown += os.read(screen, 65536)
        except OSError:  # EIO: nobody has the terminal open any more
            return started.wait(), shown.replace(b"\r\n", b"\n")
        if typed and shown.endswith(b"[y/N] "):
            started.send_signal(typed) if isinstance(typed, signal.Signals) else os.write(screen, typed)
            typed = b""
    raise TimeoutError(f"still running, having shown {shown!r}")
