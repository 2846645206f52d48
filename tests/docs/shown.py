"""What commands say on a sandbox, made alike: two recordings differ in times, names of objects and values."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path

from xcomctl.demo.sandbox import Sandbox

COLUMNS = 100
"""Of the picture."""
AS_ON_A_TERMINAL = {"XCOMCTL_OUTPUT": "table", "COLUMNS": "130", "XCOMCTL_COLOR": "never", "PYTHONUNBUFFERED": "1"}
RECORDED_AT = datetime(2026, 6, 15, 9, 30, tzinfo=timezone.utc)
"""When everything that the pages show seems to have happened."""

_TIME = re.compile(r"(\d{4}-\d\d-\d\d)([T ])(\d\d:\d\d:\d\d)(\.\d+)?")
_OPERATION = re.compile(r"\b(\d{8}T\d{6})Z-([0-9a-f]{8})\b")
_UUID = re.compile(r"\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b")
_RECENT = timedelta(days=30)


def said(sandbox: Sandbox, command: str, folder: Path, **environment: str) -> tuple[int, str]:
    """The exit code, and all that a person sees. Its output is that of a terminal, but for the colours."""
    done = subprocess.run(
        [sys.executable, "-m", *shlex.split(command)],
        env=sandbox.environment() | AS_ON_A_TERMINAL | environment,
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        check=False,
    )
    return done.returncode, done.stdout


def shape(text: str) -> list[str]:
    """The lines of an output, with everything that differs from run to run made alike: values, times and order."""
    text = _OPERATION.sub("~", _UUID.sub("~", text))
    alike = re.sub(r'"[abc]"|\b([Tt]rue|[Ff]alse)\b|/\S*/|[\d][\d.,:T+-]*( [KM]iB| B)?', "~", text)
    alike = re.sub(r"(~) \w+(?=: no row refers)", r"\1 ~", re.sub(r"─+", "─", re.sub(r"[█▉▊▋▌▍▎▏]+", "", alike)))
    return sorted(" ".join(line.split()) for line in alike.splitlines() if line.strip())


def timeless() -> Callable[[str], str]:
    """Moves recent times to `RECORDED_AT`, in whole hours, and numbers the names that are made at random."""
    names: dict[str, str] = {}
    shift = RECORDED_AT - datetime.now(timezone.utc)

    def moved(at: datetime) -> datetime:
        return (at + shift).replace(minute=0, second=0) if abs(at + shift - RECORDED_AT) < _RECENT else at

    def time(found: re.Match[str]) -> str:
        at = datetime.fromisoformat(f"{found[1]}T{found[3]}+00:00")
        fraction = found[4] or ""
        return moved(at).strftime(f"%Y-%m-%d{found[2]}%H:%M:%S") + ("." + "0" * (len(fraction) - 1) if fraction else "")

    def operation(found: re.Match[str]) -> str:
        at = moved(datetime.strptime(found[1], "%Y%m%dT%H%M%S").replace(tzinfo=timezone.utc))
        number = names.setdefault(found[2], f"{0x5F2C9A1E + len(names):08x}")
        return f"{at:%Y%m%dT%H%M%S}Z-{number}"

    def uuid(found: re.Match[str]) -> str:
        return names.setdefault(found[0], f"{0x0B0E6C9C + len(names):08x}-5b0f-4e1c-9c57-8d2a4c3a6a11")

    return lambda text: _UUID.sub(uuid, _OPERATION.sub(operation, _TIME.sub(time, text)))


def tidy(text: str) -> str:
    """Without the blanks at the ends of lines, and with one empty line at most."""
    lines = "\n".join(line.rstrip() for line in text.splitlines())
    return re.sub(r"\n{3,}", "\n\n", lines).rstrip("\n")


def environment_on_terminal(sandbox: Sandbox) -> dict[str, str]:
    """For a real terminal, which says its own width and colours."""
    kept = {name: value for name, value in sandbox.environment().items() if name not in ("NO_COLOR", "COLUMNS")}
    return kept | {"TERM": "xterm-256color", "XCOMCTL_COLOR": "always", "LC_ALL": os.environ.get("LC_ALL", "C.UTF-8")}
